//! Qwen3: Llama with norms on q and k.

use super::config::{Config, ConfigError};
use super::gguf::GgufConfig;
use super::rotary::rotary;
use super::{Axes, Family, Gguf, llama, qwen2};
use crate::model::spec::ModelSpec;

pub(super) const FAMILY: Family = Family {
    model_type: "qwen3",
    examples: "Qwen3 0.6B to 32B",
    axes: Axes {
        qk_norm: true,
        ..llama::FAMILY.axes
    },
    spec,
    gguf: Some(Gguf {
        architecture: "qwen3",
        spec: gguf_spec,
        rotary_pairs: false,
    }),
    ..llama::FAMILY
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    let bias = config.flag("attention_bias", false)?;
    let spec = llama::plain(FAMILY.model_type, config, rotary)?;
    Ok(ModelSpec {
        masks: qwen2::masks(config, spec.n_layers)?,
        qk_norm: true,
        qkv_bias: bias,
        out_bias: bias,
        ..spec
    })
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    Ok(ModelSpec {
        qk_norm: true,
        ..llama::gguf_plain(FAMILY.model_type, config)?
    })
}
