//! Interventions that are learned: their vectors in a file, the edits that apply them, and what they do to cases that
//! nothing was learned from.
//!
//! The edits are ordinary ones, so whatever runs experiments runs these too; their effects are measured through a file
//! of the same kind, and never by another path.

mod cases;
mod effect;
mod exact;
mod losses;
#[cfg(test)]
pub(crate) mod tests;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::analysis::{AnalysisError, Report};
use crate::atomic;
use crate::edit::{Edit, Finite, Op, Positions, Target, VectorRef};
use crate::ids::HeadId;
use crate::model::Model;

pub use cases::{count, part, usable};
pub use effect::{Effect, Variant, answer_log_probs, effect_table, effects, has_several};
pub use exact::exact_matches;
pub use losses::{answer_loss, cross_entropy};

/// The file that edits name until they are told another.
pub const FILE: &str = "vectors.safetensors";

/// What such a file calls its format.
const FORMAT: &str = "headscope-vectors-1";

/// Cases below which nothing is learned.
pub const FEWEST: usize = 8;

/// Draws of random heads that stand beside the chosen ones.
pub const CONTROLS: usize = 3;

/// Named vectors, and the edits that apply them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// Such as `L9H6.direction`, `[d_head]`.
    pub tensors: Vec<(String, Vec<f32>)>,
    /// In the canonical spelling; the file is called [`FILE`].
    pub edits: Vec<String>,
    /// How they were made: method, model, settings, seed.
    pub recipe: Value,
}

impl Vectors {
    /// The edits with another file name.
    pub fn edits_from(&self, file: &str) -> Result<Vec<Edit>, AnalysisError> {
        let parse = |text: &String| {
            let mut edit: Edit = text
                .parse()
                .map_err(|error| AnalysisError::needs(format!("{error}")))?;
            for vector in edit.vectors_mut() {
                file.clone_into(&mut vector.file);
            }
            Ok(edit)
        };
        self.edits.iter().map(parse).collect()
    }

    /// SHA-256 of the recipe as it is written, in hexadecimal.
    pub fn digest(&self) -> String {
        format!("{:x}", Sha256::digest(self.recipe.to_string().as_bytes()))
    }

    /// A safetensors file: its metadata has the method, the model's fingerprint, the seed, the recipe with its digest,
    /// and the edits, which name the file as `name`. Equal vectors give equal bytes.
    pub fn to_bytes(&self, name: &str) -> Result<Vec<u8>, AnalysisError> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let edits: Vec<String> = self.edits_from(name)?.iter().map(Edit::to_string).collect();
        let mut metadata = Map::new();
        metadata.insert("format".into(), FORMAT.into());
        for key in ["method", "seed"] {
            if let Some(value) = self.recipe.get(key) {
                metadata.insert(key.into(), text(value).into());
            }
        }
        if let Some(model) = self.recipe.get("model") {
            metadata.insert("model".into(), text(&model["source"]).into());
            metadata.insert("fingerprint".into(), text(&model["fingerprint"]).into());
        }
        metadata.insert("recipe".into(), self.recipe.to_string().into());
        metadata.insert("digest".into(), format!("sha256:{}", self.digest()).into());
        metadata.insert("edits".into(), edits.join("\n").into());
        Ok(bytes_of(metadata, &self.tensors))
    }

    /// Writes the file whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), AnalysisError> {
        let failed = |error: std::io::Error| {
            AnalysisError::needs(format!("{} cannot be written: {error}", path.display()))
        };
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| {
                AnalysisError::needs(format!("{} is no name of a file", path.display()))
            })?;
        atomic::write(path, &self.to_bytes(name)?).map_err(failed)
    }

    /// Reads what [`Self::save`] wrote; the edits name [`FILE`] again.
    pub fn load(path: &Path) -> Result<Self, AnalysisError> {
        let refused = |why: String| AnalysisError::needs(format!("{why}: {}", path.display()));
        let foreign = |why: &dyn std::fmt::Display| {
            refused(format!(
                "this is no file of vectors that a method saved ({why})"
            ))
        };
        let bytes = fs::read(path)
            .map_err(|error| refused(format!("the vectors cannot be read ({error})")))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| foreign(&error))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| foreign(&error))?;
        let text = |key: &str| {
            let metadata = header.metadata().as_ref()?;
            metadata.get(key).map(String::as_str)
        };
        if text("format") != Some(FORMAT) {
            return Err(foreign(&"its metadata does not say so"));
        }
        let mut tensors = Vec::new();
        for name in header.offset_keys() {
            let tensor = file.tensor(&name).map_err(|error| foreign(&error))?;
            if tensor.dtype() != Dtype::F32 {
                return Err(foreign(&format!("{name} is not of 32-bit numbers")));
            }
            let (numbers, _) = tensor.data().as_chunks::<4>();
            let values = numbers.iter().map(|number| f32::from_le_bytes(*number));
            tensors.push((name, values.collect()));
        }
        let named = Self {
            tensors,
            edits: text("edits")
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect(),
            recipe: serde_json::from_str(text("recipe").unwrap_or_default())
                .map_err(|error| foreign(&error))?,
        };
        let edits = named
            .edits_from(FILE)?
            .iter()
            .map(Edit::to_string)
            .collect();
        Ok(Self { edits, ..named })
    }
}

