//! Verbaliser files: JSON `{class: {word: weight}}`, `{class: [words]}` or `{class: word}`, and the lines of
//! zhiwenyou103/SciPrompt: one class a line, words separated by commas, the first naming the class.

use std::collections::HashSet;

use serde_json::Value;

use super::super::{Class, FormatError, MAX_ITEMS, Place, Verbaliser};
use super::entry::{Object, kind};

const JSON: &str = "verbaliser JSON";
const LINES: &str = "SciPrompt word lines";
const EXPECTED: &str = "a word, a list of words, or an object of words with weights";

/// True if every value could be the words of a class.
pub(super) fn looks_like(object: &Object) -> bool {
    object.contains_key(LABELS)
        || !object.is_empty()
            && object.values().all(|value| match value {
                Value::String(_) => true,
                Value::Array(words) => !words.is_empty() && words.iter().all(Value::is_string),
                Value::Object(words) => !words.is_empty() && words.values().all(Value::is_number),
                _ => false,
            })
}

/// SciPrompt's label mappings hold the classes under this key.
const LABELS: &str = "label_name_mapping";

pub(super) fn decode(object: &Object) -> Result<Verbaliser, FormatError> {
    let object = object
        .get(LABELS)
        .and_then(Value::as_object)
        .unwrap_or(object);
    if object.is_empty() {
        return Err(FormatError::Empty { format: JSON });
    }
    let classes = object.iter().map(|(name, words)| {
        Ok(Class {
            name: name.clone(),
            words: class_words(name, words)?,
        })
    });
    let classes: Vec<Class> = classes.collect::<Result<_, _>>()?;
    check(JSON, &classes)?;
    Ok(Verbaliser { classes })
}

fn class_words(class: &str, value: &Value) -> Result<Vec<(String, f32)>, FormatError> {
    let fail = |found: String| FormatError::Key {
        format: JSON,
        place: Place::Top,
        key: class.chars().take(40).collect(),
        found,
        expected: EXPECTED.into(),
    };
    let words: Vec<(&str, f32)> = match value {
        Value::String(word) => vec![(word, 1.0)],
        Value::Array(list) => {
            let word = |value: &Value| Some((value.as_str()?.to_owned(), 1.0));
            let words: Option<Vec<_>> = list.iter().map(word).collect();
            return unique(
                words.ok_or_else(|| fail("a list with other things than words".into()))?,
            )
            .ok_or_else(|| fail("no words".into()));
        }
        Value::Object(words) => words
            .iter()
            .map(|(word, value)| {
                weight(value)
                    .map(|weight| (word.as_str(), weight))
                    .ok_or_else(|| fail(format!("the weight {}", kind(value))))
            })
            .collect::<Result<_, _>>()?,
        other => return Err(fail(kind(other).into())),
    };
    unique(
        words
            .into_iter()
            .map(|(word, weight)| (word.to_owned(), weight))
            .collect(),
    )
    .ok_or_else(|| fail("no words".into()))
}

/// A weight: a number that is finite also as f32.
pub(super) fn weight(value: &Value) -> Option<f32> {
    value
        .as_f64()
        .map(|weight| weight as f32)
        .filter(|weight| weight.is_finite())
}

/// Words trimmed, empty ones left out; a repeated word keeps its first weight. None without words.
fn unique(words: Vec<(String, f32)>) -> Option<Vec<(String, f32)>> {
    let mut seen = HashSet::new();
    let words = words
        .into_iter()
        .map(|(word, weight)| (word.trim().to_owned(), weight));
    let words: Vec<_> = words
        .filter(|(word, _)| !word.is_empty() && seen.insert(word.clone()))
        .collect();
    (!words.is_empty()).then_some(words)
}

/// Reads SciPrompt's words and, in the same shape, their scores; words without scores weigh 1.
pub(super) fn decode_lines(words: &str, scores: Option<&str>) -> Result<Verbaliser, FormatError> {
    let lines = filled_lines(words);
    let score_lines = scores.map(filled_lines);
    if let Some(scores) = &score_lines
        && scores.len() != lines.len()
    {
        return Err(FormatError::Table {
            format: LINES,
            place: Place::Top,
            problem: format!(
                "{} lines of scores for {} lines of words",
                scores.len(),
                lines.len()
            ),
        });
    }
    let mut classes = Vec::with_capacity(lines.len());
    for (i, (line, words)) in lines.iter().enumerate() {
        let words: Vec<&str> = words.split(',').map(str::trim).collect();
        let weights = match &score_lines {
            None => vec![1.0; words.len()],
            Some(scores) => line_scores(&scores[i], words.len())?,
        };
        let place = Place::Line(*line);
        let pairs = words
            .iter()
            .map(|word| (*word).to_owned())
            .zip(weights)
            .collect();
        let words = unique(pairs).ok_or_else(|| FormatError::Table {
            format: LINES,
            place,
            problem: "no words".into(),
        })?;
        classes.push(Class {
            name: words[0].0.clone(),
            words,
        });
    }
    check(LINES, &classes)?;
    Ok(Verbaliser { classes })
}

/// Lines that hold something, with their numbers.
fn filled_lines(text: &str) -> Vec<(u64, &str)> {
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
        .collect()
}

fn line_scores((line, scores): &(u64, &str), words: usize) -> Result<Vec<f32>, FormatError> {
    let fail = |problem| FormatError::Table {
        format: LINES,
        place: Place::Line(*line),
        problem,
    };
    let read = |score: &str| {
        score
            .trim()
            .parse()
            .ok()
            .filter(|score: &f32| score.is_finite())
    };
    let scores: Option<Vec<f32>> = scores.split(',').map(read).collect();
    let scores = scores.ok_or_else(|| fail("a score that is no finite number".to_owned()))?;
    if scores.len() != words {
        return Err(fail(format!("{} scores for {words} words", scores.len())));
    }
    Ok(scores)
}

fn check(format: &'static str, classes: &[Class]) -> Result<(), FormatError> {
    match classes.len() {
        0 => Err(FormatError::Empty { format }),
        1..=MAX_ITEMS => Ok(()),
        count => Err(FormatError::TooMany { format, count }),
    }
}
