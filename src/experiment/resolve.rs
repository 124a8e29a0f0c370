//! From what the user typed to what is run: prompts to tokens, answers to ids, `last` to an index.

use std::path::Path;

use super::{Experiment, ReadPosition, RunSpec};
use crate::edit::Op;
use crate::edit::align::Alignment;
use crate::model::Model;
use crate::model::spec::Head;
use crate::model::tokenizer::{Piece, Tokenizer, TokenizerError};
use crate::prompt::{BosRule, Prompt};

/// An experiment with its texts turned into tokens.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub spec: RunSpec,
    /// Prompt A's tokens and the generated ones after them, one a position.
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
    /// All its tokens; the first one is read.
    pub ids: Vec<u32>,
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
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("{which} is text, and the model has no tokenizer: give token ids instead")]
    NoTokenizer { which: &'static str },
    #[error("the model has no tokenizer: write the answer `{answer}` as a token id, such as #5")]
    NoTokenizerForAnswer { answer: String },
    #[error("the answer `{answer}` is no token id of this model, whose ids are #0 to #{last}")]
    NoSuchAnswer { answer: String, last: usize },
    #[error("a beginning-of-text token was asked for, and the model's files name none")]
    NoBos,
    #[error(
        "generated tokens follow the prompt, and this model reads in both directions: it generates none"
    )]
    NothingFollows,
    #[error(
        "the model reads in both directions, and its tokenizer puts the special tokens: there is no rule for the \
         beginning of text to override, set it to auto"
    )]
    NoBosRule,
    #[error(
        "the model predicts the token that {mask} stands for, and prompt A has none: put {mask} into it, or choose \
         another position to read at, `last` or an index (on the command line --position)"
    )]
    NoMask {
        /// As the prompt would have it.
        mask: String,
    },
    #[error("{which} is empty: there is nothing to run")]
    EmptyPrompt { which: &'static str },
    #[error("position {position} is outside the prompt, whose {n_tokens} tokens are 0 to {last}", last = n_tokens - 1)]
    NoSuchPosition { position: usize, n_tokens: usize },
    #[error("{which}: {error}")]
    Tokenizer {
        which: &'static str,
        error: TokenizerError,
    },
}

/// Resolves `experiment` against `model`. `folder` is where the paths of `add` edits start.
pub fn resolve(
    experiment: &Experiment,
    model: &Model,
    folder: Option<&Path>,
) -> Result<Resolved, ResolveError> {
    if !model.spec.is_causal() && experiment.bos != BosRule::Auto {
        return Err(ResolveError::NoBosRule);
    }
    let ids = encode(model, &experiment.prompt, experiment.bos, "prompt A")?;
    let contrast = experiment
        .contrast
        .as_ref()
        .map(|prompt| encode(model, prompt, experiment.bos, "prompt B"))
        .transpose()?;
    let bos = bos_state(experiment, model, &ids);
    let last = last_ordinary(model, &ids);
    let generated = experiment.continuation.text();
    if !generated.is_empty() && !model.spec.is_causal() {
        return Err(ResolveError::NothingFollows);
    }
    let text = [&ids, generated].concat();
    let position = match experiment.position {
        ReadPosition::Usual | ReadPosition::Last if !generated.is_empty() => text.len() - 1,
        ReadPosition::Usual if model.spec.predicts_in_place() => last_mask(model, &ids)?,
        ReadPosition::Usual | ReadPosition::Last => last,
        ReadPosition::At(position) if position < text.len() => position,
        ReadPosition::At(position) => {
            return Err(ResolveError::NoSuchPosition {
                position,
                n_tokens: text.len(),
            });
        }
    };
    let mut warnings = Vec::new();
    let has_logits = model.spec.head != Head::None;
    if !has_logits && !experiment.answers.is_empty() {
        warnings.push("the model has no language-model head: answers are not looked at".into());
    }
    let answers = experiment
        .answers
        .iter()
        .filter(|_| has_logits)
        .map(|text| answer(model, experiment, &ids, position, text, &mut warnings))
        .collect::<Result<Vec<_>, _>>()?;
    if let [first, second, ..] = &answers[..]
        && first.id == second.id
    {
        warnings.push(format!(
            "the answers `{}` and `{}` begin with the same token (#{}): their difference is 0",
            first.text, second.text, first.id
        ));
    }
    let alignment = contrast
        .as_deref()
        .map(|contrast| Alignment::new(&ids, contrast));
    // Nothing stands at the beginning of an encoder's text but what its tokenizer puts there.
    let bos_count = if model.spec.is_causal() {
        bos_count(model, &ids)
    } else {
        0
    };
    warn_about(experiment, bos, bos_count, alignment, &mut warnings);
    Ok(Resolved {
        tokens: pieces(model, &text),
        contrast_tokens: contrast.as_deref().map(|ids| pieces(model, ids)),
        alignment,
        answers,
        bos,
        warnings,
        spec: RunSpec {
            bos_count,
            n_prompt: ids.len(),
            reach: ids.len() + experiment.continuation.ids.len(),
            ids: text.into(),
            contrast: contrast.map(Into::into),
            edits: experiment.active_edits(),
            position,
            last,
            folder: folder.map(Path::to_owned),
        },
    })
}

