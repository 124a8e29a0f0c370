//! Which texts lean on copying from far away: how much worse the model predicts a text once its retrieval heads attend
//! equally to everything (Hua et al. 2025, "AttentionInfluence", steps B and C; step A is [`super::retrieval`]).
//!
//! AI = (L_ref − L_base) / L_base, with the mean next-token cross-entropy under the mask and without it (the paper's
//! equation 5; its figure divides by L_ref, which can be chosen). Scores are compared inside one domain only.
//!
//! Texts longer than a window are scored window by window, each with the beginning-of-text token that the tokenizer puts
//! in front, and averaged by tokens. Without such a token the first token of a window has no loss. Random heads come from
//! all that are not masked. Of each domain the best fifth is selected, rounded, and at least one.

mod table;
#[cfg(test)]
mod tests;
mod texts;

use crate::analysis::field::{Field, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::analysis::controls::DRAWS;
use crate::analysis::report::Report;
use crate::analysis::{AnalysisError, Progress, step};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;

use crate::analysis::masking::{Draws, check, count_of_share, heads_where, losses, names};
use crate::analysis::retrieval::{self, Data, Decoding, retrieval};
use table::{Scored, compare, notes, strips, table};
use texts::Windows;

pub use table::FEWEST_TOKENS;
pub use texts::{Text, of_texts};

/// What the rise of the loss is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Denominator {
    /// The loss without a mask.
    #[default]
    Base,
    /// The loss under the mask.
    Masked,
}

impl Denominator {
    pub const ALL: [Self; 2] = [Self::Base, Self::Masked];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Masked => "masked",
        }
    }

    fn of(self, base: f64, masked: f64) -> f64 {
        let by = match self {
            Self::Base => base,
            Self::Masked => masked,
        };
        (masked - base) / by
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Heads that are masked; the best by retrieval score where it is empty.
    pub heads: Vec<HeadId>,
    /// Share of all heads that is masked, where `heads` is empty.
    pub share: f64,
    pub denominator: Denominator,
    /// Tokens of a window; never more than the context.
    pub window: usize,
    /// Share of each domain that is selected.
    pub select: f64,
    pub draws: usize,
    pub by_layer: bool,
    pub seed: u64,
    /// Texts with the highest scores whose tokens are shown one by one.
    pub shown: usize,
    /// How heads are found.
    pub detection: retrieval::Settings,
}

crate::choose!(Denominator);

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "heads",
                "Heads that are masked; none: those that copy most from look-up data",
                Value::Heads(&mut self.heads),
            ),
            Field::new(
                "share",
                "Share of all heads that is masked where none are named",
                Value::Number(&mut self.share, 0.0..=1.0),
            ),
            Field::new(
                "denominator",
                "By which loss the rise is divided",
                Value::Choice(&mut self.denominator),
            ),
            Field::new(
                "window",
                "Tokens that are scored at a time",
                Value::Count(&mut self.window, 16..=1_000_000),
            ),
            Field::new(
                "select",
                "Share of each domain that is selected",
                Value::Number(&mut self.select, 0.0..=1.0),
            ),
            Field::new(
                "draws",
                "Random draws that the mask is compared with",
                Value::Count(&mut self.draws, 5..=200),
            ),
            Field::new(
                "by-layer",
                "Random heads from the same layers",
                Value::Flag(&mut self.by_layer),
            ),
            Field::new(
                "seed",
                "Seed of data and draws",
                Value::Seed(&mut self.seed),
            ),
        ]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heads: vec![],
            share: 0.05,
            denominator: Denominator::Base,
            window: 1024,
            select: 0.2,
            draws: DRAWS,
            by_layer: false,
            seed: 0,
            shown: 3,
            detection: retrieval::Settings {
                data: Data::Json,
                decoding: Decoding::TeacherForced,
                mask: false,
                ..retrieval::Settings::default()
            },
        }
    }
}

