//! The background thread: loads models and runs experiments, while the window keeps drawing.
//!
//! The window submits what it wants now ([`Worker::submit`]); a newer request replaces a waiting one and stops a running
//! one at its next layer. Results come back as [`Event`]s, folded into [`Live`], which is what the views read.

mod live;

pub use live::{Live, LiveLayer, LivePass};

use std::sync::Arc;

use crate::experiment::{LayerMaps, RunSpec, Side};
use crate::model::Model;
use crate::pyramid::LayerOverview;

/// Number of a submitted request; newer is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

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
    },
    RunFailed {
        run: RunId,
        message: String,
    },
}

/// The window's handle on the background thread.
#[derive(Debug, Default)]
pub struct Worker {
    next: u64,
}

impl Worker {
    /// Starts the thread. `wake` is called after each event, from that thread: it asks for a repaint.
    pub fn start(wake: Arc<dyn Fn() + Send + Sync>) -> std::io::Result<Self> {
        let _ = wake;
        Ok(Self::default())
    }

    /// Loads a model (`demo` or a path); a newer call stops an older one.
    pub fn load(&mut self, source: &str) {
        let _ = source;
    }

    pub fn cancel_load(&mut self) {}

    /// Asks for a run of the loaded model; it replaces any that is waiting or running.
    pub fn submit(&mut self, spec: Arc<RunSpec>) -> RunId {
        let _ = spec;
        self.next += 1;
        RunId(self.next)
    }

    /// The events since the last call, oldest first. Never waits.
    pub fn poll(&mut self) -> Vec<Event> {
        Vec::new()
    }
}