fn encode(
    model: &Model,
    prompt: &Prompt,
    bos: BosRule,
    which: &'static str,
) -> Result<Vec<u32>, ResolveError> {
    let ids = match (prompt, &model.tokenizer) {
        (Prompt::Ids(ids), _) => match bos {
            BosRule::Auto | BosRule::Never => ids.clone(),
            BosRule::Always => {
                let bos_id = model.bos_id().ok_or(ResolveError::NoBos)?;
                let written_out = ids.iter().take_while(|id| **id == bos_id).count();
                [&[bos_id], &ids[written_out..]].concat()
            }
        },
        (Prompt::Text(text), Some(tokenizer)) => tokenizer
            .encode(text, bos)
            .map_err(|error| ResolveError::Tokenizer { which, error })?,
        (Prompt::Text(_), None) => return Err(ResolveError::NoTokenizer { which }),
    };
    if ids.is_empty() {
        return Err(ResolveError::EmptyPrompt { which });
    }
    Ok(ids)
}

fn bos_count(model: &Model, ids: &[u32]) -> usize {
    let bos_id = model.bos_id();
    ids.iter().take_while(|id| Some(**id) == bos_id).count()
}

fn bos_state(experiment: &Experiment, model: &Model, ids: &[u32]) -> BosState {
    let automatic = encode(model, &experiment.prompt, BosRule::Auto, "prompt A")
        .map_or(0, |ids| bos_count(model, &ids));
    match (bos_count(model, ids), automatic) {
        (0, 0) => BosState::None,
        (0, _) => BosState::Suppressed,
        (1, 0) => BosState::Forced,
        (1, _) => BosState::Auto,
        (count, _) => BosState::Repeated(count),
    }
}

/// The last token that is not special; the last one if all are.
fn last_ordinary(model: &Model, ids: &[u32]) -> usize {
    let special = |id: u32| model.tokenizer.as_ref().is_some_and(|t| t.is_special(id));
    ids.iter()
        .rposition(|id| !special(*id))
        .unwrap_or(ids.len() - 1)
}

/// The last token that stands for one to be predicted.
fn last_mask(model: &Model, ids: &[u32]) -> Result<usize, ResolveError> {
    let tokenizer = model.tokenizer.as_ref();
    let mask_id = tokenizer.and_then(Tokenizer::mask_id);
    ids.iter()
        .rposition(|id| Some(*id) == mask_id)
        .ok_or_else(|| ResolveError::NoMask {
            mask: tokenizer
                .and_then(Tokenizer::mask)
                .unwrap_or_else(|| "a mask token".to_owned()),
        })
}

