//! What edits do to answers: the likeliest token, and which of the whole answers is preferred (MC1 and MC2 of
//! TruthfulQA; Lin, Hilton, Evans 2022, arXiv 2109.07958, section 4).
//!
//! Answers of one token are read from one run a variant; each longer one costs a run more, with its tokens after the
//! prompt.

use std::path::Path;

use crate::analysis::metric::log_prob;
use crate::analysis::report::{Cell, Table};
use crate::analysis::{AnalysisError, Case};
use crate::edit::{Edit, Positions};
use crate::experiment::engine::Engine;
use crate::experiment::{Reading, RunSpec};

/// Edits whose effect is measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    pub edits: Vec<Edit>,
    /// Edits of the prompt's last token act on each token of an answer too: each is the last one in its turn when it is
    /// generated.
    pub each_step: bool,
}

impl From<Vec<Edit>> for Variant {
    fn from(edits: Vec<Edit>) -> Self {
        Self {
            edits,
            each_step: false,
        }
    }
}

impl Variant {
    /// The edits of a run in which `n_more` tokens follow the prompt, whose last token is at `last`.
    fn over(&self, last: usize, n_more: usize) -> Vec<Edit> {
        let mut edits = self.edits.clone();
        if self.each_step {
            for edit in edits.iter_mut().filter(|edit| edit.at == Positions::Last) {
                edit.at = Positions::At((last..=last + n_more).collect());
            }
        }
        edits
    }
}

/// What a variant does, as means over cases.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effect {
    /// Share of cases whose likeliest token is the first one of a right answer.
    pub accuracy: f64,
    /// MC1: the first right answer, whole, is likelier than all wrong ones.
    pub prefers: Option<f64>,
    /// MC2: the right answers' share of the probability of all answers, whole.
    pub mass: Option<f64>,
    /// Of first tokens.
    pub logit_diff: Option<f64>,
    /// −ln of the probability of the first right answer's first token, in nats.
    pub loss: f64,
    /// The same of the whole answer; `None` where all answers of the set are one token.
    pub whole_loss: Option<f64>,
    /// Share of cases whose greedy continuation begins with a right answer; `None` where none was generated.
    pub exact: Option<f64>,
}

/// ln of the probabilities of a case's answers.
#[derive(Clone, Debug, Default, PartialEq)]
struct LogProbs {
    right: Vec<f64>,
    wrong: Vec<f64>,
}

impl LogProbs {
    /// Of the first tokens; `None` where one is no token.
    fn of_first(case: &Case, logits: &[f32]) -> Option<Self> {
        let of = |ids: &[u32]| -> Option<Vec<f64>> {
            ids.iter().map(|id| log_prob(logits, *id)).collect()
        };
        Some(Self {
            right: of(&case.answers)?,
            wrong: of(&case.wrong)?,
        })
    }
}

impl Effect {
    /// Of one case: its logits at the prompt's end, what the answers' first tokens are worth, and what all their tokens
    /// are.
    fn of(case: &Case, logits: &[f32], first: &LogProbs, whole: &LogProbs) -> Option<Self> {
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))?;
        let most = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (of_right, of_wrong) = (*whole.right.first()?, most(&whole.wrong));
        let pair = !whole.wrong.is_empty();
        // Shares of a common scale, so that tiny probabilities do not round to 0/0.
        let top = most(&whole.right).max(of_wrong);
        let scaled = |values: &[f64]| values.iter().map(|x| (x - top).exp()).sum::<f64>();
        let (right, wrong) = (scaled(&whole.right), scaled(&whole.wrong));
        Some(Self {
            accuracy: f64::from(u8::from(case.answers.contains(&(best as u32)))),
            prefers: pair.then(|| f64::from(u8::from(of_right > of_wrong))),
            mass: pair.then(|| right / (right + wrong)),
            logit_diff: pair.then(|| first.right[0] - first.wrong[0]),
            loss: -first.right[0],
            whole_loss: Some(-of_right),
            exact: None,
        })
    }

    /// Blank where any is.
    pub fn mean(effects: &[Self]) -> Self {
        let n = effects.len().max(1) as f64;
        let of = |f: &dyn Fn(&Self) -> f64| effects.iter().map(f).sum::<f64>() / n;
        let maybe = |f: &dyn Fn(&Self) -> Option<f64>| {
            let values: Option<Vec<f64>> = effects.iter().map(f).collect();
            values
                .filter(|values| !values.is_empty())
                .map(|values| values.iter().sum::<f64>() / n)
        };
        Self {
            accuracy: of(&|e| e.accuracy),
            prefers: maybe(&|e| e.prefers),
            mass: maybe(&|e| e.mass),
            logit_diff: maybe(&|e| e.logit_diff),
            loss: of(&|e| e.loss),
            whole_loss: maybe(&|e| e.whole_loss),
            exact: maybe(&|e| e.exact),
        }
    }
}

/// Whether an answer that is read has several tokens.
pub fn has_several(case: &Case) -> bool {
    let right = (0..n_read(case)).map(|i| case.right_tokens(i));
    let wrong = (0..case.wrong.len()).map(|i| case.wrong_tokens(i));
    right.chain(wrong).any(|ids| ids.len() > 1)
}

