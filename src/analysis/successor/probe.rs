//! A multinomial logistic probe for n mod 10 on E_eff of number tokens, whose rows stand for the paper's features of
//! residues (Gould et al. 2023, section 3: features of a sparse autoencoder, confirmed by such a probe).

use std::collections::BTreeSet;

use nalgebra::{DMatrix, DVector, RowDVector};
use rand::SeedableRng as _;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::residues::{RESIDUES, Settings};

/// One number in this many is held out.
const HELD_OUT: usize = 5;

/// A multinomial logistic probe on centred and scaled rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// `[class, d]`, of centred rows.
    pub weights: DMatrix<f64>,
    pub bias: DVector<f64>,
    /// `[d]`
    pub mean: RowDVector<f64>,
    /// Root mean square norm of the centred rows.
    pub spread: f64,
}

impl Probe {
    /// Minimises the mean cross-entropy + ridge/2 ‖W‖² by Nesterov's accelerated gradient from 0, with the step of its
    /// Lipschitz constant: no randomness. `rows` is `[row, d]`, and `None` where they are all alike or not finite. The
    /// weights are sums of rows, so that the fit is of `[row, class]` coefficients.
    pub fn fit(
        rows: &DMatrix<f64>,
        labels: &[usize],
        n_classes: usize,
        (steps, ridge): (usize, f64),
    ) -> Option<Self> {
        let n = rows.nrows();
        if n == 0 || n != labels.len() || labels.iter().any(|label| *label >= n_classes) {
            return None;
        }
        let mean = rows.row_mean();
        let mut x = rows.clone();
        for mut row in x.row_iter_mut() {
            row -= &mean;
        }
        let spread = (x.norm_squared() / n as f64).sqrt();
        if !(spread.is_finite() && spread > 0.0) {
            return None;
        }
        x /= spread;
        // A constant column is the bias.
        let gram = (&x * x.transpose()).add_scalar(1.0);
        // The softmax's curvature is at most 1/2; the largest eigenvalue at most the trace.
        let step = 1.0 / (0.5 * gram.trace() / n as f64 + ridge);
        let mut held = DMatrix::<f64>::zeros(n, n_classes);
        let mut ahead = held.clone();
        for i in 0..steps {
            let mut slope = softmax(&gram * &ahead);
            for (row, label) in labels.iter().enumerate() {
                slope[(row, *label)] -= 1.0;
            }
            let next = &ahead - (slope / n as f64 + &ahead * ridge) * step;
            let momentum = i as f64 / (i as f64 + 3.0);
            ahead = &next + (&next - &held) * momentum;
            held = next;
        }
        Some(Self {
            weights: held.transpose() * &x / spread,
            bias: held.row_sum().transpose(),
            mean,
            spread,
        })
    }

    /// The likeliest class of each row.
    pub fn classes(&self, rows: &DMatrix<f64>) -> Vec<usize> {
        let of = |row: RowDVector<f64>| &self.weights * (row - &self.mean).transpose() + &self.bias;
        let rows = rows.row_iter();
        rows.map(|row| of(row.into_owned()).argmax().0).collect()
    }

    /// The features, less their mean over classes: `[class, d]`.
    pub fn centred(&self) -> DMatrix<f64> {
        let mut features = self.weights.clone();
        let mean = features.row_mean();
        for mut row in features.row_iter_mut() {
            row -= &mean;
        }
        features
    }
}

fn softmax(mut logits: DMatrix<f64>) -> DMatrix<f64> {
    for mut row in logits.row_iter_mut() {
        let max = row.max();
        row.apply(|x| *x = (*x - max).exp());
        let sum = row.sum();
        row /= sum;
    }
    logits
}

/// A probe of all numbers, and how often one is right.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fitted {
    pub(super) probe: Probe,
    /// Share of the tokens that it was fitted to whose residue it says.
    pub(super) own: f64,
    /// The same of a probe that has not seen the numbers it is asked about; `None` with too few of them.
    pub(super) held_out: Option<f64>,
}

impl Fitted {
    /// `rows` is `[token, d]`, `values` the number of each.
    pub(super) fn new(rows: &DMatrix<f64>, values: &[usize], settings: &Settings) -> Option<Self> {
        let fit = |at: &[usize]| {
            let labels: Vec<usize> = at.iter().map(|i| values[*i] % RESIDUES).collect();
            let how = (settings.steps, settings.ridge);
            Probe::fit(&rows.select_rows(at), &labels, RESIDUES, how)
        };
        let accuracy = |probe: &Probe, at: &[usize]| {
            let found = probe.classes(&rows.select_rows(at));
            let right = at.iter().zip(found);
            let right = right.filter(|(i, class)| values[**i] % RESIDUES == *class);
            right.count() as f64 / at.len() as f64
        };
        let distinct: BTreeSet<usize> = values.iter().copied().collect();
        let distinct: Vec<usize> = distinct.into_iter().collect();
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let held: BTreeSet<usize> = sample(&mut rng, distinct.len(), distinct.len() / HELD_OUT)
            .into_iter()
            .map(|i| distinct[i])
            .collect();
        let (apart, seen): (Vec<usize>, Vec<usize>) =
            (0..values.len()).partition(|i| held.contains(&values[*i]));
        let held_out = fit(&seen)
            .filter(|_| !apart.is_empty())
            .map(|probe| accuracy(&probe, &apart));
        let all: Vec<usize> = (0..values.len()).collect();
        let probe = fit(&all)?;
        Some(Self {
            own: accuracy(&probe, &all),
            probe,
            held_out,
        })
    }
}

