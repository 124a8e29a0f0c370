//! Losses of the ideal estimators on the lab's data: the lines a trained model
//! is compared with.

use rand::Rng as _;
use rand_distr::StandardNormal;
use serde::Serialize;

use super::Settings;
use super::data::{Stream, rng};

/// Multiply-adds spent on the Bayes risk; sets the number of draws.
const BAYES_WORK: usize = 3_000_000;

/// Least noise variance used in the posterior, to keep it invertible.
const NOISE_FLOOR: f64 = 1e-10;

/// Risks (mean squared errors against the noisy label) at one prompt length; of two tasks the mean, each by an estimator
/// that knows which covariates the task reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reference {
    pub length: usize,
    /// Posterior mean (ridge with penalty `noise * d`), averaged over drawn
    /// covariates; the standard error is about 1 % of the excess over the noise.
    pub bayes: f64,
    /// Best `eta/L sum_l y_l x_l.x_q`, exact.
    pub gd: f64,
    pub gd_eta: f64,
    /// Best `eta/L sum_l (y_l - y_mean) x_l.x_q`, exact.
    pub debiased: f64,
    pub debiased_eta: f64,
    /// Best `1/L sum_l y_l x_l^T P x_q` over matrices `P`, exact; equals `gd`
    /// for isotropic covariates and is the fair comparison otherwise.
    pub preconditioned: f64,
}

/// References at every test length of the settings.
pub fn references(settings: &Settings) -> Vec<Reference> {
    let lengths = settings.test_lengths();
    let share = 1.0 / settings.tasks as f64;
    let mut means: Vec<Reference> = lengths
        .iter()
        .map(|length| Reference {
            length: *length,
            ..Reference::default()
        })
        .collect();
    for task in 0..settings.tasks {
        let task = Task::new(settings, settings.reads(task).len());
        for (mean, bayes) in means.iter_mut().zip(task.bayes(&lengths)) {
            let (gd, gd_eta) = task.one_step(mean.length);
            let (debiased, debiased_eta) = task.debiased(mean.length);
            mean.bayes += share * bayes;
            mean.gd += share * gd;
            mean.gd_eta += share * gd_eta;
            mean.debiased += share * debiased;
            mean.debiased_eta += share * debiased_eta;
            mean.preconditioned += share * task.preconditioned(mean.length);
        }
    }
    means
}

/// `P` of the best matrix step of a task at the training length, over the covariates that it reads.
pub(super) fn best_step(settings: &Settings, task: usize) -> Vec<f32> {
    let task = Task::new(settings, settings.reads(task).len());
    let step = solution(task.power(settings.length), &task.powers[0], task.d);
    step.iter().map(|p| (p / task.d as f64) as f32).collect()
}

/// The data distribution: `x ~ N(0, S)`, `beta ~ N(0, I/d)`, noise variance. Of a task that does not read all covariates
/// only those that it reads: neighbours, whose covariance has the same form.
struct Task {
    d: usize,
    rho: f64,
    noise: f64,
    /// `S`, `S^2`, `S^3`, each `[d, d]`.
    powers: [Vec<f64>; 3],
}

impl Task {
    fn new(settings: &Settings, d: usize) -> Self {
        let rho = settings.covariance;
        let s = covariance(d, rho);
        let s2 = product(&s, &s, d);
        let s3 = product(&s2, &s, d);
        Self {
            d,
            rho,
            noise: settings.noise,
            powers: [s, s2, s3],
        }
    }

    /// `E[y^2]`, the loss of predicting 0.
    fn label_power(&self) -> f64 {
        self.trace(0) / self.d as f64 + self.noise
    }

    fn trace(&self, power: usize) -> f64 {
        self.powers[power].iter().step_by(self.d + 1).sum()
    }

    /// Risk and step size of the best one-step gradient descent.
    ///
    /// With `a = 1/L sum y x`, Isserlis' theorem gives
    /// `E[a a^T] = E[y^2] S / L + (1 + 1/L) S^2 / d`.
    fn one_step(&self, length: usize) -> (f64, f64) {
        let (d, n) = (self.d as f64, length as f64);
        let gain = self.trace(1) / d;
        let power = self.label_power() * self.trace(1) / n + (1.0 + 1.0 / n) * self.trace(2) / d;
        let eta = gain / power;
        (self.label_power() - eta * gain, eta)
    }

    /// `E[a a^T]`, `[d, d]`; see [`Self::one_step`].
    fn power(&self, length: usize) -> Vec<f64> {
        let (d, n) = (self.d as f64, length as f64);
        let [s, s2, _] = &self.powers;
        let terms = s.iter().zip(s2);
        let terms = terms.map(|(s, s2)| self.label_power() * s / n + (1.0 + 1.0 / n) * s2 / d);
        terms.collect()
    }

    /// Risk of the best matrix step, `P = E[a a^T]^-1 S / d`.
    fn preconditioned(&self, length: usize) -> f64 {
        let d = self.d as f64;
        let power = self.power(length);
        self.label_power() - trace_of_solution(power, &self.powers[2], self.d) / (d * d)
    }

