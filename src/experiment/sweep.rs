//! Many edited runs of one prompt at once: every head ablated in turn, every layer patched. Exact, like one run after
//! the other, and far cheaper (specs of the method: each run starts at the first layer that its edits touch, and the
//! runs under way pass each layer as one batch, so that a layer's weights are read once for all).
//!
//! Where a run's edits touch only the position that is read, and no token sees a later one, a single row is computed;
//! the rows before it are those of the unedited run.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{Effect, direct_change, freeze, frozen, has_direct_path};
use super::engine::{Engine, RunError, Unwatched};
use super::{Means, Readout, RunSpec};
use crate::edit::Edit;
use crate::model::forward::Forward;
use crate::model::plan::{Entry, Plan};

/// Rows that a batch may have; beyond it batches follow one another, so that memory stays bounded.
pub const MOST_ROWS: usize = 4096;

/// What was read of each variant, in the order of the variants: logits, or what its [`Reading`] asks for.
pub type SweepLogits = Vec<Vec<f32>>;

/// One edited run of a sweep.
struct Variant {
    index: usize,
    plan: Plan,
    entry: Entry,
}

/// What of each variant is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'a> {
    /// Whose logits at the read position; of all tokens where it is `None`.
    pub tokens: Option<&'a [u32]>,
    /// Instead of logits: ln of the probability of a token after a position, for each of these (positions rising). What a
    /// text of several tokens is worth, with its tokens in the prompt.
    pub follow: &'a [(usize, u32)],
    pub effect: Effect,
    /// What `mean` fills in, where it is not taken over the prompt itself.
    pub means: Option<&'a Means>,
}

impl Reading<'_> {
    /// The total effect on the logits of these tokens.
    pub fn of(tokens: &[u32]) -> Reading<'_> {
        Reading {
            tokens: Some(tokens),
            ..Reading::default()
        }
    }
}

