//! Every parser of files and texts from outside, called as the program calls it, with what must hold whatever the bytes
//! are: a whole result, or an error that names the file and says what is wrong. The tests in `tests/bad_input` and the
//! targets in `fuzz` call these.
#![allow(dead_code, reason = "each fuzz target uses one")]

use std::path::Path;

use headscope::edit::Edit;
use headscope::model::checkpoint::{Checkpoint, CheckpointError, ShardIndex};
use headscope::model::families::Family;
use headscope::model::spec::ModelSpec;
use headscope::model::tokenizer::{BosRule, Tokenizer};
use headscope::session::file;
use headscope::verify::Reference;

/// What stands for the file's path.
const FILE: &str = "hostile.file";

/// Refused, with this message.
pub(crate) type Parsed = Result<(), String>;

pub(crate) fn safetensors(bytes: &[u8]) -> Parsed {
    let checkpoint =
        Checkpoint::from_safetensors_bytes(FILE, bytes.to_vec(), None).map_err(|e| named(&e))?;
    check_tensors(&checkpoint, bytes.len());
    Ok(())
}

pub(crate) fn gguf(bytes: &[u8]) -> Parsed {
    let checkpoint = Checkpoint::from_gguf_bytes(FILE, bytes.to_vec()).map_err(|e| named(&e))?;
    check_tensors(&checkpoint, bytes.len());
    let metadata = checkpoint.gguf_metadata().expect("a GGUF has metadata");
    // A sound file need not be a model.
    let family = Family::of_gguf(metadata);
    match family.and_then(|family| family.spec_from_gguf(metadata, &checkpoint)) {
        Ok(spec) => check_spec(&spec),
        Err(error) => drop(said(&error.to_string())),
    }
    Ok(())
}

pub(crate) fn index(bytes: &[u8]) -> Parsed {
    let index = ShardIndex::from_bytes(Path::new(FILE), bytes).map_err(|e| named(&e))?;
    assert!(!index.shards().is_empty());
    for shard in index.shards() {
        let path = Path::new("/folder").join(shard);
        assert_eq!(path.parent(), Some(Path::new("/folder")), "{shard:?}");
        assert!(index.tensors().any(|(_, of)| of == shard));
    }
    Ok(())
}

pub(crate) fn config(bytes: &[u8]) -> Parsed {
    let config = Checkpoint::config_from_bytes(Path::new(FILE), bytes).map_err(|e| named(&e))?;
    // Some configs leave it to the checkpoint's tensors what the model has.
    let spec = |has_tensors: bool| {
        let family = Family::of_config(&config)?;
        family.spec_from_config(&config, &|_| has_tensors)
    };
    let (with, without) = (spec(true), spec(false));
    for spec in [&with, &without].into_iter().flatten() {
        check_spec(spec);
    }
    without.map_err(|error| said(&error.to_string()))?;
    Ok(())
}

pub(crate) fn tokenizer_json(bytes: &[u8]) -> Parsed {
    let tokenizer = Tokenizer::from_json_bytes(bytes, None, None).map_err(|error| {
        let message = error.to_string();
        assert!(
            message.starts_with("tokenizer.json is damaged: "),
            "{message}"
        );
        message
    })?;
    check_tokenizer(&tokenizer);
    Ok(())
}

/// The files of an older folder's tokenizer, one after the other: a form feed, a name, a line's end, a text.
pub(crate) fn tokenizer_parts(bytes: &[u8]) -> Parsed {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let files: Vec<_> = text
        .split('\u{c}')
        .filter_map(|file| file.split_once('\n'))
        .collect();
    let tokenizer =
        Tokenizer::from_texts(&files, None).map_err(|error| said(&error.to_string()))?;
    let tokenizer = tokenizer.ok_or("there is no vocabulary")?;
    check_tokenizer(&tokenizer);
    Ok(())
}

/// The tokenizer that a GGUF carries.
pub(crate) fn gguf_tokenizer(bytes: &[u8]) -> Parsed {
    let checkpoint = Checkpoint::from_gguf_bytes(FILE, bytes.to_vec()).map_err(|e| named(&e))?;
    let metadata = checkpoint.gguf_metadata().expect("a GGUF has metadata");
    let tokenizer = Tokenizer::from_gguf(metadata).map_err(|error| {
        let message = error.to_string();
        assert!(message.contains("the GGUF's tokenizer"), "{message}");
        message
    })?;
    check_tokenizer(&tokenizer);
    Ok(())
}

