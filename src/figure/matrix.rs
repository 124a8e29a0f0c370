//! A labelled matrix: coloured cells with names along both sides, a legend, and the cells that stand out.

use crate::colormap::ColorScale;

use super::axis::{decimals_for, minus, number};
use super::layout::{AXIS_TITLE, LABEL_GAP, SMALL_SIZE, centred, step_for};
use super::page::{self, Room, SMALL_LINE};
use super::parts::{Mark, MatrixFigure};
use super::scene::{Anchor, MAX_RECT_CELLS, Rect, Scene};
use super::style::{Palette, Rgb};
use super::text;

/// Of a page of its own, without words.
const WIDTH: f32 = 640.0;
/// Sides of a cell: with a number in it, with a word, and without either.
const NUMBER: [f32; 2] = [36.0, 20.0];
const WORD: [f32; 2] = [62.0, 20.0];
const PLAIN: f32 = 20.0;
/// Narrowest cells with words in them.
const LEAST_WORD: f32 = 26.0;
/// A cell is at least as large, so that none vanishes.
const LEAST_CELL: f32 = 1.0;
/// Cells of at least this side stand apart.
const APART_FROM: f32 = 7.0;
/// Cells that fill a page grow so much at most.
const MOST_GROWTH: f32 = 2.0;
/// Longest names of rows, and of columns that read upwards.
const MAX_ROW_NAME: f32 = 130.0;
const MAX_COLUMN_NAME: f32 = 84.0;
/// Names up to this width stand level over narrow columns, of which then not every one has its name.
const SHORT_NAME: f32 = 24.0;
const LEGEND: [f32; 2] = [150.0, 8.0];
const LEGEND_GAP: f32 = 14.0;
const CELL_TEXT: f32 = 8.5;

pub(super) fn body(figure: &MatrixFigure, palette: &Palette, room: Room) -> Scene {
    let rows = names(&figure.rows, MAX_ROW_NAME);
    let columns = names(&figure.columns, MAX_COLUMN_NAME);
    let row_axis = if figure.row_axis.is_empty() {
        0.0
    } else {
        AXIS_TITLE
    };
    let left = row_axis + widest(&rows) + LABEL_GAP;
    let cell = cell_size(
        figure,
        [room.width - left, room.height.unwrap_or(room.width)],
    );
    let upright = widest(&columns) > SHORT_NAME && widest(&columns) + 6.0 > cell[0];
    let names_height = if upright {
        widest(&columns)
    } else {
        SMALL_SIZE
    };
    let column_axis = if figure.column_axis.is_empty() {
        0.0
    } else {
        AXIS_TITLE - 3.0
    };
    let top = column_axis + names_height + LABEL_GAP;
    let grid = Rect::new(
        left,
        top,
        cell[0] * columns.len() as f32,
        cell[1] * rows.len() as f32,
    );
    let mut scene = Scene::empty(palette.background);
    draw_cells(&mut scene, palette, figure, grid, cell);
    draw_names(&mut scene, palette, &rows, &columns, grid, upright);
    draw_axes(&mut scene, palette, figure, grid);
    draw_marks(&mut scene, palette, figure, grid, cell);
    scene.width = grid.right().max(left + LEGEND[0]);
    let mut y = grid.bottom() + LEGEND_GAP;
    let ranking = ranking(figure, scene.width - left);
    if !ranking.is_empty() {
        y = page::lines(&mut scene, palette, &ranking, [left, y - 5.0]) + 8.0;
    }
    let has_blank = figure.values.iter().any(|value| !value.is_finite());
    let legend = draw_legend(&mut scene, palette, figure.scale, [left, y], has_blank);
    scene.width = scene.width.max(legend[0]);
    scene.height = legend[1];
    scene
}

fn names(names: &[String], most: f32) -> Vec<String> {
    let name = |name: &String| text::fit(&text::token_label(name), SMALL_SIZE, most);
    names.iter().map(name).collect()
}

fn widest(names: &[String]) -> f32 {
    let widths = names.iter().map(|name| text::width(name, SMALL_SIZE));
    widths.fold(0.0, f32::max)
}

