//! Colour maps and colour scales: from a number to a colour, once for all.
//!
//! The window's shaders upload [`Colormap::table`] and figures read it, so a value has the same colour everywhere.
//! The maps are the published ones, from `colorgrad`.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use colorgrad::Gradient;

/// The colour of what has no value: keys behind the causal mask, and NaN.
pub const MASKED: [u8; 3] = [200, 200, 200];

/// How far a logarithmic scale reaches below its maximum, in powers of ten.
const DECADES: f32 = 4.0;

/// A published colour map. Viridis, Cividis and PuOr can be read by colour-blind people; RdBu is what the field is used to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Colormap {
    Viridis,
    Cividis,
    Blues,
    /// Diverging: negative red, 0 white, positive blue.
    RdBu,
    /// Diverging: negative purple, 0 white, positive orange.
    PuOr,
}

/// A colour map with the range that it shows.
///
/// Sequential maps show 0 to `max`, diverging maps −`max` to `max` with 0 in the middle.
/// A `max` that is not a positive number counts as 1, so that an all-zero map has a scale too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorScale {
    pub map: Colormap,
    /// Four decades below `max` instead of a linear ramp; on both sides of 0 for diverging maps.
    pub log: bool,
    pub max: f32,
}

/// A mark of a colour bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub value: f32,
    /// 0 (low end) to 1 (high end).
    pub position: f32,
    pub label: String,
}

/// The text names no colour map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no colour map; there are viridis, cividis, blues, rdbu and puor")]
pub struct ParseColormapError {
    pub text: String,
}

impl Colormap {
    pub const ALL: [Self; 5] = [
        Self::Viridis,
        Self::Cividis,
        Self::Blues,
        Self::RdBu,
        Self::PuOr,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Viridis => "Viridis",
            Self::Cividis => "Cividis",
            Self::Blues => "Blues",
            Self::RdBu => "RdBu",
            Self::PuOr => "PuOr",
        }
    }

    /// Whether the map has a neutral middle, for values that may be negative.
    pub const fn is_diverging(self) -> bool {
        matches!(self, Self::RdBu | Self::PuOr)
    }

    /// 256 RGBA entries from the low end to the high end, opaque.
    pub fn table(self) -> &'static [[u8; 4]; 256] {
        static TABLES: LazyLock<[[[u8; 4]; 256]; Colormap::ALL.len()]> =
            LazyLock::new(|| Colormap::ALL.map(compute_table));
        &TABLES[self as usize]
    }

    /// The colour at `t` in 0..=1 (clamped), by the nearest entry: `round(t · 255)`. NaN is [`MASKED`].
    pub fn rgb(self, t: f32) -> [u8; 3] {
        if t.is_nan() {
            return MASKED;
        }
        let [r, g, b, _] = self.table()[(t.clamp(0.0, 1.0) * 255.0).round() as usize];
        [r, g, b]
    }
}

impl ColorScale {
    /// Where a value lies on the map, 0 to 1; with m = [`range`](Self::range):
    ///
    /// | | linear | logarithmic |
    /// |---|---|---|
    /// | sequential | clamp(v / m, 0, 1) | clamp((log10(v / m) + 4) / 4, 0, 1) |
    /// | diverging | 0.5 + 0.5 · clamp(v / m, −1, 1) | 0.5 + 0.5 · sign(v) · clamp((log10(abs(v) / m) + 4) / 4, 0, 1) |
    ///
    /// NaN stays NaN.
    pub fn t(self, value: f32) -> f32 {
        if value.is_nan() {
            return value;
        }
        let ratio = value / self.range();
        let ramp = |ratio: f32| {
            let ramp = if self.log {
                (ratio.log10() + DECADES) / DECADES
            } else {
                ratio
            };
            ramp.clamp(0.0, 1.0)
        };
        if !self.map.is_diverging() {
            // The logarithm of a negative number would be NaN, which means "masked".
            ramp(ratio.max(0.0))
        } else if ratio == 0.0 {
            0.5
        } else {
            0.5 + 0.5 * ratio.signum() * ramp(ratio.abs())
        }
    }

    /// The colour of a value; NaN is [`MASKED`].
    pub fn rgb(self, value: f32) -> [u8; 3] {
        self.map.rgb(self.t(value))
    }

