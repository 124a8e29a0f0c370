//! Which heads of a layer mean something of their own, and what a cache that keeps less of the others would hold
//! (Task-KV: He, Liu, Chen 2025, arXiv 2501.15113).
//!
//! - The semantic vector of a head: its mean attention to each token, times the values. The efficient form reads the last
//!   `queries` rows and the `top` tokens only. Which tokens are `top` is decided after average pooling (zeros beyond the
//!   ends); the weights are those before it, and are not renormalised.
//! - Its distance: ‖its vector − the mean of the layer's vectors‖. The f(r) farthest heads of layer r are heterogeneous, f
//!   falling evenly from n·β to m; with them the one other head nearest to the centre is kept whole (`centre_head`).
//! - The cache: heads kept whole keep every token; the others their first tokens (sink), the last (recent), and the k in
//!   between with the most pooled attention, k such that the layer's budget is used up. k counts every head that is kept
//!   whole, the centre's too, so that the budget holds.
//!
//! Where query heads share keys, the paper is silent: a key/value head is kept whole if any of its query heads is chosen
//! ([`Grouping::Any`]), or the mean of its query heads' vectors stands for it ([`Grouping::Mean`]).

mod cache;
mod check;

use crate::analysis::field::{Field, Value};
use std::sync::Arc;

use nalgebra::DMatrix;

use crate::analysis::{
    AnalysisError, Case, Cell, HeadScores, Heads, Line, Plot, Progress, Report, Scale, Table, step,
};
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::site::{Part, Site};
use crate::model::spec::ModelSpec;

pub use cache::{Kept, Layer};

/// Values of patterns that are held at a time.
const MOST_VALUES: usize = 1 << 26;

/// How a head's semantic vector is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Vector {
    /// The mean over all rows, of all tokens.
    Full,
    /// The mean over the last rows, of the tokens with the most of it: what the paper runs.
    #[default]
    Efficient,
}

impl Vector {
    pub const ALL: [Self; 2] = [Self::Efficient, Self::Full];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Efficient => "efficient",
            Self::Full => "full",
        }
    }
}

/// What stands for query heads that share a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Grouping {
    /// Query heads are chosen; one is enough to keep their shared cache whole.
    #[default]
    Any,
    /// Key/value heads are chosen, by the mean of their query heads' vectors.
    Mean,
}

impl Grouping {
    pub const ALL: [Self; 2] = [Self::Any, Self::Mean];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Mean => "mean",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub vector: Vector,
    /// Last rows of the efficient form: Lw.
    pub queries: usize,
    /// Tokens of the efficient form: t.
    pub top: usize,
    /// Tokens that a pooled weight is the mean of; odd.
    pub pool: usize,
    /// Share of heterogeneous heads in the first layer: β.
    pub beta: f64,
    /// Heterogeneous heads in the last layer: m.
    pub least: usize,
    pub centre_head: bool,
    pub grouping: Grouping,
    pub sink: usize,
    pub recent: usize,
    /// Share of a layer's whole cache that may be kept.
    pub budget: f64,
    /// The prompt's last tokens, which are read with the cache of those before them; fewer than 2 compare nothing.
    pub tail: usize,
    /// Heads that a layer is left with, the farthest against the nearest to the centre (3 in the paper); 0 does not try.
    pub keep: usize,
    /// The layer whose heads are drawn as points; `None`: one in the middle.
    pub layer: Option<usize>,
}

crate::choose!(Vector, Grouping);

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "vector",
                "What a head's meaning is taken from",
                Value::Choice(&mut self.vector),
            ),
            Field::new(
                "grouping",
                "Any query head, or the mean of a group, makes a key/value head count",
                Value::Choice(&mut self.grouping),
            ),
            Field::new(
                "queries",
                "The newest tokens whose attention decides",
                Value::Count(&mut self.queries, 1..=4096),
            ),
            Field::new(
                "top",
                "Tokens that a head's meaning is made from",
                Value::Count(&mut self.top, 1..=100_000),
            ),
            Field::new(
                "beta",
                "Share of heads that keep everything",
                Value::Number(&mut self.beta, 0.0..=1.0),
            ),
            Field::new(
                "sink",
                "First tokens that are always kept",
                Value::Count(&mut self.sink, 0..=100_000),
            ),
            Field::new(
                "recent",
                "Newest tokens that are always kept",
                Value::Count(&mut self.recent, 0..=100_000),
            ),
            Field::new(
                "budget",
                "Share of the cache that may be kept",
                Value::Number(&mut self.budget, 0.0..=1.0),
            ),
            Field::new(
                "tail",
                "Newest tokens, which are read with the cache of the others; under 2 compares nothing",
                Value::Count(&mut self.tail, 0..=100_000),
            ),
            Field::new(
                "keep",
                "Heads that a layer is left with, the farthest against the nearest: 3 in the paper, 0 does not try",
                Value::Count(&mut self.keep, 0..=1000),
            ),
            Field::new(
                "layer",
                "The layer whose heads are drawn as points; auto: one in the middle",
                Value::MaybeCount(&mut self.layer, 0..=9999),
            ),
        ]
    }
}

