//! Design tokens: every colour, distance and type size of the window, named by what it is for.
//!
//! The rest of `ui` names tokens and never a colour. [`install`] turns them into egui's own styles.

use egui::{
    Color32, CornerRadius, FontFamily, FontId, Margin, Shadow, Stroke, Style, TextStyle, vec2,
};

/// Colours by purpose. One value for the dark window, one for the light one.
#[derive(Clone, Debug, PartialEq)]
pub struct Theme {
    pub dark: bool,

    /// Between and behind panels.
    pub canvas: Color32,
    /// A panel's body.
    pub panel_bg: Color32,
    /// Bars, chips, table headers: a step above the panel.
    pub surface: Color32,
    /// Where text is typed.
    pub field: Color32,
    /// Menus, tooltips, toasts, dialogs.
    pub overlay: Color32,
    /// Under the pointer.
    pub hover: Color32,
    /// Pressed, or open.
    pub pressed: Color32,
    /// Every second row of a table.
    pub stripe: Color32,
    /// Behind a dialog.
    pub backdrop: Color32,
    /// Hairlines between things.
    pub line: Color32,
    /// Outline of what can be operated.
    pub line_strong: Color32,

    pub text: Color32,
    /// Secondary text: units, captions, what stands for nothing.
    pub text_weak: Color32,
    /// Values that are older than the newest request, and chips without a partner. Not for text that must be read.
    pub text_stale: Color32,

    /// The one accent: what is selected, active, focused.
    pub accent: Color32,
    /// Fill behind selected text or rows.
    pub accent_fill: Color32,
    /// Text on `accent`.
    pub on_accent: Color32,

    pub success: Color32,
    pub warn: Color32,
    pub warn_fill: Color32,
    pub error: Color32,
    pub error_fill: Color32,

    /// A value that grew, and one that fell. Always with a sign beside it.
    pub positive: Color32,
    pub negative: Color32,

    /// A cell whose results are not there yet.
    pub cell_empty: Color32,
    /// Marks of edits: badges, outlines.
    pub cell_edited: Color32,
    /// Text on `cell_edited`.
    pub on_edited: Color32,
    /// Outline of what is hovered, here or in another view; stands out on every colour map.
    pub hover_stroke: Color32,
    /// Outline of what is selected, on every colour map.
    pub selection_stroke: Color32,
    /// A dark or light seam that keeps marks readable on a map.
    pub mark_seam: Color32,

    /// Fill and outline of tokens that the model wrote and that are part of the text.
    pub generated_fill: Color32,
    pub generated_line: Color32,

    /// Bars and values of the unedited run, and of the edited one.
    pub bar_before: Color32,
    pub bar_after: Color32,

    /// Lines and heads told apart by colour: Okabe and Ito's set, readable by colour-blind people.
    pub series: [Color32; 7],
}

/// Distances, in points. All are multiples of 4.
pub mod space {
    pub const XS: f32 = 4.0;
    pub const S: f32 = 8.0;
    pub const M: f32 = 12.0;
    pub const L: f32 = 16.0;
    pub const XL: f32 = 24.0;
    /// Corner radius of chips, buttons and fields.
    pub const RADIUS: u8 = 4;
    /// Height of a row of controls.
    pub const ROW: f32 = 24.0;
}

/// Type sizes, in points.
pub mod size {
    pub const SMALL: f32 = 11.0;
    pub const BODY: f32 = 13.0;
    pub const MONO: f32 = 12.5;
    pub const HEADING: f32 = 16.0;
}

