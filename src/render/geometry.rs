//! Where maps lie on the screen: the grid of heads, the window of a matrix, and which texels a pixel shows.
//!
//! The one place that computes levels and texels. Both painters, on the GPU and on the CPU, read the tables made here,
//! so they cannot disagree.

use std::ops::Range;

use egui::{Pos2, Rect, Vec2, pos2, vec2};

/// From this many pixels a cell, the lines between cells are drawn.
const LINES_FROM_PIXELS: f64 = 12.0;

/// A grid of square cells: rows are layers, columns heads. In points; snapped to whole pixels where it is drawn, so
/// that all cells have the same number of pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GridLayout {
    /// Top left of the first cell; above and left of the visible part when scrolled.
    pub origin: Pos2,
    /// Side of a cell.
    pub cell: f32,
    /// Between cells.
    pub gap: f32,
    pub rows: usize,
    pub columns: usize,
}

impl GridLayout {
    /// Exactly the pixels that the cell is drawn on, in points.
    pub fn cell_rect(&self, row: usize, column: usize, pixels_per_point: f32) -> Rect {
        let px = self.pixels(pixels_per_point);
        let min = px
            .cell_origin(row, column)
            .map(|v| v as f32 / pixels_per_point);
        Rect::from_min_size(min.into(), Vec2::splat(px.cell as f32 / pixels_per_point))
    }

    /// The cell, as (row, column), that is drawn at a place; none in the gaps.
    pub fn cell_at(&self, at: Pos2, pixels_per_point: f32) -> Option<(usize, usize)> {
        let px = self.pixels(pixels_per_point);
        let find = |v: f32, origin: i64, count: usize| {
            let from_origin = (v * pixels_per_point).floor() as i64 - origin;
            let index = usize::try_from(from_origin.div_euclid(px.pitch())).ok()?;
            (index < count && from_origin.rem_euclid(px.pitch()) < i64::from(px.cell))
                .then_some(index)
        };
        Some((
            find(at.y, px.origin[1], self.rows)?,
            find(at.x, px.origin[0], self.columns)?,
        ))
    }

    /// Of all cells with the gaps between them, in points.
    pub fn size(&self, pixels_per_point: f32) -> Vec2 {
        let px = self.pixels(pixels_per_point);
        let extent =
            |n: usize| (n as i64 * px.pitch() - i64::from(px.gap)).max(0) as f32 / pixels_per_point;
        vec2(extent(self.columns), extent(self.rows))
    }

    /// Rows of which something lies within `clip` (points).
    pub fn visible_rows(&self, clip: Rect, pixels_per_point: f32) -> Range<usize> {
        let px = self.pixels(pixels_per_point);
        let row_of = |y: f32| (y * pixels_per_point).floor() as i64 - px.origin[1];
        let first = row_of(clip.top())
            .div_euclid(px.pitch())
            .clamp(0, self.rows as i64);
        let end = (row_of(clip.bottom()).div_euclid(px.pitch()) + 1).clamp(first, self.rows as i64);
        first as usize..end as usize
    }

    pub(crate) fn pixels(&self, pixels_per_point: f32) -> GridPixels {
        let round = |v: f32| (v * pixels_per_point).round() as i64;
        GridPixels {
            origin: [round(self.origin.x), round(self.origin.y)],
            cell: round(self.cell).clamp(1, 1 << 14) as u32,
            gap: round(self.gap).clamp(0, 1 << 14) as u32,
        }
    }
}

/// A [`GridLayout`] on whole pixels of the screen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GridPixels {
    pub(crate) origin: [i64; 2],
    pub(crate) cell: u32,
    gap: u32,
}

impl GridPixels {
    pub(crate) fn pitch(self) -> i64 {
        i64::from(self.cell + self.gap)
    }

    pub(crate) fn cell_origin(self, row: usize, column: usize) -> [i64; 2] {
        [
            self.origin[0] + column as i64 * self.pitch(),
            self.origin[1] + row as i64 * self.pitch(),
        ]
    }
}

/// The part of a matrix that a rectangle shows, in cells: x are keys, y queries. It may reach outside of the matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub x: [f64; 2],
    pub y: [f64; 2],
}

