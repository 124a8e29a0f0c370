//! Batches through the model's circuits, forward and with exact gradients.
//!
//! `y_hat = sum_h OV_h Z softmax(Z^T KQ_h z_q)`; the query does not attend to
//! itself (paper, section 2). With two tasks `y_hat` and `OV_h` have two rows, and
//! the loss is the mean of both.

use super::data::{Batch, Block, LANES, Lane, ZERO, add_product, add_scaled};
use super::model::Circuits;

/// Buffers of the forward and backward pass, reused between steps.
#[derive(Clone, Default)]
pub(super) struct Scratch {
    /// `[token entry]`, `KQ z_q`.
    direction: Vec<Lane>,
    /// `[position]`, unnormalised attention weight.
    weight: Vec<Lane>,
    /// `[task, position]`, `OV z_l`.
    value: Vec<Lane>,
    /// `[task]`, running sums and the error.
    sum: Vec<Lane>,
    error: Vec<Lane>,
    /// `[head, token entry]`, attention-weighted token.
    context: Vec<Lane>,
    /// `[head, task, token entry]`, derivative of the head's output by `direction`.
    slope: Vec<Lane>,
    /// `[head, key side, query side]` and `[head, task, token entry]`, gradient sums.
    kq_sums: Vec<Lane>,
    ov_sums: Vec<Lane>,
}

impl Scratch {
    /// Fills `weight` and `value` for the first `length` positions of a block.
    fn attend(&mut self, kq: &[f32], ov: &[f32], block: Block<'_>, stride: usize, length: usize) {
        let tasks = block.target.len();
        let width = ov.len() / tasks;
        self.direction.resize(width, ZERO);
        self.weight.resize(length, ZERO);
        self.value.resize(tasks * length, ZERO);
        // The last columns meet the query's zero labels.
        for (out, row) in self.direction.iter_mut().zip(kq.chunks_exact(width)) {
            *out = ZERO;
            for (m, x) in row.iter().zip(&block.query[..width - tasks]) {
                add_scaled(out, *m, x);
            }
        }
        let mut peak = [f32::NEG_INFINITY; LANES];
        for (l, weight) in self.weight.iter_mut().enumerate() {
            let mut score = ZERO;
            for (direction, row) in self.direction.iter().zip(block.tokens.chunks_exact(stride)) {
                add_product(&mut score, direction, &row[l]);
            }
            for (peak, score) in peak.iter_mut().zip(&score) {
                *peak = peak.max(*score);
            }
            *weight = score;
        }
        for (values, ov) in self
            .value
            .chunks_exact_mut(length)
            .zip(ov.chunks_exact(width))
        {
            for (l, value) in values.iter_mut().enumerate() {
                *value = ZERO;
                for (ov, row) in ov.iter().zip(block.tokens.chunks_exact(stride)) {
                    add_scaled(value, *ov, &row[l]);
                }
            }
        }
        for weight in &mut self.weight {
            for (weight, peak) in weight.iter_mut().zip(&peak) {
                *weight = exp(*weight - peak);
            }
        }
    }
}

/// Output of every head at nested prompt lengths, `out [length, task, head]`.
///
/// `lengths` rise; a shorter prompt is a prefix of a longer one, so one pass of
/// running sums serves all.
pub(super) fn head_outputs(
    circuits: &Circuits,
    block: Block<'_>,
    stride: usize,
    lengths: &[usize],
    scratch: &mut Scratch,
    out: &mut [Lane],
) {
    let (n_heads, tasks) = (circuits.n_heads(), circuits.tasks);
    let longest = lengths.last().copied().unwrap_or(0);
    for (h, (kq, ov)) in circuits.heads().enumerate() {
        scratch.attend(kq, ov, block, stride, longest);
        // A prefix far below the peak may underflow to no weight at all.
        let mut total = [f32::MIN_POSITIVE; LANES];
        scratch.sum.clear();
        scratch.sum.resize(tasks, ZERO);
        let mut seen = 0;
        for (&length, out) in lengths.iter().zip(out.chunks_exact_mut(tasks * n_heads)) {
            let weights = &scratch.weight[seen..length];
            for weight in weights {
                add_scaled(&mut total, 1.0, weight);
            }
            let values = scratch.value.chunks_exact(longest);
            let outs = out.chunks_exact_mut(n_heads);
            for ((sum, values), out) in scratch.sum.iter_mut().zip(values).zip(outs) {
                for (weight, value) in weights.iter().zip(&values[seen..length]) {
                    add_product(sum, weight, value);
                }
                out[h] = std::array::from_fn(|i| sum[i] / total[i]);
            }
            seen = length;
        }
    }
}

