//! Builds the demo model's `tokenizer.json` and turns documents into tokens with their loss weights.
//!
//! The tokenizer is byte-level BPE in the manner of GPT-2 (a leading space belongs to its word), with
//! digits in groups of two. `ignore_merges` makes every word of the vocabulary one token without the
//! hundreds of prefixes that a chain of merges would need; other text is put together from the pieces
//! that a short merge list makes, down to single bytes, so everything encodes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::corpus::{Piece, Role, Task};
use crate::rng::Rng;
use crate::words;

/// Stands at the start of every prompt and, in training, where a document ends.
pub(crate) const BOS: &str = "<|bos|>";

/// Words with an optional leading space, digits two by two, runs of punctuation, white space.
const PATTERN: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Merges learned for text outside the word lists.
const MERGES: usize = 240;

/// The printable stand-in that byte-level BPE uses for each byte (GPT-2's table).
fn byte_characters() -> Vec<char> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 256;
    (0..256)
        .map(|byte| {
            let code = if printable(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap_or('?')
        })
        .collect()
}

fn to_byte_characters(text: &str, table: &[char]) -> String {
    text.bytes().map(|byte| table[usize::from(byte)]).collect()
}

/// Every pre-token the corpus can show: the word lists with and without a space, and the words and
/// punctuation of the templates, found by drawing many samples.
fn vocabulary_words() -> BTreeSet<String> {
    let mut words: BTreeSet<String> = BTreeSet::new();
    for word in words::every_word() {
        words.insert(format!(" {word}"));
        words.insert(word);
    }
    let mut rng = Rng::new(0, 0);
    for task in Task::ALL.into_iter().filter(|&task| task != Task::Repeats) {
        for _ in 0..2000 {
            let text = task.draw(&mut rng).text();
            let mut word = String::new();
            // What the pattern above does, for the plain English of the templates.
            for character in text.chars() {
                let starts = match word.chars().last() {
                    None | Some(' ') => false,
                    Some(last) => {
                        character == ' '
                            || last.is_alphabetic() != character.is_alphabetic()
                            || last.is_numeric() != character.is_numeric()
                    }
                };
                if starts {
                    words.insert(std::mem::take(&mut word));
                }
                word.push(character);
            }
            words.insert(word);
        }
    }
    // Years are runs of four digits here; the numbers are in the word lists already.
    words.retain(|word| !word.trim().chars().all(|c| c.is_ascii_digit()) || word.trim().len() <= 2);
    words
}

/// Learns BPE merges from a list of words: again and again the most frequent pair, ties by text.
fn learn_merges(words: &BTreeSet<String>, table: &[char]) -> Vec<(String, String)> {
    let mut split: Vec<Vec<String>> = words
        .iter()
        .map(|word| {
            to_byte_characters(word, table)
                .chars()
                .map(String::from)
                .collect()
        })
        .collect();
    let mut merges = Vec::new();
    while merges.len() < MERGES {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for word in &split {
            for pair in word.windows(2) {
                *counts
                    .entry((pair[0].clone(), pair[1].clone()))
                    .or_default() += 1;
            }
        }
        let Some((pair, _)) = counts.into_iter().rev().max_by_key(|(_, count)| *count) else {
            break;
        };
        for word in &mut split {
            let mut at = 0;
            while at + 1 < word.len() {
                if word[at] == pair.0 && word[at + 1] == pair.1 {
                    let right = word.remove(at + 1);
                    word[at].push_str(&right);
                }
                at += 1;
            }
        }
        merges.push(pair);
    }
    merges
}

/// The whole `tokenizer.json`.
pub(crate) fn build() -> Value {
    let table = byte_characters();
    let words = vocabulary_words();
    // Digits are never merged: the pattern hands them over as words of the vocabulary.
    let spelled: BTreeSet<String> = words
        .iter()
        .filter(|word| !word.chars().any(|c| c.is_ascii_digit()))
        .cloned()
        .collect();
    let merges = learn_merges(&spelled, &table);

    let mut entries: Vec<String> = vec![BOS.to_string()];
    entries.extend(table.iter().map(ToString::to_string));
    entries.extend(merges.iter().map(|(left, right)| format!("{left}{right}")));
    entries.extend(words.iter().map(|word| to_byte_characters(word, &table)));
    let mut vocabulary = serde_json::Map::new();
    for entry in entries {
        let id = vocabulary.len();
        // A word may be a byte or a merge already; it keeps its first number.
        vocabulary.entry(entry).or_insert(json!(id));
    }
    let merges: Vec<Value> = merges
        .into_iter()
        .map(|(left, right)| json!([left, right]))
        .collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [{
            "id": 0, "content": BOS, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }],
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": PATTERN }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false }
        ]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [ { "SpecialToken": { "id": BOS, "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } } ],
            "pair": [
                { "SpecialToken": { "id": BOS, "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 0 } }
            ],
            "special_tokens": { BOS: { "id": BOS, "ids": [0], "tokens": [BOS] } }
        },
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": true,
            "vocab": vocabulary, "merges": merges
        }
    })
}

/// The tokenizer with what the trainer and the evaluation ask of it.
pub(crate) struct Codec(Tokenizer);

impl Codec {
    pub(crate) fn from_json(text: &str) -> Result<Self> {
        text.parse::<Tokenizer>()
            .map(Self)
            .map_err(|error| anyhow!("{error}"))
            .context("reading tokenizer.json")
    }

    pub(crate) fn built() -> Result<Self> {
        Self::from_json(&build().to_string())
    }

    pub(crate) fn vocabulary_size(&self) -> usize {
        self.0.get_vocab_size(true)
    }

    /// A prompt as the model gets it, BOS first.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .0
            .encode(text, true)
            .map_err(|error| anyhow!("{error}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of tokens, special ones left out.
    #[cfg(test)]
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String> {
        self.0.decode(ids, true).map_err(|error| anyhow!("{error}"))
    }

    /// The one token that an answer is, without a BOS before it.
    pub(crate) fn single(&self, text: &str) -> Result<u32> {
        let encoding = self
            .0
            .encode(text, false)
            .map_err(|error| anyhow!("{error}"))?;
        match encoding.get_ids() {
            [id] => Ok(*id),
            ids => Err(anyhow!("{text:?} is {} tokens, not one", ids.len())),
        }
    }

    /// A document as tokens, BOS first, each with the role of the piece it ends in.
    pub(crate) fn encode_document(&self, pieces: &[Piece]) -> Result<(Vec<u32>, Vec<Role>)> {
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let encoding = self
            .0
            .encode(text, false)
            .map_err(|error| anyhow!("{error}"))?;
        let mut ids = vec![0];
        let mut roles = vec![Role::Plain];
        let mut piece = 0;
        let mut piece_end = pieces.first().map_or(0, |piece| piece.text.len());
        for (&id, &(_, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            while end > piece_end && piece + 1 < pieces.len() {
                piece += 1;
                piece_end += pieces[piece].text.len();
            }
            ids.push(id);
            roles.push(pieces.get(piece).map_or(Role::Plain, |piece| piece.role));
        }
        Ok((ids, roles))
    }
}
