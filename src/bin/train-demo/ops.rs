//! The differentiable operations of the network, each with its own backward pass on plain slices.
//!
//! candle's fast layer norm and softmax have no backward pass (they drop the gradient without a word), and
//! its differentiable ones make many large temporaries. These four fused operations, with matrix products
//! left to candle, make a training step about as cheap as its matrix products.

use std::sync::Arc;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail,
};

/// Runs `f` on the values of a tensor, without a copy where it is contiguous.
pub(crate) fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(values(storage, layout)?)),
        _ => bail!("the demo model trains on the CPU"),
    }
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else {
        bail!("expected f32 values")
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("expected contiguous values"),
    }
}

const LANES: usize = 16;

/// A dot product in sixteen running sums, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn sum(a: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let chunks = a.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for x in chunks {
        for lane in 0..LANES {
            sums[lane] += x[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// e^x to about 1e-7 relative, in operations that vectorise: 2^n from the exponent bits, the rest from a
/// polynomial. Arguments below -87 give (almost) zero.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding and subtracting it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.0
        + r * (1.0
            + r * (0.5
                + r * (0.166_666_55 + r * (0.041_665_79 + r * (0.008_333_45 + r * 0.001_398_2)))));
    p * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// Adds a bias to every row.
pub(crate) struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, bias) = (values(s1, l1)?, values(s2, l2)?);
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(bias.len()) {
            out.extend(row.iter().zip(bias).map(|(x, b)| x + b));
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = bias.elem_count();
        let sums = with_values(grad, |grad| {
            let mut sums = vec![0f32; width];
            for row in grad.chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
            sums
        })?;
        Ok((
            Some(grad.clone()),
            Some(Tensor::from_vec(sums, width, grad.device())?),
        ))
    }
}

/// Layer norm over the last dimension with gain and bias.
pub(crate) struct LayerNorm;

const EPSILON: f32 = 1e-5;

fn mean_and_scale(row: &[f32]) -> (f32, f32) {
    let width = row.len() as f32;
    let mean = sum(row) / width;
    let variance = (dot(row, row) / width - mean * mean).max(0.0);
    (mean, 1.0 / (variance + EPSILON).sqrt())
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gain, bias) = (values(s1, l1)?, values(s2, l2)?, values(s3, l3)?);
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(gain.len()) {
            let (mean, scale) = mean_and_scale(row);
            out.extend(
                row.iter()
                    .zip(gain)
                    .zip(bias)
                    .map(|((x, g), b)| (x - mean) * scale * g + b),
            );
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        _bias: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = gain.elem_count();
        let (dx, dgain, dbias) = with_values(x, |x| {
            with_values(gain, |gain| {
                with_values(grad, |grad| {
                    let mut dx = Vec::with_capacity(x.len());
                    let (mut dgain, mut dbias) = (vec![0f32; width], vec![0f32; width]);
                    let (mut normed, mut scaled) = (vec![0f32; width], vec![0f32; width]);
                    for (x, grad) in x.chunks_exact(width).zip(grad.chunks_exact(width)) {
                        let (mean, scale) = mean_and_scale(x);
                        for i in 0..width {
                            normed[i] = (x[i] - mean) * scale;
                            scaled[i] = grad[i] * gain[i];
                            dgain[i] += grad[i] * normed[i];
                            dbias[i] += grad[i];
                        }
                        let along_one = sum(&scaled) / width as f32;
                        let along_x = dot(&scaled, &normed) / width as f32;
                        dx.extend(
                            scaled
                                .iter()
                                .zip(&normed)
                                .map(|(s, n)| scale * (s - along_one - n * along_x)),
                        );
                    }
                    (dx, dgain, dbias)
                })
            })
        })???;
        let device = x.device();
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), device)?),
            Some(Tensor::from_vec(dgain, width, device)?),
            Some(Tensor::from_vec(dbias, width, device)?),
        ))
    }
}

/// GPT-2's GELU (the tanh form).
pub(crate) struct GeluNew;

/// The sigmoid form of the same function, and the derivative of the sigmoid's argument.
#[inline(always)]
fn gelu_parts(x: f32) -> (f32, f32) {
    const C: f32 = 1.595_769; // 2 * sqrt(2 / pi)
    let argument = C * (x + 0.044_715 * x * x * x);
    (1.0 / (1.0 + exp(-argument)), C * (1.0 + 0.134_145 * x * x))
}