pub const DARK: Theme = Theme {
    dark: true,
    canvas: Color32::from_rgb(11, 14, 18),
    panel_bg: Color32::from_rgb(20, 24, 30),
    surface: Color32::from_rgb(29, 34, 42),
    field: Color32::from_rgb(13, 16, 21),
    overlay: Color32::from_rgb(33, 39, 48),
    hover: Color32::from_rgb(42, 49, 60),
    pressed: Color32::from_rgb(52, 61, 74),
    stripe: Color32::from_rgb(24, 28, 35),
    backdrop: Color32::from_black_alpha(140),
    line: Color32::from_rgb(42, 49, 59),
    line_strong: Color32::from_rgb(66, 76, 91),
    text: Color32::from_rgb(224, 229, 236),
    text_weak: Color32::from_rgb(152, 163, 178),
    text_stale: Color32::from_rgb(104, 115, 130),
    accent: Color32::from_rgb(94, 173, 255),
    accent_fill: Color32::from_rgb(29, 62, 98),
    on_accent: Color32::from_rgb(8, 18, 30),
    success: Color32::from_rgb(98, 201, 143),
    warn: Color32::from_rgb(240, 185, 84),
    warn_fill: Color32::from_rgb(58, 44, 18),
    error: Color32::from_rgb(255, 130, 120),
    error_fill: Color32::from_rgb(66, 28, 28),
    positive: Color32::from_rgb(110, 180, 245),
    negative: Color32::from_rgb(244, 150, 120),
    cell_empty: Color32::from_rgb(28, 33, 41),
    cell_edited: Color32::from_rgb(255, 140, 80),
    on_edited: Color32::from_rgb(30, 12, 2),
    hover_stroke: Color32::from_rgb(255, 255, 255),
    selection_stroke: Color32::from_rgb(94, 173, 255),
    mark_seam: Color32::from_rgb(8, 10, 13),
    generated_fill: Color32::from_rgb(18, 52, 48),
    generated_line: Color32::from_rgb(52, 134, 120),
    bar_before: Color32::from_rgb(110, 122, 138),
    bar_after: Color32::from_rgb(94, 173, 255),
    series: SERIES_DARK,
};

pub const LIGHT: Theme = Theme {
    dark: false,
    canvas: Color32::from_rgb(218, 223, 230),
    panel_bg: Color32::from_rgb(252, 253, 254),
    surface: Color32::from_rgb(240, 243, 247),
    field: Color32::from_rgb(255, 255, 255),
    overlay: Color32::from_rgb(255, 255, 255),
    hover: Color32::from_rgb(226, 232, 240),
    pressed: Color32::from_rgb(209, 218, 229),
    stripe: Color32::from_rgb(246, 248, 250),
    backdrop: Color32::from_black_alpha(80),
    line: Color32::from_rgb(214, 220, 228),
    line_strong: Color32::from_rgb(168, 178, 191),
    text: Color32::from_rgb(26, 33, 43),
    text_weak: Color32::from_rgb(82, 93, 108),
    text_stale: Color32::from_rgb(140, 150, 163),
    accent: Color32::from_rgb(9, 95, 190),
    accent_fill: Color32::from_rgb(211, 229, 250),
    on_accent: Color32::from_rgb(255, 255, 255),
    success: Color32::from_rgb(20, 112, 62),
    warn: Color32::from_rgb(128, 82, 0),
    warn_fill: Color32::from_rgb(255, 241, 212),
    error: Color32::from_rgb(176, 36, 30),
    error_fill: Color32::from_rgb(253, 228, 225),
    positive: Color32::from_rgb(9, 95, 190),
    negative: Color32::from_rgb(176, 66, 20),
    cell_empty: Color32::from_rgb(232, 236, 241),
    cell_edited: Color32::from_rgb(186, 68, 8),
    on_edited: Color32::from_rgb(255, 255, 255),
    hover_stroke: Color32::from_rgb(20, 24, 30),
    selection_stroke: Color32::from_rgb(9, 95, 190),
    mark_seam: Color32::from_rgb(255, 255, 255),
    generated_fill: Color32::from_rgb(218, 242, 236),
    generated_line: Color32::from_rgb(58, 144, 126),
    bar_before: Color32::from_rgb(142, 152, 166),
    bar_after: Color32::from_rgb(9, 95, 190),
    series: SERIES_LIGHT,
};

