//! The grid of all heads: layers down, heads across, each cell a live thumbnail of its map.

use egui::{Align2, FontId, Key, Rect, Response, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::paint::{self, CellFlags, GridDraw, GridRow};
use crate::colormap::ColorScale;
use crate::edit::describe;
use crate::ids::HeadId;
use crate::session::Shown;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::focus::Item;
use crate::ui::widgets::map::{Edge, Map, MapKey};
use crate::ui::widgets::{alpha, edits, head_menu, tokens};

#[derive(Debug, Default)]
pub struct State {
    /// The head whose strongest edge the tooltip says, and that edge.
    strongest: Option<(MapKey, Option<Edge>)>,
    /// α when an Alt+drag began, and the heads that it scales.
    scaling: Option<(f64, Vec<HeadId>)>,
}

/// Sides of a cell, in points: smaller ones scroll, larger ones would only be blocks.
const MIN_CELL: f32 = 14.0;
/// The largest cell of a grid that scrolls.
const SCROLLED_CELL: f32 = 26.0;
const MAX_CELL: f32 = 72.0;
const GAP: f32 = 2.0;
const HEADER: egui::Vec2 = vec2(28.0, 18.0);

/// Where the cells of the grid stand.
struct Layout {
    /// Top left of cell (0, 0); moves with scrolling.
    origin: egui::Pos2,
    pitch: f32,
}

impl Layout {
    fn cell(&self, head: HeadId) -> Rect {
        let min = self.origin + vec2(head.head as f32, head.layer as f32) * self.pitch;
        Rect::from_min_size(min, egui::Vec2::splat(self.pitch - GAP))
    }
}

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    let spec = &cx.model.spec;
    let outer = ui.available_rect_before_wrap();
    let body = Rect::from_min_max(outer.min + HEADER, outer.max);
    let pitch = pitch(
        body.size(),
        spec.n_heads,
        spec.n_layers,
        ui.pixels_per_point(),
    );
    let size = vec2(spec.n_heads as f32, spec.n_layers as f32) * pitch;

    let keyboard = keyboard(cx, ui, outer);
    let mut body_ui = ui.new_child(egui::UiBuilder::new().max_rect(body));
    let layout = egui::ScrollArea::both()
        .id_salt("heads")
        .auto_shrink(false)
        .content_margin(0.0)
        .show_viewport(&mut body_ui, |ui, viewport| {
            ui.set_min_size(size);
            let layout = Layout {
                origin: ui.min_rect().min,
                pitch,
            };
            let rows = visible(viewport.y_range(), pitch, spec.n_layers);
            let columns = visible(viewport.x_range(), pitch, spec.n_heads);
            draw(cx, ui, &layout, rows.clone());
            for layer in rows {
                for head in columns.clone() {
                    cell(cx, state, ui, &layout, HeadId::new(layer, head), &keyboard);
                }
            }
            if let Some(head) = keyboard.moved {
                ui.scroll_to_rect(layout.cell(head), None);
            }
            layout
        })
        .inner;
    headers(cx, ui, outer, body, &layout);
    ui.advance_cursor_after_rect(outer);
}

/// The largest whole number of pixels at which all cells fit, within limits; at which the columns fit, where the rows
/// have to scroll.
fn pitch(room: egui::Vec2, n_heads: usize, n_layers: usize, pixels_per_point: f32) -> f32 {
    // A hair's breadth stays free, so that rounding never brings scroll bars.
    let (wide, high) = (
        (room.x - 1.0) / n_heads as f32,
        (room.y - 1.0) / n_layers as f32,
    );
    let smallest = MIN_CELL + GAP;
    let pitch = if high < smallest {
        // It scrolls in any case: then as large as reads well and the width allows.
        wide.clamp(smallest, SCROLLED_CELL + GAP)
    } else {
        wide.min(high).clamp(smallest, MAX_CELL + GAP)
    };
    (pitch * pixels_per_point).floor() / pixels_per_point
}

fn visible(range: egui::Rangef, pitch: f32, count: usize) -> std::ops::Range<usize> {
    let first = (range.min / pitch).max(0.0) as usize;
    let end = (range.max / pitch).ceil().max(0.0) as usize;
    first.min(count)..end.min(count)
}

