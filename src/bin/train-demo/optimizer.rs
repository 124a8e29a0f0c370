//! AdamW with gradient clipping; its moments live beside the weights so that a run can stop and go on.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use crate::ops::with_values;

const BETAS: (f32, f32) = (0.9, 0.98);
const EPSILON: f32 = 1e-8;
const DECAY: f32 = 0.05;
const CLIP: f32 = 1.0;

/// First and second moment of each variable.
#[derive(Default)]
pub(crate) struct AdamW {
    moments: BTreeMap<String, (Vec<f32>, Vec<f32>)>,
}

impl AdamW {
    /// One step (counted from 1); returns the norm of the gradient before clipping.
    pub(crate) fn step(
        &mut self,
        variables: &BTreeMap<String, Var>,
        grads: &GradStore,
        rate: f32,
        step: usize,
    ) -> Result<f32> {
        let mut gradients = Vec::new();
        let mut squares = 0f64;
        for (name, variable) in variables {
            // A variable without a gradient would stay as it is in silence: that is a mistake in the network.
            let grad = grads
                .get(variable.as_tensor())
                .ok_or_else(|| anyhow::anyhow!("no gradient reached {name}"))?
                .flatten_all()?
                .to_vec1::<f32>()?;
            squares += grad.iter().map(|g| f64::from(g * g)).sum::<f64>();
            gradients.push(grad);
        }
        let norm = squares.sqrt() as f32;
        let clip = (CLIP / norm.max(1e-9)).min(1.0);
        let (correct_1, correct_2) = (
            1.0 - BETAS.0.powi(step as i32),
            1.0 - BETAS.1.powi(step as i32),
        );
        for ((name, variable), grad) in variables.iter().zip(gradients) {
            let (first, second) = self
                .moments
                .entry(name.clone())
                .or_insert_with(|| (vec![0.0; grad.len()], vec![0.0; grad.len()]));
            // Only matrices decay, not biases and norms.
            let keep = if variable.dims().len() == 2 {
                1.0 - rate * DECAY
            } else {
                1.0
            };
            let updated: Vec<f32> = with_values(variable.as_tensor(), |weights| {
                let moments = first.iter_mut().zip(second.iter_mut());
                weights
                    .iter()
                    .zip(&grad)
                    .zip(moments)
                    .map(|((weight, g), (m, v))| {
                        let g = g * clip;
                        *m = BETAS.0 * *m + (1.0 - BETAS.0) * g;
                        *v = BETAS.1 * *v + (1.0 - BETAS.1) * g * g;
                        weight * keep
                            - rate * (*m / correct_1) / ((*v / correct_2).sqrt() + EPSILON)
                    })
                    .collect()
            })?;
            variable.set(&Tensor::from_vec(updated, variable.shape(), &Device::Cpu)?)?;
        }
        Ok(norm)
    }

    /// The group lasso on heads: what each head reads as values and what it writes shrinks by a fixed
    /// length a step (`rate * strength`), as long as the loss does not push back. Left alone, half the
    /// heads learn the same thing and back each other up; so the work gathers in few heads, which are
    /// easier to tell apart.
    pub(crate) fn gather_heads(
        variables: &BTreeMap<String, Var>,
        heads: usize,
        shrink: f32,
    ) -> Result<()> {
        for (name, variable) in variables {
            let (rows, columns) = match variable.dims() {
                [rows, columns] => (*rows, *columns),
                _ => continue,
            };
            // The block of head `h` is some rows of what heads write, and some columns of the values.
            let block: Box<dyn Fn(usize, usize) -> usize> = if name.ends_with("attn.c_proj.weight")
            {
                let head_width = rows / heads;
                Box::new(move |row, _| row / head_width)
            } else if name.ends_with("attn.c_attn.weight") {
                let (values, head_width) = (columns / 3 * 2, columns / 3 / heads);
                Box::new(move |_, column| {
                    if column < values {
                        heads
                    } else {
                        (column - values) / head_width
                    }
                })
            } else {
                continue;
            };
            let mut weights = variable.flatten_all()?.to_vec1::<f32>()?;
            let mut squares = vec![0f32; heads + 1];
            for (i, weight) in weights.iter().enumerate() {
                squares[block(i / columns, i % columns)] += weight * weight;
            }
            let mean = squares[..heads].iter().sum::<f32>() / heads as f32;
            let mut keep: Vec<f32> = squares
                .iter()
                .map(|square| {
                    // Weak heads shrink faster than strong ones, or all would only become smaller together.
                    let pull = (mean / square.max(1e-9)).min(4.0);
                    (1.0 - shrink * pull / square.sqrt().max(1e-9)).max(0.0)
                })
                .collect();
            keep[heads] = 1.0; // queries and keys stay
            for (i, weight) in weights.iter_mut().enumerate() {
                *weight *= keep[block(i / columns, i % columns)];
            }
            variable.set(&Tensor::from_vec(weights, variable.shape(), &Device::Cpu)?)?;
        }
        Ok(())
    }

    /// The moments as tensors for a checkpoint.
    pub(crate) fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = Vec::new();
        for (name, (first, second)) in &self.moments {
            tensors.push((
                format!("first.{name}"),
                Tensor::from_slice(first, first.len(), &Device::Cpu)?,
            ));
            tensors.push((
                format!("second.{name}"),
                Tensor::from_slice(second, second.len(), &Device::Cpu)?,
            ));
        }
        Ok(tensors)
    }

    /// The moments of a checkpoint.
    pub(crate) fn from_tensors(
        tensors: &std::collections::HashMap<String, Tensor>,
    ) -> Result<Self> {
        let mut moments = BTreeMap::new();
        for (key, first) in tensors {
            let Some(name) = key.strip_prefix("first.") else {
                continue;
            };
            let second = tensors
                .get(&format!("second.{name}"))
                .ok_or_else(|| anyhow::anyhow!("the checkpoint has no second moment of {name}"))?;
            moments.insert(name.to_string(), (first.to_vec1()?, second.to_vec1()?));
        }
        Ok(Self { moments })
    }
}
