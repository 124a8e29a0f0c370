//! A layer's heads by distance, and the tokens that a cache of the budget keeps of each.

use super::{Attended, Grouping, Role, Settings, highest, pooled};
use crate::analysis::{Cell, Grid, Report, Scale, Table};
use crate::ids::KvHeadId;
use crate::model::spec::ModelSpec;

/// Why a token is in a head's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The head is kept whole.
    Whole,
    Sink,
    Middle,
    Recent,
    Evicted,
}

impl Kept {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Sink => "sink",
            Self::Middle => "middle",
            Self::Recent => "recent",
            Self::Evicted => "evicted",
        }
    }
}

/// What is known of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Semantic vectors less their mean, `[head or kv_head][d_head]`.
    pub centred: Vec<Vec<f64>>,
    pub distances: Vec<f64>,
    pub roles: Vec<Role>,
    /// f(r)
    pub heterogeneous: usize,
    /// Key/value heads that are kept whole.
    pub whole: Vec<bool>,
    /// k: tokens between sink and recent that the others keep; `None` where all are kept whole.
    pub middle: Option<usize>,
    /// `[kv_head][token]`
    pub kept: Vec<Vec<Kept>>,
    /// The share of the cache's budget was too small for sink and recent tokens alone.
    pub over: bool,
}

impl Layer {
    pub(super) fn new(attended: &Attended<'_>, layer: usize, settings: &Settings) -> Self {
        let shape = attended.shape;
        let groups: Vec<Vec<usize>> = (0..shape.n_kv_heads)
            .map(|kv| {
                (0..shape.n_heads)
                    .filter(|head| shape.kv_head_of(*head) == kv)
                    .collect()
            })
            .collect();
        let of_heads: Vec<Vec<f64>> = (0..shape.n_heads)
            .map(|head| attended.semantic_vector(head, settings))
            .collect();
        let vectors = match settings.grouping {
            Grouping::Any => of_heads,
            Grouping::Mean => groups
                .iter()
                .map(|group| mean(group.iter().map(|head| &of_heads[*head][..])))
                .collect(),
        };
        let centre = mean(vectors.iter().map(Vec::as_slice));
        let centred: Vec<Vec<f64>> = vectors
            .iter()
            .map(|vector| vector.iter().zip(&centre).map(|(v, e)| v - e).collect())
            .collect();
        let distances: Vec<f64> = centred
            .iter()
            .map(|delta| delta.iter().map(|x| x * x).sum::<f64>().sqrt())
            .collect();
        let n = distances.len();
        let heterogeneous = settings.heterogeneous(n, layer, shape.n_layers);
        let roles = roles(&distances, heterogeneous, settings.centre_head);
        let whole: Vec<bool> = groups
            .iter()
            .enumerate()
            .map(|(kv, group)| match settings.grouping {
                Grouping::Any => group.iter().any(|head| roles[*head] != Role::Other),
                Grouping::Mean => roles[kv] != Role::Other,
            })
            .collect();
        let n_whole = whole.iter().filter(|whole| **whole).count();
        let n_tokens = attended.n_tokens;
        let middle = middle(settings, n_tokens, shape.n_kv_heads, n_whole);
        let kept = groups
            .iter()
            .zip(&whole)
            .map(|(group, whole)| {
                let rows: Vec<Vec<f64>> = group
                    .iter()
                    .map(|head| attended.mean_row(*head, settings.queries))
                    .collect();
                let weights = pooled(&mean(rows.iter().map(Vec::as_slice)), settings.pool);
                let k = if *whole { None } else { middle.map(|(k, _)| k) };
                kept(settings, &weights, k)
            })
            .collect();
        Self {
            centred,
            distances,
            roles,
            heterogeneous,
            whole,
            middle: middle.map(|(k, _)| k),
            kept,
            over: middle.is_some_and(|(_, over)| over),
        }
    }

    /// Tokens in the cache, over all key/value heads.
    pub fn n_kept(&self) -> usize {
        let all = self.kept.iter().flatten();
        all.filter(|kept| **kept != Kept::Evicted).count()
    }
}

fn mean<'a>(vectors: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
    let mut sum: Vec<f64> = vec![];
    let mut count = 0;
    for vector in vectors {
        sum.resize(vector.len(), 0.0);
        for (sum, x) in sum.iter_mut().zip(vector) {
            *sum += x;
        }
        count += 1;
    }
    sum.iter().map(|x| x / f64::from(count.max(1))).collect()
}

