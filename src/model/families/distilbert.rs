//! DistilBERT: half of BERT's layers, under names of its own, without the text's type.

use super::bert::{self, post_norm, with_head};
use super::config::{Config, ConfigError};
use super::{Family, activation, head_width};
use crate::model::binding::{BlockSlot, Slot, Source};
use crate::model::spec::{ModelSpec, Sizes};

pub(super) const FAMILY: Family = Family {
    model_type: "distilbert",
    examples: "DistilBERT",
    axes: bert::AXES,
    prefixes: &["distilbert."],
    spec,
    sources,
    unused: &[
        "position_ids",
        // Heads that classify.
        "pre_classifier.weight",
        "pre_classifier.bias",
        "classifier.weight",
        "classifier.bias",
        "qa_outputs.weight",
        "qa_outputs.bias",
        // The unembedding again, where it is tied.
        "vocab_projector.weight",
    ],
    gguf: None,
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    config.harmless(&[
        "dropout",
        "qa_dropout",
        "seq_classif_dropout",
        "tie_weights_",
    ]);
    // How the table of positions was made; it is in the checkpoint either way.
    config.flag("sinusoidal_pos_embds", false)?;
    let d_model = config.size("dim")?;
    let n_heads = config.size("n_heads")?;
    let sizes = Sizes {
        n_layers: config.size("n_layers")?,
        n_heads,
        n_kv_heads: n_heads,
        d_model,
        d_head: head_width(d_model, n_heads)?,
        d_mlp: config.size("hidden_dim")?,
        n_vocab: config.size("vocab_size")?,
        n_ctx: config.size("max_position_embeddings")?,
    };
    let trunk = ModelSpec {
        // Not the config's to choose.
        norm_eps: 1e-12,
        activation: activation("activation", config.text("activation", "gelu")?)?,
        tied: config.flag("tie_word_embeddings", true)?,
        bos_id: config.bos_id(),
        ..post_norm(FAMILY.model_type, sizes)
    };
    if !config.has_tensor("vocab_transform.weight") {
        return Ok(trunk);
    }
    Ok(with_head(trunk.activation, trunk))
}

fn sources(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    let one = |name: &str| vec![Source::new(name)];
    let Slot::Block(layer, slot) = slot else {
        return match slot {
            Slot::Embed => one("embeddings.word_embeddings.weight"),
            Slot::PosEmbed => one("embeddings.position_embeddings.weight"),
            Slot::EmbedNormWeight => one("embeddings.LayerNorm.weight"),
            Slot::EmbedNormBias => one("embeddings.LayerNorm.bias"),
            Slot::HeadDense => one("vocab_transform.weight"),
            Slot::HeadDenseBias => one("vocab_transform.bias"),
            Slot::HeadNormWeight => one("vocab_layer_norm.weight"),
            Slot::HeadNormBias => one("vocab_layer_norm.bias"),
            Slot::Unembed => one("vocab_projector.weight"),
            Slot::UnembedBias => one("vocab_projector.bias"),
            _ => vec![],
        };
    };
    let parts = |names: &[&str], ending: &str| {
        names
            .iter()
            .map(|name| Source::new(format!("transformer.layer.{layer}.{name}.{ending}")))
            .collect()
    };
    let qkv = ["attention.q_lin", "attention.k_lin", "attention.v_lin"];
    match slot {
        BlockSlot::Qkv => parts(&qkv, "weight"),
        BlockSlot::QkvBias => parts(&qkv, "bias"),
        BlockSlot::Out => parts(&["attention.out_lin"], "weight"),
        BlockSlot::OutBias => parts(&["attention.out_lin"], "bias"),
        BlockSlot::Norm1Weight => parts(&["sa_layer_norm"], "weight"),
        BlockSlot::Norm1Bias => parts(&["sa_layer_norm"], "bias"),
        BlockSlot::MlpIn => parts(&["ffn.lin1"], "weight"),
        BlockSlot::MlpInBias => parts(&["ffn.lin1"], "bias"),
        BlockSlot::MlpOut => parts(&["ffn.lin2"], "weight"),
        BlockSlot::MlpOutBias => parts(&["ffn.lin2"], "bias"),
        BlockSlot::Norm2Weight => parts(&["output_layer_norm"], "weight"),
        BlockSlot::Norm2Bias => parts(&["output_layer_norm"], "bias"),
        _ => vec![],
    }
}
