//! Interventions that are learned: their vectors in a file, the edits that apply them, and what they do to cases that
//! nothing was learned from.
//!
//! The edits are ordinary ones, so whatever runs experiments runs these too; their effects are measured through a file
//! of the same kind, and never by another path.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::analysis::metric::log_prob;
use crate::analysis::report::{Cell, Table};
use crate::analysis::{AnalysisError, Case, Report};
use crate::atomic;
use crate::edit::{Edit, Finite, Op, Positions, Target, VectorRef};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Reading, RunSpec};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::spec::Head;

/// The file that edits name until they are told another.
pub const FILE: &str = "vectors.safetensors";

/// Cases below which nothing is learned.
pub const FEWEST: usize = 8;

/// Draws of random heads that stand beside the chosen ones.
pub const CONTROLS: usize = 3;

/// Named vectors, and the edits that apply them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// Such as `L9H6.direction`, `[d_head]`.
    pub tensors: Vec<(String, Vec<f32>)>,
    /// In the canonical spelling; the file is called [`FILE`].
    pub edits: Vec<String>,
    /// How they were made: method, model, settings, seed.
    pub recipe: Value,
}

impl Vectors {
    /// The edits with another file name.
    pub fn edits_from(&self, file: &str) -> Result<Vec<Edit>, AnalysisError> {
        let parse = |text: &String| {
            let mut edit: Edit = text
                .parse()
                .map_err(|error| AnalysisError::needs(format!("{error}")))?;
            for vector in edit.vectors_mut() {
                file.clone_into(&mut vector.file);
            }
            Ok(edit)
        };
        self.edits.iter().map(parse).collect()
    }

    /// SHA-256 of the recipe as it is written, in hexadecimal.
    pub fn digest(&self) -> String {
        format!("{:x}", Sha256::digest(self.recipe.to_string().as_bytes()))
    }

    /// A safetensors file: its metadata has the method, the model's fingerprint, the seed, the recipe with its digest,
    /// and the edits, which name the file as `name`. Equal vectors give equal bytes.
    pub fn to_bytes(&self, name: &str) -> Result<Vec<u8>, AnalysisError> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let edits: Vec<String> = self.edits_from(name)?.iter().map(Edit::to_string).collect();
        let mut metadata = Map::new();
        metadata.insert("format".into(), "headscope-vectors-1".into());
        for key in ["method", "seed"] {
            if let Some(value) = self.recipe.get(key) {
                metadata.insert(key.into(), text(value).into());
            }
        }
        if let Some(model) = self.recipe.get("model") {
            metadata.insert("model".into(), text(&model["source"]).into());
            metadata.insert("fingerprint".into(), text(&model["fingerprint"]).into());
        }
        metadata.insert("recipe".into(), self.recipe.to_string().into());
        metadata.insert("digest".into(), format!("sha256:{}", self.digest()).into());
        metadata.insert("edits".into(), edits.join("\n").into());
        Ok(bytes_of(metadata, &self.tensors))
    }

    /// Writes the file whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), AnalysisError> {
        let failed = |error: std::io::Error| {
            AnalysisError::needs(format!("{} cannot be written: {error}", path.display()))
        };
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| {
                AnalysisError::needs(format!("{} is no name of a file", path.display()))
            })?;
        atomic::write(path, &self.to_bytes(name)?).map_err(failed)
    }
}

