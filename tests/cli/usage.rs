//! What is refused before anything runs, and what needs no model.

use super::{Program, SESSION};
use std::path::Path;

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
fn models_that_cannot_be_opened_are_exit_code_1_with_the_path() {
    let program = Program::new();
    program.refused(1, &["run", "./no-such-folder"], &["no-such-folder"]);
    program.write("broken.safetensors", "no model");
    program.refused(1, &["run", "broken.safetensors"], &["broken.safetensors"]);
    assert!(Path::new(&program.path("broken.safetensors")).exists());
}
