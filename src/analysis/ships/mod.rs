//! Which heads decide whether a model declines: Ships, generalised Ships and Sahara (Zhou et al. 2024, "On the Role of
//! Attention Heads in Large Language Model Safety", and its released code).
//!
//! - Ships of a prompt and a head: KL(intact ‖ head ablated) of the next token, in nats.
//! - Generalised Ships of a set of prompts: the final rows (after the final norm) of all prompts, `[prompt, d_model]`, of
//!   the intact and of the ablated model; the principal angles between their first `rank` left singular vectors, in
//!   degrees, added up. Nothing is centred.
//! - Sahara: a group grown head by head, each time by the one whose group has the largest generalised Ships.
//!
//! Undifferentiated attention is the edit `uniform`: what W_q or W_k times ε comes to without a bias, and it leaves the keys
//! alone that a group of heads shares. The paper ablates harmful requests; [`BENIGN`] are polite ones, and the change of
//! P(an opener of a refusal) says whether declining is what changes. Answers are greedy.

mod principal;
mod refusals;
mod settings;
mod tables;

use std::sync::Arc;

use self::principal::{Basis, FinalRows};
use crate::analysis::metric::{Metric, kl};
use crate::analysis::{AnalysisError, Case, Cell, HeadScores, Progress, Report, Scale, Table};
use crate::edit::Edit;
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::resolve::resolve;
use crate::experiment::{Experiment, Reading};
use crate::ids::HeadId;
use crate::model::Model;
use crate::prompt::Prompt;

pub use self::refusals::{BENIGN, OPENERS};
pub use self::settings::{Ablation, Form, Settings};

/// Heads that are listed for each prompt.
const LISTED: usize = 10;

/// Prompts from which on the paper's angles are stable.
const ENOUGH: usize = 16;

/// Logits of a sweep that are held at a time.
const MOST_LOGITS: usize = 1 << 26;

/// Requests as [`crate::analysis::texts::read`] gives them, without their domains; none: [`BENIGN`].
pub fn of_texts(texts: &[String]) -> Vec<String> {
    if texts.is_empty() {
        return BENIGN.iter().map(|text| (*text).to_owned()).collect();
    }
    let text = |line: &String| {
        line.split_once('\t')
            .map_or(line.clone(), |(_, text)| text.to_owned())
    };
    texts.iter().map(text).collect()
}

/// Ships of all heads on requests as text.
pub fn ships(
    engine: &mut Engine,
    texts: &[String],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let cases = cases(engine.model(), texts, settings)?;
    of_cases(engine, &cases, settings, progress)
}

/// Requests as prompts; the answers of each are the first tokens of the openers.
pub fn cases(
    model: &Model,
    texts: &[String],
    settings: &Settings,
) -> Result<Vec<Case>, AnalysisError> {
    if !settings.template.contains("{q}") {
        return Err(AnalysisError::needs(
            "the template has no {q}: put it where the request belongs",
        ));
    }
    let case = |(i, text): (usize, &String)| {
        let prompt = Prompt::Text(settings.prompt(model, text)?);
        let mut experiment = Experiment::new(prompt);
        experiment.bos = settings.bos();
        experiment.answers.clone_from(&settings.openers);
        let resolved = resolve(&experiment, model, None)
            .map_err(|error| AnalysisError::needs(format!("request {}: {error}", i + 1)))?;
        let mut answers: Vec<u32> = resolved.answers.iter().map(|answer| answer.id).collect();
        answers.sort_unstable();
        answers.dedup();
        Ok(Case {
            label: text.trim().replace('\n', "⏎"),
            spec: resolved.spec,
            answers,
            wrong: vec![],
            ..Case::default()
        })
    };
    texts.iter().enumerate().map(case).collect()
}

