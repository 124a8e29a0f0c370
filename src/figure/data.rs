//! The numbers behind a figure, as CSV for spreadsheets and as JSON for programs.
//!
//! Both carry the provenance and every number exactly (the shortest decimal that reads back to the same f32).
//! Cells behind the mask are left out of the CSV and null in the JSON; so is, as an empty field, what is not finite.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::colormap::ColorScale;
use crate::mask::Mask;

use super::input::{
    BeforeAfter, HeadPanel, Provenance, ReadoutFigure, ReadoutRow, Thumb, TokenLabel,
};
use super::{Figure, FigureError};

/// Of the JSON and of the CSV's columns.
const SCHEMA_VERSION: u32 = 1;

/// What the metadata of every picture says: the JSON export without its data.
pub(super) fn metadata(view: &str, provenance: &Provenance) -> String {
    json!({
        "schema_version": SCHEMA_VERSION,
        "provenance": provenance_json(provenance),
        "view": view,
    })
    .to_string()
}

fn provenance_json(provenance: &Provenance) -> serde_json::Value {
    json!({
        "version": provenance.version,
        "model": provenance.model,
        "fingerprint": provenance.fingerprint,
        "prompt": provenance.prompt,
        "edits": provenance.edits,
    })
}

pub(super) fn csv(figure: &Figure, provenance: &Provenance) -> Result<Vec<u8>, FigureError> {
    let mut head = comments(figure, provenance).into_bytes();
    let mut writer = csv::Writer::from_writer(&mut head);
    match figure {
        Figure::Attention(f) => write_panels(&mut writer, &f.panels, &f.tokens),
        Figure::Arcs(f) => write_panels(&mut writer, &f.panels, &f.tokens),
        Figure::Heads(f) => {
            writer.write_record(["layer", "head", "badge", "side", "row", "column", "value"])?;
            for (i, cell) in f.cells.iter().enumerate() {
                let (layer, head) = (i / f.n_heads, i % f.n_heads);
                let Some(thumb) = &cell.thumb else {
                    writer.serialize((layer, head, &cell.badge, "", "", "", ""))?;
                    continue;
                };
                for (j, &value) in thumb.values.iter().enumerate() {
                    let (row, column) = (j / thumb.side, j % thumb.side);
                    if !thumb.hides(row, column) {
                        writer.serialize((
                            layer,
                            head,
                            &cell.badge,
                            thumb.side,
                            row,
                            column,
                            field(value),
                        ))?;
                    }
                }
            }
            Ok(())
        }
        Figure::Readout(f) => write_readout(&mut writer, f),
    }?;
    writer.flush().map_err(csv::Error::from)?;
    drop(writer);
    Ok(head)
}

/// Lines of `# key: value` before the header.
fn comments(figure: &Figure, provenance: &Provenance) -> String {
    let mut out = format!(
        "# schema_version: {SCHEMA_VERSION}\n# view: {}\n",
        figure.view()
    );
    let mut add = |key: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# {key}: {}", one_line(value));
    };
    add("version", &provenance.version);
    add("model", &provenance.model);
    add("fingerprint", &provenance.fingerprint);
    add("prompt", &provenance.prompt);
    for edit in &provenance.edits {
        add("edit", edit);
    }
    match figure {
        Figure::Attention(f) => add("value", &f.value_label),
        Figure::Heads(f) => add("value", &f.value_label),
        Figure::Arcs(f) => {
            add("value", &f.value_label);
            add("threshold", &f.threshold.to_string());
        }
        Figure::Readout(f) => {
            add("readout", readout_name(f));
            add("position", &f.position.index.to_string());
            add("position_token", &f.position.text);
        }
    }
    out
}

/// As the command line names it.
fn readout_name(figure: &ReadoutFigure) -> &'static str {
    if figure.masked_token {
        "masked_token"
    } else {
        "next_token"
    }
}

/// As it is, or as a JSON string where it would not read back from one line.
fn one_line(value: &str) -> String {
    let plain = !value.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
    if plain && value.trim() == value && !value.starts_with('"') {
        value.to_owned()
    } else {
        json!(value).to_string()
    }
}

fn write_panels<W: std::io::Write>(
    writer: &mut csv::Writer<W>,
    panels: &[HeadPanel],
    tokens: &[TokenLabel],
) -> Result<(), csv::Error> {
    writer.write_record([
        "layer",
        "head",
        "panel",
        "query",
        "query_token",
        "key",
        "key_token",
        "value",
    ])?;
    for panel in panels {
        let head = panel.head;
        for (row, (query, values)) in tokens
            .iter()
            .zip(panel.values.chunks_exact(tokens.len()))
            .enumerate()
        {
            for (column, (key, &value)) in tokens.iter().zip(values).enumerate() {
                if !panel.hides(row, column) {
                    writer.serialize((
                        head.layer,
                        head.head,
                        &panel.title,
                        query.index,
                        &query.text,
                        key.index,
                        &key.text,
                        field(value),
                    ))?;
                }
            }
        }
    }
    Ok(())
}

fn write_readout<W: std::io::Write>(
    writer: &mut csv::Writer<W>,
    figure: &ReadoutFigure,
) -> Result<(), csv::Error> {
    writer.write_record([
        "section",
        "rank",
        "token",
        "id",
        "logit_before",
        "logit_after",
        "logit_change",
        "prob_before",
        "prob_after",
        "prob_change",
    ])?;
    for (section, rows) in [("top", &figure.rows), ("answer", &figure.answers)] {
        for (rank, row) in rows.iter().enumerate() {
            let [a, b, c] = fields(row.logit);
            let [d, e, f] = fields(row.prob);
            writer.serialize((section, rank + 1, &row.token, row.id, a, b, c, d, e, f))?;
        }
    }
    if let Some(diff) = figure.logit_diff {
        let [a, b, c] = fields(diff);
        writer.serialize(("logit_diff", "", "", "", a, b, c, "", "", ""))?;
    }
    Ok(())
}

/// Before, after, change.
fn fields(pair: BeforeAfter) -> [String; 3] {
    [Some(pair.before), pair.after, pair.change()].map(|value| value.map(field).unwrap_or_default())
}

/// Empty where it is no number.
fn field(value: f32) -> String {
    if value.is_finite() {
        format!("{value:?}")
    } else {
        String::new()
    }
}

pub(super) fn json(figure: &Figure, provenance: &Provenance) -> Result<Vec<u8>, FigureError> {
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
    provenance: serde_json::Value,
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
