//! Which heads tell a true answer from a false one, and what does pushing them towards the true ones do? Inference-time
//! intervention (Li et al. 2023, arXiv 2306.03341; the authors' program).
//!
//! A prompt with its first right answer behind it is a true statement, with its first wrong one a false one. A logistic
//! regression a head parts their z at the last token; the heads whose probes do best on statements that they were not
//! fitted to are moved at inference: z ← z + α σ θ, θ the unit direction, σ the standard deviation of ⟨z, θ⟩ over the
//! statements of both kinds. All is done in two folds over the prompts: what one half taught is measured on the other.
//! What is saved is of the first.
//!
//! Chosen where the paper leaves it open: the two statements of a prompt stay together; σ is over the half that was
//! learned from. `@last` is the prompt's last token; generated tokens are moved too with `at all`, which then moves the
//! whole prompt.

mod effect;
mod folds;
mod probe;
mod prose;
mod settings;
#[cfg(test)]
mod tests;

use crate::analysis::report::Report;
use crate::analysis::{AnalysisError, Case, Progress};
use crate::edit::Edit;
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::site::{Part, Site};

use crate::analysis::learned::{Vectors, all_heads, count, has_several, part, recipe, usable};
use effect::{at_text, chosen_table, describe, edits, measure, notes_of, tensors};
pub use probe::{Probe, accuracy, auc};
pub use settings::{Direction, Settings};

/// Heads that are moved: 48 of LLaMA-7B's 1,024.
const SHARE: f64 = 48.0 / 1024.0;

/// A true and a false statement: all heads' z at their last token, `[layer, head, d_head]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub right: Vec<f32>,
    pub wrong: Vec<f32>,
}

/// What was found of one head.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub head: HeadId,
    pub accuracy: f64,
    pub auc: f64,
    /// θ, of length 1; all 0 where the statements do not differ.
    pub direction: Vec<f64>,
    /// σ
    pub sd: f64,
}

impl Found {
    /// σ θ
    fn vector(&self) -> Vec<f32> {
        let along = self.direction.iter();
        along.map(|x| (x * self.sd) as f32).collect()
    }
}

