//! Runs experiments on one model, and keeps what makes the next run short: the unedited runs of prompt A and B, and the
//! last edited run. A run starts at the first place where it differs from a kept one.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::compile::{EditError, Sources, compile};
use super::{LayerMaps, Means, Outcome, Pass, Patterns, RunSpec, Side};
use crate::edit::Edit;
use crate::model::Model;
use crate::model::backward::GradientError;
use crate::model::memory::{self, Looks, MemoryError, Need};
use crate::model::plan::{Entry, Plan};
use crate::model::scored::Scored;
use crate::model::site::{Part, Site};
use crate::model::spec::ModelSpec;
use crate::model::transformer::{Activations, Kept};

/// Maps of two runs are kept while they stay within this; beyond it a map is made where it is looked at.
const MAPS_BUDGET: usize = 1 << 30;

/// One map never takes more than this: a prompt that would need more is refused.
const MAP_LIMIT: usize = 1 << 30;

/// One model and its kept runs.
#[derive(Debug)]
pub struct Engine {
    model: Arc<Model>,
    own: Option<KeptRun>,
    contrast: Option<KeptRun>,
    edited: Option<KeptRun>,
}

/// A complete run, ready to start others from.
#[derive(Debug)]
struct KeptRun {
    ids: Arc<[u32]>,
    plan: Plan,
    kept: Kept,
    layers: Vec<Arc<LayerMaps>>,
    /// Logits at positions that were read.
    logits: Vec<(usize, Arc<[f32]>)>,
}

/// What a caller of [`Engine::run`] hears while it runs.
pub trait Watch {
    /// A layer's maps are there. False stops the run.
    fn layer(&mut self, side: Side, maps: &Arc<LayerMaps>) -> bool;
    /// One side is complete.
    fn pass(&mut self, side: Side, pass: &Pass);
}

/// Hears nothing and never stops.
#[derive(Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn layer(&mut self, _side: Side, _maps: &Arc<LayerMaps>) -> bool {
        true
    }

    fn pass(&mut self, _side: Side, _pass: &Pass) {}
}

/// Why a run gave no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A newer request came.
    #[error("the run was stopped")]
    Stopped,
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error("the prompt is empty: there is nothing to run")]
    EmptyPrompt,
    #[error("{which} has {n_tokens} tokens, and the model's context is {n_ctx}: shorten it")]
    TooLong {
        which: &'static str,
        n_tokens: usize,
        n_ctx: usize,
    },
    #[error("{which} has token id {id}, and the model's vocabulary is 0 to {last}")]
    UnknownToken {
        which: &'static str,
        id: u32,
        last: usize,
    },
    #[error(
        "{which} has {n_tokens} tokens: the map of a single head would take {needed_gb:.1} GB; \
         up to {most} tokens can be looked at"
    )]
    MapTooLarge {
        which: &'static str,
        n_tokens: usize,
        needed_gb: f64,
        most: usize,
    },
    #[error("position {position} is outside the prompt, whose {n_tokens} tokens are 0 to {last}", last = n_tokens - 1)]
    NoSuchPosition { position: usize, n_tokens: usize },
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("this model reads in both directions: it fills in masked tokens and generates none")]
    NotCausal,
    #[error("the model has no language-model head, so there are no logits to read")]
    NoLogits,
    #[error(
        "a direct effect is what an edit adds to the final stream, and in this model norms stand on the stream, or more \
         than a product follows it: read the total effect"
    )]
    NoDirectPath,
    #[error(
        "a direct effect is read at one position, and an answer of several tokens has several: read the total effect"
    )]
    DirectOfSeveral,
    #[error(transparent)]
    Gradient(GradientError),
    #[error("the forward pass failed: {0}")]
    Forward(#[from] candle_core::Error),
}

