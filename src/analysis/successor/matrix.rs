//! A head's n × n matrix between the words of a list, in its order: of a successor head the diagonal above the main one
//! stands out.

use crate::analysis::sequences::Variant;
use crate::analysis::{AnalysisError, Grid, Report, Scale};
use crate::ids::HeadId;
use crate::model::Model;
use nalgebra::DMatrix;

use super::Settings;
use super::asked::{Asked, LEAST_PAIRS, Task};
use super::scores::Wins;
use super::token_circuit::Circuit;

/// What marks a row's largest logit, and a largest one that stands at the word's successor.
const MARKS: [&str; 2] = ["max", "next"];

/// Adds the matrix of a head, of the wanted list's form at which it is best.
pub(super) fn add(
    report: &mut Report,
    model: &Model,
    head: HeadId,
    variants: &[Variant],
    asked: &Asked,
    wins: &Wins,
    settings: &Settings,
) -> Result<(), AnalysisError> {
    let of_head = &wins.chosen[head.layer * model.spec.n_heads + head.head];
    let tasks = asked.tasks.iter().zip(of_head);
    // A list of the user's own is the only one.
    let wanted = settings.matrix.list().filter(|_| settings.words.is_empty());
    let is_wanted = |task: &Task| wanted.is_none_or(|name| name == variants[task.variant].name);
    let best = tasks.filter(|(task, _)| is_wanted(task)).reduce(|a, b| {
        // b's share is larger, by whole numbers.
        let is_more = b.1 * a.0.right.len() > a.1 * b.0.right.len();
        if is_more { b } else { a }
    });
    let Some((task, _)) = best else {
        let tasks = asked.tasks.iter();
        let mut names: Vec<&str> = tasks.map(|task| &variants[task.variant].name[..]).collect();
        names.dedup();
        return Err(AnalysisError::needs(format!(
            "the list `{}` has no {LEAST_PAIRS} pairs of words that are single tokens of this model; these have: {}",
            wanted.unwrap_or_default(),
            names.join(", ")
        )));
    };
    let variant = &variants[task.variant];
    let mut items: Vec<(u32, String)> = vec![];
    for (token, text) in variant.tokens.iter().zip(&variant.texts) {
        if let Some(id) = token
            && items.iter().all(|(known, _)| known != id)
        {
            items.push((*id, text.clone()));
        }
    }
    let ids: Vec<u32> = items.iter().map(|(id, _)| *id).collect();
    let logits = matrix(model, head, &ids, settings)?;
    let n = ids.len();
    let pairs = variant.pairs();
    let successor_of = |row: usize| {
        let is_from = |(from, _): &&(usize, usize)| variant.tokens[*from] == Some(ids[row]);
        pairs
            .iter()
            .find(is_from)
            .and_then(|(_, to)| variant.tokens[*to])
    };
    let mut texts = vec![String::new(); n * n];
    let (mut n_next, mut n_pairs) = (0, 0);
    for (row, values) in logits.chunks_exact(n).enumerate() {
        let successor = successor_of(row);
        let best = (0..n).max_by(|a, b| values[*a].total_cmp(&values[*b]).then(b.cmp(a)));
        n_pairs += usize::from(successor.is_some());
        if let Some(best) = best {
            let is_next = successor == Some(ids[best]);
            n_next += usize::from(is_next);
            texts[row * n + best] = MARKS[usize::from(is_next)].into();
        }
    }
    let names: Vec<String> = items.into_iter().map(|(_, text)| text).collect();
    report.grids.push(Grid {
        name: format!("{head}, {}", variant.label()),
        about: format!(
            "logit of each word (column) when the head attends to a word (row); the row's largest is marked `max`, or `next` \
             where it stands at the next word: in {n_next} of {n_pairs} rows"
        ),
        scale: Scale::Signed,
        row_axis: "attended to",
        rows: names.clone(),
        column_axis: "raised",
        columns: names,
        values: logits.into_iter().map(Some).collect(),
        texts,
    });
    Ok(())
}

/// E_eff · W_V W_O · W_U between tokens, `[token, token]`.
pub fn matrix(
    model: &Model,
    head: HeadId,
    ids: &[u32],
    settings: &Settings,
) -> Result<Vec<f32>, AnalysisError> {
    let circuit = Circuit::new(model, ids, settings.fold)?;
    let rows = settings.effective.rows(model, ids)?;
    let rows = DMatrix::from_row_slice(ids.len(), model.spec.d_model, &rows);
    let weights = model.head_weights(head)?;
    let p = Circuit::p(&weights, &circuit.read(head.layer, &rows));
    let logits = p * circuit.q(head.layer, &weights);
    Ok(logits.transpose().as_slice().to_vec())
}
