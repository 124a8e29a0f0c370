//! Rotary positions as configs write them.

use serde_json::json;

use super::config::{Config, ConfigError, not_understood};
use super::gguf::GgufConfig;
use crate::model::spec::{Rotary, RotaryScaling};

/// `rope_theta` and `rope_scaling`, or both within `rope_parameters` as newer configs have them, for so many values of
/// each head.
pub(super) fn rotary(config: &mut Config<'_>, width: usize) -> Result<Rotary, ConfigError> {
    let mut base = config.number("rope_theta", 10_000.0)?;
    let older = config.inner("rope_scaling")?;
    let newer = config.inner("rope_parameters")?;
    let scaling = match newer.or(older) {
        None => RotaryScaling::None,
        Some(mut inner) => {
            base = inner.number("rope_theta", base)?;
            let scaling = scaling(&mut inner)?;
            inner.finish()?;
            scaling
        }
    };
    Ok(Rotary {
        base,
        scaling,
        width,
    })
}

/// `rope_type`, or `type` as it was once called, and what belongs to it.
pub(super) fn scaling(config: &mut Config<'_>) -> Result<RotaryScaling, ConfigError> {
    let older = config.text("type", "default")?;
    let kind = config.text("rope_type", "")?;
    let kind = if kind.is_empty() { older } else { kind };
    Ok(match kind {
        "default" => RotaryScaling::None,
        "linear" => RotaryScaling::Linear {
            factor: config.number("factor", 1.0)?,
        },
        "llama3" => RotaryScaling::Llama3 {
            factor: config.number("factor", 8.0)?,
            low_freq_factor: config.number("low_freq_factor", 1.0)?,
            high_freq_factor: config.number("high_freq_factor", 4.0)?,
            original_context: config.number("original_max_position_embeddings", 8192.0)?,
        },
        _ => return Err(not_understood("rope_scaling", &json!(kind))),
    })
}

/// The same from a GGUF, where the whole head is turned.
pub(super) fn from_gguf(config: &GgufConfig<'_>, width: usize) -> Result<Rotary, ConfigError> {
    for key in ["rope.dimension_count", "attention.value_length"] {
        if let Some(found) = config.optional_size(key)?
            && found != width
        {
            return Err(not_understood(key, &json!(found)));
        }
    }
    let scaling = match config.text("rope.scaling.type").unwrap_or("none") {
        "none" => match config.tensor("rope_freqs.weight") {
            Some(divisors) => RotaryScaling::Divisors(divisors?),
            None => RotaryScaling::None,
        },
        "linear" => RotaryScaling::Linear {
            factor: config.number("rope.scaling.factor", 1.0)?,
        },
        kind => return Err(not_understood("rope.scaling.type", &json!(kind))),
    };
    Ok(Rotary {
        base: config.number("rope.freq_base", 10_000.0)?,
        scaling,
        width,
    })
}
