//! What is read of logits, as one number.

use super::{AnalysisError, Case};
use crate::experiment::{Effect, Means, Reading, Readout, RunSpec};

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
    /// ln of the probability of the first right answer, all its tokens, each after those before it.
    WholeAnswer,
    /// Score of the right class minus that of the best other one ([`super::classes`]).
    ClassDiff,
}

/// What a metric needs to be run and read, for one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Reads {
    pub spec: RunSpec,
    /// The only tokens whose logits are read; `None` where all are.
    pub tokens: Option<Vec<u32>>,
    /// Tokens whose probabilities are read instead, each after a position.
    pub follow: Vec<(usize, u32)>,
}

impl Reads {
    pub fn reading<'a>(&'a self, effect: Effect, means: Option<&'a Means>) -> Reading<'a> {
        Reading {
            tokens: self.tokens.as_deref(),
            follow: &self.follow,
            effect,
            means,
        }
    }
}

impl Metric {
    pub const ALL: [Self; 7] = [
        Self::LogitDiff,
        Self::Prob,
        Self::Kl,
        Self::Rank,
        Self::Loss,
        Self::WholeAnswer,
        Self::ClassDiff,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::LogitDiff => "logit_diff",
            Self::Prob => "prob",
            Self::Kl => "kl",
            Self::Rank => "rank",
            Self::Loss => "loss",
            Self::WholeAnswer => "whole_answer",
            Self::ClassDiff => "class_diff",
        }
    }

    /// What it needs of a prompt, or why the prompt lacks it.
    pub fn check(self, case: &Case) -> Result<(), AnalysisError> {
        let (lacks, what) = match self {
            Self::LogitDiff => (
                case.pair().is_none(),
                "a right and a wrong answer (two answers)",
            ),
            Self::Prob | Self::Rank | Self::Loss | Self::WholeAnswer => {
                (case.answers.is_empty(), "an answer")
            }
            Self::ClassDiff => (
                case.class.is_none(),
                "a task set with a verbaliser, whose classes have words in this model's vocabulary",
            ),
            Self::Kl => return Ok(()),
        };
        if self == Self::WholeAnswer {
            let is_at_end = case.spec.position + 1 == case.spec.ids.len();
            if case.right_tokens(0).len() > 1 && !is_at_end {
                return Err(AnalysisError::needs(format!(
                    "the metric whole_answer reads an answer of several tokens after the prompt's end, and `{}` is read \
                     before it: choose loss, which reads the first token",
                    case.label
                )));
            }
        }
        if lacks {
            return Err(AnalysisError::needs(format!(
                "the metric {} needs {what}: give it with the prompt, or choose kl",
                self.name()
            )));
        }
        Ok(())
    }

    /// What a sweep is to run and read for it: the prompt, longer where the answer has several tokens.
    pub fn reads(self, case: &Case) -> Reads {
        let mut reads = Reads {
            spec: case.spec.clone(),
            tokens: None,
            follow: vec![],
        };
        match self {
            Self::LogitDiff => reads.tokens = case.pair().map(|(right, wrong)| vec![right, wrong]),
            Self::ClassDiff => {
                reads.tokens = case.class.as_ref().map(|class| class.of.tokens().to_vec());
            }
            Self::WholeAnswer => {
                let answer = case.right_tokens(0);
                reads.follow = (case.spec.position..).zip(answer.iter().copied()).collect();
                reads.spec = case.followed_by(&answer[..answer.len().saturating_sub(1)]);
            }
            Self::Prob | Self::Kl | Self::Rank | Self::Loss => {}
        }
        reads
    }

    /// Its value; `logits` are what was read as [`Self::reads`] asks, and `plain` the same of the unedited run.
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
            Self::WholeAnswer => logits.iter().sum(),
            Self::ClassDiff => case.class.as_ref()?.margin(logits)? as f32,
        };
        value.is_finite().then_some(value)
    }
}

/// ln of the probability of a token.
pub fn log_prob(logits: &[f32], id: u32) -> Option<f64> {
    Readout::new(logits).log_prob(id)
}

/// KL(p ‖ q) of two rows of logits, in nats.
pub fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (of_p, of_q) = (Readout::new(p), Readout::new(q));
    let ids = 0..p.len() as u32;
    ids.filter_map(|id| {
        let log_p = of_p.log_prob(id)?;
        Some(log_p.exp() * (log_p - of_q.log_prob(id)?))
    })
    // What rounds to nothing is not made negative by rounding.
    .sum::<f64>()
    .max(0.0)
}

crate::choose!(Metric);

#[cfg(test)]
mod tests {
    use super::*;

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
            ..Case::default()
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
        let chosen = Metric::LogitDiff.reads(&case).tokens.unwrap();
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
