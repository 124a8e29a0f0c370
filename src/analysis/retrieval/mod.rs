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
//! are plain text for chat models too, unless they are asked for as a chat, and a needle's answer begins with "The text
//! says that", without which small chat models end at once; of equally strong keys the first counts; the mask is tested on
//! instances that no head was chosen on.

mod copies;
mod haystack;
mod ladder;
mod lookup;
mod mask;
mod prompts;
mod score_table;
mod settings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod wording;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::analysis::report::{Cell, Grid, HeadScores, Report, Scale, Table};
use crate::analysis::{AnalysisError, Progress};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;

use crate::analysis::masking::{check, count_of_share, mean};
use copies::{Heard, greedy, teacher_forced};
use haystack::needles;
use lookup::json;
use prompts::Texts;

pub use copies::{Count, Counting};
pub use haystack::{Haystack, Instance};
pub use lookup::Lookup;
pub use score_table::{HeadMean, ScoreTable, pearson, read_scores, score_table, write_scores};
pub use settings::{Data, Decoding, Settings};

/// Fewer instances that count than this, and the answer is fed instead.
const FEWEST: usize = 10;

/// Words of the answer that have to be in what the model wrote.
const GATE: f64 = 0.5;

/// Retrieval scores of a model on data of ours.
pub fn retrieval(
    engine: &mut Engine,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    check(&model)?;
    let context = model.spec.n_ctx.min(settings.max_tokens);
    let chat = settings.chat.then_some(model.chat.as_ref());
    let chat = chat.transpose().map_err(|error| {
        AnalysisError::needs(format!(
            "prompts cannot be put as a chat, leave --chat away: {error}"
        ))
    })?;
    let texts = Texts::new(&model, chat)?;
    let haystack = match settings.data {
        Data::Needles => needles(texts, context, settings.seed)?,
        Data::Json => json(texts, context, settings.lookup, settings.seed)?,
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
    // Before the work, so that a bad file costs none.
    let other = match settings.compare.trim() {
        "" => None,
        path => Some(score_table::read_file(Path::new(path))?),
    };
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
    if let Some(other) = other {
        compare(&mut report, &other, settings.compare.trim())?;
    }
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
        .with("chat", settings.chat)
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

/// How alike the scores of another model are.
fn compare(
    report: &mut Report,
    other: &[(HeadId, Vec<f32>)],
    path: &str,
) -> Result<(), AnalysisError> {
    let Some(own) = report.scores_of("retrieval") else {
        return Ok(());
    };
    if own.values.iter().all(Option::is_none) {
        return Ok(());
    }
    let means = score_table(other).heads;
    let is_alike =
        means.len() == own.values.len() && means.iter().all(|one| own.value(one.head).is_some());
    if !is_alike {
        return Err(AnalysisError::needs(format!(
            "scores are compared head by head, and this model has {} layers of {} heads, for which the file has {} \
             numbers: {path}",
            own.n_layers(),
            own.n_heads,
            means.len()
        )));
    }
    let shape = (own.n_layers(), own.n_heads);
    let other = HeadScores::of_heads("", "", Scale::Positive, shape, |head| {
        let one = means.iter().find(|one| one.head == head)?;
        Some(one.mean)
    });
    let r = pearson(own, &other);
    report.tables.push(Table {
        name: "compared".into(),
        columns: ["scores of", "heads", "Pearson r"]
            .map(str::to_owned)
            .into(),
        rows: vec![vec![
            Cell::from(path),
            Cell::from(means.len()),
            Cell::Number(r),
        ]],
    });
    if r.is_none() {
        report.note("all scores of one of the compared models are equal: there is no correlation");
    }
    Ok(())
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
