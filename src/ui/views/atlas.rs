//! The head atlas: what kind of head each one is. The report of one method, at home in a panel of its own.

use egui::Ui;

use super::{lab, report};
use crate::session::Lab;
use crate::ui::context::ViewContext;
use crate::ui::lab::Outcome;
use crate::ui::widgets::message;

/// The method's name.
pub const METHOD: &str = "atlas";

#[derive(Debug, Default)]
pub struct State {
    /// A task set beside the texts of the atlas; empty is none.
    task: String,
    report: report::State,
}

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    ui.horizontal_wrapped(|ui| {
        let running = cx
            .lab
            .running
            .as_ref()
            .filter(|running| running.method == METHOD);
        let set_up = cx.session.lab.clone().filter(|lab| lab.method == METHOD);
        if let Some(running) = running {
            lab::progress(cx, ui, running);
        } else {
            let is_known = cx.lab.of(METHOD).is_some();
            let name = if is_known {
                "Score again"
            } else {
                "Score the heads"
            };
            let button = ui.button(name);
            if button
                .on_hover_text("Scores every head on random repeats, on prose, and by its weights")
                .clicked()
            {
                let task = Some(state.task.clone()).filter(|task| !task.is_empty());
                cx.push(crate::ui::action::Action::Analyse(Lab {
                    method: METHOD.into(),
                    task,
                    ..set_up.unwrap_or_default()
                }));
            }
            ui.label("with");
            lab::task_choice(ui, "atlas task", "no task", &mut state.task);
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
        Some(Outcome::Report { report, .. }) => {
            egui::ScrollArea::vertical()
                .id_salt("atlas")
                .auto_shrink(false)
                .show(ui, |ui| report::show(cx, &mut state.report, ui, report));
        }
    }
}
