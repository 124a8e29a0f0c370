//! `headscope verify`: whether a model's numbers can be believed.

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use super::CliError;
use super::args::VerifyArgs;
use super::opened::{open, prepare};
use super::report::ModelReport;
use crate::compute::Dtype;
use crate::model::{Model, REFERENCE_FILE};
use crate::verify::{self, CaseReport, Deviation, Invariant, Reference, ReferenceReport, Report};
use crate::verify::{Status, Verdict};

const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Serialize)]
struct Output<'a> {
    schema_version: u32,
    model: ModelReport,
    /// `checked`, `invariants_only` without a reference, or `failed`.
    verdict: &'static str,
    /// The prompt that the invariants were tried on.
    ids: &'a [u32],
    invariants: Vec<InvariantEntry<'a>>,
    /// Null without a reference.
    reference: Option<ReferenceEntry<'a>>,
    timing_ms: Timing,
}

#[derive(Debug, Serialize)]
struct InvariantEntry<'a> {
    name: &'static str,
    statement: &'static str,
    /// `passed`, `failed` or `skipped`.
    status: &'static str,
    compared: usize,
    wrong: usize,
    /// The value that is farthest off; null where nothing was compared.
    worst: Option<DeviationEntry<'a>>,
    first_wrong: Option<DeviationEntry<'a>>,
    tolerance: &'static str,
    /// Why it was skipped or could not be checked.
    note: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ReferenceEntry<'a> {
    /// Null for the one inside the program.
    path: Option<String>,
    source: &'a str,
    compared: usize,
    wrong: usize,
    cases: Vec<CaseEntry<'a>>,
}

#[derive(Debug, Serialize)]
struct CaseEntry<'a> {
    edits: &'a [String],
    n_tokens: usize,
    status: &'static str,
    compared: usize,
    wrong: usize,
    worst: Option<DeviationEntry<'a>>,
    first_wrong: Option<DeviationEntry<'a>>,
    /// What kept the case from being run or compared.
    problem: Option<&'a str>,
}

/// Numbers that are not finite are null.
#[derive(Debug, Serialize)]
struct DeviationEntry<'a> {
    site: &'a str,
    index: &'a [usize],
    found: Option<f64>,
    expected: Option<f64>,
    difference: Option<f64>,
    tolerance: f64,
}

#[derive(Debug, Serialize)]
struct Timing {
    load: f64,
    check: f64,
}

pub(super) fn run(args: &VerifyArgs) -> Result<(), CliError> {
    let VerifyArgs {
        model,
        reference,
        json,
        compute,
    } = args;
    prepare(compute)?;
    // Before the model is read: a slip in a file's name shall not cost a minute of loading.
    let given = reference.as_deref().map(Reference::open);
    let given = given.transpose().map_err(anyhow::Error::from)?;
    let engine = open(model, compute.of(Dtype::F32))?;
    let model = engine.model();
    let reference = match given {
        Some(reference) => Some(reference),
        None => Reference::beside(model).map_err(anyhow::Error::from)?,
    };
    let report = verify::check(std::sync::Arc::clone(model), reference);
    if *json {
        let output = Output::new(model, &report);
        println!("{}", serde_json::to_string(&output).context("as JSON")?);
    } else {
        print!("{}", text(model, &report));
    }
    match report.first_failure() {
        Some(failure) => Err(CliError::Failed(anyhow!(failure))),
        None => Ok(()),
    }
}

impl<'a> Output<'a> {
    fn new(model: &Model, report: &'a Report) -> Self {
        let Report {
            dtype: _,
            ids,
            invariants,
            reference,
            millis,
        } = report;
        Self {
            schema_version: SCHEMA_VERSION,
            model: ModelReport::new(model),
            verdict: match report.verdict() {
                Verdict::Checked => "checked",
                Verdict::InvariantsOnly => "invariants_only",
                Verdict::Failed => "failed",
            },
            ids,
            invariants: invariants.iter().map(InvariantEntry::from).collect(),
            reference: reference.as_ref().map(ReferenceEntry::from),
            timing_ms: Timing {
                load: model.load_millis,
                check: *millis,
            },
        }
    }
}

