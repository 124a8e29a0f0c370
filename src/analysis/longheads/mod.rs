//! Which chunks of a long prompt each head would read, were its attention cut to a window (LongHeads: Lu et al. 2024,
//! arXiv 2402.10685, and its released code).
//!
//! - The representation of a chunk, for a head: causal attention within the chunk, its rows' mean u as one more query, and
//!   softmax(u Kᵀ) K over the chunk's keys. Positions are those within the chunk. (u is a mean of values that stands in for
//!   a query, as the released code has it.)
//! - A query's score of a chunk: its q without rotary, times the representation.
//! - A query reads k = window / chunk chunks: the first, the last full one, its own partial one, and of the others those
//!   with the highest scores. A prompt that fits the window is read whole.
//!
//! Scores are multiplied and capped as the model does it. Rotary positions only: keys are turned to their place within the
//! chunk, which learned positions do not allow. Selected chunks get new positions in the method itself; the comparison
//! here takes the other keys away and leaves positions as they are.

mod passkey;
mod rotate;
mod view;

use crate::analysis::field::{Field, Value};
use std::sync::Arc;

use crate::analysis::{AnalysisError, Case, Progress, Report, step};
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::model::site::{Part, Site};
use crate::model::spec::ModelSpec;

pub use passkey::passkey;
use rotate::Turns;

/// Chunks that are always read: the first, the last full one, the query's own.
const ALWAYS: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tokens of a chunk.
    pub chunk: usize,
    /// Tokens that a query may read.
    pub window: usize,
    /// Whether the next token is compared with and without the chunks that are not selected.
    pub compare: bool,
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "chunk",
                "Tokens of a chunk",
                Value::Count(&mut self.chunk, 2..=100_000),
            ),
            Field::new(
                "window",
                "Tokens that a head may read",
                Value::Count(&mut self.window, 6..=1_000_000),
            ),
            Field::new(
                "compare",
                "With the next token when only the chosen chunks are read",
                Value::Flag(&mut self.compare),
            ),
        ]
    }
}

impl Default for Settings {
    /// The paper's, of a model trained on 4,096 tokens.
    fn default() -> Self {
        Self {
            chunk: 256,
            window: 4096,
            compare: true,
        }
    }
}

impl Settings {
    /// For a smaller model: half its context, and chunks of an eighth of that, at most 64.
    #[must_use]
    pub fn scaled_to(n_ctx: usize) -> Self {
        let window = (n_ctx / 2).min(4096);
        Self {
            chunk: (window / 8).clamp(1, 64),
            window,
            compare: true,
        }
    }

    /// k
    pub const fn n_chunks(&self) -> usize {
        match self.window.checked_div(self.chunk) {
            Some(k) => k,
            None => 0,
        }
    }

    fn check(&self, spec: &ModelSpec) -> Result<(), AnalysisError> {
        let lacks = |what: String| Err(AnalysisError::needs(what));
        if (0..spec.n_layers).any(|layer| spec.rotary(layer).is_none()) {
            return lacks(
                "longheads needs rotary positions, and this model's are learned: choose a model with rotary positions \
                 (Llama, Qwen, Gemma, …)"
                    .into(),
            );
        }
        if !spec.is_causal() {
            return lacks(
                "longheads is about models that generate, and this one reads in both directions: choose one that \
                 generates text"
                    .into(),
            );
        }
        if self.n_chunks() < ALWAYS {
            return lacks(format!(
                "a window of {} tokens has {} chunks of {}: give a window of {ALWAYS} chunks or more",
                self.window,
                self.n_chunks(),
                self.chunk
            ));
        }
        Ok(())
    }
}

/// Why a head reads a chunk, or that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    First,
    /// Its score is among the highest.
    Scored,
    /// The last full chunk.
    Last,
    /// The query's own.
    Own,
    /// The prompt fits the window.
    Whole,
    No,
}

