//! File formats, told apart by content: one file each.

mod auto_circuit;
mod counterfactual;
mod eap_csv;
mod entry;
#[cfg(test)]
mod mutants;
mod natural_instructions;
mod own;
mod pairs;
#[cfg(test)]
mod refusals;
mod table;
#[cfg(test)]
mod tests;
mod truthfulqa;
mod verbaliser;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

pub use own::encode;

use super::{
    Draw, FormatError, Item, MAX_FILE_BYTES, MAX_ITEMS, MAX_PROMPT_BYTES, TaskError, TaskSet,
    Verbaliser,
};

const EXPECTED_OBJECT: &str =
    "`items` (Headscope), `prompts` (auto-circuit) or `Instances` (Natural-Instructions)";
const EXPECTED_ENTRY: &str = "entries with `input` and `output`, with `prompt` and `answer`, with `prompt`, `target_true` and `target_new`, or [prompt, answer]";
const EXPECTED_TEXT: &str = "a JSON object or list, or a CSV or TSV table with a header `clean,corrupted,correct_idx,incorrect_idx`, \
    `clean,corrupted,label`, `prompt,answer` or `Question,Best Answer,Correct Answers,Incorrect Answers`";

/// Reads a text file within the size limit.
pub(super) fn read(path: &Path) -> Result<String, TaskError> {
    let fail = |error| TaskError::Read {
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(fail)?;
    // A directory opens on some systems and has a size; a pipe has none. Reading is bounded either way.
    let mut bytes = Vec::new();
    let size = file.metadata().map_err(fail)?.len();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    let got = bytes.len() as u64;
    if got > MAX_FILE_BYTES {
        return Err(TaskError::TooLarge {
            path: path.to_owned(),
            bytes: size.max(got),
        });
    }
    String::from_utf8(bytes).map_err(|e| TaskError::NotUtf8 {
        path: path.to_owned(),
        offset: e.utf8_error().valid_up_to(),
    })
}

/// Reads a task set in whichever format the text has.
pub(super) fn parse(text: &str, name: &str, options: &Draw) -> Result<TaskSet, FormatError> {
    let text = without_mark(text);
    if is_json(text) {
        return match json(text)? {
            Value::Object(object)
                if object.contains_key("items") || object.contains_key("schema_version") =>
            {
                own::decode(&object)
            }
            Value::Object(object) if object.contains_key("prompts") => {
                auto_circuit::decode(&object, name)
            }
            Value::Object(object)
                if object.contains_key("Instances") || object.contains_key("Definition") =>
            {
                natural_instructions::decode(&object, name, options)
            }
            Value::Object(object) if verbaliser::looks_like(&object) => {
                Err(FormatError::VerbaliserAlone)
            }
            Value::Object(object) => Err(FormatError::Unknown {
                found: entry::keys_of(&object, "a JSON object"),
                expected: EXPECTED_OBJECT,
            }),
            Value::Array(list) => parse_list(&list, name, options),
            _ => Err(FormatError::Unknown {
                found: "a JSON value".into(),
                expected: EXPECTED_TEXT,
            }),
        };
    }
    let table = table::Table::new(text);
    if eap_csv::is_header(&table) {
        eap_csv::decode(&table, name)
    } else if pairs::is_header(&table) {
        pairs::decode_table(&table, name)
    } else if truthfulqa::is_header(&table) {
        truthfulqa::decode(&table, name)
    } else if table.header().is_empty() {
        Err(FormatError::Empty { format: "a table" })
    } else {
        Err(FormatError::Unknown {
            found: format!("a table with the header {}", entry::list_of(table.header())),
            expected: EXPECTED_TEXT,
        })
    }
}

/// A JSON list: its first entry tells which.
fn parse_list(list: &[Value], name: &str, options: &Draw) -> Result<TaskSet, FormatError> {
    match list.first() {
        None => Err(FormatError::Empty {
            format: "a JSON list",
        }),
        Some(Value::Object(first))
            if first.contains_key("target_new") || first.contains_key("target_true") =>
        {
            counterfactual::decode(list, name)
        }
        Some(Value::Object(first))
            if first.contains_key("input") || first.contains_key("output") =>
        {
            pairs::decode_json(list, name, options)
        }
        Some(Value::Object(first)) if first.contains_key("prompt") => {
            pairs::decode_prompts(list, name)
        }
        Some(Value::Array(_)) => pairs::decode_labelled(list, name),
        Some(Value::Object(first)) => Err(FormatError::Unknown {
            found: entry::keys_of(first, "a JSON list whose first entry"),
            expected: EXPECTED_ENTRY,
        }),
        Some(first) => Err(FormatError::Unknown {
            found: format!("a JSON list whose first entry is {}", entry::kind(first)),
            expected: EXPECTED_ENTRY,
        }),
    }
}

/// Reads a verbaliser: JSON, or SciPrompt's lines.
pub(super) fn parse_verbaliser(
    words: &str,
    scores: Option<&str>,
) -> Result<Verbaliser, FormatError> {
    let words = without_mark(words);
    if scores.is_none() && is_json(words) {
        let value = json(words)?;
        let object = value.as_object().ok_or_else(|| FormatError::Unknown {
            found: entry::kind(&value).into(),
            expected: "a JSON object of classes",
        })?;
        return verbaliser::decode(object);
    }
    verbaliser::decode_lines(words, scores.map(without_mark))
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

fn json(text: &str) -> Result<Value, FormatError> {
    if values(text) > MAX_VALUES {
        return Err(FormatError::TooManyValues { limit: MAX_VALUES });
    }
    serde_json::from_str(text).map_err(|e| {
        let text = e.to_string();
        let problem = text
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned();
        FormatError::Json {
            line: e.line(),
            column: e.column(),
            problem,
        }
    })
}

/// JSON with more values is refused: in memory each takes some fifty times the space of the shortest in a file.
const MAX_VALUES: usize = 8_000_000;

/// How many values a JSON text has at most, without reading it as JSON.
fn values(text: &str) -> usize {
    let (mut count, mut in_string, mut escaped) = (1, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// The text without a byte order mark, which spreadsheets write.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Refuses sets that are empty or too large, before their items are built.
fn check_count(format: &'static str, count: usize) -> Result<(), FormatError> {
    match count {
        0 => Err(FormatError::Empty { format }),
        1..=MAX_ITEMS => Ok(()),
        _ => Err(FormatError::TooMany { format, count }),
    }
}

/// Refuses prompts that repeat so much text that they fill the memory.
fn check_bytes(format: &'static str, bytes: usize) -> Result<(), FormatError> {
    if bytes > MAX_PROMPT_BYTES {
        Err(FormatError::TooLong { format, bytes })
    } else {
        Ok(())
    }
}

fn set(name: &str, items: Vec<Item>) -> TaskSet {
    TaskSet {
        name: name.to_owned(),
        items,
        verbaliser: None,
        notes: Vec::new(),
    }
}

/// Answers follow a space, unless the file wrote one.
fn after_space(word: &str) -> String {
    if word.starts_with(char::is_whitespace) {
        word.to_owned()
    } else {
        format!(" {word}")
    }
}
