//! Task sets: prompts with answers, and contrast prompts that differ in one place.
//!
//! Plain data. A set comes from a built-in generator ([`BUILT_IN`]) or from a file ([`TaskSet::load`]).

mod built_in;
mod draw;
mod error;
mod formats;
mod prompt;
mod verbaliser;
mod words;

use std::ops::Range;
use std::path::Path;

pub use built_in::{BUILT_IN, BuiltIn};
pub use draw::Draw;
pub use error::{FormatError, Place, TaskError};
pub use formats::encode;
pub use verbaliser::{Class, Verbaliser};

/// The placeholder for the masked word in prompts for encoders; see [`Item::with_mask`].
pub const MASK: &str = "[MASK]";
/// Files above this size are refused.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// Sets with more items are refused.
pub const MAX_ITEMS: usize = 100_000;
/// Sets whose prompts would take more than this are refused: definitions and solved examples repeat in each prompt.
pub const MAX_PROMPT_BYTES: usize = 256 << 20;

/// Prompts with answers.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSet {
    pub name: String,
    pub items: Vec<Item>,
    /// The classes that the answers stand for, where the set has any.
    pub verbaliser: Option<Verbaliser>,
    /// What a reader of results should know: fewer items than asked for, ids of another tokenizer, …
    pub notes: Vec<String>,
}

/// One prompt of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    pub prompt: String,
    /// The prompt that differs in the one place that matters.
    pub contrast: Option<String>,
    /// Right answers; the first is the one whose logit counts.
    pub answers: Vec<Answer>,
    /// Wrong answers; the first is the one whose logit is subtracted.
    pub wrong: Vec<Answer>,
    /// Named places in the prompt.
    pub spans: Vec<Span>,
}

/// An answer as text, leading space included, or as a token id of the model that the set was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Text(String),
    Id(u32),
}

/// A named place in a prompt, such as `IO`, `S2` or `key`. The bytes leave out the space before a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub name: String,
    pub bytes: Range<usize>,
}

impl TaskSet {
    /// The built-in set of that name, else the file at that path.
    pub fn open(argument: &str, options: &Draw) -> Result<Self, TaskError> {
        if let Some(built_in) = BUILT_IN.iter().find(|b| b.name == argument) {
            return built_in.draw(options);
        }
        let path = Path::new(argument);
        if path.exists() {
            Self::load(path, options)
        } else {
            Err(TaskError::unknown_name(argument))
        }
    }

    /// Reads a file in any of the formats that [`TaskSet::parse`] knows.
    pub fn load(path: &Path, options: &Draw) -> Result<Self, TaskError> {
        if options.n == Some(0) {
            return Err(TaskError::NoneAsked);
        }
        let text = formats::read(path)?;
        let name = path
            .file_stem()
            .map_or_else(|| "task".into(), |stem| stem.to_string_lossy().into_owned());
        Self::parse(&text, &name, options).map_err(|error| TaskError::Format {
            path: path.to_owned(),
            error: Box::new(error),
        })
    }

    /// Reads text in any of the known formats, told apart by content. `name` is for formats that hold no name.
    pub fn parse(text: &str, name: &str, options: &Draw) -> Result<Self, FormatError> {
        let set = formats::parse(text, name, options)?;
        Ok(draw::choose(set, options))
    }
}

impl Item {
    /// The text of a named place, if the prompt has it.
    pub fn span(&self, name: &str) -> Option<&str> {
        let span = self.spans.iter().find(|span| span.name == name)?;
        self.prompt.get(span.bytes.clone())
    }

    /// True if the prompt has a masked word.
    pub fn is_masked(&self) -> bool {
        self.prompt.contains(MASK)
    }

    /// The item for a model that fills in: a prompt that asks for what follows has the placeholder at its end.
    #[must_use]
    pub fn masked_at_end(&self) -> Self {
        let masked = |text: &str| format!("{} {MASK}.", text.trim_end());
        Self {
            prompt: masked(&self.prompt),
            contrast: self.contrast.as_deref().map(masked),
            ..self.clone()
        }
    }

    /// The item with the model's own mask token in place of [`MASK`], and its spans moved along.
    #[must_use]
    pub fn with_mask(&self, token: &str) -> Self {
        let starts: Vec<usize> = self.prompt.match_indices(MASK).map(|(at, _)| at).collect();
        let moved = |byte: usize, is_end: bool| {
            let (mut before, mut inside) = (0, None);
            for &start in &starts {
                if byte >= start + MASK.len() {
                    before += 1;
                } else if byte > start {
                    inside = Some(start);
                }
            }
            // A place that ends or begins within the placeholder covers the whole mask token.
            let byte = inside.map_or(
                byte,
                |start| if is_end { start + MASK.len() } else { start },
            );
            let before = if inside.is_some() && is_end {
                before + 1
            } else {
                before
            };
            byte - before * MASK.len() + before * token.len()
        };
        let spans = self.spans.iter().map(|span| Span {
            name: span.name.clone(),
            bytes: moved(span.bytes.start, false)..moved(span.bytes.end, true),
        });
        Self {
            prompt: self.prompt.replace(MASK, token),
            contrast: self.contrast.as_ref().map(|text| text.replace(MASK, token)),
            answers: self.answers.clone(),
            wrong: self.wrong.clone(),
            spans: spans.collect(),
        }
    }
}

impl Answer {
    /// An answer that follows a space.
    pub(crate) fn spaced(word: &str) -> Self {
        Self::Text(format!(" {word}"))
    }
}
