//! `verify`: its JSON, and exit code 1 where a value differs.

use super::{Program, assert_keys};
use serde_json::Value;
use std::path::Path;

#[test]
fn verify_passes_a_model_whose_numbers_agree() {
    let program = Program::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let llama = fixture.join("tiny-llama");
    let report = program.json(&["verify", llama.to_str().unwrap(), "--threads", "1"]);
    assert_keys(
        &report,
        &[
            "schema_version",
            "model",
            "verdict",
            "ids",
            "invariants",
            "reference",
            "timing_ms",
        ],
    );
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["verdict"], "checked");
    assert_eq!(report["model"]["family"], "llama");
    let invariants = report["invariants"].as_array().unwrap();
    assert_eq!(invariants.len(), 10);
    for invariant in invariants {
        assert_keys(
            invariant,
            &[
                "name",
                "statement",
                "status",
                "compared",
                "wrong",
                "worst",
                "first_wrong",
                "tolerance",
                "note",
            ],
        );
        assert_eq!(invariant["status"], "passed", "{invariant}");
        let worst = &invariant["worst"];
        assert!(worst["site"].is_string() && worst["index"].is_array());
        assert!(worst["difference"].as_f64() <= worst["tolerance"].as_f64());
    }
    let reference = &report["reference"];
    assert_eq!(reference["compared"], 168);
    assert_eq!(reference["wrong"], 0);
    assert_eq!(reference["cases"][0]["edits"], serde_json::json!([]));
    assert_eq!(reference["cases"][0]["status"], "passed");

    // Without a reference it says so.
    let gpt2 = fixture.join("tiny-gpt2");
    let report = program.json(&["verify", gpt2.to_str().unwrap()]);
    assert_eq!(report["verdict"], "invariants_only");
    assert!(report["reference"].is_null());
    let text = program.done(&["verify", gpt2.to_str().unwrap()]);
    assert!(text.contains("only invariants were checked"), "{text}");
    let text = program.done(&["verify", "demo"]);
    assert!(text.contains("values of the reference agree"), "{text}");
}

#[test]
fn verify_fails_on_a_value_that_differs_and_names_where() {
    let program = Program::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny-llama");
    let model = fixture.to_str().unwrap();
    let text = std::fs::read_to_string(fixture.join("headscope-reference.json")).unwrap();
    let mut reference: Value = serde_json::from_str(&text).unwrap();
    let wrong = reference["cases"][1]["values"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|value| value["site"] == "blocks.1.attn.hook_z")
        .unwrap();
    let index = wrong["index"].to_string().replace(',', ", ");
    wrong["value"] = (wrong["value"].as_f64().unwrap() + 1e-3).into();
    program.write("wrong.json", &reference.to_string());

    let arguments = ["verify", model, "--reference", "wrong.json", "--json"];
    let answer = program.run(&arguments);
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    let place = format!("blocks.1.attn.hook_z{index}");
    assert!(answer.stderr.contains(&place), "{}", answer.stderr);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(report["verdict"], "failed");
    let cases = report["reference"]["cases"].as_array().unwrap();
    let statuses: Vec<_> = cases.iter().map(|case| &case["status"]).collect();
    assert_eq!(statuses, ["passed", "failed", "passed", "passed"]);
    assert_eq!(cases[1]["first_wrong"]["site"], "blocks.1.attn.hook_z");
    assert_eq!(cases[1]["wrong"], 1);
    let answer = program.run(&arguments[..4]);
    assert_eq!(answer.code, 1);
    assert!(answer.stdout.contains("FAILED"), "{}", answer.stdout);

    // What cannot be read is said before anything is run.
    program.write("cut.json", &text[..200]);
    program.refused(
        1,
        &["verify", model, "--reference", "cut.json"],
        &["cut.json"],
    );
    program.refused(
        1,
        &["verify", model, "--reference", "none.json"],
        &["none.json"],
    );
    // Rounded weights keep the laws, and are no longer within the reference's rounding of f32.
    let narrow = program.run(&["verify", "demo", "--dtype", "f16"]);
    assert_eq!(narrow.code, 1);
    assert!(
        narrow.stdout.contains("10 invariants hold"),
        "{}",
        narrow.stdout
    );
}
