//! How a fact is recalled: heads that bring the subject to the end of the prompt, an MLP that turns it into the answer, and
//! a last layer that takes confidence back.
//!
//! Lv et al. 2024 (arXiv 2403.19521; the specification's section 4), in three steps. 1: path patching of each head into
//! the logits, from a prompt with another subject (`patch`). 2: the MLP's output at the end as scalar weights of the heads
//! before it, of the rest of the stream and an intercept, by least squares (`regression`). 3: the answer in the stream
//! before and after the last layer, and three ways to soften what that does (`last_layer`).
//!
//! The paper's text was not at hand: steps 2 and 3 are the specification's readings. The subject is where prompt and
//! contrast differ. An attribution needs a second token: the wrong answer, or the likeliest other token.

mod last_layer;
mod patch;
mod regression;
mod streams;
#[cfg(test)]
mod tests;

use crate::analysis::field::{Field, Value};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::analysis::attribution::{Summands, summands};
use crate::analysis::{AnalysisError, Case, Cell, Progress, Report, Table};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Reading, Readout, RunSpec};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::spec::{Head, Placement};

use streams::Streams;

/// What path patching reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Against {
    /// The answer's logit minus the mean of all.
    #[default]
    Mean,
    /// Minus the first wrong answer's.
    Wrong,
}

impl Against {
    pub const ALL: [Self; 2] = [Self::Mean, Self::Wrong];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Wrong => "wrong",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub against: Against,
    /// The pure direct path: MLPs after the patched head stay as they are without it.
    pub freeze_mlps: bool,
    /// Leaves out prompts whose subject is several tokens, or another number of them than in the contrast.
    pub single_token: bool,
    /// Leaves out prompts after which the answer is not the likeliest token, unless that is so of all.
    pub right_only: bool,
    /// Heads that are listed as movers.
    pub movers: usize,
    /// The layer whose MLP is looked at; `None`: the one that adds most to the answer, from the first mover's layer on.
    pub layer: Option<usize>,
    pub ridge: f64,
    /// Share of the prompts that the regression does not see.
    pub held_out: f64,
    /// What the last MLP is multiplied by.
    pub scales: Vec<f64>,
    /// Heads of the last layer that are silenced: those that write most against the answer.
    pub suppressors: usize,
    /// The most positions of plain text that the generic direction is a mean over.
    pub generic_positions: usize,
    pub seed: u64,
}

crate::choose!(Against);

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "against",
                "The answer against the mean of all tokens, or against the wrong answer",
                Value::Choice(&mut self.against),
            ),
            Field::new(
                "freeze-mlps",
                "MLPs keep their values while heads are patched",
                Value::Flag(&mut self.freeze_mlps),
            ),
            Field::new(
                "right-only",
                "Only prompts that the model answers",
                Value::Flag(&mut self.right_only),
            ),
            Field::new(
                "single-token",
                "Only subjects and answers of one token",
                Value::Flag(&mut self.single_token),
            ),
            Field::new(
                "movers",
                "Heads that count as movers of the subject",
                Value::Count(&mut self.movers, 1..=100),
            ),
            Field::new(
                "layer",
                "The layer whose MLP is taken apart; auto: the one that adds most",
                Value::MaybeCount(&mut self.layer, 0..=9999),
            ),
            Field::new(
                "held-out",
                "Share of the prompts that the regression is tested on",
                Value::Number(&mut self.held_out, 0.0..=0.9),
            ),
            Field::new(
                "suppressors",
                "Heads of the last layer that are looked at as suppressors",
                Value::Count(&mut self.suppressors, 0..=100),
            ),
            Field::new("seed", "Seed of the split", Value::Seed(&mut self.seed)),
        ]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            against: Against::Mean,
            freeze_mlps: false,
            single_token: true,
            right_only: true,
            movers: 5,
            layer: None,
            ridge: 1e-6,
            held_out: 0.2,
            scales: vec![0.75, 0.5, 0.25, 0.0],
            suppressors: 2,
            generic_positions: 500,
            seed: 0,
        }
    }
}

/// Fewest prompts that the regression is made of.
const FEWEST: usize = 5;

/// Prompts below which the regression is said to be thin (the specification's N ≥ 100).
const THIN: usize = 100;

/// A prompt with what all steps read of it.
struct Prompt<'a> {
    case: &'a Case,
    answer: u32,
    /// Where prompt and contrast differ, and the last token there; none without a contrast.
    subject: Vec<usize>,
    streams: Streams,
    /// Of the unedited run, `[vocab]`.
    logits: Vec<f32>,
    /// Of the answer minus a second token.
    summands: Summands,
}

