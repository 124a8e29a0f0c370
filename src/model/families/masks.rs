//! The mask of each layer, as configs write it.

use super::config::{Config, ConfigError, not_understood};
use crate::mask::Mask;

/// The last `window` keys on the layers that `windowed` names, on the others all before.
pub(super) fn windows(
    n_layers: usize,
    window: Option<usize>,
    windowed: impl Fn(usize) -> bool,
) -> Vec<Mask> {
    let window = window.map(Mask::causal_window);
    of_layers(n_layers, Mask::CAUSAL, window, windowed)
}

/// The same on the layers that `layer_types` names, or `windowed` where the config does not have that.
pub(super) fn by_layer_type(
    config: &mut Config<'_>,
    n_layers: usize,
    window: Option<usize>,
    windowed: impl Fn(usize) -> bool,
) -> Result<Vec<Mask>, ConfigError> {
    let window = window.map(Mask::causal_window);
    of_two_kinds(config, n_layers, Mask::CAUSAL, window, windowed)
}

/// The same with the two masks that layers may have.
pub(super) fn of_two_kinds(
    config: &mut Config<'_>,
    n_layers: usize,
    full: Mask,
    window: Option<Mask>,
    windowed: impl Fn(usize) -> bool,
) -> Result<Vec<Mask>, ConfigError> {
    let Some(kinds) = config.texts("layer_types")? else {
        return Ok(of_layers(n_layers, full, window, windowed));
    };
    kinds
        .into_iter()
        .map(|kind| match (kind, window) {
            ("full_attention", _) => Ok(full),
            ("sliding_attention", Some(window)) => Ok(window),
            ("sliding_attention", None) => Err(ConfigError::Missing {
                key: "sliding_window".into(),
            }),
            _ => Err(not_understood("layer_types", &kind.into())),
        })
        .collect()
}

fn of_layers(
    n_layers: usize,
    full: Mask,
    window: Option<Mask>,
    windowed: impl Fn(usize) -> bool,
) -> Vec<Mask> {
    let mask = |layer| match window {
        Some(window) if windowed(layer) => window,
        _ => full,
    };
    (0..n_layers).map(mask).collect()
}
