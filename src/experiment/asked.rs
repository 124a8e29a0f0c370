//! What is asked of a model, as the user put it: plain data, which `resolve` turns into tokens and indices.

use crate::edit::Edit;
use crate::prompt::{BosRule, Prompt};

/// What is asked of the model: everything that the numbers depend on, besides the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    pub prompt: Prompt,
    /// Prompt B: where resampling takes its values from.
    pub contrast: Option<Prompt>,
    pub bos: BosRule,
    pub edits: Vec<EditRow>,
    /// Answer tokens as typed (` Mary`, `#5`); the first two give the logit difference.
    pub answers: Vec<String>,
    pub position: ReadPosition,
    pub continuation: Continuation,
}

/// Tokens that were generated after prompt A, and how many of them are part of the text that is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Continuation {
    pub ids: Vec<u32>,
    /// 0 is the prompt alone.
    pub step: usize,
}

/// An edit in the list, which can be switched off without being lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EditRow {
    pub edit: Edit,
    pub enabled: bool,
}

impl Continuation {
    /// The tokens that are part of the text.
    pub fn text(&self) -> &[u32] {
        &self.ids[..self.step.min(self.ids.len())]
    }
}

/// Where the logits are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadPosition {
    /// Where the model is usually asked: at the last `[MASK]` where it predicts those, else as [`Self::Last`].
    #[default]
    Usual,
    /// The last token that is not special; the newest one where generated tokens follow the prompt.
    Last,
    At(usize),
}

impl Experiment {
    pub fn new(prompt: Prompt) -> Self {
        Self {
            prompt,
            contrast: None,
            bos: BosRule::default(),
            edits: Vec::new(),
            answers: Vec::new(),
            position: ReadPosition::default(),
            continuation: Continuation::default(),
        }
    }

    /// The edits that are switched on, in order.
    pub fn active_edits(&self) -> Vec<Edit> {
        self.edits
            .iter()
            .filter(|row| row.enabled)
            .map(|row| row.edit.clone())
            .collect()
    }
}