impl Default for Settings {
    /// The paper's for Mistral-7B (β and m of Llama-2-7B, with its 32 key/value heads, are 0.25 and 4).
    fn default() -> Self {
        Self {
            vector: Vector::default(),
            queries: 32,
            top: 256,
            pool: 7,
            beta: 0.3,
            least: 1,
            centre_head: true,
            grouping: Grouping::default(),
            sink: 16,
            recent: 256,
            budget: 0.4,
            tail: 16,
            keep: 0,
            layer: None,
        }
    }
}

impl Settings {
    /// The same with the counts of tokens shrunk as a prompt is shorter than the paper's 4,096.
    #[must_use]
    pub fn scaled_to(self, n_tokens: usize) -> Self {
        let scaled = |count: usize, least: usize| (count * n_tokens / 4096).max(least).min(count);
        Self {
            queries: scaled(self.queries, 8),
            top: scaled(self.top, 16),
            sink: scaled(self.sink, 2),
            recent: scaled(self.recent, 8),
            ..self
        }
    }

    fn check(&self, spec: &ModelSpec, n_tokens: usize) -> Result<(), AnalysisError> {
        let lacks = |what: &str| Err(AnalysisError::needs(what));
        if !spec.is_causal() {
            return lacks(
                "taskkv is about the cache of a model that generates, and this one reads in both directions: choose a \
                 model that generates text",
            );
        }
        if n_tokens < 2 {
            return lacks("taskkv needs a prompt of two tokens or more before its tail");
        }
        if self.queries == 0 || self.top == 0 || self.pool.is_multiple_of(2) {
            return lacks("taskkv needs at least one query row and one token, and an odd pool");
        }
        if !(0.0..=1.0).contains(&self.beta) || !(0.0..=1.0).contains(&self.budget) {
            return lacks("beta and budget of taskkv are shares: give numbers from 0 to 1");
        }
        Ok(())
    }

    /// f(r): heterogeneous heads of a layer, of `n` in each of `n_layers`.
    pub fn heterogeneous(&self, n: usize, layer: usize, n_layers: usize) -> usize {
        let first = n as f64 * self.beta;
        let last = self.least as f64;
        let share = layer as f64 / (n_layers.max(2) - 1) as f64;
        ((first - (first - last) * share).round() as usize).min(n)
    }
}

/// What a head is in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Heterogeneous,
    /// Not heterogeneous, and the nearest to the centre.
    Centre,
    Other,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Heterogeneous => "heterogeneous",
            Self::Centre => "centre",
            Self::Other => "",
        }
    }
}

