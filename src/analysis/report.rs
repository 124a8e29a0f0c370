//! What a method found: plain data that the window draws and the command line prints.

use std::sync::Arc;

use serde_json::Value;

use super::learned::Vectors;
use crate::ids::{HeadId, KvHeadId};

/// The result of one method.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The method's name, as the command line has it.
    pub method: &'static str,
    /// What it was run with, in order.
    pub settings: Vec<(&'static str, Value)>,
    pub scores: Vec<HeadScores>,
    pub bars: Vec<Bars>,
    pub grids: Vec<Grid>,
    pub tables: Vec<Table>,
    pub plots: Vec<Plot>,
    /// What was learned, to be saved and applied as edits.
    pub learned: Option<Arc<Vectors>>,
    /// What a reader has to know: what was left out and why, what the verdict rests on.
    pub notes: Vec<String>,
}

/// One number a head: a layer × head map.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadScores {
    pub name: String,
    /// What it measures, in a line.
    pub about: String,
    pub scale: Scale,
    pub of: Heads,
    /// Heads of a layer.
    pub n_heads: usize,
    /// `[layer, head]`; `None` where the score does not apply.
    pub values: Vec<Option<f32>>,
}

/// Which kind of head a map has one number for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heads {
    Query,
    KeyValue,
}

/// How numbers are to be read, which decides their colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0 to 1.
    Share,
    /// From 0 up.
    Positive,
    /// Around 0.
    Signed,
}

/// A matrix with names along both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    pub name: String,
    pub about: String,
    pub scale: Scale,
    pub row_axis: &'static str,
    pub rows: Vec<String>,
    pub column_axis: &'static str,
    pub columns: Vec<String>,
    /// `[row, column]`
    pub values: Vec<Option<f32>>,
    /// A word for each cell; empty where there is none.
    pub texts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub name: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

/// Lines, or single points, over a common axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plot {
    pub name: String,
    pub x_axis: &'static str,
    pub y_axis: &'static str,
    /// Points are not joined.
    pub is_scatter: bool,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub name: String,
    /// x, y
    pub points: Vec<[f64; 2]>,
    /// What a point of a scatter stands for, such as a head; empty where points have no names.
    pub labels: Vec<String>,
}

/// Lengths side by side: what something is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bars {
    pub name: String,
    pub about: String,
    /// What a length is, with its unit.
    pub axis: &'static str,
    pub bars: Vec<Bar>,
}

/// A bar of parts that are put end to end, those above 0 to one side and those below it to the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bar {
    pub label: String,
    pub parts: Vec<BarPart>,
}

/// Parts of one name have one colour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BarPart {
    /// The kind of part: heads, MLP, …
    pub name: String,
    /// The very part, such as `L9H6`, where there are several of a name.
    pub label: String,
    pub value: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    /// `None` is blank.
    Number(Option<f64>),
    Count(usize),
}

