//! The one place where what the user did changes the session. Called once a frame, before drawing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::action::Action;
use super::app::App;
use super::changes;
use super::command::Command;
use super::dialogs::Purpose;
use super::gallery;
use super::lab::misread;
use super::layout::Layout;
use super::loading;
use super::notifications::Level;
use super::results::Load;
use super::sheets::{Answer, Sheet};
use super::verdict::Checking;
use super::welcome;
use super::work::Work;
use crate::compute::{Compute, Dtype};
use crate::experiment::resolve::resolve;
use crate::ids::HeadId;
use crate::model::{Model, demo};
use crate::session::file::{self, Record, Saved};
use crate::session::replay::{self, Numbers};
use crate::session::vectors::VectorsFile;
use crate::session::{BosRule, Continuation, Experiment, Prompt, ReadPosition, Session};
use crate::worker::Event;

/// What is to be shown once the model that is loading is there.
#[derive(Debug)]
pub(super) enum Opening {
    /// The model, with the prompts of now.
    Model,
    Session(Box<Opened>),
    /// The open model in other numbers, or elsewhere: the work on it goes on.
    Again,
}

/// A session that was read, and where it is from.
#[derive(Debug)]
pub(super) struct Opened {
    pub saved: Saved,
    pub file: Option<PathBuf>,
    /// Left behind by a crash: no file holds this state.
    pub recovered: bool,
}

impl App {
    pub(super) fn apply(&mut self, action: Action, ctx: &egui::Context) {
        if let Some(steps) = &mut self.ui.first_steps {
            steps.note(&action);
        }
        match action {
            Action::Undo => {
                self.work.history.undo(&mut self.work.session.experiment);
            }
            Action::Redo => {
                self.work.history.redo(&mut self.work.session.experiment);
            }
            Action::Select { heads, extend } => select(&mut self.work.session, &heads, extend),
            Action::StepTo { side, step } => self.step_to(side, step),
            Action::SetTextLength(n_tokens) => self.ui.text.n_tokens = n_tokens,
            Action::SetView(view) => self.work.session.view = view,
            Action::SetLab(lab) => self.work.session.lab = Some(lab),
            Action::Analyse(lab) => self.analyse(&lab),
            Action::StopMethod => self.stop_method(),
            Action::SaveLearned(method) => self.ask_for_learned(method, ctx),
            Action::ExportReport { method, part } => {
                self.ui.drawn = Some((method, part));
                self.ask_path(Purpose::Report, &format!("{method}.png"), ctx);
            }
            Action::SetNotes(notes) => self.work.session.notes = notes,
            Action::Hover(item) => self.ui.focus.set(item),
            Action::OpenModel(_) | Action::OpenSession(_) | Action::OpenGallery(_)
                if self.must_ask() =>
            {
                self.ask(action);
            }
            Action::OpenGallery(index) => self.open_gallery(index),
            Action::OpenModel(source) => self.load(source, Dtype::default(), Opening::Model),
            Action::OpenSession(path) => self.open_session(&path),
            Action::SaveSession(path) => {
                if self.save_to(&path)
                    && let Some(then) = self.after_save.take()
                {
                    self.apply(then, ctx);
                }
            }
            Action::CancelLoad => {
                self.results.worker.cancel_load();
                self.results.load = Load::Idle;
                self.opening = None;
            }
            Action::Run(command) => self.run_command(command, ctx),
            action => self.change(&action),
        }
    }

    pub(super) fn change(&mut self, action: &Action) {
        let experiment = &mut self.work.session.experiment;
        if let Some(change) = changes::change(experiment, action) {
            // What runs from here on is no replay.
            self.replay = None;
            let key = change.key.as_deref();
            self.work
                .history
                .change(experiment, change.next, change.label, key);
        }
    }

    /// Whether opening something else would lose work.
    pub(super) fn must_ask(&self) -> bool {
        self.work.is_unsaved() && !self.may_discard
    }

    pub(super) fn ask(&mut self, then: Action) {
        self.ui.sheet = Some(Sheet::Unsaved {
            then: Box::new(then),
        });
    }