fn draw(cx: &ViewContext<'_>, ui: &Ui, layout: &Layout, rows: std::ops::Range<usize>) {
    let spec = &cx.model.spec;
    let view = &cx.session.view;
    let hovered = cx.focus.hovered_head();
    let rows = rows.map(|layer| {
        let live = cx.live.layer(layer);
        let stale = live.is_some_and(|live| cx.live.is_old(live.run));
        let layer_edited = edits::layer_badge(cx.session, layer).is_some();
        let flags = (0..spec.n_heads).map(|head| {
            let head = HeadId::new(layer, head);
            CellFlags {
                edited: layer_edited || edits::badge(cx.session, spec, head).is_some(),
                hovered: hovered == Some(head),
                selected: view.selection.contains(&head),
                stale,
            }
        });
        GridRow {
            index: layer,
            layer: live,
            flags: flags.collect(),
        }
    });
    let draw = GridDraw {
        origin: layout.cell(HeadId::new(0, 0)).min,
        n_layers: spec.n_layers,
        n_heads: spec.n_heads,
        rows: rows.collect(),
        cell: layout.pitch - GAP,
        pitch: layout.pitch,
        scale: ColorScale {
            map: view.colormap,
            max: 1.0,
            log: view.log_scale,
        },
        hide_first_key: view.hide_sink,
    };
    paint::draw_grid(cx, ui, ui.clip_rect(), &draw);
}

/// What the keyboard did to the grid while it has the focus.
struct Keyboard {
    id: egui::Id,
    moved: Option<HeadId>,
}

/// One stop of the Tab key for the whole grid: arrows move the selection, Space ablates it.
fn keyboard(cx: &ViewContext<'_>, ui: &Ui, rect: Rect) -> Keyboard {
    let id = ui.scope_id().with("head grid");
    let response = ui.interact(rect, id, Sense::FOCUSABLE);
    let selection = &cx.session.view.selection;
    response.widget_info(|| {
        let selected: Vec<String> = selection.iter().map(ToString::to_string).collect();
        let label = format!("Head grid, selected: {}", selected.join(" "));
        WidgetInfo::labeled(Role::Grid, ui.is_enabled(), label)
    });
    let mut moved = None;
    if response.has_focus() {
        ui.painter().rect_stroke(
            rect.shrink(1.0),
            2.0,
            (1.0, cx.theme.accent),
            egui::StrokeKind::Inside,
        );
        let arrows = egui::EventFilter {
            horizontal_arrows: true,
            vertical_arrows: true,
            ..Default::default()
        };
        ui.memory_mut(|memory| memory.set_focus_lock_filter(id, arrows));
        let spec = &cx.model.spec;
        let at = selection.first().copied().unwrap_or(HeadId::new(0, 0));
        let step = |key| ui.input(|input| input.num_presses(key));
        let layer = (at.layer + step(Key::ArrowDown)).saturating_sub(step(Key::ArrowUp));
        let head = (at.head + step(Key::ArrowRight)).saturating_sub(step(Key::ArrowLeft));
        let next = HeadId::new(layer.min(spec.n_layers - 1), head.min(spec.n_heads - 1));
        if next != at {
            moved = Some(next);
            cx.push(Action::Select {
                heads: vec![next],
                extend: false,
            });
        }
        if !selection.is_empty() && ui.input(|input| input.key_pressed(Key::Space)) {
            cx.push(Action::ToggleAblation(selection.clone()));
        }
    }
    Keyboard { id, moved }
}

