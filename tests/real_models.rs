//! Real weights against the independent values that lie beside them, at the tolerances written there.
//! Runs where `HEADSCOPE_TEST_MODELS` names the folder of models.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helper may panic, and says what it compared"
)]

mod support;

use std::path::Path;
use std::sync::Arc;

use headscope::experiment::RunSpec;
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::model::load::{Unreported, open};
use headscope::model::site::Site;
use headscope::verify::{Reference, Verdict, check};

fn check_reference(folder: &Path, model: &str) {
    let path = folder.join(model);
    let source = path.to_str().unwrap();
    let reference = Reference::beside(source).unwrap().unwrap();
    let model = Arc::new(open(source, &mut Unreported).unwrap());
    let report = check(Arc::clone(&model), Some(reference.clone()));
    assert_eq!(report.first_failure(), None, "{}", report.summary());
    assert_eq!(report.verdict(), Verdict::Checked);
    // Nothing in the file was passed over.
    let (compared, _) = report.reference.as_ref().unwrap().counts();
    let written: usize = reference.cases.iter().map(|case| case.values.len()).sum();
    assert_eq!(compared, written);
    println!("{}: {}", model.name, report.summary());
    assert!(compared > 50);

    // The short way of the window gives the same logits as the whole run.
    let mut engine = Engine::new(Arc::clone(&model));
    for case in &reference.cases {
        let spec = RunSpec {
            contrast: case.contrast_ids.clone().map(Into::into),
            edits: case.edits.clone(),
            ..support::run_spec(&case.ids, &[])
        };
        let outcome = engine.run(&spec, &mut Unwatched).unwrap();
        let logits = outcome.after.unwrap_or(outcome.before).logits.unwrap();
        let whole = engine
            .dump(&spec, &[Site::Logits])
            .unwrap()
            .remove(0)
            .values;
        let row = &whole[spec.position * model.spec.n_vocab..];
        support::close(&logits, row, 2e-4).unwrap();
    }
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
