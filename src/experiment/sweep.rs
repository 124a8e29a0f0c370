//! Many edited runs of one prompt at once: every head ablated in turn, every layer patched. Exact, like one run after
//! the other, and far cheaper (specs of the method: each run starts at the first layer that its edits touch, and the
//! runs under way pass each layer as one batch, so that a layer's weights are read once for all).
//!
//! Where a run's edits touch only the position that is read, and no token sees a later one, a single row is computed;
//! the rows before it are those of the unedited run.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{Effect, direct_change, freeze, frozen, has_direct_path};
use super::engine::{Engine, RunError, Unwatched};
use super::{Means, RunSpec};
use crate::edit::Edit;
use crate::model::forward::Forward;
use crate::model::plan::{Entry, Plan};

/// Rows that a batch may have; beyond it batches follow one another, so that memory stays bounded.
const MOST_ROWS: usize = 4096;

/// The logits of each variant at the read position, in the order of the variants.
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
    /// Whose logits; of all tokens where it is `None`.
    pub tokens: Option<&'a [u32]>,
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
        let plain = self.unedited(&spec, &mut Unwatched)?;
        let plain = plain.logits.ok_or(RunError::NoLogits)?;
        let plain = match tokens {
            Some(tokens) => tokens.iter().map(|id| plain[*id as usize]).collect(),
            None => plain.to_vec(),
        };
        let mut results = vec![plain; variants.len()];
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

        let (mut rows, mut wholes) = (vec![], vec![]);
        for (index, plan) in plans.into_iter().enumerate() {
            // A variant that changes nothing has the plain logits already.
            if let Some(entry) = plan.first_difference(&Plan::default()) {
                let one_row = self.model().spec.is_causal() && plan.touches_only(spec.position);
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
        let total = (rows.len() + wholes.len()).max(1) as f32;
        let mut done = 0;
        let mut run = |variants: &mut [Variant], n_rows: usize, past| {
            variants.sort_by_key(|variant| variant.entry);
            for batch in variants.chunks((MOST_ROWS / n_rows).max(1)) {
                let first = batch[0].entry.layer;
                let mut forward = match past {
                    Some(past) => transformer.gather_row(past, first),
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
                let logits = read(&mut forward, spec.position, tokens)?;
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
}

impl Engine {
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
