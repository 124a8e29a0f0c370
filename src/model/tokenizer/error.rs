//! Why a tokenizer cannot be used, and what to do about it.

use std::path::PathBuf;

use super::gguf::{MODELS, PRE_TOKENIZERS};
use super::parts::CLASSES;

#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("cannot read {}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{what} is damaged: {problem}; fetch or convert it again")]
    Damaged { what: String, problem: String },
    #[error(
        "the GGUF's tokenizer is of type {found:?}, which is not read; put the model's tokenizer.json beside it (read from the GGUF: {MODELS})"
    )]
    UnsupportedModel { found: String },
    #[error(
        "the GGUF's tokenizer splits text by the rule {found:?}, which is not known; put the model's tokenizer.json beside it (known: {})",
        PRE_TOKENIZERS.map(|(name, _)| name).join(", ")
    )]
    UnsupportedPreTokenizer { found: String },
    #[error(
        "there is no tokenizer.json, and {} cannot be built from its parts; save the tokenizer again with a present \
         version of transformers, which writes tokenizer.json (read from parts: {CLASSES})",
        if found.is_empty() {
            "no tokenizer class is named, so it".to_owned()
        } else {
            format!("a tokenizer of class {found:?}")
        }
    )]
    UnknownClass { found: String },
    #[error(
        "no beginning-of-text token is known: neither tokenizer_config.json, config.json nor the GGUF names one; leave it out with --no-bos"
    )]
    NoBos,
    #[error("the answer {answer:?} has no tokens of its own; give one that adds text")]
    EmptyAnswer { answer: String },
    #[error("cannot tokenise {start:?}: {source}")]
    Encode {
        /// The text, or its beginning.
        start: String,
        source: tokenizers::Error,
    },
}

impl TokenizerError {
    pub(super) fn encode(text: &str, source: tokenizers::Error) -> Self {
        const SHOWN: usize = 60;
        let mut start: String = text.chars().take(SHOWN).collect();
        if start.len() < text.len() {
            start.push('…');
        }
        Self::Encode { start, source }
    }
}
