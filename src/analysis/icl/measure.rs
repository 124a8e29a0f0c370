//! What a run keeps of its losses: the training curve, and test-set moments that
//! answer any head edit.

use super::data::Lane;

/// Bound on the points of the training curve.
const CURVE_POINTS: usize = 400;

/// Second moments of head outputs `c_h` and label `y` of one task on the test set.
///
/// The prediction is a plain sum over heads, so the loss is quadratic in the
/// heads' scales: `E y^2 - 2 s.E[y c] + s^T E[c c^T] s`. One pass over the test
/// set then answers every head edit.
#[derive(Clone)]
pub(super) struct Moments {
    label: f64,
    /// `[head]`
    cross: Vec<f64>,
    /// `[head, head]`
    gram: Vec<f64>,
}

impl Moments {
    pub(super) fn new(n_heads: usize) -> Self {
        Self {
            label: 0.0,
            cross: vec![0.0; n_heads],
            gram: vec![0.0; n_heads * n_heads],
        }
    }

    pub(super) fn add(&mut self, outputs: &[Lane], signal: &Lane, used: usize) {
        let dot = |a: &Lane, b: &Lane| -> f64 {
            let terms = a.iter().zip(b).take(used);
            terms.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        self.label += dot(signal, signal);
        let rows = self.gram.chunks_exact_mut(outputs.len());
        for ((cross, row), a) in self.cross.iter_mut().zip(rows).zip(outputs) {
            *cross += dot(a, signal);
            for (entry, b) in row.iter_mut().zip(outputs) {
                *entry += dot(a, b);
            }
        }
    }

    /// Turns sums into means. The query's own noise adds exactly its variance,
    /// so it is not sampled.
    pub(super) fn finish(&mut self, n: usize, noise: f64) {
        let n = n as f64;
        self.label = self.label / n + noise;
        for value in self.cross.iter_mut().chain(&mut self.gram) {
            *value /= n;
        }
    }

    pub(super) fn loss(&self, scales: &[f64]) -> f64 {
        let rows = self.gram.chunks_exact(scales.len().max(1));
        let mut loss = self.label;
        for ((a, cross), row) in scales.iter().zip(&self.cross).zip(rows) {
            let power: f64 = row.iter().zip(scales).map(|(entry, b)| entry * b).sum();
            loss += a * (power - 2.0 * cross);
        }
        loss
    }
}

/// Loss curve of bounded size: when full, neighbours are averaged.
#[derive(Clone)]
pub(super) struct Curve {
    points: Vec<(usize, f32)>,
    /// Steps per point.
    stride: usize,
    sum: f64,
    n: usize,
    last: usize,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            stride: 1,
            sum: 0.0,
            n: 0,
            last: 0,
        }
    }
}

impl Curve {
    pub(super) fn push(&mut self, step: usize, loss: f64) {
        self.sum += loss;
        self.n += 1;
        self.last = step;
        if self.n < self.stride {
            return;
        }
        self.points.push((step, (self.sum / self.n as f64) as f32));
        (self.sum, self.n) = (0.0, 0);
        if self.points.len() == CURVE_POINTS {
            self.points = self
                .points
                .chunks_exact(2)
                .map(|pair| (pair[1].0, f32::midpoint(pair[0].1, pair[1].1)))
                .collect();
            self.stride *= 2;
        }
    }

    /// The unfinished last stretch counts as a point.
    pub(super) fn points(&self) -> Vec<(usize, f32)> {
        let mut points = self.points.clone();
        if self.n > 0 {
            points.push((self.last, (self.sum / self.n as f64) as f32));
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_stays_small_and_keeps_the_mean() {
        let mut curve = Curve::default();
        for step in 1..=10_001 {
            curve.push(step, step as f64);
        }
        let points = curve.points();
        assert!(points.len() <= CURVE_POINTS);
        assert_eq!(points[points.len() - 1].0, 10_001);
        let mut start = 0;
        for (end, mean) in points {
            assert!((mean - (start + 1 + end) as f32 / 2.0).abs() < 1e-2);
            start = end;
        }
    }
}
