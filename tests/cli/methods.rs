//! The methods as commands: their JSON, their tables, what they refuse.

use super::{Program, assert_keys};
use serde_json::Value;

/// Scores of a report, as they are listed.
fn scores<'a>(report: &'a Value, name: &str) -> &'a Vec<Value> {
    report["scores"][name]
        .as_array()
        .unwrap_or_else(|| panic!("no {name} in {}", report["scores"]))
}

#[test]
fn the_atlas_lists_heads_falling_by_score() {
    let program = Program::new();
    let report = program.json(&["atlas", "demo"]);
    assert_keys(
        &report,
        &[
            "schema_version",
            "method",
            "model",
            "settings",
            "scores",
            "tables",
            "notes",
            "warnings",
            "timing_ms",
        ],
    );
    assert_eq!(report["schema_version"], 1);
    for name in [
        "induction",
        "induction_text",
        "previous_token",
        "duplicate_token",
        "prefix_matching",
        "copying",
        "sink",
        "current_token",
        "entropy",
        "distance",
    ] {
        let listed = scores(&report, name);
        assert_eq!(listed.len(), 32, "{name}");
        let values: Vec<f64> = listed
            .iter()
            // Heads without weights have no eigenvalues: blanks, which come last.
            .map(|row| row["score"].as_f64().unwrap_or(f64::NEG_INFINITY))
            .collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "{name}: {values:?}");
        assert_keys(&listed[0], &["head", "score"]);
    }
    assert!(scores(&report, "induction")[0]["score"].as_f64().unwrap() > 0.4);
    // Scores that need a task are absent without one.
    assert!(report["scores"].get("name_mover").is_none());
    let with_task = program.json(&[
        "atlas",
        "demo",
        "--task",
        "ioi",
        "--items",
        "6",
        "--weights",
        "false",
    ]);
    assert!(with_task["scores"].get("copying").is_none());
    assert_eq!(scores(&with_task, "name_mover").len(), 32);
    assert_eq!(with_task["settings"]["prompts"], 6);
    let text = program.done(&["atlas", "demo", "--weights", "false"]);
    assert!(
        text.contains("induction") && text.contains("none found"),
        "{text}"
    );
}

#[test]
fn sweeps_and_patching_say_what_they_ran() {
    let program = Program::new();
    let prompt = "When Mary and John went to the store, John gave a book to";
    let other = "When Mary and John went to the store, Mary gave a book to";
    let asked = [
        "demo", "--prompt", prompt, "--answer", " Mary", "--answer", " John",
    ];
    let sweep = program.json(
        &[
            &["sweep"],
            &asked[..],
            &["--ablate", "mean", "--metric", "kl"],
        ]
        .concat(),
    );
    assert_eq!(sweep["settings"]["ablate"], "mean");
    assert_eq!(sweep["settings"]["metric"], "kl");
    assert_eq!(scores(&sweep, "change").len(), 32);
    let layers = program.json(&[&["sweep"], &asked[..], &["--over", "layers"]].concat());
    let grid = &layers["grids"]["change"];
    assert_eq!(grid["rows"].as_array().unwrap().len(), 4);
    assert_eq!(grid["columns"], serde_json::json!(["attention", "MLP"]));
    let patch = program.json(
        &[
            &["patch"],
            &asked[..],
            &["--contrast", other, "--what", "v"],
        ]
        .concat(),
    );
    assert!(
        scores(&patch, "effect")[0]["head"]
            .as_str()
            .unwrap()
            .contains("KV")
    );
    let resid = program.json(
        &[
            &["patch"],
            &asked[..],
            &[
                "--contrast",
                other,
                "--what",
                "resid",
                "--direction",
                "noise",
            ],
        ]
        .concat(),
    );
    // One position differs, and the stream there before layer 0 is the whole difference.
    let first = resid["grids"]["effect"]["values"][0].as_array().unwrap();
    let most = first
        .iter()
        .map(|x| x.as_f64().unwrap())
        .fold(0.0, f64::max);
    assert!((most - 1.0).abs() < 1e-2, "{first:?}");
    for method in ["lens", "attribute"] {
        let report = program.json(&[&[method], &asked[..]].concat());
        assert_eq!(report["method"], method);
        program.done(&[&[method], &asked[..]].concat());
    }
    let attribute = program.json(&[&["attribute"], &asked[..]].concat());
    let run = program.json(&[&["run"], &asked[..]].concat());
    let rows = attribute["tables"]["parts"]["rows"].as_array().unwrap();
    let sum = rows.last().unwrap()[1].as_f64().unwrap();
    let right = run["before"]["logit_diff"].as_f64().unwrap();
    assert!((sum - right).abs() < 1e-3, "C0: {sum} {right}");
}

