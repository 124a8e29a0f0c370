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
use headscope::prompt::BosRule;
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

/// The three sentences of the sentence-transformers quick start: how alike their mean-pooled last residuals are.
///
/// The f16 file rounds the published weights, which moves the cosines by up to 8e-5: the fixture has those of the
/// rounded weights in f64, to six digits. An f32 forward keeps within 1e-6 of them; rounding makes that 2e-6.
#[test]
fn minilm_finds_the_published_likenesses() {
    let Some(models) = support::real_models("MiniLM") else {
        return;
    };
    let path = models.join("all-minilm-l6-v2-fp16");
    let model = Arc::new(open(path.to_str().unwrap(), &mut Unreported).unwrap());
    let cosines = std::fs::read(support::fixture("minilm_cosines.json")).unwrap();
    let cosines: Value = serde_json::from_slice(&cosines).unwrap();
    let last = format!(
        "blocks.{}.hook_normalized_resid_post",
        model.spec.n_layers - 1
    );
    let site: Site = last.parse().unwrap();
    let mut engine = Engine::new(Arc::clone(&model));
    let means: Vec<Vec<f64>> = cosines["sentences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sentence| {
            let ids: Vec<u32> = serde_json::from_value(sentence["ids"].clone()).unwrap();
            let text = sentence["text"].as_str().unwrap();
            let tokenizer = model.tokenizer.as_ref().unwrap();
            assert_eq!(
                tokenizer.encode(text, BosRule::Auto).unwrap(),
                ids,
                "{text}"
            );
            let rows = engine
                .dump(&support::run_spec(&ids, &[]), &[site])
                .unwrap()
                .remove(0)
                .values;
            let width = model.spec.d_model;
            (0..width)
                .map(|i| {
                    rows.iter()
                        .skip(i)
                        .step_by(width)
                        .map(|v| f64::from(*v))
                        .sum()
                })
                .collect()
        })
        .collect();
    let cosine = |a: &[f64], b: &[f64]| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let pairs: Vec<[usize; 2]> = serde_json::from_value(cosines["pairs"].clone()).unwrap();
    for (i, [a, b]) in pairs.into_iter().enumerate() {
        let found = cosine(&means[a], &means[b]);
        let rounded = cosines["cosines_f16_weights"][i].as_f64().unwrap();
        let published = cosines["published"][i].as_f64().unwrap();
        println!("MiniLM: cosine {found:.6}, in f64 {rounded}, published {published}");
        assert!((found - rounded).abs() < 2e-6, "{found} {rounded}");
        // What the rounding of the weights moves, and half a unit of the published fourth digit.
        assert!(
            (found - published).abs() < 8e-5 + 5e-5,
            "{found} {published}"
        );
    }
}

#[test]
fn smollm2_from_gguf_agrees_with_its_reference() {
    if let Some(models) = support::real_models("SmolLM2") {
        let folder = models.join("smollm2-135m-instruct-q4_1");
        check_reference(&folder, "SmolLM2-135M-Instruct.Q4_1.gguf");
    }
}
