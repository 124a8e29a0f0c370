//! The numbers behind a figure, as CSV for spreadsheets and as JSON for programs.
//!
//! Both carry the provenance and every number exactly (the shortest decimal that reads back to the same f32).
//! Cells behind the mask are left out of the CSV and null in the JSON; so is, as an empty field, what is not finite.

mod document;
mod parts;

use std::fmt::Write as _;

use serde_json::json;

use super::input::{BeforeAfter, HeadPanel, Provenance, ReadoutFigure, TokenLabel};
use super::{Figure, FigureError};

pub(super) use document::json;

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
    let mut value = json!({
        "version": provenance.version,
        "model": provenance.model,
        "fingerprint": provenance.fingerprint,
        "prompt": provenance.prompt,
        "edits": provenance.edits,
    });
    if let Some(method) = &provenance.method {
        value["method"] = json!({
            "name": method.name,
            "settings": document::settings(&method.settings),
        });
    }
    value
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
        Figure::Part(part) => parts::write(&mut writer, part),
        Figure::Sheet(f) => parts::write_sheet(&mut writer, f),
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
    if let Some(method) = &provenance.method {
        add("method", &method.name);
        for (name, value) in &method.settings {
            add(&format!("setting {name}"), &parts::setting(value));
        }
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
        Figure::Part(part) => {
            for (key, value) in parts::comments(part) {
                add(key, value);
            }
        }
        Figure::Sheet(f) => {
            add("title", &f.title);
            f.notes.iter().for_each(|note| add("note", note));
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
