//! New edits: typed in the grammar, or put together from a menu.

use egui::{Key, Ui};

use super::State;
use crate::edit::{Edit, Target};
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::widgets::{head_menu, message};

pub(super) fn show(cx: &ViewContext<'_>, state: &mut State, ui: &mut Ui) {
    ui.horizontal(|ui| {
        let menu = 58.0;
        let field = ui.add(
            egui::TextEdit::singleline(&mut state.new)
                .hint_text("L9H6=scale(2)@last")
                .font(egui::TextStyle::Monospace)
                .desired_width(ui.available_width() - menu - ui.spacing().item_spacing.x),
        );
        let field = field.accessible_name("New edit").on_hover_text(
            "TARGET=OP[@POS], then Enter\n\
             Targets: L9H6 a head, L9KV1 a key/value head, L9H6[12->3] an edge, L9 a layer's attention, M5 an MLP, R7 a residual\n\
             Operations: zero, zero_keep_bias, mean, resample, scale(x), add(FILE.safetensors:NAME, x), uniform, knockout\n\
             Positions: @last, @3,7; all without",
        );
        if field.changed() {
            state.new_error = None;
        }
        if field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) && !state.new.trim().is_empty() {
            match state.new.parse::<Edit>() {
                Ok(edit) => {
                    cx.push(Action::AddEdit(edit));
                    state.new.clear();
                    state.new_error = None;
                }
                Err(error) => state.new_error = Some(error.reason),
            }
            // The next edit follows at once.
            field.request_focus();
        }
        ui.menu_button("Add", |ui| menu_of(cx, ui));
    });
    if let Some(reason) = &state.new_error {
        message::error(ui, cx.theme, reason);
    }
}

fn menu_of(cx: &ViewContext<'_>, ui: &mut Ui) {
    let selection = &cx.session.view.selection;
    if !selection.is_empty() {
        let names: Vec<String> = selection.iter().take(3).map(ToString::to_string).collect();
        let more = if selection.len() > 3 { " …" } else { "" };
        ui.menu_button(format!("Selected: {}{more}", names.join(" ")), |ui| {
            head_menu::show(ui, cx, selection);
        });
    }
    let layers = |ui: &mut Ui,
                  title: &str,
                  name: &str,
                  count: usize,
                  target: fn(usize) -> Target| {
        ui.menu_button(title, |ui| {
            egui::ScrollArea::vertical()
                .max_height(320.0)
                .show(ui, |ui| {
                    for layer in 0..count {
                        head_menu::target_menu(ui, cx, &format!("{name}{layer}"), target(layer));
                    }
                });
        });
    };
    let n = cx.model.spec.n_layers;
    layers(ui, "Attention of a layer", "L", n, Target::Attention);
    layers(ui, "MLP of a layer", "M", n, Target::Mlp);
    layers(ui, "Residual before a layer", "R", n + 1, Target::Resid);
}
