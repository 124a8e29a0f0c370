//! From a path to open files: which of a folder's files are the model, and the shards that an index names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::index::ShardIndex;
use super::{Bytes, Checkpoint, CheckpointError, Contents, File, TensorInfo, gguf, safetensors};
use crate::model::files::{MAX_CONFIG_BYTES, read_at_most};

pub(in crate::model) const SINGLE: &str = "model.safetensors";
pub(in crate::model) const INDEX: &str = "model.safetensors.index.json";
/// Endings of files that are Python pickles.
const PICKLES: [&str; 5] = ["bin", "pt", "pth", "ckpt", "pkl"];

/// Whether a file of this name is a Python pickle.
pub(in crate::model) fn is_pickle(name: &str) -> bool {
    PICKLES.contains(&extension(Path::new(name)))
}

/// What turns the pickles of a folder or of a hub id into files that are read: as the class that the config names, so
/// that no head is lost, with its tokenizer.
pub(in crate::model) fn convert_command(source: &str) -> String {
    let source = source.replace('\\', "\\\\").replace('\'', "\\'");
    format!(
        "python -c \"import transformers as t; old, new = '{source}', 'NEW_FOLDER'; \
         name = (t.AutoConfig.from_pretrained(old).architectures or ['AutoModel'])[0]; \
         getattr(t, name).from_pretrained(old).save_pretrained(new); \
         t.AutoTokenizer.from_pretrained(old).save_pretrained(new)\""
    )
}

pub(super) fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let metadata = fs::metadata(path).map_err(|source| io(path, source))?;
    if metadata.is_dir() {
        open_file(&model_in(path)?)
    } else if metadata.is_file() {
        open_file(path)
    } else {
        // Opening a pipe would wait for someone who writes to it.
        Err(CheckpointError::UnknownKind {
            path: path.to_owned(),
        })
    }
}

/// The one weight file, or the index, of a folder.
fn model_in(folder: &Path) -> Result<PathBuf, CheckpointError> {
    for name in [SINGLE, INDEX] {
        let file = folder.join(name);
        if file.is_file() {
            return Ok(file);
        }
    }
    let entries = fs::read_dir(folder).map_err(|source| io(folder, source))?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| io(folder, source))?;
    files.sort();
    let ggufs: Vec<&PathBuf> = files
        .iter()
        .filter(|file| extension(file) == "gguf")
        .collect();
    match ggufs[..] {
        [one] => Ok(one.clone()),
        [] => Err(
            match files
                .into_iter()
                .find(|file| PICKLES.contains(&extension(file)))
            {
                Some(path) => CheckpointError::Pickle { path },
                None => CheckpointError::NoModel {
                    folder: folder.to_owned(),
                },
            },
        ),
        _ => Err(CheckpointError::SeveralGguf {
            folder: folder.to_owned(),
            names: ggufs
                .iter()
                .filter_map(|file| file.file_name()?.to_str())
                .collect::<Vec<_>>()
                .join(", "),
        }),
    }
}

fn open_file(path: &Path) -> Result<Checkpoint, CheckpointError> {
    match extension(path) {
        "safetensors" => {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| CheckpointError::UnknownKind {
                path: path.to_owned(),
            })?;
            from_safetensors(path, &BTreeSet::from([name]))
        }
        "json" => from_index(path),
        "gguf" => Checkpoint::from_gguf_file(map(path)?, Some(folder_of(path))),
        ending if PICKLES.contains(&ending) => Err(CheckpointError::Pickle {
            path: path.to_owned(),
        }),
        _ => {
            // A file of a cache may have no ending; GGUF says what it is.
            let file = map(path)?;
            if file.bytes.starts_with(gguf::MAGIC) {
                Checkpoint::from_gguf_file(file, Some(folder_of(path)))
            } else {
                Err(CheckpointError::UnknownKind {
                    path: path.to_owned(),
                })
            }
        }
    }
}

/// Opens the named files of `path`'s folder together; `path` is the one file itself, or the index.
fn from_safetensors(path: &Path, names: &BTreeSet<&str>) -> Result<Checkpoint, CheckpointError> {
    let folder = folder_of(path);
    let mut files: Vec<File> = Vec::with_capacity(names.len());
    let mut tensors: BTreeMap<String, TensorInfo> = BTreeMap::new();
    for name in names {
        let file = map(&folder.join(name))?;
        for mut tensor in safetensors::read_header(&file.bytes, &file.path)? {
            tensor.file = files.len();
            if let Some(earlier) = tensors.get(&tensor.name) {
                let earlier = files[earlier.file].path.display();
                return Err(index_problem(
                    path,
                    format!(
                        "tensor {:?} is both in {earlier} and in {name}",
                        tensor.name
                    ),
                ));
            }
            tensors.insert(tensor.name.clone(), tensor);
        }
        files.push(file);
    }
    let config = read_config(&folder.join("config.json"))?;
    Ok(Checkpoint {
        files,
        tensors,
        folder: Some(folder),
        contents: Contents::HuggingFace { config },
    })
}

/// The names of an index's shards, sorted.
pub(in crate::model) fn shards_of(path: &Path) -> Result<Vec<String>, CheckpointError> {
    let index = read_index(path)?;
    Ok(index.shards().into_iter().map(str::to_owned).collect())
}

fn read_index(path: &Path) -> Result<ShardIndex, CheckpointError> {
    let text = read_at_most(path, MAX_CONFIG_BYTES).map_err(|source| io(path, source))?;
    ShardIndex::from_bytes(path, &text)
}

