//! A method's report: maps of heads with their ranking, bars, matrices, curves, tables, notes.

mod bars;
mod matrix;
mod scores;
mod table;

use std::sync::Arc;

use egui::{Color32, RichText, Ui};
use egui_plot::{Legend, Line, Plot, PlotPoints, Points, Text};

use crate::analysis::{Plot as Curves, Report, Scale};
use crate::colormap::ColorScale;
use crate::export::report::part_names;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::widgets::scale::sample;

/// What of a report is looked at; never saved.
#[derive(Debug, Default)]
pub struct State {
    /// Names of the score and the matrix that are shown.
    score: Option<String>,
    grid: Option<String>,
    /// Part of a head's name.
    search: String,
    order: scores::Order,
    /// A report that others are compared with.
    pinned: Option<Arc<Report>>,
}

const PLOT_HEIGHT: f32 = 200.0;

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui, report: &Arc<Report>) {
    if !report.scores.is_empty() {
        scores::show(cx, state, ui, report);
    }
    for of in &report.bars {
        ui.add_space(8.0);
        bars::show(cx, ui, of);
    }
    if !report.grids.is_empty() {
        ui.add_space(8.0);
        matrix::show(cx, &mut state.grid, ui, report);
    }
    for curves in &report.plots {
        ui.add_space(8.0);
        plot(cx, ui, curves);
    }
    for of in &report.tables {
        ui.add_space(8.0);
        table::show(cx, ui, of);
    }
    if !report.notes.is_empty() {
        ui.add_space(8.0);
        heading(cx, ui, "Notes", "");
        for note in &report.notes {
            ui.label(RichText::new(note).color(cx.theme.text_weak));
        }
    }
}

/// The whole report, or a part of it, as a figure.
pub(super) fn export_menu(cx: &ViewContext<'_>, ui: &mut Ui, report: &Report) {
    let push = |part: Option<&str>| {
        cx.push(Action::ExportReport {
            method: report.method,
            part: part.map(str::to_owned),
        });
    };
    let menu = ui.menu_button("Export…", |ui| {
        if ui.button("Whole report…").clicked() {
            push(None);
            ui.close();
        }
        ui.separator();
        egui::ScrollArea::vertical()
            .max_height(360.0)
            .show(ui, |ui| {
                for name in part_names(report) {
                    if ui.button(format!("{name}…")).clicked() {
                        push(Some(&name));
                        ui.close();
                    }
                }
            });
    });
    let tip = "As a picture (PNG), a drawing (SVG) or data (CSV, JSON)";
    menu.response.on_hover_text(tip);
}

/// A part's name, and what it is about.
fn heading(cx: &ViewContext<'_>, ui: &mut Ui, name: &str, about: &str) {
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(name).strong().color(cx.theme.text));
        ui.label(RichText::new(about).small().color(cx.theme.text_weak));
    });
}

/// The colours of values, of which `largest` is the largest without its sign.
fn colours(cx: &ViewContext<'_>, scale: Scale, largest: f32) -> ColorScale {
    let view = &cx.session.view;
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

fn largest<'a>(values: impl IntoIterator<Item = &'a Option<f32>>) -> f32 {
    let sizes = values.into_iter().flatten().map(|x| x.abs());
    sizes.fold(0.0, f32::max)
}

fn fill(cx: &ViewContext<'_>, scale: ColorScale, value: Option<f32>) -> Color32 {
    value.map_or(cx.theme.cell_empty, |value| {
        let [r, g, b] = scale.rgb(value);
        Color32::from_rgb(r, g, b)
    })
}

/// A colour in which text is read on another.
fn ink(on: Color32) -> Color32 {
    let light = 0.299 * f32::from(on.r()) + 0.587 * f32::from(on.g()) + 0.114 * f32::from(on.b());
    if light > 140.0 {
        Color32::from_gray(16)
    } else {
        Color32::from_gray(240)
    }
}

fn plot(cx: &ViewContext<'_>, ui: &mut Ui, curves: &Curves) {
    heading(
        cx,
        ui,
        &curves.name,
        &format!("{} by {}", curves.y_axis, curves.x_axis),
    );
    Plot::new(("plot", &curves.name))
        .height(PLOT_HEIGHT)
        .x_axis_label(curves.x_axis)
        .y_axis_label(curves.y_axis)
        .legend(Legend::default())
        .allow_scroll(false)
        .allow_drag(false)
        .allow_zoom(false)
        .show(ui, |plot| {
            for (i, line) in curves.lines.iter().enumerate() {
                let color = cx.theme.series(i);
                let points = PlotPoints::from(line.points.clone());
                if !curves.is_scatter {
                    plot.line(Line::new(line.name.clone(), points).color(color));
                    continue;
                }
                let marks = Points::new(line.name.clone(), points);
                plot.points(marks.color(color).radius(3.5));
                for (label, [x, y]) in line.labels.iter().zip(&line.points) {
                    let label = RichText::new(label).small().color(cx.theme.text_weak);
                    let at = egui_plot::PlotPoint::new(*x, *y);
                    let text = Text::new("", at, label).anchor(egui::Align2::LEFT_BOTTOM);
                    plot.text(text);
                }
            }
        });
}

/// A value within its cell: two decimals, and no digits for what rounds to nothing.
fn in_cell(value: f32) -> String {
    let text = match value.abs() {
        size if size >= 99.5 => format!("{value:.0}"),
        size if size >= 9.95 => format!("{value:.1}"),
        size if size < 0.005 => "0".to_owned(),
        _ => format!("{value:.2}"),
    };
    crate::ui::widgets::scale::minus(&text)
}

/// A small bar of a scale's colours with its two ends.
fn legend(cx: &ViewContext<'_>, ui: &mut Ui, scale: Scale, colours: ColorScale) {
    let least = match scale {
        Scale::Signed => -colours.max,
        Scale::Share | Scale::Positive => 0.0,
    };
    let number = crate::ui::widgets::scale::number;
    let text = |text: String| RichText::new(text).small().color(cx.theme.text_weak);
    ui.label(text(crate::ui::widgets::scale::minus(&number(least))));
    let (rect, _) = ui.allocate_exact_size(egui::vec2(72.0, 10.0), egui::Sense::empty());
    let steps = 36;
    let width = rect.width() / steps as f32;
    for i in 0..steps {
        let t = (i as f32 + 0.5) / steps as f32;
        let min = egui::pos2(rect.left() + i as f32 * width, rect.top());
        let part = egui::Rect::from_min_size(min, egui::vec2(width + 0.5, rect.height()));
        ui.painter().rect_filled(part, 0.0, sample(colours.map, t));
    }
    ui.label(text(number(colours.max)));
}
