//! Llama: rotary positions, RMSNorm, gated MLP, grouped keys and values. SmolLM2 and TinyLlama are of this family, and
//! several others descend from it: what they read and name alike is here.

use serde_json::json;

use super::config::{Config, ConfigError, not_understood};
use super::gguf::GgufConfig;
use super::names::Names;
use super::rotary::{self, rotary};
use super::{Axes, Family, Gguf, activation};
use crate::model::binding::{Slot, Source};
use crate::model::spec::{
    Activation, BlockOrder, Mlp, ModelSpec, Norm, Placement, Positions, Rotary, Sizes,
};

pub(super) const FAMILY: Family = Family {
    model_type: "llama",
    examples: "Llama 1 to 3.2, TinyLlama, SmolLM, SmolLM2",
    axes: Axes {
        norm: Norm::Rms,
        placement: Placement::Pre,
        order: BlockOrder::Sequential,
        rotary: true,
        causal: true,
        windows: false,
        mlp: Mlp::Gated,
        activation: Activation::Silu,
        grouped_keys: true,
        qk_norm: false,
        caps: false,
    },
    prefixes: &["model."],
    spec,
    sources,
    // A buffer of older checkpoints; the head again, where it is tied; read into the spec.
    unused: &["rotary_emb.inv_freq", "lm_head.weight", "rope_freqs.weight"],
    gguf: Some(Gguf {
        architecture: "llama",
        spec: gguf_spec,
        rotary_pairs: true,
    }),
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    let attention_bias = config.flag("attention_bias", false)?;
    let mlp_bias = config.flag("mlp_bias", false)?;
    Ok(ModelSpec {
        qkv_bias: attention_bias,
        out_bias: attention_bias,
        mlp_bias,
        ..plain(FAMILY.model_type, config, rotary)?
    })
}

/// What Llama and its descendants write alike: a model without biases. `rotary` reads its positions, for that width of
/// a head.
pub(super) fn plain(
    family: &'static str,
    config: &mut Config<'_>,
    rotary: impl FnOnce(&mut Config<'_>, usize) -> Result<Rotary, ConfigError>,
) -> Result<ModelSpec, ConfigError> {
    let sizes = config.sizes(2048)?;
    Ok(ModelSpec {
        norm_eps: config.number("rms_norm_eps", 1e-6)?,
        positions: Positions::Rotary(rotary(config, sizes.d_head)?),
        activation: activation("hidden_act", config.text("hidden_act", "silu")?)?,
        tied: config.flag("tie_word_embeddings", false)?,
        bos_id: config.bos_id(),
        ..shape(family, sizes)
    })
}

/// The axes of Llama and its descendants.
fn shape(family: &'static str, sizes: Sizes) -> ModelSpec {
    ModelSpec {
        norm: Norm::Rms,
        mlp: Mlp::Gated,
        activation: Activation::Silu,
        qkv_bias: false,
        out_bias: false,
        mlp_bias: false,
        ..ModelSpec::plain(family, sizes)
    }
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    let spec = gguf_plain(FAMILY.model_type, config)?;
    // llama.cpp has reordered the rows of whole heads.
    if let Some(rotary) = spec.rotary(0).filter(|rotary| rotary.width != spec.d_head) {
        return Err(not_understood("rope.dimension_count", &json!(rotary.width)));
    }
    Ok(ModelSpec {
        mlp_bias: config.has_tensor("blk.0.ffn_up.bias"),
        ..spec
    })
}

/// What the GGUFs of Llama and its descendants hold alike.
pub(super) fn gguf_plain(
    family: &'static str,
    config: &GgufConfig<'_>,
) -> Result<ModelSpec, ConfigError> {
    let sizes = config.sizes()?;
    Ok(ModelSpec {
        norm_eps: config.number("attention.layer_norm_rms_epsilon", 1e-6)?,
        positions: Positions::Rotary(rotary::from_gguf(config, sizes.d_head)?),
        qkv_bias: config.has_tensor("blk.0.attn_q.bias"),
        out_bias: config.has_tensor("blk.0.attn_output.bias"),
        tied: !config.has_tensor("output.weight"),
        bos_id: config.bos_id(),
        ..shape(family, sizes)
    })
}

pub(super) const NAMES: Names = Names {
    embed: "embed_tokens",
    final_norm: "norm",
    norm1: "input_layernorm",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    q_norm: "self_attn.q_norm",
    k_norm: "self_attn.k_norm",
    out: "self_attn.o_proj",
    norm2: "post_attention_layernorm",
    mlp_in: &["mlp.gate_proj", "mlp.up_proj"],
    mlp_out: "mlp.down_proj",
    ..Names::NONE
};

fn sources(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    NAMES.sources(slot)
}
