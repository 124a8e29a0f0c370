//! Session files, `NAME.headscope.json`: reading, checking and writing them.
//!
//! [`Saved`] is what a file holds, in live types; `format.rs` has the types of the JSON itself, which change only with
//! the version number. Nothing in a session names a file to be written, so opening one can only read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::replay::Numbers;
use super::vectors::VectorsFile;
use super::{Session, format};
use crate::atomic;
use crate::edit::ParseEditError;
use crate::ids::ParseHeadError;

/// The newest version that this program reads. It writes the oldest that has room for a session.
pub const VERSION: u64 = 4;

/// How the names of session files end.
pub const SUFFIX: &str = ".headscope.json";

const MAX_FILE_BYTES: u64 = 16 << 20;

/// A session as a file keeps it: the session, and what it gave when it was saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub session: Session,
    /// Absent if the model was not open, or the prompt gave no tokens.
    pub record: Option<Record>,
}

/// What a session gave when it was saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub model_name: String,
    pub fingerprint: String,
    /// Prompt A's tokens, beginning-of-text counted.
    pub ids: Vec<u32>,
    pub contrast_ids: Option<Vec<u32>>,
    /// The files of vectors that the edits read.
    pub vectors: Vec<VectorsFile>,
    /// Absent if the run was not complete.
    pub numbers: Option<Numbers>,
}

/// Why a session was not opened or saved.
#[derive(Debug, thiserror::Error)]
#[error("cannot {task} the session: {problem}: {path}", path = path.display())]
pub struct FileError {
    /// `open` or `save`.
    pub task: &'static str,
    pub problem: Problem,
    pub path: PathBuf,
}

/// What is wrong with a session file, or with its content.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("{source}")]
    Io { source: io::Error },
    #[error("it is no session, or a damaged one: {source}")]
    Json { source: serde_json::Error },
    #[error("it is no session: it has no \"version\"")]
    NoVersion,
    #[error("made by a newer Headscope (version {found}; this one reads up to {VERSION}): update")]
    Newer { found: u64 },
    #[error("version {found} was never written")]
    NoSuchVersion { found: u64 },
    #[error("{what} has {found} {unit}; at most {limit} are allowed")]
    TooLarge {
        what: String,
        found: u64,
        limit: u64,
        unit: &'static str,
    },
    #[error("{what} has neither text nor ids")]
    NoPrompt { what: &'static str },
    #[error(
        "it has numbers, but not the model's fingerprint and the prompt's ids that they belong to"
    )]
    LooseNumbers,
    /// Rows count from 1, as the window shows them.
    #[error("row {row} of the edits: {source}")]
    Edit { row: usize, source: ParseEditError },
    #[error("{what}: {source}")]
    Head {
        what: &'static str,
        source: ParseHeadError,
    },
}

/// Whether MODEL | SESSION is a session: by its ending, or a JSON file by its content. (A sharded model's index is one too.)
pub fn is_session(target: &str) -> bool {
    let path = Path::new(target);
    let is_json = || {
        path.extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
    };
    let has_version = || read(path).and_then(|text| version(&text)).is_ok();
    target.ends_with(SUFFIX) || is_json() && has_version()
}

/// Reads a session. Relative paths in it start from its folder: the model's becomes absolute, those of vectors stay.
pub fn open(path: &Path) -> Result<Saved, FileError> {
    read(path)
        .and_then(|text| decode(&text, path.parent()))
        .map_err(|problem| FileError {
            task: "open",
            problem,
            path: path.to_owned(),
        })
}

/// Writes a session whole or not at all. `base` is where the relative paths of its vectors start now.
pub fn save(path: &Path, saved: &Saved, base: Option<&Path>) -> Result<(), FileError> {
    let folder = std::path::absolute(path).ok();
    let folder = folder.as_deref().and_then(Path::parent);
    encode(saved, base, folder)
        .and_then(|text| {
            atomic::write(path, text.as_bytes()).map_err(|source| Problem::Io { source })
        })
        .map_err(|problem| FileError {
            task: "save",
            problem,
            path: path.to_owned(),
        })
}

fn read(path: &Path) -> Result<String, Problem> {
    let io = |source| Problem::Io { source };
    let mut text = String::new();
    let file = File::open(path).map_err(io)?;
    // One byte more tells a file of the largest size from one that goes on.
    let bytes = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    within(
        "the file",
        bytes.map_err(io)? as u64,
        MAX_FILE_BYTES,
        "bytes",
    )?;
    Ok(text)
}

/// The session in `text`. `folder` is where relative paths start.
pub fn decode(text: &str, folder: Option<&Path>) -> Result<Saved, Problem> {
    // Read twice: a newer format shall be told as newer, not as damaged.
    match version(text)? {
        1..=VERSION => serde_json::from_str::<format::Session>(text)
            .map_err(|source| Problem::Json { source })?
            .into_live(folder),
        found @ 0 => Err(Problem::NoSuchVersion { found }),
        found => Err(Problem::Newer { found }),
    }
}

fn version(text: &str) -> Result<u64, Problem> {
    #[derive(serde::Deserialize)]
    struct Head {
        version: Option<u64>,
    }
    let head: Head = serde_json::from_str(text).map_err(|source| Problem::Json { source })?;
    head.version.ok_or(Problem::NoVersion)
}

/// `saved` as the text of a file in `folder` (`None`: all paths absolute). `base` is where the relative paths of its
/// vectors start now.
pub fn encode(
    saved: &Saved,
    base: Option<&Path>,
    folder: Option<&Path>,
) -> Result<String, Problem> {
    let session = format::Session::from_live(saved, base, folder);
    session.check()?;
    let json = |source| Problem::Json { source };
    let mut text = serde_json::to_string_pretty(&session).map_err(json)?;
    text.push('\n');
    within("the file", text.len() as u64, MAX_FILE_BYTES, "bytes")?;
    Ok(text)
}

pub(super) fn within(
    what: &str,
    found: u64,
    limit: u64,
    unit: &'static str,
) -> Result<(), Problem> {
    if found <= limit {
        return Ok(());
    }
    Err(Problem::TooLarge {
        what: what.to_owned(),
        found,
        limit,
        unit,
    })
}
