//! Step 2: the MLP as what it does to the heads' outputs. At the end of the prompt m ≈ Σ c_h a_h + c_x x + b, with one
//! number a head over all prompts, x the rest of what the MLP reads, and one vector b.
//!
//! Blocks that run attention and MLP side by side: the MLP reads no head of its own layer, so the heads are those of the
//! layer before, and x is the rest of the stream that the MLP reads. R² is of what the mean over the fit's prompts leaves,
//! also for the prompts held out.

use nalgebra::{DMatrix, DVector};

use crate::analysis::{AnalysisError, Cell, HeadScores, Report, Scale};
use crate::experiment::Readout;
use crate::experiment::engine::RunError;
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::spec::BlockOrder;

use super::streams::{Streams, add as sum_of, dot, lens, lens_of_parts, results};
use super::{Prompt, Settings, Split, mean, rank, table};

/// Tokens that are listed.
const TOP: usize = 5;

/// A head whose outputs vary by less than this share of the most varied one's writes nothing that a number could weigh.
const LEAST: f64 = 1e-6;

/// Sums over prompts that a fit and its residuals need: no prompt is kept.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    n: usize,
    /// Σ ⟨u_i, u_j⟩, `[regressor, regressor]`
    gram: DMatrix<f64>,
    /// Σ ⟨u_i, m⟩
    along: DVector<f64>,
    /// Σ |m|²
    square: f64,
    /// Σ u_i, one column a regressor, `[d_model, regressor]`
    inputs: DMatrix<f64>,
    /// Σ m, `[d_model]`
    output: DVector<f64>,
}

/// m ≈ Σ c_i u_i + b
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) coefficients: Vec<f64>,
    pub(super) intercept: Vec<f64>,
}

impl Moments {
    pub(super) fn new(n_inputs: usize, d: usize) -> Self {
        Self {
            n: 0,
            gram: DMatrix::zeros(n_inputs, n_inputs),
            along: DVector::zeros(n_inputs),
            square: 0.0,
            inputs: DMatrix::zeros(d, n_inputs),
            output: DVector::zeros(d),
        }
    }

    /// A sample: regressors one after the other, `[regressor · d_model]`, and the target.
    pub(super) fn add(&mut self, inputs: &[f32], output: &[f32]) {
        let d = output.len();
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
        let u = DMatrix::from_vec(d, inputs.len() / d, wide(inputs));
        let m = DVector::from_vec(wide(output));
        self.n += 1;
        self.gram += u.tr_mul(&u);
        self.along += u.tr_mul(&m);
        self.square += m.norm_squared();
        self.inputs += u;
        self.output += m;
    }

    /// Least squares over all coordinates of all samples, means taken away, by the normal equations.
    pub(super) fn fit(&self, ridge: f64) -> Option<Fit> {
        let n = self.n as f64;
        let k = self.along.len();
        let gram = &self.gram - self.inputs.tr_mul(&self.inputs) / n;
        let along = &self.along - self.inputs.tr_mul(&self.output) / n;
        let gram = gram + DMatrix::identity(k, k) * ridge;
        let solved = match gram.clone().cholesky() {
            Some(cholesky) => cholesky.solve(&along),
            // Heads that are the same, or write nothing, without a ridge.
            None => gram.svd(true, true).solve(&along, 1e-12).ok()?,
        };
        let intercept = (&self.output - &self.inputs * &solved) / n;
        let fit = Fit {
            coefficients: solved.iter().copied().collect(),
            intercept: intercept.iter().copied().collect(),
        };
        let all = fit.coefficients.iter().chain(&fit.intercept);
        all.copied().all(f64::is_finite).then_some(fit)
    }

    /// Of which heads (all regressors but the last) a coefficient says something: Σ |u_i − mean|² is not next to nothing.
    pub(super) fn varied(&self) -> Vec<bool> {
        let n = self.n.max(1) as f64;
        let spread = |i: usize| self.gram[(i, i)] - self.inputs.column(i).norm_squared() / n;
        let spreads: Vec<f64> = (0..self.along.len().max(1) - 1).map(spread).collect();
        let most = spreads.iter().copied().fold(0.0, f64::max);
        spreads.iter().map(|x| *x > LEAST * most).collect()
    }