/// The probes of the heads, fitted to pairs and judged by others. In the order of `heads`.
pub fn probes(
    fitted: &[Pair],
    judged: &[Pair],
    heads: &[HeadId],
    (n_heads, d_head): (usize, usize),
    settings: &Settings,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<Found>, AnalysisError> {
    let mut found = Vec::with_capacity(heads.len());
    for (i, head) in heads.iter().enumerate() {
        if !go_on(i as f32 / heads.len() as f32) {
            return Err(RunError::Stopped.into());
        }
        let from = (head.layer * n_heads + head.head) * d_head;
        let rows = |pairs: &[Pair]| -> Vec<Vec<f32>> {
            pairs
                .iter()
                .flat_map(|pair| [&pair.right, &pair.wrong])
                .map(|z| z[from..from + d_head].to_vec())
                .collect()
        };
        found.push(of_head(*head, &rows(fitted), &rows(judged), settings));
    }
    Ok(found)
}

/// Rows are of true and false statements by turns.
fn of_head(head: HeadId, fitted: &[Vec<f32>], judged: &[Vec<f32>], settings: &Settings) -> Found {
    let labels = |n: usize| -> Vec<bool> { (0..n).map(|i| i % 2 == 0).collect() };
    let slices: Vec<&[f32]> = fitted.iter().map(Vec::as_slice).collect();
    let probe = Probe::fit(&slices, &labels(fitted.len()), settings.ridge);
    let scores: Vec<f64> = judged.iter().map(|row| probe.score(row)).collect();
    let truth = labels(judged.len());
    let all: Vec<&Vec<f32>> = fitted.iter().chain(judged).collect();
    let d_head = fitted.first().map_or(0, Vec::len);
    let towards: Vec<f64> = match settings.direction {
        Direction::Probe => probe.weights.clone(),
        Direction::MassMean => (0..d_head)
            .map(|j| {
                let signed = all.iter().enumerate().map(|(i, row)| {
                    let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                    sign * f64::from(row[j])
                });
                2.0 * signed.sum::<f64>() / all.len().max(1) as f64
            })
            .collect(),
    };
    let length = towards.iter().map(|x| x * x).sum::<f64>().sqrt();
    let direction: Vec<f64> = if length > 0.0 {
        towards.iter().map(|x| x / length).collect()
    } else {
        vec![0.0; d_head]
    };
    let along: Vec<f64> = all
        .iter()
        .map(|row| {
            row.iter()
                .zip(&direction)
                .map(|(x, d)| f64::from(*x) * d)
                .sum()
        })
        .collect();
    let mean = along.iter().sum::<f64>() / along.len().max(1) as f64;
    let squares: f64 = along.iter().map(|x| (x - mean).powi(2)).sum();
    Found {
        head,
        accuracy: accuracy(&scores, &truth),
        auc: auc(&scores, &truth),
        direction,
        sd: (squares / along.len().max(1) as f64).sqrt(),
    }
}

/// Best first: by accuracy, then AUC, then in the order of the heads.
fn ranked(found: &[Found]) -> Vec<&Found> {
    let mut ranked: Vec<&Found> = found.iter().collect();
    ranked.sort_by(|a, b| {
        let by = b.accuracy.total_cmp(&a.accuracy);
        by.then(b.auc.total_cmp(&a.auc)).then(a.head.cmp(&b.head))
    });
    ranked
}

/// Probes of all heads, the vectors that move the best of them, and what those do to prompts that were held out.
pub fn iti(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<(Report, Vectors), AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let n_ctx = model.spec.n_ctx;
    let (kept, notes) = usable(&model, cases, "iti", true)?;
    let longest = kept.iter().map(|case| {
        let answer = case.right_tokens(0).len().max(case.wrong_tokens(0).len());
        case.spec.ids.len() + answer
    });
    if longest.max().is_some_and(|n| n > n_ctx) {
        return Err(AnalysisError::needs(format!(
            "iti puts an answer after each prompt, and one fills the model's context of {n_ctx} tokens: leave it out"
        )));
    }
    let several = kept.iter().any(has_several);
    let (learned, held_out) = part(kept, settings.held_out, settings.seed);
    let heads = all_heads(&model);
    let k = count(settings.heads, SHARE, heads.len());
    let mut report = Report::new("iti")
        .with("heads", k)
        .with("direction", settings.direction.name())
        .with("alpha", settings.alpha)
        .with("at", at_text(&settings.at))
        .with("held_out", settings.held_out)
        .with("validation", settings.validation)
        .with("folds", settings.folds)
        .with("ridge", settings.ridge)
        .with("seed", settings.seed);
    for note in notes {
        report.note(note);
    }
    let seed = settings.seed.wrapping_add(1);
    let half = learn(engine, &learned, settings, seed, &mut |done| {
        progress.at(0.4 * done, None)
    })?;
    report = report
        .with("prompts_fitted", half.n_fitted)
        .with("prompts_judged", half.n_judged)
        .with("prompts_held_out", held_out.len());
    let found = &half.found;
    describe(&mut report, &model, found);
    if !progress.at(0.4, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    let ranked = ranked(found);
    let chosen: Vec<&Found> = ranked.iter().copied().take(k).collect();
    report.tables.push(chosen_table(&chosen));
    let first = measure(
        engine,
        (&held_out, several),
        found,
        &chosen,
        settings,
        &mut report,
        &mut |done| progress.at(0.25f32.mul_add(done, 0.4), None),
    )?;
    if !progress.at(0.65, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    let first = folds::Fold::new(&chosen, held_out.len(), first);
    folds::compare(
        engine,
        (first, [&learned, &held_out]),
        (settings, k),
        &mut report,
        &mut |done| progress.at(0.3f32.mul_add(done, 0.65), None),
    )?;
    prose::measure(engine, found, &chosen, settings, &mut report, &mut |done| {
        progress.at(0.05f32.mul_add(done, 0.95), None)
    })?;
    notes_of(&mut report, &model, (found, &chosen), several);
    let chosen_heads: Vec<HeadId> = chosen.iter().map(|of| of.head).collect();
    let edits = edits(&chosen, settings.alpha, &settings.at);
    let vectors = Vectors {
        tensors: tensors(&chosen),
        edits: edits.iter().map(Edit::to_string).collect(),
        recipe: recipe(&model, &report, settings.seed, &chosen_heads),
    };
    Ok((report, vectors))
}

/// What some prompts taught.
struct Learned {
    found: Vec<Found>,
    n_fitted: usize,
    n_judged: usize,
}

/// Probes of all heads, fitted to a part of the prompts and judged by the others.
fn learn(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    seed: u64,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Learned, AnalysisError> {
    let (fitted, judged) = part(cases.to_vec(), settings.validation, seed);
    let n_all = cases.len() as f32;
    let (n_fitted, n_judged) = (fitted.len(), judged.len());
    let fitted = pairs(engine, &fitted, &mut |i| go_on(0.8 * i as f32 / n_all))?;
    let judged = pairs(engine, &judged, &mut |i| {
        go_on(0.8 * (n_fitted + i) as f32 / n_all)
    })?;
    let model = engine.model();
    let shape = (model.spec.n_heads, model.spec.d_head);
    let heads = all_heads(model);
    let found = probes(&fitted, &judged, &heads, shape, settings, &mut |done| {
        go_on(0.2f32.mul_add(done, 0.8))
    })?;
    Ok(Learned {
        found,
        n_fitted,
        n_judged,
    })
}

/// z of all heads at the last token of each prompt's true and false statement.
fn pairs(
    engine: &mut Engine,
    cases: &[Case],
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Pair>, AnalysisError> {
    let mut found = Vec::with_capacity(cases.len());
    for (i, case) in cases.iter().enumerate() {
        let go_on = &mut || go_on(i);
        found.push(Pair {
            right: last_z(engine, &statement(case, case.right_tokens(0)), go_on)?,
            wrong: last_z(engine, &statement(case, case.wrong_tokens(0)), go_on)?,
        });
    }
    Ok(found)
}

/// The prompt with an answer, read at its last token.
fn statement(case: &Case, answer: &[u32]) -> RunSpec {
    let spec = case.followed_by(answer);
    RunSpec {
        position: spec.ids.len() - 1,
        last: spec.ids.len() - 1,
        ..spec
    }
}

/// All heads' z at the last token, `[layer, head, d_head]`.
fn last_z(
    engine: &mut Engine,
    spec: &RunSpec,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<f32>, AnalysisError> {
    let n_layers = engine.model().spec.n_layers;
    let sites: Vec<Site> = (0..n_layers)
        .map(|layer| Site::Block(layer, Part::Z))
        .collect();
    let dumped = engine.dump_while(spec, &sites, go_on)?;
    Ok(dumped
        .iter()
        .flat_map(|z| {
            let width = z.values.len() / spec.ids.len();
            z.values[width * spec.position..][..width].iter().copied()
        })
        .collect())
}
