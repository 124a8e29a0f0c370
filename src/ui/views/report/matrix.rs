//! A matrix with names along both sides: layer × position and the like.

use egui::{Align2, FontId, Rect, RichText, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::{colours, fill, heading, in_cell, ink, largest, legend};
use crate::analysis::{Grid, Report};
use crate::ui::context::ViewContext;
use crate::ui::widgets::scale::{minus, number};
use crate::ui::widgets::tokens;

const ROW: f32 = 18.0;
/// Of a column with a word in each cell, and of one with a number.
const WIDE: f32 = 74.0;
const NARROW: f32 = 46.0;
const NAMES: f32 = 84.0;

pub(super) fn show(
    cx: &ViewContext<'_>,
    chosen: &mut Option<String>,
    ui: &mut Ui,
    report: &Report,
) {
    let name = chosen.as_deref().unwrap_or_default();
    let of = report.grids.iter().find(|grid| grid.name == name);
    let Some(grid) = of.or_else(|| report.grids.first()) else {
        return;
    };
    ui.horizontal_wrapped(|ui| {
        if report.grids.len() > 1 {
            egui::ComboBox::from_id_salt("matrix")
                .selected_text(&grid.name)
                .show_ui(ui, |ui| {
                    for other in &report.grids {
                        let label = ui.selectable_label(other.name == grid.name, &other.name);
                        if label.on_hover_text(&other.about).clicked() {
                            *chosen = Some(other.name.clone());
                        }
                    }
                })
                .response
                .widget_info(|| {
                    WidgetInfo::labeled(Role::ComboBox, true, format!("Matrix: {}", grid.name))
                });
            ui.label(RichText::new(&grid.about).small().color(cx.theme.text_weak));
        } else {
            heading(cx, ui, &grid.name, &grid.about);
        }
    });
    let scale = colours(cx, grid.scale, largest(&grid.values));
    ui.horizontal(|ui| legend(cx, ui, grid.scale, scale));
    let width = if grid.texts.is_empty() { NARROW } else { WIDE };
    let (n_rows, n_columns) = (grid.rows.len(), grid.columns.len());
    let size = vec2(NAMES + width * n_columns as f32, ROW * (n_rows + 1) as f32);
    egui::ScrollArea::both()
        .id_salt(("matrix", &grid.name))
        .max_height(420.0)
        .show(ui, |ui| {
            let (rect, _) = ui.allocate_exact_size(size, Sense::empty());
            let painter = ui.painter().clone();
            let font = FontId::proportional(10.0);
            for (column, name) in grid.columns.iter().enumerate() {
                let min = rect.min + vec2(NAMES + column as f32 * width, 0.0);
                let text = tokens::short(&tokens::visible(name), (width / 6.0) as usize);
                let at = pos2(min.x + 2.0, min.y + ROW / 2.0);
                painter.text(
                    at,
                    Align2::LEFT_CENTER,
                    text,
                    font.clone(),
                    cx.theme.text_weak,
                );
            }
            for (row, name) in grid.rows.iter().enumerate() {
                let y = rect.top() + ROW * (row + 1) as f32;
                let at = pos2(rect.left() + 2.0, y + ROW / 2.0);
                let text = tokens::short(name, 14);
                painter.text(
                    at,
                    Align2::LEFT_CENTER,
                    text,
                    font.clone(),
                    cx.theme.text_weak,
                );
                for column in 0..n_columns {
                    let min = pos2(rect.left() + NAMES + column as f32 * width, y);
                    let cell = Rect::from_min_size(min, vec2(width - 1.0, ROW - 1.0));
                    if ui.is_rect_visible(cell) {
                        draw_cell(cx, ui, grid, scale, (row, column), cell);
                    }
                }
            }
        });
}

fn draw_cell(
    cx: &ViewContext<'_>,
    ui: &Ui,
    grid: &Grid,
    scale: crate::colormap::ColorScale,
    (row, column): (usize, usize),
    cell: Rect,
) {
    let at = row * grid.columns.len() + column;
    let value = grid.values[at];
    let color = fill(cx, scale, value);
    ui.painter().rect_filled(cell, 1.0, color);
    let written = value.map_or_else(|| "blank".to_owned(), |value| minus(&number(value)));
    let text = match grid.texts.get(at) {
        Some(text) => tokens::short(&tokens::visible(text), 11),
        None => value.map_or_else(String::new, in_cell),
    };
    let font = FontId::proportional(10.0);
    ui.painter()
        .text(cell.center(), Align2::CENTER_CENTER, text, font, ink(color));
    let response = ui.interact(cell, ui.scope_id().with((row, column)), Sense::HOVER);
    let (row_name, column_name) = (&grid.rows[row], tokens::visible(&grid.columns[column]));
    let word = grid
        .texts
        .get(at)
        .map_or_else(String::new, |text| format!("  “{}”", tokens::visible(text)));
    response.on_hover_text(format!(
        "{} {row_name}, {} {column_name}{word}\n{written}",
        grid.row_axis, grid.column_axis
    ));
}
