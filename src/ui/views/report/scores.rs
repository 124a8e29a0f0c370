//! A score of every head: the layer × head map, and the heads in order.

use std::sync::Arc;

use egui::{Align2, FontId, Rect, RichText, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::{State, colours, fill, heading, in_cell, ink, largest, legend};
use crate::analysis::retrieval::pearson;
use crate::analysis::{HeadScores, Heads, Report, Scale, tags};
use crate::colormap::ColorScale;
use crate::ids::HeadId;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::focus::Item;
use crate::ui::widgets::head_menu;
use crate::ui::widgets::scale::minus;

/// Sides of a cell, in points.
const MIN_CELL: f32 = 9.0;
const MAX_CELL: f32 = 34.0;
/// The map is no higher, while its cells have this side at least.
const HEIGHT: f32 = 380.0;
const SHALLOWEST: f32 = 13.0;
/// From this side on a cell has its number in it.
const NUMBERED: f32 = 30.0;
const MARGIN: f32 = 28.0;
/// The ranking stands beside the map where there is room for both.
const RANKING: f32 = 230.0;
const BESIDE: f32 = 480.0;
const RANKING_HEIGHT: f32 = 300.0;

/// How the list of heads is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// Falling; scores around 0 by their size, for either end may be what counts.
    #[default]
    Strongest,
    Falling,
    Rising,
    ByHead,
}

impl Order {
    const ALL: [Self; 4] = [Self::Strongest, Self::Falling, Self::Rising, Self::ByHead];

    const fn name(self) -> &'static str {
        match self {
            Self::Strongest => "strongest first",
            Self::Falling => "falling",
            Self::Rising => "rising",
            Self::ByHead => "by head",
        }
    }

    /// Blanks come last.
    fn sorted(self, scores: &HeadScores) -> Vec<(HeadId, Option<f32>)> {
        let mut ranked = scores.ranked();
        let size = |value: &Option<f32>| value.map_or(f32::NEG_INFINITY, f32::abs);
        match self {
            Self::Strongest if scores.scale == Scale::Signed => {
                ranked.sort_by(|(_, a), (_, b)| size(b).total_cmp(&size(a)));
            }
            Self::Strongest | Self::Falling => {}
            Self::Rising => {
                let known = ranked.iter().filter(|(_, value)| value.is_some()).count();
                ranked[..known].reverse();
            }
            Self::ByHead => ranked.sort_by_key(|(head, _)| *head),
        }
        ranked
    }
}

pub(super) fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui, report: &Arc<Report>) {
    let chosen = state.score.as_deref().unwrap_or_default();
    let of = report.scores_of(chosen);
    let Some(scores) = of.or_else(|| report.scores.first()) else {
        return;
    };
    ui.horizontal_wrapped(|ui| {
        egui::ComboBox::from_id_salt("score")
            .selected_text(&scores.name)
            .width(150.0)
            .height(420.0)
            .show_ui(ui, |ui| {
                for other in &report.scores {
                    let label = ui.selectable_label(other.name == scores.name, &other.name);
                    if label.on_hover_text(&other.about).clicked() {
                        state.score = Some(other.name.clone());
                    }
                }
            })
            .response
            .widget_info(|| {
                WidgetInfo::labeled(Role::ComboBox, true, format!("Score: {}", scores.name))
            });
        pinning(state, ui, report);
        if let Some(pinned) = state.pinned.as_ref().filter(|of| !Arc::ptr_eq(of, report)) {
            let text = compared(scores, pinned.scores_of(&scores.name));
            ui.label(RichText::new(text).small().color(cx.theme.text_weak));
        }
    });
    let pinned = state
        .pinned
        .clone()
        .filter(|pinned| !Arc::ptr_eq(pinned, report));
    let difference = pinned.and_then(|pinned| difference(scores, pinned.scores_of(&scores.name)?));
    let shown = difference.as_ref().unwrap_or(scores);
    let colours = colours(cx, shown.scale, largest(&shown.values));
    ui.horizontal_wrapped(|ui| {
        ui.label(
            RichText::new(&shown.about)
                .small()
                .color(cx.theme.text_weak),
        );
    });
    ui.horizontal(|ui| legend(cx, ui, shown.scale, colours));
    ui.add_space(2.0);
    let width = ui.available_width();
    let of_map = MARGIN + pitch(shown, width) * shown.n_heads as f32;
    if width >= BESIDE || of_map + RANKING + 16.0 <= width {
        ui.horizontal_top(|ui| {
            let room = width - RANKING - 16.0;
            map(cx, ui, shown, colours, &report.scores, room);
            ui.add_space(8.0);
            ui.allocate_ui(vec2(RANKING, RANKING_HEIGHT), |ui| {
                ui.vertical(|ui| ranking(cx, state, ui, shown, &report.scores));
            });
        });
    } else {
        map(cx, ui, shown, colours, &report.scores, width);
        ui.add_space(4.0);
        ranking(cx, state, ui, shown, &report.scores);
    }
}

