//! Which files of a repository make the model: the weights in the one form that is read, and what describes them.

use super::super::REFERENCE_FILE;
use super::error::HubError;
use super::id::{HubId, is_inside};
use crate::model::checkpoint::{INDEX, SINGLE, convert_command, is_pickle};

/// What to fetch of a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) weights: Weights,
    /// Small files beside the weights.
    pub(super) beside: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Weights {
    Single,
    /// Shards, which the index names.
    Index,
    /// A file, with the folders it lies in.
    Gguf(String),
}

/// `names` are all files of the repository.
pub(super) fn choose(names: &[String], id: &HubId) -> Result<Chosen, HubError> {
    let has = |name: &str| names.iter().any(|known| known == name);
    let weights = match &id.file {
        Some(file) if has(file) => Weights::Gguf(file.clone()),
        Some(file) => {
            return Err(HubError::NoSuchFile {
                repo: id.repo.clone(),
                file: file.clone(),
                known: listed(&ggufs(names)),
            });
        }
        None if has(SINGLE) => Weights::Single,
        None if has(INDEX) => Weights::Index,
        None => Weights::Gguf(only_gguf(names, id)?),
    };
    let beside = match &weights {
        // A tokenizer.json beside a GGUF is taken before the GGUF's own.
        Weights::Gguf(file) => {
            let folder = file.rfind('/').map_or("", |at| &file[..=at]);
            [
                "tokenizer.json",
                "tokenizer_config.json",
                "chat_template.jinja",
            ]
            .map(|name| format!("{folder}{name}"))
            .to_vec()
        }
        Weights::Single | Weights::Index => {
            let mut beside = vec![
                "config.json",
                "generation_config.json",
                "tokenizer_config.json",
                "chat_template.jinja",
                REFERENCE_FILE,
            ];
            if has("tokenizer.json") {
                beside.push("tokenizer.json");
            } else {
                beside.extend([
                    "vocab.json",
                    "merges.txt",
                    "vocab.txt",
                    "special_tokens_map.json",
                    "added_tokens.json",
                ]);
            }
            beside.into_iter().map(str::to_owned).collect()
        }
    };
    Ok(Chosen {
        weights,
        beside: beside.into_iter().filter(|name| has(name)).collect(),
    })
}

fn ggufs(names: &[String]) -> Vec<&str> {
    let is_gguf = |name: &&str| name.to_ascii_lowercase().ends_with(".gguf") && is_inside(name);
    names.iter().map(String::as_str).filter(is_gguf).collect()
}

/// The `.gguf` of a repository without safetensors.
fn only_gguf(names: &[String], id: &HubId) -> Result<String, HubError> {
    let repo = id.repo.clone();
    match ggufs(names)[..] {
        [one] => Ok(one.to_owned()),
        [] => Err(match names.iter().find(|name| is_pickle(name)) {
            Some(file) => HubError::Pickle {
                command: convert_command(&repo),
                repo,
                file: file.clone(),
            },
            None => HubError::NoModel {
                repo,
                found: listed(&names.iter().map(String::as_str).collect::<Vec<_>>()),
            },
        }),
        ref files => Err(several(files, id)),
    }
}

/// Of several files one has to be named.
pub(super) fn several(files: &[impl AsRef<str>], id: &HubId) -> HubError {
    let named = |file: &str| HubId {
        file: Some(file.to_owned()),
        ..id.clone()
    };
    HubError::SeveralGguf {
        repo: id.repo.clone(),
        ids: files
            .iter()
            .map(|file| named(file.as_ref()).to_string())
            .collect(),
    }
}

/// The first few, and how many more.
fn listed(names: &[&str]) -> String {
    match names.len() {
        0 => "none".to_owned(),
        n if n > 12 => format!("{} and {} more", names[..12].join(", "), n - 12),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], id: &str) -> Result<Chosen, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        choose(&names, &HubId::parse(id).unwrap()).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(names: &[&str], id: &str, weights: Weights, beside: &[&str]) {
        let beside = beside.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(chosen(names, id), Ok(Chosen { weights, beside }));
    }

    #[track_caller]
    fn check_refused(names: &[&str], id: &str, parts: &[&str]) {
        let error = chosen(names, id).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
    }

    #[test]
    fn safetensors_come_first_and_only_what_is_read_is_fetched() {
        let names = [
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "merges.txt",
            "model.safetensors",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.json",
        ];
        let beside = ["config.json", "tokenizer_config.json", "tokenizer.json"];
        check(&names, "a/b", Weights::Single, &beside);
        let old = [
            "config.json",
            "merges.txt",
            INDEX,
            "special_tokens_map.json",
            "vocab.json",
            "x.gguf",
        ];
        let beside = [
            "config.json",
            "vocab.json",
            "merges.txt",
            "special_tokens_map.json",
        ];
        check(&old, "a/b", Weights::Index, &beside);
    }

    #[test]
    fn one_gguf_is_the_model_and_of_several_one_must_be_named() {
        let names = [
            "q/x.gguf",
            "q/tokenizer.json",
            "tokenizer.json",
            "config.json",
        ];
        let gguf = || Weights::Gguf("q/x.gguf".into());
        check(&names, "a/b", gguf(), &["q/tokenizer.json"]);
        check(&names, "a/b/q/x.gguf", gguf(), &["q/tokenizer.json"]);
        check_refused(
            &["x.gguf", "y.gguf"],
            "a/b@v1",
            &["several .gguf", "a/b/x.gguf@v1, a/b/y.gguf@v1"],
        );
        check_refused(
            &["x.gguf", "y.gguf"],
            "a/b/z.gguf",
            &["no file `z.gguf`", "x.gguf, y.gguf"],
        );
        check_refused(&["../x.gguf"], "a/b", &["holds no model"]);
    }

    #[test]
    fn pickles_are_refused_with_the_command_that_converts_them() {
        check_refused(
            &["config.json", "pytorch_model.bin"],
            "a/b",
            &["pytorch_model.bin", "python -c", "'a/b'", "NEW_FOLDER"],
        );
        check_refused(
            &["README.md"],
            "a/b",
            &["holds no model", "it has README.md"],
        );
    }
}
