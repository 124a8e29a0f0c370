//! A compiled intervention: which rows of which activations change, and which activations are kept. Plain numbers, no
//! names, files or prompts; two plans compare, which is how a run knows where to restart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::site::{Part, Site};

/// What a pass changes. An empty plan is a plain run, bit for bit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Changes to rows, in the order of the user's list at each site.
    pub rows: BTreeMap<Site, Vec<RowEdit>>,
    /// Scores that become −∞, by layer.
    pub knockouts: BTreeMap<usize, BTreeSet<Edge>>,
    /// Scores that are multiplied before the softmax, by layer.
    pub scaled: BTreeMap<usize, ScaledEdges>,
    /// Pattern rows that are not made by the softmax, by layer. They override knock-outs.
    pub patterns: BTreeMap<usize, Arc<PatternRows>>,
}

/// A change to some rows (positions) of an activation seen as `[pos, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RowEdit {
    /// Columns: one head's part, or all.
    pub columns: Range<usize>,
    pub positions: Vec<usize>,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Every row becomes this one.
    Fill(Vec<f32>),
    /// Each position's row becomes its own, one after the other.
    Rows(Vec<f32>),
    Scale(f32),
    Add(Vec<f32>),
    /// gain ⊙ value + shift
    Affine {
        gain: Vec<f32>,
        shift: Vec<f32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub head: usize,
    pub query: usize,
    pub key: usize,
}

/// Factors of scores, as they are after scale and cap.
pub type ScaledEdges = BTreeMap<Edge, f32>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatternRow {
    pub head: usize,
    pub query: usize,
}

/// New pattern rows of a layer.
pub type PatternRows = BTreeMap<PatternRow, NewRow>;

/// What a pattern row becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum NewRow {
    /// Equal weight on every key that the mask allows.
    Uniform,
    /// The weight of each key from 0 on, as many as the row's query sees.
    Given(Arc<[f32]>),
}

/// Where a run may start, given a kept run that is the same up to there. Ordered as the pass goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub layer: usize,
    /// False: at the top of the layer, from its resid_pre. True: from its z; q, k, v and the pattern are as kept.
    pub after_pattern: bool,
}

impl Entry {
    /// At the top of a layer.
    pub const fn top(layer: usize) -> Self {
        Self {
            layer,
            after_pattern: false,
        }
    }

    fn before(site: Site) -> Self {
        match site {
            Site::Block(layer, part) => Self {
                layer,
                after_pattern: part >= Part::Z,
            },
            _ => Self::top(0),
        }
    }
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.first_difference(&Self::default()).is_none()
    }

    /// Whether nothing is changed at any other position.
    pub fn touches_only(&self, position: usize) -> bool {
        let rows = self
            .rows
            .values()
            .flatten()
            .flat_map(|edit| &edit.positions);
        let edges = self.knockouts.values().flatten();
        let scaled = self.scaled.values().flat_map(BTreeMap::keys);
        let edges = edges.chain(scaled).map(|edge| &edge.query);
        let patterns = self.patterns.values().flat_map(|rows| rows.keys());
        let patterns = patterns.map(|row| &row.query);
        rows.chain(edges).chain(patterns).all(|at| *at == position)
    }

    /// The earliest place where two plans differ; `None` if they are the same.
    pub fn first_difference(&self, other: &Self) -> Option<Entry> {
        let rows = difference(&self.rows, &other.rows).map(Entry::before);
        let knockouts = difference(&self.knockouts, &other.knockouts).map(Entry::top);
        let scaled = difference(&self.scaled, &other.scaled).map(Entry::top);
        let patterns = difference(&self.patterns, &other.patterns).map(Entry::top);
        let all = [rows, knockouts, scaled, patterns];
        all.into_iter().flatten().min()
    }
}

/// The smallest key whose values differ, or that only one map has.
fn difference<K: Ord + Copy, V: PartialEq>(a: &BTreeMap<K, V>, b: &BTreeMap<K, V>) -> Option<K> {
    a.keys()
        .chain(b.keys())
        .filter(|key| a.get(key) != b.get(key))
        .min()
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(site: Site, factor: f32) -> Plan {
        let edit = RowEdit {
            columns: 0..4,
            positions: vec![0],
            change: Change::Scale(factor),
        };
        Plan {
            rows: [(site, vec![edit])].into(),
            ..Plan::default()
        }
    }

    #[test]
    fn a_run_restarts_where_plans_first_differ() {
        let z3 = Site::Block(3, Part::Z);
        let after_pattern_3 = Entry {
            layer: 3,
            after_pattern: true,
        };
        assert!(Entry::top(3) < after_pattern_3 && after_pattern_3 < Entry::top(4));
        let a = scale(z3, 2.0);
        assert_eq!(a.first_difference(&a), None);
        assert_eq!(a.first_difference(&Plan::default()), Some(after_pattern_3));
        assert_eq!(a.first_difference(&scale(z3, 3.0)), Some(after_pattern_3));
        let v1 = scale(Site::Block(1, Part::V), 2.0);
        assert_eq!(v1.first_difference(&a), Some(Entry::top(1)));
        let mut both = a.clone();
        both.knockouts.insert(
            3,
            [Edge {
                head: 0,
                query: 1,
                key: 0,
            }]
            .into(),
        );
        assert_eq!(both.first_difference(&a), Some(Entry::top(3)));
        assert!(Plan::default().is_empty() && !both.is_empty());
    }
}
