//! Which heads compute a sum: path patching from each head to the answer's logit, in prompts whose operator is replaced
//! (Zhang, Wan, Zhang, Cheung, Tian, Shen, Ye 2024, "Interpreting and Improving Large Language Models in Arithmetic
//! Calculation", arXiv 2409.01659, section 3).
//!
//! Prompts count only where the model answers right. Key heads are those that take 5 % of the answer's logit or more; what
//! confirms them is the accuracy without them, where they look, which MLPs read them, and what the layers say of the digits.
//! Tuning the key heads (section 4) is not here: it would need gradients by weights.

mod attention;
mod effect;
pub mod expressions;
mod knock_out;
mod layers;
mod mlps;
mod prompts;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::analysis::controls;
use crate::analysis::field::{Field, Value};
use crate::analysis::sequences::tokenizer;
use crate::analysis::{AnalysisError, Progress, Report};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::spec::Head;
use crate::prompt::BosRule;

use effect::Effects;
use expressions::{FRAMES, Only, Operation, Style};
use prompts::gate;

/// Largest operand.
const LARGEST: usize = 999;

/// Heads that are looked at where fewer are key heads.
const LISTED: usize = 5;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub operation: Only<Operation>,
    pub style: Only<Style>,
    /// One template of the style, from 1.
    pub template: Option<usize>,
    /// The first operand, where it is one number.
    pub a: Option<usize>,
    /// The second.
    pub b: Option<usize>,
    /// Smallest and largest operand, where it is none.
    pub operands: (usize, usize),
    /// What replaces the operator, with spaces between: the first that leaves as many tokens.
    pub nulls: String,
    /// Prompts that are answered right and kept.
    pub prompts: usize,
    /// Solved examples before each, of the same template.
    pub shots: usize,
    /// Whether later MLPs answer to the change.
    pub through_mlps: bool,
    /// Key heads take more than this share of the logit.
    pub threshold: f64,
    /// Whether the paths from key heads into each MLP are read.
    pub mlp_paths: bool,
    /// How many of the strongest heads are mean-ablated together, at most.
    pub knock_out: usize,
    /// Random sets that each of them is held against.
    pub draws: usize,
    /// Whether random sets have as many heads of each layer.
    pub by_layer: bool,
    pub bos: BosRule,
    pub seed: u64,
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        let (smallest, largest) = (&mut self.operands.0, &mut self.operands.1);
        vec![
            Field::new(
                "operation",
                "Which operation",
                Value::Choice(&mut self.operation),
            ),
            Field::new("style", "How it is written", Value::Choice(&mut self.style)),
            Field::new(
                "template",
                "One template: 1 to 3 are equations, 4 to 6 statements, 7 to 9 questions",
                Value::MaybeCount(&mut self.template, 1..=FRAMES.len()),
            ),
            Field::new(
                "a",
                "First operand; auto: each from the smallest to the largest",
                Value::MaybeCount(&mut self.a, 0..=LARGEST),
            ),
            Field::new(
                "b",
                "Second operand",
                Value::MaybeCount(&mut self.b, 0..=LARGEST),
            ),
            Field::new(
                "smallest",
                "Smallest operand",
                Value::Count(smallest, 0..=LARGEST),
            ),
            Field::new(
                "largest",
                "Largest operand",
                Value::Count(largest, 0..=LARGEST),
            ),
            Field::new(
                "nulls",
                "What stands in the operator's place in prompt B, with spaces between: the first that leaves as many tokens",
                Value::Text(&mut self.nulls),
            ),
            Field::new(
                "prompts",
                "Prompts that the model answers and that are used",
                Value::Count(&mut self.prompts, 1..=10_000),
            ),
            Field::new(
                "shots",
                "Solved examples before each prompt",
                Value::Count(&mut self.shots, 0..=20),
            ),
            Field::new(
                "through-mlps",
                "The path may pass through later MLPs",
                Value::Flag(&mut self.through_mlps),
            ),
            Field::new(
                "threshold",
                "Key heads take more than this share of the answer's logit",
                Value::Number(&mut self.threshold, 0.0..=1.0),
            ),
            Field::new(
                "mlp-paths",
                "With the paths from key heads into each MLP",
                Value::Flag(&mut self.mlp_paths),
            ),
            Field::new(
                "knock-out",
                "How many heads are knocked out together, at most; 0: none",
                Value::Count(&mut self.knock_out, 0..=1000),
            ),
            Field::new(
                "draws",
                "Random draws that the knock-out is compared with",
                Value::Count(&mut self.draws, 5..=200),
            ),
            Field::new(
                "by-layer",
                "Random heads from the same layers",
                Value::Flag(&mut self.by_layer),
            ),
            Field::new(
                "seed",
                "Seed of prompts and draws",
                Value::Seed(&mut self.seed),
            ),
        ]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            operation: Only(None),
            style: Only(None),
            template: None,
            a: None,
            b: None,
            operands: (1, 9),
            nulls: "< @ nothing none ; ? and".into(),
            prompts: 20,
            shots: 0,
            through_mlps: true,
            threshold: 0.05,
            mlp_paths: true,
            knock_out: 10,
            draws: controls::DRAWS,
            by_layer: false,
            bos: BosRule::Auto,
            seed: 0,
        }
    }
}

