//! Phi-3 and Phi-4: Llama with q, k and v in one tensor, gate and linear part in another, and a window in all layers or
//! in none.
//!
//! Their models for long contexts choose their angles by the length of the prompt (`longrope`); those are refused.

use serde_json::json;

use super::config::{Config, ConfigError, not_understood};
use super::gguf::GgufConfig;
use super::names::Names;
use super::rotary::{self, Keys};
use super::{Axes, Family, Gguf, llama, masks};
use crate::model::binding::{Slot, Source};
use crate::model::spec::ModelSpec;

pub(super) const FAMILY: Family = Family {
    model_type: "phi3",
    examples: "Phi-3-mini 4k, Phi-4",
    axes: Axes {
        windows: true,
        ..llama::FAMILY.axes
    },
    spec,
    sources,
    gguf: Some(Gguf {
        architecture: "phi3",
        spec: gguf_spec,
        rotary_pairs: false,
    }),
    ..llama::FAMILY
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    // Of longrope alone.
    config.optional_size("original_max_position_embeddings")?;
    // Written by Phi-4-mini and read by nobody.
    config.must_be("full_attn_mod", &json!(1))?;
    config.must_be("interpolate_factor", &json!(1))?;
    let spec = llama::plain(FAMILY.model_type, config, |config, d_head| {
        rotary::partial(config, d_head, Keys::USUAL)
    })?;
    let window = config.optional_size("sliding_window")?;
    Ok(ModelSpec {
        norm_eps: config.number("rms_norm_eps", 1e-5)?,
        masks: masks::windows(spec.n_layers, window, |_| true),
        ..spec
    })
}

const NAMES: Names = Names {
    qkv: &["self_attn.qkv_proj"],
    mlp_in: &["mlp.gate_up_proj"],
    ..llama::NAMES
};

fn sources(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    NAMES.sources(slot)
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    let factors = "rope_factors_long.weight";
    if config.has_tensor(factors) {
        return Err(not_understood(factors, &json!("longrope")));
    }
    let spec = llama::gguf_plain(FAMILY.model_type, config)?;
    let window = config.optional_size("attention.sliding_window")?;
    Ok(ModelSpec {
        masks: masks::windows(spec.n_layers, window, |_| true),
        ..spec
    })
}
