//! What a planted head does, as entries of its matrices.

/// Coordinates of the stream that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Space {
    pub(crate) const NOWHERE: Self = Self { start: 0, len: 0 };
}

/// Entries of a matrix `[row of the head, coordinate of the stream]`.
pub(crate) type Entries = Vec<(usize, usize, f32)>;

/// What a head does. Rows of q and k pair: the score of a query and a key is their product, without the scale.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) q: Entries,
    pub(crate) q_bias: Vec<(usize, f32)>,
    pub(crate) k: Entries,
    pub(crate) v: Entries,
    /// Of the head's own rows too.
    pub(crate) o: Entries,
    /// Rows of q and k that are taken.
    pub(crate) n_scored: usize,
    /// Rows of v and o that are taken.
    pub(crate) n_moved: usize,
}

impl Head {
    fn scored(&mut self, n: usize) -> usize {
        self.n_scored += n;
        self.n_scored - n
    }

    fn moved(&mut self, n: usize) -> usize {
        self.n_moved += n;
        self.n_moved - n
    }

    /// A query scores the keys whose `key` space is as its own `query` space.
    pub(crate) fn matching(self, query: Space, key: Space, strength: f32) -> Self {
        self.matching_back(query, key, 0, strength)
    }

    /// The same where the key's space is `back` coordinates before: of positions, a key so many tokens before.
    pub(crate) fn matching_back(
        mut self,
        query: Space,
        key: Space,
        back: usize,
        strength: f32,
    ) -> Self {
        let row = self.scored(key.len - back);
        for i in 0..key.len - back {
            self.q.push((row + i, query.start + i + back, strength));
            self.k.push((row + i, key.start + i, 1.0));
        }
        self
    }

    /// Every query scores keys by one coordinate of theirs.
    pub(crate) fn seeking(mut self, key: Space, strength: f32) -> Self {
        let row = self.scored(1);
        self.q_bias.push((row, strength));
        self.k.push((row, key.start, 1.0));
        self
    }

    /// The same for queries by one coordinate of their own.
    pub(crate) fn seeking_when(mut self, query: Space, key: Space, strength: f32) -> Self {
        let row = self.scored(1);
        self.q.push((row, query.start, strength));
        self.k.push((row, key.start, 1.0));
        self
    }

    /// What it attends to is written from one space to another.
    pub(crate) fn moving(self, from: Space, to: Space, gain: f32) -> Self {
        let pairs: Vec<(usize, usize)> = (0..from.len).map(|i| (i, i)).collect();
        self.moving_by(from, to, &pairs, gain)
    }

    /// The same, coordinate by coordinate: `(of from, of to)`.
    pub(crate) fn moving_by(
        mut self,
        from: Space,
        to: Space,
        pairs: &[(usize, usize)],
        gain: f32,
    ) -> Self {
        let row = self.moved(pairs.len());
        for (i, (a, b)) in pairs.iter().enumerate() {
            self.v.push((row + i, from.start + a, 1.0));
            self.o.push((row + i, to.start + b, gain));
        }
        self
    }
}
