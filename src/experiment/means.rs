//! Means over the prompts of a set, for mean ablation: what `mean` fills in where there is a set to take it over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::engine::{Engine, RunError};
use crate::model::site::Site;
use crate::model::transformer::Kept;

/// The unedited runs of a set's prompts.
#[derive(Debug)]
pub struct Means {
    runs: Vec<(Kept, usize)>,
    n_tokens: Option<usize>,
    known: RefCell<HashMap<Site, Rc<[f32]>>>,
}

impl Means {
    /// Runs every prompt once. `bos_count` is the number of beginning-of-text tokens at the front of each.
    pub fn over(
        engine: &Engine,
        prompts: &[(Arc<[u32]>, usize)],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Self, RunError> {
        let mut runs = Vec::with_capacity(prompts.len());
        for (ids, bos_count) in prompts {
            runs.push((engine.kept_of(ids, go_on)?, *bos_count));
        }
        let length = prompts.first().map(|(ids, _)| ids.len());
        let n_tokens = length.filter(|n| prompts.iter().all(|(ids, _)| ids.len() == *n));
        Ok(Self {
            runs,
            n_tokens,
            known: RefCell::default(),
        })
    }

    /// Whether there is a mean of its own for each position: the prompts have the same number of tokens.
    pub const fn is_per_position(&self) -> bool {
        self.n_tokens.is_some()
    }

    /// `[pos, width]` where the means are per position; else one row, over all positions but those of the beginning of
    /// text.
    pub(super) fn of(
        &self,
        engine: &crate::model::transformer::Transformer,
        site: Site,
    ) -> Result<Rc<[f32]>, String> {
        if let Some(mean) = self.known.borrow().get(&site) {
            return Ok(Rc::clone(mean));
        }
        let mut sums: Vec<f64> = Vec::new();
        let mut count = 0usize;
        for (kept, bos_count) in &self.runs {
            let values = engine
                .values_at(kept, site)
                .map_err(|error| format!("the values at {site} could not be computed: {error}"))?;
            let width = values.len() / kept.n_tokens();
            let add = |sums: &mut Vec<f64>, row: &[f32]| {
                sums.resize(row.len(), 0.0);
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*x);
                }
            };
            if self.is_per_position() {
                add(&mut sums, &values);
                count += 1;
            } else {
                for row in values.chunks_exact(width).skip(*bos_count) {
                    add(&mut sums, row);
                    count += 1;
                }
            }
        }
        if count == 0 {
            return Err(
                "the set has no token besides beginning-of-text to take a mean over".into(),
            );
        }
        let mean: Rc<[f32]> = sums.iter().map(|sum| (sum / count as f64) as f32).collect();
        self.known.borrow_mut().insert(site, Rc::clone(&mean));
        Ok(mean)
    }
}
