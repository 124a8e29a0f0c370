//! Bars above the panels: three things to try at the first launch, and the session left behind by a crash.

use std::time::{Duration, SystemTime};

use super::action::{Action, ActionQueue};
use super::command::Command;
use super::icons::{self, Icon};
use super::theme::{Theme, space};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::demo;
use crate::session::{EditRow, Experiment, Prompt, ReadPosition, Session};

/// Length of the first prompt where there is no tokenizer: enough to see a pattern.
const SAMPLE_IDS: usize = 8;

/// What a model opens with where nothing else is known.
pub(super) fn first_session(model: &Model) -> Session {
    let experiment = if let Some((prompt, answers)) = model.sample() {
        Experiment {
            answers,
            ..Experiment::new(prompt)
        }
    } else {
        let n_tokens = SAMPLE_IDS.min(model.spec.n_vocab).min(model.spec.n_ctx);
        Experiment {
            position: if model.spec.predicts_in_place() {
                // Which of the ids is a mask, nobody says.
                ReadPosition::Last
            } else {
                ReadPosition::Usual
            },
            ..Experiment::new(Prompt::Ids((0..n_tokens as u32).collect()))
        }
    };
    let mut session = Session::new(model.source.clone(), experiment);
    let head = if model.source == demo::NAME {
        demo::FIRST_HEAD
    } else {
        HeadId::new(0, 0)
    };
    session.view.selection = vec![head];
    session
}

/// How far the user has come with the first steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FirstSteps {
    selected: bool,
    ablated: bool,
    scaled: bool,
}

impl FirstSteps {
    /// Notes what an action did.
    pub(super) fn note(&mut self, action: &Action) {
        match action {
            Action::Select { .. } => self.selected = true,
            Action::ToggleAblation(_) => self.ablated = true,
            Action::SetHeadScale { .. } | Action::SetEdit { .. } => self.scaled = true,
            _ => {}
        }
    }

    pub(super) fn show(self, theme: &Theme, actions: &ActionQueue, ui: &mut egui::Ui) {
        ui.horizontal_wrapped(|ui| {
            ui.label(egui::RichText::new("First steps").strong());
            for (number, done, text) in [
                (
                    1,
                    self.selected,
                    "Click a head in the grid: its attention is shown beside it",
                ),
                (
                    2,
                    self.ablated,
                    "Press Space: the head is ablated, and the prediction changes",
                ),
                (3, self.scaled, "Drag its α: the logits follow"),
            ] {
                ui.add_space(space::S);
                if done {
                    icons::mark(ui, Icon::Check, theme.success);
                } else {
                    let number = egui::RichText::new(number.to_string());
                    ui.label(number.strong().color(theme.accent));
                }
                ui.label(egui::RichText::new(text).color(if done {
                    theme.text_weak
                } else {
                    theme.text
                }));
            }
            ui.add_space(space::S);
            let all = self.selected && self.ablated && self.scaled;
            if ui.button(if all { "Done" } else { "Hide" }).clicked() {
                actions.push(Action::Run(Command::FirstSteps));
            }
        });
    }
}

/// Offers the session that a program left behind.
pub(super) fn recovery(
    when: SystemTime,
    edits: &[EditRow],
    actions: &ActionQueue,
    ui: &mut egui::Ui,
) {
    ui.horizontal_wrapped(|ui| {
        let age = SystemTime::now().duration_since(when).unwrap_or_default();
        let edits = match edits.len() {
            0 => "no edits".to_owned(),
            1 => "one edit".to_owned(),
            n => format!("{n} edits"),
        };
        ui.label(format!(
            "The program ended without closing. Restore the session of {}, with {edits}?",
            ago(age)
        ));
        if ui.button("Restore").clicked() {
            actions.push(Action::Run(Command::Restore));
        }
        if ui.button("Forget it").clicked() {
            actions.push(Action::Run(Command::DropRecovered));
        }
    });
}

fn ago(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    match (minutes, minutes / 60, minutes / (60 * 24)) {
        (0, ..) => "a moment ago".to_owned(),
        (1, ..) => "one minute ago".to_owned(),
        (minutes, 0, _) => format!("{minutes} minutes ago"),
        (_, 1, _) => "one hour ago".to_owned(),
        (_, hours, 0) => format!("{hours} hours ago"),
        (.., 1) => "yesterday".to_owned(),
        (.., days) => format!("{days} days ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded_to_what_people_say() {
        for (minutes, text) in [
            (0, "a moment ago"),
            (5, "5 minutes ago"),
            (60, "one hour ago"),
            (300, "5 hours ago"),
            (60 * 30, "yesterday"),
            (60 * 24 * 9, "9 days ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(minutes * 60)), text);
        }
    }
}
