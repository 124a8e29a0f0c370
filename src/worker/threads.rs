//! The two threads. A panic in a run or a load becomes an event. (Besides, only the tokenizer catches panics: those of a
//! library on a damaged file.)

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::mailbox::{Mailbox, Taken};
use super::{Event, RunId};
use crate::compute::Compute;
use crate::experiment::engine::{Engine, RunError, Watch};
use crate::experiment::{LayerMaps, Pass, RunSpec, Side};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::load::{LoadError, LoadProgress, open_for};
use crate::pyramid::LayerOverview;

/// Called after each event, from the worker's threads.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

#[derive(Debug)]
pub(super) struct RunRequest {
    pub(super) run: RunId,
    pub(super) model: Arc<Model>,
    pub(super) spec: Arc<RunSpec>,
    /// Heads whose maps are looked at.
    pub(super) looked_at: Vec<HeadId>,
}

#[derive(Debug)]
pub(super) struct LoadRequest {
    pub(super) source: String,
    pub(super) compute: Compute,
}

/// Where events go.
#[derive(Clone)]
pub(super) struct Outbox {
    pub(super) sender: SyncSender<Event>,
    pub(super) wake: Wake,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    fn send(&self, event: Event) {
        // The window is gone: nobody is left to tell.
        if self.sender.send(event).is_ok() {
            (self.wake)();
        }
    }
}

pub(super) fn start(
    outbox: Outbox,
    runs: Arc<Mailbox<RunRequest>>,
    loads: Arc<Mailbox<LoadRequest>>,
) -> std::io::Result<()> {
    let for_runs = outbox.clone();
    std::thread::Builder::new()
        .name("experiments".into())
        .spawn(move || run_experiments(&for_runs, &runs))?;
    std::thread::Builder::new()
        .name("loading".into())
        .spawn(move || load_models(&outbox, &loads))?;
    Ok(())
}

fn run_experiments(outbox: &Outbox, mailbox: &Mailbox<RunRequest>) {
    let mut engine: Option<Engine> = None;
    let mut overviews = Overviews::default();
    while let Some(taken) = mailbox.take() {
        let Taken {
            request:
                RunRequest {
                    run,
                    model,
                    spec,
                    looked_at,
                },
            generation,
        } = taken;
        // Kept runs belong to their model.
        let mut current = engine
            .take()
            .filter(|engine| Arc::ptr_eq(engine.model(), &model))
            .unwrap_or_else(|| {
                overviews = Overviews::default();
                Engine::new(model)
            });
        let mut reporter = Reporter {
            outbox,
            mailbox,
            generation,
            run,
            overviews: &mut overviews,
            looked_at,
        };
        let result = catch_unwind(AssertUnwindSafe(|| current.run(&spec, &mut reporter)));
        match result {
            Ok(outcome) => {
                match outcome {
                    Ok(_) => outbox.send(Event::RunDone {
                        run,
                        kept_bytes: current.kept_bytes(),
                    }),
                    Err(RunError::Stopped) => {}
                    Err(error) => outbox.send(Event::RunFailed {
                        run,
                        message: error.to_string(),
                    }),
                }
                engine = Some(current);
            }
            // The kept runs may be half made: they go with the engine.
            Err(panic) => outbox.send(Event::RunFailed {
                run,
                message: format!(
                    "the run broke off on a fault of the program ({}); please report it",
                    text_of(panic.as_ref())
                ),
            }),
        }
    }
}

/// Sends a run's results as they come, and stops it when a newer request is there.
struct Reporter<'a> {
    outbox: &'a Outbox,
    mailbox: &'a Mailbox<RunRequest>,
    generation: u64,
    run: RunId,
    overviews: &'a mut Overviews,
    looked_at: Vec<HeadId>,
}

impl Watch for Reporter<'_> {
    fn layer(&mut self, side: Side, maps: &Arc<LayerMaps>) -> bool {
        if !self.mailbox.is_current(self.generation) {
            return false;
        }
        // Of a long prompt these are made now: here, and not when the window draws them.
        for head in self
            .looked_at
            .iter()
            .filter(|head| head.layer == maps.layer)
        {
            if head.head < maps.patterns.n_heads() {
                maps.patterns.head(head.head);
            }
        }
        self.outbox.send(Event::Layer {
            run: self.run,
            side,
            maps: Arc::clone(maps),
            overview: self.overviews.of(side, maps),
        });
        true
    }

    fn pass(&mut self, side: Side, pass: &Pass) {
        self.outbox.send(Event::PassDone {
            run: self.run,
            side,
            logits: pass.logits.clone(),
            restarted_at: pass.restarted_at,
            millis: pass.millis,
        });
    }
}

/// The newest pooled maps of each side and layer. A run tells known layers again; they are pooled, and uploaded by the
/// window, only once.
#[derive(Default)]
struct Overviews(HashMap<(Side, usize), (Arc<LayerMaps>, Arc<LayerOverview>)>);

impl Overviews {
    fn of(&mut self, side: Side, maps: &Arc<LayerMaps>) -> Arc<LayerOverview> {
        // An edited run shares the maps of its first layers with the plain one.
        let known = [side, Side::Before]
            .into_iter()
            .filter_map(|side| self.0.get(&(side, maps.layer)))
            .find(|(known, _)| Arc::ptr_eq(known, maps))
            .map(|(_, overview)| Arc::clone(overview));
        let overview = known.unwrap_or_else(|| Arc::new(pooled(maps)));
        let newest = (Arc::clone(maps), Arc::clone(&overview));
        self.0.insert((side, maps.layer), newest);
        overview
    }
}

/// Pooled here, so that the window only uploads.
fn pooled(maps: &LayerMaps) -> LayerOverview {
    let patterns = &maps.patterns;
    let (n_heads, n_tokens) = (patterns.n_heads(), patterns.n_tokens());
    LayerOverview::of_heads(maps.layer, n_heads, n_tokens, maps.mask, |head| {
        patterns.glance(head)
    })
}

fn load_models(outbox: &Outbox, mailbox: &Mailbox<LoadRequest>) {
    while let Some(Taken {
        request: LoadRequest { source, compute },
        generation,
    }) = mailbox.take()
    {
        let mut reporter = LoadReporter {
            outbox,
            mailbox,
            generation,
            last: -1.0,
        };
        let event = match catch_unwind(AssertUnwindSafe(|| {
            open_for(&source, compute, &mut reporter)
        })) {
            Ok(Ok(model)) => Event::Loaded(Arc::new(model)),
            Ok(Err(LoadError::Stopped)) => Event::LoadCancelled { source },
            Ok(Err(error)) => Event::LoadFailed {
                source,
                message: error.to_string(),
            },
            Err(panic) => Event::LoadFailed {
                source,
                message: format!(
                    "loading broke off on a fault of the program ({}); please report it",
                    text_of(panic.as_ref())
                ),
            },
        };
        outbox.send(event);
    }
}

struct LoadReporter<'a> {
    outbox: &'a Outbox,
    mailbox: &'a Mailbox<LoadRequest>,
    generation: u64,
    last: f32,
}

impl LoadProgress for LoadReporter<'_> {
    fn report(&mut self, fraction: f32, what: &str) -> bool {
        // A hundred steps are enough for a bar.
        if fraction - self.last >= 0.01 {
            self.last = fraction;
            self.outbox.send(Event::LoadProgress {
                fraction,
                what: what.to_owned(),
            });
        }
        self.mailbox.is_current(self.generation)
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
