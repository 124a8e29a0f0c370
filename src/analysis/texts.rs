//! Texts that scores are taken on: seeded random repeats, and plain prose.

use std::path::{Path, PathBuf};

use rand::seq::index::sample;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::model::Model;
use crate::model::tokenizer::Tokenizer;
use crate::prompt::BosRule;

/// Random tokens, repeated, with a beginning-of-text token in front where the model has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeats {
    pub ids: Vec<u32>,
    /// Tokens before the first repeat: 1, or 0.
    pub front: usize,
    /// Tokens of one round.
    pub length: usize,
}

/// The share of ids at either end of the vocabulary that prefix matching leaves out: in byte-pair vocabularies ids rise as
/// tokens get rarer, and no frequencies are known.
const EDGE: f64 = 0.04;

/// Prose of ours, in which words, names and phrases come back, as they do in texts.
pub const PROSE: &str = "When the rain stopped, Anna walked down to the harbour to look for her brother. The harbour was \
quiet, and the boats lay close together in the grey water. She asked the old man at the gate whether he had seen her \
brother, but the old man had not seen him since Monday. On Monday, he said, her brother had asked him about the boats, \
and then he had walked back to the town. Anna thanked the old man and walked back to the town too.";

impl Repeats {
    /// `rounds` times the same `length` random tokens that are not special.
    pub fn draw(model: &Model, length: usize, rounds: usize, seed: u64) -> Self {
        Self::among(model, 0.0, length, rounds, seed)
    }

    /// As [`Self::draw`], without the ids at either end of the vocabulary.
    pub fn of_middling_tokens(model: &Model, length: usize, rounds: usize, seed: u64) -> Self {
        Self::among(model, EDGE, length, rounds, seed)
    }

    fn among(model: &Model, edge: f64, length: usize, rounds: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n_vocab = model.spec.n_vocab;
        let cut = (n_vocab as f64 * edge) as usize;
        let special = |id: u32| model.tokenizer.as_ref().is_some_and(|t| t.is_special(id));
        let choices: Vec<u32> = (cut as u32..(n_vocab - cut) as u32)
            .filter(|id| !special(*id) && Some(*id) != model.spec.bos_id)
            .collect();
        let round: Vec<u32> = if choices.len() >= length {
            // All different, so that each token has one earlier occurrence.
            let chosen = sample(&mut rng, choices.len(), length);
            chosen.into_iter().map(|i| choices[i]).collect()
        } else {
            (0..length)
                .map(|_| rng.random_range(0..n_vocab as u32))
                .collect()
        };
        let bos = model.bos_id();
        let mut ids: Vec<u32> = bos.into_iter().collect();
        ids.extend(round.repeat(rounds));
        Self {
            ids,
            front: usize::from(bos.is_some()),
            length,
        }
    }
}

/// The longest round that fits `rounds` times into the context, and at most `most`.
pub fn round_length(model: &Model, rounds: usize, most: usize) -> usize {
    most.min(model.spec.n_ctx.saturating_sub(1) / rounds).max(1)
}

/// Tokens of [`PROSE`], as many as the context has room for; `None` without a tokenizer.
pub fn prose(model: &Model) -> Option<Vec<u32>> {
    let tokenizer: &Tokenizer = model.tokenizer.as_ref()?;
    let mut ids = tokenizer.encode(PROSE, BosRule::Auto).ok()?;
    ids.truncate(model.spec.n_ctx);
    (ids.len() > 1).then_some(ids)
}

/// A list of texts is not larger.
const MOST_BYTES: u64 = 64 << 20;

/// Why a list of texts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TextsError {
    #[error("cannot read the texts: {source}: {path}", path = path.display())]
    Io {
        source: std::io::Error,
        path: PathBuf,
    },
    #[error("the texts take more than 64 MiB: split them: {path}", path = path.display())]
    TooLarge { path: PathBuf },
    #[error("line {line} is no JSON with a \"text\": {path}", path = path.display())]
    NoText { line: usize, path: PathBuf },
    #[error("there is no text in {path}", path = path.display())]
    Empty { path: PathBuf },
}

/// The texts of a file, one a line; of `.jsonl` the value of `"text"`, with its `"domain"` and a tab before it
/// where there is one. Empty lines are left out.
pub fn read(path: &Path) -> Result<Vec<String>, TextsError> {
    let io = |source| TextsError::Io {
        source,
        path: path.to_owned(),
    };
    if std::fs::metadata(path).map_err(io)?.len() > MOST_BYTES {
        return Err(TextsError::TooLarge {
            path: path.to_owned(),
        });
    }
    let all = std::fs::read_to_string(path).map_err(io)?;
    let is_json = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("jsonl"));
    let mut texts = Vec::new();
    for (i, line) in all.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        if !is_json {
            texts.push(line.to_owned());
            continue;
        }
        let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let of = |key: &str| value.as_ref().and_then(|value| value.get(key)?.as_str());
        let text = of("text").ok_or_else(|| TextsError::NoText {
            line: i + 1,
            path: path.to_owned(),
        })?;
        texts.push(match of("domain") {
            Some(domain) => format!("{domain}\t{text}"),
            None => text.to_owned(),
        });
    }
    if texts.is_empty() {
        return Err(TextsError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    #[test]
    fn repeats_are_the_same_random_tokens_again() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let repeats = Repeats::draw(&model, 20, 3, 5);
        assert_eq!(repeats, Repeats::draw(&model, 20, 3, 5));
        assert_ne!(repeats, Repeats::draw(&model, 20, 3, 6));
        assert_eq!((repeats.front, repeats.ids.len()), (1, 61));
        let round = &repeats.ids[1..21];
        assert_eq!((round, round), (&repeats.ids[21..41], &repeats.ids[41..]));
        let mut different = round.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 20, "each token has one earlier occurrence");
        let middling = Repeats::of_middling_tokens(&model, 20, 2, 5);
        let edge = (model.spec.n_vocab as f64 * EDGE) as u32;
        let inside = edge..model.spec.n_vocab as u32 - edge;
        assert!(middling.ids[1..].iter().all(|id| inside.contains(id)));
        assert_eq!(round_length(&model, 2, usize::MAX), 63);
        assert_eq!(round_length(&model, 2, 50), 50);
    }

    #[test]
    fn texts_are_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        assert_eq!(
            read(&write("a.txt", "one\n\n two\n")).unwrap(),
            ["one", " two"]
        );
        let lines = "{\"text\": \"one\", \"domain\": \"code\"}\n{\"text\": \"two\"}\n";
        assert_eq!(
            read(&write("b.jsonl", lines)).unwrap(),
            ["code\tone", "two"]
        );
        let jsonl = write("a.jsonl", "{\"text\": \"one\"}\n{\"text\": 2}\n");
        let error = read(&jsonl).unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("a.jsonl"),
            "{error}"
        );
        assert!(matches!(
            read(&write("b.txt", "\n")),
            Err(TextsError::Empty { .. })
        ));
        assert!(matches!(
            read(Path::new("/none")),
            Err(TextsError::Io { .. })
        ));
    }
}
