//! The table of supported families. A family is one file: its config to a [`ModelSpec`], its tensor names to slots.

mod bert;
mod config;
mod distilbert;
mod gemma2;
mod gemma3;
mod gguf;
mod gpt2;
#[cfg(test)]
mod hub_configs;
mod llama;
mod masks;
mod mistral;
mod modernbert;
mod names;
mod neo;
mod neox;
mod opt;
mod phi;
mod phi3;
mod qwen2;
mod qwen3;
mod roberta;
mod rotary;

pub use config::ConfigError;

use serde_json::Value;

use self::config::Config;
use self::gguf::GgufConfig;
use super::binding::{Slot, Source};
use super::checkpoint::{Checkpoint, Form, GgufMetadata};
use super::spec::{Activation, BlockOrder, Mlp, ModelSpec, Norm, Placement, Positions, Rotary};

/// How one family of models is read.
#[derive(Debug)]
pub struct Family {
    /// Hugging Face's `model_type`.
    pub model_type: &'static str,
    /// What people know of it.
    pub examples: &'static str,
    pub axes: Axes,
    /// What checkpoints may put before tensor names (`transformer.`); the names are tried as they are, too.
    prefixes: &'static [&'static str],
    spec: fn(&mut Config<'_>) -> Result<ModelSpec, ConfigError>,
    /// The tensors that make up a weight, in Hugging Face's names.
    sources: fn(Slot, &ModelSpec) -> Vec<Source>,
    /// Names of checkpoint tensors that hold nothing a forward needs (endings).
    unused: &'static [&'static str],
    /// `None` where llama.cpp does not have the family under a name of its own.
    pub gguf: Option<Gguf>,
}

/// How a family is read from a GGUF.
#[derive(Debug)]
pub struct Gguf {
    /// `general.architecture`.
    pub architecture: &'static str,
    spec: fn(&GgufConfig<'_>) -> Result<ModelSpec, ConfigError>,
    /// Rows of q and k are reordered for llama.cpp's own rotary kernel.
    rotary_pairs: bool,
}

/// What all models of a family have in common, of the axes of a [`ModelSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of a family"
)]
pub struct Axes {
    pub norm: Norm,
    pub placement: Placement,
    pub order: BlockOrder,
    /// Rotary positions; otherwise learned ones.
    pub rotary: bool,
    /// No query sees a later key.
    pub causal: bool,
    /// Some layers see only the keys nearby.
    pub windows: bool,
    pub mlp: Mlp,
    /// Where the config names no other.
    pub activation: Activation,
    /// Query heads may share keys and values.
    pub grouped_keys: bool,
    /// q and k have norms of their own.
    pub qk_norm: bool,
    /// Scores or logits may be capped softly.
    pub caps: bool,
}

impl Axes {
    /// Those of one model.
    pub fn of(spec: &ModelSpec) -> Self {
        Self {
            norm: spec.norm,
            placement: spec.placement,
            order: spec.order,
            rotary: matches!(spec.positions, Positions::Rotary(_)),
            causal: spec.is_causal(),
            windows: spec.masks.iter().any(|mask| mask.has_window()),
            mlp: spec.mlp,
            activation: spec.activation,
            grouped_keys: spec.n_kv_heads < spec.n_heads,
            qk_norm: spec.qk_norm,
            caps: spec.score_cap.is_some() || spec.logit_cap.is_some(),
        }
    }
}

/// All families, one line each.
pub const FAMILIES: &[Family] = &[
    gpt2::FAMILY,
    llama::FAMILY,
    neox::FAMILY,
    neo::FAMILY,
    opt::FAMILY,
    mistral::FAMILY,
    qwen2::FAMILY,
    qwen3::FAMILY,
    gemma2::FAMILY,
    gemma3::FAMILY,
    phi::FAMILY,
    phi3::FAMILY,
    bert::FAMILY,
    distilbert::FAMILY,
    roberta::FAMILY,
    modernbert::FAMILY,
];

