//! What heads do in a task of names: movers, their negatives and backups, those that keep movers from the repeated name,
//! and who attends where (Wang et al. 2022, "Interpretability in the wild", sections 3.1 to 3.3; the recipes that need no
//! circuit to be known before).
//!
//! A set names places of its prompts: `IO` is the answer's, `S1` and `S2` the others'. Sets with other names have the
//! places of the right answer under `key`, `value` or `answer`.

use super::attribution::summands;
use super::cases::Case;
use super::report::{HeadScores, Report, Scale};
use super::{AnalysisError, Progress, step};
use crate::edit::{Edit, Op, Target};
use crate::experiment::engine::Engine;
use crate::experiment::{Reading, RunSpec};
use crate::ids::HeadId;
use crate::model::site::{Part, Site};

/// Name movers that are silenced for the backup score.
const SILENCED: usize = 3;

/// Prompts whose paths into the movers' queries are patched: two rows a head and prompt.
const PATCHED: usize = 20;

/// A logit difference below this is none to divide by.
const LEAST: f64 = 1e-3;

/// Names under which sets have the place that holds the answer.
const GOLD: [&str; 4] = ["IO", "answer", "value", "key"];

/// Adds the task's scores to an atlas.
pub(super) fn add(
    engine: &mut Engine,
    cases: &[Case],
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let shape = (engine.model().spec.n_layers, engine.model().spec.n_heads);
    report.settings.push(("prompts", cases.len().into()));
    let of_map =
        |values: Vec<Option<f32>>| move |head: HeadId| values[head.layer * shape.1 + head.head];
    let attention = attention(engine, cases, progress)?;
    for (name, about, values) in [
        (
            "attention_to_answer",
            "attention from the read position to the answer's place",
            &attention.to_gold,
        ),
        (
            "attention_to_others",
            "attention from the read position to the other names' places",
            &attention.to_others,
        ),
        (
            "pointer_accuracy",
            "share of prompts whose strongest key is the answer's place",
            &attention.hits,
        ),
    ] {
        if values.iter().any(Option::is_some) {
            let of = of_map(values.clone());
            report
                .scores
                .push(HeadScores::of_heads(name, about, Scale::Share, shape, of));
        }
    }
    let pairs: Vec<&Case> = cases.iter().filter(|case| case.pair().is_some()).collect();
    if pairs.is_empty() {
        report.note("the set has no wrong answers: scores of name movers are left out");
        return Ok(());
    }
    let direct = match mean_attribution(engine, &pairs, &[], progress) {
        Err(AnalysisError::Needs(reason)) => {
            report.note(reason);
            return Ok(());
        }
        direct => direct?,
    };
    let about = "what the head adds to the logit difference by itself, mean over prompts";
    let of = of_map(direct.clone());
    report.scores.push(HeadScores::of_heads(
        "attribution",
        about,
        Scale::Signed,
        shape,
        of,
    ));
    // A mover reads the answer's place: what it adds counts only where it looks there more than at the others.
    let mover: Vec<Option<f32>> = (0..direct.len())
        .map(|i| {
            let looks = attention.to_gold[i]? > attention.to_others[i].unwrap_or(0.0);
            Some(if looks { direct[i]? } else { 0.0 })
        })
        .collect();
    if mover.iter().all(Option::is_none) {
        return Ok(());
    }
    let about = "attribution of heads that attend to the answer's place more than to the others'; below 0: negative movers";
    let movers = HeadScores::of_heads("name_mover", about, Scale::Signed, shape, of_map(mover));
    let positive = |head: &HeadId| movers.value(*head).is_some_and(|score| score > 0.0);
    let silenced: Vec<HeadId> = movers.top(SILENCED).into_iter().filter(positive).collect();
    if silenced.is_empty() {
        report.scores.push(movers);
        for name in ["backup", "s_inhibition"] {
            let about = "blank: there are no movers that it could be told by";
            let blank = HeadScores::of_heads(name, about, Scale::Signed, shape, |_| None);
            report.scores.push(blank);
        }
        report.note("no head moves a name: none is a backup, and none keeps movers from a name");
        return Ok(());
    }
    let edits: Vec<Edit> = silenced
        .iter()
        .map(|head| Edit::new(Target::Head(*head), Op::Mean))
        .collect();
    report.scores.push(movers);
    let without = mean_attribution(engine, &pairs, &edits, progress)?;
    let names: Vec<String> = silenced.iter().map(HeadId::to_string).collect();
    let about = format!(
        "rise of the attribution when {} are mean-ablated",
        names.join(", ")
    );
    let backup = |head: HeadId| {
        let i = head.layer * shape.1 + head.head;
        (!silenced.contains(&head))
            .then(|| Some(without[i]? - direct[i]?))
            .flatten()
    };
    report.scores.push(HeadScores::of_heads(
        "backup",
        &about,
        Scale::Signed,
        shape,
        backup,
    ));
    inhibition(engine, &pairs, &silenced, &attention, report, progress)
}

