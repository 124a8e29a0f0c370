//! Where views hand maps over to the renderer: from heads, windows in cells and theme colours to plain draws.

use std::collections::HashMap;
use std::sync::Arc;

use egui::{Color32, Pos2, Rect, Ui, Vec2, vec2};

use crate::colormap::ColorScale;
use crate::pyramid::MapPyramid;
use crate::render::geometry::{GridLayout, Window as RenderWindow};
use crate::render::heatmap;
use crate::render::plan::{self, CellStyle, MatrixStyle, Overlay};
use crate::ui::context::ViewContext;
use crate::ui::widgets::map::{Map, MapKey};
use crate::worker::LiveLayer;

/// Full-resolution maps as the renderer wants them, one a place, until what they show changes.
#[derive(Debug, Default)]
pub struct Pyramids(HashMap<usize, (MapKey, Arc<MapPyramid>)>);

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
    #[must_use]
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

    #[must_use]
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

    fn for_renderer(self) -> RenderWindow {
        let range = |start: f32| [f64::from(start), f64::from(start + self.span)];
        RenderWindow {
            x: range(self.key),
            y: range(self.query),
        }
    }
}

/// A grid of thumbnails, of which some rows are in view.
pub struct GridDraw<'a> {
    /// Where the thumbnail of the first layer's first head begins, in view or not.
    pub origin: Pos2,
    pub n_layers: usize,
    pub n_heads: usize,
    pub rows: Vec<GridRow<'a>>,
    /// Side of a thumbnail, in points.
    pub cell: f32,
    /// From one thumbnail to the next, in points.
    pub pitch: f32,
    pub scale: ColorScale,
    pub hide_first_key: bool,
}

/// One layer's thumbnails.
pub struct GridRow<'a> {
    pub index: usize,
    /// `None` until the layer's first result.
    pub layer: Option<&'a LiveLayer>,
    /// One a head.
    pub flags: Vec<CellFlags>,
}

/// How a thumbnail is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each may stand with any other"
)]
pub struct CellFlags {
    pub edited: bool,
    pub hovered: bool,
    pub selected: bool,
    /// Its results are older than the request.
    pub stale: bool,
}

/// Paints thumbnails into `rect`.
pub fn draw_grid(cx: &ViewContext<'_>, ui: &Ui, rect: Rect, draw: &GridDraw<'_>) {
    let layout = GridLayout {
        origin: draw.origin,
        cell: draw.cell,
        gap: draw.pitch - draw.cell,
        rows: draw.n_layers,
        columns: draw.n_heads,
    };
    let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    let mut layers = vec![None; draw.n_layers];
    let mut styles = vec![CellStyle::default(); draw.n_layers * draw.n_heads];
    for row in &draw.rows {
        match row.layer {
            Some(layer) => layers[row.index] = Some(Arc::clone(&layer.overview)),
            None => {
                for head in 0..draw.n_heads {
                    let cell = layout.cell_rect(row.index, head, ui.pixels_per_point());
                    painter.rect_filled(cell, 0.0, cx.theme.cell_empty);
                }
            }
        }
        let styles = &mut styles[row.index * draw.n_heads..][..draw.n_heads];
        for (style, flags) in styles.iter_mut().zip(&row.flags) {
            *style = cell_style(cx, *flags);
        }
    }
    let grid = plan::GridDraw {
        id: egui::Id::unique("the grid of heads"),
        layout,
        layers,
        scale: draw.scale,
        hide_first_key: draw.hide_first_key,
        styles,
        outline_width: 2.0,
    };
    heatmap::paint_grid(cx.backend, &painter, rect, grid);
}

fn cell_style(cx: &ViewContext<'_>, flags: CellFlags) -> CellStyle {
    let theme = cx.theme;
    let outline = if flags.hovered {
        theme.hover_stroke
    } else if flags.selected {
        theme.selection_stroke
    } else if flags.edited {
        theme.cell_edited
    } else {
        Color32::TRANSPARENT
    };
    CellStyle {
        tint: stale_tint(cx, flags.stale),
        outline: outline.to_srgba_unmultiplied(),
    }
}

/// Old results are dimmed by the background.
fn stale_tint(cx: &ViewContext<'_>, stale: bool) -> Overlay {
    let [r, g, b, _] = cx.theme.panel_bg.to_srgba_unmultiplied();
    [r, g, b, if stale { 120 } else { 0 }]
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
    pyramids: &mut Pyramids,
) {
    ui.painter().rect_filled(rect, 0.0, cx.theme.cell_empty);
    let [r, g, b, _] = cx.theme.panel_bg.to_srgba_unmultiplied();
    let matrix = plan::MatrixDraw {
        id: egui::Id::unique(("an attention map", draw.place)),
        map: pyramids.get(draw.place, &draw.map),
        window: draw.window.for_renderer(),
        scale: draw.scale,
        hide_first_key: cx.session.view.hide_sink,
        marked_query: None,
        marked_key: None,
        style: MatrixStyle {
            tint: stale_tint(cx, draw.stale),
            line: [r, g, b, 60],
            mark: [0; 4],
        },
    };
    heatmap::paint_matrix(cx.backend, ui.painter(), rect, matrix);
}

impl Pyramids {
    fn get(&mut self, place: usize, map: &Map<'_>) -> Arc<MapPyramid> {
        let key = map.key();
        match self.0.get(&place) {
            Some((known, pyramid)) if *known == key => Arc::clone(pyramid),
            _ => {
                let pyramid = Arc::new(MapPyramid::new(map.n_tokens(), map.mask(), &map.values()));
                self.0.insert(place, (key, Arc::clone(&pyramid)));
                pyramid
            }
        }
    }
}
