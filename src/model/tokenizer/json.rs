//! A tokenizer from `tokenizer.json`, and the beginning-of-text rule from the files beside it.

use std::fs;
use std::io::ErrorKind;
use std::panic::catch_unwind;
use std::path::Path;

use serde_json::Value;

use super::pieces::Reading;
use super::{Tokenizer, TokenizerError};

pub(super) fn from_file(
    path: &Path,
    model_config: Option<&Value>,
) -> Result<Tokenizer, TokenizerError> {
    let io = |path: &Path, source| TokenizerError::Io {
        path: path.to_owned(),
        source,
    };
    let tokenizer = fs::read(path).map_err(|source| io(path, source))?;
    let beside = path.with_file_name("tokenizer_config.json");
    let tokenizer_config = match fs::read(&beside) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(source) => return Err(io(&beside, source)),
    };
    from_bytes(&tokenizer, tokenizer_config.as_deref(), model_config)
}

pub(super) fn from_bytes(
    tokenizer: &[u8],
    tokenizer_config: Option<&[u8]>,
    model_config: Option<&Value>,
) -> Result<Tokenizer, TokenizerError> {
    let damaged = |what: &str, problem: String| TokenizerError::Damaged {
        what: what.to_owned(),
        problem,
    };
    // The crate takes parts of a file for granted, so a damaged one may panic instead of being refused.
    let inner = catch_unwind(|| usable(tokenizer))
        .map_err(|_panic| {
            damaged(
                "tokenizer.json",
                "its parts contradict each other".to_owned(),
            )
        })?
        .map_err(|error| damaged("tokenizer.json", error.to_string()))?;
    let config: Option<Value> = tokenizer_config
        .map(serde_json::from_slice)
        .transpose()
        .map_err(|error| damaged("tokenizer_config.json", error.to_string()))?;

    // A token is a string, or an object with its content.
    let named = |key: &str| {
        let token = &config.as_ref()?[key];
        inner.token_to_id(token.as_str().or_else(|| token["content"].as_str())?)
    };
    let mask_id = named("mask_token");
    let numbered = || model_config?.get("bos_token_id")?.as_u64()?.try_into().ok();
    let bos_id = named("bos_token").or_else(numbered);
    let add_bos_token = config
        .as_ref()
        .and_then(|config| config["add_bos_token"].as_bool());

    let reading = Reading::of(&inner);
    let tokenizer = Tokenizer::new(inner, reading, bos_id, add_bos_token);
    Ok(Tokenizer {
        mask_id: mask_id.or(tokenizer.mask_id),
        ..tokenizer
    })
}

/// The tokenizer of the file, tried once.
fn usable(tokenizer: &[u8]) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut inner = tokenizers::Tokenizer::from_bytes(tokenizer)?;
    // A prompt is never cut or filled up, whatever a training set-up left in the file.
    inner.with_padding(None).with_truncation(None)?;
    // A post-processor with holes panics only when it is used. Text that the vocabulary lacks is no damage.
    let _ = inner.encode_fast("a", true);
    Ok(inner)
}
