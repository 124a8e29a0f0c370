//! The summands of a logit difference: every head, MLP, bias and embedding, along the direction of two tokens read through
//! the final norm.

use super::check;
use crate::analysis::AnalysisError;
use crate::experiment::RunSpec;
use crate::experiment::engine::{Dumped, Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::site::{Part, Site};
use crate::model::spec::Norm;

/// The summands of a logit difference at one position.
#[derive(Clone, Debug, PartialEq)]
pub struct Summands {
    /// Token, position and type embeddings.
    pub embed: f32,
    /// `[layer, head]`
    pub heads: Vec<f32>,
    /// b_O of each layer.
    pub biases: Vec<f32>,
    /// `[layer]`
    pub mlps: Vec<f32>,
    /// The final norm's bias and the unembedding's.
    pub rest: f32,
    /// What edits of the residual stream itself added; 0 without them.
    pub edits: f32,
}

impl Summands {
    pub fn sum(&self) -> f64 {
        let lists = [&self.heads, &self.biases, &self.mlps];
        let lists = lists.into_iter().flatten().map(|x| f64::from(*x));
        lists.sum::<f64>() + f64::from(self.embed) + f64::from(self.rest) + f64::from(self.edits)
    }
}

/// Directions along which what is added to the stream counts, for one position of one run.
pub(super) struct Directions {
    /// For the stream itself, `[d_model]`.
    pub(super) stream: Vec<f32>,
    /// For attention's output of each layer before its post-norm: another one only where there is one.
    pub(super) attention: Vec<Vec<f32>>,
    pub(super) mlp: Vec<Vec<f32>>,
    rest: f32,
}

/// Everything that is read of a run.
pub(super) struct Recorded(Vec<Dumped>);

impl Recorded {
    /// A position's row at a site.
    pub(super) fn row(&self, site: Site, position: usize) -> Option<&[f32]> {
        let name = site.to_string();
        let dumped = self.0.iter().find(|dumped| dumped.name == name)?;
        let width: usize = dumped.shape[2..].iter().product();
        dumped.values.get(position * width..(position + 1) * width)
    }

    pub(super) fn values(&self, site: Site) -> &[f32] {
        let name = site.to_string();
        let dumped = self.0.iter().find(|dumped| dumped.name == name);
        dumped.map_or(&[], |dumped| &dumped.values)
    }
}

/// The summands of `answer − wrong` at a position of the edited run.
pub fn summands(
    engine: &mut Engine,
    spec: &RunSpec,
    (answer, wrong): (u32, u32),
) -> Result<Summands, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    check(&model)?;
    let recorded = record(engine, spec, &model, false)?;
    let directions = Directions::new(&model, &recorded, spec.position, answer, wrong)?;
    of(&model, &recorded, &directions, spec.position)
}

pub(super) fn record(
    engine: &mut Engine,
    spec: &RunSpec,
    model: &Model,
    with_values: bool,
) -> Result<Recorded, AnalysisError> {
    let n_layers = model.spec.n_layers;
    let mut sites = vec![Site::Embed, Site::PosEmbed, Site::TypeEmbed];
    sites.push(Site::Block(0, Part::ResidPre));
    sites.push(Site::final_resid(&model.spec));
    for layer in 0..n_layers {
        let at = |part| Site::Block(layer, part);
        sites.extend([at(Part::Z), at(Part::AttnOut), at(Part::MlpOut)]);
        sites.extend([at(Part::Ln1PostScale), at(Part::Ln2PostScale)]);
        if with_values {
            sites.extend([at(Part::Pattern), at(Part::V), at(Part::MlpPost)]);
        }
    }
    Ok(Recorded(engine.dump(spec, &sites)?))
}

