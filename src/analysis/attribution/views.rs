//! The summands as a report shows them: by part, head, source token, neuron, position and vocabulary.

use super::summands::{Directions, Recorded, Summands, along_heads, dot};
use crate::analysis::report::{Bar, BarPart, Bars, Cell, Grid, Scale, Table};
use crate::analysis::{AnalysisError, Case};
use crate::experiment::engine::RunError;
use crate::experiment::{Readout, beside};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::site::{Part, Site};

/// MLP neurons that are listed.
const NEURONS: usize = 10;

/// Tokens that a head pushes up and down the most.
const PUSHED: usize = 5;

/// The whole as a table: where the difference comes from.
pub(super) fn parts(found: &Summands) -> Table {
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

/// The same as bars: embeddings, each layer's heads one by one and its MLP, the rest.
pub(super) fn bars(found: &Summands) -> Bars {
    let n_heads = found.heads.len() / found.mlps.len();
    let part = |name: &str, label: String, value: f32| BarPart {
        name: name.to_owned(),
        label,
        value: f64::from(value),
    };
    let bar = |label: String, parts: Vec<BarPart>| Bar { label, parts };
    let mut bars = vec![bar(
        "embed".into(),
        vec![part("embed", "embed".into(), found.embed)],
    )];
    for layer in 0..found.mlps.len() {
        let heads = found.heads[layer * n_heads..].iter().take(n_heads);
        let mut of_heads: Vec<BarPart> = heads
            .enumerate()
            .map(|(head, value)| part("heads", HeadId::new(layer, head).to_string(), *value))
            .collect();
        if found.biases[layer] != 0.0 {
            of_heads.push(part("biases", format!("L{layer} b_O"), found.biases[layer]));
        }
        bars.push(bar(format!("L{layer} heads"), of_heads));
        let mlp = part("MLPs", format!("M{layer}"), found.mlps[layer]);
        bars.push(bar(format!("M{layer}"), vec![mlp]));
    }
    bars.push(bar(
        "rest".into(),
        vec![part("biases", "final biases".into(), found.rest)],
    ));
    if found.edits != 0.0 {
        bars.push(bar(
            "edits".into(),
            vec![part("edits", "edits".into(), found.edits)],
        ));
    }
    Bars {
        name: "where it comes from".into(),
        about: "each part's share of the logit difference; they sum to it".into(),
        axis: "logit difference",
        bars,
    }
}

/// The tokens that a head's output makes likelier and less likely by itself, of the whole vocabulary.
pub(super) fn vocabulary(
    model: &Model,
    recorded: &Recorded,
    position: usize,
    heads: &[HeadId],
) -> Result<Table, AnalysisError> {
    let spec = &model.spec;
    let resid = recorded
        .row(Site::final_resid(spec), position)
        .ok_or(RunError::NoLogits)?;
    // A change of nothing first: what the others are compared with.
    let mut changes = vec![0.0; spec.d_model];
    for head in heads {
        changes.extend(output(model, recorded, position, *head)?);
    }
    let logits = beside(model, resid, changes)?;
    let (plain, others) = logits.split_at(spec.n_vocab);
    let text = |id: u32, by: f32| format!("{:?} {by:+.2}", model.token_text(id));
    let rows = heads
        .iter()
        .zip(others.chunks_exact(spec.n_vocab))
        .map(|(head, logits)| {
            let up: Vec<f32> = logits
                .iter()
                .zip(plain)
                .map(|(with, plain)| with - plain)
                .collect();
            let down: Vec<f32> = up.iter().map(|x| -x).collect();
            let list = |of: &[f32], sign: f32| {
                let top = Readout::new(of).top(PUSHED).into_iter();
                let texts: Vec<String> = top
                    .map(|token| text(token.id, sign * token.logit))
                    .collect();
                texts.join("  ")
            };
            vec![
                Cell::from(head.to_string()),
                Cell::from(list(&up, 1.0)),
                Cell::from(list(&down, -1.0)),
            ]
        });
    Ok(Table {
        name: "vocabulary".into(),
        columns: ["head", "makes likelier", "less likely"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    })
}

/// What a head adds to the stream at a position, `[d_model]`.
pub(super) fn output(
    model: &Model,
    recorded: &Recorded,
    position: usize,
    head: HeadId,
) -> Result<Vec<f32>, AnalysisError> {
    let d_head = model.spec.d_head;
    let z = recorded
        .row(Site::Block(head.layer, Part::Z), position)
        .unwrap_or_default();
    let z = &z[head.head * d_head..][..d_head];
    let weights = model.head_weights(head)?;
    let mut out: Vec<f32> = weights
        .o
        .chunks_exact(d_head)
        .map(|row| dot(row, z))
        .collect();
    let [post, _] = model.post_gains(head.layer);
    if let Some(post) = post {
        let scale = recorded.row(Site::Block(head.layer, Part::Ln1PostScale), position);
        let scale = scale
            .and_then(|scale| scale.first())
            .copied()
            .unwrap_or(1.0);
        for (x, gain) in out.iter_mut().zip(&post.weight) {
            *x *= gain / scale;
        }
    }
    Ok(out)
}

/// The heads' sums, token by token that they read: A[p, j] · (v_j W_O) along the direction.
pub(super) fn sources(
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
pub(super) fn neurons(
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
pub(super) fn by_position(
    model: &Model,
    recorded: &Recorded,
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
pub(super) fn strongest(values: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    order.truncate(k);
    order
}
