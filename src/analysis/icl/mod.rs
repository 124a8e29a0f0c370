//! In-context linear regression lab: train a one-layer softmax attention
//! model on noisy linear regression prompts and read the algorithm off its heads.
//!
//! Data, model and expected structure follow "In-Context Linear Regression
//! Demystified" (He, Pan, Chen, Yang 2025, arXiv 2503.12734): after training,
//! `KQ_h ~ omega_h I`, `OV_h ~ mu_h e_last`, active heads pair up with opposite
//! signs, and the sum of heads acts as one debiased gradient-descent step.
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
mod trainer;

use std::ops::RangeInclusive;

use super::field::{Field, Value};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use inspect::{by_omega, diagonal_share, trace_ratio};
pub use lab::run;
pub use reference::{Reference, references};
pub use trainer::Trainer;

/// How the key and query matrices start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Uniform in `+-1/sqrt(d + 1)`, as linear layers start in common frameworks.
    #[default]
    Default,
    /// `K = 0.1 I`, `Q = +0.1 I` for even heads and `-0.1 I` for odd ones, and
    /// `O` along the label column of `V` with the same sign, so that `omega` and
    /// `mu` agree from the start. Two heads then do not settle on the one-head
    /// plateau, as some default seeds do for tens of thousands of steps.
    Opposite,
}

/// One training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Number of covariates; tokens have `d + 1` entries.
    pub d: usize,
    /// Examples in one prompt, without the query.
    pub length: usize,
    pub n_heads: usize,
    /// Variance of the label noise.
    pub noise: f64,
    /// Adam steps of the whole run; the last 30 % use the small learning rate.
    pub steps: usize,
    /// Fresh sequences per step.
    pub batch: usize,
    pub seed: u64,
    pub init: Init,
    /// `rho` of the covariate covariance `rho^|i-j|`; 0 is isotropic.
    pub covariance: f64,
}

impl Init {
    pub const ALL: [Self; 2] = [Self::Default, Self::Opposite];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Opposite => "opposite",
        }
    }
}

crate::choose!(Init);

impl Default for Settings {
    fn default() -> Self {
        Self {
            d: 5,
            length: 40,
            n_heads: 4,
            noise: 0.1,
            steps: 25_000,
            batch: 256,
            seed: 0,
            init: Init::Default,
            covariance: 0.0,
        }
    }
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "d",
                "Covariates; tokens have one entry more",
                Value::Count(&mut self.d, 1..=32),
            ),
            Field::new(
                "length",
                "Examples in a prompt",
                Value::Count(&mut self.length, 2..=512),
            ),
            Field::new(
                "heads",
                "Attention heads",
                Value::Count(&mut self.n_heads, 1..=16),
            ),
            Field::new(
                "noise",
                "Variance of the label noise",
                Value::Number(&mut self.noise, 0.0..=10.0),
            ),
            Field::new(
                "steps",
                "Steps of Adam",
                Value::Count(&mut self.steps, 1..=1_000_000),
            ),
            Field::new(
                "batch",
                "Fresh sequences a step",
                Value::Count(&mut self.batch, 1..=1024),
            ),
            Field::new(
                "seed",
                "Seed of weights and data",
                Value::Seed(&mut self.seed),
            ),
            Field::new(
                "init",
                "How keys and queries start",
                Value::Choice(&mut self.init),
            ),
            Field::new(
                "covariance",
                "rho of the covariates' covariance rho^|i-j|; 0 is isotropic",
                Value::Number(&mut self.covariance, -0.95..=0.95),
            ),
        ]
    }

    /// Checks every field against the bounds the trainer supports.
    pub fn validate(&self) -> Result<(), IclError> {
        let Self {
            d,
            length,
            n_heads,
            noise,
            steps,
            batch,
            seed: _,
            init: _,
            covariance,
        } = *self;
        whole("d", d, 1..=32)?;
        whole("length", length, 2..=512)?;
        whole("n_heads", n_heads, 1..=16)?;
        real("noise", noise, 0.0..=10.0)?;
        whole("steps", steps, 1..=1_000_000)?;
        whole("batch", batch, 1..=1024)?;
        real("covariance", covariance, -0.95..=0.95)
    }

    /// Prompt lengths the trained model is tested on: L/2, L, 2L and 4L.
    pub fn test_lengths(&self) -> Vec<usize> {
        let length = self.length;
        vec![(length / 2).max(1), length, 2 * length, 4 * length]
    }
}