impl CustomOp1 for GeluNew {
    fn name(&self) -> &'static str {
        "gelu-new"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = values(storage, layout)?
            .iter()
            .map(|&x| x * gelu_parts(x).0)
            .collect();
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let dx: Vec<f32> = with_values(x, |x| {
            with_values(grad, |grad| {
                x.iter()
                    .zip(grad)
                    .map(|(&x, &g)| {
                        let (sigmoid, slope) = gelu_parts(x);
                        g * (sigmoid + x * sigmoid * (1.0 - sigmoid) * slope)
                    })
                    .collect()
            })
        })??;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

/// Causal self-attention over `[tokens, 3 * width]` (queries, keys, values side by side), where the tokens
/// are documents laid end to end and each document sees only itself.
pub(crate) struct Attention {
    pub(crate) heads: usize,
    /// The length of each document, in order.
    pub(crate) lengths: Arc<Vec<usize>>,
}

/// One head of one document, copied out of the wide rows.
struct HeadSlices {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    /// The keys with features as rows, so that the inner loop runs over positions.
    key_by_feature: Vec<f32>,
}

impl HeadSlices {
    fn gather(qkv: &[f32], width: usize, head_width: usize, head: usize, length: usize) -> Self {
        let part = |which: usize| -> Vec<f32> {
            let at = which * width + head * head_width;
            qkv.chunks_exact(3 * width)
                .take(length)
                .flat_map(|row| &row[at..at + head_width])
                .copied()
                .collect()
        };
        let (query, key, value) = (part(0), part(1), part(2));
        let mut key_by_feature = vec![0f32; key.len()];
        for (position, row) in key.chunks_exact(head_width).enumerate() {
            for (feature, &x) in row.iter().enumerate() {
                key_by_feature[feature * length + position] = x;
            }
        }
        Self {
            query,
            key,
            value,
            key_by_feature,
        }
    }

    /// The attention of one query position over the positions up to itself.
    fn pattern_row(&self, position: usize, head_width: usize, row: &mut [f32]) {
        let length = self.key_by_feature.len() / head_width;
        let query = &self.query[position * head_width..][..head_width];
        let row = &mut row[..=position];
        row.fill(0.0);
        let scale = 1.0 / (head_width as f32).sqrt();
        for (feature, &q) in query.iter().enumerate() {
            let keys = &self.key_by_feature[feature * length..][..=position];
            let q = q * scale;
            row.iter_mut().zip(keys).for_each(|(s, k)| *s += q * k);
        }
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for s in row.iter_mut() {
            *s = exp(*s - highest);
        }
        let total = 1.0 / sum(row);
        for s in row.iter_mut() {
            *s *= total;
        }
    }
}

impl Attention {
    /// The attention pattern of one head of one document, `[length, length]`, for looking at.
    pub(crate) fn pattern(
        qkv: &[f32],
        width: usize,
        heads: usize,
        head: usize,
        length: usize,
    ) -> Vec<f32> {
        let head_width = width / heads;
        let slices = HeadSlices::gather(qkv, width, head_width, head, length);
        let mut pattern = vec![0f32; length * length];
        for (position, row) in pattern.chunks_exact_mut(length).enumerate() {
            slices.pattern_row(position, head_width, row);
        }
        pattern
    }

    fn forward(&self, qkv: &[f32], width: usize) -> Vec<f32> {
        let head_width = width / self.heads;
        let mut out = vec![0f32; qkv.len() / 3];
        let mut row = vec![0f32; self.lengths.iter().copied().max().unwrap_or(0)];
        let mut start = 0;
        for &length in self.lengths.iter() {
            for head in 0..self.heads {
                let slices =
                    HeadSlices::gather(&qkv[start * 3 * width..], width, head_width, head, length);
                for position in 0..length {
                    slices.pattern_row(position, head_width, &mut row);
                    let out =
                        &mut out[(start + position) * width + head * head_width..][..head_width];
                    for (&a, value) in row[..=position]
                        .iter()
                        .zip(slices.value.chunks_exact(head_width))
                    {
                        out.iter_mut().zip(value).for_each(|(o, v)| *o += a * v);
                    }
                }
            }
            start += length;
        }
        out
    }

