//! The bundled model, embedded in the program. `assets/models/demo/README.md` says how it was made and how well it does.

use std::path::PathBuf;

use super::chat::ChatError;
use super::checkpoint::Checkpoint;
use super::load::{Files, LoadError, understand};
use super::tokenizer::Tokenizer;
use crate::ids::HeadId;

/// MODEL that stands for the bundled model.
pub const NAME: &str = "demo";

/// The prompt of the first launch: what it says and what the model knows pull against each other.
pub const FIRST_PROMPT: &str =
    "The capital of Poland is London. Q: What is the capital of Poland? A:";

/// Its two answers: what the prompt says, and what the model knows.
pub const FIRST_ANSWERS: [&str; 2] = [" London", " Warsaw"];

/// The head that reads the prompt's answer; its α decides between the two.
pub const FIRST_HEAD: HeadId = HeadId::new(1, 3);

/// Values of Hugging Face's implementation on the same files (`scripts/make-reference.py`), for the check of the window.
pub const REFERENCE: &str = include_str!("../../assets/models/demo/headscope-reference.json");

const CONFIG: &[u8] = include_bytes!("../../assets/models/demo/config.json");
const WEIGHTS: &[u8] = include_bytes!("../../assets/models/demo/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../assets/models/demo/tokenizer.json");

pub(super) fn files() -> Result<Files, LoadError> {
    let path = PathBuf::from("the bundled model");
    let config: Option<serde_json::Value> = serde_json::from_slice(CONFIG).ok();
    let checkpoint = Checkpoint::from_safetensors_bytes(NAME, WEIGHTS, config)?;
    let (family, spec) = understand(&checkpoint, &path)?;
    let tokenizer =
        Tokenizer::from_json_bytes(TOKENIZER, None, checkpoint.config()).map_err(|reason| {
            LoadError::Tokenizer {
                reason,
                path: path.clone(),
            }
        })?;
    Ok(Files {
        name: NAME.to_owned(),
        path,
        checkpoint,
        family,
        spec,
        tokenizer: Some(tokenizer),
        chat: Err(ChatError::Missing),
    })
}