/// Width and height, so that the matrix fits where that is possible. Whole px where that costs little.
fn cell_size(figure: &MatrixFigure, [width, height]: [f32; 2]) -> [f32; 2] {
    let wanted = if figure.texts.is_empty() {
        NUMBER
    } else {
        WORD
    };
    let growth = (width / WIDTH).clamp(1.0, MOST_GROWTH);
    let whole = |side: f32| if side >= 3.0 { side.floor() } else { side };
    let [n_rows, n_columns] = [figure.rows.len(), figure.columns.len()].map(|n| n as f32);
    let x = whole((width / n_columns).clamp(LEAST_CELL, wanted[0] * growth));
    // Cells that are too narrow for a number are square, but not flat.
    let high = if x >= wanted[0] * 0.8 {
        x * wanted[1] / wanted[0]
    } else {
        x.clamp(11.0, PLAIN * growth)
    };
    let y = whole((height * 0.8 / n_rows).clamp(LEAST_CELL, high));
    let x = if y < x && y < APART_FROM && n_rows > n_columns {
        x.min(3.0 * y.max(4.0))
    } else {
        x
    };
    [x, y]
}

fn draw_cells(
    scene: &mut Scene,
    palette: &Palette,
    figure: &MatrixFigure,
    grid: Rect,
    [width, height]: [f32; 2],
) {
    let color = |value: f32| {
        if value.is_finite() {
            figure.scale.rgb(value)
        } else {
            palette.blank
        }
    };
    let colors: Vec<Rgb> = figure.values.iter().map(|value| color(*value)).collect();
    let n_columns = figure.columns.len();
    if width.min(height) < APART_FROM {
        let as_image = colors.len() > MAX_RECT_CELLS;
        scene.map(grid, n_columns, colors, as_image);
        scene.outline(grid, palette.rule, 0.75);
        return;
    }
    let texts = cell_texts(figure, [width, height]);
    for (i, color) in colors.into_iter().enumerate() {
        let x = grid.x + (i % n_columns) as f32 * width;
        let y = grid.y + (i / n_columns) as f32 * height;
        let cell = Rect::new(x, y, width - 1.0, height - 1.0);
        scene.fill(cell, color);
        if !figure.values[i].is_finite() {
            strike(scene, palette, cell);
        }
        if let Some(text) = texts.get(i).filter(|text| !text.is_empty()) {
            let at = [
                x + (width - 1.0) / 2.0,
                centred(y + (height - 1.0) / 2.0, CELL_TEXT),
            ];
            scene.text(text, at, CELL_TEXT, ink(color), Anchor::Middle);
        }
    }
}

/// Tells a blank from a value, whatever the colour map.
fn strike(scene: &mut Scene, palette: &Palette, cell: Rect) {
    let from = [cell.x, cell.bottom()];
    scene.line(from, [cell.right(), cell.y], palette.background, 1.0);
}

/// What is written in the cells: words, or numbers where all of them have room; else nothing.
fn cell_texts(figure: &MatrixFigure, [width, height]: [f32; 2]) -> Vec<String> {
    let room = width - 3.0;
    if height < CELL_TEXT + 3.0 {
        return vec![];
    }
    if !figure.texts.is_empty() {
        if width < LEAST_WORD {
            return vec![];
        }
        let word = |text: &String| match text.as_str() {
            "" => String::new(),
            text => text::fit(&text::token_label(text), CELL_TEXT, room),
        };
        return figure.texts.iter().map(word).collect();
    }
    let number = |value: &f32| {
        if value.is_finite() {
            in_cell(*value)
        } else {
            String::new()
        }
    };
    let numbers: Vec<String> = figure.values.iter().map(number).collect();
    let fit = |text: &String| text::width(text, CELL_TEXT) <= room;
    if numbers.iter().all(fit) {
        numbers
    } else {
        vec![]
    }
}

/// Two decimals, and no digits for what rounds to nothing.
fn in_cell(value: f32) -> String {
    minus(&match value.abs() {
        size if size >= 99.5 => format!("{value:.0}"),
        size if size >= 9.95 => format!("{value:.1}"),
        size if size < 0.005 => "0".to_owned(),
        _ => format!("{value:.2}"),
    })
}

/// A grey in which text is read on a colour: the one with more contrast, by the relative luminance of WCAG 2.
pub(super) fn ink(color: Rgb) -> Rgb {
    let [r, g, b] = color.map(|channel| (f32::from(channel) / 255.0).powf(2.2));
    // Here the contrasts with both greys are the same.
    if 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 {
        [16; 3]
    } else {
        [244; 3]
    }
}

