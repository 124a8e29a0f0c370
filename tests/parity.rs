//! Every site of the forward, and every edit, against Hugging Face's implementation in f64.
//!
//! The goldens and the program that makes them lie in `fixtures/`. The forward computes in f32: on activations of
//! magnitude 1 to 10 its rounding stays below 1e-5, an order under the tolerance.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headscope::experiment::RunSpec;
use headscope::experiment::engine::{Engine, RunError, Unwatched};
use headscope::model::load::{Unreported, open};
use headscope::model::site::Site;
use serde_json::Value;

use support::{close, fixture, fixture_model, run_spec};

const TOLERANCE: f32 = 5e-5;

const MODELS: [&str; 20] = [
    "tiny-gpt2",
    "tiny-llama",
    "tiny-llama-tied",
    "tiny-gpt-neox",
    "tiny-gpt-neox-sequential",
    "tiny-gpt-neo",
    "tiny-opt",
    "tiny-mistral",
    "tiny-qwen2",
    "tiny-qwen2-windowed",
    "tiny-qwen3",
    "tiny-gemma2",
    "tiny-gemma3-text",
    "tiny-phi",
    "tiny-phi3",
    "tiny-bert",
    "tiny-bert-base",
    "tiny-distilbert",
    "tiny-roberta",
    "tiny-modernbert",
];

/// Other forms of a model, with the folder whose goldens hold. A GGUF that cannot say all of a config has its own.
const FORMS: [(&str, &str); 15] = [
    ("tiny-gpt2-prefixed", "tiny-gpt2"),
    ("tiny-llama-sharded", "tiny-llama"),
    ("tiny-llama-gguf/tiny-llama.gguf", "tiny-llama"),
    ("tiny-gpt-neox-gguf/tiny-gpt-neox.gguf", "tiny-gpt-neox"),
    (
        "tiny-gpt-neox-sequential-gguf/tiny-gpt-neox-sequential.gguf",
        "tiny-gpt-neox-sequential-gguf",
    ),
    ("tiny-mistral-gguf/tiny-mistral.gguf", "tiny-mistral-gguf"),
    ("tiny-qwen2-gguf/tiny-qwen2.gguf", "tiny-qwen2"),
    ("tiny-qwen3-gguf/tiny-qwen3.gguf", "tiny-qwen3"),
    ("tiny-gemma2-gguf/tiny-gemma2.gguf", "tiny-gemma2-gguf"),
    ("tiny-gemma3-gguf/tiny-gemma3.gguf", "tiny-gemma3-gguf"),
    ("tiny-phi-gguf/tiny-phi.gguf", "tiny-phi"),
    ("tiny-phi-gguf/tiny-phi-fused.gguf", "tiny-phi"),
    ("tiny-phi3-gguf/tiny-phi3.gguf", "tiny-phi3"),
    ("tiny-bert-old", "tiny-bert"),
    ("tiny-modernbert-5", "tiny-modernbert"),
];

/// Shape and values.
type Golden = (Vec<usize>, Vec<f32>);

fn goldens(model: &str) -> (Vec<u32>, BTreeMap<String, Golden>) {
    let bytes = std::fs::read(fixture(&format!("models/{model}/goldens.safetensors"))).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor("ids").unwrap();
    let ids = bytemuck::pod_collect_to_vec::<u8, i64>(ids.data());
    let sites = file
        .iter()
        .filter(|(name, _)| *name != "ids")
        .map(|(name, tensor)| {
            let values = bytemuck::pod_collect_to_vec::<u8, f32>(tensor.data());
            (name.to_owned(), (tensor.shape().to_vec(), values))
        })
        .collect();
    (ids.into_iter().map(|id| id as u32).collect(), sites)
}

