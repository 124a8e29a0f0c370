//! The few signs that the bundled fonts lack, drawn as lines.

use egui::{Color32, Pos2, Rect, Response, Sense, Stroke, Ui, Vec2, pos2, vec2};

use super::theme::{Theme, space};

#[derive(Clone, Copy, Debug)]
pub(super) enum Icon {
    Undo,
    Redo,
    Warning,
    Check,
    Previous,
    Next,
    Close,
}

/// A square button with an icon.
pub(super) fn button(
    ui: &mut Ui,
    theme: &Theme,
    icon: Icon,
    name: &str,
    enabled: bool,
) -> Response {
    let button = egui::Button::new("").min_size(Vec2::splat(space::ROW));
    let response = ui.add_enabled(enabled, button);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, enabled, name));
    let color = if enabled {
        theme.text
    } else {
        theme.text_stale
    };
    paint(ui, icon, response.rect, color);
    response
}

/// An icon that stands before a line of text.
pub(super) fn mark(ui: &mut Ui, icon: Icon, color: Color32) {
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(space::L), Sense::hover());
    paint(ui, icon, rect, color);
}

/// A message with a warning sign before it.
pub(super) fn warning(ui: &mut Ui, color: Color32, text: &str) {
    mark(ui, Icon::Warning, color);
    ui.colored_label(color, text);
}

pub(super) fn paint(ui: &Ui, icon: Icon, rect: Rect, color: Color32) {
    let stroke = Stroke::new(1.5, color);
    let center = rect.center();
    let line = |points: Vec<Pos2>| {
        ui.painter().line(points, stroke);
    };
    match icon {
        Icon::Undo | Icon::Redo => {
            let side = if matches!(icon, Icon::Undo) {
                1.0
            } else {
                -1.0
            };
            let at = |x: f32, y: f32| center + vec2(x * side, y);
            // An arrow to one side that comes round from below.
            let bend = (0..=10).map(|i| {
                let angle = std::f32::consts::PI * (i as f32 / 10.0 - 0.5);
                at(1.5 + 3.5 * angle.cos(), 1.0 + 3.5 * angle.sin())
            });
            line(
                std::iter::once(at(-5.0, -2.5))
                    .chain(bend)
                    .chain([at(-1.5, 4.5)])
                    .collect(),
            );
            line(vec![at(-2.0, -5.5), at(-5.0, -2.5), at(-2.0, 0.5)]);
        }
        Icon::Warning => {
            let corner = |x: f32, y: f32| pos2(center.x + x, center.y + y);
            line(vec![
                corner(0.0, -5.5),
                corner(6.0, 5.0),
                corner(-6.0, 5.0),
                corner(0.0, -5.5),
            ]);
            line(vec![corner(0.0, -1.5), corner(0.0, 1.5)]);
            ui.painter().circle_filled(corner(0.0, 3.4), 0.8, color);
        }
        Icon::Previous | Icon::Next => {
            let side = if matches!(icon, Icon::Next) {
                1.0
            } else {
                -1.0
            };
            let at = |x: f32, y: f32| center + vec2(x * side, y);
            line(vec![at(-2.0, -4.5), at(2.5, 0.0), at(-2.0, 4.5)]);
        }
        Icon::Close => {
            line(vec![center - Vec2::splat(4.0), center + Vec2::splat(4.0)]);
            line(vec![center - vec2(4.0, -4.0), center + vec2(4.0, -4.0)]);
        }
        Icon::Check => line(vec![
            center + vec2(-4.0, 0.0),
            center + vec2(-1.0, 3.5),
            center + vec2(4.5, -4.0),
        ]),
    }
}
