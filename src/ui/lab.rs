//! The methods in the window: what the session has set up, what is asked of the worker, and what came back.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::Action;
use super::app::App;
use super::dialogs::Purpose;
use crate::analysis::field::Field;
use crate::analysis::method::Takes;
use crate::analysis::{Case, Method, Report};
use crate::atomic;
use crate::export;
use crate::figure::{Format, Provenance, Style};
use crate::model::Model;
use crate::session::Lab;
use crate::task::Draw;
use crate::worker::{Event, LabId, LabInput};

/// What the methods gave. The reports of another model are forgotten.
#[derive(Debug, Default)]
pub struct LabResults {
    pub running: Option<Running>,
    /// The newest of each method, by its name.
    found: HashMap<&'static str, Outcome>,
}

/// A method under way.
#[derive(Debug)]
pub struct Running {
    lab: LabId,
    pub method: &'static str,
    /// 0 to 1.
    pub fraction: f32,
    started: Instant,
    /// What it runs on.
    of: Arc<Provenance>,
}

/// What a method gave last.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// `millis` is `None` while it goes on.
    Report {
        report: Arc<Report>,
        millis: Option<f64>,
        /// What it was run on.
        of: Arc<Provenance>,
    },
    Failed(String),
}

impl LabResults {
    pub fn of(&self, method: &str) -> Option<&Outcome> {
        self.found.get(method)
    }

    pub fn report(&self, method: &str) -> Option<&Arc<Report>> {
        match self.of(method)? {
            Outcome::Report { report, .. } => Some(report),
            Outcome::Failed(_) => None,
        }
    }

    pub fn is_running(&self, method: &str) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.method == method)
    }

    pub(super) fn forget(&mut self) {
        // What needs no model outlives one.
        let alone = |name: &str| {
            Method::named(name).is_some_and(|method| method.about().takes == Takes::Nothing)
        };
        self.found.retain(|name, _| alone(name));
        self.running = None;
    }

    fn submitted(&mut self, lab: LabId, method: &'static str, of: Provenance) {
        self.running = Some(Running {
            lab,
            method,
            fraction: 0.0,
            started: Instant::now(),
            of: Arc::new(of),
        });
    }

    pub(super) fn apply(&mut self, event: &Event) {
        let lab = match event {
            Event::LabProgress { lab, .. }
            | Event::LabDone { lab, .. }
            | Event::LabFailed { lab, .. }
            | Event::LabStopped { lab } => *lab,
            _ => return,
        };
        // Of an older request.
        let Some(running) = self.running.as_mut().filter(|running| running.lab == lab) else {
            return;
        };
        let method = running.method;
        match event {
            Event::LabProgress {
                fraction, so_far, ..
            } => {
                running.fraction = *fraction;
                if let Some(report) = so_far {
                    let partial = Outcome::Report {
                        report: Arc::clone(report),
                        millis: None,
                        of: Arc::clone(&running.of),
                    };
                    self.found.insert(method, partial);
                }
            }
            Event::LabDone { report, millis, .. } => {
                let whole = Outcome::Report {
                    report: Arc::clone(report),
                    millis: Some(*millis),
                    of: Arc::clone(&running.of),
                };
                self.found.insert(method, whole);
                self.running = None;
            }
            Event::LabFailed { message, .. } => {
                self.found.insert(method, Outcome::Failed(message.clone()));
                self.running = None;
            }
            _ => self.running = None,
        }
    }
}

impl Running {
    /// `None` until there is something to estimate from.
    pub fn time_left(&self) -> Option<Duration> {
        let passed = self.started.elapsed();
        let is_known = self.fraction > 0.02 && passed > Duration::from_millis(500);
        is_known.then(|| passed.mul_f32((1.0 - self.fraction) / self.fraction))
    }
}