    /// `max`, or 1 where that is not a positive number.
    pub fn range(self) -> f32 {
        if self.max.is_finite() && self.max > 0.0 {
            self.max
        } else {
            1.0
        }
    }

    /// The marks of a colour bar, from low to high.
    ///
    /// Linear: round numbers. Logarithmic: powers of ten; a mark at the lowest end reads `≤`, for all below has its colour.
    pub fn ticks(self) -> Vec<Tick> {
        let positive = if self.log {
            self.decades()
        } else {
            round_numbers(self.range())
        };
        let tick = |value: f32, label: String| Tick {
            value,
            position: self.t(value),
            label,
        };
        if !self.map.is_diverging() {
            let lowest = self.range() * 10_f32.powf(-DECADES) * 1.001;
            return positive
                .into_iter()
                .map(|(value, label)| {
                    let clamped = self.log && value <= lowest;
                    tick(
                        value,
                        if clamped {
                            format!("≤{label}")
                        } else {
                            label
                        },
                    )
                })
                .collect();
        }
        // The lowest decade of each side has the colour of 0, and 0 itself is the first round number.
        let sides = positive
            .into_iter()
            .filter(|(value, _)| self.t(*value) > 0.5 + 1e-3);
        let mut ticks = vec![tick(0.0, "0".to_owned())];
        for (value, label) in sides {
            ticks.push(tick(-value, format!("−{label}")));
            ticks.push(tick(value, label));
        }
        ticks.sort_by(|a, b| a.value.total_cmp(&b.value));
        ticks
    }

    /// The powers of ten that a logarithmic scale shows, ascending.
    fn decades(self) -> Vec<(f32, String)> {
        let top = (f64::from(self.range()).log10() + 1e-6).floor() as i32;
        let bottom = (f64::from(self.range()).log10() - f64::from(DECADES) - 1e-6).ceil() as i32;
        (bottom..=top)
            .map(|exponent| {
                let value = 10_f64.powi(exponent) as f32;
                let label = match exponent {
                    -2..=3 => format!("{value}"),
                    _ => format!("{value:e}").replace('-', "−"),
                };
                (value, label)
            })
            .collect()
    }
}

/// 0 and the multiples of 1, 2 or 5 · 10^k up to `max`, at most six.
fn round_numbers(max: f32) -> Vec<(f32, String)> {
    let max = f64::from(max);
    let raw = max / 5.0;
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= raw * (1.0 - 1e-6))
        .unwrap_or(10.0);
    let step = factor * power;
    let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
    let plain = (1e-4..1e6).contains(&max);
    (0..=(max / step + 1e-6).floor() as u32)
        .map(|k| {
            let value = f64::from(k) * step;
            let label = if k == 0 {
                "0".to_owned()
            } else if plain {
                format!("{value:.decimals$}")
            } else {
                // Multiples of a step have one digit, or two past 10 steps, which never happens.
                format!("{value:.1e}").replace(".0e", "e").replace('-', "−")
            };
            (value as f32, label)
        })
        .collect()
}

fn compute_table(map: Colormap) -> [[u8; 4]; 256] {
    fn sample(gradient: &impl Gradient) -> [[u8; 4]; 256] {
        std::array::from_fn(|i| gradient.at(i as f32 / 255.0).to_rgba8())
    }
    use colorgrad::preset;
    match map {
        Colormap::Viridis => sample(&preset::viridis()),
        Colormap::Cividis => sample(&preset::cividis()),
        Colormap::Blues => sample(&preset::blues()),
        Colormap::RdBu => sample(&preset::rd_bu()),
        Colormap::PuOr => sample(&preset::pu_or()),
    }
}

