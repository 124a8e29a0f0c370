//! candle-transformers as a second reference, written by others than the goldens, for the families that it has: random
//! weights of several shapes, logits of several prefixes. (It has no GPT-2, GPT-NeoX, GPT-Neo and OPT.)
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use candle_transformers::models::{gemma2, gemma3, llama, mistral, phi, phi3, qwen2, qwen3};
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::model::load::{Unreported, open};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use support::{close, run_spec};

/// Gives whatever tensor is asked for, seeded by its name, and remembers it: large enough that attention is far from
/// uniform.
struct Random {
    drawn: Arc<Mutex<HashMap<String, Tensor>>>,
    /// The checkpoint has no head of its own.
    tied: bool,
}

impl SimpleBackend for Random {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        _: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let mut seed = name.bytes().fold(3_u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(byte.into())
        });
        let mut uniform = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let values: Vec<f32> = (0..shape.elem_count()).map(|_| uniform()).collect();
        let tensor = Tensor::from_vec(values, shape, device)?;
        let mut drawn = self.drawn.lock().unwrap();
        drawn.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name} is asked for without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        name != "lm_head.weight" || !self.tied
    }
}

type Forward = Box<dyn FnMut(&Tensor) -> candle_core::Result<Tensor>>;

fn read<C: DeserializeOwned>(config: &Value) -> C {
    serde_json::from_value(config.clone()).unwrap()
}

/// Their model: logits of the last token.
fn theirs(config: &Value, weights: VarBuilder<'static>) -> Forward {
    macro_rules! with_cache {
        ($model:expr) => {{
            let mut model = $model.unwrap();
            Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            })
        }};
    }
    match config["model_type"].as_str().unwrap() {
        "llama" => {
            let config = read::<llama::LlamaConfig>(config).into_config(false);
            let model = llama::Llama::load(weights, &config).unwrap();
            Box::new(move |ids| {
                let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu)?;
                model.forward(ids, 0, &mut cache)
            })
        }
        "mistral" => with_cache!(mistral::Model::new(&read(config), weights)),
        "qwen2" => with_cache!(qwen2::ModelForCausalLM::new(&read(config), weights)),
        "qwen3" => with_cache!(qwen3::ModelForCausalLM::new(&read(config), weights)),
        "gemma2" => with_cache!(gemma2::Model::new(false, &read(config), weights)),
        "gemma3_text" => with_cache!(gemma3::Model::new(false, &read(config), weights)),
        "phi3" => with_cache!(phi3::Model::new(&read(config), weights)),
        "phi" => {
            let mut model = phi::Model::new(&read(config), weights).unwrap();
            Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids)
            })
        }
        other => panic!("candle-transformers has no {other}"),
    }
}

const N_VOCAB: usize = 53;

/// A config of that type: what most families write, and `more`.
fn config(model_type: &str, more: Value) -> Value {
    let mut config = json!({
        "model_type": model_type, "hidden_size": 32, "intermediate_size": 44, "vocab_size": N_VOCAB,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 500.0, "tie_word_embeddings": false,
    });
    merge(&mut config, more);
    config
}

fn merge(config: &mut Value, more: Value) {
    let Value::Object(more) = more else {
        panic!("{more} is no object");
    };
    config.as_object_mut().unwrap().extend(more);
}

fn check(ours: &Value) {
    check_against(ours, json!({}));
}

