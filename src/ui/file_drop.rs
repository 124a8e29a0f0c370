//! Files and folders dropped on the window.

use super::action::ActionQueue;
use super::menus;
use super::theme::{Theme, size};

/// Opens what is dropped; says so while it hovers.
pub(super) fn show(theme: &Theme, actions: &ActionQueue, ctx: &egui::Context) {
    let (hovering, dropped) = ctx.input(|input| {
        let dropped: Vec<_> = input
            .raw
            .dropped_files
            .iter()
            .map(|file| file.path().to_string_lossy().into_owned())
            .collect();
        (!input.raw.hovered_files.is_empty(), dropped)
    });
    for path in dropped {
        actions.push(menus::open(&path));
    }
    if hovering {
        overlay(theme, ctx);
    }
}

fn overlay(theme: &Theme, ctx: &egui::Context) {
    let layer = egui::LayerId::new(egui::Order::Foreground, egui::Id::unique("drop overlay"));
    let painter = ctx.layer_painter(layer);
    let rect = ctx.content_rect();
    painter.rect_filled(rect, 0.0, theme.backdrop);
    painter.rect_stroke(
        rect.shrink(12.0),
        8.0,
        egui::Stroke::new(2.0, theme.accent),
        egui::StrokeKind::Inside,
    );
    let galley = painter.layout_no_wrap(
        "Drop a model folder, a .safetensors or .gguf file, or a session".to_owned(),
        egui::FontId::proportional(size::HEADING),
        theme.text,
    );
    let text_rect = egui::Align2::CENTER_CENTER.anchor_size(rect.center(), galley.size());
    painter.rect_filled(text_rect.expand(16.0), 6.0, theme.overlay);
    painter.galley(text_rect.min, galley, theme.text);
}
