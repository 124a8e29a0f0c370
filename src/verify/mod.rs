//! Whether an open model's numbers can be believed: laws that hold of any transformer's activations, and the values of a
//! reference that another program made.
//!
//! A [`Check`] goes forward in steps, so that the window can do it between a user's runs; [`Report`] is what it found, as
//! plain data.

mod cases;
mod laws;
mod measure;
pub mod reference;
mod report;

pub use laws::Law;
pub use measure::{Deviation, Tally};
pub use reference::{Reference, ReferenceError};
pub use report::{CaseReport, Invariant, ReferenceReport, Report, Status, Verdict};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use self::laws::{Activations, Ground};
use self::measure::Precision;
use crate::edit::{Edit, Finite, Op, Target};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Outcome, Pass, RunSpec, While};
use crate::ids::HeadId;
use crate::model::site::{Part, Site};
use crate::model::{Model, demo};
use crate::prompt::{BosRule, Prompt};

/// The laws are tried on at most so many tokens: enough for every kind of row, and little memory on any model.
const MOST_TOKENS: usize = 16;

/// Length of the prompt where there is no tokenizer.
const BUILT_IN_TOKENS: usize = 12;

/// A check under way. Keeps an engine of its own: the user's kept runs stay as they are.
#[derive(Debug)]
pub struct Check {
    engine: Engine,
    /// What the laws are tried on.
    prompt: RunSpec,
    reference: Option<Reference>,
    ahead: VecDeque<Step>,
    /// Of the plain run on the prompt; let go once the laws about it are done.
    activations: Activations,
    report: Report,
}

/// A part of a check. Each is a pass or two over a short prompt.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Records every site, for the laws about them.
    Record,
    /// Reads b_O, for the sum of the heads.
    Heads,
    Lens,
    NoChange,
    Restart,
    Case(usize),
}

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    /// Stopped within a step, which is still to be done.
    Stopped,
    Done,
}

/// The caller wants a step to end.
struct Stopped;

/// Asked between two layers: whether to go on.
type GoOn<'a> = &'a mut dyn FnMut() -> bool;

impl Check {
    pub fn new(model: Arc<Model>, reference: Option<Reference>) -> Self {
        let prompt = prompt(&model);
        let n_cases = reference.as_ref().map_or(0, |r| r.cases.len());
        let laws = [
            Step::Record,
            Step::Heads,
            Step::Lens,
            Step::NoChange,
            Step::Restart,
        ];
        Self {
            ahead: laws
                .into_iter()
                .chain((0..n_cases).map(Step::Case))
                .collect(),
            report: Report::new(&model, prompt.ids.to_vec(), reference.as_ref()),
            engine: Engine::new(model),
            prompt,
            reference,
            activations: Activations::default(),
        }
    }

    /// Does the next part, a pass or two. `go_on` is asked between layers.
    pub fn advance(&mut self, go_on: GoOn<'_>) -> Progress {
        let started = Instant::now();
        let step = self.ahead.front().copied();
        let done = step.map_or(Ok(()), |step| self.step(step, go_on));
        self.report.millis += started.elapsed().as_secs_f64() * 1e3;
        if let Err(Stopped) = done {
            return Progress::Stopped;
        }
        self.ahead.pop_front();
        if self.ahead.is_empty() {
            Progress::Done
        } else {
            Progress::More
        }
    }

    /// What was found so far; all of it once nothing is ahead.
    pub fn into_report(self) -> Report {
        self.report
    }

    fn step(&mut self, step: Step, go_on: GoOn<'_>) -> Result<(), Stopped> {
        match step {
            Step::Record => self.record(go_on),
            Step::Heads => self.heads(go_on),
            Step::Lens => {
                self.lens();
                Ok(())
            }
            Step::NoChange => self.no_change(go_on),
            Step::Restart => self.restart(go_on),
            Step::Case(i) => {
                let reference = self.reference.as_ref();
                if let Some((reference, case)) = reference.and_then(|r| Some((r, r.cases.get(i)?)))
                {
                    let folder = reference.folder.as_deref();
                    let report = cases::compare(&mut self.engine, case, folder, go_on)?;
                    self.report.add_case(report);
                }
                Ok(())
            }
        }
    }

    fn record(&mut self, go_on: GoOn<'_>) -> Result<(), Stopped> {
        let sites = Site::all(&self.engine.model().spec);
        let dumped = stoppable(self.engine.dump_while(&self.prompt, &sites, go_on))?;
        let problem = match dumped {
            Ok(dumped) => {
                self.activations = Activations::new(dumped);
                None
            }
            Err(problem) => Some(problem),
        };
        for law in Law::OF_ACTIVATIONS {
            self.judge(law, |ground| match problem.clone() {
                None => ground.check(law),
                Some(problem) => Err(problem),
            });
        }
        Ok(())
    }

    fn heads(&mut self, go_on: GoOn<'_>) -> Result<(), Stopped> {
        // With every head at zero the attention output is b_O.
        let spec = &self.engine.model().spec;
        let heads = (0..spec.n_layers)
            .flat_map(|layer| (0..spec.n_heads).map(move |head| HeadId::new(layer, head)));
        let silent = RunSpec {
            edits: heads
                .map(|head| Edit::new(Target::Head(head), Op::Zero))
                .collect(),
            ..self.prompt.clone()
        };
        let sites: Vec<Site> = (0..spec.n_layers)
            .map(|layer| Site::Block(layer, Part::AttnOut))
            .collect();
        let biases = stoppable(self.engine.dump_while(&silent, &sites, go_on))?;
        self.judge(Law::HeadsSum, |ground| {
            ground.heads_sum(&Activations::new(biases?))
        });
        Ok(())
    }

