//! Chat templates: how a model's makers write a talk as one text. A template is Jinja in the model's files, and is
//! rendered as `transformers` renders it (`apply_chat_template`; its environment and its variables are in `render`).
//!
//! Special tokens are written out in a rendered text, the beginning of text among them where the template wants one. So it
//! is tokenised with [`BosRule::Never`](crate::prompt::BosRule::Never), which finds them in the text and adds none.

mod json;
mod render;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::{MAX_CONFIG_BYTES, read_at_most};
use crate::model::checkpoint::GgufMetadata;

/// A template beside the weights; it goes before the others.
const FILE: &str = "chat_template.jinja";

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// What older programs wrote beside it.
const SPECIALS: &str = "special_tokens_map.json";

const GGUF_KEY: &str = "tokenizer.chat_template";

/// The longest of real models have some 20 kB, tools included.
const MAX_BYTES: usize = 64 << 10;

/// The special tokens that a template may name, and how a GGUF calls them.
const NAMES: [(&str, &str); 7] = [
    ("bos_token", "bos"),
    ("eos_token", "eos"),
    ("unk_token", "unknown"),
    // The format's own spelling.
    ("sep_token", "seperator"),
    ("pad_token", "padding"),
    ("cls_token", "cls"),
    ("mask_token", "mask"),
];

/// A model's chat template with the texts of its special tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    source: String,
    /// The file, for messages.
    place: PathBuf,
    /// By name, such as `bos_token`.
    specials: BTreeMap<String, String>,
}

/// One turn of a talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

/// Why there is no chat template, or why it gives no text.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error(
        "the model's files have no chat template ({FILE} or {TOKENIZER_CONFIG} beside the weights, or `{GGUF_KEY}` in a \
         GGUF); put one into {FILE}"
    )]
    Missing,
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("a file that may hold a chat template is damaged, {source}; fetch it again: {}", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "of the chat templates {names} none is called `default`; put the one that is meant into {FILE} beside the weights: {}",
        path.display()
    )]
    NoDefault { names: String, path: PathBuf },
    #[error(
        "the chat template has {n_bytes} bytes, and no real one more than {MAX_BYTES}; put the model's own into {FILE}: {}",
        place.display()
    )]
    TooLarge { n_bytes: usize, place: PathBuf },
    #[error(
        "line {line} of the chat template cannot be read, {problem}; mend it, or put another into {FILE}: {}",
        place.display()
    )]
    Syntax {
        line: usize,
        problem: String,
        place: PathBuf,
    },
    #[error("the chat template refuses these messages ({reason}): {}", place.display())]
    Refused { reason: String, place: PathBuf },
    #[error(
        "the chat template wants today's date, and a prompt that changes from day to day cannot be repeated; put one \
         without `strftime_now` into {FILE}: {}",
        place.display()
    )]
    Dated { place: PathBuf },
    #[error(
        "the chat template was stopped: it takes more steps or memory than any real one does; put the model's own into \
         {FILE}: {}",
        place.display()
    )]
    Endless { place: PathBuf },
    #[error(
        "the chat template does not end, and what it does cannot be stopped: close the program, and put the model's own \
         into {FILE}: {}",
        place.display()
    )]
    Runaway { place: PathBuf },
    #[error("the chat template writes more than {} bytes; give shorter messages: {}", render::MAX_OUTPUT_BYTES, place.display())]
    TooLong { place: PathBuf },
    #[error(
        "line {line} of the chat template fails on these messages, {problem}; mend it, or put another into {FILE}: {}",
        place.display()
    )]
    Failed {
        line: usize,
        problem: String,
        place: PathBuf,
    },
}