    /// Centring `L` Gaussian examples leaves the sum of `L - 1` independent ones,
    /// so this is one-step gradient descent with one example less.
    fn debiased(&self, length: usize) -> (f64, f64) {
        if length < 2 {
            return (self.label_power(), 0.0);
        }
        let (risk, eta) = self.one_step(length - 1);
        (risk, eta * length as f64 / (length - 1) as f64)
    }

    /// Bayes risk at rising `lengths`:
    /// `noise + E tr(S (d I + X^T X / noise)^-1)`, averaged over `X`.
    fn bayes(&self, lengths: &[usize]) -> Vec<f64> {
        let d = self.d;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let draws = (BAYES_WORK / (longest * d * d).max(1)).clamp(100, 2000);
        let noise = self.noise.max(NOISE_FLOOR);
        let fresh = (1.0 - self.rho * self.rho).sqrt();
        let mut rng = rng(0, Stream::Reference);
        let mut sums = vec![0.0; lengths.len()];
        let mut x = vec![0.0; d];
        for _ in 0..draws {
            let mut gram = vec![0.0; d * d];
            let mut seen = 0;
            for (sum, &length) in sums.iter_mut().zip(lengths) {
                for _ in seen..length {
                    let mut previous = None;
                    for x in &mut x {
                        let normal: f64 = rng.sample(StandardNormal);
                        *x = previous.map_or(normal, |p: f64| self.rho * p + fresh * normal);
                        previous = Some(*x);
                    }
                    for (row, a) in gram.chunks_exact_mut(d).zip(&x) {
                        for (entry, b) in row.iter_mut().zip(&x) {
                            *entry += a * b;
                        }
                    }
                }
                seen = length;
                let mut precision = gram.clone();
                for entry in precision.iter_mut().step_by(d + 1) {
                    *entry += noise * d as f64;
                }
                *sum += noise * trace_of_solution(precision, &self.powers[0], d);
            }
        }
        sums.into_iter()
            .map(|sum| self.noise + sum / f64::from(draws as u32))
            .collect()
    }
}

/// `rho^|i-j|`, `[d, d]`.
fn covariance(d: usize, rho: f64) -> Vec<f64> {
    (0..d * d)
        .map(|k| rho.powi((k / d).abs_diff(k % d) as i32))
        .collect()
}

fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    (0..n * n)
        .map(|k| (0..n).map(|m| a[k / n * n + m] * b[m * n + k % n]).sum())
        .collect()
}

/// `A^-1 S` for a positive definite `A`, by elimination without pivoting.
fn solution(mut a: Vec<f64>, s: &[f64], n: usize) -> Vec<f64> {
    let mut right = s.to_vec();
    for k in 0..n {
        let pivot = a[k * n + k];
        for i in (0..n).filter(|&i| i != k) {
            let factor = a[i * n + k] / pivot;
            for j in 0..n {
                a[i * n + j] -= factor * a[k * n + j];
                right[i * n + j] -= factor * right[k * n + j];
            }
        }
    }
    for (k, row) in right.chunks_exact_mut(n).enumerate() {
        for value in row {
            *value /= a[k * n + k];
        }
    }
    right
}

