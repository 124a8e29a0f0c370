//! The tokens at the edges of a map: queries on the left, keys upright on top, thinned where cells are small.

use std::f32::consts::FRAC_PI_2;

use egui::epaint::TextShape;
use egui::{Align2, Color32, FontId, Rect, Ui, Vec2, pos2, vec2};

use super::Window;
use crate::model::tokenizer::Piece;
use crate::ui::context::ViewContext;
use crate::ui::widgets::tokens;

const FONT: f32 = 11.0;
/// Points from one label to the next, at the least.
const PITCH: f32 = 12.0;
/// Labels are cut to this many characters; the tooltip has all of it.
const MAX_CHARS: usize = 12;

fn font() -> FontId {
    FontId::monospace(FONT)
}

/// Room for labels: on the left, and on top.
pub(super) fn room(ui: &Ui, pieces: &[Piece], n_tokens: usize) -> Vec2 {
    let longest = (0..n_tokens)
        .map(|position| tokens::label(pieces, position, MAX_CHARS).chars().count())
        .max()
        .unwrap_or(1);
    let width = ui.fonts_mut(|fonts| fonts.glyph_width(&font(), 'm'));
    Vec2::splat((longest as f32 * width).ceil() + 8.0)
}

/// Every how many cells a label has room.
fn every(cell: f32) -> usize {
    (PITCH / cell).ceil().max(1.0) as usize
}

/// The positions in view.
fn visible(start: f32, span: f32, n_tokens: usize) -> std::ops::Range<usize> {
    start.floor().max(0.0) as usize..((start + span).ceil() as usize).min(n_tokens)
}

/// Labels left of the map; `lit` stands out, and is drawn even where its neighbours give way.
pub(super) fn queries(
    cx: &ViewContext<'_>,
    ui: &Ui,
    rect: Rect,
    window: &Window,
    pieces: &[Piece],
    lit: Option<usize>,
    n_tokens: usize,
) {
    let every = every(rect.width() / window.span);
    for position in visible(window.query, window.span, n_tokens) {
        let is_lit = lit == Some(position);
        if !is_drawn(position, every, lit) {
            continue;
        }
        let y = window.cell_rect(rect, position, 0).center().y;
        if !rect.y_range().contains(y) {
            continue;
        }
        let text = tokens::label(pieces, position, MAX_CHARS);
        let at = pos2(rect.left() - 5.0, y);
        ui.painter().text(
            at,
            Align2::RIGHT_CENTER,
            text,
            font(),
            color(cx, pieces, position, is_lit),
        );
    }
}

/// Labels on top of the map, read upwards.
pub(super) fn keys(
    cx: &ViewContext<'_>,
    ui: &Ui,
    rect: Rect,
    window: &Window,
    pieces: &[Piece],
    lit: Option<usize>,
    n_tokens: usize,
) {
    let every = every(rect.width() / window.span);
    for position in visible(window.key, window.span, n_tokens) {
        let is_lit = lit == Some(position);
        if !is_drawn(position, every, lit) {
            continue;
        }
        let x = window.cell_rect(rect, 0, position).center().x;
        if !rect.x_range().contains(x) {
            continue;
        }
        let text = tokens::label(pieces, position, MAX_CHARS);
        let color = color(cx, pieces, position, is_lit);
        let galley = ui.painter().layout_no_wrap(text, font(), color);
        let at = pos2(x, rect.top() - 5.0) - vec2(galley.size().y / 2.0, 0.0);
        let shape = TextShape::new(at, galley, color).with_angle(-FRAC_PI_2);
        ui.painter().add(shape);
    }
}

/// The neighbours of a lit label leave their place to it.
fn is_drawn(position: usize, every: usize, lit: Option<usize>) -> bool {
    match lit {
        Some(lit) if lit == position => true,
        Some(lit) if lit.abs_diff(position) < every => false,
        _ => position.is_multiple_of(every),
    }
}

fn color(cx: &ViewContext<'_>, pieces: &[Piece], position: usize, lit: bool) -> Color32 {
    let special = pieces.get(position).is_some_and(|piece| piece.special);
    if lit {
        cx.theme.hover_stroke
    } else if special {
        cx.theme.text_weak
    } else {
        cx.theme.text
    }
}
