//! Which heads are worth training, and how far do a few offsets go? LoFiT (Yin, Ye, Durrett 2024, arXiv 2406.01563; the
//! authors' program).
//!
//! Step 1: every head has a gain A, z ← (1 + A) ⊙ z at every position; the loss has λ Σ |A| added; heads are chosen by
//! ‖A‖. Step 2: the gains are dropped, and the chosen heads have an offset v, z ← z + v at every position. Only A and v
//! are trained, the model stays as it is.
//!
//! The loss is the cross-entropy of the first right answer, as a mean over its tokens, or that of direct preference
//! optimisation (Rafailov et al. 2023, arXiv 2305.18290, equation 7) of right answers over wrong ones against the
//! unmodified model, whole answers in both. Chosen where the paper leaves it open: the rate stays the same throughout. The
//! same number of random heads is trained beside the chosen ones, with several seeds.

mod settings;
#[cfg(test)]
mod tests;
mod train;

use crate::analysis::controls::draws;
use crate::analysis::report::{Cell, HeadScores, Line, Plot, Report, Scale, Table};
use crate::analysis::{AnalysisError, Case, Progress};
use crate::edit::{Edit, Positions, Target};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;

use crate::analysis::learned::{
    Effect, Scratch, Variant, Vectors, add, all_heads, count, effect_table, effects, has_several,
    part, recipe, usable,
};
pub use settings::Settings;
pub use train::{Example, Kind, Objective, Trained, Training, examples, gradients, train};

/// Heads that are trained: 3 % (32 of 1,024).
const SHARE: f64 = 0.03;

