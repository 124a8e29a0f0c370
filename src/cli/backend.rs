//! The model side of the commands: opening, running, dumping, drawing.

use anyhow::bail;

use super::args::ExportArgs;
use super::opened::Opened;
use crate::experiment::{Outcome, RunSpec};
use crate::model::Model;

/// An activation as it is written to a file, batch axis included.
pub(super) struct Activation {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// A family of models, as `models` lists it.
#[derive(serde::Serialize)]
pub(super) struct Family {
    /// Hugging Face's.
    pub(super) model_type: &'static str,
    /// `general.architecture` in a GGUF.
    pub(super) gguf_architecture: &'static str,
    pub(super) examples: &'static str,
}

pub(super) struct Engine {
    model: Model,
}

impl Engine {
    pub(super) fn open(source: &str) -> anyhow::Result<Self> {
        bail!("cannot open a model yet: {source}")
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    pub(super) fn run(&mut self, spec: &RunSpec) -> anyhow::Result<Outcome> {
        let _ = spec;
        bail!("cannot run yet")
    }

    /// The activations of the edited run that `globs` name.
    pub(super) fn dump(
        &mut self,
        spec: &RunSpec,
        globs: &[String],
    ) -> anyhow::Result<Vec<Activation>> {
        let _ = (spec, globs);
        bail!("cannot dump yet")
    }
}

pub(super) fn families() -> Vec<Family> {
    Vec::new()
}

/// The graphics adapter that would be used, or why there is none.
pub(super) fn graphics() -> Result<String, String> {
    Err("not looked for yet".into())
}

/// The file's content.
pub(super) fn draw(
    opened: &Opened,
    outcome: &Outcome,
    args: &ExportArgs,
) -> anyhow::Result<Vec<u8>> {
    let _ = (opened, outcome, args);
    bail!("cannot draw yet")
}
