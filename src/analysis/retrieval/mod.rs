//! Which heads copy an answer from where it stands in the prompt (Wu et al. 2024, "Retrieval head mechanistically
//! explains long-context factuality", and the look-up variant of Hua et al. 2025, AttentionInfluence, step A).
//!
//! A head copies a token where its strongest key lies in the answer's place and holds the very token that comes next. Its
//! retrieval score on an instance is the share of the answer's different tokens that it copies (or, as the authors' program
//! counts, the copies over the tokens of the place, which can exceed 1); the score is the mean over instances.
//!
//! Greedy: the model writes, and an instance counts where more than half of the answer's words are in what it wrote
//! (ROUGE-1 recall > 0.5). Teacher-forced: the true answer is fed, and every instance counts. Left to itself, needles are
//! greedy unless fewer than ten instances count, and look-ups are teacher-forced.
//!
//! Choices where the sources are silent: the answer's place is the part of the needle that answers the question; prompts
//! are plain text for chat models too, and a needle's answer begins with "The text says that", without which small chat
//! models end at once; of equally strong keys the first counts; the mask is tested on instances that
//! no head was chosen on.

mod copies;
mod haystack;
mod lookup;
mod mask;
mod score_table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod wording;

use crate::analysis::field::{Field, Value};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::analysis::controls::DRAWS;
use crate::analysis::report::{Cell, Grid, HeadScores, Report, Scale, Table};
use crate::analysis::{AnalysisError, Progress};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;

use crate::analysis::masking::{Draws, check, count_of_share, mean};
use copies::{Heard, greedy, teacher_forced};
use haystack::needles;
use lookup::json;

pub use copies::{Count, Counting};
pub use haystack::{Haystack, Instance};
pub use lookup::Lookup;
pub use score_table::{HeadMean, ScoreTable, pearson, read_scores, score_table, write_scores};

/// Fewer instances that count than this, and the answer is fed instead.
const FEWEST: usize = 10;

/// Words of the answer that have to be in what the model wrote.
const GATE: f64 = 0.5;

/// What prompts are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Data {
    /// A rare fact in filler text, at several lengths and depths.
    #[default]
    Needles,
    /// The value of a key of a JSON object.
    Json,
}

/// Which tokens heads are heard at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Decoding {
    /// Needles greedy, with the fallback; look-ups teacher-forced.
    #[default]
    Auto,
    /// Those that the model writes.
    Greedy,
    /// The true answer's.
    TeacherForced,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub data: Data,
    pub decoding: Decoding,
    pub counting: Counting,
    /// Tokens that a prompt and its answer may have; never more than the context.
    pub max_tokens: usize,
    /// Tokens that are written at most.
    pub max_new: usize,
    pub lookup: Lookup,
    pub seed: u64,
    /// The masking experiment; without it only scores.
    pub mask: bool,
    /// Share of all heads that is masked.
    pub share: f64,
    /// Heads that are masked, instead of the share.
    pub k: Option<usize>,
    /// Held-out instances that the mask is tested on.
    pub tested: usize,
    pub draws: usize,
    pub by_layer: bool,
}

crate::choose!(Data, Decoding, Count);

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "data",
                "What is hidden in what: a rare fact in filler, or values behind random keys",
                Value::Choice(&mut self.data),
            ),
            Field::new(
                "decoding",
                "The model's own words, or the right answer fed to it; auto: the latter where it fails",
                Value::Choice(&mut self.decoding),
            ),
            Field::new(
                "counting",
                "Each copied token once, or each step that copies",
                Value::Choice(&mut self.counting.of),
            ),
            Field::new(
                "anywhere",
                "Copies count from anywhere, not only from the place of the answer",
                Value::Flag(&mut self.counting.anywhere),
            ),
            Field::new(
                "max-tokens",
                "Tokens of the longest haystack",
                Value::Count(&mut self.max_tokens, 64..=1_000_000),
            ),
            Field::new(
                "max-new",
                "Tokens that are generated at most",
                Value::Count(&mut self.max_new, 1..=1000),
            ),
            Field::new(
                "samples",
                "Samples of the look-up data",
                Value::Count(&mut self.lookup.samples, 1..=1000),
            ),
            Field::new(
                "pairs",
                "Keys with values in a sample",
                Value::Count(&mut self.lookup.pairs, 1..=200),
            ),
            Field::new(
                "mask",
                "With the masking experiment: the top heads against random ones",
                Value::Flag(&mut self.mask),
            ),
            Field::new(
                "share",
                "Share of all heads that is masked",
                Value::Number(&mut self.share, 0.0..=1.0),
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
            data: Data::Needles,
            decoding: Decoding::Auto,
            counting: Counting::default(),
            max_tokens: 512,
            max_new: 50,
            lookup: Lookup::default(),
            seed: 0,
            mask: true,
            share: 0.05,
            k: None,
            tested: 4,
            draws: DRAWS,
            by_layer: false,
        }
    }
}

impl Settings {
    const fn draws(&self) -> Draws {
        Draws {
            n: self.draws,
            by_layer: self.by_layer,
            seed: self.seed,
        }
    }
}

