//! `headscope models`: the families that can be opened.

use anyhow::Context as _;
use serde::Serialize;

use super::CliError;
use super::args::ModelsArgs;
use super::backend::{self, Family};

#[derive(Serialize)]
struct Models {
    schema_version: u32,
    /// One entry for each `model_type` of Hugging Face.
    families: Vec<Family>,
}

pub(super) fn run(args: &ModelsArgs) -> Result<(), CliError> {
    let models = Models {
        schema_version: 1,
        families: backend::families(),
    };
    if args.json {
        println!("{}", serde_json::to_string(&models).context("as JSON")?);
        return Ok(());
    }
    println!(
        "demo opens the bundled model. These families open from a folder, .safetensors or .gguf:\n"
    );
    for Family {
        model_type,
        gguf_architecture,
        examples,
    } in &models.families
    {
        println!("{model_type:<12} GGUF {gguf_architecture:<12} {examples}");
    }
    Ok(())
}
