//! What a factor multiplies, and for which heads: z at all positions (Yu et al. 2023), or the score of the read position on
//! the stated answer before the softmax (Ortu et al. 2024, arXiv 2402.11655).

use std::fmt;

use crate::analysis::Case;
use crate::edit::{Edit, Finite, Op, Target};
use crate::ids::HeadId;
use crate::mask::Mask;

/// What is multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// z of each head, at all positions.
    #[default]
    Value,
    /// Each head's scores of the read position on the tokens of the stated answer, where the prompt states it; later
    /// occurrences of the same word keep theirs.
    Attention,
}

crate::choose!(By);

impl By {
    pub const ALL: [Self; 2] = [Self::Value, Self::Attention];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Attention => "attention",
        }
    }

    /// The factors that are tried where none are given.
    pub fn factors(self) -> Vec<f64> {
        match self {
            Self::Value => (-20..=20).map(|half| f64::from(half) / 2.0).collect(),
            Self::Attention => vec![0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0],
        }
    }

    /// What is multiplied, as a sentence has it.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Value => "z",
            Self::Attention => "the last row's score on the stated answer",
        }
    }
}

/// Heads that are scaled together, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group(Vec<HeadId>);

impl Group {
    pub(super) fn new(mut heads: Vec<HeadId>) -> Self {
        heads.sort_unstable();
        heads.dedup();
        Self(heads)
    }

    pub(super) fn heads(&self) -> &[HeadId] {
        &self.0
    }

    /// The head, where it is one alone.
    pub(super) fn single(&self) -> Option<HeadId> {
        match self.0[..] {
            [head] => Some(head),
            _ => None,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, head) in self.0.iter().enumerate() {
            let plus = if i == 0 { "" } else { "+" };
            write!(f, "{plus}{head}")?;
        }
        Ok(())
    }
}

/// A group times a factor. No heads: the unedited run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scaling {
    pub(super) group: Group,
    pub(super) factor: f64,
}

impl Scaling {
    /// Each group times each factor, `[group, factor]`.
    pub(super) fn grid(groups: &[Group], factors: &[f64]) -> Vec<Self> {
        let of = |group: &Group| {
            let group = group.clone();
            let scaling = move |factor: &f64| Self {
                group: group.clone(),
                factor: *factor,
            };
            factors.iter().map(scaling)
        };
        groups.iter().flat_map(of).collect()
    }

    /// As edits of a prompt. By attention, a head whose mask hides the stated answer from the read position is left as it is.
    pub(super) fn edits(&self, by: By, case: &Case, masks: &[Mask]) -> Vec<Edit> {
        let op = Op::Scale(Finite::new(self.factor).unwrap_or(Finite::ONE));
        let heads = self.group.0.iter();
        match by {
            By::Value => heads
                .map(|head| Edit::new(Target::Head(*head), op.clone()))
                .collect(),
            By::Attention => heads
                .flat_map(|head| edges(case, *head, masks[head.layer]))
                .map(|edge| Edit::new(edge, op.clone()))
                .collect(),
        }
    }
}

/// The edges from the read position to the stated answer's tokens that a head has.
pub(super) fn edges(case: &Case, head: HeadId, mask: Mask) -> impl Iterator<Item = Target> {
    let query = case.spec.position;
    let keys = case.span("object").iter().copied();
    let seen = keys.filter(move |key| mask.sees(query, *key));
    seen.map(move |key| Target::Edge { head, query, key })
}
