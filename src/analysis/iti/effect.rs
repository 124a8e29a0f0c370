//! What is reported of the probes, and what the chosen directions do to prompts that were held out.

use std::collections::BTreeMap;

use crate::analysis::controls::draws;
use crate::analysis::report::{Cell, HeadScores, Line, Plot, Report, Scale, Table};
use crate::analysis::{AnalysisError, Case, Progress};
use crate::edit::{Edit, Positions, Target};
use crate::experiment::engine::Engine;
use crate::ids::HeadId;
use crate::model::Model;

use super::{Found, Settings};
use crate::analysis::learned::{CONTROLS, Effect, Scratch, add, effect_table, effects};

/// Strengths that are tried, as parts of the one asked for.
const STRENGTHS: [f64; 5] = [0.0, 0.125, 0.25, 0.5, 1.0];

pub(super) fn tensors(chosen: &[&Found]) -> Vec<(String, Vec<f32>)> {
    let named = |of: &&Found| (name(of.head), of.vector());
    chosen.iter().map(named).collect()
}

/// σ θ of a head in a file.
pub(super) fn name(head: HeadId) -> String {
    format!("{head}.direction")
}

pub(super) fn edits(chosen: &[&Found], alpha: f64, at: &Positions) -> Vec<Edit> {
    let edit = |of: &&Found| add(Target::Head(of.head), &name(of.head), alpha, at.clone());
    chosen.iter().map(edit).collect()
}

pub(super) fn at_text(at: &Positions) -> String {
    match at {
        Positions::All => "all".into(),
        at => at.to_string().trim_start_matches('@').into(),
    }
}

pub(super) fn describe(report: &mut Report, model: &Model, found: &[Found]) {
    let shape = (model.spec.n_layers, model.spec.n_heads);
    let by_head: BTreeMap<HeadId, &Found> = found.iter().map(|of| (of.head, of)).collect();
    let mut map = |name: &str, about: &str, scale, value: &dyn Fn(&Found) -> f64| {
        let value = |head: HeadId| by_head.get(&head).map(|of| value(of) as f32);
        let scores = HeadScores::of_heads(name, about, scale, shape, value);
        report.scores.push(scores);
    };
    map(
        "validation_accuracy",
        "share of statements that the head's probe tells true from false, of prompts it was not fitted to",
        Scale::Share,
        &|of| of.accuracy,
    );
    map(
        "validation_auc",
        "share of pairs of a true and a false statement that the probe orders, of prompts it was not fitted to",
        Scale::Share,
        &|of| of.auc,
    );
    map(
        "sigma",
        "standard deviation of z along the direction",
        Scale::Positive,
        &|of| of.sd,
    );
}

pub(super) fn chosen_table(chosen: &[&Found]) -> Table {
    let rows = chosen.iter().map(|of| {
        vec![
            Cell::from(of.head.to_string()),
            Cell::from(of.accuracy),
            Cell::from(of.auc),
            Cell::from(of.sd),
        ]
    });
    Table {
        name: "chosen heads".into(),
        columns: ["head", "validation accuracy", "AUC", "sigma"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    }
}

/// What the edits do to prompts that were held out, beside as many random heads.
pub(super) fn measure(
    engine: &mut Engine,
    held_out: &[Case],
    found: &[Found],
    chosen: &[&Found],
    settings: &Settings,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let others: Vec<HeadId> = found
        .iter()
        .map(|of| of.head)
        .filter(|head| chosen.iter().all(|of| of.head != *head))
        .collect();
    let by_head: BTreeMap<HeadId, &Found> = found.iter().map(|of| (of.head, of)).collect();
    let controls: Vec<Vec<&Found>> = if others.is_empty() {
        vec![]
    } else {
        draws(&others, chosen.len(), CONTROLS, settings.seed)
            .iter()
            .map(|heads| {
                heads
                    .iter()
                    .filter_map(|head| by_head.get(head).copied())
                    .collect()
            })
            .collect()
    };
    let mut variants: Vec<Vec<Edit>> = STRENGTHS
        .iter()
        .map(|part| edits(chosen, part * settings.alpha, &settings.at))
        .collect();
    let of_controls = controls.iter();
    variants.extend(of_controls.map(|heads| edits(heads, settings.alpha, &settings.at)));
    let all: Vec<&Found> = found.iter().collect();
    let scratch = Scratch::new(&tensors(&all))?;
    let effects = effects(
        engine,
        held_out,
        &variants,
        &scratch.folder(),
        &mut |done| progress.at(0.4f32.mul_add(done, 0.6), None),
    )?;
    let (strengths, random) = effects.split_at(STRENGTHS.len());
    let mut rows = vec![
        ("unedited".to_owned(), strengths[0]),
        (
            format!("{} chosen heads", chosen.len()),
            strengths[STRENGTHS.len() - 1],
        ),
    ];
    if !random.is_empty() {
        let what = format!(
            "{} random heads, mean of {}",
            controls[0].len(),
            random.len()
        );
        rows.push((what, Effect::mean(random)));
    }
    report.tables.push(effect_table("held-out prompts", &rows));
    let line = |name: &str, value: &dyn Fn(&Effect) -> Option<f64>| Line {
        name: name.to_owned(),
        points: STRENGTHS
            .iter()
            .zip(strengths)
            .filter_map(|(part, effect)| Some([part * settings.alpha, value(effect)?]))
            .collect(),
        ..Line::default()
    };
    report.plots.push(Plot {
        name: "strength".into(),
        x_axis: "alpha",
        y_axis: "share of held-out prompts",
        lines: vec![
            line("right answer likeliest", &|e| Some(e.accuracy)),
            line("right preferred to wrong", &|e| e.prefers),
        ],
        ..Plot::default()
    });
    if controls
        .first()
        .is_some_and(|heads| heads.len() < chosen.len())
        || controls.is_empty()
    {
        report.note("fewer heads are left than were chosen: the random ones are no equal control");
    }
    Ok(())
}

pub(super) fn notes_of(report: &mut Report, model: &Model, chosen: &[&Found]) {
    report.note(
        "statements are a prompt and the first token of its first right or wrong answer; probes see z there, and the edit \
         moves z at the prompt's last token",
    );
    report.note("MC1 and MC2 are of the answers' first tokens; one half of the prompts is held out, the other is not tried in turn");
    report.note("a probe finds what z tells, also of heads whose output the model does not use");
    if let Some(worst) = chosen.last() {
        let same = format!(
            "the last head chosen, {}, has a validation accuracy of {:.2}",
            worst.head, worst.accuracy
        );
        report.note(same);
    }
    if chosen.iter().all(|of| of.accuracy <= 0.5) {
        report.note("no head tells true from false better than chance");
    }
    if chosen.iter().any(|of| of.sd == 0.0) {
        report.note("heads whose z never differs have no direction: moving them changes nothing");
    }
    if model.spec.n_heads != model.spec.n_kv_heads {
        report.note("z is of query heads: those that share keys and values are probed one by one");
    }
}
