//! Axes of numbers: their ends, their marks at round numbers, and numbers as labels.

/// The fewest digits after the point that a label of a measured number has, and the most.
const DECIMALS: std::ops::RangeInclusive<i32> = 2..=4;

/// A stretch of numbers with marks at round ones.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    /// Ascending.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From a round number at or below `low` to one at or above `high`, both finite. Of whole numbers, marks are whole.
    pub(super) fn around(low: f64, high: f64, most_ticks: usize, is_whole: bool) -> Self {
        let [low, high] = apart(low, high);
        let step = round_step(high - low, most_ticks, is_whole);
        let ends = [(low / step).floor() * step, (high / step).ceil() * step];
        Self::with_step(ends, step)
    }

    /// From `low` to `high`, with the marks that lie between.
    pub(super) fn between(low: f64, high: f64, most_ticks: usize) -> Self {
        let [low, high] = apart(low, high);
        Self::with_step([low, high], round_step(high - low, most_ticks, false))
    }

    fn with_step([low, high]: [f64; 2], step: f64) -> Self {
        // What rounding leaves of a step.
        let slack = 1e-6;
        let first = (low / step - slack).ceil() as i64;
        let last = (high / step + slack).floor() as i64;
        let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
        let is_plain = (1e-4..1e6).contains(&low.abs().max(high.abs()));
        let ticks = (first..=last).map(|k| {
            let value = k as f64 * step;
            let label = if k == 0 {
                "0".to_owned()
            } else if is_plain {
                format!("{value:.decimals$}")
            } else {
                format!("{value:.1e}").replace(".0e", "e")
            };
            (value, minus(&label))
        });
        Self {
            ticks: ticks.collect(),
            low,
            high,
        }
    }

    /// Where a number lies, 0 at the low end and 1 at the high one.
    pub(super) fn at(&self, value: f64) -> f32 {
        ((value - self.low) / (self.high - self.low)) as f32
    }
}

/// Two ends with room between them.
fn apart(low: f64, high: f64) -> [f64; 2] {
    let size = low.abs().max(high.abs());
    if high - low > size * 1e-9 {
        [low, high]
    } else if size > 0.0 {
        [low - size / 2.0, high + size / 2.0]
    } else {
        [-1.0, 1.0]
    }
}

/// 1, 2 or 5 · 10^k, so that at most `most` of them lie in a range.
fn round_step(range: f64, most: usize, is_whole: bool) -> f64 {
    let raw = range / most as f64;
    let power = 10_f64.powf(raw.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0].into_iter();
    let fitting = factors.map(|factor| factor * power);
    let step = fitting
        .into_iter()
        .find(|step| *step >= raw * (1.0 - 1e-6))
        .unwrap_or(10.0 * power);
    if is_whole { step.max(1.0) } else { step }
}

/// Digits after the point for numbers of which `largest` is the largest without its sign: three that count.
pub(super) fn decimals_for(largest: f64) -> usize {
    if !(largest > 0.0 && largest.is_finite()) {
        return *DECIMALS.start() as usize;
    }
    if largest >= 1e4 {
        return 0;
    }
    (2 - largest.log10().floor() as i32).clamp(*DECIMALS.start(), *DECIMALS.end()) as usize
}

/// A number with that many digits after the point; what would round to nothing keeps one digit.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if value == 0.0 {
        return "0".to_owned();
    }
    if text.contains(|c: char| ('1'..='9').contains(&c)) {
        return minus(&text);
    }
    let places = -value.abs().log10().floor();
    if places <= f64::from(*DECIMALS.end()) {
        minus(&format!("{value:.*}", places as usize))
    } else {
        minus(&format!("{value:.0e}"))
    }
}

/// With a minus sign for the hyphen: as wide as a plus sign.
pub(super) fn minus(number: &str) -> String {
    number.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_lie_where_they_say() {
        let axis = Axis::around(-0.31, 1.17, 6, false);
        assert_eq!(labels(&axis), ["−0.5", "0", "0.5", "1.0", "1.5"]);
        assert!((axis.at(0.5) - 0.5).abs() < 1e-6);
        assert!(axis.at(-0.5).abs() < 1e-6 && (axis.at(1.5) - 1.0).abs() < 1e-6);
        assert_eq!(labels(&Axis::between(-0.31, 1.17, 4)), ["0", "0.5", "1.0"]);
        assert_eq!(
            labels(&Axis::around(0.0, 3.0, 6, true)),
            ["0", "1", "2", "3"]
        );
        assert_eq!(
            labels(&Axis::around(0.0, 4e7, 4, true)),
            ["0", "1e7", "2e7", "3e7", "4e7"]
        );
    }

    #[test]
    fn every_range_has_a_few_ticks_within_it() {
        for (low, high) in [
            (0.0, 0.0),
            (3.0, 3.0),
            (-7.0, -7.0),
            (1e9, 1e9 + 1e-6),
            (-1e-30, 2e-30),
            (0.0, 1e99),
            (-5.0, 1e4),
        ] {
            for most in [2, 5, 8] {
                for axis in [
                    Axis::around(low, high, most, false),
                    Axis::between(low, high, most),
                ] {
                    assert!(axis.ticks.len() <= most + 3, "{low} {high}: {axis:?}");
                    assert!(axis.high > axis.low);
                    for (value, _) in &axis.ticks {
                        let at = axis.at(*value);
                        assert!((-1e-5..=1.0 + 1e-5).contains(&at), "{axis:?}");
                    }
                    for end in [low, high] {
                        assert!((-1e-5..=1.0 + 1e-5).contains(&axis.at(end)), "{axis:?}");
                    }
                }
                assert!(Axis::around(low, high, most, false).ticks.len() >= 2);
            }
        }
    }

    #[test]
    fn numbers_keep_three_digits_and_never_round_to_nothing() {
        assert_eq!(
            [0.02, 0.83, 3.2, 480.0, 2e4].map(decimals_for),
            [4, 3, 2, 2, 0]
        );
        assert_eq!(decimals_for(f64::NAN), 2);
        assert_eq!(number(-0.8312, 3), "−0.831");
        assert_eq!(number(0.000_02, 3), "2e−5");
        assert_eq!(number(-0.0042, 2), "−0.004");
        assert_eq!(number(0.0, 3), "0");
        assert_eq!(number(20_480.0, 0), "20480");
    }
}
