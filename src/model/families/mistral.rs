//! Mistral: Llama with a window, in its first version. Converted to GGUF it calls itself `llama`, and the window is lost.

use super::config::{Config, ConfigError};
use super::rotary::rotary;
use super::{Axes, Family, llama, masks};
use crate::model::spec::ModelSpec;

pub(super) const FAMILY: Family = Family {
    model_type: "mistral",
    examples: "Mistral 7B v0.1 to v0.3",
    axes: Axes {
        windows: true,
        ..llama::FAMILY.axes
    },
    spec,
    gguf: None,
    ..llama::FAMILY
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    let spec = llama::plain(FAMILY.model_type, config, rotary)?;
    let window = config.size_or_off("sliding_window", 4096)?;
    Ok(ModelSpec {
        masks: masks::windows(spec.n_layers, window, |_| true),
        ..spec
    })
}
