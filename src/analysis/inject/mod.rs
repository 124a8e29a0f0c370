//! Can a task be put into a prompt without examples, and which heads carry it? Soft injection of task embeddings (Park
//! and Rhee 2025, arXiv 2507.20906; the authors' program), beside function vectors (Todd et al. 2024, arXiv 2310.15213)
//! and task vectors (Hendel et al. 2023, arXiv 2310.15916).
//!
//! A head's embedding t is its mean z at the last token of prompts with solved examples. A gate a head, α = sigmoid(s),
//! is learned: at the last token of a prompt without examples z ← (1 − α) z + α t, and the loss is that of the answer.
//!
//! Chosen where the papers leave it open: an example is a prompt with the first token of its answer (cases hold no more);
//! a quarter of the prompts is held out and a fifth of the others validates; the task vector comes from one prompt. The
//! random control moves the learned gates to other heads.

mod baselines;
mod gates;
mod shots;
#[cfg(test)]
mod tests;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::analysis::field::{Field, Value};
use crate::analysis::report::{HeadScores, Line, Plot, Report, Scale};
use crate::analysis::{AnalysisError, Case, Progress};
use crate::edit::Edit;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;

use crate::analysis::learned::{
    CONTROLS, Effect, Scratch, Vectors, all_heads, effect_table, effects, mix, part, recipe, usable,
};
pub use baselines::{FunctionVector, TaskVector, function_vector, task_vector};
pub use gates::{Gates, gradient, learn};
pub use shots::Shots;

/// Share of the prompts to learn from that gates are chosen by.
const VALIDATION: f64 = 0.2;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Prompts with examples that embeddings are means over.
    pub prompts: usize,
    /// Examples a prompt; fewer where the context or the set is too short.
    pub shots: usize,
    /// Text between examples.
    pub separator: String,
    /// Steps of Adam, each on one prompt.
    pub steps: usize,
    pub rate: f64,
    /// Steps from one validation to the next.
    pub every: usize,
    /// Prompts that validate, at most.
    pub validation: usize,
    /// Keeps the gates with the lowest validation loss; false: the last ones, as the released program does.
    pub best: bool,
    /// Whether function vectors and task vectors are made too.
    pub baselines: bool,
    /// Heads that a function vector is the sum of.
    pub function_heads: usize,
    /// Prompts with shuffled answers that those heads are chosen by.
    pub function_prompts: usize,
    /// Share of the prompts that nothing is learned from.
    pub held_out: f64,
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prompts: 50,
            shots: 10,
            separator: "\n\n".into(),
            steps: 400,
            rate: 0.2,
            every: 50,
            validation: 100,
            best: true,
            baselines: true,
            function_heads: 10,
            function_prompts: 25,
            held_out: 0.25,
            seed: 42,
        }
    }
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "prompts",
                "Prompts with examples that embeddings are means over",
                Value::Count(&mut self.prompts, 1..=10_000),
            ),
            Field::new(
                "shots",
                "Examples a prompt, where they fit",
                Value::Count(&mut self.shots, 1..=1000),
            ),
            Field::new(
                "steps",
                "Steps of training, each on one prompt",
                Value::Count(&mut self.steps, 1..=100_000),
            ),
            Field::new(
                "rate",
                "Learning rate of the gates",
                Value::Number(&mut self.rate, 0.0..=10.0),
            ),
            Field::new(
                "every",
                "Steps from one validation to the next",
                Value::Count(&mut self.every, 1..=100_000),
            ),
            Field::new(
                "validation",
                "Prompts that validate, at most",
                Value::Count(&mut self.validation, 1..=10_000),
            ),
            Field::new(
                "best",
                "Keep the best gates, not the last",
                Value::Flag(&mut self.best),
            ),
            Field::new(
                "baselines",
                "Make function and task vectors too",
                Value::Flag(&mut self.baselines),
            ),
            Field::new(
                "function-heads",
                "Heads that a function vector is the sum of",
                Value::Count(&mut self.function_heads, 1..=10_000),
            ),
            Field::new(
                "function-prompts",
                "Prompts with shuffled answers that those are chosen by",
                Value::Count(&mut self.function_prompts, 1..=10_000),
            ),
            Field::new(
                "held-out",
                "Share of the prompts that only the effect is measured on",
                Value::Number(&mut self.held_out, 0.0..=0.5),
            ),
            Field::new("seed", "Of all draws", Value::Seed(&mut self.seed)),
        ]
    }
}

