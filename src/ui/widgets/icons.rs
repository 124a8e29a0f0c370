//! Buttons with a drawn sign, where no font has one.

use egui::{Response, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2};

/// What a button stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icon {
    Delete,
    Duplicate,
}

/// A small square button; `name` is its tooltip and its name.
pub fn button(ui: &mut Ui, icon: Icon, name: &str) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(20.0, 20.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), name));
    let visuals = *ui.style().interact(&response);
    let painter = ui.painter();
    if response.hovered() || response.has_focus() {
        painter.rect(
            rect,
            visuals.corner_radius,
            visuals.weak_bg_fill,
            visuals.bg_stroke,
            StrokeKind::Inside,
        );
    }
    let stroke = Stroke::new(1.3, visuals.fg_stroke.color);
    let center = rect.center();
    match icon {
        Icon::Delete => {
            let arm = 4.0;
            painter.line_segment([center - vec2(arm, arm), center + vec2(arm, arm)], stroke);
            painter.line_segment([center - vec2(arm, -arm), center + vec2(arm, -arm)], stroke);
        }
        Icon::Duplicate => {
            let size = vec2(7.0, 8.0);
            let back = egui::Rect::from_center_size(center - vec2(1.5, 1.5), size);
            let front = egui::Rect::from_center_size(center + vec2(1.5, 1.5), size);
            painter.rect_stroke(back, 1.5, stroke, StrokeKind::Middle);
            painter.rect(
                front,
                1.5,
                ui.visuals().window_fill,
                stroke,
                StrokeKind::Middle,
            );
        }
    }
    response.on_hover_text(name)
}