#[test]
fn the_regression_lab_needs_no_model() {
    let program = Program::new();
    let report = program.json(&["icl", "--heads", "1", "--steps", "40", "--batch", "32"]);
    assert!(report.get("model").is_none());
    assert_eq!(report["settings"]["heads"], "1");
    assert_eq!(
        report["tables"]["heads"]["rows"].as_array().unwrap().len(),
        1
    );
    let loss = report["plots"]["loss"]["lines"].as_object().unwrap();
    assert!(loss.contains_key("Bayes") && loss.contains_key("loss"));
}

#[test]
fn what_was_learned_is_saved_and_its_edits_run() {
    let program = Program::new();
    let asked = ["iti", "demo", "--task", "ioi", "--items", "40"];
    let report = program.json(&[&asked[..], &["-o", "iti.safetensors"]].concat());
    let edits = report["edits"].as_array().unwrap();
    assert!(!edits.is_empty());
    let edit = edits[0].as_str().unwrap();
    assert!(edit.contains("iti.safetensors:"), "{edit}");
    program.json(&["run", "demo", "--edit", edit]);
    let text = program.done(&[&asked[..], &["-o", "iti.safetensors"]].concat());
    assert!(text.contains(&format!("edit {edit}")), "{text}");
    // What was found is told also where it cannot be kept.
    let answer = program.run(&[&asked[..], &["-o", "none/iti.safetensors"]].concat());
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    assert!(answer.stdout.contains("validation_accuracy") && answer.stderr.contains("none"));
}

#[test]
fn wrong_usage_of_a_method_ends_before_a_model_is_opened() {
    let program = Program::new();
    for (arguments, part) in [
        (&["sweep", "none", "--metric", "taste"][..], "logit_diff"),
        (&["sweep", "none", "--ablate", "explode"], "ablate"),
        (&["atlas", "none", "--sequences", "0"], "1 to 100"),
        (
            &["atlas", "none", "--task", "ioi", "--prompt", "x"],
            "--prompt",
        ),
        (&["patch", "none", "--what", "soul"], "pattern"),
        (&["icl", "--heads", "99"], "1 to 16"),
        (&["sweep"], "MODEL"),
    ] {
        program.refused(2, arguments, &[part]);
    }
    // These are seen with the model open.
    program.refused(2, &["sweep", "demo", "--edit", "L0H0=zero"], &["--edit"]);
    program.refused(2, &["atlas", "demo", "--prompt", "x"], &["--task"]);
    program.done(&["sweep", "demo"]);
    program.refused(
        1,
        &["sweep", "demo", "--prompt", "A book"],
        &["logit_diff", "answer"],
    );
    program.refused(
        1,
        &["patch", "demo", "--answer", " Mary", "--answer", " John"],
        &["--contrast"],
    );
    program.refused(
        1,
        &["sweep", "demo", "--task", "nothing-like-it"],
        &["nothing-like-it"],
    );
    program.write("bad.csv", "a,b\n1,2\n");
    program.refused(1, &["sweep", "demo", "--task", "bad.csv"], &["bad.csv"]);
}

