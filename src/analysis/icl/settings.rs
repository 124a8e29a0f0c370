//! The settings of a training run and the bounds that the trainer supports.

use std::ops::{Range, RangeInclusive};

use crate::analysis::field::{Field, Value};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How the key and query matrices start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Uniform in `+-1/sqrt(width)`, as linear layers start in common frameworks.
    #[default]
    Default,
    /// `K = 0.1 I`, `Q = +0.1 I` for even heads and `-0.1 I` for odd ones, and
    /// `O` along the label columns of `V` with the same sign, so that `omega` and
    /// `mu` agree from the start. Two heads then do not settle on the one-head
    /// plateau, as some default seeds do for tens of thousands of steps.
    Opposite,
}

/// One training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Number of covariates; tokens have `d + tasks` entries.
    pub d: usize,
    /// Examples in one prompt, without the query.
    pub length: usize,
    pub n_heads: usize,
    /// Labels of a token, 1 or 2, each with a `beta` of its own; see [`Settings::reads`].
    pub tasks: usize,
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
            tasks: 1,
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
                "Covariates; tokens have one entry more for each task",
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
                "tasks",
                "Labels of an example; of two, the first is made from the first 3/5 of the covariates, the second from the last 4/5",
                Value::Count(&mut self.tasks, 1..=2),
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

    /// Entries of a token.
    pub fn width(&self) -> usize {
        self.d + self.tasks
    }

    /// The covariates that a task's label is made from. One task reads all. Of two the first reads the first 3/5 and the
    /// second the last 4/5, rounded up: 3 and 4 of 5 in the authors' notebook, with two that both read.
    pub fn reads(&self, task: usize) -> Range<usize> {
        match (self.tasks, task) {
            (1, _) => 0..self.d,
            (_, 0) => 0..(3 * self.d).div_ceil(5),
            _ => self.d / 5..self.d,
        }
    }

    /// Checks every field against the bounds the trainer supports.
    pub fn validate(&self) -> Result<(), IclError> {
        let Self {
            d,
            length,
            n_heads,
            tasks,
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
        whole("tasks", tasks, 1..=2)?;
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

#[cfg(test)]
mod tests {
    use super::super::Trainer;
    use super::*;

    #[test]
    fn defaults_are_valid_and_tested_at_four_lengths() {
        let settings = Settings::default();
        assert_eq!(settings.validate(), Ok(()));
        assert_eq!(settings.test_lengths(), [20, 40, 80, 160]);
    }

    #[test]
    fn two_tasks_share_some_covariates() {
        let reads = |d, tasks, task| {
            Settings {
                d,
                tasks,
                ..Settings::default()
            }
            .reads(task)
        };
        assert_eq!((reads(5, 2, 0), reads(5, 2, 1)), (0..3, 1..5));
        assert_eq!((reads(1, 2, 0), reads(1, 2, 1)), (0..1, 0..1));
        for d in 1..=32 {
            assert_eq!(reads(d, 1, 0), 0..d);
            assert_eq!(reads(d, 2, 1).len(), (4 * d).div_ceil(5));
        }
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
                "tasks",
                Settings {
                    tasks: 3,
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