/// How many right answers are read: without wrong ones beside them only the first counts.
fn n_read(case: &Case) -> usize {
    let n = case.answers.len();
    if case.wrong.is_empty() { n.min(1) } else { n }
}

/// The mean effect of each variant on the cases, in order; the vectors are in `folder`.
pub fn effects(
    engine: &mut Engine,
    cases: &[Case],
    variants: &[Variant],
    folder: &Path,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<Effect>, AnalysisError> {
    let mut found = vec![Vec::new(); variants.len()];
    let edits: Vec<Vec<Edit>> = variants.iter().map(|of| of.edits.clone()).collect();
    for (i, case) in cases.iter().enumerate() {
        let spec = RunSpec {
            folder: Some(folder.to_owned()),
            ..case.spec.clone()
        };
        let n_runs = 1.0 + n_read(case) as f32 + case.wrong.len() as f32;
        let mut heard = |run: usize, done: f32| {
            go_on((i as f32 + (run as f32 + done) / n_runs) / cases.len() as f32)
        };
        let first_run = &mut |done| heard(0, done);
        let logits = engine.sweep(&spec, &edits, Reading::default(), first_run)?;
        let first: Option<Vec<LogProbs>> = logits
            .iter()
            .map(|logits| LogProbs::of_first(case, logits))
            .collect();
        let first = first.ok_or_else(|| {
            AnalysisError::needs(format!(
                "an answer of `{}` is no token of this model",
                case.label
            ))
        })?;
        let mut whole = first.clone();
        let right = (0..n_read(case)).map(|i| (true, i));
        let answers = right.chain((0..case.wrong.len()).map(|i| (false, i)));
        for (run, (is_right, i)) in answers.enumerate() {
            let tokens = if is_right {
                case.right_tokens(i)
            } else {
                case.wrong_tokens(i)
            };
            if tokens.len() > 1 {
                let heard = &mut |done| heard(run + 1, done);
                let read = answer_log_probs(engine, case, tokens, variants, Some(folder), heard)?;
                for (of, log_prob) in whole.iter_mut().zip(read) {
                    let side = if is_right {
                        &mut of.right
                    } else {
                        &mut of.wrong
                    };
                    side[i] = log_prob;
                }
            }
        }
        for ((of_variant, logits), (first, whole)) in
            found.iter_mut().zip(&logits).zip(first.iter().zip(&whole))
        {
            of_variant.extend(Effect::of(case, logits, first, whole));
        }
    }
    let several = cases.iter().any(has_several);
    let mean = |of: &Vec<Effect>| {
        let mean = Effect::mean(of);
        Effect {
            whole_loss: mean.whole_loss.filter(|_| several),
            ..mean
        }
    };
    Ok(found.iter().map(mean).collect())
}

/// ln of the probability of an answer, all its tokens, each after those before it: one number a variant.
pub fn answer_log_probs(
    engine: &mut Engine,
    case: &Case,
    tokens: &[u32],
    variants: &[Variant],
    folder: Option<&Path>,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<f64>, AnalysisError> {
    let n_more = tokens.len().saturating_sub(1);
    let last = case.spec.position;
    let spec = RunSpec {
        folder: folder.map(Path::to_owned),
        ..case.followed_by(&tokens[..n_more])
    };
    let edits: Vec<Vec<Edit>> = variants.iter().map(|of| of.over(last, n_more)).collect();
    let follow: Vec<(usize, u32)> = (last..).zip(tokens.iter().copied()).collect();
    let reading = Reading {
        follow: &follow,
        ..Reading::default()
    };
    let read = engine.sweep(&spec, &edits, reading, go_on)?;
    let sum = |of: &Vec<f32>| of.iter().map(|x| f64::from(*x)).sum();
    Ok(read.iter().map(sum).collect())
}

/// A table of effects by name. Where answers have several tokens it says which columns are of their first ones.
pub fn effect_table(name: &str, rows: &[(String, Effect)]) -> Table {
    let several = rows.iter().any(|(_, effect)| effect.whole_loss.is_some());
    let exact = rows.iter().any(|(_, effect)| effect.exact.is_some());
    let first = |what: &str| {
        if several {
            format!("{what} of first tokens")
        } else {
            what.to_owned()
        }
    };
    let mut columns = vec![
        "what".to_owned(),
        first("accuracy"),
        "right preferred (MC1)".to_owned(),
        "share of right (MC2)".to_owned(),
        first("logit difference"),
        first("loss"),
    ];
    columns.extend(several.then(|| "loss of the whole answer".to_owned()));
    columns.extend(exact.then(|| "exact match".to_owned()));
    let maybe = |x: Option<f64>| Cell::Number(x.filter(|x| x.is_finite()));
    let row = |(what, effect): &(String, Effect)| {
        let mut row = vec![
            Cell::from(what.clone()),
            Cell::from(effect.accuracy),
            maybe(effect.prefers),
            maybe(effect.mass),
            maybe(effect.logit_diff),
            Cell::from(effect.loss),
        ];
        row.extend(several.then(|| maybe(effect.whole_loss)));
        row.extend(exact.then(|| maybe(effect.exact)));
        row
    };
    Table {
        name: name.to_owned(),
        columns,
        rows: rows.iter().map(row).collect(),
    }
}