fn draw_names(
    scene: &mut Scene,
    palette: &Palette,
    rows: &[String],
    columns: &[String],
    grid: Rect,
    upright: bool,
) {
    let height = grid.height / rows.len() as f32;
    let width = grid.width / columns.len() as f32;
    // Cells that stand apart have their gap on the far side.
    let middle = |side: f32| {
        if side < APART_FROM {
            side / 2.0
        } else {
            (side - 1.0) / 2.0
        }
    };
    for (i, name) in rows
        .iter()
        .enumerate()
        .step_by(step_for(height, SMALL_SIZE * 1.1))
    {
        let y = centred(grid.y + i as f32 * height + middle(height), SMALL_SIZE);
        let at = [grid.x - LABEL_GAP, y];
        scene.text(name, at, SMALL_SIZE, palette.text, Anchor::End);
    }
    let room = if upright {
        SMALL_SIZE * 1.1
    } else {
        widest(columns) + 5.0
    };
    for (i, name) in columns.iter().enumerate().step_by(step_for(width, room)) {
        let x = grid.x + i as f32 * width + middle(width);
        let y = grid.y - LABEL_GAP;
        if upright {
            let at = [centred(x, SMALL_SIZE), y];
            scene.upright_text(name, at, SMALL_SIZE, palette.text, Anchor::Start);
        } else {
            scene.text(name, [x, y], SMALL_SIZE, palette.text, Anchor::Middle);
        }
    }
}

fn draw_axes(scene: &mut Scene, palette: &Palette, figure: &MatrixFigure, grid: Rect) {
    // Over the start of the columns where the name is wider than they are.
    let axis = &figure.column_axis;
    let wide = text::width(axis, SMALL_SIZE) > grid.width;
    let (at, anchor) = if wide {
        (grid.x, Anchor::Start)
    } else {
        (grid.x + grid.width / 2.0, Anchor::Middle)
    };
    if !axis.is_empty() {
        scene.text(axis, [at, SMALL_SIZE], SMALL_SIZE, palette.muted, anchor);
    }
    let axis = text::fit(&figure.row_axis, SMALL_SIZE, (grid.height).max(40.0));
    if !axis.is_empty() {
        let half = text::width(&axis, SMALL_SIZE) / 2.0;
        let middle = (grid.y + grid.height / 2.0).max(half);
        let at = [SMALL_SIZE, middle];
        scene.upright_text(&axis, at, SMALL_SIZE, palette.muted, Anchor::Middle);
    }
}

/// A dark frame with a light one within it, which is seen on every colour.
fn draw_marks(
    scene: &mut Scene,
    palette: &Palette,
    figure: &MatrixFigure,
    grid: Rect,
    [width, height]: [f32; 2],
) {
    for mark in marks(figure) {
        let gap = if width.min(height) < APART_FROM {
            0.0
        } else {
            1.0
        };
        let x = grid.x + mark.column as f32 * width;
        let y = grid.y + mark.row as f32 * height;
        let frame = Rect::new(x - 0.5, y - 0.5, width - gap + 1.0, height - gap + 1.0);
        if width.min(height) >= APART_FROM {
            let within = Rect::new(x + 0.75, y + 0.75, width - gap - 1.5, height - gap - 1.5);
            scene.outline(within, palette.background, 1.0);
        }
        scene.outline(frame, palette.text, 1.25);
    }
}

/// The marked cells by name, with their values.
fn ranking(figure: &MatrixFigure, width: f32) -> Vec<String> {
    let value = |mark: &Mark| f64::from(figure.values[index(figure, mark)]);
    let largest = marks(figure).map(|mark| value(mark).abs());
    let decimals = decimals_for(largest.fold(0.0, f64::max));
    // The name stays with its number.
    let of = |mark: &Mark| format!("{}\u{a0}{}", mark.label, number(value(mark), decimals));
    let named: Vec<String> = marks(figure).map(of).collect();
    if named.is_empty() {
        return vec![];
    }
    let text = format!("outlined: {}", named.join(", "));
    text::wrap(&text, SMALL_SIZE, width, 4)
}