/// A safetensors file of vectors; written here because the crate's own writer orders metadata at random.
fn bytes_of(metadata: Map<String, Value>, tensors: &[(String, Vec<f32>)]) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), Value::Object(metadata));
    let mut end = 0;
    for (name, values) in tensors {
        let start = end;
        end += size_of_val(values.as_slice());
        header.insert(
            name.clone(),
            json!({ "dtype": "F32", "shape": [values.len()], "data_offsets": [start, end] }),
        );
    }
    let mut text = Value::Object(header).to_string();
    // Values begin at a multiple of eight bytes.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    for value in tensors.iter().flat_map(|(_, values)| values) {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// A file of vectors that is gone with this value: what an edit reads while its effect is measured.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new(tensors: &[(String, Vec<f32>)]) -> Result<Self, AnalysisError> {
        let failed = |error: std::io::Error| {
            AnalysisError::needs(format!(
                "the vectors need a folder for temporary files, and none can be written: {error}"
            ))
        };
        let folder = tempfile::Builder::new()
            .prefix("headscope-vectors-")
            .tempdir()
            .map_err(failed)?;
        fs::write(folder.path().join(FILE), bytes_of(Map::new(), tensors)).map_err(failed)?;
        Ok(Self(folder))
    }

    pub fn folder(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

/// A vector of [`FILE`].
pub fn vector(name: &str) -> VectorRef {
    VectorRef {
        file: FILE.to_owned(),
        name: name.to_owned(),
    }
}

/// `target=add(name, factor)`.
pub fn add(target: Target, name: &str, factor: f64, at: Positions) -> Edit {
    let op = Op::Add {
        vector: vector(name),
        factor: finite(factor),
    };
    Edit { target, op, at }
}

/// `head=mix(name, share)@last`.
pub fn mix(head: HeadId, name: &str, share: f64) -> Edit {
    let op = Op::Mix {
        vector: vector(name),
        share: finite(share),
    };
    Edit {
        target: Target::Head(head),
        op,
        at: Positions::Last,
    }
}

/// What is not finite changes nothing.
fn finite(value: f64) -> Finite {
    Finite::new(value).unwrap_or(Finite::new(0.0).unwrap_or(Finite::ONE))
}

/// Every head of a model.
pub fn all_heads(model: &Model) -> Vec<HeadId> {
    let n_heads = model.spec.n_heads;
    (0..model.spec.n_layers)
        .flat_map(|layer| (0..n_heads).map(move |head| HeadId::new(layer, head)))
        .collect()
}

/// The cases that can be learned from, up to where the answer follows; each prompt once.
pub fn usable(
    model: &Model,
    cases: &[Case],
    method: &str,
    needs_wrong: bool,
) -> Result<(Vec<Case>, Vec<String>), AnalysisError> {
    let spec = &model.spec;
    if spec.head == Head::None {
        return Err(RunError::NoLogits.into());
    }
    if !spec.is_causal() {
        return Err(AnalysisError::needs(format!(
            "{method} is for models that generate: {} reads in both directions and fills in masked tokens",
            model.name
        )));
    }
    let what = if needs_wrong {
        "a right and a wrong answer"
    } else {
        "an answer"
    };
    let mut kept: Vec<Case> = Vec::new();
    let mut known = HashSet::new();
    let (mut lacking, mut repeated) = (0, 0);
    for case in cases {
        let lacks = case.answers.is_empty() || (needs_wrong && case.wrong.is_empty());
        let ids = case.spec.ids.get(..=case.spec.position).unwrap_or_default();
        if lacks || ids.is_empty() {
            lacking += 1;
        } else if !known.insert(ids) {
            repeated += 1;
        } else {
            let spec = RunSpec {
                ids: ids.into(),
                n_prompt: ids.len(),
                reach: ids.len(),
                contrast: None,
                edits: vec![],
                last: ids.len() - 1,
                ..case.spec.clone()
            };
            kept.push(Case {
                spec,
                ..case.clone()
            });
        }
    }
    if kept.len() < FEWEST {
        return Err(AnalysisError::needs(format!(
            "{method} needs at least {FEWEST} different prompts with {what}, and {} of the {} given are: choose a task set \
             with more items",
            kept.len(),
            cases.len()
        )));
    }
    let mut notes = vec![];
    if lacking > 0 {
        notes.push(format!("{lacking} prompts without {what} were left out"));
    }
    if repeated > 0 {
        notes.push(format!("{repeated} repeated prompts were left out"));
    }
    Ok((kept, notes))
}

/// Shuffled, and parted: those to learn from, and a share of them that is held out (at least one, at most half).
pub fn part<T>(mut items: Vec<T>, held_out: f64, seed: u64) -> (Vec<T>, Vec<T>) {
    items.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let n = items.len();
    let n_out = ((n as f64 * held_out).round() as usize).clamp(1, (n / 2).max(1));
    let out = items.split_off(n - n_out);
    (items, out)
}

/// How many heads: those asked for, or a share of all (at least one).
pub fn count(asked: Option<usize>, share: f64, n_all: usize) -> usize {
    let n = asked.unwrap_or_else(|| (share * n_all as f64).round() as usize);
    n.clamp(1, n_all)
}

/// What a variant does, as means over cases.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effect {
    /// Share of cases whose likeliest token is a right answer.
    pub accuracy: f64,
    /// MC1 of the answers' first tokens: the likeliest of the right and wrong ones is right.
    pub prefers: Option<f64>,
    /// MC2 of the answers' first tokens: the right ones' share of the probability of all of them.
    pub mass: Option<f64>,
    pub logit_diff: Option<f64>,
    /// −ln of the first right answer's probability, in nats.
    pub loss: f64,
}

