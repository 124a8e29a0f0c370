//! Reference files: values that another program computed, which an open model is compared with.
//!
//! `headscope-reference.json` beside a model:
//! `{"schema_version":1,"source":"…","cases":[{"ids":[…],"edits":["…"],"contrast_ids":[…],"values":[…]}]}`, where a value
//! is `{"site":"logits","index":[0,13,5099],"value":11.04,"tolerance":0.001}`. A site is a TransformerLens name, its index
//! that of the activation in a file; or `logit_diff`, with the index `[0, position, token id, token id]`: the logit of the
//! first token minus that of the second.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::edit::{Edit, ParseEditError};
use crate::model::site::{NoSuchSite, Site};
use crate::model::{Model, REFERENCE_FILE, demo};

/// The version that this program reads.
const VERSION: u64 = 1;

/// The name that stands for the difference of two logits.
const LOGIT_DIFF: &str = "logit_diff";

const MAX_FILE_BYTES: u64 = 64 << 20;

/// Values from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Where the values are from, in words.
    pub source: String,
    pub cases: Vec<Case>,
    /// `None` for the one inside the program.
    pub path: Option<PathBuf>,
    /// Where the relative paths of its vectors start.
    pub folder: Option<PathBuf>,
}

/// A run, and values of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub ids: Vec<u32>,
    pub contrast_ids: Option<Vec<u32>>,
    pub edits: Vec<Edit>,
    pub values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub of: Quantity,
    /// As in files: a batch axis of 1 first.
    pub index: Vec<usize>,
    pub value: f64,
    /// The largest difference that is still right.
    pub tolerance: f64,
}

/// What a value is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    Site(Site),
    /// The logit of one token minus that of another.
    LogitDiff,
}

/// Why a reference cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the reference: {problem}: {path}", path = path.display())]
pub struct ReferenceError {
    pub problem: Problem,
    pub path: PathBuf,
}

/// What is wrong with a reference. Cases and values count from 0, as in the file's lists.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("{source}")]
    Io { source: io::Error },
    #[error("it has more than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    #[error("it is no reference, or a damaged one: {source}")]
    Json { source: serde_json::Error },
    #[error("it is no reference: it has no \"schema_version\"")]
    NoVersion,
    #[error(
        "it is for a newer Headscope (schema_version {found}; this one reads {VERSION}): update"
    )]
    Newer { found: u64 },
    #[error("schema_version {found} was never used")]
    NoSuchVersion { found: u64 },
    #[error("it has no value to compare with")]
    NoValues,
    #[error("case {case} has no token ids")]
    NoIds { case: usize },
    #[error("case {case}: {source}")]
    Edit { case: usize, source: ParseEditError },
    #[error("case {case}, value {value}: {source}")]
    Site {
        case: usize,
        value: usize,
        source: NoSuchSite,
    },
    #[error("case {case}, value {value}: a tolerance is a number from 0, not {found}")]
    Tolerance {
        case: usize,
        value: usize,
        found: f64,
    },
}

impl Quantity {
    /// The activation that it is read from.
    pub const fn site(self) -> Site {
        match self {
            Self::Site(site) => site,
            Self::LogitDiff => Site::Logits,
        }
    }

    pub fn name(self) -> String {
        match self {
            Self::Site(site) => site.to_string(),
            Self::LogitDiff => LOGIT_DIFF.to_owned(),
        }
    }
}

impl Reference {
    pub fn open(path: &Path) -> Result<Self, ReferenceError> {
        let read = read(path).and_then(|text| Self::decode(&text));
        let reference = read.map_err(|problem| ReferenceError {
            problem,
            path: path.to_owned(),
        })?;
        Ok(Self {
            path: Some(path.to_owned()),
            folder: path.parent().map(Path::to_owned),
            ..reference
        })
    }