/// A blank does not stand out.
fn marks(figure: &MatrixFigure) -> impl Iterator<Item = &Mark> {
    let marks = figure.marks.iter();
    marks.filter(|mark| figure.values[index(figure, mark)].is_finite())
}

fn index(figure: &MatrixFigure, mark: &Mark) -> usize {
    mark.row * figure.columns.len() + mark.column
}

/// Of a page of its own: words make it wider.
pub(super) fn natural_width(figure: &MatrixFigure) -> f32 {
    if figure.texts.is_empty() {
        return WIDTH;
    }
    let words = 0.75 * WORD[0] * figure.columns.len() as f32;
    (words + 120.0).clamp(WIDTH, 2.0 * WIDTH)
}

/// The colours with their numbers below; returns where it ends to the right and below.
fn draw_legend(
    scene: &mut Scene,
    palette: &Palette,
    scale: ColorScale,
    [x, y]: [f32; 2],
    has_blank: bool,
) -> [f32; 2] {
    let steps = 75;
    let step = LEGEND[0] / steps as f32;
    for i in 0..steps {
        let t = (i as f32 + 0.5) / steps as f32;
        let from = x + i as f32 * step;
        // To the end of the bar: later steps cover the rest, so there is no seam.
        let rest = Rect::new(from, y, x + LEGEND[0] - from, LEGEND[1]);
        scene.fill(rest, scale.map.rgb(t));
    }
    let bar = Rect::new(x, y, LEGEND[0], LEGEND[1]);
    scene.outline(bar, palette.rule, 0.75);
    let ticks = scale.ticks();
    let label = ticks
        .iter()
        .map(|tick| text::width(&tick.label, SMALL_SIZE));
    let room = label.fold(0.0, f32::max) + 6.0;
    let pitch = LEGEND[0] * (ticks[1].position - ticks[0].position).abs();
    // From 0 to both sides, so that the numbers are the same on both.
    let zero = ticks.iter().position(|tick| tick.value == 0.0).unwrap_or(0);
    let every = (room / pitch.max(1.0)).ceil().max(1.0) as usize;
    let base = y + LEGEND[1] + 3.0 + SMALL_SIZE;
    let mut end = bar.right();
    for tick in ticks
        .iter()
        .enumerate()
        .filter(|(i, _)| i.abs_diff(zero) % every == 0)
        .map(|(_, tick)| tick)
    {
        let at = x + tick.position * LEGEND[0];
        let (from, to) = (bar.bottom(), bar.bottom() + 2.5);
        scene.line([at, from], [at, to], palette.muted, 0.75);
        let half = text::width(&tick.label, SMALL_SIZE) / 2.0;
        // The first number does not reach out to the left of the matrix.
        let middle = at.max(half);
        scene.text(
            &tick.label,
            [middle, base],
            SMALL_SIZE,
            palette.muted,
            Anchor::Middle,
        );
        end = end.max(middle + half);
    }
    if has_blank {
        let swatch = Rect::new(bar.right() + 16.0, y, LEGEND[1], LEGEND[1]);
        scene.fill(swatch, palette.blank);
        strike(scene, palette, swatch);
        let at = [
            swatch.right() + 4.0,
            centred(y + LEGEND[1] / 2.0, SMALL_SIZE),
        ];
        scene.text("N/A", at, SMALL_SIZE, palette.muted, Anchor::Start);
        end = end.max(at[0] + text::width("N/A", SMALL_SIZE));
    }
    [end, y + LEGEND[1] + 3.0 + SMALL_LINE]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_on_every_colour_of_every_map() {
        use crate::colormap::Colormap;
        let linear = |c: u8| {
            let c = f32::from(c) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        let luminance =
            |[r, g, b]: Rgb| 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
        for map in Colormap::ALL {
            for i in 0..=255_u8 {
                let color = map.rgb(f32::from(i) / 255.0);
                let [a, b] = [luminance(color), luminance(ink(color))];
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast > 4.0, "{map} {i}: {contrast}");
            }
        }
    }

    #[test]
    fn numbers_in_cells_are_short() {
        assert_eq!(in_cell(-0.834), "−0.83");
        assert_eq!(in_cell(12.34), "12.3");
        assert_eq!(in_cell(-1234.5), "−1234");
        assert_eq!(in_cell(0.001), "0");
    }
}
