//! The head atlas: what kind of head each one is. The report of one method, at home in a panel of its own.

use egui::Ui;

use super::{lab, report};
use crate::session::Lab;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::lab::Outcome;
use crate::ui::widgets::message;

/// The method's name.
pub const METHOD: &str = "atlas";

#[derive(Debug, Default)]
pub struct State {
    report: report::State,
}

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    let set_up = cx.session.lab.clone();
    let lab = set_up
        .filter(|lab| lab.method == METHOD)
        .unwrap_or_else(|| Lab {
            method: METHOD.into(),
            ..Lab::default()
        });
    ui.horizontal_wrapped(|ui| {
        let running = cx.lab.running.as_ref();
        if let Some(running) = running.filter(|running| running.method == METHOD) {
            lab::progress(cx, ui, running);
            return;
        }
        let is_known = cx.lab.of(METHOD).is_some();
        let name = if is_known {
            "Score again"
        } else {
            "Score the heads"
        };
        let tip = "Scores every head on random repeats, on prose, and by its weights";
        if ui.button(name).on_hover_text(tip).clicked() {
            cx.push(Action::SetLab(lab.clone()));
            cx.push(Action::Analyse(lab.clone()));
        }
        ui.label("with");
        let mut task = lab.task.clone().unwrap_or_default();
        if lab::task_choice(ui, "atlas task", "no task", &mut task) {
            let task = Some(task).filter(|task| !task.is_empty());
            cx.push(Action::SetLab(Lab {
                task,
                ..lab.clone()
            }));
        }
    });
    ui.separator();
    match cx.lab.of(METHOD) {
        None if cx.lab.is_running(METHOD) => {}
        None => message::empty(
            ui,
            cx.theme,
            "What kind of head is each one?",
            "Scores on random repeats and on prose find induction, previous-token, duplicate-token and sink heads; with a \
             task also name movers and their backups.",
        ),
        Some(Outcome::Failed(error)) => message::error(ui, cx.theme, error),
        Some(Outcome::Report { report, millis, .. }) => {
            if millis.is_some() {
                report::export_menu(cx, ui, report);
            }
            egui::ScrollArea::vertical()
                .id_salt("atlas")
                .auto_shrink(false)
                .show(ui, |ui| report::show(cx, &mut state.report, ui, report));
        }
    }
}
