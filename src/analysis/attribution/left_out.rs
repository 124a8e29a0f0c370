//! Attribution where a prediction head that is not linear stands before the logits, as in encoders (specification, circuits
//! 10.2): each part is left out of the final stream, and what the logit difference loses is its score. Exact for one part
//! at a time; the scores of all parts do not sum to the difference, and how far they are from it is told.

use super::summands::{Recorded, record};
use super::views::{output, strongest};
use super::{AnalysisError, Case, Progress, STRONGEST, step};
use crate::analysis::report::{Bar, BarPart, Bars, Cell, HeadScores, Report, Scale, Table};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::lens_of;
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::site::{Part, Site};
use crate::model::spec::{Head, ModelSpec, Placement};

/// Whether what is added to the stream reaches a prediction head that is not linear.
pub(super) fn applies(spec: &ModelSpec) -> bool {
    matches!(spec.head, Head::MaskedToken { .. }) && spec.placement == Placement::Pre
}

/// A summand of the final stream.
struct Summand {
    kind: &'static str,
    label: String,
    /// `[d_model]`
    values: Vec<f32>,
}

fn summands(
    model: &Model,
    recorded: &Recorded,
    position: usize,
) -> Result<Vec<Summand>, AnalysisError> {
    let spec = &model.spec;
    let row = |site| recorded.row(site, position).unwrap_or_default().to_vec();
    let mut found = vec![Summand {
        kind: "embed",
        label: "embed".into(),
        values: row(Site::Block(0, Part::ResidPre)),
    }];
    for layer in 0..spec.n_layers {
        for head in 0..spec.n_heads {
            let head = HeadId::new(layer, head);
            found.push(Summand {
                kind: "heads",
                label: head.to_string(),
                values: output(model, recorded, position, head)?,
            });
        }
        if let Some(bias) = model.out_bias(layer) {
            found.push(Summand {
                kind: "biases",
                label: format!("L{layer} b_O"),
                values: bias.to_vec(),
            });
        }
        found.push(Summand {
            kind: "MLPs",
            label: format!("M{layer}"),
            values: row(Site::Block(layer, Part::MlpOut)),
        });
    }
    Ok(found)
}

/// The scores of all parts, in the run of `case.spec` with its edits.
pub(super) fn report(
    engine: &mut Engine,
    case: &Case,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let spec = &model.spec;
    let (answer, wrong) = case.pair().unwrap_or_default();
    let position = case.spec.position;
    let recorded = record(engine, &case.spec, &model, false)?;
    step(progress, 0.3)?;
    let parts = summands(&model, &recorded, position)?;
    let resid = recorded
        .row(Site::final_resid(spec), position)
        .ok_or(RunError::NoLogits)?;
    // The whole stream first.
    let mut streams = resid.to_vec();
    for part in &parts {
        streams.extend(
            resid
                .iter()
                .zip(&part.values)
                .map(|(whole, part)| whole - part),
        );
    }
    step(progress, 0.5)?;
    let logits = lens_of(&model, &streams, Some(&[answer, wrong]))?;
    let differences: Vec<f32> = logits
        .chunks_exact(2)
        .map(|pair| pair[0] - pair[1])
        .collect();
    let without = differences[1..].iter();
    let scores: Vec<f32> = without.map(|without| differences[0] - without).collect();
    let mut report = Report::new("attribute")
        .with(
            "answers",
            vec![model.token_text(answer), model.token_text(wrong)],
        )
        .with("position", position);
    let of_kind = |kind: &str| -> Vec<f32> {
        let of = parts
            .iter()
            .zip(&scores)
            .filter(|(part, _)| part.kind == kind);
        of.map(|(_, score)| *score).collect()
    };
    let heads = of_kind("heads");
    report.scores.push(HeadScores::of_heads(
        "attribution",
        "what the logit difference loses when the head's output is left out of the final stream",
        Scale::Signed,
        (spec.n_layers, spec.n_heads),
        |head| heads.get(head.layer * spec.n_heads + head.head).copied(),
    ));
    report.bars.push(bars(&parts, &scores));
    let sum: f32 = scores.iter().sum();
    let mut rows: Vec<Vec<Cell>> = ["embed", "heads", "biases", "MLPs"]
        .map(|kind| {
            vec![
                Cell::from(kind),
                Cell::from(of_kind(kind).iter().sum::<f32>()),
            ]
        })
        .into();
    rows.push(vec!["sum of the parts".into(), Cell::from(sum)]);
    rows.push(vec!["logit difference".into(), Cell::from(differences[0])]);
    report.tables.push(Table {
        name: "parts".into(),
        columns: vec!["part".into(), "logit difference".into()],
        rows,
    });
    let best: Vec<String> = strongest(&heads, STRONGEST)
        .into_iter()
        .map(|i| HeadId::new(i / spec.n_heads, i % spec.n_heads).to_string())
        .collect();
    report.note(format!(
        "the prediction head is not linear: each part is left out of the final stream by itself, which is exact for that \
         part; all parts together come to {sum:.3} where the difference is {:.3}. Strongest heads: {}",
        differences[0],
        best.join(", ")
    ));
    Ok(report)
}

/// Embeddings, each layer's heads one by one and its MLP.
fn bars(parts: &[Summand], scores: &[f32]) -> Bars {
    let mut bars: Vec<Bar> = Vec::new();
    for (part, score) in parts.iter().zip(scores) {
        let layer = part.label.split(['H', ' ']).next().unwrap_or_default();
        let label = match part.kind {
            "heads" | "biases" => format!("{layer} heads"),
            _ => part.label.clone(),
        };
        let of = BarPart {
            name: part.kind.into(),
            label: part.label.clone(),
            value: f64::from(*score),
        };
        match bars.last_mut().filter(|bar| bar.label == label) {
            Some(bar) => bar.parts.push(of),
            None => bars.push(Bar {
                label,
                parts: vec![of],
            }),
        }
    }
    Bars {
        name: "where it comes from".into(),
        about: "what the logit difference loses without each part".into(),
        axis: "logit difference",
        bars,
    }
}
