//! candle-transformers' encoders as a second reference, written by others than the goldens: random weights, logits at
//! every position of texts of several lengths.
//!
//! Where candle's mathematics is another, the test asks what both have in common: its DistilBERT takes the tanh form for
//! GELU, so the test's has ReLU; its XLM-RoBERTa, which is RoBERTa otherwise, has no bias on the logits, so that is zero.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert, distilbert, modernbert, xlm_roberta};
use headscope::experiment::engine::Engine;
use headscope::model::load::{Unreported, open};
use headscope::model::site::Site;
use serde_json::{Value, json};

use support::{close, run_spec};

const D: usize = 24;
const D_MLP: usize = 34;
const VOCAB: usize = 53;
const LAYERS: usize = 4;
const POSITIONS: usize = 48;

/// Names and shapes of a checkpoint.
type Shapes = Vec<(String, Vec<usize>)>;

/// Seeded weights, large enough that attention is far from uniform.
fn weights(shapes: Shapes) -> HashMap<String, Tensor> {
    let mut seed = 5_u64;
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

/// A weight and a bias.
fn linear(shapes: &mut Shapes, name: &str, n_out: usize, n_in: usize) {
    shapes.push((format!("{name}.weight"), vec![n_out, n_in]));
    shapes.push((format!("{name}.bias"), vec![n_out]));
}

fn norm(shapes: &mut Shapes, name: &str) {
    shapes.push((format!("{name}.weight"), vec![D]));
    shapes.push((format!("{name}.bias"), vec![D]));
}

/// The trunk of BERT and RoBERTa.
fn bert_trunk(prefix: &str, n_positions: usize) -> Shapes {
    let embeddings = |name: &str| format!("{prefix}.embeddings.{name}");
    let mut shapes = vec![
        (embeddings("word_embeddings.weight"), vec![VOCAB, D]),
        (
            embeddings("position_embeddings.weight"),
            vec![n_positions, D],
        ),
        (embeddings("token_type_embeddings.weight"), vec![2, D]),
    ];
    norm(&mut shapes, &embeddings("LayerNorm"));
    for layer in 0..LAYERS {
        let at = |name: &str| format!("{prefix}.encoder.layer.{layer}.{name}");
        for part in ["query", "key", "value"] {
            linear(&mut shapes, &at(&format!("attention.self.{part}")), D, D);
        }
        linear(&mut shapes, &at("attention.output.dense"), D, D);
        norm(&mut shapes, &at("attention.output.LayerNorm"));
        linear(&mut shapes, &at("intermediate.dense"), D_MLP, D);
        linear(&mut shapes, &at("output.dense"), D, D_MLP);
        norm(&mut shapes, &at("output.LayerNorm"));
    }
    shapes
}

/// `logits` is what candle gives for ids `[1, pos]`, and `[1, pos, vocab]`.
fn check(
    config: &Value,
    weights: &HashMap<String, Tensor>,
    logits: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) {
    let folder = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(weights, folder.path().join("model.safetensors")).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let ours = Arc::new(open(folder.path().to_str().unwrap(), &mut Unreported).unwrap());
    // No padding among them, which RoBERTa gives no position.
    let ids: Vec<u32> = (0..40).map(|i| 2 + (i * i + 7 * i + 3) % 51).collect();
    for n in [1, 2, 17, 40] {
        let input = Tensor::new(&ids[..n], &Device::Cpu).unwrap();
        let expected = logits(&input.unsqueeze(0).unwrap()).unwrap();
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let mut engine = Engine::new(Arc::clone(&ours));
        let found = engine
            .dump(&run_spec(&ids[..n], &[]), &[Site::Logits])
            .unwrap()
            .remove(0)
            .values;
        // Both compute in f32, in different orders; logits are of magnitude 10.
        close(&found, &expected, 1e-4)
            .unwrap_or_else(|worst| panic!("{} {n} tokens: {worst}", config["model_type"]));
    }
}

fn builder(weights: &HashMap<String, Tensor>) -> VarBuilder<'static> {
    VarBuilder::from_tensors(weights.clone(), DType::F32, &Device::Cpu)
}

#[test]
fn bert_equals_candle_transformers() {
    let mut shapes = bert_trunk("bert", POSITIONS);
    linear(&mut shapes, "cls.predictions.transform.dense", D, D);
    norm(&mut shapes, "cls.predictions.transform.LayerNorm");
    shapes.push(("cls.predictions.decoder.bias".into(), vec![VOCAB]));
    let weights = weights(shapes);
    let config = json!({
        "model_type": "bert", "vocab_size": VOCAB, "hidden_size": D, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "intermediate_size": D_MLP, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "initializer_range": 0.02,
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "position_embedding_type": "absolute",
    });
    // candle does not tie by itself.
    let mut theirs = weights.clone();
    let embedding = weights["bert.embeddings.word_embeddings.weight"].clone();
    theirs.insert("cls.predictions.decoder.weight".into(), embedding);
    let read = serde_json::from_value(config.clone()).unwrap();
    let model = bert::BertForMaskedLM::load(builder(&theirs), &read).unwrap();
    check(&config, &weights, |ids| {
        model.forward(ids, &ids.zeros_like()?, None)
    });
}