/// As [`ships`], of prompts that are tokens already; the answers of each are tokens that open a refusal.
pub fn of_cases(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    settings.check(&model, cases.len())?;
    let spec = &model.spec;
    let heads: Vec<HeadId> = (0..spec.n_layers)
        .flat_map(|layer| (0..spec.n_heads).map(move |head| HeadId::new(layer, head)))
        .collect();
    let has_angles = cases.len() > 1;
    let steps = if has_angles {
        settings.steps.min(heads.len())
    } else {
        0
    };
    let mut work = Work {
        rows: FinalRows::new(engine, &cases[0].spec)?,
        engine,
        cases,
        settings,
        heads: &heads,
        progress,
        done: 0,
        total: cases.len() * (1 + steps.saturating_sub(1) + 1),
    };
    let singles = work.singles()?;
    let mut report = singles.report.clone();
    if has_angles {
        let angles = work.angles(&singles.intact, &singles.ablated);
        let group = work.sahara(&singles.intact, angles.clone(), steps, &mut report)?;
        let of = |head: HeadId| Some(angles[head.layer * spec.n_heads + head.head] as f32);
        report.scores.push(HeadScores::of_heads(
            "ships_angle",
            "generalised Ships: principal angles of the final rows of all requests, in degrees",
            Scale::Positive,
            (spec.n_layers, spec.n_heads),
            of,
        ));
        work.answers(&group, &mut report)?;
    } else {
        report.note("one request has no angles: generalised Ships and Sahara need at least two");
        work.answers(&[], &mut report)?;
    }
    let is_solved = work.rows.is_solved();
    finish(&mut report, cases, has_angles && !is_solved);
    Ok(report)
}

fn finish(report: &mut Report, cases: &[Case], is_dumped: bool) {
    report.note(
        "a large value says that a head matters for the next token, of whatever kind (equal attention breaks heads that \
         rest on the first token): whether it is about declining is for the answers to say",
    );
    if (2..ENOUGH).contains(&cases.len()) {
        report.note(format!(
            "angles of {} requests: the method is meant for {ENOUGH} or more",
            cases.len()
        ));
    }
    if is_dumped {
        report.note("final rows could not be had from logits: each took a pass of its own");
    }
    if cases.iter().all(|case| case.answers.is_empty()) {
        report.note("no openers were given: the change of refusals is left out");
    } else {
        report.note(
            "openers are read by their first token, which may open other answers too (`I`): read the answers as well",
        );
    }
}

/// A measurement under way.
struct Work<'a> {
    engine: &'a mut Engine,
    rows: FinalRows,
    cases: &'a [Case],
    settings: &'a Settings,
    heads: &'a [HeadId],
    progress: &'a mut dyn Progress,
    /// Sweeps over one request, done and in all.
    done: usize,
    total: usize,
}

/// What the table of single heads is made of.
struct Singles {
    /// `[case][d_model]`
    intact: Vec<Vec<f64>>,
    /// `[head][case][d_model]`
    ablated: Vec<Vec<Vec<f64>>>,
    report: Report,
}

