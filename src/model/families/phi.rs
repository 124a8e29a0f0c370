//! Phi-1, 1.5 and 2: attention and MLP read the same normalized stream, a part of each head is turned, and there are
//! biases everywhere, on the logits too.

use serde_json::json;

use super::config::{Config, ConfigError};
use super::gguf::GgufConfig;
use super::names::Names;
use super::rotary::{self, Keys};
use super::{Axes, Family, Gguf, activation, llama};
use crate::model::binding::{Slot, Source};
use crate::model::spec::{
    Activation, BlockOrder, Mlp, ModelSpec, Norm, Placement, Positions, Sizes,
};

pub(super) const FAMILY: Family = Family {
    model_type: "phi",
    examples: "Phi-1, Phi-1.5, Phi-2",
    axes: Axes {
        norm: Norm::Layer,
        placement: Placement::Pre,
        order: ORDER,
        rotary: true,
        causal: true,
        windows: false,
        mlp: Mlp::Plain,
        activation: Activation::GeluTanh,
        grouped_keys: false,
        qk_norm: false,
        caps: false,
    },
    prefixes: &["model."],
    spec,
    sources,
    unused: &["rotary_emb.inv_freq"],
    gguf: Some(Gguf {
        architecture: "phi2",
        spec: gguf_spec,
        rotary_pairs: false,
    }),
};

const ORDER: BlockOrder = BlockOrder::Parallel { shared_norm: true };

const ROTARY: Keys = Keys {
    default_share: 0.5,
    ..Keys::USUAL
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    config.must_be("qk_layernorm", &json!(false))?;
    let sizes = config.sizes(2048)?;
    Ok(ModelSpec {
        norm_eps: config.number("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(rotary::partial(config, sizes.d_head, ROTARY)?),
        activation: activation("hidden_act", config.text("hidden_act", "gelu_new")?)?,
        tied: config.flag("tie_word_embeddings", false)?,
        bos_id: config.bos_id(),
        ..shape(sizes)
    })
}

fn shape(sizes: Sizes) -> ModelSpec {
    ModelSpec {
        order: ORDER,
        unembed_bias: true,
        ..ModelSpec::plain(FAMILY.model_type, sizes)
    }
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    let sizes = config.sizes()?;
    Ok(ModelSpec {
        norm_eps: config.number("attention.layer_norm_epsilon", 1e-5)?,
        positions: Positions::Rotary(rotary::from_gguf(config, sizes.d_head)?),
        tied: !config.has_tensor("output.weight"),
        bos_id: config.bos_id(),
        ..shape(sizes)
    })
}

const NAMES: Names = Names {
    embed: "embed_tokens",
    final_norm: "final_layernorm",
    norm1: "input_layernorm",
    qkv: llama::NAMES.qkv,
    out: "self_attn.dense",
    mlp_in: &["mlp.fc1"],
    mlp_out: "mlp.fc2",
    ..Names::NONE
};

fn sources(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    NAMES.sources(slot)
}