/// Scores of texts.
pub fn influence(
    engine: &mut Engine,
    texts: &[Text],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    check(&model)?;
    if texts.is_empty() {
        return Err(AnalysisError::needs(
            "there are no texts to score: give some",
        ));
    }
    if !(settings.select > 0.0 && settings.select <= 1.0) {
        return Err(AnalysisError::needs(format!(
            "the selected share is above 0 and up to 1, and {} was given",
            settings.select
        )));
    }
    let draws = Draws {
        n: settings.draws,
        by_layer: settings.by_layer,
        seed: settings.seed,
    };
    draws.check()?;
    let windows: Vec<Windows> = texts
        .iter()
        .map(|text| Windows::of(&model, &text.text, settings.window))
        .collect::<Result<_, _>>()?;
    let mut report = Report::new("influence");
    let detects = if settings.heads.is_empty() { 0.3 } else { 0.0 };
    let chosen = heads(engine, settings, detects, &mut report, progress)?;
    let pool = heads_where(&model.spec, |head| !chosen.contains(&head));
    let sets = draws.sets(&pool, &chosen)?;
    describe(&mut report, settings, &chosen, &windows);

    let all: Vec<&[HeadId]> = [&[][..], &chosen]
        .into_iter()
        .chain(sets.iter().map(Vec::as_slice))
        .collect();
    let total: usize = windows.iter().map(|of| of.runs.len()).sum();
    let mut done = 0;
    let mut scored = vec![];
    for of in &windows {
        let mut sides = vec![vec![]; all.len()];
        for ids in &of.runs {
            let fraction = detects + (1.0 - detects) * done as f32 / total.max(1) as f32;
            // One window after the other: its unedited run is kept while the masks go over it.
            for (side, heads) in sides.iter_mut().zip(&all) {
                step(progress, fraction)?;
                let go_on = &mut || progress.at(fraction, None);
                side.extend(losses(engine, ids, of.from, heads, go_on)?);
            }
            done += 1;
        }
        scored.push(Scored::new(&sides, of.n_tokens, settings.denominator));
        let mut so_far = report.clone();
        so_far.tables.push(table(texts, &scored, settings));
        let fraction = detects + (1.0 - detects) * done as f32 / total.max(1) as f32;
        if !progress.at(fraction, Some(&so_far)) {
            return Err(RunError::Stopped.into());
        }
    }
    report.tables.push(table(texts, &scored, settings));
    compare(texts, &scored, &sets, &mut report);
    strips(&model, &windows, &scored, settings.shown, &mut report);
    notes(&model, texts, &windows, &scored, &mut report);
    Ok(report)
}

/// The heads that are masked: those that were given, or the best by retrieval score.
fn heads(
    engine: &mut Engine,
    settings: &Settings,
    share_of_time: f32,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<Vec<HeadId>, AnalysisError> {
    let model = Arc::clone(engine.model());
    let spec = &model.spec;
    let given: BTreeSet<HeadId> = settings.heads.iter().copied().collect();
    for head in &given {
        if head.layer >= spec.n_layers || head.head >= spec.n_heads {
            return Err(AnalysisError::needs(format!(
                "{head} is no head of this model, which has {} layers of {} heads",
                spec.n_layers, spec.n_heads
            )));
        }
    }
    if !given.is_empty() {
        return Ok(given.into_iter().collect());
    }
    let k = count_of_share(spec, settings.share)?;
    let mut part = Part {
        progress,
        share: share_of_time,
    };
    let found = retrieval(engine, &settings.detection, &mut part)?;
    report
        .notes
        .extend(found.notes.iter().map(|note| format!("heads: {note}")));
    report
        .settings
        .push(("detection", settings.detection.data.name().into()));
    report
        .settings
        .push(("detection_seed", settings.detection.seed.into()));
    let Some(scores) = found.scores_of("retrieval") else {
        return Err(AnalysisError::needs(
            "no head has a retrieval score: name heads to mask",
        ));
    };
    let chosen = scores.top(k);
    if chosen.is_empty() {
        return Err(AnalysisError::needs(
            "no head has a retrieval score, because no look-up was answered: name heads to mask, or use teacher forcing",
        ));
    }
    let idle = chosen
        .iter()
        .filter(|head| scores.value(**head).is_none_or(|x| x <= 0.0));
    let idle = idle.count();
    if idle > 0 {
        report.note(format!(
            "{idle} of the {} masked heads copied nothing in the look-ups: fewer heads have a score above 0",
            chosen.len()
        ));
    }
    report.scores.push(scores.clone());
    Ok(chosen)
}

/// A method's first part, as a part of the whole.
struct Part<'a> {
    progress: &'a mut dyn Progress,
    share: f32,
}

impl Progress for Part<'_> {
    fn at(&mut self, fraction: f32, _so_far: Option<&Report>) -> bool {
        self.progress.at(fraction * self.share, None)
    }
}

fn describe(report: &mut Report, settings: &Settings, chosen: &[HeadId], windows: &[Windows]) {
    for (name, value) in [
        ("heads", Json::from(names(chosen))),
        ("masked", chosen.len().into()),
        ("denominator", settings.denominator.name().into()),
        ("window", windows.first().map_or(0, |of| of.length).into()),
        ("select", settings.select.into()),
        ("texts", windows.len().into()),
        ("draws", settings.draws.into()),
        ("by_layer", settings.by_layer.into()),
        ("seed", settings.seed.into()),
    ] {
        report.settings.push((name, value));
    }
}
