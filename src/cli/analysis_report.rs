//! A method's report as JSON and as tables. Field names and nulls are a contract: see the schema version.

use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::opened::Opened;
use super::report::{ModelReport, SCHEMA_VERSION};
use super::table::{cells, model_line};
use crate::analysis::{self, Cell, Grid, HeadScores, Plot, Table};

/// Heads that are printed of each score without `--json`.
const SHOWN: usize = 8;

/// Columns of a grid that are printed.
const SHOWN_COLUMNS: usize = 12;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema_version: u32,
    method: &'static str,
    /// Absent of a method that takes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelReport>,
    settings: Map<String, Value>,
    scores: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    grids: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    tables: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    plots: Map<String, Value>,
    notes: Vec<String>,
    pub(super) warnings: Vec<String>,
    timing_ms: f64,
    #[serde(skip)]
    found: analysis::Report,
}

impl Report {
    pub(super) fn new(
        opened: Option<&Opened>,
        report: &analysis::Report,
        warnings: &[String],
        started: Instant,
    ) -> Self {
        let named = |name: &str, value: Value| (name.to_owned(), value);
        Self {
            schema_version: SCHEMA_VERSION,
            method: report.method,
            model: opened.map(|opened| ModelReport::new(opened.model_ref())),
            settings: report
                .settings
                .iter()
                .map(|(name, value)| named(name, value.clone()))
                .collect(),
            scores: report
                .scores
                .iter()
                .map(|of| named(&of.name, scores(of)))
                .collect(),
            grids: report
                .grids
                .iter()
                .map(|of| named(&of.name, grid(of)))
                .collect(),
            tables: report
                .tables
                .iter()
                .map(|of| named(&of.name, table(of)))
                .collect(),
            plots: report
                .plots
                .iter()
                .map(|of| named(&of.name, plot(of)))
                .collect(),
            notes: report.notes.clone(),
            warnings: warnings.to_vec(),
            timing_ms: started.elapsed().as_secs_f64() * 1e3,
            found: report.clone(),
        }
    }
}

fn scores(scores: &HeadScores) -> Value {
    let ranked = scores.ranked().into_iter();
    ranked
        .map(|(head, score)| json!({"head": scores.label(head), "score": score}))
        .collect()
}

fn grid(grid: &Grid) -> Value {
    let n = grid.columns.len().max(1);
    let mut value = json!({
        "about": grid.about,
        "row_axis": grid.row_axis,
        "rows": grid.rows,
        "column_axis": grid.column_axis,
        "columns": grid.columns,
        "values": grid.values.chunks(n).collect::<Vec<_>>(),
    });
    if !grid.texts.is_empty() {
        value["texts"] = json!(grid.texts.chunks(n).collect::<Vec<_>>());
    }
    value
}

fn table(table: &Table) -> Value {
    let cell = |cell: &Cell| match cell {
        Cell::Text(text) => json!(text),
        Cell::Number(number) => json!(number),
        Cell::Count(count) => json!(count),
    };
    let rows: Vec<Vec<Value>> = table
        .rows
        .iter()
        .map(|row| row.iter().map(cell).collect())
        .collect();
    json!({"columns": table.columns, "rows": rows})
}

fn plot(plot: &Plot) -> Value {
    let lines: Map<String, Value> = plot
        .lines
        .iter()
        .map(|line| (line.name.clone(), json!(line.points)))
        .collect();
    json!({"x_axis": plot.x_axis, "y_axis": plot.y_axis, "lines": lines})
}

/// The readable form. Warnings go elsewhere.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, report);
    out
}

fn write_all(out: &mut String, report: &Report) -> std::fmt::Result {
    let found = &report.found;
    if let Some(model) = &report.model {
        writeln!(out, "{}", model_line(model))?;
    }
    let settings = found.settings.iter().map(|(name, value)| {
        let text = value.to_string();
        let short: String = text.trim_matches('"').chars().take(40).collect();
        format!("{name} {short}")
    });
    writeln!(
        out,
        "{}: {}",
        found.method,
        settings.collect::<Vec<_>>().join(", ")
    )?;
    for scores in &found.scores {
        let ranked = scores.ranked();
        let best = ranked
            .iter()
            .filter_map(|(head, score)| Some(format!("{} {:.3}", scores.label(*head), (*score)?)))
            .take(SHOWN)
            .collect::<Vec<_>>();
        let best = if best.is_empty() {
            "blank".into()
        } else {
            best.join("  ")
        };
        writeln!(out, "\n{} — {}\n  {best}", scores.name, scores.about)?;
    }
    for grid in &found.grids {
        writeln!(out, "\n{} — {}", grid.name, grid.about)?;
        let n = grid.columns.len();
        let first = n.saturating_sub(SHOWN_COLUMNS);
        let mut rows = vec![[vec![String::new()], grid.columns[first..].to_vec()].concat()];
        for (i, name) in grid.rows.iter().enumerate() {
            let of = (first..n).map(|column| cell_text(grid, i * n + column));
            rows.push([vec![name.clone()], of.collect()].concat());
        }
        out.push_str(&cells(&rows));
        if first > 0 {
            writeln!(
                out,
                "  (the last {SHOWN_COLUMNS} of {n} columns; --json has all)"
            )?;
        }
    }
    for table in &found.tables {
        writeln!(out, "\n{}", table.name)?;
        let mut rows = vec![table.columns.clone()];
        rows.extend(table.rows.iter().map(|row| row.iter().map(cell).collect()));
        out.push_str(&cells(&rows));
    }
    writeln!(out)?;
    for note in &found.notes {
        writeln!(out, "note: {note}")?;
    }
    writeln!(out, "{:.0} ms", report.timing_ms)
}

fn cell_text(grid: &Grid, at: usize) -> String {
    let number = grid.values[at].map_or_else(|| "·".into(), |x| format!("{x:.2}"));
    match grid.texts.get(at) {
        Some(text) => format!("{text:?} {number}"),
        None => number,
    }
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Number(Some(number)) => format!("{number:.4}"),
        Cell::Number(None) => "·".into(),
        Cell::Count(count) => count.to_string(),
    }
}
