//! Rows of q and k moved to other rotary positions.

use crate::model::spec::Rotary;

/// The frequencies of a layer; halves of the turned width are the pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Turns(Vec<f64>);

/// A move by a number of positions: cosine and sine of each pair's angle.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Turn(Vec<[f32; 2]>);

impl Turns {
    pub(super) fn new(rotary: &Rotary) -> Self {
        Self(rotary.frequencies())
    }

    /// A move by so many positions: a difference, since turns add up.
    pub(super) fn by(&self, positions: f64) -> Turn {
        let turn = |frequency: &f64| {
            let (sin, cos) = (positions * frequency).sin_cos();
            [cos as f32, sin as f32]
        };
        Turn(self.0.iter().map(turn).collect())
    }
}

impl Turn {
    /// Moves a row, `[d_head]`.
    pub(super) fn apply(&self, row: &mut [f32]) {
        let (first, rest) = row.split_at_mut(self.0.len());
        for ((a, b), [cos, sin]) in first.iter_mut().zip(rest).zip(&self.0) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
