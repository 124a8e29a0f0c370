//! What LoFiT is run with; the defaults are the paper's.

use crate::analysis::field::{Field, Value};
use crate::ids::HeadId;

use super::train::{Kind, Objective, Training};
use crate::analysis::learned::CONTROLS;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What is made smaller.
    pub loss: Objective,
    /// β of the preference loss.
    pub beta: f64,
    /// Heads that get an offset; `None`: 3 % of them.
    pub heads: Option<usize>,
    pub epochs: usize,
    pub batch: usize,
    /// Rate of step 1.
    pub gain_rate: f64,
    /// Rate of step 2.
    pub offset_rate: f64,
    /// λ, the weight of Σ |A| in step 1.
    pub lambda: f64,
    /// AdamW's.
    pub decay: f64,
    /// Share of the prompts that nothing is learned from.
    pub held_out: f64,
    /// Sets of random heads that are trained as the chosen ones are.
    pub controls: usize,
    pub seed: u64,
}

impl Default for Settings {
    /// The paper's for a 7B model and a task of single answers (MQuAKE).
    fn default() -> Self {
        Self {
            loss: Objective::Answer,
            beta: 0.5,
            heads: None,
            epochs: 5,
            batch: 8,
            gain_rate: 5e-3,
            offset_rate: 1e-2,
            lambda: 1e-3,
            decay: 0.01,
            held_out: 0.25,
            controls: CONTROLS,
            seed: 42,
        }
    }
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "loss",
                "What is trained: the right answer, or preferring right answers to wrong ones (DPO)",
                Value::Choice(&mut self.loss),
            ),
            Field::new(
                "beta",
                "How closely dpo keeps to the unmodified model",
                Value::Number(&mut self.beta, 0.0..=100.0),
            ),
            Field::new(
                "heads",
                "How many heads get an offset",
                Value::MaybeCount(&mut self.heads, 1..=100_000),
            ),
            Field::new(
                "epochs",
                "How often each prompt is seen, in each of the two steps",
                Value::Count(&mut self.epochs, 1..=1000),
            ),
            Field::new(
                "batch",
                "Prompts a step of the optimiser",
                Value::Count(&mut self.batch, 1..=1000),
            ),
            Field::new(
                "gain-rate",
                "Learning rate of the gains that heads are chosen by",
                Value::Number(&mut self.gain_rate, 0.0..=10.0),
            ),
            Field::new(
                "offset-rate",
                "Learning rate of the offsets",
                Value::Number(&mut self.offset_rate, 0.0..=10.0),
            ),
            Field::new(
                "lambda",
                "Weight of the gains' absolute values in the loss",
                Value::Number(&mut self.lambda, 0.0..=10.0),
            ),
            Field::new(
                "decay",
                "Weight decay",
                Value::Number(&mut self.decay, 0.0..=10.0),
            ),
            Field::new(
                "held-out",
                "Share of the prompts that only the effect is measured on",
                Value::Number(&mut self.held_out, 0.0..=0.5),
            ),
            Field::new(
                "controls",
                "Sets of random heads that are trained for comparison",
                Value::Count(&mut self.controls, 0..=100),
            ),
            Field::new(
                "seed",
                "Of the starts, shuffles and controls",
                Value::Seed(&mut self.seed),
            ),
        ]
    }

    pub(super) fn training(&self, kind: Kind, heads: Vec<HeadId>, seed: u64) -> Training {
        let gains = kind == Kind::Gain;
        Training {
            kind,
            objective: self.loss,
            beta: self.beta,
            heads,
            rate: if gains {
                self.gain_rate
            } else {
                self.offset_rate
            },
            lambda: if gains { self.lambda } else { 0.0 },
            decay: self.decay,
            epochs: self.epochs,
            batch: self.batch,
            seed,
        }
    }
}