impl Window {
    /// All of a map.
    pub fn full(t: usize) -> Self {
        Self {
            x: [0.0, t as f64],
            y: [0.0, t as f64],
        }
    }

    /// The cell, as (query, key), at a place within `rect`; none outside of the matrix.
    pub fn cell_at(&self, rect: Rect, at: Pos2, t: usize) -> Option<(usize, usize)> {
        let [x, y] = self.position(rect, at);
        let cell = |v: f64| (v >= 0.0 && v < t as f64).then_some(v as usize);
        rect.contains(at).then_some(())?;
        Some((cell(y)?, cell(x)?))
    }

    /// Where a cell lies when the window fills `rect`; it may reach outside of it.
    pub fn cell_rect(&self, rect: Rect, query: usize, key: usize) -> Rect {
        let place = |window: [f64; 2], low: f32, extent: f32, cell: usize| {
            low + ((cell as f64 - window[0]) / (window[1] - window[0])) as f32 * extent
        };
        let corner = |query, key| {
            pos2(
                place(self.x, rect.left(), rect.width(), key),
                place(self.y, rect.top(), rect.height(), query),
            )
        };
        Rect::from_min_max(corner(query, key), corner(query + 1, key + 1))
    }

    /// Nearer by `factor`, with the cell under `at` staying there; kept between 4 cells and the whole map.
    #[must_use]
    pub fn zoomed(&self, rect: Rect, at: Pos2, factor: f64, t: usize) -> Self {
        let [x, y] = self.position(rect, at);
        let scale = |[from, to]: [f64; 2], fixed: f64| {
            let extent = ((to - from) / factor).clamp(4.0f64.min(t as f64), t as f64);
            let start = fixed - (fixed - from) * extent / (to - from);
            [start, start + extent]
        };
        Self {
            x: scale(self.x, x),
            y: scale(self.y, y),
        }
        .inside(t)
    }

    /// Moved with a drag of `delta` points.
    #[must_use]
    pub fn panned(&self, rect: Rect, delta: Vec2, t: usize) -> Self {
        let moved = |[from, to]: [f64; 2], points: f32, extent: f32| {
            let cells = f64::from(points) / f64::from(extent) * (to - from);
            [from - cells, to - cells]
        };
        Self {
            x: moved(self.x, delta.x, rect.width()),
            y: moved(self.y, delta.y, rect.height()),
        }
        .inside(t)
    }

    /// Shifted so that nothing outside of the matrix shows, as far as the extent allows.
    fn inside(self, t: usize) -> Self {
        let shift = |[from, to]: [f64; 2]| {
            let start = from.min(t as f64 - (to - from)).max(0.0);
            [start, start + (to - from)]
        };
        Self {
            x: shift(self.x),
            y: shift(self.y),
        }
    }

    fn position(&self, rect: Rect, at: Pos2) -> [f64; 2] {
        let within = |[from, to]: [f64; 2], v: f32, low: f32, extent: f32| {
            from + f64::from((v - low) / extent) * (to - from)
        };
        [
            within(self.x, at.x, rect.left(), rect.width()),
            within(self.y, at.y, rect.top(), rect.height()),
        ]
    }
}

/// What a row or column of pixels shows, packed in a word: bits 0–15 its first texel, bit 16 whether the next one too.
pub(crate) mod entry {
    pub(crate) const FIRST: u32 = 0xffff;
    pub(crate) const NEXT_SHIFT: u32 = 16;
    /// The first pixel of a cell, where lines between cells are drawn.
    pub(crate) const LINE: u32 = 1 << 17;
    /// Shows the marked row or column.
    pub(crate) const MARKED: u32 = 1 << 18;
    /// Shows nothing of the map.
    pub(crate) const OUTSIDE: u32 = 1 << 19;
}

/// One direction of a view: `span` texels of level 0, of which the map has `side`, on `pixels` pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) span: [f64; 2],
    pub(crate) pixels: u32,
    pub(crate) side: usize,
    /// A row or column (texels of level 0) to mark.
    pub(crate) marked: Option<usize>,
    pub(crate) lines: bool,
}

impl Axis {
    /// Texels of level 0 a pixel.
    pub(crate) fn step(&self) -> f64 {
        (self.span[1] - self.span[0]) / f64::from(self.pixels)
    }