/// Keeps a report to compare the next ones with: of another prompt, or of another model of the same shape.
fn pinning(state: &mut State, ui: &mut Ui, report: &Arc<Report>) {
    let is_pinned = state
        .pinned
        .as_ref()
        .is_some_and(|pinned| Arc::ptr_eq(pinned, report));
    let button = match (&state.pinned, is_pinned) {
        (None, _) => ui
            .button("Pin to compare")
            .on_hover_text("Keeps these scores: the next ones, of another prompt or model, are shown as differences from them"),
        (Some(_), true) => {
            ui.button("Unpin").on_hover_text("These scores are what the next ones are compared with")
        }
        (Some(_), false) => {
            ui.button("Stop comparing").on_hover_text("Shown are differences from the pinned scores")
        }
    };
    if button.clicked() {
        state.pinned = match state.pinned {
            None => Some(Arc::clone(report)),
            Some(_) => None,
        };
    }
}

/// How like the pinned scores these are.
fn compared(scores: &HeadScores, pinned: Option<&HeadScores>) -> String {
    let Some(pinned) = pinned else {
        return "the pinned report has no such score".into();
    };
    match pearson(scores, pinned) {
        Some(r) => format!("r = {} with the pinned scores", minus(&format!("{r:.2}"))),
        None if scores.values.len() == pinned.values.len() && scores.n_heads == pinned.n_heads => {
            "minus the pinned scores".into()
        }
        None => "the pinned scores are of a model of another shape: no difference".into(),
    }
}

/// `None` where the two are not of the same heads.
fn difference(scores: &HeadScores, pinned: &HeadScores) -> Option<HeadScores> {
    let is_same = scores.values.len() == pinned.values.len()
        && scores.n_heads == pinned.n_heads
        && scores.of == pinned.of;
    is_same.then(|| HeadScores {
        about: format!("{}, minus the pinned scores", scores.about),
        scale: Scale::Signed,
        values: scores
            .values
            .iter()
            .zip(&pinned.values)
            .map(|(new, old)| Some((*new)? - (*old)?))
            .collect(),
        ..scores.clone()
    })
}

/// The side of a cell with its gap. Deep models keep small cells, so that the whole map is seen at once.
fn pitch(scores: &HeadScores, width: f32) -> f32 {
    let wide = (width - MARGIN) / scores.n_heads as f32;
    let high = (HEIGHT / scores.n_layers() as f32).max(SHALLOWEST);
    wide.min(high).clamp(MIN_CELL, MAX_CELL).floor()
}

