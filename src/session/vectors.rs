//! The files of vectors that a session's edits read: what is kept of them, so that another file under the same name is
//! noticed, and a lost one can be made again.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::EditRow;

/// Files above this are not looked at.
const MOST_BYTES: u64 = 256 << 20;

/// Recipes longer than this are left out.
const MOST_RECIPE: usize = 64 << 10;

/// A file of vectors as it was when the session was saved.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorsFile {
    /// As the edits name it.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// How it was made, where it says so: method, model, settings, seed.
    pub recipe: Option<Value>,
}

impl VectorsFile {
    /// The files that the edits read, each once. `base` is where relative paths start; what cannot be read is left out.
    pub fn of(edits: &[EditRow], base: Option<&Path>) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for row in edits {
            let mut edit = row.edit.clone();
            for vector in edit.vectors_mut() {
                if found.iter().any(|known| known.file == vector.file) {
                    continue;
                }
                if let Ok(bytes) = read(&vector.file, base) {
                    found.push(Self {
                        file: vector.file.clone(),
                        sha256: digest(&bytes),
                        recipe: recipe(&bytes),
                    });
                }
            }
        }
        found
    }

    /// What is wrong with it now, and what to do; `None` where it is the same file.
    pub fn problem(&self, base: Option<&Path>) -> Option<String> {
        let file = &self.file;
        match read(file, base) {
            Ok(bytes) if digest(&bytes) == self.sha256 => None,
            Ok(_) => Some(format!(
                "the vectors of {file} are others than when the session was saved{}",
                self.made_by("; those were made")
            )),
            Err(error) => Some(format!(
                "the vectors of {file} cannot be read ({error}){}",
                self.made_by(": they were made")
            )),
        }
    }

    /// The recipe in words.
    fn made_by(&self, how: &str) -> String {
        let Some(recipe) = &self.recipe else {
            return String::new();
        };
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let method = text(&recipe["method"]);
        let model = text(&recipe["model"]["name"]);
        let settings = recipe["settings"].as_object().into_iter().flatten();
        let settings: Vec<String> = settings
            .map(|(name, value)| format!("{name} {}", text(value)))
            .collect();
        format!("{how} by {method} on {model}, with {}", settings.join(", "))
    }
}

fn read(file: &str, base: Option<&Path>) -> std::io::Result<Vec<u8>> {
    let path = base.map_or_else(|| file.into(), |base| base.join(file));
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn recipe(bytes: &[u8]) -> Option<Value> {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).ok()?;
    let text = header.metadata().as_ref()?.get("recipe")?;
    (text.len() <= MOST_RECIPE)
        .then(|| serde_json::from_str(text).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(file: &str) -> Vec<EditRow> {
        ["add", "mix"]
            .map(|op| EditRow {
                edit: format!("L0H0={op}({file}:x, 1)").parse().unwrap(),
                enabled: true,
            })
            .into()
    }

    #[test]
    fn another_file_under_the_same_name_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.safetensors");
        let header = r#"{"__metadata__":{"recipe":"{\"method\":\"iti\",\"model\":{\"name\":\"m\"},\"settings\":{\"seed\":7}}"}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let base = Some(folder.path());
        let found = VectorsFile::of(&rows("v.safetensors"), base);
        assert_eq!(found.len(), 1, "a file that two edits read is kept once");
        assert_eq!(found[0].recipe.as_ref().unwrap()["method"], "iti");
        assert_eq!(found[0].problem(base), None);
        std::fs::write(&path, b"other").unwrap();
        let problem = found[0].problem(base).unwrap();
        assert!(
            problem.contains("others than") && problem.contains("by iti on m, with seed 7"),
            "{problem}"
        );
        std::fs::remove_file(&path).unwrap();
        let problem = found[0].problem(base).unwrap();
        assert!(problem.contains("cannot be read"), "{problem}");
        assert_eq!(VectorsFile::of(&rows("v.safetensors"), base), []);
    }
}
