//! What stands in the panels' place while there is no model: progress, or why there is none and what to do.
//!
//! While an older model is open it stays usable, and the same is said in a strip above the panels.

use super::action::{Action, ActionQueue};
use super::command::Command;
use super::icons;
use super::results::Load;
use super::theme::{Theme, space};
use crate::model::hub::HubId;

/// The page without a model.
pub(super) fn page(theme: &Theme, load: &Load, actions: &ActionQueue, ui: &mut egui::Ui) {
    ui.painter().rect_filled(ui.max_rect(), 0.0, theme.panel_bg);
    ui.vertical_centered(|ui| {
        ui.add_space((ui.available_height() * 0.3).max(space::XL));
        ui.set_max_width(480.0);
        match load {
            Load::Running {
                source,
                what,
                fraction,
            } => {
                ui.heading(format!("Opening {}", short(source)));
                ui.add_space(space::M);
                progress(theme, *fraction, ui);
                ui.add_space(space::XS);
                ui.weak(what);
                ui.add_space(space::M);
                if ui.button("Stop").clicked() {
                    actions.push(Action::CancelLoad);
                }
            }
            Load::Failed { source, message } => {
                ui.heading(format!("{} cannot be opened", short(source)));
                ui.add_space(space::S);
                ui.colored_label(theme.error, message);
                ui.add_space(space::L);
                choices(Some(source), actions, ui);
            }
            Load::Idle => {
                ui.heading("No model is open");
                ui.add_space(space::S);
                ui.weak(
                    "Open a folder with config.json and safetensors files, a .gguf file, or a model of the hub; \
                     dropping files here works too",
                );
                ui.add_space(space::L);
                choices(None, actions, ui);
            }
        }
    });
}

/// The strip above the panels; draws nothing while nothing is loading.
pub(super) fn strip(theme: &Theme, load: &Load, actions: &ActionQueue, ui: &mut egui::Ui) {
    match load {
        Load::Idle => {}
        Load::Running {
            source,
            what,
            fraction,
        } => {
            ui.horizontal(|ui| {
                ui.label(format!("Opening {}", short(source)));
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    if ui.button("Stop").clicked() {
                        actions.push(Action::CancelLoad);
                    }
                    ui.weak(what);
                    progress(theme, *fraction, ui);
                });
            });
        }
        Load::Failed { source, message } => {
            ui.horizontal_wrapped(|ui| {
                let text = format!("{} cannot be opened: {message}", short(source));
                icons::warning(ui, theme.error, &text);
                if ui.button("Try again").clicked() {
                    actions.push(Action::OpenModel(source.clone()));
                }
                if ui.button("Close").clicked() {
                    actions.push(Action::CancelLoad);
                }
            });
        }
    }
}

fn choices(failed: Option<&str>, actions: &ActionQueue, ui: &mut egui::Ui) {
    if let Some(source) = failed
        && choice(ui, "Try again").clicked()
    {
        actions.push(Action::OpenModel(source.to_owned()));
    }
    for command in [
        Command::OpenModelFolder,
        Command::OpenModelFile,
        Command::OpenFromHub,
        Command::OpenDemo,
    ] {
        if choice(ui, &command.text())
            .on_hover_text(command.tooltip())
            .clicked()
        {
            actions.push(Action::Run(command));
        }
    }
}

fn choice(ui: &mut egui::Ui, text: &str) -> egui::Response {
    ui.add(egui::Button::new(text).min_size(egui::vec2(208.0, space::ROW + space::XS)))
}

fn progress(theme: &Theme, fraction: f32, ui: &mut egui::Ui) {
    let bar = egui::ProgressBar::new(fraction)
        .desired_height(space::S)
        .fill(theme.accent);
    ui.add(bar);
}

/// The last part of a path; hub ids whole; `demo` by its own name.
pub(super) fn short(source: &str) -> String {
    if source == "demo" {
        return "the bundled model".into();
    }
    if HubId::parse(source).is_some() {
        return source.to_owned();
    }
    std::path::Path::new(source)
        .file_name()
        .map_or_else(|| source.to_owned(), |name| name.to_string_lossy().into())
}
