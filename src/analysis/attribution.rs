//! Direct logit attribution: what each head, MLP and bias adds to a logit difference by itself.
//!
//! The final norm is linear once its scale is held at its value of the run, so that the difference is a sum over everything
//! that was added to the stream (specification, circuits 9.2; check C0). Later layers' reactions are not in it: the total
//! effect is what [`super::ablation`] measures.

use super::cases::Case;
use super::field::{Field, Value};
use super::report::{Cell, Grid, HeadScores, Report, Scale, Table};
use super::{AnalysisError, Progress, step};
use crate::experiment::RunSpec;
use crate::experiment::engine::{Dumped, Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::site::{Part, Site};
use crate::model::spec::{Head, Norm, Placement};

/// MLP neurons that are listed.
const NEURONS: usize = 10;

/// Tokens at which a grid over all positions is made.
const MOST_POSITIONS: usize = 256;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Heads whose sum is split over source tokens; without any, the strongest.
    pub heads: Vec<HeadId>,
    /// An MLP whose neurons are listed; `None`: the strongest.
    pub mlp: Option<usize>,
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "heads",
                "Heads that are split over their source tokens; none: the three strongest",
                Value::Heads(&mut self.heads),
            ),
            Field::new(
                "mlp",
                "The layer whose neurons are listed; auto: the strongest",
                Value::MaybeCount(&mut self.mlp, 0..=9999),
            ),
        ]
    }
}

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
struct Directions {
    /// For the stream itself, `[d_model]`.
    stream: Vec<f32>,
    /// For attention's output of each layer before its post-norm: another one only where there is one.
    attention: Vec<Vec<f32>>,
    mlp: Vec<Vec<f32>>,
    rest: f32,
}

/// Everything that is read of a run.
struct Recorded(Vec<Dumped>);

impl Recorded {
    /// A position's row at a site.
    fn row(&self, site: Site, position: usize) -> Option<&[f32]> {
        let name = site.to_string();
        let dumped = self.0.iter().find(|dumped| dumped.name == name)?;
        let width: usize = dumped.shape[2..].iter().product();
        dumped.values.get(position * width..(position + 1) * width)
    }

