//! The frame: bars, prompts, panels, and what floats above them. Draws and pushes actions; changes nothing else.

use egui::{Frame, Margin};

use super::action::Action;
use super::app::App;
use super::command;
use super::context::ViewContext;
use super::prompt_bar::{self, Which};
use super::results::Load;
use super::theme::{Theme, space};
use super::{
    file_drop, icons, loading, menus, sheets, status_bar, text_strip, token_strip, welcome,
};
use crate::model::spec::Head;

impl App {
    pub fn draw(&mut self, ui: &mut egui::Ui) {
        let ctx = ui.ctx().clone();
        let theme = Theme::of(ctx.theme());
        self.take_keys(&ctx);
        ui.painter().rect_filled(ui.max_rect(), 0.0, theme.canvas);
        self.menu_bar(theme, ui);
        self.status_line(theme, ui);
        if self.results.model.is_some() {
            self.prompts(theme, ui);
            self.text(theme, ui);
        }
        self.bars(theme, ui);
        egui::CentralPanel::no_frame().show(ui, |ui| self.panels(theme, ui));
        self.float(theme, &ctx);
        self.end(&ctx);
    }

    fn take_keys(&self, ctx: &egui::Context) {
        if self.ui.sheet.is_some() {
            return;
        }
        for command in command::take_pressed(ctx, self.ui.palette.is_some()) {
            self.ui.queue.push(Action::Run(command));
        }
    }

    fn menu_bar(&self, theme: &Theme, ui: &mut egui::Ui) {
        let availability = self.availability();
        let mark = if self.work.is_unsaved() { "•" } else { "" };
        let bar = menus::Bar {
            theme,
            model: self.results.model.as_deref(),
            checking: &self.results.checking,
            settings: &self.settings,
            undo: self.work.history.undo_label(),
            redo: self.work.history.redo_label(),
            title: &format!("{} {mark}", self.work.name()),
            availability: &availability,
            actions: &self.ui.queue,
        };
        let frame = strip(theme.surface);
        egui::Panel::top("menu bar")
            .frame(frame)
            .show(ui, |ui| bar.show(ui));
    }

    fn status_line(&mut self, theme: &Theme, ui: &mut egui::Ui) {
        let cx = status_bar::Context {
            theme,
            model: self.results.model.as_deref(),
            live: &self.results.live,
            has_problem: self.results.problem().is_some(),
            backend: &self.backend,
            adapter: &self.adapter,
            unread: self.ui.notifications.unread(),
            actions: &self.ui.queue,
        };
        let status = &mut self.ui.status;
        egui::Panel::bottom("status")
            .frame(strip(theme.surface).inner_margin(Margin::symmetric(space::M as i8, 0)))
            .exact_size(space::XL)
            .show(ui, |ui| status.show(&cx, ui));
    }

