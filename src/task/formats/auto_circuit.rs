//! JSON of UFO-101/auto-circuit: `{"prompts": [{"clean", "corrupt", "answers", "wrong_answers"}], "word_idxs": {…}}`.

use std::ops::Range;

use super::super::{FormatError, Item, Span, TaskSet};
use super::entry::{Entry, Object};

const FORMAT: &str = "auto-circuit JSON";

pub(super) fn decode(object: &Object, name: &str) -> Result<TaskSet, FormatError> {
    let top = Entry::top(FORMAT, object);
    let prompts = top.list("prompts", "a list of prompts")?;
    super::check_count(FORMAT, prompts.len())?;
    let places = word_indices(object);
    let items = prompts
        .iter()
        .enumerate()
        .map(|(i, value)| {
            let entry = Entry::at(FORMAT, i, value)?;
            let prompt = prompt(&entry, "clean")?;
            Ok(Item {
                prompt: prompt.to_owned(),
                contrast: Some(self::prompt(&entry, "corrupt")?.to_owned()),
                answers: entry.some_answers("answers")?,
                wrong: entry.answers("wrong_answers")?,
                spans: spans(prompt, &places),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(super::set(name, items))
}

/// Prompts may also be lists of token ids there, for models without a tokenizer.
fn prompt<'a>(entry: &Entry<'a>, key: &str) -> Result<&'a str, FormatError> {
    match entry.get(key) {
        Some(value) if value.is_array() => Err(entry.error(
            key,
            "a list",
            "the prompt as text (prompts given as token ids are not read)",
        )),
        _ => entry.filled_text(key),
    }
}

/// More places, or longer names, are no hand-made positions; each prompt holds a copy of them.
const MAX_PLACES: usize = 64;

/// `word_idxs`: names with token positions. What is no position is left out, as the key is for figures only.
fn word_indices(object: &Object) -> Vec<(String, usize)> {
    let places = object.get("word_idxs").and_then(|value| value.as_object());
    let index = |value: &serde_json::Value| value.as_u64().and_then(|i| usize::try_from(i).ok());
    places
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.len() <= MAX_PLACES)
        .take(MAX_PLACES)
        .filter_map(|(name, value)| Some((name.clone(), index(value)?)))
        .collect()
}

/// The named places of a prompt. The positions count tokens, with or without a first BOS: they are taken as words
/// and punctuation only where the position named `end` agrees, and left out elsewhere.
fn spans(prompt: &str, places: &[(String, usize)]) -> Vec<Span> {
    let pieces = pieces(prompt);
    let Some((_, end)) = places
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("end"))
    else {
        return Vec::new();
    };
    let first = if *end == pieces.len() {
        1
    } else if *end + 1 == pieces.len() {
        0
    } else {
        return Vec::new();
    };
    let bytes = |index: &usize| pieces.get(index.checked_sub(first)?).cloned();
    places
        .iter()
        .filter_map(|(name, index)| {
            Some(Span {
                name: name.clone(),
                bytes: bytes(index)?,
            })
        })
        .collect()
}

/// Runs of letters and digits, and single other characters; white space only separates.
fn pieces(text: &str) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        let is_word = c.is_alphanumeric();
        match pieces.last_mut() {
            Some(last) if is_word && in_word => last.end = end,
            _ if !c.is_whitespace() => pieces.push(at..end),
            _ => {}
        }
        in_word = is_word;
    }
    pieces
}
