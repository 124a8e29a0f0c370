//! Bars of parts: where an answer comes from, what a head's attention goes to.

use egui::{Align2, FontId, Rect, RichText, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::heading;
use crate::analysis::{BarPart, Bars};
use crate::ids::HeadId;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::focus::Item;
use crate::ui::widgets::scale::{minus, number};

const ROW: f32 = 16.0;
/// Widths of the names, which take what the longest asks for.
const LEAST_NAMES: f32 = 48.0;
const MOST_NAMES: f32 = 200.0;
/// Of a letter, about.
const LETTER: f32 = 6.2;
const NUMBERS: f32 = 48.0;
const HEIGHT: f32 = 420.0;
/// Longer bars than this say no more.
const WIDEST: f32 = 720.0;

pub(super) fn show(cx: &ViewContext<'_>, ui: &mut Ui, bars: &Bars) {
    heading(cx, ui, &bars.name, &bars.about);
    let kinds = kinds(bars);
    if kinds.len() > 1 {
        ui.horizontal_wrapped(|ui| {
            for (i, kind) in kinds.iter().enumerate() {
                let (rect, _) = ui.allocate_exact_size(vec2(10.0, 10.0), Sense::empty());
                ui.painter().rect_filled(rect, 2.0, cx.theme.series(i));
                ui.label(RichText::new(*kind).small().color(cx.theme.text_weak));
            }
        });
    }
    let (below, above) = reach(bars);
    egui::ScrollArea::vertical()
        .id_salt(("bars", &bars.name))
        .max_height(HEIGHT)
        .auto_shrink([false, true])
        .show(ui, |ui| {
            let longest = bars.bars.iter().map(|bar| bar.label.chars().count()).max();
            let names = (longest.unwrap_or(0) as f32 * LETTER + 8.0).clamp(LEAST_NAMES, MOST_NAMES);
            let width = (ui.available_width() - names - NUMBERS).clamp(40.0, WIDEST);
            let unit = width / (below + above);
            let zero = names + below * unit;
            let size = vec2(names + width + NUMBERS, ROW * bars.bars.len() as f32);
            let (rect, _) = ui.allocate_exact_size(size, Sense::empty());
            let font = FontId::proportional(11.0);
            let id = ui.scope_id().with(("bars", &bars.name));
            for (row, bar) in bars.bars.iter().enumerate() {
                let y = rect.top() + (row as f32 + 0.5) * ROW;
                let name = cut(&bar.label, (names / LETTER) as usize);
                let at = pos2(rect.left() + 2.0, y);
                let weak = cx.theme.text_weak;
                ui.painter()
                    .text(at, Align2::LEFT_CENTER, name, font.clone(), weak);
                let (mut left, mut right) = (zero, zero);
                for (i, part) in bar.parts.iter().enumerate() {
                    let length = part.value as f32 * unit;
                    let (from, to) = if length < 0.0 {
                        left += length;
                        (left, left - length)
                    } else {
                        right += length;
                        (right - length, right)
                    };
                    let cell = Rect::from_min_max(
                        pos2(rect.left() + from, y - 5.0),
                        pos2(rect.left() + to, y + 5.0),
                    );
                    let color = cx
                        .theme
                        .series(kinds.iter().position(|k| *k == part.name).unwrap_or(0));
                    draw(cx, ui, part, cell, color, id.with((row, i)));
                }
                let total: f64 = bar.parts.iter().map(|part| part.value).sum();
                let at = pos2(rect.left() + names + width + NUMBERS - 4.0, y);
                let text = minus(&number(total as f32));
                ui.painter()
                    .text(at, Align2::RIGHT_CENTER, text, font.clone(), cx.theme.text);
            }
            let x = rect.left() + zero;
            ui.painter()
                .vline(x, rect.y_range(), (1.0, cx.theme.text_weak));
        });
    ui.label(RichText::new(bars.axis).small().color(cx.theme.text_weak));
}

/// One part; of a head it selects that head.
fn draw(
    cx: &ViewContext<'_>,
    ui: &Ui,
    part: &BarPart,
    cell: Rect,
    color: egui::Color32,
    id: egui::Id,
) {
    if !ui.is_rect_visible(cell) || cell.width() < 0.2 {
        return;
    }
    ui.painter().rect_filled(cell, 0.0, color);
    // Neighbours of one kind are told apart.
    if cell.width() > 3.0 {
        let edge = cx.theme.panel_bg;
        ui.painter()
            .vline(cell.right(), cell.y_range(), (1.0, edge));
    }
    let response = ui.interact(cell.expand2(vec2(0.0, 3.0)), id, Sense::CLICK);
    let text = format!("{}  {}", part.label, minus(&format!("{:.3}", part.value)));
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &text));
    if let Ok(head) = part.label.parse::<HeadId>() {
        if response.hovered() {
            cx.push(Action::Hover(Item::Head(head)));
        }
        if response.clicked() {
            cx.push(Action::Select {
                heads: vec![head],
                extend: ui.input(|input| input.modifiers.command),
            });
        }
    }
    response.on_hover_text(text);
}

/// A name in so many letters.
fn cut(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let kept: String = name.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The names of parts, in the order in which they come.
fn kinds(bars: &Bars) -> Vec<&str> {
    let mut kinds: Vec<&str> = Vec::new();
    for part in bars.bars.iter().flat_map(|bar| &bar.parts) {
        if !kinds.contains(&part.name.as_str()) {
            kinds.push(&part.name);
        }
    }
    kinds
}

/// How far bars reach below and above 0; something is always to be seen.
fn reach(bars: &Bars) -> (f32, f32) {
    let side = |sign: f64| {
        let lengths = bars.bars.iter().map(|bar| {
            let of = bar.parts.iter().map(|part| (sign * part.value).max(0.0));
            of.sum::<f64>()
        });
        lengths.fold(0.0, f64::max) as f32
    };
    let (below, above) = (side(-1.0), side(1.0));
    if below + above > 0.0 {
        (below, above)
    } else {
        (0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Bar;

    #[test]
    fn the_room_is_that_of_the_longest_bars_to_either_side() {
        let part = |name: &str, value| BarPart {
            name: name.into(),
            label: String::new(),
            value,
        };
        let bars = Bars {
            bars: vec![
                Bar {
                    label: "a".into(),
                    parts: vec![part("x", 2.0), part("y", -3.0), part("x", 1.0)],
                },
                Bar {
                    label: "b".into(),
                    parts: vec![part("z", -0.5)],
                },
            ],
            ..Bars::default()
        };
        assert_eq!(reach(&bars), (3.0, 3.0));
        assert_eq!(kinds(&bars), ["x", "y", "z"]);
        assert_eq!(reach(&Bars::default()), (0.0, 1.0));
    }
}
