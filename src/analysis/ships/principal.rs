//! Final-stream rows of many edited runs, and the principal angles between what two models make of the same prompts:
//! what generalised Ships is computed from.

use std::sync::Arc;

use nalgebra::DMatrix;

use crate::analysis::AnalysisError;
use crate::edit::Edit;
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Reading, RunSpec};
use crate::model::Model;
use crate::model::site::Site;
use crate::model::spec::{Head, Norm};

/// Logits that a row is solved from, for each value of it.
const LOGITS_A_VALUE: usize = 2;

/// How far a solved row may be from the dumped one, of its norm: above f32's rounding, and far below what an edit does.
const TRUSTED: f64 = 1e-4;

/// The rows that the unembedding reads at the read position (after the final norm), under edits.
///
/// A pass for each edit costs far more than a sweep, which gives logits only. But logits are a matrix of full rank times
/// the row, so that some of them give it back by least squares. Where that fails on the unedited run (logits in half
/// precision, a saturated cap), every row is dumped by a pass of its own.
#[derive(Debug)]
pub(super) struct FinalRows {
    tokens: Vec<u32>,
    /// `[d_model, token]`; `None` where rows are dumped.
    solve: Option<DMatrix<f64>>,
    bias: Vec<f64>,
    cap: Option<f64>,
}

impl FinalRows {
    /// `spec` is a prompt that the solution is tried on.
    pub(super) fn new(engine: &mut Engine, spec: &RunSpec) -> Result<Self, AnalysisError> {
        let model = Arc::clone(engine.model());
        let d_model = model.spec.d_model;
        let n_tokens = (LOGITS_A_VALUE * d_model).min(model.spec.n_vocab);
        // Evenly over the vocabulary: ids beside each other are often alike.
        let tokens: Vec<u32> = (0..n_tokens)
            .map(|i| (i * model.spec.n_vocab / n_tokens) as u32)
            .collect();
        let mut rows = Self {
            bias: tokens
                .iter()
                .map(|id| f64::from(model.unembedding_bias(*id)))
                .collect(),
            solve: None,
            cap: model.spec.logit_cap,
            tokens,
        };
        if model.spec.head != Head::NextToken || n_tokens < d_model {
            return Ok(rows);
        }
        let unembed = model.unembedding(&rows.tokens)?;
        let unembed =
            DMatrix::from_row_iterator(n_tokens, d_model, unembed.iter().copied().map(wide));
        let Some(inverse) = (unembed.transpose() * &unembed).cholesky() else {
            return Ok(rows);
        };
        rows.solve = Some(inverse.solve(&unembed.transpose()));
        let plain = engine.sweep(spec, &[vec![]], Reading::of(&rows.tokens), &mut |_| true)?;
        let dumped = dumped(engine, spec)?;
        let norm = dumped.iter().map(|x| x * x).sum::<f64>().sqrt();
        let is_trusted = rows.solved(&plain).is_some_and(|solved| {
            let off = solved[0].iter().zip(&dumped).map(|(a, b)| (a - b).powi(2));
            off.sum::<f64>().sqrt() <= TRUSTED * norm
        });
        if !is_trusted {
            rows.solve = None;
        }
        Ok(rows)
    }

    /// Whether rows are solved from logits.
    pub(super) const fn is_solved(&self) -> bool {
        self.solve.is_some()
    }