/// An activation of the edited run, with its name and shape as they are written to files (batch axis 1 first).
#[derive(Clone, Debug, PartialEq)]
pub struct Dumped {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Engine {
    pub fn new(model: Arc<Model>) -> Self {
        Self {
            model,
            own: None,
            contrast: None,
            edited: None,
        }
    }

    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Whether the kept unedited run begins with these tokens.
    pub(super) fn knows(&self, ids: &[u32]) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|run| run.ids.starts_with(ids))
    }

    /// The maps of prompt A's unedited run.
    pub(super) fn own_layers(&self) -> Result<&[Arc<LayerMaps>], RunError> {
        let run = self.own.as_ref().ok_or(RunError::EmptyPrompt)?;
        Ok(&run.layers)
    }

    /// A plain run of other tokens, which is not kept here.
    pub(super) fn kept_of(
        &self,
        ids: &Arc<[u32]>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Kept, RunError> {
        let (plan, record) = (Plan::default(), BTreeSet::new());
        let mut forward = self.model.transformer.start(ids, &plan, &record)?;
        while forward.step()?.is_some() {
            if !go_on() {
                return Err(RunError::Stopped);
            }
        }
        Ok(forward.into_kept())
    }

    /// What prompt A's unedited run left for others to start from.
    pub(super) fn own_kept(&self) -> Result<&Kept, RunError> {
        let run = self.own.as_ref().ok_or(RunError::EmptyPrompt)?;
        Ok(&run.kept)
    }

    /// Runs an experiment: unedited, and edited where there are edits.
    pub fn run(&mut self, spec: &RunSpec, watch: &mut dyn Watch) -> Result<Outcome, RunError> {
        self.check(spec)?;
        let before = self.unedited(spec, watch)?;
        if spec.edits.is_empty() {
            return Ok(Outcome {
                before,
                after: None,
            });
        }
        let plan = self.plan(spec)?;
        let after = self.edited(spec, plan, watch)?;
        Ok(Outcome {
            before,
            after: Some(after),
        })
    }

    /// Activations of the edited run at `sites`, in order of execution; the run is not kept.
    pub fn dump(&mut self, spec: &RunSpec, sites: &[Site]) -> Result<Vec<Dumped>, RunError> {
        self.dump_while(spec, sites, &mut || true)
    }

    /// Bytes of the kept runs: maps, and residuals and z.
    pub fn kept_bytes(&self) -> usize {
        [&self.own, &self.contrast, &self.edited]
            .into_iter()
            .flatten()
            .map(KeptRun::bytes)
            .sum()
    }

    pub(super) fn check(&self, spec: &RunSpec) -> Result<(), RunError> {
        let shape = &self.model.spec;
        let prompts = [
            ("prompt A", Some(&spec.ids)),
            ("prompt B", spec.contrast.as_ref()),
        ];
        for (which, ids) in prompts {
            let Some(ids) = ids else { continue };
            if ids.is_empty() {
                return Err(RunError::EmptyPrompt);
            }
            if ids.len() > shape.n_ctx {
                return Err(RunError::TooLong {
                    which,
                    n_tokens: ids.len(),
                    n_ctx: shape.n_ctx,
                });
            }
            let most = (MAP_LIMIT / size_of::<f32>()).isqrt();
            if ids.len() > most {
                return Err(RunError::MapTooLarge {
                    which,
                    n_tokens: ids.len(),
                    needed_gb: size_of::<f32>() as f64 * (ids.len() as f64).powi(2) / 1e9,
                    most,
                });
            }
            if let Some(id) = ids.iter().find(|id| **id as usize >= shape.n_vocab) {
                return Err(RunError::UnknownToken {
                    which,
                    id: *id,
                    last: shape.n_vocab - 1,
                });
            }
        }
        if spec.position >= spec.ids.len() {
            return Err(RunError::NoSuchPosition {
                position: spec.position,
                n_tokens: spec.ids.len(),
            });
        }
        let need = self.need(spec);
        if need.bytes > memory::SMALL {
            let gives_way = self.own.iter().filter(|run| run.ids != spec.ids);
            let gives_way: usize = gives_way.map(KeptRun::bytes).sum();
            let free = memory::available().map(|free| free + gives_way as u64);
            memory::check(&need, free)?;
        }
        Ok(())
    }

    /// What the passes that `spec` asks for will take, without those that are there already.
    pub fn need(&self, spec: &RunSpec) -> Need {
        let lacks = |run: &Option<KeptRun>, ids: &Arc<[u32]>| {
            run.as_ref().is_none_or(|run| run.ids != *ids)
        };
        let contrast = spec.contrast.as_ref().filter(|ids| {
            spec.edits.iter().any(Edit::needs_contrast) && lacks(&self.contrast, ids)
        });
        let runs = [
            lacks(&self.own, &spec.ids),
            contrast.is_some(),
            !spec.edits.is_empty(),
        ];
        let n_runs = runs.into_iter().filter(|is_new| *is_new).count();
        let n_tokens = spec.ids.len().max(contrast.map_or(0, |ids| ids.len()));
        let shape = &self.model.spec;
        Need::run(shape, n_tokens, n_runs, Looks::at(shape, n_tokens))
    }

    /// Prompt A's plain run: the kept one, or a new one.
    pub(super) fn unedited(
        &mut self,
        spec: &RunSpec,
        watch: &mut dyn Watch,
    ) -> Result<Pass, RunError> {
        let started = Instant::now();
        let n_layers = self.model.spec.n_layers;
        // What belongs to another prompt gives way before the new run grows.
        let kept = self.own.take().filter(|run| run.ids == spec.ids);
        let (mut run, restarted_at) = if let Some(run) = kept {
            (run, n_layers)
        } else {
            self.edited = None;
            let on_layer = &mut |maps: &_| watch.layer(Side::Before, maps);
            (self.whole(&spec.ids, on_layer)?, 0)
        };
        let logits = run.logits_at(&self.model, spec.position)?;
        let pass = run.pass(logits, restarted_at, started);
        self.own = Some(run);
        let known = restarted_at == n_layers;
        if known
            && !pass
                .layers
                .iter()
                .all(|maps| watch.layer(Side::Before, maps))
        {
            return Err(RunError::Stopped);
        }
        watch.pass(Side::Before, &pass);
        Ok(pass)
    }

    pub(super) fn plan(&mut self, spec: &RunSpec) -> Result<Plan, RunError> {
        self.plan_up_to(spec, spec.ids.len())
    }

    /// The edits of `spec` for passes that reach `n_positions`.
    pub(super) fn plan_up_to(
        &mut self,
        spec: &RunSpec,
        n_positions: usize,
    ) -> Result<Plan, RunError> {
        self.fetch_contrast(spec)?;
        let sources = self.sources(None)?;
        Ok(compile(&self.model.spec, spec, &sources, n_positions)?)
    }

    /// One plan for each list of edits, instead of `spec`'s own.
    pub(super) fn plans(
        &mut self,
        spec: &RunSpec,
        variants: &[Vec<Edit>],
        means: Option<&Means>,
    ) -> Result<Vec<Plan>, RunError> {
        let mut spec = spec.clone();
        if let Some(edits) = variants.iter().find(|v| v.iter().any(Edit::needs_contrast)) {
            spec.edits.clone_from(edits);
            self.fetch_contrast(&spec)?;
        }
        let sources = self.sources(means)?;
        variants
            .iter()
            .map(|edits| {
                spec.edits.clone_from(edits);
                Ok(compile(&self.model.spec, &spec, &sources, spec.ids.len())?)
            })
            .collect()
    }

    /// Runs prompt B, where the edits read it and it is not known.
    fn fetch_contrast(&mut self, spec: &RunSpec) -> Result<(), RunError> {
        if let Some(ids) = &spec.contrast
            && spec.edits.iter().any(Edit::needs_contrast)
            && self.contrast.as_ref().is_none_or(|run| run.ids != *ids)
        {
            let ids = Arc::clone(ids);
            self.contrast = Some(self.whole(&ids, &mut |_| true)?);
        }
        Ok(())
    }

    fn sources<'a>(&'a self, means: Option<&'a Means>) -> Result<Sources<'a>, RunError> {
        let own = self.own.as_ref().ok_or(RunError::EmptyPrompt)?;
        Ok(Sources {
            model: &self.model.transformer,
            own: &own.kept,
            contrast: self.contrast.as_ref().map(|run| &run.kept),
            means,
            known: RefCell::default(),
            files: RefCell::default(),
        })
    }

    /// The edited run, from where it first differs from the plain run or from the last edited one.
    fn edited(
        &mut self,
        spec: &RunSpec,
        plan: Plan,
        watch: &mut dyn Watch,
    ) -> Result<Pass, RunError> {
        let started = Instant::now();
        let n_layers = self.model.spec.n_layers;
        // Nothing differs: every layer is known, and only the read position may be new.
        let entry_from = |run: &KeptRun| {
            plan.first_difference(&run.plan)
                .unwrap_or(Entry::top(n_layers))
        };
        let base = [&self.edited, &self.own]
            .into_iter()
            .flatten()
            .filter(|run| run.ids == spec.ids)
            .max_by_key(|run| entry_from(run))
            .ok_or(RunError::EmptyPrompt)?;
        let entry = entry_from(base);
        let (taken_over, known) = base.layers.split_at(entry.layer);
        if !taken_over.iter().all(|maps| watch.layer(Side::After, maps)) {
            return Err(RunError::Stopped);
        }
        let mut run = KeptRun {
            ids: Arc::clone(&base.ids),
            plan,
            kept: Kept::default(),
            layers: taken_over.to_vec(),
            logits: Vec::new(),
        };
        if entry.layer == n_layers {
            run.kept = base.kept.clone();
            run.logits.clone_from(&base.logits);
        } else {
            let on_layer = &mut |maps: &_| watch.layer(Side::After, maps);
            run.finish(&self.model, Some((entry, &base.kept, known)), on_layer)?;
        }
        let logits = run.logits_at(&self.model, spec.position)?;
        let pass = run.pass(logits, entry.layer, started);
        watch.pass(Side::After, &pass);
        self.edited = Some(run);
        Ok(pass)
    }

    fn whole(
        &self,
        ids: &Arc<[u32]>,
        on_layer: &mut dyn FnMut(&Arc<LayerMaps>) -> bool,
    ) -> Result<KeptRun, RunError> {
        let mut run = KeptRun {
            ids: Arc::clone(ids),
            plan: Plan::default(),
            kept: Kept::default(),
            layers: Vec::new(),
            logits: Vec::new(),
        };
        run.finish(&self.model, None, on_layer)?;
        Ok(run)
    }
}

