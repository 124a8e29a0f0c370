//! The Adam optimiser over a flat parameter vector.

const MOMENTUM: (f32, f32) = (0.9, 0.999);
const EPSILON: f32 = 1e-8;

/// Adam without weight decay.
#[derive(Clone)]
pub(super) struct Adam {
    /// Gradient of the next step, `[parameter]`.
    pub(super) grad: Vec<f32>,
    mean: Vec<f32>,
    square: Vec<f32>,
    t: i32,
}

impl Adam {
    pub(super) fn new(n: usize) -> Self {
        Self {
            grad: vec![0.0; n],
            mean: vec![0.0; n],
            square: vec![0.0; n],
            t: 0,
        }
    }

    /// One step along `grad`.
    pub(super) fn apply(&mut self, rate: f64, params: &mut [f32]) {
        let Self {
            grad,
            mean,
            square,
            t,
        } = self;
        *t += 1;
        let (b1, b2) = MOMENTUM;
        let corrected = |b: f32| (1.0 - f64::from(b).powi(*t)).recip();
        let rate = (rate * corrected(b1)) as f32;
        let square_scale = corrected(b2) as f32;
        let state = mean.iter_mut().zip(square).zip(grad);
        for (param, ((mean, square), grad)) in params.iter_mut().zip(state) {
            *mean += (1.0 - b1) * (*grad - *mean);
            *square += (1.0 - b2) * (*grad * *grad - *square);
            *param -= rate * *mean / ((*square * square_scale).sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_has_the_size_of_the_rate() {
        let mut adam = Adam::new(2);
        let mut params = [1.0, 1.0];
        adam.grad.copy_from_slice(&[3.0, -1e-3]);
        adam.apply(0.1, &mut params);
        assert!((params[0] - 0.9).abs() < 1e-5 && (params[1] - 1.1).abs() < 1e-5);
    }

    #[test]
    fn a_parabola_is_minimised() {
        let mut adam = Adam::new(1);
        let mut params = [2.0];
        for _ in 0..2000 {
            adam.grad[0] = 2.0 * (params[0] - 0.5);
            adam.apply(1e-2, &mut params);
        }
        assert!((params[0] - 0.5).abs() < 1e-3);
    }
}
