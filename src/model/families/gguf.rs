//! Reading a GGUF's metadata as a config: keys under the architecture's name, and what its tensors tell.

use serde_json::json;

use super::config::{ConfigError, wrong};
use super::head_width;
use crate::model::binding::{BlockSlot, RowOrder, Slot, Source};
use crate::model::checkpoint::{Checkpoint, GgufMetadata};
use crate::model::spec::{Mlp, ModelSpec, Sizes};

/// How an architecture's tensors differ from llama.cpp's usual form.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GgufLayout {
    /// q, k and v in one tensor.
    pub(super) fused_qkv: bool,
    /// Gate and linear part of the MLP in one tensor.
    pub(super) fused_gate: bool,
    /// Rows of q and k reordered for llama.cpp's own rotary kernel.
    pub(super) rotary_pairs: bool,
}

/// The tensors of a weight: llama.cpp names them alike for all architectures.
pub(super) fn sources(slot: Slot, spec: &ModelSpec, layout: GgufLayout) -> Vec<Source> {
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
        if layout.rotary_pairs {
            RowOrder::RotaryPairs { heads }
        } else {
            RowOrder::AsWeight
        }
    };
    let qkv = |ending: &str| {
        if layout.fused_qkv {
            return vec![part(&format!("attn_qkv.{ending}"))];
        }
        vec![
            part(&format!("attn_q.{ending}")).ordered(pairs(spec.n_heads)),
            part(&format!("attn_k.{ending}")).ordered(pairs(spec.n_kv_heads)),
            part(&format!("attn_v.{ending}")),
        ]
    };
    let mlp_in = |ending: &str| {
        let linear = part(&format!("ffn_up.{ending}"));
        if spec.mlp == Mlp::Gated && !layout.fused_gate {
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
