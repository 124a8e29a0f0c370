//! The maps of the selected heads, side by side: queries down, keys across, every cell with its exact value.

mod labels;

use egui::{Key, Rect, Role, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2};

use super::paint::{self, MatrixDraw, Pyramids, Window};
use crate::colormap::{ColorScale, Colormap};
use crate::model::tokenizer::Piece;
use crate::session::{Shown, View};
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::focus::Item;
use crate::ui::widgets::map::{Map, MapKey};
use crate::ui::widgets::scale;
use crate::ui::widgets::{edits, message, tokens};

#[derive(Debug, Default)]
pub struct State {
    pyramids: Pyramids,
    /// What is in view, and of how many tokens; `None` is everything.
    window: Option<(Window, usize)>,
    /// The cell that the keyboard stands on, (query, key).
    cursor: Option<(usize, usize)>,
    largest: Vec<(MapKey, bool, f32)>,
}

/// More maps than this are too small to read.
const MOST_MAPS: usize = 8;
const GAP: f32 = 14.0;
const TITLE: f32 = 20.0;
/// The smallest side of a map, in points.
const MIN_SIDE: f32 = 96.0;

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    toolbar(cx, ui);
    let selection = &cx.session.view.selection;
    if selection.is_empty() {
        message::empty(
            ui,
            cx.theme,
            "No head selected",
            "Click a head in the grid; Ctrl+click adds another beside it.",
        );
        return;
    }
    let maps: Vec<Map<'_>> = selection
        .iter()
        .take(MOST_MAPS)
        .filter_map(|head| Map::new(cx, *head, cx.session.view.shown))
        .collect();
    let Some(first) = maps.first() else {
        message::empty(
            ui,
            cx.theme,
            "No result yet",
            "The maps appear as soon as the first run is through.",
        );
        return;
    };
    let n_tokens = first.n_tokens();
    if n_tokens == 0 {
        return;
    }
    if selection.len() > maps.len() {
        ui.label(
            egui::RichText::new(format!(
                "{} of {} selected heads",
                maps.len(),
                selection.len()
            ))
            .small()
            .color(cx.theme.text_weak),
        );
    }
    let window = match state.window {
        Some((window, n)) if n == n_tokens => window,
        _ => Window::whole(n_tokens),
    };
    let scale = state.scale(&cx.session.view, &maps);
    let pieces = cx.resolved.map_or(&[][..], |resolved| &resolved.tokens);
    let outer = ui.available_rect_before_wrap();
    ui.advance_cursor_after_rect(outer);
    let tiles = Tiles::new(outer, maps.len(), labels::room(ui, pieces, n_tokens));
    for (place, map) in maps.into_iter().enumerate() {
        let tile = Tile {
            place,
            map,
            rect: tiles.map_rect(place),
            window,
            scale,
            pieces,
            left_labels: place % tiles.columns == 0,
        };
        tile.show(cx, state, ui);
    }
    let bar = tiles.map_rect(0);
    let bar = Rect::from_min_size(
        pos2(tiles.right + GAP, bar.top()),
        vec2(scale::BAR_WIDTH, bar.height().min(220.0)),
    );
    scale::vertical_bar(ui, bar, &scale, cx.theme);
}

/// How the maps are arranged: the grid that makes them largest.
struct Tiles {
    origin: egui::Pos2,
    columns: usize,
    side: f32,
    labels: Vec2,
    /// The right edge of the last column.
    right: f32,
}

impl Tiles {
    fn new(outer: Rect, count: usize, labels: Vec2) -> Self {
        let room = outer.size() - vec2(labels.x + GAP + scale::BAR_WIDTH, 0.0);
        let side_of = |columns: usize| {
            let rows = count.div_ceil(columns);
            let width = (room.x - GAP * (columns - 1) as f32) / columns as f32;
            let height = room.y / rows as f32 - TITLE - labels.y - 4.0;
            width.min(height)
        };
        let columns = (1..=count)
            .max_by(|a, b| side_of(*a).total_cmp(&side_of(*b)))
            .unwrap_or(1);
        let side = side_of(columns).max(MIN_SIDE).floor();
        let origin = outer.min + vec2(labels.x, 0.0);
        Self {
            origin,
            columns,
            side,
            labels,
            right: origin.x + columns as f32 * (side + GAP) - GAP,
        }
    }

    fn map_rect(&self, place: usize) -> Rect {
        let (row, column) = (place / self.columns, place % self.columns);
        let min = self.origin
            + vec2(
                column as f32 * (self.side + GAP),
                row as f32 * (self.side + TITLE + self.labels.y + 4.0) + TITLE + self.labels.y,
            );
        Rect::from_min_size(min, Vec2::splat(self.side))
    }
}

