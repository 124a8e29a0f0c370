//! The bar at the top: menus made from the table of commands, the model's chip, undo, redo, the palette's button.

use std::path::Path;

use super::action::{Action, ActionQueue};
use super::availability::Availability;
use super::command::Command;
use super::icons::{self, Icon};
use super::theme::{Theme, space};
use super::verdict::Checking;
use crate::compute::{Compute, Dtype};
use crate::export::ExportView;
use crate::model::Model;
use crate::model::memory::amount;
use crate::session::settings::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Menu {
    File,
    /// Inside `File`.
    Compute,
    /// Inside `File`.
    Export,
    Edit,
    Select,
    View,
    Help,
}

/// Room for the check mark before an item's text.
const GUTTER: &str = "      ";

impl Menu {
    const BAR: [Self; 5] = [Self::File, Self::Edit, Self::Select, Self::View, Self::Help];

    const fn title(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Compute => "Compute in",
            Self::Export => "Export",
            Self::Edit => "Edit",
            Self::Select => "Select",
            Self::View => "View",
            Self::Help => "Help",
        }
    }
}

/// What the bar shows, besides the commands.
pub(super) struct Bar<'a> {
    pub theme: &'a Theme,
    pub model: Option<&'a Model>,
    pub checking: &'a Checking,
    pub settings: &'a Settings,
    pub undo: Option<&'a str>,
    pub redo: Option<&'a str>,
    /// The session's file name, and whether it differs from what is saved.
    pub title: &'a str,
    pub availability: &'a Availability,
    pub actions: &'a ActionQueue,
}

