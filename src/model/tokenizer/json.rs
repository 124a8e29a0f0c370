//! A tokenizer from `tokenizer.json`, and the beginning-of-text rule from the files beside it.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;
use tokenizers::{ModelWrapper, PostProcessor as _};

use super::pieces::Reading;
use super::{Tokenizer, TokenizerError, bounds};
use crate::model::files::{MAX_CONFIG_BYTES, read_at_most};
use crate::panics::catch;

/// The largest real ones have some 60 MB (a million tokens).
const MAX_FILE_BYTES: u64 = 128 << 20;
/// Special tokens around a text; real tokenizers put one or two.
const MAX_SPECIALS: usize = 64;

pub(super) fn from_file(
    path: &Path,
    model_config: Option<&Value>,
) -> Result<Tokenizer, TokenizerError> {
    let io = |path: &Path, source| TokenizerError::Io {
        path: path.to_owned(),
        source,
    };
    let tokenizer = read_at_most(path, MAX_FILE_BYTES).map_err(|source| io(path, source))?;
    let beside = path.with_file_name("tokenizer_config.json");
    let tokenizer_config = match read_at_most(&beside, MAX_CONFIG_BYTES) {
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
    bounds::check(tokenizer).map_err(|problem| damaged("tokenizer.json", problem))?;
    let config: Option<Value> = tokenizer_config
        .map(serde_json::from_slice)
        .transpose()
        .map_err(|error| damaged("tokenizer_config.json", error.to_string()))?;
    // The crate takes parts of a file for granted, so a damaged one may panic instead of being refused.
    catch(|| build(tokenizer, config.as_ref(), model_config))
        .unwrap_or_else(|_panic| Err("its parts contradict each other".into()))
        .map_err(|error| damaged("tokenizer.json", error.to_string()))
}

/// The tokenizer of the file, tried once.
fn build(
    tokenizer: &[u8],
    tokenizer_config: Option<&Value>,
    model_config: Option<&Value>,
) -> tokenizers::Result<Tokenizer> {
    let mut inner = tokenizers::Tokenizer::from_bytes(tokenizer)?;
    // A prompt is never cut, filled up or split at random, whatever a training set-up left in the file.
    inner.with_padding(None).with_truncation(None)?;
    if let ModelWrapper::BPE(model) = inner.get_model()
        && model.dropout.is_some()
    {
        let mut model = model.clone();
        model.dropout = None;
        inner.with_model(model);
    }
    let n_specials = inner
        .get_post_processor()
        .map_or(0, |processor| processor.added_tokens(false));
    if n_specials > MAX_SPECIALS {
        return Err(format!("its post-processor puts {n_specials} tokens around a text").into());
    }
    // A post-processor with holes panics only when it is used. Text that the vocabulary lacks is no damage.
    let _ = inner.encode_fast("a", true);

    // A token is a string, or an object with its content.
    let named = |key: &str| {
        let token = &tokenizer_config?[key];
        inner.token_to_id(token.as_str().or_else(|| token["content"].as_str())?)
    };
    let mask_id = named("mask_token");
    let numbered = || model_config?.get("bos_token_id")?.as_u64()?.try_into().ok();
    let bos_id = named("bos_token").or_else(numbered);
    let add_bos_token = tokenizer_config.and_then(|config| config["add_bos_token"].as_bool());

    let reading = Reading::of(&inner);
    let tokenizer = Tokenizer::new(inner, reading, bos_id, add_bos_token);
    Ok(Tokenizer {
        mask_id: mask_id.or(tokenizer.mask_id),
        ..tokenizer
    })
}
