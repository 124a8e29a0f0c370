//! Step 1: path patching of each head into the logits (Wang et al. 2022's convention). z of the sender comes from the
//! contrast's run at the end of the prompt; all later attention there stays as in the unedited run; MLPs and norms follow.
//!
//! Only the end is touched, and in a causal model nothing before it reads it: heads at other positions are frozen anyway.

use crate::analysis::{AnalysisError, Cell, HeadScores, Report, Scale};
use crate::edit::{Edit, Op, Positions, Target};
use crate::experiment::engine::Engine;
use crate::experiment::{Means, Reading, RunSpec};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::spec::ModelSpec;

use super::streams::{lens_of_parts, results};
use super::{Against, Prompt, Settings, heads_of, mean, rank, table};

/// A metric below this is none to divide by.
const LEAST: f64 = 1e-3;

/// A head passes the subject on where it attends to it more than this on average …
const ATTENDS: f64 = 0.3;
/// … and reads as it, among so many tokens, in more than this share of the prompts.
const TOP: f64 = 10.0;
const OFTEN: f64 = 0.8;

/// The edits that patch one head alone.
pub(super) fn path(
    head: HeadId,
    spec: &ModelSpec,
    position: usize,
    freeze_mlps: bool,
) -> Vec<Edit> {
    let at = || Positions::At(vec![position]);
    let edit = |target, op| Edit {
        target,
        op,
        at: at(),
    };
    let mut edits = vec![edit(Target::Head(head), Op::Resample)];
    // The mean over the prompt's own run alone is that run's value: what freezes it.
    let later = head.layer + 1..spec.n_layers;
    edits.extend(later.map(|layer| edit(Target::Attention(layer), Op::Mean)));
    if freeze_mlps {
        let mlps = head.layer..spec.n_layers;
        edits.extend(mlps.map(|layer| edit(Target::Mlp(layer), Op::Mean)));
    }
    edits
}

