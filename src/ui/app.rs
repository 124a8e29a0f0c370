//! The window as a whole: who owns what, and the order of a frame.
//!
//! State is split by how long it lives: the user's [`Work`], [`Settings`], [`UiState`], and [`Results`], which can be
//! computed again. [`App::update`] decides and [`App::draw`] only draws.

use std::path::Path;
use std::sync::Arc;

use super::action::Action;
use super::actions::Opening;
use super::availability::Availability;
use super::menus;
use super::results::Results;
use super::state::{Drag, UiState};
use super::theme;
use super::views;
use super::welcome::FirstSteps;
use super::work::Work;
use crate::model::Model;
use crate::render::Backend;
use crate::session::Session;
use crate::session::autosave::{Autosave, Recovered};
use crate::session::replay::Numbers;
use crate::session::settings::{Settings, ThemeChoice};
use crate::worker::{Event, Worker};

/// How long a change may be unsaved on disk, in seconds.
const AUTOSAVE_SECS: f64 = 2.0;

/// The window's state.
#[derive(Debug)]
pub struct App {
    pub(super) work: Work,
    pub(super) settings: Settings,
    pub(super) ui: UiState,
    pub(super) results: Results,

    pub(super) backend: Backend,
    pub(super) adapter: String,
    /// What to show once the model that is loading is there.
    pub(super) opening: Option<Opening>,
    /// The kept numbers of an opened session, until what it gives is compared with them.
    pub(super) replay: Option<Numbers>,
    /// Sessions left behind by a crash, newest first.
    pub(super) recovered: Vec<Recovered>,
    /// What the user asked for before saving came first.
    pub(super) after_save: Option<Action>,
    /// The method that the session has set up is run as soon as its prompt is.
    pub(super) analyse_next: bool,
    /// The user has agreed to lose unsaved work.
    pub(super) may_discard: bool,
    /// The window is about to close.
    pub(super) is_closing: bool,
    keeper: Keeper,
}

/// What an [`App`] is made of.
#[derive(Debug)]
pub struct Setup {
    pub settings: Settings,
    pub worker: Worker,
    pub backend: Backend,
    /// The adapter that draws, in its driver's words.
    pub adapter: String,
    /// `None` keeps neither session nor settings on disk.
    pub autosave: Option<Autosave>,
    pub recovered: Vec<Recovered>,
}

/// What was last written to disk, to write only what is new.
#[derive(Debug)]
struct Keeper {
    autosave: Option<Autosave>,
    session: Option<Session>,
    settings: Settings,
    written_at: f64,
}

impl App {
    /// `target` is a session, a model, or nothing for the bundled model.
    pub fn new(setup: Setup, target: Option<&str>) -> Self {
        let mut app = Self::empty(setup);
        app.ui.pending.push(menus::open(target.unwrap_or("demo")));
        app
    }

    /// A model that is open already, and the work on it.
    pub(super) fn showing(setup: Setup, model: Arc<Model>, work: Work) -> Self {
        let mut app = Self::empty(setup);
        app.results.set_model(model);
        app.show(work);
        app
    }

    fn empty(setup: Setup) -> Self {
        let Setup {
            settings,
            worker,
            backend,
            adapter,
            autosave,
            recovered,
        } = setup;
        let mut ui = UiState::default();
        if !settings.hint_seen {
            ui.first_steps = Some(FirstSteps::default());
        }
        Self {
            work: Work::default(),
            keeper: Keeper {
                autosave,
                session: None,
                settings: settings.clone(),
                written_at: 0.0,
            },
            settings,
            ui,
            results: Results::new(worker),
            backend,
            adapter,
            opening: None,
            replay: None,
            recovered,
            after_save: None,
            analyse_next: false,
            may_discard: false,
            is_closing: false,
        }
    }

    /// Asks for something, as a view would.
    pub fn push(&self, action: Action) {
        self.ui.queue.push(action);
    }

    /// Takes in what the worker tells.
    pub fn handle(&mut self, event: Event) {
        self.take_event(event);
    }

