//! Session files: every version that was released opens, what is damaged is refused with a reason, nothing panics.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::{Path, PathBuf};

use headscope::colormap::Colormap;
use headscope::compute::Dtype;
use headscope::experiment::Side;
use headscope::ids::HeadId;
use headscope::session::file::{self, Problem, Record, Saved};
use headscope::session::replay::{Numbers, PatternSample, SideNumbers, TokenLogit};
use headscope::session::vectors::VectorsFile;
use headscope::session::{
    BosRule, Continuation, EditRow, Experiment, Lab, Prompt, ReadPosition, Session, Shown, View,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/sessions")
        .join(name)
}

fn v1_text() -> String {
    std::fs::read_to_string(fixture("v1.headscope.json")).unwrap()
}

fn row(edit: &str, enabled: bool) -> EditRow {
    EditRow {
        edit: edit.parse().unwrap(),
        enabled,
    }
}

/// Uses every field; holds no paths.
fn full() -> Saved {
    let experiment = Experiment {
        prompt: Prompt::Text("a \"b\"\n\u{0}ü".into()),
        contrast: Some(Prompt::Ids(vec![3, u32::MAX])),
        bos: BosRule::Never,
        edits: vec![row("L9H6=scale(-0.1)@last", true), row("M5=mean", false)],
        answers: vec![" Mary".into(), String::new()],
        position: ReadPosition::At(2),
        continuation: Continuation {
            ids: vec![7, u32::MAX],
            step: 1,
        },
    };
    let view = View {
        selection: vec![HeadId::new(9, 6), HeadId::new(0, 0)],
        shown: Shown::Change,
        colormap: Colormap::Blues,
        diverging: Colormap::PuOr,
        log_scale: true,
        hide_sink: true,
    };
    let logit = |id, logit| TokenLogit { id, logit };
    let side = |shift: f32| SideNumbers {
        top: vec![logit(5, 11.125 + shift), logit(6, 0.1 + shift)],
        answers: vec![logit(5, 11.125 + shift), logit(9, -1e-7)],
        logit_diff: Some(1.0 / 3.0),
    };
    let session = Session {
        model: "owner/name@main".into(),
        dtype: Dtype::Bf16,
        experiment,
        view,
        notes: "notes".into(),
        lab: Some(Lab {
            method: "sweep".into(),
            settings: vec![("metric".into(), "kl".into())],
            task: Some("ioi".into()),
            items: Some(8),
            draw: 3,
            verbaliser: Some("classes.json".into()),
            texts: Some("texts.txt".into()),
        }),
        layout: Some(serde_json::json!({"root": [1, null, "x"]})),
    };
    let numbers = Numbers {
        app: "0.1.0".into(),
        dtype: "f32".into(),
        position: 2,
        before: side(0.0),
        after: Some(side(0.7)),
        patterns: vec![PatternSample {
            side: Side::After,
            head: HeadId::new(1, 2),
            query: 2,
            key: 1,
            value: 0.3,
        }],
    };
    let record = Record {
        model_name: "name".into(),
        fingerprint: "h1:00".into(),
        ids: vec![1, 2, 3],
        contrast_ids: Some(vec![3, u32::MAX]),
        vectors: vec![VectorsFile {
            file: "/elsewhere/v.safetensors".into(),
            sha256: "00ff".into(),
            recipe: Some(serde_json::json!({"method": "iti", "seed": 7})),
        }],
        numbers: Some(numbers),
    };
    Saved {
        session,
        record: Some(record),
    }
}

#[test]
fn what_was_saved_opens_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.headscope.json");
    let bare = Saved {
        session: Session::new("demo", Experiment::new(Prompt::Ids(vec![2, 0, 1]))),
        record: None,
    };
    for saved in [full(), bare] {
        file::save(&path, &saved, None).unwrap();
        assert_eq!(file::open(&path).unwrap(), saved);
    }
}

#[test]
fn version_1_opens_with_everything_in_its_place() {
    let Saved { session, record } = file::open(&fixture("v1.headscope.json")).unwrap();
    let model = fixture("models").join("tiny");
    assert_eq!(Path::new(&session.model), model);
    let Experiment {
        prompt,
        contrast,
        bos,
        edits,
        answers,
        position,
        continuation,
    } = session.experiment;
    assert!(matches!(prompt, Prompt::Text(text) if text.starts_with("When Mary")));
    assert_eq!(contrast, Some(Prompt::Ids(vec![1, 40, 43, 42, 41])));
    assert_eq!(bos, BosRule::Always);
    assert_eq!(
        edits,
        [
            row("L9H6=scale(2.5)@last", true),
            row("L2H0[4->1]=knockout", false),
            row("R3=add(vectors/d.safetensors:direction, -2)@0,3", true),
        ]
    );
    assert_eq!(answers, [" Mary", "#43"]);
    assert_eq!(position, ReadPosition::At(13));
    assert_eq!(continuation, Continuation::default());
    assert_eq!(
        session.view,
        View {
            selection: vec![HeadId::new(9, 6), HeadId::new(2, 0)],
            shown: Shown::ValueWeighted,
            colormap: Colormap::Cividis,
            diverging: Colormap::PuOr,
            log_scale: true,
            hide_sink: true,
        }
    );
    assert!(session.notes.ends_with("ünï."));
    assert_eq!(session.layout.unwrap()["root"], 1);
    let record = record.unwrap();
    assert_eq!(record.ids.len(), 15);
    assert!(record.fingerprint.starts_with("h1:4b6f"));
    let numbers = record.numbers.unwrap();
    assert_eq!(numbers.before.top[0].logit.to_bits(), 11.04_f32.to_bits());
    assert!(numbers.before.top[1].logit.is_nan());
    assert_eq!(numbers.after.unwrap().logit_diff, Some(-0.25));
    assert_eq!(numbers.patterns[1].head, HeadId::new(9, 6));
    assert_eq!(numbers.patterns[1].side, Side::After);
}

