//! A method's settings as a form: a widget a field.

use std::collections::HashMap;

use egui::{RichText, Ui, WidgetInfo};

use crate::analysis::Method;
use crate::analysis::field::{Field, OPS, Value, op_text};
use crate::session::Lab;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::lab::lab_of;
use crate::ui::widgets::message;

/// What is being typed, by the field's name, until it can be read.
#[derive(Debug, Default)]
pub(super) struct State {
    typing: HashMap<&'static str, String>,
}

pub(super) fn show(
    cx: &ViewContext<'_>,
    state: &mut State,
    ui: &mut Ui,
    lab: &Lab,
    method: &Method,
) {
    let mut next = method.clone();
    let mut is_changed = false;
    for mut field in next.fields() {
        let name = field.name.replace(['_', '-'], " ");
        let label = RichText::new(&name).color(cx.theme.text_weak);
        ui.label(label).on_hover_text(field.help);
        let (changed, error) = widget(state, ui, &mut field);
        is_changed |= changed;
        ui.end_row();
        if let Some(error) = error {
            ui.label("");
            ui.scope(|ui| {
                ui.set_max_width(170.0);
                message::error(ui, cx.theme, &error);
            });
            ui.end_row();
        }
    }
    if is_changed {
        cx.push(Action::SetLab(lab_of(lab, &next)));
    }
}

/// Whether the value was changed, and why what was typed is none.
fn widget(state: &mut State, ui: &mut Ui, field: &mut Field<'_>) -> (bool, Option<String>) {
    let (name, help) = (field.name, field.help);
    let info = |kind, text: &str| WidgetInfo::labeled(kind, true, format!("{name}: {text}"));
    match &mut field.value {
        Value::Flag(on) => {
            let response = ui.checkbox(on, "").on_hover_text(help);
            response.widget_info(|| info(egui::Role::CheckBox, ""));
            (response.changed(), None)
        }
        Value::Count(value, range) => {
            let drag = egui::DragValue::new(*value).range(range.clone()).speed(0.2);
            (ui.add(drag).on_hover_text(help).changed(), None)
        }
        Value::Number(value, range) => {
            let drag = egui::DragValue::new(*value)
                .range(range.clone())
                .speed(0.01);
            (ui.add(drag).on_hover_text(help).changed(), None)
        }
        Value::Seed(value) => {
            let drag = egui::DragValue::new(*value).speed(0.1);
            (ui.add(drag).on_hover_text(help).changed(), None)
        }
        Value::Choice(choice) => {
            let before = choice.chosen();
            egui::ComboBox::from_id_salt(name)
                .selected_text(before)
                .show_ui(ui, |ui| {
                    for option in choice.options() {
                        if ui
                            .selectable_label(option == choice.chosen(), option)
                            .clicked()
                        {
                            choice.choose(option);
                        }
                    }
                })
                .response
                .on_hover_text(help)
                .widget_info(|| info(egui::Role::ComboBox, before));
            (choice.chosen() != before, None)
        }
        Value::Op(op) => {
            let before = op_text(op);
            let mut chosen = None;
            egui::ComboBox::from_id_salt(name)
                .selected_text(&before)
                .show_ui(ui, |ui| {
                    for option in OPS {
                        if ui.selectable_label(option == before, option).clicked() {
                            chosen = Some(option);
                        }
                    }
                })
                .response
                .on_hover_text(help)
                .widget_info(|| info(egui::Role::ComboBox, &before));
            match chosen {
                Some(option) => (field.set(option).is_ok(), None),
                None => (false, None),
            }
        }
        Value::Text(_) | Value::MaybeCount(..) | Value::Positions(_) | Value::Heads(_) => {
            typed(state, ui, field)
        }
    }
}

/// A field whose value is written: taken once it can be read.
fn typed(state: &mut State, ui: &mut Ui, field: &mut Field<'_>) -> (bool, Option<String>) {
    let (name, help) = (field.name, field.help);
    let mut text = state
        .typing
        .get(name)
        .cloned()
        .unwrap_or_else(|| field.text());
    let edit = egui::TextEdit::singleline(&mut text).desired_width(128.0);
    let response = ui.add(edit).on_hover_text(help);
    response.widget_info(|| WidgetInfo::labeled(egui::Role::TextInput, true, name));
    if response.changed() {
        let read = field.set(&text);
        state.typing.insert(name, text);
        return match read {
            Ok(()) => (true, None),
            Err(error) => (false, Some(error)),
        };
    }
    if !response.has_focus() {
        state.typing.remove(name);
    }
    let error = state
        .typing
        .get(name)
        .and_then(|text| field.set(text).err());
    (false, error)
}
