//! Llama: rotary positions, RMSNorm, gated MLP, grouped keys and values. SmolLM2 and TinyLlama are of this family.

use serde_json::{Value, json};

use super::config::{Config, ConfigError, not_understood};
use super::gguf::GgufConfig;
use super::{Axes, Family, activation};
use crate::model::binding::{Binding, BlockSlot, Slot, Source};
use crate::model::checkpoint::Form;
use crate::model::spec::{Activation, Mlp, ModelSpec, Norm, Positions, Rotary, RotaryScaling};

pub(super) const FAMILY: Family = Family {
    model_type: "llama",
    gguf_architecture: "llama",
    examples: "Llama 1 to 3.2, TinyLlama, SmolLM, SmolLM2",
    axes: Axes {
        norm: Norm::Rms,
        rotary: true,
        mlp: Mlp::Gated,
        activation: Activation::Silu,
        grouped_keys: true,
    },
    prefix: "model.",
    spec,
    gguf_spec,
    bindings,
    // A buffer of older checkpoints; the head again, where it is tied; read into the spec.
    unused: &["rotary_emb.inv_freq", "lm_head.weight", "rope_freqs.weight"],
};

fn spec(config: &Value) -> Result<ModelSpec, ConfigError> {
    let mut config = Config::new(config)?;
    let d_model = config.size("hidden_size")?;
    let n_heads = config.size("num_attention_heads")?;
    let d_head = match config.optional_size("head_dim")? {
        Some(d_head) => d_head,
        None if d_model % n_heads == 0 => d_model / n_heads,
        None => {
            return Err(ConfigError::Inconsistent {
                reason: format!("a width of {d_model} cannot be split among {n_heads} heads"),
            });
        }
    };
    let attention_bias = config.flag("attention_bias", false)?;
    let spec = ModelSpec {
        family: FAMILY.model_type,
        n_layers: config.size("num_hidden_layers")?,
        n_heads,
        n_kv_heads: config
            .optional_size("num_key_value_heads")?
            .unwrap_or(n_heads),
        d_model,
        d_head,
        d_mlp: config.size("intermediate_size")?,
        n_vocab: config.size("vocab_size")?,
        n_ctx: config
            .optional_size("max_position_embeddings")?
            .unwrap_or(2048),
        norm: Norm::Rms,
        norm_eps: config.number("rms_norm_eps", 1e-6)?,
        positions: Positions::Rotary(rotary(&mut config)?),
        mlp: Mlp::Gated,
        activation: activation("hidden_act", config.text("hidden_act", "silu")?)?,
        qkv_bias: attention_bias,
        out_bias: attention_bias,
        mlp_bias: config.flag("mlp_bias", false)?,
        tied: config.flag("tie_word_embeddings", false)?,
        score_scale: 1.0 / (d_head as f64).sqrt(),
        bos_id: config.bos_id(),
    };
    config.finish()?;
    Ok(spec)
}

/// `rope_theta` and `rope_scaling`, or both within `rope_parameters` as newer configs have them.
fn rotary(config: &mut Config<'_>) -> Result<Rotary, ConfigError> {
    let mut base = config.number("rope_theta", 10_000.0)?;
    let scaling = config.get("rope_scaling");
    let parameters = config.get("rope_parameters");
    if let Some(parameters) = parameters {
        base = Config::new(parameters)?.number("rope_theta", base)?;
    }
    let scaling = match parameters.or(scaling) {
        None => RotaryScaling::None,
        Some(value) => {
            let mut inner = Config::new(value)?;
            inner.get("rope_theta");
            let kind = match inner.text("rope_type", "")? {
                "" => inner.text("type", "default")?,
                kind => {
                    inner.get("type");
                    kind
                }
            };
            let scaling = match kind {
                "default" => RotaryScaling::None,
                "linear" => RotaryScaling::Linear {
                    factor: inner.number("factor", 1.0)?,
                },
                "llama3" => RotaryScaling::Llama3 {
                    factor: inner.number("factor", 8.0)?,
                    low_freq_factor: inner.number("low_freq_factor", 1.0)?,
                    high_freq_factor: inner.number("high_freq_factor", 4.0)?,
                    original_context: inner.number("original_max_position_embeddings", 8192.0)?,
                },
                _ => return Err(not_understood("rope_scaling", &json!(kind))),
            };
            inner.finish()?;
            scaling
        }
    };
    Ok(Rotary { base, scaling })
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    let d_model = config.size("embedding_length")?;
    let n_heads = config.size("attention.head_count")?;
    let d_head = config
        .optional_size("attention.key_length")?
        .unwrap_or(d_model / n_heads);
    for key in ["rope.dimension_count", "attention.value_length"] {
        if let Some(width) = config.optional_size(key)?
            && width != d_head
        {
            return Err(not_understood(key, &json!(width)));
        }
    }
    let scaling = match config.text("rope.scaling.type").unwrap_or("none") {
        "none" => match config.tensor("rope_freqs.weight") {
            Some(divisors) => RotaryScaling::Divisors(divisors?),
            None => RotaryScaling::None,
        },
        "linear" => RotaryScaling::Linear {
            factor: config.number("rope.scaling.factor", 1.0)?,
        },
        kind => return Err(not_understood("rope.scaling.type", &json!(kind))),
    };
    if config.optional_size("expert_count")?.is_some() {
        return Err(not_understood(
            "expert_count",
            &json!("a mixture of experts"),
        ));
    }
    Ok(ModelSpec {
        family: FAMILY.model_type,
        n_layers: config.size("block_count")?,
        n_heads,
        n_kv_heads: config
            .optional_size("attention.head_count_kv")?
            .unwrap_or(n_heads),
        d_model,
        d_head,
        d_mlp: config.size("feed_forward_length")?,
        n_vocab: config.n_vocab()?,
        n_ctx: config.size("context_length")?,
        norm: Norm::Rms,
        norm_eps: config.number("attention.layer_norm_rms_epsilon", 1e-6)?,
        positions: Positions::Rotary(Rotary {
            base: config.number("rope.freq_base", 10_000.0)?,
            scaling,
        }),
        mlp: Mlp::Gated,
        activation: Activation::Silu,
        qkv_bias: config.has_tensor("blk.0.attn_q.bias"),
        out_bias: config.has_tensor("blk.0.attn_output.bias"),
        mlp_bias: config.has_tensor("blk.0.ffn_up.bias"),
        tied: !config.has_tensor("output.weight"),
        score_scale: 1.0 / (d_head as f64).sqrt(),
        bos_id: config.bos_id(),
    })
}

