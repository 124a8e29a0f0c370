//! A file on which another crate panics is one error, and nothing of the panic is printed: on the command line, and in
//! the thread that loads models for the window.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use headscope::panics::log_uncaught;
use headscope::worker::{Event, Worker};

/// Two tokens longer together than any of the vocabulary: the crate's builder panics.
const PANICS: &str =
    r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":[["a","a"]]}}"#;

/// Set in a process of this test's own, to the model that it opens.
const MODEL: &str = "HEADSCOPE_TEST_BAD_MODEL";

fn model_that_panics() -> tempfile::TempDir {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/tiny-llama");
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(name), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("tokenizer.json"), PANICS).unwrap();
    folder
}

fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stderr, .. } = command.env_remove("RUST_LOG").output().unwrap();
    (status.success(), String::from_utf8(stderr).unwrap())
}

#[track_caller]
fn check_only_the_error(stderr: &str) {
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for part in [
        "tokenizer.json is damaged",
        "contradict each other",
        "tokenizer.json",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn the_command_line_prints_the_error_and_nothing_of_the_panic() {
    let folder = model_that_panics();
    let mut program = Command::new(env!("CARGO_BIN_EXE_headscope"));
    let (success, stderr) = output(
        program
            .arg("run")
            .arg(folder.path())
            .args(["--prompt", "a"]),
    );
    assert!(!success);
    check_only_the_error(&stderr);
}

/// In a process of its own, set up as the program is: the hook of panics and the log belong to the whole process.
#[test]
fn the_windows_thread_tells_the_error_and_prints_nothing_of_the_panic() {
    if let Some(model) = std::env::var_os(MODEL) {
        open_as_the_window_does(model.to_str().unwrap());
        return;
    }
    let folder = model_that_panics();
    let this_test = "panics::the_windows_thread_tells_the_error_and_prints_nothing_of_the_panic";
    let mut again = Command::new(std::env::current_exe().unwrap());
    let (success, stderr) = output(
        again
            .args(["--exact", this_test, "--nocapture"])
            .env(MODEL, folder.path()),
    );
    assert!(success, "{stderr}");
    check_only_the_error(&stderr);
}

fn open_as_the_window_does(model: &str) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    log_uncaught();
    let mut worker = Worker::start(Arc::new(|| {})).unwrap();
    worker.load(model, headscope::compute::Compute::default());
    loop {
        match worker.wait(Duration::from_mins(1)) {
            Some(Event::LoadFailed { message, .. }) => return eprintln!("{message}"),
            Some(_) => {}
            None => panic!("no answer"),
        }
    }
}
