//! A model's tensors and settings as its files store them, whatever the format; nothing here knows an architecture.
//!
//! Damaged and hostile files end in a [`CheckpointError`] that names the file and the place in it.

mod bytes;
mod error;
mod gguf;
mod index;
mod metadata;
mod open;
mod quant;
mod safetensors;
mod stored_type;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use self::bytes::Bytes;
pub use self::error::{CheckpointError, Place};
pub use self::index::ShardIndex;
pub use self::metadata::{GgufArray, GgufMetadata, GgufValue};
pub(super) use self::open::{INDEX, SINGLE, convert_command, is_pickle, shards_of};
pub(super) use self::quant::widen;
pub use self::stored_type::StoredType;
use super::json;

/// Open model files: memory-mapped, so opening reads only headers.
pub struct Checkpoint {
    files: Vec<File>,
    tensors: BTreeMap<String, TensorInfo>,
    folder: Option<PathBuf>,
    contents: Contents,
}

struct File {
    path: PathBuf,
    bytes: Bytes,
}

enum Contents {
    HuggingFace { config: Option<serde_json::Value> },
    Gguf { metadata: GgufMetadata },
}

/// The convention that names and settings follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// safetensors with a `config.json`.
    HuggingFace,
    Gguf,
}

/// One tensor as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    pub dtype: StoredType,
    /// Row-major in both forms, so a linear is [out, in] unless the family stores it the other way.
    pub shape: Vec<usize>,
    /// Index into `Checkpoint::files`.
    file: usize,
    /// Bytes from the start of that file.
    range: Range<usize>,
}

impl TensorInfo {
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Checkpoint {
    /// Opens a folder (`model.safetensors`, its index, or exactly one `.gguf`), a `.safetensors`, an index or a `.gguf`.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        open::open(path)
    }

    /// A safetensors file in memory; `name` stands for its path in messages.
    pub fn from_safetensors_bytes(
        name: &str,
        bytes: impl Into<Cow<'static, [u8]>>,
        config: Option<serde_json::Value>,
    ) -> Result<Self, CheckpointError> {
        let file = File::in_memory(name, bytes.into());
        let tensors = safetensors::read_header(&file.bytes, &file.path)?;
        Ok(Self {
            files: vec![file],
            tensors: by_name(tensors),
            folder: None,
            contents: Contents::HuggingFace { config },
        })
    }

    /// A GGUF file in memory; `name` stands for its path in messages.
    pub fn from_gguf_bytes(
        name: &str,
        bytes: impl Into<Cow<'static, [u8]>>,
    ) -> Result<Self, CheckpointError> {
        Self::from_gguf_file(File::in_memory(name, bytes.into()), None)
    }

    /// The contents of a config.json; `path` is for messages.
    pub fn config_from_bytes(
        path: &Path,
        bytes: &[u8],
    ) -> Result<serde_json::Value, CheckpointError> {
        json::parse(bytes).map_err(|source| CheckpointError::Json {
            path: path.to_owned(),
            source,
        })
    }

    fn from_gguf_file(file: File, folder: Option<PathBuf>) -> Result<Self, CheckpointError> {
        let (metadata, tensors) = gguf::read(&file.bytes, &file.path)?;
        Ok(Self {
            files: vec![file],
            tensors: by_name(tensors),
            folder,
            contents: Contents::Gguf { metadata },
        })
    }

    pub fn form(&self) -> Form {
        match self.contents {
            Contents::HuggingFace { .. } => Form::HuggingFace,
            Contents::Gguf { .. } => Form::Gguf,
        }
    }

    /// Tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The tensor's values, row-major as `TensorInfo::shape` says; exact but for F64, which is rounded to f32.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let info = self
            .info(name)
            .ok_or_else(|| CheckpointError::NoSuchTensor {
                path: self.path().to_owned(),
                tensor: name.to_owned(),
            })?;
        quant::to_f32(info.dtype, self.bytes_of(info), info.n_elements()).ok_or_else(|| {
            CheckpointError::UnsupportedType {
                path: self.files[info.file].path.clone(),
                tensor: name.to_owned(),
                found: info.dtype.name().to_owned(),
            }
        })
    }

    /// The tensor's bytes as the file has them.
    pub fn stored_bytes(&self, name: &str) -> Option<&[u8]> {
        self.info(name).map(|info| self.bytes_of(info))
    }

    fn bytes_of(&self, info: &TensorInfo) -> &[u8] {
        &self.files[info.file].bytes[info.range.clone()]
    }

    pub fn gguf_metadata(&self) -> Option<&GgufMetadata> {
        match &self.contents {
            Contents::Gguf { metadata } => Some(metadata),
            Contents::HuggingFace { .. } => None,
        }
    }

    /// `config.json` of a Hugging Face folder, or beside the file that was opened.
    pub fn config(&self) -> Option<&serde_json::Value> {
        match &self.contents {
            Contents::HuggingFace { config } => config.as_ref(),
            Contents::Gguf { .. } => None,
        }
    }

    /// The folder the files lie in; `None` for a model in memory.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The first weight file, or the name of a model in memory.
    pub fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |file| &file.path)
    }

    /// Bytes of all tensors as stored.
    pub fn stored_len(&self) -> u64 {
        self.tensors().map(|info| info.range.len() as u64).sum()
    }

    /// The type in which most elements are stored, for display; `None` without tensors.
    pub fn dominant_type(&self) -> Option<StoredType> {
        let mut elements: BTreeMap<StoredType, usize> = BTreeMap::new();
        for info in self.tensors() {
            *elements.entry(info.dtype).or_default() += info.n_elements();
        }
        elements
            .into_iter()
            .max_by_key(|(_, n)| *n)
            .map(|(dtype, _)| dtype)
    }
}

