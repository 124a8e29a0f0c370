//! A figure as JSON. Field names and nulls are a contract: see the schema version.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::colormap::ColorScale;
use crate::mask::Mask;

use super::super::input::{BeforeAfter, HeadPanel, Provenance, ReadoutRow, Thumb, TokenLabel};
use super::super::parts::{BarsFigure, CurvesFigure, Part, TableFigure};
use super::super::{Figure, FigureError};
use super::{SCHEMA_VERSION, provenance_json, readout_name};

pub(in crate::figure) fn json(
    figure: &Figure,
    provenance: &Provenance,
) -> Result<Vec<u8>, FigureError> {
    let document = Document {
        schema_version: SCHEMA_VERSION,
        provenance: provenance_json(provenance),
        view: figure.view(),
        data: Data::new(figure),
    };
    let mut out = serde_json::to_vec(&document)?;
    out.push(b'\n');
    Ok(out)
}

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    provenance: Value,
    view: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Panels {
        value: &'a str,
        scale: Scale,
        #[serde(skip_serializing_if = "Option::is_none")]
        threshold: Option<f32>,
        tokens: Vec<Token<'a>>,
        panels: Vec<Panel<'a>>,
    },
    Heads {
        value: &'a str,
        scale: Scale,
        n_layers: usize,
        n_heads: usize,
        heads: Vec<Head<'a>>,
    },
    Readout {
        readout: &'static str,
        position: Token<'a>,
        top: Vec<Row<'a>>,
        answers: Vec<Row<'a>>,
        logit_diff: Option<Pair>,
    },
    Matrix {
        title: &'a str,
        about: &'a str,
        scale: Scale,
        row_axis: &'a str,
        rows: &'a [String],
        column_axis: &'a str,
        columns: &'a [String],
        /// `[row, column]`; null where blank.
        values: Vec<&'a [f32]>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        texts: Vec<&'a [String]>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        marked: Vec<&'a str>,
    },
    Bars(&'a BarsFigure),
    Curves(&'a CurvesFigure),
    Table(&'a TableFigure),
    Sheet {
        title: &'a str,
        settings: Map<String, Value>,
        parts: Vec<SheetPart<'a>>,
        notes: &'a [String],
    },
}

#[derive(Serialize)]
struct SheetPart<'a> {
    view: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Scale {
    map: &'static str,
    log: bool,
    max: f32,
}

#[derive(Serialize)]
struct Token<'a> {
    index: usize,
    text: &'a str,
}

#[derive(Serialize)]
struct Panel<'a> {
    title: &'a str,
    layer: usize,
    head: usize,
    edited: bool,
    mask: Reach,
    /// `[query, key]`
    values: Matrix<'a>,
}

/// How many keys a query sees before and after itself; null is all.
#[derive(Serialize)]
struct Reach {
    before: Option<usize>,
    after: Option<usize>,
}

#[derive(Serialize)]
struct Head<'a> {
    layer: usize,
    #[serde(rename = "head")]
    index: usize,
    badge: &'a str,
    mask: Option<Reach>,
    values: Option<Matrix<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    token: &'a str,
    id: u32,
    logit: Pair,
    prob: Pair,
}

#[derive(Serialize)]
struct Pair {
    before: f32,
    after: Option<f32>,
    change: Option<f32>,
}

/// Written as rows of numbers, without a copy of the whole.
struct Matrix<'a> {
    values: &'a [f32],
    side: usize,
    hides: Box<dyn Fn(usize, usize) -> bool + 'a>,
}

impl Serialize for Matrix<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.values.chunks_exact(self.side).enumerate();
        serializer.collect_seq(rows.map(|(row, values)| -> Vec<Option<f32>> {
            let hidden = |column| (self.hides)(row, column);
            let shown = values.iter().enumerate();
            shown
                .map(|(column, &value)| (!hidden(column)).then_some(value))
                .collect()
        }))
    }
}

impl<'a> Matrix<'a> {
    fn of_thumb(thumb: &'a Thumb) -> Self {
        Self {
            values: &thumb.values,
            side: thumb.side,
            hides: Box::new(|row, column| thumb.hides(row, column)),
        }
    }
}

impl Reach {
    fn new(Mask { before, after }: Mask) -> Self {
        Self { before, after }
    }
}

