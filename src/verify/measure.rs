//! How far values may be from what is right, and how far they are.

use crate::experiment::engine::Dumped;

/// A value beside what is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// TransformerLens's name of the activation.
    pub site: String,
    /// As in files: a batch axis of 1 first.
    pub index: Vec<usize>,
    pub found: f64,
    pub expected: f64,
    pub tolerance: f64,
}

/// What comparing many values gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub compared: usize,
    pub wrong: usize,
    pub first_wrong: Option<Deviation>,
    /// The farthest off, measured in tolerances.
    pub worst: Option<Deviation>,
}

impl Deviation {
    /// Infinite where a number is finite on one side only.
    pub fn difference(&self) -> f64 {
        difference(self.found, self.expected)
    }

    /// The difference as a multiple of the tolerance.
    pub fn in_tolerances(&self) -> f64 {
        in_tolerances(self.difference(), self.tolerance)
    }

    pub fn is_wrong(&self) -> bool {
        self.in_tolerances() > 1.0
    }
}

impl std::fmt::Display for Deviation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            site,
            index,
            found,
            expected,
            tolerance,
        } = self;
        write!(
            f,
            "{site}{index:?} is {found} where {expected} ± {tolerance:.1e} is right"
        )
    }
}

impl Tally {
    /// Compares one value. `at` gives its place, and is asked only where that is kept.
    pub(super) fn note(
        &mut self,
        at: impl FnOnce() -> (String, Vec<usize>),
        found: f64,
        expected: f64,
        tolerance: f64,
    ) {
        self.compared += 1;
        let off = in_tolerances(difference(found, expected), tolerance);
        let is_wrong = off > 1.0;
        let is_worst = self
            .worst
            .as_ref()
            .is_none_or(|worst| off > worst.in_tolerances());
        self.wrong += usize::from(is_wrong);
        if !is_worst && (!is_wrong || self.first_wrong.is_some()) {
            return;
        }
        let (site, index) = at();
        let deviation = Deviation {
            site,
            index,
            found,
            expected,
            tolerance,
        };
        if is_wrong && self.first_wrong.is_none() {
            self.first_wrong = Some(deviation.clone());
        }
        if is_worst {
            self.worst = Some(deviation);
        }
    }

    /// Compares the value at `flat` of an activation.
    pub(super) fn note_in(
        &mut self,
        activation: &Dumped,
        flat: usize,
        expected: f64,
        tolerance: f64,
    ) {
        let place = || (activation.name.clone(), unravel(flat, &activation.shape));
        let found = f64::from(activation.values[flat]);
        self.note(place, found, expected, tolerance);
    }
}

#[expect(
    clippy::float_cmp,
    reason = "infinities of one sign are equal, and have no difference"
)]
fn difference(found: f64, expected: f64) -> f64 {
    // Infinities of one sign are the same.
    if found == expected {
        return 0.0;
    }
    let difference = (found - expected).abs();
    if difference.is_nan() {
        f64::INFINITY
    } else {
        difference
    }
}

fn in_tolerances(difference: f64, tolerance: f64) -> f64 {
    if difference == 0.0 {
        0.0
    } else {
        difference / tolerance
    }
}

/// The index of a row-major value.
pub(super) fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, size) in shape.iter().enumerate().rev() {
        index[i] = flat % size;
        flat /= size;
    }
    index
}

/// The place of an index among row-major values; `None` outside the shape.
pub(super) fn ravel(index: &[usize], shape: &[usize]) -> Option<usize> {
    if index.len() != shape.len() || index.iter().zip(shape).any(|(i, size)| i >= size) {
        return None;
    }
    Some(index.iter().zip(shape).fold(0, |flat, (i, n)| flat * n + i))
}

/// The rounding of the type that a model computes in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Precision {
    unit: f64,
}

impl Precision {
    /// By the name that a model gives its type. A quantised product rounds what it multiplies to 8 bits.
    pub(super) fn of(dtype: &str) -> Self {
        let bits = match dtype {
            "f32" => 24,
            "f16" => 11,
            _ => 8,
        };
        Self {
            unit: 2f64.powi(-bits),
        }
    }

    /// What rounding may do to a sum of `n` terms whose magnitudes add up to `magnitude`: each term is rounded once, and
    /// roundings add up like a random walk. Eight times that is never reached by chance.
    pub(super) fn of_sum(self, n: usize, magnitude: f64) -> f64 {
        8.0 * (n as f64).sqrt() * self.unit * magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(values: &[(f64, f64, f64)]) -> Tally {
        let mut tally = Tally::default();
        for (i, (found, expected, tolerance)) in values.iter().enumerate() {
            tally.note(|| ("x".into(), vec![i]), *found, *expected, *tolerance);
        }
        tally
    }

    #[test]
    fn the_first_wrong_value_and_the_worst_one_are_told_apart() {
        let found = tally(&[
            (1.0, 1.05, 0.1),
            (1.0, 1.2, 0.1),
            (5.0, 2.0, 10.0),
            (0.0, 0.9, 0.1),
        ]);
        assert_eq!((found.compared, found.wrong), (4, 2));
        assert_eq!(found.first_wrong.unwrap().index, [1]);
        let worst = found.worst.unwrap();
        assert_eq!(worst.index, [3]);
        assert!((worst.in_tolerances() - 9.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_number_is_wrong_and_masked_scores_agree() {
        let infinite = f64::NEG_INFINITY;
        assert_eq!(tally(&[(infinite, infinite, 0.0)]).wrong, 0);
        for (found, expected) in [
            (f64::NAN, 0.0),
            (infinite, 0.0),
            (0.0, infinite),
            (f64::INFINITY, infinite),
            (f64::NAN, infinite),
        ] {
            let tally = tally(&[(found, expected, 1e300)]);
            assert_eq!(tally.wrong, 1, "{found} beside {expected}");
        }
    }

    #[test]
    fn a_tolerance_of_nothing_allows_nothing() {
        assert_eq!(tally(&[(1.0, 1.0, 0.0)]).wrong, 0);
        assert_eq!(tally(&[(1.0, 1.0 + 1e-15, 0.0)]).wrong, 1);
    }

    #[test]
    fn indices_and_places_are_each_others_inverse() {
        let shape = [1, 2, 3, 4];
        for flat in 0..24 {
            assert_eq!(ravel(&unravel(flat, &shape), &shape), Some(flat));
        }
        assert_eq!(ravel(&[0, 2, 0, 0], &shape), None);
        assert_eq!(ravel(&[0, 0, 0], &shape), None);
    }
}
