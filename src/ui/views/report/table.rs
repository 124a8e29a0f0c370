//! A table of a report.

use egui::{RichText, Ui};

use super::heading;
use crate::analysis::{Cell, Table};
use crate::ui::context::ViewContext;
use crate::ui::widgets::scale::minus;

/// Rows that are drawn: exports have all.
const MOST_ROWS: usize = 200;

pub(super) fn show(cx: &ViewContext<'_>, ui: &mut Ui, table: &Table) {
    heading(cx, ui, &table.name, "");
    egui::ScrollArea::both()
        .id_salt(("table", &table.name))
        .max_height(320.0)
        .show(ui, |ui| {
            egui::Grid::new(("table of", &table.name))
                .striped(true)
                .spacing([16.0, 4.0])
                .show(ui, |ui| {
                    for column in &table.columns {
                        ui.label(RichText::new(column).small().color(cx.theme.text_weak));
                    }
                    ui.end_row();
                    for row in table.rows.iter().take(MOST_ROWS) {
                        for cell in row {
                            show_cell(cx, ui, cell);
                        }
                        ui.end_row();
                    }
                });
        });
    if table.rows.len() > MOST_ROWS {
        let rest = table.rows.len() - MOST_ROWS;
        ui.label(RichText::new(format!("and {rest} rows more")).color(cx.theme.text_weak));
    }
}

fn show_cell(cx: &ViewContext<'_>, ui: &mut Ui, cell: &Cell) {
    match cell {
        Cell::Text(text) => ui.label(text),
        Cell::Count(_) | Cell::Number(Some(_)) => ui.monospace(minus(&cell.text())),
        Cell::Number(None) => ui.label(RichText::new("–").color(cx.theme.text_weak)),
    };
}
