//! Attention cut to a window of chunks that each head chooses for itself (LongHeads: Lu et al. 2024, arXiv 2402.10685,
//! and its released code).
//!
//! - The representation of a chunk, for a head: causal attention within the chunk, its rows' mean u as one more query, and
//!   softmax(u Kᵀ) K over the chunk's keys. Positions are those within the chunk. (u is a mean of values that stands in for
//!   a query, as the released code has it.)
//! - A query's score of a chunk: its q without rotary, times the representation.
//! - A query reads k = window / chunk chunks: the first, the last full one, its own partial one, and of the others those
//!   with the highest scores. A query within the window reads everything.
//! - What is read closes up: the chunks get the positions from 0 on, and the query (k − 1) · chunk + its place in its own
//!   chunk, so that no distance is beyond the window. Every query, layer and head does so.
//!
//! Scores are multiplied and capped as the model does it. Rotary positions only: keys are turned to their place within the
//! chunk, which learned positions do not allow. Layers that see a window only attend as they always do.

mod attend;
mod passkey;
mod rotate;
mod rows;
mod select;
mod trials;
mod view;

use std::sync::Arc;

use crate::analysis::field::{Field, Value};
use crate::analysis::{AnalysisError, Case, Progress, Report, step};
use crate::experiment::engine::{Engine, RunError};
use crate::model::spec::{Head, ModelSpec};

pub use passkey::passkey;
pub use select::{Choice, Selection, selections};

use select::ALWAYS;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tokens of a chunk; `None`: the paper's share of the window, or of a smaller model's.
    pub chunk: Option<usize>,
    /// Tokens that a query may read; `None`: the paper's 4096, or half the context of a smaller model.
    pub window: Option<usize>,
    /// Whether the next token of plain attention is compared with that of the method.
    pub compare: bool,
    /// Numbers that are hidden in filler and asked for; 0 leaves the test out.
    pub passkeys: usize,
    /// Tokens of a prompt of that test; `None`: twice the window.
    pub length: Option<usize>,
    /// Of its numbers.
    pub seed: u64,
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "chunk",
                "Tokens of a chunk; auto: 1/16 of the window, or 1/8, at most 64, below a context of 8192",
                Value::MaybeCount(&mut self.chunk, 2..=100_000),
            ),
            Field::new(
                "window",
                "Tokens that a head may read; auto: half the context, at most 4096",
                Value::MaybeCount(&mut self.window, 6..=1_000_000),
            ),
            Field::new(
                "compare",
                "With the next token when only the chosen chunks are read, at old positions and at new ones",
                Value::Flag(&mut self.compare),
            ),
            Field::new(
                "passkeys",
                "Trials of the pass key test, each about ten passes; 0 leaves it out",
                Value::Count(&mut self.passkeys, 0..=1000),
            ),
            Field::new(
                "length",
                "Tokens of its prompts; auto: twice the window",
                Value::MaybeCount(&mut self.length, 64..=1_000_000),
            ),
            Field::new("seed", "Seed of its numbers", Value::Seed(&mut self.seed)),
        ]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chunk: None,
            window: None,
            compare: true,
            passkeys: 0,
            length: None,
            seed: 0,
        }
    }
}

/// Tokens of a chunk and of the window, as a model gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub chunk: usize,
    pub window: usize,
}

impl Sizes {
    /// The paper's share of the window: 256 of 4,096.
    const OF_WINDOW: usize = 16;
    /// From this context on the sizes are the paper's.
    const LONG: usize = 8192;

    /// k
    pub const fn n_chunks(self) -> usize {
        match self.window.checked_div(self.chunk) {
            Some(k) => k,
            None => 0,
        }
    }
}

impl Settings {
    /// What is not given is the paper's (256 and 4,096), or scaled down for a smaller model: half its context, and chunks
    /// of an eighth of that, at most 64.
    #[must_use]
    pub fn sizes(&self, n_ctx: usize) -> Sizes {
        let window = self.window.unwrap_or((n_ctx / 2).min(4096));
        let chunk = if n_ctx < Sizes::LONG {
            (window / 8).min(64)
        } else {
            window / Sizes::OF_WINDOW
        };
        Sizes {
            chunk: self.chunk.unwrap_or(chunk.max(2)),
            window,
        }
    }

    fn check(&self, sizes: Sizes, spec: &ModelSpec) -> Result<(), AnalysisError> {
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
        if sizes.n_chunks() < ALWAYS {
            return lacks(format!(
                "a window of {} tokens has {} chunks of {}: give a window of {ALWAYS} chunks or more",
                sizes.window,
                sizes.n_chunks(),
                sizes.chunk
            ));
        }
        if self.passkeys > 0 && spec.head != Head::NextToken {
            return lacks("the pass key test needs logits, and this model gives none".into());
        }
        Ok(())
    }
}

/// What each head selects for the read position, and what the method makes of the prompt and of pass keys.
pub fn longheads(
    engine: &mut Engine,
    case: &Case,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    let spec = &model.spec;
    let sizes = settings.sizes(spec.n_ctx);
    settings.check(sizes, spec)?;
    let query = case.spec.position;
    // A trial takes several passes.
    let share = 1.0 / (1 + 3 * settings.passkeys) as f32;
    let selected = share * if settings.compare { 0.5 } else { 0.9 };
    let go_on = &mut |f: f32| step(progress, f * selected);
    let selections = selections(engine, case, sizes, go_on)?;
    let mut report = Report::new("longheads")
        .with("chunk", sizes.chunk)
        .with("window", sizes.window)
        .with("compare", settings.compare)
        .with("passkeys", settings.passkeys)
        .with("length", settings.length)
        .with("seed", settings.seed)
        .with("query", query);
    view::describe(&mut report, &model, case, sizes, &selections);
    if spec.masks.iter().any(|mask| mask.has_window()) {
        report.note(
            "some layers see a window only: chunks beyond it are scored, plain attention gives them nothing, and the \
             method leaves these layers as they are",
        );
    }
    if query < sizes.window {
        report.note(format!(
            "the prompt up to the query has {} tokens and fits the window of {}: every head reads all of it (a longer \
             prompt, or a smaller window, would select)",
            query + 1,
            sizes.window
        ));
    }
    if !progress.at(selected, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    if settings.compare {
        let go_on = &mut |f: f32| progress.at(selected + (share - selected) * f, None);
        view::compare(engine, case, sizes, &selections, &mut report, go_on)?;
    }
    if settings.passkeys > 0 {
        trials::test(engine, settings, sizes, &mut report, (share, progress))?;
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