impl Work<'_> {
    /// Every head ablated alone, on every request.
    fn singles(&mut self) -> Result<Singles, AnalysisError> {
        let spec = &Arc::clone(self.engine.model()).spec;
        let variants: Vec<Vec<Edit>> = self
            .heads
            .iter()
            .map(|head| self.settings.edits(&[*head]))
            .collect();
        let mut intact = vec![];
        let mut ablated = vec![vec![]; variants.len()];
        let (mut kls, mut changes) = (vec![], vec![]);
        let mut report = Report::default();
        for (i, case) in self.cases.iter().enumerate() {
            let all = Reading::default();
            let plain = self
                .engine
                .sweep(&case.spec, &[vec![]], all, &mut |_| true)?;
            let (mut of_kl, mut of_change, mut rows) = (vec![], vec![], vec![]);
            let chunk = (MOST_LOGITS / spec.n_vocab).max(1);
            for (n, part) in variants.chunks(chunk).enumerate() {
                let before = (n * chunk) as f32 / variants.len() as f32;
                let share = part.len() as f32 / variants.len() as f32;
                let (progress, done, total) = (&mut *self.progress, self.done, self.total);
                let go_on = &mut |f: f32| {
                    progress.at((done as f32 + before + f * share) / total as f32, None)
                };
                let logits = self.engine.sweep(&case.spec, part, all, go_on)?;
                for edited in &logits {
                    let value = kl(&plain[0], edited) as f32;
                    of_kl.push(value.is_finite().then_some(value));
                    let openers = |logits| Metric::Prob.of(case, logits, &[]);
                    let has_openers = !case.answers.is_empty();
                    let change = || Some(openers(edited)? - openers(&plain[0])?);
                    of_change.push(has_openers.then(change).flatten());
                }
                // One request has no angles.
                if self.cases.len() > 1 {
                    let of_part =
                        self.rows
                            .of_logits(self.engine, &case.spec, part, &logits, go_on)?;
                    rows.extend(of_part);
                }
            }
            let own =
                self.rows
                    .of_logits(self.engine, &case.spec, &[vec![]], &plain, &mut |_| true)?;
            intact.extend(own);
            for (of_head, row) in ablated.iter_mut().zip(rows) {
                of_head.push(row);
            }
            kls.push(of_kl);
            changes.push(of_change);
            report = self.table(&self.cases[..=i], &kls, &changes);
            self.done += 1;
            self.tell(&report)?;
        }
        Ok(Singles {
            intact,
            ablated,
            report,
        })
    }

    fn tell(&mut self, report: &Report) -> Result<(), AnalysisError> {
        let fraction = self.done as f32 / self.total as f32;
        if self.progress.at(fraction, Some(report)) {
            Ok(())
        } else {
            Err(RunError::Stopped.into())
        }
    }

    /// Generalised Ships of each variant, `[variant]`, from its rows `[variant][case][d_model]`.
    fn angles(&self, intact: &[Vec<f64>], ablated: &[Vec<Vec<f64>>]) -> Vec<f64> {
        let basis = |rows: &[Vec<f64>]| {
            let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
            Basis::new(&rows, self.settings.rank)
        };
        let plain = basis(intact);
        ablated
            .iter()
            .map(|rows| plain.angle(&basis(rows)))
            .collect()
    }

    /// Grows the group; `first` are the angles of single heads.
    fn sahara(
        &mut self,
        intact: &[Vec<f64>],
        first: Vec<f64>,
        steps: usize,
        report: &mut Report,
    ) -> Result<Vec<HeadId>, AnalysisError> {
        let mut group: Vec<HeadId> = vec![];
        let mut angles = first;
        let (mut rows, mut bars) = (vec![], vec![]);
        for n in 0..steps {
            let left: Vec<HeadId> = self
                .heads
                .iter()
                .filter(|head| !group.contains(head))
                .copied()
                .collect();
            if n > 0 {
                let variants: Vec<Vec<Edit>> = left
                    .iter()
                    .map(|head| self.settings.edits(&[&group[..], &[*head]].concat()))
                    .collect();
                let mut ablated = vec![vec![]; left.len()];
                for case in self.cases {
                    let (progress, done, total) = (&mut *self.progress, self.done, self.total);
                    let go_on = &mut |f: f32| progress.at((done as f32 + f) / total as f32, None);
                    let of_case = self.rows.sweep(self.engine, &case.spec, &variants, go_on)?;
                    for (of_head, row) in ablated.iter_mut().zip(of_case) {
                        of_head.push(row);
                    }
                    self.done += 1;
                }
                angles = self.angles(intact, &ablated);
            }
            // The first of equals.
            let best =
                (0..left.len()).max_by(|a, b| angles[*a].total_cmp(&angles[*b]).then(b.cmp(a)));
            let Some(best) = best else { break };
            group.push(left[best]);
            rows.push(vec![
                Cell::from(n + 1),
                Cell::from(left[best].to_string()),
                Cell::from(angles[best]),
            ]);
            bars.push((format!("+ {}", left[best]), angles[best]));
        }
        if !rows.is_empty() {
            let about = "generalised Ships of the group, after each head that joins it";
            report.bar_chart("sahara", about, "degrees", bars);
            report.tables.push(Table {
                name: "sahara".into(),
                columns: ["step", "head", "angle of the group"]
                    .map(str::to_owned)
                    .into(),
                rows,
            });
        }
        Ok(group)
    }
}

#[cfg(test)]
mod tests;
