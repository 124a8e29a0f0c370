//! Ablation sweeps: every head, layer or position changed in turn, and what that does to the prediction.

use super::cases::Case;
use super::field::{Field, Value, op_text};
use super::metric::Metric;
use super::report::{Cell, Grid, HeadScores, Report, Scale, Table};
use super::{AnalysisError, Progress};
use crate::edit::{Edit, Op, Positions, Target};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Effect, MOST_ROWS, Means};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::spec::ModelSpec;

/// What is ablated one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Over {
    #[default]
    Heads,
    /// Attention's output and the MLP's of each layer.
    Layers,
    /// The stream before each layer, position by position (`uniform`: attention).
    Positions,
}

impl Over {
    pub const ALL: [Self; 3] = [Self::Heads, Self::Layers, Self::Positions];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Layers => "layers",
            Self::Positions => "positions",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub op: Op,
    pub over: Over,
    /// Where heads and layers are changed.
    pub at: Positions,
    pub metric: Metric,
    pub effect: Effect,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            op: Op::Zero,
            over: Over::Heads,
            at: Positions::All,
            metric: Metric::LogitDiff,
            effect: Effect::Total,
        }
    }
}

crate::choose!(Over);

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "ablate",
                "What is done to each part: zero, mean, resample, uniform, scale(x), …",
                Value::Op(&mut self.op),
            ),
            Field::new(
                "over",
                "What is changed one at a time",
                Value::Choice(&mut self.over),
            ),
            Field::new(
                "at",
                "Where heads and layers are changed: all, last, or token indices",
                Value::Positions(&mut self.at),
            ),
            Field::new(
                "metric",
                "What is read of the prediction",
                Value::Choice(&mut self.metric),
            ),
            Field::new(
                "effect",
                "Which paths of the effect are read",
                Value::Choice(&mut self.effect),
            ),
        ]
    }

    /// The edit lists of a sweep over `n_tokens`, in the order of the results.
    fn variants(&self, spec: &ModelSpec, n_tokens: usize) -> Vec<Vec<Edit>> {
        let edit = |target, at: &Positions| {
            vec![Edit {
                target,
                op: self.op.clone(),
                at: at.clone(),
            }]
        };
        let layers = 0..spec.n_layers;
        match self.over {
            Over::Heads => layers
                .flat_map(|layer| (0..spec.n_heads).map(move |head| HeadId::new(layer, head)))
                .map(|head| edit(Target::Head(head), &self.at))
                .collect(),
            Over::Layers => layers
                .flat_map(|layer| [Target::Attention(layer), Target::Mlp(layer)])
                .map(|target| edit(target, &self.at))
                .collect(),
            Over::Positions => layers
                .flat_map(|layer| (0..n_tokens).map(move |position| (layer, position)))
                .map(|(layer, position)| {
                    let target = match self.op {
                        Op::Uniform => Target::Attention(layer),
                        _ => Target::Resid(layer),
                    };
                    edit(target, &Positions::At(vec![position]))
                })
                .collect(),
        }
    }

    /// About how many whole passes over a prompt a sweep costs: a run begins at the layer that it changes.
    pub fn passes(&self, spec: &ModelSpec, n_tokens: usize) -> f32 {
        if self.effect == Effect::Direct {
            return 1.0;
        }
        let layers = spec.n_layers as f32;
        let each = |layer: usize| (spec.n_layers - layer) as f32 / layers;
        let variants = self.variants(spec, n_tokens);
        1.0 + variants
            .iter()
            .map(|edits| each(edits[0].target.layer()))
            .sum::<f32>()
    }

    fn check(&self, spec: &ModelSpec) -> Result<(), AnalysisError> {
        let first = match self.over {
            Over::Heads => Target::Head(HeadId::new(0, 0)),
            Over::Layers => Target::Mlp(spec.n_layers - 1),
            Over::Positions if self.op == Op::Uniform => Target::Attention(0),
            Over::Positions => Target::Resid(0),
        };
        if !first.allows(&self.op) {
            let op = Edit::new(first, self.op.clone()).to_string();
            return Err(AnalysisError::needs(format!(
                "a sweep over {} cannot do `{}`: it changes {first} and others of its kind",
                self.over.name(),
                op.split_once('=').map_or(op.as_str(), |(_, op)| op)
            )));
        }
        Ok(())
    }
}