const SERIES_DARK: [Color32; 7] = [
    Color32::from_rgb(86, 180, 233),
    Color32::from_rgb(230, 159, 0),
    Color32::from_rgb(0, 180, 135),
    Color32::from_rgb(204, 121, 167),
    Color32::from_rgb(240, 228, 66),
    Color32::from_rgb(235, 110, 40),
    Color32::from_rgb(110, 150, 235),
];

const SERIES_LIGHT: [Color32; 7] = [
    Color32::from_rgb(0, 114, 178),
    Color32::from_rgb(190, 120, 0),
    Color32::from_rgb(0, 130, 95),
    Color32::from_rgb(170, 80, 130),
    Color32::from_rgb(140, 125, 0),
    Color32::from_rgb(200, 85, 0),
    Color32::from_rgb(60, 90, 190),
];

impl Theme {
    pub const fn of(theme: egui::Theme) -> &'static Self {
        match theme {
            egui::Theme::Dark => &DARK,
            egui::Theme::Light => &LIGHT,
        }
    }

    /// The colour of line or head number `index`; they repeat after the seventh.
    pub const fn series(&self, index: usize) -> Color32 {
        self.series[index % self.series.len()]
    }

    fn style(&self) -> Style {
        let mut style = Style {
            text_styles: [
                (TextStyle::Small, size::SMALL, FontFamily::Proportional),
                (TextStyle::Body, size::BODY, FontFamily::Proportional),
                (TextStyle::Button, size::BODY, FontFamily::Proportional),
                (TextStyle::Heading, size::HEADING, FontFamily::Proportional),
                (TextStyle::Monospace, size::MONO, FontFamily::Monospace),
            ]
            .into_iter()
            .map(|(style, size, family)| (style, FontId::new(size, family)))
            .collect(),
            visuals: self.visuals(),
            animation_time: 0.1,
            ..Style::default()
        };
        let spacing = &mut style.spacing;
        spacing.item_spacing = vec2(space::S, space::XS);
        spacing.button_padding = vec2(space::S, space::XS);
        spacing.window_margin = Margin::same(space::M as i8);
        spacing.menu_margin = Margin::same(space::S as i8);
        spacing.interact_size = vec2(space::ROW, space::ROW);
        spacing.slider_rail_height = 4.0;
        spacing.tooltip_width = 360.0;
        spacing.scroll.bar_width = 8.0;
        style.interaction.selectable_labels = false;
        style.interaction.tooltip_delay = 0.3;
        style
    }

    fn visuals(&self) -> egui::Visuals {
        let mut visuals = if self.dark {
            egui::Visuals::dark()
        } else {
            egui::Visuals::light()
        };
        visuals.panel_fill = self.panel_bg;
        visuals.window_fill = self.overlay;
        visuals.window_stroke = Stroke::new(1.0, self.line_strong);
        visuals.window_corner_radius = CornerRadius::same(8);
        visuals.menu_corner_radius = CornerRadius::same(6);
        visuals.extreme_bg_color = self.canvas;
        visuals.text_edit_bg_color = Some(self.field);
        visuals.faint_bg_color = self.stripe;
        visuals.code_bg_color = self.surface;
        visuals.weak_text_color = Some(self.text_weak);
        visuals.warn_fg_color = self.warn;
        visuals.error_fg_color = self.error;
        visuals.hyperlink_color = self.accent;
        visuals.selection.bg_fill = self.accent_fill;
        visuals.selection.stroke = Stroke::new(1.0, self.accent);
        visuals.slider_trailing_fill = true;
        let shadow = Shadow {
            offset: [0, 4],
            blur: 16,
            spread: 0,
            color: Color32::from_black_alpha(if self.dark { 110 } else { 40 }),
        };
        visuals.window_shadow = shadow;
        visuals.popup_shadow = shadow;
        let radius = CornerRadius::same(space::RADIUS);
        let widgets = &mut visuals.widgets;
        for (widget, fill, outline, text) in [
            (
                &mut widgets.noninteractive,
                self.panel_bg,
                self.line,
                self.text,
            ),
            (&mut widgets.inactive, self.surface, self.line, self.text),
            (
                &mut widgets.hovered,
                self.hover,
                self.line_strong,
                self.text,
            ),
            (&mut widgets.active, self.pressed, self.accent, self.text),
            (&mut widgets.open, self.pressed, self.line_strong, self.text),
        ] {
            widget.bg_fill = fill;
            widget.weak_bg_fill = fill;
            widget.bg_stroke = Stroke::new(1.0, outline);
            widget.fg_stroke = Stroke::new(1.0, text);
            widget.corner_radius = radius;
            widget.expansion = 0.0;
        }
        visuals
    }
}

