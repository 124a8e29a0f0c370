//! `headscope models`: the families that can be opened.

use anyhow::Context as _;
use serde::Serialize;

use super::CliError;
use super::args::ModelsArgs;
use crate::model::families::{Axes, FAMILIES, Family};
use crate::model::spec::{Activation, Mlp, Norm};

#[derive(Serialize)]
struct Models {
    schema_version: u32,
    /// One entry for each `model_type` of Hugging Face.
    families: Vec<FamilyEntry>,
}

#[derive(Serialize)]
struct FamilyEntry {
    /// Hugging Face's.
    model_type: &'static str,
    /// `general.architecture` in a GGUF.
    gguf_architecture: &'static str,
    norm: &'static str,
    positions: &'static str,
    mlp: &'static str,
    /// Hugging Face's name; where the config names no other.
    activation: &'static str,
    grouped_keys: bool,
    examples: &'static str,
}

impl From<&Family> for FamilyEntry {
    fn from(family: &Family) -> Self {
        let Axes {
            norm,
            rotary,
            mlp,
            activation,
            grouped_keys,
        } = family.axes;
        Self {
            model_type: family.model_type,
            gguf_architecture: family.gguf_architecture,
            norm: match norm {
                Norm::Layer => "layer",
                Norm::Rms => "rms",
            },
            positions: if rotary { "rotary" } else { "learned" },
            mlp: match mlp {
                Mlp::Plain => "plain",
                Mlp::Gated => "gated",
            },
            activation: match activation {
                Activation::GeluTanh => "gelu_new",
                Activation::Gelu => "gelu",
                Activation::Silu => "silu",
                Activation::Relu => "relu",
            },
            grouped_keys,
            examples: family.examples,
        }
    }
}

pub(super) fn run(args: &ModelsArgs) -> Result<(), CliError> {
    let models = Models {
        schema_version: 1,
        families: FAMILIES.iter().map(FamilyEntry::from).collect(),
    };
    if args.json {
        println!("{}", serde_json::to_string(&models).context("as JSON")?);
        return Ok(());
    }
    println!(
        "demo opens the bundled model. These families open from a folder, .safetensors or .gguf:\n"
    );
    row([
        "family",
        "GGUF",
        "norm",
        "positions",
        "MLP",
        "activation",
        "keys",
        "examples",
    ]);
    for family in &models.families {
        row([
            family.model_type,
            family.gguf_architecture,
            family.norm,
            family.positions,
            family.mlp,
            family.activation,
            if family.grouped_keys {
                "grouped"
            } else {
                "per head"
            },
            family.examples,
        ]);
    }
    Ok(())
}

fn row(
    [
        family,
        gguf,
        norm,
        positions,
        mlp,
        activation,
        keys,
        examples,
    ]: [&str; 8],
) {
    println!(
        "{family:<8} {gguf:<8} {norm:<6} {positions:<10} {mlp:<6} {activation:<11} {keys:<9} {examples}"
    );
}