impl Bar<'_> {
    pub(super) fn show(&self, ui: &mut egui::Ui) {
        egui::MenuBar::new().ui(ui, |ui| {
            ui.set_min_height(space::ROW + space::XS);
            for menu in Menu::BAR {
                ui.menu_button(menu.title(), |ui| self.menu(ui, menu));
            }
            ui.add_space(space::S);
            self.model_chip(ui);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                self.right(ui);
            });
        });
    }

    fn right(&self, ui: &mut egui::Ui) {
        let keys = ui.ctx().format_shortcut(&Command::Palette.shortcuts()[0]);
        let palette = egui::Button::new("Search commands")
            .shortcut_text(keys)
            .fill(self.theme.field)
            .stroke(egui::Stroke::new(1.0, self.theme.line))
            .min_size(egui::vec2(200.0, space::ROW));
        if padded(ui, palette).clicked() {
            self.run(Command::Palette);
        }
        for (command, label, icon) in [
            (Command::Redo, self.redo, Icon::Redo),
            (Command::Undo, self.undo, Icon::Undo),
        ] {
            let keys = ui.ctx().format_shortcut(&command.shortcuts()[0]);
            let tip = match label {
                Some(label) => format!("{}: {label} ({keys})", command.text()),
                None => format!("Nothing to {} ({keys})", command.text().to_lowercase()),
            };
            let response = icons::button(ui, self.theme, icon, &command.text(), label.is_some())
                .on_hover_text(&tip)
                .on_disabled_hover_text(&tip);
            if response.clicked() {
                self.run(command);
            }
        }
        ui.add(
            egui::Label::new(egui::RichText::new(self.title).color(self.theme.text_weak))
                .truncate(),
        );
    }

    fn menu(&self, ui: &mut egui::Ui, menu: Menu) {
        ui.set_min_width(240.0);
        let mut group = 0;
        for command in Command::all() {
            let (of, of_group) = command.menu();
            if of != menu {
                continue;
            }
            if of_group != group {
                if menu == Menu::File && group == 0 {
                    self.recents(ui);
                    ui.menu_button(format!("{GUTTER}{}", Menu::Compute.title()), |ui| {
                        self.menu(ui, Menu::Compute);
                    });
                }
                if menu == Menu::File && group == 1 {
                    ui.menu_button(format!("{GUTTER}{}", Menu::Export.title()), |ui| {
                        self.export(ui);
                    });
                }
                ui.separator();
                group = of_group;
            }
            self.item(ui, command, &command.text());
        }
    }

    /// A line a view, so that sixteen exports read as four.
    fn export(&self, ui: &mut egui::Ui) {
        for view in ExportView::ALL {
            let mut name = view.name().to_owned();
            name[..1].make_ascii_uppercase();
            ui.menu_button(format!("{GUTTER}{name}"), |ui| {
                for command in Command::all() {
                    if let Command::Export(of, format) = command
                        && of == view
                    {
                        let text = format!("{}…", format.extension().to_uppercase());
                        self.item(ui, command, &text);
                    }
                }
            });
        }
        ui.separator();
        for command in Command::all() {
            if command.menu() == (Menu::Export, 1) {
                self.item(ui, command, &command.text());
            }
        }
    }

    fn recents(&self, ui: &mut egui::Ui) {
        let Settings {
            recent_models,
            recent_sessions,
            ..
        } = self.settings;
        let any = !recent_models.is_empty() || !recent_sessions.is_empty();
        ui.add_enabled_ui(any, |ui| {
            ui.menu_button(format!("{GUTTER}Open recent"), |ui| {
                for path in recent_sessions {
                    let path = path.to_string_lossy();
                    let open = Action::OpenSession(path.as_ref().into());
                    self.recent(ui, &path, open);
                }
                if !recent_models.is_empty() && !recent_sessions.is_empty() {
                    ui.separator();
                }
                for source in recent_models {
                    self.recent(ui, source, Action::OpenModel(source.clone()));
                }
            });
        });
    }

    fn recent(&self, ui: &mut egui::Ui, path: &str, open: Action) {
        if ui
            .button(super::loading::short(path))
            .on_hover_text(path)
            .clicked()
        {
            self.actions.push(open);
        }
    }

    fn item(&self, ui: &mut egui::Ui, command: Command, text: &str) {
        let keys = command
            .shortcuts()
            .first()
            .map(|shortcut| ui.ctx().format_shortcut(shortcut))
            .unwrap_or_default();
        let enabled = self.availability.enabled(command);
        let button = egui::Button::new(format!("{GUTTER}{text}")).shortcut_text(keys);
        let response = ui
            .add_enabled(enabled, button)
            .on_hover_text(command.tooltip());
        let checked = self.availability.checked(command);
        if checked == Some(true) {
            let mut gutter = response.rect;
            gutter.set_width(space::L + space::XS);
            icons::paint(ui, Icon::Check, gutter, self.theme.accent);
        }
        response.widget_info(|| match checked {
            Some(checked) => {
                egui::WidgetInfo::selected(egui::Role::MenuItemCheckBox, enabled, checked, text)
            }
            None => egui::WidgetInfo::labeled(egui::Role::MenuItem, enabled, text),
        });
        if response.clicked() {
            self.run(command);
            ui.close();
        }
    }

    fn model_chip(&self, ui: &mut egui::Ui) {
        let Some(model) = self.model else {
            return;
        };
        let spec = &model.spec;
        let text = format!(
            "{}  ·  {} layers × {} heads  ·  {}  ·  {}",
            model.name,
            spec.n_layers,
            spec.n_heads,
            model.numbers(),
            self.checking.word()
        );
        let (color, fill) = if self.checking.failure().is_some() {
            (self.theme.warn, self.theme.warn_fill)
        } else {
            (self.theme.text, self.theme.accent_fill)
        };
        let is_good = self.checking.is_good();
        // Room for the check mark after the text.
        let shown = if is_good {
            format!("{text}{GUTTER}")
        } else {
            text.clone()
        };
        let chip = egui::Button::new(egui::RichText::new(shown).color(color))
            .fill(fill)
            .stroke(egui::Stroke::NONE)
            .corner_radius(space::M as u8)
            .min_size(egui::vec2(0.0, space::ROW));
        let response = padded(ui, chip).on_hover_ui(|ui| self.details(ui, model));
        response.widget_info(|| {
            let mark = if is_good { " ✓" } else { "" };
            let label = format!("Model {text}{mark}");
            egui::WidgetInfo::labeled(egui::Role::Button, true, label)
        });
        if is_good {
            let mut end = response.rect;
            end.min.x = end.max.x - space::M - space::L;
            icons::paint(ui, Icon::Check, end, self.theme.success);
        }
        egui::Popup::menu(&response).show(|ui| {
            self.details(ui, model);
            ui.separator();
            for command in Command::all() {
                if command.menu().0 == Menu::Compute {
                    self.item(ui, command, &command.text());
                }
            }
            ui.separator();
            for command in [
                Command::Verify,
                Command::OpenModelFolder,
                Command::OpenModelFile,
                Command::OpenFromHub,
                Command::OpenDemo,
            ] {
                self.item(ui, command, &command.text());
            }
        });
    }

    fn details(&self, ui: &mut egui::Ui, model: &Model) {
        model_details(ui, model);
        self.checking.details(self.theme, ui);
    }

    fn run(&self, command: Command) {
        self.actions.push(Action::Run(command));
    }
}

