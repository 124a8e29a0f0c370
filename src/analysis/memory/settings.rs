//! The settings of the method.

use crate::analysis::field::{Field, Value};
use crate::analysis::{AnalysisError, controls};
use crate::ids::HeadId;

use super::scaling::By;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What the factors multiply.
    pub by: By,
    /// The heads that are scaled: by value one after the other, by attention together. None: candidates by attribution and
    /// by effect.
    pub heads: Vec<HeadId>,
    /// The factors, separated by commas; empty: [`By::factors`].
    pub factors: String,
    /// Share of the prompts on which heads and factors are chosen; the others are reported on.
    pub development: f64,
    /// How many candidates either end of either map gives.
    pub candidates: usize,
    /// Candidates by total effect too, which costs two runs a head and prompt; without, by attribution alone.
    pub by_effect: bool,
    /// Leaves out prompts whose remembered answer the model does not give when it is asked without the statement.
    pub known_only: bool,
    /// Attribution as z W_O · W_U, without the final norm, as the paper has it.
    pub raw: bool,
    /// Random sets of heads that are scaled by the same factors.
    pub draws: usize,
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            by: By::Value,
            heads: vec![],
            factors: String::new(),
            development: 0.5,
            candidates: 4,
            by_effect: true,
            known_only: true,
            raw: false,
            draws: controls::DRAWS,
            seed: 0,
        }
    }
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "by",
                "What is multiplied: each head's output (value), or its score on the stated answer (attention)",
                Value::Choice(&mut self.by),
            ),
            Field::new(
                "heads",
                "Heads that are scaled, by attention all together; none: chosen on the development half",
                Value::Heads(&mut self.heads),
            ),
            Field::new(
                "factors",
                "Factors, separated by commas; none: −10 to 10 by value, 0 to 100 by attention",
                Value::Text(&mut self.factors),
            ),
            Field::new(
                "development",
                "Share of the prompts that heads and factors are chosen on",
                Value::Number(&mut self.development, 0.1..=0.9),
            ),
            Field::new(
                "candidates",
                "Heads of each sign that are tried",
                Value::Count(&mut self.candidates, 1..=100),
            ),
            Field::new(
                "by-effect",
                "Candidates by the effect of scaling, not by attribution alone",
                Value::Flag(&mut self.by_effect),
            ),
            Field::new(
                "known-only",
                "Only prompts whose fact the model knows",
                Value::Flag(&mut self.known_only),
            ),
            Field::new(
                "raw",
                "Attribution without the final norm, as the paper has it",
                Value::Flag(&mut self.raw),
            ),
            Field::new(
                "draws",
                "Random heads, or sets of them, that the best is compared with",
                Value::Count(&mut self.draws, 5..=200),
            ),
            Field::new(
                "seed",
                "Seed of the split and the draws",
                Value::Seed(&mut self.seed),
            ),
        ]
    }

    /// The factors, rising.
    pub(super) fn read_factors(&self) -> Result<Vec<f64>, AnalysisError> {
        if self.factors.trim().is_empty() {
            return Ok(self.by.factors());
        }
        let read = |text: &str| text.trim().parse().ok().filter(|x: &f64| x.is_finite());
        let factors: Option<Vec<f64>> = self.factors.split(',').map(read).collect();
        let mut factors = factors.ok_or_else(|| {
            AnalysisError::needs(format!(
                "factors are finite numbers separated by commas, such as 0,1,3; found `{}`",
                self.factors
            ))
        })?;
        factors.sort_by(f64::total_cmp);
        factors.dedup();
        Ok(factors)
    }
}
