//! Selections as maps and tables, and the next token with and without what they leave out.

use std::sync::Arc;

use super::attend::Chunked;
use super::select::{By, chunks_of};
use super::{Choice, Selection, Sizes};
use crate::analysis::{AnalysisError, Case, Cell, Grid, HeadScores, Report, Scale, Table};
use crate::edit::{Edit, Op, Target};
use crate::experiment::engine::Engine;
use crate::experiment::{Reading, Readout};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::spec::{Head, ModelSpec};

/// Letters of a chunk in tables.
const SHOWN: usize = 60;

/// Names under which sets have the place that is looked for.
const GOLD: [&str; 5] = ["needle", "answer", "value", "key", "IO"];

/// Keys of a layer that are taken away one by one; beyond it the comparison is left out.
const MOST_EDGES: usize = 20_000;

pub(super) fn describe(
    report: &mut Report,
    model: &Model,
    case: &Case,
    sizes: Sizes,
    selections: &[Selection],
) {
    let spec = &model.spec;
    let shape = (spec.n_layers, spec.n_heads);
    let of = |head: HeadId| &selections[head.layer * shape.1 + head.head];
    let about =
        "share of the head's plain attention, from the read position, that goes to what it selects";
    let mass = HeadScores::of_heads("selected_mass", about, Scale::Share, shape, |head| {
        Some(of(head).mass as f32)
    });
    report.scores.push(mass);
    let query = case.spec.position;
    let gold = GOLD.into_iter().find(|name| !case.span(name).is_empty());
    if let Some(name) = gold {
        let chunks = chunks_of(case.span(name), query, sizes);
        let about = format!("share of the chunks of `{name}` that the head selects");
        let found = HeadScores::of_heads("finds_place", &about, Scale::Share, shape, |head| {
            let choices = &of(head).choices;
            let found = chunks.iter().filter(|chunk| choices[**chunk] != Choice::No);
            Some(found.count() as f32 / chunks.len() as f32)
        });
        report.scores.push(found);
        let names: Vec<String> = chunks.iter().map(usize::to_string).collect();
        report.note(format!("`{name}` lies in the chunks {}", names.join(", ")));
    }
    let n_chunks = query / sizes.chunk + 1;
    let columns: Vec<String> = (0..n_chunks).map(|chunk| chunk.to_string()).collect();
    report.grids.push(Grid {
        name: "chunk scores".into(),
        about:
            "q without rotary times the chunk's representation; the words say what is read, and why"
                .into(),
        scale: Scale::Signed,
        row_axis: "head",
        rows: (0..selections.len())
            .map(|i| HeadId::new(i / shape.1, i % shape.1).to_string())
            .collect(),
        column_axis: "chunk",
        columns: columns.clone(),
        // A partial chunk has no representation.
        values: selections
            .iter()
            .flat_map(|s| s.scores.iter().copied().map(Some).chain([None]))
            .collect(),
        texts: selections
            .iter()
            .flat_map(|s| s.choices.iter().map(|choice| choice.name().to_owned()))
            .collect(),
    });
    let reads = |selections: &[Selection], chunk: usize| {
        let reading = selections.iter().filter(|s| s.choices[chunk] != Choice::No);
        reading.count()
    };
    let of_layers = || selections.chunks(shape.1);
    report.grids.push(Grid {
        name: "chunks of layers".into(),
        about: "share of the layer's heads that read the chunk".into(),
        scale: Scale::Share,
        row_axis: "layer",
        rows: (0..shape.0).map(|layer| layer.to_string()).collect(),
        column_axis: "chunk",
        columns,
        values: of_layers()
            .flat_map(|layer| (0..n_chunks).map(|c| Some(reads(layer, c) as f32 / shape.1 as f32)))
            .collect(),
        texts: vec![],
    });
    let rows = (0..n_chunks).map(|chunk| {
        let start = chunk * sizes.chunk;
        let end = (start + sizes.chunk).min(query + 1);
        let ids = &case.spec.ids[start..end];
        let text: String = ids.iter().map(|id| model.token_text(*id)).collect();
        let shown: String = text.replace('\n', "⏎").chars().take(SHOWN).collect();
        vec![
            Cell::from(chunk),
            Cell::from(start),
            Cell::from(end - 1),
            Cell::from(reads(selections, chunk)),
            Cell::from(shown),
        ]
    });
    report.tables.push(Table {
        name: "chunks".into(),
        columns: ["chunk", "from", "to", "heads that read it", "text"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    });
}

/// The next token of plain attention; with each head's selection alone, at the positions that it has; and of the method.
pub(super) fn compare(
    engine: &mut Engine,
    case: &Case,
    sizes: Sizes,
    selections: &[Selection],
    report: &mut Report,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<(), AnalysisError> {
    let model = Arc::clone(engine.model());
    let spec = &model.spec;
    if spec.head != Head::NextToken {
        report.note("the model gives no logits: answers were not compared");
        return Ok(());
    }
    let query = case.spec.position;
    let mut names = vec!["plain"];
    let mut variants = vec![vec![]];
    if spec.n_heads * query > MOST_EDGES {
        report.note(format!(
            "selected chunks at old positions were left out: {} heads times {query} keys of a layer are more than \
             {MOST_EDGES}",
            spec.n_heads
        ));
    } else {
        names.push("selected chunks, old positions");
        variants.push(knockouts(spec, sizes, query, selections));
    }
    names.push("LongHeads: selected chunks, new positions");
    let mut logits = engine.sweep(&case.spec, &variants, Reading::default(), &mut |f| {
        go_on(0.5 * f)
    })?;
    let mut hears = |layers: usize| go_on(0.5 + 0.5 * layers as f32 / spec.n_layers as f32);
    let mut chunked = Chunked::new(spec, (sizes, By::Scores), query, &mut hears);
    logits.push(engine.run_attending(&case.spec, &mut chunked)?);
    let right = case.answers.first().copied();
    let rows = names.into_iter().zip(&logits).map(|(name, logits)| {
        let readout = Readout::new(logits);
        let top = readout.top(1);
        let first = top.first();
        vec![
            Cell::from(name),
            Cell::from(first.map_or_else(String::new, |top| model.token_text(top.id))),
            Cell::from(first.map(|top| top.prob)),
            Cell::from(
                right
                    .and_then(|id| readout.score(id))
                    .map(|score| score.prob),
            ),
        ]
    });
    report.tables.push(Table {
        name: "next token".into(),
        columns: ["attention", "likeliest", "prob", "prob of the answer"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    });
    report.note(
        "answers: at old positions the plain run's selection for the read position takes the other keys away from that \
         query alone; LongHeads selects for every query, by what its own pass holds, and counts positions anew",
    );
    Ok(())
}

/// Edits that take away what the heads do not select.
fn knockouts(spec: &ModelSpec, sizes: Sizes, query: usize, selections: &[Selection]) -> Vec<Edit> {
    let mut edits = vec![];
    for (i, selection) in selections.iter().enumerate() {
        let head = HeadId::new(i / spec.n_heads, i % spec.n_heads);
        let seen = spec.masks[head.layer].keys(query, query + 1);
        let gone = seen.filter(|key| selection.choices[key / sizes.chunk] == Choice::No);
        let edge = |key| Edit::new(Target::Edge { head, query, key }, Op::Knockout);
        edits.extend(gone.map(edge));
    }
    edits
}
