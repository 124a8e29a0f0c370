//! What each layer says of the operands and the answer, at the read position (Zhang et al. 2024, arXiv 2409.01659): the
//! logit lens of its stream, and the cosines of what its MLP reads and writes with columns of W_U.
//!
//! What an MLP reads is taken before its norm, and W_U as it is: neither gains nor centring are folded in.

use std::sync::Arc;

use crate::analysis::sequences::{single, tokenizer};
use crate::analysis::{AnalysisError, Grid, Line, Plot, Progress, Report, Scale, step};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Readout, lens};
use crate::model::Model;
use crate::model::site::{Part, Site};
use crate::model::spec::{BlockOrder, Placement};

use super::Settings;
use super::prompts::Kept;

/// The tokens that are asked for.
const ASKED: [&str; 3] = ["operand A", "operand B", "answer"];

/// What the rows of a prompt's read position are, `[layer, d_model]` one after the other.
struct Rows {
    /// resid_pre of each layer, then the final residual.
    streams: Vec<f32>,
    /// What each MLP reads, before its norm.
    mlp_in: Vec<f32>,
    mlp_out: Vec<f32>,
}

impl Rows {
    fn of(engine: &mut Engine, kept: &Kept) -> Result<Self, AnalysisError> {
        let spec = engine.model().spec.clone();
        let of_layers = |part| (0..spec.n_layers).map(move |layer| Site::Block(layer, part));
        let read = match spec.order {
            BlockOrder::Sequential => Part::ResidMid,
            BlockOrder::Parallel { .. } => Part::ResidPre,
        };
        let mut streams: Vec<Site> = of_layers(Part::ResidPre).collect();
        streams.push(Site::final_resid(&spec));
        let [mlp_in, mlp_out]: [Vec<Site>; 2] =
            [read, Part::MlpOut].map(|part| of_layers(part).collect());
        let sites = [&streams, &mlp_in, &mlp_out];
        let all: Vec<Site> = sites.into_iter().flatten().copied().collect();
        let dumped = engine.dump(&kept.case.spec, &all)?;
        let (d, at) = (spec.d_model, kept.case.spec.position);
        let rows = |sites: &Vec<Site>| -> Result<Vec<f32>, RunError> {
            let mut rows = vec![];
            for site in sites {
                let name = site.to_string();
                let found = dumped.iter().find(|dumped| dumped.name == name);
                let found = found.ok_or(RunError::NoLogits)?;
                rows.extend_from_slice(&found.values[at * d..(at + 1) * d]);
            }
            Ok(rows)
        };
        Ok(Self {
            streams: rows(&streams)?,
            mlp_in: rows(&mlp_in)?,
            mlp_out: rows(&mlp_out)?,
        })
    }
}

/// Sums over prompts of a number a layer, for each asked token.
struct Lines {
    sums: [Vec<f64>; 3],
    counts: [usize; 3],
}

impl Lines {
    fn new(n: usize) -> Self {
        Self {
            sums: std::array::from_fn(|_| vec![0.0; n]),
            counts: [0; 3],
        }
    }

    /// `values` has one number a layer.
    fn add(&mut self, which: usize, values: impl IntoIterator<Item = f64>) {
        self.counts[which] += 1;
        for (sum, value) in self.sums[which].iter_mut().zip(values) {
            *sum += value;
        }
    }

    fn plot(&self, name: &str, x_axis: &'static str, y_axis: &'static str) -> Plot {
        let of = self.sums.iter().zip(self.counts).zip(ASKED);
        let lines = of.filter(|((_, count), _)| *count > 0);
        let lines = lines.map(|((sums, count), name)| {
            let points = sums.iter().enumerate();
            Line {
                name: name.into(),
                points: points
                    .map(|(layer, sum)| [layer as f64, sum / count as f64])
                    .collect(),
                labels: vec![],
            }
        });
        Plot {
            name: name.into(),
            x_axis,
            y_axis,
            is_scatter: false,
            lines: lines.collect(),
        }
    }
}

/// Adds the strip of the first kept prompt's digits, and three plots over layers, mean over prompts.
pub(super) fn add(
    engine: &mut Engine,
    kept: &[Kept],
    settings: &Settings,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let model = Arc::clone(engine.model());
    if model.spec.placement == Placement::Post {
        report.note("digits by layer left out: in this model norms stand on the stream");
        return Ok(());
    }
    let n_layers = model.spec.n_layers;
    let mut probs = Lines::new(n_layers + 1);
    let mut cosines = [Lines::new(n_layers), Lines::new(n_layers)];
    for (i, of_prompt) in kept.iter().enumerate() {
        step(progress, 0.9 + 0.1 * i as f32 / kept.len() as f32)?;
        let rows = Rows::of(engine, of_prompt)?;
        let logits = lens(&model, &rows.streams)?;
        if i == 0 {
            strip(&model, of_prompt, &logits, settings, report)?;
        }
        let of_layer: Vec<Readout<'_>> = logits
            .chunks_exact(model.spec.n_vocab)
            .map(Readout::new)
            .collect();
        let [a, b] = of_prompt.operands;
        for (which, id) in [a, b, Some(of_prompt.answer)].into_iter().enumerate() {
            let Some(id) = id else { continue };
            let prob = |of: &Readout<'_>| of.score(id).map_or(f64::NAN, |s| f64::from(s.prob));
            probs.add(which, of_layer.iter().map(prob));
            let direction = model.unembedding(&[id])?;
            for (lines, rows) in cosines.iter_mut().zip([&rows.mlp_in, &rows.mlp_out]) {
                let rows = rows.chunks_exact(model.spec.d_model);
                lines.add(which, rows.map(|row| cosine(row, &direction)));
            }
        }
    }
    report.plots.push(probs.plot(
        "lens",
        "stream before the layer, the final one last",
        "probability by the logit lens",
    ));
    for (lines, name) in cosines.iter().zip(["mlp_in", "mlp_out"]) {
        report
            .plots
            .push(lines.plot(name, "layer", "cosine with the token's column of W_U"));
    }
    Ok(())
}

