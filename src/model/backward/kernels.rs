//! The slopes of what stands between the matrix products, on f32 slices: for each step of `model/kernels.rs` its way back.
//!
//! `d` is the gradient by what a step gave, and becomes the gradient by what it read.

use rayon::prelude::*;

use super::super::kernels::{WORTH_SPLITTING, exp, sum, sum_by};
use super::super::spec::{Activation, Norm};

/// Through a norm and its weight, in place. `normalized` `[row, width]` and `scales` `[row]` are those of the pass.
pub(super) fn normalize_back(
    kind: Norm,
    weight: &[f32],
    normalized: &[f32],
    scales: &[f32],
    d: &mut [f32],
) {
    let width = weight.len();
    d.par_chunks_exact_mut(width)
        .zip(normalized.par_chunks_exact(width))
        .zip(scales)
        .with_min_len(WORTH_SPLITTING / width + 1)
        .for_each(|((d, normalized), scale)| {
            d.iter_mut().zip(weight).for_each(|(d, w)| *d *= w);
            through_scale(d, normalized, 1.0 / scale);
            if kind == Norm::Layer {
                let mean = sum(d) / width as f32;
                for d in d.iter_mut() {
                    *d -= mean;
                }
            }
        });
}

/// Through the norms of q and k, in place: of each run of `weight.len()` values of `x`, which they read.
pub(super) fn rms_norm_back(x: &[f32], eps: f64, weight: &[f32], d: &mut [f32]) {
    let width = weight.len();
    let mut normalized = vec![0.0; width];
    for (x, d) in x.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
        let mean_square = sum_by(x, |x| x * x) / width as f32;
        let inverse = 1.0 / (mean_square + eps as f32).sqrt();
        let terms = normalized.iter_mut().zip(x);
        terms.for_each(|(normalized, x)| *normalized = x * inverse);
        d.iter_mut().zip(weight).for_each(|(d, w)| *d *= w);
        through_scale(d, &normalized, inverse);
    }
}

/// Through x / √(mean square + ε): what lies along the row is taken off, for the scale answers to it.
fn through_scale(d: &mut [f32], normalized: &[f32], inverse: f32) {
    let mut products = [0.0_f32; 8];
    for (d, x) in d.chunks(8).zip(normalized.chunks(8)) {
        let terms = products.iter_mut().zip(d.iter().zip(x));
        terms.for_each(|(sum, (d, x))| *sum += d * x);
    }
    let along = products.iter().sum::<f32>() / d.len() as f32;
    let terms = d.iter_mut().zip(normalized);
    terms.for_each(|(d, x)| *d = (*d - x * along) * inverse);
}

/// Through cap · tanh(x / cap), in place, from what it gave.
pub(super) fn soft_cap_back(capped: &[f32], cap: f32, d: &mut [f32]) {
    let terms = d.iter_mut().zip(capped);
    terms.for_each(|(d, capped)| *d *= cap_slope(*capped, cap));
}

/// The slope of a soft cap where it gives `capped`.
pub(super) fn cap_slope(capped: f32, cap: f32) -> f32 {
    let share = capped / cap;
    1.0 - share * share
}

/// Through the activation function, in place, from what it read.
pub(super) fn activate_back(kind: Activation, pre: &[f32], d: &mut [f32]) {
    fn through(pre: &[f32], d: &mut [f32], f: impl Fn(f32) -> [f32; 2] + Sync) {
        d.par_iter_mut()
            .zip(pre)
            .with_min_len(WORTH_SPLITTING)
            .for_each(|(d, x)| {
                let [_, slope] = f(*x);
                *d *= slope;
            });
    }
    match kind {
        Activation::GeluTanh => through(pre, d, gelu_tanh),
        Activation::Gelu => through(pre, d, gelu),
        Activation::Silu => through(pre, d, silu),
        Activation::Relu => through(pre, d, relu),
    }
}

/// Through act(gate) ⊙ linear: from `[row, d_mlp]` each to `[row, 2 · d_mlp]`, the gate's first.
pub(super) fn gated_back(
    kind: Activation,
    gate: &[f32],
    linear: &[f32],
    d: &[f32],
    d_mlp: usize,
) -> Vec<f32> {
    fn through(
        [gate, linear, d]: [&[f32]; 3],
        d_mlp: usize,
        f: impl Fn(f32) -> [f32; 2] + Sync,
    ) -> Vec<f32> {
        let mut back = vec![0.0; 2 * d.len()];
        back.par_chunks_exact_mut(2 * d_mlp)
            .zip(gate.par_chunks_exact(d_mlp))
            .zip(linear.par_chunks_exact(d_mlp))
            .zip(d.par_chunks_exact(d_mlp))
            .with_min_len(WORTH_SPLITTING / d_mlp + 1)
            .for_each(|(((back, gate), linear), d)| {
                let (d_gate, d_linear) = back.split_at_mut(d_mlp);
                for i in 0..d_mlp {
                    let [value, slope] = f(gate[i]);
                    d_gate[i] = d[i] * linear[i] * slope;
                    d_linear[i] = d[i] * value;
                }
            });
        back
    }
    let values = [gate, linear, d];
    match kind {
        Activation::GeluTanh => through(values, d_mlp, gelu_tanh),
        Activation::Gelu => through(values, d_mlp, gelu),
        Activation::Silu => through(values, d_mlp, silu),
        Activation::Relu => through(values, d_mlp, relu),
    }
}

// Value and slope of each activation.

fn gelu_tanh(x: f32) -> [f32; 2] {
    // x · σ(2u), u as in the value's kernel.
    let u = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    let u_slope = 0.797_884_6 * (1.0 + 3.0 * 0.044_715 * x * x);
    let s = sigmoid(2.0 * u);
    [x * s, s + 2.0 * x * s * (1.0 - s) * u_slope]
}

fn gelu(x: f32) -> [f32; 2] {
    // x · Φ(x)
    let below = 0.5 * (1.0 + candle_core::cpu::erf::erf_f32(x * std::f32::consts::FRAC_1_SQRT_2));
    let density = 0.398_942_3 * exp(-0.5 * x * x);
    [x * below, below + x * density]
}

fn silu(x: f32) -> [f32; 2] {
    let s = sigmoid(x);
    [x * s, s + x * s * (1.0 - s)]
}

fn relu(x: f32) -> [f32; 2] {
    if x > 0.0 { [x, 1.0] } else { [0.0, 0.0] }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::super::super::kernels::activate;
    use super::*;

    #[test]
    fn slopes_of_activations_are_those_of_their_values() {
        for kind in [
            Activation::GeluTanh,
            Activation::Gelu,
            Activation::Silu,
            Activation::Relu,
        ] {
            for i in -800..800 {
                let x = i as f32 * 0.011 + 0.003;
                let step = 0.01;
                let mut beside = [x - step, x + step, x];
                activate(kind, &mut beside);
                let [left, right, value] = beside;
                let about = (right - left) / (2.0 * step);
                let mut d = [2.0];
                activate_back(kind, &[x], &mut d);
                let kink = kind == Activation::Relu && x.abs() < step;
                assert!(kink || (d[0] - 2.0 * about).abs() < 5e-4, "{kind:?} {x}");
                let back = gated_back(kind, &[x], &[3.0], &[2.0], 1);
                assert!((back[0] - 3.0 * d[0]).abs() < 1e-5, "{kind:?} {x}");
                assert!((back[1] - 2.0 * value).abs() < 1e-5, "{kind:?} {x}");
            }
        }
    }
}
