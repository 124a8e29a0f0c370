//! The mask of each layer, as the configs of decoders write it.

use super::config::{Config, ConfigError, not_understood};
use crate::mask::Mask;

/// A window on the layers that `windowed` names.
pub(super) fn windows(
    n_layers: usize,
    window: Option<usize>,
    windowed: impl Fn(usize) -> bool,
) -> Vec<Mask> {
    let mask = |layer| match window {
        Some(window) if windowed(layer) => Mask::causal_window(window),
        _ => Mask::CAUSAL,
    };
    (0..n_layers).map(mask).collect()
}

/// A window on the layers that `layer_types` names, or `windowed` where the config does not have that.
pub(super) fn by_layer_type(
    config: &mut Config<'_>,
    n_layers: usize,
    window: Option<usize>,
    windowed: impl Fn(usize) -> bool,
) -> Result<Vec<Mask>, ConfigError> {
    let Some(kinds) = config.texts("layer_types")? else {
        return Ok(windows(n_layers, window, windowed));
    };
    kinds
        .into_iter()
        .map(|kind| match (kind, window) {
            ("full_attention", _) => Ok(Mask::CAUSAL),
            ("sliding_attention", Some(window)) => Ok(Mask::causal_window(window)),
            ("sliding_attention", None) => Err(ConfigError::Missing {
                key: "sliding_window".into(),
            }),
            _ => Err(not_understood("layer_types", &kind.into())),
        })
        .collect()
}