    /// Tells the user that something was done differently.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.ui.notifications.warn(text);
    }

    pub fn session(&self) -> &Session {
        &self.work.session
    }

    pub(super) fn availability(&self) -> Availability {
        Availability::of(self)
    }

    /// Everything between two frames: events, actions, what to run, what to keep.
    pub fn update(&mut self, ctx: &egui::Context) {
        self.install_settings(ctx);
        for event in self.results.worker.poll() {
            self.take_event(event);
        }
        while let Ok((level, text)) = self.ui.inbox.try_recv() {
            self.ui.notifications.add(level, text);
        }
        if let Some((purpose, path)) = self.ui.dialogs.poll() {
            self.take_path(purpose, &path, ctx);
        }
        if let Some(answer) = self.ui.answer.take() {
            self.answer(answer, ctx);
        }
        let mut actions = std::mem::take(&mut self.ui.pending);
        actions.extend(self.ui.queue.take());
        for action in actions {
            self.apply(action, ctx);
        }
        if self.ui.drag == Drag::Ended {
            self.work.history.seal();
        }
        self.ui.drag = self
            .ui
            .drag
            .next(ctx.input(|input| input.pointer.any_down()));
        self.ui.focus.end_frame();
        self.want();
        self.results.want_check();
        self.want_text();
        self.analyse_when_ready();
        self.compare();
        if self.ui.layout.take_changed() {
            self.work.session.layout = self.ui.layout.to_value();
        }
        self.guard_close(ctx);
        self.keep(ctx);
        self.set_title(ctx);
    }

    /// Asks for the run that the session wants, if it is another one than before.
    pub(super) fn want(&mut self) {
        let folder = self.work.folder().map(Path::to_owned);
        let session = &self.work.session;
        let looked_at = &session.view.selection;
        self.results
            .want(&session.experiment, folder.as_deref(), looked_at);
    }

    /// Runs what a gallery's entry is about, once its prompt has run.
    fn analyse_when_ready(&mut self) {
        if self.analyse_next && self.results.live.complete && self.results.resolved().is_some() {
            self.analyse_next = false;
            if let Some(lab) = self.work.session.lab.clone() {
                self.ui.layout.open(views::lab::pane_of(&lab));
                self.analyse(&lab);
            }
        }
    }

    fn install_settings(&self, ctx: &egui::Context) {
        let preference = match self.settings.theme {
            ThemeChoice::System => egui::ThemePreference::System,
            ThemeChoice::Dark => egui::ThemePreference::Dark,
            ThemeChoice::Light => egui::ThemePreference::Light,
        };
        if ctx.options(|options| options.theme_preference) != preference {
            ctx.set_theme(preference);
            // This frame's outermost panels have begun with the old one.
            ctx.request_repaint();
        }
        if (ctx.zoom_factor() - self.settings.zoom).abs() > f32::EPSILON {
            ctx.set_zoom_factor(self.settings.zoom);
        }
    }

    /// Holds a closing window back while work is unsaved.
    fn guard_close(&mut self, ctx: &egui::Context) {
        let asked = ctx.input(|input| input.viewport().close_requested());
        if asked && !self.is_closing && self.must_ask() {
            ctx.send_viewport_cmd(egui::ViewportCommand::CancelClose);
            self.ask(Action::Run(super::command::Command::Quit));
        }
    }

    /// Writes settings at once, and the session a moment after it changed.
    fn keep(&mut self, ctx: &egui::Context) {
        if self.keeper.autosave.is_none() {
            return;
        }
        if self.settings != self.keeper.settings {
            self.keeper.settings = self.settings.clone();
            if let Err(error) = self.settings.save() {
                let text = format!("Settings are not saved: {error}");
                self.ui.notifications.warn(text);
            }
        }
        if !self.work.is_unsaved() || self.keeper.session.as_ref() == Some(&self.work.session) {
            return;
        }
        let now = ctx.input(|input| input.time);
        let due = self.keeper.written_at + AUTOSAVE_SECS;
        if now < due {
            ctx.request_repaint_after(std::time::Duration::from_secs_f64(due - now));
            return;
        }
        self.keeper.written_at = now;
        self.keeper.session = Some(self.work.session.clone());
        let saved = self.saved();
        if let Some(autosave) = &mut self.keeper.autosave
            && let Err(error) = autosave.write(&saved, self.work.file.as_deref())
        {
            self.ui.notifications.warn(error.to_string());
        }
    }

    fn set_title(&mut self, ctx: &egui::Context) {
        let mark = if self.work.is_unsaved() { "• " } else { "" };
        let title = format!("{mark}{} — Headscope", self.work.name());
        if title != self.ui.title {
            ctx.send_viewport_cmd(egui::ViewportCommand::Title(title.clone()));
            self.ui.title = title;
        }
    }

    /// The orderly end: nothing is left to recover.
    fn finish(&mut self) {
        if let Some(autosave) = &mut self.keeper.autosave {
            autosave.finish();
        }
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        self.update(ctx);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.draw(ui);
    }

    fn on_exit(&mut self) {
        self.finish();
    }
}

/// Gives egui what it needs before the first frame.
pub fn prepare(ctx: &egui::Context) {
    theme::install(ctx);
    // Ctrl and plus is a command like any other.
    ctx.options_mut(|options| options.zoom_with_keyboard = false);
}
