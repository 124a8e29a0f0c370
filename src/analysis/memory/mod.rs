//! Does a prompt's statement win over what the model remembers, through which heads, and what does scaling one of them do?
//!
//! Yu, Merullo, Pavlick 2023 (arXiv 2310.15910; the specification's section 3): "The capital of Poland is London. Q: What is
//! the capital of Poland? A:". A case's first answer is the statement's (in-context), its first wrong one the remembered
//! (memorised) one. The heads' attribution of their logit difference names candidates, and so does, beyond the paper, the
//! total effect of scaling each; each candidate's z is then multiplied by every factor at all positions.
//!
//! Three heads are reported on: the two that the paper names, with the most positive and the most negative attribution, and
//! the one with the best rate. Factors and the third head are chosen on one part of the prompts and reported on the other.
//! Of equal rates a head's factor nearest 1 wins; of heads the larger mean logit difference. The published 10 % for choosing
//! would be two of twenty prompts: half is the default. The specification fixes no rule for candidates: several heads from
//! either end of both maps.

mod known;
mod maps;
mod rates;
mod sweep;
#[cfg(test)]
mod tests;

use crate::analysis::field::{Field, Value};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::analysis::{
    AnalysisError, Case, Cell, HeadScores, Progress, Report, Scale, Table, controls, step,
};
use crate::edit::Edit;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;

use known::{Known, known};
use maps::Maps;
use rates::rates;
use sweep::{Swept, candidates, evaluate, grids, heads_table, scaled};

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Share of the prompts on which heads and factors are chosen; the others are reported on.
    pub development: f64,
    /// What z is multiplied by.
    pub alphas: Vec<f64>,
    /// The heads that are scaled; none: candidates by attribution and by effect.
    pub heads: Vec<HeadId>,
    /// How many candidates either end of either map gives.
    pub candidates: usize,
    /// Candidates by total effect too, which costs two runs a head and prompt; without, by attribution alone.
    pub by_effect: bool,
    /// Leaves out prompts whose remembered answer the model does not give when it is asked without the statement.
    pub known_only: bool,
    /// Attribution as z W_O · W_U, without the final norm, as the paper has it.
    pub raw: bool,
    /// Random heads that are scaled by the chosen factors.
    pub draws: usize,
    pub seed: u64,
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "heads",
                "Heads that are scaled; none: chosen on the development half",
                Value::Heads(&mut self.heads),
            ),
            Field::new(
                "development",
                "Share of the prompts that heads and factors are chosen on",
                Value::Number(&mut self.development, 0.1..=0.9),
            ),
            Field::new(
                "candidates",
                "Heads of each sign that are tried",
                Value::Count(&mut self.candidates, 1..=100),
            ),
            Field::new(
                "by-effect",
                "Candidates by the effect of scaling, not by attribution alone",
                Value::Flag(&mut self.by_effect),
            ),
            Field::new(
                "known-only",
                "Only prompts whose fact the model knows",
                Value::Flag(&mut self.known_only),
            ),
            Field::new(
                "draws",
                "Random heads that the best is compared with",
                Value::Count(&mut self.draws, 5..=200),
            ),
            Field::new(
                "seed",
                "Seed of the split and the draws",
                Value::Seed(&mut self.seed),
            ),
        ]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            development: 0.5,
            alphas: (-20..=20).map(|half| f64::from(half) / 2.0).collect(),
            heads: vec![],
            candidates: 4,
            by_effect: true,
            known_only: true,
            raw: false,
            draws: controls::DRAWS,
            seed: 0,
        }
    }
}

/// The prompts, split.
struct Split<'a> {
    development: Vec<&'a Case>,
    evaluation: Vec<&'a Case>,
}

