//! Weights as a head has them, as plain numbers: for analyses that read weights and no activation.
//!
//! Rows are as checkpoints store them, `[out, in]`, and everything is the model's own: nothing is folded or centred.

use super::Model;
use super::spec::{ModelSpec, Norm, Placement};
use super::tensors::{from_vec, with_values};
use super::transformer::NormWeights;
use super::weight::Weight;
use crate::ids::HeadId;

/// Rows of the vocabulary that are widened at a time.
const PANEL: usize = 8192;

/// A product over the weights failed.
#[derive(Debug, thiserror::Error)]
#[error("the weights could not be read: {0}")]
pub struct WeightError(#[from] candle_core::Error);

/// The matrices of a query head; k and v are those of the key/value head that it reads.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadWeights {
    /// `[d_head, d_model]`
    pub q: Vec<f32>,
    /// `[d_head, d_model]`
    pub k: Vec<f32>,
    /// `[d_head, d_model]`
    pub v: Vec<f32>,
    /// `[d_model, d_head]`
    pub o: Vec<f32>,
}

/// What a norm does to a normalised row.
#[derive(Clone, Debug, PartialEq)]
pub struct Gain {
    /// `[d_model]`
    pub weight: Vec<f32>,
    /// `[d_model]`
    pub bias: Option<Vec<f32>>,
    /// Whether the mean is taken away before (LayerNorm).
    pub centres: bool,
}

impl Model {
    pub fn head_weights(&self, head: HeadId) -> Result<HeadWeights, WeightError> {
        let HeadId { layer, head } = head;
        let ModelSpec {
            n_heads,
            n_kv_heads,
            d_head,
            ..
        } = self.spec;
        let kv_head = self.spec.kv_head_of(head);
        let block = &self.transformer.blocks[layer];
        let rows = |first: usize| {
            let rows: Vec<usize> = (first * d_head..(first + 1) * d_head).collect();
            with_values(&block.qkv.weight.rows(&rows)?, <[f32]>::to_vec)
        };
        let o = self.transformer.w_o(layer, head)?.contiguous()?;
        Ok(HeadWeights {
            q: rows(head)?,
            k: rows(n_heads + kv_head)?,
            v: rows(n_heads + n_kv_heads + kv_head)?,
            o: with_values(&o, <[f32]>::to_vec)?,
        })
    }

    /// b_O of a layer, `[d_model]`; `None` where there is none.
    pub fn out_bias(&self, layer: usize) -> Option<&[f32]> {
        self.transformer.blocks[layer].out.bias.as_deref()
    }

    /// The MLP's b_out of a layer, `[d_model]`.
    pub fn mlp_bias(&self, layer: usize) -> Option<&[f32]> {
        self.transformer.blocks[layer].mlp_out.bias.as_deref()
    }

    /// The MLP's output matrix times a direction, one value a neuron, `[d_mlp]`.
    pub fn mlp_out_along(&self, layer: usize, direction: &[f32]) -> Result<Vec<f32>, WeightError> {
        let ModelSpec { d_model, d_mlp, .. } = self.spec;
        let weight = &self.transformer.blocks[layer].mlp_out.weight;
        let matrix = weight.columns(d_model, 0..d_mlp)?.contiguous()?;
        let direction = from_vec(direction.to_vec(), (1, d_model))?;
        let along = direction.matmul(&matrix)?;
        Ok(with_values(&along, <[f32]>::to_vec)?)
    }

    /// The norm before attention; `None` where attention reads the stream as it is.
    pub fn attention_gain(&self, layer: usize) -> Option<Gain> {
        let block = &self.transformer.blocks[layer];
        let norm = match self.spec.placement {
            Placement::Pre | Placement::Sandwich => block.norm1.as_ref(),
            Placement::Post => None,
        };
        norm.map(|norm| self.gain(norm))
    }

    /// The norm on attention's output, or on the MLP's, before it is added.
    pub fn post_gains(&self, layer: usize) -> [Option<Gain>; 2] {
        let block = &self.transformer.blocks[layer];
        [&block.post_norm1, &block.post_norm2].map(|norm| norm.as_ref().map(|norm| self.gain(norm)))
    }

    /// The norm before the unembedding.
    pub fn final_gain(&self) -> Option<Gain> {
        let norm = self.transformer.final_norm.as_ref();
        norm.map(|norm| self.gain(norm))
    }

