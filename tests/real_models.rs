//! Real weights against the independent values that lie beside them, at the tolerances written there.
//! Runs where `HEADSCOPE_TEST_MODELS` names the folder of models.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helper may panic, and says what it compared"
)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use headscope::experiment::RunSpec;
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::model::load::{Unreported, open};
use headscope::model::site::Site;
use serde_json::Value;

fn check_reference(folder: &Path, model: &str) {
    let reference = std::fs::read(folder.join("headscope-reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&reference).unwrap();
    let model = Arc::new(open(folder.join(model).to_str().unwrap(), &mut Unreported).unwrap());
    let mut engine = Engine::new(Arc::clone(&model));
    let mut compared = 0;
    for case in reference["cases"].as_array().unwrap() {
        let spec = support::spec_of_case(case, "");
        let values = case["values"].as_array().unwrap();
        let mut by_site: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for value in values {
            by_site
                .entry(value["site"].as_str().unwrap())
                .or_default()
                .push(value);
        }
        let sites: Vec<Site> = by_site.keys().map(|name| name.parse().unwrap()).collect();
        let dumped = engine.dump(&spec, &sites).unwrap();
        for activation in &dumped {
            for value in &by_site[activation.name.as_str()] {
                let index = value["index"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .zip(&activation.shape)
                    .fold(0, |flat, (i, size)| {
                        flat * size + i.as_u64().unwrap() as usize
                    });
                let (expected, tolerance) = (
                    value["value"].as_f64().unwrap(),
                    value["tolerance"].as_f64().unwrap(),
                );
                let found = f64::from(activation.values[index]);
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{} {} {}: {found} where {expected} ± {tolerance} is right",
                    case["edits"],
                    activation.name,
                    value["index"]
                );
                compared += 1;
            }
        }
        // The short way of the window gives the same logits as the whole run.
        let position = spec.ids.len() - 1;
        let outcome = engine
            .run(
                &RunSpec {
                    position,
                    ..spec.clone()
                },
                &mut Unwatched,
            )
            .unwrap();
        let logits = outcome.after.unwrap_or(outcome.before).logits.unwrap();
        let whole = engine
            .dump(&spec, &[Site::Logits])
            .unwrap()
            .remove(0)
            .values;
        let row = &whole[position * model.spec.n_vocab..];
        support::close(&logits, row, 2e-4).unwrap();
    }
    println!("{}: {compared} values agree", model.name);
    assert!(compared > 50);
}

#[test]
fn gpt_nano_sort_agrees_with_its_reference() {
    if let Some(models) = support::real_models("gpt-nano-sort") {
        check_reference(&models.join("gpt-nano-sort"), "");
    }
}

#[test]
fn stories260k_agrees_with_its_reference() {
    if let Some(models) = support::real_models("stories260k") {
        check_reference(&models.join("stories260k"), "");
    }
}

#[test]
fn smollm2_from_gguf_agrees_with_its_reference() {
    if let Some(models) = support::real_models("SmolLM2") {
        let folder = models.join("smollm2-135m-instruct-q4_1");
        check_reference(&folder, "SmolLM2-135M-Instruct.Q4_1.gguf");
    }
}