impl Data {
    pub const ALL: [Self; 2] = [Self::Needles, Self::Json];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Needles => "needles",
            Self::Json => "json",
        }
    }
}

impl Decoding {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Greedy, Self::TeacherForced];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Greedy => "greedy",
            Self::TeacherForced => "teacher-forced",
        }
    }
}

/// Retrieval scores of a model on data of ours.
pub fn retrieval(
    engine: &mut Engine,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    check(&model)?;
    let context = model.spec.n_ctx.min(settings.max_tokens);
    let haystack = match settings.data {
        Data::Needles => needles(&model, context, settings.seed)?,
        Data::Json => json(&model, context, settings.lookup, settings.seed)?,
    };
    retrieval_on(engine, &haystack, settings, progress)
}

/// The same on any instances.
pub fn retrieval_on(
    engine: &mut Engine,
    haystack: &Haystack,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    check(&model)?;
    for one in haystack.instances.iter().chain(&haystack.held_out) {
        one.check(&model.spec)?;
    }
    if haystack.instances.is_empty() {
        return Err(AnalysisError::needs("retrieval scores need an instance"));
    }
    let masked = match settings.k {
        Some(k) if k == 0 || k >= model.spec.n_layers * model.spec.n_heads => {
            return Err(AnalysisError::needs(format!(
                "{k} heads cannot be masked: the model has {}, and random controls need others",
                model.spec.n_layers * model.spec.n_heads
            )));
        }
        Some(k) => k,
        None => count_of_share(&model.spec, settings.share)?,
    };
    if settings.mask {
        settings.draws().check()?;
    }
    let mut report = header(settings, haystack);
    report.notes.clone_from(&haystack.notes);
    if model.spec.masks.iter().any(|mask| mask.has_window()) {
        report
            .note("some layers see a window only: their heads copy nothing that stands outside it");
    }

    let first = match (settings.decoding, settings.data) {
        (Decoding::Greedy, _) | (Decoding::Auto, Data::Needles) => Decoding::Greedy,
        _ => Decoding::TeacherForced,
    };
    let end = if settings.mask { 0.7 } else { 1.0 };
    let may_fall_back = first == Decoding::Greedy && settings.decoding == Decoding::Auto;
    let first_end = if may_fall_back { 0.7 * end } else { end };
    let mut stage = Stage {
        engine,
        haystack,
        settings,
        progress,
    };
    let mut heard = stage.hear(first, 0.0..first_end, &report)?;
    let mut used = first;
    grids(&mut report, haystack, &heard, used);
    let kept = heard.iter().filter(|one| one.kept).count();
    if may_fall_back && kept < FEWEST {
        report.note(format!(
            "teacher-forced: only {kept} of {} instances were answered (ROUGE-1 recall above {GATE}), fewer than {FEWEST}",
            heard.len()
        ));
        used = Decoding::TeacherForced;
        heard = stage.hear(used, first_end..end, &report)?;
    } else if used == Decoding::TeacherForced {
        report.note("teacher-forced: the true answer was fed, and every instance counts");
    }
    report.settings.push(("decoding", used.name().into()));
    report
        .settings
        .push(("kept", heard.iter().filter(|one| one.kept).count().into()));
    let shape = (model.spec.n_layers, model.spec.n_heads);
    add_scores(&mut report, shape, &heard);
    report.tables.push(instances_table(haystack, &heard));
    if settings.mask {
        if heard.iter().any(|one| one.kept) {
            mask::mask(engine, haystack, settings, masked, &mut report, progress)?;
        } else {
            report.note("no instance was answered, so no head has a score and none was masked: feed the answer instead (decoding teacher-forced)");
        }
    }
    Ok(report)
}

fn header(settings: &Settings, haystack: &Haystack) -> Report {
    let mut report = Report::new("retrieval")
        .with("data", settings.data.name())
        .with("seed", settings.seed)
        .with("max_tokens", settings.max_tokens)
        .with("max_new", settings.max_new)
        .with("counting", settings.counting.to_string())
        .with("instances", haystack.instances.len());
    if settings.data == Data::Json {
        let Lookup {
            pairs,
            demonstrations,
            digits,
            ..
        } = settings.lookup;
        report = report
            .with("pairs", pairs)
            .with("demonstrations", demonstrations)
            .with("digits", digits);
    }
    if !haystack.lengths.is_empty() {
        let lengths: Vec<Json> = haystack.lengths.iter().map(|n| (*n).into()).collect();
        let depths: Vec<Json> = haystack.depths.iter().map(|d| (*d).into()).collect();
        report = report.with("lengths", lengths).with("depths", depths);
    }
    report
}

/// What hearing all instances takes.
struct Stage<'a> {
    engine: &'a mut Engine,
    haystack: &'a Haystack,
    settings: &'a Settings,
    progress: &'a mut dyn Progress,
}

