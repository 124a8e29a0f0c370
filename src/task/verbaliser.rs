//! Verbalisers: which words of the vocabulary speak for which class.

use std::path::Path;

use super::formats;
use super::{FormatError, TaskError};

/// Classes with the words that stand for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verbaliser {
    pub classes: Vec<Class>,
}

/// One class. Words are bare: the reader adds the leading space that a prompt calls for.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub name: String,
    /// Words and their weights, which are finite; no word is there twice.
    pub words: Vec<(String, f32)>,
}

impl Verbaliser {
    /// Reads a file of classes: JSON, or SciPrompt's word lines with the weights in a second file.
    pub fn open(words: &Path, scores: Option<&Path>) -> Result<Self, TaskError> {
        let text = formats::read(words)?;
        let scores_text = scores.map(formats::read).transpose()?;
        let path = if scores.is_some() {
            scores.unwrap_or(words)
        } else {
            words
        };
        Self::parse(&text, scores_text.as_deref()).map_err(|error| TaskError::Format {
            path: path.to_owned(),
            error: Box::new(error),
        })
    }

    /// Reads classes from text; see [`Verbaliser::open`].
    pub fn parse(words: &str, scores: Option<&str>) -> Result<Self, FormatError> {
        formats::parse_verbaliser(words, scores)
    }
}
