//! The arithmetic between the matrix products, on f32 slices of the CPU: norms, rotary, softmax, activations.
//!
//! Everything works on rows, in place where it can, split among rayon's threads once there is enough of it.

use rayon::prelude::*;

use super::spec::{Activation, Norm};

/// Below this many elements a second thread costs more than it saves.
pub(super) const WORTH_SPLITTING: usize = 1 << 14;

/// x / √(mean square + ε) of each row, with the mean taken off first for [`Norm::Layer`].
/// Returns the rows and their scales, `[pos]`.
pub(super) fn normalize(kind: Norm, eps: f64, x: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let mut rows = x.to_vec();
    let mut scales = vec![0.0; x.len() / width];
    for_rows(&mut rows, width, &mut scales, |row, scale| {
        if kind == Norm::Layer {
            let mean = sum(row) / width as f32;
            for x in row.iter_mut() {
                *x -= mean;
            }
        }
        let mean_square = sum_by(row, |x| x * x) / width as f32;
        *scale = (mean_square + eps as f32).sqrt();
        let inverse = 1.0 / *scale;
        for x in row.iter_mut() {
            *x *= inverse;
        }
    });
    (rows, scales)
}

/// x ⊙ w + b, row by row, in place.
pub(super) fn scale_and_shift(rows: &mut [f32], weight: &[f32], bias: Option<&[f32]>) {
    for row in rows.chunks_exact_mut(weight.len()) {
        match bias {
            Some(bias) => {
                for ((x, w), b) in row.iter_mut().zip(weight).zip(bias) {
                    *x = *x * w + b;
                }
            }
            None => row.iter_mut().zip(weight).for_each(|(x, w)| *x *= w),
        }
    }
}

/// Adds the same row to every row, in place.
pub(super) fn add_row(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
}

/// x / √(mean square + ε) · w of each run of `weight.len()` values, in place: the norms of q and k.
pub(super) fn rms_norm(values: &mut [f32], eps: f64, weight: &[f32]) {
    for row in values.chunks_exact_mut(weight.len()) {
        let mean_square = sum_by(row, |x| x * x) / weight.len() as f32;
        let inverse = 1.0 / (mean_square + eps as f32).sqrt();
        row.iter_mut()
            .zip(weight)
            .for_each(|(x, w)| *x *= inverse * w);
    }
}

/// cos and sin of a rotary table, `[position, width / 2]` each.
#[derive(Clone, Debug, Default)]
pub(super) struct RotaryTable {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl RotaryTable {
    /// Angles are position × frequency, in f64.
    pub(super) fn new(frequencies: &[f64], positions: &[usize]) -> Self {
        let angles: Vec<f64> = positions
            .iter()
            .flat_map(|position| frequencies.iter().map(move |f| *position as f64 * f))
            .collect();
        Self {
            cos: angles.iter().map(|angle| angle.cos() as f32).collect(),
            sin: angles.iter().map(|angle| angle.sin() as f32).collect(),
            half: frequencies.len(),
        }
    }

    /// The table that turns back.
    pub(super) fn inverse(mut self) -> Self {
        self.sin.iter_mut().for_each(|sin| *sin = -*sin);
        self
    }

    /// Turns the halves of each head's first `width` values by the angles of its position. `rows` is
    /// `[sequence, position, head, d_head]`.
    pub(super) fn rotate(&self, rows: &mut [f32], d_head: usize, n_heads: usize) {
        let half = self.half;
        let n_positions = self.cos.len() / half;
        for (i, row) in rows.chunks_exact_mut(n_heads * d_head).enumerate() {
            let at = i % n_positions * half;
            let (cos, sin) = (&self.cos[at..][..half], &self.sin[at..][..half]);
            for head in row.chunks_exact_mut(d_head) {
                let (first, second) = head[..2 * half].split_at_mut(half);
                for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}

/// Raw scores times `scale`, softly capped, in place.
pub(super) fn scale_and_cap(scores: &mut [f32], scale: f32, cap: Option<f32>) {
    for s in scores.iter_mut() {
        *s *= scale;
    }
    if let Some(cap) = cap {
        soft_cap(scores, cap);
    }
}

/// cap · tanh(x / cap), in place; −∞ stays.
pub(super) fn soft_cap(values: &mut [f32], cap: f32) {
    for x in values.iter_mut().filter(|x| **x != f32::NEG_INFINITY) {
        *x = cap * tanh(*x / cap);
    }
}

/// Softmax of raw scores times `scale`, softly capped, in place; a score may be −∞, but not all.
pub(super) fn softmax(row: &mut [f32], scale: f32, cap: Option<f32>) {
    let scale = if cap.is_some() {
        scale_and_cap(row, scale, cap);
        1.0
    } else {
        scale
    };
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max) * scale;
    for s in row.iter_mut() {
        *s = exp(*s * scale - max);
    }
    let inverse = 1.0 / sum(row);
    for p in row.iter_mut() {
        *p *= inverse;
    }
}

/// The activation function, in place.
pub(super) fn activate(kind: Activation, values: &mut [f32]) {
    let apply = |chunk: &mut [f32]| match kind {
        Activation::GeluTanh => chunk.iter_mut().for_each(|x| *x = gelu_tanh(*x)),
        Activation::Gelu => chunk.iter_mut().for_each(|x| *x = gelu(*x)),
        Activation::Silu => chunk.iter_mut().for_each(|x| *x /= 1.0 + exp(-*x)),
        Activation::Relu => chunk.iter_mut().for_each(|x| *x = x.max(0.0)),
    };
    if values.len() < WORTH_SPLITTING {
        apply(values);
    } else {
        values.par_chunks_mut(WORTH_SPLITTING / 2).for_each(apply);
    }
}

/// act(gate) ⊙ linear. `rows` is `[pos, 2 · d_mlp]`, the gate first; the answer `[pos, d_mlp]`.
pub(super) fn gated(kind: Activation, rows: &[f32], d_mlp: usize) -> Vec<f32> {
    let mut post = Vec::with_capacity(rows.len() / 2);
    for row in rows.chunks_exact(2 * d_mlp) {
        post.extend_from_slice(&row[..d_mlp]);
    }
    activate(kind, &mut post);
    for (post, row) in post
        .chunks_exact_mut(d_mlp)
        .zip(rows.chunks_exact(2 * d_mlp))
    {
        post.iter_mut()
            .zip(&row[d_mlp..])
            .for_each(|(p, l)| *p *= l);
    }
    post
}

/// ‖v_j‖ as each query head reads it, `[head, key]`, from v `[pos, kv_head, d_head]`.
pub(super) fn value_norms(v: &[f32], n_heads: usize, n_kv_heads: usize, d_head: usize) -> Vec<f32> {
    let n_tokens = v.len() / (n_kv_heads * d_head);
    let norm = |kv_head: usize, position: usize| {
        let row = &v[(position * n_kv_heads + kv_head) * d_head..][..d_head];
        sum_by(row, |x| x * x).sqrt()
    };
    (0..n_heads)
        .flat_map(|head| (0..n_tokens).map(move |position| (head * n_kv_heads / n_heads, position)))
        .map(|(kv_head, position)| norm(kv_head, position))
        .collect()
}

fn gelu_tanh(x: f32) -> f32 {
    // √(2/π) and the cubic term of `gelu_new`; tanh u = 1 − 2 / (e^2u + 1).
    let u = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    x * (1.0 - 1.0 / (exp(2.0 * u) + 1.0))
}

/// 1 − 2 / (e^2x + 1), and the series near 0, where that loses digits.
fn tanh(x: f32) -> f32 {
    let square = x * x;
    let near = x * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0)));
    let far = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
    if square < 0.01 { near } else { far }
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + candle_core::cpu::erf::erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// e^x to within 2 ulp, without a branch or a call, so that loops over it become vector code.
/// 0 below −87.3; as e^88 above 88.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.0);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let r = (clamped - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    let value = (p * r * r + r + 1.0) * power;
    if x < -87.3 { 0.0 } else { value }
}