fn map(
    cx: &ViewContext<'_>,
    ui: &mut Ui,
    scores: &HeadScores,
    colours: ColorScale,
    all: &[HeadScores],
    width: f32,
) {
    let (n_layers, n_heads) = (scores.n_layers(), scores.n_heads);
    let pitch = pitch(scores, width);
    let size = vec2(
        MARGIN + pitch * n_heads as f32,
        16.0 + pitch * n_layers as f32,
    );
    egui::ScrollArea::horizontal()
        .content_margin(0.0)
        .id_salt("map")
        .max_width(width)
        .show(ui, |ui| {
            let (rect, _) = ui.allocate_exact_size(size, Sense::empty());
            let origin = rect.min + vec2(MARGIN, 16.0);
            let painter = ui.painter().clone();
            let weak = cx.theme.text_weak;
            let every = (18.0 / pitch).ceil() as usize;
            let font = FontId::proportional(10.0);
            for head in (0..n_heads).step_by(every) {
                let at = pos2(origin.x + (head as f32 + 0.5) * pitch, rect.top() + 7.0);
                painter.text(at, Align2::CENTER_CENTER, head, font.clone(), weak);
            }
            for layer in (0..n_layers).step_by((13.0 / pitch).ceil() as usize) {
                let at = pos2(rect.left() + 2.0, origin.y + (layer as f32 + 0.5) * pitch);
                painter.text(
                    at,
                    Align2::LEFT_CENTER,
                    format!("L{layer}"),
                    font.clone(),
                    weak,
                );
            }
            for layer in 0..n_layers {
                for head in 0..n_heads {
                    let min = origin + vec2(head as f32, layer as f32) * pitch;
                    let cell = Rect::from_min_size(min, vec2(pitch - 1.0, pitch - 1.0));
                    draw_cell(cx, ui, scores, colours, all, HeadId::new(layer, head), cell);
                }
            }
        });
}

fn draw_cell(
    cx: &ViewContext<'_>,
    ui: &Ui,
    scores: &HeadScores,
    colours: ColorScale,
    all: &[HeadScores],
    head: HeadId,
    cell: Rect,
) {
    if !ui.is_rect_visible(cell) {
        return;
    }
    let value = scores.value(head);
    let color = fill(cx, colours, value);
    ui.painter().rect_filled(cell, 1.0, color);
    if let Some(value) = value
        && cell.width() >= NUMBERED - 1.0
    {
        let text = in_cell(value);
        let font = FontId::proportional(9.5);
        ui.painter()
            .text(cell.center(), Align2::CENTER_CENTER, text, font, ink(color));
    }
    let response = ui.interact(
        cell,
        ui.scope_id().with((head.layer, head.head)),
        Sense::CLICK,
    );
    let label = scores.label(head);
    let text = value.map_or_else(|| "blank".to_owned(), |value| format!("{value:.3}"));
    response.widget_info(|| {
        WidgetInfo::labeled(
            Role::Button,
            true,
            format!("{label} {} {text}", scores.name),
        )
    });
    let is_head = scores.of == Heads::Query;
    let is_selected = is_head && cx.session.view.selection.contains(&head);
    let stroke = if response.hovered() || (is_head && cx.focus.hovered_head() == Some(head)) {
        Some(cx.theme.hover_stroke)
    } else if is_selected {
        Some(cx.theme.selection_stroke)
    } else {
        None
    };
    if let Some(color) = stroke {
        let kind = egui::StrokeKind::Inside;
        ui.painter().rect_stroke(cell, 1.0, (1.5, color), kind);
    }
    if !is_head {
        response.on_hover_text(format!("{label}  {text}"));
        return;
    }
    if response.hovered() {
        cx.push(Action::Hover(Item::Head(head)));
    }
    if response.clicked() {
        cx.push(Action::Select {
            heads: vec![head],
            extend: ui.input(|input| input.modifiers.command),
        });
    }
    response.context_menu(|ui| head_menu::show(ui, cx, &[head]));
    response.on_hover_ui(|ui| {
        ui.strong(format!("{label}  {text}"));
        for tag in tags::of_head(all, head) {
            ui.label(format!(
                "{}: {} = {:.2}",
                tag.rule.label,
                tag.rule.condition(),
                tag.score
            ));
        }
    });
}