impl Choice {
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Scored => "scored",
            Self::Last => "last full",
            Self::Own => "own",
            Self::Whole => "whole prompt",
            Self::No => "",
        }
    }
}

/// The chunks of one head, for one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// `[full chunk]`
    pub scores: Vec<f64>,
    /// `[chunk]`, the query's own last.
    pub choices: Vec<Choice>,
    /// Share of plain attention that goes to what is selected.
    pub mass: f64,
}

/// What each head selects for the read position.
pub fn longheads(
    engine: &mut Engine,
    case: &Case,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    let spec = &model.spec;
    let query = case.spec.position;
    let selections = selections(engine, case, settings, &mut |f| step(progress, f * 0.9))?;
    let mut report = Report::new("longheads")
        .with("chunk", settings.chunk)
        .with("window", settings.window)
        .with("compare", settings.compare)
        .with("query", query);
    view::describe(&mut report, &model, case, settings, &selections);
    if !progress.at(0.9, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    if settings.compare {
        view::compare(engine, case, settings, &selections, &mut report, progress)?;
    }
    if spec.masks.iter().any(|mask| mask.has_window()) {
        report.note(
            "some layers see a window only: chunks beyond it are scored, and plain attention gives them nothing",
        );
    }
    if query < settings.window {
        report.note(format!(
            "the prompt up to the query has {} tokens and fits the window of {}: every head reads all of it (a longer \
             prompt, or a smaller window, would select)",
            query + 1,
            settings.window
        ));
    }
    Ok(report)
}

/// Every head's selection for the read position, `[layer, head]`.
pub fn selections(
    engine: &mut Engine,
    case: &Case,
    settings: &Settings,
    go_on: &mut dyn FnMut(f32) -> Result<(), AnalysisError>,
) -> Result<Vec<Selection>, AnalysisError> {
    let model = Arc::clone(engine.model());
    let spec = &model.spec;
    settings.check(spec)?;
    let run = RunSpec {
        edits: vec![],
        ..case.spec.clone()
    };
    let sites: Vec<Site> = (0..spec.n_layers)
        .flat_map(|layer| [Part::V, Part::RotQ, Part::RotK].map(|part| Site::Block(layer, part)))
        .collect();
    go_on(0.0)?;
    let dumped = engine.dump(&run, &sites)?;
    let mut selections = Vec::with_capacity(spec.n_layers * spec.n_heads);
    for (layer, parts) in dumped.chunks_exact(3).enumerate() {
        go_on(0.5 + 0.5 * layer as f32 / spec.n_layers as f32)?;
        let Some(rotary) = spec.rotary(layer) else {
            continue;
        };
        let attended = Attended {
            spec,
            layer,
            turns: Turns::new(rotary),
            v: &parts[0].values,
            q: &parts[1].values,
            k: &parts[2].values,
        };
        for head in 0..spec.n_heads {
            selections.push(attended.select(head, case.spec.position, settings));
        }
    }
    Ok(selections)
}

/// A layer's queries, keys and values as they were dumped: q and k after rotary.
struct Attended<'a> {
    spec: &'a ModelSpec,
    layer: usize,
    turns: Turns,
    /// `[token, kv_head, d_head]`
    v: &'a [f32],
    /// `[token, head, d_head]`
    q: &'a [f32],
    /// `[token, kv_head, d_head]`
    k: &'a [f32],
}

