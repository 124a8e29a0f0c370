//! Colours as a lookup from the bits of an f16: what both painters use instead of computing a scale themselves.
//!
//! There are only 65,536 halves, so a scale is tabulated once and the shader needs no arithmetic on values at all.

use crate::colormap::ColorScale;

/// Words of a table: 256 colours, then for each half the index of its colour, four to a word.
pub(crate) const LUT_WORDS: usize = 256 + (1 << 16) / 4;

/// Names a scale: equal keys, equal tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LutKey {
    map: crate::colormap::Colormap,
    log: bool,
    max_bits: u32,
}

impl LutKey {
    pub(crate) fn of(scale: ColorScale) -> Self {
        Self {
            map: scale.map,
            log: scale.log,
            max_bits: scale.max.to_bits(),
        }
    }
}

pub(crate) fn lut(scale: ColorScale) -> Vec<u32> {
    let mut words = Vec::with_capacity(LUT_WORDS);
    words.extend(
        scale
            .map
            .table()
            .iter()
            .map(|&rgba| u32::from_le_bytes(rgba)),
    );
    words.extend((0..=u16::MAX).step_by(4).map(|first| {
        u32::from_le_bytes([0, 1, 2, 3].map(|i| {
            let value = half::f16::from_bits(first + i).to_f32();
            // Saturates, and takes NaN (no cell has it) to 0.
            (scale.t(value) * 255.0 + 0.5) as u8
        }))
    }));
    words
}

/// The colour of a half, red in the lowest byte.
pub(crate) fn color(lut: &[u32], half_bits: u16) -> u32 {
    let index = lut[256 + usize::from(half_bits >> 2)] >> (8 * u32::from(half_bits & 3)) & 0xff;
    lut[index as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colormap::Colormap;

    #[test]
    fn a_half_has_the_colour_of_its_value() {
        for map in Colormap::ALL {
            for log in [false, true] {
                let scale = ColorScale { map, log, max: 0.7 };
                let lut = lut(scale);
                assert_eq!(lut.len(), LUT_WORDS);
                for value in [0.0, 1e-5, 0.001, 0.35, 0.7, 2.0, f32::INFINITY, -0.2, -0.7] {
                    let half = half::f16::from_f32(value);
                    let index = (scale.t(half.to_f32()) * 255.0 + 0.5) as usize;
                    let expected = u32::from_le_bytes(map.table()[index]);
                    assert_eq!(
                        color(&lut, half.to_bits()),
                        expected,
                        "{map:?} log {log} {value}"
                    );
                }
            }
        }
    }
}