/// Mean squared error of a batch and its gradient by the circuits, which
/// overwrites `grad`.
pub(super) fn loss_and_gradient(
    circuits: &Circuits,
    batch: &Batch,
    scratch: &mut Scratch,
    grad: &mut Circuits,
) -> f64 {
    let (width, tasks, n_heads) = (circuits.width, circuits.tasks, circuits.n_heads());
    scratch.context.resize(n_heads * width, ZERO);
    scratch.slope.resize(n_heads * tasks * width, ZERO);
    scratch.kq_sums.clear();
    scratch.kq_sums.resize(n_heads * width * width, ZERO);
    scratch.ov_sums.clear();
    scratch.ov_sums.resize(n_heads * tasks * width, ZERO);

    let n = batch.n * tasks;
    let mut loss = 0.0;
    for block in batch.blocks() {
        scratch.error.clear();
        let labels = block.target.iter().map(|target| target.map(|y| -y));
        scratch.error.extend(labels);
        for (h, (kq, ov)) in circuits.heads().enumerate() {
            scratch.attend(kq, ov, block, batch.length, batch.length);
            finish_head(scratch, block, batch.length, h);
        }
        for error in &mut scratch.error {
            for unused in &mut error[block.used..] {
                *unused = 0.0;
            }
            loss += error.iter().map(|e| f64::from(e * e)).sum::<f64>();
        }
        pull_back(scratch, block, width, n);
    }
    for (out, sum) in grad.kq.iter_mut().zip(&scratch.kq_sums) {
        *out = sum.iter().sum();
    }
    for (out, sum) in grad.ov.iter_mut().zip(&scratch.ov_sums) {
        *out = sum.iter().sum();
    }
    loss / n as f64
}

/// Normalises a head's attention, adds its output to `error`, and fills its part
/// of `context` and `slope`.
fn finish_head(scratch: &mut Scratch, block: Block<'_>, length: usize, head: usize) {
    let Scratch {
        weight,
        value,
        error,
        context,
        slope,
        ..
    } = scratch;
    let (tasks, width) = (error.len(), block.query.len());
    let mut total = ZERO;
    for weight in weight.iter() {
        add_scaled(&mut total, 1.0, weight);
    }
    let inverse = total.map(f32::recip);
    for weight in weight.iter_mut() {
        for (weight, inverse) in weight.iter_mut().zip(&inverse) {
            *weight *= inverse;
        }
    }
    let rows = || block.tokens.chunks_exact(length);
    for (context, row) in context[head * width..].iter_mut().zip(rows()) {
        *context = ZERO;
        for (weight, x) in weight.iter().zip(row) {
            add_product(context, weight, x);
        }
    }
    let slopes = slope[head * tasks * width..].chunks_exact_mut(width);
    for ((values, error), slopes) in value.chunks_exact_mut(length).zip(error).zip(slopes) {
        let mut output = ZERO;
        for (weight, value) in weight.iter().zip(values.iter()) {
            add_product(&mut output, weight, value);
        }
        add_scaled(error, 1.0, &output);
        // d output / d score_l = p_l (value_l - output)
        for (weight, value) in weight.iter().zip(values.iter_mut()) {
            *value = std::array::from_fn(|i| weight[i] * (value[i] - output[i]));
        }
        for (slope, row) in slopes.iter_mut().zip(rows()) {
            *slope = ZERO;
            for (value, x) in values.iter().zip(row) {
                add_product(slope, value, x);
            }
        }
    }
}

/// Adds a block's share of the gradient of the mean of `n` squared errors.
fn pull_back(scratch: &mut Scratch, block: Block<'_>, width: usize, n: usize) {
    let Scratch {
        error,
        context,
        slope,
        kq_sums,
        ov_sums,
        ..
    } = scratch;
    let tasks = error.len();
    for error in error.iter_mut() {
        *error = error.map(|error| 2.0 * error / n as f32);
    }
    let ov = ov_sums.chunks_exact_mut(tasks * width);
    for (sums, context) in ov.zip(context.chunks_exact(width)) {
        for (sums, pull) in sums.chunks_exact_mut(width).zip(error.iter()) {
            for (sum, context) in sums.iter_mut().zip(context) {
                add_product(sum, context, pull);
            }
        }
    }
    let kq = kq_sums.chunks_exact_mut(width * width);
    for (sums, slopes) in kq.zip(slope.chunks_exact(tasks * width)) {
        for (entry, row) in sums.chunks_exact_mut(width).enumerate() {
            let mut along = ZERO;
            for (slopes, pull) in slopes.chunks_exact(width).zip(error.iter()) {
                add_product(&mut along, &slopes[entry], pull);
            }
            for (sum, x) in row.iter_mut().zip(&block.query[..width - tasks]) {
                add_product(sum, &along, x);
            }
        }
    }
}

