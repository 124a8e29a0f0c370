//! Path patching (Wang et al. 2022, "Interpretability in the wild", section 3.2 and its appendix): what a head, the sender,
//! says of another prompt reaches the logits only by what later parts, the receivers, then read.
//!
//! First pass: z of the sender at the read position is the contrast's, later attention there stays as it was, MLPs and
//! norms follow; what is to be handed on is noted. Second pass: an unedited run, but for what was noted. Both are single
//! rows, since no earlier position is touched and none sees a later one.

mod mlps;
mod queries;

use std::collections::{BTreeMap, BTreeSet};

use super::engine::{Engine, RunError, Unwatched};
use super::{Reading, RunSpec};
use crate::edit::{Edit, Op, Positions, Target};
use crate::ids::HeadId;
use crate::model::plan::{Change, Entry, Plan, RowEdit};
use crate::model::site::{Part, Site};

/// Rows at sites in the first pass, each with the index of its sender.
type Noted = BTreeMap<Site, Vec<(usize, Vec<f32>)>>;

impl Engine {
    /// `spec` without its edits, with its unedited run kept.
    fn prepared(&mut self, spec: &RunSpec) -> Result<RunSpec, RunError> {
        if !self.model().spec.is_causal() {
            return Err(RunError::NotCausal);
        }
        let spec = RunSpec {
            edits: vec![],
            ..spec.clone()
        };
        self.check(&spec)?;
        self.unedited(&spec, &mut Unwatched)?;
        Ok(spec)
    }

    /// What the sites in blocks have at `spec`'s position once a sender is patched; senders that come too late have no row.
    fn first_pass(
        &mut self,
        spec: &RunSpec,
        senders: &[HeadId],
        sites: &BTreeSet<Site>,
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Noted, RunError> {
        let shape = self.model().spec.clone();
        let mut noted = Noted::new();
        let layer_of = |site: &Site| match site {
            Site::Block(layer, _) => Some(*layer),
            _ => None,
        };
        let Some(last) = sites.iter().filter_map(layer_of).max() else {
            return Ok(noted);
        };
        let mut order: Vec<usize> = (0..senders.len())
            .filter(|i| senders[*i].layer <= last)
            .collect();
        order.sort_by_key(|i| senders[*i].layer);
        let Some(first) = order.first().map(|i| senders[*i].layer) else {
            return Ok(noted);
        };
        let resample = |i: &usize| {
            vec![Edit {
                target: Target::Head(senders[*i]),
                op: Op::Resample,
                at: Positions::At(vec![spec.position]),
            }]
        };
        let edits: Vec<Vec<Edit>> = order.iter().map(resample).collect();
        let mut patched = self.plans(spec, &edits, None)?;
        let (transformer, kept) = (&self.model().transformer, self.own_kept()?);
        for layer in first + 1..=last {
            let site = Site::Block(layer, Part::AttnOut);
            let values = transformer.values_at(kept, site)?;
            let own = &values[spec.position * shape.d_model..][..shape.d_model];
            let freeze = fill(spec.position, 0, own);
            for (i, plan) in order.iter().zip(&mut patched) {
                if senders[*i].layer < layer {
                    plan.rows.entry(site).or_default().push(freeze.clone());
                }
            }
        }
        let past = transformer.past(kept, &Plan::default(), spec.position)?;
        let mut forward = transformer.gather_row(&past, first, sites);
        let mut waiting = order.iter().zip(&patched).peekable();
        let mut under_way: Vec<usize> = Vec::new();
        while forward.next_layer() <= last {
            let layer = forward.next_layer();
            if !go_on((layer - first) as f32 / (last + 1 - first) as f32) {
                return Err(RunError::Stopped);
            }
            while let Some((i, plan)) = waiting.next_if(|(i, _)| senders[**i].layer == layer) {
                let after_z = Entry {
                    layer,
                    after_pattern: true,
                };
                forward.join(kept, after_z, plan)?;
                under_way.push(*i);
            }
            let mut recorded = forward.step()?.unwrap_or_default();
            let lacks = |site: &Site| layer_of(site) == Some(layer) && !recorded.contains_key(site);
            // The last layer ends at its z.
            if layer + 1 == shape.n_layers && sites.iter().any(lacks) {
                forward.finish(Some(&[spec.position]))?;
                recorded.append(&mut forward.recorded());
            }
            for (site, values) in recorded {
                // Those that joined here have their attention from the kept run: they come last, and have no row before z.
                let width = values.elem_count() / values.dim(0)?;
                let values: Vec<f32> = values.flatten_all()?.to_vec1()?;
                let rows = under_way.iter().copied().zip(values.chunks_exact(width));
                let rows = rows.map(|(i, row)| (i, row.to_vec()));
                noted.insert(site, rows.collect());
            }
        }
        Ok(noted)
    }

    /// Logits of `tokens` at `spec`'s position under each plan; `None` where there is none.
    fn second_pass(
        &mut self,
        spec: &RunSpec,
        plans: &[Option<Plan>],
        tokens: &[u32],
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Vec<Option<Vec<f32>>>, RunError> {
        let plain = self.plain_reading(spec, Some(tokens), &[])?;
        let own: Vec<Plan> = plans.iter().flatten().cloned().collect();
        let results = vec![plain; own.len()];
        let found = self.run_plans(spec, own, Reading::of(tokens), results, go_on)?;
        let mut found = found.into_iter();
        let of = |plan: &Option<Plan>| plan.as_ref().and_then(|_| found.next());
        Ok(plans.iter().map(of).collect())
    }
}

/// Columns from `start` on become `values`, at one position.
fn fill(position: usize, start: usize, values: &[f32]) -> RowEdit {
    RowEdit {
        columns: start..start + values.len(),
        positions: vec![position],
        change: Change::Fill(values.to_vec()),
    }
}
