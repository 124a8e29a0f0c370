//! Attention maps as the renderer keeps them: f16, with coarser levels in which no bright cell is lost.
//!
//! Tensor-free and GPU-free; `store` uploads the words as they are, `raster` reads the same words on the CPU.
//!
//! # Layout
//! A map of `side` × `side` texels, rows are queries, columns keys. Level 0 has `side` texels a row, each further
//! level half as many (rounded up) down to 1. One level is `side_L + 1` rows of `ceil(side_L / 2)` words:
//!
//! * rows `0..side_L`: two f16 in a word, the even key in the low half. The first key of the sequence counts as 0 here;
//! * row `side_L`: the weight on the first key, indexed by query. It is apart so that hiding the first-token sink
//!   works at every level, where it would otherwise be pooled with its neighbours.
//!
//! A coarser texel is the value of greatest magnitude among its four, which for weights is the maximum and for signed
//! maps (a change) keeps the sign. Masked cells count as 0. NaN becomes infinite, so that it shows instead of vanishing.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use rayon::prelude::*;

use crate::mask::Mask;

/// Overviews of all heads are pooled to at most so many texels a side.
pub const OVERVIEW_CAP: usize = 256;

/// One map at full resolution, with its levels.
#[derive(Clone, Debug)]
pub struct MapPyramid {
    /// Names this content: no two maps ever made by this process share it.
    pub id: u64,
    /// Queries, and keys.
    pub t: usize,
    pub mask: Mask,
    pub words: Arc<[u32]>,
}

impl MapPyramid {
    /// `values` are `[query, key]`; what the mask hides is not read.
    ///
    /// # Panics
    /// When `values` are not `t` × `t`.
    pub fn new(t: usize, mask: Mask, values: &[f32]) -> Self {
        let mut words = vec![0; Shape::new(t).words()];
        build(values, t, t, mask, &mut words);
        Self {
            id: next_id(),
            t,
            mask,
            words: words.into(),
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape::new(self.t)
    }
}

/// The maps of a layer's heads, small enough to be kept for all layers.
#[derive(Clone, Debug)]
pub struct LayerOverview {
    /// Names this content: no two overviews ever made by this process share it.
    pub id: u64,
    pub layer: usize,
    pub n_heads: usize,
    /// Queries, and keys.
    pub t: usize,
    /// Texels a side at level 0: at most the cap.
    pub side: usize,
    /// Between tokens, not between texels.
    pub mask: Mask,
    /// One pyramid after the other, by head.
    pub words: Arc<[u32]>,
}

impl LayerOverview {
    /// `values` are `[head, query, key]`.
    ///
    /// # Panics
    /// When `values` are not `n_heads` × `t` × `t`.
    pub fn new(layer: usize, n_heads: usize, t: usize, mask: Mask, values: &[f32]) -> Self {
        assert_eq!(
            values.len(),
            n_heads * t * t,
            "maps of layer {layer} are not [head, query, key]"
        );
        Self::of_heads(layer, n_heads, t, mask, |head| {
            &values[head * t * t..(head + 1) * t * t]
        })
    }

    /// `map` gives a head's `[query, key]`. Heads are shared out to the threads of rayon's pool.
    ///
    /// # Panics
    /// When a map is not `t` × `t`.
    pub fn of_heads<M: Deref<Target = [f32]>>(
        layer: usize,
        n_heads: usize,
        t: usize,
        mask: Mask,
        map: impl Fn(usize) -> M + Sync,
    ) -> Self {
        Self::capped(layer, n_heads, t, mask, map, OVERVIEW_CAP)
    }

    fn capped<M: Deref<Target = [f32]>>(
        layer: usize,
        n_heads: usize,
        t: usize,
        mask: Mask,
        map: impl Fn(usize) -> M + Sync,
        cap: usize,
    ) -> Self {
        let side = overview_side(t, cap);
        let head_words = Shape::new(side).words();
        let mut words = vec![0; n_heads * head_words];
        if t > 0 {
            words
                .par_chunks_mut(head_words)
                .enumerate()
                .for_each(|(head, words)| build(&map(head), t, side, mask, words));
        }
        Self {
            id: next_id(),
            layer,
            n_heads,
            t,
            side,
            mask,
            words: words.into(),
        }
    }
}

/// Texels a side of an overview: `t` divided by the smallest whole number that brings it under `cap`.
fn overview_side(t: usize, cap: usize) -> usize {
    t.div_ceil(t.div_ceil(cap).max(1))
}

/// Where a level lies in its map's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// First word.
    pub(crate) offset: usize,
    /// Texels a row, and rows (one more with the first key's).
    pub(crate) side: usize,
}