/// `e^x` for `x <= 0` to about 1e-7; written so that the compiler can keep it
/// in vector registers, which a library call prevents.
#[inline]
fn exp(x: f32) -> f32 {
    /// Adding `1.5 * 2^23` rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.max(-87.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    p * f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::super::data::{Sampler, Stream, rng};
    use super::super::model::{Model, head_size};
    use super::super::{Init, Settings};
    use super::*;

    #[test]
    fn exp_is_accurate_on_the_softmax_range() {
        for i in 0..9000 {
            let x = -0.01 * i as f32;
            let (got, exact) = (f64::from(exp(x)), f64::from(x.max(-87.0)).exp());
            assert!((got / exact - 1.0).abs() < 5e-7, "{x}: {got} {exact}");
        }
    }

    fn setup(init: Init, tasks: usize) -> (Model, Batch) {
        let settings = Settings {
            d: 3,
            length: 7,
            n_heads: 3,
            tasks,
            init,
            covariance: 0.3,
            ..Settings::default()
        };
        let model = Model::new(&settings, &mut rng(5, Stream::Init));
        // 13 is not a multiple of the lanes on purpose.
        let mut batch = Batch::new(13, settings.length, &settings);
        Sampler::new(&settings, rng(5, Stream::Train)).fill(&mut batch);
        (model, batch)
    }

    /// The definition, factor by factor in f64, sharing no code with the above.
    fn naive_loss(params: &[f64], width: usize, batch: &Batch) -> f64 {
        let square = width * width;
        let dot = |m: &[f64], row: usize, z: &[f64]| -> f64 {
            (0..width).map(|j| m[row * width + j] * z[j]).sum()
        };
        let mut loss = 0.0;
        for (block, lane) in batch
            .blocks()
            .flat_map(|block| (0..block.used).map(move |lane| (block, lane)))
        {
            let query: Vec<f64> = block.query.iter().map(|x| f64::from(x[lane])).collect();
            let mut outputs = vec![0.0; batch.tasks];
            for head in params.chunks(head_size(width, batch.tasks)) {
                let (k, q) = (&head[..square], &head[square..2 * square]);
                let (v, o) = (&head[2 * square..3 * square], &head[3 * square..]);
                let (mut total, mut sums) = (0.0, vec![0.0; batch.tasks]);
                for l in 0..batch.length {
                    let z: Vec<f64> = (0..width)
                        .map(|i| f64::from(block.tokens[i * batch.length + l][lane]))
                        .collect();
                    let score: f64 = (0..width).map(|e| dot(k, e, &z) * dot(q, e, &query)).sum();
                    let weight = (score / (width as f64).sqrt()).exp();
                    total += weight;
                    let v: Vec<f64> = (0..width).map(|e| dot(v, e, &z)).collect();
                    for (task, sum) in sums.iter_mut().enumerate() {
                        *sum += weight * dot(o, task, &v);
                    }
                }
                for (output, sum) in outputs.iter_mut().zip(sums) {
                    *output += sum / total;
                }
            }
            for (output, target) in outputs.iter().zip(block.target) {
                loss += (output - f64::from(target[lane])).powi(2);
            }
        }
        loss / (batch.n * batch.tasks) as f64
    }

    #[test]
    fn gradients_agree_with_finite_differences_for_every_matrix() {
        for (init, tasks) in [(Init::Default, 1), (Init::Opposite, 1), (Init::Default, 2)] {
            let (model, batch) = setup(init, tasks);
            let (width, circuits) = (model.width, model.circuits());
            let mut grad = Circuits::zeros(width, tasks, circuits.n_heads());
            let loss = loss_and_gradient(&circuits, &batch, &mut Scratch::default(), &mut grad);
            let mut got = vec![0.0; model.params.len()];
            model.pull_back(&grad, &mut got);

            let mut params: Vec<f64> = model.params.iter().map(|&p| f64::from(p)).collect();
            assert!((loss - naive_loss(&params, width, &batch)).abs() < 1e-6);
            let square = width * width;
            let mut largest = [0.0_f64; 4];
            for i in 0..params.len() {
                let h = 1e-5;
                let centre = params[i];
                params[i] = centre + h;
                let above = naive_loss(&params, width, &batch);
                params[i] = centre - h;
                let below = naive_loss(&params, width, &batch);
                params[i] = centre;
                let expected = (above - below) / (2.0 * h);
                // The rounding of f32 sums, not of the difference quotient.
                assert!(
                    (f64::from(got[i]) - expected).abs() < 2e-6 + 1e-5 * expected.abs(),
                    "{i}: {} {expected}",
                    got[i]
                );
                let matrix = i % head_size(width, tasks) / square;
                largest[matrix] = largest[matrix].max(expected.abs());
            }
            // K, Q, V and O all have something to check.
            assert!(largest.iter().all(|&g| g > 1e-3), "{largest:?}");
        }
    }

    #[test]
    fn a_prefix_is_the_same_as_a_shorter_prompt() {
        for tasks in [1, 2] {
            let (model, batch) = setup(Init::Default, tasks);
            let circuits = model.circuits();
            let mut scratch = Scratch::default();
            let mut nested = vec![ZERO; 2 * tasks * circuits.n_heads()];
            let mut alone = vec![ZERO; tasks * circuits.n_heads()];
            for block in batch.blocks() {
                head_outputs(&circuits, block, 7, &[4, 7], &mut scratch, &mut nested);
                head_outputs(&circuits, block, 7, &[4], &mut scratch, &mut alone);
                for (a, b) in nested.iter().zip(&alone) {
                    for lane in 0..LANES {
                        assert!((a[lane] - b[lane]).abs() < 1e-6);
                    }
                }
            }
        }
    }
}
