//! Reading a GGUF's metadata as a config: keys under the architecture's name, and what its tensors tell.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::json;

use super::config::{ConfigError, not_understood, wrong};
use super::head_width;
use crate::model::binding::{BlockSlot, RowOrder, Slot, Source};
use crate::model::checkpoint::{Checkpoint, GgufMetadata, GgufValue};
use crate::model::spec::{Mlp, ModelSpec, Sizes};

/// The tensors of a weight: llama.cpp names them alike for all architectures. Some keep q, k and v in one tensor, or gate
/// and linear part, and of some architectures there are files of both kinds. `rotary_pairs` says whether the rows of q
/// and k are reordered for llama.cpp's own rotary kernel.
pub(super) fn sources(
    slot: Slot,
    spec: &ModelSpec,
    checkpoint: &Checkpoint,
    rotary_pairs: bool,
) -> Vec<Source> {
    let one = |name: &str| vec![Source::new(name)];
    let Slot::Block(layer, slot) = slot else {
        return match slot {
            Slot::Embed => one("token_embd.weight"),
            Slot::PosEmbed => one("position_embd.weight"),
            Slot::FinalNormWeight => one("output_norm.weight"),
            Slot::FinalNormBias => one("output_norm.bias"),
            Slot::Unembed => one("output.weight"),
            Slot::UnembedBias => one("output.bias"),
            _ => vec![],
        };
    };
    let part = |name: &str| Source::new(format!("blk.{layer}.{name}"));
    let pairs = |heads: usize| {
        if rotary_pairs {
            RowOrder::RotaryPairs { heads }
        } else {
            RowOrder::AsWeight
        }
    };
    let qkv = |ending: &str| {
        let fused = part(&format!("attn_qkv.{ending}"));
        if !rotary_pairs && checkpoint.info(&fused.name).is_some() {
            return vec![fused];
        }
        vec![
            part(&format!("attn_q.{ending}")).ordered(pairs(spec.n_heads)),
            part(&format!("attn_k.{ending}")).ordered(pairs(spec.n_kv_heads)),
            part(&format!("attn_v.{ending}")),
        ]
    };
    let mlp_in = |ending: &str| {
        let linear = part(&format!("ffn_up.{ending}"));
        let stored = checkpoint.info(&linear.name);
        let n_rows = stored.and_then(|info| info.shape.first().copied());
        if spec.mlp == Mlp::Gated && n_rows != Some(2 * spec.d_mlp) {
            vec![part(&format!("ffn_gate.{ending}")), linear]
        } else {
            vec![linear]
        }
    };
    match slot {
        BlockSlot::Norm1Weight => vec![part("attn_norm.weight")],
        BlockSlot::Norm1Bias => vec![part("attn_norm.bias")],
        BlockSlot::Qkv => qkv("weight"),
        BlockSlot::QkvBias => qkv("bias"),
        BlockSlot::QNormWeight => vec![part("attn_q_norm.weight")],
        BlockSlot::KNormWeight => vec![part("attn_k_norm.weight")],
        BlockSlot::Out => vec![part("attn_output.weight")],
        BlockSlot::OutBias => vec![part("attn_output.bias")],
        BlockSlot::PostNorm1Weight => vec![part("post_attention_norm.weight")],
        BlockSlot::Norm2Weight => vec![part("ffn_norm.weight")],
        BlockSlot::Norm2Bias => vec![part("ffn_norm.bias")],
        BlockSlot::MlpIn => mlp_in("weight"),
        BlockSlot::MlpInBias => mlp_in("bias"),
        BlockSlot::MlpOut => vec![part("ffn_down.weight")],
        BlockSlot::MlpOutBias => vec![part("ffn_down.bias")],
        BlockSlot::PostNorm2Weight => vec![part("post_ffw_norm.weight")],
    }
}

/// Keys that change the mathematics wherever they are, with the value that changes nothing.
const MATHEMATICS: [(&str, f64); 15] = [
    ("attention.causal", 1.0),
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attention.scale", 0.0),
    ("attention.sliding_window", 0.0),
    ("attention.sliding_window_pattern", 1.0),
    ("attn_logit_softcapping", 0.0),
    ("embedding_scale", 1.0),
    ("expert_count", 0.0),
    ("final_logit_softcapping", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("rope.freq_base_swa", 0.0),
    ("rope.scaling.attn_factor", 1.0),
    ("use_parallel_residual", 0.0),
];

/// The metadata of one GGUF file, keys without the architecture's prefix; [`Self::finish`] refuses what changes the
/// mathematics and was left.
#[derive(Debug)]
pub(super) struct GgufConfig<'a> {
    architecture: &'static str,
    metadata: &'a GgufMetadata,
    checkpoint: &'a Checkpoint,
    /// Of `MATHEMATICS`.
    read: RefCell<BTreeSet<String>>,
}

impl<'a> GgufConfig<'a> {
    pub(super) fn new(
        architecture: &'static str,
        metadata: &'a GgufMetadata,
        checkpoint: &'a Checkpoint,
    ) -> Self {
        Self {
            architecture,
            metadata,
            checkpoint,
            read: RefCell::default(),
        }
    }

    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let read = self.read.take();
        for (key, neutral) in MATHEMATICS {
            if read.contains(key) {
                continue;
            }
            let key = self.key(key);
            let Some(value) = self.metadata.get(&key) else {
                continue;
            };
            let number = number_of(value);
            if number.map(f64::to_bits) != Some(neutral.to_bits()) {
                let shown = number.map_or_else(|| json!("a list"), |number| json!(number));
                return Err(not_understood(&key, &shown));
            }
        }
        Ok(())
    }

    /// With the architecture's prefix.
    fn key(&self, key: &str) -> String {
        self.read.borrow_mut().insert(key.to_owned());
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
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let key = self.key(key);
        let positive = |value| {
            let number = number_of(value);
            number
                .filter(|number| number.is_finite() && *number > 0.0)
                .ok_or_else(|| wrong(&key, &json!(number), "a number above 0"))
        };
        self.metadata.get(&key).map(positive).transpose()
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.metadata.bool(&self.key(key))
    }

    /// A truth value of each layer.
    pub(super) fn flags(&self, key: &str) -> Option<&[bool]> {
        self.metadata.bools(&self.key(key))
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

    /// The sizes, under the names that all architectures use.
    pub(super) fn sizes(&self) -> Result<Sizes, ConfigError> {
        let d_model = self.size("embedding_length")?;
        let n_heads = self.size("attention.head_count")?;
        let d_head = match self.optional_size("attention.key_length")? {
            Some(d_head) => d_head,
            None => head_width(d_model, n_heads)?,
        };
        Ok(Sizes {
            n_layers: self.size("block_count")?,
            n_heads,
            n_kv_heads: self
                .optional_size("attention.head_count_kv")?
                .unwrap_or(n_heads),
            d_model,
            d_head,
            d_mlp: self.size("feed_forward_length")?,
            n_vocab: self.n_vocab()?,
            n_ctx: self.size("context_length")?,
        })
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

/// Any scalar but text.
fn number_of(value: &GgufValue) -> Option<f64> {
    match value {
        GgufValue::Unsigned(number) => Some(*number as f64),
        GgufValue::Signed(number) => Some(*number as f64),
        GgufValue::Float(number) => Some(*number),
        GgufValue::Bool(flag) => Some(f64::from(u8::from(*flag))),
        GgufValue::Str(_) | GgufValue::Array(_) => None,
    }
}
