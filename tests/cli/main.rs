//! The command line end to end, through the built program: arguments, output, exit codes.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

mod encoders;
mod files;
mod generate;
mod methods;
mod numbers;
mod run;
mod usage;
mod verify;

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

/// A model of the fixtures.
fn fixture(name: &str) -> String {
    format!(
        "{}/tests/fixtures/models/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}