/// A safetensors file of vectors; written here because the crate's own writer orders metadata at random.
fn bytes_of(metadata: Map<String, Value>, tensors: &[(String, Vec<f32>)]) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), Value::Object(metadata));
    let mut end = 0;
    for (name, values) in tensors {
        let start = end;
        end += size_of_val(values.as_slice());
        header.insert(
            name.clone(),
            json!({ "dtype": "F32", "shape": [values.len()], "data_offsets": [start, end] }),
        );
    }
    let mut text = Value::Object(header).to_string();
    // Values begin at a multiple of eight bytes.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    for value in tensors.iter().flat_map(|(_, values)| values) {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// A file of vectors that is gone with this value: what an edit reads while its effect is measured.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new(tensors: &[(String, Vec<f32>)]) -> Result<Self, AnalysisError> {
        let failed = |error: std::io::Error| {
            AnalysisError::needs(format!(
                "the vectors need a folder for temporary files, and none can be written: {error}"
            ))
        };
        let folder = tempfile::Builder::new()
            .prefix("headscope-vectors-")
            .tempdir()
            .map_err(failed)?;
        fs::write(folder.path().join(FILE), bytes_of(Map::new(), tensors)).map_err(failed)?;
        Ok(Self(folder))
    }

    pub fn folder(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

/// A vector of [`FILE`].
pub fn vector(name: &str) -> VectorRef {
    VectorRef {
        file: FILE.to_owned(),
        name: name.to_owned(),
    }
}

/// `target=add(name, factor)`.
pub fn add(target: Target, name: &str, factor: f64, at: Positions) -> Edit {
    let op = Op::Add {
        vector: vector(name),
        factor: finite(factor),
    };
    Edit { target, op, at }
}

/// `head=mix(name, share)@last`.
pub fn mix(head: HeadId, name: &str, share: f64) -> Edit {
    let op = Op::Mix {
        vector: vector(name),
        share: finite(share),
    };
    Edit {
        target: Target::Head(head),
        op,
        at: Positions::Last,
    }
}

/// What is not finite changes nothing.
fn finite(value: f64) -> Finite {
    Finite::new(value).unwrap_or(Finite::new(0.0).unwrap_or(Finite::ONE))
}

/// Every head of a model.
pub fn all_heads(model: &Model) -> Vec<HeadId> {
    let n_heads = model.spec.n_heads;
    (0..model.spec.n_layers)
        .flat_map(|layer| (0..n_heads).map(move |head| HeadId::new(layer, head)))
        .collect()
}

/// What a file of vectors says about how they were made.
pub fn recipe(model: &Model, report: &Report, seed: u64, heads: &[HeadId]) -> Value {
    let settings: Map<String, Value> = report
        .settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let heads: Vec<String> = heads.iter().map(HeadId::to_string).collect();
    json!({
        "method": report.method,
        "model": { "name": model.name, "source": model.pinned_source(), "fingerprint": model.fingerprint },
        "seed": seed,
        "settings": settings,
        "heads": heads,
    })
}
