//! What can be wrong with a model file: the file, the place in it, and what to do about it.

use std::fmt;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("cannot read {}: {source}", path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{} holds no model: expected model.safetensors, model.safetensors.index.json or one .gguf file",
        folder.display()
    )]
    NoModel { folder: PathBuf },
    #[error(
        "{} is a PyTorch pickle, which can run code and is not read; convert it with `{}` and open NEW_FOLDER",
        path.display(),
        super::convert_command(&path.parent().unwrap_or(path).display().to_string())
    )]
    Pickle { path: PathBuf },
    #[error("{} holds several .gguf files ({names}): open one of them by its path", folder.display())]
    SeveralGguf { folder: PathBuf, names: String },
    #[error(
        "{} is no model file that can be read: expected a folder, .safetensors, a .safetensors.index.json or .gguf",
        path.display()
    )]
    UnknownKind { path: PathBuf },
    #[error(
        "{} is one of {parts} parts: join them with `llama-gguf-split --merge FIRST_PART NEW.gguf` and open NEW.gguf",
        path.display()
    )]
    SplitGguf { path: PathBuf, parts: u64 },
    #[error(
        "{} is GGUF version {version}{}: versions 2 and 3, little endian, are read; convert the model again",
        path.display(),
        if *big_endian { " in big-endian order" } else { "" }
    )]
    GgufVersion {
        path: PathBuf,
        version: u32,
        big_endian: bool,
    },
    #[error("{} is not the JSON that was expected: {source}; fetch it again", path.display())]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{}: {problem}; fetch the index and its files again", path.display())]
    Index { path: PathBuf, problem: String },
    #[error("{} is damaged at {place}: {problem}; fetch or convert it again", path.display())]
    Damaged {
        path: PathBuf,
        place: Place,
        problem: String,
    },
    #[error(
        "{}: tensor {tensor:?} is stored as {found}, which is not read; use a file in one of {}",
        path.display(),
        super::StoredType::READABLE
    )]
    UnsupportedType {
        path: PathBuf,
        tensor: String,
        found: String,
    },
    #[error("{} has no tensor {tensor:?}", path.display())]
    NoSuchTensor { path: PathBuf, tensor: String },
}

/// Where in a file something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Bytes from the start of the file.
    Byte(u64),
    Tensor(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(offset) => write!(f, "byte {offset}"),
            Self::Tensor(name) => write!(f, "tensor {name:?}"),
        }
    }
}
