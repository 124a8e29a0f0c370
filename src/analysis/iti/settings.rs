//! What inference-time intervention is run with; the defaults are the paper's.

use crate::analysis::field::{Field, Value};
use crate::edit::Positions;

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
    /// 2: the held-out prompts are learned from in turn, and the others measured on.
    pub folds: usize,
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
            folds: 2,
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
                "folds",
                "2: learn from the held-out prompts in turn too; 1: do not",
                Value::Count(&mut self.folds, 1..=2),
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