impl Prompt<'_> {
    fn subject_id(&self) -> Option<u32> {
        let at = *self.subject.last()?;
        self.case.spec.ids.get(at).copied()
    }
}

/// The recall trace of prompts whose first answer is the fact asked for; contrasts ask for another subject.
pub fn recall(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    check(&model, cases, settings)?;
    let mut report = Report::new("recall")
        .with("against", settings.against.name())
        .with("freeze_mlps", settings.freeze_mlps)
        .with("single_token", settings.single_token)
        .with("right_only", settings.right_only)
        .with("movers", settings.movers)
        .with("layer", settings.layer)
        .with("ridge", settings.ridge)
        .with("held_out", settings.held_out)
        .with("scales", settings.scales.clone())
        .with("suppressors", settings.suppressors)
        .with("generic_positions", settings.generic_positions)
        .with("seed", settings.seed);
    let kept = keep(cases, settings, &mut report)?;
    let mut prompts = Vec::with_capacity(kept.len());
    for (i, case) in kept.iter().enumerate() {
        go_on(progress, 0.25 * i as f32 / kept.len() as f32, &report)?;
        prompts.push(record(engine, case)?);
    }
    right(&mut prompts, settings, &mut report);
    report.settings.push(("prompts", prompts.len().into()));
    go_on(progress, 0.25, &report)?;

    let effects = patch::effects(engine, &prompts, settings, &mut part(progress, 0.25, 0.65))?;
    let movers = patch::report(&model, &prompts, effects.as_deref(), settings, &mut report)?;
    go_on(progress, 0.65, &report)?;

    let split = split(prompts.len(), settings);
    match &split {
        None => report.note(format!(
            "the regression of the MLP needs at least {FEWEST} prompts and a share held out: left out (give a --task)"
        )),
        Some(split) => {
            if prompts.len() < THIN {
                report.note(format!(
                    "the regression is of {} prompts; {THIN} or more are asked for",
                    prompts.len()
                ));
            }
            let mover = movers.first().copied();
            let on = &mut part(progress, 0.65, 0.8);
            regression::add(&model, &prompts, split, mover, settings, &mut report, on)?;
        }
    }
    go_on(progress, 0.8, &report)?;
    last_layer::add(
        engine,
        &prompts,
        split.as_ref(),
        settings,
        &mut report,
        &mut part(progress, 0.8, 1.0),
    )?;
    go_on(progress, 1.0, &report)?;
    Ok(report)
}

fn check(model: &Model, cases: &[Case], settings: &Settings) -> Result<(), AnalysisError> {
    let spec = &model.spec;
    if spec.head == Head::None {
        return Err(RunError::NoLogits.into());
    }
    let is_sum = spec.placement != Placement::Post && spec.head == Head::NextToken;
    if !is_sum || !spec.is_causal() {
        return Err(AnalysisError::needs(
            "recall reads what is added to the stream as logits and takes the end of the prompt to be read by nothing else; \
             this model reads in both directions or has norms on the stream: use `patch` and `sweep`",
        ));
    }
    if cases.is_empty() {
        return Err(AnalysisError::needs("recall needs a prompt"));
    }
    for case in cases {
        if case.answers.is_empty() {
            return Err(AnalysisError::needs(format!(
                "recall follows an answer, and `{}` has none: give one (on the command line --answer, or a --task)",
                case.label
            )));
        }
        if settings.against == Against::Wrong && case.wrong.is_empty() {
            return Err(AnalysisError::needs(format!(
                "`{}` has no wrong answer to compare with: give one, or compare with the mean of all logits",
                case.label
            )));
        }
    }
    if settings.layer.is_some_and(|layer| layer >= spec.n_layers) {
        return Err(AnalysisError::needs(format!(
            "the model's layers are 0 to {}",
            spec.n_layers - 1
        )));
    }
    let is_share = |x: f64| (0.0..1.0).contains(&x);
    let finite = |x: &f64| x.is_finite();
    if !is_share(settings.held_out) || !settings.scales.iter().all(finite) {
        return Err(AnalysisError::needs(
            "the share held out is from 0 up to below 1, and factors are finite numbers",
        ));
    }
    if !(settings.ridge >= 0.0 && settings.ridge.is_finite()) {
        return Err(AnalysisError::needs("the ridge is a number from 0 up"));
    }
    Ok(())
}