/// Path patching of every head into the movers' queries, from a prompt without the repeated name: a head that tells them
/// which name to leave out lowers the difference when it says nothing of it, and looks at the name's second place.
fn inhibition(
    engine: &mut Engine,
    cases: &[&Case],
    movers: &[HeadId],
    attention: &Attention,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let shape = (engine.model().spec.n_layers, engine.model().spec.n_heads);
    let usable: Vec<&&Case> = cases
        .iter()
        .filter(|case| case.spec.contrast.is_some() && case.swapped().is_some())
        .take(PATCHED)
        .collect();
    if usable.is_empty() || !engine.model().spec.is_causal() {
        report.note("S-inhibition is path patching from a contrast, and the set has none that pairs: left out");
        return Ok(());
    }
    let last = movers.iter().map(|head| head.layer).max().unwrap_or(0);
    let senders: Vec<HeadId> = (0..last)
        .flat_map(|layer| (0..shape.1).map(move |head| HeadId::new(layer, head)))
        .collect();
    let mut changes = vec![0.0; senders.len()];
    let mut count = 0usize;
    for (done, case) in usable.iter().enumerate() {
        let (right, wrong) = case.pair().unwrap_or_default();
        let tokens = [right, wrong];
        let difference = |logits: &[f32]| f64::from(logits[0]) - f64::from(logits[1]);
        let plain = engine.sweep(&case.spec, &[vec![]], Reading::of(&tokens), &mut |_| true)?;
        let plain = difference(&plain[0]);
        let heard = &mut |f: f32| progress.at((done as f32 + f) / usable.len() as f32, None);
        let found = engine.through_queries(&case.spec, &senders, movers, &tokens, heard)?;
        if plain.abs() < LEAST {
            continue;
        }
        count += 1;
        for (sum, logits) in changes.iter_mut().zip(&found) {
            *sum += logits
                .as_deref()
                .map_or(0.0, |logits| (difference(logits) - plain) / plain.abs());
        }
    }
    if count == 0 {
        report.note(format!(
            "no prompt has a logit difference of {LEAST} or more: S-inhibition is left out"
        ));
        return Ok(());
    }
    let names: Vec<String> = movers.iter().map(HeadId::to_string).collect();
    let change = |head: HeadId| {
        let i = senders.iter().position(|sender| *sender == head)?;
        Some((changes[i] / count as f64) as f32)
    };
    let about = format!(
        "relative change of the logit difference when the head's path to the queries of {} comes from the contrast (mean \
         over {count} prompts)",
        names.join(", ")
    );
    report.scores.push(HeadScores::of_heads(
        "path_to_movers",
        &about,
        Scale::Signed,
        shape,
        change,
    ));
    let second = |head: HeadId| attention.to_second[head.layer * shape.1 + head.head];
    if attention.to_second.iter().all(Option::is_none) {
        return Ok(());
    }
    let about = "fall of the logit difference by that path, of heads that attend to the repeated name's second place more \
                 than to the answer's";
    let score = |head: HeadId| {
        let looks = second(head)? > attention.to_gold[head.layer * shape.1 + head.head]?;
        Some(if looks {
            (-change(head)?).max(0.0)
        } else {
            0.0
        })
    };
    report.scores.push(HeadScores::of_heads(
        "s_inhibition",
        about,
        Scale::Positive,
        shape,
        score,
    ));
    Ok(())
}