impl File {
    fn in_memory(name: &str, bytes: Cow<'static, [u8]>) -> Self {
        Self {
            path: PathBuf::from(name),
            bytes: Bytes::Memory(bytes),
        }
    }
}

fn by_name(tensors: Vec<TensorInfo>) -> BTreeMap<String, TensorInfo> {
    tensors
        .into_iter()
        .map(|tensor| (tensor.name.clone(), tensor))
        .collect()
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("path", &self.path())
            .field("form", &self.form())
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkpoint::gguf::tests::Writer;

    fn small_safetensors() -> Vec<u8> {
        let data: Vec<u8> = (0..48).collect();
        let view = |dtype, shape, n| {
            ::safetensors::tensor::TensorView::new(dtype, shape, &data[..n]).unwrap()
        };
        let tensors = [
            (
                "wte.weight",
                view(::safetensors::Dtype::F32, vec![3, 4], 48),
            ),
            ("h.0.bias", view(::safetensors::Dtype::BF16, vec![8], 16)),
            ("mask", view(::safetensors::Dtype::BOOL, vec![2, 2], 4)),
        ];
        ::safetensors::serialize(tensors, None).unwrap()
    }

    fn small_gguf() -> Vec<u8> {
        Writer::header(3, 3, 3)
            .string("general.architecture")
            .u32(8)
            .string("llama")
            .string("tokenizer.ggml.tokens")
            .u32(9)
            .u32(8)
            .u64(2)
            .string("<s>")
            .string("a")
            .string("general.alignment")
            .u32(4)
            .u32(32)
            .tensor("token_embd.weight", &[32, 2], 8, 0)
            .tensor("output_norm.weight", &[4], 0, 96)
            .tensor("blk.0.attn_q.weight", &[32, 1], 3, 128)
            .pad(32)
            .bytes(&(0..148).collect::<Vec<u8>>())
            .0
    }

    #[test]
    fn tensors_of_both_forms_read_alike() {
        let hf = Checkpoint::from_safetensors_bytes("small", small_safetensors(), None).unwrap();
        assert_eq!(hf.form(), Form::HuggingFace);
        assert_eq!(
            hf.names().collect::<Vec<_>>(),
            ["h.0.bias", "mask", "wte.weight"]
        );
        assert_eq!(hf.info("wte.weight").unwrap().shape, [3, 4]);
        let first = hf.read_f32("wte.weight").unwrap()[0];
        assert_eq!(first.to_le_bytes(), [0, 1, 2, 3]);
        assert_eq!(hf.dominant_type(), Some(StoredType::F32));
        assert_eq!(hf.stored_len(), 48 + 16 + 4);
        let error = hf.read_f32("mask").unwrap_err().to_string();
        assert!(
            error.contains("tensor \"mask\" is stored as BOOL"),
            "{error}"
        );
        assert!(
            hf.read_f32("absent")
                .unwrap_err()
                .to_string()
                .contains("no tensor \"absent\"")
        );

        let gguf = Checkpoint::from_gguf_bytes("small", small_gguf()).unwrap();
        assert_eq!(gguf.form(), Form::Gguf);
        assert_eq!(
            gguf.gguf_metadata().unwrap().str("general.architecture"),
            Some("llama")
        );
        assert_eq!(gguf.info("token_embd.weight").unwrap().shape, [2, 32]);
        assert_eq!(gguf.dominant_type(), Some(StoredType::Q8_0));
        assert_eq!(
            gguf.stored_bytes("output_norm.weight").unwrap()[..4],
            [96, 97, 98, 99]
        );
        assert_eq!(gguf.read_f32("blk.0.attn_q.weight").unwrap().len(), 32);
    }
}
