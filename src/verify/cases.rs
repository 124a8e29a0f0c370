//! The cases of a reference, run and compared value by value.

use std::collections::BTreeSet;
use std::path::Path;

use super::measure::{Tally, ravel};
use super::reference::{Case, Quantity, Value};
use super::report::CaseReport;
use crate::experiment::engine::{Dumped, Engine};
use crate::experiment::resolve::resolve;
use crate::experiment::{EditRow, Experiment, ReadPosition};
use crate::model::site::Site;
use crate::prompt::Prompt;

/// Runs a case and compares its values. `folder` is where the paths of `add` edits start.
pub(super) fn compare(engine: &mut Engine, case: &Case, folder: Option<&Path>) -> CaseReport {
    let mut report = CaseReport {
        edits: case.edits.iter().map(ToString::to_string).collect(),
        n_tokens: case.ids.len(),
        tally: Tally::default(),
        problem: None,
    };
    report.problem = run(engine, case, folder, &mut report.tally).err();
    report
}

/// An error is what keeps the case from being compared.
fn run(
    engine: &mut Engine,
    case: &Case,
    folder: Option<&Path>,
    tally: &mut Tally,
) -> Result<(), String> {
    let known: BTreeSet<Site> = Site::all(&engine.model().spec).into_iter().collect();
    let sites: BTreeSet<Site> = case.values.iter().map(|value| value.of.site()).collect();
    if let Some(site) = sites.iter().find(|site| !known.contains(site)) {
        return Err(format!("{site} is no activation of this model"));
    }
    // As the command line runs token ids, so that `@last` and means are the same.
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
    let resolved = resolve(&experiment, engine.model(), folder).map_err(|e| e.to_string())?;
    let sites: Vec<Site> = sites.into_iter().collect();
    let dumped = engine
        .dump(&resolved.spec, &sites)
        .map_err(|error| error.to_string())?;
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
