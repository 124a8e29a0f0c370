//! Reading a GGUF's metadata as a config: keys under the architecture's name, and what its tensors tell.

use serde_json::json;

use super::config::{ConfigError, wrong};
use crate::model::checkpoint::{Checkpoint, GgufMetadata};

/// The metadata of one GGUF file, keys without the architecture's prefix.
#[derive(Debug)]
pub(super) struct GgufConfig<'a> {
    pub(super) architecture: &'static str,
    pub(super) metadata: &'a GgufMetadata,
    pub(super) checkpoint: &'a Checkpoint,
}

impl GgufConfig<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub(super) fn size(&self, key: &str) -> Result<usize, ConfigError> {
        self.optional_size(key)?
            .ok_or_else(|| ConfigError::Missing { key: self.key(key) })
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        let key = self.key(key);
        match self.metadata.u64(&key) {
            // Zero experts, zero dimensions: the key is not used.
            Some(0) | None => Ok(None),
            Some(size) if size <= 1 << 24 => Ok(Some(size as usize)),
            Some(size) => Err(wrong(&key, &json!(size), "a number up to 16,777,216")),
        }
    }

    pub(super) fn number(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        let key = self.key(key);
        let number = self.metadata.f64(&key).unwrap_or(default);
        if number.is_finite() && number > 0.0 {
            Ok(number)
        } else {
            Err(wrong(&key, &json!(number), "a number above 0"))
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.metadata.str(&self.key(key))
    }

    pub(super) fn has_tensor(&self, name: &str) -> bool {
        self.checkpoint.info(name).is_some()
    }

    /// A small tensor that is part of the config; `None` where the file has none of that name.
    pub(super) fn tensor(&self, name: &str) -> Option<Result<Vec<f64>, ConfigError>> {
        self.checkpoint.info(name)?;
        Some(
            self.checkpoint
                .read_f32(name)
                .map(|values| values.into_iter().map(f64::from).collect())
                .map_err(|error| ConfigError::Inconsistent {
                    reason: error.to_string(),
                }),
        )
    }

    /// Tokens, by the embedding's rows.
    pub(super) fn n_vocab(&self) -> Result<usize, ConfigError> {
        self.checkpoint
            .info("token_embd.weight")
            .and_then(|info| info.shape.first().copied())
            .ok_or_else(|| ConfigError::Missing {
                key: "token_embd.weight".into(),
            })
    }

    pub(super) fn bos_id(&self) -> Option<u32> {
        self.metadata
            .u64("tokenizer.ggml.bos_token_id")?
            .try_into()
            .ok()
    }
}
