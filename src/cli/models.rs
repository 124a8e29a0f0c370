//! `headscope models`: the families that can be opened.

use anyhow::Context as _;
use serde::Serialize;

use super::CliError;
use super::args::ModelsArgs;
use crate::model::families::{FAMILIES, Family};

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
    examples: &'static str,
}

impl From<&Family> for FamilyEntry {
    fn from(family: &Family) -> Self {
        Self {
            model_type: family.model_type,
            gguf_architecture: family.gguf_architecture,
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
    for FamilyEntry {
        model_type,
        gguf_architecture,
        examples,
    } in &models.families
    {
        println!("{model_type:<12} GGUF {gguf_architecture:<12} {examples}");
    }
    Ok(())
}
