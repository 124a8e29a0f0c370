//! Why a task set could not be had.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{BUILT_IN, MAX_FILE_BYTES, MAX_ITEMS, MAX_PROMPT_BYTES};

/// A task set could not be opened. The path comes last.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error(
        "`{argument}` is neither a file nor a built-in task set; give a path, or one of {names}"
    )]
    UnknownName { argument: String, names: String },
    #[error("no prompts were asked for; ask for at least one")]
    NoneAsked,
    #[error("the file cannot be read ({error}); check that it is there and readable: {}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("the file has {bytes} bytes, more than the {MAX_FILE_BYTES} allowed; split it: {}", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("byte {offset} is not UTF-8; save the file as UTF-8: {}", path.display())]
    NotUtf8 { path: PathBuf, offset: usize },
    #[error("{error}: {}", path.display())]
    Format {
        path: PathBuf,
        error: Box<FormatError>,
    },
}

impl TaskError {
    pub(super) fn unknown_name(argument: &str) -> Self {
        let names: Vec<&str> = BUILT_IN.iter().map(|b| b.name).collect();
        Self::UnknownName {
            argument: argument.to_owned(),
            names: names.join(", "),
        }
    }
}

/// The text is not a task set or a verbaliser.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error(
        "tried as JSON, as it begins with a bracket: line {line}, column {column}: {problem}; correct the JSON"
    )]
    Json {
        line: usize,
        column: usize,
        problem: String,
    },
    #[error("tried as {format}: {place}: {problem}; correct the table")]
    Table {
        format: &'static str,
        place: Place,
        problem: String,
    },
    #[error("tried as {format}: {place}, `{key}`: {found}; expected {expected}")]
    Key {
        format: &'static str,
        place: Place,
        key: String,
        found: String,
        expected: String,
    },
    #[error("tried as {format}: it is empty; at least one entry is needed")]
    Empty { format: &'static str },
    #[error(
        "tried as {format}: {count} prompts, more than the {MAX_ITEMS} allowed; split the file"
    )]
    TooMany { format: &'static str, count: usize },
    #[error(
        "tried as {format}: the prompts would take {bytes} bytes, more than the {MAX_PROMPT_BYTES} allowed; \
         ask for fewer solved examples, or split the file"
    )]
    TooLong { format: &'static str, bytes: usize },
    #[error("tried as JSON, as it begins with a bracket: more than {limit} values; split the file")]
    TooManyValues { limit: usize },
    #[error("the format is not known: {found}; expected {expected}")]
    Unknown {
        found: String,
        expected: &'static str,
    },
    #[error("a verbaliser alone holds no prompts; use it beside a task set")]
    VerbaliserAlone,
}

/// Where in a file. Lines and entries count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Top,
    Line(u64),
    Entry(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => write!(f, "top level"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Entry(entry) => write!(f, "entry {entry}"),
        }
    }
}
