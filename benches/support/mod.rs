//! What the benches share: a model of GPT-2 small's shape with random weights, and runs on it.
#![allow(dead_code, reason = "each bench uses a part")]

use std::path::PathBuf;
use std::process::Command;

use headscope::analysis::Case;
use headscope::analysis::patching::{Direction, Settings};
use headscope::experiment::RunSpec;

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

/// A run of `n_tokens` of GPT-2's vocabulary, read at the last one.
pub(crate) fn run(n_tokens: usize, edits: &[String]) -> RunSpec {
    RunSpec {
        ids: (0..n_tokens).map(|i| (i * 7919 % 50_257) as u32).collect(),
        n_prompt: n_tokens,
        reach: n_tokens,
        contrast: None,
        edits: edits.iter().filter_map(|edit| edit.parse().ok()).collect(),
        position: n_tokens - 1,
        last: n_tokens - 1,
        bos_count: 0,
        folder: None,
    }
}

/// Pairs of prompts that differ in one token.
pub(crate) fn pairs(n_tokens: usize, n: usize) -> Vec<Case> {
    (0..n)
        .map(|i| {
            let mut spec: RunSpec = run(n_tokens, &[]);
            let mut ids = spec.ids.to_vec();
            ids[1] = 100 + i as u32;
            let mut other = ids.clone();
            other[5] = 200 + i as u32;
            spec.ids = ids.into();
            spec.contrast = Some(other.into());
            Case {
                label: format!("{i}"),
                spec,
                answers: vec![11],
                wrong: vec![42],
                ..Case::default()
            }
        })
        .collect()
}

/// Patching of z, head by head.
pub(crate) fn noising() -> Settings {
    Settings {
        direction: Direction::Noise,
        ..Settings::default()
    }
}
