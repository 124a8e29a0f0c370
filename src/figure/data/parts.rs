//! The parts of a report as CSV. One part has columns of its own; several, or a sheet, have one row for each number.

use std::io::Write;

use serde_json::Value;

use super::super::parts::{
    BarsFigure, CurvesFigure, MatrixFigure, Part, SheetFigure, TableCell, TableFigure,
};

type Written = Result<(), csv::Error>;

/// Of a sheet. What a part does not have is empty.
const LONG: [&str; 8] = [
    "part",
    "kind",
    "row",
    "row_name",
    "column",
    "column_name",
    "value",
    "text",
];

/// What the lines before the header say, besides where the numbers are from.
pub(super) fn comments(part: &Part) -> Vec<(&'static str, &str)> {
    match part {
        Part::Matrix(f) => vec![
            ("title", f.title.as_str()),
            ("about", f.about.as_str()),
            ("row_axis", f.row_axis.as_str()),
            ("column_axis", f.column_axis.as_str()),
        ],
        Part::Bars(f) => vec![
            ("title", f.title.as_str()),
            ("about", f.about.as_str()),
            ("axis", f.axis.as_str()),
        ],
        Part::Curves(f) => vec![
            ("title", f.title.as_str()),
            ("x_axis", f.x_axis.as_str()),
            ("y_axis", f.y_axis.as_str()),
        ],
        Part::Table(f) => vec![("title", f.title.as_str())],
    }
}

/// A setting's value in a line.
pub(super) fn setting(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn write<W: Write>(writer: &mut csv::Writer<W>, part: &Part) -> Written {
    match part {
        Part::Matrix(f) => {
            writer.write_record(["row", "row_name", "column", "column_name", "value", "text"])?;
            cells(f).try_for_each(|cell| writer.write_record(cell))
        }
        Part::Bars(f) => {
            writer.write_record(["bar", "bar_name", "part", "part_name", "value"])?;
            pieces(f).try_for_each(|piece| writer.write_record(piece))
        }
        Part::Curves(f) => {
            writer.write_record(["line", "line_name", "point_name", "x", "y"])?;
            points(f).try_for_each(|point| writer.write_record(point))
        }
        Part::Table(f) => {
            writer.write_record(&f.columns)?;
            f.rows
                .iter()
                .try_for_each(|row| writer.write_record(row.iter().map(cell_text)))
        }
    }
}

pub(super) fn write_sheet<W: Write>(writer: &mut csv::Writer<W>, sheet: &SheetFigure) -> Written {
    writer.write_record(LONG)?;
    let mut parts = sheet.parts.iter();
    parts.try_for_each(|part| write_long(writer, part))
}

fn write_long<W: Write>(writer: &mut csv::Writer<W>, part: &Part) -> Written {
    let kind = part.view();
    match part {
        Part::Matrix(f) => cells(f).try_for_each(|[row, row_name, column, name, value, text]| {
            writer.write_record([
                f.title.as_str(),
                kind,
                &row,
                &row_name,
                &column,
                &name,
                &value,
                &text,
            ])
        }),
        Part::Bars(f) => pieces(f).try_for_each(|[bar, name, kind_of, piece, value]| {
            writer.write_record([
                f.title.as_str(),
                kind,
                &bar,
                &name,
                &kind_of,
                &piece,
                &value,
                "",
            ])
        }),
        Part::Curves(f) => points(f).try_for_each(|[line, name, point, x, y]| {
            writer.write_record([
                f.title.as_str(),
                kind,
                &line,
                &name,
                &x,
                &f.x_axis,
                &y,
                &point,
            ])
        }),
        Part::Table(f) => write_long_table(writer, f),
    }
}

fn write_long_table<W: Write>(writer: &mut csv::Writer<W>, table: &TableFigure) -> Written {
    for (i, row) in table.rows.iter().enumerate() {
        for (j, (cell, name)) in row.iter().zip(&table.columns).enumerate() {
            let text = cell_text(cell);
            let [value, text] = match cell {
                TableCell::Text(_) => [String::new(), text],
                TableCell::Number(_) | TableCell::Count(_) => [text, String::new()],
            };
            let (i, j) = (i.to_string(), j.to_string());
            writer.write_record([
                table.title.as_str(),
                "table",
                &i,
                "",
                &j,
                name,
                &value,
                &text,
            ])?;
        }
    }
    Ok(())
}

fn cells(figure: &MatrixFigure) -> impl Iterator<Item = [String; 6]> {
    let n = figure.columns.len();
    figure.values.iter().enumerate().map(move |(i, value)| {
        let (row, column) = (i / n, i % n);
        [
            row.to_string(),
            figure.rows[row].clone(),
            column.to_string(),
            figure.columns[column].clone(),
            super::field(*value),
            figure.texts.get(i).cloned().unwrap_or_default(),
        ]
    })
}

fn pieces(figure: &BarsFigure) -> impl Iterator<Item = [String; 5]> {
    figure.bars.iter().enumerate().flat_map(|(i, bar)| {
        bar.parts.iter().map(move |piece| {
            [
                i.to_string(),
                bar.label.clone(),
                piece.name.clone(),
                piece.label.clone(),
                number(piece.value),
            ]
        })
    })
}

fn points(figure: &CurvesFigure) -> impl Iterator<Item = [String; 5]> {
    figure.lines.iter().enumerate().flat_map(|(i, line)| {
        line.points.iter().enumerate().map(move |(j, [x, y])| {
            [
                i.to_string(),
                line.name.clone(),
                line.labels.get(j).cloned().unwrap_or_default(),
                number(*x),
                number(*y),
            ]
        })
    })
}

fn cell_text(cell: &TableCell) -> String {
    match cell {
        TableCell::Text(text) => text.clone(),
        TableCell::Number(value) => value.map(number).unwrap_or_default(),
        TableCell::Count(count) => count.to_string(),
    }
}

/// The shortest decimal that reads back to the same number; empty where it is none.
fn number(value: f64) -> String {
    if value.is_finite() {
        format!("{value:?}")
    } else {
        String::new()
    }
}
