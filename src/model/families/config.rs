//! Reading a config.json strictly: a key that may change the mathematics and is not understood is an error.

use serde_json::{Map, Value};

use super::head_width;
use crate::model::spec::Sizes;

/// A config that cannot be turned into a [`crate::model::spec::ModelSpec`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("the model_type `{name}` is not supported: {reason}")]
    Refused {
        name: &'static str,
        reason: &'static str,
    },
    #[error("the {what} `{name}` is not supported; this version reads {known}")]
    UnknownFamily {
        what: &'static str,
        name: String,
        known: String,
    },
    #[error("the model's config lacks `{key}`")]
    Missing { key: String },
    #[error("the model's config has `{key}`: {value}, where {expected} is expected")]
    Wrong {
        key: String,
        value: String,
        expected: &'static str,
    },
    #[error(
        "the model's config has `{key}`: {value}, which this version does not understand; \
         it may change the model's mathematics, so the model is not opened"
    )]
    NotUnderstood { key: String, value: String },
    #[error("the model's config does not fit together: {reason}")]
    Inconsistent { reason: String },
}

/// Keys that say nothing about the forward pass.
const IGNORED: [&str; 65] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "_num_labels",
    "activation_dropout",
    "add_cross_attention",
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "auto_map",
    "bad_words_ids",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "decoder_start_token_id",
    "do_sample",
    "dropout",
    "dtype",
    "embd_pdrop",
    "embed_dropout",
    "eos_token_id",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "id2label",
    "init_std",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "layerdrop",
    "max_length",
    "model_type",
    "n_ctx",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "pad_token_id",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "resid_dropout",
    "resid_pdrop",
    "return_dict",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// A config.json, read key by key; [`Self::finish`] refuses what was left.
pub(super) struct Config<'a> {
    entries: &'a Map<String, Value>,
    read: Vec<&'static str>,
    /// Whether the checkpoint has a tensor of that name: some configs do not say what their files hold.
    has_tensor: &'a dyn Fn(&str) -> bool,
}

impl<'a> Config<'a> {
    pub(super) fn new(
        config: &'a Value,
        has_tensor: &'a dyn Fn(&str) -> bool,
    ) -> Result<Self, ConfigError> {
        let entries = config.as_object().ok_or_else(|| ConfigError::Wrong {
            key: "config.json".into(),
            value: kind(config).into(),
            expected: "an object",
        })?;
        Ok(Self {
            entries,
            read: Vec::new(),
            has_tensor,
        })
    }

    /// An object within this one; null counts as absent.
    pub(super) fn inner(&mut self, key: &'static str) -> Result<Option<Self>, ConfigError> {
        self.get(key)
            .map(|value| match value.as_object() {
                Some(entries) => Ok(Self {
                    entries,
                    read: Vec::new(),
                    has_tensor: self.has_tensor,
                }),
                None => Err(wrong(key, value, "an object")),
            })
            .transpose()
    }

    pub(super) fn has_tensor(&self, name: &str) -> bool {
        (self.has_tensor)(name)
    }

    /// The value of a key; null counts as absent.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.read.push(key);
        self.entries.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn size(&mut self, key: &'static str) -> Result<usize, ConfigError> {
        self.optional_size(key)?
            .ok_or_else(|| ConfigError::Missing { key: key.into() })
    }

    pub(super) fn optional_size(
        &mut self,
        key: &'static str,
    ) -> Result<Option<usize>, ConfigError> {
        // Sizes beyond this are damage, and would overflow products further on.
        const MOST: u64 = 1 << 24;
        self.get(key)
            .map(|value| match value.as_u64() {
                Some(size @ 1..=MOST) => Ok(size as usize),
                _ => Err(wrong(key, value, "a whole number from 1 to 16,777,216")),
            })
            .transpose()
    }

    /// A size that null switches off, and that is `usual` where the key is absent.
    pub(super) fn size_or_off(
        &mut self,
        key: &'static str,
        usual: usize,
    ) -> Result<Option<usize>, ConfigError> {
        if self.entries.contains_key(key) {
            self.optional_size(key)
        } else {
            Ok(Some(usual))
        }
    }