/// Learns gates, and measures what they inject on prompts that were held out.
pub fn inject(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<(Report, Vectors), AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let (kept, notes) = usable(&model, cases, "inject", false)?;
    let shots = Shots::new(&model, &kept, settings)?;
    let (learned, held_out) = part(kept, settings.held_out, settings.seed);
    let (train, mut valid) = part(learned, VALIDATION, settings.seed.wrapping_add(1));
    valid.truncate(settings.validation);
    let shots = shots.at_most(train.len() - 1);
    let mut report = Report::new("inject")
        .with("prompts", settings.prompts)
        .with("shots", shots.n)
        .with("separator", settings.separator.as_str())
        .with("steps", settings.steps)
        .with("rate", settings.rate)
        .with("every", settings.every)
        .with("best", settings.best)
        .with("baselines", settings.baselines)
        .with("function_heads", settings.function_heads)
        .with("function_prompts", settings.function_prompts)
        .with("held_out", settings.held_out)
        .with("seed", settings.seed)
        .with("prompts_trained", train.len())
        .with("prompts_validating", valid.len())
        .with("prompts_held_out", held_out.len());
    for note in notes.into_iter().chain(shots.notes(settings)) {
        report.note(note);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed.wrapping_add(2));
    let shown: Vec<Case> = (0..settings.prompts.max(1))
        .map(|_| shots.draw(&train, None, &mut rng))
        .collect();
    let embedding = shots::embedding(engine, &shown, &mut |done| progress.at(0.2 * done, None))?;
    norms(&mut report, &model, &embedding);
    let gates = learn(
        engine,
        [&train, &valid],
        &embedding,
        settings,
        &mut |done, so_far| {
            let fraction = 0.4f32.mul_add(done, 0.2);
            let Some(so_far) = so_far else {
                return progress.at(fraction, None);
            };
            let mut partial = report.clone();
            describe(&mut partial, &model, so_far);
            progress.at(fraction, Some(&partial))
        },
    )?;
    describe(&mut report, &model, &gates);
    if !progress.at(0.6, Some(&report)) {
        return Err(RunError::Stopped.into());
    }

    let heads = all_heads(&model);
    let mut tensors: Vec<(String, Vec<f32>)> = heads
        .iter()
        .zip(embedding.chunks_exact(model.spec.d_head))
        .map(|(head, t)| (name(*head), t.to_vec()))
        .collect();
    let mut baselines: Vec<(String, Vec<Edit>)> = vec![];
    if settings.baselines {
        let scratch = Scratch::new(&tensors)?;
        let function = function_vector(
            engine,
            &train,
            &embedding,
            (&shots, settings, &scratch.folder()),
            &mut |done| progress.at(0.2f32.mul_add(done, 0.6), None),
        )?;
        report.scores.push(function.scores(&model));
        baselines.push(("function vector".into(), vec![function.edit()]));
        tensors.push((baselines::FUNCTION.into(), function.vector));
        let task = task_vector(engine, &shown[0], &valid, &mut |done| {
            progress.at(0.1f32.mul_add(done, 0.8), None)
        })?;
        report.tables.push(task.table());
        baselines.push(("task vector".into(), task.edits()));
        tensors.push((baselines::TASK.into(), task.vector));
    }
    let edits = edits(&heads, &gates.alphas);
    let mut variants = vec![vec![], edits.clone()];
    variants.extend(
        moved(&gates.alphas, settings.seed)
            .iter()
            .map(|a| self::edits(&heads, a)),
    );
    variants.extend(baselines.iter().map(|(_, edits)| edits.clone()));
    let scratch = Scratch::new(&tensors)?;
    let found = effects(
        engine,
        &held_out,
        &variants,
        &scratch.folder(),
        &mut |done| progress.at(0.05f32.mul_add(done, 0.9), None),
    )?;
    let with_shots: Vec<Case> = held_out
        .iter()
        .map(|query| shots.draw(&train, Some(query), &mut rng))
        .collect();
    let shown = effects(
        engine,
        &with_shots,
        &[vec![]],
        &scratch.folder(),
        &mut |done| progress.at(0.05f32.mul_add(done, 0.95), None),
    )?;
    let mut rows = vec![
        ("unedited (zero-shot)".to_owned(), found[0]),
        (format!("{} examples", shots.n), shown[0]),
        ("soft injection".to_owned(), found[1]),
        (
            format!("gates on random heads, mean of {CONTROLS}"),
            Effect::mean(&found[2..2 + CONTROLS]),
        ),
    ];
    let of_baselines = baselines.iter().zip(&found[2 + CONTROLS..]);
    rows.extend(of_baselines.map(|((name, _), effect)| (name.clone(), *effect)));
    report.tables.push(effect_table("held-out prompts", &rows));
    notes_of(&mut report, &model, &gates);

    let mut recipe = recipe(&model, &report, settings.seed, &heads);
    for (name, edits) in &baselines {
        let edits: Vec<String> = edits.iter().map(Edit::to_string).collect();
        recipe[format!("{name} edits")] = json!(edits);
    }
    let vectors = Vectors {
        tensors,
        edits: edits.iter().map(Edit::to_string).collect(),
        recipe,
    };
    Ok((report, vectors))
}

