//! What the benches share: a model of GPT-2 small's shape with random weights.

use std::path::PathBuf;
use std::process::Command;

/// Its folder, in the system's temporary one; written by `scripts/make-random-model` where it is not there yet.
pub(crate) fn random_model() -> PathBuf {
    let folder = std::env::temp_dir().join("headscope-random-gpt2");
    if !folder.join("config.json").exists() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/make-random-model");
        let status = Command::new("python3").arg(script).arg(&folder).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "python3 {script} writes the model"
        );
    }
    folder
}