    /// An [`entry`] for each pixel.
    ///
    /// While a texel is larger than a pixel, a pixel shows the one under its centre. Below, each texel belongs to
    /// exactly the pixel that it begins in, and a pixel shows the brightest of its own: no bright cell is lost, and a
    /// line one texel wide is one pixel wide everywhere, not one here and two there.
    pub(crate) fn entries(&self, level: u32) -> Vec<u32> {
        let scale = f64::from(1 << level);
        let (start, step) = (self.span[0] / scale, self.step() / scale);
        let side = self.side.div_ceil(1 << level) as i64;
        let lines = self.lines && step * LINES_FROM_PIXELS <= 1.0;
        let mut previous = None;
        (0..self.pixels)
            .map(|pixel| {
                let at = |offset: f64| start + (f64::from(pixel) + offset) * step;
                let (from, to) = if step < 1.0 {
                    let texel = at(0.5).floor() as i64;
                    (texel, texel + 1)
                } else {
                    // What begins before the view belongs to its first pixel.
                    let from = if pixel == 0 {
                        at(0.0).floor()
                    } else {
                        at(0.0).ceil()
                    };
                    (from as i64, at(1.0).ceil() as i64)
                };
                let (from, to) = (from.max(0), to.min(side));
                if from >= to {
                    return entry::OUTSIDE;
                }
                let mut word = from as u32 | u32::from(to - from > 1) << entry::NEXT_SHIFT;
                if lines && previous.is_some_and(|texel| texel != from) {
                    word |= entry::LINE;
                }
                previous = Some(from);
                if self
                    .marked
                    .is_some_and(|m| (from..to).contains(&(m as i64 >> level)))
                {
                    word |= entry::MARKED;
                }
                word
            })
            .collect()
    }
}