/// The effect of each head and MLP on the right answers, and what confirms the key heads.
pub fn arithmetic(
    engine: &mut Engine,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    check(&model, settings)?;
    let mut report = started(settings);
    let kept = gate(engine, settings, &mut report, progress)?;
    let effects = Effects::over(engine, &kept, settings, &mut report, progress)?;
    let order = effects.add(&mut report, &model, settings);
    let key = effects.key_heads(&model, settings);
    let listed: &[HeadId] = if key.is_empty() {
        &order[..order.len().min(LISTED)]
    } else {
        &key
    };
    if settings.mlp_paths {
        mlps::add(engine, &kept, listed, &mut report, progress)?;
    }
    knock_out::add(engine, &kept, &order, settings, &mut report, progress)?;
    attention::add(engine, &kept, listed, &mut report, progress)?;
    layers::add(engine, &kept, settings, &mut report, progress)?;
    Ok(report)
}

fn check(model: &Model, settings: &Settings) -> Result<(), AnalysisError> {
    if !model.spec.is_causal() {
        return Err(RunError::NotCausal.into());
    }
    if model.spec.head == Head::None {
        return Err(RunError::NoLogits.into());
    }
    tokenizer(model)?;
    let needs = |what: &str| Err(AnalysisError::needs(what));
    if settings.prompts == 0 {
        return needs("arithmetic needs prompts: ask for one or more");
    }
    let (from, to) = settings.operands;
    if from > to || to > LARGEST {
        return needs("operands are a range such as 1 to 9, and at most 999");
    }
    if settings.nulls.trim().is_empty() {
        return needs(
            "the counterfactual needs a word in the operator's place: give one or more, such as `nothing` and `@`",
        );
    }
    Ok(())
}

fn started(settings: &Settings) -> Report {
    let mut report = Report::new("arithmetic")
        .with("operation", settings.operation.name())
        .with("style", settings.style.name())
        .with("template", settings.template)
        .with("a", settings.a)
        .with("b", settings.b)
        .with("operands", vec![settings.operands.0, settings.operands.1])
        .with("nulls", settings.nulls.clone())
        .with("prompts", settings.prompts)
        .with("shots", settings.shots)
        .with("through_mlps", settings.through_mlps)
        .with("threshold", settings.threshold)
        .with("mlp_paths", settings.mlp_paths)
        .with("knock_out", settings.knock_out)
        .with("draws", settings.draws)
        .with("by_layer", settings.by_layer)
        .with("bos", format!("{:?}", settings.bos).to_lowercase())
        .with("seed", settings.seed);
    report.note(if settings.through_mlps {
        "path patching, head to logits: all other heads are held at the clean run, MLPs answer"
    } else {
        "direct effect: straight from the head into the final stream, MLPs do not answer"
    });
    report
}