    pub(super) fn answer(&mut self, answer: Answer, ctx: &egui::Context) {
        self.ui.sheet = None;
        match answer {
            Answer::Close => {}
            Answer::Do(action) => self.apply(action, ctx),
            Answer::SaveThen(then) => {
                if let Some(path) = self.work.file.clone() {
                    if self.save_to(&path) {
                        self.apply(then, ctx);
                    }
                } else {
                    self.after_save = Some(then);
                    self.run_command(Command::SaveAs, ctx);
                }
            }
            Answer::Discard(then) => {
                self.may_discard = true;
                self.apply(then, ctx);
                // Quitting takes effect later: the answer holds until the window is gone.
                self.may_discard = self.is_closing;
            }
        }
    }

    pub(super) fn load(&mut self, source: String, dtype: Dtype, opening: Opening) {
        let device = self.settings.device;
        self.results.worker.load(&source, Compute { dtype, device });
        self.opening = Some(opening);
        self.results.load = Load::Running {
            source,
            what: String::new(),
            fraction: 0.0,
        };
    }

    /// Opens the model again to compute in other numbers; or the one that could not be opened.
    pub(super) fn compute_in(&mut self, dtype: Dtype) {
        let failed = match &self.results.load {
            Load::Failed { source, .. } => Some(source.clone()),
            _ => None,
        };
        match (failed, &self.results.model) {
            (Some(source), _) => {
                let opening = self.opening.take().unwrap_or(Opening::Model);
                self.load(source, dtype, opening);
            }
            (None, Some(model)) => self.load(model.source.clone(), dtype, Opening::Again),
            (None, None) => {}
        }
    }

    /// The session of an entry, whose method runs once its prompt has.
    fn open_gallery(&mut self, index: usize) {
        let Some(entry) = gallery::ENTRIES.get(index) else {
            return;
        };
        let mut session = entry.session();
        session.layout.clone_from(&self.work.session.layout);
        self.show_session(Opened {
            saved: Saved {
                session,
                record: None,
            },
            file: None,
            recovered: false,
        });
        self.analyse_next = true;
    }

    fn open_session(&mut self, path: &Path) {
        match file::open(path) {
            Ok(saved) => self.show_session(Opened {
                saved,
                file: Some(path.to_owned()),
                recovered: false,
            }),
            Err(error) => self.ui.notifications.error(error.to_string()),
        }
    }

    /// Shows a session now if its model is open, else once it is.
    pub(super) fn show_session(&mut self, opened: Opened) {
        let source = opened.saved.session.model.clone();
        let dtype = opened.saved.session.dtype;
        match self.results.model.clone() {
            Some(model)
                if [&model.source, &model.pinned_source()].contains(&&source)
                    && model.compute.dtype == dtype =>
            {
                self.adopt(opened, &model);
            }
            _ => self.load(source, dtype, Opening::Session(Box::new(opened))),
        }
    }

    pub(super) fn take_event(&mut self, event: Event) {
        match event {
            Event::LoadProgress { fraction, what } => {
                if let Load::Running {
                    fraction: shown,
                    what: shown_what,
                    ..
                } = &mut self.results.load
                {
                    *shown = fraction;
                    *shown_what = what;
                }
            }
            Event::Loaded(model) => self.loaded(&model),
            Event::LoadFailed { source, message } => {
                // What was to be shown is kept: other numbers may do.
                let text = format!("{} cannot be opened: {message}", loading::short(&source));
                self.ui.notifications.list_only(Level::Error, text);
                self.results.load = Load::Failed { source, message };
            }
            Event::LoadCancelled { .. } => {}
            Event::Checked { model, report } => self.checked(&model, Checking::Done(report)),
            Event::CheckFailed { model, message } => {
                self.checked(&model, Checking::Failed(message));
            }
            event => {
                self.results.live.apply(&event);
                self.results.text.apply(&event);
                self.results.lab.apply(&event);
            }
        }
    }

    /// A failure is said aloud; that all is well only if the user asked.
    fn checked(&mut self, model: &Arc<Model>, result: Checking) {
        let Some(by_user) = self.results.checked(model, result) else {
            return;
        };
        let name = &model.name;
        match (&self.results.checking, self.results.checking.failure()) {
            (_, Some(failure)) => {
                let text = format!("The check of {name} failed: {failure}");
                self.ui.notifications.warn(text);
            }
            (Checking::Done(report), None) if by_user => {
                let text = format!("Checked {name}: {}", report.summary());
                self.ui.notifications.info(text);
            }
            _ => {}
        }
    }