fn cell(
    cx: &ViewContext<'_>,
    state: &mut State,
    ui: &Ui,
    layout: &Layout,
    head: HeadId,
    keyboard: &Keyboard,
) {
    let rect = layout.cell(head);
    let selection = &cx.session.view.selection;
    let badge = edits::badge(cx.session, &cx.model.spec, head);
    // Not a stop of the Tab key: with a thousand heads that would be a trap. The grid itself is one.
    let response = ui.interact(
        rect.expand(GAP / 2.0),
        keyboard.id.with((head.layer, head.head)),
        Sense::CLICK | Sense::DRAG,
    );
    response.widget_info(|| {
        let name = edits::head_name(&cx.model.spec, head);
        let label = badge
            .as_ref()
            .map_or_else(|| name.clone(), |badge| format!("{name} {badge}"));
        WidgetInfo::selected(
            Role::Button,
            ui.is_enabled(),
            selection.contains(&head),
            label,
        )
    });
    if let Some(badge) = &badge {
        draw_badge(cx, ui, rect, badge);
    }
    let modifiers = ui.input(|input| input.modifiers);
    if response.clicked() && !modifiers.alt {
        ui.memory_mut(|memory| memory.request_focus(keyboard.id));
        cx.push(Action::Select {
            heads: vec![head],
            extend: modifiers.command,
        });
    }
    if response.double_clicked() {
        cx.push(Action::ToggleAblation(vec![head]));
    }
    scale_by_drag(cx, state, &response, head, modifiers.alt);
    let heads: &[HeadId] = if selection.contains(&head) {
        selection
    } else {
        &[head]
    };
    response.context_menu(|ui| head_menu::show(ui, cx, heads));
    if response.hovered() {
        cx.push(Action::Hover(Item::Head(head)));
        response.on_hover_ui(|ui| tooltip(cx, state, ui, head));
    }
}

/// Alt+drag: up and right is more. The whole selection follows if the head is part of it.
fn scale_by_drag(
    cx: &ViewContext<'_>,
    state: &mut State,
    response: &Response,
    head: HeadId,
    alt: bool,
) {
    if response.drag_started() && alt {
        let selection = &cx.session.view.selection;
        let heads = if selection.contains(&head) {
            selection.clone()
        } else {
            vec![head]
        };
        state.scaling = Some((edits::scale_of(cx.session, head), heads));
    }
    if let Some((start, heads)) = &state.scaling {
        if response.dragged()
            && let Some(total) = response.total_drag_delta()
        {
            let factor = alpha::dragged(*start, total.x - total.y);
            if (factor - edits::scale_of(cx.session, head)).abs() > 1e-9 {
                cx.push(Action::SetHeadScale {
                    heads: heads.clone(),
                    factor,
                });
            }
            response.show_tooltip_text(format!("α {}", describe::trimmed(factor)));
        } else if response.drag_stopped() {
            state.scaling = None;
        }
    }
}

fn draw_badge(cx: &ViewContext<'_>, ui: &Ui, cell: Rect, text: &str) {
    let size = (cell.height() * 0.34).clamp(9.0, 12.0);
    let painter = ui.painter();
    let galley =
        painter.layout_no_wrap(text.into(), FontId::proportional(size), cx.theme.on_edited);
    let room = galley.size() + vec2(4.0, 0.0);
    // A badge wider than its cell would cover the neighbour. A factor is then only called one.
    if room.x > cell.width() && text.chars().count() > 1 {
        let sign = text
            .chars()
            .next()
            .filter(|sign| *sign != '×')
            .unwrap_or('α');
        draw_badge(cx, ui, cell, &sign.to_string());
        return;
    }
    let rect = Align2::RIGHT_TOP.anchor_size(cell.right_top(), room);
    painter.rect_filled(rect, 2.0, cx.theme.cell_edited);
    painter.galley(rect.min + vec2(2.0, 0.0), galley, cx.theme.on_edited);
}

fn tooltip(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui, head: HeadId) {
    ui.strong(edits::head_name(&cx.model.spec, head));
    for (_, edit, enabled) in edits::rows_of(cx.session, &cx.model.spec, head) {
        let off = if enabled { "" } else { " (off)" };
        ui.label(format!("{edit}{off}"));
    }
    let Some(map) = Map::new(cx, head, Shown::Attention) else {
        ui.weak("No result yet");
        return;
    };
    let key = map.key();
    if state
        .strongest
        .as_ref()
        .is_none_or(|(known, _)| *known != key)
    {
        let edge = map.strongest(1, 1).first().copied();
        state.strongest = Some((key, edge));
    }
    if let Some((_, Some(edge))) = &state.strongest {
        let pieces = cx.resolved.map_or(&[][..], |resolved| &resolved.tokens);
        ui.label(format!(
            "Strongest past the first key: {} ← {}  {:.3}",
            tokens::at(pieces, edge.query),
            tokens::at(pieces, edge.key),
            edge.value
        ));
    }
    if cx.live.is_old(map.layer.run) {
        ui.weak("Old: a newer result is on its way");
    }
    ui.weak("Click selects · double click ablates · Alt+drag scales");
}

