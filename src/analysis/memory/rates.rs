//! How often each answer is what the model says.

use crate::analysis::{AnalysisError, Case};
use crate::experiment::engine::Engine;
use crate::experiment::{Reading, RunSpec};

use super::scaling::{By, Scaling};

/// Logits that are held at once: 256 MB.
const MOST_LOGITS: usize = 64 << 20;

/// Shares of prompts, and means over them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) in_context: f64,
    pub(super) memorised: f64,
    /// Of the stated and of the remembered answer.
    pub(super) logits: [f64; 2],
    pub(super) probabilities: [f64; 2],
}

impl Rates {
    /// In-context minus memorised logit.
    pub(super) fn difference(&self) -> f64 {
        self.logits[0] - self.logits[1]
    }

    pub(super) fn other(&self) -> f64 {
        // Rounding makes no share negative.
        (1.0 - self.in_context - self.memorised).max(0.0)
    }
}

/// The rates under each scaling. The first answer token decides, greedily.
pub(super) fn rates(
    engine: &mut Engine,
    cases: &[&Case],
    by: By,
    scalings: &[Scaling],
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<Rates>, AnalysisError> {
    let masks = engine.model().spec.masks.clone();
    let mut sums = vec![Rates::default(); scalings.len()];
    let size = (MOST_LOGITS / engine.model().spec.n_vocab).max(1);
    let total = (cases.len() * scalings.len()).max(1) as f32;
    let mut done = 0;
    for case in cases {
        let Some(pair) = case.pair() else {
            continue;
        };
        for (scalings, sums) in scalings.chunks(size).zip(sums.chunks_mut(size)) {
            let of_chunk = scalings.len() as f32;
            let variants: Vec<_> = scalings
                .iter()
                .map(|scaling| scaling.edits(by, case, &masks))
                .collect();
            let swept = engine.sweep(&case.spec, &variants, Reading::default(), &mut |part| {
                go_on((done as f32 + part * of_chunk) / total)
            })?;
            for (sum, logits) in sums.iter_mut().zip(&swept) {
                add(sum, logits, pair);
            }
            done += scalings.len();
        }
    }
    let n = cases.len().max(1) as f64;
    for sum in &mut sums {
        sum.in_context /= n;
        sum.memorised /= n;
        for value in sum.logits.iter_mut().chain(&mut sum.probabilities) {
            *value /= n;
        }
    }
    Ok(sums)
}

fn add(sum: &mut Rates, logits: &[f32], (stated, remembered): (u32, u32)) {
    let top = likeliest(logits);
    sum.in_context += f64::from(u8::from(top == Some(stated)));
    sum.memorised += f64::from(u8::from(top == Some(remembered)));
    let logit = |id: u32| logits.get(id as usize).copied().unwrap_or_default();
    let peak = top.map_or(0.0, logit);
    let whole: f64 = logits.iter().map(|x| f64::from((x - peak).exp())).sum();
    for (i, id) in [stated, remembered].into_iter().enumerate() {
        sum.logits[i] += f64::from(logit(id));
        sum.probabilities[i] += f64::from(logit(id) - peak).exp() / whole;
    }
}

/// The likeliest token after an unedited prompt.
pub(super) fn said(engine: &mut Engine, spec: &RunSpec) -> Result<Option<u32>, AnalysisError> {
    let logits = engine.sweep(spec, &[vec![]], Reading::default(), &mut |_| true)?;
    Ok(logits.first().and_then(|logits| likeliest(logits)))
}

pub(super) fn verdict(case: &Case, said: Option<u32>) -> &'static str {
    match (said, case.pair()) {
        (Some(id), Some((stated, _))) if id == stated => "in_context",
        (Some(id), Some((_, remembered))) if id == remembered => "memorised",
        _ => "other",
    }
}

/// The largest logit's token; of equal ones the first. `None` where none is a number.
pub(super) fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (id, logit) in logits.iter().enumerate() {
        if !logit.is_nan() && best.is_none_or(|(_, most)| *logit > most) {
            best = Some((id as u32, *logit));
        }
    }
    best.map(|(id, _)| id)
}

/// Spearman's, with mean ranks of ties; `None` where either side is constant.
pub(super) fn rank_correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    correlation(&ranks(x), &ranks(y))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let same = values
            .iter()
            .filter(|other| other.total_cmp(value).is_eq())
            .count();
        below as f64 + (same as f64 - 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

fn correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    let n = x.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (of_x, of_y) = (mean(x), mean(y));
    let pairs = || x.iter().zip(y).map(|(x, y)| (x - of_x, y - of_y));
    let both: f64 = pairs().map(|(x, y)| x * y).sum();
    let squares: f64 =
        pairs().map(|(x, _)| x * x).sum::<f64>() * pairs().map(|(_, y)| y * y).sum::<f64>();
    (squares > 0.0).then(|| both / squares.sqrt())
}
