//! Names of heads and key/value heads, as people write them.
//!
//! Printed as `L9H6`; read as `L9H6`, `9.6` or `(9, 6)`.

use std::fmt;
use std::str::FromStr;

/// A query head, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeadId {
    pub layer: usize,
    pub head: usize,
}

/// A key/value head. Under grouped-query attention several query heads share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KvHeadId {
    pub layer: usize,
    pub kv_head: usize,
}

/// The text names no head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no head; write it like L9H6, 9.6 or (9, 6)")]
pub struct ParseHeadError {
    pub text: String,
}

impl HeadId {
    pub const fn new(layer: usize, head: usize) -> Self {
        Self { layer, head }
    }
}

impl fmt::Display for HeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layer, head } = self;
        write!(f, "L{layer}H{head}")
    }
}

impl fmt::Display for KvHeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layer, kv_head } = self;
        write!(f, "L{layer}KV{kv_head}")
    }
}

impl FromStr for HeadId {
    type Err = ParseHeadError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let pair = if let Some(rest) = trimmed.strip_prefix(['L', 'l']) {
            rest.split_once(['H', 'h'])
        } else if let Some(inner) = trimmed.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
            inner.split_once(',')
        } else {
            trimmed.split_once('.')
        };
        pair.and_then(|(layer, head)| Some(Self::new(index(layer)?, index(head)?)))
            .ok_or_else(|| ParseHeadError {
                text: text.to_owned(),
            })
    }
}

/// Digits only: `usize::from_str` alone would also take a plus sign.
pub(crate) fn index(text: &str) -> Option<usize> {
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_spellings_name_the_same_head() {
        for text in ["L9H6", "l9h6", "9.6", "(9, 6)", " L9H6 "] {
            assert_eq!(text.parse(), Ok(HeadId::new(9, 6)), "{text}");
        }
        assert_eq!(HeadId::new(9, 6).to_string(), "L9H6");
    }

    #[test]
    fn what_names_no_head_is_refused() {
        for text in [
            "",
            "L9",
            "H6",
            "L9H",
            "9.6.1",
            "L+9H6",
            "L99999999999999999999H1",
            "(9,6",
        ] {
            assert!(text.parse::<HeadId>().is_err(), "{text}");
        }
    }
}
