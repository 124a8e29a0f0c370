//! What is to be drawn, in plain data, and its translation into the numbers that both painters read.
//!
//! `geometry` knows texels and pixels; here they meet colours, marks and the shape of a map. `heatmap` paints.

use std::sync::Arc;

use egui::Rect;

use super::geometry::{Axis, GridLayout, GridPixels, Window, level_for};
use crate::colormap::{ColorScale, MASKED};
use crate::mask::Mask;
use crate::pyramid::{LayerOverview, MapPyramid, Shape};

/// Red, green, blue and how much of it covers what lies below; not premultiplied.
pub type Overlay = [u8; 4];

/// The maps of all heads as a grid.
#[derive(Clone, Debug)]
pub struct GridDraw {
    /// Names this grid: its maps replace those that were drawn under the same name before.
    pub id: egui::Id,
    pub layout: GridLayout,
    /// By row. Where there is none (yet), the background shows.
    pub layers: Vec<Option<Arc<LayerOverview>>>,
    pub scale: ColorScale,
    /// Leaves out the weight on the first key.
    pub hide_first_key: bool,
    /// `[row, column]`; heads beyond the end are plain.
    pub styles: Vec<CellStyle>,
    /// Width of the outlines, in points.
    pub outline_width: f32,
}

/// How a head's cell differs from a plain one. What that means (edited, hovered, selected, stale) the caller decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CellStyle {
    /// Over the whole cell; with the colour of the background it dims.
    pub tint: Overlay,
    /// Along the inside of the cell's edge.
    pub outline: Overlay,
}

/// One map at full resolution, seen through a window.
#[derive(Clone, Debug)]
pub struct MatrixDraw {
    /// Names this view.
    pub id: egui::Id,
    pub map: Arc<MapPyramid>,
    pub window: Window,
    pub scale: ColorScale,
    /// Leaves out the weight on the first key; its column is grey.
    pub hide_first_key: bool,
    /// The row (query) and column (key) to mark, as under the pointer.
    pub marked_query: Option<usize>,
    pub marked_key: Option<usize>,
    pub style: MatrixStyle,
}

/// Colours over a matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MatrixStyle {
    /// Over all of it; with the colour of the background it dims.
    pub tint: Overlay,
    /// Between cells of 12 pixels or more.
    pub line: Overlay,
    /// Over the marked row and column.
    pub mark: Overlay,
}

/// The shape of a map's data, which decides how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapShape {
    /// Queries, and keys.
    pub(crate) t: usize,
    /// Texels a side at level 0.
    pub(crate) side: usize,
    pub(crate) mask: Mask,
    pub(crate) n_heads: usize,
}

impl MapShape {
    pub(crate) fn of_layer(layer: &LayerOverview) -> Self {
        let LayerOverview {
            t,
            side,
            mask,
            n_heads,
            ..
        } = *layer;
        Self {
            t,
            side,
            mask,
            n_heads,
        }
    }

    pub(crate) fn of_map(map: &MapPyramid) -> Self {
        Self {
            t: map.t,
            side: map.t,
            mask: map.mask,
            n_heads: 1,
        }
    }

    /// Words of one head's pyramid.
    pub(crate) fn head_words(self) -> usize {
        Shape::new(self.side).words()
    }

    /// The mask's reach before and after a query, in texels of a level.
    fn reach(self, level: u32) -> [u32; 2] {
        let tokens = self.t.div_ceil(self.side.max(1)).max(1) << level;
        let Mask { before, after } = self.mask.of_blocks(tokens);
        [before, after].map(|texels| texels.map_or(ALL, |n| n.min(ALL as usize) as u32))
    }
}

/// One instanced draw: a row of cells, each with the map of one head. Twin of `Draw` in `heatmap.wgsl`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    /// Top left of the first cell, in pixels of the screen.
    pub(crate) origin: [i32; 2],
    /// From a cell to the next, in pixels.
    pub(crate) pitch: u32,
    /// Of a cell, in pixels.
    pub(crate) size: [u32; 2],
    pub(crate) outline: u32,
    /// Where in the tables the entries of the pixel columns, of the pixel rows, and the cells' styles begin.
    pub(crate) keys: u32,
    pub(crate) queries: u32,
    pub(crate) styles: u32,
    /// Of the level that is read.
    pub(crate) level_offset: u32,
    pub(crate) side: u32,
    pub(crate) row_words: u32,
    /// Words of one head's pyramid.
    pub(crate) head_words: u32,
    /// How many texels of the level a query's texel sees before and after its own; [`ALL`] is all.
    pub(crate) before: u32,
    pub(crate) after: u32,
    pub(crate) hide_first_key: bool,
    /// A texel of the level is a cell of the matrix.
    pub(crate) texel_is_cell: bool,
    pub(crate) line: Overlay,
    pub(crate) mark: Overlay,
    /// Cells to draw.
    pub(crate) n_cells: u32,
}

/// 32-bit words of a [`Draw`] as the shader reads it: whole vectors of four, which some drivers ask for.
pub(crate) const DRAW_WORDS: usize = 24;
/// Farther than any texel, and no sum with a texel's number overflows.
pub(crate) const ALL: u32 = 0xffff;
pub(crate) const HIDE_FIRST_KEY: u32 = 1;
pub(crate) const TEXEL_IS_CELL: u32 = 2;
/// Words of a cell's style in the tables.
pub(crate) const STYLE_WORDS: u32 = 2;

