//! Training of what changes heads' z, by AdamW on gradients through the frozen model.

use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::analysis::{AnalysisError, Case};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::backward::Reach;
use crate::model::plan::{Change, RowEdit};
use crate::model::site::{Part, Site};

use crate::analysis::learned::{Variant, answer_log_probs, answer_loss};

/// Standard deviation of the values that training starts with.
const START: f64 = 1e-3;

/// What a head is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// z ← (1 + A) ⊙ z
    Gain,
    /// z ← z + v
    Offset,
}

/// What training makes smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Objective {
    /// Cross-entropy of the first right answer, a mean over its tokens.
    #[default]
    Answer,
    /// −ln σ(β m), where m is how much more than the unmodified model a right answer is preferred to a wrong one.
    Dpo,
}

impl Objective {
    pub const ALL: [Self; 2] = [Self::Answer, Self::Dpo];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Dpo => "dpo",
        }
    }
}

crate::choose!(Objective);

/// What is trained, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    pub kind: Kind,
    pub objective: Objective,
    /// β of [`Objective::Dpo`].
    pub beta: f64,
    pub heads: Vec<HeadId>,
    pub rate: f64,
    /// Weight of the values' sizes in the loss.
    pub lambda: f64,
    pub decay: f64,
    pub epochs: usize,
    pub batch: usize,
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    pub heads: Vec<HeadId>,
    /// `[head][d_head]`
    pub values: Vec<Vec<f32>>,
    /// Of each batch, before its step and without λ's part.
    pub losses: Vec<f64>,
}

/// What is learned from at a time: a prompt with an answer, or with two of which one is to be preferred.
#[derive(Clone, Debug)]
pub struct Example<'a> {
    pub case: &'a Case,
    /// All tokens of a right answer.
    pub right: &'a [u32],
    pub against: Option<Against<'a>>,
}

/// A wrong answer, and how the unmodified model takes to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Against<'a> {
    pub wrong: &'a [u32],
    /// ln p(right) − ln p(wrong) of the unmodified model.
    pub preference: f64,
}

/// The examples of cases: one a case, or one a pair of a right and a wrong answer, in which each answer has its turn and
/// the shorter list begins again. `go_on` hears the finished fraction, and may stop it.
pub fn examples<'a>(
    engine: &mut Engine,
    cases: &'a [Case],
    objective: Objective,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<Example<'a>>, AnalysisError> {
    let mut found = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        if objective == Objective::Answer {
            found.push(Example {
                case,
                right: case.right_tokens(0),
                against: None,
            });
            continue;
        }
        let heard = &mut |_: f32| go_on(i as f32 / cases.len() as f32);
        let (n_right, n_wrong) = (case.answers.len(), case.wrong.len());
        let mut log_prob = |tokens: &[u32]| -> Result<f64, AnalysisError> {
            let plain = [Variant::default()];
            Ok(answer_log_probs(engine, case, tokens, &plain, None, heard)?[0])
        };
        let of_right: Result<Vec<f64>, _> = (0..n_right)
            .map(|i| log_prob(case.right_tokens(i)))
            .collect();
        let of_wrong: Result<Vec<f64>, _> = (0..n_wrong)
            .map(|i| log_prob(case.wrong_tokens(i)))
            .collect();
        let (of_right, of_wrong) = (of_right?, of_wrong?);
        let n_pairs = if n_right.min(n_wrong) == 0 {
            0
        } else {
            n_right.max(n_wrong)
        };
        found.extend((0..n_pairs).map(|pair| {
            let (right, wrong) = (pair % n_right, pair % n_wrong);
            Example {
                case,
                right: case.right_tokens(right),
                against: Some(Against {
                    wrong: case.wrong_tokens(wrong),
                    preference: of_right[right] - of_wrong[wrong],
                }),
            }
        }));
        if !heard(0.0) {
            return Err(RunError::Stopped.into());
        }
    }
    Ok(found)
}

