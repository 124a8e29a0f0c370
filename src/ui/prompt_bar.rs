//! Where prompts are typed: A, and B as the contrast, with the rule for the token at the beginning.
//!
//! What is typed reaches the session after a short pause, or at Enter; the tokens under the fields are `token_strip`'s.

use egui::{Key, KeyboardShortcut, Modifiers};

use super::action::{Action, ActionQueue};
use super::theme::{Theme, space};
use crate::session::{BosRule, Experiment, Prompt};

/// Pause after the last key, in seconds.
const PAUSE_SECS: f64 = 0.15;
/// Lines of a prompt that are in view at once.
const MAX_LINES: f32 = 4.0;

/// Which prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    A,
    B,
}

/// Both fields' texts while they are typed.
#[derive(Debug, Default)]
pub(super) struct PromptBar {
    a: Draft,
    b: Draft,
    /// Field that gets the focus when it is drawn next.
    focus: Option<Which>,
}

#[derive(Debug, Default)]
struct Draft {
    text: String,
    /// The session's text that `text` was last equal to, or was sent as.
    known: String,
    /// When the last unsent change was made, in egui's seconds.
    changed: Option<f64>,
}

/// What the bar reads and where it writes.
pub(super) struct Context<'a> {
    pub theme: &'a Theme,
    pub experiment: &'a Experiment,
    /// Without one, prompts are typed as ids.
    pub has_tokenizer: bool,
    /// Whether the rule for the beginning of text can be overridden: encoders leave it to their tokenizer.
    pub has_bos_rule: bool,
    pub actions: &'a ActionQueue,
}

impl PromptBar {
    pub(super) fn focus(&mut self, which: Which) {
        self.focus = Some(which);
    }

    pub(super) fn show(&mut self, cx: &Context<'_>, which: Which, ui: &mut egui::Ui) {
        let prompt = match which {
            Which::A => Some(&cx.experiment.prompt),
            Which::B => cx.experiment.contrast.as_ref(),
        };
        let Some(prompt) = prompt else {
            return;
        };
        ui.horizontal_top(|ui| {
            let name = match which {
                Which::A => "A",
                Which::B => "B",
            };
            ui.add_sized(
                [space::L, space::ROW],
                egui::Label::new(egui::RichText::new(name).strong().color(cx.theme.accent)),
            );
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Min), |ui| {
                match which {
                    Which::A => {
                        bos_switch(cx, ui);
                        contrast_button(cx, ui);
                    }
                    Which::B => {
                        if ui.button("Remove B").clicked() {
                            cx.actions.push(Action::SetContrast(None));
                        }
                    }
                }
                self.field(cx, which, prompt, ui);
            });
        });
    }

    fn field(&mut self, cx: &Context<'_>, which: Which, prompt: &Prompt, ui: &mut egui::Ui) {
        let draft = match which {
            Which::A => &mut self.a,
            Which::B => &mut self.b,
        };
        let as_ids = !cx.has_tokenizer || matches!(prompt, Prompt::Ids(_));
        draft.follow(&written(prompt));
        let (name, hint) = match (which, as_ids) {
            (Which::A, false) => ("Prompt A", "Type a prompt"),
            (Which::B, false) => (
                "Prompt B",
                "Type a contrast: the same text with one thing changed",
            ),
            (Which::A, true) => ("Prompt A as token ids", "Token ids, such as 2, 0, 1"),
            (Which::B, true) => ("Prompt B as token ids", "Token ids, such as 2, 0, 1"),
        };
        // A thousand tokens would leave no room for anything else. The frame stands around what is in view.
        let line = ui.text_style_height(&egui::TextStyle::Body);
        let margin = egui::Margin::symmetric(space::S as i8, space::XS as i8);
        let visuals = ui.visuals();
        let focused = ui.memory(|memory| memory.has_focus(field_id(which)));
        let frame = egui::Frame::new()
            .fill(visuals.text_edit_bg_color())
            .corner_radius(space::RADIUS)
            .stroke(if focused {
                visuals.selection.stroke
            } else {
                visuals.widgets.inactive.bg_stroke
            });
        let response = frame
            .show(ui, |ui| {
                egui::ScrollArea::vertical()
                    .id_salt(name)
                    .max_height(MAX_LINES * line + 2.0 * space::XS)
                    .auto_shrink([false, true])
                    .content_margin(0.0)
                    .show(ui, |ui| {
                        egui::TextEdit::multiline(&mut draft.text)
                            .id(field_id(which))
                            .hint_text(hint)
                            .desired_rows(1)
                            .desired_width(ui.available_width())
                            .frame(egui::Frame::new().inner_margin(margin))
                            .return_key(KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter))
                            .show(ui)
                            .response
                            .response
                    })
                    .inner
            })
            .inner;
        response.widget_info(|| {
            let mut info = egui::WidgetInfo::labeled(egui::Role::MultilineTextInput, true, name);
            info.current_text_value = Some(draft.text.clone());
            info
        });
        if self.focus == Some(which) {
            response.request_focus();
            self.focus = None;
        }
        let now = ui.input(|input| input.time);
        if response.changed() {
            draft.changed = Some(now);
        }
        let entered = response.has_focus()
            && ui.input(|input| input.key_pressed(Key::Enter) && !input.modifiers.shift);
        if let Some(changed) = draft.changed {
            if entered || response.lost_focus() || now >= changed + PAUSE_SECS {
                draft.send(which, as_ids, cx.actions);
            } else {
                let rest = changed + PAUSE_SECS - now;
                ui.ctx()
                    .request_repaint_after(std::time::Duration::from_secs_f64(rest));
            }
        }
    }
}

