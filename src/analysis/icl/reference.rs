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

/// Risks (mean squared errors against the noisy label) at one prompt length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
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
    let task = Task::new(settings);
    let bayes = task.bayes(&lengths);
    lengths
        .into_iter()
        .zip(bayes)
        .map(|(length, bayes)| {
            let (gd, gd_eta) = task.one_step(length);
            let (debiased, debiased_eta) = task.debiased(length);
            Reference {
                length,
                bayes,
                gd,
                gd_eta,
                debiased,
                debiased_eta,
                preconditioned: task.preconditioned(length),
            }
        })
        .collect()
}

/// The data distribution: `x ~ N(0, S)`, `beta ~ N(0, I/d)`, noise variance.
struct Task {
    d: usize,
    rho: f64,
    noise: f64,
    /// `S`, `S^2`, `S^3`, each `[d, d]`.
    powers: [Vec<f64>; 3],
}

impl Task {
    fn new(settings: &Settings) -> Self {
        let d = settings.d;
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

    /// Risk of the best matrix step, `P = E[a a^T]^-1 S / d`.
    fn preconditioned(&self, length: usize) -> f64 {
        let (d, n) = (self.d as f64, length as f64);
        let [s, s2, s3] = &self.powers;
        let power = s.iter().zip(s2);
        let power = power.map(|(s, s2)| self.label_power() * s / n + (1.0 + 1.0 / n) * s2 / d);
        self.label_power() - trace_of_solution(power.collect(), s3, self.d) / (d * d)
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

/// `tr(A^-1 S)` for a positive definite `A`, by elimination without pivoting.
fn trace_of_solution(mut a: Vec<f64>, s: &[f64], n: usize) -> f64 {
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
    (0..n).map(|k| right[k * n + k] / a[k * n + k]).sum()
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
        let mut batch = Batch::new(8000, length, settings.d + 1);
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
                pairs.push((sum / length as f64, f64::from(block.target[lane])));
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
            let task = Task::new(&settings);
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
        let isotropic = Task::new(&Settings::default());
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
}