/// A button with the usual padding: the menu bar's own has next to none.
fn padded(ui: &mut egui::Ui, button: egui::Button<'_>) -> egui::Response {
    ui.scope(|ui| {
        ui.spacing_mut().button_padding.x = space::M;
        ui.add(button)
    })
    .inner
}

fn model_details(ui: &mut egui::Ui, model: &Model) {
    let spec = &model.spec;
    let Compute { dtype, device } = model.compute;
    let from_f32 = (dtype != Dtype::F32).then(|| {
        let text = match model.logit_difference {
            Some(difference) => format!("at most {difference:.1e}, for a sample prompt"),
            None => "not known: the model has no logits".to_owned(),
        };
        ("Logits differ from f32 by", text)
    });
    egui::Grid::new("model details")
        .num_columns(2)
        .spacing([space::L, space::XS])
        .min_row_height(space::L)
        .show(ui, |ui| {
            let rows = vec![
                ("From", model.source.clone()),
                ("Family", spec.family.to_owned()),
                ("Layers", spec.n_layers.to_string()),
                ("Heads a layer", spec.n_heads.to_string()),
                ("Key/value heads a layer", spec.n_kv_heads.to_string()),
                (
                    "Width",
                    format!("{} ({} a head)", spec.d_model, spec.d_head),
                ),
                ("Vocabulary", spec.n_vocab.to_string()),
                ("Context", format!("{} tokens", spec.n_ctx)),
                ("Computed in", format!("{dtype}, on the {device}")),
                ("Stored as", model.stored.clone()),
                ("Weights", amount(model.weight_bytes as u64)),
                ("Loaded in", format!("{:.0} ms", model.load_millis)),
            ];
            for (name, value) in rows.into_iter().chain(from_f32) {
                ui.weak(name);
                ui.label(value);
                ui.end_row();
            }
        });
}

/// Opens a path or name as what it is: a session by its ending, else a model.
pub fn open(target: &str) -> Action {
    let name = target.to_ascii_lowercase();
    let is_json = Path::new(&name).extension().is_some_and(|e| e == "json");
    if is_json && !name.ends_with(".index.json") {
        Action::OpenSession(target.into())
    } else {
        Action::OpenModel(target.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_or_named_is_opened_as_what_it_is() {
        for session in ["a.headscope.json", "/x/B.JSON"] {
            assert!(matches!(open(session), Action::OpenSession(_)), "{session}");
        }
        for model in [
            "demo",
            "/x/folder",
            "a.gguf",
            "model.safetensors.index.json",
        ] {
            assert!(matches!(open(model), Action::OpenModel(_)), "{model}");
        }
    }
}
