//! The pass key test: numbers hidden at several depths of filler, and written out by plain attention, by the method's, and
//! by one that reads as many chunks, the nearest.

use std::sync::Arc;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::attend::Chunked;
use super::passkey::passkey;
use super::select::{ALWAYS, By, Choice, chunks_of};
use super::{Settings, Sizes};
use crate::analysis::{AnalysisError, Case, Cell, HeadScores, Progress, Report, Scale, Table};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{RunSpec, Side};
use crate::model::Model;

/// The largest pass key: the released code's.
const LARGEST: u32 = 50_000;

/// Tokens that are left for the answer: more than its digits.
const ROOM: usize = 8;

const ATTENTIONS: [&str; 3] = ["plain", "LongHeads", "nearest chunks"];

/// One number, hidden and asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    pub(super) depth: f64,
    pub(super) number: u32,
    /// What each of [`ATTENTIONS`] wrote, up to its first wrong token.
    pub(super) written: [Vec<u32>; 3],
    pub(super) answer: Vec<u32>,
    /// Those that hold the needle.
    pub(super) chunks: Vec<usize>,
    /// Of those, the share that each head reads when the first digit is written, `[layer · head]`; `None` where the
    /// layer attends plainly.
    pub(super) read: Vec<Option<f32>>,
    /// The share that it would read had it chosen by chance.
    pub(super) chance: f32,
}

impl Trial {
    pub(super) fn is_right(&self) -> [bool; 3] {
        self.written
            .each_ref()
            .map(|written| *written == self.answer)
    }
}

/// Runs the test, and adds to `report` what it finds; `from` is the fraction that is done before.
pub(super) fn test(
    engine: &mut Engine,
    settings: &Settings,
    sizes: Sizes,
    report: &mut Report,
    (from, progress): (f32, &mut dyn Progress),
) -> Result<(), AnalysisError> {
    let model = Arc::clone(engine.model());
    let n_ctx = model.spec.n_ctx;
    let asked = settings.length.unwrap_or(2 * sizes.window);
    let length = asked.min(n_ctx.saturating_sub(ROOM));
    if length < asked {
        report.note(format!(
            "pass keys: prompts have {length} tokens instead of {asked}, since the model's context is {n_ctx}"
        ));
    }
    if length <= sizes.window {
        report.note(format!(
            "pass keys: prompts of {length} tokens fit the window of {}, where the method is plain attention",
            sizes.window
        ));
    }
    report.note(
        "pass keys: what is written ends at its first wrong token; nearest chunks are as many as LongHeads reads, at new \
         positions too, chosen without scores; prompts stay within the model's context, where plain attention works and is \
         what the method can lose against (its gain in the paper is beyond it)",
    );
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let before = report.clone();
    let mut trials = vec![];
    for i in 0..settings.passkeys {
        let depth = (i as f64 + 0.5) / settings.passkeys as f64;
        let number = rng.random_range(1..=LARGEST);
        let case = passkey(&model, length, depth, number)?;
        let fraction = |f: f32| from + (1.0 - from) * (i as f32 + f) / settings.passkeys as f32;
        let go_on = &mut |f: f32| progress.at(fraction(f), None);
        trials.push(trial(engine, &case, sizes, (depth, number), go_on)?);
        *report = before.clone();
        show(report, &model, &trials);
        if !progress.at(fraction(1.0), Some(report)) {
            return Err(RunError::Stopped.into());
        }
    }
    Ok(())
}

