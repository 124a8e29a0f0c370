//! GPT-2: learned positions, LayerNorm, plain MLP, products stored `[in, out]`.

use serde_json::json;

use super::config::{Config, ConfigError};
use super::gguf::GgufConfig;
use super::names::Names;
use super::{Axes, Family, Gguf, activation, head_width};
use crate::model::binding::{BlockSlot, RowOrder, Slot, Source};
use crate::model::spec::{Activation, BlockOrder, Mlp, ModelSpec, Norm, Placement, Sizes};

pub(super) const FAMILY: Family = Family {
    model_type: "gpt2",
    examples: "GPT-2 small to XL, DistilGPT-2",
    axes: Axes {
        norm: Norm::Layer,
        placement: Placement::Pre,
        order: BlockOrder::Sequential,
        rotary: false,
        causal: true,
        windows: false,
        mlp: Mlp::Plain,
        activation: Activation::GeluTanh,
        grouped_keys: false,
        qk_norm: false,
        caps: false,
    },
    prefixes: &["transformer."],
    spec,
    sources,
    // Buffers of the causal mask; the head again, where it is tied.
    unused: &[
        "attn.bias",
        "attn.masked_bias",
        "lm_head.weight",
        "output.weight",
    ],
    gguf: Some(Gguf {
        architecture: "gpt2",
        spec: gguf_spec,
        rotary_pairs: false,
    }),
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    config.must_be("scale_attn_weights", &json!(true))?;
    config.must_be("scale_attn_by_inverse_layer_idx", &json!(false))?;
    // Only the order of rounding in f16 training.
    config.flag("reorder_and_upcast_attn", false)?;
    let d_model = config.size("n_embd")?;
    let n_heads = config.size("n_head")?;
    let sizes = Sizes {
        n_layers: config.size("n_layer")?,
        n_heads,
        n_kv_heads: n_heads,
        d_model,
        d_head: head_width(d_model, n_heads)?,
        d_mlp: config.optional_size("n_inner")?.unwrap_or(4 * d_model),
        n_vocab: config.size("vocab_size")?,
        n_ctx: config.size("n_positions")?,
    };
    Ok(ModelSpec {
        norm_eps: config.number("layer_norm_epsilon", 1e-5)?,
        activation: activation(
            "activation_function",
            config.text("activation_function", "gelu_new")?,
        )?,
        tied: config.flag("tie_word_embeddings", true)?,
        bos_id: config.bos_id(),
        ..ModelSpec::plain(FAMILY.model_type, sizes)
    })
}

fn gguf_spec(config: &GgufConfig<'_>) -> Result<ModelSpec, ConfigError> {
    Ok(ModelSpec {
        norm_eps: config.number("attention.layer_norm_epsilon", 1e-5)?,
        tied: !config.has_tensor("output.weight"),
        bos_id: config.bos_id(),
        ..ModelSpec::plain(FAMILY.model_type, config.sizes()?)
    })
}

pub(super) const NAMES: Names = Names {
    embed: "wte",
    pos_embed: "wpe",
    final_norm: "ln_f",
    layers: "h",
    norm1: "ln_1",
    qkv: &["attn.c_attn"],
    out: "attn.c_proj",
    norm2: "ln_2",
    mlp_in: &["mlp.c_fc"],
    mlp_out: "mlp.c_proj",
    ..Names::NONE
};

fn sources(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    let sources = NAMES.sources(slot);
    match slot {
        Slot::Block(_, BlockSlot::Qkv | BlockSlot::Out | BlockSlot::MlpIn | BlockSlot::MlpOut) => {
            sources
                .into_iter()
                .map(|source| source.ordered(RowOrder::Transposed))
                .collect()
        }
        _ => sources,
    }
}
