//! `run`: its JSON, its table, sessions that replay.

use super::{PROMPT, Program, assert_keys};
use serde_json::Value;

#[test]
fn run_prints_exactly_the_keys_of_its_contract() {
    let program = Program::new();
    let arguments = [
        "run", "demo", "--prompt", PROMPT, "--answer", " Mary", "--answer", " John", "--top-k", "3",
    ];
    let plain = program.json(&arguments);
    assert_keys(
        &plain,
        &[
            "schema_version",
            "model",
            "tokens",
            "edits",
            "position",
            "readout",
            "before",
            "warnings",
            "timing_ms",
        ],
    );
    assert_eq!(plain["schema_version"], 1);
    assert_keys(
        &plain["model"],
        &[
            "name",
            "family",
            "n_layers",
            "n_heads",
            "n_kv_heads",
            "dtype",
            "stored",
            "fingerprint",
        ],
    );
    let n_tokens = plain["tokens"].as_array().unwrap().len();
    assert_keys(&plain["tokens"][0], &["index", "id", "text"]);
    assert_eq!(plain["position"], n_tokens - 1);
    assert_eq!(plain["readout"], "next_token");
    assert_eq!(plain["edits"], serde_json::json!([]));
    let before = &plain["before"];
    assert_keys(before, &["top", "answers", "logit_diff"]);
    assert_eq!(before["top"].as_array().unwrap().len(), 3);
    assert_keys(&before["top"][0], &["token", "id", "logit", "prob"]);
    assert_keys(&before["answers"][0], &["text", "id", "logit", "prob"]);
    assert_eq!(before["answers"][0]["text"], " Mary");
    let logit = |i: usize| before["answers"][i]["logit"].as_f64().unwrap();
    let diff = before["logit_diff"].as_f64().unwrap();
    assert!((diff - (logit(0) - logit(1))).abs() < 1e-4);
    assert_keys(&plain["timing_ms"], &["load", "before", "after"]);
    assert_eq!(plain["timing_ms"]["after"], Value::Null);

    let edited = program.json(&[&arguments[..], &["--edit", "0.1 = scale( 2.50 )@last"]].concat());
    assert_eq!(edited["edits"], serde_json::json!(["L0H1=scale(2.5)@last"]));
    assert_keys(&edited["after"], &["top", "answers", "logit_diff"]);
    assert_eq!(edited["before"], plain["before"]);
    assert_ne!(edited["after"], plain["before"]);
    assert!(edited["timing_ms"]["after"].is_number());
}

#[test]
fn the_logit_difference_needs_two_answers() {
    let program = Program::new();
    let one = program.json(&["run", "demo", "--answer", " Mary"]);
    assert_eq!(one["before"]["logit_diff"], Value::Null);
    let none = program.json(&["run", "demo"]);
    assert_eq!(none["before"]["answers"], serde_json::json!([]));
    assert_eq!(none["before"]["logit_diff"], Value::Null);
}

#[test]
fn an_answer_may_be_a_token_id() {
    let program = Program::new();
    let run = ["run", "demo", "--prompt", PROMPT, "--answer"];
    let by_text = program.json(&[&run[..], &[" Mary"]].concat());
    let id = by_text["before"]["answers"][0]["id"].as_u64().unwrap();
    let by_id = program.json(&[&run[..], &[&format!("#{id}")]].concat());
    let answers = |json: &Value| json["before"]["answers"][0].clone();
    assert_eq!(answers(&by_id)["id"], id);
    assert_eq!(answers(&by_id)["logit"], answers(&by_text)["logit"]);
    program.refused(
        1,
        &[&run[..], &["#999999"]].concat(),
        &["`#999999` is no token id of this model"],
    );
}

#[test]
fn a_saved_session_replays_and_agrees() {
    let program = Program::new();
    let ran = program.json(&[
        "run",
        "demo",
        "--prompt",
        PROMPT,
        "--answer",
        " Mary",
        "--answer",
        " John",
        "--edit",
        "L0H1=zero",
        "--edit",
        "M1=scale(0.5)",
        "--save",
        "s.headscope.json",
    ]);
    assert!(ran.get("replay").is_none());
    let replayed = program.json(&["run", "s.headscope.json"]);
    assert_keys(&replayed["replay"], &["agrees", "max_diff"]);
    assert_eq!(replayed["replay"]["agrees"], true);
    assert!(replayed["replay"]["max_diff"].as_f64().unwrap() <= 1e-3);
    assert_eq!(replayed["before"], ran["before"]);
    assert_eq!(replayed["after"], ran["after"]);
    assert_eq!(replayed["edits"], ran["edits"]);

    // Numbers that were tampered with are told.
    let path = program.path("s.headscope.json");
    let mut saved: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    saved["numbers"]["after"]["top"][0]["logit"] = 1234.5.into();
    program.write("s.headscope.json", &saved.to_string());
    let replayed = program.json(&["run", "s.headscope.json"]);
    assert_eq!(replayed["replay"]["agrees"], false);
    assert!(
        replayed["warnings"]
            .to_string()
            .contains("differs from the saved numbers")
    );
}

#[test]
fn edits_that_do_not_fit_the_model_are_refused_by_name() {
    let program = Program::new();
    for edit in [
        "L99H0=zero",
        "L0H99=zero",
        "L0=zero@9999",
        "L0H0[0->0]=knockout",
    ] {
        program.refused(
            1,
            &["run", "demo", "--prompt", PROMPT, "--edit", edit],
            &[edit],
        );
    }
    // No prompt B to take values from.
    program.refused(
        1,
        &["run", "demo", "--edit", "L0H0=resample"],
        &["L0H0=resample"],
    );
}

#[test]
fn the_readable_table_shows_both_sides_and_the_change() {
    let text = Program::new().done(&[
        "run",
        "demo",
        "--prompt",
        PROMPT,
        "--answer",
        " Mary",
        "--answer",
        " John",
        "--edit",
        "L0H1=zero",
    ]);
    for part in [
        "edit L0H1=zero",
        "before",
        "after",
        "change",
        "` Mary`",
        "difference",
        "load ",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
}
