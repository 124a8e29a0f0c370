//! The config.json of models on the hub, as they are written there: read, and read alike in every spelling; or refused
//! with the key that is not understood.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::mask::Mask;
use crate::model::spec::RotaryScaling;

/// The spec of a config whose checkpoint has no tensors that matter to it.
fn spec(config: &Value) -> Result<ModelSpec, ConfigError> {
    Family::of_config(config)?.spec_from_config(config, &|_| false)
}

#[track_caller]
fn check_refused(config: &Value, expected: &str) {
    let error = spec(config).unwrap_err().to_string();
    assert!(
        error.contains(expected),
        "{error:?} does not say {expected:?}"
    );
}

fn with(config: &Value, key: &str, value: Value) -> Value {
    let mut config = config.clone();
    config[key] = value;
    config
}

fn rotary_of(spec: &ModelSpec) -> &Rotary {
    spec.rotary(spec.n_layers - 1).unwrap()
}

fn windows(spec: &ModelSpec) -> Vec<usize> {
    let windowed = spec
        .masks
        .iter()
        .enumerate()
        .filter(|(_, m)| m.has_window());
    windowed.map(|(layer, _)| layer).collect()
}

#[test]
fn every_spelling_of_a_config_gives_the_same_spec() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models");
    let mut n_spellings = 0;
    for folder in std::fs::read_dir(models).unwrap() {
        let folder = folder.unwrap().path();
        let read = |file: &Path| -> Value {
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
        };
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with("config.hub") {
                let saved = spec(&read(&folder.join("config.json"))).unwrap();
                let from_hub = spec(&read(&file)).unwrap_or_else(|e| panic!("{file:?}: {e}"));
                assert_eq!(from_hub, saved, "{file:?}");
                n_spellings += 1;
            } else if name == "config.gemma3.json" {
                check_refused(
                    &read(&file),
                    "it reads pictures, too; text models of Gemma 3",
                );
            }
        }
    }
    assert!(n_spellings >= 13, "{n_spellings}");
}

fn pythia_70m() -> Value {
    json!({
        "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu",
        "hidden_size": 512, "initializer_range": 0.02, "intermediate_size": 2048, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048, "model_type": "gpt_neox", "num_attention_heads": 8, "num_hidden_layers": 6,
        "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": false, "torch_dtype": "float16",
        "transformers_version": "4.24.0", "use_cache": true, "use_parallel_residual": true, "vocab_size": 50304,
    })
}

#[test]
fn pythia() {
    let spec = spec(&pythia_70m()).unwrap();
    assert_eq!((spec.d_head, rotary_of(&spec).width), (64, 16));
    assert_eq!(spec.order, BlockOrder::Parallel { shared_norm: false });
    assert_eq!(spec.activation, Activation::Gelu);
    // A key of this meaning that the family does not have.
    check_refused(
        &with(&pythia_70m(), "rope_theta", json!(500)),
        "`rope_theta`: 500",
    );
}

#[test]
fn tiny_stories() {
    let config = json!({
        "_name_or_path": "EleutherAI/gpt-neo-125M", "activation_function": "gelu_new",
        "architectures": ["GPTNeoForCausalLM"], "attention_dropout": 0,
        "attention_layers": ["global", "local", "global", "local"],
        "attention_types": [[["global", "local"], 2]], "bos_token_id": 50256, "embed_dropout": 0,
        "eos_token_id": 50256, "gradient_checkpointing": false, "hidden_size": 768, "initializer_range": 0.02,
        "intermediate_size": null, "layer_norm_epsilon": 1e-05, "max_position_embeddings": 2048,
        "model_type": "gpt_neo", "num_heads": 16, "num_layers": 4, "resid_dropout": 0, "summary_activation": null,
        "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
        "summary_use_proj": true, "torch_dtype": "float32", "transformers_version": "4.28.1", "use_cache": true,
        "vocab_size": 50257, "window_size": 256,
    });
    let spec_of = |config: &Value| spec(config).unwrap();
    assert_eq!(windows(&spec_of(&config)), [1, 3]);
    assert_eq!(spec_of(&config).masks[1], Mask::causal_window(256));
    assert_eq!(
        (spec_of(&config).d_mlp, spec_of(&config).score_scale),
        (3072, 1.0)
    );
    let by_types = with(&config, "attention_layers", Value::Null);
    assert_eq!(spec_of(&by_types), spec_of(&config));
    let endless = with(
        &by_types,
        "attention_types",
        json!([[["global"], u64::MAX]]),
    );
    check_refused(&endless, "4 layers have 5 masks");
    check_refused(
        &with(
            &config,
            "attention_layers",
            json!(["global", "sparse", "global", "local"]),
        ),
        "`attention_layers`: \"sparse\"",
    );
}