/// Compares in order of execution, so that the first wrong site is the one to look at.
fn check_every_site(model: &str, goldens_of: &str) -> Result<(), String> {
    let (ids, goldens) = goldens(goldens_of);
    let wrong = |what: String| format!("{model}: {what}");
    let path = fixture(&format!("models/{model}"));
    let model = open(path.to_str().unwrap(), &mut Unreported).map_err(|e| wrong(e.to_string()))?;
    let sites = Site::all(&model.spec);
    let mut engine = Engine::new(Arc::new(model));
    let dumped = engine.dump(&run_spec(&ids, &[]), &sites).unwrap();
    let names: BTreeSet<&str> = dumped.iter().map(|a| a.name.as_str()).collect();
    let expected: BTreeSet<&str> = goldens.keys().map(String::as_str).collect();
    if names != expected {
        let differing: Vec<_> = names.symmetric_difference(&expected).collect();
        return Err(wrong(format!("only one has the sites {differing:?}")));
    }
    for activation in &dumped {
        let (shape, values) = &goldens[&activation.name];
        if *shape != activation.shape {
            return Err(wrong(format!("first wrong shape: {}", activation.name)));
        }
        close(&activation.values, values, TOLERANCE)
            .map_err(|worst| wrong(format!("first wrong site: {}: {worst}", activation.name)))?;
    }
    Ok(())
}

/// All that went wrong, not the first alone.
fn none_wrong(checks: impl Iterator<Item = Result<(), String>>) {
    let wrong: Vec<String> = checks.filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_model_equals_hugging_face_at_every_site() {
    none_wrong(MODELS.iter().map(|name| check_every_site(name, name)));
}

#[test]
fn other_forms_of_a_checkpoint_give_the_same_model() {
    none_wrong(FORMS.iter().map(|(form, of)| check_every_site(form, of)));
}

#[test]
fn every_edit_equals_an_independent_forward() {
    for name in MODELS {
        let text = std::fs::read_to_string(fixture(&format!("models/{name}/edits.json"))).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(cases.len() > 20);
        let mut engine = Engine::new(fixture_model(name));
        for case in &cases {
            let spec = support::spec_of_case(case, name);
            // The trunk of an encoder gives no logits: there the goldens are rows of the final stream.
            let what = if case["resid"].is_null() {
                "logits"
            } else {
                "resid"
            };
            for golden in case[what].as_array().unwrap() {
                let position = golden["position"].as_u64().unwrap() as usize;
                let spec = RunSpec {
                    position,
                    ..spec.clone()
                };
                let found = if what == "logits" {
                    logits(&mut engine, &spec)
                } else {
                    final_row(&mut engine, &spec)
                };
                let found =
                    found.unwrap_or_else(|error| panic!("{name} {}: {error}", case["edits"]));
                let expected: Vec<f32> = golden[what]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|v| v.as_f64().unwrap() as f32)
                    .collect();
                if let Err(worst) = close(&found, &expected, TOLERANCE) {
                    panic!("{name} {} at position {position}: {worst}", case["edits"]);
                }
            }
        }
    }
}

/// At the read position, as the window has them.
fn logits(engine: &mut Engine, spec: &RunSpec) -> Result<Vec<f32>, RunError> {
    let outcome = engine.run(spec, &mut Unwatched)?;
    let pass = outcome.after.unwrap_or(outcome.before);
    Ok(pass.logits.unwrap().to_vec())
}

/// What the last layer leaves at the read position. The window's run must go through as well, without logits.
fn final_row(engine: &mut Engine, spec: &RunSpec) -> Result<Vec<f32>, RunError> {
    let outcome = engine.run(spec, &mut Unwatched)?;
    assert!(outcome.after.unwrap_or(outcome.before).logits.is_none());
    let (n_layers, width) = {
        let spec = &engine.model().spec;
        (spec.n_layers, spec.d_model)
    };
    let name = format!("blocks.{}.hook_normalized_resid_post", n_layers - 1);
    let rows = engine.dump(spec, &[name.parse().unwrap()])?.remove(0);
    Ok(rows.values[spec.position * width..][..width].to_vec())
}

#[test]
fn what_cannot_be_applied_is_refused_and_named() {
    for name in MODELS {
        let text =
            std::fs::read_to_string(fixture(&format!("models/{name}/refused.json"))).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        for case in &cases {
            let edits: Result<Vec<_>, _> = case["edits"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e.as_str().unwrap().parse::<headscope::edit::Edit>())
                .collect();
            // Some are refused as text already.
            if edits.is_ok() {
                let mut engine = Engine::new(fixture_model(name));
                let error = engine
                    .run(&support::spec_of_case(case, name), &mut Unwatched)
                    .map(|_| ())
                    .unwrap_err()
                    .to_string();
                assert!(error.starts_with("edit `"), "{case}: {error}");
            }
        }
    }
}
