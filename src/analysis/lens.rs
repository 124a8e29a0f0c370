//! The logit lens: what the model would say if the stream of a layer were its final one (nostalgebraist 2020;
//! specification, circuits 9.1). The norm's scale is that of each stream itself, or, where asked, the final stream's at the
//! same position; either way the last row is the model's own logits.

use super::attribution::token_labels;
use super::cases::Case;
use super::field::{Field, Value};
use super::metric::kl;
use super::report::{Cell, Grid, Line, Plot, Report, Scale, Table};
use super::{AnalysisError, Progress, step};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Readout, beside, lens as logits_of};
use crate::model::site::{Part, Site};
use crate::model::spec::{Head, ModelSpec, Placement};

/// Tokens that are listed at the read position.
const TOP: usize = 5;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The newest positions that are looked at; the work grows with them times the vocabulary.
    pub positions: usize,
    /// With the stream between attention and MLP.
    pub with_middle: bool,
    /// Reads every stream through the final one's norm scale instead of its own.
    pub frozen: bool,
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "positions",
                "How many of the newest positions are looked at",
                Value::Count(&mut self.positions, 1..=4096),
            ),
            Field::new(
                "middle",
                "With the stream between attention and MLP",
                Value::Flag(&mut self.with_middle),
            ),
            Field::new(
                "frozen",
                "Through the final stream's norm scale instead of each stream's own",
                Value::Flag(&mut self.frozen),
            ),
        ]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            positions: 64,
            with_middle: false,
            frozen: false,
        }
    }
}

fn check(spec: &ModelSpec, settings: &Settings) -> Result<(), AnalysisError> {
    if spec.head == Head::None {
        return Err(RunError::NoLogits.into());
    }
    if settings.frozen && matches!(spec.head, Head::MaskedToken { .. }) {
        return Err(AnalysisError::needs(
            "the prediction head of this model is not linear, so that a stream cannot be read through another's norm: leave \
             frozen away",
        ));
    }
    if spec.placement == Placement::Post {
        return Err(AnalysisError::needs(
            "the lens reads each layer's stream as the final one; in this model every layer's stream is normalised anew, so \
             that they are not in one basis",
        ));
    }
    Ok(())
}

/// The streams that are read, by name, in the order of the pass.
fn streams(spec: &ModelSpec, settings: &Settings) -> Vec<(String, Site)> {
    let mut streams: Vec<(String, Site)> = Vec::new();
    for layer in 0..spec.n_layers {
        streams.push((format!("{layer}_pre"), Site::Block(layer, Part::ResidPre)));
        // Parallel blocks have no stream in the middle.
        let middle = Site::Block(layer, Part::ResidMid);
        if settings.with_middle && Site::all(spec).contains(&middle) {
            streams.push((format!("{layer}_mid"), middle));
        }
    }
    streams.push(("final_post".into(), Site::final_resid(spec)));
    streams
}

/// The lens of one prompt, or of the read positions of a set.
pub fn lens_all(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    match cases {
        [] => Err(AnalysisError::needs("the lens needs a prompt")),
        [case] => lens(engine, case, settings, progress),
        cases => of_set(engine, cases, settings, progress),
    }
}