impl Message {
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: content.into(),
        }
    }
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl ChatTemplate {
    /// A template as text, with the texts of special tokens by name (`bos_token`, …). `place` is for messages.
    pub fn of_text(
        source: impl Into<String>,
        specials: BTreeMap<String, String>,
        place: impl Into<PathBuf>,
    ) -> Result<Self, ChatError> {
        let (source, place) = (source.into(), place.into());
        if source.len() > MAX_BYTES {
            return Err(ChatError::TooLarge {
                n_bytes: source.len(),
                place,
            });
        }
        Ok(Self {
            source,
            place,
            specials,
        })
    }

    /// What `tokenizer_config.json` says: one template, or a list of which the one named `default` is taken. `path` is
    /// for messages.
    pub fn of_tokenizer_config(config: &Value, path: &Path) -> Result<Self, ChatError> {
        let source = template_of(config, path)?.ok_or(ChatError::Missing)?;
        Self::of_text(source, specials_of(config).collect(), path)
    }

    /// What the metadata of a GGUF say. `path` is for messages.
    pub fn of_gguf(metadata: &GgufMetadata, path: &Path) -> Result<Self, ChatError> {
        let source = metadata.str(GGUF_KEY).ok_or(ChatError::Missing)?;
        Self::of_text(source, specials_of_gguf(metadata).collect(), path)
    }

    /// The template of a model: of the files in `folder`, else of the GGUF at `path`. What a file names goes before what
    /// a GGUF does, as it is with tokenizers.
    pub fn of_files(
        folder: Option<&Path>,
        metadata: Option<&GgufMetadata>,
        path: &Path,
    ) -> Result<Self, ChatError> {
        let mut specials = BTreeMap::new();
        let mut found = None;
        if let Some(metadata) = metadata {
            specials.extend(specials_of_gguf(metadata));
            found = metadata
                .str(GGUF_KEY)
                .map(|source| (source.to_owned(), path.to_owned()));
        }
        if let Some(folder) = folder {
            let path = folder.join(FILE);
            let own = bytes_at(&path)?;
            for name in [SPECIALS, TOKENIZER_CONFIG] {
                let path = folder.join(name);
                let Some(bytes) = bytes_at(&path)? else {
                    continue;
                };
                let config = serde_json::from_slice(&bytes);
                let config: Value = config.map_err(|source| ChatError::Json {
                    path: path.clone(),
                    source,
                })?;
                specials.extend(specials_of(&config));
                // What the file replaces may be of no use.
                if own.is_none()
                    && let Some(source) = template_of(&config, &path)?
                {
                    found = Some((source, path));
                }
            }
            if let Some(bytes) = own {
                let source = String::from_utf8(bytes).map_err(|error| ChatError::Io {
                    path: path.clone(),
                    source: io::Error::new(ErrorKind::InvalidData, error),
                })?;
                found = Some((source, path));
            }
        }
        let (source, place) = found.ok_or(ChatError::Missing)?;
        Self::of_text(source, specials, place)
    }

    /// The talk as text, special tokens written out; `add_generation_prompt` puts the beginning of an answer after it.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, ChatError> {
        render::render(self, messages, add_generation_prompt)
    }
}

/// A small file's bytes; `None` where there is no such file.
fn bytes_at(path: &Path) -> Result<Option<Vec<u8>>, ChatError> {
    match read_at_most(path, MAX_CONFIG_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ChatError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn template_of(config: &Value, path: &Path) -> Result<Option<String>, ChatError> {
    let list = match &config["chat_template"] {
        Value::String(source) => return Ok(Some(source.clone())),
        Value::Array(list) => list,
        _ => return Ok(None),
    };
    let text = |of: &Value, key: &str| of[key].as_str().map(str::to_owned);
    let default = list.iter().find(|one| one["name"] == "default");
    if let Some(source) = default.and_then(|one| text(one, "template")) {
        return Ok(Some(source));
    }
    let names: Vec<String> = list.iter().filter_map(|one| text(one, "name")).collect();
    Err(ChatError::NoDefault {
        names: names.join(", "),
        path: path.to_owned(),
    })
}

/// A token is a string, or an object with its content.
fn specials_of(config: &Value) -> impl Iterator<Item = (String, String)> {
    NAMES.into_iter().filter_map(|(name, _)| {
        let token = &config[name];
        let text = token.as_str().or_else(|| token["content"].as_str())?;
        Some((name.to_owned(), text.to_owned()))
    })
}

fn specials_of_gguf(metadata: &GgufMetadata) -> impl Iterator<Item = (String, String)> {
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap_or(&[]);
    NAMES.into_iter().filter_map(move |(name, key)| {
        let id = metadata.u64(&format!("tokenizer.ggml.{key}_token_id"))?;
        let text = tokens.get(usize::try_from(id).ok()?)?;
        Some((name.to_owned(), text.clone()))
    })
}
