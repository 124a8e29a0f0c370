//! GPT-2: learned positions, LayerNorm, plain MLP, products stored `[in, out]`.

use serde_json::{Value, json};

use super::config::{Config, ConfigError};
use super::gguf::GgufConfig;
use super::{Axes, Family, activation};
use crate::model::binding::{Binding, BlockSlot, Slot, Source};
use crate::model::checkpoint::Form;
use crate::model::spec::{Activation, Mlp, ModelSpec, Norm, Positions};

pub(super) const FAMILY: Family = Family {
    model_type: "gpt2",
    gguf_architecture: "gpt2",
    examples: "GPT-2 small to XL, DistilGPT-2",
    axes: Axes {
        norm: Norm::Layer,
        rotary: false,
        mlp: Mlp::Plain,
        activation: Activation::GeluTanh,
        grouped_keys: false,
    },
    prefix: "transformer.",
    spec,
    gguf_spec,
    bindings,
    // Buffers of the causal mask; the head again, where it is tied.
    unused: &[
        "attn.bias",
        "attn.masked_bias",
        "lm_head.weight",
        "output.weight",
    ],
};

fn spec(config: &Value) -> Result<ModelSpec, ConfigError> {
    let mut config = Config::new(config)?;
    config.must_be("scale_attn_weights", &json!(true))?;
    config.must_be("scale_attn_by_inverse_layer_idx", &json!(false))?;
    // Only the order of rounding in f16 training.
    config.flag("reorder_and_upcast_attn", false)?;
    let d_model = config.size("n_embd")?;
    let n_heads = config.size("n_head")?;
    let spec = ModelSpec {
        norm_eps: config.number("layer_norm_epsilon", 1e-5)?,
        activation: activation(
            "activation_function",
            config.text("activation_function", "gelu_new")?,
        )?,
        tied: config.flag("tie_word_embeddings", true)?,
        bos_id: config.bos_id(),
        ..shape(&Sizes {
            n_layers: config.size("n_layer")?,
            n_heads,
            d_model,
            d_mlp: config.optional_size("n_inner")?.unwrap_or(4 * d_model),
            n_vocab: config.size("vocab_size")?,
            n_ctx: config.size("n_positions")?,
        })?
    };
    config.finish()?;
    Ok(spec)
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    Ok(ModelSpec {
        norm_eps: config.number("attention.layer_norm_epsilon", 1e-5)?,
        tied: !config.has_tensor("output.weight"),
        bos_id: config.bos_id(),
        ..shape(&Sizes {
            n_layers: config.size("block_count")?,
            n_heads: config.size("attention.head_count")?,
            d_model: config.size("embedding_length")?,
            d_mlp: config.size("feed_forward_length")?,
            n_vocab: config.n_vocab()?,
            n_ctx: config.size("context_length")?,
        })?
    })
}

struct Sizes {
    n_layers: usize,
    n_heads: usize,
    d_model: usize,
    d_mlp: usize,
    n_vocab: usize,
    n_ctx: usize,
}

/// What all GPT-2 models share.
fn shape(sizes: &Sizes) -> Result<ModelSpec, ConfigError> {
    let Sizes {
        n_layers,
        n_heads,
        d_model,
        d_mlp,
        n_vocab,
        n_ctx,
    } = *sizes;
    if d_model % n_heads != 0 {
        return Err(ConfigError::Inconsistent {
            reason: format!("a width of {d_model} cannot be split among {n_heads} heads"),
        });
    }
    let d_head = d_model / n_heads;
    Ok(ModelSpec {
        family: "gpt2",
        n_layers,
        n_heads,
        n_kv_heads: n_heads,
        d_model,
        d_head,
        d_mlp,
        n_vocab,
        n_ctx,
        norm: Norm::Layer,
        norm_eps: 1e-5,
        positions: Positions::Learned,
        mlp: Mlp::Plain,
        activation: Activation::GeluTanh,
        qkv_bias: true,
        out_bias: true,
        mlp_bias: true,
        tied: true,
        score_scale: 1.0 / (d_head as f64).sqrt(),
        bos_id: None,
    })
}

fn bindings(spec: &ModelSpec, form: Form) -> Vec<Binding> {
    let hf = form == Form::HuggingFace;
    let pick = |hugging_face: &str, gguf: &str| if hf { hugging_face } else { gguf }.to_owned();
    // Only Hugging Face keeps GPT-2's products [in, out].
    let product = |name: String| Source {
        transposed: hf,
        ..Source::new(name)
    };
    let mut all = vec![
        Binding::new(Slot::Embed, pick("wte.weight", "token_embd.weight")),
        Binding::new(Slot::PosEmbed, pick("wpe.weight", "position_embd.weight")),
        Binding::new(
            Slot::FinalNormWeight,
            pick("ln_f.weight", "output_norm.weight"),
        ),
        Binding::new(Slot::FinalNormBias, pick("ln_f.bias", "output_norm.bias")),
    ];
    if !spec.tied {
        all.push(Binding::new(
            Slot::Unembed,
            pick("lm_head.weight", "output.weight"),
        ));
    }
    for layer in 0..spec.n_layers {
        let name = |hugging_face: &str, gguf: &str| {
            if hf {
                format!("h.{layer}.{hugging_face}")
            } else {
                format!("blk.{layer}.{gguf}")
            }
        };
        for (slot, hugging_face, gguf) in [
            (BlockSlot::Norm1Weight, "ln_1.weight", "attn_norm.weight"),
            (BlockSlot::Norm1Bias, "ln_1.bias", "attn_norm.bias"),
            (BlockSlot::QkvBias, "attn.c_attn.bias", "attn_qkv.bias"),
            (BlockSlot::OutBias, "attn.c_proj.bias", "attn_output.bias"),
            (BlockSlot::Norm2Weight, "ln_2.weight", "ffn_norm.weight"),
            (BlockSlot::Norm2Bias, "ln_2.bias", "ffn_norm.bias"),
            (BlockSlot::MlpInBias, "mlp.c_fc.bias", "ffn_up.bias"),
            (BlockSlot::MlpOutBias, "mlp.c_proj.bias", "ffn_down.bias"),
        ] {
            all.push(Binding::new(
                Slot::Block(layer, slot),
                name(hugging_face, gguf),
            ));
        }
        for (slot, hugging_face, gguf) in [
            (BlockSlot::Qkv, "attn.c_attn.weight", "attn_qkv.weight"),
            (BlockSlot::Out, "attn.c_proj.weight", "attn_output.weight"),
            (BlockSlot::MlpIn, "mlp.c_fc.weight", "ffn_up.weight"),
            (BlockSlot::MlpOut, "mlp.c_proj.weight", "ffn_down.weight"),
        ] {
            all.push(Binding::stacked(
                Slot::Block(layer, slot),
                vec![product(name(hugging_face, gguf))],
            ));
        }
    }
    all
}