impl KeptRun {
    /// Runs all layers, or those after a place in a kept run that is the same up to there. With the place come that
    /// run's maps from its layer on: the first still holds where only what follows the pattern differs.
    fn finish(
        &mut self,
        model: &Model,
        from: Option<(Entry, &Kept, &[Arc<LayerMaps>])>,
        on_layer: &mut dyn FnMut(&Arc<LayerMaps>) -> bool,
    ) -> Result<(), RunError> {
        let looks = Looks::at(&model.spec, self.ids.len());
        let record = looks.sites(&model.spec);
        let transformer = &model.transformer;
        let (mut forward, known) = match from {
            None => (transformer.start(&self.ids, &self.plan, &record)?, None),
            Some((entry, base, known)) => (
                transformer.resume(base, entry, &self.plan, &record)?,
                known.first(),
            ),
        };
        loop {
            let layer = forward.next_layer();
            let Some(mut recorded) = forward.step()? else {
                break;
            };
            let maps = match (looks.maps(model, layer, &self.plan, &mut recorded)?, known) {
                (Some(maps), _) => Arc::new(maps),
                (None, Some(maps)) => Arc::clone(maps),
                (None, None) => {
                    return Err(candle_core::Error::msg("a layer gave no attention pattern").into());
                }
            };
            let go_on = on_layer(&maps);
            self.layers.push(maps);
            if !go_on {
                return Err(RunError::Stopped);
            }
        }
        self.kept = forward.into_kept();
        Ok(())
    }