/// The relative change of the metric by each head, `[prompt][layer, head]`; `None` where no prompt has a contrast.
pub(super) fn effects(
    engine: &mut Engine,
    prompts: &[Prompt<'_>],
    settings: &Settings,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Option<Vec<Vec<Option<f32>>>>, AnalysisError> {
    let shape = engine.model().spec.clone();
    let mut found = Vec::new();
    for (i, prompt) in prompts.iter().enumerate() {
        if prompt.subject.is_empty() {
            continue;
        }
        let spec = RunSpec {
            edits: vec![],
            ..prompt.case.spec.clone()
        };
        let own = [(std::sync::Arc::clone(&spec.ids), spec.bos_count)];
        let means = Means::over(engine, &own, &mut || true)?;
        let variants: Vec<Vec<Edit>> = (0..shape.n_layers)
            .flat_map(|layer| heads_of(layer, shape.n_heads))
            .map(|head| path(head, &shape, spec.position, settings.freeze_mlps))
            .collect();
        let reading = Reading {
            means: Some(&means),
            ..Reading::default()
        };
        let clean = metric(prompt, settings, &prompt.logits);
        let mut of_prompt = Vec::with_capacity(variants.len());
        // A layer at a time: logits of all tokens are large.
        for (layer, variants) in variants.chunks(shape.n_heads).enumerate() {
            let swept = engine.sweep(&spec, variants, reading, &mut |done| {
                let of_prompt = (layer as f32 + done) / shape.n_layers as f32;
                go_on((i as f32 + of_prompt) / prompts.len() as f32)
            })?;
            of_prompt.extend(swept.iter().map(|logits| {
                let (clean, patched) = (clean?, metric(prompt, settings, logits)?);
                let effect = ((patched - clean) / clean) as f32;
                (clean.abs() >= LEAST && effect.is_finite()).then_some(effect)
            }));
        }
        found.push(of_prompt);
    }
    Ok((!found.is_empty()).then_some(found))
}

/// The answer's logit against the mean of all, or against the wrong answer's.
pub(super) fn metric(prompt: &Prompt<'_>, settings: &Settings, logits: &[f32]) -> Option<f64> {
    let own = f64::from(*logits.get(prompt.answer as usize)?);
    let other = match settings.against {
        Against::Mean => mean(logits.iter().map(|logit| f64::from(*logit)))?,
        Against::Wrong => f64::from(*logits.get(*prompt.case.wrong.first()? as usize)?),
    };
    Some(own - other)
}

/// Maps and the table of movers, the first of which is returned; without contrasts the heads that add most to the answer.
pub(super) fn report(
    model: &Model,
    prompts: &[Prompt<'_>],
    effects: Option<&[Vec<Option<f32>>]>,
    settings: &Settings,
    report: &mut Report,
) -> Result<Vec<HeadId>, AnalysisError> {
    let shape = (model.spec.n_layers, model.spec.n_heads);
    let at = |head: HeadId| head.layer * shape.1 + head.head;
    let direct = HeadScores::of_heads(
        "attribution",
        "what the head adds by itself to the answer's logit minus a second token's",
        Scale::Signed,
        shape,
        |head| {
            mean(
                prompts
                    .iter()
                    .map(|p| f64::from(p.summands.heads[at(head)])),
            )
            .map(|x| x as f32)
        },
    );
    let Some(effects) = effects else {
        report.note(
            "no prompt has a contrast with another subject of as many tokens: path patching is left out, and the heads that \
             add most to the answer stand for movers (give --contrast, or a --task with contrasts)",
        );
        let movers = direct.top(settings.movers);
        report.scores.push(direct);
        return Ok(movers);
    };
    // A prompt whose metric is nothing to divide by is left out for all heads alike.
    let known: Vec<_> = effects
        .iter()
        .filter(|map| map.iter().all(Option::is_some))
        .collect();
    if known.len() < effects.len() {
        report.note(format!(
            "{} prompts left out of path patching: their metric is below {LEAST}, or not finite",
            effects.len() - known.len()
        ));
    }
    if effects.len() < prompts.len() {
        report.note(format!(
            "{} prompts have no contrast with another subject of as many tokens: left out of path patching",
            prompts.len() - effects.len()
        ));
    }
    let effect = HeadScores::of_heads(
        "effect",
        "relative change of the metric when the head's path to the logits carries another subject: the most negative are \
         movers",
        Scale::Signed,
        shape,
        |head| {
            let of = known.iter().filter_map(|map| map[at(head)]);
            mean(of.map(f64::from)).map(|x| x as f32)
        },
    );
    let with_subject: Vec<&Prompt<'_>> = prompts.iter().filter(|p| !p.subject.is_empty()).collect();
    let attends = HeadScores::of_heads(
        "subject_attention",
        "attention from the end of the prompt to the subject",
        Scale::Share,
        shape,
        |head| {
            let of = with_subject.iter();
            let weight = |p: &&Prompt<'_>| p.streams.attention_to(head, shape.1, &p.subject);
            mean(of.map(|p| f64::from(weight(p)))).map(|x| x as f32)
        },
    );
    let mut movers: Vec<(HeadId, Option<f32>)> = effect.ranked();
    movers.retain(|(_, effect)| effect.is_some_and(|effect| effect < 0.0));
    movers.reverse();
    movers.truncate(settings.movers);
    let mut rows = Vec::new();
    for (head, effect) in &movers {
        let seen = reads_as(model, *head, &with_subject)?;
        let attention = attends.value(*head);
        let passes = attention.is_some_and(|a| f64::from(a) > ATTENDS) && seen.subject > OFTEN;
        rows.push(vec![
            Cell::from(head.to_string()),
            Cell::from(*effect),
            Cell::from(attention),
            Cell::from(seen.subject),
            Cell::from(seen.answer),
            Cell::from(direct.value(*head)),
            Cell::from(if passes { "passes the subject on" } else { "" }),
        ]);
    }
    if rows.is_empty() {
        report.note("no head's path lowers the metric: no mover found");
    }
    report.tables.push(table(
        "movers",
        &[
            "head",
            "effect",
            "attention to the subject",
            "reads as the subject",
            "reads as the answer",
            "attribution",
            "verdict",
        ],
        rows,
    ));
    report.note(format!(
        "a head passes the subject on where it attends to it by more than {ATTENDS} and reads as it (among the {TOP} \
         likeliest tokens of its output) in more than {OFTEN} of the prompts"
    ));
    report.scores.extend([effect, attends, direct]);
    Ok(movers.into_iter().map(|(head, _)| head).collect())
}

/// Shares of prompts in which a head's output has a token among its likeliest.
struct ReadsAs {
    subject: f64,
    answer: f64,
}

fn reads_as(
    model: &Model,
    head: HeadId,
    prompts: &[&Prompt<'_>],
) -> Result<ReadsAs, AnalysisError> {
    let d = model.spec.d_model;
    let runs: Vec<_> = prompts.iter().map(|prompt| &prompt.streams).collect();
    let of_layer = results(model, head.layer, &runs)?;
    let outputs: Vec<Vec<f32>> = of_layer
        .iter()
        .map(|heads| heads[head.head * d..][..d].to_vec())
        .collect();
    let logits = lens_of_parts(model, &outputs)?;
    let share = |id: &dyn Fn(&Prompt<'_>) -> Option<u32>| {
        let is_top = |(prompt, logits): (&&Prompt<'_>, &Vec<f32>)| {
            let rank = id(prompt).and_then(|id| rank(logits, id));
            f64::from(u8::from(rank.is_some_and(|rank| rank < TOP)))
        };
        mean(prompts.iter().zip(&logits).map(is_top)).unwrap_or_default()
    };
    Ok(ReadsAs {
        subject: share(&|prompt| prompt.subject_id()),
        answer: share(&|prompt| Some(prompt.answer)),
    })
}