/// One map with its title, labels and marks.
struct Tile<'a> {
    place: usize,
    map: Map<'a>,
    rect: Rect,
    window: Window,
    scale: ColorScale,
    pieces: &'a [Piece],
    left_labels: bool,
}

impl Tile<'_> {
    fn show(self, cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
        let stale = cx.live.is_old(self.map.layer.run);
        self.title(cx, ui, stale);
        let lit = cx.focus.hovered_positions();
        labels::keys(
            cx,
            ui,
            self.rect,
            &self.window,
            self.pieces,
            lit.map(|lit| lit.1),
            self.n(),
        );
        if self.left_labels {
            labels::queries(
                cx,
                ui,
                self.rect,
                &self.window,
                self.pieces,
                lit.map(|lit| lit.0),
                self.n(),
            );
        }
        let head = self.map.head;
        let response = ui.interact(
            self.rect,
            ui.scope_id().with(("map", head.layer, head.head)),
            Sense::click_and_drag(),
        );
        response.widget_info(|| {
            let label = format!("{head} attention map, {} tokens", self.n());
            WidgetInfo::labeled(Role::Image, ui.is_enabled(), label)
        });
        let draw = MatrixDraw {
            place: self.place,
            map: self.map.clone(),
            scale: self.scale,
            window: self.window,
            stale,
        };
        paint::draw_matrix(cx, ui, self.rect, &draw, &mut state.pyramids);
        self.marks(cx, ui, lit);
        self.pointer(cx, state, ui, &response);
        self.keys(cx, state, ui, &response);
    }

    fn n(&self) -> usize {
        self.map.n_tokens()
    }

    fn title(&self, cx: &ViewContext<'_>, ui: &mut Ui, stale: bool) {
        let top = self.rect.top() - labels::room(ui, self.pieces, self.n()).y - TITLE;
        let rect = Rect::from_min_size(pos2(self.rect.left(), top), vec2(self.rect.width(), TITLE));
        let builder = egui::UiBuilder::new()
            .max_rect(rect)
            .layout(egui::Layout::left_to_right(egui::Align::Center));
        let mut ui = ui.new_child(builder);
        ui.set_clip_rect(ui.clip_rect().intersect(rect.expand2(vec2(0.0, 2.0))));
        ui.spacing_mut().item_spacing.x = 6.0;
        let name = edits::head_name(&cx.model.spec, self.map.head);
        ui.label(egui::RichText::new(name).strong().color(cx.theme.text));
        if let Some(badge) = edits::badge(cx.session, &cx.model.spec, self.map.head) {
            ui.label(
                egui::RichText::new(badge)
                    .strong()
                    .color(cx.theme.cell_edited),
            );
        }
        if stale {
            message::tag(&mut ui, cx.theme, "old", "A newer result is on its way");
        }
        if self.map.shown == Shown::Change && self.map.before.is_none() {
            message::tag(
                &mut ui,
                cx.theme,
                "no unedited run yet",
                "The change is against the unedited run",
            );
        }
    }

    /// Hovered row and column, crosses on knocked-out edges, the keyboard's cell.
    fn marks(&self, cx: &ViewContext<'_>, ui: &Ui, lit: Option<(usize, usize)>) {
        let painter = ui
            .painter()
            .with_clip_rect(self.rect.intersect(ui.clip_rect()));
        painter.rect_stroke(self.rect, 0.0, (1.0, cx.theme.line), StrokeKind::Inside);
        if let Some((query, key)) = lit
            && query < self.n()
            && key < self.n()
        {
            let cell = self.window.cell_rect(self.rect, query, key);
            let row = Rect::from_x_y_ranges(self.rect.x_range(), cell.y_range());
            let column = Rect::from_x_y_ranges(cell.x_range(), self.rect.y_range());
            for band in [row, column] {
                painter.rect_stroke(
                    band,
                    0.0,
                    (1.0, cx.theme.hover_stroke.gamma_multiply(0.4)),
                    StrokeKind::Outside,
                );
            }
            painter.rect_stroke(cell, 0.0, (1.5, cx.theme.hover_stroke), StrokeKind::Outside);
        }
        for (query, key) in edits::knocked_out(cx.session, self.map.head) {
            let cell = self.window.cell_rect(self.rect, query, key);
            // Never smaller than can be seen, however small the cell.
            let arm = Vec2::splat((cell.width() * 0.32).clamp(3.0, 9.0));
            let center = cell.center();
            for flip in [vec2(1.0, 1.0), vec2(1.0, -1.0)] {
                let ends = [center - arm * flip, center + arm * flip];
                painter.line_segment(ends, Stroke::new(4.0, cx.theme.on_edited));
                painter.line_segment(ends, Stroke::new(2.0, cx.theme.cell_edited));
            }
        }
    }

    fn pointer(&self, cx: &ViewContext<'_>, state: &mut State, ui: &Ui, response: &egui::Response) {
        let n_tokens = self.n();
        let mut window = self.window;
        if response.dragged() {
            let cells = -response.drag_delta() * window.span / self.rect.width();
            window = window.panned(cells, n_tokens);
        }
        if let Some(at) = response.hover_pos().filter(|_| response.contains_pointer()) {
            let turned = ui.input_mut(|input| {
                let zoom = input.zoom_delta() * (input.smooth_scroll_delta.y * 0.005).exp();
                input.smooth_scroll_delta = Vec2::ZERO;
                zoom
            });
            if (turned - 1.0).abs() > f32::EPSILON {
                let share = (at - self.rect.min) / self.rect.size();
                window = window.zoomed(turned, share, n_tokens);
            }
        }
        let cell = response
            .interact_pointer_pos()
            .or(response.hover_pos())
            .and_then(|at| self.window.cell_at(self.rect, at, n_tokens));
        if let Some((query, key)) = cell {
            if response.clicked() && self.map.mask().sees(query, key) {
                state.cursor = Some((query, key));
                response.request_focus();
                cx.push(Action::ToggleKnockout {
                    head: self.map.head,
                    query,
                    key,
                });
            }
            if response.hovered() && !response.dragged() {
                let head = self.map.head;
                cx.push(Action::Hover(Item::Cell { head, query, key }));
                response
                    .clone()
                    .on_hover_ui_at_pointer(|ui| self.tooltip(cx, ui, query, key));
            }
        }
        if response.double_clicked() {
            window = Window::whole(n_tokens);
        }
        if window != self.window {
            state.window = Some((window, n_tokens));
        }
    }

    /// With the keyboard's focus: arrows move a cell, Space or Enter knocks it out, + − zoom, Home shows all.
    fn keys(&self, cx: &ViewContext<'_>, state: &mut State, ui: &Ui, response: &egui::Response) {
        if !response.has_focus() {
            return;
        }
        let n = self.n();
        let filter = egui::EventFilter {
            horizontal_arrows: true,
            vertical_arrows: true,
            ..Default::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
        let (mut query, mut key) = state.cursor.unwrap_or((n - 1, 0));
        let pressed = |key| ui.input(|input| input.num_presses(key));
        query = (query + pressed(Key::ArrowDown))
            .saturating_sub(pressed(Key::ArrowUp))
            .min(n - 1);
        key = (key + pressed(Key::ArrowRight)).saturating_sub(pressed(Key::ArrowLeft));
        let seen = self.map.mask().keys(query, n);
        key = key.clamp(seen.start, seen.end - 1);
        state.cursor = Some((query, key));
        let cell = self.window.cell_rect(self.rect, query, key);
        let painter = ui
            .painter()
            .with_clip_rect(self.rect.expand(2.0).intersect(ui.clip_rect()));
        painter.rect_stroke(cell, 0.0, (2.0, cx.theme.accent), StrokeKind::Outside);
        painter.rect_stroke(self.rect, 0.0, (1.0, cx.theme.accent), StrokeKind::Outside);
        if pressed(Key::Space) > 0 {
            cx.push(Action::ToggleKnockout {
                head: self.map.head,
                query,
                key,
            });
        }
        let zoom = 1.4_f32
            .powi((pressed(Key::Plus) + pressed(Key::Equals)) as i32 - pressed(Key::Minus) as i32);
        let share = (cell.center() - self.rect.min) / self.rect.size();
        if (zoom - 1.0).abs() > f32::EPSILON {
            state.window = Some((
                self.window
                    .zoomed(zoom, share.clamp(Vec2::ZERO, Vec2::splat(1.0)), n),
                n,
            ));
        }
        if pressed(Key::Home) > 0 {
            state.window = None;
        }
    }

    fn tooltip(&self, cx: &ViewContext<'_>, ui: &mut Ui, query: usize, key: usize) {
        ui.strong(edits::head_name(&cx.model.spec, self.map.head));
        let at = |position| tokens::at(self.pieces, position);
        egui::Grid::new("cell")
            .num_columns(2)
            .min_row_height(0.0)
            .spacing([10.0, 2.0])
            .show(ui, |ui| {
                let mut row = |name: &str, value: String| {
                    ui.label(egui::RichText::new(name).color(cx.theme.text_weak));
                    ui.monospace(value);
                    ui.end_row();
                };
                row("Src", at(key));
                row("Dest", at(query));
                if !self.map.mask().sees(query, key) {
                    let why = if self.map.mask().is_causal() && key > query {
                        "after the query"
                    } else {
                        "outside the layer's window"
                    };
                    row("Val", format!("N/A ({why})"));
                    return;
                }
                row("Val", format!("{:.6}", self.map.attention(query, key)));
                if let Some(before) = self.map.attention_before(query, key)
                    && cx.live.current_side() == crate::experiment::Side::After
                {
                    row("Before", format!("{before:.6}"));
                    row(
                        "Change",
                        format!("{:+.6}", self.map.attention(query, key) - before),
                    );
                }
                let norm = self.map.value_norm(key);
                row("‖v‖", format!("{norm:.4}"));
                row(
                    "Val·‖v‖",
                    format!("{:.6}", self.map.attention(query, key) * norm),
                );
            });
        if self.map.mask().sees(query, key) {
            let action = if edits::is_knocked_out(cx.session, self.map.head, query, key) {
                "Click frees this edge"
            } else {
                "Click knocks this edge out"
            };
            ui.weak(format!("{action} · wheel zooms · drag pans"));
        }
    }
}