    /// Logits at a position, `[vocab]`; computed once, with the last layer's part after attention for that position
    /// alone. `None` without a language-model head.
    fn logits_at(
        &mut self,
        model: &Model,
        position: usize,
    ) -> Result<Option<Arc<[f32]>>, RunError> {
        if let Some((_, logits)) = self.logits.iter().find(|(at, _)| *at == position) {
            return Ok(Some(Arc::clone(logits)));
        }
        let entry = Entry {
            layer: model.spec.n_layers - 1,
            after_pattern: true,
        };
        let record = BTreeSet::new();
        let transformer = &model.transformer;
        let mut forward = transformer.resume(&self.kept, entry, &self.plan, &record)?;
        forward.step()?;
        let resid = forward.finish(Some(&[position]))?;
        let Some(logits) = forward.logits(resid)? else {
            return Ok(None);
        };
        let logits: Arc<[f32]> = logits.flatten_all()?.to_vec1::<f32>()?.into();
        self.logits.push((position, Arc::clone(&logits)));
        Ok(Some(logits))
    }

    fn pass(&self, logits: Option<Arc<[f32]>>, restarted_at: usize, started: Instant) -> Pass {
        Pass {
            layers: self.layers.clone(),
            logits,
            restarted_at,
            millis: started.elapsed().as_secs_f64() * 1e3,
        }
    }