    fn values(&self, site: Site) -> &[f32] {
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

/// Refuses models whose logits are no sum.
fn check(model: &Model) -> Result<(), AnalysisError> {
    if model.spec.head == Head::None {
        return Err(RunError::NoLogits.into());
    }
    if model.spec.placement == Placement::Post
        || matches!(model.spec.head, Head::MaskedToken { .. })
    {
        return Err(AnalysisError::needs(
            "direct logit attribution is a sum over what is added to the stream; this model has norms on the stream or a \
             prediction head that is not linear, so its logits are no such sum: measure the total effect with `sweep`",
        ));
    }
    Ok(())
}

fn record(
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
    fn new(
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

fn of(
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
fn along_heads(model: &Model, layer: usize, direction: &[f32]) -> Result<Vec<f32>, AnalysisError> {
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
pub(super) fn norm_scale(resid: &[f32], norm: Norm, eps: f64) -> f64 {
    let n = resid.len() as f64;
    let mean = match norm {
        Norm::Layer => resid.iter().map(|x| f64::from(*x)).sum::<f64>() / n,
        Norm::Rms => 0.0,
    };
    let square: f64 = resid.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum();
    (square / n + eps).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum::<f64>() as f32
}

/// The attribution of the first two answers' difference, in the edited run of `case.spec`.
pub fn attribute(
    engine: &mut Engine,
    case: &Case,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    check(&model)?;
    let Some((answer, wrong)) = case.pair() else {
        return Err(AnalysisError::needs(
            "attribution is of a logit difference: give two answers",
        ));
    };
    let spec = &model.spec;
    let position = case.spec.position;
    let recorded = record(engine, &case.spec, &model, true)?;
    step(progress, 0.5)?;
    let directions = Directions::new(&model, &recorded, position, answer, wrong)?;
    let found = of(&model, &recorded, &directions, position)?;
    let mut report = Report::new("attribute")
        .with(
            "answers",
            vec![model.token_text(answer), model.token_text(wrong)],
        )
        .with("position", position);
    let shape = (spec.n_layers, spec.n_heads);
    let of_head = |head: HeadId| Some(found.heads[head.layer * spec.n_heads + head.head]);
    report.scores.push(HeadScores::of_heads(
        "attribution",
        "what the head adds to the logit difference by itself",
        Scale::Signed,
        shape,
        of_head,
    ));
    report.tables.push(parts(&found));
    report.note(
        "each summand is read through the final norm with its scale of this run; what later layers make of it is not in it",
    );
    if spec.logit_cap.is_some() {
        report.note("this model caps its logits: the sum is the difference before the cap");
    }
    if found.edits != 0.0 {
        report.note("edits of the stream or of whole outputs are a summand of their own");
    }
    let heads = if settings.heads.is_empty() {
        strongest(&found.heads, 3)
            .into_iter()
            .map(|i| HeadId::new(i / spec.n_heads, i % spec.n_heads))
            .collect()
    } else {
        settings.heads.clone()
    };
    report
        .grids
        .push(sources(&model, &recorded, &directions, case, &heads)?);
    if let Some(layer) = settings
        .mlp
        .or_else(|| strongest(&found.mlps, 1).first().copied())
    {
        if layer >= spec.n_layers {
            return Err(AnalysisError::needs(format!(
                "there is no M{layer}: the model's layers are 0 to {}",
                spec.n_layers - 1
            )));
        }
        report
            .tables
            .push(neurons(&model, &recorded, &directions, layer, position)?);
    }
    if case.spec.ids.len() <= MOST_POSITIONS {
        report
            .grids
            .push(by_position(&model, &recorded, &directions, case)?);
    }
    Ok(report)
}

/// The whole as a table: where the difference comes from.
fn parts(found: &Summands) -> Table {
    let n_heads = found.heads.len() / found.mlps.len();
    let mut rows = vec![vec![Cell::from("embed"), Cell::from(found.embed)]];
    for layer in 0..found.mlps.len() {
        let heads = &found.heads[layer * n_heads..(layer + 1) * n_heads];
        rows.push(vec![
            Cell::from(format!("L{layer} heads")),
            Cell::from(heads.iter().sum::<f32>()),
        ]);
        if found.biases[layer] != 0.0 {
            rows.push(vec![
                Cell::from(format!("L{layer} b_O")),
                Cell::from(found.biases[layer]),
            ]);
        }
        rows.push(vec![
            Cell::from(format!("M{layer}")),
            Cell::from(found.mlps[layer]),
        ]);
    }
    rows.push(vec![Cell::from("rest (biases)"), Cell::from(found.rest)]);
    if found.edits != 0.0 {
        rows.push(vec![Cell::from("edits"), Cell::from(found.edits)]);
    }
    rows.push(vec![Cell::from("sum"), Cell::from(found.sum())]);
    Table {
        name: "parts".into(),
        columns: vec!["part".into(), "logit difference".into()],
        rows,
    }
}

/// The heads' sums, token by token that they read: A[p, j] · (v_j W_O) along the direction.
fn sources(
    model: &Model,
    recorded: &Recorded,
    directions: &Directions,
    case: &Case,
    heads: &[HeadId],
) -> Result<Grid, AnalysisError> {
    let spec = &model.spec;
    let (n, d_head, position) = (case.spec.ids.len(), spec.d_head, case.spec.position);
    let mut values = Vec::new();
    for head in heads {
        if head.layer >= spec.n_layers || head.head >= spec.n_heads {
            return Err(AnalysisError::needs(format!(
                "there is no {head}: layers are 0 to {}, heads 0 to {}",
                spec.n_layers - 1,
                spec.n_heads - 1
            )));
        }
        let along = along_heads(model, head.layer, &directions.attention[head.layer])?;
        let along = &along[head.head * d_head..(head.head + 1) * d_head];
        let pattern = recorded.values(Site::Block(head.layer, Part::Pattern));
        let v = recorded.values(Site::Block(head.layer, Part::V));
        let kv = spec.kv_head_of(head.head);
        for key in 0..n {
            let weight = pattern[(head.head * n + position) * n + key];
            let value = &v[(key * spec.n_kv_heads + kv) * d_head..][..d_head];
            let is_seen = spec.masks[head.layer].sees(position, key);
            values.push(is_seen.then(|| weight * dot(value, along)));
        }
    }
    Ok(Grid {
        name: "sources".into(),
        about: "the head's summand by the token that it reads".into(),
        scale: Scale::Signed,
        row_axis: "head",
        rows: heads.iter().map(HeadId::to_string).collect(),
        column_axis: "token",
        columns: token_labels(model, &case.spec.ids),
        values,
        texts: vec![],
    })
}

/// The strongest neurons of an MLP.
fn neurons(
    model: &Model,
    recorded: &Recorded,
    directions: &Directions,
    layer: usize,
    position: usize,
) -> Result<Table, AnalysisError> {
    let along = model.mlp_out_along(layer, &directions.mlp[layer])?;
    let post = recorded
        .row(Site::Block(layer, Part::MlpPost), position)
        .unwrap_or_default();
    let each: Vec<f32> = post
        .iter()
        .zip(&along)
        .map(|(act, along)| act * along)
        .collect();
    let mut rows: Vec<Vec<Cell>> = strongest(&each, NEURONS)
        .into_iter()
        .map(|i| {
            vec![
                Cell::from(format!("M{layer}.{i}")),
                Cell::from(post[i]),
                Cell::from(each[i]),
            ]
        })
        .collect();
    let bias = model.mlp_bias(layer);
    let bias = bias.map_or(0.0, |bias| dot(bias, &directions.mlp[layer]));
    let sum: f64 = each.iter().map(|x| f64::from(*x)).sum::<f64>() + f64::from(bias);
    rows.push(vec!["b_out".into(), Cell::Number(None), Cell::from(bias)]);
    rows.push(vec![
        format!("M{layer}, all neurons").into(),
        Cell::Number(None),
        Cell::from(sum),
    ]);
    Ok(Table {
        name: "neurons".into(),
        columns: ["neuron", "activation", "logit difference"]
            .map(str::to_owned)
            .into(),
        rows,
    })
}

/// Layer × position: what attention and MLP of a layer add at each position, each through that position's own norm scale.
fn by_position(
    model: &Model,
    recorded: &Recorded,
    _directions: &Directions,
    case: &Case,
) -> Result<Grid, AnalysisError> {
    let (answer, wrong) = case.pair().unwrap_or_default();
    let spec = &model.spec;
    let n = case.spec.ids.len();
    let mut values = vec![None; 2 * spec.n_layers * n];
    for position in 0..n {
        let directions = Directions::new(model, recorded, position, answer, wrong)?;
        for layer in 0..spec.n_layers {
            for (i, part) in [Part::AttnOut, Part::MlpOut].into_iter().enumerate() {
                let row = recorded.row(Site::Block(layer, part), position);
                values[(2 * layer + i) * n + position] =
                    row.map(|row| dot(row, &directions.stream));
            }
        }
    }
    let rows = (0..spec.n_layers).flat_map(|layer| [format!("L{layer}"), format!("M{layer}")]);
    Ok(Grid {
        name: "by_position".into(),
        about: "what attention (L) and MLP (M) of each layer add to the logit difference at each position".into(),
        scale: Scale::Signed,
        row_axis: "part",
        rows: rows.collect(),
        column_axis: "position",
        columns: token_labels(model, &case.spec.ids),
        values,
        texts: vec![],
    })
}

/// Tokens as columns of a grid: their index, then their text.
pub fn token_labels(model: &Model, ids: &[u32]) -> Vec<String> {
    let texts: Vec<String> = match &model.tokenizer {
        Some(tokenizer) => tokenizer
            .pieces(ids)
            .into_iter()
            .map(|piece| piece.text)
            .collect(),
        None => ids.iter().map(|id| format!("#{id}")).collect(),
    };
    texts
        .iter()
        .enumerate()
        .map(|(i, text)| format!("{i} {text}"))
        .collect()
}

/// Indices of the largest absolute values, falling.
fn strongest(values: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    order.truncate(k);
    order
}
