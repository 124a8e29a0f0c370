//! A prompt under construction, with its named places.

use super::{Answer, Item, Span};

/// Text that grows from the left; words that matter get a name.
#[derive(Clone, Default)]
pub(super) struct Prompt {
    text: String,
    spans: Vec<Span>,
}

impl Prompt {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// A word with a name.
    pub(super) fn word(mut self, name: &str, word: &str) -> Self {
        let start = self.text.len();
        self.text.push_str(word);
        self.spans.push(Span {
            name: name.to_owned(),
            bytes: start..self.text.len(),
        });
        self
    }

    /// Fills the `{name}` places of a template from pairs of name and word; every filled place gets its name.
    pub(super) fn fill(mut self, template: &str, words: &[(&str, &str)]) -> Self {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let word = words
                .iter()
                .find(|(key, _)| *key == name)
                .map_or("", |(_, word)| word);
            self = self.text(before).word(name, word);
            rest = after;
        }
        self.text(rest)
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn item(self, contrast: Self, answers: Vec<Answer>, wrong: Vec<Answer>) -> Item {
        Item {
            prompt: self.text,
            contrast: Some(contrast.text),
            answers,
            wrong,
            spans: self.spans,
        }
    }
}

/// "a" or "an", by the first letter.
pub(super) fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}
