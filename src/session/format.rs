//! The JSON of session files, and the way to and from the live types.
//!
//! Separate from the live types, so that those can change while the format does not. Unknown keys are refused: a
//! misspelt `"edits"` would otherwise be an experiment without edits. So every new key is a new version; a session that
//! does without it is written in the old one, which older programs read. Version 2 has `"continuation"`, version 3 `"lab"`,
//! version 4 `"vectors"` and the Lab's `"verbaliser"`.
//! A key that is written only where it says more than its absence needs no version (`"dtype"`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::{Problem, Record, Saved, within};
use super::replay::{self, Numbers};
use super::vectors::VectorsFile;
use super::{
    BosRule, Continuation, EditRow, Experiment, Lab, Prompt, ReadPosition, Shown, View, paths,
};
use crate::colormap::Colormap;
use crate::compute::Dtype;
use crate::edit::Edit;
use crate::experiment::Side;
use crate::ids::HeadId;

const MAX_EDITS: u64 = 10_000;
const MAX_PROMPT_BYTES: u64 = 1 << 20;
const MAX_PROMPT_IDS: u64 = 1 << 20;
const MAX_ANSWERS: u64 = 1_000;
const MAX_SELECTION: u64 = 100_000;

/// The whole file. What a gallery entry or a script leaves away has its default.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    version: u64,
    model: Model,
    prompt: PromptText,
    #[serde(default)]
    contrast: Option<PromptText>,
    #[serde(default)]
    bos: Bos,
    #[serde(default)]
    edits: Vec<Row>,
    #[serde(default)]
    answers: Vec<String>,
    #[serde(default)]
    position: Position,
    /// Absent where nothing was generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    continuation: Option<Generated>,
    #[serde(default)]
    view: ViewOptions,
    #[serde(default)]
    notes: String,
    /// Absent where no method is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lab: Option<LabSetup>,
    #[serde(default)]
    layout: Option<serde_json::Value>,
    /// Absent where no edit reads a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vectors: Vec<Vectors>,
    #[serde(default)]
    numbers: Option<SavedNumbers>,
}

/// A file of vectors as it was, and how it was made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    file: String,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipe: Option<serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    /// `demo`, a hub id, an absolute path, or a path from the session's folder, which starts with `./` or `../`.
    source: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    fingerprint: Option<String>,
    #[serde(default, skip_serializing_if = "DtypeName::is_default")]
    dtype: DtypeName,
}

/// What the matrices are kept in; absent, f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DtypeName {
    #[default]
    F32,
    F16,
    Bf16,
    Quantized,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptText {
    /// Absent where the prompt was given as ids.
    #[serde(default)]
    text: Option<String>,
    /// The tokens when it was saved, beginning-of-text counted.
    #[serde(default)]
    ids: Option<Vec<u32>>,
}

/// A method and its settings, in the words of the command line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LabSetup {
    method: String,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<usize>,
    #[serde(default)]
    draw: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verbaliser: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    texts: Option<String>,
}

/// Tokens after prompt A, and how many of them the text has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Generated {
    ids: Vec<u32>,
    step: usize,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Bos {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    edit: String,
    #[serde(default = "enabled")]
    on: bool,
}