    /// The same of a number.
    pub(super) fn number_or_off(
        &mut self,
        key: &'static str,
        usual: f64,
    ) -> Result<Option<f64>, ConfigError> {
        if self.entries.contains_key(key) {
            self.optional_number(key)
        } else {
            Ok(Some(usual))
        }
    }

    /// How many layers, none included.
    pub(super) fn layers(
        &mut self,
        key: &'static str,
        default: usize,
    ) -> Result<usize, ConfigError> {
        self.get(key).map_or(Ok(default), |value| {
            value
                .as_u64()
                .and_then(|layers| usize::try_from(layers).ok())
                .ok_or_else(|| wrong(key, value, "a number of layers"))
        })
    }

    pub(super) fn number(&mut self, key: &'static str, default: f64) -> Result<f64, ConfigError> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    pub(super) fn optional_number(
        &mut self,
        key: &'static str,
    ) -> Result<Option<f64>, ConfigError> {
        self.get(key)
            .map(|value| {
                value
                    .as_f64()
                    .filter(|number| number.is_finite() && *number > 0.0)
                    .ok_or_else(|| wrong(key, value, "a number above 0"))
            })
            .transpose()
    }

    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, ConfigError> {
        self.get(key).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| wrong(key, value, "true or false"))
        })
    }

    pub(super) fn text(
        &mut self,
        key: &'static str,
        default: &'static str,
    ) -> Result<&'a str, ConfigError> {
        self.get(key).map_or(Ok(default), |value| {
            value.as_str().ok_or_else(|| wrong(key, value, "text"))
        })
    }

    /// A list of words, such as the kind of each layer; null counts as absent.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        self.get(key)
            .map(|value| {
                value
                    .as_array()
                    .and_then(|items| items.iter().map(Value::as_str).collect())
                    .ok_or_else(|| wrong(key, value, "a list of texts"))
            })
            .transpose()
    }

    /// A switch that must stand at `usual`: the other way is mathematics that is not built.
    pub(super) fn must_be(&mut self, key: &'static str, usual: &Value) -> Result<(), ConfigError> {
        match self.get(key) {
            Some(value) if value != usual => Err(not_understood(key, value)),
            _ => Ok(()),
        }
    }

    /// The sizes, under the names that most families use; `n_ctx` where the config does not say it.
    pub(super) fn sizes(&mut self, n_ctx: usize) -> Result<Sizes, ConfigError> {
        let d_model = self.size("hidden_size")?;
        let n_heads = self.size("num_attention_heads")?;
        let d_head = match self.optional_size("head_dim")? {
            Some(d_head) => d_head,
            None => head_width(d_model, n_heads)?,
        };
        Ok(Sizes {
            n_layers: self.size("num_hidden_layers")?,
            n_heads,
            n_kv_heads: self
                .optional_size("num_key_value_heads")?
                .unwrap_or(n_heads),
            d_model,
            d_head,
            d_mlp: self.size("intermediate_size")?,
            n_vocab: self.size("vocab_size")?,
            n_ctx: self
                .optional_size("max_position_embeddings")?
                .unwrap_or(n_ctx),
        })
    }

    /// Keys that this family's configs have and its forward does not read.
    pub(super) fn harmless(&mut self, keys: &[&'static str]) {
        self.read.extend(keys);
    }

    pub(super) fn bos_id(&self) -> Option<u32> {
        let id = self.entries.get("bos_token_id")?.as_u64()?;
        id.try_into().ok()
    }

    /// Refuses keys that were neither read nor known to be harmless. Absent, null and false change nothing.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        for (key, value) in self.entries {
            let known = self.read.contains(&key.as_str()) || IGNORED.contains(&key.as_str());
            if !known && !value.is_null() && *value != Value::Bool(false) {
                return Err(not_understood(key, value));
            }
        }
        Ok(())
    }
}

pub(super) fn wrong(key: &str, value: &Value, expected: &'static str) -> ConfigError {
    ConfigError::Wrong {
        key: key.to_owned(),
        value: shown(value),
        expected,
    }
}

pub(super) fn not_understood(key: &str, value: &Value) -> ConfigError {
    ConfigError::NotUnderstood {
        key: key.to_owned(),
        value: shown(value),
    }
}

/// A value, short enough for a message.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 {
        text
    } else {
        text.chars().take(79).chain(['…']).collect()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
        _ => "a single value",
    }
}