/// Behaviour, the heads' attribution, and the sweep of factors. `cases`: the answer is the statement's, the wrong one the
/// remembered one.
pub fn memory(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let shape = (model.spec.n_layers, model.spec.n_heads);
    check(cases, settings, shape)?;
    let mut report = Report::new("memory")
        .with("development", settings.development)
        .with("alphas", settings.alphas.clone())
        .with("heads", names(&settings.heads))
        .with("candidates", settings.candidates)
        .with("by_effect", settings.by_effect)
        .with("known_only", settings.known_only)
        .with("raw", settings.raw)
        .with("draws", settings.draws)
        .with("seed", settings.seed);
    let asked = known(engine, cases, settings, &mut part(progress, 0.0, 0.1))?;
    let kept = keep(cases, &asked, settings, &mut report)?;
    let split = split(&kept, settings);
    let (n_development, n_evaluation) = (split.development.len(), split.evaluation.len());
    report.settings.push(("prompts", kept.len().into()));
    report.note(format!(
        "heads and factors are chosen on {n_development} prompts; the other {n_evaluation} are reported on"
    ));
    let maps = Maps::over(
        engine,
        &split.development,
        settings,
        &mut part(progress, 0.1, 0.3),
    )?;
    maps.report(&mut report, shape);
    let heads = candidates(&maps, settings, shape);
    if heads.is_empty() {
        return Err(AnalysisError::needs(
            "no head of this model was found to move the two answers' difference: give the heads to scale by name, or look \
             for them by effect too",
        ));
    }
    if !progress.at(0.3, Some(&report)) {
        return Err(RunError::Stopped.into());
    }

    let variants: Vec<Vec<Edit>> = heads
        .iter()
        .flat_map(|head| settings.alphas.iter().map(|alpha| scaled(*head, *alpha)))
        .collect();
    let swept = Swept {
        rates: rates(
            engine,
            &split.development,
            &variants,
            &mut part(progress, 0.3, 0.75),
        )?,
        heads,
    };
    grids(&mut report, &swept, settings);
    report.tables.push(heads_table(&swept, &maps, settings));
    if !progress.at(0.75, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    let choices = swept.choices(&maps, &settings.alphas);
    evaluate(
        engine,
        &split,
        &swept.heads,
        &choices,
        settings,
        &mut report,
        progress,
    )?;
    prompts(engine, cases, &asked, &split, &mut report)?;
    step(progress, 1.0)?;
    Ok(report)
}

fn check(
    cases: &[Case],
    settings: &Settings,
    (n_layers, n_heads): (usize, usize),
) -> Result<(), AnalysisError> {
    for case in cases {
        match case.pair() {
            None => {
                return Err(AnalysisError::needs(format!(
                    "two answers are compared, that of the prompt and the remembered one, and `{}` has fewer: give both, or \
                     choose the set counterfactual_capitals",
                    case.label
                )));
            }
            Some((stated, remembered)) if stated == remembered => {
                return Err(AnalysisError::needs(format!(
                    "both answers of `{}` begin with the same token: leave the prompt out",
                    case.label
                )));
            }
            Some(_) => {}
        }
    }
    if cases.len() < 2 {
        return Err(AnalysisError::needs(
            "one part of the prompts chooses head and factor, the other is reported on: give at least two prompts",
        ));
    }
    if settings.alphas.is_empty() || settings.alphas.iter().any(|alpha| !alpha.is_finite()) {
        return Err(AnalysisError::needs(
            "scaling needs factors, and each a finite number",
        ));
    }
    if !(settings.development > 0.0 && settings.development < 1.0) {
        return Err(AnalysisError::needs(
            "the share of prompts that choose is between 0 and 1",
        ));
    }
    let unknown = |head: &&HeadId| head.layer >= n_layers || head.head >= n_heads;
    if let Some(head) = settings.heads.iter().find(unknown) {
        return Err(AnalysisError::needs(format!(
            "there is no {head}: layers are 0 to {}, heads 0 to {}",
            n_layers - 1,
            n_heads - 1
        )));
    }
    Ok(())
}

/// The prompts that count, and notes about the others.
fn keep<'a>(
    cases: &'a [Case],
    asked: &[Known],
    settings: &Settings,
    report: &mut Report,
) -> Result<Vec<&'a Case>, AnalysisError> {
    if !settings.known_only {
        return Ok(cases.iter().collect());
    }
    let count = |which| asked.iter().filter(|known| **known == which).count();
    let (unknown, unasked) = (count(Known::No), count(Known::Unasked));
    if unasked > 0 {
        report.note(format!(
            "{unasked} prompts name no place of the stated answer (`object`), so that the question alone was not asked: \
             whether the model remembers theirs is not known, and they are kept"
        ));
    }
    if unknown > 0 {
        report.note(format!(
            "{unknown} of {} prompts left out: asked without the statement, the model does not give the remembered answer",
            cases.len()
        ));
    }
    let kept: Vec<&Case> = cases
        .iter()
        .zip(asked)
        .filter(|(_, known)| **known != Known::No)
        .map(|(case, _)| case)
        .collect();
    if kept.len() < 2 {
        return Err(AnalysisError::needs(format!(
            "of {} questions asked without their statement the model answers {} as it is to remember, and two are needed: \
             take more prompts, another set, or keep those that it does not know",
            cases.len(),
            kept.len()
        )));
    }
    Ok(kept)
}

fn split<'a>(cases: &[&'a Case], settings: &Settings) -> Split<'a> {
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.seed));
    let n = (cases.len() as f64 * settings.development).round() as usize;
    let (development, evaluation) = order.split_at(n.clamp(1, cases.len() - 1));
    let of = |chosen: &[usize]| {
        let mut chosen = chosen.to_vec();
        chosen.sort_unstable();
        chosen.into_iter().map(|i| cases[i]).collect()
    };
    Split {
        development: of(development),
        evaluation: of(evaluation),
    }
}

/// What the unedited model says to each prompt.
fn prompts(
    engine: &mut Engine,
    cases: &[Case],
    asked: &[Known],
    split: &Split<'_>,
    report: &mut Report,
) -> Result<(), AnalysisError> {
    let mut rows = Vec::new();
    for (case, known) in cases.iter().zip(asked) {
        let said = rates::said(engine, &case.spec)?;
        let is_in = |part: &[&Case]| part.iter().any(|of| std::ptr::eq(*of, case));
        let used = match (is_in(&split.development), is_in(&split.evaluation)) {
            (true, _) => "choosing",
            (_, true) => "reported on",
            _ => "left out",
        };
        rows.push(vec![
            case.label.clone().into(),
            said.map_or_else(String::new, |id| engine.model().token_text(id))
                .into(),
            rates::verdict(case, said).into(),
            known.name().into(),
            used.into(),
        ]);
    }
    let columns = ["prompt", "says", "which is", "remembers", "used for"];
    report.tables.push(table("prompts", &columns, rows));
    Ok(())
}

fn table(name: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table {
        name: name.into(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows,
    }
}

fn names(heads: &[HeadId]) -> Vec<String> {
    heads.iter().map(HeadId::to_string).collect()
}

/// A part of the whole progress.
fn part(progress: &mut dyn Progress, from: f32, to: f32) -> impl FnMut(f32) -> bool {
    move |done| progress.at(from + (to - from) * done, None)
}

/// A map of heads from a list in their order.
fn map_of(name: &str, about: &str, shape: (usize, usize), values: &[Option<f32>]) -> HeadScores {
    HeadScores::of_heads(name, about, Scale::Signed, shape, |head| {
        values[head.layer * shape.1 + head.head]
    })
}