/// Where the answer comes up, stream by stream: means over prompts at the position that is read.
fn of_set(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    check(&model.spec, settings)?;
    let answered: Vec<&Case> = cases
        .iter()
        .filter(|case| !case.answers.is_empty())
        .collect();
    if answered.is_empty() {
        return Err(AnalysisError::needs(
            "the lens of a set needs answers: choose a set that has them",
        ));
    }
    let (names, sites): (Vec<String>, Vec<Site>) =
        streams(&model.spec, settings).into_iter().unzip();
    let d = model.spec.d_model;
    // [stream][prompt]: probability, and the share of tokens that are likelier.
    let mut found = vec![Vec::new(); sites.len()];
    for (done, case) in answered.iter().enumerate() {
        step(progress, done as f32 / answered.len() as f32)?;
        let dumped = engine.dump(&case.spec, &sites)?;
        let row = |values: &[f32]| values[case.spec.position * d..][..d].to_vec();
        let last = dumped
            .last()
            .map(|dumped| row(&dumped.values))
            .unwrap_or_default();
        for (of_stream, dumped) in found.iter_mut().zip(&dumped) {
            let own = row(&dumped.values);
            let logits = if settings.frozen {
                let change = own
                    .iter()
                    .zip(&last)
                    .map(|(own, last)| own - last)
                    .collect();
                beside(&model, &last, change)?
            } else {
                logits_of(&model, &own)?
            };
            let score = Readout::new(&logits).score(case.answers[0]);
            let score = score.ok_or(RunError::NoLogits)?;
            let rank = logits.iter().filter(|x| **x > score.logit).count();
            of_stream.push([f64::from(score.prob), rank as f64]);
        }
    }
    let n = answered.len() as f64;
    let mean = |of: &[[f64; 2]], i: usize| of.iter().map(|pair| pair[i]).sum::<f64>() / n;
    let spread = |of: &[[f64; 2]], i: usize| {
        let mean = mean(of, i);
        let squares: f64 = of.iter().map(|pair| (pair[i] - mean).powi(2)).sum();
        (squares / (n - 1.0).max(1.0)).sqrt()
    };
    let mut report = Report::new("lens")
        .with("prompts", answered.len())
        .with("frozen", settings.frozen);
    let points = found.iter().enumerate();
    report.plots.push(Plot {
        name: "answer by stream".into(),
        x_axis: "stream",
        y_axis: "mean probability of the answer",
        lines: vec![Line {
            name: "mean over prompts".into(),
            points: points.map(|(i, of)| [i as f64, mean(of, 0)]).collect(),
            ..Line::default()
        }],
        ..Plot::default()
    });
    let rows = names.into_iter().zip(&found).map(|(name, of)| {
        vec![
            Cell::from(name),
            Cell::from(mean(of, 0)),
            Cell::from(spread(of, 0)),
            Cell::from(mean(of, 1)),
        ]
    });
    report.tables.push(Table {
        name: "streams".into(),
        columns: [
            "stream",
            "probability of the answer",
            "spread",
            "tokens that are likelier",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    });
    Ok(report)
}

/// Layer × position: the likeliest token, its probability; of the first answer its probability and rank; KL to the end.
pub fn lens(
    engine: &mut Engine,
    case: &Case,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let spec = &model.spec;
    check(spec, settings)?;
    let (n, d) = (case.spec.ids.len(), spec.d_model);
    let first = n - settings.positions.clamp(1, n);
    let first = first.min(case.spec.position);
    let streams = streams(spec, settings);
    let sites: Vec<Site> = streams.iter().map(|(_, site)| *site).collect();
    let dumped = engine.dump(&case.spec, &sites)?;
    let columns = n - first;
    let stream = |index: usize| -> Result<&[f32], AnalysisError> {
        let name = sites[index].to_string();
        let stream = dumped.iter().find(|dumped| dumped.name == name);
        Ok(&stream.ok_or(RunError::NoLogits)?.values[first * d..])
    };
    let of = |index: usize| -> Result<Vec<f32>, AnalysisError> {
        if !settings.frozen {
            return Ok(logits_of(&model, stream(index)?)?);
        }
        let last = stream(sites.len() - 1)?.chunks_exact(d);
        let mut logits = Vec::new();
        for (own, last) in stream(index)?.chunks_exact(d).zip(last) {
            let change = own.iter().zip(last).map(|(own, last)| own - last).collect();
            logits.extend(beside(&model, last, change)?);
        }
        Ok(logits)
    };
    let last = of(streams.len() - 1)?;
    let n_vocab = spec.n_vocab;
    let answer = case.answers.first().copied();
    let mut top = (vec![], vec![]);
    let (mut prob, mut rank, mut distance, mut entropy) = (vec![], vec![], vec![], vec![]);
    let mut at_position = Vec::new();
    for (i, (name, _)) in streams.iter().enumerate() {
        step(progress, i as f32 / streams.len() as f32)?;
        let logits = of(i)?;
        for (column, row) in logits.chunks_exact(n_vocab).enumerate() {
            let readout = Readout::new(row);
            let best = readout.top(TOP);
            top.0.push(best.first().map(|best| best.prob));
            top.1.push(
                best.first()
                    .map_or(String::new(), |best| model.token_text(best.id)),
            );
            let own = answer.and_then(|id| readout.score(id));
            prob.push(own.map(|own| own.prob));
            rank.push(own.map(|own| row.iter().filter(|x| **x > own.logit).count() as f32));
            distance.push(Some(kl(&last[column * n_vocab..][..n_vocab], row) as f32));
            entropy.push(Some(entropy_of(row) as f32));
            if first + column == case.spec.position {
                let listed = best
                    .iter()
                    .map(|best| format!("{:?} {:.3}", model.token_text(best.id), best.prob));
                let mut cells = vec![Cell::from(name.clone())];
                cells.push(Cell::from(listed.collect::<Vec<_>>().join("  ")));
                for id in case.answers.iter().chain(&case.wrong).take(2) {
                    cells.push(Cell::from(readout.score(*id).map(|score| score.logit)));
                }
                cells.push(Cell::from(case.pair().and_then(|(a, b)| {
                    Some(readout.score(a)?.logit - readout.score(b)?.logit)
                })));
                at_position.push(cells);
            }
        }
    }
    let rows: Vec<String> = streams.into_iter().map(|(name, _)| name).collect();
    let labels = token_labels(&model, &case.spec.ids).split_off(first);
    let grid =
        |name: &str, about: &str, scale, values: Vec<Option<f32>>, texts: Vec<String>| Grid {
            name: name.into(),
            about: about.into(),
            scale,
            row_axis: "stream",
            rows: rows.clone(),
            column_axis: "position",
            columns: labels.clone(),
            values,
            texts,
        };
    let mut report = Report::new("lens")
        .with("positions", columns)
        .with("frozen", settings.frozen)
        .with("position", case.spec.position);
    report.grids.push(grid(
        "top",
        "the likeliest token, and its probability",
        Scale::Share,
        top.0,
        top.1,
    ));
    if let Some(id) = answer {
        let text = model.token_text(id);
        let about = format!("probability of {text:?}");
        report
            .grids
            .push(grid("answer_prob", &about, Scale::Share, prob, vec![]));
        let about = format!("tokens that are likelier than {text:?}");
        report
            .grids
            .push(grid("answer_rank", &about, Scale::Positive, rank, vec![]));
    }
    let about = "KL of the model's own prediction from the stream's, in nats";
    report
        .grids
        .push(grid("kl", about, Scale::Positive, distance, vec![]));
    let about = "entropy of the stream's prediction, in nats";
    report
        .grids
        .push(grid("entropy", about, Scale::Positive, entropy, vec![]));
    let mut columns = vec!["stream".to_owned(), "likeliest".to_owned()];
    for id in case.answers.iter().chain(&case.wrong).take(2) {
        columns.push(format!("logit of {:?}", model.token_text(*id)));
    }
    columns.push("difference".into());
    report.tables.push(Table {
        name: "at_position".into(),
        columns,
        rows: at_position,
    });
    if first > 0 {
        report.note(format!(
            "the newest {} of {n} positions are looked at",
            n - first
        ));
    }
    Ok(report)
}

fn entropy_of(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    let mean: f64 = logits
        .iter()
        .map(|l| f64::from(l - max).exp() * f64::from(l - max))
        .sum();
    sum.ln() - mean / sum
}
