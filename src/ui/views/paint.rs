//! Where views hand maps over to be painted. This is the CPU way: pixels into textures, kept until what they show changes.

use std::collections::HashMap;


use egui::{Color32, ColorImage, Pos2, Rect, Stroke, StrokeKind, TextureHandle, TextureOptions, Ui, Vec2, pos2, vec2};

use crate::ids::HeadId;
use crate::session::Shown;
use crate::ui::context::ViewContext;
use crate::ui::widgets::map::{Map, MapKey};
use crate::colormap::ColorScale;
use crate::ui::widgets::scale::sample;
use crate::worker::LiveLayer;

/// Textures of what was painted last, one a place.
#[derive(Default)]
pub struct Textures {
    slots: HashMap<Slot, (Key, TextureHandle)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Slot {
    Cell(HeadId),
    Map(usize),
}

/// Everything that the pixels depend on.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    map: MapKey,
    scale: ColorScale,
    size: [usize; 2],
    window: Window,
    masked: Color32,
}

/// The part of a map in view, in cells; square.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub key: f32,
    pub query: f32,
    pub span: f32,
}

impl Window {
    /// The whole map.
    pub const fn whole(n_tokens: usize) -> Self {
        Self {
            key: 0.0,
            query: 0.0,
            span: n_tokens as f32,
        }
    }

    /// The cell (query, key) under a point of `rect`.
    pub fn cell_at(&self, rect: Rect, at: Pos2, n_tokens: usize) -> Option<(usize, usize)> {
        if !rect.contains(at) {
            return None;
        }
        let share = (at - rect.min) / rect.size();
        let key = (self.key + share.x * self.span).floor();
        let query = (self.query + share.y * self.span).floor();
        let inside = |cell: f32| cell >= 0.0 && cell < n_tokens as f32;
        (inside(key) && inside(query)).then_some((query as usize, key as usize))
    }

    /// Where a cell is drawn.
    pub fn cell_rect(&self, rect: Rect, query: usize, key: usize) -> Rect {
        let cell = rect.width() / self.span;
        let min = rect.min + vec2(key as f32 - self.key, query as f32 - self.query) * cell;
        Rect::from_min_size(min, Vec2::splat(cell))
    }

    /// A window of `span` cells in which the cell coordinates under a point stay there.
    pub fn zoomed(&self, factor: f32, share: Vec2, n_tokens: usize) -> Self {
        let n = n_tokens as f32;
        let span = (self.span / factor).clamp(1.0_f32.min(n), n);
        Self {
            key: self.key + share.x * (self.span - span),
            query: self.query + share.y * (self.span - span),
            span,
        }
        .kept_inside(n_tokens)
    }

    pub fn panned(&self, cells: Vec2, n_tokens: usize) -> Self {
        Self {
            key: self.key + cells.x,
            query: self.query + cells.y,
            ..*self
        }
        .kept_inside(n_tokens)
    }

    fn kept_inside(self, n_tokens: usize) -> Self {
        let room = (n_tokens as f32 - self.span).max(0.0);
        Self {
            key: self.key.clamp(0.0, room),
            query: self.query.clamp(0.0, room),
            span: self.span,
        }
    }
}

/// A grid of thumbnails.
pub struct GridDraw<'a> {
    pub rows: Vec<GridRow<'a>>,
    /// Side of a thumbnail, in points.
    pub cell: f32,
    /// From one thumbnail to the next, in points.
    pub pitch: f32,
    pub scale: ColorScale,
}

/// One layer's thumbnails.
pub struct GridRow<'a> {
    pub index: usize,
    pub top_left: Pos2,
    /// `None` until the layer's first result.
    pub layer: Option<&'a LiveLayer>,
    /// One a head.
    pub flags: Vec<CellFlags>,
}

/// How a thumbnail is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CellFlags {
    pub edited: bool,
    pub hovered: bool,
    pub selected: bool,
    /// Its results are older than the request.
    pub stale: bool,
}

