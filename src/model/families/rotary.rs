//! Rotary positions as configs write them.

use serde_json::json;

use super::config::{Config, ConfigError, not_understood};
use super::gguf::GgufConfig;
use crate::model::spec::{Rotary, RotaryScaling};

/// Where a config has its settings outside `rope_parameters`, and what holds where it is silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) base: &'static str,
    pub(super) default_base: f64,
    /// The share of each head that is turned, from the front.
    pub(super) share: &'static str,
    pub(super) default_share: f64,
}

impl Keys {
    pub(super) const USUAL: Self = Self {
        base: "rope_theta",
        default_base: 10_000.0,
        share: "partial_rotary_factor",
        default_share: 1.0,
    };
}

/// Positions that turn whole heads: `rope_theta` and `rope_scaling`, or both within `rope_parameters` as newer configs
/// have them.
pub(super) fn rotary(config: &mut Config<'_>, d_head: usize) -> Result<Rotary, ConfigError> {
    let rotary = partial(config, d_head, Keys::USUAL)?;
    if rotary.width == d_head {
        Ok(rotary)
    } else {
        let share = rotary.width as f64 / d_head as f64;
        Err(not_understood(Keys::USUAL.share, &json!(share)))
    }
}

/// The same where a family turns a share of each head.
pub(super) fn partial(
    config: &mut Config<'_>,
    d_head: usize,
    keys: Keys,
) -> Result<Rotary, ConfigError> {
    let base = config.number(keys.base, keys.default_base)?;
    let share = config.number(keys.share, keys.default_share)?;
    let older = config.inner("rope_scaling")?;
    let newer = config.inner("rope_parameters")?;
    of_kind(either(older, newer)?, base, share, d_head)
}

/// Positions that turn otherwise in the layers with a window: those of the others, and theirs.
///
/// Older configs name two bases, under these keys; what they write of scaling is about the layers without a window.
pub(super) fn by_layer_type(
    config: &mut Config<'_>,
    d_head: usize,
    [(full_base, default_full), (local_base, default_local)]: [(&'static str, f64); 2],
) -> Result<(Rotary, Rotary), ConfigError> {
    let base = config.number(full_base, default_full)?;
    let local_base = config.number(local_base, default_local)?;
    let older = config.inner("rope_scaling")?;
    let (full, sliding) = match config.inner("rope_parameters")? {
        Some(mut newer) => {
            let kinds = (
                newer.inner("full_attention")?,
                newer.inner("sliding_attention")?,
            );
            newer.finish()?;
            kinds
        }
        None => (None, None),
    };
    Ok((
        of_kind(either(older, full)?, base, 1.0, d_head)?,
        of_kind(sliding, local_base, 1.0, d_head)?,
    ))
}

/// `rope_scaling` or what `rope_parameters` has in its place.
fn either<'a>(
    older: Option<Config<'a>>,
    newer: Option<Config<'a>>,
) -> Result<Option<Config<'a>>, ConfigError> {
    if older.is_some() && newer.is_some() {
        return Err(ConfigError::Inconsistent {
            reason: "it has `rope_scaling` and `rope_parameters`, which is an older and a newer \
                     way to say the same"
                .into(),
        });
    }
    Ok(older.or(newer))
}

/// What the inner object says of one kind of layers; it may name base and share, too.
fn of_kind(
    inner: Option<Config<'_>>,
    mut base: f64,
    mut share: f64,
    d_head: usize,
) -> Result<Rotary, ConfigError> {
    let mut scaling = RotaryScaling::None;
    if let Some(mut inner) = inner {
        base = inner.number("rope_theta", base)?;
        share = inner.number("partial_rotary_factor", share)?;
        scaling = scaling_of(&mut inner)?;
        inner.finish()?;
    }
    Ok(Rotary {
        base,
        scaling,
        // Rounded down, as in transformers.
        width: (d_head as f64 * share) as usize,
    })
}

/// `rope_type`, or `type` as it was once called, and what belongs to it.
fn scaling_of(config: &mut Config<'_>) -> Result<RotaryScaling, ConfigError> {
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

/// The settings of a GGUF.
pub(super) fn from_gguf(config: &GgufConfig<'_>, d_head: usize) -> Result<Rotary, ConfigError> {
    let key = "attention.value_length";
    if let Some(found) = config.optional_size(key)?
        && found != d_head
    {
        return Err(not_understood(key, &json!(found)));
    }
    let width = config
        .optional_size("rope.dimension_count")?
        .unwrap_or(d_head);
    let scaling = match config.text("rope.scaling.type").unwrap_or("none") {
        "none" => match config.tensor("rope_freqs.weight").transpose()? {
            None => RotaryScaling::None,
            Some(divisors)
                if divisors.len() == width / 2
                    && divisors.iter().all(|d| d.is_finite() && *d > 0.0) =>
            {
                RotaryScaling::Divisors(divisors)
            }
            Some(divisors) => {
                let reason = if divisors.len() == width / 2 {
                    format!(
                        "rope_freqs.weight does not hold {} finite frequencies above 0",
                        width / 2
                    )
                } else {
                    format!(
                        "rope_freqs.weight has {} values for {width} turned ones",
                        divisors.len()
                    )
                };
                return Err(ConfigError::Inconsistent { reason });
            }
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
