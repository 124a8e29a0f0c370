//! Headscope's own JSON: everything that a [`TaskSet`] holds, so that a round trip is exact.

use serde_json::{Map, Value, json};

use super::super::{Answer, Class, FormatError, Item, Place, Span, TaskSet, Verbaliser};
use super::entry::{Entry, Object};
use super::verbaliser;

const FORMAT: &str = "Headscope task JSON";
const SCHEMA_VERSION: u64 = 1;

/// The set as JSON. Token ids are numbers, text answers strings.
pub fn encode(set: &TaskSet) -> String {
    let mut object = Map::new();
    object.insert("schema_version".into(), json!(SCHEMA_VERSION));
    object.insert("name".into(), json!(set.name));
    if !set.notes.is_empty() {
        object.insert("notes".into(), json!(set.notes));
    }
    object.insert("items".into(), set.items.iter().map(encode_item).collect());
    if let Some(verbaliser) = &set.verbaliser {
        object.insert("verbaliser".into(), encode_verbaliser(verbaliser));
    }
    format!("{:#}\n", Value::Object(object))
}

fn encode_item(item: &Item) -> Value {
    let answer = |answer: &Answer| match answer {
        Answer::Text(text) => json!(text),
        Answer::Id(id) => json!(id),
    };
    let span =
        |span: &Span| json!({"name": span.name, "start": span.bytes.start, "end": span.bytes.end});
    json!({
        "prompt": item.prompt,
        "contrast": item.contrast,
        "answers": item.answers.iter().map(answer).collect::<Vec<_>>(),
        "wrong": item.wrong.iter().map(answer).collect::<Vec<_>>(),
        "spans": item.spans.iter().map(span).collect::<Vec<_>>(),
    })
}

/// A list of classes rather than an object: names may repeat, and the order counts.
fn encode_verbaliser(verbaliser: &Verbaliser) -> Value {
    let word = |(word, weight): &(String, f32)| json!([word, weight]);
    let class = |class: &Class| json!({"name": class.name, "words": class.words.iter().map(word).collect::<Vec<_>>()});
    verbaliser.classes.iter().map(class).collect()
}

pub(super) fn decode(object: &Object) -> Result<TaskSet, FormatError> {
    let top = Entry::top(FORMAT, object);
    let version = top.required("schema_version", "1")?;
    if version.as_u64() != Some(SCHEMA_VERSION) {
        let found: String = version.to_string().chars().take(40).collect();
        return Err(top.error(
            "schema_version",
            found,
            "1; a newer program wrote this file",
        ));
    }
    let list = top.list("items", "a list of items")?;
    super::check_count(FORMAT, list.len())?;
    let items = list
        .iter()
        .enumerate()
        .map(|(i, value)| decode_item(&Entry::at(FORMAT, i, value)?));
    let notes = if top.get("notes").is_some() {
        decode_notes(&top)?
    } else {
        Vec::new()
    };
    Ok(TaskSet {
        name: top.text("name")?.to_owned(),
        items: items.collect::<Result<_, _>>()?,
        verbaliser: top
            .get("verbaliser")
            .map(|value| decode_verbaliser(&top, value))
            .transpose()?,
        notes,
    })
}

fn decode_notes(top: &Entry<'_>) -> Result<Vec<String>, FormatError> {
    let notes = top.list("notes", "a list of text")?;
    let text = |note: &Value| {
        note.as_str()
            .map(str::to_owned)
            .ok_or_else(|| top.error("notes", "no text", "a list of text"))
    };
    notes.iter().map(text).collect()
}

fn decode_item(entry: &Entry<'_>) -> Result<Item, FormatError> {
    let prompt = entry.text("prompt")?;
    let spans = if entry.get("spans").is_some() {
        let list = entry.list("spans", "a list of places")?;
        list.iter()
            .map(|value| decode_span(entry, prompt, value))
            .collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    Ok(Item {
        prompt: prompt.to_owned(),
        contrast: entry.optional_text("contrast")?.map(str::to_owned),
        answers: entry.answers("answers")?,
        wrong: entry.answers("wrong")?,
        spans,
    })
}

/// A place must lie in the prompt, and not begin or end inside a character.
fn decode_span(entry: &Entry<'_>, prompt: &str, value: &Value) -> Result<Span, FormatError> {
    let expected = "places {\"name\", \"start\", \"end\"}, in bytes of the prompt, start ≤ end, on whole characters";
    let bound = |key: &str| {
        value
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|byte| usize::try_from(byte).ok())
    };
    let (Some(name), Some(start), Some(end)) = (
        value.get("name").and_then(Value::as_str),
        bound("start"),
        bound("end"),
    ) else {
        return Err(entry.error("spans", "another shape", expected));
    };
    if prompt.get(start..end).is_none() {
        return Err(entry.error(
            "spans",
            format!("{start} to {end} of {} bytes", prompt.len()),
            expected,
        ));
    }
    Ok(Span {
        name: name.to_owned(),
        bytes: start..end,
    })
}

fn decode_verbaliser(top: &Entry<'_>, value: &Value) -> Result<Verbaliser, FormatError> {
    // Also taken: an object, as in a verbaliser file, for sets that people write by hand.
    if let Value::Object(object) = value {
        return verbaliser::decode(object);
    }
    let list = top.list("verbaliser", "a list of classes {\"name\", \"words\"}")?;
    let class = |(i, value): (usize, &Value)| {
        let mut entry = Entry::at(FORMAT, i, value)?;
        entry.place = Place::Top;
        let words = entry.list("words", "a list of [word, weight]")?;
        let word = |pair: &Value| {
            let found = (
                pair.get(0).and_then(Value::as_str),
                pair.get(1).and_then(verbaliser::weight),
            );
            match found {
                (Some(word), Some(weight)) => Ok((word.to_owned(), weight)),
                _ => Err(entry.error("words", "another shape", "a list of [word, weight]")),
            }
        };
        Ok(Class {
            name: entry.text("name")?.to_owned(),
            words: words.iter().map(word).collect::<Result<_, _>>()?,
        })
    };
    Ok(Verbaliser {
        classes: list
            .iter()
            .enumerate()
            .map(class)
            .collect::<Result<_, _>>()?,
    })
}
