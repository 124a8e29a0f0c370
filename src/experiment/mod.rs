//! An experiment: what is asked of a model, the passes that answer it, and their results as plain data.
//!
//! The window's worker and the command line both go through here, so one experiment gives one set of numbers.

mod asked;
pub mod attend;
mod compile;
mod dump;
mod effect;
pub mod engine;
mod generate;
mod gradient;
mod lens;
mod maps;
mod means;
mod paths;
mod readout;
pub mod resolve;
mod sweep;

pub use asked::{Continuation, EditRow, Experiment, ReadPosition};
pub use compile::EditError;
pub use dump::While;
pub use effect::Effect;
pub use generate::{Generated, GeneratedToken, Generation};
pub use gradient::Learned;
pub use lens::{beside, lens, lens_of};
pub use maps::{HeadMap, LayerMaps, Patterns};
pub use means::Means;
pub use readout::{Readout, TokenScore};
pub use sweep::{MOST_ROWS, Reading, SweepLogits};

use std::path::PathBuf;
use std::sync::Arc;

use crate::edit::Edit;

/// A resolved request: everything a run depends on, besides the weights. Comparable, so the window sends one only when
/// what it wants has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RunSpec {
    /// Prompt A, and tokens that were generated after it.
    pub ids: Arc<[u32]>,
    /// How many of `ids` are the prompt's.
    pub n_prompt: usize,
    /// Edits may name positions up to here, exclusive: generated tokens that are known, be they part of this run or not.
    pub reach: usize,
    pub contrast: Option<Arc<[u32]>>,
    /// The edits that are switched on.
    pub edits: Vec<Edit>,
    /// Position whose logits are read.
    pub position: usize,
    /// What `@last` means in edits.
    pub last: usize,
    /// Number of beginning-of-text tokens at the front, left out of means.
    pub bos_count: usize,
    /// Folder that the paths of `add` edits start from.
    pub folder: Option<PathBuf>,
}

impl RunSpec {
    /// The same without generated tokens, read at the prompt's last.
    #[must_use]
    pub fn of_prompt(&self) -> Self {
        let n_prompt = self.n_prompt.min(self.ids.len());
        Self {
            ids: self.ids[..n_prompt].into(),
            reach: n_prompt,
            position: n_prompt.saturating_sub(1),
            ..self.clone()
        }
    }
}

/// Which of the two runs of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The unedited run.
    Before,
    /// The run with the edits that are switched on.
    After,
}

/// One run's results.
#[derive(Clone, Debug)]
pub struct Pass {
    /// One entry a layer.
    pub layers: Vec<Arc<LayerMaps>>,
    /// Logits at the read position, `[vocab]`; `None` where the model has no language-model head.
    pub logits: Option<Arc<[f32]>>,
    /// Layer that the run started from: 0 for a whole run, the number of layers if nothing had to be run.
    pub restarted_at: usize,
    pub millis: f64,
}

/// Both runs of an experiment.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub before: Pass,
    /// Absent without edits.
    pub after: Option<Pass>,
}
