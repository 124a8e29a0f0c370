//! The stack of edits: one row each, in the order in which they act.

mod add;
mod row;

use egui::{RichText, Ui};

use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::widgets::message;

#[derive(Debug, Default)]
pub struct State {
    /// The row that is being typed anew, and its text.
    typing: Option<(usize, String)>,
    /// What stands in the field for a new edit, and why it is none.
    new: String,
    new_error: Option<String>,
}

pub fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    let rows = &cx.session.experiment.edits;
    header(cx, ui);
    let error = cx.live.error.as_deref();
    // An error that quotes an edit belongs to that row; any other stands above them all.
    let named = error.and_then(|error| {
        rows.iter()
            .position(|row| row.enabled && error.contains(&row.edit.to_string()))
    });
    if let Some(error) = error
        && named.is_none()
    {
        message::error(ui, cx.theme, error);
    }
    add::show(cx, state, ui);
    if rows.is_empty() {
        message::empty(
            ui,
            cx.theme,
            "No edits: this is the model as it is",
            "Double click a head to ablate it, click a cell of a map to cut that edge, or type one above.",
        );
        return;
    }
    ui.add_space(4.0);
    if state.typing.as_ref().is_some_and(|(i, _)| *i >= rows.len()) {
        state.typing = None;
    }
    egui::ScrollArea::vertical()
        .id_salt("edits")
        .auto_shrink([false, true])
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            for i in 0..rows.len() {
                row::show(cx, state, ui, i, error.filter(|_| named == Some(i)));
            }
        });
}

fn header(cx: &ViewContext<'_>, ui: &mut Ui) {
    let rows = &cx.session.experiment.edits;
    ui.horizontal(|ui| {
        let on = rows.iter().filter(|row| row.enabled).count();
        let count = match rows.len() {
            0 => "No edits".to_owned(),
            1 => format!("1 edit{}", if on == 0 { ", off" } else { "" }),
            n if n == on => format!("{n} edits"),
            n => format!("{n} edits, {on} on"),
        };
        ui.label(RichText::new(count).color(cx.theme.text_weak));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            if !rows.is_empty() && ui.button("Clear all").clicked() {
                cx.push(Action::ClearEdits);
            }
        });
    });
}
