//! The logit lens: what the model would say if a residual stream were its final one.

use candle_core::{Device, Tensor};

use super::engine::RunError;
use crate::model::Model;

/// Logits `[pos, vocab]` of a residual stream `[pos, d_model]`, row-major both.
pub fn lens(model: &Model, resid: &[f32]) -> Result<Vec<f32>, RunError> {
    let (d_model, n_layers) = (model.spec.d_model, model.spec.n_layers);
    let n_tokens = resid.len() / d_model;
    let stream = Tensor::from_slice(resid, (n_tokens, d_model), &Device::Cpu)?;
    // A pass after its last layer, with nothing before.
    let mut forward = model.transformer.gather(n_tokens, n_layers);
    let logits = forward.logits(stream)?.ok_or(RunError::NoLogits)?;
    Ok(logits.flatten_all()?.to_vec1()?)
}
