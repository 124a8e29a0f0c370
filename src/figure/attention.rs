//! Attention maps side by side: rows are queries, columns are keys, one colour bar for all.

use super::input::{AttentionFigure, HeadPanel, shown, title};
use super::layout::{
    AXIS_TITLE, LABEL_GAP, MARGIN, SMALL_SIZE, Side, TITLE_SIZE, TokenAxis, at_least,
    color_bar_width, draw_color_bar,
};
use super::scene::{Anchor, MAX_RECT_CELLS, Rect, Scene};
use super::style::Palette;
use super::text;

/// Above a panel, for its title.
const TITLE_BAND: f32 = 18.0;
const COLUMN_GAP: f32 = 16.0;
const ROW_GAP: f32 = 14.0;
/// Smaller panels are laid out at this side and shrunk as a whole.
const LEAST_SIDE: f32 = 120.0;
const MAX_BAR: f32 = 220.0;
const MAX_NATURAL_COLUMNS: usize = 4;

pub(super) fn build(figure: &AttentionFigure, palette: &Palette, asked: Option<[f32; 2]>) -> Scene {
    let axis = TokenAxis::new(&figure.tokens);
    let n = figure.tokens.len();
    let axis = {
        let side = Grid::new(figure, &axis, asked).side;
        axis.narrowed(side / n as f32)
    };
    let grid = Grid::new(figure, &axis, asked);
    let as_image = n * n > MAX_RECT_CELLS;
    let mut scene = Scene {
        width: grid.size[0],
        height: grid.size[1],
        title: title(&figure.value_label, &figure.panels),
        description: description(figure, as_image),
        background: palette.background,
        images: Vec::new(),
        shapes: Vec::new(),
    };
    let mut has_masked = false;
    for (i, panel) in figure.panels.iter().enumerate() {
        let values = shown(&panel.values, n, |query, key| panel.hides(query, key));
        let colors: Vec<_> = values
            .inspect(|value| has_masked |= value.is_nan())
            .map(|value| figure.scale.rgb(value))
            .collect();
        let rect = grid.panel(i);
        scene.map(rect, n, colors, as_image);
        scene.outline(rect, palette.rule, 0.75);
        draw_title(&mut scene, palette, panel, rect);
        draw_keys(&mut scene, palette, &axis, rect, n);
        if i % grid.columns == 0 {
            draw_queries(&mut scene, palette, &axis, rect, n);
        }
    }
    let first = grid.panel(0);
    let right = grid.panel(grid.columns - 1).right();
    let bar = [right, first.y, grid.side.min(MAX_BAR)];
    draw_color_bar(
        &mut scene,
        palette,
        figure.scale,
        &figure.value_label,
        bar,
        has_masked,
    );
    scene
}

/// Where the panels are.
struct Grid {
    /// Of the whole layout.
    size: [f32; 2],
    columns: usize,
    side: f32,
    origin: [f32; 2],
    row_pitch: f32,
}

impl Grid {
    fn new(figure: &AttentionFigure, axis: &TokenAxis, asked: Option<[f32; 2]>) -> Self {
        let (n, count) = (figure.tokens.len(), figure.panels.len());
        let left = MARGIN + AXIS_TITLE + axis.width + LABEL_GAP;
        let right = color_bar_width(figure.scale) + MARGIN;
        let under = LABEL_GAP + axis.width + AXIS_TITLE;
        // The size of `columns` columns is fixed + a multiple of the side.
        let fixed = |columns: usize| {
            let rows = count.div_ceil(columns) as f32;
            [
                left + (columns - 1) as f32 * COLUMN_GAP + right,
                2.0 * MARGIN + rows * (TITLE_BAND + under) + (rows - 1.0) * ROW_GAP,
            ]
        };
        let size_with = |columns: usize, side: f32| {
            let [x, y] = fixed(columns);
            [
                x + columns as f32 * side,
                y + count.div_ceil(columns) as f32 * side,
            ]
        };
        let (size, columns, side) = if let Some(asked) = asked {
            let fitted = |columns: usize| {
                let size = at_least(asked, size_with(columns, LEAST_SIDE));
                let [x, y] = fixed(columns);
                let rows = count.div_ceil(columns) as f32;
                let side = ((size[0] - x) / columns as f32).min((size[1] - y) / rows);
                (size, columns, whole_cells(side, n))
            };
            (1..=count)
                .map(fitted)
                .max_by(|a, b| (a.2 / a.0[0]).total_cmp(&(b.2 / b.0[0])))
                .unwrap_or_else(|| fitted(1))
        } else {
            let rows = count.div_ceil(MAX_NATURAL_COLUMNS);
            let columns = count.div_ceil(rows);
            let side = natural_side(n, columns);
            (size_with(columns, side), columns, side)
        };
        let used = size_with(columns, side);
        Self {
            size,
            columns,
            side,
            origin: [
                ((size[0] - used[0]) / 2.0 + left).round(),
                ((size[1] - used[1]) / 2.0 + MARGIN + TITLE_BAND).round(),
            ],
            row_pitch: (TITLE_BAND + side + under + ROW_GAP).round(),
        }
    }