/// Classes of all heads on a prompt, and what a cache of the budget would keep of it.
pub fn taskkv(
    engine: &mut Engine,
    case: &Case,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    let spec = &model.spec;
    let n_all = case.spec.ids.len();
    let tail = if settings.tail < 2 || settings.tail + 2 > n_all {
        0
    } else {
        settings.tail
    };
    let n_tokens = n_all - tail;
    settings.check(spec, n_tokens)?;
    let mut report = Report::new("taskkv")
        .with("vector", format!("{:?}", settings.vector).to_lowercase())
        .with("queries", settings.queries)
        .with("top", settings.top)
        .with("pool", settings.pool)
        .with("beta", settings.beta)
        .with("least", settings.least)
        .with("centre_head", settings.centre_head)
        .with(
            "grouping",
            format!("{:?}", settings.grouping).to_lowercase(),
        )
        .with("sink", settings.sink)
        .with("recent", settings.recent)
        .with("budget", settings.budget)
        .with("tail", tail)
        .with("keep", settings.keep)
        .with("tokens", n_tokens);
    let prefix = prefix(&case.spec, n_tokens);
    let layers = layers(engine, &prefix, settings, &mut |done| {
        step(progress, done * 0.5)
    })?;
    describe(&mut report, spec, settings, &layers);
    let tokens = case.spec.ids[..n_tokens].iter();
    let tokens: Vec<String> = tokens.map(|id| model.token_text(*id)).collect();
    cache::describe(&mut report, spec, settings, &layers, &tokens);
    if !progress.at(0.5, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    if tail > 0 {
        check::tail(engine, case, n_tokens, &layers, &mut report, progress)?;
    } else {
        report.note("no tail of two tokens or more: the cache was not tried");
    }
    if settings.keep > 0 {
        check::few_heads(engine, case, settings, &layers, &mut report, progress)?;
    }
    Ok(report)
}

/// The first tokens of a prompt.
fn prefix(spec: &RunSpec, n_tokens: usize) -> RunSpec {
    RunSpec {
        ids: spec.ids[..n_tokens].into(),
        n_prompt: n_tokens,
        reach: n_tokens,
        contrast: None,
        edits: vec![],
        position: n_tokens - 1,
        last: n_tokens - 1,
        ..spec.clone()
    }
}

/// The layers of a model on a prompt, some of them a pass so that their patterns can be held.
pub fn layers(
    engine: &mut Engine,
    spec: &RunSpec,
    settings: &Settings,
    go_on: &mut dyn FnMut(f32) -> Result<(), AnalysisError>,
) -> Result<Vec<Layer>, AnalysisError> {
    let model = Arc::clone(engine.model());
    let n_tokens = spec.ids.len();
    settings.check(&model.spec, n_tokens)?;
    let n_layers = model.spec.n_layers;
    let at_once = (MOST_VALUES / (model.spec.n_heads * n_tokens * n_tokens)).clamp(1, n_layers);
    let mut layers = Vec::with_capacity(n_layers);
    for first in (0..n_layers).step_by(at_once) {
        go_on(first as f32 / n_layers as f32)?;
        let those = first..(first + at_once).min(n_layers);
        let sites: Vec<Site> = those
            .clone()
            .flat_map(|layer| {
                [
                    Site::Block(layer, Part::V),
                    Site::Block(layer, Part::Pattern),
                ]
            })
            .collect();
        let dumped = engine.dump(spec, &sites)?;
        for (layer, pair) in those.zip(dumped.chunks_exact(2)) {
            let attended = Attended {
                shape: &model.spec,
                n_tokens,
                v: &pair[0].values,
                pattern: &pair[1].values,
            };
            layers.push(Layer::new(&attended, layer, settings));
        }
    }
    Ok(layers)
}

/// A layer's attention as it was dumped.
struct Attended<'a> {
    shape: &'a ModelSpec,
    n_tokens: usize,
    /// `[token, kv_head, d_head]`
    v: &'a [f32],
    /// `[head, query, key]`
    pattern: &'a [f32],
}

impl Attended<'_> {
    /// The mean of a head's last rows, `[key]`.
    fn mean_row(&self, head: usize, n_rows: usize) -> Vec<f64> {
        let n = self.n_tokens;
        let rows = n_rows.min(n);
        let mut mean = vec![0.0; n];
        let pattern = &self.pattern[(head * n + n - rows) * n..][..rows * n];
        for row in pattern.chunks_exact(n) {
            for (sum, weight) in mean.iter_mut().zip(row) {
                *sum += f64::from(*weight) / rows as f64;
            }
        }
        mean
    }

    /// Weights `[token]` times the values of a head's group, `[d_head]`; of `tokens` only.
    fn values(&self, head: usize, weights: &[f64], tokens: &[usize]) -> Vec<f64> {
        let (d_head, n_kv) = (self.shape.d_head, self.shape.n_kv_heads);
        let kv_head = self.shape.kv_head_of(head);
        let mut sum = vec![0.0; d_head];
        for token in tokens {
            let v = &self.v[(token * n_kv + kv_head) * d_head..][..d_head];
            for (sum, v) in sum.iter_mut().zip(v) {
                *sum += weights[*token] * f64::from(*v);
            }
        }
        sum
    }

    fn semantic_vector(&self, head: usize, settings: &Settings) -> Vec<f64> {
        let n = self.n_tokens;
        let all: Vec<usize> = (0..n).collect();
        match settings.vector {
            Vector::Full => self.values(head, &self.mean_row(head, n), &all),
            Vector::Efficient => {
                let weights = self.mean_row(head, settings.queries);
                let chosen = if n < settings.top + settings.queries {
                    all
                } else {
                    highest(&pooled(&weights, settings.pool), 0..n, settings.top)
                };
                self.values(head, &weights, &chosen)
            }
        }
    }
}

/// The mean of the `width` values around each, zeros beyond the ends.
fn pooled(values: &[f64], width: usize) -> Vec<f64> {
    let half = width / 2;
    (0..values.len())
        .map(|i| {
            let around = i.saturating_sub(half)..(i + half + 1).min(values.len());
            values[around].iter().sum::<f64>() / width as f64
        })
        .collect()
}

/// The `k` places of a range with the highest values, rising; the first of equals.
fn highest(values: &[f64], range: std::ops::Range<usize>, k: usize) -> Vec<usize> {
    let mut places: Vec<usize> = range.collect();
    places.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    places.truncate(k);
    places.sort_unstable();
    places
}