    fn bytes(&self) -> usize {
        let tensors = self.kept.resid_pre.iter().chain(&self.kept.z);
        let kept: usize = tensors.map(|t| t.elem_count() * size_of::<f32>()).sum();
        let maps: usize = self.layers.iter().map(|maps| maps.patterns.bytes()).sum();
        kept + maps
    }
}

impl Looks {
    fn at(shape: &ModelSpec, n_tokens: usize) -> Self {
        let two_runs = 2 * size_of::<f32>() * shape.n_layers * shape.n_heads * n_tokens.pow(2);
        if two_runs <= MAPS_BUDGET {
            Self::Maps
        } else {
            Self::OnDemand
        }
    }

    /// What every run records to be looked at.
    fn sites(self, shape: &ModelSpec) -> BTreeSet<Site> {
        (0..shape.n_layers)
            .flat_map(|layer| {
                let parts = match self {
                    Self::Maps => vec![Part::Pattern, Part::V],
                    Self::OnDemand => [&Part::scored(shape, layer)[..], &[Part::V]].concat(),
                };
                parts.into_iter().map(move |part| Site::Block(layer, part))
            })
            .collect()
    }

    /// The maps of a layer from what it recorded; `None` where its attention did not run.
    fn maps(
        self,
        model: &Model,
        layer: usize,
        plan: &Plan,
        recorded: &mut Activations,
    ) -> Result<Option<LayerMaps>, RunError> {
        let mut take = |part| recorded.remove(&Site::Block(layer, part));
        let patterns = match self {
            Self::Maps => {
                let Some(pattern) = take(Part::Pattern) else {
                    return Ok(None);
                };
                let (n_heads, n_tokens, _) = pattern.dims3()?;
                Patterns::kept(n_heads, n_tokens, pattern.flatten_all()?.to_vec1()?)
            }
            Self::OnDemand => {
                let [Some(q), Some(k)] = Part::scored(&model.spec, layer).map(&mut take) else {
                    return Ok(None);
                };
                Patterns::on_demand(Scored::new(&model.spec, layer, &q, &k, plan)?)
            }
        };
        let Some(v) = take(Part::V) else {
            return Ok(None);
        };
        Ok(Some(LayerMaps {
            layer,
            mask: model.spec.masks[layer],
            patterns,
            value_norms: model.transformer.value_norms(&v)?.into(),
        }))
    }
}