fn headers(cx: &ViewContext<'_>, ui: &Ui, outer: Rect, body: Rect, layout: &Layout) {
    let spec = &cx.model.spec;
    let hovered = cx.focus.hovered_head();
    let left = Rect::from_min_max(
        pos2(outer.left(), body.top()),
        pos2(body.left(), body.bottom()),
    );
    let top = Rect::from_min_max(
        pos2(body.left(), outer.top()),
        pos2(body.right(), body.top()),
    );
    // Labels of neighbours must not touch: only every so many where cells are small.
    let every = (20.0 / layout.pitch).ceil() as usize;
    for layer in 0..spec.n_layers {
        let cell = layout.cell(HeadId::new(layer, 0));
        let rect = Rect::from_x_y_ranges(left.x_range(), cell.y_range());
        let heads = || {
            (0..spec.n_heads)
                .map(|head| HeadId::new(layer, head))
                .collect()
        };
        let name = Header {
            name: format!("L{layer}"),
            long: format!("Layer {layer}"),
            lit: hovered.is_some_and(|head| head.layer == layer),
            drawn: true,
            badge: edits::layer_badge(cx.session, layer),
        };
        header(cx, ui, rect, left, &name, heads);
    }
    for head in 0..spec.n_heads {
        let cell = layout.cell(HeadId::new(0, head));
        let rect = Rect::from_x_y_ranges(cell.x_range(), top.y_range());
        let heads = || {
            (0..spec.n_layers)
                .map(|layer| HeadId::new(layer, head))
                .collect()
        };
        let lit = hovered.is_some_and(|hovered| hovered.head == head);
        let name = Header {
            name: format!("{head}"),
            long: format!("Head {head} of all layers"),
            lit,
            drawn: head % every == 0 || lit,
            badge: None,
        };
        header(cx, ui, rect, top, &name, heads);
    }
    ui.painter().text(
        pos2(outer.left() + 4.0, top.center().y),
        Align2::LEFT_CENTER,
        "L\\H",
        FontId::proportional(10.0),
        cx.theme.text_weak,
    );
}

struct Header {
    name: String,
    long: String,
    lit: bool,
    drawn: bool,
    badge: Option<String>,
}

/// A row's or a column's name: a click selects all of its heads, the menu acts on them.
fn header(
    cx: &ViewContext<'_>,
    ui: &Ui,
    rect: Rect,
    clip: Rect,
    header: &Header,
    heads: impl Fn() -> Vec<HeadId>,
) {
    let shown = rect.intersect(clip);
    if !shown.is_positive() || shown.width() < 4.0 || shown.height() < 4.0 {
        return;
    }
    let response = ui.interact(shown, ui.scope_id().with(&header.long), Sense::CLICK);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), &header.long));
    let painter = ui.painter().with_clip_rect(clip);
    let color = if response.hovered() || header.lit {
        cx.theme.text
    } else {
        cx.theme.text_weak
    };
    if header.drawn {
        let font = FontId::proportional(11.0);
        painter.text(
            rect.center(),
            Align2::CENTER_CENTER,
            &header.name,
            font,
            color,
        );
    }
    if let Some(badge) = &header.badge {
        let at = pos2(rect.right() - 1.0, rect.top());
        let font = FontId::proportional(9.0);
        painter.text(at, Align2::RIGHT_TOP, badge, font, cx.theme.cell_edited);
    }
    if response.clicked() {
        cx.push(Action::Select {
            heads: heads(),
            extend: ui.input(|input| input.modifiers.command),
        });
    }
    response.context_menu(|ui| head_menu::show(ui, cx, &heads()));
    response.on_hover_text(format!(
        "{}: click selects, right click acts on all",
        header.long
    ));
}