    fn prompts(&mut self, theme: &Theme, ui: &mut egui::Ui) {
        let cx = prompt_bar::Context {
            theme,
            experiment: &self.work.session.experiment,
            has_tokenizer: self
                .results
                .model
                .as_ref()
                .is_some_and(|model| model.tokenizer.is_some()),
            has_bos_rule: self
                .results
                .model
                .as_ref()
                .is_none_or(|model| model.spec.is_causal()),
            actions: &self.ui.queue,
        };
        let tokens = self
            .results
            .resolved()
            .map(|resolved| token_strip::Context {
                theme,
                resolved,
                resolution: self.results.resolution_number(),
                position: self.work.session.experiment.position,
                has_logits: self
                    .results
                    .model
                    .as_ref()
                    .is_none_or(|model| model.spec.head != Head::None),
                focus: &self.ui.focus,
                actions: &self.ui.queue,
            });
        let problem = self.results.problem();
        let (bar, strip_state) = (&mut self.ui.prompts, &mut self.ui.tokens);
        let frame = Frame::new()
            .fill(theme.panel_bg)
            .inner_margin(Margin::symmetric(space::M as i8, space::S as i8));
        egui::Panel::top("prompts").frame(frame).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = space::XS;
            bar.show(&cx, Which::A, ui);
            bar.show(&cx, Which::B, ui);
            if let Some(problem) = problem {
                ui.horizontal_wrapped(|ui| {
                    ui.add_space(space::XL);
                    icons::warning(ui, theme.error, problem);
                });
            }
            if let Some(tokens) = &tokens {
                ui.horizontal(|ui| {
                    ui.add_space(space::L + space::S);
                    ui.vertical(|ui| strip_state.show(tokens, ui));
                });
                for warning in &tokens.resolved.warnings {
                    ui.horizontal_wrapped(|ui| {
                        ui.add_space(space::L + space::S);
                        icons::warning(ui, theme.warn, warning);
                    });
                }
            }
        });
    }

    /// What the model writes after the prompt.
    fn text(&mut self, theme: &Theme, ui: &mut egui::Ui) {
        let (Some(model), true) = (&self.results.model, self.ui.text.open) else {
            return;
        };
        let cx = text_strip::Context {
            theme,
            model,
            text: &self.results.text,
            continuation: &self.work.session.experiment.continuation,
            n_steps: self.steps().1,
            actions: &self.ui.queue,
        };
        let frame = Frame::new()
            .fill(theme.panel_bg)
            .inner_margin(Margin::symmetric(space::M as i8, space::XS as i8));
        let strip = &mut self.ui.text;
        egui::Panel::top("generated text")
            .frame(frame)
            .show(ui, |ui| strip.show(&cx, ui));
    }

    /// What is said above the panels, a bar each.
    fn bars(&self, theme: &Theme, ui: &mut egui::Ui) {
        let actions = &self.ui.queue;
        if let Some(recovered) = self.recovered.first() {
            bar("recovery", theme.accent_fill, ui, |ui| {
                let edits = &recovered.saved.session.experiment.edits;
                welcome::recovery(recovered.when, edits, actions, ui);
            });
        }
        let has_model = self.results.model.is_some();
        if has_model && self.results.load != Load::Idle {
            bar("loading", theme.surface, ui, |ui| {
                loading::strip(theme, &self.results.load, actions, ui);
            });
        }
        if let Some(error) = &self.results.live.error {
            bar("run error", theme.error_fill, ui, |ui| {
                let text = format!("The run gave no result: {error}");
                ui.horizontal_wrapped(|ui| icons::warning(ui, theme.error, &text));
            });
        }
        if let Some(steps) = &self.ui.first_steps
            && has_model
        {
            bar("first steps", theme.surface, ui, |ui| {
                steps.show(theme, actions, ui);
            });
        }
    }

    fn panels(&mut self, theme: &Theme, ui: &mut egui::Ui) {
        let Some(model) = &self.results.model else {
            loading::page(theme, &self.results.load, &self.ui.queue, ui);
            return;
        };
        let cx = ViewContext {
            model,
            session: &self.work.session,
            resolved: self.results.resolved(),
            live: &self.results.live,
            lab: &self.results.lab,
            focus: &self.ui.focus,
            theme,
            backend: &self.backend,
            actions: &self.ui.queue,
        };
        self.ui.layout.show(&cx, &mut self.ui.views, ui);
    }

    fn float(&mut self, theme: &Theme, ctx: &egui::Context) {
        let availability = self.availability();
        if let Some(palette) = &mut self.ui.palette
            && !palette.show(theme, &availability, &self.ui.queue, ctx)
        {
            self.ui.palette = None;
        }
        if let Some(sheet) = &mut self.ui.sheet {
            self.ui.answer = sheets::show(sheet, theme, ctx);
        }
        self.ui.notifications.show(theme, ctx);
        file_drop::show(theme, &self.ui.queue, ctx);
    }

    /// Collects what was pushed; asks for another frame only where it will look different.
    fn end(&mut self, ctx: &egui::Context) {
        self.ui.pending = self.ui.queue.take();
        let hovered = self
            .ui
            .pending
            .iter()
            .rev()
            .find_map(|action| match action {
                Action::Hover(item) => Some(*item),
                _ => None,
            });
        let acts = |action: &Action| !matches!(action, Action::Hover(_));
        if hovered != self.ui.focus.hovered()
            || self.ui.pending.iter().any(acts)
            || self.ui.answer.is_some()
        {
            ctx.request_repaint();
        }
    }
}

/// The frame of a bar across the window.
fn strip(fill: egui::Color32) -> Frame {
    Frame::new()
        .fill(fill)
        .inner_margin(Margin::symmetric(space::S as i8, space::XS as i8))
}

fn bar(
    id: &'static str,
    fill: egui::Color32,
    ui: &mut egui::Ui,
    content: impl FnOnce(&mut egui::Ui),
) {
    egui::Panel::top(id)
        .frame(strip(fill).inner_margin(Margin::symmetric(space::M as i8, space::S as i8)))
        .show(ui, content);
}
