//! From a method's report to a figure: one page of all that it found, or one part of it by name.

use crate::analysis::{Bars, Cell, Grid, HeadScores, Heads, Method, Plot, Report, Scale, Table};
use crate::colormap::ColorScale;
use crate::ids::HeadId;
use crate::session::View;

use crate::figure::{
    BarPiece, BarRow, BarsFigure, Curve, CurvesFigure, Figure, Mark, MatrixFigure, MethodRun, Part,
    Provenance, SheetFigure, TableCell, TableFigure,
};

/// Heads that are outlined on a map, at most; of small models fewer.
const MARKED: usize = 5;
/// What is smaller than this share of the largest score does not stand out.
const LEAST_MARKED: f32 = 0.25;

/// Why a report is no figure.
#[derive(Debug, thiserror::Error)]
pub enum ReportFigureError {
    #[error("the report of {method} has nothing to draw: {}", why(.notes))]
    Empty {
        method: &'static str,
        notes: Vec<String>,
    },
    #[error("the report of {method} has no part “{part}”; it has {}", .parts.join(", "))]
    NoSuchPart {
        method: &'static str,
        part: String,
        parts: Vec<String>,
    },
    #[error("the part “{part}” of the report of {method} has no numbers to draw")]
    NoNumbers { method: &'static str, part: String },
}

fn why(notes: &[String]) -> String {
    if notes.is_empty() {
        "it is empty".to_owned()
    } else {
        notes.join("; ")
    }
}

/// A page of the whole report, or the part of a name: several of one name are on one page. Colours are those of the view.
/// What it is of comes from the provenance, which [`provenance`] completes.
pub fn figure(
    report: &Report,
    part: Option<&str>,
    view: &View,
    provenance: &Provenance,
) -> Result<Figure, ReportFigureError> {
    let method = report.method;
    let all = parts(report, view);
    let found: Vec<(&str, Part)> = match part {
        Some(part) => all.into_iter().filter(|(name, _)| *name == part).collect(),
        None => all,
    };
    if let Some(part) = part.filter(|_| found.is_empty()) {
        return Err(ReportFigureError::NoSuchPart {
            method,
            part: part.to_owned(),
            parts: part_names(report),
        });
    }
    let mut drawn: Vec<Part> = found
        .into_iter()
        .map(|(_, part)| part)
        .filter(has_numbers)
        .collect();
    match (part, drawn.len()) {
        (Some(part), 0) => Err(ReportFigureError::NoNumbers {
            method,
            part: part.to_owned(),
        }),
        (None, 0) => Err(ReportFigureError::Empty {
            method,
            notes: report.notes.clone(),
        }),
        (Some(_), 1) => Ok(Figure::Part(drawn.remove(0))),
        _ => Ok(Figure::Sheet(sheet(report, drawn, provenance))),
    }
}

/// The names that a part can be asked by, in the order of the page; each once.
pub fn part_names(report: &Report) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in names_of(report) {
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Where the numbers of a report come from: of a run, as [`super::provenance`] has it; of a method that takes no model, the
/// default. A task set's report is of no single prompt: leave that empty.
pub fn provenance(report: &Report, of: Provenance) -> Provenance {
    Provenance {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        method: Some(MethodRun {
            name: report.method.to_owned(),
            settings: settings(report),
        }),
        ..of
    }
}

fn names_of(report: &Report) -> impl Iterator<Item = &str> {
    let bars = report.bars.iter().map(|of| of.name.as_str());
    let scores = report.scores.iter().map(|of| of.name.as_str());
    let grids = report.grids.iter().map(|of| of.name.as_str());
    let plots = report.plots.iter().map(|of| of.name.as_str());
    let tables = report.tables.iter().map(|of| of.name.as_str());
    bars.chain(scores).chain(grids).chain(plots).chain(tables)
}

/// The parts with their names, as [`names_of`] has them: first what the answer is made of, then maps, then the rest.
fn parts<'a>(report: &'a Report, view: &View) -> Vec<(&'a str, Part)> {
    let bars = report.bars.iter().map(|of| Part::Bars(bars(of)));
    let scores = report.scores.iter();
    let scores = scores.map(|of| Part::Matrix(head_map(of, view)));
    let grids = report.grids.iter();
    let grids = grids.map(|of| Part::Matrix(matrix(of, view)));
    let plots = report.plots.iter().map(|of| Part::Curves(curves(of)));
    let tables = report.tables.iter().map(|of| Part::Table(table(of)));
    let figures = bars.chain(scores).chain(grids).chain(plots).chain(tables);
    names_of(report).zip(figures).collect()
}

/// Whether there is anything to see: a page leaves out what is empty.
fn has_numbers(part: &Part) -> bool {
    match part {
        Part::Matrix(f) => f.values.iter().any(|value| value.is_finite()),
        Part::Bars(f) => !f.bars.is_empty(),
        Part::Curves(f) => f.n_drawn() > 0,
        Part::Table(f) => !f.columns.is_empty() && !f.rows.is_empty(),
    }
}

fn sheet(report: &Report, parts: Vec<Part>, provenance: &Provenance) -> SheetFigure {
    let about = Method::named(report.method).map(|method| method.about());
    let mut subject = Vec::new();
    if !provenance.model.is_empty() {
        subject.push(provenance.model.clone());
    }
    if !provenance.prompt.is_empty() {
        subject.push(format!("“{}”", provenance.prompt));
    }
    if !provenance.edits.is_empty() {
        subject.push(format!("edits {}", provenance.edits.join(", ")));
    }
    SheetFigure {
        title: about.map_or(report.method, |about| about.title).to_owned(),
        question: about.map_or("", |about| about.question).to_owned(),
        subject,
        settings: settings(report),
        parts,
        notes: report.notes.clone(),
    }
}

fn settings(report: &Report) -> Vec<(String, serde_json::Value)> {
    let settings = report.settings.iter();
    settings
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// The window's colours for a report's numbers.
fn color_scale(scale: Scale, view: &View, values: &[Option<f32>]) -> ColorScale {
    let sizes = values.iter().flatten().map(|value| value.abs());
    // `max` passes over NaN.
    let largest = sizes.filter(|size| size.is_finite()).fold(0.0, f32::max);
    ColorScale {
        map: match scale {
            Scale::Signed => view.diverging,
            Scale::Share | Scale::Positive => view.colormap,
        },
        max: match scale {
            Scale::Share => 1.0,
            // What rounds to nothing stays pale.
            Scale::Positive | Scale::Signed => largest.max(1e-4),
        },
        log: false,
    }
}

fn plain(values: &[Option<f32>]) -> Vec<f32> {
    values
        .iter()
        .map(|value| value.unwrap_or(f32::NAN))
        .collect()
}

fn head_map(scores: &HeadScores, view: &View) -> MatrixFigure {
    let (n_layers, n_heads) = (scores.n_layers(), scores.n_heads);
    let (column_axis, column) = match scores.of {
        Heads::Query => ("head", "H"),
        Heads::KeyValue => ("key/value head", "KV"),
    };
    MatrixFigure {
        title: scores.name.clone(),
        about: scores.about.clone(),
        row_axis: "layer".to_owned(),
        rows: (0..n_layers).map(|layer| format!("L{layer}")).collect(),
        column_axis: column_axis.to_owned(),
        columns: (0..n_heads).map(|head| format!("{column}{head}")).collect(),
        values: plain(&scores.values),
        texts: vec![],
        scale: color_scale(scores.scale, view, &scores.values),
        marks: marks(scores),
    }
}

/// The heads that stand out: the largest scores; of signed ones, the furthest from 0.
fn marks(scores: &HeadScores) -> Vec<Mark> {
    let mut ranked: Vec<(HeadId, f32)> = scores
        .ranked()
        .into_iter()
        .filter_map(|(head, value)| Some((head, value?)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    let size = |value: f32| match scores.scale {
        Scale::Signed => value.abs(),
        Scale::Share | Scale::Positive => value,
    };
    ranked.sort_by(|(_, a), (_, b)| size(*b).total_cmp(&size(*a)));
    let most = MARKED.min(ranked.len() / 4).max(1);
    let largest = ranked.first().map_or(0.0, |(_, value)| size(*value));
    let is_large = |value: f32| value > 0.0 && value >= LEAST_MARKED * largest;
    ranked
        .into_iter()
        .take(most)
        .filter(|(_, value)| is_large(size(*value)))
        .map(|(head, _)| Mark {
            row: head.layer,
            column: head.head,
            label: scores.label(head),
        })
        .collect()
}

fn matrix(grid: &Grid, view: &View) -> MatrixFigure {
    MatrixFigure {
        title: grid.name.clone(),
        about: grid.about.clone(),
        row_axis: grid.row_axis.to_owned(),
        rows: grid.rows.clone(),
        column_axis: grid.column_axis.to_owned(),
        columns: grid.columns.clone(),
        values: plain(&grid.values),
        texts: grid.texts.clone(),
        scale: color_scale(grid.scale, view, &grid.values),
        marks: vec![],
    }
}

fn bars(bars: &Bars) -> BarsFigure {
    let row = |bar: &crate::analysis::Bar| BarRow {
        label: bar.label.clone(),
        parts: bar
            .parts
            .iter()
            .map(|part| BarPiece {
                name: part.name.clone(),
                label: part.label.clone(),
                value: part.value,
            })
            .collect(),
    };
    BarsFigure {
        title: bars.name.clone(),
        about: bars.about.clone(),
        axis: bars.axis.to_owned(),
        bars: bars.bars.iter().map(row).collect(),
    }
}

fn curves(plot: &Plot) -> CurvesFigure {
    CurvesFigure {
        title: plot.name.clone(),
        x_axis: plot.x_axis.to_owned(),
        y_axis: plot.y_axis.to_owned(),
        is_scatter: plot.is_scatter,
        lines: plot
            .lines
            .iter()
            .map(|line| Curve {
                name: line.name.clone(),
                points: line.points.clone(),
                labels: line.labels.clone(),
            })
            .collect(),
    }
}

fn table(table: &Table) -> TableFigure {
    let cell = |cell: &Cell| match cell {
        Cell::Text(text) => TableCell::Text(text.clone()),
        Cell::Number(number) => TableCell::Number(*number),
        Cell::Count(count) => TableCell::Count(*count),
    };
    TableFigure {
        title: table.name.clone(),
        columns: table.columns.clone(),
        rows: table
            .rows
            .iter()
            .map(|row| row.iter().map(cell).collect())
            .collect(),
    }
}

#[cfg(test)]
mod tests;
