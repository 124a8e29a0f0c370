//! Llama: rotary positions, RMSNorm, gated MLP, grouped keys and values. SmolLM2 and TinyLlama are of this family, and
//! several others descend from it: what they read and name alike is here.

use serde_json::json;

use super::config::{Config, ConfigError, not_understood};
use super::gguf::{GgufConfig, GgufLayout};
use super::rotary::{self, rotary};
use super::{Axes, Family, Gguf, activation, head_width};
use crate::model::binding::{BlockSlot, Slot, Source};
use crate::model::spec::{
    Activation, BlockOrder, Mlp, ModelSpec, Norm, Placement, Positions, Sizes,
};

pub(super) const FAMILY: Family = Family {
    model_type: "llama",
    examples: "Llama 1 to 3.2, TinyLlama, SmolLM, SmolLM2",
    axes: AXES,
    prefixes: &["model."],
    spec,
    sources,
    // A buffer of older checkpoints; the head again, where it is tied; read into the spec.
    unused: &["rotary_emb.inv_freq", "lm_head.weight", "rope_freqs.weight"],
    gguf: Some(Gguf {
        architecture: "llama",
        spec: gguf_spec,
        layout: GgufLayout {
            fused_qkv: false,
            fused_gate: false,
            rotary_pairs: true,
        },
    }),
};

pub(super) const AXES: Axes = Axes {
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
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    let attention_bias = config.flag("attention_bias", false)?;
    let mlp_bias = config.flag("mlp_bias", false)?;
    Ok(ModelSpec {
        qkv_bias: attention_bias,
        out_bias: attention_bias,
        mlp_bias,
        ..plain(FAMILY.model_type, config)?
    })
}

/// What Llama and its descendants write alike: a model without biases.
pub(super) fn plain(
    family: &'static str,
    config: &mut Config<'_>,
) -> Result<ModelSpec, ConfigError> {
    let d_model = config.size("hidden_size")?;
    let n_heads = config.size("num_attention_heads")?;
    let d_head = match config.optional_size("head_dim")? {
        Some(d_head) => d_head,
        None => head_width(d_model, n_heads)?,
    };
    let sizes = Sizes {
        n_layers: config.size("num_hidden_layers")?,
        n_heads,
        n_kv_heads: config
            .optional_size("num_key_value_heads")?
            .unwrap_or(n_heads),
        d_model,
        d_head,
        d_mlp: config.size("intermediate_size")?,
        n_vocab: config.size("vocab_size")?,
        n_ctx: config
            .optional_size("max_position_embeddings")?
            .unwrap_or(2048),
    };
    Ok(ModelSpec {
        norm_eps: config.number("rms_norm_eps", 1e-6)?,
        positions: Positions::Rotary(rotary(config, d_head)?),
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
    Ok(ModelSpec {
        mlp_bias: config.has_tensor("blk.0.ffn_up.bias"),
        ..gguf_plain(FAMILY.model_type, config)?
    })
}

/// What the GGUFs of Llama and its descendants hold alike.
pub(super) fn gguf_plain(
    family: &'static str,
    config: &GgufConfig<'_>,
) -> Result<ModelSpec, ConfigError> {
    if config.optional_size("expert_count")?.is_some() {
        return Err(not_understood(
            "expert_count",
            &json!("a mixture of experts"),
        ));
    }
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

/// Where Llama and its descendants keep their weights.
pub(super) fn sources(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    let one = |name: &str| vec![Source::new(name)];
    let Slot::Block(layer, slot) = slot else {
        return match slot {
            Slot::Embed => one("embed_tokens.weight"),
            Slot::FinalNormWeight => one("norm.weight"),
            Slot::Unembed => one("lm_head.weight"),
            _ => vec![],
        };
    };
    let parts = |names: &[&str], ending: &str| {
        names
            .iter()
            .map(|name| Source::new(format!("layers.{layer}.{name}.{ending}")))
            .collect()
    };
    let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
    let mlp_in = ["mlp.gate_proj", "mlp.up_proj"];
    match slot {
        BlockSlot::Norm1Weight => parts(&["input_layernorm"], "weight"),
        BlockSlot::Qkv => parts(&qkv, "weight"),
        BlockSlot::QkvBias => parts(&qkv, "bias"),
        BlockSlot::QNormWeight => parts(&["self_attn.q_norm"], "weight"),
        BlockSlot::KNormWeight => parts(&["self_attn.k_norm"], "weight"),
        BlockSlot::Out => parts(&["self_attn.o_proj"], "weight"),
        BlockSlot::OutBias => parts(&["self_attn.o_proj"], "bias"),
        BlockSlot::Norm2Weight => parts(&["post_attention_layernorm"], "weight"),
        BlockSlot::MlpIn => parts(&mlp_in, "weight"),
        BlockSlot::MlpInBias => parts(&mlp_in, "bias"),
        BlockSlot::MlpOut => parts(&["mlp.down_proj"], "weight"),
        BlockSlot::MlpOutBias => parts(&["mlp.down_proj"], "bias"),
        _ => vec![],
    }
}
