//! Maps of all heads on the prompts that choose: attribution, the effect of two factors, and the last row cut off from the
//! stated answer.

use crate::analysis::attribution::{Summands, summands};
use crate::analysis::{AnalysisError, Case, Cell, HeadScores, Report, Table};
use crate::edit::{Edit, Op};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Reading, RunSpec};
use crate::ids::HeadId;
use crate::model::site::{Part, Site};

use super::scaling::{By, Group, Scaling, edges};
use super::{Settings, map_of, table};

/// The factors by which is seen which heads move the answer.
const PROBES: [f64; 2] = [0.0, 3.0];

/// Means over prompts, `[layer, head]` each.
pub(super) struct Maps {
    n_heads: usize,
    /// What each head adds to in-context minus memorised; `None` where logits are no sum.
    pub(super) attribution: Option<Vec<f32>>,
    /// The change of the difference when each head is scaled by each of [`PROBES`]; `None` where that is not asked for.
    effects: Option<[Vec<f32>; 2]>,
    /// The change when the read position's row cannot see the stated answer; blank where no prompt names its place.
    cut: Vec<Option<f32>>,
    /// The parts of the difference and their sum, beside the model's own difference.
    parts: Option<Table>,
    notes: Vec<String>,
}

impl Maps {
    pub(super) fn over(
        engine: &mut Engine,
        cases: &[&Case],
        settings: &Settings,
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Self, AnalysisError> {
        let (raw, probes) = (
            settings.raw,
            settings.by_effect && settings.heads.is_empty(),
        );
        let spec = engine.model().spec.clone();
        let n = spec.n_layers * spec.n_heads;
        let heads: Vec<HeadId> = (0..n)
            .map(|i| HeadId::new(i / spec.n_heads, i % spec.n_heads))
            .collect();
        let mut attributions = Vec::new();
        let mut all_summands = Vec::new();
        let mut effects: [Vec<f64>; 2] = [vec![0.0; n], vec![0.0; n]];
        let mut cut = vec![(0.0, 0usize); n];
        let (mut plain_sum, mut notes) = (0.0, Vec::new());
        for (i, case) in cases.iter().enumerate() {
            let Some(pair) = case.pair() else { continue };
            let own = RunSpec {
                edits: vec![],
                ..case.spec.clone()
            };
            match summands(engine, &own, pair) {
                Ok(found) => {
                    attributions.push(if raw {
                        bare(engine, &own, pair)?
                    } else {
                        found.heads.clone()
                    });
                    all_summands.push(found);
                }
                Err(AnalysisError::Needs(reason)) if i == 0 => notes.push(reason),
                Err(AnalysisError::Needs(_)) => {}
                Err(error) => return Err(error),
            }
            let mut variants = vec![vec![]];
            for alpha in PROBES.into_iter().filter(|_| probes) {
                variants.extend(heads.iter().map(|head| {
                    let scaling = Scaling {
                        group: Group::new(vec![*head]),
                        factor: alpha,
                    };
                    scaling.edits(settings.by, case, &spec.masks)
                }));
            }
            let cuts: Vec<Option<Vec<Edit>>> = heads
                .iter()
                .map(|head| cut_off(case, *head, spec.masks[head.layer]))
                .collect();
            variants.extend(cuts.iter().flatten().cloned());
            let tokens = [pair.0, pair.1];
            let swept = engine.sweep(&own, &variants, Reading::of(&tokens), &mut |part| {
                go_on((i as f32 + part) / cases.len() as f32)
            })?;
            let difference = |logits: &[f32]| f64::from(logits[0]) - f64::from(logits[1]);
            let plain = difference(&swept[0]);
            plain_sum += plain;
            let mut changes = swept[1..].iter().map(|logits| difference(logits) - plain);
            for sums in effects.iter_mut().filter(|_| probes) {
                for (sum, change) in sums.iter_mut().zip(changes.by_ref().take(n)) {
                    *sum += change;
                }
            }
            for (sum, _) in cut
                .iter_mut()
                .zip(&cuts)
                .filter(|(_, edits)| edits.is_some())
            {
                sum.0 += changes.next().unwrap_or_default();
                sum.1 += 1;
            }
            if !go_on((i + 1) as f32 / cases.len() as f32) {
                return Err(RunError::Stopped.into());
            }
        }
        let count = cases.len().max(1) as f64;
        let mean = |sums: Vec<f64>| sums.into_iter().map(|sum| (sum / count) as f32).collect();
        if spec.logit_cap.is_some() && !all_summands.is_empty() {
            notes.push(
                "this model caps its logits: the sum is the difference before the cap".into(),
            );
        }
        if raw && !attributions.is_empty() {
            notes.push(
                "raw attribution: z W_O · (W_U of the stated − W_U of the remembered answer), no norm in between".into(),
            );
        }
        Ok(Self {
            n_heads: spec.n_heads,
            attribution: mean_of(&attributions),
            effects: probes.then(|| effects.map(mean)),
            cut: cut
                .into_iter()
                .map(|(sum, n)| (n > 0).then(|| (sum / n as f64) as f32))
                .collect(),
            parts: parts(&all_summands, plain_sum / count),
            notes,
        })
    }

    /// The change from ×0 to ×3: what candidates are taken from.
    pub(super) fn reach(&self) -> Option<Vec<f32>> {
        let [off, tripled] = self.effects.as_ref()?;
        Some(off.iter().zip(tripled).map(|(off, on)| on - off).collect())
    }

    pub(super) fn attribution_of(&self, head: HeadId) -> Option<f32> {
        let map = self.attribution.as_ref()?;
        map.get(head.layer * self.n_heads + head.head).copied()
    }

    /// What heads add together.
    pub(super) fn attribution_of_group(&self, group: &Group) -> Option<f32> {
        let heads = group.heads().iter();
        heads.map(|head| self.attribution_of(*head)).sum()
    }

    /// A group's attribution and its two effects, which are known of single heads.
    pub(super) fn cells(&self, group: &Group) -> [Cell; 3] {
        let effect = |probe: usize| {
            let (maps, head) = self.effects.as_ref().zip(group.single())?;
            Some(maps[probe][head.layer * self.n_heads + head.head])
        };
        [
            self.attribution_of_group(group).into(),
            effect(0).into(),
            effect(1).into(),
        ]
    }

    pub(super) fn report(&self, report: &mut Report, shape: (usize, usize), by: By) {
        let some = |map: &[f32]| map.iter().copied().map(Some).collect::<Vec<_>>();
        let mut add = |name: &str, about: &str, values: &[Option<f32>]| {
            let map: HeadScores = map_of(name, about, shape, values);
            report.scores.push(map);
        };
        if let Some(map) = &self.attribution {
            let about = "what the head adds to in-context minus memorised by itself: above 0 for the statement, below 0 for \
                         what is remembered";
            add("attribution", about, &some(map));
        }
        if let Some([off, tripled]) = &self.effects {
            let about = |factor: f64| {
                let what = by.what();
                format!(
                    "change of in-context minus memorised when {what} is multiplied by {factor}"
                )
            };
            add("effect_off", &about(PROBES[0]), &some(off));
            add("effect_tripled", &about(PROBES[1]), &some(tripled));
        }
        if self.cut.iter().any(Option::is_some) {
            let about = "change of in-context minus memorised when the head's last row cannot see the stated answer: the weight, \
                         not the score, times 0";
            add("cut", about, &self.cut);
        }
        report.tables.extend(self.parts.clone());
        report.notes.extend(self.notes.iter().cloned());
    }
}

/// The read position's row without the stated answer's place; `None` where the head does not see it anyway.
fn cut_off(case: &Case, head: HeadId, mask: crate::mask::Mask) -> Option<Vec<Edit>> {
    let edits: Vec<Edit> = edges(case, head, mask)
        .map(|edge| Edit::new(edge, Op::Knockout))
        .collect();
    // A row keeps a key, or there is nothing to renormalise.
    let n_keys = mask.keys(case.spec.position, case.spec.ids.len()).len();
    (!edits.is_empty() && edits.len() < n_keys).then_some(edits)
}

/// z W_O · (W_U of the first − W_U of the second), `[layer, head]`.
fn bare(
    engine: &mut Engine,
    spec: &RunSpec,
    (stated, remembered): (u32, u32),
) -> Result<Vec<f32>, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let (d, d_head, n_heads) = (model.spec.d_model, model.spec.d_head, model.spec.n_heads);
    let unembed = model.unembedding(&[stated, remembered])?;
    let direction: Vec<f64> = unembed
        .iter()
        .zip(unembed.iter().skip(d))
        .map(|(a, b)| f64::from(*a) - f64::from(*b))
        .collect();
    let sites: Vec<Site> = (0..model.spec.n_layers)
        .map(|layer| Site::Block(layer, Part::Z))
        .collect();
    let width = n_heads * d_head;
    let mut found = Vec::new();
    for (layer, dumped) in engine.dump(spec, &sites)?.iter().enumerate() {
        let z = &dumped.values[spec.position * width..][..width];
        for (head, z) in z.chunks_exact(d_head).enumerate() {
            let o = model.head_weights(HeadId::new(layer, head))?.o;
            let rows = o.chunks_exact(d_head).zip(&direction);
            let sum: f64 = rows
                .map(|(row, along)| {
                    let of = row
                        .iter()
                        .zip(z)
                        .map(|(o, z)| f64::from(*o) * f64::from(*z));
                    of.sum::<f64>() * along
                })
                .sum();
            found.push(sum as f32);
        }
    }
    Ok(found)
}