fn bindings(spec: &ModelSpec, form: Form) -> Vec<Binding> {
    let hf = form == Form::HuggingFace;
    let pick = |hugging_face: &str, gguf: &str| if hf { hugging_face } else { gguf }.to_owned();
    let mut all = vec![
        Binding::new(
            Slot::Embed,
            pick("embed_tokens.weight", "token_embd.weight"),
        ),
        Binding::new(
            Slot::FinalNormWeight,
            pick("norm.weight", "output_norm.weight"),
        ),
    ];
    if !spec.tied {
        all.push(Binding::new(
            Slot::Unembed,
            pick("lm_head.weight", "output.weight"),
        ));
    }
    // llama.cpp reorders the rows of q and k for its own rotary kernel.
    let interleaved = |heads: usize| (!hf).then_some(heads);
    let rows = [
        (
            BlockSlot::Qkv,
            BlockSlot::QkvBias,
            spec.qkv_bias,
            vec![
                ("self_attn.q_proj", "attn_q", interleaved(spec.n_heads)),
                ("self_attn.k_proj", "attn_k", interleaved(spec.n_kv_heads)),
                ("self_attn.v_proj", "attn_v", None),
            ],
        ),
        (
            BlockSlot::Out,
            BlockSlot::OutBias,
            spec.out_bias,
            vec![("self_attn.o_proj", "attn_output", None)],
        ),
        (
            BlockSlot::MlpIn,
            BlockSlot::MlpInBias,
            spec.mlp_bias,
            vec![
                ("mlp.gate_proj", "ffn_gate", None),
                ("mlp.up_proj", "ffn_up", None),
            ],
        ),
        (
            BlockSlot::MlpOut,
            BlockSlot::MlpOutBias,
            spec.mlp_bias,
            vec![("mlp.down_proj", "ffn_down", None)],
        ),
    ];
    for layer in 0..spec.n_layers {
        let name = |hugging_face: &str, gguf: &str, ending: &str| {
            if hf {
                format!("layers.{layer}.{hugging_face}.{ending}")
            } else {
                format!("blk.{layer}.{gguf}.{ending}")
            }
        };
        all.push(Binding::new(
            Slot::Block(layer, BlockSlot::Norm1Weight),
            name("input_layernorm", "attn_norm", "weight"),
        ));
        all.push(Binding::new(
            Slot::Block(layer, BlockSlot::Norm2Weight),
            name("post_attention_layernorm", "ffn_norm", "weight"),
        ));
        for (weight, bias, has_bias, parts) in &rows {
            for (slot, ending, wanted) in [(weight, "weight", true), (bias, "bias", *has_bias)] {
                if wanted {
                    let sources = parts
                        .iter()
                        .map(|(hugging_face, gguf, heads)| {
                            Source::new(name(hugging_face, gguf, ending)).interleaved(*heads)
                        })
                        .collect();
                    all.push(Binding::stacked(Slot::Block(layer, *slot), sources));
                }
            }
        }
    }
    all
}