fn enabled() -> bool {
    true
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a position is \"usual\", \"last\" or a token index"
)]
enum Position {
    Word(PositionWord),
    Index(usize),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PositionWord {
    Usual,
    Last,
}

impl Default for Position {
    fn default() -> Self {
        Self::Word(PositionWord::Usual)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ViewOptions {
    selection: Vec<String>,
    shown: ShownName,
    colormap: ColormapName,
    diverging: ColormapName,
    log_scale: bool,
    hide_sink: bool,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self::from_live(&View::default())
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ShownName {
    Attention,
    ValueWeighted,
    Change,
}

/// A colour map by name; settings keep theirs in the same spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ColormapName {
    Viridis,
    Cividis,
    Blues,
    RdBu,
    PuOr,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedNumbers {
    /// Version of Headscope that made them.
    app: String,
    dtype: String,
    position: usize,
    before: SavedSide,
    after: Option<SavedSide>,
    patterns: Vec<SavedCell>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedSide {
    top: Vec<SavedLogit>,
    answers: Vec<SavedLogit>,
    /// Absent with fewer than two answers.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    logit_diff: Option<Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedLogit {
    id: u32,
    logit: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedCell {
    side: SideName,
    head: String,
    query: usize,
    key: usize,
    value: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SideName {
    Before,
    After,
}

/// A number of a run. JSON has neither infinities nor NaN: both are `null`, and read back as NaN.
#[derive(Clone, Copy, Debug)]
struct Value(f32);

impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.is_finite().then_some(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<f32>::deserialize(deserializer).map(|value| Self(value.unwrap_or(f32::NAN)))
    }
}

/// A value that is there: an option would take its null for its absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Session {
    /// See [`super::file::encode`] for `base` and `folder`.
    pub(super) fn from_live(saved: &Saved, base: Option<&Path>, folder: Option<&Path>) -> Self {
        let Saved { session, record } = saved;
        let super::Session {
            model,
            dtype,
            experiment,
            view,
            notes,
            lab,
            layout,
        } = session;
        let Experiment {
            prompt,
            contrast,
            bos,
            edits,
            answers,
            position,
            continuation,
        } = experiment;
        let record = record.as_ref();
        let vectors: Vec<Vectors> = record
            .map_or(&[][..], |record| &record.vectors)
            .iter()
            .map(|of| Vectors {
                file: paths::stored(&of.file, base, folder).unwrap_or_else(|| of.file.clone()),
                sha256: of.sha256.clone(),
                recipe: of.recipe.clone(),
            })
            .collect();
        let continuation = (*continuation != Continuation::default()).then(|| Generated {
            ids: continuation.ids.clone(),
            step: continuation.step,
        });
        Self {
            version: match (lab, &continuation) {
                _ if !vectors.is_empty() => 4,
                (Some(lab), _) if lab.verbaliser.is_some() => 4,
                (Some(_), _) => 3,
                (None, Some(_)) => 2,
                (None, None) => 1,
            },
            model: Model {
                source: stored_model(model, folder),
                name: record.map(|record| record.model_name.clone()),
                fingerprint: record.map(|record| record.fingerprint.clone()),
                dtype: (*dtype).into(),
            },
            prompt: PromptText::from_live(prompt, record.map(|record| &*record.ids)),
            contrast: contrast.as_ref().map(|contrast| {
                let ids = record.and_then(|record| record.contrast_ids.as_deref());
                PromptText::from_live(contrast, ids)
            }),
            bos: match bos {
                BosRule::Auto => Bos::Auto,
                BosRule::Always => Bos::Always,
                BosRule::Never => Bos::Never,
            },
            edits: edits
                .iter()
                .map(|row| Row {
                    edit: stored_edit(&row.edit, base, folder).to_string(),
                    on: row.enabled,
                })
                .collect(),
            answers: answers.clone(),
            position: match position {
                ReadPosition::Usual => Position::Word(PositionWord::Usual),
                ReadPosition::Last => Position::Word(PositionWord::Last),
                ReadPosition::At(index) => Position::Index(*index),
            },
            continuation,
            view: ViewOptions::from_live(view),
            notes: notes.clone(),
            lab: lab.as_ref().map(LabSetup::from_live),
            layout: layout.clone(),
            vectors,
            numbers: record
                .and_then(|record| record.numbers.as_ref())
                .map(SavedNumbers::from_live),
        }
    }

    /// Sizes that no session needs. Checked on both ways, so that what was saved can be opened.
    pub(super) fn check(&self) -> Result<(), Problem> {
        within(
            "the list of edits",
            self.edits.len() as u64,
            MAX_EDITS,
            "rows",
        )?;
        within(
            "the list of answers",
            self.answers.len() as u64,
            MAX_ANSWERS,
            "entries",
        )?;
        let selection = self.view.selection.len() as u64;
        within("the selection", selection, MAX_SELECTION, "heads")?;
        let generated = self.continuation.as_ref();
        let generated = generated.map_or(0, |generated| generated.ids.len());
        within("the continuation", generated as u64, MAX_PROMPT_IDS, "ids")?;
        let vectors = self.vectors.len() as u64;
        within("the list of vectors", vectors, MAX_EDITS, "files")?;
        self.prompt.check("prompt A")?;
        self.contrast
            .as_ref()
            .map_or(Ok(()), |contrast| contrast.check("prompt B"))
    }

    /// `folder` is where relative paths start.
    pub(super) fn into_live(self, folder: Option<&Path>) -> Result<Saved, Problem> {
        self.check()?;
        let Self {
            version: _,
            model,
            prompt,
            contrast,
            bos,
            edits,
            answers,
            position,
            continuation,
            view,
            notes,
            lab,
            layout,
            vectors,
            numbers,
        } = self;
        let edits = edits
            .into_iter()
            .enumerate()
            .map(|(i, row)| match row.edit.parse() {
                Ok(edit) => Ok(EditRow {
                    edit,
                    enabled: row.on,
                }),
                Err(source) => Err(Problem::Edit { row: i + 1, source }),
            })
            .collect::<Result<_, _>>()?;
        let (prompt, ids) = prompt.into_live("prompt A")?;
        let (contrast, contrast_ids) = match contrast {
            Some(contrast) => {
                let (contrast, ids) = contrast.into_live("prompt B")?;
                (Some(contrast), ids)
            }
            None => (None, None),
        };
        let numbers = numbers.map(SavedNumbers::into_live).transpose()?;
        let vectors = vectors
            .into_iter()
            .map(|of| VectorsFile {
                file: of.file,
                sha256: of.sha256,
                recipe: of.recipe,
            })
            .collect();
        let record = match (model.fingerprint, ids, numbers) {
            (Some(fingerprint), Some(ids), numbers) => Some(Record {
                model_name: model.name.unwrap_or_default(),
                fingerprint,
                ids,
                contrast_ids,
                vectors,
                numbers,
            }),
            (_, _, None) => None,
            (_, _, Some(_)) => return Err(Problem::LooseNumbers),
        };
        let session = super::Session {
            dtype: model.dtype.into(),
            model: live_model(model.source, folder),
            experiment: Experiment {
                prompt,
                contrast,
                bos: match bos {
                    Bos::Auto => BosRule::Auto,
                    Bos::Always => BosRule::Always,
                    Bos::Never => BosRule::Never,
                },
                edits,
                answers,
                position: match position {
                    Position::Word(PositionWord::Usual) => ReadPosition::Usual,
                    Position::Word(PositionWord::Last) => ReadPosition::Last,
                    Position::Index(index) => ReadPosition::At(index),
                },
                continuation: continuation.map_or_else(Continuation::default, |generated| {
                    Continuation {
                        step: generated.step.min(generated.ids.len()),
                        ids: generated.ids,
                    }
                }),
            },
            view: view.into_live()?,
            notes,
            lab: lab.map(LabSetup::into_live),
            layout,
        };
        Ok(Saved { session, record })
    }
}

impl LabSetup {
    fn from_live(lab: &Lab) -> Self {
        let Lab {
            method,
            settings,
            task,
            items,
            draw,
            verbaliser,
            texts,
        } = lab.clone();
        Self {
            method,
            settings: settings.into_iter().collect(),
            task,
            items,
            draw,
            verbaliser,
            texts,
        }
    }

    fn into_live(self) -> Lab {
        let Self {
            method,
            settings,
            task,
            items,
            draw,
            verbaliser,
            texts,
        } = self;
        Lab {
            method,
            settings: settings.into_iter().collect(),
            task,
            items,
            draw,
            verbaliser,
            texts,
        }
    }
}

/// A path to a model as a file in `folder` names it; `demo` and hub ids stay as they are.
fn stored_model(source: &str, folder: Option<&Path>) -> String {
    // The same rule that opens models: an existing path wins over a hub id, and `demo` over a path.
    if source == "demo" || !Path::new(source).exists() {
        return source.to_owned();
    }
    match paths::stored(source, None, folder) {
        Some(path) if Path::new(&path).is_absolute() => path,
        Some(path) => format!("./{path}"),
        None => source.to_owned(),
    }
}

fn live_model(source: String, folder: Option<&Path>) -> String {
    let is_relative = source.starts_with("./") || source.starts_with("../");
    let path: Option<PathBuf> = folder
        .filter(|_| is_relative)
        .and_then(|folder| std::path::absolute(folder.join(&source)).ok());
    path.and_then(|path| path.to_str().map(str::to_owned))
        .unwrap_or(source)
}

fn stored_edit(edit: &Edit, base: Option<&Path>, folder: Option<&Path>) -> Edit {
    let mut edit = edit.clone();
    for vector in edit.vectors_mut() {
        if let Some(file) = paths::stored(&vector.file, base, folder) {
            vector.file = file;
        }
    }
    edit
}

impl PromptText {
    fn from_live(prompt: &Prompt, ids: Option<&[u32]>) -> Self {
        match prompt {
            Prompt::Text(text) => Self {
                text: Some(text.clone()),
                ids: ids.map(<[u32]>::to_vec),
            },
            Prompt::Ids(ids) => Self {
                text: None,
                ids: Some(ids.clone()),
            },
        }
    }

    fn check(&self, what: &'static str) -> Result<(), Problem> {
        let bytes = self.text.as_ref().map_or(0, String::len);
        within(what, bytes as u64, MAX_PROMPT_BYTES, "bytes")?;
        let ids = self.ids.as_ref().map_or(0, Vec::len);
        within(what, ids as u64, MAX_PROMPT_IDS, "ids")
    }

    fn into_live(self, what: &'static str) -> Result<(Prompt, Option<Vec<u32>>), Problem> {
        match (self.text, self.ids) {
            (Some(text), ids) => Ok((Prompt::Text(text), ids)),
            (None, Some(ids)) => Ok((Prompt::Ids(ids.clone()), Some(ids))),
            (None, None) => Err(Problem::NoPrompt { what }),
        }
    }
}

impl ViewOptions {
    fn from_live(view: &View) -> Self {
        let View {
            selection,
            shown,
            colormap,
            diverging,
            log_scale,
            hide_sink,
        } = view;
        Self {
            selection: selection.iter().map(HeadId::to_string).collect(),
            shown: match shown {
                Shown::Attention => ShownName::Attention,
                Shown::ValueWeighted => ShownName::ValueWeighted,
                Shown::Change => ShownName::Change,
            },
            colormap: (*colormap).into(),
            diverging: (*diverging).into(),
            log_scale: *log_scale,
            hide_sink: *hide_sink,
        }
    }

    fn into_live(self) -> Result<View, Problem> {
        let selection = self
            .selection
            .iter()
            .map(|text| head("the selection", text))
            .collect::<Result<_, _>>()?;
        Ok(View {
            selection,
            shown: match self.shown {
                ShownName::Attention => Shown::Attention,
                ShownName::ValueWeighted => Shown::ValueWeighted,
                ShownName::Change => Shown::Change,
            },
            colormap: self.colormap.into(),
            diverging: self.diverging.into(),
            log_scale: self.log_scale,
            hide_sink: self.hide_sink,
        })
    }
}

fn head(what: &'static str, text: &str) -> Result<HeadId, Problem> {
    text.parse()
        .map_err(|source| Problem::Head { what, source })
}

impl DtypeName {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Dtype> for DtypeName {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
            Dtype::Quantized => Self::Quantized,
        }
    }
}

impl From<DtypeName> for Dtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::F32 => Self::F32,
            DtypeName::F16 => Self::F16,
            DtypeName::Bf16 => Self::Bf16,
            DtypeName::Quantized => Self::Quantized,
        }
    }
}

impl From<Colormap> for ColormapName {
    fn from(map: Colormap) -> Self {
        match map {
            Colormap::Viridis => Self::Viridis,
            Colormap::Cividis => Self::Cividis,
            Colormap::Blues => Self::Blues,
            Colormap::RdBu => Self::RdBu,
            Colormap::PuOr => Self::PuOr,
        }
    }
}

impl From<ColormapName> for Colormap {
    fn from(name: ColormapName) -> Self {
        match name {
            ColormapName::Viridis => Self::Viridis,
            ColormapName::Cividis => Self::Cividis,
            ColormapName::Blues => Self::Blues,
            ColormapName::RdBu => Self::RdBu,
            ColormapName::PuOr => Self::PuOr,
        }
    }
}

impl SavedNumbers {
    fn from_live(numbers: &Numbers) -> Self {
        let Numbers {
            app,
            dtype,
            position,
            before,
            after,
            patterns,
        } = numbers;
        Self {
            app: app.clone(),
            dtype: dtype.clone(),
            position: *position,
            before: SavedSide::from_live(before),
            after: after.as_ref().map(SavedSide::from_live),
            patterns: patterns
                .iter()
                .map(|cell| SavedCell {
                    side: match cell.side {
                        Side::Before => SideName::Before,
                        Side::After => SideName::After,
                    },
                    head: cell.head.to_string(),
                    query: cell.query,
                    key: cell.key,
                    value: Value(cell.value),
                })
                .collect(),
        }
    }