    fn loaded(&mut self, model: &Arc<Model>) {
        self.results.set_model(Arc::clone(model));
        match self.opening.take() {
            Some(Opening::Session(opened)) => self.adopt(*opened, model),
            Some(Opening::Again) => {
                self.work.session.dtype = model.compute.dtype;
                self.replay = None;
            }
            Some(Opening::Model) | None => self.start_session(model),
        }
    }

    /// A session of its own for a model opened by itself. Prompts stay; edits named the old model's heads.
    fn start_session(&mut self, model: &Arc<Model>) {
        self.settings.opened_model(&model.source);
        let mut session = welcome::first_session(model);
        session.dtype = model.compute.dtype;
        session.view.colormap = self.settings.colormap;
        session.view.diverging = self.settings.diverging;
        session.layout.clone_from(&self.work.session.layout);
        let old = &self.work.session.experiment;
        let keeps_prompt = matches!(&old.prompt, Prompt::Text(text) if !text.is_empty());
        if keeps_prompt && model.tokenizer.is_some() {
            session.experiment = asked_of(model, old).unwrap_or(session.experiment);
        }
        self.work = Work::new(session, None);
        self.ui
            .text
            .follow(&self.work.session.experiment.continuation);
        self.replay = None;
    }

    fn adopt(&mut self, opened: Opened, model: &Model) {
        let Opened {
            mut saved,
            file,
            recovered,
        } = opened;
        if let Some(path) = &file {
            self.settings.opened_session(path);
        }
        if let Some(record) = &saved.record
            && record.fingerprint != model.fingerprint
        {
            self.ui.notifications.warn(format!(
                "The session was saved with other weights of {}: numbers may differ",
                record.model_name
            ));
        }
        let folder = file.as_deref().and_then(Path::parent);
        let vectors = saved.record.iter().flat_map(|record| &record.vectors);
        for problem in vectors.filter_map(|of| of.problem(folder)) {
            self.ui.notifications.warn(sentence(&problem));
        }
        for problem in saved.session.lab.iter().flat_map(misread) {
            self.ui.notifications.warn(sentence(&problem));
        }
        let (made_in, dtype) = (saved.session.dtype, model.compute.dtype);
        if made_in != dtype {
            self.ui.notifications.warn(format!(
                "The session was made in {made_in} and is run in {dtype}: numbers may differ"
            ));
            saved.session.dtype = dtype;
        }
        self.replay = saved.record.and_then(|record| record.numbers);
        self.show(if recovered {
            Work::unsaved(saved.session, file)
        } else {
            Work::new(saved.session, file)
        });
        self.ui
            .notifications
            .info(format!("Opened {}", self.work.name()));
    }

    /// Shows other work on the open model, in the layout that it has.
    pub(super) fn show(&mut self, work: Work) {
        self.work = work;
        self.ui
            .text
            .follow(&self.work.session.experiment.continuation);
        let value = self.work.session.layout.as_ref();
        self.ui.layout = value.and_then(Layout::from_value).unwrap_or_default();
    }

    /// Compares what an opened session gives, once it is all there, with the numbers that were kept.
    pub(super) fn compare(&mut self) {
        // What cannot be resolved leaves the outcome of something else.
        if self.replay.is_none() || self.results.problem().is_some() {
            return;
        }
        let (Some(kept), Some(outcome)) = (&self.replay, self.results.outcome()) else {
            return;
        };
        let verdict = replay::compare(kept, &outcome);
        self.replay = None;
        if verdict.compared + verdict.missing == 0 {
            return;
        }
        if verdict.agrees {
            self.ui.notifications.info(format!(
                "Replayed: all {} numbers agree, the largest difference is {:.1e}",
                verdict.compared, verdict.max_diff
            ));
        } else {
            self.ui.notifications.warn(format!(
                "Replayed, and it differs: {} numbers are missing, the largest difference is {:.1e}, at the {}",
                verdict.missing, verdict.max_diff, verdict.worst
            ));
        }
    }

