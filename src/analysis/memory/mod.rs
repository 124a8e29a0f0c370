//! Does a prompt's statement win over what the model remembers, through which heads, and what does scaling one of them do?
//!
//! Yu, Merullo, Pavlick 2023 (arXiv 2310.15910; the specification's section 3): "The capital of Poland is London. Q: What is
//! the capital of Poland? A:". A case's first answer is the statement's (in-context), its first wrong one the remembered
//! (memorised) one. The heads' attribution of their logit difference names candidates, and so does, beyond the paper, the
//! total effect of scaling each; each candidate's z is then multiplied by every factor at all positions.
//!
//! Ortu et al. 2024 (arXiv 2402.11655, "Redefine: …") multiply instead, for one or more heads together, the score of the last
//! query on the stated answer before the softmax ([`By::Attention`]): GPT-2's heads that speak for the fact do so the more,
//! the more they attend to what they suppress. Without heads by name, two are scaled together beside each candidate alone:
//! those with the most negative attribution, and those whose scaling lowers the difference most. These need not be the same:
//! a head may speak for the fact by what it reads elsewhere, and copy the stated answer once it is made to attend to it.
//!
//! Three heads are reported on: the two that the paper names, with the most positive and the most negative attribution, and
//! the one with the best rate. Factors and the third head are chosen on one part of the prompts and reported on the other.
//! Of equal rates a head's factor nearest 1 wins; of heads the larger mean logit difference. The published 10 % for choosing
//! would be two of twenty prompts: half is the default. The specification fixes no rule for candidates: several heads from
//! either end of both maps.

mod evaluate;
mod known;
mod maps;
mod rates;
mod scaling;
mod settings;
mod sweep;
#[cfg(test)]
mod tests;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::analysis::{
    AnalysisError, Case, Cell, HeadScores, Progress, Report, Scale, Table, check_heads, step,
};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::spec::ModelSpec;

pub use scaling::By;
pub use settings::Settings;

use evaluate::evaluate;
use known::{Known, known};
use maps::Maps;
use rates::rates;
use scaling::Scaling;
use sweep::{Swept, candidates, grids, heads_table};

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
    check(cases, settings, &model.spec)?;
    let factors = settings.read_factors()?;
    let mut report = Report::new("memory")
        .with("by", settings.by.name())
        .with("heads", names(&settings.heads))
        .with("factors", factors.clone())
        .with("development", settings.development)
        .with("candidates", settings.candidates)
        .with("by_effect", settings.by_effect)
        .with("known_only", settings.known_only)
        .with("raw", settings.raw)
        .with("draws", settings.draws)
        .with("seed", settings.seed);
    let asked = known(engine, cases, settings, &mut part(progress, 0.0, 0.1))?;
    let kept = keep(cases, &asked, settings, &mut report)?;
    let kept = placed(kept, settings.by, &mut report)?;
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
    maps.report(&mut report, shape, settings.by);
    let candidates = candidates(&maps, settings, shape);
    if candidates.groups.is_empty() {
        return Err(AnalysisError::needs(
            "no head of this model was found to move the two answers' difference: give the heads to scale by name, or look \
             for them by effect too",
        ));
    }
    if !progress.at(0.3, Some(&report)) {
        return Err(RunError::Stopped.into());
    }

    let swept = Swept {
        rates: rates(
            engine,
            &split.development,
            settings.by,
            &Scaling::grid(&candidates.groups, &factors),
            &mut part(progress, 0.3, 0.6),
        )?,
        candidates,
        factors,
    };
    grids(&mut report, &swept, settings.by);
    report.tables.push(heads_table(&swept, &maps));
    if !progress.at(0.6, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    let choices = swept.choices();
    evaluate(
        engine,
        &split,
        &swept,
        &choices,
        settings,
        &mut report,
        progress,
    )?;
    prompts(engine, cases, &asked, &split, &mut report)?;
    step(progress, 1.0)?;
    Ok(report)
}

fn check(cases: &[Case], settings: &Settings, spec: &ModelSpec) -> Result<(), AnalysisError> {
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
    if !(settings.development > 0.0 && settings.development < 1.0) {
        return Err(AnalysisError::needs(
            "the share of prompts that choose is between 0 and 1",
        ));
    }
    check_heads(spec, &settings.heads)
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

/// By attention, the prompts that say where the stated answer stands, and a note about the others.
fn placed<'a>(
    cases: Vec<&'a Case>,
    by: By,
    report: &mut Report,
) -> Result<Vec<&'a Case>, AnalysisError> {
    if by == By::Value {
        return Ok(cases);
    }
    let n = cases.len();
    let placed: Vec<&Case> = cases
        .into_iter()
        .filter(|case| !case.span("object").is_empty())
        .collect();
    if placed.len() < 2 {
        return Err(AnalysisError::needs(format!(
            "scaling by attention needs the place of the stated answer (`object`), and {} of {n} prompts name it: choose \
             the set counterfactual_capitals, give a set that names it, or scale by value",
            placed.len()
        )));
    }
    if placed.len() < n {
        report.note(format!(
            "{} of {n} prompts left out: they name no place of the stated answer (`object`)",
            n - placed.len()
        ));
    }
    report.note(
        "by attention: the scores of the read position on all tokens of the stated answer, where it is stated and nowhere \
         else, are multiplied before the softmax, so that a factor above 1 raises a score above 0 and lowers one below 0",
    );
    Ok(placed)
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