pub(super) fn trial(
    engine: &mut Engine,
    case: &Case,
    sizes: Sizes,
    (depth, number): (f64, u32),
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Trial, RunError> {
    let model = Arc::clone(engine.model());
    let spec = &model.spec;
    let answer = case.right_tokens(0).to_vec();
    let n = answer.len();
    // One plain pass, then a pass a token.
    let passes = (1 + 2 * n) as f32;
    let mut plain = vec![];
    let mut generation = engine.begin(&case.spec, Side::Before, n, &mut || go_on(0.0))?;
    while plain.len() < n && answer.starts_with(&plain) {
        let token = generation.advance(&model, &mut || go_on(0.0))?;
        plain.push(token.chosen.id);
    }
    drop(generation);
    let query = case.spec.position;
    let layers_of = |layers: usize| layers as f32 / spec.n_layers as f32;
    let mut hears = |layers| go_on((1.0 + layers_of(layers)) / passes);
    let mut method = Chunked::new(spec, (sizes, By::Scores), query, &mut hears);
    let long = write(engine, case, &answer, &mut method)?;
    let choices = method.choices;
    let mut hears = |layers| go_on(((1 + n) as f32 + layers_of(layers)) / passes);
    let mut control = Chunked::new(spec, (sizes, By::Nearness), query, &mut hears);
    let near = write(engine, case, &answer, &mut control)?;
    let chunks = chunks_of(case.span("needle"), query, sizes);
    let share = |choices: &Vec<Choice>| {
        let read = chunks.iter().filter(|chunk| choices[**chunk] != Choice::No);
        (!choices.is_empty()).then(|| read.count() as f32 / chunks.len() as f32)
    };
    Ok(Trial {
        depth,
        number,
        written: [plain, long, near],
        answer,
        read: choices.iter().map(share).collect(),
        chance: chance(&chunks, sizes, query),
        chunks,
    })
}

/// What is written, token by token, up to the first wrong one.
fn write(
    engine: &mut Engine,
    case: &Case,
    answer: &[u32],
    attend: &mut Chunked<'_>,
) -> Result<Vec<u32>, RunError> {
    let mut written = vec![];
    for right in answer {
        let ids = [&case.spec.ids, written.as_slice()].concat();
        let spec = RunSpec {
            position: ids.len() - 1,
            ids: ids.into(),
            ..case.spec.clone()
        };
        written.extend(engine.generate_attending(&spec, 1, attend)?);
        if written.last() != Some(right) {
            break;
        }
    }
    Ok(written)
}

/// Whether a query beyond the window reads a chunk whatever its score.
fn is_given(chunk: usize, own: usize) -> bool {
    chunk == 0 || chunk + 1 >= own
}

/// The share of these chunks that a choice without scores reads.
fn chance(chunks: &[usize], sizes: Sizes, query: usize) -> f32 {
    if query < sizes.window {
        return 1.0;
    }
    let own = query / sizes.chunk;
    let n_scored = sizes.n_chunks().saturating_sub(ALWAYS);
    let of_middle = n_scored as f32 / (own + 1).saturating_sub(ALWAYS).max(1) as f32;
    let of = |chunk: &usize| {
        if is_given(*chunk, own) {
            1.0
        } else {
            of_middle
        }
    };
    chunks.iter().map(of).sum::<f32>() / chunks.len() as f32
}

fn show(report: &mut Report, model: &Model, trials: &[Trial]) {
    let about = format!(
        "share of the pass key's chunks that the head reads when it writes the first digit: mean of the {} trials, in the \
         method's own pass",
        trials.len()
    );
    let spec = &model.spec;
    let shape = (spec.n_layers, spec.n_heads);
    let found = HeadScores::of_heads("finds_passkey", &about, Scale::Share, shape, |head| {
        let read = trials
            .iter()
            .map(|trial| trial.read[head.layer * shape.1 + head.head]);
        let read: Option<Vec<f32>> = read.collect();
        read.map(|read| read.iter().sum::<f32>() / read.len() as f32)
    });
    report.scores.push(found);
    let mean = |trial: &Trial| {
        let known: Vec<f32> = trial.read.iter().copied().flatten().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f32>() / known.len() as f32)
    };
    let rows = trials.iter().map(|trial| {
        let [plain, long, near] = trial
            .written
            .each_ref()
            .map(|ids| model.text_after(&[], ids));
        let names: Vec<String> = trial.chunks.iter().map(usize::to_string).collect();
        vec![
            Cell::from(trial.depth),
            Cell::from(trial.number as usize),
            Cell::from(plain),
            Cell::from(long),
            Cell::from(near),
            Cell::from(names.join(", ")),
            Cell::from(mean(trial)),
            Cell::from(trial.chance),
        ]
    });
    report.tables.push(Table {
        name: "pass keys".into(),
        columns: [
            "depth",
            "pass key",
            "plain writes",
            "LongHeads writes",
            "nearest chunks write",
            "its chunks",
            "heads that read them",
            "by chance",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    });
    let rows = ATTENTIONS.into_iter().enumerate().map(|(i, name)| {
        let right = trials.iter().filter(|trial| trial.is_right()[i]).count();
        vec![
            Cell::from(name),
            Cell::from(right),
            Cell::from(trials.len()),
            Cell::from(right as f64 / trials.len() as f64),
        ]
    });
    report.tables.push(Table {
        name: "pass key accuracy".into(),
        columns: ["attention", "right", "of", "accuracy"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    });
}