fn ranking(
    cx: &ViewContext<'_>,
    state: &mut State,
    ui: &mut Ui,
    scores: &HeadScores,
    all: &[HeadScores],
) {
    ui.horizontal(|ui| {
        heading(cx, ui, "Heads in order", "");
        egui::ComboBox::from_id_salt("order")
            .selected_text(state.order.name())
            .width(104.0)
            .show_ui(ui, |ui| {
                for order in Order::ALL {
                    ui.selectable_value(&mut state.order, order, order.name());
                }
            })
            .response
            .widget_info(|| {
                let name = format!("Order: {}", state.order.name());
                WidgetInfo::labeled(Role::ComboBox, true, name)
            });
    });
    let search = egui::TextEdit::singleline(&mut state.search)
        .hint_text("Find: L9, H6, induction")
        .desired_width(RANKING - 16.0);
    ui.add(search)
        .widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Find heads"));
    let wanted = state.search.trim().to_lowercase();
    let most = largest(&scores.values).max(1e-9);
    egui::ScrollArea::vertical()
        .id_salt("ranking")
        .max_height(RANKING_HEIGHT)
        .auto_shrink([false, true])
        .show(ui, |ui| {
            for (head, value) in state.order.sorted(scores) {
                let label = scores.label(head);
                let tags = if scores.of == Heads::Query {
                    tags::of_head(all, head)
                } else {
                    vec![]
                };
                let tag = tags.first().map_or("", |tag| tag.rule.label);
                let is_found = wanted.is_empty()
                    || label.to_lowercase().contains(&wanted)
                    || tags.iter().any(|tag| tag.rule.label.contains(&wanted));
                if !is_found {
                    continue;
                }
                ui.horizontal(|ui| {
                    let is_selected = cx.session.view.selection.contains(&head);
                    let name = RichText::new(format!("{label:<7}")).monospace();
                    let row = ui.selectable_label(is_selected && scores.of == Heads::Query, name);
                    if row.clicked() && scores.of == Heads::Query {
                        cx.push(Action::Select {
                            heads: vec![head],
                            extend: ui.input(|input| input.modifiers.command),
                        });
                    }
                    bar(cx, ui, value, most);
                    let text =
                        value.map_or_else(|| "–".into(), |value| minus(&format!("{value:.3}")));
                    ui.label(RichText::new(text).monospace().small());
                    ui.label(RichText::new(tag).small().color(cx.theme.accent));
                });
            }
        });
}

/// A value as a bar from the left; below 0 in the colour of what fell.
fn bar(cx: &ViewContext<'_>, ui: &mut Ui, value: Option<f32>, most: f32) {
    let (rect, _) = ui.allocate_exact_size(vec2(48.0, 8.0), Sense::empty());
    let Some(value) = value else { return };
    let mut filled = rect;
    filled.set_width(rect.width() * (value.abs() / most).min(1.0));
    let color = if value < 0.0 {
        cx.theme.negative
    } else {
        cx.theme.bar_before
    };
    ui.painter().rect_filled(filled, 1.0, color);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_stand_in_the_order_that_is_asked_for() {
        let of = |scale, values: [Option<f32>; 4]| {
            HeadScores::of_heads("x", "", scale, (2, 2), |head| {
                values[head.layer * 2 + head.head]
            })
        };
        let names = |order: Order, scores: &HeadScores| -> Vec<String> {
            let sorted = order.sorted(scores).into_iter();
            sorted.map(|(head, _)| head.to_string()).collect()
        };
        let signed = of(Scale::Signed, [Some(0.5), None, Some(-2.0), Some(1.0)]);
        assert_eq!(
            names(Order::Strongest, &signed),
            ["L1H0", "L1H1", "L0H0", "L0H1"]
        );
        assert_eq!(
            names(Order::Falling, &signed),
            ["L1H1", "L0H0", "L1H0", "L0H1"]
        );
        assert_eq!(
            names(Order::Rising, &signed),
            ["L1H0", "L0H0", "L1H1", "L0H1"]
        );
        assert_eq!(
            names(Order::ByHead, &signed),
            ["L0H0", "L0H1", "L1H0", "L1H1"]
        );
        let share = of(Scale::Share, [Some(0.5), None, Some(0.1), Some(1.0)]);
        assert_eq!(
            names(Order::Strongest, &share),
            names(Order::Falling, &share)
        );
    }
}