impl Directions {
    pub(super) fn new(
        model: &Model,
        recorded: &Recorded,
        position: usize,
        answer: u32,
        wrong: u32,
    ) -> Result<Self, AnalysisError> {
        let spec = &model.spec;
        let d = spec.d_model;
        let unembed = model.unembedding(&[answer, wrong])?;
        let difference: Vec<f32> = (0..d).map(|i| unembed[i] - unembed[d + i]).collect();
        let gain = model.final_gain().ok_or(RunError::NoLogits)?;
        let resid = recorded
            .row(Site::final_resid(spec), position)
            .ok_or(RunError::NoLogits)?;
        let scale = norm_scale(resid, spec.norm, spec.norm_eps);
        let mut stream: Vec<f32> = difference
            .iter()
            .zip(&gain.weight)
            .map(|(d, g)| d * g)
            .collect();
        if gain.centres {
            let mean = stream.iter().sum::<f32>() / d as f32;
            for x in &mut stream {
                *x -= mean;
            }
        }
        for x in &mut stream {
            *x = (f64::from(*x) / scale) as f32;
        }
        let through = |layer: usize, which: usize, part: Part| -> Vec<f32> {
            let [attention, mlp] = model.post_gains(layer);
            let Some(post) = [attention, mlp][which].clone() else {
                return stream.clone();
            };
            let scale = recorded.row(Site::Block(layer, part), position);
            let scale = scale
                .and_then(|scale| scale.first())
                .copied()
                .unwrap_or(1.0);
            let along = stream.iter().zip(&post.weight);
            along.map(|(x, gain)| x * gain / scale).collect()
        };
        let layers = 0..spec.n_layers;
        let bias = gain
            .bias
            .as_ref()
            .map_or(0.0, |bias| dot(bias, &difference));
        Ok(Self {
            attention: layers
                .clone()
                .map(|l| through(l, 0, Part::Ln1PostScale))
                .collect(),
            mlp: layers.map(|l| through(l, 1, Part::Ln2PostScale)).collect(),
            rest: bias + model.unembedding_bias(answer) - model.unembedding_bias(wrong),
            stream,
        })
    }
}

pub(super) fn of(
    model: &Model,
    recorded: &Recorded,
    directions: &Directions,
    position: usize,
) -> Result<Summands, AnalysisError> {
    let spec = &model.spec;
    let d_head = spec.d_head;
    let row = |site| recorded.row(site, position);
    let embeds = [Site::Embed, Site::PosEmbed, Site::TypeEmbed];
    let embeds = embeds.into_iter().filter_map(row);
    let embed = embeds.map(|row| dot(row, &directions.stream)).sum();
    let mut found = Summands {
        embed,
        heads: vec![],
        biases: vec![],
        mlps: vec![],
        rest: directions.rest,
        edits: 0.0,
    };
    for layer in 0..spec.n_layers {
        let along = along_heads(model, layer, &directions.attention[layer])?;
        let z = row(Site::Block(layer, Part::Z)).unwrap_or_default();
        let heads = z.chunks_exact(d_head).zip(along.chunks_exact(d_head));
        found.heads.extend(heads.map(|(z, along)| dot(z, along)));
        let bias = model.out_bias(layer);
        found
            .biases
            .push(bias.map_or(0.0, |bias| dot(bias, &directions.attention[layer])));
        let mlp = row(Site::Block(layer, Part::MlpOut)).unwrap_or_default();
        found.mlps.push(dot(mlp, &directions.stream));
    }
    // An edit of an output or of the stream adds what no summand has.
    let resid = row(Site::final_resid(spec)).unwrap_or_default();
    let whole = f64::from(dot(resid, &directions.stream)) + f64::from(directions.rest);
    let off = whole - found.sum();
    if off.abs() > 1e-3 * (1.0 + whole.abs()) {
        found.edits = off as f32;
    }
    Ok(found)
}

/// W_O's rows along a direction, `[head, d_head]`.
pub(super) fn along_heads(
    model: &Model,
    layer: usize,
    direction: &[f32],
) -> Result<Vec<f32>, AnalysisError> {
    let mut along = Vec::new();
    for head in 0..model.spec.n_heads {
        let weights = model.head_weights(HeadId::new(layer, head))?;
        let d_head = model.spec.d_head;
        let mut of = vec![0.0f64; d_head];
        for (row, x) in weights.o.chunks_exact(d_head).zip(direction) {
            for (sum, o) in of.iter_mut().zip(row) {
                *sum += f64::from(*o) * f64::from(*x);
            }
        }
        along.extend(of.into_iter().map(|x| x as f32));
    }
    Ok(along)
}

/// What a norm divides a stream by.
pub(in crate::analysis) fn norm_scale(resid: &[f32], norm: Norm, eps: f64) -> f64 {
    let n = resid.len() as f64;
    let mean = match norm {
        Norm::Layer => resid.iter().map(|x| f64::from(*x)).sum::<f64>() / n,
        Norm::Rms => 0.0,
    };
    let square: f64 = resid.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
    (square / n + eps).sqrt()
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum::<f64>() as f32
}