/// 0 of a row without a direction.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let size = (dot(a, a) * dot(b, b)).sqrt();
    if size > 0.0 { dot(a, b) / size } else { 0.0 }
}

/// What each stream of one prompt says of the digits. `logits` are `[stream, vocab]`.
fn strip(
    model: &Model,
    kept: &Kept,
    logits: &[f32],
    settings: &Settings,
    report: &mut Report,
) -> Result<(), AnalysisError> {
    let tokenizer = tokenizer(model)?;
    let space = kept.space(model);
    let texts = (0..=settings.operands.1.max(9)).map(|n| format!("{space}{n}"));
    let mut columns: Vec<(u32, String)> = texts
        .filter_map(|text| Some((single(tokenizer, &text)?, text)))
        .collect();
    if columns.iter().all(|(id, _)| *id != kept.answer) {
        columns.push((kept.answer, model.token_text(kept.answer)));
    }
    let mut rows: Vec<String> = (0..model.spec.n_layers)
        .map(|layer| format!("{layer}_pre"))
        .collect();
    rows.push("final_post".into());
    let (mut values, mut marks) = (vec![], vec![]);
    for row in logits.chunks_exact(model.spec.n_vocab) {
        let readout = Readout::new(row);
        let best = readout.top(1).first().map(|best| best.id);
        for (id, _) in &columns {
            values.push(readout.score(*id).map(|score| score.prob));
            marks.push(if best == Some(*id) {
                "first".into()
            } else {
                String::new()
            });
        }
    }
    report.grids.push(Grid {
        name: "digits".into(),
        about: format!(
            "probability of each number at the read position of {:?}, by the logit lens; the vocabulary's likeliest is marked",
            kept.case.label
        ),
        scale: Scale::Share,
        row_axis: "stream",
        rows,
        column_axis: "number",
        columns: columns.into_iter().map(|(_, text)| text).collect(),
        values,
        texts: marks,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::asked;
    use super::*;
    use crate::analysis::Unheard;
    use crate::experiment::Reading;

    #[test]
    fn lines_are_means_of_their_definitions() {
        let (mut engine, settings, kept) = asked(2);
        let model = Arc::clone(engine.model());
        let mut report = Report::new("arithmetic");
        add(&mut engine, &kept, &settings, &mut report, &mut Unheard).unwrap();
        let names: Vec<&str> = report.plots.iter().map(|plot| &plot.name[..]).collect();
        assert_eq!(names, ["lens", "mlp_in", "mlp_out"]);
        let [probs, mlp_in, mlp_out] = &report.plots[..] else {
            panic!("three plots")
        };
        assert_eq!(probs.lines[2].points.len(), 5);
        let last = kept.iter().map(|kept| {
            let logits = engine
                .sweep(&kept.case.spec, &[vec![]], Reading::default(), &mut |_| {
                    true
                })
                .unwrap();
            let score = Readout::new(&logits[0]).score(kept.answer).unwrap();
            f64::from(score.prob) / 2.0
        });
        let last: f64 = last.sum();
        assert!(
            (probs.lines[2].points[4][1] - last).abs() < 1e-5,
            "the model's own"
        );
        // B of the sums in layer 2, from the streams' other records.
        let part = |engine: &mut Engine, kept: &Kept, part| -> Vec<f64> {
            let site = Site::Block(2, part);
            let values = engine
                .dump(&kept.case.spec, &[site])
                .unwrap()
                .remove(0)
                .values;
            let d = model.spec.d_model;
            let row = &values[kept.case.spec.position * d..][..d];
            row.iter().map(|x| f64::from(*x)).collect()
        };
        let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let (mut read, mut written) = (0.0, 0.0);
        for kept in &kept {
            let u = model.unembedding(&[kept.operands[1].unwrap()]).unwrap();
            let u: Vec<f64> = u.into_iter().map(f64::from).collect();
            let cos = |row: &[f64]| {
                let dot: f64 = row.iter().zip(&u).map(|(a, b)| a * b).sum();
                dot / (norm(row) * norm(&u))
            };
            let out = part(&mut engine, kept, Part::MlpOut);
            let post = part(&mut engine, kept, Part::ResidPost);
            let mid: Vec<f64> = post
                .iter()
                .zip(&out)
                .map(|(post, out)| post - out)
                .collect();
            read += cos(&mid) / 2.0;
            written += cos(&out) / 2.0;
        }
        assert!((mlp_in.lines[1].points[2][1] - read).abs() < 1e-5);
        assert!((mlp_out.lines[1].points[2][1] - written).abs() < 1e-6);
        assert!(written.abs() > 1e-3);
    }

    #[test]
    fn without_a_direction_there_is_no_cosine() {
        assert!(cosine(&[0.0, 0.0], &[1.0, 0.0]).abs() < 1e-12);
        assert!((cosine(&[3.0, 4.0], &[-6.0, -8.0]) + 1.0).abs() < 1e-12);
    }
}
