//! A head's output-value circuit between chosen tokens, without the vocabulary-sized matrix: E W_V W_O W_U with the norms'
//! gains folded in, as the product of a `[token, d_head]` and a `[d_head, token]` matrix.

use crate::analysis::AnalysisError;
use crate::experiment::engine::RunError;
#[cfg(test)]
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::circuit::{Gain, HeadWeights};
use crate::model::spec::{Head, Placement};
use nalgebra::DMatrix;

/// What stands for a word at the head's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Effective {
    /// MLP0(norm(W_E)).
    #[default]
    Mlp,
    /// MLP0(W_E), as the paper's reproduction has it.
    MlpUnnormed,
    /// W_E: the baseline.
    Embedding,
}

impl Effective {
    pub const ALL: [Self; 3] = [Self::Mlp, Self::MlpUnnormed, Self::Embedding];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::MlpUnnormed => "mlp-unnormed",
            Self::Embedding => "embedding",
        }
    }

    /// Rows `[id, d_model]`.
    pub(crate) fn rows(self, model: &Model, ids: &[u32]) -> Result<Vec<f32>, AnalysisError> {
        let embedding = model.embedding(ids)?;
        if ids.is_empty() {
            return Ok(embedding);
        }
        Ok(match self {
            Self::Mlp => model.first_mlp(&embedding, true)?,
            Self::MlpUnnormed => model.first_mlp(&embedding, false)?,
            Self::Embedding => embedding,
        })
    }
}

/// Whether the target of each row has strictly the largest of the logits P Q. `p`: `[row, d_head]`, `q`: `[d_head,
/// candidate]`, `right`: each row's target among the candidates.
pub fn successes(p: &DMatrix<f32>, q: &DMatrix<f32>, right: &[usize]) -> Vec<bool> {
    let logits = p * q;
    right
        .iter()
        .enumerate()
        .map(|(row, right)| {
            let own = logits[(row, *right)];
            let others = (0..logits.ncols()).filter(|column| column != right);
            // Not `>=` turned around: NaN beats nothing.
            others.into_iter().all(|other| own > logits[(row, other)]) && !own.is_nan()
        })
        .collect()
}

/// A head's circuit between some tokens, without the vocabulary-sized matrix.
pub(crate) struct Circuit<'a> {
    model: &'a Model,
    fold: bool,
    /// The unembedding of the targets as the stream is read, `[target, d_model]`.
    write: DMatrix<f32>,
}

impl<'a> Circuit<'a> {
    pub(crate) fn new(
        model: &'a Model,
        targets: &[u32],
        fold: bool,
    ) -> Result<Self, AnalysisError> {
        check(model)?;
        let rows = model.unembedding(targets)?;
        let mut write = DMatrix::from_row_slice(targets.len(), model.spec.d_model, &rows);
        if fold && let Some(gain) = model.final_gain() {
            // lnf(r) · u = centred(r) · (γ ⊙ u) = r · centred(γ ⊙ u).
            scale(&mut write, &gain.weight);
            if gain.centres {
                centre(&mut write);
            }
        }
        Ok(Self { model, fold, write })
    }

    /// Rows of the stream as the attention of a layer reads them, `[row, d_model]`.
    pub(crate) fn read(&self, layer: usize, rows: &DMatrix<f32>) -> DMatrix<f32> {
        let mut rows = rows.clone();
        if self.fold
            && let Some(Gain {
                weight, centres, ..
            }) = self.model.attention_gain(layer)
        {
            if centres {
                centre(&mut rows);
            }
            scale(&mut rows, &weight);
        }
        rows
    }

    /// P `[row, d_head]` of rows as [`Self::read`] has them.
    pub(crate) fn p(weights: &HeadWeights, read: &DMatrix<f32>) -> DMatrix<f32> {
        let d = read.ncols();
        // Row-major [d_head, d_model] is column-major [d_model, d_head].
        read * DMatrix::from_column_slice(d, weights.v.len() / d, &weights.v)
    }

    /// Q `[d_head, target]`.
    pub(crate) fn q(&self, layer: usize, weights: &HeadWeights) -> DMatrix<f32> {
        let d = self.write.ncols();
        let d_head = weights.o.len() / d;
        let mut o = DMatrix::from_column_slice(d_head, d, &weights.o);
        if self.fold
            && let [Some(post), _] = self.model.post_gains(layer)
        {
            scale(&mut o, &post.weight);
        }
        o * self.write.transpose()
    }
}

/// Refuses models whose unembedding does not read the stream through one norm.
pub(crate) fn check(model: &Model) -> Result<(), AnalysisError> {
    match (&model.spec.head, model.spec.placement) {
        (Head::None, _) => Err(RunError::NoLogits.into()),
        (Head::MaskedToken { .. }, _) | (_, Placement::Post) => Err(AnalysisError::needs(
            "successor scores read what a head writes through the unembedding; this model has norms on the stream or a \
             prediction head that is not linear, so weights alone do not say it",
        )),
        _ => Ok(()),
    }
}

fn scale(matrix: &mut DMatrix<f32>, weight: &[f32]) {
    for (mut column, weight) in matrix.column_iter_mut().zip(weight) {
        column *= *weight;
    }
}

fn centre(matrix: &mut DMatrix<f32>) {
    for mut row in matrix.row_iter_mut() {
        let mean = row.mean();
        row.add_scalar_mut(-mean);
    }
}

/// Rows times the whole circuit of a head, norms as matrices, in f64: `[row, id]`. What the shortcuts are held against.
#[cfg(test)]
pub(crate) fn whole(model: &Model, head: HeadId, rows: &DMatrix<f64>, ids: &[u32]) -> DMatrix<f64> {
    let d = model.spec.d_model;
    let matrix = |rows, columns, values: &[f32]| {
        DMatrix::from_row_iterator(rows, columns, values.iter().map(|x| f64::from(*x)))
    };
    let norm = |gain: &Gain| {
        let gains = gain.weight.iter().map(|x| f64::from(*x));
        let gains = DMatrix::from_diagonal(&nalgebra::DVector::from_iterator(d, gains));
        let mean = if gain.centres { 1.0 / d as f64 } else { 0.0 };
        gains * (DMatrix::identity(d, d) - DMatrix::from_element(d, d, mean))
    };
    let weights = model.head_weights(head).unwrap();
    let d_head = weights.v.len() / d;
    let first = model
        .attention_gain(head.layer)
        .map_or(DMatrix::identity(d, d), |g| norm(&g));
    let [post, _] = model.post_gains(head.layer);
    let post = post.map_or(DMatrix::identity(d, d), |g| norm(&g));
    let last = model
        .final_gain()
        .map_or(DMatrix::identity(d, d), |g| norm(&g));
    let (v, o) = (matrix(d_head, d, &weights.v), matrix(d, d_head, &weights.o));
    let u = matrix(ids.len(), d, &model.unembedding(ids).unwrap());
    rows * (u * last * post * o * v * first).transpose()
}
