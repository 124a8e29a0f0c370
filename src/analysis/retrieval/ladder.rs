//! The masking experiment with ever more heads: the answer's loss as 2, 5, 10, … of the best are masked, and as many
//! random ones (Wu et al. 2024, section 4: K = 2 to 100).

use crate::analysis::report::{Cell, HeadScores, Line, Plot, Report, Table};
use crate::analysis::{AnalysisError, Progress, step};
use crate::experiment::engine::Engine;

use super::super::masking::{losses, mean};
use super::Settings;
use super::score_table::RETRIEVAL;

/// Heads that are masked.
const SIZES: [usize; 8] = [2, 5, 10, 15, 20, 30, 50, 100];

/// The share of the whole at which this begins; it goes to the end.
const FROM: f32 = 0.8;

/// `texts` are tokens, with the index of the answer's first; `intact` is their loss without a mask, in nats a token.
pub(super) fn ladder(
    engine: &mut Engine,
    texts: &[(Vec<u32>, usize)],
    scores: &HeadScores,
    settings: &Settings,
    intact: f64,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let spec = engine.model().spec.clone();
    let mut masks = vec![];
    for size in SIZES {
        let chosen = scores.top(size);
        let random = settings
            .draws()
            .sets_of_low(&spec, scores, &chosen, RETRIEVAL);
        match random {
            Ok((random, _)) if chosen.len() == size => masks.push((size, chosen, random)),
            // There are not as many heads, or not as many others.
            _ => break,
        }
    }
    let total = (masks.len() * (1 + settings.draws)) as f32;
    let mut done = 0.0;
    let mut rows = vec![vec![Cell::from(0), Cell::from(intact), Cell::from(intact)]];
    let mut lines = ["retrieval", "random, mean"].map(|name| Line {
        name: name.into(),
        points: vec![[0.0, intact]],
        labels: vec![],
    });
    for (size, chosen, random) in &masks {
        let mut of_set = vec![];
        for heads in std::iter::once(chosen).chain(random) {
            let fraction = FROM + (1.0 - FROM) * done / total;
            step(progress, fraction)?;
            let mut of_text = vec![];
            for (ids, from) in texts {
                let go_on = &mut || progress.at(fraction, None);
                of_text.push(mean(&losses(engine, ids, *from, heads, go_on)?));
            }
            of_set.push(mean(&of_text));
            done += 1.0;
        }
        let (best, random) = (of_set[0], mean(&of_set[1..]));
        for (line, loss) in lines.iter_mut().zip([best, random]) {
            line.points.push([*size as f64, loss]);
        }
        rows.push(vec![
            Cell::from(*size),
            Cell::from(best),
            Cell::from(random),
        ]);
    }
    if masks.len() < SIZES.len() {
        let left_out = SIZES[masks.len()..].iter().map(usize::to_string);
        report.note(format!(
            "masks of {} heads are left out: the model has {} heads, and random ones need as many others",
            left_out.collect::<Vec<_>>().join(", "),
            spec.n_layers * spec.n_heads
        ));
    }
    let name = "answer loss by masked heads";
    report.plots.push(Plot {
        name: name.into(),
        x_axis: "masked heads",
        y_axis: "answer loss (nats a token)",
        is_scatter: false,
        lines: lines.into(),
    });
    report.tables.push(Table {
        name: name.into(),
        columns: ["masked", "retrieval", "random, mean"]
            .map(str::to_owned)
            .into(),
        rows,
    });
    Ok(())
}