fn trace_of_solution(a: Vec<f64>, s: &[f64], n: usize) -> f64 {
    solution(a, s, n).iter().step_by(n + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::super::data::{Batch, LANES, Sampler};
    use super::*;

    #[test]
    fn default_task_matches_the_published_table() {
        // Length, Bayes, one-step GD, debiased GD; the table is itself sampled.
        let table = [
            (20, 0.135, 0.349, 0.361),
            (40, 0.115, 0.247, 0.250),
            (80, 0.106, 0.175, 0.176),
            (160, 0.103, 0.138, 0.138),
        ];
        for (got, (length, bayes, gd, debiased)) in
            references(&Settings::default()).iter().zip(table)
        {
            assert_eq!(got.length, length);
            assert!((got.bayes - bayes).abs() < 0.002, "{got:?}");
            assert!((got.gd - gd).abs() < 0.012, "{got:?}");
            assert!((got.debiased - debiased).abs() < 0.012, "{got:?}");
        }
        let at_40 = references(&Settings::default())[1];
        assert!((at_40.gd_eta - 0.855).abs() < 0.01);
        assert!((at_40.debiased_eta - 0.875).abs() < 0.01);
    }

    /// `(1/L sum (y - center) x.x_q, y_q)` of drawn prompts.
    fn sampled(settings: &Settings, debias: bool) -> Vec<(f64, f64)> {
        let length = settings.length;
        let mut batch = Batch::new(8000, length, settings);
        Sampler::new(settings, rng(3, Stream::Train)).fill(&mut batch);
        let mut pairs = Vec::new();
        for block in batch.blocks() {
            for lane in 0..LANES {
                let at = |i: usize, l: usize| f64::from(block.tokens[i * length + l][lane]);
                let mean = (0..length).map(|l| at(settings.d, l)).sum::<f64>() / length as f64;
                let center = if debias { mean } else { 0.0 };
                let mut sum = 0.0;
                for l in 0..length {
                    let dot: f64 = (0..settings.d)
                        .map(|i| at(i, l) * f64::from(block.query[i][lane]))
                        .sum();
                    sum += (at(settings.d, l) - center) * dot;
                }
                pairs.push((sum / length as f64, f64::from(block.target[0][lane])));
            }
        }
        pairs
    }

    /// Mean squared error of the step size, with its standard error.
    fn risk_of(pairs: &[(f64, f64)], eta: f64) -> (f64, f64) {
        let n = pairs.len() as f64;
        let errors = || pairs.iter().map(|(step, y)| (eta * step - y).powi(2));
        let mean = errors().sum::<f64>() / n;
        let variance = errors().map(|e| (e - mean).powi(2)).sum::<f64>() / n;
        (mean, (variance / n).sqrt())
    }

    #[test]
    fn gradient_descent_risks_agree_with_sampling() {
        for (d, length, noise, covariance) in [(3, 8, 0.5, 0.0), (4, 12, 0.2, 0.7)] {
            let settings = Settings {
                d,
                length,
                noise,
                covariance,
                ..Settings::default()
            };
            let task = Task::new(&settings, d);
            for (debias, (risk, eta)) in [
                (false, task.one_step(length)),
                (true, task.debiased(length)),
            ] {
                let pairs = sampled(&settings, debias);
                let (mean, error) = risk_of(&pairs, eta);
                assert!((mean - risk).abs() < 4.0 * error, "{mean} {risk} {error}");
                // The step size is the best one.
                for other in [0.8 * eta, 1.2 * eta] {
                    assert!(risk_of(&pairs, other).0 > mean);
                }
            }
        }
    }

    #[test]
    fn bayes_risk_has_the_right_limits() {
        let at = |d, length, noise| {
            let settings = Settings {
                d,
                length,
                noise,
                ..Settings::default()
            };
            references(&settings)[1].bayes
        };
        // Without noise, L >= d examples determine beta; fewer leave 1 - L/d.
        assert!(at(4, 8, 0.0).abs() < 1e-6);
        assert!((at(4, 2, 0.0) - 0.5).abs() < 0.02);
        // d = 1: noise E[1 / (noise + chi^2_L)], between Jensen's bound and
        // the noiseless inverse moment 1/(L - 2).
        let excess = (at(1, 10, 0.1) - 0.1) / 0.1;
        assert!(excess > 1.0 / 10.1 && excess < 1.0 / 8.0, "{excess}");
    }

    #[test]
    fn a_preconditioner_helps_only_correlated_covariates() {
        let isotropic = Task::new(&Settings::default(), 5);
        assert!((isotropic.preconditioned(40) - isotropic.one_step(40).0).abs() < 1e-12);
        let correlated = Settings {
            covariance: 0.6,
            ..Settings::default()
        };
        for r in references(&correlated) {
            assert!(r.preconditioned < 0.8 * r.gd, "{r:?}");
            assert!(r.bayes < r.preconditioned && r.gd < r.debiased, "{r:?}");
        }
    }

    #[test]
    fn the_best_step_is_a_minimum() {
        let settings = Settings {
            d: 3,
            length: 8,
            covariance: 0.7,
            ..Settings::default()
        };
        let task = Task::new(&settings, 3);
        // E y^2 - 2 tr(P^T S^2)/d + tr(P^T E[a a^T] P S)
        let risk = |p: &[f64]| -> f64 {
            let along: f64 = p.iter().zip(&task.powers[1]).map(|(p, s2)| p * s2).sum();
            let mapped = product(&product(&task.power(8), p, 3), &task.powers[0], 3);
            let squared: f64 = p.iter().zip(&mapped).map(|(p, m)| p * m).sum();
            task.label_power() - 2.0 * along / 3.0 + squared
        };
        let best: Vec<f64> = best_step(&settings, 0)
            .iter()
            .map(|p| f64::from(*p))
            .collect();
        let least = risk(&best);
        assert!((least - task.preconditioned(8)).abs() < 1e-9);
        for i in 0..9 {
            for h in [-0.05, 0.05] {
                let mut other = best.clone();
                other[i] += h;
                assert!(risk(&other) > least, "{i}");
            }
        }
    }

    #[test]
    fn two_tasks_have_the_mean_of_their_references() {
        let two = Settings {
            tasks: 2,
            ..Settings::default()
        };
        let of = |d| {
            let settings = Settings {
                d,
                ..Settings::default()
            };
            references(&settings)
        };
        for ((two, a), b) in references(&two).iter().zip(of(3)).zip(of(4)) {
            assert_eq!(two.length, a.length);
            for (mean, a, b) in [
                (two.bayes, a.bayes, b.bayes),
                (two.gd, a.gd, b.gd),
                (two.debiased, a.debiased, b.debiased),
            ] {
                assert!((mean - f64::midpoint(a, b)).abs() < 1e-12);
            }
        }
    }
}
