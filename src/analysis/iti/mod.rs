//! Which heads tell a true answer from a false one, and what does pushing them towards the true ones do? Inference-time
//! intervention (Li et al. 2023, arXiv 2306.03341; the authors' program).
//!
//! A prompt with its first right answer's token behind it is a true statement, with its first wrong one's a false one. A
//! logistic regression a head parts their z at that last token; the heads whose probes do best on statements that they
//! were not fitted to are moved at inference: z ← z + α σ θ, θ the unit direction, σ the standard deviation of ⟨z, θ⟩
//! over the statements of both kinds.
//!
//! Chosen where the paper leaves it open: half of the prompts are held out (one of its two folds), and the two statements
//! of a prompt stay together; σ is over the other half. `@last` is the prompt's last token; generated tokens are moved
//! too with `at all`, which then moves the whole prompt.

mod effect;
mod probe;
#[cfg(test)]
mod tests;

use crate::analysis::field::{Field, Value};
use crate::analysis::report::Report;
use crate::analysis::{AnalysisError, Case, Progress};
use crate::edit::{Edit, Positions};
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::site::{Part, Site};

use effect::{at_text, chosen_table, describe, edits, measure, notes_of, tensors};

use crate::analysis::learned::{Vectors, all_heads, count, part, recipe, usable};
pub use probe::{Probe, accuracy, auc};

/// Heads that are moved: 48 of LLaMA-7B's 1,024.
const SHARE: f64 = 48.0 / 1024.0;

/// Where a head is pushed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the mean of the false statements to that of the true ones.
    #[default]
    MassMean,
    /// Across the probe's line.
    Probe,
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::MassMean, Self::Probe];

    pub const fn name(self) -> &'static str {
        match self {
            Self::MassMean => "mass_mean",
            Self::Probe => "probe",
        }
    }
}

crate::choose!(Direction);

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Heads that are moved; `None`: 4.7 % of them, as 48 of 1,024.
    pub heads: Option<usize>,
    pub direction: Direction,
    /// In standard deviations.
    pub alpha: f64,
    pub at: Positions,
    /// Share of the prompts that nothing is learned from.
    pub held_out: f64,
    /// Share of the others that the probes are chosen by.
    pub validation: f64,
    /// Weight of the probes' penalty, 1/C.
    pub ridge: f64,
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heads: None,
            direction: Direction::MassMean,
            alpha: 15.0,
            at: Positions::Last,
            held_out: 0.5,
            validation: 0.2,
            ridge: 1.0,
            seed: 42,
        }
    }
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "heads",
                "How many heads are moved",
                Value::MaybeCount(&mut self.heads, 1..=100_000),
            ),
            Field::new(
                "direction",
                "Where they are moved: between the means of false and true, or across the probe's line",
                Value::Choice(&mut self.direction),
            ),
            Field::new(
                "alpha",
                "How far, in standard deviations along the direction",
                Value::Number(&mut self.alpha, -1000.0..=1000.0),
            ),
            Field::new(
                "at",
                "Where: last, or all (generated tokens too)",
                Value::Positions(&mut self.at),
            ),
            Field::new(
                "held-out",
                "Share of the prompts that only the effect is measured on",
                Value::Number(&mut self.held_out, 0.0..=0.5),
            ),
            Field::new(
                "validation",
                "Share of the others that heads are chosen by",
                Value::Number(&mut self.validation, 0.0..=0.5),
            ),
            Field::new(
                "ridge",
                "Weight of the probes' penalty",
                Value::Number(&mut self.ridge, 0.0..=1e6),
            ),
            Field::new(
                "seed",
                "Of the shuffles and controls",
                Value::Seed(&mut self.seed),
            ),
        ]
    }
}

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
    let spec = &model.spec;
    let (kept, notes) = usable(&model, cases, "iti", true)?;
    let longest = kept.iter().map(|case| case.spec.ids.len()).max();
    if longest.is_some_and(|n| n >= spec.n_ctx) {
        return Err(AnalysisError::needs(format!(
            "iti puts an answer after each prompt, and one fills the model's context of {} tokens: leave it out",
            spec.n_ctx
        )));
    }
    let (learned, held_out) = part(kept, settings.held_out, settings.seed);
    let (fitted, judged) = part(learned, settings.validation, settings.seed.wrapping_add(1));
    let heads = all_heads(&model);
    let k = count(settings.heads, SHARE, heads.len());
    let mut report = Report::new("iti")
        .with("heads", k)
        .with("direction", settings.direction.name())
        .with("alpha", settings.alpha)
        .with("at", at_text(&settings.at))
        .with("held_out", settings.held_out)
        .with("validation", settings.validation)
        .with("ridge", settings.ridge)
        .with("seed", settings.seed)
        .with("prompts_fitted", fitted.len())
        .with("prompts_judged", judged.len())
        .with("prompts_held_out", held_out.len());
    for note in notes {
        report.note(note);
    }
    let n_all = (fitted.len() + judged.len()) as f32;
    let fitted = pairs(engine, &fitted, &mut |i| {
        progress.at(0.5 * i as f32 / n_all, None)
    })?;
    let n_fitted = fitted.len();
    let judged = pairs(engine, &judged, &mut |i| {
        progress.at(0.5 * (n_fitted + i) as f32 / n_all, None)
    })?;
    let shape = (spec.n_heads, spec.d_head);
    let found = probes(&fitted, &judged, &heads, shape, settings, &mut |done| {
        progress.at(0.1f32.mul_add(done, 0.5), None)
    })?;
    describe(&mut report, &model, &found);
    if !progress.at(0.6, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    let ranked = ranked(&found);
    let chosen: Vec<&Found> = ranked.iter().copied().take(k).collect();
    report.tables.push(chosen_table(&chosen));
    measure(
        engine,
        &held_out,
        &found,
        &chosen,
        settings,
        &mut report,
        progress,
    )?;
    notes_of(&mut report, &model, &chosen);
    let chosen_heads: Vec<HeadId> = chosen.iter().map(|of| of.head).collect();
    let edits = edits(&chosen, settings.alpha, &settings.at);
    let vectors = Vectors {
        tensors: tensors(&chosen),
        edits: edits.iter().map(Edit::to_string).collect(),
        recipe: recipe(&model, &report, settings.seed, &chosen_heads),
    };
    Ok((report, vectors))
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
        let Some((right, wrong)) = case.pair() else {
            continue;
        };
        found.push(Pair {
            right: last_z(engine, &with(&case.spec, right), go_on)?,
            wrong: last_z(engine, &with(&case.spec, wrong), go_on)?,
        });
    }
    Ok(found)
}

/// The prompt with one more token, read there.
fn with(spec: &RunSpec, id: u32) -> RunSpec {
    let ids = [&spec.ids[..], &[id]].concat();
    RunSpec {
        n_prompt: ids.len(),
        reach: ids.len(),
        position: ids.len() - 1,
        last: ids.len() - 1,
        ids: ids.into(),
        ..spec.clone()
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
