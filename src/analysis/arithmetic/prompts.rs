//! Arithmetic prompts that a model answers right: drawn, put to it, and kept.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::analysis::cases::{Case, of_task};
use crate::analysis::sequences::{single, tokenizer};
use crate::analysis::{AnalysisError, Cell, Progress, Report, Table, step};
use crate::experiment::engine::Engine;
use crate::experiment::{Reading, Readout};
use crate::model::Model;
use crate::task::TaskSet;
use rand::SeedableRng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use super::Settings;
use super::expressions::{Expression, Missing, Operation, Style, expressions};

/// A logit nearer to 0 than this has no share that could be lost.
const LEAST_LOGIT: f32 = 1e-3;

/// Prompts are given up once this many times the wanted ones were tried.
const TRIES: usize = 8;

/// A prompt that is answered right.
pub(super) struct Kept {
    pub(super) case: Case,
    pub(super) answer: u32,
    /// Of the right answer, unedited.
    pub(super) logit: f32,
    /// A and B as they would be answered; `None` where that is not one token.
    pub(super) operands: [Option<u32>; 2],
}

impl Kept {
    /// The change to another logit of the answer, as a share of its own; `None` where there is next to none.
    pub(super) fn share(&self, logit: f32) -> Option<f32> {
        let size = self.logit.abs();
        (size >= LEAST_LOGIT).then(|| (logit - self.logit) / size)
    }

    /// What stands before a number in its token: a space, or nothing.
    pub(super) fn space(&self, model: &Model) -> &'static str {
        if model.token_text(self.answer).starts_with(' ') {
            " "
        } else {
            ""
        }
    }
}

/// All expressions that the settings allow.
fn pool(settings: &Settings) -> Vec<Expression> {
    let (operations, styles) = (settings.operation.all(), settings.style.all());
    let [a, b] = [settings.a, settings.b].map(|own| range(own, settings));
    let mut pool = expressions(&operations, &styles, a, b);
    if let Some(template) = settings.template {
        pool.retain(|expression| expression.frame + 1 == template);
    }
    pool
}

/// The values of an operand.
fn range(own: Option<usize>, settings: &Settings) -> RangeInclusive<u32> {
    let (from, to) = own.map_or(settings.operands, |own| (own, own));
    from as u32..=to as u32
}

/// What became of the prompts of an operation in a style.
#[derive(Clone, Copy, Default)]
struct Tried {
    all: usize,
    right: usize,
    prob: f64,
}

/// Draws prompts until enough are answered right.
pub(super) fn gate(
    engine: &mut Engine,
    settings: &Settings,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<Vec<Kept>, AnalysisError> {
    let model = Arc::clone(engine.model());
    let mut pool = pool(settings);
    if pool.is_empty() {
        return Err(AnalysisError::needs(
            "no expression has this operation with a whole result, these operands, this style and this template",
        ));
    }
    pool.shuffle(&mut ChaCha8Rng::seed_from_u64(settings.seed));
    let nulls = settings.nulls.split_whitespace().map(str::to_owned);
    let nulls: Vec<String> = nulls.collect();
    let mut kept: Vec<Kept> = vec![];
    let mut tried = BTreeMap::<(Operation, Style), Tried>::new();
    let (mut n_tried, mut no_answer, mut no_null) = (0, 0, 0);
    let most = settings.prompts.saturating_mul(TRIES);
    for (i, expression) in pool.iter().enumerate() {
        if kept.len() == settings.prompts || n_tried == most {
            break;
        }
        step(progress, 0.2 * n_tried as f32 / most as f32)?;
        let solved = solved(expression, settings, i);
        let item = match expression.item(&solved, &nulls, tokenizer(&model)?, settings.bos) {
            Ok(item) => item,
            Err(Missing::Answer) => {
                no_answer += 1;
                continue;
            }
            Err(Missing::Null) => {
                no_null += 1;
                continue;
            }
        };
        let set = TaskSet {
            name: "arithmetic".into(),
            items: vec![item],
            verbaliser: None,
            notes: vec![],
        };
        let (mut cases, _) = of_task(&set, &model, settings.bos)?;
        let Some(case) = cases.pop() else { continue };
        let Some(answer) = case.answers.first().copied() else {
            continue;
        };
        n_tried += 1;
        let logits = engine.sweep(&case.spec, &[vec![]], Reading::default(), &mut |_| true)?;
        let readout = Readout::new(&logits[0]);
        let of = tried
            .entry((expression.operation, expression.style()))
            .or_default();
        of.all += 1;
        let Some(own) = readout.score(answer) else {
            continue;
        };
        of.prob += f64::from(own.prob);
        if readout.top(1).first().is_some_and(|best| best.id == answer) {
            of.right += 1;
            let mut found = Kept {
                case,
                answer,
                logit: own.logit,
                operands: [None, None],
            };
            let space = found.space(&model);
            let tokenizer = tokenizer(&model)?;
            found.operands =
                [expression.a, expression.b].map(|n| single(tokenizer, &format!("{space}{n}")));
            kept.push(found);
        }
    }
    let mut left_out = vec![];
    if no_answer > 0 {
        left_out.push(format!(
            "{no_answer} prompts left out: their result is not one token of this model"
        ));
    }
    if no_null > 0 {
        left_out.push(format!(
            "{no_null} prompts left out: no null word leaves the number of tokens as it is; give others (nulls)"
        ));
    }
    if kept.is_empty() {
        let why = if n_tried > 0 {
            format!(
                "the model answers none of {n_tried} prompts right: give solved examples (shots), or another operation or \
                 style"
            )
        } else {
            format!(
                "no arithmetic prompt can be put to this model: {}",
                left_out.join("; ")
            )
        };
        return Err(AnalysisError::needs(why));
    }
    report.notes.extend(left_out);
    report.note(format!(
        "{} of {n_tried} prompts are answered right and kept",
        kept.len()
    ));
    let rows = tried.into_iter().map(|((operation, style), tried)| {
        vec![
            Cell::from(operation.name()),
            Cell::from(style.name()),
            Cell::from(tried.all),
            Cell::from(tried.right),
            Cell::from(tried.prob / tried.all as f64),
        ]
    });
    report.tables.push(Table {
        name: "prompts".into(),
        columns: ["operation", "style", "tried", "right", "mean P(right)"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    });
    Ok(kept)
}

/// Other expressions of the same template, drawn for the prompt of that number.
fn solved(expression: &Expression, settings: &Settings, number: usize) -> Vec<Expression> {
    let style = [expression.style()];
    let numbers = range(None, settings);
    let others = expressions(&[expression.operation], &style, numbers.clone(), numbers);
    let others: Vec<Expression> = others
        .into_iter()
        .filter(|other| other.frame == expression.frame && other != expression)
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(1 + number as u64);
    others
        .choose_multiple(&mut rng, settings.shots)
        .copied()
        .collect()
}
