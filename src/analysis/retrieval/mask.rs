//! The masking experiment: what the answer costs once the best heads attend to everything alike.

use std::sync::Arc;

use serde_json::Value;

use crate::analysis::controls::Comparison;
use crate::analysis::report::{Cell, Report, Table};
use crate::analysis::texts::{PROSE, prose};
use crate::analysis::{AnalysisError, Progress, step};
use crate::experiment::engine::Engine;
use crate::ids::HeadId;

use super::super::masking::{controls_table, losses, mean, names, outlier_notes, outliers};
use super::Settings;
use super::haystack::{Haystack, Instance};
use super::ladder::ladder;
use super::score_table::RETRIEVAL;

/// The best heads masked, beside random ones: what the answer costs, and what unrelated text does.
pub(super) fn mask(
    engine: &mut Engine,
    haystack: &Haystack,
    settings: &Settings,
    k: usize,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let model = Arc::clone(engine.model());
    let Some(scores) = report.scores_of("retrieval").cloned() else {
        return Ok(());
    };
    let chosen: Vec<HeadId> = scores.top(k);
    if let Some(last) = chosen.last()
        && scores.value(*last).is_none_or(|score| score <= 0.0)
    {
        report.note("some of the masked heads copy nothing: fewer heads have a score above 0");
    }
    let (sets, is_low) = settings
        .draws()
        .sets_of_low(&model.spec, &scores, &chosen, RETRIEVAL)?;
    if !is_low {
        report.note("fewer heads score below 0.1 than are masked: random heads come from all that are not chosen");
    }
    let (tested, held_out) = if haystack.held_out.is_empty() {
        (&haystack.instances, false)
    } else {
        (&haystack.held_out, true)
    };
    if !held_out {
        report.note("the mask is tested on the instances that the heads were chosen on");
    }
    let every = tested.len().div_ceil(settings.tested.max(1));
    let tested: Vec<&Instance> = tested.iter().step_by(every).collect();
    let texts: Vec<(Vec<u32>, usize)> = tested
        .iter()
        .map(|one| ([&one.ids[..], &one.answer].concat(), one.ids.len()))
        .collect();
    let unrelated = prose(&model);
    let all: Vec<&[HeadId]> = [&[][..], &chosen]
        .into_iter()
        .chain(sets.iter().map(Vec::as_slice))
        .collect();
    // The ladder has many more masks.
    let part = if settings.ladder { 0.1 } else { 0.3 };
    let total = (all.len() * (texts.len() + 1)) as f32;
    let mut done = 0.0;
    let mut answers = vec![0.0; all.len()];
    let mut plain = vec![f64::NAN; all.len()];
    // One text after the other: its unedited run is kept while the masks go over it.
    for (ids, from) in &texts {
        for (sum, heads) in answers.iter_mut().zip(&all) {
            let fraction = 0.7 + part * done / total;
            step(progress, fraction)?;
            let of = losses(engine, ids, *from, heads, &mut || {
                progress.at(fraction, None)
            })?;
            *sum += mean(&of) / texts.len() as f64;
            done += 1.0;
        }
    }
    if let Some(ids) = &unrelated {
        for (loss, heads) in plain.iter_mut().zip(&all) {
            let fraction = 0.7 + part * done / total;
            step(progress, fraction)?;
            *loss = mean(&losses(engine, ids, 1, heads, &mut || {
                progress.at(fraction, None)
            })?);
            done += 1.0;
        }
    }
    let rises = |of: &[f64]| -> Vec<f64> { of[1..].iter().map(|x| x - of[0]).collect() };
    let (of_answer, of_plain) = (rises(&answers), rises(&plain));
    let stands_out = [outliers(&of_answer[1..]), outliers(&of_plain[1..])].concat();
    let rows = all.iter().enumerate().map(|(i, heads)| {
        let name = match i {
            0 => "none".into(),
            1 => "retrieval".into(),
            _ => format!("random {}", i - 1),
        };
        let rise = |rises: &[f64]| {
            i.checked_sub(1)
                .map_or(Cell::Number(None), |i| rises[i].into())
        };
        let out = i >= 2 && stands_out.contains(&(i - 2));
        vec![
            Cell::from(name),
            Cell::from(answers[i]),
            rise(&of_answer),
            Cell::from(plain[i]),
            rise(&of_plain),
            Cell::from(if out { "stands out" } else { "" }),
            Cell::from(names(heads)),
        ]
    });
    let table = Table {
        name: "masking".into(),
        columns: [
            "masked",
            "answer loss",
            "rise",
            "plain text loss",
            "rise",
            "",
            "heads",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    };
    report.tables.push(table);
    let mut comparisons = vec![];
    for (name, rises) in [("answer loss", &of_answer), ("plain text loss", &of_plain)] {
        if rises.iter().all(|x| x.is_finite()) {
            let found = Comparison::new(rises[0], rises[1..].to_vec());
            comparisons.extend(found.map(|found| (name, found)));
            let notes = outlier_notes(&format!("{name} rises by"), &rises[1..], &sets);
            report.notes.extend(notes);
        }
    }
    report.tables.push(controls_table(&comparisons));
    report.note(format!(
        "masked: {} heads attend equally to all they see; losses are nats a token, teacher-forced, on {} {} instances and on \
         a plain text of ours",
        chosen.len(),
        tested.len(),
        if held_out { "held-out" } else { "scored" }
    ));
    for (name, value) in [
        ("masked", Value::from(chosen.len())),
        ("draws", settings.draws.into()),
        ("by_layer", settings.by_layer.into()),
        ("tested", tested.len().into()),
        ("plain_text", PROSE.into()),
    ] {
        report.settings.push((name, value));
    }
    if settings.ladder {
        ladder(
            engine, &texts, &scores, settings, answers[0], report, progress,
        )?;
    }
    Ok(())
}