/// Leaves out prompts whose subject is not one token.
fn keep<'a>(
    cases: &'a [Case],
    settings: &Settings,
    report: &mut Report,
) -> Result<Vec<&'a Case>, AnalysisError> {
    let is_single = |case: &&Case| match &case.spec.contrast {
        None => true,
        Some(_) => subject(case).len() == 1,
    };
    if !settings.single_token {
        return Ok(cases.iter().collect());
    }
    let kept: Vec<&Case> = cases.iter().filter(is_single).collect();
    let out = cases.len() - kept.len();
    if out > 0 {
        report.note(format!(
            "{out} of {} prompts left out: their subject, or that of their contrast, is not one token",
            cases.len()
        ));
    }
    if kept.is_empty() {
        return Err(AnalysisError::needs(
            "prompt and contrast differ in one token in none of the prompts: choose other subjects, or keep those of several \
             tokens",
        ));
    }
    Ok(kept)
}

/// Leaves out prompts after which the model says something else.
fn right(prompts: &mut Vec<Prompt<'_>>, settings: &Settings, report: &mut Report) {
    let is_right = |prompt: &Prompt<'_>| rank(&prompt.logits, prompt.answer) == Some(0.0);
    let n_right = prompts.iter().filter(|prompt| is_right(prompt)).count();
    let mut note = format!(
        "the answer is the likeliest token after {n_right} of {} prompts",
        prompts.len()
    );
    if settings.right_only && n_right == 0 {
        note.push_str(": no fact is recalled, and what follows traces none");
    } else if settings.right_only && n_right < prompts.len() {
        note.push_str(": the others are left out");
        prompts.retain(is_right);
    }
    report.note(note);
}

/// The positions where prompt and contrast differ; none where they have no pairs.
fn subject(case: &Case) -> Vec<usize> {
    let Some(contrast) = &case.spec.contrast else {
        return vec![];
    };
    let ids = &case.spec.ids;
    if contrast.len() != ids.len()
        || contrast.get(case.spec.position) != ids.get(case.spec.position)
    {
        return vec![];
    }
    // What comes after the end is not read by it.
    (0..case.spec.position.min(ids.len()))
        .filter(|at| ids[*at] != contrast[*at])
        .collect()
}

fn record<'a>(engine: &mut Engine, case: &'a Case) -> Result<Prompt<'a>, AnalysisError> {
    let spec = RunSpec {
        edits: vec![],
        ..case.spec.clone()
    };
    let mut logits = engine.sweep(&spec, &[vec![]], Reading::default(), &mut |_| true)?;
    let logits = logits.pop().ok_or(RunError::NoLogits)?;
    let answer = case.answers.first().copied().unwrap_or_default();
    let second = match case.wrong.first() {
        Some(wrong) if *wrong != answer => *wrong,
        _ => other_than(&logits, answer),
    };
    Ok(Prompt {
        case,
        answer,
        subject: subject(case),
        streams: Streams::of(engine, &spec)?,
        summands: summands(engine, &spec, (answer, second))?,
        logits,
    })
}

/// The likeliest token besides one.
fn other_than(logits: &[f32], id: u32) -> u32 {
    let top = Readout::new(logits).top(2);
    let other = top.iter().find(|score| score.id != id);
    other.map_or(id, |score| score.id)
}

/// How many tokens have a larger logit.
fn rank(logits: &[f32], id: u32) -> Option<f64> {
    let own = *logits.get(id as usize)?;
    Some(logits.iter().filter(|other| **other > own).count() as f64)
}

/// Prompts that fit, and those that are held out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Split {
    fit: Vec<usize>,
    held_out: Vec<usize>,
}

fn split(n: usize, settings: &Settings) -> Option<Split> {
    if n < FEWEST {
        return None;
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.seed));
    let n_out = (n as f64 * settings.held_out).round() as usize;
    let held_out = order.split_off(n - n_out.min(n - 2));
    Some(Split {
        fit: order,
        held_out,
    })
}

fn table(name: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table {
        name: name.into(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows,
    }
}

fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0usize);
    for value in values {
        sum += value;
        n += 1;
    }
    (n > 0).then(|| sum / n as f64)
}

fn heads_of(layer: usize, n_heads: usize) -> impl Iterator<Item = HeadId> {
    (0..n_heads).map(move |head| HeadId::new(layer, head))
}

/// A part of the whole progress.
fn part(progress: &mut dyn Progress, from: f32, to: f32) -> impl FnMut(f32) -> bool {
    move |done| progress.at(from + (to - from) * done, None)
}

fn go_on(progress: &mut dyn Progress, at: f32, so_far: &Report) -> Result<(), AnalysisError> {
    if progress.at(at, Some(so_far)) {
        Ok(())
    } else {
        Err(RunError::Stopped.into())
    }
}
