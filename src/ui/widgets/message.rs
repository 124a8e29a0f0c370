//! What a panel says when it has nothing to show, and how it says that something is wrong.

use egui::{RichText, Ui};

use crate::ui::theme::Theme;

/// A panel without content: what it is for, and what to do next.
pub fn empty(ui: &mut Ui, theme: &Theme, title: &str, hint: &str) {
    ui.add_space(8.0);
    ui.label(RichText::new(title).color(theme.text).strong());
    ui.label(RichText::new(hint).color(theme.text_weak));
}

/// An error in the place that it belongs to.
pub fn error(ui: &mut Ui, theme: &Theme, message: &str) {
    ui.label(RichText::new(message).color(theme.error));
}

/// A word in a rounded frame: `old`, `no change`.
pub fn tag(ui: &mut Ui, theme: &Theme, text: &str, why: &str) {
    egui::Frame::NONE
        .fill(theme.surface)
        .stroke(egui::Stroke::new(1.0, theme.line))
        .corner_radius(3)
        .inner_margin(egui::Margin::symmetric(4, 0))
        .show(ui, |ui| {
            ui.label(RichText::new(text).small().color(theme.text_weak))
        })
        .response
        .on_hover_text(why);
}
