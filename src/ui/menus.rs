//! The bar at the top: menus made from the table of commands, the model's chip, undo, redo, the palette's button.

use super::action::{Action, ActionQueue};
use super::availability::Availability;
use super::command::Command;
use super::theme::{Theme, space};
use crate::export::ExportView;
use crate::model::Model;
use crate::session::settings::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Menu {
    File,
    /// Inside `File`.
    Export,
    Edit,
    Select,
    View,
    Help,
}

impl Menu {
    const BAR: [Self; 5] = [Self::File, Self::Edit, Self::Select, Self::View, Self::Help];

    const fn title(self) -> &'static str {
        match self {
            Self::File => "File",
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
            .min_size(egui::vec2(190.0, space::ROW));
        if ui.add(palette).clicked() {
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
            let response = icon_button(ui, self.theme, icon, &command.text(), label.is_some())
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
                }
                if menu == Menu::File && group == 1 {
                    ui.menu_button(Menu::Export.title(), |ui| self.export(ui));
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
            ui.menu_button(name, |ui| {
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
            ui.menu_button("Open recent", |ui| {
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
        let mark = match self.availability.checked(command) {
            Some(true) => "✔ ",
            Some(false) => "    ",
            None => "",
        };
        let button = egui::Button::new(format!("{mark}{text}")).shortcut_text(keys);
        let response = ui
            .add_enabled(self.availability.enabled(command), button)
            .on_hover_text(command.tooltip());
        response
            .widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, ui.is_enabled(), text));
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
        let numbers = if model.stored.eq_ignore_ascii_case(model.dtype) {
            model.dtype.to_owned()
        } else {
            format!("{} (stored {})", model.dtype, model.stored)
        };
        let text = format!(
            "{}  ·  {} layers × {} heads  ·  {numbers}",
            model.name, spec.n_layers, spec.n_heads
        );
        let chip = egui::Button::new(&text)
            .fill(self.theme.accent_fill)
            .stroke(egui::Stroke::NONE)
            .corner_radius(space::M as u8);
        let response = ui.add(chip).on_hover_ui(|ui| model_details(ui, model));
        response.widget_info(|| {
            egui::WidgetInfo::labeled(egui::Role::Button, true, format!("Model {text}"))
        });
        egui::Popup::menu(&response).show(|ui| {
            model_details(ui, model);
            ui.separator();
            for command in [
                Command::OpenModelFolder,
                Command::OpenModelFile,
                Command::OpenDemo,
            ] {
                self.item(ui, command, &command.text());
            }
        });
    }

    fn run(&self, command: Command) {
        self.actions.push(Action::Run(command));
    }
}

fn model_details(ui: &mut egui::Ui, model: &Model) {
    let spec = &model.spec;
    egui::Grid::new("model details")
        .num_columns(2)
        .spacing([space::L, space::XS])
        .show(ui, |ui| {
            let rows = [
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
                ("Computed in", model.dtype.to_owned()),
                ("Stored as", model.stored.clone()),
                ("Weights", super::status_bar::bytes(model.weight_bytes)),
                ("Loaded in", format!("{:.0} ms", model.load_millis)),
            ];
            for (name, value) in rows {
                ui.weak(name);
                ui.label(value);
                ui.end_row();
            }
        });
}

/// Opens a path or name as what it is: a session by its ending, else a model.
pub fn open(target: &str) -> Action {
    if target.ends_with(".json") && !target.ends_with(".index.json") {
        Action::OpenSession(target.into())
    } else {
        Action::OpenModel(target.to_owned())
    }
}

#[derive(Clone, Copy)]
enum Icon {
    Undo,
    Redo,
}

/// A square button with a drawn arrow: the fonts have none that match.
fn icon_button(
    ui: &mut egui::Ui,
    theme: &Theme,
    icon: Icon,
    name: &str,
    enabled: bool,
) -> egui::Response {
    let button = egui::Button::new("").min_size(egui::Vec2::splat(space::ROW));
    let response = ui.add_enabled(enabled, button);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, enabled, name));
    let color = if enabled {
        theme.text
    } else {
        theme.text_stale
    };
    let stroke = egui::Stroke::new(1.5, color);
    let side = match icon {
        Icon::Undo => 1.0,
        Icon::Redo => -1.0,
    };
    let at = |x: f32, y: f32| response.rect.center() + egui::vec2(x * side, y);
    // An arrow to the left that comes round from the lower right.
    ui.painter()
        .line(vec![at(-5.0, -2.0), at(1.5, -2.0)], stroke);
    let bend = (0..=8).map(|i| {
        let angle = std::f32::consts::PI * (i as f32 / 8.0 - 0.5);
        at(1.5 + 3.5 * angle.cos(), 1.5 + 3.5 * angle.sin())
    });
    ui.painter().line(bend.collect(), stroke);
    ui.painter().line(vec![at(1.5, 5.0), at(-2.0, 5.0)], stroke);
    ui.painter()
        .line(vec![at(-2.0, -5.0), at(-5.0, -2.0), at(-2.0, 1.0)], stroke);
    response
}
