//! OPT: GPT-2's blocks with ReLU, q, k and v apart; its table of positions begins two rows down.

use serde_json::json;

use super::config::{Config, ConfigError, not_understood};
use super::names::Names;
use super::{Axes, Family, activation, gpt2, head_width, llama};
use crate::model::binding::{Slot, Source};
use crate::model::spec::{Activation, ModelSpec, Sizes};

pub(super) const FAMILY: Family = Family {
    model_type: "opt",
    examples: "OPT 125M, 1.3B to 66B",
    axes: Axes {
        activation: Activation::Relu,
        ..gpt2::FAMILY.axes
    },
    prefixes: &["model.decoder.", "decoder."],
    spec,
    sources,
    // The head again, where it is tied.
    unused: &["lm_head.weight"],
    gguf: None,
};

/// What fairseq kept for padding.
const FIRST_POSITION: usize = 2;

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    // OPT-350M has its norms after, and an embedding of another width.
    config.must_be("do_layer_norm_before", &json!(true))?;
    config.must_be("_remove_final_layer_norm", &json!(false))?;
    config.must_be("layer_norm_elementwise_affine", &json!(true))?;
    let d_model = config.size("hidden_size")?;
    let key = "word_embed_proj_dim";
    if let Some(width) = config.optional_size(key)?
        && width != d_model
    {
        return Err(not_understood(key, &json!(width)));
    }
    let n_heads = config.size("num_attention_heads")?;
    let sizes = Sizes {
        n_layers: config.size("num_hidden_layers")?,
        n_heads,
        n_kv_heads: n_heads,
        d_model,
        d_head: head_width(d_model, n_heads)?,
        d_mlp: config.size("ffn_dim")?,
        n_vocab: config.size("vocab_size")?,
        n_ctx: config.size("max_position_embeddings")?,
    };
    let key = "activation_function";
    let bias = config.flag("enable_bias", true)?;
    Ok(ModelSpec {
        activation: activation(key, config.text(key, "relu")?)?,
        qkv_bias: bias,
        out_bias: bias,
        mlp_bias: bias,
        tied: config.flag("tie_word_embeddings", true)?,
        bos_id: config.bos_id(),
        ..ModelSpec::plain(FAMILY.model_type, sizes)
    })
}

const NAMES: Names = Names {
    embed: "embed_tokens",
    pos_embed: "embed_positions",
    final_norm: "final_layer_norm",
    norm1: "self_attn_layer_norm",
    qkv: llama::NAMES.qkv,
    out: "self_attn.out_proj",
    norm2: "final_layer_norm",
    mlp_in: &["fc1"],
    mlp_out: "fc2",
    ..Names::NONE
};

fn sources(slot: Slot, spec: &ModelSpec) -> Vec<Source> {
    let sources = NAMES.sources(slot);
    match slot {
        Slot::PosEmbed => {
            let rows = FIRST_POSITION..FIRST_POSITION + spec.n_ctx;
            sources
                .into_iter()
                .map(|source| source.rows(rows.clone()))
                .collect()
        }
        _ => sources,
    }
}