/// Coordinates of centred vectors along their first two principal components, `[vector]`.
fn components(centred: &[Vec<f64>]) -> Vec<[f64; 2]> {
    let n = centred.len();
    let gram: DMatrix<f64> = DMatrix::from_fn(n, n, |i, j| {
        centred[i].iter().zip(&centred[j]).map(|(a, b)| a * b).sum()
    });
    let eigen = gram.symmetric_eigen();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let axis = |k: usize| -> Vec<f64> {
        let Some(i) = order.get(k) else {
            return vec![0.0; n];
        };
        let length = eigen.eigenvalues[*i].max(0.0).sqrt();
        let column: Vec<f64> = eigen.eigenvectors.column(*i).iter().copied().collect();
        let largest = column
            .iter()
            .copied()
            .max_by(|a, b| a.abs().total_cmp(&b.abs()));
        // The sign of a component is free: its largest coordinate is positive.
        let sign = largest.map_or(1.0, f64::signum);
        column.iter().map(|x| x * length * sign).collect()
    };
    axis(0)
        .into_iter()
        .zip(axis(1))
        .map(|(x, y)| [x, y])
        .collect()
}

/// A layer's semantic vectors in two dimensions, by what is kept of each head.
fn scatter(index: usize, layer: &Layer, axes: &[[f64; 2]], heads: &HeadScores) -> Plot {
    let mut lines: Vec<Line> = Vec::new();
    for (i, (point, role)) in axes.iter().zip(&layer.roles).enumerate() {
        let name = match role {
            Role::Other => "others",
            role => role.name(),
        };
        let known = lines.iter().position(|line| line.name == name);
        let at = known.unwrap_or(lines.len());
        if known.is_none() {
            lines.push(Line {
                name: name.to_owned(),
                ..Line::default()
            });
        }
        lines[at].points.push(*point);
        lines[at].labels.push(heads.label(HeadId::new(index, i)));
    }
    Plot {
        name: format!("semantic vectors of layer {index}"),
        x_axis: "component 1",
        y_axis: "component 2",
        is_scatter: true,
        lines,
    }
}

fn describe(report: &mut Report, spec: &ModelSpec, settings: &Settings, layers: &[Layer]) {
    let (of, n) = match settings.grouping {
        Grouping::Any => (Heads::Query, spec.n_heads),
        Grouping::Mean => (Heads::KeyValue, spec.n_kv_heads),
    };
    let shape = (spec.n_layers, n);
    let map = |name: &str, about: &str, scale, value: &dyn Fn(&Layer, usize) -> f32| HeadScores {
        of,
        ..HeadScores::of_heads(name, about, scale, shape, |head| {
            Some(value(&layers[head.layer], head.head))
        })
    };
    let distance = map(
        "distance",
        "how far the head's semantic vector is from the mean of its layer's",
        Scale::Positive,
        &|layer, i| layer.distances[i] as f32,
    );
    let about = "1: kept whole, as heterogeneous or as the nearest to the centre";
    let whole = map("kept_whole", about, Scale::Share, &|layer, i| {
        f32::from(u8::from(layer.roles[i] != Role::Other))
    });
    let mut rows = vec![];
    for (index, layer) in layers.iter().enumerate() {
        let axes = components(&layer.centred);
        if index == settings.layer.unwrap_or(layers.len() / 2) {
            report.plots.push(scatter(index, layer, &axes, &distance));
        }
        for (i, [x, y]) in axes.into_iter().enumerate() {
            rows.push(vec![
                Cell::from(distance.label(HeadId::new(index, i))),
                Cell::from(layer.distances[i]),
                Cell::from(layer.roles[i].name()),
                Cell::from(x),
                Cell::from(y),
            ]);
        }
    }
    report.scores.extend([distance, whole]);
    let columns = [
        "head",
        "distance",
        "kept whole as",
        "component 1",
        "component 2",
    ];
    report.tables.push(Table {
        name: "heads".into(),
        columns: columns.map(str::to_owned).into(),
        rows,
    });
    if spec.n_heads != spec.n_kv_heads {
        report.note(match settings.grouping {
            Grouping::Any => {
                "query heads share caches: one is kept whole if any of its query heads is chosen"
            }
            Grouping::Mean => {
                "query heads share caches: the mean of their semantic vectors is what is compared"
            }
        });
    }
    if n < 2 {
        report.note("a layer of one head has no others to differ from: all distances are 0");
    }
    if spec.masks.iter().any(|mask| mask.has_window()) {
        report.note("layers with a window: what the last rows see of it is what counts");
    }
}

#[cfg(test)]
mod tests;
