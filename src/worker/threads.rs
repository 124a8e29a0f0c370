//! The threads. A panic in a run, a load or a check becomes an event. (Besides, only the tokenizer and chat templates catch
//! panics: those of a library on a damaged file.)

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::lab::{LabRequest, run_methods};
use super::mailbox::{Mailbox, Next, Taken};
use super::writer::{TextRequest, Writer};
use super::{Event, RunId};
use crate::compute::Compute;
use crate::experiment::engine::{Engine, RunError, Watch};
use crate::experiment::{LayerMaps, Pass, RunSpec, Side};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::hub::Hub;
use crate::model::load::{LoadError, LoadProgress, open_with};
use crate::panics::catch;
use crate::pyramid::LayerOverview;
use crate::verify::{Check, Progress, Reference};

/// How long no run may have been asked for before a check goes on.
const QUIET: Duration = Duration::from_millis(150);

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
    pub(super) fn send(&self, event: Event) {
        // The window is gone: nobody is left to tell.
        if self.sender.send(event).is_ok() {
            (self.wake)();
        }
    }
}

pub(super) fn start(
    outbox: Outbox,
    runs: &Arc<Mailbox<RunRequest>>,
    texts: &Arc<Mailbox<TextRequest>>,
    loads: &Arc<Mailbox<LoadRequest>>,
    checks: &Arc<Mailbox<Arc<Model>>>,
    labs: &Arc<Mailbox<LabRequest>>,
    hub: Hub,
) -> std::io::Result<()> {
    let thread = |name: &str| std::thread::Builder::new().name(name.into());
    let (to_runs, for_runs, texts) = (outbox.clone(), Arc::clone(runs), Arc::clone(texts));
    thread("experiments").spawn(move || run_experiments(&to_runs, &for_runs, &texts))?;
    let (to_loads, for_loads) = (outbox.clone(), Arc::clone(loads));
    thread("loading").spawn(move || load_models(&to_loads, &for_loads, &hub))?;
    let (to_labs, labs, for_labs) = (outbox.clone(), Arc::clone(labs), Arc::clone(runs));
    thread("methods").spawn(move || run_methods(&to_labs, &labs, &for_labs))?;
    let (runs, checks) = (Arc::clone(runs), Arc::clone(checks));
    thread("checking").spawn(move || check_models(&outbox, &checks, &runs))?;
    Ok(())
}

/// Runs come first; text goes on, token by token, while none is wanted.
fn run_experiments(outbox: &Outbox, runs: &Mailbox<RunRequest>, texts: &Mailbox<TextRequest>) {
    let mut bench = Bench::default();
    let mut writer = Writer::default();
    loop {
        let has_text = writer.generation().is_some();
        match runs.take_or(|| has_text || texts.is_waiting()) {
            Next::Request(taken) => bench.run(outbox, runs, taken),
            Next::Other => {
                if let Some(Taken {
                    request,
                    generation,
                }) = texts.take_waiting()
                {
                    writer.take(request, generation);
                }
                bench.write(outbox, runs, texts, &mut writer);
            }
            Next::Closed => return,
        }
    }
}

/// The engine of the newest model, and the pooled maps of its runs.
#[derive(Default)]
struct Bench {
    engine: Option<Engine>,
    overviews: Overviews,
}

impl Bench {
    /// Kept runs belong to their model.
    fn engine_of(&mut self, model: &Arc<Model>) -> Engine {
        let kept = self.engine.take();
        kept.filter(|engine| Arc::ptr_eq(engine.model(), model))
            .unwrap_or_else(|| {
                self.overviews = Overviews::default();
                Engine::new(Arc::clone(model))
            })
    }

    fn run(&mut self, outbox: &Outbox, runs: &Mailbox<RunRequest>, taken: Taken<RunRequest>) {
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
        let mut engine = self.engine_of(&model);
        let mut reporter = Reporter {
            outbox,
            mailbox: runs,
            generation,
            run,
            overviews: &mut self.overviews,
            looked_at,
        };
        match catch(|| engine.run(&spec, &mut reporter)) {
            Ok(outcome) => {
                match outcome {
                    Ok(_) => outbox.send(Event::RunDone {
                        run,
                        kept_bytes: engine.kept_bytes(),
                    }),
                    Err(RunError::Stopped) => {}
                    Err(error) => outbox.send(Event::RunFailed {
                        run,
                        message: error.to_string(),
                    }),
                }
                self.engine = Some(engine);
            }
            // The kept runs may be half made: they go with the engine.
            Err(panic) => outbox.send(Event::RunFailed {
                run,
                message: broke_off("the run", &panic),
            }),
        }
    }

