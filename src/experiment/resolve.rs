//! From what the user typed to what is run: prompts to tokens, answers to ids, `last` to an index.

use std::path::Path;

use super::RunSpec;
use crate::edit::align::Alignment;
use crate::model::Model;
use crate::model::tokenizer::Piece;
use crate::session::Experiment;

/// An experiment with its texts turned into tokens.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub spec: RunSpec,
    /// Prompt A's tokens, one a position.
    pub tokens: Vec<Piece>,
    pub contrast_tokens: Option<Vec<Piece>>,
    /// How the positions of A and B pair; `None` without prompt B.
    pub alignment: Option<Alignment>,
    pub answers: Vec<Answer>,
    pub bos: BosState,
    /// What the user should know; the run goes on.
    pub warnings: Vec<String>,
}

/// An answer as typed, and the token that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub id: u32,
    /// How many tokens the answer has; the first one is read.
    pub n_tokens: usize,
}

/// What stands at the front of prompt A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BosState {
    /// The rule is automatic and gave none: neutral.
    None,
    /// One, as the tokenizer has it.
    Auto,
    /// The user's override put one there.
    Forced,
    /// The user's override left it out, though the tokenizer has one.
    Suppressed,
    /// Two or more: likely a mistake.
    Repeated(usize),
}

/// Why an experiment cannot be run as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ResolveError {
    pub message: String,
}

/// Resolves `experiment` against `model`. `folder` is where the paths of `add` edits start.
pub fn resolve(
    experiment: &Experiment,
    model: &Model,
    folder: Option<&Path>,
) -> Result<Resolved, ResolveError> {
    let _ = (experiment, model, folder);
    Err(ResolveError {
        message: "stub".into(),
    })
}
