//! What is reported of embeddings and gates.

use crate::analysis::report::{HeadScores, Line, Plot, Report, Scale};
use crate::ids::HeadId;
use crate::model::Model;

use super::Gates;

/// Bars of the histogram of gates.
const BINS: usize = 10;

/// Lengths of the embeddings.
pub(super) fn norms(report: &mut Report, model: &Model, embedding: &[f32]) {
    let (n_heads, d_head) = (model.spec.n_heads, model.spec.d_head);
    let shape = (model.spec.n_layers, n_heads);
    let norm = |head: HeadId| {
        let from = (head.layer * n_heads + head.head) * d_head;
        let square = |x: &f32| f64::from(*x).powi(2);
        let sum: f64 = embedding[from..from + d_head].iter().map(square).sum();
        Some(sum.sqrt() as f32)
    };
    let about = "length of the head's mean z after solved examples";
    let of = HeadScores::of_heads("embedding_norm", about, Scale::Positive, shape, norm);
    report.scores.push(of);
}

/// The gates, how they spread, and how they came about.
pub(super) fn describe(report: &mut Report, model: &Model, gates: &Gates) {
    let n_heads = model.spec.n_heads;
    let shape = (model.spec.n_layers, n_heads);
    let of = |head: HeadId| {
        gates
            .alphas
            .get(head.layer * n_heads + head.head)
            .map(|a| *a as f32)
    };
    let about = "share of the head's z that its embedding takes the place of";
    report
        .scores
        .push(HeadScores::of_heads("gate", about, Scale::Share, shape, of));
    report.bar_chart(
        "gates",
        "how many heads have a gate so far open: trained ones settle at either end",
        "heads",
        histogram(&gates.alphas),
    );
    let line = |name: &str, points: &[[f64; 2]]| Line {
        name: name.into(),
        points: points.to_vec(),
        ..Line::default()
    };
    report.plots.push(Plot {
        name: "training".into(),
        x_axis: "step",
        y_axis: "loss (nats)",
        lines: vec![
            line("training prompt", &gates.losses),
            line("validation", &gates.validation),
        ],
        ..Plot::default()
    });
}

pub(super) fn notes_of(report: &mut Report, model: &Model, gates: &Gates, several: bool) {
    let n = gates.alphas.len();
    let settled = gates
        .alphas
        .iter()
        .filter(|a| **a < 0.1 || **a > 0.9)
        .count();
    report.note(format!("{settled} of {n} gates are below 0.1 or above 0.9"));
    report.note(format!("the gates are those of step {}", gates.step));
    if several {
        report.note(
            "gates are trained by the answers' first tokens, and accuracy, logit difference and loss are of those; examples \
             hold whole answers",
        );
    }
    if model.spec.n_heads != model.spec.n_kv_heads {
        report.note("gates are of query heads, also where those share keys and values");
    }
}

/// How many gates lie in each tenth of the way from 0 to 1.
fn histogram(alphas: &[f64]) -> Vec<(String, f64)> {
    let mut counts = [0; BINS];
    for alpha in alphas {
        counts[((alpha * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let bin = |(i, n): (usize, &usize)| {
        let edge = |i: usize| i as f64 / BINS as f64;
        (format!("{:.1}–{:.1}", edge(i), edge(i + 1)), *n as f64)
    };
    counts.iter().enumerate().map(bin).collect()
}
