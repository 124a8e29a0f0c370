//! In-context linear regression lab: train a one-layer softmax attention
//! model on noisy linear regression prompts and read the algorithm off its heads.
//!
//! Data, model and expected structure follow "In-Context Linear Regression
//! Demystified" (He, Pan, Chen, Yang 2025, arXiv 2503.12734): after training,
//! `KQ_h ~ omega_h I`, `OV_h ~ mu_h e_last`, active heads pair up with opposite
//! signs, and the sum of heads acts as one debiased gradient-descent step. With
//! correlated covariates that step has a matrix (a preconditioner); with two tasks
//! heads split between them, or serve both where there are fewer than four.
//!
//! Everything is plain `f32` with hand-written gradients, so a run is
//! deterministic per seed and fits on one core.

mod data;
mod forward;
#[cfg(test)]
mod full_runs;
mod inspect;
mod lab;
mod measure;
mod model;
mod optimizer;
mod reference;
mod settings;
mod tables;
mod trainer;

use serde::{Deserialize, Serialize};

pub use inspect::by_omega;
pub use lab::run;
pub use reference::{Reference, references};
pub use settings::{IclError, Init, Settings};
pub use trainer::Trainer;

/// Scales one head's output; 0 ablates it, 1 leaves it as trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadEdit {
    pub head: usize,
    pub scale: f32,
}

/// The two circuits of one head and the scalars that summarise them.
///
/// Only products are reported: `(K, Q) -> (-K, -Q)` changes the factors but not
/// the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadReport {
    /// `K^T Q / sqrt(width)`, `[key side, query side]` row-major, `width^2` entries,
    /// where `width` is `d + tasks`. The last `tasks` columns have no effect: the
    /// query's labels are 0.
    pub kq: Vec<f32>,
    /// `O V`, `[task, token entry]`, `tasks * width` entries.
    pub ov: Vec<f32>,
    /// What it does for each task.
    pub of_task: Vec<OfTask>,
    /// The task that it does most for, by |omega mu|; the scalars below are of it.
    pub task: usize,
    /// Mean diagonal of `kq` over the covariates that the task reads.
    pub omega: f32,
    /// Standard deviation over |mean| of that diagonal; 0 is a multiple of `I`.
    pub homogeneity: f32,
    /// Root mean square of the `d x d` block's off-diagonal over |omega|.
    pub off_diagonal: f32,
    /// Root mean square of the label rows of `kq` (columns below `d`) over |omega|.
    pub last_row: f32,
    /// Share of the norm of the task's row of `ov` in its own label, 0 to 1.
    pub last_entry: f32,
    /// That entry.
    pub mu: f32,
    /// False for a dummy head, which serves no task.
    pub active: bool,
}

/// What a head does for one task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OfTask {
    /// Mean diagonal of `kq` over the covariates that the task reads.
    pub omega: f32,
    /// The entry of `ov` from the task's label to its prediction.
    pub mu: f32,
    /// Whether |omega mu| reaches 5 % of the largest, over heads and tasks.
    pub active: bool,
}

impl HeadReport {
    /// Entries of a token, and how many of them are covariates.
    fn shape(&self) -> (usize, usize) {
        let width = self.ov.len() / self.of_task.len();
        (width, width - self.of_task.len())
    }

    /// The covariate block of `kq`, `[key side, query side]` row-major, `d^2`
    /// entries: the part with a predicted shape, without the inert last columns.
    pub fn block(&self) -> Vec<f32> {
        let (width, d) = self.shape();
        let rows = self.kq.chunks_exact(width).take(d);
        rows.flat_map(|row| &row[..d]).copied().collect()
    }
}

/// Test loss at one prompt length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LengthTest {
    pub length: usize,
    /// Mean squared error on a fixed set of drawn prompts, the same for every
    /// seed; about 1 % standard error at the default settings. The mean of the tasks.
    pub loss: f64,
    /// Of each task.
    pub of_task: Vec<f64>,
}

/// A run as it stands, ready to draw or export.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub settings: Settings,
    /// Steps taken so far.
    pub step: usize,
    /// `(step, mean batch loss up to it)`, thinned to a few hundred points.
    pub losses: Vec<(usize, f32)>,
    pub heads: Vec<HeadReport>,
    /// `|sum mu| / sum |mu|` of each task; near 0 when the heads debias.
    pub zero_sum: Vec<f32>,
    /// `sum mu omega` of each task: step size of the gradient-descent step the heads add up to.
    pub eta: Vec<f32>,
    /// By length, in the order of [`Settings::test_lengths`].
    pub test: Vec<LengthTest>,
    /// In the same order; the mean of the tasks.
    pub references: Vec<Reference>,
}
