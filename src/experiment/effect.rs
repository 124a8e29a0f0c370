//! Which paths of an edit's effect are read: all of them, those that leave later patterns as they are, or the direct one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::engine::RunError;
use crate::model::Model;
use crate::model::plan::{NewRow, PatternRow, PatternRows, Plan};
use crate::model::site::{Part, Site};
use crate::model::spec::{Head, Placement};
use crate::model::transformer::Kept;

use super::LayerMaps;

/// What of an edit reaches the logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Everything that follows from it.
    #[default]
    Total,
    /// Later layers attend as in the unedited run: only what is moved changes, not where from.
    FrozenPatterns,
    /// Straight from the edited place into the final stream; no later layer and not the final norm's scale answer to it.
    Direct,
}

impl Effect {
    pub const ALL: [Self; 3] = [Self::Total, Self::FrozenPatterns, Self::Direct];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::FrozenPatterns => "frozen-patterns",
            Self::Direct => "direct",
        }
    }
}

/// The pattern rows of an unedited run, layer by layer, as rows that a plan may give to a later pass.
pub(super) fn frozen(layers: &[Arc<LayerMaps>]) -> Vec<Arc<PatternRows>> {
    layers
        .iter()
        .map(|maps| {
            let patterns = &maps.patterns;
            let n = patterns.n_tokens();
            let mut rows = PatternRows::new();
            for head in 0..patterns.n_heads() {
                let map = patterns.head(head);
                for query in 0..n {
                    let row: Arc<[f32]> = map[query * n..(query + 1) * n].into();
                    rows.insert(PatternRow { head, query }, NewRow::Given(row));
                }
            }
            Arc::new(rows)
        })
        .collect()
}

/// `plan`, with the patterns of the layers after its first edit as given.
pub(super) fn freeze(plan: &mut Plan, rows: &[Arc<PatternRows>]) {
    let Some(first) = plan.first_difference(&Plan::default()) else {
        return;
    };
    for (layer, rows) in rows.iter().enumerate().skip(first.layer + 1) {
        let own = plan.patterns.get(&layer).cloned().unwrap_or_default();
        let merged = if own.is_empty() {
            Arc::clone(rows)
        } else {
            // Edits of these patterns stay.
            let mut merged = PatternRows::clone(rows);
            merged.extend(own.iter().map(|(row, new)| (*row, new.clone())));
            Arc::new(merged)
        };
        plan.patterns.insert(layer, merged);
        plan.knockouts.remove(&layer);
        plan.scaled.remove(&layer);
    }
}

/// What the edited places add to the final stream at `position`, `[d_model]`, if nothing between answers to it.
/// `known` keeps the unedited values: variants of a sweep ask for the same sites.
pub(super) fn direct_change(
    model: &Model,
    kept: &Kept,
    plan: &Plan,
    position: usize,
    known: &mut BTreeMap<Site, Vec<f32>>,
) -> Result<Vec<f32>, RunError> {
    let d_model = model.spec.d_model;
    let mut change = vec![0.0; d_model];
    for (site, part) in parts(plan) {
        let plain = match known.entry(site) {
            Entry::Occupied(plain) => plain.into_mut(),
            Entry::Vacant(place) => place.insert(model.transformer.values_at(kept, site)?),
        };
        let edited = model.transformer.values_under(kept, site, &part)?;
        let at = position * d_model..(position + 1) * d_model;
        for ((sum, new), old) in change.iter_mut().zip(&edited[at.clone()]).zip(&plain[at]) {
            *sum += new - old;
        }
    }
    Ok(change)
}

/// The edits of a plan by what they add to the stream: attention's outputs, the MLPs', the stream itself.
fn parts(plan: &Plan) -> BTreeMap<Site, Plan> {
    let mut parts: BTreeMap<Site, Plan> = BTreeMap::new();
    for (site, edits) in &plan.rows {
        let Site::Block(layer, part) = *site else {
            continue;
        };
        let seen_at = match part {
            Part::ResidPre | Part::ResidPost | Part::NormalizedResidPost | Part::MlpOut => part,
            _ => Part::AttnOut,
        };
        let of = parts.entry(Site::Block(layer, seen_at)).or_default();
        of.rows.insert(*site, edits.clone());
    }
    for (layer, edges) in &plan.knockouts {
        let of = parts.entry(Site::Block(*layer, Part::AttnOut)).or_default();
        of.knockouts.insert(*layer, edges.clone());
    }
    for (layer, edges) in &plan.scaled {
        let of = parts.entry(Site::Block(*layer, Part::AttnOut)).or_default();
        of.scaled.insert(*layer, edges.clone());
    }
    for (layer, rows) in &plan.patterns {
        let of = parts.entry(Site::Block(*layer, Part::AttnOut)).or_default();
        of.patterns.insert(*layer, Arc::clone(rows));
    }
    parts
}

/// Whether what is added to the stream reaches the logits by one norm and a product.
pub(super) fn has_direct_path(model: &Model) -> bool {
    model.spec.placement != Placement::Post && matches!(model.spec.head, Head::NextToken)
}