    /// The row under each list of edits, `[variant][d_model]`.
    pub(super) fn sweep(
        &self,
        engine: &mut Engine,
        spec: &RunSpec,
        variants: &[Vec<Edit>],
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Vec<Vec<f64>>, AnalysisError> {
        if self.is_solved() {
            let logits = engine.sweep(spec, variants, Reading::of(&self.tokens), go_on)?;
            if let Some(rows) = self.solved(&logits) {
                return Ok(rows);
            }
        }
        Self::dump(engine, spec, variants, go_on)
    }

    /// As [`Self::sweep`], where the logits of the whole vocabulary are there already.
    pub(super) fn of_logits(
        &self,
        engine: &mut Engine,
        spec: &RunSpec,
        variants: &[Vec<Edit>],
        logits: &[Vec<f32>],
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Vec<Vec<f64>>, AnalysisError> {
        let chosen: Vec<Vec<f32>> = logits
            .iter()
            .map(|row| self.tokens.iter().map(|id| row[*id as usize]).collect())
            .collect();
        match self.solved(&chosen) {
            Some(rows) => Ok(rows),
            None => Self::dump(engine, spec, variants, go_on),
        }
    }

    fn dump(
        engine: &mut Engine,
        spec: &RunSpec,
        variants: &[Vec<Edit>],
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Vec<Vec<f64>>, AnalysisError> {
        let mut rows = Vec::with_capacity(variants.len());
        for (i, edits) in variants.iter().enumerate() {
            if !go_on(i as f32 / variants.len() as f32) {
                return Err(RunError::Stopped.into());
            }
            let edits = edits.clone();
            let edited = RunSpec {
                edits,
                ..spec.clone()
            };
            rows.push(dumped(engine, &edited)?);
        }
        Ok(rows)
    }

    /// Rows from their logits of [`Self::tokens`]; `None` where they cannot be had so.
    fn solved(&self, logits: &[Vec<f32>]) -> Option<Vec<Vec<f64>>> {
        let solve = self.solve.as_ref()?;
        let product = logits.iter().flat_map(|row| {
            row.iter().zip(&self.bias).map(|(logit, bias)| {
                let logit = f64::from(*logit);
                let uncapped = self.cap.map_or(logit, |cap| cap * (logit / cap).atanh());
                uncapped - bias
            })
        });
        let product = DMatrix::from_iterator(self.tokens.len(), logits.len(), product);
        let rows = solve * product;
        let rows: Vec<Vec<f64>> = rows
            .column_iter()
            .map(|row| row.iter().copied().collect())
            .collect();
        rows.iter().flatten().all(|x| x.is_finite()).then_some(rows)
    }
}

fn wide(x: f32) -> f64 {
    f64::from(x)
}

/// The row after the final norm at the read position, `[d_model]`, by a pass of its own.
pub(super) fn dumped(engine: &mut Engine, spec: &RunSpec) -> Result<Vec<f64>, AnalysisError> {
    let model = Arc::clone(engine.model());
    let d_model = model.spec.d_model;
    let site = Site::final_resid(&model.spec);
    let resid = engine.dump(spec, &[site])?;
    let row = resid
        .first()
        .and_then(|dumped| dumped.values.get(spec.position * d_model..)?.get(..d_model))
        .ok_or_else(|| AnalysisError::needs("the model gave no final stream"))?;
    Ok(normalized(&model, row))
}

/// The final norm of a row of the final stream, where the model has one.
fn normalized(model: &Model, row: &[f32]) -> Vec<f64> {
    let row: Vec<f64> = row.iter().copied().map(wide).collect();
    let Some(gain) = model.final_gain() else {
        return row;
    };
    let n = row.len() as f64;
    let mean = match model.spec.norm {
        Norm::Layer => row.iter().sum::<f64>() / n,
        Norm::Rms => 0.0,
    };
    let squares: f64 = row.iter().map(|x| (x - mean).powi(2)).sum();
    let scale = (squares / n + model.spec.norm_eps).sqrt();
    let bias = |i: usize| gain.bias.as_ref().map_or(0.0, |bias| f64::from(bias[i]));
    row.iter()
        .zip(&gain.weight)
        .enumerate()
        .map(|(i, (x, weight))| (x - mean) / scale * f64::from(*weight) + bias(i))
        .collect()
}

/// The first left singular vectors of a matrix `[prompt, d_model]`: directions among the prompts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Basis(DMatrix<f64>);

impl Basis {
    /// Of the eigenvectors of M Mᵀ, those of the `rank` largest eigenvalues; nothing is centred.
    pub(super) fn new(rows: &[&[f64]], rank: usize) -> Self {
        let n = rows.len();
        let gram: DMatrix<f64> = DMatrix::from_fn(n, n, |i, j| {
            rows[i].iter().zip(rows[j]).map(|(a, b)| a * b).sum()
        });
        let eigen = gram.symmetric_eigen();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
        let columns: Vec<_> = order
            .iter()
            .take(rank)
            .map(|i| eigen.eigenvectors.column(*i))
            .collect();
        Self(DMatrix::from_columns(&columns))
    }

    /// The principal angles between the two spans, in degrees, added up.
    pub(super) fn angle(&self, other: &Self) -> f64 {
        let between = self.0.transpose() * &other.0;
        let cosines = between.singular_values();
        cosines
            .iter()
            .map(|cosine| {
                let cosine = cosine.clamp(0.0, 1.0);
                // arccos, without its loss of digits near 1.
                let sine = ((1.0 - cosine) * (1.0 + cosine)).sqrt();
                sine.atan2(cosine).to_degrees()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::{Op, Target};
    use crate::ids::HeadId;
    use crate::model::load::{Unreported, open};

    fn engine(name: &str) -> Engine {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = match name {
            "demo" => name.to_owned(),
            _ => format!("{root}/tests/fixtures/models/{name}"),
        };
        Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()))
    }

    fn spec(ids: &[u32]) -> RunSpec {
        RunSpec {
            ids: ids.into(),
            n_prompt: ids.len(),
            reach: ids.len(),
            contrast: None,
            edits: vec![],
            position: ids.len() - 1,
            last: ids.len() - 1,
            bos_count: 0,
            folder: None,
        }
    }

    fn uniform(layer: usize, head: usize) -> Vec<Edit> {
        vec![Edit::new(
            Target::Head(HeadId::new(layer, head)),
            Op::Uniform,
        )]
    }

    #[test]
    fn solved_rows_are_the_dumped_ones_and_give_the_logits() {
        for name in ["demo", "tiny-llama", "tiny-gpt2", "tiny-gemma2"] {
            let mut engine = engine(name);
            let spec = spec(&[3, 7, 7, 20, 5, 11]);
            let rows = FinalRows::new(&mut engine, &spec).unwrap();
            assert!(rows.is_solved(), "{name}");
            let variants = [vec![], uniform(0, 1), uniform(1, 0)];
            let solved = rows
                .sweep(&mut engine, &spec, &variants, &mut |_| true)
                .unwrap();
            let by_pass = FinalRows::dump(&mut engine, &spec, &variants, &mut |_| true).unwrap();
            let logits = engine
                .sweep(&spec, &variants, Reading::default(), &mut |_| true)
                .unwrap();
            let of_all = rows
                .of_logits(&mut engine, &spec, &variants, &logits, &mut |_| true)
                .unwrap();
            let model = Arc::clone(engine.model());
            for (i, row) in by_pass.iter().enumerate() {
                let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                for ((a, b), c) in solved[i].iter().zip(row).zip(&of_all[i]) {
                    assert!((a - b).abs() < TRUSTED * norm, "{name} {i}: {a} {b}");
                    assert!((c - b).abs() < TRUSTED * norm, "{name} {i}: {c} {b}");
                }
                // The row is what the unembedding reads.
                for id in [0u32, 9, 30] {
                    let column = model.unembedding(&[id]).unwrap();
                    let product: f64 = column.iter().zip(row).map(|(a, b)| wide(*a) * b).sum();
                    let product = product + f64::from(model.unembedding_bias(id));
                    let cap = model.spec.logit_cap;
                    let logit = cap.map_or(product, |cap| cap * (product / cap).tanh());
                    assert!(
                        (logit - wide(logits[i][id as usize])).abs() < 1e-3,
                        "{name}"
                    );
                }
            }
            assert!(
                by_pass[0]
                    .iter()
                    .zip(&by_pass[1])
                    .any(|(a, b)| (a - b).abs() > 1e-3)
            );
        }
    }

    #[test]
    fn angles_are_those_that_were_planted() {
        // Two prompts; rows along one direction of the stream, so the first direction among prompts is (cos a, sin a).
        let planted = |degrees: f64| -> Basis {
            let a = degrees.to_radians();
            let rows = [vec![a.cos(), 0.0, 0.0], vec![a.sin(), 0.0, 0.0]];
            Basis::new(&[&rows[0], &rows[1]], 1)
        };
        for (from, to) in [(0.0, 30.0), (10.0, 10.5), (80.0, 0.0), (45.0, 45.0)] {
            let (from_b, to_b) = (planted(from), planted(to));
            let difference: f64 = from - to;
            // atan2 of √(1 − c²): half the digits of f64.
            assert!((from_b.angle(&to_b) - difference.abs()).abs() < 1e-5);
            assert!(from_b.angle(&from_b) < 1e-5);
        }
    }

    #[test]
    fn the_sign_of_prompts_and_of_singular_vectors_does_not_count() {
        let a = [
            vec![1.0, 2.0, 0.5],
            vec![0.3, -1.0, 2.0],
            vec![1.5, 0.2, 0.1],
        ];
        let b = [
            vec![1.1, 1.7, 0.4],
            vec![0.1, -1.3, 1.0],
            vec![0.5, 0.9, 0.1],
        ];
        let basis = |rows: &[Vec<f64>], rank: usize, signs: [f64; 3]| {
            let rows: Vec<Vec<f64>> = rows
                .iter()
                .zip(signs)
                .map(|(row, sign)| row.iter().map(|x| x * sign).collect())
                .collect();
            let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
            Basis::new(&rows, rank)
        };
        for rank in [1, 2] {
            let plain = basis(&a, rank, [1.0; 3]).angle(&basis(&b, rank, [1.0; 3]));
            assert!(plain > 1.0);
            for signs in [[-1.0; 3], [1.0, -1.0, 1.0]] {
                let signed = basis(&a, rank, signs).angle(&basis(&b, rank, signs));
                assert!((plain - signed).abs() < 1e-6, "{plain} {signed}");
            }
            let negated = Basis(-basis(&b, rank, [1.0; 3]).0);
            assert!((basis(&a, rank, [1.0; 3]).angle(&negated) - plain).abs() < 1e-6);
        }
        // A span of everything has no angle to any other.
        let all = basis(&a, 3, [1.0; 3]).angle(&basis(&b, 3, [1.0; 3]));
        assert!(all < 1e-4, "{all}");
    }
}