/// Paints thumbnails into `rect`.
pub fn draw_grid(
    cx: &ViewContext<'_>,
    ui: &Ui,
    rect: Rect,
    draw: &GridDraw<'_>,
    textures: &mut Textures,
) {
    let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    for row in &draw.rows {
        for (head, flags) in row.flags.iter().enumerate() {
            let min = row.top_left + vec2(head as f32 * draw.pitch, 0.0);
            let cell = Rect::from_min_size(min, Vec2::splat(draw.cell));
            if !cell.intersects(painter.clip_rect()) {
                continue;
            }
            let id = HeadId::new(row.index, head);
            let map = row
                .layer
                .filter(|layer| head < layer.maps.patterns.n_heads())
                .map(|layer| Map {
                    head: id,
                    shown: Shown::Attention,
                    layer,
                    before: None,
                });
            if let Some(map) = map {
                let tint = Color32::WHITE.gamma_multiply(if flags.stale { 0.45 } else { 1.0 });
                painter.rect_filled(cell, 0.0, cx.theme.cell_empty);
                let window = Window::whole(map.n_tokens());
                let texture = textures.get(ui, Slot::Cell(id), &map, &draw.scale, window, cell, cx.theme.masked);
                painter.image(texture, cell, UNIT, tint);
            } else {
                painter.rect_filled(cell, 1.0, cx.theme.cell_empty);
            }
            let strokes = [
                (flags.edited, Stroke::new(1.5, cx.theme.cell_edited), 0.0),
                (flags.selected, Stroke::new(2.0, cx.theme.selection_stroke), 1.0),
                (flags.hovered, Stroke::new(1.5, cx.theme.hover_stroke), 1.0),
            ];
            for (_, stroke, grow) in strokes.into_iter().filter(|(on, ..)| *on) {
                let kind = if grow > 0.0 { StrokeKind::Outside } else { StrokeKind::Inside };
                painter.rect_stroke(cell, 1.0, stroke, kind);
            }
        }
    }
}

/// A map with its colours and the part of it that is in view.
pub struct MatrixDraw<'a> {
    /// Which of the maps that are side by side.
    pub place: usize,
    pub map: Map<'a>,
    pub scale: ColorScale,
    pub window: Window,
    pub stale: bool,
}

/// Paints a map into `rect`, which is square.
pub fn draw_matrix(
    cx: &ViewContext<'_>,
    ui: &Ui,
    rect: Rect,
    draw: &MatrixDraw<'_>,
    textures: &mut Textures,
) {
    ui.painter().rect_filled(rect, 0.0, cx.theme.cell_empty);
    let slot = Slot::Map(draw.place);
    let texture = textures.get(ui, slot, &draw.map, &draw.scale, draw.window, rect, cx.theme.masked);
    let tint = Color32::WHITE.gamma_multiply(if draw.stale { 0.45 } else { 1.0 });
    ui.painter().image(texture, rect, UNIT, tint);
}

const UNIT: Rect = Rect {
    min: Pos2::ZERO,
    max: pos2(1.0, 1.0),
};

impl Textures {
    #[expect(clippy::too_many_arguments, reason = "the parts of one key")]
    fn get(
        &mut self,
        ui: &Ui,
        slot: Slot,
        map: &Map<'_>,
        scale: &ColorScale,
        window: Window,
        rect: Rect,
        masked: Color32,
    ) -> egui::TextureId {
        let pixels = rect.size() * ui.pixels_per_point();
        let key = Key {
            map: map.key(),
            scale: *scale,
            size: [pixels.x.round().max(1.0) as usize, pixels.y.round().max(1.0) as usize],
            window,
            masked,
        };
        if let Some((known, texture)) = self.slots.get(&slot)
            && *known == key
        {
            return texture.id();
        }
        let image = image(map, &key);
        let options = TextureOptions::NEAREST;
        if let Some((known, texture)) = self.slots.get_mut(&slot) {
            *known = key;
            texture.set(image, options);
            return texture.id();
        }
        let texture = ui.ctx().load_texture(format!("{slot:?}"), image, options);
        let id = texture.id();
        self.slots.insert(slot, (key, texture));
        id
    }
}

/// One texel a pixel; a pixel that covers several cells takes the one furthest from 0, so that thin lines survive.
fn image(map: &Map<'_>, key: &Key) -> ColorImage {
    const SHADES: usize = 1024;
    let shades: Vec<Color32> = (0..=SHADES)
        .map(|i| sample(key.scale.map, i as f32 / SHADES as f32))
        .collect();
    let [width, height] = key.size;
    let n = map.n_tokens();
    let span = |start: f32, pixel: usize, pixels: usize| {
        let per_pixel = key.window.span / pixels as f32;
        let from = start + pixel as f32 * per_pixel;
        let first = ((from + 1e-3) as usize).min(n - 1);
        let last = ((from + per_pixel - 1e-3).max(0.0) as usize).clamp(first, n - 1);
        first..=last
    };
    let columns: Vec<_> = (0..width).map(|x| span(key.window.key, x, width)).collect();
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        let queries = span(key.window.query, y, height);
        for keys in &columns {
            let mut value: Option<f32> = None;
            for query in queries.clone() {
                for key in keys.clone() {
                    if let Some(cell) = map.value(query, key)
                        && value.is_none_or(|value| cell.abs() > value.abs())
                    {
                        value = Some(cell);
                    }
                }
            }
            pixels.push(value.map_or(key.masked, |value| {
                shades[(key.scale.t(value) * SHADES as f32) as usize]
            }));
        }
    }
    ColorImage::new([width, height], pixels)
}

