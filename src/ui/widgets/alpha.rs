//! The slider of a factor α: drag, wheel, typed values beyond its ends, double click back to 1.

use egui::{DragValue, Sense, Slider, SliderClamping, Ui};

/// The ends of the slider; typed values may lie beyond.
const RANGE: std::ops::RangeInclusive<f64> = -10.0..=10.0;
/// α per point that a pointer is dragged over a cell, or a wheel turned.
pub const PER_POINT: f64 = 0.02;
/// Dragging gives multiples of this.
const STEP: f64 = 0.05;

/// Draws the slider and a field for `value`; `name` is what a screen reader calls them. The new value, if the user
/// changed it.
pub fn slider(ui: &mut Ui, name: &str, value: f64) -> Option<f64> {
    let mut next = value;
    ui.horizontal(|ui| {
        ui.label("α");
        let field = 52.0 + ui.spacing().item_spacing.x;
        ui.spacing_mut().slider_width = (ui.available_width() - field).clamp(48.0, 360.0);
        let slider = ui.add(
            Slider::new(&mut next, RANGE)
                .clamping(SliderClamping::Never)
                .step_by(STEP)
                .show_value(false),
        );
        slider.widget_info(|| {
            egui::WidgetInfo::slider(ui.is_enabled(), value, format!("α of {name}"))
        });
        let field = ui.add(
            DragValue::new(&mut next)
                .speed(STEP)
                .max_decimals(3)
                .min_decimals(1)
                .min_size(egui::vec2(48.0, 0.0)),
        );
        let field = field.accessible_name(format!("α of {name}, typed"));
        let field_focused = field.has_focus();
        if slider.interact(Sense::click()).double_clicked() {
            next = 1.0;
        }
        if slider.contains_pointer() && !field_focused {
            next = wheel(ui, next);
        }
        slider.on_hover_text(
            "Drag or turn the wheel; double click for 1; type for values beyond ±10",
        );
    });
    (next.to_bits() != value.to_bits()).then_some(next)
}

/// α after a drag of so many points, in steps.
pub fn dragged(start: f64, points: f32) -> f64 {
    snap(start + f64::from(points) * PER_POINT)
}

fn snap(value: f64) -> f64 {
    (value / STEP).round() * STEP
}

/// Turns the wheel into changes of α, and takes it away from the panel behind.
fn wheel(ui: &Ui, value: f64) -> f64 {
    let turned: f32 = ui.input_mut(|input| {
        input.smooth_scroll_delta = egui::Vec2::ZERO;
        input
            .events
            .iter()
            .filter_map(|event| match event {
                egui::Event::MouseWheel { unit, delta, .. } => Some(match unit {
                    egui::MouseWheelUnit::Line => delta.y,
                    egui::MouseWheelUnit::Point => delta.y / 30.0,
                    egui::MouseWheelUnit::Page => delta.y * 5.0,
                }),
                _ => None,
            })
            .sum()
    });
    if turned == 0.0 {
        return value;
    }
    // Finer than a drag: a touch pad turns by small amounts.
    ((value + f64::from(turned) * 2.0 * STEP) * 100.0).round() / 100.0
}
