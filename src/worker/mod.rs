//! The background threads: load models, run experiments and generate text, and check models when nothing else is to be
//! done, while the window keeps drawing.
//!
//! The window submits what it wants now ([`Worker::submit`]); a newer request replaces a waiting one and stops a running
//! one at its next layer. Results come back as [`Event`]s, folded into [`Live`], which is what the views read.

mod lab;
mod live;
mod mailbox;
mod text;
mod threads;
mod writer;

pub use lab::LabInput;
pub use live::{Live, LiveLayer, LivePass};
pub use text::{LineState, LiveLine, LiveText, TextId, TextToken};
pub use threads::Wake;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use self::lab::LabRequest;
use self::mailbox::Mailbox;
use self::threads::{LoadRequest, Outbox, RunRequest};
use self::writer::TextRequest;

use crate::analysis::{Method, Report as MethodReport};
use crate::compute::Compute;
use crate::experiment::{LayerMaps, RunSpec, Side};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::hub::Hub;
use crate::pyramid::LayerOverview;
use crate::verify::Report;

/// Number of a submitted request; newer is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// Number of a method that was asked for; newer is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabId(pub u64);

/// What the worker tells the window.
#[derive(Debug)]
pub enum Event {
    LoadProgress {
        /// 0 to 1.
        fraction: f32,
        what: String,
    },
    Loaded(Arc<Model>),
    LoadFailed {
        source: String,
        message: String,
    },
    LoadCancelled {
        source: String,
    },
    /// A layer of a run is there: freshly run, or known from before.
    Layer {
        run: RunId,
        side: Side,
        maps: Arc<LayerMaps>,
        overview: Arc<LayerOverview>,
    },
    /// One side of a run is complete.
    PassDone {
        run: RunId,
        side: Side,
        /// `[vocab]`; `None` without a language-model head.
        logits: Option<Arc<[f32]>>,
        restarted_at: usize,
        millis: f64,
    },
    /// The whole run is complete.
    RunDone {
        run: RunId,
        /// Bytes of the runs that the worker keeps.
        kept_bytes: usize,
    },
    RunFailed {
        run: RunId,
        message: String,
    },
    Checked {
        model: Arc<Model>,
        report: Arc<Report>,
    },
    /// The check itself could not be made: its reference cannot be read.
    CheckFailed {
        model: Arc<Model>,
        message: String,
    },
    /// A token of a text is there: new, or known from before.
    Token {
        text: TextId,
        side: Side,
        /// 0 is the first after the prompt.
        index: usize,
        token: TextToken,
    },
    /// One side of a text is complete.
    LineDone {
        text: TextId,
        side: Side,
        n_tokens: usize,
        /// By a token of the model, not by the number of tokens.
        ended: bool,
        /// A token's, the first left out.
        millis: Option<f64>,
    },
    LineFailed {
        text: TextId,
        side: Side,
        message: String,
    },
    LabProgress {
        lab: LabId,
        /// 0 to 1.
        fraction: f32,
        /// What the method has found by now, where something is.
        so_far: Option<Arc<MethodReport>>,
    },
    LabDone {
        lab: LabId,
        report: Arc<MethodReport>,
        millis: f64,
    },
    LabFailed {
        lab: LabId,
        message: String,
    },
    /// The method was stopped, by the user or for a newer one.
    LabStopped {
        lab: LabId,
    },
}

/// The window's handle on the background threads. One runs experiments, one loads models, one checks them,
/// one runs methods; they live as long as it.
#[derive(Debug)]
pub struct Worker {
    next: u64,
    runs: Arc<Mailbox<RunRequest>>,
    texts: Arc<Mailbox<TextRequest>>,
    loads: Arc<Mailbox<LoadRequest>>,
    checks: Arc<Mailbox<Arc<Model>>>,
    labs: Arc<Mailbox<LabRequest>>,
    events: Receiver<Event>,
}

/// How many events may wait for the window; a full channel makes the worker wait, never the window.
const EVENTS: usize = 1024;

impl Worker {
    /// Starts the threads. `wake` is called after each event, from their threads: it asks for a repaint.
    pub fn start(wake: Wake) -> std::io::Result<Self> {
        Self::start_with(Hub::from_env(), wake)
    }

    /// The same, with another hub than the environment's for models that are not on disk.
    pub fn start_with(hub: Hub, wake: Wake) -> std::io::Result<Self> {
        let (sender, events) = sync_channel(EVENTS);
        let outbox = Outbox { sender, wake };
        let runs = Arc::new(Mailbox::default());
        let texts = Arc::new(Mailbox::default());
        let loads = Arc::new(Mailbox::default());
        let checks = Arc::new(Mailbox::default());
        let labs = Arc::new(Mailbox::default());
        threads::start(outbox, &runs, &texts, &loads, &checks, &labs, hub)?;
        Ok(Self {
            next: 0,
            runs,
            texts,
            loads,
            checks,
            labs,
            events,
        })
    }

    /// Loads a model (`demo`, a path or a hub id); a newer call stops an older one. The old model runs on until
    /// [`Event::Loaded`].
    pub fn load(&mut self, source: &str, compute: Compute) {
        self.loads.put(LoadRequest {
            source: source.to_owned(),
            compute,
        });
    }

    pub fn cancel_load(&mut self) {
        self.loads.cancel();
    }

    /// Asks for a run on a model; it replaces any that is waiting or running. The maps of the heads that are looked at
    /// are ready when their layer comes.
    pub fn submit(
        &mut self,
        model: &Arc<Model>,
        spec: Arc<RunSpec>,
        looked_at: &[HeadId],
    ) -> RunId {
        self.next += 1;
        let run = RunId(self.next);
        self.runs.put(RunRequest {
            run,
            model: Arc::clone(model),
            spec,
            looked_at: looked_at.to_vec(),
        });
        run
    }

    /// Asks for a check of a model with the reference that lies beside it; it replaces any that is waiting or under way.
    /// It is done while no run is, a step at a time.
    pub fn check(&mut self, model: &Arc<Model>) {
        self.checks.put(Arc::clone(model));
    }

    /// Asks for a method; one that is running stops. `model` is `None` for a method that takes none.
    pub fn analyse(&mut self, model: Option<&Arc<Model>>, method: Method, on: LabInput) -> LabId {
        self.next += 1;
        let lab = LabId(self.next);
        self.labs.put(LabRequest {
            lab,
            model: model.cloned(),
            method,
            on,
        });
        lab
    }

    /// No method is wanted any more.
    pub fn cancel_method(&mut self) {
        self.labs.cancel();
    }

    /// Asks for up to `n_tokens` after a prompt, without its edits and with them; it replaces any that is waiting or
    /// under way. It is generated while no run is wanted: a run goes first, and the text goes on after it.
    pub fn write(&mut self, model: &Arc<Model>, spec: Arc<RunSpec>, n_tokens: usize) -> TextId {
        self.next += 1;
        let text = TextId(self.next);
        self.texts.put(TextRequest {
            text,
            model: Arc::clone(model),
            spec,
            n_tokens,
        });
        self.runs.wake();
        text
    }

    pub fn cancel_text(&mut self) {
        self.texts.cancel();
    }

    /// The events since the last call, oldest first. Never waits.
    pub fn poll(&mut self) -> Vec<Event> {
        self.events.try_iter().collect()
    }

    /// Waits for one event, for callers without a window.
    pub fn wait(&mut self, at_most: Duration) -> Option<Event> {
        self.events.recv_timeout(at_most).ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.runs.close();
        self.texts.close();
        self.loads.close();
        self.checks.close();
        self.labs.close();
    }
}
