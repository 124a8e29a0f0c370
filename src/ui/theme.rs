//! Design tokens: colours and sizes by purpose, in a dark and a light set. Views take colours from here and name none.

use egui::Color32;

/// Colours by purpose.
#[derive(Clone, Debug)]
pub struct Theme {
    pub text: Color32,
    pub text_weak: Color32,
    /// Links, selected rows, what the user is acting on.
    pub accent: Color32,
    pub warn: Color32,
    pub error: Color32,
    /// A logit that rose; a positive change.
    pub positive: Color32,
    /// A logit that fell; a negative change.
    pub negative: Color32,
    pub panel_bg: Color32,
    /// Cards and rows: one step away from the panel.
    pub surface: Color32,
    /// Hair lines, bar backgrounds.
    pub line: Color32,
    /// Keys after the query: "N/A".
    pub masked: Color32,
    /// A cell whose results are not there yet.
    pub cell_empty: Color32,
    /// Marks of edits: badges, borders.
    pub cell_edited: Color32,
    /// Text on `cell_edited`.
    pub on_edited: Color32,
    pub selection_stroke: Color32,
    pub hover_stroke: Color32,
    /// Bars of the unedited run.
    pub bar_before: Color32,
    /// Bars of the edited run.
    pub bar_after: Color32,
    /// Heads drawn over each other, in order of selection (Okabe and Ito's set).
    pub series: [Color32; 7],
}

impl Theme {
    pub const fn dark() -> Self {
        Self {
            text: Color32::from_rgb(224, 226, 230),
            text_weak: Color32::from_rgb(150, 155, 165),
            accent: Color32::from_rgb(96, 165, 250),
            warn: Color32::from_rgb(240, 190, 80),
            error: Color32::from_rgb(248, 113, 113),
            positive: Color32::from_rgb(110, 180, 245),
            negative: Color32::from_rgb(244, 132, 104),
            panel_bg: Color32::from_rgb(24, 26, 31),
            surface: Color32::from_rgb(33, 36, 43),
            line: Color32::from_rgb(54, 58, 68),
            masked: Color32::from_rgb(58, 61, 68),
            cell_empty: Color32::from_rgb(36, 39, 46),
            cell_edited: Color32::from_rgb(255, 138, 76),
            on_edited: Color32::from_rgb(20, 16, 12),
            selection_stroke: Color32::from_rgb(255, 255, 255),
            hover_stroke: Color32::from_rgb(120, 200, 255),
            bar_before: Color32::from_rgb(100, 108, 122),
            bar_after: Color32::from_rgb(96, 165, 250),
            series: SERIES_DARK,
        }
    }

    pub const fn light() -> Self {
        Self {
            text: Color32::from_rgb(30, 33, 40),
            text_weak: Color32::from_rgb(98, 104, 116),
            accent: Color32::from_rgb(29, 98, 210),
            warn: Color32::from_rgb(150, 96, 0),
            error: Color32::from_rgb(190, 30, 30),
            positive: Color32::from_rgb(25, 95, 175),
            negative: Color32::from_rgb(185, 55, 30),
            panel_bg: Color32::from_rgb(250, 250, 251),
            surface: Color32::from_rgb(240, 241, 244),
            line: Color32::from_rgb(214, 217, 223),
            masked: Color32::from_rgb(200, 200, 200),
            cell_empty: Color32::from_rgb(231, 233, 237),
            cell_edited: Color32::from_rgb(214, 84, 20),
            on_edited: Color32::from_rgb(255, 255, 255),
            selection_stroke: Color32::from_rgb(20, 22, 28),
            hover_stroke: Color32::from_rgb(0, 130, 220),
            bar_before: Color32::from_rgb(160, 166, 178),
            bar_after: Color32::from_rgb(29, 98, 210),
            series: SERIES_LIGHT,
        }
    }
}

const SERIES_DARK: [Color32; 7] = [
    Color32::from_rgb(86, 180, 233),
    Color32::from_rgb(230, 159, 0),
    Color32::from_rgb(0, 178, 135),
    Color32::from_rgb(224, 138, 184),
    Color32::from_rgb(240, 228, 66),
    Color32::from_rgb(235, 110, 40),
    Color32::from_rgb(120, 140, 240),
];

const SERIES_LIGHT: [Color32; 7] = [
    Color32::from_rgb(0, 114, 178),
    Color32::from_rgb(200, 120, 0),
    Color32::from_rgb(0, 140, 100),
    Color32::from_rgb(190, 85, 145),
    Color32::from_rgb(150, 135, 0),
    Color32::from_rgb(200, 80, 0),
    Color32::from_rgb(70, 80, 190),
];
