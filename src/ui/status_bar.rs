//! The line at the bottom: how the last run went, what the program takes, what draws.

use super::action::{Action, ActionQueue};
use super::command::Command;
use super::theme::{Theme, space};
use crate::model::Model;
use crate::model::memory::amount;
use crate::render::Backend;
use crate::worker::Live;

/// How often the process's memory is asked for, in seconds.
const MEMORY_EVERY_SECS: f64 = 1.0;

/// What is measured now and then rather than each frame.
#[derive(Debug, Default)]
pub(super) struct StatusBar {
    measured_at: Option<f64>,
    resident_bytes: Option<usize>,
}

pub(super) struct Context<'a> {
    pub theme: &'a Theme,
    pub model: Option<&'a Model>,
    pub live: &'a Live,
    /// The prompt or an edit cannot be run: what is shown is older.
    pub has_problem: bool,
    pub backend: &'a Backend,
    /// The adapter that draws, in its driver's words.
    pub adapter: &'a str,
    pub unread: usize,
    pub actions: &'a ActionQueue,
}

impl StatusBar {
    pub(super) fn show(&mut self, cx: &Context<'_>, ui: &mut egui::Ui) {
        self.measure(ui.input(|input| input.time));
        ui.horizontal_centered(|ui| {
            ui.style_mut().override_text_style = Some(egui::TextStyle::Small);
            run(cx, ui);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let text = match cx.unread {
                    0 => "Notifications".to_owned(),
                    1 => "1 notification".to_owned(),
                    n => format!("{n} notifications"),
                };
                let color = if cx.unread > 0 {
                    cx.theme.accent
                } else {
                    cx.theme.text_weak
                };
                let bell = egui::Button::new(egui::RichText::new(text).color(color)).frame(false);
                if ui.add(bell).clicked() {
                    cx.actions.push(Action::Run(Command::Notifications));
                }
                ui.separator();
                renderer(cx, ui);
                ui.separator();
                self.memory(cx, ui);
            });
        });
    }

    fn measure(&mut self, now: f64) {
        if self
            .measured_at
            .is_none_or(|at| now - at >= MEMORY_EVERY_SECS)
        {
            self.measured_at = Some(now);
            self.resident_bytes = memory_stats::memory_stats().map(|stats| stats.physical_mem);
        }
    }

    fn memory(&self, cx: &Context<'_>, ui: &mut egui::Ui) {
        let Some(resident) = self.resident_bytes else {
            return;
        };
        ui.weak(amount(resident as u64)).on_hover_ui(|ui| {
            egui::Grid::new("memory")
                .num_columns(2)
                .min_row_height(space::L)
                .show(ui, |ui| {
                    let weights = cx.model.map_or(0, |model| model.weight_bytes);
                    for (name, size) in [
                        ("The whole process", resident),
                        ("Weights", weights),
                        ("Attention maps", map_bytes(cx.live)),
                        ("Maps on the GPU", cx.backend.memory_bytes() as usize),
                    ] {
                        ui.weak(name);
                        ui.label(amount(size as u64));
                        ui.end_row();
                    }
                });
        });
    }
}

/// The newest run's state, then its numbers.
fn run(cx: &Context<'_>, ui: &mut egui::Ui) {
    let theme = cx.theme;
    let live = cx.live;
    let (color, text, tip) = if cx.model.is_none() {
        (theme.text_stale, "No model", "Open one from the File menu")
    } else if live.error.is_some() {
        (theme.error, "Failed", "The newest request gave no result")
    } else if cx.has_problem {
        (
            theme.warn,
            "Not run",
            "What is asked for cannot be run; older results stay on screen",
        )
    } else if live.wanted.is_none() {
        (theme.text_stale, "Nothing to run", "Type a prompt")
    } else if live.complete {
        (
            theme.success,
            "Up to date",
            "All that is shown belongs to the newest request",
        )
    } else {
        (
            theme.warn,
            "Running",
            "Older results stay, dimmed, until newer ones come",
        )
    };
    let (dot, _) = ui.allocate_exact_size(egui::Vec2::splat(space::S), egui::Sense::hover());
    ui.painter().circle_filled(dot.center(), 3.5, color);
    ui.label(text).on_hover_text(tip);
    let pass = live.pass(live.current_side());
    let is_newest = live
        .wanted
        .as_ref()
        .is_some_and(|(run, _)| pass.run == *run);
    if !is_newest || cx.model.is_none() {
        return;
    }
    ui.separator();
    ui.weak(format!("run {:.1} ms", pass.millis));
    let n_layers = cx.model.map_or(0, |model| model.spec.n_layers);
    if pass.restarted_at > 0 {
        ui.separator();
        if pass.restarted_at >= n_layers {
            ui.weak("nothing rerun")
                .on_hover_text("Every layer was known from before");
        } else {
            ui.weak(format!("restarted at L{}", pass.restarted_at))
                .on_hover_text("The layers before are untouched by the edits and were kept");
        }
    }
}

fn renderer(cx: &Context<'_>, ui: &mut egui::Ui) {
    match cx.backend {
        Backend::Gpu { .. } => {
            ui.weak(cx.adapter)
                .on_hover_text("Maps are drawn by this GPU or driver");
        }
        Backend::Cpu { reason } => {
            ui.colored_label(cx.theme.warn, "Maps drawn by the CPU")
                .on_hover_text(format!("No adequate GPU: {reason}"));
        }
    }
}

fn map_bytes(live: &Live) -> usize {
    [&live.before, &live.after]
        .into_iter()
        .flat_map(|pass| pass.layers.iter().flatten())
        .map(|layer| layer.maps.patterns.bytes())
        .sum()
}
