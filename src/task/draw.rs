//! How many items, and which: seeded draws without repeats.

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use super::{MAX_ITEMS, TaskSet};

/// Generator of all draws: the same numbers on every machine.
pub(super) type Rng = ChaCha8Rng;

/// What to take of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// How many items, at least one. `None`: 20 of a built-in set; of a file all, in order.
    pub n: Option<usize>,
    pub seed: u64,
    /// Solved examples before each question, in the formats that hold question and answer pairs.
    pub shots: usize,
}

impl Draw {
    /// Items of a built-in set when no number is given.
    pub const DEFAULT_N: usize = 20;

    pub(super) fn rng(&self) -> Rng {
        Rng::seed_from_u64(self.seed)
    }
}

/// Distinct numbers below `space`, in random order: `wanted`, or as many as there are.
pub(super) fn distinct(rng: &mut Rng, space: usize, wanted: usize) -> Vec<usize> {
    index::sample(rng, space, wanted.min(space).min(MAX_ITEMS)).into_vec()
}

/// Keeps the asked number of items of a file: a seeded choice, in the order of the file.
pub(super) fn choose(mut set: TaskSet, options: &Draw) -> TaskSet {
    let Some(n) = options.n else { return set };
    let have = set.items.len();
    if n < have {
        let mut keep = distinct(&mut options.rng(), have, n.max(1));
        keep.sort_unstable();
        let mut keep = keep.into_iter().peekable();
        let mut at = 0;
        set.items.retain(|_| {
            at += 1;
            keep.next_if_eq(&(at - 1)).is_some()
        });
    } else if n > have {
        set.notes.push(fewer(n, have));
    }
    set
}

pub(super) fn fewer(asked: usize, have: usize) -> String {
    format!("{asked} prompts were asked for; there are {have}")
}

/// A number read as digits of mixed radix: each set of choices is one number, and each number one set.
pub(super) struct Digits(usize);

impl Digits {
    pub(super) const fn new(number: usize) -> Self {
        Self(number)
    }

    /// The next digit, below `radix`.
    pub(super) const fn take(&mut self, radix: usize) -> usize {
        let digit = self.0 % radix;
        self.0 /= radix;
        digit
    }

    /// The next choice from a list.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.take(list.len())]
    }

    /// `N` different places below `len`, in order: `len · (len − 1) · …` sets.
    pub(super) fn different<const N: usize>(&mut self, len: usize) -> [usize; N] {
        let mut left: Vec<usize> = (0..len).collect();
        std::array::from_fn(|_| left.remove(self.take(left.len())))
    }
}

/// `len · (len − 1) · …`, `n` factors: how many sets [`Digits::different`] tells apart.
pub(super) const fn arrangements(len: usize, n: usize) -> usize {
    let (mut product, mut i) = (1, 0);
    while i < n {
        product *= len - i;
        i += 1;
    }
    product
}