#[test]
fn version_2_opens_with_its_step() {
    let Saved { session, record } = file::open(&fixture("v2.headscope.json")).unwrap();
    let Experiment {
        continuation,
        position,
        ..
    } = session.experiment;
    assert_eq!(continuation.ids, [7, 8, 9]);
    assert_eq!(continuation.step, 2);
    assert_eq!(position, ReadPosition::Usual);
    assert_eq!(record.unwrap().ids, [3, 1, 4, 1, 5]);
}

#[test]
fn version_3_opens_with_its_method() {
    let Saved { session, .. } = file::open(&fixture("v3.headscope.json")).unwrap();
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let lab = Lab {
        method: "sweep".into(),
        settings: vec![setting("metric", "kl"), setting("over", "layers")],
        task: Some("ioi".into()),
        items: Some(12),
        draw: 7,
        verbaliser: None,
        texts: None,
    };
    assert_eq!(session.lab, Some(lab));
}

#[test]
fn version_4_opens_with_the_files_that_its_edits_read() {
    let saved = file::open(&fixture("v4.headscope.json")).unwrap();
    let expected = VectorsFile {
        file: "learned.safetensors".into(),
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        recipe: Some(serde_json::json!({
            "method": "iti",
            "model": {"name": "demo"},
            "settings": {"alpha": 15.0},
            "seed": 7,
        })),
    };
    assert_eq!(saved.record.unwrap().vectors, [expected]);
}

#[test]
fn a_short_session_has_defaults_for_what_it_leaves_away() {
    let text = r#"{"version":1,"model":{"source":"demo"},"prompt":{"text":"A B"},"edits":[{"edit":"9.6=zero"}]}"#;
    let saved = file::decode(text, None).unwrap();
    let mut experiment = Experiment::new(Prompt::Text("A B".into()));
    experiment.edits = vec![row("L9H6=zero", true)];
    assert_eq!(saved.session, Session::new("demo", experiment));
    assert_eq!(saved.record, None);
}

#[test]
fn the_type_is_written_only_where_it_is_not_f32() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.headscope.json");
    for dtype in Dtype::ALL {
        let mut saved = full();
        saved.session.dtype = dtype;
        file::save(&path, &saved, None).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let model: serde_json::Value = serde_json::from_str(&text).unwrap();
        let written = model["model"].get("dtype").and_then(|name| name.as_str());
        let expected = Some(dtype.name()).filter(|_| dtype != Dtype::F32);
        assert_eq!(written, expected);
        assert_eq!(file::open(&path).unwrap(), saved);
    }
    let v1 = file::open(&fixture("v1.headscope.json")).unwrap();
    assert_eq!(v1.session.dtype, Dtype::F32);
}

