//! From MODEL or SESSION and options to an open model and an experiment that can run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::CliError;
use super::args::{Asked, ComputeArgs, ExperimentArgs, usage};
use super::progress::Progress;
use crate::compute::{Compute, Dtype};
use crate::experiment::engine::{Dumped, Engine, Unwatched};
use crate::experiment::resolve::{self, Resolved};
use crate::experiment::{Generated, GeneratedToken, Outcome, Side};
use crate::model::load;
use crate::model::site::Site;
use crate::model::{Model, demo};
use crate::session::file::{self, Record, Saved};
use crate::session::replay::{self, Numbers, Replay};
use crate::session::vectors::VectorsFile;
use crate::session::{EditRow, Experiment, Prompt, Session};

/// An open model with an experiment resolved against it.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) session: Session,
    /// The session's file. In its folder the relative paths of vectors start; without one, in the working folder.
    pub(super) file: Option<PathBuf>,
    /// What the session gave when it was saved.
    record: Option<Record>,
    pub(super) resolved: Resolved,
    pub(super) warnings: Vec<String>,
}

impl Opened {
    pub(super) fn new(asked: &Asked) -> Result<Self, CliError> {
        let Asked {
            target,
            experiment,
            compute,
        } = asked;
        let is_session = file::is_session(target);
        if is_session && let Some(option) = experiment.first_given() {
            return Err(CliError::Usage(usage(&format!(
                "a session has its own experiment: {option} cannot be used with {target}"
            ))));
        }
        prepare(compute)?;
        Ok(if is_session {
            Self::session(Path::new(target), compute)?
        } else {
            Self::model(target, experiment, compute)?
        })
    }

    fn session(path: &Path, compute: &ComputeArgs) -> anyhow::Result<Self> {
        let Saved {
            mut session,
            record,
        } = file::open(path)?;
        let file = std::path::absolute(path)?;
        let saved_in = session.dtype;
        let engine = open(&session.model, compute.of(saved_in))?;
        session.dtype = engine.model().compute.dtype;
        let runs_in = session.dtype;
        let mut opened = Self::resolve(engine, session, Some(file))?;
        if runs_in != saved_in {
            let warning = format!("the session was made in {saved_in} and is run in {runs_in}");
            opened.warnings.push(warning);
        }
        if let Some(record) = &record {
            let differences = differences(&opened, record);
            opened.warnings.extend(differences);
        }
        if record
            .as_ref()
            .is_none_or(|record| record.numbers.is_none())
        {
            let warning = "the session has no numbers that a replay could be compared with";
            opened.warnings.push(warning.into());
        }
        opened.record = record;
        Ok(opened)
    }

    pub(super) fn model(
        source: &str,
        args: &ExperimentArgs,
        compute: &ComputeArgs,
    ) -> anyhow::Result<Self> {
        // Before the model is read: a slip in an edit shall not cost a minute of loading.
        let edits: Vec<EditRow> = args
            .edits
            .iter()
            .map(|text| {
                text.parse().map(|edit| EditRow {
                    edit,
                    enabled: true,
                })
            })
            .collect::<Result<_, _>>()?;
        let engine = open(source, compute.of(Dtype::default()))?;
        if (args.bos || args.no_bos) && !engine.model().spec.is_causal() {
            let reason = format!(
                "{source} is an encoder, whose tokenizer puts the special tokens: --bos and --no-bos are for models \
                 that read from left to right"
            );
            return Err(usage(&reason).into());
        }
        let has_prompt = args.prompt.is_some() || args.ids.is_some();
        let sample = || {
            let sample = engine.model().sample().map(|(prompt, _)| prompt);
            sample.context(
                "the model has no tokenizer: give its prompt as token ids, such as --ids 2,0,1",
            )
        };
        let mut experiment = args.experiment(sample)?;
        experiment.edits = edits;
        let mut session = Session::new(source, experiment);
        session.dtype = engine.model().compute.dtype;
        if source == demo::NAME && !has_prompt {
            session.view.selection = vec![demo::FIRST_HEAD];
        }
        Self::resolve(engine, session, None)
    }

    fn resolve(engine: Engine, session: Session, file: Option<PathBuf>) -> anyhow::Result<Self> {
        let folder = file.as_deref().and_then(Path::parent);
        let resolved = resolve::resolve(&session.experiment, engine.model(), folder)?;
        Ok(Self {
            warnings: resolved.warnings.clone(),
            engine,
            session,
            file,
            record: None,
            resolved,
        })
    }

    fn folder(&self) -> Option<&Path> {
        self.file.as_deref().and_then(Path::parent)
    }

    pub(super) fn shared_model(&self) -> Arc<Model> {
        Arc::clone(self.engine.model())
    }

    pub(super) fn model_ref(&self) -> &Model {
        self.engine.model()
    }

    pub(super) fn run(&mut self) -> anyhow::Result<Outcome> {
        let outcome = self.engine.run(&self.resolved.spec, &mut Unwatched);
        outcome.map_err(|error| {
            // Vectors that are others may be why.
            let folder = self.folder();
            let vectors = self.record.iter().flat_map(|record| &record.vectors);
            let problems: Vec<String> = vectors.filter_map(|of| of.problem(folder)).collect();
            match problems[..] {
                [] => error.into(),
                _ => anyhow::anyhow!("{error}; {}", problems.join("; ")),
            }
        })
    }

