//! Whether the model remembers what it is said to remember: the question without the statement before it.

use crate::analysis::{AnalysisError, Case};
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::model::Model;
use crate::prompt::BosRule;

use super::Settings;
use super::rates::said;

/// What the model said to the question alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Yes,
    No,
    /// The statement cannot be told from the question, or nobody wants to know.
    Unasked,
}

impl Known {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unasked => "not asked",
        }
    }
}

pub(super) fn known(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<Known>, AnalysisError> {
    let mut found = Vec::with_capacity(cases.len());
    for (i, case) in cases.iter().enumerate() {
        if !go_on(i as f32 / cases.len() as f32) {
            return Err(RunError::Stopped.into());
        }
        let question = settings.known_only.then(|| question(engine.model(), case));
        found.push(match (question.flatten(), case.pair()) {
            (Some(spec), Some((_, remembered))) if said(engine, &spec)? == Some(remembered) => {
                Known::Yes
            }
            (Some(_), Some(_)) => Known::No,
            _ => Known::Unasked,
        });
    }
    Ok(found)
}

/// What follows the stated answer and its full stop, as a prompt of its own. `None` where the set does not name the stated
/// answer's place, and of models that read in both directions, whose text ends in special tokens.
pub(super) fn question(model: &Model, case: &Case) -> Option<RunSpec> {
    let tokenizer = model.tokenizer.as_ref()?;
    if !model.spec.is_causal() {
        return None;
    }
    let ids = case.spec.ids.get(..case.spec.n_prompt)?;
    let after = ids.get(case.span("object").last()? + 1..)?;
    let bytes: Vec<u8> = tokenizer
        .pieces(after)
        .into_iter()
        .flat_map(|piece| piece.bytes)
        .collect();
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric());
    let bos = if case.spec.bos_count > 0 {
        BosRule::Always
    } else {
        BosRule::Never
    };
    let ids = tokenizer.encode(text, bos).ok()?;
    let last = ids.len().checked_sub(1)?;
    // Nothing but the beginning of text is no question.
    (last >= case.spec.bos_count).then(|| RunSpec {
        n_prompt: ids.len(),
        reach: ids.len(),
        ids: ids.into(),
        contrast: None,
        edits: vec![],
        position: last,
        last,
        ..case.spec.clone()
    })
}