    fn gain(&self, norm: &NormWeights) -> Gain {
        Gain {
            weight: norm.weight.clone(),
            bias: norm.bias.clone(),
            centres: self.spec.norm == Norm::Layer,
        }
    }

    /// Rows of the embedding, `[id, d_model]`, times the embedding's scale where there is one.
    pub fn embedding(&self, ids: &[u32]) -> Result<Vec<f32>, WeightError> {
        let scale = self.spec.embed_scale.map_or(1.0, |scale| scale as f32);
        let mut rows = rows_of(&self.transformer.embed, ids)?;
        for x in &mut rows {
            *x *= scale;
        }
        Ok(rows)
    }

    /// Rows of the unembedding, `[id, d_model]`; empty without a language-model head.
    pub fn unembedding(&self, ids: &[u32]) -> Result<Vec<f32>, WeightError> {
        match &self.transformer.unembed {
            Some(weight) => rows_of(weight, ids),
            None => Ok(vec![]),
        }
    }

    /// b_U of a token; 0 where there is none.
    pub fn unembedding_bias(&self, id: u32) -> f32 {
        let bias = self.transformer.unembed_bias.as_ref();
        bias.map_or(0.0, |bias| bias[id as usize])
    }

    /// W_U · W_E summed over the vocabulary, `[d_model (of the unembedding), d_model (of the embedding)]`: what makes the
    /// eigenvalues of a head's full circuit those of a small matrix. `None` without a language-model head.
    pub fn vocabulary_product(&self) -> Result<Option<Vec<f32>>, WeightError> {
        let Some(unembed) = &self.transformer.unembed else {
            return Ok(None);
        };
        let (n_vocab, d_model) = (self.spec.n_vocab, self.spec.d_model);
        let mut sum = from_vec(vec![0.0; d_model * d_model], (d_model, d_model))?;
        for start in (0..n_vocab).step_by(PANEL) {
            let rows: Vec<usize> = (start..n_vocab.min(start + PANEL)).collect();
            let (u, e) = (unembed.rows(&rows)?, self.transformer.embed.rows(&rows)?);
            sum = (sum + u.t()?.matmul(&e)?)?;
        }
        Ok(Some(with_values(&sum, <[f32]>::to_vec)?))
    }

    /// The first layer's MLP of bare rows, `[row, d_model]` to `[row, d_model]`: no attention before it, no positions.
    /// `normed`: with the norm before it, and the one after it where there is one.
    pub fn first_mlp(&self, rows: &[f32], normed: bool) -> Result<Vec<f32>, WeightError> {
        let d_model = self.spec.d_model;
        let x = from_vec(rows.to_vec(), (rows.len() / d_model, d_model))?;
        let mlp = self
            .transformer
            .gather(rows.len() / d_model, 0)
            .mlp_alone(&x, normed)?;
        Ok(with_values(&mlp, <[f32]>::to_vec)?)
    }
}

fn rows_of(weight: &Weight, ids: &[u32]) -> Result<Vec<f32>, WeightError> {
    let rows: Vec<usize> = ids.iter().map(|id| *id as usize).collect();
    Ok(with_values(&weight.rows(&rows)?, <[f32]>::to_vec)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::load::{Unreported, open};

    fn model(name: &str) -> Model {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/tests/fixtures/models/{name}");
        open(&path, &mut Unreported).unwrap()
    }

    #[test]
    fn the_vocabulary_product_is_the_sum_over_tokens() {
        for name in ["tiny-gpt2", "tiny-llama"] {
            let model = model(name);
            let d = model.spec.d_model;
            let ids: Vec<u32> = (0..model.spec.n_vocab as u32).collect();
            let scale = model.spec.embed_scale.map_or(1.0, |scale| scale as f32);
            let (u, e) = (
                model.unembedding(&ids).unwrap(),
                model.embedding(&ids).unwrap(),
            );
            let found = model.vocabulary_product().unwrap().unwrap();
            for i in 0..d {
                for j in 0..d {
                    let right: f64 = (0..ids.len())
                        .map(|id| f64::from(u[id * d + i]) * f64::from(e[id * d + j] / scale))
                        .sum();
                    let found = f64::from(found[i * d + j]);
                    assert!(
                        (found - right).abs() < 1e-4,
                        "{name} {i} {j}: {found} {right}"
                    );
                }
            }
        }
    }
}
