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
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of a family"
)]
struct FamilyEntry {
    /// Hugging Face's.
    model_type: &'static str,
    /// `general.architecture` in a GGUF; null where it has none of its own.
    gguf_architecture: Option<&'static str>,
    norm: &'static str,
    /// Where a block has its norms.
    norm_placement: &'static str,
    /// What the MLP reads.
    block: &'static str,
    positions: &'static str,
    mask: &'static str,
    windows: bool,
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
                Placement::Pre => "before",
                Placement::Post => "after",
                Placement::Sandwich => "before and after",
            },
            block: match order {
                BlockOrder::Sequential => "sequential",
                BlockOrder::Parallel { .. } => "parallel",
            },
            positions: if rotary { "rotary" } else { "learned" },
            mask: if causal { "causal" } else { "bidirectional" },
            windows,
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

impl FamilyEntry {
    /// What few families have.
    fn particulars(&self) -> String {
        [
            (self.norm_placement == "after", "norms after"),
            (
                self.norm_placement == "before and after",
                "norms before and after",
            ),
            (self.block == "parallel", "parallel blocks"),
            (self.mask == "bidirectional", "bidirectional"),
            (self.windows, "windows"),
            (self.grouped_keys, "grouped keys"),
            (self.qk_norm, "q/k norms"),
            (self.soft_caps, "soft caps"),
        ]
        .into_iter()
        .filter_map(|(has, text)| has.then_some(text))
        .collect::<Vec<_>>()
        .join(", ")
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
        "examples",
    ]);
    for family in &models.families {
        row([
            family.model_type,
            family.gguf_architecture.unwrap_or("-"),
            family.norm,
            family.positions,
            family.mlp,
            family.activation,
            family.examples,
        ]);
        let particulars = family.particulars();
        if !particulars.is_empty() {
            println!("{:<12} {particulars}", "");
        }
    }
    Ok(())
}

fn row([family, gguf, norm, positions, mlp, activation, examples]: [&str; 7]) {
    println!(
        "{family:<12} {gguf:<8} {norm:<6} {positions:<10} {mlp:<6} {activation:<11} {examples}"
    );
}
