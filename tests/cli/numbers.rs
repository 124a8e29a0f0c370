//! `--dtype` and `--device`.

use super::{PROMPT, Program};
use serde_json::Value;
use std::path::Path;

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
