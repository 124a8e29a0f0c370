//! Texts as they are given, and as they are run.

use crate::analysis::AnalysisError;
use crate::model::Model;
use crate::prompt::BosRule;

use super::super::masking::BUDGET;

/// A text and the kind of text it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Blank where none is given.
    pub domain: String,
    pub text: String,
}

/// Texts as [`crate::analysis::texts::read`] gives them: a domain and a tab may stand before each. None: a few of our own, of two
/// domains.
pub fn of_texts(texts: &[String]) -> Vec<Text> {
    let of = |line: &str| {
        let (domain, text) = line.split_once('\t').unwrap_or(("", line));
        Text {
            domain: domain.trim().to_owned(),
            text: text.to_owned(),
        }
    };
    if texts.is_empty() {
        OWN.into_iter().map(of).collect()
    } else {
        texts.iter().map(|line| of(line)).collect()
    }
}

/// Prose without repeats, and texts that say things again.
const OWN: [&str; 6] = [
    "plain\tThe old bridge was closed for the winter, so everyone who lived across the river had to take the long road through the hills.",
    "plain\tA good knife needs little more than a flat stone, some water and half an hour of patience on a quiet evening.",
    "plain\tNobody in the office could remember who had ordered the piano, but it stood in the hall and had to go somewhere.",
    "repeats\tred lamp, blue chair, green door, old clock; red lamp, blue chair, green door, old clock; red lamp, blue chair, green door, old clock",
    "repeats\tThe code of the north gate is seven four nine. The code of the south gate is two two six. What is the code of the north gate? The code of the north gate is seven four nine.",
    "repeats\tAnna paid Peter, Peter paid Maria, Maria paid John; then again Anna paid Peter, Peter paid Maria, Maria paid John.",
];

/// A text as it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// Tokens of the text, beginning-of-text left out.
    pub n_tokens: usize,
    /// The first token of a window that has a loss.
    pub from: usize,
    pub runs: Vec<Vec<u32>>,
    pub length: usize,
}

impl Windows {
    pub(super) fn of(model: &Model, text: &str, asked: usize) -> Result<Self, AnalysisError> {
        let tokenizer = model.tokenizer.as_ref().ok_or_else(|| {
            AnalysisError::needs(
                "the model has no tokenizer, so texts have no tokens: open one that has",
            )
        })?;
        let ids = match tokenizer.encode(text, BosRule::Auto) {
            Ok(ids) => ids,
            Err(error) => {
                return Err(AnalysisError::needs(format!(
                    "a text has no tokens: {error}"
                )));
            }
        };
        let n_front = tokenizer.bos_count(&ids);
        let (front, body) = ids.split_at(n_front);
        // The logits of a window have to stay within bounds.
        let room = BUDGET / (model.spec.n_vocab * size_of::<f32>());
        let window = asked.min(room).min(model.spec.n_ctx);
        if window < n_front + 2 {
            return Err(AnalysisError::needs(format!(
                "a window of {window} tokens is too short to predict any: allow more (the context is {})",
                model.spec.n_ctx
            )));
        }
        Ok(Self {
            n_tokens: body.len(),
            from: n_front.max(1),
            runs: body
                .chunks(window - n_front)
                .map(|body| [front, body].concat())
                .collect(),
            length: window,
        })
    }
}
