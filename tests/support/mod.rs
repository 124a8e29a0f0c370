//! What the integration tests share: fixtures, tiny models, comparisons.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headscope::compute::{Compute, Dtype};
use headscope::edit::Edit;
use headscope::experiment::RunSpec;
use headscope::model::Model;
use headscope::model::load::{Unreported, open_for};
use serde_json::Value;

pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(path)
}

pub(crate) fn fixture_model(name: &str) -> Arc<Model> {
    model_in(&fixture(&format!("models/{name}")), Dtype::F32)
}

pub(crate) fn model_in(path: &Path, dtype: Dtype) -> Arc<Model> {
    let compute = Compute {
        dtype,
        ..Compute::default()
    };
    Arc::new(open_for(path.to_str().unwrap(), compute, &mut Unreported).unwrap())
}

/// Every fixture that has golden values, one or more of each family, by name.
pub(crate) fn every_fixture_model() -> Vec<(String, Arc<Model>)> {
    let folders = std::fs::read_dir(fixture("models")).unwrap();
    let mut names: Vec<String> = folders
        .map(|folder| folder.unwrap().path())
        .filter(|folder| folder.join("edits.json").exists())
        .map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let open = |name: String| (name.clone(), fixture_model(&name));
    names.into_iter().map(open).collect()
}

/// A run without prompt B, read at the last token.
pub(crate) fn run_spec(ids: &[u32], edits: &[&str]) -> RunSpec {
    RunSpec {
        ids: ids.into(),
        n_prompt: ids.len(),
        reach: ids.len(),
        contrast: None,
        edits: edits.iter().map(|edit| edit.parse().unwrap()).collect(),
        position: ids.len() - 1,
        last: ids.len() - 1,
        bos_count: 0,
        folder: None,
    }
}

/// The run of a case in `edits.json` or `refused.json` of a fixture model.
pub(crate) fn spec_of_case(case: &Value, model: &str) -> RunSpec {
    let ids = |value: &Value| -> Option<Vec<u32>> {
        Some(
            value
                .as_array()?
                .iter()
                .map(|id| id.as_u64().unwrap() as u32)
                .collect(),
        )
    };
    let edits: Vec<Edit> = case["edits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edit| edit.as_str().unwrap().parse().unwrap())
        .collect();
    RunSpec {
        contrast: ids(&case["contrast_ids"]).map(Into::into),
        edits,
        folder: Some(fixture(&format!("models/{model}"))),
        ..run_spec(&ids(&case["ids"]).unwrap(), &[])
    }
}

/// Whether all values agree; otherwise where they differ most. Infinities of one sign agree.
pub(crate) fn close(found: &[f32], expected: &[f32], tolerance: f32) -> Result<(), String> {
    assert_eq!(found.len(), expected.len());
    let difference = |(a, b): (&f32, &f32)| {
        if a.to_bits() == b.to_bits() {
            0.0
        } else {
            (a - b).abs()
        }
    };
    let worst = found
        .iter()
        .zip(expected)
        .map(difference)
        .enumerate()
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    match worst {
        // NaN compares greater than every number.
        Some((i, difference)) if difference.is_nan() || difference > tolerance => Err(format!(
            "value {i} is {} where {} is right (difference {difference:e}, tolerance {tolerance:e})",
            found[i], expected[i]
        )),
        _ => Ok(()),
    }
}

/// The folder of real models, where the environment names one; otherwise says that the test was skipped.
#[expect(
    clippy::print_stdout,
    reason = "a skipped test must not look like a passed one"
)]
pub(crate) fn real_models(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("HEADSCOPE_TEST_MODELS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped {test}: HEADSCOPE_TEST_MODELS names no folder of models");
    }
    folder
}
