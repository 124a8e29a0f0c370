//! What the figures of a method's report are made of: plain numbers and texts, as in `input`.
//!
//! `matrix`, `bars`, `curves` and `table` draw one part each, `sheet` puts several on a page, `data` writes them: bars,
//! curves and tables as they are here, so that their field names are those of the JSON.

use serde::Serialize;
use serde_json::Value;

use crate::colormap::ColorScale;

use super::FigureError;
use super::input::{check_count, check_values};

/// A part of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Matrix(MatrixFigure),
    Bars(BarsFigure),
    Curves(CurvesFigure),
    Table(TableFigure),
}

/// A matrix with names along both sides: a layer × head map, layer × position, …
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixFigure {
    pub title: String,
    /// What it shows, in a line.
    pub about: String,
    /// What the rows are: `layer`.
    pub row_axis: String,
    pub rows: Vec<String>,
    pub column_axis: String,
    pub columns: Vec<String>,
    /// `[row, column]`, row-major; NaN is blank.
    pub values: Vec<f32>,
    /// A word for each cell, in place of its number; none at all, or one a cell.
    pub texts: Vec<String>,
    pub scale: ColorScale,
    /// Cells that are outlined, and named below with their values, in this order.
    pub marks: Vec<Mark>,
}

/// A cell that stands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub row: usize,
    pub column: usize,
    /// `L9H6`
    pub label: String,
}

/// Bars side by side, each of parts that are put end to end: those above 0 to the right, those below it to the left.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BarsFigure {
    pub title: String,
    pub about: String,
    /// What a length is, with its unit.
    pub axis: String,
    /// From the top down.
    pub bars: Vec<BarRow>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BarRow {
    pub label: String,
    pub parts: Vec<BarPiece>,
}

/// Pieces of one name have one colour.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BarPiece {
    /// The kind of part: heads, MLPs, …; empty where there is only one kind.
    pub name: String,
    /// The very part, such as `L9H6`; empty where it has no name of its own.
    pub label: String,
    /// Not finite: the bar is drawn without it, and says that its sum is not known.
    pub value: f64,
}

/// Lines, or single points, over two axes of numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CurvesFigure {
    pub title: String,
    pub x_axis: String,
    pub y_axis: String,
    /// Points are not joined.
    pub is_scatter: bool,
    pub lines: Vec<Curve>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curve {
    pub name: String,
    /// x, y; what is not finite interrupts the line.
    pub points: Vec<[f64; 2]>,
    /// What each point stands for, such as a head; none at all, or one a point.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TableFigure {
    pub title: String,
    pub columns: Vec<String>,
    /// One cell for each column.
    pub rows: Vec<Vec<TableCell>>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TableCell {
    Text(String),
    /// `None` is blank.
    Number(Option<f64>),
    Count(usize),
}

/// Several parts on one page, with what they have in common above them and what a reader has to know below.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SheetFigure {
    pub title: String,
    /// The question that it answers; may be empty.
    pub question: String,
    /// Of what: model and prompt, one a line.
    pub subject: Vec<String>,
    /// What it was made with, in order.
    pub settings: Vec<(String, Value)>,
    /// At least one.
    pub parts: Vec<Part>,
    pub notes: Vec<String>,
}

impl Part {
    pub const fn view(&self) -> &'static str {
        match self {
            Self::Matrix(_) => "matrix",
            Self::Bars(_) => "bars",
            Self::Curves(_) => "curves",
            Self::Table(_) => "table",
        }
    }

    pub(super) fn check(&self) -> Result<(), FigureError> {
        match self {
            Self::Matrix(figure) => figure.check(),
            Self::Bars(figure) => check_count("bars", figure.bars.len(), 1, BarsFigure::MOST),
            Self::Curves(figure) => figure.check(),
            Self::Table(figure) => {
                let n_columns = figure.columns.len();
                check_count("columns", n_columns, 1, usize::MAX)?;
                let mut rows = figure.rows.iter();
                rows.try_for_each(|row| check_values(&figure.title, row.len(), n_columns))
            }
        }
    }

    /// Title and description, for those who do not see the picture.
    pub(super) fn words(&self) -> (String, String) {
        match self {
            Self::Matrix(f) => {
                let [rows, columns] = [f.rows.len(), f.columns.len()];
                let shape = format!(
                    "{rows} rows ({}) × {columns} columns ({})",
                    f.row_axis, f.column_axis
                );
                (f.title.clone(), format!("{shape}: {}", f.about))
            }
            Self::Bars(f) => (
                f.title.clone(),
                format!("{} bars: {}", f.bars.len(), f.about),
            ),
            Self::Curves(f) => (f.title.clone(), format!("{} by {}", f.y_axis, f.x_axis)),
            Self::Table(f) => (f.title.clone(), format!("{} rows", f.rows.len())),
        }
    }
}

impl MatrixFigure {
    fn check(&self) -> Result<(), FigureError> {
        let (n_rows, n_columns) = (self.rows.len(), self.columns.len());
        check_count("rows", n_rows, 1, usize::MAX)?;
        check_count("columns", n_columns, 1, usize::MAX)?;
        check_values(&self.title, self.values.len(), n_rows * n_columns)?;
        if !self.texts.is_empty() {
            check_values(&self.title, self.texts.len(), n_rows * n_columns)?;
        }
        self.marks.iter().try_for_each(|mark| {
            check_count("rows for a mark", n_rows, mark.row + 1, usize::MAX)?;
            check_count("columns for a mark", n_columns, mark.column + 1, usize::MAX)
        })
    }
}

impl BarsFigure {
    /// More would be a picture that nobody reads.
    pub const MOST: usize = 500;
}

impl CurvesFigure {
    fn check(&self) -> Result<(), FigureError> {
        for line in self.lines.iter().filter(|line| !line.labels.is_empty()) {
            check_values(&self.title, line.labels.len(), line.points.len())?;
        }
        check_count("points", self.n_drawn(), 1, usize::MAX)
    }

    /// Points that have a place.
    pub fn n_drawn(&self) -> usize {
        let points = self.lines.iter().flat_map(|line| &line.points);
        points.filter(|point| is_drawn(point)).count()
    }
}

/// Whether a point has a place on axes of finite length.
pub(super) fn is_drawn(point: &[f64; 2]) -> bool {
    point.iter().all(|x| x.abs() < 1e100)
}
