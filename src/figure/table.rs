//! A plain table: words to the left, numbers to the right with digits that compare, ruled as in print.

use super::axis::{decimals_for, number};
use super::layout::{LABEL_SIZE, SMALL_SIZE};
use super::page::Room;
use super::parts::{TableCell, TableFigure};
use super::scene::{Anchor, Scene};
use super::style::Palette;
use super::text;

/// Of a page of its own.
pub(super) const WIDTH: f32 = 640.0;
/// Rows that are drawn; the data has all.
pub(super) const MOST_ROWS: usize = 40;
const LINE: f32 = 14.0;
/// Around the lines of a row.
const ROW_PADDING: f32 = 4.0;
const COLUMN_GAP: f32 = 18.0;
/// Columns of words are not narrower, and their cells not longer than so many lines.
const LEAST_WORDS: f32 = 70.0;
const MOST_LINES: usize = 6;

pub(super) fn body(figure: &TableFigure, palette: &Palette, room: Room) -> Scene {
    let shown = &figure.rows[..figure.rows.len().min(MOST_ROWS)];
    let columns: Vec<Column> = (0..figure.columns.len())
        .map(|at| Column::new(figure, shown, at))
        .collect();
    let widths = widths(&columns, room.width);
    let lefts: Vec<f32> = widths
        .iter()
        .scan(0.0, |x, width| {
            let left = *x;
            *x += width + COLUMN_GAP;
            Some(left)
        })
        .collect();
    let right = lefts.iter().zip(&widths).map(|(left, width)| left + width);
    let right = right.fold(0.0, f32::max);
    let mut scene = Scene::empty(palette.background);
    let draw = |scene: &mut Scene, column: usize, lines: &[String], y: f32, is_header: bool| {
        let (x, anchor) = if columns[column].is_numeric {
            (lefts[column] + widths[column], Anchor::End)
        } else {
            (lefts[column], Anchor::Start)
        };
        let (size, color) = if is_header {
            (SMALL_SIZE, palette.muted)
        } else {
            (LABEL_SIZE, palette.text)
        };
        for (i, line) in lines.iter().enumerate() {
            let base = y + i as f32 * LINE + LABEL_SIZE;
            scene.text(line, [x, base], size, color, anchor);
        }
    };
    for (i, column) in columns.iter().enumerate() {
        let name = text::fit(&column.name, SMALL_SIZE, widths[i]);
        draw(&mut scene, i, &[name], 0.0, true);
    }
    let mut y = LINE + ROW_PADDING;
    scene.line([0.0, y], [right, y], palette.muted, 1.0);
    for row in 0..shown.len() {
        y += ROW_PADDING / 2.0;
        let cells: Vec<Vec<String>> = columns
            .iter()
            .zip(&widths)
            .map(|(column, width)| column.lines(row, *width))
            .collect();
        for (i, lines) in cells.iter().enumerate() {
            draw(&mut scene, i, lines, y, false);
        }
        let most = cells.iter().map(Vec::len).max().unwrap_or(1).max(1);
        y += most as f32 * LINE + ROW_PADDING / 2.0;
    }
    y += 2.0;
    scene.line([0.0, y], [right, y], palette.muted, 1.0);
    y += 2.0;
    scene.width = right;
    if figure.rows.len() > MOST_ROWS {
        let rest = match figure.rows.len() - MOST_ROWS {
            1 => "and one row more: CSV and JSON have all".to_owned(),
            n => format!("and {n} rows more: CSV and JSON have all"),
        };
        y += 4.0;
        scene.text(
            &rest,
            [0.0, y + SMALL_SIZE],
            SMALL_SIZE,
            palette.muted,
            Anchor::Start,
        );
        y += LINE;
        scene.width = right.max(text::width(&rest, SMALL_SIZE));
    }
    scene.height = y;
    scene
}

/// A column as it is written.
struct Column {
    name: String,
    cells: Vec<String>,
    is_numeric: bool,
    /// Of the widest cell, in one line.
    width: f32,
}

impl Column {
    fn new(figure: &TableFigure, rows: &[Vec<TableCell>], at: usize) -> Self {
        let cells = || rows.iter().map(|row| &row[at]);
        let is_numeric = cells().all(|cell| !matches!(cell, TableCell::Text(_)));
        let size = |cell: &TableCell| match cell {
            TableCell::Number(Some(number)) if number.is_finite() => number.abs(),
            _ => 0.0,
        };
        let decimals = decimals_for(cells().map(size).fold(0.0, f64::max));
        let written: Vec<String> = cells().map(|cell| write(cell, decimals)).collect();
        let name = text::token_label(&figure.columns[at]);
        let widths = written.iter().map(|cell| text::width(cell, LABEL_SIZE));
        Self {
            width: widths.fold(text::width(&name, SMALL_SIZE), f32::max),
            name,
            cells: written,
            is_numeric,
        }
    }

    fn lines(&self, row: usize, width: f32) -> Vec<String> {
        if self.is_numeric {
            vec![self.cells[row].clone()]
        } else {
            text::wrap(&self.cells[row], LABEL_SIZE, width, MOST_LINES)
        }
    }
}

fn write(cell: &TableCell, decimals: usize) -> String {
    match cell {
        TableCell::Text(text) if text.is_empty() => String::new(),
        TableCell::Text(text) => text::token_label(text),
        TableCell::Count(count) => count.to_string(),
        TableCell::Number(Some(value)) if value.is_finite() => number(*value, decimals),
        TableCell::Number(_) => "–".to_owned(),
    }
}

/// Every column its own width where that fits; else columns of words give way, the widest first.
fn widths(columns: &[Column], room: f32) -> Vec<f32> {
    let gaps = COLUMN_GAP * (columns.len() - 1) as f32;
    let fixed: f32 = columns
        .iter()
        .filter(|column| column.is_numeric)
        .map(|column| column.width)
        .sum();
    let words: Vec<f32> = columns
        .iter()
        .filter(|column| !column.is_numeric)
        .map(|column| column.width)
        .collect();
    // The limit that all words have in common: room is shared among those that are wider than it.
    let mut left = room - gaps - fixed;
    let mut sorted = words;
    sorted.sort_by(f32::total_cmp);
    let mut limit = f32::INFINITY;
    for (i, width) in sorted.iter().enumerate() {
        let share = left / (sorted.len() - i) as f32;
        if *width > share {
            limit = share.max(LEAST_WORDS);
            break;
        }
        left -= width;
    }
    columns
        .iter()
        .map(|column| {
            if column.is_numeric {
                column.width
            } else {
                column.width.min(limit)
            }
        })
        .collect()
}
