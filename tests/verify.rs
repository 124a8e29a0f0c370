//! Checking a model against a reference: what agrees, what differs, what cannot be read, and damage of every kind.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;

#[path = "support/mutate.rs"]
mod mutate;

use std::path::Path;
use std::sync::Arc;

use headscope::model::Model;
use headscope::model::families::FAMILIES;
use headscope::verify::reference::{Problem, Quantity};
use headscope::verify::{Reference, Report, Status, Verdict, check};
use serde_json::{Value, json};

use mutate::Mutator;
use support::{fixture, fixture_model};

const FOLDER: &str = "models/tiny-llama";

fn reference_text() -> String {
    std::fs::read_to_string(fixture(FOLDER).join("headscope-reference.json")).unwrap()
}

/// One case of one value of a model that has two layers of four heads and 41 tokens.
fn one(value: &Value, edits: &[&str]) -> String {
    let case = json!({"ids": [3, 1, 4, 1, 5], "edits": edits, "values": [value]});
    json!({"schema_version": 1, "source": "a test", "cases": [case]}).to_string()
}

fn value(site: &str, index: &[usize], value: f64) -> Value {
    json!({"site": site, "index": index, "value": value, "tolerance": 1e-4})
}

fn checked(model: &Arc<Model>, text: &str) -> Report {
    check(Arc::clone(model), Some(Reference::decode(text).unwrap()))
}

#[test]
fn every_value_of_hugging_face_agrees() {
    let model = fixture_model("tiny-llama");
    let reference = Reference::beside(&model).unwrap().unwrap();
    assert!(reference.source.contains("transformers"));
    let written: usize = reference.cases.iter().map(|case| case.values.len()).sum();
    let report = check(model, Some(reference));
    assert_eq!(report.first_failure(), None);
    assert_eq!(report.verdict(), Verdict::Checked);
    assert_eq!(report.reference.as_ref().unwrap().counts(), (written, 0));
    // Edits too: a head at zero, one scaled at two positions, two heads at once.
    let cases = &report.reference.unwrap().cases;
    assert!(cases.iter().any(|case| case.edits.len() == 2));
    assert!(cases.iter().any(|case| case.edits.join("").contains('@')));
}

#[test]
fn every_family_obeys_the_laws_that_apply_to_it() {
    let mut families = std::collections::BTreeSet::new();
    for folder in std::fs::read_dir(fixture("models")).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.join("config.json").exists() {
            continue;
        }
        let model = fixture_model(folder.file_name().unwrap().to_str().unwrap());
        families.insert(model.spec.family);
        let report = check(Arc::clone(&model), None);
        assert_eq!(report.first_failure(), None, "{}", folder.display());
        let skipped = report.invariants.iter();
        let skipped = skipped.filter(|i| i.status == Status::Skipped).count();
        assert!(skipped <= 3, "{}: {}", folder.display(), report.summary());
    }
    assert!(families.len() >= FAMILIES.len(), "{families:?}");
}

#[test]
fn a_model_without_a_reference_is_checked_by_its_laws_alone() {
    let model = fixture_model("tiny-gpt2");
    assert_eq!(Reference::beside(&model).unwrap(), None);
    let report = check(model, None);
    assert_eq!(report.verdict(), Verdict::InvariantsOnly);
    assert!(report.summary().ends_with("no reference to compare with"));
}

