//! Stub: the views branch brings the real one.

use crate::ui::context::ViewContext;

#[derive(Debug, Default)]
pub struct State;

pub fn show(cx: &ViewContext<'_>, _state: &mut State, ui: &mut egui::Ui) {
    ui.weak(format!("interventions of {}", cx.model.name));
}
