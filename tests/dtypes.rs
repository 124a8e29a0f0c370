//! Models in narrow numbers: near f32 by a bound that has a reason, smaller, and with every site and edit.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helper may panic, and says what it compared"
)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headscope::compute::{Compute, Dtype};
use headscope::edit::Edit;
use headscope::experiment::engine::{Dumped, Engine, Unwatched};
use headscope::experiment::{Reading, Readout, RunSpec};
use headscope::model::Model;
use headscope::model::load::{Unreported, open_for};
use headscope::model::site::Site;
use headscope::prompt::BosRule;

use support::{close, every_fixture_model, fixture, model_in, real_models, run_spec};

const IDS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

fn quantized() -> PathBuf {
    fixture("models/tiny-llama-quantized/tiny-llama-quantized.gguf")
}

fn dump(model: &Arc<Model>, spec: &RunSpec) -> Vec<Dumped> {
    let sites = Site::all(&model.spec);
    Engine::new(Arc::clone(model)).dump(spec, &sites).unwrap()
}

fn size(values: &[f32]) -> f32 {
    let finite = values.iter().filter(|x| x.is_finite());
    finite.fold(0.0, |size, x| size.max(x.abs()))
}

#[test]
fn every_model_in_f16_and_bf16_is_near_f32_and_not_equal_and_half_the_size() {
    for (name, in_f32) in every_fixture_model() {
        let last_of = |model: &Arc<Model>| dump(model, &run_spec(&IDS, &[])).pop().unwrap();
        let right = last_of(&in_f32);
        // Half a unit in the last of 11 and of 8 bits: what rounding changes a weight by, as a part of itself.
        for (dtype, unit) in [(Dtype::F16, 2f32.powi(-11)), (Dtype::Bf16, 2f32.powi(-8))] {
            let model = model_in(&fixture(&format!("models/{name}")), dtype);
            let found = last_of(&model);
            assert_eq!(found.name, right.name);
            // Four products a layer follow each other, besides embedding and unembedding. Each adds errors of `unit`,
            // of either sign, of terms that are larger than their sum by some factor: below 2 on these models.
            let products = (4 * model.spec.n_layers + 2) as f32;
            let bound = 4.0 * unit * products.sqrt() * size(&right.values);
            if let Err(worst) = close(&found.values, &right.values, bound) {
                panic!("{name} in {dtype}: {worst}");
            }
            let worst = found
                .values
                .iter()
                .zip(&right.values)
                .fold(0f32, |w, (a, b)| w.max((a - b).abs()));
            println!("{name} {dtype}: {worst:e} of {bound:e}");
            assert_ne!(found.values, right.values, "{name} in {dtype}");
            assert!(model.weight_bytes < in_f32.weight_bytes * 3 / 4, "{name}");
            assert_eq!(
                model.logit_difference.is_some(),
                model.spec.head != headscope::model::spec::Head::None
            );
        }
    }
}

#[test]
fn the_files_own_blocks_give_the_numbers_of_f32_at_every_site_in_the_memory_of_the_file() {
    let (in_f32, in_blocks) = (
        model_in(&quantized(), Dtype::F32),
        model_in(&quantized(), Dtype::Quantized),
    );
    for edits in [
        &[][..],
        &["L0H1=zero", "L1H0=scale(2.5)@last", "M0=scale(0.5)"],
        &["L1KV1=zero@3", "L0H0[5->2]=knockout", "R1=scale(1.5)"],
    ] {
        let spec = run_spec(&IDS, edits);
        let (right, found) = (dump(&in_f32, &spec), dump(&in_blocks, &spec));
        assert_eq!(found.len(), right.len());
        for (found, right) in found.iter().zip(&right) {
            assert_eq!(found.name, right.name);
            // The same values in another order of additions: some 1e-7 of the size, over two layers.
            let tolerance = 5e-6 * size(&right.values);
            if let Err(worst) = close(&found.values, &right.values, tolerance) {
                panic!("{edits:?} {}: {worst}", found.name);
            }
        }
    }
    assert!(in_blocks.logit_difference.unwrap() < 1e-5);
    let on_disk = std::fs::metadata(quantized()).unwrap().len() as usize;
    assert!(
        in_blocks.weight_bytes <= on_disk,
        "{}",
        in_blocks.weight_bytes
    );
    assert!(in_f32.weight_bytes > 4 * in_blocks.weight_bytes);
}