    /// The session with what it gives now.
    pub(super) fn saved(&self) -> Saved {
        let record = self
            .results
            .model
            .as_ref()
            .zip(self.results.resolved())
            .map(|(model, resolved)| {
                let answers: Vec<u32> = resolved.answers.iter().map(|a| a.id).collect();
                Record {
                    model_name: model.name.clone(),
                    fingerprint: model.fingerprint.clone(),
                    ids: resolved.spec.ids[..resolved.spec.n_prompt].to_vec(),
                    contrast_ids: resolved.spec.contrast.as_ref().map(|ids| ids.to_vec()),
                    vectors: VectorsFile::of(
                        &self.work.session.experiment.edits,
                        resolved.spec.folder.as_deref(),
                    ),
                    numbers: self.results.outcome().map(|outcome| {
                        let position = resolved.spec.position;
                        let dtype = model.compute.dtype.name();
                        Numbers::capture(&outcome, dtype, position, &answers)
                    }),
                }
            });
        let mut session = self.work.session.clone();
        if let Some(model) = &self.results.model
            && model.source == session.model
        {
            session.model = model.pinned_source();
        }
        Saved { session, record }
    }

    /// Says whether it worked.
    pub(super) fn save_to(&mut self, path: &Path) -> bool {
        let path = &with_extension(path);
        match file::save(path, &self.saved(), self.work.folder()) {
            Ok(()) => {
                self.work.now_saved(path);
                self.settings.opened_session(path);
                self.ui
                    .notifications
                    .info(format!("Saved {}", self.work.name()));
                true
            }
            Err(error) => {
                self.ui.notifications.error(error.to_string());
                false
            }
        }
    }
}

/// What was asked of another model, as this one can be asked it; `None` where its own sample is the better question.
fn asked_of(model: &Model, old: &Experiment) -> Option<Experiment> {
    let kept = Experiment {
        edits: Vec::new(),
        continuation: Continuation::default(),
        position: ReadPosition::Usual,
        bos: if model.spec.is_causal() {
            old.bos
        } else {
            BosRule::Auto
        },
        ..old.clone()
    };
    if !model.spec.predicts_in_place() || resolve(&kept, model, None).is_ok() {
        return Some(kept);
    }
    // A prompt of the user's own stays, though it has nothing masked.
    let samples = [
        Prompt::sample(),
        Prompt::Text(demo::FIRST_PROMPT.to_owned()),
    ];
    (!samples.contains(&kept.prompt)).then_some(Experiment {
        position: ReadPosition::Last,
        ..kept
    })
}

/// The path with the ending of session files, whatever the dialog returned.
fn with_extension(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    if text.ends_with(file::SUFFIX) {
        return path.to_owned();
    }
    let stem = text.strip_suffix(".json").unwrap_or(&text);
    PathBuf::from(format!("{stem}{}", file::SUFFIX))
}

fn select(session: &mut Session, heads: &[HeadId], extend: bool) {
    let selection = &mut session.view.selection;
    if !extend {
        *selection = heads.to_vec();
        return;
    }
    if heads.iter().all(|head| selection.contains(head)) {
        selection.retain(|head| !heads.contains(head));
    } else {
        for head in heads {
            if !selection.contains(head) {
                selection.push(*head);
            }
        }
    }
}

/// A message as a sentence of its own.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extending_a_selection_adds_or_takes_away() {
        let (a, b) = (HeadId::new(0, 0), HeadId::new(1, 1));
        let mut session = Session::new("", Experiment::new(Prompt::Ids(Vec::new())));
        select(&mut session, &[a], false);
        select(&mut session, &[a, b], true);
        assert_eq!(session.view.selection, [a, b]);
        select(&mut session, &[a], true);
        assert_eq!(session.view.selection, [b]);
    }

    #[test]
    fn sessions_are_saved_under_their_own_ending() {
        for (path, written) in [
            ("a", "a.headscope.json"),
            ("a.json", "a.headscope.json"),
            ("a.headscope.json", "a.headscope.json"),
        ] {
            assert_eq!(with_extension(Path::new(path)), Path::new(written));
        }
    }
}