/// t of a head in a file.
fn name(head: HeadId) -> String {
    format!("{head}.embedding")
}

fn edits(heads: &[HeadId], alphas: &[f64]) -> Vec<Edit> {
    let of = heads.iter().zip(alphas);
    of.map(|(head, alpha)| mix(*head, &name(*head), *alpha))
        .collect()
}

/// The same gates on other heads, [`CONTROLS`] times.
fn moved(alphas: &[f64], seed: u64) -> Vec<Vec<f64>> {
    (0..CONTROLS as u64)
        .map(|draw| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(1 + draw);
            let mut alphas = alphas.to_vec();
            alphas.shuffle(&mut rng);
            alphas
        })
        .collect()
}

fn norms(report: &mut Report, model: &Model, embedding: &[f32]) {
    let (n_heads, d_head) = (model.spec.n_heads, model.spec.d_head);
    let shape = (model.spec.n_layers, n_heads);
    let norm = |head: HeadId| {
        let from = (head.layer * n_heads + head.head) * d_head;
        let square = |x: &f32| f64::from(*x).powi(2);
        let sum: f64 = embedding[from..from + d_head].iter().map(square).sum();
        Some(sum.sqrt() as f32)
    };
    let about = "length of the head's mean z after solved examples";
    let of = HeadScores::of_heads("embedding_norm", about, Scale::Positive, shape, norm);
    report.scores.push(of);
}

fn describe(report: &mut Report, model: &Model, gates: &Gates) {
    let n_heads = model.spec.n_heads;
    let shape = (model.spec.n_layers, n_heads);
    let of = |head: HeadId| {
        gates
            .alphas
            .get(head.layer * n_heads + head.head)
            .map(|a| *a as f32)
    };
    let about = "share of the head's z that its embedding takes the place of";
    report
        .scores
        .push(HeadScores::of_heads("gate", about, Scale::Share, shape, of));
    let line = |name: &str, points: &[[f64; 2]]| Line {
        name: name.into(),
        points: points.to_vec(),
        ..Line::default()
    };
    report.plots.push(Plot {
        name: "training".into(),
        x_axis: "step",
        y_axis: "loss (nats)",
        lines: vec![
            line("training prompt", &gates.losses),
            line("validation", &gates.validation),
        ],
        ..Plot::default()
    });
}

fn notes_of(report: &mut Report, model: &Model, gates: &Gates) {
    let n = gates.alphas.len();
    let settled = gates
        .alphas
        .iter()
        .filter(|a| **a < 0.1 || **a > 0.9)
        .count();
    report.note(format!("{settled} of {n} gates are below 0.1 or above 0.9"));
    report.note(format!("the gates are those of step {}", gates.step));
    report.note(
        "the loss and the measures are of the answers' first tokens; examples have no more of their answers, so with \
         answers of several tokens they show less than whole ones would",
    );
    if model.spec.n_heads != model.spec.n_kv_heads {
        report.note("gates are of query heads, also where those share keys and values");
    }
}
