//! CSV and TSV tables with a header line.

use super::super::{FormatError, Place};

/// The text of a table and its header, names trimmed.
pub(super) struct Table<'a> {
    text: &'a str,
    delimiter: u8,
    header: Vec<String>,
}

/// One line of a table.
pub(super) struct Row<'t> {
    table: &'t Table<'t>,
    format: &'static str,
    pub(super) place: Place,
    fields: csv::StringRecord,
}

impl<'a> Table<'a> {
    /// Tabs separate the columns where the first line has one, else commas.
    pub(super) fn new(text: &'a str) -> Self {
        let first = text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default();
        let delimiter = if first.contains('\t') { b'\t' } else { b',' };
        let header = reader(text, delimiter)
            .headers()
            .map(|fields| fields.iter().map(|field| field.trim().to_owned()).collect())
            .unwrap_or_default();
        Self {
            text,
            delimiter,
            header,
        }
    }

    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.header.iter().any(|name| name == column)
    }

    /// Requires a column.
    pub(super) fn require(&self, format: &'static str, column: &str) -> Result<(), FormatError> {
        if self.has(column) {
            return Ok(());
        }
        Err(FormatError::Key {
            format,
            place: Place::Line(1),
            key: column.to_owned(),
            found: format!(
                "no such column among {}",
                super::entry::list_of(&self.header)
            ),
            expected: "a column of that name in the header".to_owned(),
        })
    }

    /// All lines below the header.
    pub(super) fn rows<'t>(
        &'t self,
        format: &'static str,
    ) -> impl Iterator<Item = Result<Row<'t>, FormatError>> {
        reader(self.text, self.delimiter)
            .into_records()
            .map(move |record| match record {
                Ok(fields) => {
                    let place = Place::Line(fields.position().map_or(0, csv::Position::line));
                    Ok(Row {
                        table: self,
                        format,
                        place,
                        fields,
                    })
                }
                Err(e) => {
                    let place = e
                        .position()
                        .map_or(Place::Top, |position| Place::Line(position.line()));
                    let problem = match e.kind() {
                        csv::ErrorKind::UnequalLengths {
                            expected_len, len, ..
                        } => {
                            format!("{len} columns where the header has {expected_len}")
                        }
                        _ => "the line cannot be read as columns".to_owned(),
                    };
                    Err(FormatError::Table {
                        format,
                        place,
                        problem,
                    })
                }
            })
    }
}

impl Row<'_> {
    /// The text of a column, if the table has it.
    pub(super) fn get(&self, column: &str) -> Option<&str> {
        self.fields
            .get(self.table.header.iter().position(|name| name == column)?)
    }

    /// The text of a column that must not be empty.
    pub(super) fn filled(&self, column: &str) -> Result<&str, FormatError> {
        match self.get(column) {
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(self.error(column, "an empty field", "text")),
        }
    }

    pub(super) fn error(
        &self,
        column: &str,
        found: impl Into<String>,
        expected: &str,
    ) -> FormatError {
        FormatError::Key {
            format: self.format,
            place: self.place,
            key: column.to_owned(),
            found: found.into(),
            expected: expected.to_owned(),
        }
    }
}

fn reader(text: &str, delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(text.as_bytes())
}
