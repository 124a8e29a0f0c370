//! Everything that comes back from the worker, and what is asked of it: the model, the runs, the resolved prompt.
//!
//! The window's caches live here and nowhere else: all of it can be thrown away and computed again from the session.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lab::LabResults;
use super::verdict::Checking;
use crate::experiment::resolve::{Resolved, resolve};
use crate::experiment::{Outcome, Pass};
use crate::ids::HeadId;
use crate::model::Model;
use crate::session::Experiment;
use crate::worker::{Live, LivePass, LiveText, Worker};

/// Whether a model is being opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Load {
    #[default]
    Idle,
    Running {
        source: String,
        what: String,
        /// 0 to 1.
        fraction: f32,
    },
    /// The newest attempt gave none; an older model may be open.
    Failed { source: String, message: String },
}

#[derive(Debug)]
pub(super) struct Results {
    pub worker: Worker,
    pub live: Live,
    pub text: LiveText,
    pub lab: LabResults,
    pub model: Option<Arc<Model>>,
    pub load: Load,
    pub checking: Checking,
    resolution: Option<Resolution>,
    /// Number of the newest resolution.
    count: u64,
}

/// An experiment, and what it resolved to.
#[derive(Debug)]
struct Resolution {
    experiment: Experiment,
    folder: Option<PathBuf>,
    outcome: Result<Resolved, String>,
}

impl Results {
    pub(super) fn new(worker: Worker) -> Self {
        Self {
            worker,
            live: Live::default(),
            text: LiveText::default(),
            lab: LabResults::default(),
            model: None,
            load: Load::default(),
            checking: Checking::default(),
            resolution: None,
            count: 0,
        }
    }

    /// Another model is there: what the old one gave is forgotten.
    pub(super) fn set_model(&mut self, model: Arc<Model>) {
        self.live.reset(model.spec.n_layers);
        self.forget_text();
        self.worker.cancel_method();
        self.lab.forget();
        self.model = Some(model);
        self.load = Load::Idle;
        self.checking = Checking::default();
        self.resolution = None;
    }

    /// Resolves what is wanted, and asks for it if it is not what was asked for last.
    pub(super) fn want(
        &mut self,
        experiment: &Experiment,
        folder: Option<&Path>,
        looked_at: &[HeadId],
    ) {
        let Some(model) = &self.model else {
            return;
        };
        let is_known = self
            .resolution
            .as_ref()
            .is_some_and(|r| r.experiment == *experiment && r.folder.as_deref() == folder);
        if !is_known {
            self.count += 1;
            self.resolution = Some(Resolution {
                experiment: experiment.clone(),
                folder: folder.map(Path::to_owned),
                outcome: resolve(experiment, model, folder).map_err(|error| error.to_string()),
            });
        }
        let Some(Ok(resolved)) = self.resolution.as_ref().map(|r| &r.outcome) else {
            return;
        };
        let is_asked = matches!(&self.live.wanted, Some((_, spec)) if **spec == resolved.spec);
        if !is_asked {
            let spec = Arc::new(resolved.spec.clone());
            let run = self.worker.submit(model, Arc::clone(&spec), looked_at);
            self.live.submitted(run, spec);
        }
    }

    /// Asks for the check of a model that has had none.
    pub(super) fn want_check(&mut self) {
        if matches!(self.checking, Checking::NotAsked) {
            self.ask_check(false);
        }
    }

    pub(super) fn ask_check(&mut self, by_user: bool) {
        if let Some(model) = &self.model {
            self.worker.check(model);
            self.checking = Checking::Asked { by_user };
        }
    }

    /// Takes a check's result in, unless it is another model's. Says whether the user had asked for it.
    pub(super) fn checked(&mut self, model: &Arc<Model>, result: Checking) -> Option<bool> {
        let is_this = self.model.as_ref().is_some_and(|m| Arc::ptr_eq(m, model));
        let Checking::Asked { by_user } = self.checking else {
            return None;
        };
        is_this.then(|| {
            self.checking = result;
            by_user
        })
    }

    /// Asks for text after the prompt, up to `n_tokens` or as many as the context has room for, if it is not what was
    /// asked for last.
    pub(super) fn want_text(&mut self, n_tokens: usize) {
        let (Some(model), Some(resolved)) = (&self.model, self.resolved()) else {
            return;
        };
        let spec = resolved.spec.of_prompt();
        let room = model.spec.n_ctx.saturating_sub(spec.n_prompt);
        let n_tokens = n_tokens.min(room.max(1));
        let is_asked = matches!(&self.text.wanted, Some((_, asked, n))
            if **asked == spec && *n == n_tokens);
        if !is_asked || self.text.stopped {
            let spec = Arc::new(spec);
            let text = self.worker.write(model, Arc::clone(&spec), n_tokens);
            self.text.submitted(text, spec, n_tokens);
        }
    }

    pub(super) fn stop_text(&mut self) {
        self.worker.cancel_text();
        self.text.stop();
    }

    pub(super) fn forget_text(&mut self) {
        self.worker.cancel_text();
        self.text = LiveText::default();
    }

    pub(super) fn resolved(&self) -> Option<&Resolved> {
        self.resolution.as_ref()?.outcome.as_ref().ok()
    }

    /// Changes with every resolution.
    pub(super) fn resolution_number(&self) -> u64 {
        self.count
    }

    /// Why the experiment cannot be run as it is.
    pub(super) fn problem(&self) -> Option<&str> {
        let error = self.resolution.as_ref()?.outcome.as_ref().err()?;
        Some(error)
    }

    /// The newest request's results, once all of them are there.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let (run, spec) = self.live.wanted.as_ref()?;
        if !self.live.complete || self.live.error.is_some() {
            return None;
        }
        let pass = |live: &LivePass| {
            let layers = live
                .layers
                .iter()
                .map(|layer| Some(Arc::clone(&layer.as_ref()?.maps)))
                .collect::<Option<Vec<_>>>()?;
            (live.run == *run).then(|| Pass {
                layers,
                logits: live.logits.clone(),
                restarted_at: live.restarted_at,
                millis: live.millis,
            })
        };
        Some(Outcome {
            before: pass(&self.live.before)?,
            after: if spec.edits.is_empty() {
                None
            } else {
                Some(pass(&self.live.after)?)
            },
        })
    }
}
