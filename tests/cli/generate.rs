//! `generate`: text before and after the edits.

use super::{Program, assert_keys};
use serde_json::Value;
use std::path::Path;

#[test]
fn text_is_generated_before_and_after_the_edits() {
    let program = Program::new();
    let arguments = ["generate", "demo", "--tokens", "6", "--edit", "L1H3=zero"];
    let report = program.json(&arguments);
    assert_keys(
        &report,
        &[
            "schema_version",
            "model",
            "tokens",
            "edits",
            "before",
            "after",
            "parts_at",
            "warnings",
            "timing_ms",
        ],
    );
    assert_keys(&report["timing_ms"], &["load", "before", "after"]);
    assert_eq!(report["edits"], serde_json::json!(["L1H3=zero"]));
    let n_prompt = report["tokens"].as_array().unwrap().len();
    // The first tokens are those that `run` predicts.
    let run = program.json(&["run", "demo", "--edit", "L1H3=zero"]);
    for side in ["before", "after"] {
        let text = &report[side];
        assert_keys(text, &["text", "end", "tokens"]);
        let steps = text["tokens"].as_array().unwrap();
        assert!(!steps.is_empty() && steps.len() <= 6);
        let top = &run[side]["top"][0];
        assert_eq!(steps[0]["id"], top["id"], "{side}");
        let close = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-4;
        assert!(close(&steps[0]["logit"], &top["logit"]));
        for (i, step) in steps.iter().enumerate() {
            assert_keys(step, &["index", "id", "text", "logit", "prob", "top"]);
            assert_eq!(step["index"], n_prompt + i);
            assert_eq!(step["top"][0]["id"], step["id"]);
        }
        let joined: String = steps
            .iter()
            .map(|step| step["text"].as_str().unwrap())
            .collect();
        assert!(
            joined.starts_with(text["text"].as_str().unwrap()),
            "{joined}"
        );
    }
    let first = |side: &str| report[side]["tokens"][0]["text"].clone();
    assert_eq!(
        (first("before"), first("after")),
        (" London".into(), " Warsaw".into())
    );
    assert_eq!(report["parts_at"], n_prompt);
    let table = program.done(&arguments);
    for part in [
        "before `",
        "after  `",
        "` London`",
        "` Warsaw`",
        "part at position",
        "ms a token",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let plain = program.json(&arguments[..4]);
    assert!(plain["after"].is_null() && plain["parts_at"].is_null());
    assert_eq!(
        plain["before"]["tokens"].to_string(),
        report["before"]["tokens"].to_string()
    );
}

#[test]
fn text_ends_at_the_models_end_of_text_and_says_so() {
    let program = Program::new();
    // The last token before the end, after which the model ends the text, whatever it was.
    let long = program.json(&["generate", "demo", "--tokens", "100"]);
    let tokens = long["before"]["tokens"].as_array().unwrap();
    let folder = program.path("model");
    std::fs::create_dir(&folder).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models/demo");
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    let end = &tokens[2]["id"];
    let first = tokens.iter().position(|token| token["id"] == *end).unwrap();
    let config = format!(r#"{{"eos_token_id": [{end}, 9999]}}"#);
    program.write("model/generation_config.json", &config);
    let prompt: Vec<String> = long["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["id"].to_string())
        .collect();
    let prompt = prompt.join(",");
    let arguments = ["generate", "./model", "--ids", &prompt];
    let report = program.json(&arguments);
    let text = &report["before"];
    assert_eq!(text["end"], "end_of_text");
    assert_eq!(text["tokens"].as_array().unwrap().len(), first + 1);
    let last = text["tokens"][first]["text"].as_str().unwrap();
    assert!(!text["text"].as_str().unwrap().ends_with(last));
    let table = program.done(&arguments);
    assert!(
        table.contains(&format!(
            "the model ended the text at its token {}",
            first + 1
        )),
        "{table}"
    );
    program.write("model/generation_config.json", "{");
    program.refused(1, &arguments, &["generation_config.json"]);
}

#[test]
fn text_that_cannot_be_generated_is_refused_with_the_reason() {
    let program = Program::new();
    program.refused(
        1,
        &["generate", "demo", "--tokens", "500"],
        &["519 tokens", "128"],
    );
    program.refused(
        1,
        &["generate", "demo", "--edit", "L9H0=zero"],
        &["L9H0=zero", "0 to 3"],
    );
    program.refused(2, &["generate", "demo", "--tokens", "0"], &["--tokens"]);
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny-bert");
    program.refused(
        1,
        &[
            "generate",
            encoder.to_str().unwrap(),
            "--ids",
            "1,2,3",
            "--position",
            "1",
        ],
        &["both directions"],
    );
    let unused = program.json(&[
        "generate",
        "demo",
        "--tokens",
        "1",
        "--answer",
        " London",
        "--position",
        "3",
    ]);
    let warnings = unused["warnings"].to_string();
    assert!(
        warnings.contains("--answer") && warnings.contains("--position"),
        "{warnings}"
    );
}

#[test]
fn a_session_may_go_on_after_its_prompt() {
    let program = Program::new();
    let arguments = [
        "--prompt",
        "One day, Tom",
        "--tokens",
        "4",
        "--edit",
        "L1H3=mean",
    ];
    let text = program.json(&[&["generate", "demo"], &arguments[..]].concat());
    let tokens = text["after"]["tokens"].as_array().unwrap();
    let ids: Vec<&Value> = tokens.iter().map(|token| &token["id"]).collect();
    let n_prompt = text["tokens"].as_array().unwrap().len();
    let prompt: Vec<&Value> = text["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["id"])
        .collect();
    let session = |step: usize| {
        serde_json::json!({
            "version": 2, "model": {"source": "demo"}, "prompt": {"ids": prompt},
            "edits": [{"edit": "L1H3=mean"}], "continuation": {"ids": ids, "step": step},
        })
    };
    for (step, token) in tokens.iter().enumerate().take(4) {
        let name = format!("{step}.headscope.json");
        program.write(&name, &session(step).to_string());
        let run = program.json(&["run", &name]);
        assert_eq!(run["position"], n_prompt + step - 1);
        assert_eq!(run["tokens"].as_array().unwrap().len(), n_prompt + step);
        // The run of the text up to there is the step's own.
        let top = &run["after"]["top"][0];
        assert_eq!(top["id"], token["id"], "step {step}");
        let difference = top["logit"].as_f64().unwrap() - token["logit"].as_f64().unwrap();
        assert!(difference.abs() < 1e-4, "step {step}: {difference}");
        // Text begins after the prompt, wherever the session is.
        let again = program.json(&["generate", &name, "--tokens", "4"]);
        let again = again["after"]["tokens"].as_array().unwrap();
        let again: Vec<&Value> = again.iter().map(|token| &token["id"]).collect();
        assert_eq!(again, ids);
    }
}