impl Draft {
    /// Takes the session's text over if it is news (undo, another session) and not what was sent from here.
    fn follow(&mut self, session: &str) {
        if session != self.known {
            session.clone_into(&mut self.known);
            session.clone_into(&mut self.text);
            self.changed = None;
        }
    }

    fn send(&mut self, which: Which, as_ids: bool, actions: &ActionQueue) {
        self.changed = None;
        let prompt = if as_ids {
            match parse_ids(&self.text) {
                Some(ids) => Prompt::Ids(ids),
                // Half-typed: it stays in the field, and is sent once it reads as ids.
                None => return,
            }
        } else {
            Prompt::Text(self.text.clone())
        };
        self.known = written(&prompt);
        actions.push(match which {
            Which::A => Action::SetPrompt(prompt),
            Which::B => Action::SetContrast(Some(prompt)),
        });
    }
}

fn field_id(which: Which) -> egui::Id {
    egui::Id::unique(("prompt field", which == Which::A))
}

/// A prompt as it stands in the field.
fn written(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Ids(ids) => {
            let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
            ids.join(", ")
        }
    }
}

/// Ids parted by commas or spaces.
fn parse_ids(text: &str) -> Option<Vec<u32>> {
    text.split([',', ' ', '\n', '\t'])
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().ok())
        .collect()
}

fn contrast_button(cx: &Context<'_>, ui: &mut egui::Ui) {
    if cx.experiment.contrast.is_none() {
        let tip = "A second prompt: resampling and patching take their values from it";
        if ui.button("Add B").on_hover_text(tip).clicked() {
            cx.actions
                .push(Action::Run(super::command::Command::FocusContrast));
        }
    }
}

fn bos_switch(cx: &Context<'_>, ui: &mut egui::Ui) {
    let rule = cx.experiment.bos;
    let frame = egui::Frame::new()
        .stroke(egui::Stroke::new(1.0, cx.theme.line))
        .corner_radius(space::RADIUS);
    // The layout runs from the right.
    frame.show(ui, |ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        for (value, text, tip) in [
            (BosRule::Never, "never", "Encoded without special tokens"),
            (BosRule::Always, "always", "Exactly one token at the front"),
            (BosRule::Auto, "auto", "As the tokenizer has it"),
        ] {
            let button = egui::Button::selectable(rule == value, text);
            let possible = cx.has_bos_rule || value == BosRule::Auto;
            let response = ui
                .add_enabled(possible, button)
                .on_hover_text(tip)
                .on_disabled_hover_text("An encoder's tokenizer puts the special tokens");
            response.widget_info(|| {
                let name = format!("Beginning of text {text}");
                egui::WidgetInfo::selected(egui::Role::RadioButton, possible, rule == value, name)
            });
            if response.clicked() && rule != value {
                cx.actions.push(Action::SetBos(value));
            }
        }
    });
    let caption = egui::RichText::new("BOS").small().color(cx.theme.text_weak);
    ui.add_sized([space::XL, space::ROW], egui::Label::new(caption))
        .on_hover_text("The token at the beginning of the text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_on_while_the_session_catches_up_loses_no_letter() {
        let actions = ActionQueue::default();
        let mut draft = Draft::default();
        draft.follow("");
        draft.text = "ab".into();
        draft.send(Which::A, false, &actions);
        draft.text = "abc".into();
        draft.follow("ab");
        assert_eq!(draft.text, "abc");
        draft.follow("undone");
        assert_eq!(draft.text, "undone");
        assert_eq!(
            actions.take(),
            [Action::SetPrompt(Prompt::Text("ab".into()))]
        );
    }

    #[test]
    fn half_typed_ids_are_not_sent() {
        let actions = ActionQueue::default();
        let mut draft = Draft {
            text: "2, 0, x".into(),
            ..Draft::default()
        };
        draft.send(Which::B, true, &actions);
        assert_eq!(actions.take(), []);
        draft.text = "2,0 1".into();
        draft.send(Which::B, true, &actions);
        let ids = Prompt::Ids(vec![2, 0, 1]);
        assert_eq!(draft.known, "2, 0, 1");
        assert_eq!(actions.take(), [Action::SetContrast(Some(ids))]);
    }
}
