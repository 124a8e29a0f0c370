//! What is asked of a head: the pairs of each list's forms as tokens, what a successor has to beat, and how often it does.

use std::collections::BTreeSet;

use crate::analysis::sequences::Variant;
use nalgebra::DMatrix;

use super::Candidates;
use super::token_circuit::successes;

/// A form with fewer pairs says nothing.
pub(super) const LEAST_PAIRS: usize = 4;

/// The pairs of one form, as places among the sources, and among the targets.
pub(super) struct Task {
    pub(super) variant: usize,
    pub(super) sources: Vec<usize>,
    pub(super) candidates: Vec<usize>,
    /// Each pair's target among `candidates`.
    pub(super) right: Vec<usize>,
}

/// All tokens that are asked about.
pub(super) struct Asked {
    pub(super) sources: Vec<u32>,
    pub(super) targets: Vec<u32>,
    pub(super) tasks: Vec<Task>,
}

impl Asked {
    pub(super) fn new(variants: &[Variant], candidates: Candidates, n_vocab: usize) -> Self {
        let counted = || {
            let variants = variants.iter().enumerate();
            variants.filter(|(_, variant)| variant.pairs().len() >= LEAST_PAIRS)
        };
        let ids = |of: fn(&(usize, usize)) -> usize| -> Vec<u32> {
            let ids = counted().flat_map(|(_, variant)| {
                let pairs = variant.pairs().into_iter();
                pairs.filter_map(move |pair| variant.tokens[of(&pair)])
            });
            ids.collect::<BTreeSet<u32>>().into_iter().collect()
        };
        let sources = ids(|pair| pair.0);
        let targets = match candidates {
            Candidates::Vocabulary => (0..n_vocab as u32).collect(),
            _ => ids(|pair| pair.1),
        };
        let place = |ids: &[u32], id: Option<u32>| id.and_then(|id| ids.binary_search(&id).ok());
        let tasks = counted()
            .map(|(index, variant)| {
                let pairs = variant.pairs();
                let of = |at: usize| place(&targets, variant.tokens[at]);
                let places: Vec<usize> = pairs.iter().filter_map(|(_, to)| of(*to)).collect();
                let candidates: Vec<usize> = match candidates {
                    Candidates::List => {
                        let set: BTreeSet<usize> = places.iter().copied().collect();
                        set.into_iter().collect()
                    }
                    _ => (0..targets.len()).collect(),
                };
                let right = places
                    .iter()
                    .filter_map(|p| candidates.binary_search(p).ok());
                let from = pairs.iter().map(|(from, _)| variant.tokens[*from]);
                Task {
                    variant: index,
                    sources: from.filter_map(|id| place(&sources, id)).collect(),
                    right: right.collect(),
                    candidates,
                }
            })
            .collect();
        Self {
            sources,
            targets,
            tasks,
        }
    }

    /// Successes of each task.
    pub(super) fn wins(&self, p: &DMatrix<f32>, q: &DMatrix<f32>) -> Vec<usize> {
        let of = |task: &Task| {
            let p = p.select_rows(&task.sources);
            let found = if task.candidates.len() == q.ncols() {
                successes(&p, q, &task.right)
            } else {
                successes(&p, &q.select_columns(&task.candidates), &task.right)
            };
            found.into_iter().filter(|success| *success).count()
        };
        self.tasks.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cycle of seven tokens that a head moves along by `by`.
    fn planted(by: usize) -> (Asked, DMatrix<f32>, DMatrix<f32>) {
        let variant = Variant {
            name: "planted".into(),
            form: String::new(),
            texts: vec![String::new(); 8],
            tokens: (0..7).chain([0]).map(|id| Some(id + 100)).collect(),
        };
        let asked = Asked::new(&[variant], Candidates::List, 1000);
        let q = DMatrix::from_fn(7, 7, |from, to| f32::from(u8::from((from + by) % 7 == to)));
        (asked, DMatrix::identity(7, 7), q)
    }

    #[test]
    fn a_planted_successor_head_is_found_and_nothing_else_is() {
        let (asked, p, q) = planted(1);
        assert_eq!(asked.sources.len(), 7);
        assert_eq!(asked.wins(&p, &q), [7]);
        assert_eq!(asked.wins(&(p.clone() * 0.5), &(q.clone() * 3.0)), [7]);
        assert_eq!(asked.wins(&p, &(q.clone() * 0.0)), [0], "removed: all tie");
        assert_eq!(asked.wins(&p, &(-q.clone())), [0], "the negative of it");
        assert_eq!(asked.wins(&p, &(q * f32::NAN)), [0]);
        for by in [0, 2, 6] {
            let (asked, p, q) = planted(by);
            assert_eq!(asked.wins(&p, &q), [0], "copies, or moves by another step");
        }
    }
}