impl Stage<'_> {
    fn hear(
        &mut self,
        way: Decoding,
        part: std::ops::Range<f32>,
        report: &Report,
    ) -> Result<Vec<Heard>, AnalysisError> {
        let n = self.haystack.instances.len();
        let spec = &self.engine.model().spec;
        let shape = (spec.n_layers, spec.n_heads);
        let mut heard = Vec::with_capacity(n);
        for (i, one) in self.haystack.instances.iter().enumerate() {
            let fraction = part.start + (part.end - part.start) * i as f32 / n as f32;
            let so_far = (!heard.is_empty()).then(|| {
                let mut so_far = report.clone();
                add_scores(&mut so_far, shape, &heard);
                so_far
            });
            if !self.progress.at(fraction, so_far.as_ref()) {
                return Err(RunError::Stopped.into());
            }
            let counting = self.settings.counting;
            let go_on = &mut || self.progress.at(fraction, None);
            heard.push(match way {
                Decoding::Greedy => greedy(
                    self.engine,
                    one,
                    counting,
                    (self.settings.max_new, GATE),
                    go_on,
                )?,
                _ => teacher_forced(self.engine, one, counting, go_on)?,
            });
        }
        Ok(heard)
    }
}

/// Scores and their tables, of the instances that count.
fn add_scores(report: &mut Report, shape: (usize, usize), heard: &[Heard]) {
    let kept: Vec<&Heard> = heard.iter().filter(|one| one.kept).collect();
    let raw: Vec<(HeadId, Vec<f32>)> = (0..shape.0 * shape.1)
        .map(|i| {
            let of = kept.iter().map(|one| one.scores[i]).collect();
            (HeadId::new(i / shape.1, i % shape.1), of)
        })
        .collect();
    let n = kept.len() as f32;
    let average = |head: HeadId, of: &dyn Fn(&Heard, usize) -> f32| {
        let i = head.layer * shape.1 + head.head;
        Some(kept.iter().map(|one| of(one, i)).sum::<f32>() / n)
    };
    for (name, about, of) in [
        (
            "retrieval",
            "share of the answer's tokens that the head copies from their place, mean over instances",
            &(|one: &Heard, i: usize| one.scores[i]) as &dyn Fn(&Heard, usize) -> f32,
        ),
        (
            "activation_frequency",
            "share of instances in which the head copies a token",
            &|one: &Heard, i: usize| f32::from(u8::from(one.copies[i] > 0)),
        ),
    ] {
        let value = |head| average(head, of);
        report.scores.push(HeadScores::of_heads(
            name,
            about,
            Scale::Share,
            shape,
            value,
        ));
    }
    if !kept.is_empty() {
        report.tables.extend(score_table(&raw).tables());
    }
}

/// A number of an instance.
type Of = fn(&Heard) -> Option<f64>;

/// Length by depth: how well the answer was given.
fn grids(report: &mut Report, haystack: &Haystack, heard: &[Heard], way: Decoding) {
    let shape = (haystack.lengths.len(), haystack.depths.len());
    if shape.0 == 0 || shape.1 == 0 {
        return;
    }
    let success: (&str, &str, Of) = (
        "success",
        "share of needles whose answer the model wrote (ROUGE-1 recall above 0.5)",
        |one| Some(f64::from(u8::from(one.kept))),
    );
    let recall: (&str, &str, Of) = ("recall", "ROUGE-1 recall of the answer", |one| one.recall);
    let accuracy: (&str, &str, Of) = (
        "success",
        "share of the answer's tokens that are the likeliest, each after the true ones (teacher-forced)",
        |one| one.accuracy,
    );
    let which = match way {
        Decoding::TeacherForced => vec![accuracy],
        _ => vec![success, recall],
    };
    for (name, about, of) in which {
        let mut cells = vec![vec![]; shape.0 * shape.1];
        for (one, heard) in haystack.instances.iter().zip(heard) {
            if let (Some((row, column)), Some(value)) = (one.cell, of(heard))
                && row < shape.0
                && column < shape.1
            {
                cells[row * shape.1 + column].push(value);
            }
        }
        report.grids.push(Grid {
            name: name.into(),
            about: about.into(),
            scale: Scale::Share,
            row_axis: "length",
            rows: haystack.lengths.iter().map(usize::to_string).collect(),
            column_axis: "depth",
            columns: haystack.depths.iter().map(f64::to_string).collect(),
            values: cells
                .iter()
                .map(|cell| (!cell.is_empty()).then(|| mean(cell) as f32))
                .collect(),
            texts: vec![],
        });
    }
}

fn instances_table(haystack: &Haystack, heard: &[Heard]) -> Table {
    let rows = haystack.instances.iter().zip(heard).map(|(one, heard)| {
        vec![
            Cell::from(one.label.clone()),
            Cell::from(one.ids.len()),
            Cell::from(one.answer_text.clone()),
            Cell::from(heard.written.clone().unwrap_or_default()),
            Cell::Number(heard.recall),
            Cell::Number(heard.accuracy),
            Cell::from(if heard.kept { "yes" } else { "no" }),
        ]
    });
    Table {
        name: "instances".into(),
        columns: [
            "instance", "tokens", "answer", "written", "recall", "accuracy", "counts",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    }
}