#[test]
fn a_report_is_drawn_whole_or_in_part() {
    let program = Program::new();
    let asked = [
        "attribute",
        "demo",
        "--prompt",
        super::PROMPT,
        "--answer",
        " Mary",
        "--answer",
        " John",
    ];
    program.done(&[&asked[..], &["--figure", "all.svg"]].concat());
    let drawn = std::fs::read_to_string(program.path("all.svg")).unwrap();
    assert!(
        drawn.contains("<svg") && drawn.contains("where it comes from") && drawn.contains("L1H7")
    );
    program.done(&[&asked[..], &["--figure", "parts.csv", "--part", "parts"]].concat());
    let table = std::fs::read_to_string(program.path("parts.csv")).unwrap();
    assert!(
        table.contains("embed") && table.contains("L0 heads"),
        "{table}"
    );
    let answer = program.run(&[&asked[..], &["--figure", "x.png", "--part", "colours"]].concat());
    assert_eq!(answer.code, 1);
    assert!(
        answer.stderr.contains("colours") && answer.stderr.contains("attribution"),
        "{}",
        answer.stderr
    );
    program.refused(2, &[&asked[..], &["--figure", "x.gif"]].concat(), &[".svg"]);
    program.refused(
        2,
        &[&asked[..], &["--part", "parts"]].concat(),
        &["--figure"],
    );
}

#[test]
fn classes_are_told_apart_by_their_words() {
    let program = Program::new();
    let asked = [
        "sweep",
        "demo",
        "--task",
        "sentiment",
        "--items",
        "6",
        "--metric",
        "class_diff",
    ];
    let report = program.json(&asked);
    assert_eq!(
        report["grids"]["classes"]["rows"],
        serde_json::json!(["positive", "negative"])
    );
    assert_eq!(scores(&report, "change").len(), 32);
    program.write(
        "classes.json",
        r#"{"negative": {"bad": 1.0}, "positive": {"good": 2.0, "fine": 1.0}}"#,
    );
    let own = program.json(&[&asked[..], &["--verbaliser", "classes.json"]].concat());
    assert_eq!(
        own["grids"]["classes"]["rows"],
        serde_json::json!(["negative", "positive"])
    );
    program.refused(
        1,
        &["sweep", "demo", "--task", "ioi", "--metric", "class_diff"],
        &["verbaliser"],
    );
    program.refused(
        2,
        &["sweep", "demo", "--verbaliser", "classes.json"],
        &["--task"],
    );
}

#[test]
fn a_session_notices_when_the_vectors_of_its_edits_are_others() {
    let program = Program::new();
    let learned = program.json(&["iti", "demo", "--task", "ioi", "-o", "iti.safetensors"]);
    let edit = learned["edits"][0].as_str().unwrap();
    program.done(&["run", "demo", "--edit", edit, "--save", "a.headscope.json"]);
    let saved = std::fs::read_to_string(program.path("a.headscope.json")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    assert_eq!(saved["version"], 4);
    assert_eq!(saved["vectors"][0]["file"], "iti.safetensors");
    assert_eq!(saved["vectors"][0]["recipe"]["method"], "iti");
    let again = program.json(&["run", "a.headscope.json"]);
    assert_eq!(again["replay"]["agrees"], true);
    assert_eq!(again["warnings"], serde_json::json!([]));
    // Made again in another way, under the same name: of the same heads, and of others.
    let noticed = "are others than when the session was saved";
    for (again, code) in [(&["--alpha", "3"], 0), (&["--seed", "5"], 1)] {
        let others = ["iti", "demo", "--task", "ioi", "-o", "iti.safetensors"];
        let others = match code {
            0 => [&others[..], again].concat(),
            _ => [&others[..], again, &["--draw", "3"]].concat(),
        };
        program.json(&others);
        let answer = program.run(&["run", "a.headscope.json"]);
        assert_eq!(answer.code, code, "{}", answer.stderr);
        assert!(
            answer.stderr.contains(noticed) && answer.stderr.contains("by iti"),
            "{}",
            answer.stderr
        );
    }
}