    /// Σ |m − Σ c_i u_i − b|²
    fn residual(&self, fit: &Fit) -> f64 {
        let c = DVector::from_column_slice(&fit.coefficients);
        let b = DVector::from_column_slice(&fit.intercept);
        let rest = &self.output - &self.inputs * &c;
        let own = self.square - 2.0 * c.dot(&self.along) + c.dot(&(&self.gram * &c));
        (own - 2.0 * b.dot(&rest) + self.n as f64 * b.norm_squared()).max(0.0)
    }

    /// Σ |m − centre|²
    fn about(&self, centre: &DVector<f64>) -> f64 {
        let own = self.square - 2.0 * centre.dot(&self.output);
        (own + self.n as f64 * centre.norm_squared()).max(0.0)
    }

    fn centre(&self) -> DVector<f64> {
        &self.output / (self.n.max(1) as f64)
    }

    /// The share of Σ |m − centre|² that a fit explains; `None` where there is nothing to explain.
    pub(super) fn explained(&self, fit: &Fit, centre: Option<&Self>) -> Option<f64> {
        let total = match centre {
            Some(of) => self.about(&of.centre()),
            None => self.square,
        };
        (self.n > 0 && total > 1e-9 * self.square.max(f64::MIN_POSITIVE))
            .then(|| 1.0 - self.residual(fit) / total)
    }
}

/// One layer's fit and how good it is.
struct OfLayer {
    layer: usize,
    /// The layer whose heads the MLP reads.
    heads: usize,
    fit: Fit,
    varied: Vec<bool>,
    explained: Option<f64>,
    with_mean: Option<f64>,
    held_out: Option<f64>,
}

impl OfLayer {
    /// `None` of a head that writes nothing.
    fn coefficient(&self, head: usize) -> Option<f64> {
        let is_varied = *self.varied.get(head)?;
        let c = self.fit.coefficients.get(head);
        c.copied().filter(|_| is_varied)
    }
}