    fn into_live(self) -> Result<Numbers, Problem> {
        let patterns = self
            .patterns
            .into_iter()
            .map(|cell| {
                Ok(replay::PatternSample {
                    side: match cell.side {
                        SideName::Before => Side::Before,
                        SideName::After => Side::After,
                    },
                    head: head("the kept attention", &cell.head)?,
                    query: cell.query,
                    key: cell.key,
                    value: cell.value.0,
                })
            })
            .collect::<Result<_, Problem>>()?;
        Ok(Numbers {
            app: self.app,
            dtype: self.dtype,
            position: self.position,
            before: self.before.into_live(),
            after: self.after.map(SavedSide::into_live),
            patterns,
        })
    }
}

impl SavedSide {
    fn from_live(side: &replay::SideNumbers) -> Self {
        let logits = |tokens: &[replay::TokenLogit]| {
            let kept = |token: &replay::TokenLogit| SavedLogit {
                id: token.id,
                logit: Value(token.logit),
            };
            tokens.iter().map(kept).collect()
        };
        Self {
            top: logits(&side.top),
            answers: logits(&side.answers),
            logit_diff: side.logit_diff.map(Value),
        }
    }

    fn into_live(self) -> replay::SideNumbers {
        let logits = |tokens: Vec<SavedLogit>| {
            let live = |token: SavedLogit| replay::TokenLogit {
                id: token.id,
                logit: token.logit.0,
            };
            tokens.into_iter().map(live).collect()
        };
        replay::SideNumbers {
            top: logits(self.top),
            answers: logits(self.answers),
            logit_diff: self.logit_diff.map(|value| value.0),
        }
    }
}