impl State {
    /// One scale for all maps that are side by side.
    fn scale(&mut self, view: &View, maps: &[Map<'_>]) -> ColorScale {
        let from_key = usize::from(view.hide_sink);
        let largest: Vec<_> = maps
            .iter()
            .map(|map| {
                let key = map.key();
                let known = self
                    .largest
                    .iter()
                    .find(|(known, hidden, _)| *known == key && *hidden == view.hide_sink);
                let value = known.map_or_else(|| map.largest(from_key), |(.., value)| *value);
                (key, view.hide_sink, value)
            })
            .collect();
        let top = largest.iter().map(|(.., value)| *value).fold(0.0, f32::max);
        self.largest = largest;
        view.color_scale(top)
    }
}

fn toolbar(cx: &ViewContext<'_>, ui: &mut Ui) {
    let view = &cx.session.view;
    let mut next = view.clone();
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        for (shown, label, hint) in [
            (
                Shown::Attention,
                "Attention",
                "A[i, j]: what query i reads from key j",
            ),
            (
                Shown::ValueWeighted,
                "Value-weighted",
                "A[i, j] · ‖v_j‖: attention to empty values fades",
            ),
            (
                Shown::Change,
                "Change",
                "Attention with the edits minus attention without them",
            ),
        ] {
            ui.selectable_value(&mut next.shown, shown, label)
                .on_hover_text(hint);
        }
        ui.separator();
        ui.checkbox(&mut next.log_scale, "Log")
            .on_hover_text("Colours by powers of ten, four of them");
        ui.checkbox(&mut next.hide_sink, "Hide sink").on_hover_text(
            "Leaves the first key out of the colours: heads that have nothing to do look at it",
        );
        ui.separator();
        let map = if view.shown == Shown::Change {
            &mut next.diverging
        } else {
            &mut next.colormap
        };
        color_picker(ui, map, view.shown == Shown::Change);
    });
    if next != *view {
        cx.push(Action::SetView(next));
    }
    ui.add_space(2.0);
}

fn color_picker(ui: &mut Ui, map: &mut Colormap, diverging: bool) {
    let choices: &[Colormap] = if diverging {
        &[Colormap::RdBu, Colormap::PuOr]
    } else {
        &[Colormap::Viridis, Colormap::Cividis, Colormap::Blues]
    };
    egui::ComboBox::from_id_salt("colours")
        .selected_text(map.name())
        .width(84.0)
        .show_ui(ui, |ui| {
            for choice in choices {
                ui.horizontal(|ui| {
                    let (rect, _) = ui.allocate_exact_size(vec2(48.0, 12.0), Sense::HOVER);
                    for i in 0..24 {
                        let x = rect.left() + i as f32 * 2.0;
                        let strip = Rect::from_min_size(pos2(x, rect.top()), vec2(2.5, 12.0));
                        ui.painter().rect_filled(
                            strip,
                            0.0,
                            scale::sample(*choice, i as f32 / 23.0),
                        );
                    }
                    ui.selectable_value(map, *choice, choice.name());
                });
            }
        })
        .response
        .accessible_name("Colour map");
}