/// The method that a session has set up, with its settings; those that cannot be read stay at their defaults.
pub fn method_of(lab: &Lab) -> Option<Method> {
    let mut method = Method::named(&lab.method)?;
    for mut field in method.fields() {
        if let Some((_, text)) = lab.settings.iter().find(|(name, _)| name == field.name) {
            // A form shows what was read; a session made by another version may have more.
            let _ = field.set(text);
        }
    }
    Some(method)
}

/// What of a session's method this program cannot read: a name or value that another version wrote, or a slip of hand.
pub fn misread(lab: &Lab) -> Vec<String> {
    let Some(mut method) = Method::named(&lab.method) else {
        return vec![format!(
            "the session's method `{}` is not known here: another is set up",
            lab.method
        )];
    };
    let mut problems = Vec::new();
    let mut fields = method.fields();
    for (name, text) in &lab.settings {
        let field = fields.iter_mut().find(|field| field.name == name);
        let problem = match field.map(|field| field.set(text)) {
            Some(Ok(())) => continue,
            Some(Err(problem)) => problem,
            None => format!("`{name}` is no setting of it"),
        };
        problems.push(format!(
            "the session's method {}: {problem}; the default is taken",
            lab.method
        ));
    }
    problems
}

/// `lab`, with the settings of a method: those that are not the defaults.
pub fn lab_of(lab: &Lab, method: &Method) -> Lab {
    let name = method.about().name;
    let mut method = method.clone();
    let mut default = Method::named(name).unwrap_or_else(|| method.clone());
    let defaults: Vec<String> = default.fields().iter().map(Field::text).collect();
    let settings = method
        .fields()
        .iter()
        .zip(defaults)
        .filter(|(field, default)| field.text() != *default)
        .map(|(field, _)| (field.name.to_owned(), field.text()))
        .collect();
    Lab {
        method: name.to_owned(),
        settings,
        ..lab.clone()
    }
}

impl App {
    /// Asks for the method that is set up.
    pub(super) fn analyse(&mut self, lab: &Lab) {
        let Some(method) = method_of(lab) else {
            return;
        };
        let about = method.about();
        let model = self.results.model.clone();
        let on = match self.input(lab, about.takes, model.as_deref()) {
            Ok(on) => on,
            Err(message) => {
                self.ui.notifications.warn(message);
                return;
            }
        };
        let model = model.filter(|_| about.takes != Takes::Nothing);
        let of = model
            .as_deref()
            .map(|model| self.provenance(model, lab, about.takes));
        let asked = self.results.worker.analyse(model.as_ref(), method, on);
        let lab = &mut self.results.lab;
        lab.submitted(asked, about.name, of.unwrap_or_default());
    }

    /// Of a method that runs on the model alone, or on a set: no single prompt.
    fn provenance(&self, model: &Model, lab: &Lab, takes: Takes) -> Provenance {
        let of = self
            .results
            .resolved()
            .map(|resolved| export::provenance(model, &self.work.session, resolved));
        let is_of_prompt = matches!(takes, Takes::Prompt | Takes::Prompts) && lab.task.is_none();
        let of = of.filter(|_| is_of_prompt);
        of.unwrap_or_else(|| Provenance {
            model: model.name.clone(),
            fingerprint: model.fingerprint.clone(),
            ..Provenance::default()
        })
    }

    /// Draws the report that a path was asked for.
    pub(super) fn save_report(&mut self, path: &Path) {
        let Some((method, part)) = self.ui.drawn.take() else {
            return;
        };
        match self.draw_report(method, part.as_deref(), path) {
            Ok(()) => self
                .ui
                .notifications
                .info(format!("Saved {}", path.display())),
            Err(error) => self
                .ui
                .notifications
                .error(format!("Not exported: {error}: {}", path.display())),
        }
    }

