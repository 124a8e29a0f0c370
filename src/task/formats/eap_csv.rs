//! CSV of hannamw/EAP-IG: `clean,corrupted,correct_idx,incorrect_idx`, and for greater-than `clean,corrupted,label`.

use super::super::built_in::years;
use super::super::{Answer, FormatError, Item, TaskSet};
use super::table::{Row, Table};

const IDS: &str = "EAP-IG CSV";
const YEARS: &str = "EAP-IG greater-than CSV";

pub(super) fn is_header(table: &Table<'_>) -> bool {
    table.has("clean") || table.has("corrupted")
}

/// Reads either kind. Other columns, such as a row number and `corrupted_hard`, are left alone.
pub(super) fn decode(table: &Table<'_>, name: &str) -> Result<TaskSet, FormatError> {
    let by_label = table.has("label") && !table.has("correct_idx");
    let format = if by_label { YEARS } else { IDS };
    let columns: &[&str] = if by_label {
        &["clean", "corrupted"]
    } else {
        &["clean", "corrupted", "correct_idx", "incorrect_idx"]
    };
    for column in columns {
        table.require(format, column)?;
    }
    let mut items = Vec::new();
    for row in table.rows(format) {
        let row = row?;
        items.push(if by_label {
            year_item(&row)?
        } else {
            id_item(&row)?
        });
        super::check_count(format, items.len())?;
    }
    super::check_count(format, items.len())?;
    let mut set = super::set(name, items);
    if !by_label {
        set.notes
            .push("answers are token ids of the tokenizer that the file was made with".into());
    }
    Ok(set)
}

fn id_item(row: &Row<'_>) -> Result<Item, FormatError> {
    Ok(Item {
        prompt: row.filled("clean")?.to_owned(),
        contrast: Some(row.filled("corrupted")?.to_owned()),
        answers: ids(row, "correct_idx")?,
        wrong: ids(row, "incorrect_idx")?,
        spans: Vec::new(),
    })
}

/// The label is the two digits of the start year: every larger pair of digits is right.
fn year_item(row: &Row<'_>) -> Result<Item, FormatError> {
    let label = row.filled("label")?.trim();
    let expected = "the two last digits of the start year, 00 to 98";
    let year = label
        .parse()
        .ok()
        .filter(|year| *year <= 98)
        .ok_or_else(|| row.error("label", quoted(label), expected))?;
    let (answers, wrong) = years(year);
    Ok(Item {
        prompt: row.filled("clean")?.to_owned(),
        contrast: Some(row.filled("corrupted")?.to_owned()),
        answers,
        wrong,
        spans: Vec::new(),
    })
}

/// One id, or a Python list of ids.
fn ids(row: &Row<'_>, column: &str) -> Result<Vec<Answer>, FormatError> {
    let text = row.filled(column)?.trim();
    let inner = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    let ids: Option<Vec<Answer>> = inner
        .split(',')
        .map(|id| id.trim().parse().ok().map(Answer::Id))
        .collect();
    ids.ok_or_else(|| {
        row.error(
            column,
            quoted(text),
            "a token id, or a list of them such as [1, 2]",
        )
    })
}

/// A field for a message, cut short.
fn quoted(text: &str) -> String {
    format!("`{}`", text.chars().take(40).collect::<String>())
}