/// A sum in eight running parts: vector code, and a smaller error than one running sum.
pub(super) fn sum(values: &[f32]) -> f32 {
    sum_by(values, |x| x)
}

#[inline]
pub(super) fn sum_by(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut parts = [0.0_f32; 8];
    let chunks = values.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().map(|x| f(*x)).sum();
    for chunk in chunks {
        for (part, x) in parts.iter_mut().zip(chunk) {
            *part += f(*x);
        }
    }
    parts.iter().sum::<f32>() + rest
}

fn for_rows(
    rows: &mut [f32],
    width: usize,
    per_row: &mut [f32],
    f: impl Fn(&mut [f32], &mut f32) + Sync,
) {
    if rows.len() < WORTH_SPLITTING {
        rows.chunks_exact_mut(width)
            .zip(per_row)
            .for_each(|(row, value)| f(row, value));
    } else {
        rows.par_chunks_exact_mut(width)
            .zip(per_row)
            .with_min_len(WORTH_SPLITTING / width / 4 + 1)
            .for_each(|(row, value)| f(row, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp_of_f64() {
        for i in -8_720..8_790 {
            let x = i as f32 * 0.01 + 0.003;
            let truth = f64::from(x).exp();
            let error = (f64::from(exp(x)) / truth - 1.0).abs();
            // One ulp is at most 2⁻²³ of the value.
            assert!(error < 2.0 * 2f64.powi(-23), "exp({x}): {error:e}");
        }
        let exact = [f32::NEG_INFINITY, -100.0, 0.0].map(exp);
        assert_eq!(
            exact.map(f32::to_bits),
            [0.0_f32, 0.0, 1.0].map(f32::to_bits)
        );
    }

    #[test]
    fn gelu_forms_match_their_formulas() {
        for i in -600..600 {
            let x = f64::from(i) * 0.01;
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            let tanh_form = 0.5 * x * (1.0 + u.tanh());
            assert!(
                (f64::from(gelu_tanh(x as f32)) - tanh_form).abs() < 1e-6,
                "{x}"
            );
        }
        // Φ(1) = 0.841344746…
        assert!((gelu(1.0) - 0.841_344_8).abs() < 1e-6);
    }

    #[test]
    fn a_softmax_row_sums_to_one_with_and_without_a_cap() {
        for cap in [None, Some(5.0)] {
            let mut row: Vec<f32> = (0..130).map(|i| ((i * 37) % 101) as f32 * 0.3).collect();
            row[7] = f32::NEG_INFINITY;
            softmax(&mut row, 0.5, cap);
            let total: f64 = row.iter().map(|p| f64::from(*p)).sum();
            assert!((total - 1.0).abs() < 1e-5, "{total}");
            assert!(row[7] <= 0.0);
        }
    }

    #[test]
    fn a_soft_cap_is_its_formula() {
        for i in -300..300 {
            let x = i as f32 * 0.1;
            let mut capped = [x, f32::NEG_INFINITY];
            soft_cap(&mut capped, 6.0);
            let truth = 6.0 * (f64::from(x) / 6.0).tanh();
            assert!((f64::from(capped[0]) - truth).abs() < 2e-6, "{x}");
            assert_eq!(capped[1].to_bits(), f32::NEG_INFINITY.to_bits());
        }
    }
}