impl Report {
    pub fn new(method: &'static str) -> Self {
        Self {
            method,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.settings.push((name, value.into()));
        self
    }

    /// The scores of a name; `None` where the report has none.
    pub fn scores_of(&self, name: &str) -> Option<&HeadScores> {
        self.scores.iter().find(|scores| scores.name == name)
    }

    /// A bar chart with one part a bar.
    pub fn bar_chart(
        &mut self,
        name: &str,
        about: &str,
        axis: &'static str,
        of: impl IntoIterator<Item = (String, f64)>,
    ) {
        let bar = |(label, value): (String, f64)| Bar {
            parts: vec![BarPart {
                name: String::new(),
                label: label.clone(),
                value,
            }],
            label,
        };
        self.bars.push(Bars {
            name: name.to_owned(),
            about: about.to_owned(),
            axis,
            bars: of.into_iter().map(bar).collect(),
        });
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

impl HeadScores {
    /// A number for each query head, from a function of it.
    pub fn of_heads(
        name: &str,
        about: &str,
        scale: Scale,
        (n_layers, n_heads): (usize, usize),
        value: impl Fn(HeadId) -> Option<f32>,
    ) -> Self {
        let heads = (0..n_layers).flat_map(|layer| (0..n_heads).map(move |head| (layer, head)));
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            scale,
            of: Heads::Query,
            n_heads,
            values: heads
                .map(|(layer, head)| value(HeadId::new(layer, head)).filter(|x| x.is_finite()))
                .collect(),
        }
    }

    pub fn n_layers(&self) -> usize {
        self.values.len() / self.n_heads
    }

    pub fn value(&self, head: HeadId) -> Option<f32> {
        (head.head < self.n_heads)
            .then(|| self.values.get(head.layer * self.n_heads + head.head))
            .flatten()
            .copied()
            .flatten()
    }

    /// Indices (layer, head), falling by score; equal scores in the order of the heads, blanks last.
    pub fn ranked(&self) -> Vec<(HeadId, Option<f32>)> {
        let mut ranked: Vec<_> = self
            .values
            .iter()
            .enumerate()
            .map(|(i, value)| (HeadId::new(i / self.n_heads, i % self.n_heads), *value))
            .collect();
        let key = |value: Option<f32>| value.unwrap_or(f32::NEG_INFINITY);
        ranked.sort_by(|(_, a), (_, b)| key(*b).total_cmp(&key(*a)));
        ranked
    }

    /// The heads with the largest scores.
    pub fn top(&self, k: usize) -> Vec<HeadId> {
        let ranked = self.ranked().into_iter();
        let known = ranked.filter(|(_, value)| value.is_some());
        known.take(k).map(|(head, _)| head).collect()
    }

    /// What a place of the map is called: `L9H6`, or `L9KV1`.
    pub fn label(&self, head: HeadId) -> String {
        match self.of {
            Heads::Query => head.to_string(),
            Heads::KeyValue => KvHeadId {
                layer: head.layer,
                kv_head: head.head,
            }
            .to_string(),
        }
    }

    /// The mean of several maps of the same heads; blank where any is.
    pub fn mean(maps: &[Vec<Option<f32>>]) -> Vec<Option<f32>> {
        let n = maps.first().map_or(0, Vec::len);
        (0..n)
            .map(|i| {
                let values: Option<Vec<f32>> = maps.iter().map(|map| map[i]).collect();
                let values = values?;
                Some(
                    (values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len() as f64)
                        as f32,
                )
            })
            .collect()
    }
}

impl Cell {
    /// As a table shows it: four decimals, no sign before what rounds to nothing, a dot for a blank.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Number(None) => "·".into(),
            Self::Number(Some(number)) => match format!("{number:.4}") {
                zero if zero == "-0.0000" => "0.0000".into(),
                text => text,
            },
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f32> for Cell {
    fn from(value: f32) -> Self {
        Self::from(f64::from(value))
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value.is_finite().then_some(value))
    }
}

impl From<Option<f32>> for Cell {
    fn from(value: Option<f32>) -> Self {
        Self::Number(value.map(f64::from).filter(|x| x.is_finite()))
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Self {
        Self::Count(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_short_and_never_minus_zero() {
        let texts = [
            Cell::from("a"),
            Cell::from(7usize),
            Cell::from(-0.00001f64),
            Cell::from(-0.5f64),
            Cell::from(f64::NAN),
        ];
        let texts: Vec<String> = texts.iter().map(Cell::text).collect();
        assert_eq!(texts, ["a", "7", "0.0000", "-0.5000", "·"]);
    }

    #[test]
    fn scores_fall_and_blanks_come_last() {
        let values = [Some(0.5), None, Some(f32::NAN), Some(0.9)];
        let scores = HeadScores::of_heads("x", "", Scale::Share, (2, 2), |head| {
            values[head.layer * 2 + head.head]
        });
        let ranked: Vec<_> = scores
            .ranked()
            .iter()
            .map(|(head, _)| head.to_string())
            .collect();
        assert_eq!(ranked, ["L1H1", "L0H0", "L0H1", "L1H0"]);
        assert_eq!(scores.top(9).len(), 2, "what is not finite is blank");
        assert_eq!(scores.value(HeadId::new(1, 1)), Some(0.9));
        assert_eq!(scores.value(HeadId::new(0, 2)), None);
    }
}
