//! The bar that explains a map's colours, and values as short labels.

use egui::{Align2, Color32, FontId, Rect, Ui, pos2};

use crate::colormap::{ColorScale, Colormap};
use crate::ui::theme::Theme;

/// A colour of a map, `t` from 0 to 1.
pub fn sample(map: Colormap, t: f32) -> Color32 {
    let [r, g, b] = map.rgb(t);
    Color32::from_rgb(r, g, b)
}

/// A value as a label: three digits that count.
pub fn number(value: f32) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if size < 0.000_95 {
        format!("{value:.0e}")
    } else if size < 0.0095 {
        format!("{value:.4}")
    } else if size < 0.995 {
        format!("{value:.2}")
    } else if size < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A number with a minus sign for its hyphen: as wide as the plus sign.
pub fn minus(number: &str) -> String {
    number.replace('-', "−")
}

/// Room that [`vertical_bar`] takes.
pub const BAR_WIDTH: f32 = 52.0;

/// Draws the scale from its upper end down, with ticks on the right.
pub fn vertical_bar(ui: &Ui, rect: Rect, scale: &ColorScale, theme: &Theme) {
    let painter = ui.painter();
    let bar = Rect::from_min_size(rect.min, egui::vec2(10.0, rect.height()));
    let mut mesh = egui::Mesh::default();
    let steps = 64;
    for i in 0..=steps {
        let t = i as f32 / steps as f32;
        let y = egui::lerp(bar.bottom()..=bar.top(), t);
        let color = sample(scale.map, t);
        mesh.colored_vertex(pos2(bar.left(), y), color);
        mesh.colored_vertex(pos2(bar.right(), y), color);
        if i > 0 {
            let base = 2 * i as u32;
            mesh.add_triangle(base - 2, base - 1, base);
            mesh.add_triangle(base - 1, base, base + 1);
        }
    }
    painter.add(mesh);
    let mut last = f32::INFINITY;
    for tick in scale.ticks() {
        let t = tick.position;
        let y = egui::lerp(bar.bottom()..=bar.top(), t);
        if last - y < 12.0 {
            continue;
        }
        last = y;
        painter.hline(bar.right()..=bar.right() + 3.0, y, (1.0, theme.text_weak));
        let anchor = if t < 0.02 {
            Align2::LEFT_BOTTOM
        } else if t > 0.98 {
            Align2::LEFT_TOP
        } else {
            Align2::LEFT_CENTER
        };
        painter.text(
            pos2(bar.right() + 6.0, y),
            anchor,
            tick.label,
            FontId::proportional(10.0),
            theme.text_weak,
        );
    }
}
