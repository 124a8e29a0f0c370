//! From a value to a colour, and the bar that explains it.

use egui::{Align2, Color32, FontId, Rect, Ui, pos2};

use crate::colormap::Colormap;
use crate::ui::theme::Theme;

/// How the values of a map become colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorScale {
    pub map: Colormap,
    /// The value at the upper end; the lower end is 0, or minus this for changes.
    pub high: f32,
    /// Both signs, with 0 in the middle.
    pub diverging: bool,
    /// Colours by decades below `high` instead of in proportion.
    pub log: bool,
}

/// Decades that a logarithmic scale spans.
const DECADES: f32 = 4.0;

impl ColorScale {
    /// Where a value stands on the colour map, 0 to 1.
    pub fn position(&self, value: f32) -> f32 {
        if self.high <= 0.0 {
            return if self.diverging { 0.5 } else { 0.0 };
        }
        let share = (value / self.high).clamp(-1.0, 1.0);
        let size = if self.log {
            (1.0 + share.abs().log10() / DECADES).clamp(0.0, 1.0)
        } else {
            share.abs()
        };
        if self.diverging {
            f32::midpoint(1.0, size * share.signum())
        } else if share < 0.0 {
            0.0
        } else {
            size
        }
    }

    pub fn color(&self, value: f32) -> Color32 {
        sample(self.map, self.position(value))
    }

    /// Values worth a label, and where they stand.
    fn ticks(&self) -> Vec<(f32, String)> {
        let upper: Vec<f32> = if self.log {
            (0..=DECADES as i32)
                .map(|decade| self.high * 10.0_f32.powi(-decade))
                .collect()
        } else {
            vec![self.high, self.high / 2.0, 0.0]
        };
        let mut ticks: Vec<_> = upper
            .iter()
            .map(|value| (self.position(*value), number(*value)))
            .collect();
        if self.diverging {
            let lower = upper.iter().filter(|value| **value > 0.0);
            ticks.extend(lower.map(|value| (self.position(-value), number(-value))));
        }
        ticks
    }
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
    let mut ticks = scale.ticks();
    ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (t, label) in ticks {
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
            label,
            FontId::proportional(10.0),
            theme.text_weak,
        );
    }
}

/// A colour of a map, `t` from 0 to 1.
pub fn sample(map: Colormap, t: f32) -> Color32 {
    let anchors: &[u32] = match map {
        Colormap::Viridis => &[
            0x0044_0154, 0x0047_2d7b, 0x003b_528b, 0x002c_728e, 0x0021_918c, 0x0028_ae80, 0x005e_c962, 0x00ad_dc30, 0x00fd_e725,
        ],
        Colormap::Cividis => &[
            0x0000_224e, 0x0012_3570, 0x003b_496c, 0x0057_5d6d, 0x0070_7173, 0x008a_8678, 0x00a5_9c74, 0x00c3_b369, 0x00e1_cc55, 0x00fe_e838,
        ],
        Colormap::Blues => &[
            0x00f7_fbff, 0x00de_ebf7, 0x00c6_dbef, 0x009e_cae1, 0x006b_aed6, 0x0042_92c6, 0x0021_71b5, 0x0008_519c, 0x0008_306b,
        ],
        Colormap::RdBu => &[
            0x0067_001f, 0x00b2_182b, 0x00d6_604d, 0x00f4_a582, 0x00fd_dbc7, 0x00f7_f7f7, 0x00d1_e5f0, 0x0092_c5de, 0x0043_93c3, 0x0021_66ac, 0x0005_3061,
        ],
        Colormap::PuOr => &[
            0x007f_3b08, 0x00b3_5806, 0x00e0_8214, 0x00fd_b863, 0x00fe_e0b6, 0x00f7_f7f7, 0x00d8_daeb, 0x00b2_abd2, 0x0080_73ac, 0x0054_2788, 0x002d_004b,
        ],
    };
    let scaled = t.clamp(0.0, 1.0) * (anchors.len() - 1) as f32;
    let i = (scaled as usize).min(anchors.len() - 2);
    let color = |rgb: u32| {
        let [_, r, g, b] = rgb.to_be_bytes();
        Color32::from_rgb(r, g, b)
    };
    color(anchors[i]).lerp_to_gamma(color(anchors[i + 1]), scaled - i as f32)
}