impl<'a> Data<'a> {
    fn new(figure: &'a Figure) -> Self {
        match figure {
            Figure::Attention(f) => {
                Self::panels(&f.value_label, f.scale, None, &f.tokens, &f.panels)
            }
            Figure::Arcs(f) => Self::panels(
                &f.value_label,
                f.scale,
                Some(f.threshold),
                &f.tokens,
                &f.panels,
            ),
            Figure::Heads(f) => Self::Heads {
                value: &f.value_label,
                scale: Scale::new(f.scale),
                n_layers: f.n_layers,
                n_heads: f.n_heads,
                heads: (f.cells.iter().enumerate())
                    .map(|(i, cell)| Head {
                        layer: i / f.n_heads,
                        index: i % f.n_heads,
                        badge: &cell.badge,
                        mask: cell.thumb.as_ref().map(|thumb| Reach::new(thumb.mask)),
                        values: cell.thumb.as_ref().map(Matrix::of_thumb),
                    })
                    .collect(),
            },
            Figure::Readout(f) => Self::Readout {
                readout: readout_name(f),
                position: Token::new(&f.position),
                top: f.rows.iter().map(Row::new).collect(),
                answers: f.answers.iter().map(Row::new).collect(),
                logit_diff: f.logit_diff.map(Pair::new),
            },
            Figure::Part(part) => Self::of_part(part),
            Figure::Sheet(f) => Self::Sheet {
                title: &f.title,
                settings: settings(&f.settings),
                parts: f.parts.iter().map(SheetPart::new).collect(),
                notes: &f.notes,
            },
        }
    }

    fn of_part(part: &'a Part) -> Self {
        match part {
            Part::Matrix(f) => Self::Matrix {
                title: &f.title,
                about: &f.about,
                scale: Scale::new(f.scale),
                row_axis: &f.row_axis,
                rows: &f.rows,
                column_axis: &f.column_axis,
                columns: &f.columns,
                values: f.values.chunks(f.columns.len()).collect(),
                texts: f.texts.chunks(f.columns.len()).collect(),
                marked: f.marks.iter().map(|mark| mark.label.as_str()).collect(),
            },
            Part::Bars(f) => Self::Bars(f),
            Part::Curves(f) => Self::Curves(f),
            Part::Table(f) => Self::Table(f),
        }
    }

    fn panels(
        value: &'a str,
        scale: ColorScale,
        threshold: Option<f32>,
        tokens: &'a [TokenLabel],
        panels: &'a [HeadPanel],
    ) -> Self {
        let panel = |panel: &'a HeadPanel| Panel {
            title: &panel.title,
            layer: panel.head.layer,
            head: panel.head.head,
            edited: panel.edited,
            mask: Reach::new(panel.mask),
            values: Matrix {
                values: &panel.values,
                side: tokens.len(),
                hides: Box::new(|query, key| panel.hides(query, key)),
            },
        };
        Self::Panels {
            value,
            scale: Scale::new(scale),
            threshold,
            tokens: tokens.iter().map(Token::new).collect(),
            panels: panels.iter().map(panel).collect(),
        }
    }
}

impl<'a> SheetPart<'a> {
    fn new(part: &'a Part) -> Self {
        Self {
            view: part.view(),
            data: Data::of_part(part),
        }
    }
}

/// By name, in order.
pub(super) fn settings(settings: &[(String, Value)]) -> Map<String, Value> {
    settings.iter().cloned().collect()
}

impl Scale {
    fn new(scale: ColorScale) -> Self {
        Self {
            map: scale.map.name(),
            log: scale.log,
            max: scale.range(),
        }
    }
}

impl<'a> Token<'a> {
    fn new(token: &'a TokenLabel) -> Self {
        Self {
            index: token.index,
            text: &token.text,
        }
    }
}

impl<'a> Row<'a> {
    fn new(row: &'a ReadoutRow) -> Self {
        Self {
            token: &row.token,
            id: row.id,
            logit: Pair::new(row.logit),
            prob: Pair::new(row.prob),
        }
    }
}

impl Pair {
    fn new(pair: BeforeAfter) -> Self {
        Self {
            before: pair.before,
            after: pair.after,
            change: pair.change(),
        }
    }
}