impl<'a> From<&'a Invariant> for InvariantEntry<'a> {
    fn from(invariant: &'a Invariant) -> Self {
        let Invariant {
            law,
            status,
            tally,
            note,
        } = invariant;
        Self {
            name: law.name(),
            statement: law.statement(),
            status: word(*status),
            compared: tally.compared,
            wrong: tally.wrong,
            worst: tally.worst.as_ref().map(DeviationEntry::from),
            first_wrong: tally.first_wrong.as_ref().map(DeviationEntry::from),
            tolerance: law.tolerance(),
            note: note.as_deref(),
        }
    }
}

impl<'a> From<&'a ReferenceReport> for ReferenceEntry<'a> {
    fn from(reference: &'a ReferenceReport) -> Self {
        let (compared, wrong) = reference.counts();
        Self {
            path: reference
                .path
                .as_ref()
                .map(|path| path.display().to_string()),
            source: &reference.source,
            compared,
            wrong,
            cases: reference.cases.iter().map(CaseEntry::from).collect(),
        }
    }
}

impl<'a> From<&'a CaseReport> for CaseEntry<'a> {
    fn from(case: &'a CaseReport) -> Self {
        let CaseReport {
            edits,
            n_tokens,
            tally,
            problem,
        } = case;
        Self {
            edits,
            n_tokens: *n_tokens,
            status: word(case.status()),
            compared: tally.compared,
            wrong: tally.wrong,
            worst: tally.worst.as_ref().map(DeviationEntry::from),
            first_wrong: tally.first_wrong.as_ref().map(DeviationEntry::from),
            problem: problem.as_deref(),
        }
    }
}

impl<'a> From<&'a Deviation> for DeviationEntry<'a> {
    fn from(deviation: &'a Deviation) -> Self {
        let Deviation {
            site,
            index,
            found,
            expected,
            tolerance,
        } = deviation;
        let finite = |value: f64| value.is_finite().then_some(value);
        Self {
            site,
            index,
            found: finite(*found),
            expected: finite(*expected),
            difference: finite(deviation.difference()),
            tolerance: *tolerance,
        }
    }
}

const fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Failed => "failed",
        Status::Skipped => "skipped",
    }
}

/// The readable form.
fn text(model: &Model, report: &Report) -> String {
    let mut lines = vec![
        super::table::model_line(&ModelReport::new(model)),
        format!("invariants, on {} tokens", report.ids.len()),
    ];
    for invariant in &report.invariants {
        let what = match (&invariant.note, &invariant.tally) {
            (Some(note), _) => note.clone(),
            (None, tally) => figures(tally.compared, tally.worst.as_ref()),
        };
        let (status, statement) = (word(invariant.status), invariant.law.statement());
        lines.push(format!("  {status:<8}{statement:<44}{what}"));
    }
    match &report.reference {
        None => lines.push(format!(
            "no {REFERENCE_FILE} beside the model: only invariants were checked"
        )),
        Some(reference) => {
            lines.push(format!("reference: {}", reference.source));
            for case in &reference.cases {
                let what = match &case.problem {
                    Some(problem) => problem.clone(),
                    None => figures(case.tally.compared, case.tally.worst.as_ref()),
                };
                let edits = match &case.edits[..] {
                    [] => "no edits".to_owned(),
                    edits => edits.join(", "),
                };
                let status = word(case.status());
                let name = format!("{} tokens, {edits}", case.n_tokens);
                lines.push(format!("  {status:<8}{name:<44}{what}"));
            }
        }
    }
    lines.push(format!(
        "{} in {:.0} ms: {}",
        match report.verdict() {
            Verdict::Checked | Verdict::InvariantsOnly => "passed",
            Verdict::Failed => "FAILED",
        },
        report.millis,
        report.summary()
    ));
    lines.join("\n") + "\n"
}

fn figures(compared: usize, worst: Option<&Deviation>) -> String {
    let Some(worst) = worst else {
        return "nothing to compare".to_owned();
    };
    let figures = format!(
        "{compared} values, off by at most {:.1e}",
        worst.difference()
    );
    if worst.difference() == 0.0 {
        return figures;
    }
    format!(
        "{figures} of {:.1e} at {}{:?}",
        worst.tolerance, worst.site, worst.index
    )
}
