//! What is reported of the probes, and what the chosen directions do to prompts that were held out.

use std::collections::BTreeMap;

use crate::analysis::controls::draws;
use crate::analysis::report::{Cell, HeadScores, Line, Plot, Report, Scale, Table};
use crate::analysis::{AnalysisError, Case};
use crate::edit::{Edit, Positions, Target};
use crate::experiment::engine::Engine;
use crate::ids::HeadId;
use crate::model::Model;

use super::{Found, Settings};
use crate::analysis::learned::{CONTROLS, Effect, Scratch, Variant, add, effect_table, effects};

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
    report.plots.push(Plot {
        name: "probes by layer".into(),
        x_axis: "layer",
        y_axis: "validation accuracy",
        is_scatter: true,
        lines: vec![Line {
            name: "heads".into(),
            points: found
                .iter()
                .map(|of| [of.head.layer as f64, of.accuracy])
                .collect(),
            labels: found.iter().map(|of| of.head.to_string()).collect(),
        }],
    });
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

/// Sets of as many random heads as were chosen, none of those among them.
pub(super) fn controls<'a>(
    found: &'a [Found],
    chosen: &[&Found],
    seed: u64,
) -> Vec<Vec<&'a Found>> {
    let others: Vec<HeadId> = found
        .iter()
        .map(|of| of.head)
        .filter(|head| chosen.iter().all(|of| of.head != *head))
        .collect();
    if others.is_empty() {
        return vec![];
    }
    let by_head: BTreeMap<HeadId, &Found> = found.iter().map(|of| (of.head, of)).collect();
    draws(&others, chosen.len(), CONTROLS, seed)
        .iter()
        .map(|heads| {
            heads
                .iter()
                .filter_map(|head| by_head.get(head).copied())
                .collect()
        })
        .collect()
}

/// What the edits do to prompts that were held out, beside as many random heads. Gives the effects without and with them.
pub(super) fn measure(
    engine: &mut Engine,
    (held_out, several): (&[Case], bool),
    found: &[Found],
    chosen: &[&Found],
    settings: &Settings,
    report: &mut Report,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<[Effect; 2], AnalysisError> {
    let controls = controls(found, chosen, settings.seed);
    let mut variants: Vec<Variant> = STRENGTHS
        .iter()
        .map(|part| edits(chosen, part * settings.alpha, &settings.at).into())
        .collect();
    let of_controls = controls.iter();
    variants.extend(of_controls.map(|of| edits(of, settings.alpha, &settings.at).into()));
    let each_step = several && settings.at == Positions::Last;
    if each_step {
        variants.push(Variant {
            edits: edits(chosen, settings.alpha, &settings.at),
            each_step,
        });
    }
    let all: Vec<&Found> = found.iter().collect();
    let scratch = Scratch::new(&tensors(&all))?;
    let mut effects = effects(engine, held_out, &variants, &scratch.folder(), go_on)?;
    let of_each_step = effects.split_off(STRENGTHS.len() + controls.len());
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
    for effect in of_each_step {
        let what = format!("{} chosen heads, at the answers' tokens too", chosen.len());
        rows.push((what, effect));
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
            line("right preferred to wrong (MC1)", &|e| e.prefers),
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
    Ok([strengths[0], strengths[STRENGTHS.len() - 1]])
}

pub(super) fn notes_of(
    report: &mut Report,
    model: &Model,
    (found, chosen): (&[Found], &[&Found]),
    several: bool,
) {
    report.note(
        "statements are a prompt and its first right or wrong answer; probes see z at their last token, and the edit moves \
         z at the prompt's last token",
    );
    if several {
        report.note(
            "MC1 and MC2 are of whole answers; accuracy, logit difference and loss are of their first tokens. The released \
             program moves each token of an answer as well, as the row that says so does",
        );
    }
    report.note("a probe finds what z tells, also of heads whose output the model does not use");
    if let Some(worst) = chosen.last() {
        let last = format!(
            "the last head chosen, {}, has a validation accuracy of {:.2}",
            worst.head, worst.accuracy
        );
        report.note(last);
        let is_alike = |of: &&Found| {
            of.accuracy.total_cmp(&worst.accuracy).is_eq() && of.auc.total_cmp(&worst.auc).is_eq()
        };
        let alike = found.iter().filter(is_alike).count();
        let taken = chosen.iter().copied().filter(is_alike).count();
        if alike > taken {
            report.note(format!(
                "{} more heads have the accuracy and AUC of the last one chosen, and come after it in the order of the \
                 heads: more prompts would tell them apart",
                alike - taken
            ));
        }
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