impl Engine {
    /// Runs `spec` once for each list of edits (instead of its own), and reads logits at its position:
    /// `[variant][token]`. `go_on` hears the finished fraction, and may stop it.
    pub fn sweep(
        &mut self,
        spec: &RunSpec,
        variants: &[Vec<Edit>],
        reading: Reading<'_>,
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<SweepLogits, RunError> {
        let Reading {
            tokens,
            follow,
            effect,
            means,
        } = reading;
        if effect == Effect::Direct && !has_direct_path(self.model()) {
            return Err(RunError::NoDirectPath);
        }
        let spec = RunSpec {
            edits: vec![],
            ..spec.clone()
        };
        self.check(&spec)?;
        if let Some((position, _)) = follow.iter().find(|(at, _)| *at >= spec.ids.len()) {
            return Err(RunError::NoSuchPosition {
                position: *position,
                n_tokens: spec.ids.len(),
            });
        }
        if effect == Effect::Direct && !follow.is_empty() {
            return Err(RunError::DirectOfSeveral);
        }
        let plain = self.plain_reading(&spec, tokens, follow)?;
        let results = vec![plain; variants.len()];
        let mut plans = self.plans(&spec, variants, means)?;
        match effect {
            Effect::Total => {}
            Effect::FrozenPatterns => {
                let rows = frozen(self.own_layers()?);
                for plan in &mut plans {
                    freeze(plan, &rows);
                }
            }
            Effect::Direct => return self.direct(&spec, &plans, tokens, go_on),
        }

        self.run_plans(&spec, plans, reading, results, go_on)
    }

    /// Runs a plan a variant from where it begins to change the kept unedited run, and puts what is read into `results`.
    pub(super) fn run_plans(
        &self,
        spec: &RunSpec,
        plans: Vec<Plan>,
        reading: Reading<'_>,
        mut results: SweepLogits,
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<SweepLogits, RunError> {
        let Reading { tokens, follow, .. } = reading;
        let (mut rows, mut wholes) = (vec![], vec![]);
        for (index, plan) in plans.into_iter().enumerate() {
            // A variant that changes nothing has the plain logits already.
            if let Some(entry) = plan.first_difference(&Plan::default()) {
                let one_row = follow.is_empty()
                    && self.model().spec.is_causal()
                    && plan.touches_only(spec.position);
                let variant = Variant { index, plan, entry };
                if one_row { &mut rows } else { &mut wholes }.push(variant);
            }
        }

        let transformer = &self.model().transformer;
        let kept = self.own_kept()?;
        let past = if rows.is_empty() {
            None
        } else {
            Some(transformer.past(kept, &Plan::default(), spec.position)?)
        };
        let nothing = BTreeSet::new();
        let total = (rows.len() + wholes.len()).max(1) as f32;
        let mut done = 0;
        let mut run = |variants: &mut [Variant], n_rows: usize, past| {
            variants.sort_by_key(|variant| variant.entry);
            for batch in variants.chunks((MOST_ROWS / n_rows).max(1)) {
                let first = batch[0].entry.layer;
                let mut forward = match past {
                    Some(past) => transformer.gather_row(past, first, &nothing),
                    None => transformer.gather(n_rows, first),
                };
                let mut waiting = batch.iter().peekable();
                loop {
                    if !go_on(done as f32 / total) {
                        return Err(RunError::Stopped);
                    }
                    let layer = forward.next_layer();
                    while let Some(variant) = waiting.next_if(|v| v.entry.layer == layer) {
                        forward.join(kept, variant.entry, &variant.plan)?;
                    }
                    if forward.step()?.is_none() {
                        break;
                    }
                }
                let logits = match follow {
                    [] => read(&mut forward, spec.position, tokens)?,
                    follow => read_following(&mut forward, follow)?,
                };
                for (variant, logits) in batch.iter().zip(logits) {
                    results[variant.index] = logits;
                }
                done += batch.len();
            }
            Ok(())
        };
        run(&mut rows, 1, past.as_ref())?;
        run(&mut wholes, spec.ids.len(), None)?;
        Ok(results)
    }

    /// The unedited run, read as the variants are.
    pub(super) fn plain_reading(
        &mut self,
        spec: &RunSpec,
        tokens: Option<&[u32]>,
        follow: &[(usize, u32)],
    ) -> Result<Vec<f32>, RunError> {
        let mut at = |position: usize| {
            let spec = RunSpec {
                position,
                ..spec.clone()
            };
            let pass = self.unedited(&spec, &mut Unwatched)?;
            pass.logits.ok_or(RunError::NoLogits)
        };
        if !follow.is_empty() {
            return follow
                .iter()
                .map(|(position, token)| log_prob(&at(*position)?, *token))
                .collect();
        }
        let plain = at(spec.position)?;
        Ok(match tokens {
            Some(tokens) => tokens.iter().map(|id| plain[*id as usize]).collect(),
            None => plain.to_vec(),
        })
    }

    /// The direct effects: no pass, but one layer's attention a variant where its pattern changes.
    fn direct(
        &self,
        spec: &RunSpec,
        plans: &[Plan],
        tokens: Option<&[u32]>,
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<SweepLogits, RunError> {
        let (model, kept) = (self.model(), self.own_kept()?);
        let mut changes = Vec::with_capacity(plans.len() * model.spec.d_model);
        let mut known = BTreeMap::new();
        for (i, plan) in plans.iter().enumerate() {
            if !go_on(i as f32 / plans.len() as f32) {
                return Err(RunError::Stopped);
            }
            changes.extend(direct_change(model, kept, plan, spec.position, &mut known)?);
        }
        let last = Entry {
            layer: model.spec.n_layers - 1,
            after_pattern: true,
        };
        let (plan, record) = (Plan::default(), BTreeSet::new());
        let mut forward = model.transformer.resume(kept, last, &plan, &record)?;
        forward.step()?;
        let resid = forward.finish(Some(&[spec.position]))?;
        let logits = forward.logits_beside(&resid, changes, tokens)?;
        Ok(logits.ok_or(RunError::NoDirectPath)?.to_vec2()?)
    }
}

/// The logits of every sequence at a position, `[sequence][token]`.
fn read(
    forward: &mut Forward<'_>,
    position: usize,
    tokens: Option<&[u32]>,
) -> Result<SweepLogits, RunError> {
    let resid = forward.finish(Some(&[position]))?;
    let logits = match tokens {
        Some(tokens) => forward.logits_of(resid, tokens)?,
        None => forward.logits(resid)?,
    };
    Ok(logits.ok_or(RunError::NoLogits)?.to_vec2()?)
}

/// Rows of logits over the vocabulary that are held at a time.
const LOGIT_ROWS: usize = 128;

/// ln of the probability of each token after its position, `[sequence][token]`.
fn read_following(
    forward: &mut Forward<'_>,
    follow: &[(usize, u32)],
) -> Result<SweepLogits, RunError> {
    let positions: Vec<usize> = follow.iter().map(|(position, _)| *position).collect();
    let resid = forward.finish(Some(&positions))?;
    let n_rows = resid.dim(0)?;
    let mut found = Vec::with_capacity(n_rows);
    for first in (0..n_rows).step_by(LOGIT_ROWS) {
        let rows = resid.narrow(0, first, LOGIT_ROWS.min(n_rows - first))?;
        let logits = forward.logits(rows)?.ok_or(RunError::NoLogits)?;
        for (i, row) in logits.to_vec2::<f32>()?.iter().enumerate() {
            found.push(log_prob(row, follow[(first + i) % follow.len()].1)?);
        }
    }
    Ok(found.chunks(follow.len()).map(<[f32]>::to_vec).collect())
}

fn log_prob(logits: &[f32], token: u32) -> Result<f32, RunError> {
    let found = Readout::new(logits).log_prob(token);
    let last = logits.len() - 1;
    found.map(|x| x as f32).ok_or(RunError::UnknownToken {
        which: "an answer",
        id: token,
        last,
    })
}
