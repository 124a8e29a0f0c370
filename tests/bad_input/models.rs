//! Whole models whose parts lie or do not belong together, and prompts that no model can run: each is one error that says
//! what is wrong, and where.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headscope::experiment::RunSpec;
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::experiment::resolve::resolve;
use headscope::model::Model;
use headscope::model::load::{Unreported, open};
use headscope::session::{BosRule, Experiment, Prompt};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::allocation::peak_of;
use super::seeds::{Gguf, byte_level, special};

/// Loading takes this many bytes for a byte of the files: weights become f32, and a little goes with each.
const PER_BYTE: usize = 24;
const BESIDES: usize = 256 << 10;

/// A model of the fixtures, to be spoilt.
struct Parts {
    config: Value,
    /// Name, type, shape, bytes.
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    tokenizer: Option<Value>,
}

impl Parts {
    fn of(model: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/models")
            .join(model);
        let config = std::fs::read(folder.join("config.json")).unwrap();
        let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
        let weights = safetensors::SafeTensors::deserialize(&weights).unwrap();
        let tensors = weights.iter().map(|(name, view)| {
            (
                name.to_owned(),
                view.dtype(),
                view.shape().to_vec(),
                view.data().to_vec(),
            )
        });
        Self {
            config: serde_json::from_slice(&config).unwrap(),
            tensors: tensors.collect(),
            tokenizer: None,
        }
    }

    fn tensor(&mut self, name: &str) -> &mut (String, Dtype, Vec<usize>, Vec<u8>) {
        self.tensors
            .iter_mut()
            .find(|(known, ..)| known == name)
            .unwrap()
    }