    fn panel(&self, i: usize) -> Rect {
        let (column, row) = (i % self.columns, i / self.columns);
        Rect::new(
            self.origin[0] + column as f32 * (self.side + COLUMN_GAP),
            self.origin[1] + row as f32 * self.row_pitch,
            self.side,
            self.side,
        )
    }
}

/// Large cells for few tokens, at least a px a cell while that stays a picture.
fn natural_side(n: usize, columns: usize) -> f32 {
    let (target, most) = match columns {
        1 => (640.0, 2048.0),
        2 => (440.0, 1024.0),
        _ => (330.0, 1024.0),
    };
    let cell = (target / n as f32).floor().clamp(1.0, 24.0);
    (n as f32 * cell).clamp(LEAST_SIDE, most)
}

/// The side with cells of whole px, where that costs little.
fn whole_cells(side: f32, n: usize) -> f32 {
    let cell = (side / n as f32).floor();
    if cell >= 4.0 {
        cell * n as f32
    } else {
        side.floor()
    }
}

fn draw_title(scene: &mut Scene, palette: &Palette, panel: &HeadPanel, rect: Rect) {
    let y = rect.y - 6.0;
    let tag = if panel.edited { "edited" } else { "" };
    let tag_width = text::width(tag, SMALL_SIZE);
    let title = text::fit(
        &text::token_label(&panel.title),
        TITLE_SIZE,
        rect.width - tag_width - 6.0,
    );
    scene.text(&title, [rect.x, y], TITLE_SIZE, palette.text, Anchor::Start);
    if panel.edited {
        scene.text(
            tag,
            [rect.right(), y],
            SMALL_SIZE,
            palette.accent,
            Anchor::End,
        );
    }
}

fn draw_queries(scene: &mut Scene, palette: &Palette, axis: &TokenAxis, rect: Rect, n: usize) {
    axis.draw(
        scene,
        palette,
        [rect.x, rect.y],
        rect.height / n as f32,
        Side::Left,
    );
    let title_x = rect.x - LABEL_GAP - axis.width - 7.0;
    let middle = rect.y + rect.height / 2.0;
    scene.upright_text(
        "Query",
        [title_x, middle],
        SMALL_SIZE,
        palette.muted,
        Anchor::Middle,
    );
}

fn draw_keys(scene: &mut Scene, palette: &Palette, axis: &TokenAxis, rect: Rect, n: usize) {
    axis.draw(
        scene,
        palette,
        [rect.x, rect.bottom()],
        rect.width / n as f32,
        Side::Below,
    );
    let middle = rect.x + rect.width / 2.0;
    scene.text(
        "Key",
        [middle, rect.bottom() + LABEL_GAP + axis.width + 14.0],
        SMALL_SIZE,
        palette.muted,
        Anchor::Middle,
    );
}

fn description(figure: &AttentionFigure, as_image: bool) -> String {
    let n = figure.tokens.len();
    let how = if as_image {
        " Each map is an embedded image with one pixel a cell."
    } else {
        ""
    };
    format!("Rows are {n} query tokens, columns the same tokens as keys.{how}")
}
