//! Qwen2 and Qwen2.5: Llama with biases on q, k and v, and, where it is switched on, a window in the later layers.

use super::config::{Config, ConfigError};
use super::gguf::GgufConfig;
use super::rotary::rotary;
use super::{Family, Gguf, llama, masks};
use crate::mask::Mask;
use crate::model::spec::ModelSpec;

pub(super) const FAMILY: Family = Family {
    model_type: "qwen2",
    examples: "Qwen2, Qwen2.5",
    spec,
    gguf: Some(Gguf {
        architecture: "qwen2",
        spec: gguf_spec,
        rotary_pairs: false,
    }),
    ..llama::FAMILY
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    let spec = llama::plain(FAMILY.model_type, config, rotary)?;
    Ok(ModelSpec {
        masks: masks(config, spec.n_layers)?,
        qkv_bias: true,
        ..spec
    })
}

/// A window is written down even where it is switched off.
pub(super) fn masks(config: &mut Config<'_>, n_layers: usize) -> Result<Vec<Mask>, ConfigError> {
    let used = config.flag("use_sliding_window", false)?;
    let window = config.size_or_off("sliding_window", 4096)?;
    let first = config.layers("max_window_layers", 28)?;
    masks::by_layer_type(config, n_layers, window.filter(|_| used), |layer| {
        layer >= first
    })
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    llama::gguf_plain(FAMILY.model_type, config)
}