    fn lens(&mut self) {
        let model = Arc::clone(self.engine.model());
        self.judge(Law::Lens, |ground| {
            let last = ground.final_stream()?;
            let logits = crate::experiment::lens(&model, last).map_err(|e| e.to_string())?;
            ground.lens(&logits)
        });
        self.activations = Activations::default();
    }

    fn no_change(&mut self, go_on: GoOn<'_>) -> Result<(), Stopped> {
        let middle = self.engine.model().spec.n_layers / 2;
        let targets = [
            Target::Head(HeadId::new(middle, 0)),
            Target::Attention(middle),
            Target::Mlp(middle),
            Target::Resid(0),
        ];
        let edits = targets.map(|target| scale(target, 1.0)).to_vec();
        let outcome = self.run(edits, go_on)?;
        self.judge(Law::NoChange, |ground| {
            let Outcome { before, after } = outcome?;
            ground.same_pass(Law::NoChange, &after.ok_or(NO_PASS)?, &before)
        });
        Ok(())
    }

    fn restart(&mut self, go_on: GoOn<'_>) -> Result<(), Stopped> {
        let last = self.engine.model().spec.n_layers - 1;
        let doubled = scale(Target::Head(HeadId::new(last, 0)), 2.0);
        let restarted = self.run(vec![doubled.clone()], go_on)?;
        // An edit at the top that changes nothing makes every layer run again.
        let whole = self.run(vec![scale(Target::Resid(0), 1.0), doubled], go_on)?;
        self.judge(Law::Restart, |ground| {
            let pass = |outcome: Outcome| -> Result<Pass, String> {
                outcome.after.ok_or_else(|| NO_PASS.to_owned())
            };
            let (restarted, whole) = (pass(restarted?)?, pass(whole?)?);
            if whole.restarted_at != 0 {
                return Err(format!(
                    "an edit of the first layer's stream ran from layer {} only",
                    whole.restarted_at
                ));
            }
            ground.same_pass(Law::Restart, &restarted, &whole)
        });
        Ok(())
    }

    fn run(
        &mut self,
        edits: Vec<Edit>,
        go_on: GoOn<'_>,
    ) -> Result<Result<Outcome, String>, Stopped> {
        let spec = RunSpec {
            edits,
            ..self.prompt.clone()
        };
        stoppable(self.engine.run(&spec, &mut While(go_on)))
    }

    /// Notes what a law's check gave, or why the law does not apply.
    fn judge(&mut self, law: Law, check: impl FnOnce(&Ground<'_>) -> Result<Tally, String>) {
        let spec = &self.engine.model().spec;
        let invariant = if let Some(reason) = law.exemption(spec) {
            Invariant::skipped(law, reason)
        } else {
            let ground = Ground {
                spec,
                precision: Precision::of(self.engine.model().compute.dtype.name()),
                activations: &self.activations,
            };
            Invariant::judged(law, check(&ground))
        };
        self.report.invariants.push(invariant);
    }
}

/// Tells a run that was stopped from one that failed, which is a finding.
fn stoppable<T>(result: Result<T, RunError>) -> Result<Result<T, String>, Stopped> {
    match result {
        Err(RunError::Stopped) => Err(Stopped),
        result => Ok(result.map_err(|error| error.to_string())),
    }
}

/// Checks a model from beginning to end.
pub fn check(model: Arc<Model>, reference: Option<Reference>) -> Report {
    let mut check = Check::new(model, reference);
    while check.advance(&mut || true) == Progress::More {}
    check.into_report()
}

const NO_PASS: &str = "the edited run is missing";

fn scale(target: Target, factor: f64) -> Edit {
    Edit::new(
        target,
        Op::Scale(Finite::new(factor).unwrap_or(Finite::ONE)),
    )
}

/// The model's sample prompt, cut to a length that any model's memory has room for; ids spread over the vocabulary where
/// there is no tokenizer.
fn prompt(model: &Model) -> RunSpec {
    let sample = match model.source.as_str() {
        demo::NAME => Prompt::Text(demo::FIRST_PROMPT.to_owned()),
        _ => Prompt::sample(),
    };
    let encoded = match (&model.tokenizer, sample) {
        (Some(tokenizer), Prompt::Text(text)) => tokenizer.encode(&text, BosRule::Auto).ok(),
        _ => None,
    };
    let n_vocab = model.spec.n_vocab;
    let mut ids = encoded
        .filter(|ids| !ids.is_empty() && ids.iter().all(|id| (*id as usize) < n_vocab))
        .unwrap_or_else(|| {
            (0..BUILT_IN_TOKENS)
                .map(|i| ((i * i * 7919 + 3) % n_vocab) as u32)
                .collect()
        });
    ids.truncate(MOST_TOKENS.min(model.spec.n_ctx));
    let last = ids.len() - 1;
    RunSpec {
        n_prompt: ids.len(),
        reach: ids.len(),
        ids: ids.into(),
        contrast: None,
        edits: Vec::new(),
        position: last,
        last,
        bos_count: 0,
        folder: None,
    }
}

#[cfg(test)]
mod tests;
