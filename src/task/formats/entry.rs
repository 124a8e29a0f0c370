//! One JSON object of a list, read by key; a key that is missing or of the wrong kind is named in the error.

use serde_json::{Map, Value};

use super::super::{Answer, FormatError, Place};

pub(super) type Object = Map<String, Value>;

/// A JSON object, with where it stands.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) format: &'static str,
    pub(super) place: Place,
    object: &'a Object,
}

impl<'a> Entry<'a> {
    pub(super) fn top(format: &'static str, object: &'a Object) -> Self {
        Self {
            format,
            place: Place::Top,
            object,
        }
    }

    /// The entry at `index` of a list, which must be an object.
    pub(super) fn at(
        format: &'static str,
        index: usize,
        value: &'a Value,
    ) -> Result<Self, FormatError> {
        let place = Place::Entry(index + 1);
        match value {
            Value::Object(object) => Ok(Self {
                format,
                place,
                object,
            }),
            other => Err(FormatError::Key {
                format,
                place,
                key: "entry".into(),
                found: kind(other).into(),
                expected: "an object".into(),
            }),
        }
    }

    pub(super) fn error(&self, key: &str, found: impl Into<String>, expected: &str) -> FormatError {
        FormatError::Key {
            format: self.format,
            place: self.place,
            key: key.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// The value of a key; null counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn required(&self, key: &str, expected: &str) -> Result<&'a Value, FormatError> {
        self.get(key)
            .ok_or_else(|| self.error(key, "missing", expected))
    }

    pub(super) fn list(&self, key: &str, expected: &str) -> Result<&'a [Value], FormatError> {
        let value = self.required(key, expected)?;
        value
            .as_array()
            .map(Vec::as_slice)
            .ok_or_else(|| self.error(key, kind(value), expected))
    }

    pub(super) fn optional_text(&self, key: &str) -> Result<Option<&'a str>, FormatError> {
        self.get(key)
            .map(|value| self.as_text(key, value))
            .transpose()
    }

    pub(super) fn text(&self, key: &str) -> Result<&'a str, FormatError> {
        self.as_text(key, self.required(key, "text")?)
    }

    /// Text that holds more than white space.
    pub(super) fn filled_text(&self, key: &str) -> Result<&'a str, FormatError> {
        let text = self.text(key)?;
        if text.trim().is_empty() {
            Err(self.error(key, "empty text", "text"))
        } else {
            Ok(text)
        }
    }

    fn as_text(&self, key: &str, value: &'a Value) -> Result<&'a str, FormatError> {
        value
            .as_str()
            .ok_or_else(|| self.error(key, kind(value), "text"))
    }

    /// Answers: text, a token id, or a list of either.
    pub(super) fn answers(&self, key: &str) -> Result<Vec<Answer>, FormatError> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|value| self.answer(key, value)).collect(),
            Some(value) => Ok(vec![self.answer(key, value)?]),
        }
    }

    /// Answers of which there must be one.
    pub(super) fn some_answers(&self, key: &str) -> Result<Vec<Answer>, FormatError> {
        let answers = self.answers(key)?;
        if answers.is_empty() {
            let found = if self.get(key).is_some() {
                "an empty list"
            } else {
                "missing"
            };
            return Err(self.error(key, found, "at least one answer: text or a token id"));
        }
        Ok(answers)
    }

    fn answer(&self, key: &str, value: &Value) -> Result<Answer, FormatError> {
        let expected = "text that is not empty, or a token id (a whole number below 2^32)";
        let id =
            |number: &serde_json::Number| number.as_u64().and_then(|id| u32::try_from(id).ok());
        match value {
            Value::String(text) if !text.is_empty() => Ok(Answer::Text(text.clone())),
            Value::Number(number) => id(number)
                .map(Answer::Id)
                .ok_or_else(|| self.error(key, number.to_string(), expected)),
            Value::String(_) => Err(self.error(key, "empty text", expected)),
            other => Err(self.error(key, kind(other), expected)),
        }
    }
}

/// What a JSON value is, for a message.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The first few keys of an object, for a message.
pub(super) fn keys_of(object: &Object, what: &str) -> String {
    if object.is_empty() {
        return format!("{what} without keys");
    }
    let keys: Vec<String> = object.keys().cloned().collect();
    format!("{what} with the keys {}", list_of(&keys))
}

/// The first few words of a list, each cut short.
pub(super) fn list_of(words: &[String]) -> String {
    let mut shown: Vec<String> = words
        .iter()
        .take(6)
        .map(|word| format!("`{}`", word.chars().take(24).collect::<String>()))
        .collect();
    if words.len() > shown.len() {
        shown.push("…".into());
    }
    shown.join(", ")
}
