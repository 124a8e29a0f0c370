//! What the window shows of runs: the newest results, and older ones until newer come.

use std::sync::Arc;

use super::{Event, RunId};
use crate::experiment::{LayerMaps, RunSpec, Side};
use crate::pyramid::LayerOverview;

/// The state of the newest request and everything known so far. Read by views; changed only by events.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// The newest request, and its number.
    pub wanted: Option<(RunId, Arc<RunSpec>)>,
    pub before: LivePass,
    pub after: LivePass,
    /// Why the newest request gave no result.
    pub error: Option<String>,
    /// Bytes of the runs that the worker keeps.
    pub kept_bytes: usize,
    /// Whether the newest request is complete.
    pub complete: bool,
}

/// One side's results, layer by layer as they arrive.
#[derive(Clone, Debug, Default)]
pub struct LivePass {
    /// One entry a layer; `None` before the first result of that layer.
    pub layers: Vec<Option<LiveLayer>>,
    /// The run that `logits` belongs to.
    pub run: RunId,
    pub logits: Option<Arc<[f32]>>,
    pub restarted_at: usize,
    pub millis: f64,
}

/// A layer's maps and the run and request they belong to.
#[derive(Clone, Debug)]
pub struct LiveLayer {
    pub run: RunId,
    pub spec: Arc<RunSpec>,
    pub maps: Arc<LayerMaps>,
    pub overview: Arc<LayerOverview>,
}

impl Live {
    /// Forgets all results: another model is there.
    pub fn reset(&mut self, n_layers: usize) {
        *self = Self {
            before: LivePass::empty(n_layers),
            after: LivePass::empty(n_layers),
            ..Self::default()
        };
    }

    /// Notes that a request was sent. Old results stay, and count as old.
    pub fn submitted(&mut self, run: RunId, spec: Arc<RunSpec>) {
        if spec.edits.is_empty() {
            self.after = LivePass::empty(self.after.layers.len());
        }
        self.wanted = Some((run, spec));
        self.complete = false;
        self.error = None;
    }

    /// Takes an event in; events of superseded runs are dropped.
    pub fn apply(&mut self, event: &Event) {
        let Some((wanted, spec)) = self.wanted.clone() else {
            return;
        };
        match event {
            Event::Layer {
                run,
                side,
                maps,
                overview,
            } if *run == wanted => {
                let pass = self.pass_mut(*side);
                if let Some(slot) = pass.layers.get_mut(maps.layer) {
                    *slot = Some(LiveLayer {
                        run: *run,
                        spec,
                        maps: Arc::clone(maps),
                        overview: Arc::clone(overview),
                    });
                }
            }
            Event::PassDone {
                run,
                side,
                logits,
                restarted_at,
                millis,
            } if *run == wanted => {
                let pass = self.pass_mut(*side);
                pass.run = *run;
                pass.logits.clone_from(logits);
                pass.restarted_at = *restarted_at;
                pass.millis = *millis;
            }
            Event::RunDone { run, kept_bytes } if *run == wanted => {
                self.complete = true;
                self.kept_bytes = *kept_bytes;
            }
            Event::RunFailed { run, message } if *run == wanted => {
                self.error = Some(message.clone());
                self.complete = true;
            }
            _ => {}
        }
    }

    pub fn pass(&self, side: Side) -> &LivePass {
        match side {
            Side::Before => &self.before,
            Side::After => &self.after,
        }
    }

    fn pass_mut(&mut self, side: Side) -> &mut LivePass {
        match side {
            Side::Before => &mut self.before,
            Side::After => &mut self.after,
        }
    }

    /// The side whose maps stand for the model as it is now: edited where there are edits.
    pub fn current_side(&self) -> Side {
        match &self.wanted {
            Some((_, spec)) if !spec.edits.is_empty() => Side::After,
            _ => Side::Before,
        }
    }

    /// The layer to draw: the current side's, or the unedited one's until that arrives.
    pub fn layer(&self, layer: usize) -> Option<&LiveLayer> {
        let current = self.pass(self.current_side()).layers.get(layer);
        current
            .and_then(Option::as_ref)
            .or_else(|| self.before.layers.get(layer)?.as_ref())
    }

    /// Whether a result of that run is older than the newest request.
    pub fn is_old(&self, run: RunId) -> bool {
        self.wanted
            .as_ref()
            .is_some_and(|(wanted, _)| run < *wanted)
    }
}

impl LivePass {
    fn empty(n_layers: usize) -> Self {
        Self {
            layers: vec![None; n_layers],
            ..Self::default()
        }
    }
}