/// The sweep on each prompt, as changes of the metric from the unedited run.
pub fn sweep(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    settings.check(&model.spec)?;
    for case in cases {
        settings.metric.check(case)?;
    }
    let Some(first) = cases.first() else {
        return Err(AnalysisError::needs("a sweep needs a prompt"));
    };
    let same_length = cases
        .iter()
        .all(|case| case.spec.ids.len() == first.spec.ids.len());
    if settings.over == Over::Positions && !same_length {
        return Err(AnalysisError::needs(
            "a sweep over positions of several prompts needs prompts of the same number of tokens: choose one prompt, or \
             sweep over heads",
        ));
    }
    let mut report = Report::new("sweep")
        .with("ablate", op_text(&settings.op))
        .with("over", settings.over.name())
        .with("at", at_text(&settings.at))
        .with("metric", settings.metric.name())
        .with("effect", settings.effect.name())
        .with("prompts", cases.len());
    let means = means(engine, cases, &settings.op, progress)?;
    if settings.op == Op::Mean {
        report.note(match &means {
            None => "mean: over the prompt's own positions, beginning-of-text left out",
            Some(means) if means.is_per_position() => {
                "mean: per position, over the prompts of the set"
            }
            Some(_) => "mean: over all positions of all prompts of the set, whose lengths differ",
        });
    }
    let mut changes: Vec<Vec<Option<f32>>> = Vec::new();
    let (mut prompts, mut plains) = (Vec::new(), Vec::new());
    for (i, case) in cases.iter().enumerate() {
        let variants = settings.variants(&model.spec, case.spec.ids.len());
        let reads = settings.metric.reads(case);
        let reading = reads.reading(settings.effect, means.as_ref());
        let plain = engine.sweep(&reads.spec, &[vec![]], reading, &mut |_| true)?;
        let before = settings.metric.of(case, &plain[0], &plain[0]);
        let mut of_case: Vec<Option<f32>> = Vec::with_capacity(variants.len());
        // As many at a time as go through as one batch: what is known of a long prompt is shown meanwhile.
        for part in variants.chunks((MOST_ROWS / case.spec.ids.len()).max(1)) {
            let known = of_case.len() as f32;
            let go_on = &mut |done: f32| {
                let of_case = part.len() as f32 * done + known;
                let done = i as f32 + of_case / variants.len() as f32;
                progress.at(done / cases.len() as f32, None)
            };
            let swept = engine.sweep(&reads.spec, part, reading, go_on)?;
            of_case.extend(
                swept
                    .iter()
                    .map(|logits| Some(settings.metric.of(case, logits, &plain[0])? - before?)),
            );
            if changes.is_empty() && of_case.len() < variants.len() {
                let mut partial = of_case.clone();
                partial.resize(variants.len(), None);
                let so_far = so_far(&report, settings, &model, &[partial], cases);
                let done = of_case.len() as f32 / variants.len() as f32;
                if !progress.at(done / cases.len() as f32, Some(&so_far)) {
                    return Err(RunError::Stopped.into());
                }
            }
        }
        let most = of_case
            .iter()
            .enumerate()
            .filter_map(|(at, change)| Some((at, (*change)?)))
            .max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()));
        prompts.push(vec![
            Cell::from(case.label.clone()),
            Cell::from(before),
            Cell::from(most.map_or(String::new(), |(at, _)| variants[at][0].target.to_string())),
            Cell::from(most.map(|(_, change)| change)),
        ]);
        changes.push(of_case);
        plains.extend(plain);
        let so_far = so_far(&report, settings, &model, &changes, cases);
        if !progress.at((i + 1) as f32 / cases.len() as f32, Some(&so_far)) {
            return Err(RunError::Stopped.into());
        }
    }
    let mut report = so_far(&report, settings, &model, &changes, cases);
    if settings.metric == Metric::ClassDiff {
        classes(cases, &plains, &mut report);
    }
    report.tables.push(Table {
        name: "prompts".into(),
        columns: [
            "prompt",
            settings.metric.name(),
            "largest change by",
            "change",
        ]
        .map(str::to_owned)
        .into(),
        rows: prompts,
    });
    Ok(report)
}