/// `differently` is what their config has to say to mean the same.
fn check_against(ours: &Value, differently: Value) {
    let mut their_config = ours.clone();
    merge(&mut their_config, differently);
    let drawn = Arc::default();
    let random = Random {
        drawn: Arc::clone(&drawn),
        tied: ours["tie_word_embeddings"] == true,
    };
    let builder = VarBuilder::from_backend(Box::new(random), DType::F32, Device::Cpu);
    let mut theirs = theirs(&their_config, builder);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    candle_core::safetensors::save(&drawn.lock().unwrap(), file).unwrap();
    std::fs::write(folder.path().join("config.json"), ours.to_string()).unwrap();
    let model = Arc::new(open(folder.path().to_str().unwrap(), &mut Unreported).unwrap());

    let ids: Vec<u32> = (0..40)
        .map(|i| (i * i + 7 * i + 3) % N_VOCAB as u32)
        .collect();
    for n in [1, 2, 17, 40] {
        let input = Tensor::new(&ids[..n], &Device::Cpu).unwrap();
        let expected = theirs(&input.unsqueeze(0).unwrap()).unwrap();
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let mut engine = Engine::new(Arc::clone(&model));
        let outcome = engine
            .run(&run_spec(&ids[..n], &[]), &mut Unwatched)
            .unwrap();
        let found = outcome.before.logits.unwrap();
        // Both compute in f32, in different orders; logits are of magnitude 10.
        close(&found, &expected, 1e-4)
            .unwrap_or_else(|worst| panic!("{n} tokens, {ours}: {worst}"));
    }
}

#[test]
fn llama_equals_candle_transformers_for_every_grouping() {
    for (n_kv_heads, tied) in [(4, false), (2, true), (1, false)] {
        check(&config(
            "llama",
            json!({ "num_key_value_heads": n_kv_heads, "tie_word_embeddings": tied }),
        ));
    }
}

#[test]
fn llama_equals_candle_transformers_with_scaled_rotary() {
    check(&config(
        "llama",
        json!({ "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        } }),
    ));
}

#[test]
fn mistral_equals_candle_transformers() {
    // Their window has one key more than Hugging Face's of that number.
    let ours = config("mistral", json!({ "head_dim": 12, "sliding_window": 6 }));
    check_against(&ours, json!({ "sliding_window": 5 }));
    check(&config("mistral", json!({ "sliding_window": null })));
}

#[test]
fn qwen2_equals_candle_transformers() {
    for tied in [false, true] {
        let ours = config(
            "qwen2",
            json!({
                "use_sliding_window": false, "sliding_window": 64, "max_window_layers": 3,
                "tie_word_embeddings": tied,
            }),
        );
        check(&ours);
    }
}

#[test]
fn qwen3_equals_candle_transformers() {
    for bias in [false, true] {
        let ours = config(
            "qwen3",
            json!({
                "head_dim": 12, "attention_bias": bias, "use_sliding_window": false,
                "sliding_window": null, "max_window_layers": 3,
            }),
        );
        check(&ours);
    }
}

/// Their scores are scaled by the width of a head, whatever the config says.
fn gemma(model_type: &str, more: Value) -> Value {
    let mut config = config(
        model_type,
        json!({
            "head_dim": 12, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 12,
            "attention_bias": false, "tie_word_embeddings": true,
        }),
    );
    merge(&mut config, more);
    config
}

#[test]
fn gemma2_equals_candle_transformers() {
    // Without a window: theirs would be in every layer.
    check(&gemma(
        "gemma2",
        json!({
            "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0, "sliding_window": null,
        }),
    ));
}

#[test]
fn gemma3_equals_candle_transformers() {
    for cap in [json!(null), json!(8.0)] {
        let ours = gemma(
            "gemma3_text",
            json!({
                "rope_local_base_freq": 100.0, "sliding_window": 6, "sliding_window_pattern": 3,
                "final_logit_softcapping": cap,
            }),
        );
        check_against(&ours, json!({ "sliding_window": 5 }));
    }
}

#[test]
fn phi_equals_candle_transformers() {
    check(&config(
        "phi",
        json!({
            "hidden_act": "gelu_new", "num_key_value_heads": 4, "rms_norm_eps": null,
            "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5, "qk_layernorm": false,
        }),
    ));
}

#[test]
fn phi3_equals_candle_transformers() {
    check(&config("phi3", json!({})));
    check(&config("phi3", json!({ "partial_rotary_factor": 0.5 })));
}