/// Gives fonts and both themes to egui. Called once, before the first frame.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    ctx.set_style_of(egui::Theme::Dark, DARK.style());
    ctx.set_style_of(egui::Theme::Light, LIGHT.style());
}

/// egui's fonts, the monospaced one also standing in for signs that the proportional one lacks: arrows, check marks.
fn fonts() -> egui::FontDefinitions {
    let mut fonts = egui::FontDefinitions::default();
    let monospace = fonts.families.get(&FontFamily::Monospace).cloned();
    if let Some(proportional) = fonts.families.get_mut(&FontFamily::Proportional) {
        for name in monospace.unwrap_or_default() {
            if !proportional.contains(&name) {
                proportional.push(name);
            }
        }
    }
    fonts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG's contrast ratio, 1 to 21.
    fn contrast(a: Color32, b: Color32) -> f32 {
        let luminance = |c: Color32| {
            let channel = |v: u8| {
                let v = f32::from(v) / 255.0;
                if v <= 0.04045 {
                    v / 12.92
                } else {
                    ((v + 0.055) / 1.055).powf(2.4)
                }
            };
            0.2126 * channel(c.r()) + 0.7152 * channel(c.g()) + 0.0722 * channel(c.b())
        };
        let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn text_is_readable_on_every_surface_it_stands_on() {
        for theme in [&DARK, &LIGHT] {
            let surfaces = [
                theme.panel_bg,
                theme.surface,
                theme.field,
                theme.overlay,
                theme.hover,
                theme.stripe,
            ];
            for surface in surfaces {
                for text in [theme.text, theme.text_weak, theme.accent, theme.error] {
                    assert!(contrast(text, surface) >= 4.5, "{text:?} on {surface:?}");
                }
            }
            for (text, surface) in [
                (theme.on_accent, theme.accent),
                (theme.text, theme.accent_fill),
                (theme.text, theme.pressed),
                (theme.warn, theme.warn_fill),
                (theme.text, theme.warn_fill),
                (theme.text, theme.generated_fill),
                (theme.text_weak, theme.generated_fill),
                (theme.error, theme.error_fill),
                (theme.text, theme.error_fill),
                (theme.warn, theme.panel_bg),
                (theme.success, theme.panel_bg),
                (theme.positive, theme.panel_bg),
                (theme.negative, theme.panel_bg),
                (theme.positive, theme.stripe),
                (theme.negative, theme.stripe),
                (theme.cell_edited, theme.panel_bg),
                (theme.on_edited, theme.cell_edited),
            ] {
                assert!(contrast(text, surface) >= 4.5, "{text:?} on {surface:?}");
            }
        }
    }

    #[test]
    fn marks_and_lines_stand_out_from_the_panel() {
        // WCAG asks 3 of graphics.
        for theme in [&DARK, &LIGHT] {
            for mark in theme.series.iter().chain([
                &theme.hover_stroke,
                &theme.selection_stroke,
                &theme.generated_line,
                &theme.text_stale,
            ]) {
                let ratio = contrast(*mark, theme.panel_bg);
                assert!(ratio >= 2.9, "{mark:?}: {ratio}");
            }
        }
    }
}