/// The coarsest level at which a pixel shows a texel or more, and so at most 2. Of the two directions of a distorted
/// view, that with more texels a pixel decides.
pub(crate) fn level_for(steps: [f64; 2]) -> u32 {
    steps[0].max(steps[1]).max(1.0).log2().floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(span: [f64; 2], pixels: u32, side: usize) -> Axis {
        Axis {
            span,
            pixels,
            side,
            marked: None,
            lines: true,
        }
    }

    fn texels(word: u32) -> Range<u32> {
        let first = word & entry::FIRST;
        first..first + 1 + (word >> entry::NEXT_SHIFT & 1)
    }

    #[test]
    fn below_a_pixel_each_texel_is_shown_by_exactly_one() {
        for (side, pixels) in [
            (64, 60),
            (64, 64),
            (1024, 60),
            (1000, 61),
            (257, 33),
            (5, 1),
        ] {
            let axis = axis([0.0, side as f64], pixels, side);
            let level = level_for([axis.step(); 2]);
            let shown: Vec<u32> = axis.entries(level).into_iter().flat_map(texels).collect();
            let all: Vec<u32> = (0..side.div_ceil(1 << level) as u32).collect();
            assert_eq!(shown, all, "side {side} on {pixels}");
        }
    }

    #[test]
    fn a_view_panned_to_a_fraction_loses_no_texel() {
        let axis = axis([10.3, 200.9], 60, 300);
        let level = level_for([axis.step(); 2]);
        let entries = axis.entries(level);
        assert_eq!(texels(entries[0]).start, 10 >> level);
        for pair in entries.windows(2) {
            assert_eq!(texels(pair[0]).end, texels(pair[1]).start);
        }
        assert_eq!(texels(entries[59]).end, (201 >> level) + 1);
    }

    #[test]
    fn large_cells_have_one_line_each_and_show_themselves() {
        let entries = axis([2.0, 6.0], 64, 100).entries(0);
        let lines: Vec<usize> = (0..64).filter(|&i| entries[i] & entry::LINE != 0).collect();
        assert_eq!(lines, [16, 32, 48]);
        assert_eq!(texels(entries[0]), 2..3);
        assert_eq!(texels(entries[63]), 5..6);
    }

    #[test]
    fn what_lies_outside_of_the_map_shows_nothing() {
        let entries = axis([-1.0, 3.0], 4, 2).entries(0);
        let outside: Vec<bool> = entries.iter().map(|w| w & entry::OUTSIDE != 0).collect();
        assert_eq!(outside, [true, false, false, true]);
    }

    #[test]
    fn a_marked_texel_is_marked_at_every_level() {
        for pixels in [8, 64, 512] {
            let axis = Axis {
                marked: Some(33),
                ..axis([0.0, 64.0], pixels, 64)
            };
            let entries = axis.entries(level_for([axis.step(); 2]));
            let marked = entries.iter().filter(|&&w| w & entry::MARKED != 0).count();
            assert_eq!(marked, (pixels as usize).div_ceil(64), "{pixels}");
        }
    }

    #[test]
    fn a_distorted_view_shows_all_of_its_longer_direction() {
        let (x, y) = (
            axis([0.0, 1000.0], 1000, 1000),
            axis([0.0, 1000.0], 80, 1000),
        );
        let level = level_for([x.step(), y.step()]);
        let shown: usize = y.entries(level).into_iter().map(|w| texels(w).len()).sum();
        assert_eq!(shown, 1000usize.div_ceil(1 << level));
    }

    #[test]
    fn a_cell_of_the_grid_is_found_where_it_is_drawn() {
        let grid = GridLayout {
            origin: pos2(10.3, -33.0),
            cell: 20.7,
            gap: 1.5,
            rows: 12,
            columns: 9,
        };
        for ppp in [1.0, 1.5, 2.0] {
            for (row, column) in [(0, 0), (5, 8), (11, 3)] {
                let rect = grid.cell_rect(row, column, ppp);
                assert_eq!(grid.cell_at(rect.center(), ppp), Some((row, column)));
                assert_eq!(
                    grid.cell_at(rect.min + vec2(0.1, 0.1), ppp),
                    Some((row, column))
                );
                let in_gap = rect.max + Vec2::splat(0.5 / ppp);
                assert_eq!(grid.cell_at(in_gap, ppp), None);
            }
            assert_eq!(grid.cell_at(pos2(9.0, 0.0), ppp), None);
            let last = grid.cell_rect(11, 8, ppp).max - grid.cell_rect(0, 0, ppp).min;
            assert!((last - grid.size(ppp)).length() < 0.01);
        }
    }

    #[test]
    fn only_rows_in_view_are_visible() {
        let grid = GridLayout {
            origin: pos2(0.0, -100.0),
            cell: 18.0,
            gap: 2.0,
            rows: 50,
            columns: 2,
        };
        let clip = Rect::from_min_max(pos2(0.0, 0.0), pos2(50.0, 45.0));
        assert_eq!(grid.visible_rows(clip, 1.0), 5..8);
        let below = Rect::from_min_max(pos2(0.0, 5000.0), pos2(50.0, 5045.0));
        assert!(grid.visible_rows(below, 1.0).is_empty());
    }

    #[test]
    fn zooming_keeps_the_cell_under_the_pointer() {
        let rect = Rect::from_min_size(pos2(100.0, 50.0), vec2(300.0, 300.0));
        let at = pos2(220.0, 130.0);
        let mut window = Window::full(512);
        let cell = window.cell_at(rect, at, 512);
        for _ in 0..10 {
            window = window.zoomed(rect, at, 1.3, 512);
            assert_eq!(window.cell_at(rect, at, 512), cell);
        }
        assert!(
            window
                .cell_rect(rect, cell.unwrap().0, cell.unwrap().1)
                .contains(at)
        );
        for _ in 0..20 {
            window = window.zoomed(rect, at, 0.7, 512);
        }
        assert_eq!(window, Window::full(512));
    }

    #[test]
    fn panning_stops_at_the_edge() {
        let rect = Rect::from_min_size(pos2(0.0, 0.0), vec2(100.0, 100.0));
        let window = Window {
            x: [10.0, 20.0],
            y: [10.0, 20.0],
        };
        assert_eq!(
            window.panned(rect, vec2(10.0, -10.0), 64),
            Window {
                x: [9.0, 19.0],
                y: [11.0, 21.0]
            }
        );
        assert_eq!(
            window.panned(rect, vec2(1e6, 1e6), 64),
            Window {
                x: [0.0, 10.0],
                y: [0.0, 10.0]
            }
        );
    }
}
