//! The Lab: a method, its settings, what it is run on, and what it found.

mod form;
mod on;

use std::collections::HashMap;

use egui::{RichText, Ui, WidgetInfo};

pub(super) use on::task_choice;

use super::{atlas, report};
use crate::analysis::Method;
use crate::session::Lab;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::lab::{Outcome, Running, lab_of, method_of};
use crate::ui::layout::Pane;
use crate::ui::widgets::message;

/// The method that is set up where none is.
const FIRST: &str = "sweep";

/// Widths at which the form stands beside the results.
const BESIDE: f32 = 500.0;
const FORM: f32 = 218.0;

#[derive(Debug, Default)]
pub struct State {
    form: form::State,
    /// Of each method, by its name.
    reports: HashMap<&'static str, report::State>,
}

/// The panel in which a method is at home.
pub fn pane_of(lab: &Lab) -> Pane {
    if lab.method == atlas::METHOD {
        Pane::Atlas
    } else {
        Pane::Lab
    }
}

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    let set_up = cx.session.lab.clone().unwrap_or_default();
    let method = method_of(&set_up).or_else(|| Method::named(FIRST));
    let Some(method) = method else { return };
    let lab = Lab {
        method: method.about().name.into(),
        ..set_up
    };
    if ui.available_width() < BESIDE {
        egui::ScrollArea::vertical()
            .id_salt("lab")
            .auto_shrink(false)
            .show(ui, |ui| {
                set_up_form(cx, state, ui, &lab, &method);
                ui.separator();
                results(cx, state, ui, &method);
            });
        return;
    }
    let height = ui.available_height();
    ui.horizontal_top(|ui| {
        column(ui, "form", FORM, height, |ui| {
            set_up_form(cx, state, ui, &lab, &method);
        });
        ui.separator();
        let width = ui.available_width();
        column(ui, "results", width, height, |ui| {
            results(cx, state, ui, &method);
        });
    });
}

/// A part that scrolls by itself.
fn column(ui: &mut Ui, id: &str, width: f32, height: f32, contents: impl FnOnce(&mut Ui)) {
    let layout = egui::Layout::top_down(egui::Align::Min);
    ui.allocate_ui_with_layout(egui::vec2(width, height), layout, |ui| {
        ui.set_max_width(width);
        egui::ScrollArea::vertical()
            .id_salt(id)
            .auto_shrink(false)
            .show(ui, |ui| {
                ui.set_max_width(width - 8.0);
                contents(ui);
            });
    });
}

fn set_up_form(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui, lab: &Lab, method: &Method) {
    let about = method.about();
    egui::ComboBox::from_id_salt("method")
        .selected_text(about.title)
        .width(FORM - 24.0)
        .height(480.0)
        .show_ui(ui, |ui| {
            for other in Method::all() {
                let of = other.about();
                let label = ui.selectable_label(of.name == about.name, of.title);
                if label.on_hover_text(of.question).clicked() && of.name != about.name {
                    cx.push(Action::SetLab(lab_of(lab, &other)));
                }
            }
        })
        .response
        .widget_info(|| {
            WidgetInfo::labeled(
                egui::Role::ComboBox,
                true,
                format!("Method: {}", about.title),
            )
        });
    ui.label(about.question);
    ui.label(
        RichText::new(about.source)
            .small()
            .color(cx.theme.text_weak),
    );
    ui.add_space(4.0);
    if let Some(running) = cx.lab.running.as_ref() {
        progress(cx, ui, running);
    } else {
        ui.horizontal_wrapped(|ui| {
            let button = egui::Button::new("Run").min_size(egui::vec2(72.0, 24.0));
            if ui.add(button).clicked() {
                cx.push(Action::SetLab(lab.clone()));
                cx.push(Action::Analyse(lab.clone()));
            }
            cost(cx, ui, lab, method);
        });
    }
    ui.add_space(4.0);
    egui::Grid::new("form")
        .num_columns(2)
        .spacing([8.0, 4.0])
        .show(ui, |ui| {
            on::show(cx, ui, lab, method);
            form::show(cx, &mut state.form, ui, lab, method);
        });
}

/// How far a method is, what is left, and the way to stop it.
pub(super) fn progress(cx: &ViewContext<'_>, ui: &mut Ui, running: &Running) {
    ui.ctx()
        .request_repaint_after(std::time::Duration::from_millis(100));
    ui.horizontal(|ui| {
        let bar = egui::ProgressBar::new(running.fraction)
            .desired_width(120.0)
            .show_percentage();
        ui.add(bar);
        if ui.button("Stop").clicked() {
            cx.push(Action::StopMethod);
        }
    });
    if let Some(left) = running.time_left() {
        let text = format!("about {} left", duration(left.as_secs_f64()));
        ui.label(RichText::new(text).small().color(cx.theme.text_weak));
    }
}

/// What a run will cost, from what the last pass took.
fn cost(cx: &ViewContext<'_>, ui: &mut Ui, lab: &Lab, method: &Method) {
    let Some(resolved) = cx.resolved else { return };
    let n_tokens = resolved.spec.ids.len();
    let Some(passes) = method.passes(&cx.model.spec, n_tokens) else {
        return;
    };
    let of = match &lab.task {
        Some(_) => " a prompt of the set",
        None => "",
    };
    let seconds = passes * cx.live.before.millis as f32 / 1e3;
    let mut text = format!("about {passes:.0} passes{of}");
    if cx.live.before.millis > 0.0 && lab.task.is_none() {
        text = format!("{text}, {} one by one", duration(f64::from(seconds)));
    }
    ui.label(RichText::new(text).small().color(cx.theme.text_weak));
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 90.0 => format!("{s:.0} s"),
        s => format!("{:.0} min", s / 60.0),
    }
}

fn results(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui, method: &Method) {
    let about = method.about();
    match cx.lab.of(about.name) {
        None if cx.lab.is_running(about.name) => {
            ui.label(RichText::new("Running…").color(cx.theme.text_weak));
        }
        None => {
            let hint =
                "Set it up on the left and press Run. Whatever you drag meanwhile goes first.";
            message::empty(ui, cx.theme, "Nothing has been run yet", hint);
        }
        Some(Outcome::Failed(error)) => message::error(ui, cx.theme, error),
        Some(Outcome::Report { report, millis, .. }) => {
            let state = state.reports.entry(about.name).or_default();
            if millis.is_some() {
                ui.horizontal(|ui| {
                    if report.learned.is_some() {
                        let button = ui.button("Save and apply…");
                        let tip = "Saves the vectors that were learned, and adds the edits that apply them";
                        if button.on_hover_text(tip).clicked() {
                            cx.push(Action::SaveLearned(about.name.to_owned()));
                        }
                    }
                    report::export_menu(cx, ui, report);
                });
                ui.add_space(4.0);
            }
            report::show(cx, state, ui, report);
            if let Some(millis) = millis {
                let text = format!("{} in all", duration(millis / 1e3));
                ui.label(RichText::new(text).small().color(cx.theme.text_weak));
            }
        }
    }
}