/// What the unedited model makes of the classes, from its predictions: a table of right against chosen, and how often it is right with and
/// without calibration on the prompts themselves.
fn classes(cases: &[Case], predictions: &[Vec<f32>], report: &mut Report) {
    let Some(known) = cases.first().and_then(|case| case.class.as_ref()) else {
        return;
    };
    let plain = &known.of;
    let n = plain.names.len();
    let mut counts = vec![0.0f32; n * n];
    let calibrated = plain.calibrated(predictions);
    let (mut right, mut right_calibrated) = (0, 0);
    for (case, logits) in cases.iter().zip(predictions) {
        let wanted = case.class.as_ref().map(|class| class.right);
        if let (Some(wanted), Some(chosen)) = (wanted, plain.best(logits)) {
            counts[wanted * n + chosen] += 1.0;
            right += usize::from(chosen == wanted);
        }
        right_calibrated += usize::from(calibrated.best(logits) == wanted);
    }
    report.grids.push(Grid {
        name: "classes".into(),
        about: "prompts by their class and the one with the largest score, unedited".into(),
        scale: Scale::Positive,
        row_axis: "right",
        rows: plain.names.clone(),
        column_axis: "chosen",
        columns: plain.names.clone(),
        values: counts.into_iter().map(Some).collect(),
        texts: vec![],
    });
    report.note(format!(
        "unedited, {right} of {} prompts get their class; {right_calibrated} with words calibrated by their mean \
         probability over these prompts",
        cases.len()
    ));
}

/// The means over the set, where there is one.
fn means(
    engine: &Engine,
    cases: &[Case],
    op: &Op,
    progress: &mut dyn Progress,
) -> Result<Option<Means>, AnalysisError> {
    if *op != Op::Mean || cases.len() < 2 {
        return Ok(None);
    }
    let prompts: Vec<_> = cases
        .iter()
        .map(|case| (std::sync::Arc::clone(&case.spec.ids), case.spec.bos_count))
        .collect();
    Ok(Some(Means::over(engine, &prompts, &mut || {
        progress.at(0.0, None)
    })?))
}

/// The report with the prompts that are done.
fn so_far(
    report: &Report,
    settings: &Settings,
    model: &Model,
    changes: &[Vec<Option<f32>>],
    cases: &[Case],
) -> Report {
    let mut report = report.clone();
    let spec = &model.spec;
    let (mean, sd) = (HeadScores::mean(changes), spread(changes));
    let about = format!(
        "change of {} when it is ablated ({})",
        settings.metric.name(),
        op_text(&settings.op)
    );
    let with_spread: &[(&str, &Vec<Option<f32>>)] = if changes.len() > 1 {
        &[("change", &mean), ("spread", &sd)]
    } else {
        &[("change", &mean)]
    };
    for (name, values) in with_spread.iter().copied() {
        let (about, scale) = match name {
            "spread" => (
                "standard deviation of the change over prompts",
                Scale::Positive,
            ),
            _ => (about.as_str(), Scale::Signed),
        };
        match settings.over {
            Over::Heads => report.scores.push(HeadScores {
                name: name.into(),
                about: about.into(),
                scale,
                of: super::Heads::Query,
                n_heads: spec.n_heads,
                values: values.clone(),
            }),
            Over::Layers | Over::Positions => {
                let (column_axis, columns) = match settings.over {
                    Over::Layers => ("part", vec!["attention".into(), "MLP".into()]),
                    _ => (
                        "position",
                        super::attribution::token_labels(model, &cases[0].spec.ids),
                    ),
                };
                report.grids.push(Grid {
                    name: name.into(),
                    about: about.into(),
                    scale,
                    row_axis: "layer",
                    rows: (0..spec.n_layers).map(|layer| layer.to_string()).collect(),
                    column_axis,
                    columns,
                    values: values.clone(),
                    texts: vec![],
                });
            }
        }
    }
    report
}

/// The standard deviation over prompts, over n − 1.
pub fn spread(maps: &[Vec<Option<f32>>]) -> Vec<Option<f32>> {
    let mean = HeadScores::mean(maps);
    let n = maps.len();
    mean.iter()
        .enumerate()
        .map(|(i, mean)| {
            let mean = f64::from((*mean)?);
            let squares = maps
                .iter()
                .filter_map(|map| Some((f64::from(map[i]?) - mean).powi(2)));
            (n > 1).then(|| (squares.sum::<f64>() / (n - 1) as f64).sqrt() as f32)
        })
        .collect()
}

fn at_text(at: &Positions) -> String {
    match at.to_string() {
        text if text.is_empty() => "all".into(),
        text => text[1..].to_owned(),
    }
}