    fn write(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let views = self.tensors.iter().map(|(name, dtype, shape, data)| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let weights = safetensors::serialize(views, None).unwrap();
        std::fs::write(folder.path().join("model.safetensors"), weights).unwrap();
        std::fs::write(folder.path().join("config.json"), self.config.to_string()).unwrap();
        if let Some(tokenizer) = &self.tokenizer {
            std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        }
        folder
    }

    fn open(&self) -> Arc<Model> {
        let folder = self.write();
        Arc::new(open(folder.path().to_str().unwrap(), &mut Unreported).unwrap())
    }
}

/// Opening `path` fails with a message that has all of these parts, in memory that its bytes pay for.
#[track_caller]
fn check_path(path: &Path, n_bytes: u64, parts: &[&str]) {
    let (result, peak) = peak_of(|| open(path.to_str().unwrap(), &mut Unreported));
    let message = result.expect_err("it opens").to_string();
    for part in parts.iter().copied().chain(path.to_str()) {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    let allowed = PER_BYTE * n_bytes as usize + BESIDES;
    assert!(
        peak <= allowed,
        "{peak} bytes for files of {n_bytes}: {message}"
    );
}

#[track_caller]
fn check_refused(model: &str, spoil: impl FnOnce(&mut Parts), parts: &[&str]) {
    let mut model = Parts::of(model);
    spoil(&mut model);
    let folder = model.write();
    let files = std::fs::read_dir(folder.path()).unwrap();
    let n_bytes = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    check_path(folder.path(), n_bytes, parts);
}

#[test]
fn a_missing_tensor_is_named() {
    check_refused(
        "tiny-gpt2",
        |model| {
            model
                .tensors
                .retain(|(name, ..)| name != "h.1.mlp.c_fc.bias");
        },
        &["lacks the tensor `h.1.mlp.c_fc.bias`"],
    );
}

#[test]
fn a_tensor_that_nobody_reads_is_named() {
    check_refused(
        "tiny-llama",
        |model| {
            model.tensors.push((
                "model.layers.0.self_attn.sinks".into(),
                Dtype::F32,
                vec![1],
                vec![0; 4],
            ));
        },
        &["model.layers.0.self_attn.sinks", "another architecture"],
    );
}

#[test]
fn weights_that_are_no_numbers_of_weights_are_refused_with_their_type() {
    for (dtype, name) in [(Dtype::I32, "I32"), (Dtype::U32, "U32")] {
        check_refused(
            "tiny-gpt2",
            |model| model.tensor("h.0.attn.c_attn.weight").1 = dtype,
            &[
                "tensor \"h.0.attn.c_attn.weight\"",
                &format!("stored as {name}"),
            ],
        );
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        check_refused(
            "tiny-llama",
            |model| {
                let (.., data) = model.tensor("model.norm.weight");
                let last = data.len() - 4;
                data[last..].copy_from_slice(&value.to_le_bytes());
            },
            &["`model.norm.weight` holds values that are not finite"],
        );
    }
    // Larger than any f32, though not infinite in the file.
    check_refused(
        "tiny-gpt2",
        |model| {
            let (_, dtype, _, data) = model.tensor("ln_f.bias");
            *dtype = Dtype::F64;
            *data = 1e300f64.to_le_bytes().repeat(data.len() / 4);
        },
        &["`ln_f.bias` holds values that are not finite"],
    );
}

#[test]
fn a_shape_that_the_config_does_not_ask_for_is_refused_with_both() {
    check_refused(
        "tiny-gpt2",
        |model| model.tensor("wte.weight").2.reverse(),
        &["`wte.weight` has shape", "Embed"],
    );
    check_refused(
        "tiny-gpt2",
        |model| model.config["n_positions"] = json!(1 << 20),
        &["`wpe.weight` has shape", "1048576"],
    );
}

#[test]
fn sizes_whose_product_has_no_number_are_refused() {
    check_refused(
        "tiny-llama",
        |model| {
            for key in [
                "num_attention_heads",
                "num_key_value_heads",
                "head_dim",
                "hidden_size",
                "intermediate_size",
            ] {
                model.config[key] = json!(1 << 24);
            }
        },
        &["has shape", "16777216"],
    );
}

#[test]
fn millions_of_layers_are_refused_before_anything_is_made_for_them() {
    for (model, key) in [
        ("tiny-gpt2", "n_layer"),
        ("tiny-llama", "num_hidden_layers"),
    ] {
        check_refused(
            model,
            |model| model.config[key] = json!(1 << 24),
            &[key, "16777216", "1 to 1,024 layers"],
        );
    }
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_embedding_has_rows_is_refused_with_both_counts() {
    let rows = |model: &Parts| model.config["vocab_size"].as_u64().unwrap() as usize;
    let with = |n_tokens: usize, added: &[&str]| {
        let tokens: Vec<String> = (0..n_tokens).map(|i| format!("t{i}")).collect();
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let mut tokenizer = byte_level(&tokens, &[]);
        tokenizer["added_tokens"] = added.iter().map(|text| special(7, text)).collect();
        tokenizer
    };
    for model in ["tiny-gpt2", "tiny-llama"] {
        for (more, added) in [
            (1, &[][..]),
            (0, &["<added>"]),
            (-1, &["<added>", "<another>"]),
        ] {
            let n_rows = rows(&Parts::of(model));
            let n_tokens = n_rows.strict_add_signed(more);
            check_refused(
                model,
                |model| model.tokenizer = Some(with(n_tokens, added)),
                &[
                    &format!("the tokenizer has {} tokens", n_rows + 1),
                    &format!("only {n_rows} rows"),
                ],
            );
        }
        // One token for each row belongs together.
        let mut fits = Parts::of(model);
        fits.tokenizer = Some(with(rows(&fits) - 1, &["<added>"]));
        assert_eq!(
            fits.open().tokenizer.as_ref().unwrap().vocab_size(),
            rows(&fits)
        );
    }
}

/// A GGUF Llama of one layer, whose norm at the end has those scales, and with those divisors of frequencies.
fn gguf(norm_scale: u16, divisors: Option<&[f32]>) -> Vec<u8> {
    // Rows of 32 values in one Q8_0 block: an f16 scale, then bytes.
    let block = |scale: u16| [&scale.to_le_bytes()[..], &[1; 32]].concat();
    let rows = |n: usize| block(0x3C00).repeat(n);
    let file = Gguf::new()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 16)
        .u32("llama.embedding_length", 32)
        .u32("llama.feed_forward_length", 32)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 2)
        .tensor("token_embd.weight", &[32, 5], 8, &rows(5))
        .tensor("output_norm.weight", &[32], 8, &block(norm_scale));
    let names = [
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ];
    let file = names.iter().fold(file, |file, name| {
        file.tensor(&format!("blk.0.{name}.weight"), &[32, 32], 8, &rows(32))
    });
    let file = ["attn_norm", "ffn_norm"].iter().fold(file, |file, name| {
        file.tensor(&format!("blk.0.{name}.weight"), &[32], 8, &block(0x3C00))
    });
    match divisors {
        Some(divisors) => {
            let data: Vec<u8> = divisors
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            file.tensor("rope_freqs.weight", &[divisors.len() as u64], 0, &data)
                .finish()
        }
        None => file.finish(),
    }
}

fn written(file: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, file).unwrap();
    (folder, path)
}

