//! Can a task be put into a prompt without examples, and which heads carry it? Soft injection of task embeddings (Park
//! and Rhee 2025, arXiv 2507.20906; the authors' program), beside function vectors (Todd et al. 2024, arXiv 2310.15213)
//! and task vectors (Hendel et al. 2023, arXiv 2310.15916).
//!
//! A head's embedding t is its mean z at the last token of prompts with solved examples. A gate a head, α = sigmoid(s),
//! is learned: at the last token of a prompt without examples z ← (1 − α) z + α t, and the loss is that of the answer.
//!
//! Chosen where the papers leave it open: an example is a prompt with its first right answer; a quarter of the prompts is
//! held out and a fifth of the others validates; the task vector comes from one prompt. The random control moves the
//! learned gates to other heads.

mod baselines;
mod gates;
mod settings;
mod shots;
#[cfg(test)]
mod tests;
mod transfer;
mod view;

use std::path::Path;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::analysis::{AnalysisError, Case, Progress, Report};
use crate::edit::Edit;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;

use crate::analysis::learned::{
    CONTROLS, Effect, Scratch, Variant, Vectors, all_heads, effect_table, effects, exact_matches,
    has_several, mix, part, recipe, usable,
};
pub use baselines::{FunctionVector, TaskVector, function_vector, task_vector};
pub use gates::{Gates, gradient, learn};
pub use settings::Settings;
pub use shots::Shots;
use view::{describe, norms, notes_of};

/// Share of the prompts to learn from that gates are chosen by.
const VALIDATION: f64 = 0.2;

/// Learns gates, and measures what they inject on prompts that were held out.
pub fn inject(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<(Report, Vectors), AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let (kept, notes) = usable(&model, cases, "inject", false)?;
    let borrowed = transfer::borrowed(&settings.gates, &model)?;
    let several = kept.iter().any(has_several);
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
        .with("exact", settings.exact)
        .with("gates", settings.gates.as_str())
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
    let mut tried: Vec<(String, Vec<Edit>)> = vec![
        ("unedited (zero-shot)".into(), vec![]),
        ("soft injection".into(), edits.clone()),
    ];
    tried.extend(baselines.iter().cloned());
    let from_others = tried.len();
    tried.extend(borrowed.iter().map(|of| {
        let name = format!("gates of {}", of.name);
        (name, self::edits(&heads, &of.alphas))
    }));
    let at_random = tried.len();
    tried.extend(moved(&gates.alphas, settings.seed).iter().map(|alphas| {
        let name = format!("gates on random heads, mean of {CONTROLS}");
        (name, self::edits(&heads, alphas))
    }));
    let with_shots: Vec<Case> = held_out
        .iter()
        .map(|query| shots.draw(&train, Some(query), &mut rng))
        .collect();
    let scratch = Scratch::new(&tensors)?;
    let mut heard = |done: f32, from: f32| progress.at(0.05f32.mul_add(done, from), None);
    let exact = settings.exact;
    let (variants, folder) = (edits_of(&tried), scratch.folder());
    let found = of_all(
        engine,
        &held_out,
        (&variants, exact),
        &folder,
        &mut |done| heard(done, 0.9),
    )?;
    let shown = of_all(
        engine,
        &with_shots,
        (&[vec![]], exact),
        &folder,
        &mut |done| heard(done, 0.95),
    )?;
    let named = tried.iter().map(|(name, _)| name.clone());
    let mut rows: Vec<(String, Effect)> = named.zip(found).collect();
    let random: Vec<Effect> = rows[at_random..]
        .iter()
        .map(|(_, effect)| *effect)
        .collect();
    rows.truncate(at_random + 1);
    rows[at_random].1 = Effect::mean(&random);
    let others: Vec<Effect> = rows
        .drain(from_others..at_random)
        .map(|(_, of)| of)
        .collect();
    if !borrowed.is_empty() {
        let own = (gates.alphas.as_slice(), rows[1].1);
        let table = transfer::table(own, rows[0].1, &borrowed, &others);
        report.tables.push(table);
        let plot = transfer::scatter(&gates.alphas, &borrowed, &model);
        report.plots.push(plot);
        transfer::notes(&mut report, &model, &borrowed);
    }
    rows.insert(1, (format!("{} examples", shots.n), shown[0]));
    report.tables.push(effect_table("held-out prompts", &rows));
    notes_of(&mut report, &model, &gates, several);

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

fn edits_of(tried: &[(String, Vec<Edit>)]) -> Vec<Vec<Edit>> {
    tried.iter().map(|(_, edits)| edits.clone()).collect()
}

/// Effects of lists of edits, with the share of generated answers that are right where that is asked for.
fn of_all(
    engine: &mut Engine,
    cases: &[Case],
    (variants, exact): (&[Vec<Edit>], bool),
    folder: &Path,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<Effect>, AnalysisError> {
    let share = if exact { 0.5 } else { 1.0 };
    let all: Vec<Variant> = variants.iter().cloned().map(Variant::from).collect();
    let mut found = effects(engine, cases, &all, folder, &mut |done| go_on(share * done))?;
    if exact {
        let matches = exact_matches(engine, cases, variants, folder, &mut |done| {
            go_on(share.mul_add(done, share))
        })?;
        for (effect, share) in found.iter_mut().zip(matches) {
            effect.exact = Some(share);
        }
    }
    Ok(found)
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
