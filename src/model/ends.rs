//! The tokens after which a text is over, as a model's files name them: one id, or a list.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::checkpoint::{Checkpoint, CheckpointError, GgufMetadata};

/// What generating uses, beside the weights; where it names an end, config.json's does not count.
const GENERATION_CONFIG: &str = "generation_config.json";

/// The end-of-text tokens of a checkpoint; empty where its files name none.
pub(super) fn of(checkpoint: &Checkpoint) -> Result<Vec<u32>, CheckpointError> {
    if let Some(metadata) = checkpoint.gguf_metadata() {
        return Ok(of_gguf(metadata));
    }
    let beside = match checkpoint.folder() {
        Some(folder) => beside(&folder.join(GENERATION_CONFIG))?,
        None => vec![],
    };
    Ok(if beside.is_empty() {
        checkpoint.config().map_or_else(Vec::new, of_config)
    } else {
        beside
    })
}

/// End of text, and end of a turn of a chat.
fn of_gguf(metadata: &GgufMetadata) -> Vec<u32> {
    ["eos", "eot"]
        .into_iter()
        .filter_map(|which| metadata.u64(&format!("tokenizer.ggml.{which}_token_id")))
        .filter_map(|id| u32::try_from(id).ok())
        .collect()
}

fn beside(path: &Path) -> Result<Vec<u32>, CheckpointError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => {
            return Err(CheckpointError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    serde_json::from_slice(&text)
        .map(|config: Value| of_config(&config))
        .map_err(|source| CheckpointError::Json {
            path: path.to_owned(),
            source,
        })
}

fn of_config(config: &Value) -> Vec<u32> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    match &config["eos_token_id"] {
        Value::Array(ids) => ids.iter().filter_map(id).collect(),
        one => id(one).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkpoint::GgufValue;

    #[test]
    fn an_end_is_one_id_or_a_list_or_not_named() {
        for (config, ends) in [
            (r#"{"eos_token_id": 5}"#, &[5][..]),
            (r#"{"eos_token_id": [5, 7]}"#, &[5, 7]),
            (r#"{"eos_token_id": null}"#, &[]),
            ("{}", &[]),
            ("[]", &[]),
        ] {
            assert_eq!(of_config(&serde_json::from_str(config).unwrap()), ends);
        }
    }

    #[test]
    fn a_gguf_may_name_the_end_of_a_turn_too() {
        let metadata = [("eos", 2), ("eot", 9)]
            .map(|(which, id)| {
                let key = format!("tokenizer.ggml.{which}_token_id");
                (key, GgufValue::Unsigned(id))
            })
            .into_iter()
            .collect();
        assert_eq!(of_gguf(&metadata), [2, 9]);
    }

    #[test]
    fn generation_config_goes_before_config_and_must_be_whole() {
        let fixture = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/models/tiny-llama"
        );
        let folder = tempfile::tempdir().unwrap();
        for file in ["model.safetensors", "config.json"] {
            fs::copy(Path::new(fixture).join(file), folder.path().join(file)).unwrap();
        }
        let ends = || of(&Checkpoint::open(folder.path()).unwrap());
        assert_eq!(ends().unwrap(), [0; 0]);
        let config = folder.path().join("config.json");
        let text = fs::read_to_string(&config).unwrap();
        let named = text.replace(r#""eos_token_id": null"#, r#""eos_token_id": 3"#);
        assert_ne!(named, text);
        fs::write(&config, named).unwrap();
        assert_eq!(ends().unwrap(), [3]);
        let beside = folder.path().join(GENERATION_CONFIG);
        fs::write(&beside, r#"{"eos_token_id": [4, 6]}"#).unwrap();
        assert_eq!(ends().unwrap(), [4, 6]);
        fs::write(&beside, "{").unwrap();
        let error = ends().unwrap_err().to_string();
        assert!(error.contains(GENERATION_CONFIG), "{error}");
    }
}
