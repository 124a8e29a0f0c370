//! ModernBERT: an encoder with norms before attention and MLP, a gated MLP, rotary positions, and windows in two of three
//! layers, whose positions turn faster.

use serde_json::json;

use super::config::{Config, ConfigError, not_understood};
use super::rotary::by_layer_type;
use super::{Axes, Family, activation, head_width, masks};
use crate::mask::Mask;
use crate::model::binding::{BlockSlot, Slot, Source};
use crate::model::spec::{
    Activation, BlockOrder, Head, Mlp, ModelSpec, Norm, Placement, Positions, Sizes,
};

pub(super) const FAMILY: Family = Family {
    model_type: "modernbert",
    examples: "ModernBERT base and large",
    axes: Axes {
        norm: Norm::Layer,
        placement: Placement::Pre,
        order: BlockOrder::Sequential,
        rotary: true,
        causal: false,
        windows: true,
        mlp: Mlp::Gated,
        activation: Activation::Gelu,
        grouped_keys: false,
        qk_norm: false,
        caps: false,
    },
    prefixes: &["model."],
    spec,
    sources,
    unused: &[
        // Heads that classify; they have a dense layer and a norm, as the head for masked tokens does.
        "head.dense.weight",
        "head.dense.bias",
        "head.norm.weight",
        "head.norm.bias",
        "classifier.weight",
        "classifier.bias",
        "qa_outputs.weight",
        "qa_outputs.bias",
        // The unembedding again, where it is tied.
        "decoder.weight",
    ],
    gguf: None,
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    config.harmless(&[
        "classifier_dropout",
        // Of heads that classify.
        "classifier_pooling",
        "cls_token_id",
        // How kernels are chosen, and how a loss is computed.
        "deterministic_flash_attn",
        "embedding_dropout",
        "initializer_cutoff_factor",
        // Stands beside `norm_eps`, which is what the model reads.
        "layer_norm_eps",
        "mlp_dropout",
        "reference_compile",
        "repad_logits_with_grad",
        "sparse_prediction",
        "sparse_pred_ignore_index",
    ]);
    // Positions are rotary whatever this says; it says one thing in the checkpoints that there are.
    config.must_be("position_embedding_type", &json!("absolute"))?;
    let d_model = config.size("hidden_size")?;
    let n_heads = config.size("num_attention_heads")?;
    let d_head = head_width(d_model, n_heads)?;
    let sizes = Sizes {
        n_layers: config.size("num_hidden_layers")?,
        n_heads,
        n_kv_heads: n_heads,
        d_model,
        d_head,
        d_mlp: config.size("intermediate_size")?,
        n_vocab: config.size("vocab_size")?,
        n_ctx: config.size("max_position_embeddings")?,
    };
    if let Some(found) = config.get("rope_scaling") {
        return Err(not_understood("rope_scaling", found));
    }
    let bases = [
        ("global_rope_theta", 160_000.0),
        ("local_rope_theta", 10_000.0),
    ];
    let (global, local) = by_layer_type(config, d_head, bases)?;
    let attention_bias = config.flag("attention_bias", false)?;
    let head = head(config)?;
    let decoder_bias = config.flag("decoder_bias", true)?;
    Ok(ModelSpec {
        norm_bias: config.flag("norm_bias", false)?,
        norm_eps: config.number("norm_eps", 1e-5)?,
        first_norm_absent: true,
        embed_norm: true,
        positions: Positions::Rotary(global),
        local_rotary: Some(local),
        masks: layer_masks(config, sizes.n_layers)?,
        mlp: Mlp::Gated,
        activation: activation(
            "hidden_activation",
            config.text("hidden_activation", "gelu")?,
        )?,
        qkv_bias: attention_bias,
        out_bias: attention_bias,
        mlp_bias: config.flag("mlp_bias", false)?,
        unembed_bias: decoder_bias && head != Head::None,
        head,
        tied: config.flag("tie_word_embeddings", true)?,
        bos_id: config.bos_id(),
        ..ModelSpec::plain(FAMILY.model_type, sizes)
    })
}

/// The head for masked tokens, which is told from one that classifies by what follows it.
fn head(config: &mut Config<'_>) -> Result<Head, ConfigError> {
    let dense_bias = config.flag("classifier_bias", false)?;
    let name = config.text("classifier_activation", "gelu")?;
    if !config.has_tensor("head.dense.weight") || config.has_tensor("classifier.weight") {
        return Ok(Head::None);
    }
    Ok(Head::MaskedToken {
        activation: activation("classifier_activation", name)?,
        dense_bias,
    })
}

/// The kind of each layer as listed, or one without a window every so many layers.
fn layer_masks(config: &mut Config<'_>, n_layers: usize) -> Result<Vec<Mask>, ConfigError> {
    let every = config
        .optional_size("global_attn_every_n_layers")?
        .unwrap_or(3);
    let reach = config.optional_size("local_attention")?.unwrap_or(128) / 2;
    let window = Some(Mask::to_either_side(reach));
    masks::of_two_kinds(config, n_layers, Mask::NONE, window, |layer| {
        !layer.is_multiple_of(every)
    })
}

fn sources(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    let one = |name: &str| vec![Source::new(name)];
    let Slot::Block(layer, slot) = slot else {
        return match slot {
            Slot::Embed => one("embeddings.tok_embeddings.weight"),
            Slot::EmbedNormWeight => one("embeddings.norm.weight"),
            Slot::EmbedNormBias => one("embeddings.norm.bias"),
            Slot::FinalNormWeight => one("final_norm.weight"),
            Slot::FinalNormBias => one("final_norm.bias"),
            Slot::HeadDense => one("head.dense.weight"),
            Slot::HeadDenseBias => one("head.dense.bias"),
            Slot::HeadNormWeight => one("head.norm.weight"),
            Slot::HeadNormBias => one("head.norm.bias"),
            Slot::Unembed => one("decoder.weight"),
            Slot::UnembedBias => one("decoder.bias"),
            _ => vec![],
        };
    };
    let part = |name: &str| vec![Source::new(format!("layers.{layer}.{name}"))];
    match slot {
        BlockSlot::Norm1Weight => part("attn_norm.weight"),
        BlockSlot::Norm1Bias => part("attn_norm.bias"),
        // All q, all k, all v; and what is activated before what it multiplies: as the weights have them.
        BlockSlot::Qkv => part("attn.Wqkv.weight"),
        BlockSlot::QkvBias => part("attn.Wqkv.bias"),
        BlockSlot::Out => part("attn.Wo.weight"),
        BlockSlot::OutBias => part("attn.Wo.bias"),
        BlockSlot::Norm2Weight => part("mlp_norm.weight"),
        BlockSlot::Norm2Bias => part("mlp_norm.bias"),
        BlockSlot::MlpIn => part("mlp.Wi.weight"),
        BlockSlot::MlpInBias => part("mlp.Wi.bias"),
        BlockSlot::MlpOut => part("mlp.Wo.weight"),
        BlockSlot::MlpOutBias => part("mlp.Wo.bias"),
        _ => vec![],
    }
}
