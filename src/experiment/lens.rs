//! What the model would say of other final streams: the logit lens, and one stream with changes.

use candle_core::{Device, Tensor};

use super::engine::RunError;
use crate::model::Model;

/// Logits `[pos, vocab]` of a residual stream `[pos, d_model]`, row-major both, as if it were the final one.
pub fn lens(model: &Model, resid: &[f32]) -> Result<Vec<f32>, RunError> {
    lens_of(model, resid, None)
}

/// The same of chosen tokens only, `[pos, token]`; of all where `None`.
pub fn lens_of(model: &Model, resid: &[f32], tokens: Option<&[u32]>) -> Result<Vec<f32>, RunError> {
    let (d_model, n_layers) = (model.spec.d_model, model.spec.n_layers);
    let n_tokens = resid.len() / d_model;
    let stream = Tensor::from_slice(resid, (n_tokens, d_model), &Device::Cpu)?;
    // A pass after its last layer, with nothing before.
    let mut forward = model.transformer.gather(n_tokens, n_layers);
    let logits = match tokens {
        Some(tokens) => forward.logits_of(stream, tokens)?,
        None => forward.logits(stream)?,
    };
    let logits = logits.ok_or(RunError::NoLogits)?;
    Ok(logits.flatten_all()?.to_vec1()?)
}

/// Logits `[change, vocab]` of one final stream `[d_model]` plus each of several changes `[change, d_model]`, with the
/// final norm's scale as it is without them.
pub fn beside(model: &Model, resid: &[f32], changes: Vec<f32>) -> Result<Vec<f32>, RunError> {
    let (d_model, n_layers) = (model.spec.d_model, model.spec.n_layers);
    let stream = Tensor::from_slice(resid, (1, d_model), &Device::Cpu)?;
    let mut forward = model.transformer.gather(1, n_layers);
    let logits = forward.logits_beside(&stream, changes, None)?;
    let logits = logits.ok_or(RunError::NoDirectPath)?;
    Ok(logits.flatten_all()?.to_vec1()?)
}
