//! The command line end to end, through the built program: arguments, output, exit codes.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A folder of its own, and the program run in it.
struct Program {
    folder: tempfile::TempDir,
}

/// What the program said.
struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Program {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_headscope"))
            .args(arguments)
            .current_dir(&self.folder)
            // Neither the user's folders nor a display.
            .env("HEADSCOPE_CONFIG_DIR", self.path("config"))
            .env("HEADSCOPE_DATA_DIR", self.path("data"))
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("RUST_LOG")
            // No test asks the network.
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HUB_CACHE", self.path("hub"))
            .output();
        let Output {
            status,
            stdout,
            stderr,
        } = output.unwrap();
        Answer {
            code: status.code().expect("ended by a signal"),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    #[track_caller]
    fn refused(&self, code: i32, arguments: &[&str], parts: &[&str]) {
        let answer = self.run(arguments);
        assert_eq!(answer.code, code, "{arguments:?}: {}", answer.stderr);
        assert_eq!(answer.stdout, "", "{arguments:?}");
        for part in parts {
            let stderr = &answer.stderr;
            assert!(
                stderr.contains(part),
                "{arguments:?}: `{stderr}` lacks `{part}`"
            );
        }
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, 0, "{arguments:?}: {}", answer.stderr);
        answer.stdout
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

#[track_caller]
fn assert_keys(value: &Value, keys: &[&str]) {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"));
    assert_eq!(object.keys().collect::<Vec<_>>(), keys);
}

const SESSION: &str = r#"{"version":1,"model":{"source":"demo"},"prompt":{"text":"A B C"}}"#;
const PROMPT: &str = "When Mary and John went to the store, John gave a drink to";

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_is_wrong() {
    let program = Program::new();
    program.refused(2, &["run"], &["MODEL | SESSION"]);
    program.refused(2, &["run", "demo", "--no-such"], &["--no-such"]);
    program.refused(
        2,
        &["run", "demo", "--prompt", "a", "--ids", "1"],
        &["--prompt", "--ids"],
    );
    program.refused(
        2,
        &["run", "demo", "--bos", "--no-bos"],
        &["--bos", "--no-bos"],
    );
    program.refused(
        2,
        &["run", "demo", "--ids", "1,x"],
        &["separated by commas"],
    );
    program.refused(
        2,
        &["run", "demo", "--save", "x.json"],
        &[".headscope.json"],
    );
    program.refused(2, &["dump", "demo", "-o", "x.safetensors"], &["--sites"]);
    program.refused(
        2,
        &["export", "demo", "--view", "window", "-o", "x.svg"],
        &[".png"],
    );
    program.refused(
        2,
        &["export", "demo", "--view", "heads", "-o", "x.bmp"],
        &[".svg"],
    );
}

#[test]
fn a_session_takes_no_experiment_from_the_command_line() {
    let program = Program::new();
    program.write("s.headscope.json", SESSION);
    program.write("other.json", SESSION);
    for file in ["s.headscope.json", "other.json"] {
        for option in [
            &["--prompt", "x"][..],
            &["--edit", "L0=zero"],
            &["--ids", "1"],
            &["--contrast", "x"],
            &["--answer", "x"],
            &["--position", "0"],
            &["--no-bos"],
        ] {
            program.refused(2, &[&["run", file], option].concat(), &[option[0], file]);
            let dump = ["dump", file, "--sites", "logits", "-o", "x.safetensors"];
            program.refused(2, &[&dump, option].concat(), &[option[0], file]);
        }
    }
    assert!(!program.path("x.safetensors").exists());
}

#[test]
fn sessions_that_cannot_be_opened_are_exit_code_1_with_the_reason() {
    let program = Program::new();
    program.refused(
        1,
        &["run", "none.headscope.json"],
        &["cannot open the session", "none.headscope.json"],
    );
    program.write(
        "new.headscope.json",
        &SESSION.replace("\"version\":1", "\"version\":7"),
    );
    program.refused(
        1,
        &["run", "new.headscope.json"],
        &["made by a newer Headscope (version 7"],
    );
    program.write("cut.headscope.json", &SESSION[..50]);
    program.refused(
        1,
        &["run", "cut.headscope.json"],
        &["damaged", "line 1 column 50"],
    );
    let edits = r#""prompt":{"text":"A"},"edits":[{"edit":"L0=zero"},{"edit":"L0=explode"}]"#;
    program.write(
        "edit.headscope.json",
        &SESSION.replace(r#""prompt":{"text":"A B C"}"#, edits),
    );
    program.refused(1, &["run", "edit.headscope.json"], &["row 2", "explode"]);
}

#[test]
fn edits_that_are_none_are_refused_by_name() {
    let program = Program::new();
    for edit in [
        "L0H0=explode",
        "L0H0=scale(inf)",
        "L0H0",
        "L0KV0=uniform",
        "-x",
    ] {
        let arguments = ["run", "demo", "--edit", "L0=zero", "--edit", edit];
        program.refused(1, &arguments, &["error: edit `", edit]);
    }
}

#[test]
fn a_model_runs_in_narrow_numbers_and_says_so() {
    let program = Program::new();
    let exact = program.json(&["run", "demo", "--prompt", PROMPT]);
    assert_eq!(exact["model"]["dtype"], "f32");
    for dtype in ["f16", "bf16"] {
        let narrow = program.json(&["run", "demo", "--prompt", PROMPT, "--dtype", dtype]);
        let model = &narrow["model"];
        assert_eq!(
            (&model["dtype"], &model["stored"]),
            (&dtype.into(), &"F32".into())
        );
        let difference = model["dtype_logit_difference"].as_f64().unwrap();
        assert!(
            difference > 0.0 && difference < 0.5,
            "{dtype}: {difference}"
        );
        assert_eq!(
            narrow["before"]["top"][0]["id"],
            exact["before"]["top"][0]["id"]
        );
        let table = program.done(&["run", "demo", "--dtype", dtype]);
        let line = table.lines().next().unwrap();
        assert!(
            line.contains(&format!("{dtype} (stored F32), logits within")),
            "{line}"
        );
        program.done(&[
            "dump",
            "demo",
            "--dtype",
            dtype,
            "--sites",
            "blocks.*.hook_resid_post",
            "-o",
            "d.safetensors",
        ]);
        program.done(&[
            "export", "demo", "--dtype", dtype, "--view", "heads", "-o", "h.svg",
        ]);
    }
}

#[test]
fn quantized_is_for_files_that_are_and_keeps_every_number() {
    let program = Program::new();
    program.refused(
        1,
        &["run", "demo", "--dtype", "quantized"],
        &["no quantised weights", "stored as F32"],
    );
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/models/tiny-llama-quantized/tiny-llama-quantized.gguf");
    let run = |dtype| {
        let arguments = [
            "run",
            file.to_str().unwrap(),
            "--ids",
            "1,2,3",
            "--dtype",
            dtype,
        ];
        program.json(&arguments)
    };
    let (exact, blocks) = (run("f32"), run("quantized"));
    assert_eq!(blocks["model"]["dtype"], "quantized");
    assert_eq!(
        blocks["model"]["fingerprint"],
        exact["model"]["fingerprint"]
    );
    let logit = |run: &Value| run["before"]["top"][0]["logit"].as_f64().unwrap();
    assert!((logit(&blocks) - logit(&exact)).abs() < 1e-4);
}

#[test]
fn a_device_that_the_program_lacks_is_refused_with_the_way_to_build_it() {
    let program = Program::new();
    for (device, is_built) in [
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
    ] {
        if !is_built {
            let arguments = ["run", "demo", "--device", device];
            program.refused(1, &arguments, &["built without", "--features", device]);
        }
    }
    program.done(&["run", "demo", "--device", "cpu"]);
    program.refused(
        2,
        &["run", "demo", "--device", "tpu"],
        &["cpu, cuda or metal"],
    );
}

#[test]
fn a_session_keeps_its_type_and_another_is_told() {
    let program = Program::new();
    let saved = "s.headscope.json";
    program.done(&["run", "demo", "--dtype", "bf16", "--save", saved]);
    let replayed = program.json(&["run", saved]);
    assert_eq!(replayed["model"]["dtype"], "bf16");
    assert_eq!(replayed["replay"]["agrees"], true);
    assert_eq!(replayed["warnings"], serde_json::json!([]));
    let other = program.json(&["run", saved, "--dtype", "f32"]);
    assert_eq!(other["model"]["dtype"], "f32");
    assert_eq!(other["replay"]["agrees"], false);
    let warnings = other["warnings"].to_string();
    assert!(
        warnings.contains("made in bf16 and is run in f32"),
        "{warnings}"
    );
}

#[test]
fn help_and_version_are_no_errors() {
    let program = Program::new();
    assert!(program.done(&["--version"]).starts_with("headscope "));
    assert!(program.done(&["run", "--help"]).contains("--edit <EDIT>"));
}

#[test]
fn models_lists_every_family_once() {
    let models = Program::new().json(&["models"]);
    assert_eq!(models["schema_version"], 1);
    let families = models["families"].as_array().unwrap();
    let mut names: Vec<_> = families
        .iter()
        .map(|family| family["model_type"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"gpt2") && names.contains(&"llama"),
        "{names:?}"
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), families.len());
    let llama = families
        .iter()
        .find(|family| family["model_type"] == "llama")
        .unwrap();
    assert_eq!(llama["norm"], "rms");
    assert_eq!(llama["positions"], "rotary");
    assert_eq!(llama["mlp"], "gated");
    assert_eq!(llama["activation"], "silu");
    assert_eq!(llama["grouped_keys"], true);
    assert_eq!(llama["gguf_architecture"], "llama");
}

#[test]
fn doctor_runs_the_bundled_model() {
    let program = Program::new();
    let text = program.done(&["doctor"]);
    assert!(text.contains("demo       runs"), "{text}");
    assert!(text.contains("\ngraphics   "), "{text}");
    assert!(
        text.contains(program.path("config").to_str().unwrap()),
        "{text}"
    );
}

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

#[test]
fn dump_writes_what_the_globs_name_and_refuses_what_names_nothing() {
    let program = Program::new();
    program.done(&[
        "dump",
        "demo",
        "--ids",
        "1,2,3",
        "--sites",
        "blocks.*.attn.hook_pattern,logits",
        "--edit",
        "L0H0=uniform",
        "-o",
        "d.safetensors",
    ]);
    let bytes = std::fs::read(program.path("d.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata["ids"], "[1,2,3]");
    assert_eq!(metadata["edits"], r#"["L0H0=uniform"]"#);
    let again = "dump demo --ids 1,2,3 --sites blocks.*.attn.hook_pattern,logits --edit L0H0=uniform -o e.safetensors";
    program.done(&again.split(' ').collect::<Vec<_>>());
    let repeated = std::fs::read(program.path("e.safetensors")).unwrap();
    assert!(repeated == bytes, "equal runs give equal files");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let pattern = tensors.tensor("blocks.0.attn.hook_pattern").unwrap();
    assert_eq!(pattern.shape()[0], 1);
    assert_eq!(pattern.shape()[2..], [3, 3]);
    let row: Vec<f32> = bytemuck::pod_collect_to_vec(&pattern.data()[4 * 6..4 * 9]);
    assert!(
        row.iter().all(|value| (value - 1.0 / 3.0).abs() < 1e-6),
        "{row:?}"
    );
    program.refused(
        1,
        &[
            "dump",
            "demo",
            "--sites",
            "logits,blocks.*.hook_nothing",
            "-o",
            "none.safetensors",
        ],
        &["blocks.*.hook_nothing"],
    );
    assert!(!program.path("none.safetensors").exists());
}

#[test]
fn export_writes_figures_and_data_without_a_display() {
    let program = Program::new();
    for (view, file, start) in [
        ("heads", "h.png", &b"\x89PNG"[..]),
        ("attention", "a.svg", b"<"),
        ("arcs", "c.svg", b"<"),
        ("readout", "r.json", b"{"),
    ] {
        program.done(&[
            "export", "demo", "--view", view, "--head", "L0H1", "-o", file,
        ]);
        let bytes = std::fs::read(program.path(file)).unwrap();
        assert!(bytes.starts_with(start), "{file}");
    }
    let attention = [
        "export",
        "demo",
        "--view",
        "attention",
        "--head",
        "L99H0",
        "-o",
        "x.svg",
    ];
    program.refused(1, &attention, &["L99H0"]);
}

#[test]
fn the_window_is_exported_as_a_picture_or_the_missing_driver_is_named() {
    let program = Program::new();
    let wrong = ["export", "demo", "--view", "window", "-o", "w.svg"];
    program.refused(2, &wrong, &[".png"]);
    let answer = program.run(&[
        "export",
        "demo",
        "--view",
        "window",
        "--size",
        "900x600",
        "--scale",
        "1",
        "--edit",
        "L0H1=zero",
        "-o",
        "w.png",
    ]);
    if answer.code == 1 {
        assert!(
            answer.stderr.contains("mesa-vulkan-drivers"),
            "{}",
            answer.stderr
        );
        return;
    }
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let decoder = png::Decoder::new(std::io::Cursor::new(
        std::fs::read(program.path("w.png")).unwrap(),
    ));
    let reader = decoder.read_info().unwrap();
    let info = reader.info();
    assert_eq!((info.width, info.height), (900, 600));
    let texts = &info.uncompressed_latin1_text;
    let utf8 = &info.utf8_text;
    assert!(
        format!("{texts:?}{utf8:?}").contains("L0H1=zero"),
        "{texts:?} {utf8:?}"
    );
}

#[test]
fn models_that_cannot_be_opened_are_exit_code_1_with_the_path() {
    let program = Program::new();
    program.refused(1, &["run", "./no-such-folder"], &["no-such-folder"]);
    program.write("broken.safetensors", "no model");
    program.refused(1, &["run", "broken.safetensors"], &["broken.safetensors"]);
    assert!(Path::new(&program.path("broken.safetensors")).exists());
}

/// A model of the fixtures.
fn fixture(name: &str) -> String {
    format!(
        "{}/tests/fixtures/models/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

#[test]
fn an_encoder_is_read_at_its_last_mask() {
    let program = Program::new();
    let bert = fixture("tiny-bert");
    let masked = [
        "run",
        &bert,
        "--prompt",
        "the [MASK] sat on the [MASK].",
        "--answer",
        " Dog",
        "--answer",
        "cat",
    ];
    let plain = program.json(&masked);
    assert_eq!(plain["readout"], "masked_token");
    assert_eq!(plain["position"], 6);
    assert_eq!(plain["warnings"], serde_json::json!([]));
    let answers = &plain["before"]["answers"];
    assert_eq!([&answers[0]["id"], &answers[1]["id"]], [12, 7]);
    assert!(plain["before"]["logit_diff"].is_number());
    let edited = program.json(&[&masked[..], &["--edit", "L0H1=zero"]].concat());
    assert_eq!(edited["before"], plain["before"]);
    assert_ne!(edited["after"], plain["before"]);
    let text = program.done(&masked);
    assert!(text.contains("read at 6 `[MASK]`"), "{text}");

    // `last` is the last token that is not special, for reading and for edits.
    let unmasked = ["run", &bert, "--prompt", "the cat sat"];
    program.refused(1, &unmasked, &["put [MASK] into it", "--position"]);
    let at = |position: &str| {
        let edit = [
            "--position",
            position,
            "--edit",
            "L1=zero@last",
            "--edit",
            "L1=zero@3",
        ];
        program.json(&[&unmasked[..], &edit].concat())
    };
    let last = at("last");
    assert_eq!(last["position"], 3);
    assert_eq!(last["after"], at("3")["after"]);
    // Without a prompt, the sample has a mask of its own.
    let sample = program.json(&["run", &bert]);
    let position = sample["position"].as_u64().unwrap() as usize;
    assert_eq!(sample["tokens"][position]["text"], "[MASK]");
}

#[test]
fn an_encoders_special_tokens_are_its_tokenizers() {
    let program = Program::new();
    let bert = fixture("tiny-bert");
    for rule in ["--bos", "--no-bos"] {
        program.refused(2, &["run", &bert, rule], &["encoder", "tokenizer"]);
    }
    let session = format!(
        r#"{{"version":1,"model":{{"source":"{bert}"}},"prompt":{{"text":"the [MASK]"}},"bos":"always"}}"#
    );
    program.write("s.headscope.json", &session);
    program.refused(1, &["run", "s.headscope.json"], &["set it to auto"]);
    program.write("s.headscope.json", &session.replace("always", "auto"));
    let run = program.json(&["run", "s.headscope.json"]);
    assert_eq!(run["tokens"][0]["text"], "[CLS]");
    assert_eq!(run["position"], 2);
}

#[test]
fn a_session_keeps_whether_it_reads_at_the_mask_or_at_the_last_token() {
    let program = Program::new();
    let roberta = fixture("tiny-roberta");
    let masked = [
        "run",
        &roberta,
        "--prompt",
        "The <mask> sat.",
        "--save",
        "s.headscope.json",
    ];
    let position = |arguments: &[&str]| program.json(arguments)["position"].clone();
    assert_eq!(position(&masked), 2);
    assert_eq!(position(&["run", "s.headscope.json"]), 2);
    assert_eq!(
        position(&[&masked[..], &["--position", "last"]].concat()),
        4
    );
    let replayed = program.json(&["run", "s.headscope.json"]);
    assert_eq!(replayed["position"], 4);
    assert_eq!(replayed["replay"]["agrees"], true);
}

#[test]
fn without_a_head_there_is_no_readout_and_everything_else() {
    let program = Program::new();
    let trunk = fixture("tiny-bert-base");
    let asked = ["run", &trunk, "--prompt", "the cat sat", "--answer", "dog"];
    let run = program.json(&[&asked[..], &["--edit", "L0H0=zero"]].concat());
    assert_eq!(run["readout"], "none");
    assert_eq!(run["position"], 3);
    for side in ["before", "after"] {
        let nothing = serde_json::json!({ "top": [], "answers": [], "logit_diff": null });
        assert_eq!(run[side], nothing);
    }
    let warnings = run["warnings"].to_string();
    assert!(warnings.contains("no language-model head"), "{warnings}");
    let table = program.done(&asked);
    assert!(table.contains("no language-model head"), "{table}");
    let dump = ["dump", &trunk, "-o", "d.safetensors", "--sites"];
    program.done(&[&dump[..], &["*.hook_normalized_resid_post"]].concat());
    program.refused(1, &[&dump[..], &["logits"]].concat(), &["logits"]);
    let export = ["export", &trunk, "--view", "readout", "-o", "r.json"];
    program.refused(1, &export, &["no language-model head"]);
    program.done(&["export", &trunk, "--view", "heads", "-o", "h.svg"]);
}

#[test]
fn a_window_is_left_out_of_the_exported_numbers() {
    let program = Program::new();
    let model = fixture("tiny-modernbert");
    let export = |head: &str, file: &str| {
        program.done(&[
            "export",
            &model,
            "--prompt",
            "The cat sat [MASK] on the cat",
            "--view",
            "attention",
            "--head",
            head,
            "-o",
            file,
        ]);
        std::fs::read_to_string(program.path(file)).unwrap()
    };
    let rows = |csv: &str| csv.lines().filter(|line| !line.starts_with('#')).count() - 1;
    // Layer 0 sees everything, layer 1 two tokens to either side.
    let n = (rows(&export("L0H0", "all.csv")) as f64).sqrt() as usize;
    assert!(n > 8);
    assert_eq!(rows(&export("L1H0", "window.csv")), 5 * n - 6);
    let json: Value = serde_json::from_str(&export("L1H0", "window.json")).unwrap();
    let panel = &json["data"]["panels"][0];
    assert_eq!(
        panel["mask"],
        serde_json::json!({ "before": 2, "after": 2 })
    );
    assert_eq!(panel["values"][0][3], Value::Null);
    assert!(panel["values"][0][2].is_number());
}

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