impl Attended<'_> {
    /// A row of a head, in f64.
    fn row(&self, values: &[f32], n_heads: usize, token: usize, head: usize) -> Vec<f64> {
        let d_head = self.spec.d_head;
        let row = &values[(token * n_heads + head) * d_head..][..d_head];
        row.iter().map(|x| f64::from(*x)).collect()
    }

    /// q at a position `to` instead of its token's.
    fn q_at(&self, token: usize, head: usize, to: usize) -> Vec<f64> {
        let mut row = self.row(self.q, self.spec.n_heads, token, head);
        self.turns.move_by(&mut row, to as f64 - token as f64);
        row
    }

    fn k_at(&self, token: usize, head: usize, to: usize) -> Vec<f64> {
        let kv_head = self.spec.kv_head_of(head);
        let mut row = self.row(self.k, self.spec.n_kv_heads, token, kv_head);
        self.turns.move_by(&mut row, to as f64 - token as f64);
        row
    }

    fn v(&self, token: usize, head: usize) -> Vec<f64> {
        let kv_head = self.spec.kv_head_of(head);
        self.row(self.v, self.spec.n_kv_heads, token, kv_head)
    }

    /// softmax of a query against keys, as the model scores them.
    fn weights(&self, query: &[f64], keys: &[Vec<f64>]) -> Vec<f64> {
        let score = |key: &Vec<f64>| {
            let score = dot(query, key) * self.spec.score_scale;
            self.spec
                .score_cap
                .map_or(score, |cap| cap * (score / cap).tanh())
        };
        let scores: Vec<f64> = keys.iter().map(score).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
        let total: f64 = exps.iter().sum();
        exps.iter().map(|e| e / total).collect()
    }

    /// What stands for a full chunk, `[d_head]`.
    fn representation(&self, head: usize, chunk: usize, size: usize) -> Vec<f64> {
        let start = chunk * size;
        let keys: Vec<Vec<f64>> = (0..size).map(|i| self.k_at(start + i, head, i)).collect();
        let values: Vec<Vec<f64>> = (0..size).map(|i| self.v(start + i, head)).collect();
        let mask = self.spec.masks[self.layer];
        let mut mean = vec![0.0; self.spec.d_head];
        for i in 0..size {
            let seen = mask.keys(i, size);
            let weights = self.weights(&self.q_at(start + i, head, i), &keys[seen.clone()]);
            for (weight, value) in weights.iter().zip(&values[seen]) {
                add(&mut mean, weight / size as f64, value);
            }
        }
        let mut representation = vec![0.0; self.spec.d_head];
        for (weight, key) in self.weights(&mean, &keys).iter().zip(&keys) {
            add(&mut representation, *weight, key);
        }
        representation
    }

    fn select(&self, head: usize, query: usize, settings: &Settings) -> Selection {
        let n_full = query / settings.chunk;
        let q = self.q_at(query, head, 0);
        let scores: Vec<f64> = (0..n_full)
            .map(|chunk| dot(&q, &self.representation(head, chunk, settings.chunk)))
            .collect();
        let choices = choose(&scores, settings, query);
        let seen = self.spec.masks[self.layer].keys(query, query + 1);
        let keys: Vec<Vec<f64>> = seen.clone().map(|key| self.k_at(key, head, key)).collect();
        let weights = self.weights(&self.q_at(query, head, query), &keys);
        let mass = seen
            .zip(&weights)
            .filter(|(key, _)| choices[key / settings.chunk] != Choice::No)
            .map(|(_, weight)| weight)
            .sum();
        Selection {
            scores,
            choices,
            mass,
        }
    }
}

/// The chunks that a query reads, from its scores of the full ones before its own; the first of equals.
fn choose(scores: &[f64], settings: &Settings, query: usize) -> Vec<Choice> {
    let n_full = scores.len();
    if query < settings.window {
        return vec![Choice::Whole; n_full + 1];
    }
    let mut choices = vec![Choice::No; n_full + 1];
    let mut middle: Vec<usize> = (1..n_full.saturating_sub(1)).collect();
    middle.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    for chunk in middle
        .iter()
        .take(settings.n_chunks().saturating_sub(ALWAYS))
    {
        choices[*chunk] = Choice::Scored;
    }
    choices[n_full] = Choice::Own;
    if let Some(last) = n_full.checked_sub(1) {
        choices[last] = Choice::Last;
        choices[0] = Choice::First;
    }
    choices
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], weight: f64, row: &[f64]) {
    for (sum, x) in sum.iter_mut().zip(row) {
        *sum += weight * x;
    }
}

#[cfg(test)]
mod tests;