fn mean_of(maps: &[Vec<f32>]) -> Option<Vec<f32>> {
    let n = maps.first()?.len();
    let mean = |i: usize| maps.iter().map(|map| f64::from(map[i])).sum::<f64>() / maps.len() as f64;
    Some((0..n).map(|i| mean(i) as f32).collect())
}

/// The mean parts of the difference; their sum is the model's own (check C0).
fn parts(found: &[Summands], difference: f64) -> Option<Table> {
    if found.is_empty() {
        return None;
    }
    let mean =
        |of: &dyn Fn(&Summands) -> f64| found.iter().map(of).sum::<f64>() / found.len() as f64;
    let sum = |list: &[f32]| list.iter().map(|x| f64::from(*x)).sum::<f64>();
    let rows = [
        ("embed", mean(&|s| f64::from(s.embed))),
        ("heads", mean(&|s| sum(&s.heads))),
        ("b_O", mean(&|s| sum(&s.biases))),
        ("MLPs", mean(&|s| sum(&s.mlps))),
        ("rest (biases)", mean(&|s| f64::from(s.rest))),
        ("sum", mean(&Summands::sum)),
        ("logit difference", difference),
    ];
    let rows = rows.map(|(name, value)| vec![Cell::from(name), Cell::from(value)]);
    Some(table(
        "parts",
        &["part", "in-context minus memorised"],
        rows.into(),
    ))
}
