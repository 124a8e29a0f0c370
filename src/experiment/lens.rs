//! The logit lens: what the model would say if a residual stream were its final one.

use candle_core::{Device, Tensor};

use super::engine::RunError;
use crate::model::Model;

/// Logits `[pos, vocab]` of a residual stream `[pos, d_model]`, row-major both.
pub fn lens(model: &Model, resid: &[f32]) -> Result<Vec<f32>, RunError> {
    let d_model = model.spec.d_model;
    let n_tokens = resid.len() / d_model;
    let stream = Tensor::from_slice(resid, (n_tokens, d_model), &Device::Cpu)?;
    let rows: Vec<usize> = (0..n_tokens).collect();
    let logits = model.transformer.logits(&stream, &rows)?;
    Ok(logits.flatten_all()?.to_vec1()?)
}
