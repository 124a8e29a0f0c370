//! What is added to the stream at the end of a prompt, and vectors read as logits.

use crate::analysis::AnalysisError;
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{RunSpec, lens as logits_of};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::site::{Part, Site};

/// Rows that are read as logits at once.
const ROWS: usize = 64;

/// Values of all attention patterns of a prompt, at most: 1 GB.
const MOST_WEIGHTS: usize = 1 << 28;

/// Rows of one run at its read position, layer by layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    /// `[layer][head · d_head]`
    pub(super) z: Vec<Vec<f32>>,
    /// The stream before each layer, `[layer][d_model]`, and what is added to it.
    pub(super) pre: Vec<Vec<f32>>,
    pub(super) attention: Vec<Vec<f32>>,
    pub(super) mlp: Vec<Vec<f32>>,
    /// The scale of the norm on attention's output; 1 where there is none.
    pub(super) post_scale: Vec<f32>,
    /// Where the position attends, `[layer][head · key]`.
    pub(super) patterns: Vec<Vec<f32>>,
}

impl Streams {
    pub(super) fn of(engine: &mut Engine, spec: &RunSpec) -> Result<Self, AnalysisError> {
        let model = std::sync::Arc::clone(engine.model());
        let n_maps = model.spec.n_layers * model.spec.n_heads;
        if spec.ids.len().saturating_pow(2).saturating_mul(n_maps) > MOST_WEIGHTS {
            return Err(AnalysisError::needs(format!(
                "recall holds every attention pattern of a prompt, and this model has room for {} tokens: shorten the prompt",
                (MOST_WEIGHTS / n_maps).isqrt()
            )));
        }
        let parts = [
            Part::Z,
            Part::ResidPre,
            Part::AttnOut,
            Part::MlpOut,
            Part::Ln1PostScale,
            Part::Pattern,
        ];
        let sites: Vec<Site> = (0..model.spec.n_layers)
            .flat_map(|layer| parts.map(|part| Site::Block(layer, part)))
            .collect();
        let dumped = engine.dump(spec, &sites)?;
        let (n, at) = (spec.ids.len(), spec.position);
        let mut found = Self::default();
        for layer in 0..model.spec.n_layers {
            let values = |part: Part| {
                let name = Site::Block(layer, part).to_string();
                let of = dumped.iter().find(|dumped| dumped.name == name);
                of.map(|dumped| dumped.values.as_slice())
            };
            let row = |part: Part| -> Result<Vec<f32>, AnalysisError> {
                let values = values(part).ok_or(RunError::NoLogits)?;
                let width = values.len() / n;
                Ok(values[at * width..][..width].to_vec())
            };
            found.z.push(row(Part::Z)?);
            found.pre.push(row(Part::ResidPre)?);
            found.attention.push(row(Part::AttnOut)?);
            found.mlp.push(row(Part::MlpOut)?);
            let scale = values(Part::Ln1PostScale).and_then(|scales| scales.get(at));
            found.post_scale.push(scale.copied().unwrap_or(1.0));
            let maps = values(Part::Pattern).unwrap_or_default();
            let rows = maps.chunks_exact(n * n).flat_map(|map| &map[at * n..][..n]);
            found.patterns.push(rows.copied().collect());
        }
        Ok(found)
    }

    /// The stream after a layer.
    pub(super) fn after(&self, layer: usize) -> Vec<f32> {
        add(
            &add(&self.pre[layer], &self.attention[layer]),
            &self.mlp[layer],
        )
    }

    /// The weight of a head's row on some keys.
    pub(super) fn attention_to(&self, head: HeadId, n_heads: usize, keys: &[usize]) -> f32 {
        let rows = &self.patterns[head.layer];
        let n = rows.len() / n_heads;
        let row = &rows[head.head * n..][..n];
        keys.iter().filter_map(|key| row.get(*key)).sum()
    }
}

/// What each head of a layer adds to the streams, `[run][head · d_model]`: z W_O, through the norm on attention's output
/// where there is one, with its scale of the run.
pub(super) fn results(
    model: &Model,
    layer: usize,
    runs: &[&Streams],
) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let (d, d_head, n_heads) = (model.spec.d_model, model.spec.d_head, model.spec.n_heads);
    let mut found = vec![vec![0.0; n_heads * d]; runs.len()];
    let [post, _] = model.post_gains(layer);
    for head in 0..n_heads {
        let o = model.head_weights(HeadId::new(layer, head))?.o;
        for (run, found) in runs.iter().zip(&mut found) {
            let z = &run.z[layer][head * d_head..][..d_head];
            let out = &mut found[head * d..][..d];
            for (i, (row, out)) in o.chunks_exact(d_head).zip(out).enumerate() {
                let sum: f32 = row.iter().zip(z).map(|(o, z)| o * z).sum();
                let gain = post.as_ref().map_or(1.0, |post| post.weight[i]);
                *out = sum * gain / run.post_scale[layer];
            }
        }
    }
    Ok(found)
}

pub(super) fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

/// Streams as logits, each through the final norm with its own scale.
pub(super) fn lens(model: &Model, streams: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let mut found = Vec::with_capacity(streams.len());
    for chunk in streams.chunks(ROWS) {
        let logits = logits_of(model, &chunk.concat())?;
        found.extend(logits.chunks_exact(model.spec.n_vocab).map(<[f32]>::to_vec));
    }
    Ok(found)
}

/// Parts of a stream as logits, up to a positive factor each: the final norm's bias and the unembedding's are no part of
/// them, and they are what a stream of zeros gives.
pub(super) fn lens_of_parts(
    model: &Model,
    parts: &[Vec<f32>],
) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let bias = logits_of(model, &vec![0.0; model.spec.d_model])?;
    let mut found = lens(model, parts)?;
    for logits in &mut found {
        for (logit, bias) in logits.iter_mut().zip(&bias) {
            *logit -= bias;
        }
    }
    Ok(found)
}