/// Trains on the examples. `heard` is told the finished fraction and, before each of them, the losses, and may stop it.
pub fn train(
    engine: &mut Engine,
    examples: &[Example<'_>],
    training: &Training,
    heard: &mut dyn FnMut(f32, Option<&[f64]>) -> bool,
) -> Result<Trained, AnalysisError> {
    let d_head = engine.model().spec.d_head;
    let mut rng = ChaCha8Rng::seed_from_u64(training.seed);
    let mut values: Vec<Vec<f32>> = training
        .heads
        .iter()
        .map(|_| {
            (0..d_head)
                .map(|_| (START * normal(&mut rng)) as f32)
                .collect()
        })
        .collect();
    let n_values = training.heads.len() * d_head;
    let mut optimiser = AdamW::new(n_values);
    let mut losses = Vec::new();
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let total = (training.epochs * examples.len()) as f32;
    let mut done = 0;
    for _ in 0..training.epochs {
        order.shuffle(&mut rng);
        for batch in order.chunks(training.batch.max(1)) {
            let mut sum = vec![0.0; n_values];
            let mut loss = 0.0;
            for i in batch {
                let fraction = done as f32 / total;
                if !heard(fraction, Some(&losses)) {
                    return Err(RunError::Stopped.into());
                }
                let go_on = &mut || heard(fraction, None);
                let (of_example, d) = gradients(engine, &examples[*i], training, &values, go_on)?;
                loss += of_example;
                for (sum, d) in sum.iter_mut().zip(d.iter().flatten()) {
                    *sum += d;
                }
                done += 1;
            }
            let n = batch.len() as f64;
            losses.push(loss / n);
            let flat = values.iter_mut().flatten();
            optimiser.step(training, flat.zip(sum.iter().map(|d| d / n)));
        }
    }
    if values.iter().flatten().any(|value| !value.is_finite()) {
        return Err(AnalysisError::needs(
            "the training did not hold, and its values are no numbers: lower the rates",
        ));
    }
    Ok(Trained {
        heads: training.heads.clone(),
        values,
        losses,
    })
}

/// The loss of an example, in nats, and its gradient by each head's values, `[head][d_head]`; without λ's part.
pub fn gradients(
    engine: &mut Engine,
    example: &Example<'_>,
    training: &Training,
    values: &[Vec<f32>],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(f64, Vec<Vec<f64>>), AnalysisError> {
    let Example {
        case,
        right,
        against,
    } = example;
    let (of_right, mut d) = of_answer(engine, case, right, training, values, go_on)?;
    let Some(Against { wrong, preference }) = against else {
        let share = 1.0 / right.len().max(1) as f64;
        d.iter_mut().flatten().for_each(|d| *d *= share);
        return Ok((of_right * share, d));
    };
    let (of_wrong, by_wrong) = of_answer(engine, case, wrong, training, values, go_on)?;
    let beta = training.beta;
    let margin = beta * (of_wrong - of_right - preference);
    // −ln σ(x) = ln(1 + exp(−x)), whose slope is −σ(−x); the losses of answers are −ln p.
    let loss = (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
    let weight = beta / (1.0 + margin.exp());
    for (d, by_wrong) in d.iter_mut().flatten().zip(by_wrong.iter().flatten()) {
        *d = weight * (*d - by_wrong);
    }
    Ok((loss, d))
}

/// −ln p of an answer, all its tokens, and its gradient by each head's values.
fn of_answer(
    engine: &mut Engine,
    case: &Case,
    tokens: &[u32],
    training: &Training,
    values: &[Vec<f32>],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(f64, Vec<Vec<f64>>), AnalysisError> {
    let (n_heads, d_head) = (engine.model().spec.n_heads, engine.model().spec.d_head);
    let spec = case.followed_by(&tokens[..tokens.len().saturating_sub(1)]);
    let n_tokens = spec.ids.len();
    let learned: Vec<(Site, RowEdit)> = training
        .heads
        .iter()
        .zip(values)
        .map(|(head, values)| {
            let edit = RowEdit {
                columns: head.head * d_head..(head.head + 1) * d_head,
                positions: (0..n_tokens).collect(),
                change: match training.kind {
                    Kind::Offset => Change::Add(values.clone()),
                    Kind::Gain => Change::Affine {
                        gain: values.iter().map(|a| 1.0 + a).collect(),
                        shift: vec![0.0; d_head],
                    },
                },
            };
            (Site::Block(head.layer, Part::Z), edit)
        })
        .collect();
    let lowest = training.heads.iter().map(|head| head.layer).min();
    let positions: Vec<usize> = (spec.position..n_tokens).collect();
    let reach = Reach {
        positions: &positions,
        down_to: lowest.unwrap_or(0),
    };
    let mut loss = None;
    let mut read = |logits: &[f32]| {
        let (found, d) = answer_loss(logits, tokens);
        loss = found;
        d
    };
    let found = engine.gradient(&spec, &learned, reach, &mut read, go_on)?;
    let loss = loss.ok_or_else(|| {
        AnalysisError::needs(format!(
            "the answer of `{}` is no token of this model",
            case.label
        ))
    })?;
    let of_head = |head: &HeadId| {
        let layer = &found.layers[head.layer];
        let mut sum = vec![0.0; d_head];
        let width = n_heads * d_head;
        for at in 0..n_tokens {
            let from = at * width + head.head * d_head;
            let d = &layer.by_edited_z[from..from + d_head];
            let z = &layer.z[from..from + d_head];
            for ((sum, d), z) in sum.iter_mut().zip(d).zip(z) {
                *sum += match training.kind {
                    Kind::Offset => f64::from(*d),
                    Kind::Gain => f64::from(*d) * f64::from(*z),
                };
            }
        }
        sum
    };
    Ok((loss, training.heads.iter().map(of_head).collect()))
}

/// A standard normal number (Box and Muller), from a generator that is the same everywhere.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// AdamW with PyTorch's defaults: β 0.9 and 0.999, ε 1e-8.
#[derive(Debug)]
struct AdamW {
    means: Vec<f64>,
    squares: Vec<f64>,
    n_steps: i32,
}

impl AdamW {
    fn new(n_values: usize) -> Self {
        Self {
            means: vec![0.0; n_values],
            squares: vec![0.0; n_values],
            n_steps: 0,
        }
    }

    /// One step on values and their gradients; λ's part of the gradient is added here.
    fn step<'a>(&mut self, training: &Training, values: impl Iterator<Item = (&'a mut f32, f64)>) {
        const BETA: [f64; 2] = [0.9, 0.999];
        self.n_steps += 1;
        let [unbias, unbias_squares] = BETA.map(|beta| 1.0 - beta.powi(self.n_steps));
        let state = self.means.iter_mut().zip(&mut self.squares);
        for ((value, d), (mean, square)) in values.zip(state) {
            let x = f64::from(*value);
            // 0 has no side.
            let side = if x == 0.0 { 0.0 } else { x.signum() };
            let d = d + training.lambda * side;
            *mean = BETA[0] * *mean + (1.0 - BETA[0]) * d;
            *square = BETA[1] * *square + (1.0 - BETA[1]) * d * d;
            let step = (*mean / unbias) / ((*square / unbias_squares).sqrt() + 1e-8);
            *value = (x * (1.0 - training.rate * training.decay) - training.rate * step) as f32;
        }
    }
}
