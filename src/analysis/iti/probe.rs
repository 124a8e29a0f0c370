//! A logistic regression a head, as scikit-learn's default has it: ½ ‖w‖² + C Σ ln(1 + exp(−y (w·x + b))), C = 1, b free
//! of the penalty. Solved by Newton's method, which has one answer and takes no random steps.

use nalgebra::{DMatrix, DVector};

/// Newton steps at most; a dozen is usual.
const MOST_STEPS: usize = 100;

/// A step's change of the objective, relative, at which the answer stands.
const TOLERANCE: f64 = 1e-10;

/// A line that parts two classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// `[d_head]`
    pub weights: Vec<f64>,
    pub bias: f64,
}

impl Probe {
    /// Fits rows `[example][d_head]` to labels; `ridge` is 1/C.
    pub fn fit(rows: &[&[f32]], labels: &[bool], ridge: f64) -> Self {
        let width = rows.first().map_or(0, |row| row.len());
        let n = rows.len();
        // The last column is the bias.
        let x = DMatrix::from_fn(n, width + 1, |i, j| {
            rows[i].get(j).map_or(1.0, |value| f64::from(*value))
        });
        let penalty = DVector::from_fn(width + 1, |j, _| if j < width { ridge } else { 0.0 });
        let y = DVector::from_iterator(n, labels.iter().map(|y| f64::from(u8::from(*y))));
        let objective = |w: &DVector<f64>| {
            let f = &x * w;
            let loss: f64 = f.iter().zip(&y).map(|(f, y)| softplus(*f) - y * f).sum();
            loss + 0.5 * w.component_mul(w).dot(&penalty)
        };
        let mut w = DVector::zeros(width + 1);
        let mut value = objective(&w);
        for _ in 0..MOST_STEPS {
            let p = (&x * &w).map(sigmoid);
            let gradient = x.tr_mul(&(&p - &y)) + w.component_mul(&penalty);
            let curvature = p.map(|p| (p * (1.0 - p)).max(1e-12));
            let scaled = DMatrix::from_fn(n, width + 1, |i, j| x[(i, j)] * curvature[i]);
            let mut hessian = x.tr_mul(&scaled);
            for j in 0..=width {
                // Keeps what the penalty leaves free, and ridge 0, from being singular.
                hessian[(j, j)] += penalty[j] + 1e-10;
            }
            let Some(factor) = hessian.cholesky() else {
                break;
            };
            let step = factor.solve(&gradient);
            // Halved until it helps.
            let mut length = 1.0;
            let next = loop {
                let next = &w - &step * length;
                let of_next = objective(&next);
                if of_next <= value {
                    break Some((next, of_next));
                }
                length /= 2.0;
                if length < 1e-6 {
                    break None;
                }
            };
            let Some((next, of_next)) = next else { break };
            let gain = value - of_next;
            (w, value) = (next, of_next);
            if gain <= TOLERANCE * value.max(1e-12) {
                break;
            }
        }
        Self {
            bias: w[width],
            weights: w.iter().take(width).copied().collect(),
        }
    }

    /// Above 0: true.
    pub fn score(&self, row: &[f32]) -> f64 {
        let products = self.weights.iter().zip(row);
        self.bias + products.map(|(w, x)| w * f64::from(*x)).sum::<f64>()
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ln(1 + exp(x))
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Share of labels that the sign of the score tells.
pub fn accuracy(scores: &[f64], labels: &[bool]) -> f64 {
    let right = scores
        .iter()
        .zip(labels)
        .filter(|(s, y)| (**s > 0.0) == **y);
    right.count() as f64 / scores.len().max(1) as f64
}

/// Share of pairs of a true and a false example whose scores are in order; equal ones count half. ½ without pairs.
pub fn auc(scores: &[f64], labels: &[bool]) -> f64 {
    let of = |wanted: bool| {
        let with = scores.iter().zip(labels);
        with.filter(move |(_, y)| **y == wanted).map(|(s, _)| *s)
    };
    let (mut sum, mut pairs) = (0.0, 0.0);
    for high in of(true) {
        for low in of(false) {
            pairs += 1.0;
            sum += match high.total_cmp(&low) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    if pairs > 0.0 { sum / pairs } else { 0.5 }
}