    /// Text after the prompt, up to one of the model's ends; `each` hears every token.
    pub(super) fn generate(
        &mut self,
        side: Side,
        n_tokens: usize,
        each: &mut dyn FnMut(&GeneratedToken),
    ) -> anyhow::Result<Generated> {
        let ends = self.model_ref().spec.eos_ids.clone();
        let spec = &self.resolved.spec;
        let each = &mut |token: &GeneratedToken| {
            each(token);
            true
        };
        Ok(self.engine.generate(spec, side, n_tokens, &ends, each)?)
    }

    /// The activations of the edited run that `globs` name.
    pub(super) fn dump(&mut self, globs: &[String]) -> anyhow::Result<Vec<Dumped>> {
        let sites = Site::matching(&self.model_ref().spec, globs)?;
        Ok(self.engine.dump(&self.resolved.spec, &sites)?)
    }

    pub(super) fn answer_ids(&self) -> Vec<u32> {
        self.resolved
            .answers
            .iter()
            .map(|answer| answer.id)
            .collect()
    }

    /// The verdict on a session's own numbers; `None` without a session, or one that has none.
    pub(super) fn replay(&self, outcome: &Outcome) -> Option<Replay> {
        let saved = self.record.as_ref()?.numbers.as_ref()?;
        Some(replay::compare(saved, outcome))
    }

    /// Saves the experiment with the numbers of `outcome`.
    pub(super) fn save(&self, path: &Path, outcome: &Outcome) -> anyhow::Result<()> {
        let Model {
            name,
            fingerprint,
            compute,
            ..
        } = self.model_ref();
        let spec = &self.resolved.spec;
        let numbers = Numbers::capture(
            outcome,
            compute.dtype.name(),
            spec.position,
            &self.answer_ids(),
        );
        let saved = Saved {
            session: Session {
                model: self.model_ref().pinned_source(),
                ..self.session.clone()
            },
            record: Some(Record {
                model_name: name.clone(),
                fingerprint: fingerprint.clone(),
                ids: spec.ids[..spec.n_prompt].to_vec(),
                contrast_ids: spec.contrast.as_ref().map(|ids| ids.to_vec()),
                vectors: VectorsFile::of(&self.session.experiment.edits, self.folder()),
                numbers: Some(numbers),
            }),
        };
        Ok(file::save(path, &saved, self.folder())?)
    }
}

/// What makes a session's numbers another run's.
fn differences(opened: &Opened, record: &Record) -> Vec<String> {
    let Model {
        name, fingerprint, ..
    } = opened.model_ref();
    let Record {
        model_name,
        fingerprint: saved_fingerprint,
        ids,
        contrast_ids,
        vectors,
        numbers: _,
    } = record;
    let Experiment {
        prompt, contrast, ..
    } = &opened.session.experiment;
    let spec = &opened.resolved.spec;
    let mut warnings = Vec::new();
    if fingerprint != saved_fingerprint {
        warnings.push(format!(
            "the session was saved with other weights: {model_name} {saved_fingerprint}, now {name} {fingerprint}"
        ));
    }
    // Prompts given as ids are the same by themselves.
    let is_text = |prompt: &Prompt| matches!(prompt, Prompt::Text(_));
    if is_text(prompt) && ids[..] != spec.ids[..spec.n_prompt] {
        warnings.push("prompt A gives other tokens than when the session was saved".into());
    }
    let contrast_changed = contrast_ids.as_deref() != spec.contrast.as_deref();
    if contrast.as_ref().is_some_and(is_text) && contrast_ids.is_some() && contrast_changed {
        warnings.push("prompt B gives other tokens than when the session was saved".into());
    }
    let changed = vectors.iter().filter_map(|of| of.problem(opened.folder()));
    warnings.extend(changed);
    warnings
}

pub(super) fn open(source: &str, compute: Compute) -> anyhow::Result<Engine> {
    let model = load::open_for(source, compute, &mut Progress::default())?;
    Ok(Engine::new(Arc::new(model)))
}

impl ComputeArgs {
    /// What was asked for, or `dtype`.
    pub(super) fn of(&self, dtype: Dtype) -> Compute {
        Compute {
            dtype: self.dtype.unwrap_or(dtype),
            device: self.device,
        }
    }
}

pub(super) fn prepare(compute: &ComputeArgs) -> anyhow::Result<()> {
    if let Some(threads) = compute.threads {
        limit_threads(usize::from(threads)).context("--threads")?;
    }
    Ok(())
}

/// Of this crate's loops and of the products, which share rayon's threads; and of candle's own, which are others and
/// heed only the environment.
#[expect(unsafe_code, reason = "the environment is the only way to tell candle")]
fn limit_threads(threads: usize) -> anyhow::Result<()> {
    for name in ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"] {
        // SAFETY: a command's first act: no other thread has been started that could read the environment meanwhile.
        unsafe { std::env::set_var(name, threads.to_string()) };
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    Ok(())
}