#[test]
fn a_value_that_differs_is_named_with_its_site_and_index() {
    let model = fixture_model("tiny-llama");
    for site in [
        "logits",
        "blocks.0.attn.hook_pattern",
        "blocks.1.hook_resid_pre",
    ] {
        let mut reference: Value = serde_json::from_str(&reference_text()).unwrap();
        let values = reference["cases"][2]["values"].as_array_mut().unwrap();
        let wrong = values.iter_mut().find(|v| v["site"] == site).unwrap();
        let tolerance = wrong["tolerance"].as_f64().unwrap();
        let index = wrong["index"].clone();
        wrong["value"] = (wrong["value"].as_f64().unwrap() + 3.0 * tolerance).into();
        let report = checked(&model, &reference.to_string());
        assert_eq!(report.verdict(), Verdict::Failed, "{site}");
        let cases = &report.reference.as_ref().unwrap().cases;
        assert_eq!(cases[2].status(), Status::Failed);
        assert_eq!(cases[2].tally.wrong, 1);
        let named = cases[2].tally.first_wrong.as_ref().unwrap();
        assert_eq!((named.site.as_str(), json!(named.index)), (site, index));
        assert!((2.0..=4.0).contains(&named.in_tolerances()), "{named:?}");
        let failure = report.first_failure().unwrap();
        assert!(
            failure.contains(site) && failure.contains(&cases[2].edits[0]),
            "{failure}"
        );
        assert_eq!(report.wrong_place().as_deref(), Some(site));
    }
}

#[test]
fn the_difference_of_two_logits_is_a_value_too() {
    let model = fixture_model("tiny-llama");
    let logit = |id: usize| {
        let report = checked(&model, &one(&value("logits", &[0, 4, id], 1e9), &[]));
        let case = &report.reference.unwrap().cases[0];
        case.tally.first_wrong.as_ref().unwrap().found
    };
    let difference = logit(7) - logit(9);
    let right = one(&value("logit_diff", &[0, 4, 7, 9], difference), &[]);
    assert_eq!(checked(&model, &right).verdict(), Verdict::Checked);
    let turned = one(&value("logit_diff", &[0, 4, 9, 7], difference), &[]);
    let failure = checked(&model, &turned).first_failure().unwrap();
    assert!(failure.contains("logit_diff[0, 4, 9, 7]"), "{failure}");
}

#[test]
fn a_case_that_cannot_be_compared_is_a_failure_with_its_reason() {
    let model = fixture_model("tiny-llama");
    for (site, index, edits, reason) in [
        (
            "blocks.9.attn.hook_z",
            &[0, 0, 0, 0][..],
            &[][..],
            "is no activation of this model",
        ),
        ("logits", &[0, 5, 0], &[], "has no index [0, 5, 0]"),
        ("logits", &[1, 0, 0], &[], "its shape is [1, 5, 41]"),
        ("logits", &[0, 0], &[], "has no index [0, 0]"),
        (
            "logit_diff",
            &[0, 4, 1],
            &[],
            "[0, position, token id, token id]",
        ),
        ("logit_diff", &[0, 4, 1, 41], &[], "has no index"),
        ("logits", &[0, 4, 1], &["L9H0=zero"], "edit `L9H0=zero`"),
        (
            "logits",
            &[0, 4, 1],
            &["L0H0=resample"],
            "edit `L0H0=resample`",
        ),
        (
            "logits",
            &[0, 4, 1],
            &["L0H0=add(none.safetensors:x, 1)"],
            "none.safetensors",
        ),
    ] {
        let report = checked(&model, &one(&value(site, index, 0.0), edits));
        let failure = report.first_failure().unwrap();
        assert!(failure.contains(reason), "{site} {index:?}: {failure}");
        assert_eq!(report.verdict(), Verdict::Failed);
    }
    let too_large = one(&value("logits", &[0, 0, 0], 0.0), &[]).replace("[3,1", "[3,4100");
    let failure = checked(&model, &too_large).first_failure().unwrap();
    assert!(failure.contains("4100"), "{failure}");
}