#[test]
fn paths_move_with_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let (here, there) = (root.path().join("here"), root.path().join("there"));
    std::fs::create_dir_all(here.join("models/tiny")).unwrap();
    let mut saved = full();
    saved.session.model = here.join("models/tiny").to_str().unwrap().to_owned();
    saved.session.experiment.edits = vec![row("R1=add(v.safetensors:d, 1)", true)];
    let path = here.join("a.headscope.json");
    file::save(&path, &saved, Some(&here.join("vectors"))).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""./models/tiny""#), "{text}");
    assert!(
        text.contains("R1=add(vectors/v.safetensors:d, 1)"),
        "{text}"
    );

    std::fs::rename(&here, &there).unwrap();
    let moved = file::open(&there.join("a.headscope.json")).unwrap();
    let model = there.join("models").join("tiny");
    assert_eq!(Path::new(&moved.session.model), model);

    // Saved elsewhere, both are named in full.
    let elsewhere = root.path().join("b.headscope.json");
    file::save(&elsewhere, &moved, Some(&there)).unwrap();
    let text = std::fs::read_to_string(&elsewhere).unwrap();
    assert!(text.contains(r#""./there/models/tiny""#), "{text}");
    assert!(
        text.contains("add(there/vectors/v.safetensors:d, 1)"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_a_session_is_refused_with_the_reason() {
    let v1 = v1_text();
    let change = |from: &str, to: &str| {
        assert!(v1.contains(from), "{from}");
        v1.replacen(from, to, 1)
    };
    let many_rows = vec![r#"{"edit":"L0=zero"}"#; 10_001].join(",");
    for (text, parts) in [
        (String::new(), &["line 1 column 0"][..]),
        (
            v1[..v1.len() / 2].to_owned(),
            &["damaged", "line ", "column "],
        ),
        ("[]".into(), &["line 1"]),
        (r#"{"weight_map":{}}"#.into(), &["no \"version\""]),
        (
            change("\"version\": 1", "\"version\": 7"),
            &["newer Headscope (version 7; this one reads up to 4): update"],
        ),
        (r#"{"version":5,"anything":{}}"#.into(), &["version 5"]),
        (
            change("\"version\": 1", "\"version\": 0"),
            &["version 0 was never written"],
        ),
        (change("\"version\": 1", "\"version\": -1"), &["line 2"]),
        (
            change("\"version\": 1", "\"version\": 1, \"version\": 1"),
            &["duplicate"],
        ),
        (
            change("\"edits\"", "\"edist\""),
            &["unknown field `edist`", "line "],
        ),
        (
            change("\"on\": false", "\"on\": 0"),
            &["invalid type", "line 19"],
        ),
        (
            change("L2H0[4->1]=knockout", "L2H0[4->1]=zero"),
            &["row 2", "L2H0[4->1]=zero", "cannot be done"],
        ),
        (change("scale(2.5)", "scale(1e999)"), &["row 1", "finite"]),
        (
            change("\"position\": 13", "\"position\": \"first\""),
            &["position is \"usual\", \"last\" or a token index"],
        ),
        (
            change("\"position\": 13", "\"position\": -3"),
            &["position is"],
        ),
        (
            change("[1, 40, 41", "[1, 4294967296, 41"),
            &["4294967296", "u32"],
        ),
        (
            change("[\"L9H6\", \"L2H0\"]", "[\"L9\"]"),
            &["selection", "`L9`"],
        ),
        (
            change("\"bos\": \"always\"", "\"bos\": \"maybe\""),
            &["unknown variant"],
        ),
        (
            r#"{"version":1,"model":{"source":"demo"},"prompt":{}}"#.into(),
            &["prompt A", "neither"],
        ),
        (change("\"fingerprint\"", "\"name\""), &["duplicate field"]),
        (
            format!(
                r#"{{"version":1,"model":{{"source":"demo"}},"prompt":{{"text":""}},"edits":[{many_rows}]}}"#
            ),
            &["10001 rows", "10000"],
        ),
        (
            format!(
                r#"{{"version":1,"model":{{"source":"demo"}},"prompt":{{"text":"{}"}}}}"#,
                "x".repeat((1 << 20) + 1)
            ),
            &["prompt A", "1048577 bytes"],
        ),
        (
            format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
            &["line 1"],
        ),
    ] {
        let start: String = text.chars().take(80).collect();
        let error = file::decode(&text, None).expect_err(&start).to_string();
        for part in parts {
            assert!(error.contains(part), "`{error}` lacks `{part}` for {start}");
        }
    }
}

#[test]
fn a_difference_that_is_no_number_is_not_taken_for_none() {
    let mut saved = full();
    let record = saved.record.as_mut().unwrap();
    record.numbers.as_mut().unwrap().before.logit_diff = Some(f32::INFINITY);
    let text = file::encode(&saved, None, None).unwrap();
    let again = file::decode(&text, None).unwrap();
    let diff = again.record.unwrap().numbers.unwrap().before.logit_diff;
    assert!(diff.is_some_and(f32::is_nan), "{diff:?}");
}

#[test]
fn numbers_without_the_tokens_they_belong_to_are_refused() {
    let text = v1_text().replacen("\"fingerprint\": \"h1:", "\"name_\": \"", 1);
    assert!(file::decode(&text, None).is_err());
    let text = v1_text();
    let start = text.find(",\n    \"fingerprint\"").unwrap();
    let end = start + 2 + text[start + 2..].find('\n').unwrap();
    let without = format!("{}{}", &text[..start], &text[end..]);
    let problem = file::decode(&without, None).unwrap_err();
    assert!(matches!(problem, Problem::LooseNumbers), "{problem}");
}

#[test]
fn a_file_too_large_is_refused_before_it_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.headscope.json");
    // Sparse: a terabyte by name only.
    std::fs::File::create(&path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let error = file::open(&path).unwrap_err();
    assert!(matches!(error.problem, Problem::TooLarge { .. }), "{error}");
    assert!(
        error.to_string().ends_with("large.headscope.json"),
        "{error}"
    );
}

#[test]
fn what_could_not_be_opened_again_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.headscope.json");
    let mut saved = full();
    file::save(&path, &saved, None).unwrap();
    let before = std::fs::read(&path).unwrap();
    saved.session.experiment.edits = vec![row("L0=zero", true); 10_001];
    let error = file::save(&path, &saved, None).unwrap_err();
    assert!(error.to_string().starts_with("cannot save"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