/// The farthest are heterogeneous; of the rest the nearest is the centre's. The first of equals.
fn roles(distances: &[f64], heterogeneous: usize, centre_head: bool) -> Vec<Role> {
    let mut falling: Vec<usize> = (0..distances.len()).collect();
    falling.sort_by(|a, b| distances[*b].total_cmp(&distances[*a]).then(a.cmp(b)));
    let mut roles = vec![Role::Other; distances.len()];
    let (far, rest) = falling.split_at(heterogeneous.min(falling.len()));
    for i in far {
        roles[*i] = Role::Heterogeneous;
    }
    let nearest = rest
        .iter()
        .min_by(|a, b| distances[**a].total_cmp(&distances[**b]).then(a.cmp(b)));
    if let Some(i) = nearest.filter(|_| centre_head) {
        roles[*i] = Role::Centre;
    }
    roles
}

/// k of a layer, and whether the budget is too small for what is always kept; `None` where all heads are kept whole.
fn middle(
    settings: &Settings,
    n_tokens: usize,
    n_heads: usize,
    n_whole: usize,
) -> Option<(usize, bool)> {
    let others = n_heads - n_whole;
    if others == 0 {
        return None;
    }
    let budget = settings.budget * (n_tokens * n_heads) as f64;
    let each = (budget - (n_tokens * n_whole) as f64) / others as f64;
    let always = (settings.sink + settings.recent).min(n_tokens);
    let k = each - always as f64;
    // Rounding of the budget's share must not cost a token.
    let whole = (k + 1e-9).floor().max(0.0) as usize;
    Some((whole.min(n_tokens - always), k < -1e-9))
}

/// What a head keeps; everything where `middle` is `None`.
fn kept(settings: &Settings, weights: &[f64], middle: Option<usize>) -> Vec<Kept> {
    let n = weights.len();
    let Some(k) = middle else {
        return vec![Kept::Whole; n];
    };
    let sink = settings.sink.min(n);
    let recent = settings.recent.min(n - sink);
    let mut kept = vec![Kept::Evicted; n];
    kept[..sink].fill(Kept::Sink);
    kept[n - recent..].fill(Kept::Recent);
    for token in highest(weights, sink..n - recent, k) {
        kept[token] = Kept::Middle;
    }
    kept
}

pub(super) fn describe(
    report: &mut Report,
    spec: &ModelSpec,
    settings: &Settings,
    layers: &[Layer],
    tokens: &[String],
) {
    let full = tokens.len() * spec.n_kv_heads;
    let rows = layers.iter().enumerate().map(|(index, layer)| {
        let n_whole = layer.whole.iter().filter(|whole| **whole).count();
        vec![
            Cell::from(index),
            Cell::from(layer.heterogeneous),
            Cell::from(n_whole),
            Cell::Number(layer.middle.map(|k| k as f64)),
            Cell::from(layer.n_kept()),
            Cell::from(layer.n_kept() as f64 / full as f64),
        ]
    });
    report.tables.push(Table {
        name: "cache".into(),
        columns: [
            "layer",
            "heterogeneous",
            "kept whole",
            "middle",
            "tokens kept",
            "share",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    });
    let strips = || layers.iter().flat_map(|layer| &layer.kept);
    report.grids.push(Grid {
        name: "cache".into(),
        about: "1: the key/value head keeps the token".into(),
        scale: Scale::Share,
        row_axis: "key/value head",
        rows: (0..layers.len())
            .flat_map(|layer| (0..spec.n_kv_heads).map(move |kv_head| KvHeadId { layer, kv_head }))
            .map(|head| head.to_string())
            .collect(),
        column_axis: "token",
        columns: tokens.to_vec(),
        values: strips()
            .flatten()
            .map(|kept| Some(f32::from(u8::from(*kept != Kept::Evicted))))
            .collect(),
        texts: strips()
            .flatten()
            .map(|kept| kept.name().to_owned())
            .collect(),
    });
    let kept: usize = layers.iter().map(Layer::n_kept).sum();
    let over = layers.iter().filter(|layer| layer.over).count();
    if kept == full * layers.len() {
        report.note(format!(
            "nothing is evicted: {} first and {} last tokens, and what the budget has room for, are the whole prompt of \
             {} tokens (a longer prompt, or smaller counts, would show more)",
            settings.sink,
            settings.recent,
            tokens.len()
        ));
    } else if over > 0 {
        report.note(format!(
            "in {over} layers the heads that are kept whole, with the first and last tokens of the others, take more than \
             the budget: no token between them is kept"
        ));
    }
}