#[test]
fn what_is_no_reference_is_refused_with_the_reason() {
    let good = one(&value("logits", &[0, 0, 0], 0.0), &["L0H0=zero"]);
    Reference::decode(&good).unwrap();
    let broken = |from: &str, to: &str| {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        Reference::decode(&text).unwrap_err()
    };
    assert!(matches!(
        broken("\"schema_version\":1,", ""),
        Problem::NoVersion
    ));
    assert!(matches!(
        broken("version\":1", "version\":0"),
        Problem::NoSuchVersion { found: 0 }
    ));
    assert!(matches!(
        broken("version\":1", "version\":2"),
        Problem::Newer { found: 2 }
    ));
    assert!(matches!(
        broken("[3,1,4,1,5]", "[]"),
        Problem::NoIds { case: 0 }
    ));
    assert!(matches!(
        broken("=zero", "=zilch"),
        Problem::Edit { case: 0, .. }
    ));
    assert!(matches!(
        broken("0.0001", "-1"),
        Problem::Tolerance { value: 0, .. }
    ));
    assert!(matches!(
        broken("\"logits\"", "\"logit\""),
        Problem::Site {
            case: 0,
            value: 0,
            ..
        }
    ));
    for (from, to) in [
        ("edits", "edit"),
        ("tolerance", "tolerances"),
        ("\"source\"", "\"sources\""),
        ("[3,1,4,1,5]", "[-3]"),
        ("0.0001", "1e999"),
        ("0.0001", "null"),
        ("}]}]}", "}]}]"),
    ] {
        assert!(matches!(broken(from, to), Problem::Json { .. }), "{to}");
    }
    let empty = r#"{"schema_version":1,"source":"","cases":[{"ids":[1],"values":[]}]}"#;
    assert!(matches!(Reference::decode(empty), Err(Problem::NoValues)));
    let error = Reference::open(Path::new("/nowhere/r.json")).unwrap_err();
    assert!(error.to_string().ends_with(": /nowhere/r.json"), "{error}");
}

/// Damage of every kind, 10,000 times: an error or a reference, never a panic; and what is one can be compared.
#[test]
fn no_damage_makes_a_reference_panic() {
    let model = fixture_model("tiny-llama");
    let whole: Value = serde_json::from_str(&reference_text()).unwrap();
    let case = &whole["cases"][3];
    let mut values = vec![value("logit_diff", &[0, 4, 1, 2], 0.5)];
    values.extend(
        case["values"]
            .as_array()
            .unwrap()
            .iter()
            .step_by(5)
            .cloned(),
    );
    let original = json!({
        "schema_version": 1, "source": "a test",
        "cases": [{"ids": case["ids"], "edits": case["edits"], "contrast_ids": [1, 2, 3], "values": values}],
    })
    .to_string();
    let mut mutator = Mutator::new(0x5EED);
    let (mut read, mut differ) = (0, 0);
    for _ in 0..10_000 {
        let Ok(text) = String::from_utf8(mutator.json(original.as_bytes())) else {
            continue;
        };
        let Ok(reference) = Reference::decode(&text) else {
            continue;
        };
        read += 1;
        let report = check(Arc::clone(&model), Some(reference));
        differ += usize::from(report.verdict() == Verdict::Failed);
    }
    // Digits change without harm to the form; if nothing were read, the test would test little.
    assert!(read > 100 && differ > read / 4, "{read}, {differ}");
}

#[test]
fn the_published_numbers_of_gpt2_are_ready_to_be_compared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/references/gpt2-small-ioi.json");
    let reference = Reference::open(&path).unwrap();
    assert_eq!(reference.cases.len(), 10);
    for case in &reference.cases {
        // GPT-2's beginning of text, and ids of its vocabulary.
        assert_eq!(case.ids[0], 50_256);
        assert!(case.ids.iter().all(|id| *id <= 50_256));
        for value in &case.values {
            assert_eq!(value.of, Quantity::LogitDiff);
            let [0, position, io, s] = value.index[..] else {
                panic!("{:?}", value.index)
            };
            assert_eq!(position, case.ids.len() - 1);
            assert!(io < 50_257 && s < 50_257 && io != s);
        }
    }
    // The mean of the eight prompts is the 3.55 that the notebook prints.
    let first_eight = reference.cases[..8].iter().map(|case| case.values[0].value);
    let mean = first_eight.sum::<f64>() / 8.0;
    assert!((mean - 3.552).abs() < 1e-3, "{mean}");
}
