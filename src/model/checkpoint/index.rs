//! `model.safetensors.index.json`: which shard holds which tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::Deserialize;

use super::CheckpointError;
use crate::model::json;

/// The index of a sharded model. Its shards are files of the index's own folder.
#[derive(Debug, Deserialize)]
pub struct ShardIndex {
    /// Tensor name to the file name of its shard.
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// The contents of an index; `path` is for messages.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let index: Self = json::parse(bytes)
            .and_then(serde_json::from_value)
            .map_err(|source| CheckpointError::Json {
                path: path.to_owned(),
                source,
            })?;
        let problem = |problem: String| CheckpointError::Index {
            path: path.to_owned(),
            problem,
        };
        if index.weight_map.is_empty() {
            return Err(problem("it names no shard".to_owned()));
        }
        if let Some(name) = index.shards().into_iter().find(|name| !is_plain(name)) {
            return Err(problem(format!(
                "shard {name:?} is no plain file name, so it would leave the folder"
            )));
        }
        Ok(index)
    }

    /// The names of the shards, sorted.
    pub fn shards(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }

    /// Each tensor with the name of its shard.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.weight_map
            .iter()
            .map(|(tensor, shard)| (tensor.as_str(), shard.as_str()))
    }
}

/// Whether a path is the name of a file in its folder.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let one = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    );
    one && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_index_is_refused_with_the_file_and_the_reason() {
        for (text, reason) in [
            ("", "EOF while parsing"),
            ("[]", "expected"),
            ("{}", "missing field `weight_map`"),
            (r#"{"weight_map":{}}"#, "it names no shard"),
            (r#"{"weight_map":{"w":1}}"#, "expected a string"),
            (r#"{"weight_map":{"w":"a","w":"b"}}"#, "\"w\" comes twice"),
            (
                r#"{"weight_map":{"w":"../a"}}"#,
                "shard \"../a\" is no plain file name",
            ),
            (r#"{"weight_map":{"w":"a\u0000"}}"#, "is no plain file name"),
        ] {
            let error = ShardIndex::from_bytes(Path::new("m.json"), text.as_bytes());
            let error = error.unwrap_err().to_string();
            assert!(
                error.starts_with("m.json") && error.contains(reason),
                "{text}: {error}"
            );
        }
    }
}
