//! The thread of the methods: one at a time, on an engine of its own. While a run is wanted it waits, so that what the user
//! drags stays live; what it has found so far is told as it comes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mailbox::{Mailbox, Taken};
use super::threads::{Outbox, RunRequest, broke_off};
use super::{Event, LabId};
use crate::analysis::{AnalysisError, Case, Input, Method, Progress, Report, cases};
use crate::experiment::engine::Engine;
use crate::model::Model;
use crate::panics::catch;
use crate::prompt::BosRule;
use crate::task::{Draw, TaskError, TaskSet, Verbaliser};

/// Between two tellings of what is known so far.
const BETWEEN: Duration = Duration::from_millis(100);
const BETWEEN_REPORTS: Duration = Duration::from_millis(300);

/// How long no run may have been wanted before a method goes on.
const QUIET: Duration = Duration::from_millis(60);

/// What a method is to be run on.
#[derive(Clone, Debug)]
pub enum LabInput {
    /// The model alone, or nothing.
    Nothing,
    /// What is in the prompt bar.
    Prompt(Box<Case>),
    /// A task set by name or file.
    Task {
        argument: String,
        draw: Draw,
        bos: BosRule,
        /// A file of classes that answers stand for, instead of the set's own.
        verbaliser: Option<PathBuf>,
    },
    Texts(Vec<String>),
    /// Texts of a file, one a line.
    TextFile(PathBuf),
}

#[derive(Debug)]
pub(super) struct LabRequest {
    pub(super) lab: LabId,
    pub(super) model: Option<Arc<Model>>,
    pub(super) method: Method,
    pub(super) on: LabInput,
}

pub(super) fn run_methods(outbox: &Outbox, labs: &Mailbox<LabRequest>, runs: &Mailbox<RunRequest>) {
    let mut engine: Option<Engine> = None;
    while let Some(Taken {
        request,
        generation,
    }) = labs.take()
    {
        let LabRequest {
            lab,
            model,
            method,
            on,
        } = request;
        let started = Instant::now();
        let mut teller = Teller {
            outbox,
            labs,
            runs,
            generation,
            lab,
            told: None,
            reported: None,
        };
        let kept = engine.take().filter(|kept| {
            model
                .as_ref()
                .is_some_and(|model| Arc::ptr_eq(kept.model(), model))
        });
        let found = catch(|| {
            let Some(model) = model else {
                let report = method.run_alone(&mut teller);
                let none = || AnalysisError::needs("the method needs a model: open one");
                return (report.ok_or_else(none).and_then(|report| report), None);
            };
            let mut own = kept.unwrap_or_else(|| Engine::new(Arc::clone(&model)));
            let report =
                input(on, &model).and_then(|input| method.run(&mut own, &input, &mut teller));
            (report, Some(own))
        });
        let event = match found {
            Ok((report, own)) => {
                engine = own;
                match report {
                    Ok(report) => Event::LabDone {
                        lab,
                        report: Arc::new(report),
                        millis: started.elapsed().as_secs_f64() * 1e3,
                    },
                    Err(error) if error.is_stop() => Event::LabStopped { lab },
                    Err(error) => Event::LabFailed {
                        lab,
                        message: error.to_string(),
                    },
                }
            }
            Err(panic) => Event::LabFailed {
                lab,
                message: broke_off("the method", &panic),
            },
        };
        outbox.send(event);
    }
}

fn input(on: LabInput, model: &Model) -> Result<Input, AnalysisError> {
    let mut input = Input::default();
    match on {
        LabInput::Nothing => {}
        LabInput::Prompt(case) => input.cases.push(*case),
        LabInput::Task {
            argument,
            draw,
            bos,
            verbaliser,
        } => {
            let needs = |error: TaskError| AnalysisError::needs(error.to_string());
            let mut set = TaskSet::open(&argument, &draw).map_err(needs)?;
            if let Some(file) = verbaliser {
                set.verbaliser = Some(Verbaliser::open(&file, None).map_err(needs)?);
            }
            (input.cases, input.notes) = cases::of_task(&set, model, bos)?;
        }
        LabInput::Texts(texts) => input.texts = texts,
        LabInput::TextFile(path) => {
            input.texts = crate::analysis::texts::read(&path)
                .map_err(|error| AnalysisError::needs(error.to_string()))?;
        }
    }
    Ok(input)
}

/// Tells what is known, waits while a run is wanted, and stops when the method is no longer wanted.
struct Teller<'a> {
    outbox: &'a Outbox,
    labs: &'a Mailbox<LabRequest>,
    runs: &'a Mailbox<RunRequest>,
    generation: u64,
    lab: LabId,
    told: Option<Instant>,
    reported: Option<Instant>,
}

impl Progress for Teller<'_> {
    fn at(&mut self, fraction: f32, so_far: Option<&Report>) -> bool {
        let is_due = |last: Option<Instant>, between| {
            last.is_none_or(|last: Instant| last.elapsed() >= between)
        };
        let so_far = so_far.filter(|_| is_due(self.reported, BETWEEN_REPORTS));
        if so_far.is_some() || is_due(self.told, BETWEEN) {
            self.told = Some(Instant::now());
            if so_far.is_some() {
                self.reported = self.told;
            }
            self.outbox.send(Event::LabProgress {
                lab: self.lab,
                fraction: fraction.clamp(0.0, 1.0),
                so_far: so_far.map(|report| Arc::new(report.clone())),
            });
        }
        let is_wanted = || self.labs.is_current(self.generation);
        while is_wanted() && !self.runs.is_quiet() {
            // False once the window closes, and with it everything.
            if !self.runs.wait_for_quiet(QUIET) {
                return false;
            }
        }
        is_wanted()
    }
}