/// Fits every layer's MLP; of one it says what it does to each head, and what its intercept does to the mover's output.
pub(super) fn add(
    model: &Model,
    prompts: &[Prompt<'_>],
    split: &Split,
    mover: Option<HeadId>,
    settings: &Settings,
    report: &mut Report,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<(), AnalysisError> {
    let spec = &model.spec;
    let mut fits = Vec::new();
    for layer in 0..spec.n_layers {
        if !go_on(layer as f32 / spec.n_layers as f32) {
            return Err(RunError::Stopped.into());
        }
        fits.extend(of_layer(model, prompts, split, layer, settings.ridge)?);
    }
    let shape = (spec.n_layers, spec.n_heads);
    report.scores.push(HeadScores::of_heads(
        "mlp_coefficient",
        "how much of the head's output the MLP that reads it adds again: −1 erases it, above 0 amplifies it",
        Scale::Signed,
        shape,
        |head| {
            let of = fits.iter().find(|of| of.heads == head.layer)?;
            of.coefficient(head.head).map(|c| c as f32)
        },
    ));
    let norm = |fit: &Fit| fit.intercept.iter().map(|x| x * x).sum::<f64>().sqrt();
    let rows = fits.iter().map(|of| {
        vec![
            Cell::from(format!("M{}", of.layer)),
            Cell::from(format!("L{}", of.heads)),
            Cell::Number(of.explained),
            Cell::Number(of.with_mean),
            Cell::Number(of.held_out),
            Cell::Number(of.fit.coefficients.last().copied()),
            Cell::from(norm(&of.fit)),
        ]
    });
    report.tables.push(table(
        "regression",
        &[
            "MLP",
            "heads of",
            "R²",
            "R² with the mean",
            "R² held out",
            "c of the rest",
            "|b|",
        ],
        rows.collect(),
    ));
    let adds = |layer: usize| mean(prompts.iter().map(|p| f64::from(p.summands.mlps[layer])));
    let first = mover.map_or(0, |mover| mover.layer);
    let layer = settings.layer.or_else(|| {
        let later = fits.iter().map(|of| of.layer).filter(|l| *l >= first);
        later.max_by(|a, b| adds(*a).unwrap_or(0.0).total_cmp(&adds(*b).unwrap_or(0.0)))
    });
    let Some(of) = fits.iter().find(|of| Some(of.layer) == layer) else {
        report.note("no regression of the chosen layer's MLP: no head is read by it, or all outputs are the same");
        return Ok(());
    };
    report.note(format!(
        "the MLP that is looked at is M{}: it adds {:.3} to the answer's logit minus a second token's",
        of.layer,
        adds(of.layer).unwrap_or(f64::NAN)
    ));
    report.bar_chart(
        &format!("net weight behind M{}", of.layer),
        "1 + c of each head: 0 erased, 1 kept, above 1 amplified",
        "1 + c",
        (0..spec.n_heads).filter_map(|head| {
            let c = of.coefficient(head)?;
            Some((HeadId::new(of.heads, head).to_string(), 1.0 + c))
        }),
    );
    report.tables.push(table(
        &format!("weights of M{}", of.layer),
        &["head", "c", "1 + c", "reading"],
        (0..spec.n_heads)
            .map(|head| {
                let c = of.coefficient(head);
                vec![
                    Cell::from(HeadId::new(of.heads, head).to_string()),
                    Cell::Number(c),
                    Cell::Number(c.map(|c| 1.0 + c)),
                    Cell::from(c.map_or("writes nothing", reading)),
                ]
            })
            .collect(),
    ));
    if let Some(mover) = mover {
        trace(model, prompts, split, of, mover, report)?;
    }
    Ok(())
}

/// What a coefficient does to a head's output in the stream.
pub(super) fn reading(c: f64) -> &'static str {
    match 1.0 + c {
        net if net.abs() < 0.25 => "erased",
        net if net < 0.0 => "reversed",
        net if net < 0.95 => "damped",
        net if net <= 1.05 => "kept",
        _ => "amplified",
    }
}

fn of_layer(
    model: &Model,
    prompts: &[Prompt<'_>],
    split: &Split,
    layer: usize,
    ridge: f64,
) -> Result<Option<OfLayer>, AnalysisError> {
    let is_parallel = model.spec.order != BlockOrder::Sequential;
    let Some(heads) = layer.checked_sub(usize::from(is_parallel)) else {
        return Ok(None);
    };
    let runs: Vec<&Streams> = prompts.iter().map(|prompt| &prompt.streams).collect();
    let outputs = results(model, heads, &runs)?;
    let rest = |run: &Streams| -> Vec<f32> {
        let pre = run.pre[layer].iter();
        if is_parallel {
            let attention = pre.zip(&run.attention[heads]);
            attention.map(|(x, attention)| x - attention).collect()
        } else {
            pre.copied().collect()
        }
    };
    let (k, d) = (model.spec.n_heads + 1, model.spec.d_model);
    let moments = |chosen: &[usize]| {
        let mut moments = Moments::new(k, d);
        for i in chosen {
            let inputs = [outputs[*i].as_slice(), &rest(runs[*i])].concat();
            moments.add(&inputs, &runs[*i].mlp[layer]);
        }
        moments
    };
    let (seen, unseen) = (moments(&split.fit), moments(&split.held_out));
    Ok(seen.fit(ridge).map(|fit| OfLayer {
        layer,
        heads,
        explained: seen.explained(&fit, Some(&seen)),
        with_mean: seen.explained(&fit, None),
        held_out: unseen.explained(&fit, Some(&seen)),
        varied: seen.varied(),
        fit,
    }))
}

/// Where subject and answer stand in what the mover writes, with the intercept added, and in the stream.
fn trace(
    model: &Model,
    prompts: &[Prompt<'_>],
    split: &Split,
    of: &OfLayer,
    mover: HeadId,
    report: &mut Report,
) -> Result<(), AnalysisError> {
    let d = model.spec.d_model;
    let n_layers = model.spec.n_layers;
    let (chosen, which) = if split.held_out.is_empty() {
        (&split.fit, "the prompts of the fit")
    } else {
        (&split.held_out, "the prompts held out")
    };
    let prompts_of: Vec<&Prompt<'_>> = chosen.iter().map(|i| &prompts[*i]).collect();
    let runs: Vec<&Streams> = prompts_of.iter().map(|prompt| &prompt.streams).collect();
    let b: Vec<f32> = of.fit.intercept.iter().map(|x| *x as f32).collect();
    let written: Vec<Vec<f32>> = results(model, mover.layer, &runs)?
        .iter()
        .map(|heads| heads[mover.head * d..][..d].to_vec())
        .collect();
    let with_b: Vec<Vec<f32>> = written.iter().map(|row| sum_of(row, &b)).collect();
    let after = |layer: usize| runs.iter().map(|run| run.after(layer)).collect::<Vec<_>>();
    let before_last: Vec<Vec<f32>> = runs
        .iter()
        .map(|run| run.pre[n_layers - 1].clone())
        .collect();
    let stages = [
        (format!("{mover}"), lens_of_parts(model, &written)?),
        (
            format!("{mover} + b of M{}", of.layer),
            lens_of_parts(model, &with_b)?,
        ),
        (
            format!("stream after M{}", of.layer),
            lens(model, &after(of.layer))?,
        ),
        (
            "stream before the last layer".into(),
            lens(model, &before_last)?,
        ),
        ("final stream".into(), lens(model, &after(n_layers - 1))?),
    ];
    let rows = stages.iter().map(|(name, logits)| {
        let ranks = |id: &dyn Fn(&Prompt<'_>) -> Option<u32>| {
            let of = prompts_of.iter().zip(logits);
            let ranks = of.filter_map(|(prompt, logits)| rank(logits, id(prompt)?));
            mean(ranks)
        };
        let first = logits.first().map(|row| Readout::new(row).top(TOP));
        let words = first.unwrap_or_default().into_iter();
        let words = words.map(|score| format!("{:?}", model.token_text(score.id)));
        vec![
            Cell::from(name.clone()),
            Cell::Number(ranks(&|prompt| prompt.subject_id())),
            Cell::Number(ranks(&|prompt| Some(prompt.answer))),
            Cell::from(words.collect::<Vec<_>>().join(" ")),
        ]
    });
    report.tables.push(table(
        "trace",
        &[
            "stage",
            "mean rank of the subject",
            "mean rank of the answer",
            "likeliest, first prompt",
        ],
        rows.collect(),
    ));
    report.note(format!("the trace is of {which}; ranks count from 0"));
    if let Some(cosine) = translation(model, &prompts_of, &b)? {
        report.note(format!(
            "cosine of M{}'s intercept and the mean of W_U of the answer − W_U of the subject: {cosine:.3}",
            of.layer
        ));
    }
    Ok(())
}

/// cos(b, mean (W_U of the answer − W_U of the subject)).
fn translation(
    model: &Model,
    prompts: &[&Prompt<'_>],
    b: &[f32],
) -> Result<Option<f64>, AnalysisError> {
    let d = model.spec.d_model;
    let mut sum = vec![0.0f32; d];
    for prompt in prompts {
        let Some(subject) = prompt.subject_id() else {
            continue;
        };
        let unembed = model.unembedding(&[prompt.answer, subject])?;
        let pairs = unembed.iter().zip(unembed.iter().skip(d));
        for (sum, (answer, subject)) in sum.iter_mut().zip(pairs) {
            *sum += answer - subject;
        }
    }
    let norms = (dot(b, b) * dot(&sum, &sum)).sqrt();
    Ok((norms > 0.0).then(|| dot(b, &sum) / norms))
}