    /// The reference that belongs to a model: beside its files, or inside the program for `demo`. `None` if there is none.
    pub fn beside(model: &Model) -> Result<Option<Self>, ReferenceError> {
        let Some(path) = &model.path else {
            return Self::decode(demo::REFERENCE)
                .map(Some)
                .map_err(|problem| ReferenceError {
                    problem,
                    path: PathBuf::from("the bundled model"),
                });
        };
        let folder = if path.is_dir() {
            Some(path.as_path())
        } else {
            path.parent()
        };
        match folder.map(|folder| folder.join(REFERENCE_FILE)) {
            Some(path) if path.is_file() => Self::open(&path).map(Some),
            _ => Ok(None),
        }
    }

    /// The reference in `text`.
    pub fn decode(text: &str) -> Result<Self, Problem> {
        let json = |source| Problem::Json { source };
        // Read twice: a newer format shall be told as newer, not as damaged.
        let Head { schema_version } = serde_json::from_str(text).map_err(json)?;
        match schema_version.ok_or(Problem::NoVersion)? {
            VERSION => {}
            found @ 0 => return Err(Problem::NoSuchVersion { found }),
            found => return Err(Problem::Newer { found }),
        }
        let format::Reference { source, cases, .. } = serde_json::from_str(text).map_err(json)?;
        let cases = cases
            .into_iter()
            .enumerate()
            .map(|(i, case)| case.into_live(i))
            .collect::<Result<Vec<_>, _>>()?;
        if cases.iter().all(|case| case.values.is_empty()) {
            return Err(Problem::NoValues);
        }
        Ok(Self {
            source,
            cases,
            path: None,
            folder: None,
        })
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    let io = |source| Problem::Io { source };
    let mut text = String::new();
    let file = File::open(path).map_err(io)?;
    // One byte more tells a file of the largest size from one that goes on.
    let bytes = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    match bytes.map_err(io)? as u64 {
        ..=MAX_FILE_BYTES => Ok(text),
        _ => Err(Problem::TooLarge),
    }
}

#[derive(Deserialize)]
struct Head {
    schema_version: Option<u64>,
}

/// The JSON as it is written. A key that is not known is an error: a misspelt `edits` would be a run without edits.
mod format {
    use super::{Deserialize, Edit, LOGIT_DIFF, Problem, Quantity};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Reference {
        #[serde(rename = "schema_version")]
        _version: u64,
        pub(super) source: String,
        pub(super) cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Case {
        ids: Vec<u32>,
        #[serde(default)]
        edits: Vec<String>,
        contrast_ids: Option<Vec<u32>>,
        values: Vec<Value>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(clippy::struct_field_names, reason = "the keys of the file")]
    struct Value {
        site: String,
        index: Vec<usize>,
        value: f64,
        tolerance: f64,
    }

    impl Case {
        pub(super) fn into_live(self, case: usize) -> Result<super::Case, Problem> {
            let Self {
                ids,
                edits,
                contrast_ids,
                values,
            } = self;
            if ids.is_empty() || contrast_ids.as_ref().is_some_and(Vec::is_empty) {
                return Err(Problem::NoIds { case });
            }
            Ok(super::Case {
                ids,
                contrast_ids,
                edits: edits
                    .iter()
                    .map(|edit| edit.parse::<Edit>())
                    .collect::<Result<_, _>>()
                    .map_err(|source| Problem::Edit { case, source })?,
                values: values
                    .into_iter()
                    .enumerate()
                    .map(|(i, value)| value.into_live(case, i))
                    .collect::<Result<_, _>>()?,
            })
        }
    }

    impl Value {
        fn into_live(self, case: usize, value: usize) -> Result<super::Value, Problem> {
            // JSON has no infinities and no NaN.
            if self.tolerance < 0.0 {
                return Err(Problem::Tolerance {
                    case,
                    value,
                    found: self.tolerance,
                });
            }
            let of = match self.site.as_str() {
                LOGIT_DIFF => Quantity::LogitDiff,
                site => Quantity::Site(site.parse().map_err(|source| Problem::Site {
                    case,
                    value,
                    source,
                })?),
            };
            Ok(super::Value {
                of,
                index: self.index,
                value: self.value,
                tolerance: self.tolerance,
            })
        }
    }
}
