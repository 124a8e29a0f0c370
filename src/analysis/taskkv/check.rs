//! What compression costs: the loss of a tail read with the smaller cache, and of layers left with a few heads.

use super::Settings;
use super::cache::{Kept, Layer};
use crate::analysis::metric::log_prob;
use crate::analysis::{AnalysisError, Case, Cell, Progress, Report, Table, step};
use crate::edit::{Edit, Op, Target};
use crate::experiment::RunSpec;
use crate::experiment::engine::Engine;
use crate::ids::HeadId;
use crate::model::site::Site;
use crate::model::spec::{Head, ModelSpec};

/// Edges of a layer that are taken away one by one; beyond it the time is in no relation to what it shows.
const MOST_EDGES: usize = 20_000;

/// The tail after `n_tokens`: its tokens attend to what the cache has kept of those before, and to each other.
pub(super) fn tail(
    engine: &mut Engine,
    case: &Case,
    n_tokens: usize,
    layers: &[Layer],
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let spec = engine.model().spec.clone();
    if spec.head != Head::NextToken {
        report.note("the model gives no logits: the cache was not tried");
        return Ok(());
    }
    let n_all = case.spec.ids.len();
    // The last token's row predicts what is not there.
    let queries = n_tokens..n_all - 1;
    let mut edits = vec![];
    for (index, layer) in layers.iter().enumerate() {
        let of_layer = edges(&spec, index, layer, queries.clone());
        if of_layer.len() > MOST_EDGES {
            report.note(format!(
                "the cache was not tried: a layer would lose {} keys of single queries, more than {MOST_EDGES} (give a \
                 shorter tail)",
                of_layer.len()
            ));
            return Ok(());
        }
        edits.extend(of_layer);
    }
    let before = losses(engine, &case.spec, &[])?;
    step(progress, 0.6)?;
    // Without an edge that goes, it is the same run.
    let after = if edits.is_empty() {
        before.clone()
    } else {
        losses(engine, &case.spec, &edits)?
    };
    step(progress, 0.7)?;
    let model = engine.model();
    let rows = queries.clone().map(|query| {
        vec![
            Cell::from(model.token_text(case.spec.ids[query + 1])),
            Cell::from(before[query]),
            Cell::from(after[query]),
        ]
    });
    let mean = |losses: &[f64]| losses[queries.clone()].iter().sum::<f64>() / queries.len() as f64;
    report.note(format!(
        "tail of {} tokens: mean loss {:.4} with the whole cache and {:.4} with the smaller one, in nats, teacher-forced; \
         the tokens before it are read in full, and the smaller cache is what the tail's tokens attend to",
        queries.len(),
        mean(&before),
        mean(&after)
    ));
    report.tables.push(Table {
        name: "tail".into(),
        columns: ["token", "loss", "loss with the smaller cache"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    });
    Ok(())
}

/// The evicted keys of a layer, taken away from the queries after them.
fn edges(
    spec: &ModelSpec,
    index: usize,
    layer: &Layer,
    queries: std::ops::Range<usize>,
) -> Vec<Edit> {
    let mut edits = vec![];
    for head in 0..spec.n_heads {
        let kept = &layer.kept[spec.kv_head_of(head)];
        let evicted = kept
            .iter()
            .enumerate()
            .filter(|(_, kept)| **kept == Kept::Evicted);
        for (key, _) in evicted {
            let sees = queries
                .clone()
                .filter(|query| spec.masks[index].sees(*query, key));
            edits.extend(sees.map(|query| {
                let head = HeadId::new(index, head);
                Edit::new(Target::Edge { head, query, key }, Op::Knockout)
            }));
        }
    }
    edits
}

/// A layer left with its farthest heads, and with those nearest to the centre: the loss of the whole prompt.
pub(super) fn few_heads(
    engine: &mut Engine,
    case: &Case,
    settings: &Settings,
    layers: &[Layer],
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let spec = engine.model().spec.clone();
    let keep = settings.keep;
    if spec.head != Head::NextToken
        || layers
            .first()
            .is_none_or(|l| l.distances.len() != spec.n_heads)
    {
        report.note("layers with a few heads need logits and distances of query heads: not tried");
        return Ok(());
    }
    if 2 * keep > spec.n_heads {
        return Err(AnalysisError::needs(format!(
            "a layer of {} heads has no two sets of {keep}: keep fewer",
            spec.n_heads
        )));
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let plain = mean(&losses(engine, &case.spec, &[])?);
    let (mut rows, mut closer) = (vec![], 0);
    for (index, layer) in layers.iter().enumerate() {
        step(progress, 0.7 + 0.3 * index as f32 / layers.len() as f32)?;
        let mut falling: Vec<usize> = (0..spec.n_heads).collect();
        falling.sort_by(|a, b| {
            layer.distances[*b]
                .total_cmp(&layer.distances[*a])
                .then(a.cmp(b))
        });
        let (far, near) = (&falling[..keep], &falling[spec.n_heads - keep..]);
        let mut without = |kept: &[usize]| -> Result<f64, AnalysisError> {
            let gone = (0..spec.n_heads).filter(|head| !kept.contains(head));
            let edits: Vec<Edit> = gone
                .map(|head| Edit::new(Target::Head(HeadId::new(index, head)), Op::Zero))
                .collect();
            Ok(mean(&losses(engine, &case.spec, &edits)?))
        };
        let (of_far, of_near) = (without(far)?, without(near)?);
        closer += usize::from((of_far - plain).abs() < (of_near - plain).abs());
        let names = |heads: &[usize]| {
            let names: Vec<String> = heads
                .iter()
                .map(|h| HeadId::new(index, *h).to_string())
                .collect();
            names.join(" ")
        };
        rows.push(vec![
            Cell::from(index),
            Cell::from(names(far)),
            Cell::from(of_far),
            Cell::from(names(near)),
            Cell::from(of_near),
        ]);
    }
    report.note(format!(
        "loss of the whole prompt {plain:.4}; in {closer} of {} layers the {keep} farthest heads alone stay closer to it \
         than the {keep} nearest to the centre",
        layers.len()
    ));
    report.tables.push(Table {
        name: "layers with a few heads".into(),
        columns: ["layer", "farthest", "loss", "nearest", "loss of these"]
            .map(str::to_owned)
            .into(),
        rows,
    });
    Ok(())
}

/// −ln of each next token's probability, `[query]`, in nats.
fn losses(engine: &mut Engine, spec: &RunSpec, edits: &[Edit]) -> Result<Vec<f64>, AnalysisError> {
    let n_vocab = engine.model().spec.n_vocab;
    let run = RunSpec {
        edits: edits.to_vec(),
        ..spec.clone()
    };
    let dumped = engine.dump(&run, &[Site::Logits])?;
    let logits = dumped.first().map_or(&[][..], |dumped| &dumped.values[..]);
    logits
        .chunks_exact(n_vocab)
        .zip(spec.ids.iter().skip(1))
        .map(|(row, next)| {
            let found = log_prob(row, *next).map(|log| -log);
            found.ok_or_else(|| AnalysisError::needs("the model gave no logits of a token"))
        })
        .collect()
}