/// What people may well try, and why it is not opened.
const REFUSED: [(&str, &str); 5] = [
    (
        "gemma3",
        "it reads pictures, too; text models of Gemma 3 are of the model_type `gemma3_text`",
    ),
    ("mixtral", EXPERTS),
    ("phimoe", EXPERTS),
    ("qwen2_moe", EXPERTS),
    ("qwen3_moe", EXPERTS),
];

const EXPERTS: &str = "it is a mixture of experts, and only models with one MLP a layer are read";

/// Endings of tensor names, and what other checkpoints write for them: what once was LayerNorm's weight and bias, and a
/// bias that is stored beside the product it belongs to.
const OTHER_ENDINGS: [(&str, &str); 3] = [
    ("LayerNorm.weight", "LayerNorm.gamma"),
    ("LayerNorm.bias", "LayerNorm.beta"),
    (".decoder.bias", ".bias"),
];

impl Family {
    /// The family that a config.json names.
    pub fn of_config(config: &Value) -> Result<&'static Self, ConfigError> {
        let model_type = config
            .get("model_type")
            .and_then(Value::as_str)
            .ok_or_else(|| ConfigError::Missing {
                key: "model_type".into(),
            })?;
        if let Some((name, reason)) = REFUSED.into_iter().find(|(name, _)| *name == model_type) {
            return Err(ConfigError::Refused { name, reason });
        }
        FAMILIES
            .iter()
            .find(|family| family.model_type == model_type)
            .ok_or_else(|| ConfigError::UnknownFamily {
                what: "model_type",
                name: model_type.to_owned(),
                known: names(FAMILIES.iter().map(|family| family.model_type)),
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
            .find(|family| {
                family
                    .gguf
                    .as_ref()
                    .is_some_and(|gguf| gguf.architecture == architecture)
            })
            .ok_or_else(|| ConfigError::UnknownFamily {
                what: "GGUF architecture",
                name: architecture.to_owned(),
                known: names(
                    FAMILIES
                        .iter()
                        .filter_map(|family| Some(family.gguf.as_ref()?.architecture)),
                ),
            })
    }

    /// The spec that a config.json describes, of a checkpoint that has the tensors that `has_tensor` says.
    pub fn spec_from_config(
        &self,
        config: &Value,
        has_tensor: &dyn Fn(&str) -> bool,
    ) -> Result<ModelSpec, ConfigError> {
        let has_tensor = |name: &str| {
            has_tensor(name)
                || self
                    .prefixes
                    .iter()
                    .any(|prefix| has_tensor(&format!("{prefix}{name}")))
        };
        let mut config = Config::new(config, &has_tensor)?;
        let spec = (self.spec)(&mut config)?;
        config.finish()?;
        checked(spec)
    }

    /// The spec of an open GGUF file with that metadata.
    pub fn spec_from_gguf(
        &self,
        metadata: &GgufMetadata,
        checkpoint: &Checkpoint,
    ) -> Result<ModelSpec, ConfigError> {
        let gguf = self.gguf.as_ref().ok_or_else(|| ConfigError::Missing {
            key: "general.architecture".into(),
        })?;
        let config = GgufConfig::new(gguf.architecture, metadata, checkpoint);
        let spec = (gguf.spec)(&config)?;
        config.finish()?;
        checked(spec)
    }

    /// The name under which a checkpoint has a tensor: as bound, or with a prefix, or with another ending.
    pub fn find(&self, checkpoint: &Checkpoint, name: &str) -> Option<String> {
        let others = OTHER_ENDINGS
            .iter()
            .filter_map(|(ending, other)| Some(format!("{}{other}", name.strip_suffix(ending)?)));
        [name.to_owned()]
            .into_iter()
            .chain(others)
            .find_map(|name| {
                let prefixed = self.prefixes.iter().map(|prefix| format!("{prefix}{name}"));
                prefixed
                    .chain([name.clone()])
                    .find(|name| checkpoint.info(name).is_some())
            })
    }

    /// The tensors that make up a weight in that checkpoint, row after row.
    pub fn sources(&self, slot: Slot, spec: &ModelSpec, checkpoint: &Checkpoint) -> Vec<Source> {
        match (checkpoint.form(), &self.gguf) {
            (Form::HuggingFace, _) => (self.sources)(slot, spec),
            (Form::Gguf, Some(gguf)) => gguf::sources(slot, spec, checkpoint, gguf.rotary_pairs),
            (Form::Gguf, None) => vec![],
        }
    }

    /// Whether a checkpoint tensor that no weight reads may be passed over.
    pub fn ignores(&self, name: &str) -> bool {
        self.unused.iter().any(|ending| name.ends_with(ending))
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
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

/// The width of a head where the config does not name it.
fn head_width(d_model: usize, n_heads: usize) -> Result<usize, ConfigError> {
    if d_model.is_multiple_of(n_heads) {
        Ok(d_model / n_heads)
    } else {
        Err(ConfigError::Inconsistent {
            reason: format!("a width of {d_model} cannot be split among {n_heads} heads"),
        })
    }
}

/// A spec whose sizes fit together.
fn checked(spec: ModelSpec) -> Result<ModelSpec, ConfigError> {
    let global = match &spec.positions {
        Positions::Rotary(rotary) => Some(rotary),
        Positions::Learned => None,
    };
    let misfit = |rotary: &&Rotary| !rotary.width.is_multiple_of(2) || rotary.width > spec.d_head;
    let reason = if !spec.n_heads.is_multiple_of(spec.n_kv_heads) {
        format!(
            "{} query heads cannot share {} key/value heads",
            spec.n_heads, spec.n_kv_heads
        )
    } else if let Some(rotary) = global
        .iter()
        .chain(&spec.local_rotary.as_ref())
        .find(|r| misfit(r))
    {
        format!(
            "rotary positions need an even width within the head's {}, not {}",
            spec.d_head, rotary.width
        )
    } else if spec.masks.len() != spec.n_layers {
        format!("{} layers have {} masks", spec.n_layers, spec.masks.len())
    } else {
        return Ok(spec);
    };
    Err(ConfigError::Inconsistent { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixtures of every family: one of each line of the table.
    fn fixtures() -> Vec<(String, Value, Checkpoint)> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models");
        let mut found = Vec::new();
        for family in FAMILIES {
            let name = format!("tiny-{}", family.model_type.replace('_', "-"));
            let folder = std::path::Path::new(root).join(&name);
            let config = std::fs::read(folder.join("config.json")).unwrap();
            let checkpoint = Checkpoint::open(&folder).unwrap();
            found.push((name, serde_json::from_slice(&config).unwrap(), checkpoint));
        }
        found
    }

    #[test]
    fn the_axes_of_a_family_are_those_of_its_models() {
        for (name, config, checkpoint) in fixtures() {
            let family = Family::of_config(&config).unwrap();
            let spec = family
                .spec_from_config(&config, &|name| checkpoint.info(name).is_some())
                .unwrap();
            assert_eq!(family.axes, Axes::of(&spec), "{name}");
        }
    }

    #[test]
    fn every_weight_of_a_family_has_tensors_and_every_tensor_a_use() {
        for (name, config, checkpoint) in fixtures() {
            let family = Family::of_config(&config).unwrap();
            let spec = family
                .spec_from_config(&config, &|name| checkpoint.info(name).is_some())
                .unwrap();
            let mut used = std::collections::BTreeSet::new();
            for slot in Slot::all(&spec) {
                let sources = family.sources(slot, &spec, &checkpoint);
                assert!(!sources.is_empty(), "{name}: {slot:?}");
                for source in sources {
                    let found = family.find(&checkpoint, &source.name);
                    assert!(used.insert(found.unwrap_or_else(|| panic!("{name}: {source:?}"))));
                }
            }
            for tensor in checkpoint.names() {
                assert!(
                    used.contains(tensor) || family.ignores(tensor),
                    "{name}: {tensor}"
                );
            }
        }
    }

    #[test]
    fn a_key_that_is_not_understood_is_named() {
        for (name, config, checkpoint) in fixtures() {
            let family = Family::of_config(&config).unwrap();
            let mut config = config;
            config["attention_rotation"] = 3.into();
            let error = family
                .spec_from_config(&config, &|name| checkpoint.info(name).is_some())
                .unwrap_err();
            assert!(
                error.to_string().contains("attention_rotation"),
                "{name}: {error}"
            );
        }
    }
}