/// Cosines between rows, `[row, row]`; `None` of a row without a direction.
pub(super) fn cosines(rows: &DMatrix<f64>) -> Vec<Option<f32>> {
    let of = |a: usize, b: usize| {
        let (a, b) = (rows.row(a), rows.row(b));
        let size = a.norm() * b.norm();
        (size > 0.0).then(|| (a.dot(&b) / size) as f32)
    };
    let all = (0..rows.nrows()).flat_map(|a| (0..rows.nrows()).map(move |b| (a, b)));
    all.map(|(a, b)| of(a, b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows on a circle: residue r at angle 2πr/10, in the first two of six coordinates; the others do not tell.
    fn circle(n: usize) -> (DMatrix<f64>, Vec<usize>) {
        let labels: Vec<usize> = (0..n).map(|i| i % 10).collect();
        let rows = DMatrix::from_fn(n, 6, |row, column| {
            let angle = labels[row] as f64 * std::f64::consts::TAU / 10.0;
            match column {
                0 => 3.0 + 2.0 * angle.cos(),
                1 => 2.0 * angle.sin(),
                _ => ((row * (column + 7)) as f64 * 0.7).sin() * 0.3,
            }
        });
        (rows, labels)
    }

    #[test]
    fn the_probe_finds_planted_residues_and_their_directions() {
        let (rows, labels) = circle(60);
        let probe = Probe::fit(&rows, &labels, 10, (2000, 1e-4)).unwrap();
        assert_eq!(probe.classes(&rows), labels);
        // The features lie in the circle's plane, each nearest to its own residue's direction.
        let features = probe.centred();
        for (r, row) in features.row_iter().enumerate() {
            let angle = r as f64 * std::f64::consts::TAU / 10.0;
            let along = (row[0] * angle.cos() + row[1] * angle.sin()) / row.norm();
            assert!(along > 0.95, "{r}: {along}");
        }
        assert!(features.row_sum().norm() < 1e-9, "centred");
        // Against the slope of what is minimised, by its definition: it ends near 0.
        let fit = |steps| Probe::fit(&rows, &labels, 10, (steps, 1e-4)).unwrap();
        assert!(slope(&rows, &labels, &fit(2000)) < 0.02 * slope(&rows, &labels, &fit(0)));
        let (values, other) = (
            (0..60).collect::<Vec<_>>(),
            Settings {
                seed: 1,
                ..Settings::default()
            },
        );
        let found = Fitted::new(&rows, &values, &Settings::default()).unwrap();
        assert_eq!(found.own.to_bits(), 1.0f64.to_bits());
        assert!(
            found.held_out.unwrap() > 0.9,
            "what is held out is on the circle too"
        );
        assert_eq!(
            Fitted::new(&rows, &values, &other),
            Fitted::new(&rows, &values, &other)
        );
    }

    /// Norm of the gradient of mean cross-entropy + ridge/2 ‖W‖², by the scaled weights.
    fn slope(rows: &DMatrix<f64>, labels: &[usize], probe: &Probe) -> f64 {
        let n = rows.nrows();
        let mut sum = &probe.weights * (probe.spread * 1e-4);
        for (row, label) in rows.row_iter().zip(labels) {
            let x = (row - &probe.mean).transpose();
            let logits = &probe.weights * &x + &probe.bias;
            let e = logits.map(f64::exp);
            let mut off = &e / e.sum();
            off[*label] -= 1.0;
            sum += off * x.transpose() / probe.spread / n as f64;
        }
        sum.norm()
    }

    #[test]
    fn without_a_difference_there_is_no_probe() {
        assert_eq!(
            Probe::fit(
                &DMatrix::from_element(4, 2, 1.0),
                &[0, 1, 0, 1],
                2,
                (5, 0.1)
            ),
            None
        );
        assert_eq!(
            Probe::fit(&DMatrix::from_element(1, 2, f64::NAN), &[0], 2, (5, 0.1)),
            None
        );
        let rows = DMatrix::from_row_slice(2, 1, &[0.0, 1.0]);
        assert_eq!(
            Probe::fit(&rows, &[0, 2], 2, (5, 0.1)),
            None,
            "a label without a class"
        );
    }

    /// On the circle features are 36 degrees apart, so neighbours are alike and opposites are opposed.
    #[test]
    fn features_of_a_circle_have_its_cosines() {
        let (rows, labels) = circle(60);
        let probe = Probe::fit(&rows, &labels, 10, (2000, 1e-4)).unwrap();
        let found = cosines(&probe.centred());
        for (i, found) in found.iter().enumerate() {
            let (r, s) = (i / 10, i % 10);
            let angle = (r as f64 - s as f64) * std::f64::consts::TAU / 10.0;
            // What the fit takes from the other four coordinates turns a feature by up to 18 degrees (along > 0.95).
            assert!(
                (f64::from(found.unwrap()) - angle.cos()).abs() < 0.2,
                "{r} {s}"
            );
        }
        let nothing = cosines(&DMatrix::from_row_slice(2, 2, &[0.0, 0.0, 1.0, 0.0]));
        assert_eq!(nothing, [None, None, None, Some(1.0)]);
    }
}
