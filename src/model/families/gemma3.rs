//! Gemma 3, its text models: Gemma 2 without caps, with norms on q and k, and with other rotary positions in the layers
//! that have a window, which are five of six.

use serde_json::Value;

use super::config::{Config, ConfigError};
use super::gguf::GgufConfig;
use super::rotary::by_layer_type;
use super::{Axes, Family, Gguf, gemma2, masks};
use crate::mask::Mask;
use crate::model::spec::{ModelSpec, Rotary, RotaryScaling};

pub(super) const FAMILY: Family = Family {
    model_type: "gemma3_text",
    examples: "Gemma 3 270M and 1B",
    axes: Axes {
        qk_norm: true,
        caps: false,
        ..gemma2::FAMILY.axes
    },
    spec,
    gguf: Some(Gguf {
        architecture: "gemma3",
        spec: gguf_spec,
        rotary_pairs: false,
    }),
    ..gemma2::FAMILY
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    // Transformers reads it and does not apply it, so nobody knows what is meant.
    config.must_be("attn_logit_softcapping", &Value::Null)?;
    // A copy of what `sliding_window_pattern` says; `layer_types` is there, too.
    config.optional_size("_sliding_window_pattern")?;
    let period = config
        .optional_size("sliding_window_pattern")?
        .unwrap_or(USUAL_PERIOD);
    let spec = gemma2::plain(FAMILY.model_type, config, |config, d_head| {
        by_layer_type(config, d_head, BASES).map(|(full, _)| full)
    })?;
    let (_, sliding) = by_layer_type(config, spec.d_head, BASES)?;
    let window = config.size_or_off("sliding_window", 4096)?;
    Ok(ModelSpec {
        local_rotary: Some(sliding),
        masks: masks::by_layer_type(config, spec.n_layers, window, is_windowed(period))?,
        logit_cap: config.optional_number("final_logit_softcapping")?,
        qk_norm: true,
        ..spec
    })
}

/// Where older configs name the bases of layers without and with a window.
const BASES: [(&str, f64); 2] = [
    ("rope_theta", 1_000_000.0),
    ("rope_local_base_freq", 10_000.0),
];

/// One layer in so many sees everything.
const USUAL_PERIOD: usize = 6;

fn is_windowed(period: usize) -> impl Fn(usize) -> bool {
    move |layer| !(layer + 1).is_multiple_of(period)
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    let spec = gemma2::gguf_plain(FAMILY.model_type, config, 62)?;
    let masks = gguf_masks(config, spec.n_layers)?;
    let has_windows = masks.iter().any(|mask| mask.has_window());
    let sliding = Rotary {
        base: config.number("rope.freq_base_swa", 10_000.0)?,
        scaling: RotaryScaling::None,
        width: spec.d_head,
    };
    Ok(ModelSpec {
        local_rotary: has_windows.then_some(sliding),
        masks,
        logit_cap: config.optional_number("final_logit_softcapping")?,
        qk_norm: true,
        ..spec
    })
}

/// Files may say which layers have the window, or how often one has not, or leave it to the reader.
fn gguf_masks(config: &GgufConfig<'_>, n_layers: usize) -> Result<Vec<Mask>, ConfigError> {
    let key = "attention.sliding_window_pattern";
    let window = config.optional_size("attention.sliding_window")?;
    Ok(match config.flags(key) {
        Some(flags) => masks::windows(n_layers, window, |layer| {
            flags.get(layer).copied().unwrap_or(false)
        }),
        None => {
            let period = config.optional_size(key)?.unwrap_or(USUAL_PERIOD);
            masks::windows(n_layers, window, is_windowed(period))
        }
    })
}
