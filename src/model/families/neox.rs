//! GPT-NeoX and Pythia: attention and MLP read the same stream through norms of their own, a part of each head is
//! turned, and q, k and v of each head lie together.

use super::config::{Config, ConfigError};
use super::gguf::GgufConfig;
use super::names::Names;
use super::rotary::{self, Keys};
use super::{Axes, Family, Gguf, activation};
use crate::model::binding::{BlockSlot, RowOrder, Slot, Source};
use crate::model::spec::{
    Activation, BlockOrder, Mlp, ModelSpec, Norm, Placement, Positions, Sizes,
};

pub(super) const FAMILY: Family = Family {
    model_type: "gpt_neox",
    examples: "Pythia 14M to 12B, GPT-NeoX-20B",
    axes: Axes {
        norm: Norm::Layer,
        placement: Placement::Pre,
        order: PARALLEL,
        rotary: true,
        causal: true,
        windows: false,
        mlp: Mlp::Plain,
        activation: Activation::Gelu,
        grouped_keys: false,
        qk_norm: false,
        caps: false,
    },
    prefixes: &["gpt_neox."],
    spec,
    sources,
    // Buffers of the mask and of the angles; the head again, where it is tied.
    unused: &[
        "attention.bias",
        "attention.masked_bias",
        "rotary_emb.inv_freq",
        "embed_out.weight",
    ],
    gguf: Some(Gguf {
        architecture: "gptneox",
        spec: gguf_spec,
        rotary_pairs: false,
    }),
};

const PARALLEL: BlockOrder = BlockOrder::Parallel { shared_norm: false };

const ROTARY: Keys = Keys {
    base: "rotary_emb_base",
    share: "rotary_pct",
    default_share: 0.25,
    ..Keys::USUAL
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    let sizes = config.sizes(2048)?;
    let attention_bias = config.flag("attention_bias", true)?;
    Ok(ModelSpec {
        norm_eps: config.number("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(rotary::partial(config, sizes.d_head, ROTARY)?),
        activation: activation("hidden_act", config.text("hidden_act", "gelu")?)?,
        qkv_bias: attention_bias,
        out_bias: attention_bias,
        tied: config.flag("tie_word_embeddings", false)?,
        bos_id: config.bos_id(),
        ..shape(sizes, config.flag("use_parallel_residual", true)?)
    })
}

fn shape(sizes: Sizes, is_parallel: bool) -> ModelSpec {
    ModelSpec {
        order: if is_parallel {
            PARALLEL
        } else {
            BlockOrder::Sequential
        },
        activation: Activation::Gelu,
        ..ModelSpec::plain(FAMILY.model_type, sizes)
    }
}

/// The activation is not in the file; it is taken for that of all models but the 20B one.
fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    let sizes = config.sizes()?;
    Ok(ModelSpec {
        norm_eps: config.number("attention.layer_norm_epsilon", 1e-5)?,
        positions: Positions::Rotary(rotary::from_gguf(config, sizes.d_head)?),
        qkv_bias: config.has_tensor("blk.0.attn_qkv.bias"),
        out_bias: config.has_tensor("blk.0.attn_output.bias"),
        tied: !config.has_tensor("output.weight"),
        bos_id: config.bos_id(),
        ..shape(sizes, config.flag("use_parallel_residual").unwrap_or(true))
    })
}

const NAMES: Names = Names {
    embed: "embed_in",
    final_norm: "final_layer_norm",
    unembed: "embed_out",
    norm1: "input_layernorm",
    qkv: &["attention.query_key_value"],
    out: "attention.dense",
    norm2: "post_attention_layernorm",
    mlp_in: &["mlp.dense_h_to_4h"],
    mlp_out: "mlp.dense_4h_to_h",
    ..Names::NONE
};

fn sources(slot: Slot, spec: &ModelSpec) -> Vec<Source> {
    let sources = NAMES.sources(slot);
    match slot {
        Slot::Block(_, BlockSlot::Qkv | BlockSlot::QkvBias) => {
            let order = RowOrder::QkvPerHead {
                heads: spec.n_heads,
            };
            sources
                .into_iter()
                .map(|source| source.ordered(order))
                .collect()
        }
        _ => sources,
    }
}
