//! Gemma 2: norms before and after attention and MLP, capped scores and logits, a scaled embedding, a window in every
//! other layer. What Gemma 3 has in common with it is here.

use serde_json::json;

use super::config::{Config, ConfigError};
use super::gguf::GgufConfig;
use super::names::Names;
use super::rotary::rotary;
use super::{Axes, Family, Gguf, activation, llama, masks};
use crate::model::binding::{BlockSlot, Slot, Source};
use crate::model::spec::{Activation, ModelSpec, Placement, Rotary};

pub(super) const FAMILY: Family = Family {
    model_type: "gemma2",
    examples: "Gemma 2 2B to 27B",
    axes: Axes {
        placement: Placement::Sandwich,
        windows: true,
        activation: Activation::GeluTanh,
        caps: true,
        ..llama::FAMILY.axes
    },
    spec,
    sources,
    gguf: Some(Gguf {
        architecture: "gemma2",
        spec: gguf_spec,
        rotary_pairs: false,
    }),
    ..llama::FAMILY
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    let spec = plain(FAMILY.model_type, config, rotary)?;
    let window = config.size_or_off("sliding_window", 4096)?;
    Ok(ModelSpec {
        masks: masks::by_layer_type(config, spec.n_layers, window, is_windowed)?,
        score_cap: config.number_or_off("attn_logit_softcapping", 50.0)?,
        logit_cap: config.number_or_off("final_logit_softcapping", 30.0)?,
        ..spec
    })
}

const fn is_windowed(layer: usize) -> bool {
    layer.is_multiple_of(2)
}

/// What both Gemmas write alike.
pub(super) fn plain(
    family: &'static str,
    config: &mut Config<'_>,
    rotary: impl FnOnce(&mut Config<'_>, usize) -> Result<Rotary, ConfigError>,
) -> Result<ModelSpec, ConfigError> {
    config.must_be("use_bidirectional_attention", &json!(false))?;
    let bias = config.flag("attention_bias", false)?;
    let spec = llama::plain(family, config, rotary)?;
    // `hidden_act` is there in older configs and says nothing.
    let key = "hidden_activation";
    Ok(ModelSpec {
        activation: activation(key, config.text(key, "gelu_pytorch_tanh")?)?,
        score_scale: 1.0 / config.number("query_pre_attn_scalar", 256.0)?.sqrt(),
        qkv_bias: bias,
        out_bias: bias,
        tied: config.flag("tie_word_embeddings", true)?,
        ..shape(spec)
    })
}

/// The axes of both Gemmas.
fn shape(llama: ModelSpec) -> ModelSpec {
    ModelSpec {
        placement: Placement::Sandwich,
        embed_scale: Some((llama.d_model as f64).sqrt()),
        activation: Activation::GeluTanh,
        ..llama
    }
}

/// Llama's names and two more norms, which move a name of the others'.
const NAMES: Names = Names {
    post_norm1: "post_attention_layernorm",
    norm2: "pre_feedforward_layernorm",
    post_norm2: "post_feedforward_layernorm",
    ..llama::NAMES
};

/// Norms are stored less 1.
fn sources(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    let sources = NAMES.sources(slot);
    match slot {
        Slot::FinalNormWeight
        | Slot::Block(
            _,
            BlockSlot::Norm1Weight
            | BlockSlot::PostNorm1Weight
            | BlockSlot::Norm2Weight
            | BlockSlot::PostNorm2Weight
            | BlockSlot::QNormWeight
            | BlockSlot::KNormWeight,
        ) => sources.into_iter().map(|source| source.plus(1.0)).collect(),
        _ => sources,
    }
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    let spec = gguf_plain(FAMILY.model_type, config, 46)?;
    let window = config
        .optional_size("attention.sliding_window")?
        .unwrap_or(4096);
    Ok(ModelSpec {
        masks: masks::windows(spec.n_layers, Some(window), is_windowed),
        score_cap: Some(config.number("attn_logit_softcapping", 50.0)?),
        logit_cap: Some(config.number("final_logit_softcapping", 30.0)?),
        ..spec
    })
}

/// What the GGUFs of both Gemmas hold alike; the 1 of the norms' weights is in them already.
///
/// They do not say how scores are scaled: as in llama.cpp, the largest model is told by its layers.
pub(super) fn gguf_plain(
    family: &'static str,
    config: &GgufConfig<'_>,
    n_layers_of_largest: usize,
) -> Result<ModelSpec, ConfigError> {
    let spec = shape(llama::gguf_plain(family, config)?);
    let scaled_by = if spec.n_layers == n_layers_of_largest {
        spec.d_model / spec.n_heads
    } else {
        spec.d_head
    };
    Ok(ModelSpec {
        score_scale: 1.0 / (scaled_by as f64).sqrt(),
        ..spec
    })
}
