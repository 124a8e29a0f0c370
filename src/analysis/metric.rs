//! What is read of logits, as one number.

use super::{AnalysisError, Case};
use crate::experiment::Readout;

/// A number of the logits at the read position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Logit of the first right answer minus that of the first wrong one.
    #[default]
    LogitDiff,
    /// Probability of the right answers together.
    Prob,
    /// KL(unedited ‖ edited) over the vocabulary, in nats.
    Kl,
    /// How many tokens have a larger logit than the first right answer.
    Rank,
    /// −ln of the first right answer's probability, in nats.
    Loss,
}

impl Metric {
    pub const ALL: [Self; 5] = [
        Self::LogitDiff,
        Self::Prob,
        Self::Kl,
        Self::Rank,
        Self::Loss,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::LogitDiff => "logit_diff",
            Self::Prob => "prob",
            Self::Kl => "kl",
            Self::Rank => "rank",
            Self::Loss => "loss",
        }
    }

    /// What it needs of a prompt, or why the prompt lacks it.
    pub fn check(self, case: &Case) -> Result<(), AnalysisError> {
        let (lacks, what) = match self {
            Self::LogitDiff => (
                case.pair().is_none(),
                "a right and a wrong answer (two answers)",
            ),
            Self::Prob | Self::Rank | Self::Loss => (case.answers.is_empty(), "an answer"),
            Self::Kl => return Ok(()),
        };
        if lacks {
            return Err(AnalysisError::needs(format!(
                "the metric {} needs {what}: give it with the prompt, or choose kl",
                self.name()
            )));
        }
        Ok(())
    }

    /// The only tokens whose logits it reads; `None` where it reads all.
    pub fn tokens(self, case: &Case) -> Option<Vec<u32>> {
        match (self, case.pair()) {
            (Self::LogitDiff, Some((right, wrong))) => Some(vec![right, wrong]),
            _ => None,
        }
    }

    /// Its value; `logits` are those of [`Self::tokens`], and `plain` the unedited run's.
    pub fn of(self, case: &Case, logits: &[f32], plain: &[f32]) -> Option<f32> {
        let right = case.answers.first().copied();
        let value = match self {
            Self::LogitDiff => logits.first()? - logits.get(1)?,
            Self::Prob => {
                let readout = Readout::new(logits);
                let probs = case.answers.iter().filter_map(|id| readout.score(*id));
                probs.map(|score| score.prob).sum()
            }
            Self::Kl => kl(plain, logits) as f32,
            Self::Rank => {
                let own = *logits.get(right? as usize)?;
                logits.iter().filter(|other| **other > own).count() as f32
            }
            Self::Loss => -log_prob(logits, right?)? as f32,
        };
        value.is_finite().then_some(value)
    }
}

/// ln of the probability of a token.
pub fn log_prob(logits: &[f32], id: u32) -> Option<f64> {
    Some(f64::from(*logits.get(id as usize)?) - log_sum(logits))
}

/// KL(p ‖ q) of two rows of logits, in nats.
pub fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (of_p, of_q) = (log_sum(p), log_sum(q));
    p.iter()
        .zip(q)
        .map(|(p, q)| {
            let log_p = f64::from(*p) - of_p;
            log_p.exp() * (log_p - (f64::from(*q) - of_q))
        })
        // What rounds to nothing is not made negative by rounding.
        .sum::<f64>()
        .max(0.0)
}

fn log_sum(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    f64::from(max) + sum.ln()
}

crate::choose!(Metric);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::RunSpec;

    fn case() -> Case {
        Case {
            label: String::new(),
            spec: RunSpec {
                ids: [0].as_slice().into(),
                n_prompt: 1,
                reach: 1,
                contrast: None,
                edits: vec![],
                position: 0,
                last: 0,
                bos_count: 0,
                folder: None,
            },
            answers: vec![2],
            wrong: vec![0],
            spans: vec![],
        }
    }

    #[test]
    fn metrics_are_their_definitions() {
        let plain = [1.0, 3.0, 2.0];
        let logits = [1.0f32, 2.0, 1.5];
        let case = case();
        let sum: f32 = logits.iter().map(|l| l.exp()).sum();
        let of = |metric: Metric| metric.of(&case, &logits, &plain).unwrap();
        assert!((of(Metric::Prob) - 1.5f32.exp() / sum).abs() < 1e-6);
        assert!((of(Metric::Loss) + (1.5f32.exp() / sum).ln()).abs() < 1e-6);
        assert!((of(Metric::Rank) - 1.0).abs() < 1e-9);
        let by_hand: f32 = {
            let total: f32 = plain.iter().map(|l| l.exp()).sum();
            (0..3)
                .map(|i| {
                    let p = plain[i].exp() / total;
                    p * (p / (logits[i].exp() / sum)).ln()
                })
                .sum()
        };
        assert!((of(Metric::Kl) - by_hand).abs() < 1e-6);
        assert!(kl(&plain, &plain) < 1e-12);
        let chosen = Metric::LogitDiff.tokens(&case).unwrap();
        assert_eq!(chosen, [2, 0]);
        assert_eq!(Metric::LogitDiff.of(&case, &[1.5, 1.0], &[]), Some(0.5));
    }

    #[test]
    fn a_metric_says_what_it_lacks() {
        let mut case = case();
        case.wrong.clear();
        let error = Metric::LogitDiff.check(&case).unwrap_err().to_string();
        assert!(error.contains("wrong answer"), "{error}");
        Metric::Loss.check(&case).unwrap();
        case.answers.clear();
        Metric::Loss.check(&case).unwrap_err();
        Metric::Kl.check(&case).unwrap();
    }
}
