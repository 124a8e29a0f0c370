//! The table of supported families. A family is one file: its config to a [`ModelSpec`], its tensor names to slots.

mod config;
mod gguf;
mod gpt2;
mod llama;

pub use config::ConfigError;

use serde_json::Value;

use self::gguf::GgufConfig;
use super::binding::Binding;
use super::checkpoint::{Checkpoint, Form, GgufMetadata};
use super::spec::{Activation, Mlp, ModelSpec, Norm, Positions};

/// How one family of models is read.
#[derive(Debug)]
pub struct Family {
    /// Hugging Face's `model_type`.
    pub model_type: &'static str,
    /// `general.architecture` in a GGUF.
    pub gguf_architecture: &'static str,
    /// What people know of it.
    pub examples: &'static str,
    pub axes: Axes,
    /// What checkpoints of the whole model put before tensor names, and those of its trunk leave away.
    prefix: &'static str,
    spec: fn(&Value) -> Result<ModelSpec, ConfigError>,
    gguf_spec: fn(&GgufConfig<'_>) -> Result<ModelSpec, ConfigError>,
    bindings: fn(&ModelSpec, Form) -> Vec<Binding>,
    /// Names of checkpoint tensors that hold nothing a forward needs (endings).
    unused: &'static [&'static str],
}

/// What all models of a family have in common, of the axes of a [`ModelSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axes {
    pub norm: Norm,
    /// Rotary positions; otherwise learned ones.
    pub rotary: bool,
    pub mlp: Mlp,
    /// Where the config names no other.
    pub activation: Activation,
    /// Query heads may share keys and values.
    pub grouped_keys: bool,
}

/// All families, one line each.
pub const FAMILIES: [Family; 2] = [gpt2::FAMILY, llama::FAMILY];

impl Family {
    /// The family that a config.json names.
    pub fn of_config(config: &Value) -> Result<&'static Self, ConfigError> {
        let model_type = config
            .get("model_type")
            .and_then(Value::as_str)
            .ok_or_else(|| ConfigError::Missing {
                key: "model_type".into(),
            })?;
        FAMILIES
            .iter()
            .find(|family| family.model_type == model_type)
            .ok_or_else(|| ConfigError::UnknownFamily {
                what: "model_type",
                name: model_type.to_owned(),
                known: FAMILIES.map(|family| family.model_type).join(", "),
            })
    }

    /// The family that a GGUF's metadata names.
    pub fn of_gguf(metadata: &GgufMetadata) -> Result<&'static Self, ConfigError> {
        let key = "general.architecture";
        let architecture = metadata
            .str(key)
            .ok_or_else(|| ConfigError::Missing { key: key.into() })?;
        FAMILIES
            .iter()
            .find(|family| family.gguf_architecture == architecture)
            .ok_or_else(|| ConfigError::UnknownFamily {
                what: "GGUF architecture",
                name: architecture.to_owned(),
                known: FAMILIES.map(|family| family.gguf_architecture).join(", "),
            })
    }

    pub fn spec_from_config(&self, config: &Value) -> Result<ModelSpec, ConfigError> {
        checked((self.spec)(config)?)
    }

    /// The spec of an open GGUF file with that metadata.
    pub fn spec_from_gguf(
        &self,
        metadata: &GgufMetadata,
        checkpoint: &Checkpoint,
    ) -> Result<ModelSpec, ConfigError> {
        checked((self.gguf_spec)(&GgufConfig {
            architecture: self.gguf_architecture,
            metadata,
            checkpoint,
        })?)
    }

    /// The name under which a checkpoint has a tensor: as bound, or with the whole model's prefix.
    pub fn find(&self, checkpoint: &Checkpoint, name: &str) -> Option<String> {
        [format!("{}{name}", self.prefix), name.to_owned()]
            .into_iter()
            .find(|name| checkpoint.info(name).is_some())
    }

    /// Where every weight of the model comes from in a checkpoint of that form.
    pub fn bindings(&self, spec: &ModelSpec, form: Form) -> Vec<Binding> {
        (self.bindings)(spec, form)
    }

    /// Whether a checkpoint tensor that no binding reads may be passed over.
    pub fn ignores(&self, name: &str) -> bool {
        self.unused.iter().any(|ending| name.ends_with(ending))
    }
}

/// The activation function that a config names.
fn activation(key: &str, name: &str) -> Result<Activation, ConfigError> {
    match name {
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "gelu" => Ok(Activation::Gelu),
        "silu" | "swish" => Ok(Activation::Silu),
        "relu" => Ok(Activation::Relu),
        _ => Err(config::not_understood(key, &name.into())),
    }
}

/// A spec whose sizes fit together.
fn checked(spec: ModelSpec) -> Result<ModelSpec, ConfigError> {
    let reason = if !spec.n_heads.is_multiple_of(spec.n_kv_heads) {
        format!(
            "{} query heads cannot share {} key/value heads",
            spec.n_heads, spec.n_kv_heads
        )
    } else if matches!(spec.positions, Positions::Rotary(_)) && !spec.d_head.is_multiple_of(2) {
        format!(
            "rotary positions need an even head width, not {}",
            spec.d_head
        )
    } else {
        return Ok(spec);
    };
    Err(ConfigError::Inconsistent { reason })
}

#[cfg(test)]
mod tests {
    use super::super::spec::Positions;
    use super::*;

    #[test]
    fn the_axes_of_a_family_are_those_of_its_models() {
        for name in ["tiny-gpt2", "tiny-llama"] {
            let path = format!(
                "{}/tests/fixtures/models/{name}/config.json",
                env!("CARGO_MANIFEST_DIR")
            );
            let config: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            let family = Family::of_config(&config).unwrap();
            let spec = family.spec_from_config(&config).unwrap();
            let axes = Axes {
                norm: spec.norm,
                rotary: matches!(spec.positions, Positions::Rotary(_)),
                mlp: spec.mlp,
                activation: spec.activation,
                grouped_keys: spec.n_kv_heads < spec.n_heads,
            };
            assert_eq!(family.axes, axes, "{name}");
        }
    }
}
