//! The answer tokens: chips, and a field for the next one.

use egui::{Button, Key, RichText, Ui};

use crate::ui::action::Action;
use crate::ui::context::ViewContext;
use crate::ui::widgets::tokens;

pub(super) fn show(cx: &ViewContext<'_>, typed: &mut String, ui: &mut Ui) {
    let answers = &cx.session.experiment.answers;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        ui.label(RichText::new("Answers").color(cx.theme.text_weak));
        for (i, answer) in answers.iter().enumerate() {
            chip(cx, ui, i, answer);
        }
        if answers.len() >= 2
            && ui
                .add(Button::new("⇄").frame_when_inactive(false))
                .on_hover_text("Swap the first two: the difference changes its sign")
                .accessible_name("Swap the first two answers")
                .clicked()
        {
            let mut swapped = answers.clone();
            swapped.swap(0, 1);
            cx.push(Action::SetAnswers(swapped));
        }
        let field = ui
            .add(
                egui::TextEdit::singleline(typed)
                    .hint_text(match (answers.is_empty(), &cx.model.tokenizer) {
                        (false, _) => "add",
                        (true, Some(_)) => " Mary",
                        (true, None) => "#5",
                    })
                    .font(egui::TextStyle::Monospace)
                    .desired_width(72.0),
            )
            .accessible_name("New answer")
            .on_hover_text("A token as it reads in place, with its leading space (` Mary`), or an id (`#5335`); then Enter");
        if field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) && !typed.is_empty() {
            let mut more = answers.clone();
            more.push(std::mem::take(typed));
            cx.push(Action::SetAnswers(more));
            field.request_focus();
        }
    });
    if answers.len() < 2 {
        ui.label(
            RichText::new("Two answers give the logit difference: first minus second")
                .small()
                .color(cx.theme.text_weak),
        );
    }
    for answer in cx.resolved.map_or(&[][..], |resolved| &resolved.answers) {
        if answer.ids.len() > 1 {
            let text = format!(
                "`{}` has {} tokens: only the first is read",
                tokens::visible(&answer.text),
                answer.ids.len()
            );
            ui.label(RichText::new(text).small().color(cx.theme.warn));
        } else if missing_space(&answer.text) && !cx.model.spec.predicts_in_place() {
            let text = format!(
                "`{}` starts without a space: is ` {}` meant?",
                answer.text, answer.text
            );
            ui.label(RichText::new(text).small().color(cx.theme.warn));
        }
    }
}

/// A word without the space that stands before words in a sentence.
fn missing_space(text: &str) -> bool {
    text.chars().next().is_some_and(char::is_alphabetic)
}

fn chip(cx: &ViewContext<'_>, ui: &mut Ui, i: usize, answer: &str) {
    let resolved = cx.resolved.and_then(|resolved| {
        resolved
            .answers
            .iter()
            .find(|resolved| resolved.text == answer)
    });
    // The sign with which it enters the difference.
    let sign = match i {
        0 => "+ ",
        1 => "− ",
        _ => "",
    };
    let text = RichText::new(format!("{sign}{} ×", tokens::visible(answer))).monospace();
    let text = if resolved.is_some_and(|resolved| resolved.ids.len() > 1) {
        text.color(cx.theme.warn)
    } else {
        text.color(cx.theme.text)
    };
    let hint = match resolved {
        Some(resolved) => format!("Token {}; click removes it", resolved.id),
        None => "Not in use; click removes it".into(),
    };
    if ui
        .add(Button::new(text).small())
        .on_hover_text(hint)
        .accessible_name(format!("Remove answer {answer}"))
        .clicked()
    {
        let mut fewer = cx.session.experiment.answers.clone();
        fewer.remove(i);
        cx.push(Action::SetAnswers(fewer));
    }
}
