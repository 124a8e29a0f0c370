//! candle-transformers' Llama as a second reference, written by others than the goldens: random weights of several
//! shapes, logits of every prefix. (It has no GPT-2.)
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, Llama3RopeConfig, Llama3RopeType};
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::model::load::{Unreported, open};

use support::{close, run_spec};

fn config(n_kv_heads: usize, tied: bool, scaled: bool) -> Config {
    Config {
        hidden_size: 32,
        intermediate_size: 44,
        vocab_size: 53,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: n_kv_heads,
        use_flash_attn: false,
        rms_norm_eps: 1e-5,
        rope_theta: 500.0,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: scaled.then_some(Llama3RopeConfig {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 16,
            rope_type: Llama3RopeType::Llama3,
        }),
        max_position_embeddings: 64,
        tie_word_embeddings: tied,
    }
}

/// Seeded weights under Hugging Face's names, large enough that attention is far from uniform.
fn weights(config: &Config) -> HashMap<String, Tensor> {
    let (d, d_mlp) = (config.hidden_size, config.intermediate_size);
    let kv = d / config.num_attention_heads * config.num_key_value_heads;
    let mut shapes = vec![
        (
            "model.embed_tokens.weight".to_owned(),
            vec![config.vocab_size, d],
        ),
        ("model.norm.weight".to_owned(), vec![d]),
    ];
    if !config.tie_word_embeddings {
        shapes.push(("lm_head.weight".to_owned(), vec![config.vocab_size, d]));
    }
    for layer in 0..config.num_hidden_layers {
        for (name, shape) in [
            ("self_attn.q_proj", vec![d, d]),
            ("self_attn.k_proj", vec![kv, d]),
            ("self_attn.v_proj", vec![kv, d]),
            ("self_attn.o_proj", vec![d, d]),
            ("mlp.gate_proj", vec![d_mlp, d]),
            ("mlp.up_proj", vec![d_mlp, d]),
            ("mlp.down_proj", vec![d, d_mlp]),
            ("input_layernorm", vec![d]),
            ("post_attention_layernorm", vec![d]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let mut seed = 3_u64;
    let mut uniform = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|_| uniform()).collect();
            (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        })
        .collect()
}

fn check(n_kv_heads: usize, tied: bool, scaled: bool) {
    let config = config(n_kv_heads, tied, scaled);
    let weights = weights(&config);
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&weights, folder.path().join("model.safetensors")).unwrap();
    let mut json = serde_json::json!({
        "model_type": "llama", "hidden_size": config.hidden_size, "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size, "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads, "num_key_value_heads": n_kv_heads,
        "rms_norm_eps": config.rms_norm_eps, "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_position_embeddings, "tie_word_embeddings": tied,
    });
    if scaled {
        json["rope_scaling"] = serde_json::json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        });
    }
    std::fs::write(folder.path().join("config.json"), json.to_string()).unwrap();

    let ours = Arc::new(open(folder.path().to_str().unwrap(), &mut Unreported).unwrap());
    let builder = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
    let theirs = Llama::load(builder, &config).unwrap();
    let ids: Vec<u32> = (0..40).map(|i| (i * i + 7 * i + 3) % 53).collect();
    for n in [1, 2, 17, 40] {
        let mut cache = Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
        let input = Tensor::new(&ids[..n], &Device::Cpu)
            .unwrap()
            .unsqueeze(0)
            .unwrap();
        let expected = theirs.forward(&input, 0, &mut cache).unwrap();
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let mut engine = Engine::new(Arc::clone(&ours));
        let outcome = engine
            .run(&run_spec(&ids[..n], &[]), &mut Unwatched)
            .unwrap();
        let found = outcome.before.logits.unwrap();
        // Both compute in f32, in different orders; logits are of magnitude 10.
        close(&found, &expected, 1e-4).unwrap_or_else(|worst| {
            panic!("{n} tokens, {n_kv_heads} kv heads, tied {tied}, scaled {scaled}: {worst}")
        });
    }
}

#[test]
fn llama_equals_candle_transformers_for_every_grouping() {
    check(4, false, false);
    check(2, true, false);
    check(1, false, false);
}

#[test]
fn llama_equals_candle_transformers_with_scaled_rotary() {
    check(2, false, true);
}
