//! Dialogs inside the window: all keys, about, a model of the hub, and what to do with unsaved work.

use super::action::Action;
use super::command::Command;
use super::gallery::ENTRIES;
use super::theme::{Theme, space};
use crate::model::hub::HubId;

/// The open dialog.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sheet {
    Keyboard,
    About,
    /// Ready sessions.
    Gallery,
    /// A model of the hub, by its id as far as it is typed.
    Hub {
        id: String,
        /// The field has not had the keyboard yet.
        is_new: bool,
    },
    /// Work would be lost by what the user asked for.
    Unsaved {
        then: Box<Action>,
    },
}

/// What the user decided.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Close,
    Do(Action),
    SaveThen(Action),
    Discard(Action),
}

pub(super) fn show(sheet: &mut Sheet, theme: &Theme, ctx: &egui::Context) -> Option<Answer> {
    let mut answer = None;
    let modal = egui::Modal::new(egui::Id::unique("sheet"))
        .backdrop_color(theme.backdrop)
        .frame(egui::Frame::popup(&ctx.global_style()).inner_margin(space::L))
        .show(ctx, |ui| match sheet {
            Sheet::Keyboard => {
                keyboard(ui);
                close_button(ui, &mut answer);
            }
            Sheet::About => {
                about(ui);
                close_button(ui, &mut answer);
            }
            Sheet::Gallery => answer = gallery(theme, ui),
            Sheet::Hub { id, is_new } => answer = hub(id, is_new, theme, ui),
            Sheet::Unsaved { then } => answer = unsaved(then, theme, ui),
        });
    if modal.should_close() {
        answer.get_or_insert(Answer::Close);
    }
    answer
}

fn close_button(ui: &mut egui::Ui, answer: &mut Option<Answer>) {
    ui.add_space(space::M);
    if ui.button("Close").clicked() {
        *answer = Some(Answer::Close);
    }
}

fn keyboard(ui: &mut egui::Ui) {
    ui.heading("Keyboard");
    ui.add_space(space::S);
    egui::ScrollArea::vertical()
        .max_height(ui.ctx().content_rect().height() * 0.7)
        .show(ui, |ui| {
            egui::Grid::new("keys")
                .num_columns(2)
                .striped(true)
                .min_row_height(space::L)
                .spacing([space::XL, space::XS])
                .show(ui, |ui| {
                    for command in Command::all() {
                        let keys: Vec<_> = command
                            .shortcuts()
                            .iter()
                            .map(|shortcut| ui.ctx().format_shortcut(shortcut))
                            .collect();
                        if keys.is_empty() {
                            continue;
                        }
                        ui.monospace(keys.join("  "));
                        ui.label(command.text()).on_hover_text(command.tooltip());
                        ui.end_row();
                    }
                });
        });
}

fn about(ui: &mut egui::Ui) {
    ui.set_max_width(420.0);
    ui.heading("Headscope");
    ui.label(format!("Version {}", env!("CARGO_PKG_VERSION")));
    ui.add_space(space::S);
    ui.label(env!("CARGO_PKG_DESCRIPTION"));
    ui.add_space(space::S);
    ui.weak("Under the MIT licence or the Apache licence 2.0, as you choose");
    ui.weak("The colour maps, fonts and libraries inside keep their own licences");
}

/// An entry a row; a click opens it.
fn gallery(theme: &Theme, ui: &mut egui::Ui) -> Option<Answer> {
    let mut answer = None;
    ui.set_width(520.0);
    ui.heading("Gallery");
    ui.weak("Ready sessions: each opens a prompt or a task and runs a method on it");
    ui.add_space(space::S);
    egui::ScrollArea::vertical()
        .max_height(ui.ctx().content_rect().height() * 0.65)
        .show(ui, |ui| {
            for (i, entry) in ENTRIES.iter().enumerate() {
                let frame = egui::Frame::new()
                    .fill(theme.surface)
                    .corner_radius(space::RADIUS)
                    .inner_margin(space::S);
                frame.show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    ui.horizontal(|ui| {
                        ui.strong(entry.title);
                        let model = entry.model.rsplit('/').next().unwrap_or(entry.model);
                        ui.weak(format!("{} on {model}", entry.method));
                        let right = egui::Layout::right_to_left(egui::Align::Center);
                        ui.with_layout(right, |ui| {
                            let button = ui.button("Open");
                            button.widget_info(|| {
                                let name = format!("Open {}", entry.title);
                                egui::WidgetInfo::labeled(egui::Role::Button, true, name)
                            });
                            if button.clicked() {
                                answer = Some(Answer::Do(Action::OpenGallery(i)));
                            }
                        });
                    });
                    ui.label(entry.text);
                });
                ui.add_space(space::XS);
            }
        });
    close_button(ui, &mut answer);
    answer
}

/// Nothing is sent while the id is typed.
fn hub(id: &mut String, is_new: &mut bool, theme: &Theme, ui: &mut egui::Ui) -> Option<Answer> {
    ui.set_max_width(420.0);
    ui.heading("Open model from hub");
    ui.add_space(space::S);
    ui.label("owner/name, also with @revision or /file.gguf");
    ui.add_space(space::XS);
    let field = egui::TextEdit::singleline(id)
        .hint_text("openai-community/gpt2")
        .desired_width(f32::INFINITY)
        .margin(space::S)
        .id_salt("hub id")
        .show(ui)
        .response
        .response;
    field.widget_info(|| egui::WidgetInfo::labeled(egui::Role::TextInput, true, "Hub id"));
    if std::mem::take(is_new) {
        field.request_focus();
    }
    let is_id = HubId::parse(id.trim()).is_some();
    ui.add_space(space::XS);
    // As high with a message as without.
    let problem = if is_id || id.trim().is_empty() {
        "What the cache lacks is downloaded"
    } else {
        "This is no hub id"
    };
    ui.weak(problem);
    ui.add_space(space::L);
    let enter = ui.input(|input| input.key_pressed(egui::Key::Enter));
    let mut answer = None;
    ui.horizontal(|ui| {
        let open = egui::Button::new(egui::RichText::new("Open").color(theme.on_accent));
        let open = ui.add_enabled(is_id, open.fill(theme.accent));
        if open.clicked() || (is_id && enter) {
            answer = Some(Answer::Do(Action::OpenModel(id.trim().to_owned())));
        }
        if ui.button("Cancel").clicked() {
            answer = Some(Answer::Close);
        }
    });
    answer
}

fn unsaved(then: &Action, theme: &Theme, ui: &mut egui::Ui) -> Option<Answer> {
    ui.set_max_width(420.0);
    ui.heading("Save the session first?");
    ui.add_space(space::S);
    ui.label("Its prompts and edits have changed since they were saved");
    ui.add_space(space::L);
    let mut answer = None;
    ui.horizontal(|ui| {
        let save = egui::Button::new(egui::RichText::new("Save").color(theme.on_accent));
        if ui.add(save.fill(theme.accent)).clicked() {
            answer = Some(Answer::SaveThen(then.clone()));
        }
        if ui.button("Do not save").clicked() {
            answer = Some(Answer::Discard(then.clone()));
        }
        if ui.button("Cancel").clicked() {
            answer = Some(Answer::Close);
        }
    });
    answer
}
