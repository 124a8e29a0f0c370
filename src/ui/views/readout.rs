//! What the model predicts at one position: the likeliest tokens before and after the edits, and the answers' difference.

mod answers;
mod table;
mod trace;

use egui::{RichText, Ui, vec2};

use crate::model::spec::Head;
use crate::session::ReadPosition;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::theme::Theme;
use crate::ui::widgets::scale::minus;
use crate::ui::widgets::{message, tokens};

#[derive(Debug, Default)]
pub struct State {
    table: table::Cache,
    trace: trace::Trace,
    /// An answer that is being typed.
    answer: String,
}

/// Widths at which the parts stand beside each other.
const THREE_COLUMNS: f32 = 880.0;
const TWO_COLUMNS: f32 = 540.0;
const SIDE: f32 = 260.0;

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    if let Some(error) = &cx.live.error {
        message::error(ui, cx.theme, error);
    }
    if cx.model.spec.head == Head::None {
        message::empty(
            ui,
            cx.theme,
            "No language-model head",
            "This checkpoint has no unembedding, so it predicts no tokens. Attention, edits and dumps work as ever.",
        );
        return;
    }
    state.table.update(cx);
    state.trace.update(cx, state.table.difference());
    let width = ui.available_width();
    let height = ui.available_height();
    if width < TWO_COLUMNS {
        egui::ScrollArea::vertical()
            .id_salt("question")
            .auto_shrink(false)
            .show(ui, |ui| {
                question(cx, state, ui);
                ui.separator();
                answer_table(cx, state, ui, 260.0);
                ui.separator();
                state.trace.show(cx, ui, 140.0);
            });
        return;
    }
    let trace_beside = width >= THREE_COLUMNS;
    ui.horizontal_top(|ui| {
        column(ui, SIDE, height, |ui| {
            egui::ScrollArea::vertical()
                .id_salt("question")
                .auto_shrink(false)
                .show(ui, |ui| {
                    question(cx, state, ui);
                    if !trace_beside {
                        ui.separator();
                        state.trace.show(cx, ui, 140.0);
                    }
                });
        });
        ui.separator();
        let rest = ui.available_width();
        let trace = (rest * 0.34).min(360.0);
        let table = if trace_beside {
            rest - trace - 18.0
        } else {
            rest
        };
        column(ui, table, height, |ui| answer_table(cx, state, ui, height));
        if trace_beside {
            ui.separator();
            let width = ui.available_width();
            column(ui, width, height, |ui| state.trace.show(cx, ui, height));
        }
    });
}

fn column(ui: &mut Ui, width: f32, height: f32, contents: impl FnOnce(&mut Ui)) {
    ui.allocate_ui_with_layout(
        vec2(width, height),
        egui::Layout::top_down(egui::Align::Min),
        |ui| {
            ui.set_min_size(vec2(width, height));
            ui.set_max_width(width);
            contents(ui);
        },
    );
}

/// Where the logits are read, the answers, and their difference.
fn question(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    position(cx, ui);
    answers::show(cx, &mut state.answer, ui);
    if let Some(difference) = state.table.difference() {
        ui.add_space(6.0);
        difference.show(cx, ui);
    }
}

fn position(cx: &ViewContext<'_>, ui: &mut Ui) {
    let pieces = cx.resolved.map_or(&[][..], |resolved| &resolved.tokens);
    let chosen = cx.session.experiment.position;
    let at = cx.resolved.map(|resolved| resolved.spec.position);
    let in_place = cx.model.spec.predicts_in_place();
    ui.horizontal(|ui| {
        let read = if in_place { "Read at" } else { "Read after" };
        ui.label(RichText::new(read).color(cx.theme.text_weak));
        let token = at.map_or_else(String::new, |at| tokens::at(pieces, at));
        let text = match chosen {
            ReadPosition::Usual | ReadPosition::Last if at.is_none() => "no position".to_owned(),
            ReadPosition::Usual if in_place => format!("{token} (last mask)"),
            ReadPosition::Usual | ReadPosition::Last => format!("{token} (last)"),
            ReadPosition::At(_) => token,
        };
        let menu = ui.menu_button(text.clone(), |ui| {
            let choices: &[(ReadPosition, &str)] = if in_place {
                &[
                    (ReadPosition::Usual, "The last mask"),
                    (ReadPosition::Last, "The last token"),
                ]
            } else {
                &[(ReadPosition::Usual, "The last token")]
            };
            for (position, label) in choices {
                if ui.selectable_label(chosen == *position, *label).clicked() {
                    cx.push(Action::SetPosition(*position));
                    ui.close();
                }
            }
            ui.separator();
            let is_chosen = |position| chosen == ReadPosition::At(position);
            if let Some(position) = tokens::list(ui, cx.theme, pieces, is_chosen) {
                cx.push(Action::SetPosition(ReadPosition::At(position)));
                ui.close();
            }
        });
        menu.response
            .on_hover_text(if in_place {
                "The position whose own token is predicted"
            } else {
                "The position whose next token is predicted"
            })
            .accessible_name(format!("{read} {text}"));
    });
}

fn answer_table(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui, height: f32) {
    if state.table.is_empty() {
        if cx.live.error.is_none() {
            let hint = "The likeliest tokens appear here.";
            message::empty(ui, cx.theme, "No result yet", hint);
        }
        return;
    }
    state.table.show(cx, ui, height);
}

/// A change as text, and the colour of that text: what rounds to zero is no change.
fn change(theme: &Theme, by: f32, decimals: usize) -> (String, egui::Color32) {
    let text = format!("{by:+.decimals$}");
    if !text.contains(|sign: char| ('1'..='9').contains(&sign)) && by.is_finite() {
        return (format!("{:.decimals$}", 0.0), theme.text_weak);
    }
    let color = if by < 0.0 {
        theme.negative
    } else {
        theme.positive
    };
    (minus(&text), color)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::theme::DARK;

    #[test]
    fn what_rounds_to_zero_has_neither_a_sign_nor_a_colour() {
        for by in [0.0, 0.004, -0.004, -0.0] {
            let zero = ("0.00".to_owned(), DARK.text_weak);
            assert_eq!(change(&DARK, by, 2), zero, "{by}");
        }
        let more = ("+0.01".to_owned(), DARK.positive);
        assert_eq!(change(&DARK, 0.006, 2), more);
        let less = ("−1.5".to_owned(), DARK.negative);
        assert_eq!(change(&DARK, -1.5, 1), less);
    }
}