impl Level {
    pub(crate) fn row_words(self) -> usize {
        self.side.div_ceil(2)
    }

    fn words(self) -> usize {
        (self.side + 1) * self.row_words()
    }
}

/// The levels of a map with `side` texels a row at level 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    side: usize,
}

impl Shape {
    pub(crate) const fn new(side: usize) -> Self {
        Self { side }
    }

    fn levels(self) -> impl Iterator<Item = Level> {
        let first = (self.side > 0).then_some(Level {
            offset: 0,
            side: self.side,
        });
        std::iter::successors(first, |level| {
            (level.side > 1).then(|| Level {
                offset: level.offset + level.words(),
                side: level.side.div_ceil(2),
            })
        })
    }

    /// The level with this index, or the coarsest; none of an empty map.
    pub(crate) fn level(self, index: u32) -> Option<(u32, Level)> {
        (0..)
            .zip(self.levels())
            .take_while(|(i, _)| *i <= index)
            .last()
    }

    pub(crate) fn words(self) -> usize {
        self.levels().map(Level::words).sum()
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The value of greatest magnitude; of equal ones the first.
fn greater(a: f32, b: f32) -> f32 {
    if b.abs() > a.abs() { b } else { a }
}

fn build(values: &[f32], t: usize, side: usize, mask: Mask, words: &mut [u32]) {
    assert_eq!(values.len(), t * t, "a map is not [query, key]");
    if t == 0 {
        return;
    }
    let (mut cells, mut first_key) = pool_cells(values, t, side, mask);
    for level in Shape::new(side).levels() {
        let (rows, strip) =
            words[level.offset..][..level.words()].split_at_mut(level.side * level.row_words());
        for (row, packed) in cells
            .chunks_exact(level.side)
            .zip(rows.chunks_exact_mut(level.row_words()))
        {
            pack(row, packed);
        }
        pack(&first_key, strip);
        (cells, first_key) = pool_level(&cells, &first_key, level.side);
    }
}

/// Level 0: the cells `[query, key]` without the first key, and the first key's `[query]`.
fn pool_cells(values: &[f32], t: usize, side: usize, mask: Mask) -> (Vec<f32>, Vec<f32>) {
    let pool = t.div_ceil(side);
    let visible = |v: f32| if v.is_nan() { f32::INFINITY } else { v };
    let mut cells = vec![0.0; side * side];
    let mut first_key = vec![0.0; side];
    for (query, row) in values.chunks_exact(t).enumerate() {
        let seen = mask.keys(query, t);
        if seen.start == 0 {
            first_key[query / pool] = greater(first_key[query / pool], visible(row[0]));
        }
        let texels = seen.start / pool..seen.end.div_ceil(pool);
        let out = &mut cells[query / pool * side..][texels.clone()];
        for (texel, best) in texels.zip(out) {
            let keys = (texel * pool).max(seen.start).max(1)..((texel + 1) * pool).min(seen.end);
            *best = row[keys]
                .iter()
                .fold(*best, |best, &v| greater(best, visible(v)));
        }
    }
    (cells, first_key)
}

fn pool_level(cells: &[f32], first_key: &[f32], side: usize) -> (Vec<f32>, Vec<f32>) {
    let pooled = cells
        .chunks(side * 2)
        .flat_map(|rows| {
            let (upper, lower) = rows.split_at(side);
            (0..side).step_by(2).map(move |key| {
                let keys = key..(key + 2).min(side);
                let best = upper[keys.clone()].iter().copied().fold(0.0, greater);
                lower
                    .get(keys)
                    .into_iter()
                    .flatten()
                    .copied()
                    .fold(best, greater)
            })
        })
        .collect();
    let strip = first_key
        .chunks(2)
        .map(|pair| pair.iter().copied().fold(0.0, greater))
        .collect();
    (pooled, strip)
}

/// Two f16 in a word, the even one low: a word is little-endian here as in WGSL.
fn pack(row: &[f32], words: &mut [u32]) {
    let halves: &mut [half::f16] =
        bytemuck::cast_slice_mut::<u32, u16>(words).reinterpret_cast_mut();
    halves[..row.len()].convert_from_f32_slice(row);
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// A texel, the first key included.
    fn texel(words: &[u32], level: Level, query: usize, key: usize) -> f16 {
        let at = |row: usize, column: usize| {
            let word = words[level.offset + row * level.row_words() + column / 2];
            f16::from_bits((word >> (16 * (column % 2))) as u16)
        };
        let (cell, first) = (at(query, key), at(level.side, query));
        if key == 0 && first.to_f32().abs() > cell.to_f32().abs() {
            first
        } else {
            cell
        }
    }

    #[test]
    fn a_bright_cell_is_in_every_level() {
        for t in [1, 2, 3, 7, 64, 65, 100] {
            for (query, key) in [(0, 0), (t - 1, 0), (t - 1, t - 1), (t / 2, t / 3)] {
                let mut values = vec![0.001; t * t];
                values[query * t + key] = 0.75;
                let map = MapPyramid::new(t, Mask::CAUSAL, &values);
                for (i, level) in map.shape().levels().enumerate() {
                    assert_eq!(
                        texel(&map.words, level, query >> i, key >> i),
                        f16::from_f32(0.75),
                        "t {t} level {i}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_overview_keeps_every_bright_cell_under_its_cap() {
        let (t, cap) = (70, 32);
        let side = overview_side(t, cap);
        assert_eq!(side, 24);
        for (query, key) in [(69, 0), (69, 69), (33, 2), (2, 2)] {
            let mut values = vec![0.001; 2 * t * t];
            values[t * t + query * t + key] = 0.75;
            let layer = LayerOverview::capped(
                3,
                2,
                t,
                Mask::CAUSAL,
                |head| &values[head * t * t..(head + 1) * t * t],
                cap,
            );
            assert_eq!((layer.side, layer.n_heads, layer.layer), (side, 2, 3));
            let head = &layer.words[Shape::new(side).words()..];
            let (_, level) = Shape::new(side).level(0).unwrap();
            assert_eq!(texel(head, level, query / 3, key / 3), f16::from_f32(0.75));
        }
    }

    #[test]
    fn a_signed_map_pools_by_magnitude() {
        let map = MapPyramid::new(2, Mask::NONE, &[0.0, 0.25, 0.125, -0.5]);
        let (_, top) = map.shape().level(9).unwrap();
        assert_eq!(top.side, 1);
        assert_eq!(texel(&map.words, top, 0, 0), f16::from_f32(-0.5));
    }

    #[test]
    fn what_the_mask_hides_is_not_read() {
        let t = 7;
        for mask in [
            Mask::CAUSAL,
            Mask::causal_window(2),
            Mask::to_either_side(1),
        ] {
            let values: Vec<f32> = (0..t * t)
                .map(|i| if mask.sees(i / t, i % t) { 0.5 } else { 9.0 })
                .collect();
            let map = MapPyramid::new(t, mask, &values);
            let (_, level) = map.shape().level(0).unwrap();
            for (query, key) in (0..t).flat_map(|query| (0..t).map(move |key| (query, key))) {
                let expected = if mask.sees(query, key) { 0.5 } else { 0.0 };
                assert_eq!(
                    texel(&map.words, level, query, key),
                    f16::from_f32(expected),
                    "{mask:?}"
                );
            }
            let (_, top) = map.shape().level(9).unwrap();
            assert_eq!(texel(&map.words, top, 0, 0), f16::from_f32(0.5));
        }
    }

    #[test]
    fn a_nan_is_seen_at_every_level() {
        let map = MapPyramid::new(4, Mask::CAUSAL, &[f32::NAN; 16]);
        for level in map.shape().levels() {
            assert_eq!(texel(&map.words, level, level.side - 1, 0), f16::INFINITY);
        }
    }

    #[test]
    fn the_first_key_is_apart_at_every_level() {
        let t = 9;
        let values: Vec<f32> = (0..t * t)
            .map(|i| if i % t == 0 { 1.0 } else { 0.25 })
            .collect();
        let map = MapPyramid::new(t, Mask::CAUSAL, &values);
        for level in map.shape().levels() {
            let main = map.words[level.offset] & 0xffff;
            assert!(f16::from_bits(main as u16).to_f32() <= 0.25);
            assert_eq!(texel(&map.words, level, level.side - 1, 0), f16::ONE);
        }
    }

    #[test]
    fn an_empty_map_has_no_words() {
        assert!(MapPyramid::new(0, Mask::CAUSAL, &[]).words.is_empty());
        assert_eq!(LayerOverview::new(0, 12, 0, Mask::CAUSAL, &[]).side, 0);
    }

    #[test]
    fn no_two_maps_share_an_id() {
        assert_ne!(
            MapPyramid::new(0, Mask::CAUSAL, &[]).id,
            MapPyramid::new(0, Mask::CAUSAL, &[]).id
        );
    }
}
