//! A method's report as JSON and as tables. Field names and nulls are a contract: see the schema version.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::opened::Opened;
use super::report::{ModelReport, SCHEMA_VERSION};
use super::table::{cells, model_line};
use crate::analysis::{self, AnalysisError, BarPart, Bars, Cell, Grid, HeadScores, Plot, Table};

/// Heads that are printed of each score without `--json`.
const SHOWN: usize = 8;

/// Columns of a grid that are printed.
const SHOWN_COLUMNS: usize = 12;

/// A report as it is printed; what JSON has is made from it when it is asked for.
#[derive(Debug)]
pub(super) struct Report<'a> {
    /// `None` of a method that takes none.
    model: Option<ModelReport>,
    found: &'a analysis::Report,
    learned: &'a Learned,
    pub(super) warnings: &'a [String],
    millis: f64,
}

/// What was learned, where it is kept, and the edits that apply it; empty of a method that learns nothing.
#[derive(Debug, Default)]
pub(super) struct Learned {
    path: Option<PathBuf>,
    edits: Vec<String>,
}

impl Learned {
    pub(super) fn new(
        report: &analysis::Report,
        path: Option<&PathBuf>,
    ) -> Result<Self, AnalysisError> {
        let edits = match (&report.learned, path) {
            (None, _) => vec![],
            (Some(learned), None) => learned.edits.clone(),
            (Some(learned), Some(path)) => {
                let edits = learned.edits_from(&path.to_string_lossy())?;
                edits.iter().map(ToString::to_string).collect()
            }
        };
        Ok(Self {
            path: path.cloned(),
            edits,
        })
    }

    pub(super) fn save(&self, report: &analysis::Report) -> Result<(), AnalysisError> {
        match (&report.learned, &self.path) {
            (Some(learned), Some(path)) => learned.save(path),
            _ => Ok(()),
        }
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(
        opened: Option<&Opened>,
        found: &'a analysis::Report,
        learned: &'a Learned,
        warnings: &'a [String],
        started: Instant,
    ) -> Self {
        Self {
            model: opened.map(|opened| ModelReport::new(opened.model_ref())),
            found,
            learned,
            warnings,
            millis: started.elapsed().as_secs_f64() * 1e3,
        }
    }
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let found = self.found;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema_version", &SCHEMA_VERSION)?;
        map.serialize_entry("method", found.method)?;
        if let Some(model) = &self.model {
            map.serialize_entry("model", model)?;
        }
        let settings = found.settings.iter();
        let settings: Map<String, Value> = settings
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        map.serialize_entry("settings", &settings)?;
        map.serialize_entry("scores", &by_name(&found.scores, |of| &of.name, scores))?;
        for (key, of) in [
            ("bars", by_name(&found.bars, |of| &of.name, bars)),
            ("grids", by_name(&found.grids, |of| &of.name, grid)),
            ("tables", by_name(&found.tables, |of| &of.name, table)),
            ("plots", by_name(&found.plots, |of| &of.name, plot)),
        ] {
            if !of.is_empty() {
                map.serialize_entry(key, &of)?;
            }
        }
        if !self.learned.edits.is_empty() {
            map.serialize_entry("edits", &self.learned.edits)?;
        }
        map.serialize_entry("notes", &found.notes)?;
        map.serialize_entry("warnings", self.warnings)?;
        map.serialize_entry("timing_ms", &self.millis)?;
        map.end()
    }
}

fn by_name<T>(
    parts: &[T],
    name: impl Fn(&T) -> &String,
    value: impl Fn(&T) -> Value,
) -> Map<String, Value> {
    let parts = parts.iter();
    parts.map(|of| (name(of).clone(), value(of))).collect()
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
        .map(|line| {
            let points = if line.labels.is_empty() {
                json!(line.points)
            } else {
                let named = line.labels.iter().zip(&line.points);
                let point = |(label, [x, y]): (&String, &[f64; 2])| json!([label, x, y]);
                named.map(point).collect()
            };
            (line.name.clone(), points)
        })
        .collect();
    json!({"x_axis": plot.x_axis, "y_axis": plot.y_axis, "lines": lines})
}

fn bars(bars: &Bars) -> Value {
    let part =
        |part: &BarPart| json!({"name": part.name, "label": part.label, "value": part.value});
    let of: Vec<Value> = bars
        .bars
        .iter()
        .map(|bar| json!({"label": bar.label, "parts": bar.parts.iter().map(part).collect::<Vec<_>>()}))
        .collect();
    json!({"about": bars.about, "axis": bars.axis, "bars": of})
}

/// The readable form. Warnings go elsewhere.
pub(super) fn text(report: &Report<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut out, report);
    out
}

fn write_all(out: &mut String, report: &Report<'_>) -> std::fmt::Result {
    let found = report.found;
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
        rows.extend(
            table
                .rows
                .iter()
                .map(|row| row.iter().map(Cell::text).collect()),
        );
        out.push_str(&cells(&rows));
    }
    writeln!(out)?;
    for note in &found.notes {
        writeln!(out, "note: {note}")?;
    }
    for edit in &report.learned.edits {
        writeln!(out, "edit {edit}")?;
    }
    writeln!(out, "{:.0} ms", report.millis)
}

fn cell_text(grid: &Grid, at: usize) -> String {
    let number = grid.values[at].map_or_else(|| "·".into(), |x| format!("{x:.2}"));
    match grid.texts.get(at) {
        Some(text) => format!("{text:?} {number}"),
        None => number,
    }
}
