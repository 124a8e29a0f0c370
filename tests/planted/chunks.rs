//! LongHeads needs rotary positions: a small Llama, in which one head looks for the token that it stands on. It chooses the
//! chunk that has this token, wherever that is.

use std::sync::Arc;

use headscope::analysis::Case;
use headscope::analysis::longheads::{Choice, Sizes, selections};
use headscope::experiment::engine::Engine;
use headscope::model::Model;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::model::{NOISE, Tensor, opened};
use super::support::run_spec;

const N_VOCAB: usize = 20;
const N_LAYERS: usize = 2;
const N_HEADS: usize = 2;
const D_HEAD: usize = 64;
const D_MODEL: usize = N_HEADS * D_HEAD;

/// The planted head: its layer, and its place there.
const SEEKER: (usize, usize) = (1, 0);

/// A score that leaves nothing to other keys.
const HARD: f32 = 40.0;

/// The first coordinate of a head that rotary positions leave as it is: with a base of 10³⁰ a token's turn is 10⁻⁷ there.
const STILL: usize = 8;

const CHUNK: usize = 4;
const N_CHUNKS: usize = 8;

/// Random weights that do not read the constant coordinate.
fn noise(rng: &mut ChaCha8Rng, shape: [usize; 2]) -> Vec<f32> {
    (0..shape[0] * shape[1])
        .map(|i| {
            let x = rng.random_range(-NOISE..NOISE);
            if shape[1] == D_MODEL && i % D_MODEL == D_MODEL - 1 {
                0.0
            } else {
                x
            }
        })
        .collect()
}

fn llama(is_planted: bool) -> Arc<Model> {
    let config = json!({
        "model_type": "llama",
        "hidden_size": D_MODEL,
        "intermediate_size": 1,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_HEADS,
        "max_position_embeddings": 64,
        "vocab_size": N_VOCAB,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e30,
        "hidden_act": "silu",
        "tie_word_embeddings": false,
    });
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    // One-hot tokens, and a constant beside which the rest is little: the norm does next to nothing.
    let mut embed = vec![0.0; N_VOCAB * D_MODEL];
    for (id, row) in embed.chunks_exact_mut(D_MODEL).enumerate() {
        row[id] = 1.0;
        row[D_MODEL - 1] = (D_MODEL as f32).sqrt();
    }
    let ones = || vec![1.0; D_MODEL];
    let mut tensors: Vec<Tensor> = vec![
        (
            "model.embed_tokens.weight".into(),
            vec![N_VOCAB, D_MODEL],
            embed,
        ),
        ("model.norm.weight".into(), vec![D_MODEL], ones()),
        (
            "lm_head.weight".into(),
            vec![N_VOCAB, D_MODEL],
            noise(&mut rng, [N_VOCAB, D_MODEL]),
        ),
    ];
    for layer in 0..N_LAYERS {
        let mut add = |name: &str, shape: &[usize], values: Vec<f32>| {
            tensors.push((
                format!("model.layers.{layer}.{name}.weight"),
                shape.to_vec(),
                values,
            ));
        };
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            let mut values = noise(&mut rng, [D_MODEL, D_MODEL]);
            if layer == SEEKER.0 {
                // [out, in]: a head is rows of q, k and v, and columns of o.
                for (i, x) in values.iter_mut().enumerate() {
                    let at = if name == "o_proj" {
                        i % D_MODEL
                    } else {
                        i / D_MODEL
                    };
                    if at / D_HEAD == SEEKER.1 {
                        *x = 0.0;
                    }
                }
                let strength = match name {
                    "q_proj" => HARD * (D_HEAD as f32).sqrt(),
                    "k_proj" => 1.0,
                    _ => 0.0,
                };
                if is_planted {
                    for id in 0..N_VOCAB {
                        values[(SEEKER.1 * D_HEAD + STILL + id) * D_MODEL + id] += strength;
                    }
                }
            }
            add(&format!("self_attn.{name}"), &[D_MODEL, D_MODEL], values);
        }
        add("input_layernorm", &[D_MODEL], ones());
        add("post_attention_layernorm", &[D_MODEL], ones());
        add("mlp.gate_proj", &[1, D_MODEL], vec![0.0; D_MODEL]);
        add("mlp.up_proj", &[1, D_MODEL], vec![0.0; D_MODEL]);
        add("mlp.down_proj", &[D_MODEL, 1], vec![0.0; D_MODEL]);
    }
    opened(&config, None, &tensors)
}

/// Prompts of one kind of token after the other.
const N_CASES: usize = N_VOCAB;

/// The chunks between the first and the last.
const N_FREE: usize = N_CHUNKS - 2;

/// Whole chunks, of which one has a token that the query is too; and which that is.
fn case(i: usize) -> (Case, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(i as u64);
    let asked = i as u32;
    let mut other = || (asked + rng.random_range(1..N_VOCAB as u32)) % N_VOCAB as u32;
    let mut ids: Vec<u32> = (0..CHUNK * N_CHUNKS).map(|_| other()).collect();
    let chunk = 1 + i % N_FREE;
    ids[chunk * CHUNK + i % CHUNK] = asked;
    ids.push(asked);
    let case = Case {
        spec: run_spec(&ids, &[]),
        ..Case::default()
    };
    (case, chunk)
}

/// How often each head chose the chunk that has the token, `[layer, head]`.
fn hits(model: &Arc<Model>) -> Vec<usize> {
    // The first, the last, the query's own, and one that is chosen.
    let sizes = Sizes {
        chunk: CHUNK,
        window: 4 * CHUNK,
    };
    let mut hits = vec![0; N_LAYERS * N_HEADS];
    let mut engine = Engine::new(Arc::clone(model));
    for (case, chunk) in (0..N_CASES).map(case) {
        let found = selections(&mut engine, &case, sizes, &mut |_| Ok(())).unwrap();
        for (hits, selection) in hits.iter_mut().zip(&found) {
            let scored = selection
                .choices
                .iter()
                .filter(|choice| **choice == Choice::Scored);
            assert_eq!(scored.count(), 1);
            *hits += usize::from(selection.choices[chunk] == Choice::Scored);
        }
    }
    hits
}

#[test]
fn a_head_that_looks_for_a_token_chooses_the_chunk_that_has_it() {
    let seeker = SEEKER.0 * N_HEADS + SEEKER.1;
    let best_other = |found: &[usize]| {
        let others = found.iter().enumerate().filter(|(i, _)| *i != seeker);
        others.map(|(_, hits)| *hits).max().unwrap()
    };
    let found = hits(&llama(true));
    assert_eq!(found[seeker], N_CASES);
    assert!(best_other(&found) <= N_CASES / 2, "{found:?}");
    // Of equal scores the same chunk is chosen every time.
    let found = hits(&llama(false));
    assert!(found[seeker] <= N_CASES.div_ceil(N_FREE), "{found:?}");
    assert!(best_other(&found) <= N_CASES / 2, "{found:?}");
}