#[test]
fn scales_and_frequencies_of_a_gguf_that_are_not_finite_are_refused() {
    let sound = [1.0; 8];
    for divisors in [None, Some(&sound[..])] {
        let (_folder, path) = written(&gguf(0x3C00, divisors));
        assert!(open(path.to_str().unwrap(), &mut Unreported).is_ok());
    }
    // Infinity and NaN as f16.
    for scale in [0x7C00, 0x7E00] {
        let file = gguf(scale, None);
        let (_folder, path) = written(&file);
        check_path(
            &path,
            file.len() as u64,
            &["`output_norm.weight` holds values that are not finite"],
        );
    }
    for (divisors, reason) in [
        (&[0.0; 8][..], "8 finite frequencies"),
        (&[f32::NAN; 8], "8 finite frequencies"),
        (&[1.0; 7], "rope_freqs.weight has 7 values"),
    ] {
        let file = gguf(0x3C00, Some(divisors));
        let (_folder, path) = written(&file);
        check_path(&path, file.len() as u64, &[reason, "rope_freqs.weight"]);
    }
}

/// A model with a tokenizer whose beginning-of-text token is `<s>`.
fn speaking() -> Arc<Model> {
    let mut model = Parts::of("tiny-llama");
    model.tokenizer = Some(byte_level(&["<s>", "a", "b"], &["<s>"]));
    model.config["bos_token_id"] = json!(0);
    model.open()
}

/// The warnings of an experiment, or why it cannot be run.
fn ask(model: &Arc<Model>, prompt: Prompt, bos: BosRule) -> Result<Vec<String>, String> {
    let experiment = Experiment {
        bos,
        ..Experiment::new(prompt)
    };
    let resolved = resolve(&experiment, model, None).map_err(|error| error.to_string())?;
    let result = Engine::new(Arc::clone(model)).run(&resolved.spec, &mut Unwatched);
    result
        .map(|_| resolved.warnings)
        .map_err(|error| error.to_string())
}

#[test]
fn prompts_that_cannot_be_run_are_refused_with_the_figures() {
    let model = speaking();
    let (n_ctx, n_vocab) = (model.spec.n_ctx, model.spec.n_vocab);
    let text = |text: &str| Prompt::Text(text.to_owned());
    let refused = |prompt, bos| ask(&model, prompt, bos).unwrap_err();

    assert_eq!(ask(&model, text("ab"), BosRule::Never), Ok(vec![]));
    for empty in [text(""), Prompt::Ids(vec![])] {
        let message = refused(empty, BosRule::Auto);
        assert!(message.contains("prompt A is empty"), "{message}");
    }
    let message = refused(text(&"a".repeat(n_ctx + 1)), BosRule::Never);
    let figures = format!(
        "prompt A has {} tokens, and the model's context is {n_ctx}",
        n_ctx + 1
    );
    assert!(message.contains(&figures), "{message}");
    assert!(ask(&model, text(&"a".repeat(n_ctx)), BosRule::Never).is_ok());

    let message = refused(Prompt::Ids(vec![1, n_vocab as u32]), BosRule::Never);
    let figures = format!(
        "prompt A has token id {n_vocab}, and the model's vocabulary is 0 to {}",
        n_vocab - 1
    );
    assert!(message.contains(&figures), "{message}");
    assert!(refused(Prompt::Ids(vec![u32::MAX]), BosRule::Always).contains("token id 4294967295"));
}

#[test]
fn two_beginnings_of_text_are_warned_about_and_run() {
    let model = speaking();
    for prompt in [Prompt::Text("<s><s>ab".into()), Prompt::Ids(vec![0, 0, 1])] {
        let warnings = ask(&model, prompt, BosRule::Auto).unwrap();
        assert_eq!(
            warnings,
            ["the prompt begins with 2 beginning-of-text tokens"]
        );
    }
    let one = ask(&model, Prompt::Text("<s>ab".into()), BosRule::Auto).unwrap();
    assert_eq!(one, Vec::<String>::new());
}

#[test]
fn a_spec_made_by_hand_is_checked_too() {
    let model = speaking();
    let spec = RunSpec {
        ids: vec![1, 2].into(),
        n_prompt: 2,
        reach: 2,
        contrast: Some(vec![1, u32::MAX].into()),
        edits: vec!["L0H0=resample".parse().unwrap()],
        position: 1,
        last: 1,
        bos_count: 0,
        folder: None,
    };
    let message = Engine::new(model)
        .run(&spec, &mut Unwatched)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("prompt B has token id 4294967295"),
        "{message}"
    );
}