impl Draw {
    /// In the order of `Draw` in `heatmap.wgsl`.
    pub(crate) fn words(&self, screen: [u32; 2]) -> [u32; DRAW_WORDS] {
        let flag = |on: bool, bit: u32| if on { bit } else { 0 };
        [
            self.origin[0] as u32,
            self.origin[1] as u32,
            self.pitch,
            self.size[0],
            self.size[1],
            self.outline,
            self.keys,
            self.queries,
            self.styles,
            self.level_offset,
            self.side,
            self.row_words,
            self.head_words,
            flag(self.hide_first_key, HIDE_FIRST_KEY) | flag(self.texel_is_cell, TEXEL_IS_CELL),
            u32::from_le_bytes(self.line),
            u32::from_le_bytes(self.mark),
            masked_color(),
            screen[0],
            screen[1],
            self.before,
            self.after,
            0,
            0,
            0,
        ]
    }

    /// The same row from its `first` cell on.
    pub(crate) fn starting_at(&self, first: u32, n_cells: u32) -> Self {
        let x = self.origin[0] + (first * self.pitch) as i32;
        let styles = self.styles + STYLE_WORDS * first;
        Self {
            origin: [x, self.origin[1]],
            styles,
            n_cells,
            ..*self
        }
    }
}

pub(crate) fn masked_color() -> u32 {
    let [r, g, b] = MASKED;
    u32::from_le_bytes([r, g, b, 255])
}

/// Rows of a grid, one at a time, sharing their tables.
pub(crate) struct GridPlan<'a> {
    draw: &'a GridDraw,
    pixels: GridPixels,
    outline: u32,
    /// Entries of pixels and styles of cells.
    pub(crate) tables: Vec<u32>,
    /// Side of level 0, and the start and the level of its entries: a handful at most.
    axes: Vec<(usize, u32, u32)>,
}

impl<'a> GridPlan<'a> {
    pub(crate) fn new(draw: &'a GridDraw, pixels_per_point: f32) -> Self {
        Self {
            draw,
            pixels: draw.layout.pixels(pixels_per_point),
            outline: (draw.outline_width * pixels_per_point).round().max(1.0) as u32,
            tables: Vec::new(),
            axes: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, row: usize, shape: MapShape) -> Option<Draw> {
        let (keys, level) = self.axis(shape.side);
        let (level, place) = Shape::new(shape.side).level(level)?;
        let n_cells = shape.n_heads.min(self.draw.layout.columns);
        let styles = self.tables.len() as u32;
        for column in 0..n_cells {
            let style = self
                .draw
                .styles
                .get(row * self.draw.layout.columns + column)
                .copied()
                .unwrap_or_default();
            self.tables
                .extend([style.tint, style.outline].map(u32::from_le_bytes));
        }
        let [x, y] = self.pixels.cell_origin(row, 0);
        let [before, after] = shape.reach(level);
        Some(Draw {
            origin: [i32::try_from(x).ok()?, i32::try_from(y).ok()?],
            pitch: self.pixels.pitch() as u32,
            size: [self.pixels.cell; 2],
            outline: self.outline,
            keys,
            queries: keys,
            styles,
            level_offset: place.offset as u32,
            side: place.side as u32,
            row_words: place.row_words() as u32,
            head_words: shape.head_words() as u32,
            before,
            after,
            hide_first_key: self.draw.hide_first_key,
            texel_is_cell: level == 0 && shape.side == shape.t,
            line: [0; 4],
            mark: [0; 4],
            n_cells: n_cells as u32,
        })
    }

    /// Start of the entries in the tables, and the level they are for.
    fn axis(&mut self, side: usize) -> (u32, u32) {
        if let Some(&(_, start, level)) = self.axes.iter().find(|(s, ..)| *s == side) {
            return (start, level);
        }
        let axis = Axis {
            span: [0.0, side as f64],
            pixels: self.pixels.cell,
            side,
            marked: None,
            lines: false,
        };
        let level = level_for([axis.step(); 2]);
        let start = self.tables.len() as u32;
        self.tables.extend(axis.entries(level));
        self.axes.push((side, start, level));
        (start, level)
    }
}

/// The draw of a matrix, and its tables; none when it has no cell or `rect` no pixel.
pub(crate) fn matrix_plan(
    draw: &MatrixDraw,
    rect: Rect,
    pixels_per_point: f32,
) -> Option<(Draw, Vec<u32>)> {
    let shape = MapShape::of_map(&draw.map);
    let [min, max] =
        [rect.min, rect.max].map(|p| [p.x, p.y].map(|v| (v * pixels_per_point).round() as i32));
    // Wider than any screen: not a view.
    let size = [0, 1].map(|i| max[i].saturating_sub(min[i]).clamp(0, 1 << 15) as u32);
    if size.contains(&0) {
        return None;
    }
    let axis = |span, pixels, marked| Axis {
        span,
        pixels,
        side: shape.t,
        marked,
        lines: draw.style.line[3] > 0,
    };
    let keys = axis(draw.window.x, size[0], draw.marked_key);
    let queries = axis(draw.window.y, size[1], draw.marked_query);
    let (level, place) = draw
        .map
        .shape()
        .level(level_for([keys.step(), queries.step()]))?;
    let mut tables = keys.entries(level);
    tables.extend(queries.entries(level));
    let [before, after] = shape.reach(level);
    let styles = tables.len() as u32;
    tables.extend([u32::from_le_bytes(draw.style.tint), 0]);
    let draw = Draw {
        origin: min,
        pitch: 0,
        size,
        outline: 0,
        keys: 0,
        queries: size[0],
        styles,
        level_offset: place.offset as u32,
        side: place.side as u32,
        row_words: place.row_words() as u32,
        head_words: shape.head_words() as u32,
        before,
        after,
        hide_first_key: draw.hide_first_key,
        texel_is_cell: level == 0,
        line: draw.style.line,
        mark: draw.style.mark,
        n_cells: 1,
    };
    Some((draw, tables))
}