#[test]
fn edits_and_sites_work_in_every_type() {
    for dtype in Dtype::ALL {
        let model = model_in(&quantized(), dtype);
        assert_eq!(model.compute.dtype, dtype);
        let plain = dump(&model, &run_spec(&IDS, &[]));
        assert_eq!(plain.len(), Site::all(&model.spec).len());
        let z = |dumped: &[Dumped]| {
            let z = dumped.iter().find(|d| d.name == "blocks.1.attn.hook_z");
            z.unwrap().values.clone()
        };
        let edited = dump(&model, &run_spec(&IDS, &["L1H2=zero"]));
        // [position, head, 8]
        for (i, (now, before)) in z(&edited).iter().zip(z(&plain)).enumerate() {
            let expected = if i / 8 % 4 == 2 { 0.0 } else { before };
            assert_eq!(now.to_bits(), expected.to_bits(), "{dtype} {i}");
        }
        // The product by head adds up to the whole one.
        let of = |name: &str| {
            let found = plain.iter().find(|d| d.name == name).unwrap();
            found.values.clone()
        };
        let result = of("blocks.1.attn.hook_result");
        let sums: Vec<f32> = result
            .chunks_exact(4 * 32)
            .flat_map(|heads| (0..32).map(|d| heads.iter().skip(d).step_by(32).sum::<f32>()))
            .collect();
        close(&of("blocks.1.hook_attn_out"), &sums, 1e-5).unwrap();
        // The short way of the window: chosen logits, and one row, as the whole run gives them.
        let mut engine = Engine::new(Arc::clone(&model));
        let spec = run_spec(&IDS, &[]);
        let variants: Vec<Vec<Edit>> = ["L1H2=zero", "L0H0=scale(3)@last"]
            .map(|edit| vec![edit.parse().unwrap()])
            .into();
        let swept = engine
            .sweep(&spec, &variants, Reading::of(&[7, 0]), &mut |_| true)
            .unwrap();
        for (variant, found) in variants.into_iter().zip(swept) {
            let spec = RunSpec {
                edits: variant,
                ..spec.clone()
            };
            let outcome = engine.run(&spec, &mut Unwatched).unwrap();
            let logits = outcome.after.unwrap().logits.unwrap();
            close(&found, &[logits[7], logits[0]], 1e-5).unwrap();
        }
    }
}

#[test]
fn quantized_is_refused_where_nothing_is() {
    let compute = Compute {
        dtype: Dtype::Quantized,
        ..Compute::default()
    };
    for model in ["tiny-gpt2", "tiny-llama-gguf/tiny-llama.gguf"] {
        let path = fixture(&format!("models/{model}"));
        let error = open_for(path.to_str().unwrap(), compute, &mut Unreported)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("stored as F32") && error.contains(model),
            "{error}"
        );
    }
}

#[test]
fn weights_beyond_the_range_of_f16_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture("models/tiny-gpt2");
    std::fs::copy(from.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let name = "h.1.mlp.c_fc.weight";
    let at = {
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let (found, tensor) = file
            .iter()
            .find(|(found, _)| found.ends_with(name))
            .unwrap();
        assert!(found.ends_with(name));
        tensor.data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    bytes[at..at + 4].copy_from_slice(&7e4f32.to_le_bytes());
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let open = |dtype| {
        let compute = Compute {
            dtype,
            ..Compute::default()
        };
        open_for(folder.path().to_str().unwrap(), compute, &mut Unreported)
    };
    let error = open(Dtype::F16).unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("f16"), "{error}");
    assert!(open(Dtype::Bf16).is_ok());
}

/// `None` where there are no real models.
fn smollm2(test: &str) -> Option<PathBuf> {
    let folder = real_models(test)?.join("smollm2-135m-instruct-q4_1");
    Some(folder.join("SmolLM2-135M-Instruct.Q4_1.gguf"))
}

fn logits(path: &Path, dtype: Dtype) -> (Arc<Model>, Vec<f32>) {
    let model = model_in(path, dtype);
    let text = "When Mary and John went to the store, John gave a drink to";
    let tokenizer = model.tokenizer.as_ref().unwrap();
    let ids = tokenizer.encode(text, BosRule::Auto).unwrap();
    let outcome = Engine::new(Arc::clone(&model))
        .run(&run_spec(&ids, &[]), &mut Unwatched)
        .unwrap();
    (model, outcome.before.logits.unwrap().to_vec())
}

#[test]
fn smollm2_in_narrow_numbers_says_what_it_says_in_f32() {
    let Some(path) = smollm2("SmolLM2 in narrow numbers") else {
        return;
    };
    let (in_f32, right) = logits(&path, Dtype::F32);
    let top = |logits: &[f32]| Readout::new(logits).top(1)[0].id;
    // Of top logits of size 11; the file's own blocks differ from f32 by the order of additions only.
    for (dtype, tolerance, part) in [
        (Dtype::F16, 0.1, 0.55),
        (Dtype::Bf16, 0.4, 0.55),
        (Dtype::Quantized, 1e-3, 0.2),
    ] {
        let (model, found) = logits(&path, dtype);
        close(&found, &right, tolerance).unwrap();
        assert_eq!(top(&found), top(&right), "{dtype}");
        assert!((model.weight_bytes as f64) < part * in_f32.weight_bytes as f64);
        println!(
            "SmolLM2 in {dtype}: {} bytes, {:?}",
            model.weight_bytes, model.logit_difference
        );
    }
}
