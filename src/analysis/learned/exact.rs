//! Does the model write the answer? The greedy continuation of a prompt, compared with whole answers.

use std::path::Path;

use crate::analysis::{AnalysisError, Case};
use crate::edit::Edit;
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{RunSpec, Side};
use crate::model::tokenizer::Tokenizer;

/// Tokens that are generated at most.
const MOST_TOKENS: usize = 20;

/// Share of cases whose greedy continuation of up to 20 tokens begins with a right answer, white space at
/// the front aside; one number a list of edits. The vectors are in `folder`.
pub fn exact_matches(
    engine: &mut Engine,
    cases: &[Case],
    variants: &[Vec<Edit>],
    folder: &Path,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<f64>, AnalysisError> {
    let mut matched = vec![0; variants.len()];
    let n_all = (cases.len() * variants.len()).max(1) as f32;
    for (i, case) in cases.iter().enumerate() {
        for (v, edits) in variants.iter().enumerate() {
            let spec = RunSpec {
                edits: edits.clone(),
                folder: Some(folder.to_owned()),
                ..case.spec.clone()
            };
            let done = (i * variants.len() + v) as f32 / n_all;
            let is_match = writes_an_answer(engine, case, &spec, &mut || go_on(done))?;
            matched[v] += usize::from(is_match);
        }
    }
    let n = cases.len().max(1) as f64;
    Ok(matched.iter().map(|count| *count as f64 / n).collect())
}

/// Generates no further than it takes to tell.
fn writes_an_answer(
    engine: &mut Engine,
    case: &Case,
    spec: &RunSpec,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<bool, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let tokenizer = model.tokenizer.as_ref();
    let answers: Vec<Vec<u8>> = (0..case.answers.len())
        .map(|i| written(tokenizer, case.right_tokens(i)))
        .collect();
    let n_tokens = MOST_TOKENS.min(model.spec.n_ctx.saturating_sub(spec.ids.len()));
    let (mut made, mut verdict, mut stopped) = (vec![], None, false);
    engine.generate(spec, Side::After, n_tokens, &[], &mut |token| {
        made.push(token.chosen.id);
        let text = written(tokenizer, &made);
        if answers.iter().any(|answer| text.starts_with(answer)) {
            verdict = Some(true);
        } else if !answers.iter().any(|answer| answer.starts_with(&text)) {
            verdict = Some(false);
        }
        stopped = !go_on();
        verdict.is_none() && !stopped
    })?;
    if stopped {
        return Err(RunError::Stopped.into());
    }
    Ok(verdict.unwrap_or(false))
}

/// The bytes that tokens stand for, without white space at the front; of a model without a tokenizer the ids' own.
fn written(tokenizer: Option<&Tokenizer>, ids: &[u32]) -> Vec<u8> {
    match tokenizer {
        Some(tokenizer) => {
            let pieces = tokenizer.pieces(ids);
            let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.bytes).collect();
            bytes.trim_ascii_start().to_vec()
        }
        None => ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::learned::tests::{case, engine, whole};

    #[test]
    fn a_continuation_matches_what_the_model_goes_on_to_write() {
        for name in ["demo", "tiny-gpt2"] {
            let mut engine = engine(name);
            let of = case(&[3, 1, 4], 0, None);
            let generated = engine
                .generate(&of.spec, Side::Before, 4, &[], &mut |_| true)
                .unwrap();
            let ids: Vec<u32> = generated
                .tokens
                .iter()
                .map(|token| token.chosen.id)
                .collect();
            let mut off = ids[..3].to_vec();
            off[2] = (off[2] + 1) % 20;
            let given = [
                whole(of.clone(), &[&ids[..3]], &[]),
                whole(of.clone(), &[&off[..], &ids[..]], &[]),
                whole(of.clone(), &[&off[..]], &[]),
            ];
            let variants = [vec![], vec!["L0H0=scale(1)".parse().unwrap()]];
            let found = exact_matches(&mut engine, &given, &variants, Path::new(""), &mut |_| true)
                .unwrap();
            assert_eq!(found, [2.0 / 3.0; 2], "{name}");
            let stopped = exact_matches(&mut engine, &given, &variants, Path::new(""), &mut |_| {
                false
            });
            assert!(stopped.unwrap_err().is_stop());
        }
    }
}
