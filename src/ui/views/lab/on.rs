//! What a method is run on: the prompt, a task set, texts.

use egui::{RichText, Ui, WidgetInfo};

use crate::analysis::Method;
use crate::analysis::method::Takes;
use crate::session::Lab;
use crate::task::BUILT_IN;
use crate::ui::action::Action;
use crate::ui::context::ViewContext;

/// The rows of the form that say it.
pub(super) fn show(cx: &ViewContext<'_>, ui: &mut Ui, lab: &Lab, method: &Method) {
    let takes = method.about().takes;
    match takes {
        Takes::Nothing => {}
        Takes::Texts => {
            let mut texts = lab.texts.clone().unwrap_or_default();
            ui.label(RichText::new("texts").color(cx.theme.text_weak));
            let field = egui::TextEdit::singleline(&mut texts)
                .hint_text("a file, one text a line; empty: its own")
                .desired_width(f32::INFINITY);
            if ui.add(field).changed() {
                cx.push(Action::SetLab(Lab {
                    texts: Some(texts).filter(|texts| !texts.is_empty()),
                    ..lab.clone()
                }));
            }
        }
        Takes::Model | Takes::Prompt | Takes::Prompts => {
            let none = if takes == Takes::Model {
                "no task"
            } else {
                "the prompt"
            };
            ui.label(RichText::new("on").color(cx.theme.text_weak));
            let mut task = lab.task.clone().unwrap_or_default();
            if task_choice(ui, "lab task", none, &mut task) {
                cx.push(Action::SetLab(Lab {
                    task: Some(task).filter(|task| !task.is_empty()),
                    ..lab.clone()
                }));
            }
            if lab.task.is_some() {
                ui.end_row();
                drawn(cx, ui, lab);
                // Only what reads a metric reads classes.
                if method
                    .clone()
                    .fields()
                    .iter()
                    .any(|field| field.name == "metric")
                {
                    ui.end_row();
                    classes(cx, ui, lab);
                }
            }
        }
    }
    if takes != Takes::Nothing {
        ui.end_row();
    }
}

/// How many prompts of a set, and which.
fn drawn(cx: &ViewContext<'_>, ui: &mut Ui, lab: &Lab) {
    ui.label(RichText::new("items").color(cx.theme.text_weak));
    ui.horizontal(|ui| {
        let mut items = lab.items.unwrap_or(0);
        let field = egui::DragValue::new(&mut items)
            .range(0..=100_000)
            .custom_formatter(|n, _| {
                if n < 1.0 {
                    "auto".into()
                } else {
                    format!("{n:.0}")
                }
            });
        let tip = "Prompts that are drawn of the set; auto: 20 of a built-in one, all of a file";
        let changed = ui
            .add(field)
            .on_hover_text(tip)
            .accessible_name("Items")
            .changed();
        let mut draw = lab.draw;
        ui.label(RichText::new("seed").color(cx.theme.text_weak));
        let seed = ui
            .add(egui::DragValue::new(&mut draw))
            .accessible_name("Seed of the draw")
            .changed();
        if changed || seed {
            cx.push(Action::SetLab(Lab {
                items: Some(items).filter(|items| *items > 0),
                draw,
                ..lab.clone()
            }));
        }
    });
}

/// The classes that the set's answers stand for.
fn classes(cx: &ViewContext<'_>, ui: &mut Ui, lab: &Lab) {
    ui.label(RichText::new("classes").color(cx.theme.text_weak))
        .on_hover_text("What the answers stand for: read by the metric class_diff");
    let mut file = lab.verbaliser.clone().unwrap_or_default();
    let field = egui::TextEdit::singleline(&mut file)
        .hint_text("the set's own, or a file")
        .desired_width(f32::INFINITY);
    if ui.add(field).accessible_name("Classes").changed() {
        cx.push(Action::SetLab(Lab {
            verbaliser: Some(file).filter(|file| !file.is_empty()),
            ..lab.clone()
        }));
    }
}

/// A task set by name, or as the path of a file; empty is none. Says whether it was changed.
pub(in crate::ui::views) fn task_choice(
    ui: &mut Ui,
    id: &str,
    none: &str,
    task: &mut String,
) -> bool {
    let before = task.clone();
    let text = if task.is_empty() { none } else { task.as_str() }.to_owned();
    egui::ComboBox::from_id_salt(id)
        .selected_text(last_of(&text, 22))
        .width(128.0)
        .height(420.0)
        .show_ui(ui, |ui| {
            ui.selectable_value(task, String::new(), none);
            for set in BUILT_IN {
                let label = ui.selectable_value(task, set.name.to_owned(), set.name);
                label.on_hover_text(set.what);
            }
            ui.separator();
            ui.label("or the path of a file:");
            ui.text_edit_singleline(task);
        })
        .response
        .widget_info(|| WidgetInfo::labeled(egui::Role::ComboBox, true, format!("On: {text}")));
    *task != before
}

/// The end of a text that is too long: of a path, the file's name.
fn last_of(text: &str, most: usize) -> String {
    let n = text.chars().count();
    match n.checked_sub(most) {
        None | Some(0) => text.to_owned(),
        Some(cut) => format!("…{}", text.chars().skip(cut + 1).collect::<String>()),
    }
}