impl fmt::Display for Colormap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Colormap {
    type Err = ParseColormapError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|map| map.name().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| ParseColormapError {
                text: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(map: Colormap, log: bool, max: f32) -> ColorScale {
        ColorScale { map, log, max }
    }

    #[test]
    fn maps_are_the_published_ones() {
        let published = [
            (Colormap::Viridis, 0.0, [68, 1, 84]),
            (Colormap::Viridis, 1.0, [253, 231, 37]),
            (Colormap::Blues, 1.0, [8, 48, 107]),
            (Colormap::RdBu, 0.0, [103, 0, 31]),
            (Colormap::PuOr, 1.0, [127, 59, 8]),
        ];
        for (map, t, expected) in published {
            // The crate fits splines through the published colours: one step of 255 off at most.
            let near = |(a, b): (u8, u8)| a.abs_diff(b) <= 1;
            assert!(
                map.rgb(t).into_iter().zip(expected).all(near),
                "{map} {:?}",
                map.rgb(t)
            );
        }
        for map in [Colormap::RdBu, Colormap::PuOr] {
            assert!(
                map.rgb(0.5).iter().all(|&c| c > 230),
                "{map}: 0 is nearly white"
            );
        }
    }

    #[test]
    fn colours_are_entries_of_the_table_and_nan_is_grey() {
        for map in Colormap::ALL {
            let [r, g, b, a] = map.table()[77];
            assert_eq!(map.rgb(77.4 / 255.0), [r, g, b]);
            assert_eq!(a, 255);
            assert_eq!(map.rgb(f32::NAN), MASKED);
            assert_eq!(map.rgb(f32::INFINITY), map.rgb(1.0));
        }
    }

    #[test]
    fn names_parse_back() {
        for map in Colormap::ALL {
            assert_eq!(map.name().to_lowercase().parse(), Ok(map));
        }
        assert!("jet".parse::<Colormap>().is_err());
    }

    #[test]
    fn values_lie_where_the_table_of_formulas_says() {
        let cases = [
            (Colormap::Blues, false, 2.0, 1.0, 0.5),
            (Colormap::Blues, false, 2.0, -1.0, 0.0),
            (Colormap::Blues, false, 2.0, f32::INFINITY, 1.0),
            (Colormap::Blues, true, 1.0, 1.0, 1.0),
            (Colormap::Blues, true, 1.0, 0.01, 0.5),
            (Colormap::Blues, true, 1.0, 0.0, 0.0),
            (Colormap::Blues, true, 1.0, -3.0, 0.0),
            (Colormap::RdBu, false, 4.0, 0.0, 0.5),
            (Colormap::RdBu, false, 4.0, -2.0, 0.25),
            (Colormap::RdBu, false, 4.0, 9.0, 1.0),
            (Colormap::RdBu, true, 1.0, 0.0, 0.5),
            (Colormap::RdBu, true, 1.0, -0.01, 0.25),
            (Colormap::RdBu, true, 1.0, 1e-9, 0.5),
            (Colormap::Blues, false, 0.0, 0.25, 0.25),
            (Colormap::Blues, false, f32::NAN, 0.25, 0.25),
        ];
        for (map, log, max, value, expected) in cases {
            let t = scale(map, log, max).t(value);
            assert!(
                (t - expected).abs() < 1e-6,
                "{map} log {log} max {max}: {value} -> {t}"
            );
        }
        for map in Colormap::ALL {
            assert!(scale(map, true, 1.0).t(f32::NAN).is_nan());
        }
    }

    #[test]
    fn ticks_are_round_ascending_and_where_their_value_is() {
        let labels = |scale: ColorScale| -> Vec<String> {
            scale.ticks().into_iter().map(|tick| tick.label).collect()
        };
        assert_eq!(
            labels(scale(Colormap::Blues, false, 1.0)),
            ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(
            labels(scale(Colormap::Blues, true, 1.0)),
            ["≤1e−4", "1e−3", "0.01", "0.1", "1"]
        );
        assert_eq!(
            labels(scale(Colormap::RdBu, false, 0.05)),
            [
                "−0.05", "−0.04", "−0.03", "−0.02", "−0.01", "0", "0.01", "0.02", "0.03", "0.04",
                "0.05"
            ]
        );
        for max in [1e-20, 3e-4, 0.83, 1.0, 7.3, 1e4, 2e30] {
            for map in Colormap::ALL {
                for log in [false, true] {
                    let scale = scale(map, log, max);
                    let ticks = scale.ticks();
                    assert!(ticks.len() >= 3, "{map} {log} {max}: {ticks:?}");
                    assert!(
                        ticks.is_sorted_by(|a, b| a.position < b.position),
                        "{ticks:?}"
                    );
                    for tick in ticks {
                        assert_eq!(tick.position.to_bits(), scale.t(tick.value).to_bits());
                        assert!(tick.label.chars().count() <= 8, "{tick:?}");
                    }
                }
            }
        }
    }
}
