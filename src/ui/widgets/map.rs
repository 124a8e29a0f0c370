//! One head's map as the session wants it seen: attention, value-weighted, or change. And what can be read off it.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use crate::experiment::{HeadMap, LayerMaps};
use crate::ids::HeadId;
use crate::mask::Mask;
use crate::session::Shown;
use crate::ui::context::ViewContext;
use crate::worker::LiveLayer;

/// A head's map. Nothing is copied; of a long prompt, the first look at a head makes its map.
#[derive(Clone)]
pub struct Map<'a> {
    pub head: HeadId,
    pub shown: Shown,
    pub layer: &'a LiveLayer,
    /// The unedited run's maps, where they are of the same prompt.
    pub before: Option<&'a Arc<LayerMaps>>,
    now: HeadMap<'a>,
    then: Option<HeadMap<'a>>,
}

/// A cell of a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    pub query: usize,
    pub key: usize,
    pub value: f32,
}

/// Which map something was computed from. Holds no values alive, and an address is not taken for another's.
#[derive(Clone, Debug)]
pub struct MapKey {
    head: HeadId,
    shown: Shown,
    now: Weak<LayerMaps>,
    before: Option<Weak<LayerMaps>>,
}

impl PartialEq for MapKey {
    fn eq(&self, other: &Self) -> bool {
        let before = match (&self.before, &other.before) {
            (Some(a), Some(b)) => Weak::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        before
            && self.head == other.head
            && self.shown == other.shown
            && Weak::ptr_eq(&self.now, &other.now)
    }
}

impl<'a> Map<'a> {
    /// `None` until the layer's first result is there, and for heads that the model lacks.
    pub fn new(cx: &ViewContext<'a>, head: HeadId, shown: Shown) -> Option<Self> {
        let layer = cx.live.layer(head.layer)?;
        if head.head >= layer.maps.patterns.n_heads() {
            return None;
        }
        let before = cx
            .live
            .before
            .layers
            .get(head.layer)
            .and_then(Option::as_ref)
            .map(|before| &before.maps)
            .filter(|before| before.patterns.n_tokens() == layer.maps.patterns.n_tokens());
        Some(Self {
            head,
            shown,
            layer,
            before,
            now: layer.maps.patterns.head(head.head),
            then: before.map(|maps| maps.patterns.head(head.head)),
        })
    }

    pub fn key(&self) -> MapKey {
        MapKey {
            head: self.head,
            shown: self.shown,
            now: Arc::downgrade(&self.layer.maps),
            before: match self.shown {
                Shown::Change => self.before.map(Arc::downgrade),
                Shown::Attention | Shown::ValueWeighted => None,
            },
        }
    }

    pub fn n_tokens(&self) -> usize {
        self.layer.maps.patterns.n_tokens()
    }

    /// The layer's: which keys a query sees.
    pub fn mask(&self) -> Mask {
        self.layer.maps.mask
    }

    /// The cells that the mask leaves, from key `from_key` on.
    pub fn cells(&self, from_key: usize) -> impl Iterator<Item = (usize, usize)> {
        let (mask, n_tokens) = (self.mask(), self.n_tokens());
        (0..n_tokens).flat_map(move |query| {
            let keys = mask.keys(query, n_tokens);
            (keys.start.max(from_key)..keys.end).map(move |key| (query, key))
        })
    }

    /// A[query, key] of the run as it is now.
    pub fn attention(&self, query: usize, key: usize) -> f32 {
        self.now[query * self.n_tokens() + key]
    }

    /// A[query, key] of the unedited run.
    pub fn attention_before(&self, query: usize, key: usize) -> Option<f32> {
        Some(self.then.as_ref()?[query * self.n_tokens() + key])
    }

    /// ‖v_key‖ as this head reads it.
    pub fn value_norm(&self, key: usize) -> f32 {
        let start = self.head.head * self.n_tokens();
        self.layer
            .maps
            .value_norms
            .get(start + key)
            .copied()
            .unwrap_or(f32::NAN)
    }

    /// What a cell shows; `None` where the mask leaves no attention.
    pub fn value(&self, query: usize, key: usize) -> Option<f32> {
        if !self.mask().sees(query, key) {
            return None;
        }
        let now = self.attention(query, key);
        match self.shown {
            Shown::Attention => Some(now),
            Shown::ValueWeighted => Some(now * self.value_norm(key)),
            Shown::Change => Some(now - self.attention_before(query, key)?),
        }
    }

    /// All cells, `[query, key]`; what the mask hides is 0.
    pub fn values(&self) -> Cow<'_, [f32]> {
        if self.shown == Shown::Attention {
            return Cow::Borrowed(&self.now);
        }
        let n = self.n_tokens();
        let cells = (0..n * n).map(|i| self.value(i / n, i % n).unwrap_or(0.0));
        Cow::Owned(cells.collect())
    }

    /// The largest absolute value from key `from_key` on.
    pub fn largest(&self, from_key: usize) -> f32 {
        let mut largest = 0.0_f32;
        for (query, key) in self.cells(from_key) {
            largest = largest.max(self.value(query, key).unwrap_or(0.0).abs());
        }
        largest
    }

    /// The `count` strongest cells, strongest first.
    pub fn strongest(&self, count: usize, from_key: usize) -> Vec<Edge> {
        let mut edges: Vec<Edge> = Vec::with_capacity(count + 1);
        for (query, key) in self.cells(from_key) {
            let Some(value) = self.value(query, key) else {
                continue;
            };
            let full = edges.len() == count;
            if full
                && edges
                    .last()
                    .is_some_and(|last| last.value.abs() >= value.abs())
            {
                continue;
            }
            let place = edges.partition_point(|edge| edge.value.abs() >= value.abs());
            edges.insert(place, Edge { query, key, value });
            edges.truncate(count);
        }
        edges
    }
}

/// Means over queries, read off the attention of a head: numbers for one prompt, not scores of the head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// Attention to token 0, over the queries after it.
    pub to_first: f32,
    /// Attention to the token before, over the queries that have one.
    pub to_previous: f32,
    /// Attention to the query's own token.
    pub to_self: f32,
    /// Attention to the token after, over the queries that have one; `None` where the mask hides it.
    pub to_next: Option<f32>,
}

impl Facts {
    /// `None` for fewer than two tokens: there is nothing to average.
    pub fn of(map: &Map<'_>) -> Option<Self> {
        let n = map.n_tokens();
        if n < 2 {
            return None;
        }
        let mean = |cell: fn(usize) -> (usize, usize)| {
            let cells = (1..n).map(cell);
            cells
                .map(|(query, key)| map.attention(query, key))
                .sum::<f32>()
                / (n - 1) as f32
        };
        Some(Self {
            to_first: mean(|i| (i, 0)),
            to_previous: mean(|i| (i, i - 1)),
            to_self: mean(|i| (i, i)),
            to_next: (!map.mask().is_causal()).then(|| mean(|i| (i - 1, i))),
        })
    }
}