#[test]
fn opt() {
    let config = json!({
        "_name_or_path": "facebook/opt-125m", "_remove_final_layer_norm": false, "activation_dropout": 0.0,
        "activation_function": "relu", "architectures": ["OPTForCausalLM"], "attention_dropout": 0.0,
        "bos_token_id": 2, "do_layer_norm_before": true, "dropout": 0.1, "eos_token_id": 2, "ffn_dim": 3072,
        "hidden_size": 768, "init_std": 0.02, "layerdrop": 0.0, "max_position_embeddings": 2048, "model_type": "opt",
        "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 1, "prefix": "</s>",
        "torch_dtype": "float16", "transformers_version": "4.21.0.dev0", "use_cache": true, "vocab_size": 50272,
        "word_embed_proj_dim": 768,
    });
    let spec = spec(&config).unwrap();
    assert_eq!((spec.activation, spec.n_ctx), (Activation::Relu, 2048));
    // OPT-350M.
    check_refused(
        &with(&config, "do_layer_norm_before", json!(false)),
        "`do_layer_norm_before`: false",
    );
    check_refused(
        &with(&config, "word_embed_proj_dim", json!(512)),
        "`word_embed_proj_dim`: 512",
    );
}

#[test]
fn mistral() {
    let config = json!({
        "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 32768,
        "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": false,
        "torch_dtype": "bfloat16", "transformers_version": "4.34.0.dev0", "use_cache": true, "vocab_size": 32000,
    });
    assert_eq!(
        spec(&config).unwrap().masks,
        [Mask::causal_window(4096); 32]
    );
    let v3 = with(&config, "sliding_window", Value::Null);
    let v3 = with(&v3, "rope_theta", json!(1_000_000.0));
    let v3 = spec(&v3).unwrap();
    assert_eq!(
        (v3.masks, rotary_base(&v3.positions)),
        (vec![Mask::CAUSAL; 32], 1e6)
    );
    // Where the key is absent, transformers has a window.
    let mut silent = config.clone();
    silent.as_object_mut().unwrap().remove("sliding_window");
    assert_eq!(spec(&silent), spec(&config));
}

fn rotary_base(positions: &Positions) -> f64 {
    match positions {
        Positions::Rotary(rotary) => rotary.base,
        Positions::Learned => 0.0,
    }
}

fn qwen2_5() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
        "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 896, "initializer_range": 0.02,
        "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24, "model_type": "qwen2",
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1", "use_cache": true, "use_mrope": false, "use_sliding_window": false,
        "vocab_size": 151936,
    })
}

#[test]
fn qwen2() {
    let spec_of = |config: &Value| spec(config).unwrap();
    let plain = spec_of(&qwen2_5());
    assert!(plain.qkv_bias && !plain.out_bias && plain.tied);
    assert!(windows(&plain).is_empty());
    let used = with(&qwen2_5(), "use_sliding_window", json!(true));
    assert!(windows(&spec_of(&used)).is_empty());
    assert_eq!(
        windows(&spec_of(&with(&used, "max_window_layers", json!(21)))),
        [21, 22, 23]
    );
    assert_eq!(
        windows(&spec_of(&with(&used, "max_window_layers", json!(0)))).len(),
        24
    );
    let types = with(&used, "layer_types", json!(vec!["chunked_attention"; 24]));
    check_refused(&types, "`layer_types`: \"chunked_attention\"");
    let types = with(
        &qwen2_5(),
        "layer_types",
        json!(vec!["sliding_attention"; 24]),
    );
    check_refused(&types, "lacks `sliding_window`");
    let types = with(&used, "layer_types", json!(["full_attention"]));
    check_refused(&types, "24 layers have 1 masks");
    for (kind, more) in [
        (
            "yarn",
            json!({ "factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn" }),
        ),
        ("dynamic", json!({ "factor": 4.0, "rope_type": "dynamic" })),
    ] {
        check_refused(&with(&qwen2_5(), "rope_scaling", more), kind);
    }
    let experts = with(&qwen2_5(), "model_type", json!("qwen2_moe"));
    check_refused(&experts, "a mixture of experts");
}

