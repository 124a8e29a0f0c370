//! Which chunks a query reads.

use std::sync::Arc;

use super::Sizes;
use super::rows::Rows;
use crate::analysis::{AnalysisError, Case};
use crate::experiment::RunSpec;
use crate::experiment::engine::Engine;
use crate::model::site::{Part, Site};

/// Chunks that are always read: the first, the last full one, the query's own.
pub(super) const ALWAYS: usize = 3;

/// What decides which chunks are read besides those that always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The highest scores: the method.
    Scores,
    /// The nearest, as many: what the choice is held against.
    Nearness,
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
    pub scores: Vec<f32>,
    /// `[chunk]`, the query's own last.
    pub choices: Vec<Choice>,
    /// Share of plain attention that goes to what is selected.
    pub mass: f64,
}

/// Every head's selection for the read position of the plain, unedited run, `[layer, head]`.
pub fn selections(
    engine: &mut Engine,
    case: &Case,
    sizes: Sizes,
    go_on: &mut dyn FnMut(f32) -> Result<(), AnalysisError>,
) -> Result<Vec<Selection>, AnalysisError> {
    let model = Arc::clone(engine.model());
    let spec = &model.spec;
    let run = RunSpec {
        edits: vec![],
        ..case.spec.clone()
    };
    let query = run.position;
    let sites: Vec<Site> = (0..spec.n_layers)
        .flat_map(|layer| [Part::V, Part::RotQ, Part::RotK].map(|part| Site::Block(layer, part)))
        .collect();
    go_on(0.0)?;
    let mut dumped = engine.dump(&run, &sites)?;
    let mut selections = Vec::with_capacity(spec.n_layers * spec.n_heads);
    for (layer, parts) in dumped.chunks_exact_mut(3).enumerate() {
        go_on(0.5 + 0.5 * layer as f32 / spec.n_layers as f32)?;
        let [v, q, k] = [0, 1, 2].map(|i| std::mem::take(&mut parts[i].values));
        let rows = Rows::new(spec, layer, sizes, (q, k, &v));
        let representations = rows.representations(query / sizes.chunk);
        for (head, representations) in representations.iter().enumerate() {
            selections.push(select(&rows, head, query, sizes, representations));
        }
    }
    Ok(selections)
}

pub(super) fn select(
    rows: &Rows<'_>,
    head: usize,
    query: usize,
    sizes: Sizes,
    representations: &[f32],
) -> Selection {
    let scores = rows.scores(head, query, representations);
    let choices = choose(&scores, sizes, query);
    let keys = rows.plain(query);
    let weights = rows.weights(head, query, &keys);
    let tokens = keys.iter().flat_map(|keys| keys.tokens.clone());
    let mass = tokens
        .zip(&weights)
        .filter(|(key, _)| choices[key / sizes.chunk] != Choice::No)
        .map(|(_, weight)| f64::from(*weight))
        .sum();
    Selection {
        scores,
        choices,
        mass,
    }
}

/// The chunks that a query reads, from its scores of the full ones before its own (none are needed within the window);
/// the first of equals.
pub(super) fn choose(scores: &[f32], sizes: Sizes, query: usize) -> Vec<Choice> {
    if query < sizes.window {
        return vec![Choice::Whole; query / sizes.chunk + 1];
    }
    let n_full = scores.len();
    let mut choices = vec![Choice::No; n_full + 1];
    let mut middle: Vec<usize> = (1..n_full.saturating_sub(1)).collect();
    middle.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let n_scored = sizes.n_chunks().saturating_sub(ALWAYS);
    for chunk in middle.iter().take(n_scored) {
        choices[*chunk] = Choice::Scored;
    }
    choices[n_full] = Choice::Own;
    if let Some(last) = n_full.checked_sub(1) {
        choices[last] = Choice::Last;
        choices[0] = Choice::First;
    }
    choices
}

/// The chunks that are read, in their order.
pub(super) fn chosen(choices: &[Choice]) -> Vec<usize> {
    let read = |chunk: &usize| choices[*chunk] != Choice::No;
    (0..choices.len()).filter(read).collect()
}

/// The chunks that hold these positions, up to a query.
pub(super) fn chunks_of(positions: &[usize], query: usize, sizes: Sizes) -> Vec<usize> {
    let known = positions.iter().filter(|at| **at <= query);
    let mut chunks: Vec<usize> = known.map(|at| at / sizes.chunk).collect();
    chunks.dedup();
    chunks
}