    fn backward(&self, qkv: &[f32], grad: &[f32], width: usize) -> Vec<f32> {
        let head_width = width / self.heads;
        let scale = 1.0 / (head_width as f32).sqrt();
        let mut out = vec![0f32; qkv.len()];
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let (mut row, mut drow) = (vec![0f32; longest], vec![0f32; longest]);
        let mut start = 0;
        for &length in self.lengths.iter() {
            for head in 0..self.heads {
                let slices =
                    HeadSlices::gather(&qkv[start * 3 * width..], width, head_width, head, length);
                let mut dquery = vec![0f32; length * head_width];
                let (mut dkey, mut dvalue) = (dquery.clone(), dquery.clone());
                for position in 0..length {
                    slices.pattern_row(position, head_width, &mut row);
                    let seen = position + 1;
                    let grad =
                        &grad[(start + position) * width + head * head_width..][..head_width];
                    for j in 0..seen {
                        let at = j * head_width..(j + 1) * head_width;
                        drow[j] = dot(grad, &slices.value[at.clone()]);
                        dvalue[at]
                            .iter_mut()
                            .zip(grad)
                            .for_each(|(d, g)| *d += row[j] * g);
                    }
                    // Backward through the softmax: a * (da - sum(a * da)).
                    let along = dot(&row[..seen], &drow[..seen]);
                    let at_query = position * head_width..(position + 1) * head_width;
                    for j in 0..seen {
                        let at = j * head_width..(j + 1) * head_width;
                        let dscore = row[j] * (drow[j] - along) * scale;
                        let key = &slices.key[at.clone()];
                        dquery[at_query.clone()]
                            .iter_mut()
                            .zip(key)
                            .for_each(|(d, k)| *d += dscore * k);
                        let query = &slices.query[at_query.clone()];
                        dkey[at]
                            .iter_mut()
                            .zip(query)
                            .for_each(|(d, q)| *d += dscore * q);
                    }
                }
                for position in 0..length {
                    let from = position * head_width..(position + 1) * head_width;
                    for (which, part) in [&dquery, &dkey, &dvalue].into_iter().enumerate() {
                        let to = (start + position) * 3 * width + which * width + head * head_width;
                        out[to..to + head_width].copy_from_slice(&part[from.clone()]);
                    }
                }
            }
            start += length;
        }
        out
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, wide) = layout.shape().dims2()?;
        let out = self.forward(values(storage, layout)?, wide / 3);
        Ok((CpuStorage::F32(out), Shape::from((tokens, wide / 3))))
    }

    fn bwd(&self, qkv: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = qkv.dim(1)? / 3;
        let dqkv = with_values(qkv, |qkv| {
            with_values(grad, |grad| self.backward(qkv, grad, width))
        })??;
        Ok(Some(Tensor::from_vec(dqkv, qkv.shape(), qkv.device())?))
    }
}

/// The weighted mean cross-entropy of `[tokens, vocabulary]` logits.
pub(crate) struct CrossEntropy {
    pub(crate) targets: Arc<Vec<u32>>,
    pub(crate) weights: Arc<Vec<f32>>,
}

fn log_sum_exp(row: &[f32], scratch: &mut [f32]) -> (f32, f32) {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scratch
        .iter_mut()
        .zip(row)
        .for_each(|(s, x)| *s = exp(x - highest));
    (highest, sum(scratch))
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, vocabulary) = layout.shape().dims2()?;
        let mut scratch = vec![0f32; vocabulary];
        let (mut loss, mut total) = (0f64, 0f64);
        let rows = values(storage, layout)?.chunks_exact(vocabulary);
        for ((row, &target), &weight) in rows.zip(self.targets.iter()).zip(self.weights.iter()) {
            let (highest, sum) = log_sum_exp(row, &mut scratch);
            loss += f64::from(weight * (sum.ln() + highest - row[target as usize]));
            total += f64::from(weight);
        }
        Ok((
            CpuStorage::F32(vec![(loss / total.max(1e-9)) as f32]),
            Shape::from(()),
        ))
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let vocabulary = logits.dim(1)?;
        let total: f32 = self.weights.iter().sum();
        let factor = grad.to_scalar::<f32>()? / total.max(1e-9);
        let dlogits = with_values(logits, |logits| {
            let mut out = vec![0f32; logits.len()];
            let rows = logits
                .chunks_exact(vocabulary)
                .zip(out.chunks_exact_mut(vocabulary));
            for (((row, out), &target), &weight) in
                rows.zip(self.targets.iter()).zip(self.weights.iter())
            {
                let (_, sum) = log_sum_exp(row, out);
                let scale = factor * weight / sum;
                for p in out.iter_mut() {
                    *p *= scale;
                }
                out[target as usize] -= factor * weight;
            }
            out
        })?;
        Ok(Some(Tensor::from_vec(
            dlogits,
            logits.shape(),
            logits.device(),
        )?))
    }
}
