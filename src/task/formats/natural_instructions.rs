//! JSON of allenai/natural-instructions: `{"Definition", "Positive Examples", "Instances": [{"input", "output"}]}`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::super::{Answer, Draw, FormatError, Item, Span, TaskSet};
use super::entry::{Entry, Object, kind};

const FORMAT: &str = "Natural-Instructions JSON";
/// With at most so many different outputs the task is a choice, and the other outputs are wrong answers.
const MAX_LABELS: usize = 20;
/// Longer outputs are texts, not labels.
const MAX_LABEL_BYTES: usize = 100;

pub(super) fn decode(object: &Object, name: &str, options: &Draw) -> Result<TaskSet, FormatError> {
    let top = Entry::top(FORMAT, object);
    let instances = top.list("Instances", "a list of instances")?;
    super::check_count(FORMAT, instances.len())?;
    let (head, shots) = head(&top, options.shots)?;
    super::check_bytes(FORMAT, head.len().saturating_mul(instances.len()))?;
    let mut items = Vec::with_capacity(instances.len());
    for (i, value) in instances.iter().enumerate() {
        let entry = Entry::at(FORMAT, i, value)?;
        let input = entry.filled_text("input")?.trim();
        let answers = outputs(&entry)?
            .into_iter()
            .map(|output| Answer::Text(super::after_space(output)));
        let start = head.len() + "Input: ".len();
        items.push(Item {
            prompt: format!("{head}Input: {input}\nOutput:"),
            contrast: None,
            answers: answers.collect(),
            wrong: Vec::new(),
            spans: vec![Span {
                name: "input".into(),
                bytes: start..start + input.len(),
            }],
        });
    }
    add_wrong(&mut items);
    let mut set = super::set(name, items);
    if shots < options.shots {
        set.notes.push(format!(
            "{} solved examples were asked for; the file has {shots}",
            options.shots
        ));
    }
    Ok(set)
}

/// The definition and the first positive examples, and how many of these there were.
fn head(top: &Entry<'_>, shots: usize) -> Result<(String, usize), FormatError> {
    let definition = match top.get("Definition") {
        Some(Value::Array(lines)) => {
            let text = |line: &Value| match line {
                Value::String(text) => Ok(text.clone()),
                other => Err(top.error("Definition", kind(other), "text, or a list of text")),
            };
            lines
                .iter()
                .map(text)
                .collect::<Result<Vec<_>, _>>()?
                .join("\n")
        }
        _ => top.filled_text("Definition")?.to_owned(),
    };
    let mut head = format!("{}\n\n", definition.trim());
    if shots == 0 || top.get("Positive Examples").is_none() {
        return Ok((head, 0));
    }
    let examples = top.list("Positive Examples", "a list of examples")?;
    let shots = shots.min(examples.len());
    for (i, value) in examples.iter().take(shots).enumerate() {
        let example = Entry::at(FORMAT, i, value)?;
        let output = outputs(&example)?
            .first()
            .copied()
            .unwrap_or_default()
            .trim();
        let _ = write!(
            head,
            "Input: {}\nOutput: {output}\n\n",
            example.filled_text("input")?.trim()
        );
    }
    Ok((head, shots))
}

/// `output`: text or a list of text; at least one.
fn outputs<'a>(entry: &Entry<'a>) -> Result<Vec<&'a str>, FormatError> {
    let expected = "text, or a list of text that is not empty";
    let value = entry.required("output", expected)?;
    let list = value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice);
    let outputs: Vec<&str> = list
        .iter()
        .filter_map(Value::as_str)
        .filter(|text| !text.trim().is_empty())
        .collect();
    if outputs.len() < list.len() || outputs.is_empty() {
        return Err(entry.error("output", "empty or no text", expected));
    }
    Ok(outputs)
}

/// Gives each item the other labels as wrong answers, where the outputs are labels: few, and each used more than once
/// on average.
fn add_wrong(items: &mut [Item]) {
    let mut labels = BTreeSet::new();
    for answer in items.iter().flat_map(|item| &item.answers) {
        if let Answer::Text(text) = answer {
            labels.insert(text.clone());
            if text.len() > MAX_LABEL_BYTES {
                return;
            }
        }
        if labels.len() > MAX_LABELS {
            return;
        }
    }
    if labels.len() * 2 > items.len() {
        return;
    }
    for item in items {
        item.wrong = labels
            .iter()
            .map(|label| Answer::Text(label.clone()))
            .filter(|label| !item.answers.contains(label))
            .collect();
    }
}