/// The shards of an index, each there and each holding what the index says.
fn from_index(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let index = read_index(path)?;
    let names = index.shards();
    let folder = folder_of(path);
    if let Some(name) = names.iter().find(|name| !folder.join(name).is_file()) {
        return Err(index_problem(
            path,
            format!("shard {name:?} is missing from {}", folder.display()),
        ));
    }
    let checkpoint = from_safetensors(path, &names)?;
    for (tensor, shard) in index.tensors() {
        let held = checkpoint
            .info(tensor)
            .map(|info| &checkpoint.files[info.file].path);
        if held != Some(&folder.join(shard)) {
            return Err(index_problem(
                path,
                format!("tensor {tensor:?} is not in shard {shard:?}"),
            ));
        }
    }
    Ok(checkpoint)
}

fn map(path: &Path) -> Result<File, CheckpointError> {
    Ok(File {
        path: path.to_owned(),
        bytes: Bytes::map(path)?,
    })
}

/// The config.json at `path`, or `None` where there is no such file.
fn read_config(path: &Path) -> Result<Option<serde_json::Value>, CheckpointError> {
    match read_at_most(path, MAX_CONFIG_BYTES) {
        Ok(text) => Checkpoint::config_from_bytes(path, &text).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io(path, source)),
    }
}

/// The folder of a file; `.` for a bare name.
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default()
}

fn io(path: &Path, source: std::io::Error) -> CheckpointError {
    CheckpointError::Io {
        path: path.to_owned(),
        source,
    }
}

fn index_problem(index: &Path, problem: String) -> CheckpointError {
    CheckpointError::Index {
        path: index.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor_file(names: &[&str]) -> Vec<u8> {
        let view = ::safetensors::tensor::TensorView::new(
            ::safetensors::Dtype::F32,
            vec![1],
            &[0, 0, 128, 63],
        )
        .unwrap();
        ::safetensors::serialize(names.iter().map(|name| (*name, view.clone())), None).unwrap()
    }

    fn folder_with(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn index(pairs: &[(&str, &str)]) -> Vec<u8> {
        let map: BTreeMap<_, _> = pairs.iter().copied().collect();
        serde_json::to_vec(&serde_json::json!({ "weight_map": map })).unwrap()
    }

    #[track_caller]
    fn check_refused(files: &[(&str, &[u8])], expected: &str) {
        let error = open(folder_with(files).path()).unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
    }

    #[test]
    fn a_folder_opens_with_its_config() {
        let folder = folder_with(&[
            (SINGLE, &tensor_file(&["w"])),
            ("config.json", br#"{"model_type":"gpt2"}"#),
        ]);
        for path in [folder.path().to_owned(), folder.path().join(SINGLE)] {
            let checkpoint = open(&path).unwrap();
            assert_eq!(checkpoint.read_f32("w").unwrap(), [1.0]);
            assert_eq!(checkpoint.config().unwrap()["model_type"], "gpt2");
            assert_eq!(checkpoint.folder(), Some(folder.path()));
        }
    }

    #[test]
    fn shards_open_as_one_model() {
        let folder = folder_with(&[
            ("1.safetensors", &tensor_file(&["a", "b"])),
            ("2.safetensors", &tensor_file(&["c"])),
            (
                INDEX,
                &index(&[
                    ("a", "1.safetensors"),
                    ("b", "1.safetensors"),
                    ("c", "2.safetensors"),
                ]),
            ),
        ]);
        let checkpoint = open(folder.path()).unwrap();
        assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(checkpoint.read_f32("c").unwrap(), [1.0]);
    }

    #[test]
    fn folders_without_a_readable_model_say_what_to_do() {
        check_refused(&[], "holds no model: expected model.safetensors");
        check_refused(
            &[("pytorch_model.bin", b"x")],
            "pytorch_model.bin is a PyTorch pickle, which can run code and is not read; convert it",
        );
        check_refused(
            &[("a.gguf", b""), ("b.gguf", b"")],
            "several .gguf files (a.gguf, b.gguf)",
        );
        check_refused(&[("a.gguf", b"")], "damaged at byte 0: the file ends");
        check_refused(&[(SINGLE, b"")], "damaged at byte 0: only 0 bytes");
        check_refused(
            &[(SINGLE, &tensor_file(&["w"])), ("config.json", b"{")],
            "config.json is not the JSON that was expected",
        );
        let folder = folder_with(&[("model.onnx", b"onnx")]);
        let error = open(&folder.path().join("model.onnx"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("is no model file that can be read"),
            "{error}"
        );
        assert!(
            open(&folder.path().join("absent"))
                .unwrap_err()
                .to_string()
                .contains("cannot read")
        );
    }

    #[test]
    fn an_index_cannot_lead_out_of_its_folder_or_to_what_is_not_there() {
        let file = tensor_file(&["w"]);
        for outside in [
            "../x.safetensors",
            "/etc/passwd",
            "a/b.safetensors",
            "..",
            "",
            "a\\b.safetensors",
        ] {
            check_refused(
                &[(INDEX, &index(&[("w", outside)]))],
                "would leave the folder",
            );
        }
        check_refused(
            &[(INDEX, &index(&[("w", "1.safetensors")]))],
            "shard \"1.safetensors\" is missing",
        );
        check_refused(
            &[(INDEX, b"{}")],
            "is not the JSON that was expected: missing field `weight_map`",
        );
        check_refused(&[(INDEX, &index(&[]))], "it names no shard");
        check_refused(
            &[
                ("1.safetensors", &file),
                (INDEX, &index(&[("v", "1.safetensors")])),
            ],
            "tensor \"v\" is not in shard \"1.safetensors\"",
        );
        check_refused(
            &[
                ("1.safetensors", &file),
                ("2.safetensors", &tensor_file(&["w", "v"])),
                (
                    INDEX,
                    &index(&[("w", "1.safetensors"), ("v", "2.safetensors")]),
                ),
            ],
            "tensor \"w\" is both in",
        );
    }
}
