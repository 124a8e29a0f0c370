//! Which keys a query may attend to: what a layer's mask says, for the forward and for everything that draws a map.

use std::ops::{Range, RangeInclusive};

/// The mask of a layer. The keys that a query sees are always neighbours, itself among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mask {
    /// The most keys before the query; `None` is all.
    pub before: Option<usize>,
    /// The most keys after the query; `None` is all.
    pub after: Option<usize>,
}

impl Mask {
    /// No later key.
    pub const CAUSAL: Self = Self {
        before: None,
        after: Some(0),
    };
    /// Every key.
    pub const NONE: Self = Self {
        before: None,
        after: None,
    };

    /// The last `window` keys, the query's own counted.
    pub const fn causal_window(window: usize) -> Self {
        Self {
            before: Some(window.saturating_sub(1)),
            after: Some(0),
        }
    }

    /// So many keys to either side.
    pub const fn to_either_side(reach: usize) -> Self {
        Self {
            before: Some(reach),
            after: Some(reach),
        }
    }

    /// Whether no query sees a later key.
    pub fn is_causal(self) -> bool {
        self.after == Some(0)
    }

    /// Whether distance alone hides keys.
    pub fn has_window(self) -> bool {
        self.before.is_some()
    }

    /// The keys that a query sees among `n_tokens`.
    pub fn keys(self, query: usize, n_tokens: usize) -> Range<usize> {
        let first = self.before.map_or(0, |before| query.saturating_sub(before));
        let end = self
            .after
            .map_or(n_tokens, |after| (query + after + 1).min(n_tokens));
        first..end
    }

    pub fn sees(self, query: usize, key: usize) -> bool {
        self.sees_any(query..=query, key..=key)
    }

    /// Whether any of these queries sees any of these keys.
    pub fn sees_any(self, queries: RangeInclusive<usize>, keys: RangeInclusive<usize>) -> bool {
        self.before
            .is_none_or(|before| keys.end() + before >= *queries.start())
            && self
                .after
                .is_none_or(|after| *keys.start() <= queries.end() + after)
    }

    /// The mask between blocks of so many tokens: which blocks of keys a block of queries sees anything of.
    #[must_use]
    pub fn of_blocks(self, size: usize) -> Self {
        let reach = |tokens: usize| tokens.div_ceil(size);
        Self {
            before: self.before.map(reach),
            after: self.after.map(reach),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_holds_exactly_the_keys_that_are_seen() {
        let n = 9;
        for mask in [
            Mask::CAUSAL,
            Mask::NONE,
            Mask::causal_window(1),
            Mask::causal_window(4),
            Mask::to_either_side(0),
            Mask::to_either_side(2),
        ] {
            for query in 0..n {
                let keys = mask.keys(query, n);
                assert!(keys.contains(&query));
                for key in 0..n {
                    assert_eq!(keys.contains(&key), mask.sees(query, key), "{mask:?}");
                }
            }
        }
        assert_eq!(Mask::causal_window(4).keys(6, n), 3..7);
        assert_eq!(Mask::to_either_side(2).keys(8, n), 6..9);
    }

    #[test]
    fn a_block_is_seen_if_any_of_its_cells_is() {
        let n = 13;
        for mask in [
            Mask::CAUSAL,
            Mask::NONE,
            Mask::causal_window(1),
            Mask::causal_window(5),
            Mask::to_either_side(3),
        ] {
            for size in 1..6 {
                let block = |i: usize| i * size..=((i + 1) * size - 1).min(n - 1);
                for query in 0..n.div_ceil(size) {
                    for key in 0..n.div_ceil(size) {
                        let any = block(query).any(|q| block(key).any(|k| mask.sees(q, k)));
                        assert_eq!(mask.sees_any(block(query), block(key)), any);
                        assert_eq!(
                            mask.of_blocks(size).sees(query, key),
                            any,
                            "{mask:?} {size}"
                        );
                    }
                }
            }
        }
    }
}
