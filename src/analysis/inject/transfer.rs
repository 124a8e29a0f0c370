//! Do the gates of one task open the way for another? Gates that other runs saved, with this task's embeddings: a row of
//! the paper's transfer matrix, whose other rows are runs on the other tasks.

use std::path::Path;

use crate::analysis::AnalysisError;
use crate::analysis::report::{Cell, Line, Plot, Report, Table};
use crate::edit::{Op, Target};
use crate::ids::HeadId;
use crate::model::Model;

use crate::analysis::learned::{Effect, FILE, Vectors, all_heads};

/// Gates from a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Borrowed {
    /// The file's, without its ending.
    pub(super) name: String,
    /// `[layer, head]`
    pub(super) alphas: Vec<f64>,
    /// Of the model that they were learned on.
    fingerprint: String,
}

/// The gates of files whose paths are separated by commas.
pub(super) fn borrowed(paths: &str, model: &Model) -> Result<Vec<Borrowed>, AnalysisError> {
    let paths = paths.split(',').map(str::trim);
    paths
        .filter(|path| !path.is_empty())
        .map(|path| of_file(Path::new(path), model))
        .collect()
}

fn of_file(path: &Path, model: &Model) -> Result<Borrowed, AnalysisError> {
    let vectors = Vectors::load(path)?;
    let edits = vectors.edits_from(FILE)?;
    let gate = |head: HeadId| {
        let of_head = edits
            .iter()
            .find(|edit| edit.target == Target::Head(head))
            .and_then(|edit| match &edit.op {
                Op::Mix { share, .. } => Some(share.get()),
                _ => None,
            });
        of_head.ok_or_else(|| {
            AnalysisError::needs(format!(
                "there is no gate of {head}: give vectors that inject saved for a model of {} layers with {} heads each: {}",
                model.spec.n_layers,
                model.spec.n_heads,
                path.display()
            ))
        })
    };
    let alphas: Result<Vec<f64>, _> = all_heads(model).into_iter().map(gate).collect();
    let fingerprint = &vectors.recipe["model"]["fingerprint"];
    Ok(Borrowed {
        name: path
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
        alphas: alphas?,
        fingerprint: fingerprint.as_str().unwrap_or_default().to_owned(),
    })
}

/// What each set of gates does with this task's embeddings, and how alike it is to the task's own.
pub(super) fn table(
    (own, effect): (&[f64], Effect),
    plain: Effect,
    borrowed: &[Borrowed],
    effects: &[Effect],
) -> Table {
    let row = |name: &str, alphas: Option<&[f64]>, effect: &Effect| {
        vec![
            Cell::from(name.to_owned()),
            Cell::from(effect.accuracy),
            Cell::from(effect.loss),
            Cell::Number(alphas.and_then(|alphas| cosine(own, alphas))),
            Cell::Number(alphas.and_then(|alphas| cosine(&centred(own), &centred(alphas)))),
        ]
    };
    let mut rows = vec![
        row("none (zero-shot)", None, &plain),
        row("this task", Some(own), &effect),
    ];
    let others = borrowed.iter().zip(effects);
    rows.extend(others.map(|(of, effect)| row(&of.name, Some(&of.alphas), effect)));
    let columns = [
        "gates of",
        "accuracy",
        "loss",
        "cosine with own gates",
        "correlation with own gates",
    ];
    Table {
        name: "gates of other tasks".into(),
        columns: columns.map(str::to_owned).into(),
        rows,
    }
}

/// Heads by their own gate and those of other tasks.
pub(super) fn scatter(own: &[f64], borrowed: &[Borrowed], model: &Model) -> Plot {
    let heads = all_heads(model);
    let line = |of: &Borrowed| Line {
        name: of.name.clone(),
        points: own.iter().zip(&of.alphas).map(|(a, b)| [*a, *b]).collect(),
        labels: heads.iter().map(HeadId::to_string).collect(),
    };
    Plot {
        name: "gates of other tasks".into(),
        x_axis: "gate of this task",
        y_axis: "gate of another task",
        is_scatter: true,
        lines: borrowed.iter().map(line).collect(),
    }
}

pub(super) fn notes(report: &mut Report, model: &Model, borrowed: &[Borrowed]) {
    report.note(
        "gates are never below 0, so that the cosine of any two maps is large; their correlation is 0 for unrelated ones",
    );
    for of in borrowed {
        if of.fingerprint != model.fingerprint {
            report.note(format!(
                "the gates of {} were learned on another model",
                of.name
            ));
        }
    }
}

/// `None` where one has no length.
fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    (lengths > 0.0).then(|| product(a, b) / lengths)
}

fn centred(values: &[f64]) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(|value| value - mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_and_correlation_are_their_definitions() {
        let (a, b) = ([1.0, 0.0, 1.0], [0.0, 1.0, 1.0]);
        assert!((cosine(&a, &b).unwrap() - 0.5).abs() < 1e-12);
        // Covariance −1/9, both variances 2/9.
        let correlation = cosine(&centred(&a), &centred(&b)).unwrap();
        assert!((correlation + 0.5).abs() < 1e-12);
        assert_eq!(cosine(&centred(&[0.5; 3]), &a), None);
    }
}