/// Trains gains of all heads and offsets of the best, and measures what the offsets do to prompts that were held out.
pub fn lofit(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<(Report, Vectors), AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let (kept, notes) = usable(&model, cases, "lofit", settings.loss == Objective::Dpo)?;
    let (learned, held_out) = part(kept, settings.held_out, settings.seed);
    let heads = all_heads(&model);
    let k = count(settings.heads, SHARE, heads.len());
    let mut report = Report::new("lofit")
        .with("loss", settings.loss.name())
        .with("beta", settings.beta)
        .with("heads", k)
        .with("epochs", settings.epochs)
        .with("batch", settings.batch)
        .with("gain_rate", settings.gain_rate)
        .with("offset_rate", settings.offset_rate)
        .with("lambda", settings.lambda)
        .with("decay", settings.decay)
        .with("held_out", settings.held_out)
        .with("controls", settings.controls)
        .with("seed", settings.seed)
        .with("prompts_trained", learned.len())
        .with("prompts_held_out", held_out.len());
    for note in notes {
        report.note(note);
    }
    // A training of gains, one of offsets, one for each control, and the measurement.
    let share = 1.0 / (settings.controls as f32 + 2.2);
    let examples = examples(engine, &learned, settings.loss, &mut |_| {
        progress.at(0.0, None)
    })?;
    report = report.with("examples", examples.len());
    let gains = settings.training(Kind::Gain, heads.clone(), settings.seed);
    let gains = train(engine, &examples, &gains, &mut |done, losses| {
        let Some(losses) = losses else {
            return progress.at(share * done, None);
        };
        let mut so_far = report.clone();
        so_far.plots.push(training_plot(losses));
        progress.at(share * done, Some(&so_far))
    })?;
    let norms = norms(&gains);
    describe(&mut report, &model, &norms, &gains);
    if !progress.at(share, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    let chosen = chosen(&heads, &norms, k);
    let others: Vec<HeadId> = heads
        .iter()
        .copied()
        .filter(|h| !chosen.contains(h))
        .collect();
    let n_controls = if others.is_empty() {
        0
    } else {
        settings.controls
    };
    let mut sets = vec![chosen.clone()];
    sets.extend(draws(&others, k, n_controls, settings.seed));
    let mut trained = Vec::new();
    for (i, set) in sets.iter().enumerate() {
        let seed = settings.seed.wrapping_add(1 + i as u64);
        let training = settings.training(Kind::Offset, set.clone(), seed);
        let before = report.clone();
        let offsets = train(engine, &examples, &training, &mut |done, losses| {
            let fraction = share * (1.0 + i as f32 + done);
            let Some(losses) = losses.filter(|_| i == 0) else {
                return progress.at(fraction, None);
            };
            let mut so_far = before.clone();
            so_far.plots[0]
                .lines
                .push(curve("offsets of the chosen heads", losses));
            progress.at(fraction, Some(&so_far))
        })?;
        let name = match i {
            0 => "offsets of the chosen heads".to_owned(),
            i => format!("offsets of random heads, draw {i}"),
        };
        report.plots[0].lines.push(curve(&name, &offsets.losses));
        trained.push(offsets);
    }
    measure(
        engine,
        [&learned, &held_out],
        &trained,
        &mut report,
        &mut |done| {
            let from = share * (1.0 + sets.len() as f32);
            progress.at((1.0 - from).mul_add(done, from), None)
        },
    )?;
    let several = learned.iter().chain(&held_out).any(has_several);
    notes_of(&mut report, &model, settings, &trained, several);
    let mut tensors = tensors(&trained[0], 0);
    tensors.extend(chosen.iter().filter_map(|head| {
        let at = gains.heads.iter().position(|of| of == head)?;
        Some((format!("{head}.gain"), gains.values[at].clone()))
    }));
    let vectors = Vectors {
        tensors,
        edits: edits(&trained[0], 0).iter().map(Edit::to_string).collect(),
        recipe: recipe(&model, &report, settings.seed, &chosen),
    };
    Ok((report, vectors))
}

/// ‖A‖ of each head.
fn norms(gains: &Trained) -> Vec<f64> {
    let square = |a: &f32| f64::from(*a).powi(2);
    let norm = |values: &Vec<f32>| values.iter().map(square).sum::<f64>().sqrt();
    gains.values.iter().map(norm).collect()
}

/// The heads with the largest gains, in the order of the heads; equal ones in that order too.
fn chosen(heads: &[HeadId], norms: &[f64], k: usize) -> Vec<HeadId> {
    let mut order: Vec<usize> = (0..heads.len()).collect();
    order.sort_by(|a, b| norms[*b].total_cmp(&norms[*a]).then(a.cmp(b)));
    let mut chosen: Vec<HeadId> = order.iter().take(k).map(|i| heads[*i]).collect();
    chosen.sort_unstable();
    chosen
}

fn curve(name: &str, losses: &[f64]) -> Line {
    let points = losses.iter().enumerate();
    Line {
        name: name.to_owned(),
        points: points.map(|(i, loss)| [i as f64, *loss]).collect(),
        ..Line::default()
    }
}

fn describe(report: &mut Report, model: &Model, norms: &[f64], gains: &Trained) {
    let n_heads = model.spec.n_heads;
    let shape = (model.spec.n_layers, n_heads);
    let of = |head: HeadId| {
        norms
            .get(head.layer * n_heads + head.head)
            .map(|n| *n as f32)
    };
    report.scores.push(HeadScores::of_heads(
        "norm",
        "length of the head's gain after step 1: how much training wants to change it",
        Scale::Positive,
        shape,
        of,
    ));
    report.plots.push(training_plot(&gains.losses));
}

fn training_plot(losses: &[f64]) -> Plot {
    Plot {
        name: "training".into(),
        x_axis: "step",
        y_axis: "loss of the batch (nats)",
        lines: vec![curve("gains of all heads", losses)],
        ..Plot::default()
    }
}

/// A set's offset of a head in a file.
fn name(head: HeadId, set: usize) -> String {
    match set {
        0 => format!("{head}.offset"),
        set => format!("{head}.offset.{set}"),
    }
}

fn tensors(trained: &Trained, set: usize) -> Vec<(String, Vec<f32>)> {
    let of = trained.heads.iter().zip(&trained.values);
    of.map(|(head, values)| (name(*head, set), values.clone()))
        .collect()
}

fn edits(trained: &Trained, set: usize) -> Vec<Edit> {
    let edit = |head: &HeadId| add(Target::Head(*head), &name(*head, set), 1.0, Positions::All);
    trained.heads.iter().map(edit).collect()
}

/// Effects of all sets of offsets on the prompts that were trained on and those that were not.
fn measure(
    engine: &mut Engine,
    [learned, held_out]: [&[Case]; 2],
    trained: &[Trained],
    report: &mut Report,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<(), AnalysisError> {
    let sets = trained.iter().enumerate();
    let named: Vec<_> = sets.clone().flat_map(|(i, of)| tensors(of, i)).collect();
    let mut variants = vec![Variant::default()];
    variants.extend(sets.map(|(i, of)| edits(of, i).into()));
    let scratch = Scratch::new(&named)?;
    let folder = scratch.folder();
    for (i, (name, cases)) in [
        ("training prompts", learned),
        ("held-out prompts", held_out),
    ]
    .into_iter()
    .enumerate()
    {
        let half = i as f32 / 2.0;
        let found = effects(engine, cases, &variants, &folder, &mut |done| {
            go_on(half + done / 2.0)
        })?;
        let mut rows = vec![
            ("unedited (zero-shot)".to_owned(), found[0]),
            (
                format!("offsets of {} chosen heads", trained[0].heads.len()),
                found[1],
            ),
        ];
        if found.len() > 2 {
            let n = found.len() - 2;
            let what = format!(
                "offsets of {} random heads, mean of {n}",
                trained[1].heads.len()
            );
            rows.push((what, Effect::mean(&found[2..])));
        }
        report.tables.push(effect_table(name, &rows));
    }
    let scores = report.scores_of("norm").cloned();
    let rows = trained[0]
        .heads
        .iter()
        .zip(&trained[0].values)
        .map(|(head, v)| {
            let length = v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            vec![
                Cell::from(head.to_string()),
                Cell::from(scores.as_ref().and_then(|scores| scores.value(*head))),
                Cell::from(length),
            ]
        });
    report.tables.push(Table {
        name: "chosen heads".into(),
        columns: ["head", "norm of gain", "norm of offset"]
            .map(str::to_owned)
            .into(),
        rows: rows.collect(),
    });
    Ok(())
}

fn notes_of(
    report: &mut Report,
    model: &Model,
    settings: &Settings,
    trained: &[Trained],
    several: bool,
) {
    report.note(match settings.loss {
        Objective::Answer => {
            "the loss of training is the cross-entropy of the first right answer, a mean over its tokens"
        }
        Objective::Dpo => {
            "the loss of training is that of preferring a right answer to a wrong one more than the unmodified model does, \
             whole answers, ln 2 where nothing is preferred more; each answer is in a pair, and the shorter list begins again"
        }
    });
    if several {
        report.note("MC1 and MC2 are of whole answers; accuracy, logit difference and loss are of their first tokens");
    }
    report.note(
        "offsets act at every position, of generated text too; the gains only chose the heads, and lie in the file unused",
    );
    if trained.len() < settings.controls + 1 {
        report.note("all heads were chosen: there are no random ones beside them");
    } else if trained
        .iter()
        .any(|of| of.heads.len() < trained[0].heads.len())
    {
        report.note("fewer heads are left than were chosen: the random ones are no equal control");
    }
    if model.spec.n_heads != model.spec.n_kv_heads {
        report.note("gains and offsets are of query heads, also where those share keys and values");
    }
}
