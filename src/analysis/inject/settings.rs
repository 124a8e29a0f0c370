//! What soft injection is run with; the defaults are the paper's.

use crate::analysis::field::{Field, Value};

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Prompts with examples that embeddings are means over.
    pub prompts: usize,
    /// Examples a prompt; fewer where the context or the set is too short.
    pub shots: usize,
    /// Text between examples.
    pub separator: String,
    /// Steps of Adam, each on one prompt.
    pub steps: usize,
    pub rate: f64,
    /// Steps from one validation to the next.
    pub every: usize,
    /// Prompts that validate, at most.
    pub validation: usize,
    /// Keeps the gates with the lowest validation loss; false: the last ones, as the released program does.
    pub best: bool,
    /// Whether function vectors and task vectors are made too.
    pub baselines: bool,
    /// Heads that a function vector is the sum of.
    pub function_heads: usize,
    /// Prompts with shuffled answers that those heads are chosen by.
    pub function_prompts: usize,
    /// Whether answers are generated too, and compared whole.
    pub exact: bool,
    /// Files of vectors that other runs saved, separated by commas: their gates are tried with this task's embeddings.
    pub gates: String,
    /// Share of the prompts that nothing is learned from.
    pub held_out: f64,
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prompts: 50,
            shots: 10,
            separator: "\n\n".into(),
            steps: 400,
            rate: 0.2,
            every: 50,
            validation: 100,
            best: true,
            baselines: true,
            function_heads: 10,
            function_prompts: 25,
            exact: false,
            gates: String::new(),
            held_out: 0.25,
            seed: 42,
        }
    }
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "prompts",
                "Prompts with examples that embeddings are means over",
                Value::Count(&mut self.prompts, 1..=10_000),
            ),
            Field::new(
                "shots",
                "Examples a prompt, where they fit",
                Value::Count(&mut self.shots, 1..=1000),
            ),
            Field::new(
                "steps",
                "Steps of training, each on one prompt",
                Value::Count(&mut self.steps, 1..=100_000),
            ),
            Field::new(
                "rate",
                "Learning rate of the gates",
                Value::Number(&mut self.rate, 0.0..=10.0),
            ),
            Field::new(
                "every",
                "Steps from one validation to the next",
                Value::Count(&mut self.every, 1..=100_000),
            ),
            Field::new(
                "validation",
                "Prompts that validate, at most",
                Value::Count(&mut self.validation, 1..=10_000),
            ),
            Field::new(
                "best",
                "Keep the best gates, not the last",
                Value::Flag(&mut self.best),
            ),
            Field::new(
                "baselines",
                "Make function and task vectors too",
                Value::Flag(&mut self.baselines),
            ),
            Field::new(
                "function-heads",
                "Heads that a function vector is the sum of",
                Value::Count(&mut self.function_heads, 1..=10_000),
            ),
            Field::new(
                "function-prompts",
                "Prompts with shuffled answers that those are chosen by",
                Value::Count(&mut self.function_prompts, 1..=10_000),
            ),
            Field::new(
                "exact",
                "Generate answers too, and compare them whole",
                Value::Flag(&mut self.exact),
            ),
            Field::new(
                "gates",
                "Vectors of other runs, separated by commas: their gates are tried on this task",
                Value::Text(&mut self.gates),
            ),
            Field::new(
                "held-out",
                "Share of the prompts that only the effect is measured on",
                Value::Number(&mut self.held_out, 0.0..=0.5),
            ),
            Field::new("seed", "Of all draws", Value::Seed(&mut self.seed)),
        ]
    }
}
