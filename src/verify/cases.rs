//! The cases of a reference, run and compared value by value.

use std::collections::BTreeSet;
use std::path::Path;

use super::measure::{Tally, ravel};
use super::reference::{Case, Quantity, Value};
use super::report::CaseReport;
use super::{GoOn, Stopped, stoppable};
use crate::experiment::engine::{Dumped, Engine};
use crate::experiment::resolve::resolve;
use crate::experiment::{EditRow, Experiment, ReadPosition, RunSpec};
use crate::model::site::Site;
use crate::prompt::Prompt;

/// Runs a case and compares its values. `folder` is where the paths of `add` edits start.
pub(super) fn compare(
    engine: &mut Engine,
    case: &Case,
    folder: Option<&Path>,
    go_on: GoOn<'_>,
) -> Result<CaseReport, Stopped> {
    let mut report = CaseReport {
        edits: case.edits.iter().map(ToString::to_string).collect(),
        n_tokens: case.ids.len(),
        tally: Tally::default(),
        problem: None,
    };
    let dumped = match prepare(engine, case, folder) {
        Ok((spec, sites)) => stoppable(engine.dump_while(&spec, &sites, go_on))?,
        Err(problem) => Err(problem),
    };
    let compared = dumped.and_then(|dumped| tally(case, &dumped, &mut report.tally));
    report.problem = compared.err();
    Ok(report)
}

/// The run of a case, and what is to be recorded of it. As the command line runs token ids, so that `@last` and means are
/// the same.
fn prepare(
    engine: &Engine,
    case: &Case,
    folder: Option<&Path>,
) -> Result<(RunSpec, Vec<Site>), String> {
    let model = engine.model();
    let sites: BTreeSet<Site> = case.values.iter().map(|value| value.of.site()).collect();
    if let Some(site) = sites.iter().find(|site| !site.is_in(&model.spec)) {
        return Err(format!("{site} is no activation of this model"));
    }
    let experiment = Experiment {
        contrast: case.contrast_ids.clone().map(Prompt::Ids),
        edits: case
            .edits
            .iter()
            .map(|edit| EditRow {
                edit: edit.clone(),
                enabled: true,
            })
            .collect(),
        position: ReadPosition::At(case.ids.len() - 1),
        ..Experiment::new(Prompt::Ids(case.ids.clone()))
    };
    let resolved = resolve(&experiment, model, folder).map_err(|error| error.to_string())?;
    Ok((resolved.spec, sites.into_iter().collect()))
}

fn tally(case: &Case, dumped: &[Dumped], tally: &mut Tally) -> Result<(), String> {
    for value in &case.values {
        let name = value.of.site().to_string();
        let activation = dumped
            .iter()
            .find(|activation| activation.name == name)
            .ok_or_else(|| format!("{name} was not recorded"))?;
        let found = read(activation, value)?;
        let place = || (value.of.name(), value.index.clone());
        tally.note(place, found, value.value, value.tolerance);
    }
    Ok(())
}

fn read(activation: &Dumped, value: &Value) -> Result<f64, String> {
    let at = |index: &[usize]| {
        ravel(index, &activation.shape)
            .map(|flat| f64::from(activation.values[flat]))
            .ok_or_else(|| {
                format!(
                    "{} has no index {:?}: its shape is {:?}",
                    value.of.name(),
                    value.index,
                    activation.shape
                )
            })
    };
    match (&value.of, &value.index[..]) {
        (Quantity::Site(_), index) => at(index),
        (Quantity::LogitDiff, [batch, position, first, second]) => {
            Ok(at(&[*batch, *position, *first])? - at(&[*batch, *position, *second])?)
        }
        (Quantity::LogitDiff, _) => Err(format!(
            "the index of a logit_diff is [0, position, token id, token id], not {:?}",
            value.index
        )),
    }
}
