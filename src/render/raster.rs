//! The twin of `heatmap.wgsl` on the CPU: for machines without an adequate GPU, and to test the shader against.
//!
//! Line by line the same: change both.

use egui::{Color32, ColorImage};

use super::geometry::entry;
use super::lut::color;
use super::plan::{Draw, STYLE_WORDS, masked_color};

/// What a draw reads.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) tables: &'a [u32],
    pub(crate) lut: &'a [u32],
    /// The pyramids of the draw's heads.
    pub(crate) texels: &'a [u32],
}

/// Paints what of `draw` lies on an image with its top left at `corner` (pixels of the screen).
pub(crate) fn paint(draw: &Draw, sources: Sources<'_>, image: &mut ColorImage, corner: [i32; 2]) {
    let [width, height] = image.size;
    let visible = |origin: i32, corner: i32, size: u32, extent: usize| {
        let first = (corner - origin).clamp(0, size as i32) as u32;
        let end = (corner + extent as i32 - origin).clamp(0, size as i32) as u32;
        first..end
    };
    for cell in 0..draw.n_cells {
        let origin = [draw.origin[0] + (cell * draw.pitch) as i32, draw.origin[1]];
        let columns = visible(origin[0], corner[0], draw.size[0], width);
        for y in visible(origin[1], corner[1], draw.size[1], height) {
            let row = (origin[1] + y as i32 - corner[1]) as usize * width;
            for x in columns.clone() {
                if let Some(rgb) = pixel(draw, sources, cell, [x, y]) {
                    let [r, g, b, _] = rgb.to_le_bytes();
                    image.pixels[row + (origin[0] + x as i32 - corner[0]) as usize] =
                        Color32::from_rgb(r, g, b);
                }
            }
        }
    }
}

fn pixel(draw: &Draw, sources: Sources<'_>, cell: u32, [x, y]: [u32; 2]) -> Option<u32> {
    let keys = sources.tables[(draw.keys + x) as usize];
    let queries = sources.tables[(draw.queries + y) as usize];
    if (keys | queries) & entry::OUTSIDE != 0 {
        return None;
    }
    let (key, last_key) = footprint(keys);
    let (query, last_query) = footprint(queries);
    let masked = key > last_query + draw.after
        || query > last_key + draw.before
        || draw.hide_first_key && draw.texel_is_cell && last_key == 0;
    let mut rgb = if masked {
        masked_color()
    } else {
        let half_at = |row, column| half_at(draw, sources.texels, cell, row, column);
        let mut best = greater(half_at(query, key), half_at(query, last_key));
        best = greater(
            best,
            greater(half_at(last_query, key), half_at(last_query, last_key)),
        );
        if key == 0 && !draw.hide_first_key {
            best = greater(
                best,
                greater(half_at(draw.side, query), half_at(draw.side, last_query)),
            );
        }
        color(sources.lut, best)
    };
    if (keys | queries) & entry::MARKED != 0 {
        rgb = over(rgb, u32::from_le_bytes(draw.mark));
    }
    if (keys | queries) & entry::LINE != 0 {
        rgb = over(rgb, u32::from_le_bytes(draw.line));
    }
    let style = (draw.styles + STYLE_WORDS * cell) as usize;
    rgb = over(rgb, sources.tables[style]);
    let [width, height] = draw.size;
    if x.min(y).min(width - 1 - x).min(height - 1 - y) < draw.outline {
        rgb = over(rgb, sources.tables[style + 1]);
    }
    Some(rgb)
}

fn footprint(word: u32) -> (u32, u32) {
    let first = word & entry::FIRST;
    (first, first + (word >> entry::NEXT_SHIFT & 1))
}

fn half_at(draw: &Draw, texels: &[u32], cell: u32, row: u32, column: u32) -> u16 {
    let word = cell * draw.head_words + draw.level_offset + row * draw.row_words + (column >> 1);
    (texels[word as usize] >> (16 * (column & 1))) as u16
}

/// Of two halves the one of greater magnitude: without their signs, the bits order as the values do.
fn greater(a: u16, b: u16) -> u16 {
    if b & 0x7fff > a & 0x7fff { b } else { a }
}

/// Lays a colour over another by its opacity; whole numbers, so that every machine rounds alike.
fn over(below: u32, overlay: u32) -> u32 {
    let alpha = overlay >> 24;
    let channel = |shift: u32| {
        let mixed = (below >> shift & 0xff) * (255 - alpha) + (overlay >> shift & 0xff) * alpha;
        ((mixed + 127) / 255) << shift
    };
    channel(0) | channel(8) | channel(16)
}
