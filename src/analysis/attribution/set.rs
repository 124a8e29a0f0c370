//! The attribution of a set: means over prompts, how far they spread, and each prompt's sum.

use super::summands::{Summands, summands};
use super::views::{bars, strongest};
use super::{AnalysisError, Case, Progress, check, step};
use crate::analysis::ablation::spread;
use crate::analysis::report::{Cell, HeadScores, Report, Scale, Table};
use crate::experiment::engine::Engine;
use crate::ids::HeadId;

/// The mean summands of all prompts that have two answers.
pub(super) fn report(
    engine: &mut Engine,
    cases: &[Case],
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    check(&model)?;
    let pairs: Vec<(&Case, (u32, u32))> = cases
        .iter()
        .filter_map(|case| Some((case, case.pair()?)))
        .collect();
    if pairs.is_empty() {
        return Err(AnalysisError::needs(
            "attribution is of a logit difference, and the set has no wrong answers: choose one that has",
        ));
    }
    let n_heads = model.spec.n_heads;
    let mut all: Vec<Summands> = Vec::with_capacity(pairs.len());
    let mut rows = Vec::with_capacity(pairs.len());
    for (done, (case, pair)) in pairs.iter().enumerate() {
        step(progress, done as f32 / pairs.len() as f32)?;
        let found = summands(engine, &case.spec, *pair)?;
        let best = strongest(&found.heads, 1)
            .first()
            .copied()
            .unwrap_or_default();
        rows.push(vec![
            Cell::from(case.label.clone()),
            Cell::from(found.sum()),
            Cell::from(HeadId::new(best / n_heads, best % n_heads).to_string()),
            Cell::from(found.heads[best]),
        ]);
        all.push(found);
    }
    let mut report = Report::new("attribute").with("prompts", pairs.len());
    let maps: Vec<Vec<Option<f32>>> = all
        .iter()
        .map(|found| found.heads.iter().copied().map(Some).collect())
        .collect();
    let shape = (model.spec.n_layers, n_heads);
    let of =
        |values: Vec<Option<f32>>| move |head: HeadId| values[head.layer * n_heads + head.head];
    report.scores.push(HeadScores::of_heads(
        "attribution",
        "what the head adds to the logit difference by itself, mean over prompts",
        Scale::Signed,
        shape,
        of(HeadScores::mean(&maps)),
    ));
    if maps.len() > 1 {
        report.scores.push(HeadScores::of_heads(
            "spread",
            "standard deviation of the attribution over prompts",
            Scale::Positive,
            shape,
            of(spread(&maps)),
        ));
    }
    report.bars.push(bars(&mean(&all)));
    report.tables.push(Table {
        name: "prompts".into(),
        columns: ["prompt", "logit difference", "strongest head", "its share"]
            .map(str::to_owned)
            .into(),
        rows,
    });
    if pairs.len() < cases.len() {
        report.note(format!(
            "{} prompts without a wrong answer are left out",
            cases.len() - pairs.len()
        ));
    }
    Ok(report)
}

/// The mean of each summand.
fn mean(all: &[Summands]) -> Summands {
    let n = all.len() as f32;
    let one = |of: fn(&Summands) -> f32| all.iter().map(of).sum::<f32>() / n;
    let list = |of: fn(&Summands) -> &Vec<f32>| -> Vec<f32> {
        (0..of(&all[0]).len())
            .map(|i| all.iter().map(|found| of(found)[i]).sum::<f32>() / n)
            .collect()
    };
    Summands {
        embed: one(|found| found.embed),
        heads: list(|found| &found.heads),
        biases: list(|found| &found.biases),
        mlps: list(|found| &found.mlps),
        rest: one(|found| found.rest),
        edits: one(|found| found.edits),
    }
}
