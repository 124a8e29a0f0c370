//! Rows of q and k moved to other rotary positions.

use crate::model::spec::Rotary;

/// The frequencies of a layer; halves of the turned width are the pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Turns(Vec<f64>);

impl Turns {
    pub(super) fn new(rotary: &Rotary) -> Self {
        Self(rotary.frequencies())
    }

    /// Turns a row, `[d_head]`, by so many positions: a difference, since turns add up.
    pub(super) fn move_by(&self, row: &mut [f64], positions: f64) {
        let half = self.0.len();
        let (first, rest) = row.split_at_mut(half);
        for ((a, b), frequency) in first.iter_mut().zip(rest).zip(&self.0) {
            let (sin, cos) = (positions * frequency).sin_cos();
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