    /// A token more of the text that is wanted, if it still is.
    fn write(
        &mut self,
        outbox: &Outbox,
        runs: &Mailbox<RunRequest>,
        texts: &Mailbox<TextRequest>,
        writer: &mut Writer,
    ) {
        let Some((generation, model)) = writer.generation().zip(writer.model().cloned()) else {
            return;
        };
        if !texts.is_current(generation) {
            writer.drop_work();
            return;
        }
        let mut engine = self.engine_of(&model);
        let mut go_on = || texts.is_current(generation) && !runs.is_waiting();
        let advanced =
            catch(|| writer.advance(&mut engine, &mut go_on, &|event| outbox.send(event)));
        match advanced {
            Ok(()) => self.engine = Some(engine),
            Err(panic) => {
                for (text, side) in writer.under_way() {
                    outbox.send(Event::LineFailed {
                        text,
                        side,
                        message: broke_off("the text", &panic),
                    });
                }
                writer.forget();
            }
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

fn load_models(outbox: &Outbox, mailbox: &Mailbox<LoadRequest>, hub: &Hub) {
    while let Some(Taken {
        request: LoadRequest { source, compute },
        generation,
    }) = mailbox.take()
    {
        let mut reporter = LoadReporter {
            outbox,
            mailbox,
            generation,
            last: None,
        };
        let open = || open_with(hub, &source, compute, &mut reporter);
        let event = match catch(open) {
            Ok(Ok(model)) => Event::Loaded(Arc::new(model)),
            Ok(Err(LoadError::Stopped)) => Event::LoadCancelled { source },
            Ok(Err(error)) => Event::LoadFailed {
                source,
                message: error.to_string(),
            },
            Err(panic) => Event::LoadFailed {
                source,
                message: broke_off("loading", &panic),
            },
        };
        outbox.send(event);
    }
}

struct LoadReporter<'a> {
    outbox: &'a Outbox,
    mailbox: &'a Mailbox<LoadRequest>,
    generation: u64,
    /// What was last told, and when.
    last: Option<(f32, Instant)>,
}

impl LoadProgress for LoadReporter<'_> {
    fn report(&mut self, fraction: f32, what: &str) -> bool {
        // A hundred steps are enough for a bar, and ten texts a second for a reader.
        let is_news = self.last.is_none_or(|(told, when)| {
            (fraction - told).abs() >= 0.01 || when.elapsed() >= Duration::from_millis(100)
        });
        if is_news {
            self.last = Some((fraction, Instant::now()));
            self.outbox.send(Event::LoadProgress {
                fraction,
                what: what.to_owned(),
            });
        }
        self.mailbox.is_current(self.generation)
    }
}

/// Checks models while no run is wanted: a step that is under way ends at its next layer once one is, and is done again
/// later.
fn check_models(outbox: &Outbox, checks: &Mailbox<Arc<Model>>, runs: &Mailbox<RunRequest>) {
    while let Some(Taken {
        request: model,
        generation,
    }) = checks.take()
    {
        let wanted = || runs.wait_for_quiet(QUIET) && checks.is_current(generation);
        let mut go_on = || runs.is_quiet() && checks.is_current(generation);
        let checked = catch(|| {
            let reference = Reference::beside(&model).map_err(|error| error.to_string())?;
            let mut check = Check::new(Arc::clone(&model), reference);
            while wanted() {
                if check.advance(&mut go_on) == Progress::Done {
                    return Ok(Some(check.into_report()));
                }
            }
            Ok(None)
        });
        let event = match checked {
            // Another check is wanted, or none any more.
            Ok(Ok(None)) => continue,
            Ok(Ok(Some(report))) => Event::Checked {
                model,
                report: Arc::new(report),
            },
            Ok(Err(message)) => Event::CheckFailed { model, message },
            Err(panic) => Event::CheckFailed {
                model,
                message: broke_off("the check", &panic),
            },
        };
        outbox.send(event);
    }
}

pub(super) fn broke_off(what: &str, panic: &str) -> String {
    format!("{what} broke off on a fault of the program ({panic}); please report it")
}
