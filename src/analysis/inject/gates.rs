//! Gates of heads, learned by Adam on one prompt a step.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::analysis::{AnalysisError, Case};
use crate::experiment::engine::{Engine, RunError};
use crate::model::backward::Reach;
use crate::model::plan::{Change, RowEdit};
use crate::model::site::{Part, Site};

use super::Settings;
use crate::analysis::learned::cross_entropy;

/// Learned gates, and how they came about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gates {
    /// `[layer, head]`, from 0 to 1.
    pub alphas: Vec<f64>,
    /// The step that they are from.
    pub step: usize,
    /// Step and loss of the prompt that it was made on.
    pub losses: Vec<[f64; 2]>,
    /// Step and mean loss of the validating prompts.
    pub validation: Vec<[f64; 2]>,
}

/// Learns gates. `heard` is told the finished fraction and, before each prompt, what is there, and may stop it.
pub fn learn(
    engine: &mut Engine,
    [train, valid]: [&[Case]; 2],
    embedding: &[f32],
    settings: &Settings,
    heard: &mut dyn FnMut(f32, Option<&Gates>) -> bool,
) -> Result<Gates, AnalysisError> {
    let n = engine.model().spec.n_layers * engine.model().spec.n_heads;
    let n_layers = engine.model().spec.n_layers;
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed.wrapping_add(3));
    let mut logits = vec![0.0; n];
    let (mut means, mut squares) = (vec![0.0; n], vec![0.0; n]);
    let mut gates = Gates {
        alphas: vec![0.5; n],
        ..Gates::default()
    };
    let mut lowest = f64::INFINITY;
    for step in 1..=settings.steps {
        let fraction = (step - 1) as f32 / settings.steps as f32;
        if !heard(fraction, Some(&gates)) {
            return Err(RunError::Stopped.into());
        }
        let alphas: Vec<f64> = logits.iter().map(|s| sigmoid(*s)).collect();
        let case = &train[rng.random_range(0..train.len())];
        let (loss, slopes) = gradient(engine, case, embedding, (&alphas, 0), &mut || {
            heard(fraction, None)
        })?;
        gates.losses.push([step as f64, loss]);
        let (unbias, unbias_squares) = (
            1.0 - 0.9f64.powi(step as i32),
            1.0 - 0.999f64.powi(step as i32),
        );
        for i in 0..n {
            let d = slopes[i] * alphas[i] * (1.0 - alphas[i]);
            means[i] = 0.9f64.mul_add(means[i], 0.1 * d);
            squares[i] = 0.999f64.mul_add(squares[i], 0.001 * d * d);
            let root: f64 = squares[i] / unbias_squares;
            logits[i] -= settings.rate * (means[i] / unbias) / (root.sqrt() + 1e-8);
        }
        if step % settings.every.max(1) != 0 && step != settings.steps {
            continue;
        }
        let alphas: Vec<f64> = logits.iter().map(|s| sigmoid(*s)).collect();
        let mut sum = 0.0;
        for case in valid {
            let go_on = &mut || heard(step as f32 / settings.steps as f32, None);
            sum += gradient(engine, case, embedding, (&alphas, n_layers - 1), go_on)?.0;
        }
        let loss = sum / valid.len().max(1) as f64;
        gates.validation.push([step as f64, loss]);
        if !settings.best || loss < lowest || gates.step == 0 {
            lowest = loss;
            gates.alphas = alphas;
            gates.step = step;
        }
    }
    Ok(gates)
}

/// The loss of a prompt under gates, and its slope by each of them (not by their logits); those of layers below
/// `down_to` are 0.
pub fn gradient(
    engine: &mut Engine,
    case: &Case,
    embedding: &[f32],
    (alphas, down_to): (&[f64], usize),
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(f64, Vec<f64>), AnalysisError> {
    let (n_heads, d_head) = (engine.model().spec.n_heads, engine.model().spec.d_head);
    let width = n_heads * d_head;
    let at = case.spec.position;
    let learned: Vec<(Site, RowEdit)> = alphas
        .chunks_exact(n_heads)
        .zip(embedding.chunks_exact(width))
        .enumerate()
        .map(|(layer, (alphas, t))| {
            let alpha = |i: usize| alphas[i / d_head] as f32;
            let edit = RowEdit {
                columns: 0..width,
                positions: vec![at],
                change: Change::Affine {
                    gain: (0..width).map(|i| 1.0 - alpha(i)).collect(),
                    shift: (0..width).map(|i| alpha(i) * t[i]).collect(),
                },
            };
            (Site::Block(layer, Part::Z), edit)
        })
        .collect();
    let positions = [at];
    let reach = Reach {
        positions: &positions,
        down_to,
    };
    let answer = case.answers.first().copied().unwrap_or_default();
    let mut loss = None;
    let mut read = |logits: &[f32]| {
        let (found, d) = cross_entropy(logits, answer);
        loss = found;
        d
    };
    let found = engine.gradient(&case.spec, &learned, reach, &mut read, go_on)?;
    let loss = loss.ok_or_else(|| {
        AnalysisError::needs(format!(
            "the answer of `{}` is no token of this model",
            case.label
        ))
    })?;
    let mut slopes = vec![0.0; alphas.len()];
    for (layer, of_layer) in found.layers.iter().enumerate().skip(down_to) {
        let z = &of_layer.z[at * width..][..width];
        let d = &of_layer.by_edited_z[at * width..][..width];
        let t = &embedding[layer * width..][..width];
        for i in 0..width {
            slopes[layer * n_heads + i / d_head] += f64::from(d[i]) * f64::from(t[i] - z[i]);
        }
    }
    Ok((loss, slopes))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