#[test]
fn distilbert_equals_candle_transformers() {
    let at = |name: &str| format!("distilbert.embeddings.{name}");
    let mut shapes = vec![
        (at("word_embeddings.weight"), vec![VOCAB, D]),
        (at("position_embeddings.weight"), vec![POSITIONS, D]),
        ("vocab_projector.bias".to_owned(), vec![VOCAB]),
    ];
    norm(&mut shapes, &at("LayerNorm"));
    for layer in 0..LAYERS {
        let at = |name: &str| format!("distilbert.transformer.layer.{layer}.{name}");
        for part in ["q_lin", "k_lin", "v_lin", "out_lin"] {
            linear(&mut shapes, &at(&format!("attention.{part}")), D, D);
        }
        norm(&mut shapes, &at("sa_layer_norm"));
        linear(&mut shapes, &at("ffn.lin1"), D_MLP, D);
        linear(&mut shapes, &at("ffn.lin2"), D, D_MLP);
        norm(&mut shapes, &at("output_layer_norm"));
    }
    linear(&mut shapes, "vocab_transform", D, D);
    norm(&mut shapes, "vocab_layer_norm");
    let weights = weights(shapes);
    let config = json!({
        "model_type": "distilbert", "vocab_size": VOCAB, "dim": D, "n_layers": LAYERS, "n_heads": 4,
        "hidden_dim": D_MLP, "activation": "relu", "max_position_embeddings": POSITIONS,
        "initializer_range": 0.02, "pad_token_id": 0,
    });
    let read = serde_json::from_value(config.clone()).unwrap();
    let model = distilbert::DistilBertForMaskedLM::load(builder(&weights), &read).unwrap();
    check(&config, &weights, |ids| {
        // 1 hides a key here.
        model.forward(ids, &ids.zeros_like()?.to_dtype(DType::U8)?)
    });
}

#[test]
fn roberta_equals_candle_transformers() {
    let mut shapes = bert_trunk("roberta", POSITIONS);
    linear(&mut shapes, "lm_head.dense", D, D);
    norm(&mut shapes, "lm_head.layer_norm");
    let mut weights = weights(shapes);
    let no_bias = Tensor::zeros(VOCAB, DType::F32, &Device::Cpu).unwrap();
    weights.insert("lm_head.bias".into(), no_bias);
    let config = json!({
        "model_type": "roberta", "vocab_size": VOCAB, "hidden_size": D, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "intermediate_size": D_MLP, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
        "layer_norm_eps": 1e-5, "pad_token_id": 1, "position_embedding_type": "absolute",
    });
    let read = serde_json::from_value(config.clone()).unwrap();
    let model = xlm_roberta::XLMRobertaForMaskedLM::new(&read, builder(&weights)).unwrap();
    check(&config, &weights, |ids| {
        model.forward(ids, &ids.ones_like()?, &ids.zeros_like()?, None, None, None)
    });
}

#[test]
fn modernbert_equals_candle_transformers() {
    let one = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
    let mut shapes = vec![
        one("model.embeddings.tok_embeddings.weight", &[VOCAB, D]),
        one("model.embeddings.norm.weight", &[D]),
        one("model.final_norm.weight", &[D]),
        one("head.dense.weight", &[D, D]),
        one("head.norm.weight", &[D]),
        one("decoder.bias", &[VOCAB]),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("attn_norm.weight", vec![D]),
            ("attn.Wqkv.weight", vec![3 * D, D]),
            ("attn.Wo.weight", vec![D, D]),
            ("mlp_norm.weight", vec![D]),
            ("mlp.Wi.weight", vec![2 * D_MLP, D]),
            ("mlp.Wo.weight", vec![D, D_MLP]),
        ] {
            // The first layer reads the embeddings' own norm.
            if layer > 0 || name != "attn_norm.weight" {
                shapes.push((format!("model.layers.{layer}.{name}"), shape));
            }
        }
    }
    let weights = weights(shapes);
    let config = json!({
        "model_type": "modernbert", "vocab_size": VOCAB, "hidden_size": D, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "intermediate_size": D_MLP, "hidden_activation": "gelu",
        "max_position_embeddings": POSITIONS, "layer_norm_eps": 1e-5, "norm_eps": 1e-5, "pad_token_id": 0,
        "global_attn_every_n_layers": 3, "global_rope_theta": 700.0, "local_attention": 8, "local_rope_theta": 60.0,
    });
    let read = serde_json::from_value(config.clone()).unwrap();
    let model = modernbert::ModernBertForMaskedLM::load(builder(&weights), &read).unwrap();
    check(&config, &weights, |ids| {
        model.forward(ids, &ids.ones_like()?)
    });
}
