//! The field's test of long prompts: a number hidden in filler.

use crate::analysis::cases::Whole;
use crate::analysis::{AnalysisError, Case};
use crate::experiment::RunSpec;
use crate::model::Model;
use crate::prompt::BosRule;

const FILLER: &str =
    " The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/// A pass key in `n_tokens` tokens of filler (at most the context), to be found. `depth` is where, from 0 to 1. Its place
/// is the case's span `needle`, its tokens the case's whole answer.
pub fn passkey(
    model: &Model,
    n_tokens: usize,
    depth: f64,
    number: u32,
) -> Result<Case, AnalysisError> {
    let tokenizer = model.tokenizer.as_ref().ok_or_else(|| {
        AnalysisError::needs(
            "a pass key is text, and the model has no tokenizer: give a prompt of token ids",
        )
    })?;
    let encode = |text: &str, bos: BosRule| {
        let ids = tokenizer.encode(text, bos);
        ids.map_err(|error| AnalysisError::needs(format!("the pass key: {error}")))
    };
    let task = "There is a pass key hidden in this text. Find it and remember it.";
    let front = encode(task, BosRule::Auto)?;
    let needle = format!(" The pass key is {number}. Remember it. {number} is the pass key.");
    let needle = encode(&needle, BosRule::Never)?;
    let mut question = encode(" What is the pass key? The pass key is", BosRule::Never)?;
    let mut answer = encode(&format!(" {number}"), BosRule::Never)?;
    // A space that is a token of its own says nothing of the number.
    if answer.len() > 1 && model.token_text(answer[0]).trim().is_empty() {
        question.push(answer.remove(0));
    }
    let filler = encode(FILLER, BosRule::Never)?;
    let fixed = front.len() + needle.len() + question.len();
    let room = n_tokens
        .min(model.spec.n_ctx)
        .checked_sub(fixed)
        .ok_or_else(|| {
            AnalysisError::needs(format!(
                "a pass key takes {fixed} tokens and more: give a longer length"
            ))
        })?;
    let filler: Vec<u32> = filler.iter().copied().cycle().take(room).collect();
    // Between two sentences, where there is a place.
    let length = encode(FILLER, BosRule::Never)?.len().max(1);
    let at = ((room as f64 * depth.clamp(0.0, 1.0)) as usize / length) * length;
    let (before, after) = filler.split_at(at);
    let start = front.len() + before.len();
    let span = (start..start + needle.len()).collect();
    let ids = [&front, before, &needle, after, &question].concat();
    let last = ids.len() - 1;
    Ok(Case {
        label: format!(
            "pass key {number} at {:.0} % of {} tokens",
            depth * 100.0,
            ids.len()
        ),
        spec: RunSpec {
            n_prompt: ids.len(),
            reach: ids.len(),
            ids: ids.into(),
            contrast: None,
            edits: vec![],
            position: last,
            last,
            bos_count: usize::from(
                model
                    .bos_id()
                    .is_some_and(|bos| front.first() == Some(&bos)),
            ),
            folder: None,
        },
        answers: answer.first().copied().into_iter().collect(),
        whole: Whole {
            right: vec![answer],
            wrong: vec![],
        },
        spans: vec![("needle".into(), span)],
        ..Case::default()
    })
}
