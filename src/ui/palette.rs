//! The palette: every command by name, found by typing a few of its letters.
//!
//! ```text
//! ┌──────────────────────────────┐
//! │ abl_                         │
//! │ Ablate the selected heads  ␣ │
//! └──────────────────────────────┘
//! ```

use egui::{Key, Modifiers};

use super::action::{Action, ActionQueue};
use super::availability::Availability;
use super::command::Command;
use super::theme::{Theme, space};

const WIDTH: f32 = 520.0;
const MAX_HEIGHT: f32 = 360.0;

/// An open palette.
#[derive(Debug, Default)]
pub(super) struct Palette {
    query: String,
    /// Row of the matches that Enter runs.
    row: usize,
}

impl Palette {
    /// Draws it and pushes what was chosen. Says whether it stays open.
    #[must_use]
    pub(super) fn show(
        &mut self,
        theme: &Theme,
        availability: &Availability,
        actions: &ActionQueue,
        ctx: &egui::Context,
    ) -> bool {
        // Before the text field sees them.
        let (up, down, enter) = ctx.input_mut(|input| {
            (
                input.count_and_consume_key(Modifiers::NONE, Key::ArrowUp),
                input.count_and_consume_key(Modifiers::NONE, Key::ArrowDown),
                input.consume_key(Modifiers::NONE, Key::Enter),
            )
        });
        let mut chosen = None;
        let area = egui::Modal::default_area(egui::Id::unique("palette"))
            .anchor(egui::Align2::CENTER_TOP, [0.0, 64.0]);
        let modal = egui::Modal::new(egui::Id::unique("palette"))
            .area(area)
            .backdrop_color(theme.backdrop)
            .show(ctx, |ui| {
                ui.set_width(WIDTH);
                let field = egui::TextEdit::singleline(&mut self.query)
                    .hint_text("Search commands")
                    .desired_width(f32::INFINITY)
                    .margin(space::S)
                    .id_salt("query")
                    .show(ui)
                    .response
                    .response;
                field.request_focus();
                if field.changed() {
                    self.row = 0;
                }
                let found = matches(&self.query);
                if !found.is_empty() {
                    self.row = (self.row + down).saturating_sub(up).min(found.len() - 1);
                }
                ui.add_space(space::XS);
                if found.is_empty() {
                    ui.weak("No command is called that");
                }
                egui::ScrollArea::vertical()
                    .max_height(MAX_HEIGHT)
                    .show(ui, |ui| {
                        ui.spacing_mut().item_spacing.y = 0.0;
                        for (i, command) in found.iter().enumerate() {
                            let is_row = i == self.row;
                            let response =
                                row(ui, *command, is_row, availability.enabled(*command));
                            if is_row && (up > 0 || down > 0) {
                                response.scroll_to_me(None);
                            }
                            if response.clicked()
                                || (enter && is_row && availability.enabled(*command))
                            {
                                chosen = Some(*command);
                            }
                        }
                    });
            });
        if let Some(command) = chosen {
            actions.push(Action::Run(command));
        }
        chosen.is_none() && !modal.should_close()
    }
}

fn row(ui: &mut egui::Ui, command: Command, selected: bool, enabled: bool) -> egui::Response {
    let keys = command
        .shortcuts()
        .first()
        .map(|shortcut| ui.ctx().format_shortcut(shortcut))
        .unwrap_or_default();
    let button = egui::Button::selectable(selected, command.text())
        .shortcut_text(keys)
        .min_size(egui::vec2(ui.available_width(), space::ROW));
    let response = ui
        .add_enabled(enabled, button)
        .on_hover_text(command.tooltip());
    response.widget_info(|| {
        let name = command.text();
        egui::WidgetInfo::selected(egui::Role::ListBoxOption, enabled, selected, name)
    });
    response
}

/// Commands that hold the letters of `query` in order, the closest first.
fn matches(query: &str) -> Vec<Command> {
    let mut found: Vec<_> = Command::all()
        .into_iter()
        .filter_map(|command| Some((distance(query, &command.text())?, command)))
        .collect();
    // Stable: equally close ones stay in the order of the menus.
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().map(|(_, command)| command).collect()
}

/// How far apart the letters of `query` lie in `text`, letters skipped within words counting more than words skipped;
/// `None` if one is missing. Spaces and case do not count.
fn distance(query: &str, text: &str) -> Option<usize> {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let query: Vec<char> = query
        .to_lowercase()
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    let starts_word = |i: usize| i == 0 || !text[i - 1].is_alphanumeric();
    // cost[i]: of the letters so far, the last of them being text[i].
    let mut cost: Vec<Option<usize>> = Vec::new();
    for (n, letter) in query.iter().enumerate() {
        let previous = std::mem::replace(&mut cost, vec![None; text.len()]);
        for i in (0..text.len()).filter(|i| text[*i] == *letter) {
            let jump = usize::from(!starts_word(i)) * 4;
            cost[i] = if n == 0 {
                Some(jump + i.min(8))
            } else {
                (0..i)
                    .filter_map(|j| {
                        let gap = if j + 1 == i { 0 } else { 2 + jump };
                        Some(previous[j]? + gap)
                    })
                    .min()
            };
        }
    }
    if query.is_empty() {
        return Some(0);
    }
    cost.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_letters_find_the_command() {
        for (query, command) in [
            ("undo", Command::Undo),
            ("ablate", Command::AblateSelected),
            ("rmed", Command::ClearEdits),
            ("about", Command::About),
            ("zoomin", Command::ZoomIn),
            ("THEME", Command::CycleTheme),
            ("value w", Command::ShowValueWeighted),
        ] {
            assert_eq!(matches(query).first(), Some(&command), "{query}");
        }
    }

    #[test]
    fn letters_out_of_order_find_nothing() {
        assert!(matches("zzz").is_empty());
        assert_eq!(distance("odnu", "Undo"), None);
        assert_eq!(matches("").len(), Command::all().len());
    }
}