pub(crate) fn session(bytes: &[u8]) -> Parsed {
    // Reading a file as text refuses these already.
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let folder = Some(Path::new("/folder"));
    let saved = file::decode(text, folder).map_err(|problem| said(&problem.to_string()))?;
    // What opens can be saved, and then opens as the same.
    let written = file::encode(&saved, None, folder).expect("what opened can be saved");
    let again = file::decode(&written, folder).expect("what was saved opens");
    assert_eq!(
        file::encode(&again, None, folder).expect("and again"),
        written
    );
    Ok(())
}

pub(crate) fn reference(bytes: &[u8]) -> Parsed {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let reference = Reference::decode(text).map_err(|problem| said(&problem.to_string()))?;
    let mut values = reference.cases.iter().flat_map(|case| &case.values);
    assert!(values.all(|value| value.value.is_finite() && value.tolerance >= 0.0));
    assert!(reference.cases.iter().all(|case| !case.ids.is_empty()));
    Ok(())
}

pub(crate) fn edit(bytes: &[u8]) -> Parsed {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let edit: Edit = text
        .parse()
        .map_err(|error: headscope::edit::ParseEditError| {
            let message = error.to_string();
            assert!(
                message.starts_with(&format!("edit `{text}`: ")),
                "{message}"
            );
            message
        })?;
    let written = edit.to_string();
    assert_eq!(written.parse(), Ok(edit), "{written}");
    Ok(())
}

fn named(error: &CheckpointError) -> String {
    let message = said(&error.to_string());
    assert!(message.contains(FILE), "{message} does not name the file");
    message
}

fn said(message: &str) -> String {
    assert!(message.len() > 10, "{message:?} says nothing");
    message.to_owned()
}

/// Each tensor lies in the file, overlaps no other, and has as many values as its shape says.
fn check_tensors(checkpoint: &Checkpoint, n_bytes: usize) {
    let mut places = Vec::new();
    for info in checkpoint.tensors() {
        let stored = checkpoint.stored_bytes(&info.name).expect("listed");
        if !stored.is_empty() {
            places.push((stored.as_ptr() as usize, stored.len()));
        }
        match checkpoint.read_f32(&info.name) {
            Ok(values) => assert_eq!(values.len(), info.n_elements(), "{info:?}"),
            Err(error) => assert!(named(&error).contains(&format!("{:?}", info.name))),
        }
    }
    places.sort_unstable();
    for pair in places.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "tensors overlap");
    }
    assert!(checkpoint.stored_len() <= n_bytes as u64);
}

/// Sizes that fit together and whose products have no surprises.
fn check_spec(spec: &ModelSpec) {
    for size in [
        spec.n_layers,
        spec.n_heads,
        spec.n_kv_heads,
        spec.d_model,
        spec.d_head,
        spec.d_mlp,
        spec.n_vocab,
        spec.n_ctx,
    ] {
        assert!((1..=1 << 27).contains(&size), "{spec:?}");
    }
    assert!(spec.n_heads.is_multiple_of(spec.n_kv_heads), "{spec:?}");
    assert_eq!(spec.masks.len(), spec.n_layers);
}

/// Texts are encoded or refused, twice in the same way, into tokens that are there.
fn check_tokenizer(tokenizer: &Tokenizer) {
    for text in ["", "a", " the cat <s>é🙂", "12 a\u{301}\n\t##b ▁"] {
        for bos in [BosRule::Never, BosRule::Auto, BosRule::Always] {
            let (once, twice) = (tokenizer.encode(text, bos), tokenizer.encode(text, bos));
            let ids = match (once, twice) {
                (Ok(ids), Ok(again)) => {
                    assert_eq!(ids, again, "not the same twice");
                    ids
                }
                (Err(error), Err(_)) => {
                    said(&error.to_string());
                    continue;
                }
                (once, twice) => panic!("{once:?} and then {twice:?}"),
            };
            assert_eq!(tokenizer.pieces(&ids).len(), ids.len());
            if bos == BosRule::Never {
                assert!(
                    ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()),
                    "{ids:?}"
                );
            }
            if let Err(error) = tokenizer.answer_id(text, &ids, " b", bos) {
                said(&error.to_string());
            }
            if bos == BosRule::Auto && !ids.is_empty() {
                let answer = tokenizer.answer_in_place(text, &ids, ids.len() / 2, "b");
                if let Err(error) = answer {
                    said(&error.to_string());
                }
            }
        }
    }
    for id in [0, 1, tokenizer.vocab_size() as u32, u32::MAX] {
        let _ = (tokenizer.next_piece(id), tokenizer.is_special(id));
    }
}
