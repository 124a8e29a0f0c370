//! Many edited runs of one prompt at once: every head ablated in turn, every layer patched. Exact, like one run after
//! the other, and far cheaper (specs of the method: each run starts at the first layer that its edits touch, and the
//! runs under way pass each layer as one batch, so that a layer's weights are read once for all).
//!
//! Where a run's edits touch only the position that is read, and no token sees a later one, a single row is computed;
//! the rows before it are those of the unedited run.

use super::RunSpec;
use super::engine::{Engine, RunError, Unwatched};
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

impl Engine {
    /// Runs `spec` once for each list of edits (instead of its own), and reads the logits of `tokens` (of all, where
    /// it is `None`) at its position: `[variant][token]`. `go_on` hears the finished fraction, and may stop it.
    pub fn sweep(
        &mut self,
        spec: &RunSpec,
        variants: &[Vec<Edit>],
        tokens: Option<&[u32]>,
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<SweepLogits, RunError> {
        let mut spec = RunSpec {
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

        let (mut rows, mut wholes) = (vec![], vec![]);
        for (index, edits) in variants.iter().enumerate() {
            spec.edits.clone_from(edits);
            let plan = self.plan(&spec)?;
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
