//! What moving heads costs on ordinary text: cross-entropy, and the divergence of the next token's distribution from the
//! unedited model's (as the paper's tables have them). Every token is moved, as each is the last one in its turn.

use std::path::Path;

use crate::analysis::metric::{kl, log_prob};
use crate::analysis::report::{Cell, Report, Table};
use crate::analysis::{AnalysisError, texts};
use crate::edit::{Edit, Positions};
use crate::experiment::RunSpec;
use crate::experiment::engine::Engine;
use crate::model::site::Site;

use super::effect::{controls, edits, tensors};
use super::{Found, Settings};
use crate::analysis::learned::Scratch;

/// Cross-entropy on the built-in prose and KL(unedited ‖ edited), in nats a token, of the chosen heads and of random ones.
pub(super) fn measure(
    engine: &mut Engine,
    found: &[Found],
    chosen: &[&Found],
    settings: &Settings,
    report: &mut Report,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<(), AnalysisError> {
    let Some(ids) = texts::prose(engine.model()) else {
        report.note("without a tokenizer there is no prose that the cost of moving heads could be read from");
        return Ok(());
    };
    let random = controls(found, chosen, settings.seed);
    let of = |heads: &[&Found]| edits(heads, settings.alpha, &Positions::All);
    let mut variants = vec![of(chosen)];
    variants.extend(random.iter().map(|heads| of(heads)));
    let all: Vec<&Found> = found.iter().collect();
    let scratch = Scratch::new(&tensors(&all))?;
    let n_runs = variants.len() as f32 + 1.0;
    let plain = logits(engine, &ids, (vec![], &scratch.folder()), &mut || {
        go_on(0.0)
    })?;
    let mut costs = vec![];
    for (i, edits) in variants.into_iter().enumerate() {
        let heard = &mut || go_on((i + 1) as f32 / n_runs);
        let edited = logits(engine, &ids, (edits, &scratch.folder()), heard)?;
        costs.push((cross_entropy(&edited, &ids), divergence(&plain, &edited)));
    }
    let row =
        |what: String, ce: f64, kl: f64| vec![Cell::from(what), Cell::from(ce), Cell::from(kl)];
    let (moved, at_random) = costs.split_at(1);
    let mut rows = vec![
        row("unedited".into(), cross_entropy(&plain, &ids), 0.0),
        row(
            format!("{} chosen heads", chosen.len()),
            moved[0].0,
            moved[0].1,
        ),
    ];
    if !at_random.is_empty() {
        let n = at_random.len() as f64;
        let what = format!("{} random heads, mean of {n}", random[0].len());
        let mean = |f: &dyn Fn(&(f64, f64)) -> f64| at_random.iter().map(f).sum::<f64>() / n;
        rows.push(row(what, mean(&|of| of.0), mean(&|of| of.1)));
    }
    report.tables.push(Table {
        name: "prose, every token moved".into(),
        columns: ["what", "cross-entropy (nats)", "KL to unedited (nats)"]
            .map(str::to_owned)
            .into(),
        rows,
    });
    Ok(())
}

/// A row of logits for each token.
fn logits(
    engine: &mut Engine,
    ids: &[u32],
    (edits, folder): (Vec<Edit>, &Path),
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<Vec<f32>>, AnalysisError> {
    let spec = RunSpec {
        ids: ids.into(),
        n_prompt: ids.len(),
        reach: ids.len(),
        edits,
        position: ids.len() - 1,
        last: ids.len() - 1,
        folder: Some(folder.to_owned()),
        ..RunSpec::default()
    };
    let dumped = engine.dump_while(&spec, &[Site::Logits], go_on)?;
    let rows = dumped.iter().flat_map(|of| {
        let n_vocab = of.values.len() / ids.len();
        of.values.chunks_exact(n_vocab).map(<[f32]>::to_vec)
    });
    Ok(rows.collect())
}

/// Mean of −ln p of each token after those before it.
fn cross_entropy(logits: &[Vec<f32>], ids: &[u32]) -> f64 {
    let read = logits.iter().zip(&ids[1..]);
    let sum: f64 = read.filter_map(|(row, next)| log_prob(row, *next)).sum();
    -sum / (ids.len() - 1) as f64
}

/// Mean of KL(p ‖ q) over the tokens.
fn divergence(p: &[Vec<f32>], q: &[Vec<f32>]) -> f64 {
    let sum: f64 = p.iter().zip(q).map(|(p, q)| kl(p, q)).sum();
    sum / p.len().max(1) as f64
}
