//! The result of `run`, as its JSON has it. Field names and nulls are a contract: see the schema version.

use serde::Serialize;

use super::opened::Opened;
use crate::compute::Device;
use crate::experiment::{Outcome, Pass, Readout, TokenScore};
use crate::model::Model;
use crate::model::spec;
use crate::model::tokenizer::Piece;
use crate::session::replay;

pub(super) const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) position: usize,
    /// `next_token`, `masked_token`, or `none` without a language-model head.
    pub(super) readout: &'static str,
    pub(super) before: Side,
    /// Absent without edits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Side>,
    /// Absent without a session that has numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<Replay>,
    pub(super) warnings: Vec<String>,
    pub(super) timing_ms: Timing,
}

/// What every report of an experiment begins with.
#[derive(Debug, Serialize)]
pub(super) struct Head {
    schema_version: u32,
    pub(super) model: ModelReport,
    /// The text that is run.
    pub(super) tokens: Vec<Token>,
    /// Canonical spelling, in order.
    pub(super) edits: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ModelReport {
    pub(super) name: String,
    pub(super) family: &'static str,
    pub(super) n_layers: usize,
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) dtype: &'static str,
    pub(super) stored: String,
    /// Absent on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<&'static str>,
    /// The largest difference of a sample prompt's logits from those in f32; absent in f32, and without logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dtype_logit_difference: Option<f32>,
    pub(super) fingerprint: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Token {
    pub(super) index: usize,
    pub(super) id: u32,
    pub(super) text: String,
}

/// One run's logits at the read position.
#[derive(Debug, Default, Serialize)]
pub(super) struct Side {
    pub(super) top: Vec<TopToken>,
    pub(super) answers: Vec<Answer>,
    /// First answer minus second; null with fewer than two.
    pub(super) logit_diff: Option<f32>,
}

/// Numbers that are not finite are null.
#[derive(Debug, Serialize)]
pub(super) struct TopToken {
    pub(super) token: String,
    pub(super) id: u32,
    pub(super) logit: Option<f32>,
    pub(super) prob: Option<f32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// As typed.
    pub(super) text: String,
    pub(super) id: u32,
    pub(super) logit: Option<f32>,
    pub(super) prob: Option<f32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Replay {
    pub(super) agrees: bool,
    /// Null where a number is finite on one side only.
    pub(super) max_diff: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Timing {
    pub(super) load: f64,
    pub(super) before: f64,
    /// Null without edits.
    pub(super) after: Option<f64>,
}

impl Report {
    pub(super) fn new(opened: &Opened, outcome: &Outcome, top_k: usize) -> Self {
        let Outcome { before, after } = outcome;
        let mut warnings = opened.warnings.clone();
        let mut side = |name, pass| {
            let (side, is_finite) = Side::new(opened, pass, top_k);
            if !is_finite {
                warnings.push(format!("some logits are not finite numbers, {name}"));
            }
            side
        };
        let before_side = side("before", before);
        let after_side = after.as_ref().map(|pass| side("after", pass));
        let replay = opened.replay(outcome);
        if let Some(verdict) = &replay {
            warnings.extend(replay_warning(verdict));
        }
        Self {
            head: Head::new(opened, &opened.resolved.tokens),
            position: opened.resolved.spec.position,
            readout: match opened.model_ref().spec.head {
                spec::Head::None => "none",
                spec::Head::NextToken => "next_token",
                spec::Head::MaskedToken { .. } => "masked_token",
            },
            before: before_side,
            after: after_side,
            replay: replay.map(|verdict| Replay {
                agrees: verdict.agrees,
                max_diff: Some(verdict.max_diff).filter(|diff| diff.is_finite()),
            }),
            warnings,
            timing_ms: Timing {
                load: opened.model_ref().load_millis,
                before: before.millis,
                after: after.as_ref().map(|pass| pass.millis),
            },
        }
    }
}

impl Head {
    pub(super) fn new(opened: &Opened, text: &[Piece]) -> Self {
        let token = |(index, piece): (usize, &Piece)| Token {
            index,
            id: piece.id,
            text: piece.text.clone(),
        };
        let edits = opened.resolved.spec.edits.iter();
        Self {
            schema_version: SCHEMA_VERSION,
            model: ModelReport::new(opened.model_ref()),
            tokens: text.iter().enumerate().map(token).collect(),
            edits: edits.map(ToString::to_string).collect(),
        }
    }
}

impl ModelReport {
    pub(super) fn new(model: &Model) -> Self {
        let spec = &model.spec;
        Self {
            name: model.name.clone(),
            family: spec.family,
            n_layers: spec.n_layers,
            n_heads: spec.n_heads,
            n_kv_heads: spec.n_kv_heads,
            dtype: model.compute.dtype.name(),
            stored: model.stored.clone(),
            device: Some(model.compute.device)
                .filter(|device| *device != Device::Cpu)
                .map(Device::name),
            dtype_logit_difference: model.logit_difference.and_then(finite),
            fingerprint: model.fingerprint.clone(),
        }
    }
}

impl Side {
    /// The side, and whether all its logits are finite.
    fn new(opened: &Opened, pass: &Pass, top_k: usize) -> (Self, bool) {
        let Some(logits) = &pass.logits else {
            return (Self::default(), true);
        };
        let readout = Readout::new(logits);
        let model = opened.model_ref();
        let top = readout.top(top_k).into_iter();
        let top = top.map(|score| TopToken::new(model, score));
        let answers = opened.resolved.answers.iter().map(|answer| {
            let score: Option<TokenScore> = readout.score(answer.id);
            Answer {
                text: answer.text.clone(),
                id: answer.id,
                logit: score.and_then(|score| finite(score.logit)),
                prob: score.and_then(|score| finite(score.prob)),
            }
        });
        let side = Self {
            top: top.collect(),
            answers: answers.collect(),
            logit_diff: readout.logit_diff(&opened.answer_ids()).and_then(finite),
        };
        (side, readout.is_finite())
    }
}

impl TopToken {
    pub(super) fn new(model: &Model, score: TokenScore) -> Self {
        Self {
            token: model.token_text(score.id),
            id: score.id,
            logit: finite(score.logit),
            prob: finite(score.prob),
        }
    }
}

pub(super) fn finite(value: f32) -> Option<f32> {
    value.is_finite().then_some(value)
}

fn replay_warning(verdict: &replay::Replay) -> Option<String> {
    let replay::Replay {
        agrees,
        max_diff,
        compared,
        missing,
        worst,
    } = verdict;
    let total = compared + missing;
    match (agrees, missing) {
        (true, _) => None,
        (false, 0) => Some(format!(
            "the replay differs from the saved numbers by {max_diff:.2e} ({worst})"
        )),
        (false, _) => Some(format!(
            "the replay has no value for {missing} of the {total} saved numbers"
        )),
    }
}