#[test]
fn qwen3() {
    let config = json!({
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
        "initializer_range": 0.02, "intermediate_size": 3072, "max_position_embeddings": 40960,
        "max_window_layers": 28, "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000,
        "sliding_window": null, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936,
    });
    let spec = spec(&config).unwrap();
    assert!(spec.qk_norm && !spec.qkv_bias);
    assert_eq!((spec.d_head, spec.score_scale), (128, 1.0 / 128_f64.sqrt()));
}

fn gemma_2_2b() -> Value {
    json!({
        "architectures": ["Gemma2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": 1,
        "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2304, "initializer_range": 0.02,
        "intermediate_size": 9216, "max_position_embeddings": 8192, "model_type": "gemma2",
        "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4, "pad_token_id": 0,
        "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "sliding_window": 4096,
        "torch_dtype": "float32", "transformers_version": "4.42.4", "use_cache": true, "vocab_size": 256000,
    })
}

#[test]
fn gemma2() {
    let spec_of = |config: &Value| spec(config).unwrap();
    let plain = spec_of(&gemma_2_2b());
    assert_eq!((plain.score_cap, plain.logit_cap), (Some(50.0), Some(30.0)));
    assert_eq!(windows(&plain), (0..26).step_by(2).collect::<Vec<_>>());
    assert_eq!(
        (plain.embed_scale, plain.score_scale),
        (Some(48.0), 1.0 / 16.0)
    );
    assert!(plain.tied);
    // The older key says nothing beside the newer one.
    let older = with(&gemma_2_2b(), "hidden_act", json!("gelu"));
    assert_eq!(spec_of(&older), plain);
    let capless = with(&gemma_2_2b(), "attn_logit_softcapping", Value::Null);
    assert_eq!(spec_of(&capless).score_cap, None);
    check_refused(
        &with(&gemma_2_2b(), "use_bidirectional_attention", json!(true)),
        "`use_bidirectional_attention`: true",
    );
}

#[test]
fn gemma3() {
    let kinds: Vec<&str> = (1..=18)
        .map(|i| {
            if i % 6 == 0 {
                "full_attention"
            } else {
                "sliding_attention"
            }
        })
        .collect();
    let of_270m = json!({
        "_sliding_window_pattern": 6, "architectures": ["Gemma3ForCausalLM"], "attention_bias": false,
        "attention_dropout": 0.0, "attn_logit_softcapping": null, "bos_token_id": 2, "eos_token_id": 1,
        "final_logit_softcapping": null, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 640, "initializer_range": 0.02, "intermediate_size": 2048, "layer_types": kinds,
        "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_attention_heads": 4,
        "num_hidden_layers": 18, "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000.0, "rope_scaling": null, "rope_theta": 1000000.0,
        "sliding_window": 512, "torch_dtype": "bfloat16", "transformers_version": "4.55.0.dev0",
        "use_bidirectional_attention": false, "use_cache": true, "vocab_size": 262144,
    });
    let spec_of = |config: &Value| spec(config).unwrap();
    let small = spec_of(&of_270m);
    assert_eq!(small.masks[0], Mask::causal_window(512));
    assert_eq!(
        (small.masks[5], small.masks[17]),
        (Mask::CAUSAL, Mask::CAUSAL)
    );
    assert_eq!(
        (small.rotary(0).unwrap().base, rotary_of(&small).base),
        (1e4, 1e6)
    );
    assert_eq!((small.score_cap, small.logit_cap), (None, None));
    // Without the list, the period says the same.
    let mut by_period = of_270m.clone();
    by_period.as_object_mut().unwrap().remove("layer_types");
    assert_eq!(spec_of(&by_period), small);
    assert_eq!(
        spec_of(&with(&by_period, "sliding_window_pattern", json!(6))),
        small
    );
    assert_ne!(
        spec_of(&with(&by_period, "sliding_window_pattern", json!(3))),
        small
    );
    // Of the larger ones: a scaling is about the layers without a window.
    let scaling = json!({ "factor": 8.0, "rope_type": "linear" });
    let scaled = spec_of(&with(&of_270m, "rope_scaling", scaling));
    assert_eq!(
        rotary_of(&scaled).scaling,
        RotaryScaling::Linear { factor: 8.0 }
    );
    assert_eq!(scaled.local_rotary, small.local_rotary);
    check_refused(
        &with(&of_270m, "attn_logit_softcapping", json!(50.0)),
        "`attn_logit_softcapping`: 50.0",
    );
    // EmbeddingGemma.
    check_refused(
        &with(&of_270m, "use_bidirectional_attention", json!(true)),
        "`use_bidirectional_attention`: true",
    );
    check_refused(
        &with(&of_270m, "rope_parameters", json!({ "rope_theta": 5 })),
        "`rope_theta`: 5",
    );
}

#[test]
fn phi() {
    let config = json!({
        "_name_or_path": "microsoft/phi-2", "architectures": ["PhiForCausalLM"], "attention_dropout": 0.0,
        "bos_token_id": 50256, "embd_pdrop": 0.0, "eos_token_id": 50256, "hidden_act": "gelu_new",
        "hidden_size": 2560, "initializer_range": 0.02, "intermediate_size": 10240, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048, "model_type": "phi", "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 32, "partial_rotary_factor": 0.4, "qk_layernorm": false, "resid_pdrop": 0.1,
        "rope_scaling": null, "rope_theta": 10000.0, "tie_word_embeddings": false, "torch_dtype": "float16",
        "transformers_version": "4.37.0", "use_cache": true, "vocab_size": 51200,
    });
    let phi_2 = spec(&config).unwrap();
    assert_eq!((phi_2.d_head, rotary_of(&phi_2).width), (80, 32));
    assert!(phi_2.unembed_bias && phi_2.order == BlockOrder::Parallel { shared_norm: true });
    let mut phi_1_5 = with(&config, "num_key_value_heads", Value::Null);
    phi_1_5
        .as_object_mut()
        .unwrap()
        .remove("partial_rotary_factor");
    assert_eq!(rotary_of(&spec(&phi_1_5).unwrap()).width, 40);
    check_refused(
        &with(&config, "qk_layernorm", json!(true)),
        "`qk_layernorm`: true",
    );
}

#[test]
fn phi3() {
    let mini_4k = json!({
        "_name_or_path": "Phi-3-mini-4k-instruct", "architectures": ["Phi3ForCausalLM"], "attention_bias": false,
        "attention_dropout": 0.0, "auto_map": { "AutoConfig": "configuration_phi3.Phi3Config" }, "bos_token_id": 1,
        "embd_pdrop": 0.0, "eos_token_id": 32000, "hidden_act": "silu", "hidden_size": 3072,
        "initializer_range": 0.02, "intermediate_size": 8192, "max_position_embeddings": 4096, "model_type": "phi3",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
        "original_max_position_embeddings": 4096, "pad_token_id": 32000, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05,
        "rope_scaling": null, "rope_theta": 10000.0, "sliding_window": 2047, "tie_word_embeddings": false,
        "torch_dtype": "bfloat16", "transformers_version": "4.40.2", "use_cache": true, "vocab_size": 32064,
    });
    assert_eq!(spec(&mini_4k).unwrap().masks[31], Mask::causal_window(2047));
    let phi_4 = with(&mini_4k, "sliding_window", Value::Null);
    assert_eq!(spec(&phi_4).unwrap().masks[31], Mask::CAUSAL);
    let long =
        json!({ "long_factor": vec![1.0; 48], "short_factor": vec![1.0; 48], "type": "longrope" });
    check_refused(
        &with(&mini_4k, "rope_scaling", long),
        "`rope_scaling`: \"longrope\"",
    );
}