/// `[layer, head]` each.
struct Attention {
    to_gold: Vec<Option<f32>>,
    to_others: Vec<Option<f32>>,
    /// To the second place of the repeated name.
    to_second: Vec<Option<f32>>,
    hits: Vec<Option<f32>>,
}

fn attention(
    engine: &mut Engine,
    cases: &[Case],
    progress: &mut dyn Progress,
) -> Result<Attention, AnalysisError> {
    let spec = engine.model().spec.clone();
    let sites: Vec<Site> = (0..spec.n_layers)
        .map(|layer| Site::Block(layer, Part::Pattern))
        .collect();
    let n_maps = spec.n_layers * spec.n_heads;
    let sums = || vec![0.0; n_maps];
    let (mut gold, mut others, mut second, mut hits) = (sums(), sums(), sums(), sums());
    let (mut count, mut count_others, mut count_second) = (0, 0, 0);
    for (done, case) in cases.iter().enumerate() {
        step(progress, done as f32 / cases.len() as f32)?;
        let Some(name) = GOLD.into_iter().find(|name| !case.span(name).is_empty()) else {
            continue;
        };
        let wanted = case.span(name);
        let wrong: Vec<usize> = ["S1", "S2"]
            .into_iter()
            .flat_map(|name| case.span(name))
            .copied()
            .collect();
        count += 1;
        count_others += usize::from(!wrong.is_empty());
        let repeated = case.span("S2");
        count_second += usize::from(!repeated.is_empty());
        let (n, at) = (case.spec.ids.len(), case.spec.position);
        for (layer, patterns) in engine.dump(&case.spec, &sites)?.iter().enumerate() {
            for head in 0..spec.n_heads {
                let row = &patterns.values[(head * n + at) * n..][..n];
                let i = layer * spec.n_heads + head;
                gold[i] += wanted.iter().map(|key| row[*key]).sum::<f32>();
                others[i] += wrong.iter().map(|key| row[*key]).sum::<f32>();
                second[i] += repeated.iter().map(|key| row[*key]).sum::<f32>();
                let best = (0..n).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)));
                hits[i] += f32::from(u8::from(best.is_some_and(|key| wanted.contains(&key))));
            }
        }
    }
    let mean = |sums: Vec<f32>, count: usize| -> Vec<Option<f32>> {
        let mean = |sum: f32| (count > 0).then(|| sum / count as f32);
        sums.into_iter().map(mean).collect()
    };
    Ok(Attention {
        to_gold: mean(gold, count),
        to_others: mean(others, count_others),
        to_second: mean(second, count_second),
        hits: mean(hits, count),
    })
}

/// The direct attribution of every head under edits, mean over prompts.
fn mean_attribution(
    engine: &mut Engine,
    cases: &[&Case],
    edits: &[Edit],
    progress: &mut dyn Progress,
) -> Result<Vec<Option<f32>>, AnalysisError> {
    let mut maps = Vec::new();
    for (done, case) in cases.iter().enumerate() {
        step(progress, done as f32 / cases.len() as f32)?;
        let spec = RunSpec {
            edits: edits.to_vec(),
            ..case.spec.clone()
        };
        let pair = case.pair().unwrap_or_default();
        let found = summands(engine, &spec, pair)?;
        maps.push(found.heads.into_iter().map(Some).collect());
    }
    Ok(HeadScores::mean(&maps))
}