    fn draw_report(&self, method: &str, part: Option<&str>, path: &Path) -> Result<(), String> {
        let Some(Outcome::Report { report, of, .. }) = self.results.lab.of(method) else {
            return Err("there is no report any more".into());
        };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let format = Format::from_path(path).map_err(|error| text(&error))?;
        let of = export::report::provenance(report, Provenance::clone(of));
        let figure = export::report::figure(report, part, &self.work.session.view, &of)
            .map_err(|error| text(&error))?;
        let content = figure
            .render(format, &Style::default(), &of)
            .map_err(|error| text(&error))?;
        atomic::write(path, &content).map_err(|error| text(&error))
    }

    fn input(&self, lab: &Lab, takes: Takes, model: Option<&Model>) -> Result<LabInput, String> {
        if takes == Takes::Nothing {
            return Ok(LabInput::Nothing);
        }
        if model.is_none() {
            return Err("Open a model first: the method runs on one".into());
        }
        if takes == Takes::Texts {
            return Ok(match &lab.texts {
                Some(path) => LabInput::TextFile(PathBuf::from(path)),
                None => LabInput::Texts(vec![]),
            });
        }
        if let Some(task) = &lab.task {
            return Ok(LabInput::Task {
                argument: task.clone(),
                draw: Draw {
                    n: lab.items,
                    seed: lab.draw,
                    ..Draw::default()
                },
                bos: self.work.session.experiment.bos,
                verbaliser: lab.verbaliser.as_ref().map(PathBuf::from),
            });
        }
        if takes == Takes::Model {
            return Ok(LabInput::Nothing);
        }
        let resolved = self.results.resolved();
        let resolved = resolved.ok_or("The prompt cannot be run as it is: mend it first")?;
        let mut case = Case::of_experiment(resolved);
        if takes == Takes::Prompt {
            case.spec.edits.clone_from(&resolved.spec.edits);
        }
        Ok(LabInput::Prompt(Box::new(case)))
    }

    /// Asks where what a method learned is to be saved.
    pub(super) fn ask_for_learned(&mut self, method: String, ctx: &egui::Context) {
        let name = format!("{method}.safetensors");
        self.ui.learned = Some(method);
        self.ask_path(Purpose::Learned, &name, ctx);
    }

    /// Saves it, and adds the edits that apply it.
    pub(super) fn save_learned(&mut self, path: &Path) {
        let method = self.ui.learned.take().unwrap_or_default();
        let Some(learned) = self
            .results
            .lab
            .report(&method)
            .and_then(|of| of.learned.clone())
        else {
            return;
        };
        let saved = learned
            .save(path)
            .and_then(|()| learned.edits_from(&path.to_string_lossy()));
        match saved {
            Ok(edits) => {
                let n = edits.len();
                for edit in edits {
                    self.change(&Action::AddEdit(edit));
                }
                let text = format!("Saved {}; {n} edits apply it", path.display());
                self.ui.notifications.info(text);
            }
            Err(error) => self.ui.notifications.error(error.to_string()),
        }
    }

    pub(super) fn stop_method(&mut self) {
        self.results.worker.cancel_method();
        self.results.lab.running = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_keeps_the_settings_that_are_not_the_defaults() {
        let mut method = Method::named("sweep").unwrap();
        for mut field in method.fields() {
            if field.name == "metric" {
                field.set("kl").unwrap();
            }
        }
        let lab = lab_of(&Lab::default(), &method);
        assert_eq!(lab.settings, [("metric".to_owned(), "kl".to_owned())]);
        assert_eq!(method_of(&lab), Some(method));
        assert_eq!(misread(&lab), Vec::<String>::new());
        let unknown = Lab {
            method: "of another version".into(),
            ..Lab::default()
        };
        assert_eq!(method_of(&unknown), None);
        assert!(misread(&unknown)[0].contains("of another version"));
        let slips = Lab {
            settings: vec![
                ("metric".into(), "loudness".into()),
                ("over".into(), "layers".into()),
                ("colour".into(), "red".into()),
            ],
            ..lab
        };
        let problems = misread(&slips);
        assert!(
            problems.len() == 2
                && problems[0].contains("one of logit_diff")
                && problems[1].contains("`colour`"),
            "{problems:?}"
        );
    }
}