fn whole(field: &'static str, got: usize, range: RangeInclusive<usize>) -> Result<(), IclError> {
    if range.contains(&got) {
        return Ok(());
    }
    Err(IclError::OutOfRange {
        field,
        got: got.to_string(),
        low: range.start().to_string(),
        high: range.end().to_string(),
    })
}

fn real(field: &'static str, got: f64, range: RangeInclusive<f64>) -> Result<(), IclError> {
    if range.contains(&got) {
        return Ok(());
    }
    Err(IclError::OutOfRange {
        field,
        got: got.to_string(),
        low: range.start().to_string(),
        high: range.end().to_string(),
    })
}

/// Why a run cannot start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IclError {
    #[error(
        "regression lab setting `{field}` is {got}, outside {low} to {high}; choose a value in that range"
    )]
    OutOfRange {
        field: &'static str,
        got: String,
        low: String,
        high: String,
    },
}

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
    /// `K^T Q / sqrt(d + 1)`, `[key side, query side]` row-major, `(d + 1)^2`
    /// entries. The last column has no effect: the query's last entry is 0.
    pub kq: Vec<f32>,
    /// `O V`, `[token entry]`, `d + 1` entries.
    pub ov: Vec<f32>,
    /// Mean diagonal of the `d x d` block of `kq`.
    pub omega: f32,
    /// Standard deviation over |mean| of that diagonal; 0 is a multiple of `I`.
    pub homogeneity: f32,
    /// Root mean square of the block's off-diagonal over |omega|.
    pub off_diagonal: f32,
    /// Root mean square of the label row of `kq` (columns below `d`) over |omega|.
    pub last_row: f32,
    /// Share of the norm of `ov` in its last entry, 0 to 1.
    pub last_entry: f32,
    /// Last entry of `ov`.
    pub mu: f32,
    /// False for a dummy head: |omega mu| below 5 % of the largest head's.
    pub active: bool,
}

impl HeadReport {
    /// The covariate block of `kq`, `[key side, query side]` row-major, `d^2`
    /// entries: the part with a predicted shape, without the inert last column.
    pub fn block(&self) -> Vec<f32> {
        let width = self.ov.len();
        let rows = self.kq.chunks_exact(width).take(width - 1);
        rows.flat_map(|row| &row[..width - 1]).copied().collect()
    }
}

/// Test loss at one prompt length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LengthTest {
    pub length: usize,
    /// Mean squared error on a fixed set of drawn prompts, the same for every
    /// seed; about 1 % standard error at the default settings.
    pub loss: f64,
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
    /// `|sum mu| / sum |mu|`; near 0 when the heads debias.
    pub zero_sum: f32,
    /// `sum mu omega`: step size of the gradient-descent step the heads add up to.
    pub eta: f32,
    /// By length, in the order of [`Settings::test_lengths`].
    pub test: Vec<LengthTest>,
    /// In the same order.
    pub references: Vec<Reference>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_tested_at_four_lengths() {
        let settings = Settings::default();
        assert_eq!(settings.validate(), Ok(()));
        assert_eq!(settings.test_lengths(), [20, 40, 80, 160]);
    }

    #[test]
    fn every_bound_is_reported_by_field_name() {
        let default = Settings::default;
        let bad = [
            ("d", Settings { d: 0, ..default() }),
            (
                "length",
                Settings {
                    length: 1,
                    ..default()
                },
            ),
            (
                "n_heads",
                Settings {
                    n_heads: 17,
                    ..default()
                },
            ),
            (
                "noise",
                Settings {
                    noise: -0.1,
                    ..default()
                },
            ),
            (
                "noise",
                Settings {
                    noise: f64::NAN,
                    ..default()
                },
            ),
            (
                "steps",
                Settings {
                    steps: 0,
                    ..default()
                },
            ),
            (
                "batch",
                Settings {
                    batch: 0,
                    ..default()
                },
            ),
            (
                "covariance",
                Settings {
                    covariance: 1.0,
                    ..default()
                },
            ),
        ];
        for (name, settings) in bad {
            let error = settings.validate().unwrap_err();
            let IclError::OutOfRange { field, .. } = &error;
            assert_eq!(*field, name);
            assert!(Trainer::new(settings).is_err());
        }
        let error = Settings {
            length: 1,
            ..default()
        }
        .validate()
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "regression lab setting `length` is 1, outside 2 to 512; choose a value in that range"
        );
    }
}
