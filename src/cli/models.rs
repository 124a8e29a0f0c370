//! `headscope models`: the families that can be opened.

use anyhow::Context as _;
use serde::Serialize;

use super::CliError;
use super::args::ModelsArgs;
use crate::model::families::{Axes, FAMILIES, Family};
use crate::model::spec::{Activation, BlockOrder, Mlp, Norm, Placement};

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
    /// `general.architecture` in a GGUF; null where llama.cpp has none of its own.
    gguf_architecture: Option<&'static str>,
    norm: &'static str,
    norm_placement: &'static str,
    block: &'static str,
    positions: &'static str,
    mask: &'static str,
    mlp: &'static str,
    /// Hugging Face's name; where the config names no other.
    activation: &'static str,
    grouped_keys: bool,
    qk_norm: bool,
    soft_caps: bool,
    examples: &'static str,
}

impl From<&Family> for FamilyEntry {
    fn from(family: &Family) -> Self {
        let Axes {
            norm,
            placement,
            order,
            rotary,
            causal,
            windows,
            mlp,
            activation,
            grouped_keys,
            qk_norm,
            caps,
        } = family.axes;
        Self {
            model_type: family.model_type,
            gguf_architecture: family.gguf.as_ref().map(|gguf| gguf.architecture),
            norm: match norm {
                Norm::Layer => "layer",
                Norm::Rms => "rms",
            },
            norm_placement: match placement {
                Placement::Pre => "pre",
                Placement::Post => "post",
                Placement::Sandwich => "pre and post",
            },
            block: match order {
                BlockOrder::Sequential => "sequential",
                BlockOrder::Parallel { .. } => "parallel",
            },
            positions: if rotary { "rotary" } else { "learned" },
            mask: match (causal, windows) {
                (true, false) => "causal",
                (true, true) => "causal, windows",
                (false, false) => "none",
                (false, true) => "windows",
            },
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
            qk_norm,
            soft_caps: caps,
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
        "block",
        "positions",
        "mask",
        "MLP",
        "activation",
        "keys",
        "examples",
    ]);
    for family in &models.families {
        row([
            family.model_type,
            family.gguf_architecture.unwrap_or("-"),
            &format!("{} {}", family.norm, family.norm_placement),
            family.block,
            family.positions,
            family.mask,
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

fn row(columns: [&str; 10]) {
    const WIDTHS: [usize; 10] = [12, 8, 16, 10, 9, 15, 6, 10, 8, 0];
    let cells = columns.iter().zip(WIDTHS);
    let line: Vec<String> = cells
        .map(|(text, width)| format!("{text:<width$}"))
        .collect();
    println!("{}", line.join(" ").trim_end());
}