fn pieces(model: &Model, ids: &[u32]) -> Vec<Piece> {
    match &model.tokenizer {
        Some(tokenizer) => tokenizer.pieces(ids),
        None => ids
            .iter()
            .map(|id| Piece {
                id: *id,
                text: id.to_string(),
                bytes: Vec::new(),
                special: false,
            })
            .collect(),
    }
}

/// The token that stands for an answer; `#5` names an id.
fn answer(
    model: &Model,
    experiment: &Experiment,
    ids: &[u32],
    position: usize,
    text: &str,
    warnings: &mut Vec<String>,
) -> Result<Answer, ResolveError> {
    let by_id = text.strip_prefix('#').and_then(crate::ids::index);
    if let Some(id) = by_id {
        let n_vocab = model.spec.n_vocab;
        return match u32::try_from(id) {
            Ok(id) if (id as usize) < n_vocab => Ok(Answer {
                text: text.to_owned(),
                id,
                ids: vec![id],
            }),
            _ => Err(ResolveError::NoSuchAnswer {
                answer: text.to_owned(),
                last: n_vocab - 1,
            }),
        };
    }
    let Some(tokenizer) = &model.tokenizer else {
        return Err(ResolveError::NoTokenizerForAnswer {
            answer: text.to_owned(),
        });
    };
    let found = match &experiment.prompt {
        Prompt::Text(prompt) if model.spec.predicts_in_place() => {
            tokenizer.answer_in_place(prompt, ids, position, text)
        }
        Prompt::Text(prompt) => tokenizer.answer_id(prompt, ids, text, experiment.bos),
        Prompt::Ids(_) => tokenizer.answer_id("", &[], text, BosRule::Never),
    };
    let found = found.map_err(|error| ResolveError::Tokenizer {
        which: "answer",
        error,
    })?;
    if found.ids.len() > 1 {
        warnings.push(format!(
            "the answer `{text}` has {} tokens: its first one (#{}) is read",
            found.ids.len(),
            found.id
        ));
    }
    if found.alone && !matches!(experiment.prompt, Prompt::Ids(_)) {
        warnings.push(format!(
            "with the answer `{text}` the prompt's own tokens change, so the answer was tokenised alone"
        ));
    }
    if found.respaced {
        warnings.push(format!(
            "the answer `{text}` is read as `{}` (#{}), as it would stand in its place in the prompt",
            model.token_text(found.id),
            found.id
        ));
    }
    Ok(Answer {
        text: text.to_owned(),
        id: found.id,
        ids: found.ids,
    })
}

fn warn_about(
    experiment: &Experiment,
    bos: BosState,
    bos_count: usize,
    alignment: Option<Alignment>,
    warnings: &mut Vec<String>,
) {
    match bos {
        BosState::None | BosState::Auto => {}
        BosState::Forced => {
            warnings.push("a beginning-of-text token was put in front, which this tokenizer does not do itself".into());
        }
        BosState::Suppressed => {
            warnings.push(
                "the beginning-of-text token that this tokenizer puts in front was left out".into(),
            );
        }
        BosState::Repeated(count) => {
            warnings.push(format!(
                "the prompt begins with {count} beginning-of-text tokens"
            ));
        }
    }
    if let Some(Alignment {
        len_a,
        len_b,
        prefix,
        suffix,
    }) = alignment
        && len_a != len_b
    {
        warnings.push(format!(
            "prompt A has {len_a} tokens and prompt B {len_b}: the first {prefix} and the last {suffix} pair, \
             the others cannot be resampled"
        ));
    }
    let active = experiment.active_edits();
    if active.iter().any(|edit| edit.op == Op::Mean) {
        let left_out = if bos_count > 0 {
            ", beginning-of-text left out"
        } else {
            ""
        };
        warnings.push(format!(
            "mean: over the positions of prompt A's unedited run{left_out}"
        ));
    }
    for edit in active.iter().filter(|edit| edit.changes_nothing()) {
        warnings.push(format!("edit `{edit}` is applied and changes nothing"));
    }
}
