//! Step 3: what the last layer does to the answer's probability, which of its parts write against it, and three ways to
//! soften that: scale its MLP, silence its worst heads, take a generic direction out of its MLP.
//!
//! The generic direction u is the last layer's mean update over positions of plain text. With frequencies of tokens not
//! known, ids stand in for them: in byte-pair vocabularies they rise as tokens get rarer.

use crate::analysis::attribution::summands;
use crate::analysis::texts::{Repeats, prose, round_length};
use crate::analysis::{AnalysisError, Cell, Report};
use crate::edit::{Edit, Finite, Op, Positions, Target};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Reading, Readout, RunSpec};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::site::{Part, Site};

use super::streams::{add as sum_of, dot, lens, lens_of_parts};
use super::{Prompt, Settings, Split, mean, rank, table};

/// Tokens of the generic direction that are listed.
const TOP: usize = 10;

/// Random tokens where there is no plain text, at most.
const RANDOM: usize = 128;

/// What a head must take from the answer's logit difference to be silenced.
const AGAINST: f64 = 1e-3;

/// The answer under one prediction.
#[derive(Clone, Copy, Debug)]
struct Read {
    prob: f64,
    rank: f64,
    likeliest: u32,
}

pub(super) fn add(
    engine: &mut Engine,
    prompts: &[Prompt<'_>],
    split: Option<&Split>,
    settings: &Settings,
    report: &mut Report,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<(), AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    points(&model, prompts, report)?;
    let last = model.spec.n_layers - 1;
    let all: Vec<usize> = (0..prompts.len()).collect();
    let (choosing, reported) = match split {
        Some(split) if !split.held_out.is_empty() => (&split.fit, &split.held_out),
        _ => (&all, &all),
    };
    let worst = heads(engine, prompts, choosing, settings, report, &mut |done| {
        go_on(0.4 * done)
    })?;
    let generic = generic(engine, settings, report)?;
    if !go_on(0.5) {
        return Err(RunError::Stopped.into());
    }

    let mut rows = Vec::new();
    let mut names: Vec<String> = settings
        .scales
        .iter()
        .map(|a| format!("M{last} × {a}"))
        .collect();
    if !worst.is_empty() {
        let heads: Vec<String> = worst.iter().map(HeadId::to_string).collect();
        names.push(format!("{} silenced", heads.join(", ")));
    }
    names.extend(generic.as_ref().map(|_| format!("M{last} without u")));
    let mut before = Vec::new();
    let mut after: Vec<Vec<Read>> = vec![vec![]; names.len()];
    for (i, at) in reported.iter().enumerate() {
        let prompt = &prompts[*at];
        before.extend(read(&prompt.logits, prompt.answer));
        let mut logits = softened(engine, prompt, settings, &worst)?;
        if let Some(u) = &generic {
            logits.extend(lens(&model, &[without(prompt, u, last)])?);
        }
        for (after, logits) in after.iter_mut().zip(&logits) {
            after.extend(read(logits, prompt.answer));
        }
        if !go_on(0.5 + 0.5 * (i + 1) as f32 / reported.len() as f32) {
            return Err(RunError::Stopped.into());
        }
    }
    for (name, after) in names.iter().zip(&after) {
        let pairs = || before.iter().zip(after);
        let prob = |of: &[Read]| mean(of.iter().map(|read| read.prob));
        let rank = |of: &[Read]| mean(of.iter().map(|read| read.rank));
        let same = pairs().map(|(a, b)| f64::from(u8::from(a.likeliest == b.likeliest)));
        let up = pairs().map(|(a, b)| f64::from(u8::from(b.prob > a.prob)));
        rows.push(vec![
            Cell::from(name.clone()),
            Cell::Number(prob(&before)),
            Cell::Number(prob(after)),
            Cell::Number(mean(up)),
            Cell::Number(rank(&before)),
            Cell::Number(rank(after)),
            Cell::Number(mean(same)),
        ]);
    }
    report.tables.push(table(
        "mitigations",
        &[
            "change",
            "P of the answer before",
            "after",
            "share that rises",
            "mean rank before",
            "after",
            "same likeliest token",
        ],
        rows,
    ));
    report.note(if choosing == reported {
        "mitigations: the heads that are silenced were chosen on the prompts that are reported on"
    } else {
        "mitigations: heads were chosen on the prompts of the fit, and the ones held out are reported on"
    });
    Ok(())
}

/// The answer in the stream before the last layer, after its attention, after its MLP.
fn points(model: &Model, prompts: &[Prompt<'_>], report: &mut Report) -> Result<(), AnalysisError> {
    let last = model.spec.n_layers - 1;
    let mut reads: [Vec<Read>; 3] = Default::default();
    for prompt in prompts {
        let run = &prompt.streams;
        let streams = [
            run.pre[last].clone(),
            sum_of(&run.pre[last], &run.attention[last]),
            run.after(last),
        ];
        for (reads, logits) in reads.iter_mut().zip(lens(model, &streams)?) {
            reads.extend(read(&logits, prompt.answer));
        }
    }
    let names = ["before attention", "after attention", "after the MLP"];
    let rows = names.iter().zip(&reads).map(|(name, reads)| {
        let top = reads
            .iter()
            .map(|read| f64::from(u8::from(read.rank == 0.0)));
        vec![
            Cell::from(*name),
            Cell::Number(mean(reads.iter().map(|read| read.prob))),
            Cell::Number(mean(reads.iter().map(|read| read.rank))),
            Cell::Number(mean(top)),
        ]
    });
    report.tables.push(table(
        "last layer",
        &["stream", "P of the answer", "mean rank", "share likeliest"],
        rows.collect(),
    ));
    Ok(())
}

/// The last layer's heads, and the worst of them: those that write most against the answer.
fn heads(
    engine: &mut Engine,
    prompts: &[Prompt<'_>],
    choosing: &[usize],
    settings: &Settings,
    report: &mut Report,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<HeadId>, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let (last, n_heads) = (model.spec.n_layers - 1, model.spec.n_heads);
    // For the token that leads before the layer, against the runner-up.
    let mut leader = vec![Vec::new(); n_heads];
    for (i, prompt) in prompts.iter().enumerate() {
        if !go_on(i as f32 / prompts.len() as f32) {
            return Err(RunError::Stopped.into());
        }
        let logits = lens(&model, &[prompt.streams.pre[last].clone()])?;
        let top = logits.first().map(|row| Readout::new(row).top(2));
        let Some([first, second]) = top.as_deref() else {
            continue;
        };
        let spec = plain(prompt);
        let found = summands(engine, &spec, (first.id, second.id))?;
        for (of, x) in leader.iter_mut().zip(&found.heads[last * n_heads..]) {
            of.push(f64::from(*x));
        }
    }
    let answer = |head: usize, of: &[usize]| {
        let values = of
            .iter()
            .map(|i| prompts[*i].summands.heads[last * n_heads + head]);
        mean(values.map(f64::from)).unwrap_or_default()
    };
    let all: Vec<usize> = (0..prompts.len()).collect();
    let rows = (0..n_heads).map(|head| {
        let id = HeadId::new(last, head);
        let sink = prompts
            .iter()
            .map(|p| p.streams.attention_to(id, n_heads, &[0]));
        vec![
            Cell::from(id.to_string()),
            Cell::from(answer(head, &all)),
            Cell::Number(mean(leader[head].iter().copied())),
            Cell::Number(mean(sink.map(f64::from))),
        ]
    });
    report.tables.push(table(
        "last heads",
        &[
            "head",
            "attribution to the answer",
            "to the leader before the layer",
            "attention to the first token",
        ],
        rows.collect(),
    ));
    let mut worst: Vec<(usize, f64)> = (0..n_heads)
        .map(|head| (head, answer(head, choosing)))
        .filter(|(_, adds)| *adds < -AGAINST)
        .collect();
    worst.sort_by(|a, b| a.1.total_cmp(&b.1));
    worst.truncate(settings.suppressors);
    Ok(worst
        .into_iter()
        .map(|(head, _)| HeadId::new(last, head))
        .collect())
}

/// The mean update of the last layer over plain text; what it says is told. `None` where there is no text and no update.
fn generic(
    engine: &mut Engine,
    settings: &Settings,
    report: &mut Report,
) -> Result<Option<Vec<f32>>, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let last = model.spec.n_layers - 1;
    let text = prose(&model);
    let what = if text.is_some() {
        "our prose"
    } else {
        "random tokens"
    };
    let mut ids = text.unwrap_or_else(|| {
        Repeats::draw(&model, round_length(&model, 1, RANDOM), 1, settings.seed).ids
    });
    // The first position is beginning of text, or has nothing before it.
    ids.truncate(settings.generic_positions.saturating_add(1).max(2));
    let n = ids.len();
    let spec = RunSpec {
        n_prompt: n,
        reach: n,
        ids: ids.into(),
        contrast: None,
        edits: vec![],
        position: n.saturating_sub(1),
        last: n.saturating_sub(1),
        bos_count: 0,
        folder: None,
    };
    let sites = [Part::AttnOut, Part::MlpOut].map(|part| Site::Block(last, part));
    let dumped = engine.dump(&spec, &sites)?;
    let d = model.spec.d_model;
    let mut sums = vec![0.0f64; d];
    for row in dumped
        .iter()
        .flat_map(|part| part.values.chunks_exact(d).skip(1))
    {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    let count = n.saturating_sub(1).max(1) as f64;
    let u: Vec<f32> = sums.iter().map(|sum| (sum / count) as f32).collect();
    if n < 2 || dot(&u, &u) == 0.0 {
        report.note("no generic direction: the last layer adds nothing to plain text");
        return Ok(None);
    }
    report.note(format!(
        "the generic direction u is the last layer's mean update over {} positions of {what}",
        n - 1
    ));
    let logits = lens_of_parts(&model, std::slice::from_ref(&u))?;
    let Some(logits) = logits.first() else {
        return Ok(Some(u));
    };
    let top = Readout::new(logits).top(TOP);
    let rows = top.iter().map(|score| {
        vec![
            Cell::from(format!("{:?}", model.token_text(score.id))),
            Cell::from(score.id as usize),
            Cell::from(score.logit),
        ]
    });
    report.tables.push(table(
        "generic direction",
        &["token", "id", "logit, up to a factor"],
        rows.collect(),
    ));
    if let Some(r) = with_frequency(&model, logits) {
        report.note(format!(
            "correlation of u's logits with −ln(1 + id), which stands in for the tokens' log frequency: {r:.3}"
        ));
    }
    Ok(Some(u))
}

/// Pearson's r of logits and −ln(1 + id), special tokens left out; `None` without a tokenizer.
fn with_frequency(model: &Model, logits: &[f32]) -> Option<f64> {
    let tokenizer = model.tokenizer.as_ref()?;
    let points: Vec<(f64, f64)> = logits
        .iter()
        .enumerate()
        .filter(|(id, _)| !tokenizer.is_special(*id as u32))
        .map(|(id, logit)| (-(1.0 + id as f64).ln(), f64::from(*logit)))
        .collect();
    let (of_x, of_y) = (
        mean(points.iter().map(|(x, _)| *x))?,
        mean(points.iter().map(|(_, y)| *y))?,
    );
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        points.iter().map(|(x, y)| of(x - of_x, y - of_y)).sum()
    };
    let squares = sum(&|x, _| x * x) * sum(&|_, y| y * y);
    (squares > 0.0).then(|| sum(&|x, y| x * y) / squares.sqrt())
}

/// Logits with the last MLP scaled, by each factor, and with the worst heads silenced.
fn softened(
    engine: &mut Engine,
    prompt: &Prompt<'_>,
    settings: &Settings,
    worst: &[HeadId],
) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let last = engine.model().spec.n_layers - 1;
    let edit = |target, op| Edit {
        target,
        op,
        at: Positions::At(vec![prompt.case.spec.position]),
    };
    let scale = |alpha: f64| Op::Scale(Finite::new(alpha).unwrap_or(Finite::ONE));
    let scaled = settings
        .scales
        .iter()
        .map(|alpha| vec![edit(Target::Mlp(last), scale(*alpha))]);
    let mut variants: Vec<Vec<Edit>> = scaled.collect();
    if !worst.is_empty() {
        let silenced = worst.iter().map(|head| edit(Target::Head(*head), Op::Zero));
        variants.push(silenced.collect());
    }
    Ok(engine.sweep(&plain(prompt), &variants, Reading::default(), &mut |_| true)?)
}

/// The final stream without the part of the last MLP's output that is along a direction. Nothing follows it but the final
/// norm, so that this is the edited run.
pub(super) fn without(prompt: &Prompt<'_>, u: &[f32], last: usize) -> Vec<f32> {
    let run = &prompt.streams;
    let share = dot(&run.mlp[last], u) / dot(u, u);
    let stream = run.after(last);
    let cut = stream.iter().zip(u);
    cut.map(|(x, u)| (f64::from(*x) - share * f64::from(*u)) as f32)
        .collect()
}

fn plain(prompt: &Prompt<'_>) -> RunSpec {
    RunSpec {
        edits: vec![],
        ..prompt.case.spec.clone()
    }
}

fn read(logits: &[f32], answer: u32) -> Option<Read> {
    let readout = Readout::new(logits);
    Some(Read {
        prob: f64::from(readout.score(answer)?.prob),
        rank: rank(logits, answer)?,
        likeliest: readout.top(1).first()?.id,
    })
}