impl Effect {
    fn of(case: &Case, logits: &[f32]) -> Option<Self> {
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))?;
        let of = |ids: &[u32]| -> Option<Vec<f64>> {
            ids.iter().map(|id| log_prob(logits, *id)).collect()
        };
        let (right, wrong) = (of(&case.answers)?, of(&case.wrong)?);
        let first = *right.first()?;
        let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = |values: &[f64]| values.iter().map(|x| x.exp()).sum::<f64>();
        let pair = !wrong.is_empty();
        // Shares of a common scale, so that tiny probabilities do not round to 0/0.
        let top = most(&right).max(most(&wrong));
        let scaled = |values: &[f64]| sum(&values.iter().map(|x| x - top).collect::<Vec<_>>());
        Some(Self {
            accuracy: f64::from(u8::from(case.answers.contains(&(best as u32)))),
            prefers: pair.then(|| f64::from(u8::from(most(&right) > most(&wrong)))),
            mass: pair.then(|| scaled(&right) / (scaled(&right) + scaled(&wrong))),
            logit_diff: pair.then(|| first - wrong[0]),
            loss: -first,
        })
    }

    /// Blank where any is.
    pub fn mean(effects: &[Self]) -> Self {
        let n = effects.len().max(1) as f64;
        let of = |f: &dyn Fn(&Self) -> f64| effects.iter().map(f).sum::<f64>() / n;
        let maybe = |f: &dyn Fn(&Self) -> Option<f64>| {
            let values: Option<Vec<f64>> = effects.iter().map(f).collect();
            values
                .filter(|values| !values.is_empty())
                .map(|values| values.iter().sum::<f64>() / n)
        };
        Self {
            accuracy: of(&|e| e.accuracy),
            prefers: maybe(&|e| e.prefers),
            mass: maybe(&|e| e.mass),
            logit_diff: maybe(&|e| e.logit_diff),
            loss: of(&|e| e.loss),
        }
    }

    fn cells(&self) -> Vec<Cell> {
        let maybe = |x: Option<f64>| Cell::Number(x.filter(|x| x.is_finite()));
        vec![
            Cell::from(self.accuracy),
            maybe(self.prefers),
            maybe(self.mass),
            maybe(self.logit_diff),
            Cell::from(self.loss),
        ]
    }
}

/// The mean effect of each list of edits on the cases, in order; the vectors are in `folder`.
pub fn effects(
    engine: &mut Engine,
    cases: &[Case],
    variants: &[Vec<Edit>],
    folder: &Path,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<Effect>, AnalysisError> {
    let mut found = vec![Vec::new(); variants.len()];
    for (i, case) in cases.iter().enumerate() {
        let spec = RunSpec {
            folder: Some(folder.to_owned()),
            ..case.spec.clone()
        };
        let heard = &mut |done: f32| go_on((i as f32 + done) / cases.len() as f32);
        let swept = engine.sweep(&spec, variants, Reading::default(), heard)?;
        for (of_variant, logits) in found.iter_mut().zip(&swept) {
            let effect = Effect::of(case, logits).ok_or_else(|| {
                AnalysisError::needs(format!(
                    "an answer of `{}` is no token of this model",
                    case.label
                ))
            })?;
            of_variant.push(effect);
        }
    }
    Ok(found.iter().map(|of| Effect::mean(of)).collect())
}

/// −ln of a token's probability, and its gradient by the logits. No loss for what is no token.
pub fn cross_entropy(logits: &[f32], id: u32) -> (Option<f64>, Vec<f32>) {
    let Some(log_p) = log_prob(logits, id) else {
        return (None, vec![0.0; logits.len()]);
    };
    let log_sum = f64::from(logits[id as usize]) - log_p;
    let d = logits.iter().enumerate().map(|(i, logit)| {
        let p = (f64::from(*logit) - log_sum).exp();
        (p - f64::from(u8::from(i == id as usize))) as f32
    });
    (Some(-log_p), d.collect())
}

/// A table of effects by name.
pub fn effect_table(name: &str, rows: &[(String, Effect)]) -> Table {
    let columns = [
        "what",
        "accuracy",
        "right preferred (MC1)",
        "share of right (MC2)",
        "logit difference",
        "loss",
    ];
    let rows = rows.iter().map(|(what, effect)| {
        let mut row = vec![Cell::from(what.clone())];
        row.extend(effect.cells());
        row
    });
    Table {
        name: name.to_owned(),
        columns: columns.map(str::to_owned).into(),
        rows: rows.collect(),
    }
}

/// What a file of vectors says about how they were made.
pub fn recipe(model: &Model, report: &Report, seed: u64, heads: &[HeadId]) -> Value {
    let settings: Map<String, Value> = report
        .settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let heads: Vec<String> = heads.iter().map(HeadId::to_string).collect();
    json!({
        "method": report.method,
        "model": { "name": model.name, "source": model.pinned_source(), "fingerprint": model.fingerprint },
        "seed": seed,
        "settings": settings,
        "heads": heads,
    })
}

#[cfg(test)]
pub(crate) mod tests;
