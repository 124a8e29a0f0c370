//! `headscope generate`: text after the prompt, before and after the edits.

use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use super::CliError;
use super::args::{Asked, GenerateArgs};
use super::opened::Opened;
use super::report::{Head, TopToken, finite};
use super::table;
use crate::experiment::{GeneratedToken, Side};

/// The result as its JSON has it. Field names and nulls are a contract: see the schema version.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Its tokens are the prompt's.
    #[serde(flatten)]
    pub(super) head: Head,
    pub(super) before: Text,
    /// Absent without edits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Text>,
    /// Index of the first token that differs; null where none does.
    pub(super) parts_at: Option<usize>,
    pub(super) warnings: Vec<String>,
    pub(super) timing_ms: Timing,
}

/// One text.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the keys of the JSON")]
pub(super) struct Text {
    /// Without the end-of-text token.
    pub(super) text: String,
    /// `end_of_text`, or `length` where the model would go on.
    pub(super) end: &'static str,
    pub(super) tokens: Vec<Step>,
}

/// Numbers that are not finite are null.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// Its position, counted on from the prompt's tokens.
    pub(super) index: usize,
    pub(super) id: u32,
    pub(super) text: String,
    pub(super) logit: Option<f32>,
    pub(super) prob: Option<f32>,
    /// The likeliest tokens of this step, falling.
    pub(super) top: Vec<TopToken>,
}

/// Milliseconds a token, the first left out: it has the whole prompt to run.
#[derive(Debug, Serialize)]
pub(super) struct Timing {
    pub(super) load: f64,
    /// Null with fewer than two tokens.
    pub(super) before: Option<f64>,
    /// Null without edits, too.
    pub(super) after: Option<f64>,
}

pub(super) fn run(args: &GenerateArgs) -> Result<(), CliError> {
    let GenerateArgs {
        tokens,
        json,
        asked,
    } = args;
    let mut opened = Opened::new(asked)?;
    let report = Report::new(&mut opened, asked, *tokens as usize)?;
    if *json {
        println!("{}", serde_json::to_string(&report).context("as JSON")?);
    } else {
        print!("{}", table::generated(&report));
        for warning in &report.warnings {
            eprintln!("warning: {warning}");
        }
    }
    Ok(())
}

impl Report {
    fn new(opened: &mut Opened, asked: &Asked, n_tokens: usize) -> anyhow::Result<Self> {
        let (before, before_ms) = Text::new(opened, Side::Before, n_tokens)?;
        let (after, after_ms) = if opened.resolved.spec.edits.is_empty() {
            (None, None)
        } else {
            let (after, millis) = Text::new(opened, Side::After, n_tokens)?;
            (Some(after), millis)
        };
        let mut warnings = opened.warnings.clone();
        warnings.extend(unused(asked));
        let texts = [Some(&before), after.as_ref()].into_iter().flatten();
        if texts
            .flat_map(|text| &text.tokens)
            .any(|step| step.logit.is_none() || step.prob.is_none())
        {
            warnings.push("some logits are not finite numbers".into());
        }
        Ok(Self {
            head: Head::new(
                opened,
                &opened.resolved.tokens[..opened.resolved.spec.n_prompt],
            ),
            parts_at: after.as_ref().and_then(|after| before.parts_from(after)),
            before,
            after,
            warnings,
            timing_ms: Timing {
                load: opened.model_ref().load_millis,
                before: before_ms,
                after: after_ms,
            },
        })
    }
}

/// Options that other commands have a use for.
fn unused(asked: &Asked) -> impl Iterator<Item = String> {
    let experiment = &asked.experiment;
    [
        (experiment.position.is_some(), "--position"),
        (!experiment.answers.is_empty(), "--answer"),
    ]
    .into_iter()
    .filter(|(is_given, _)| *is_given)
    .map(|(_, name)| {
        format!("{name} is not used: text begins after the prompt's last token, and shows the likeliest tokens")
    })
}

impl Text {
    /// The text, and the milliseconds that a token took.
    fn new(
        opened: &mut Opened,
        side: Side,
        n_tokens: usize,
    ) -> anyhow::Result<(Self, Option<f64>)> {
        let mut first_at = None;
        let mut last_at = None;
        let generated = opened.generate(side, n_tokens, &mut |_| {
            let now = Instant::now();
            first_at.get_or_insert(now);
            last_at = Some(now);
        })?;
        let count = generated.tokens.len();
        let millis = first_at
            .zip(last_at)
            .filter(|_| count > 1)
            .map(|(first, last)| (last - first).as_secs_f64() * 1e3 / (count - 1) as f64);
        let (model, spec) = (opened.model_ref(), &opened.resolved.spec);
        let prompt = &spec.ids[..spec.n_prompt];
        let ids: Vec<u32> = generated.tokens.iter().map(|t| t.chosen.id).collect();
        let ended = ids.last().is_some_and(|id| model.spec.eos_ids.contains(id));
        let step = |(i, token): (usize, &GeneratedToken)| Step {
            index: prompt.len() + i,
            id: token.chosen.id,
            text: model.token_text(token.chosen.id),
            logit: finite(token.chosen.logit),
            prob: finite(token.chosen.prob),
            top: token
                .top
                .iter()
                .map(|score| TopToken::new(model, *score))
                .collect(),
        };
        let text = Self {
            text: model.text_after(prompt, &ids),
            end: if ended { "end_of_text" } else { "length" },
            tokens: generated.tokens.iter().enumerate().map(step).collect(),
        };
        Ok((text, millis))
    }

    /// The index of the first token that another text has not, or has and this has not.
    fn parts_from(&self, other: &Self) -> Option<usize> {
        let ids = |text: &Self| text.tokens.iter().map(|step| step.id).collect::<Vec<_>>();
        let (mine, theirs) = (ids(self), ids(other));
        let same = mine.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        let longer = if mine.len() > same { self } else { other };
        longer.tokens.get(same).map(|step| step.index)
    }
}
