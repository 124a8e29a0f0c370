//! BERT: learned positions, a norm on the embeddings, norms after each addition, no mask; a head for masked tokens where
//! the checkpoint has one. RoBERTa shares the trunk.

use serde_json::json;

use super::config::{Config, ConfigError};
use super::{Axes, Family, activation, head_width};
use crate::mask::Mask;
use crate::model::binding::{BlockSlot, Slot, Source};
use crate::model::spec::{Activation, BlockOrder, Head, Mlp, ModelSpec, Norm, Placement, Sizes};

pub(super) const FAMILY: Family = Family {
    model_type: "bert",
    examples: "BERT base and large, MiniLM, BGE, E5",
    axes: AXES,
    prefixes: &["bert."],
    spec,
    sources,
    unused: UNUSED,
    gguf: None,
};

/// Those of the post-norm encoders.
pub(super) const AXES: Axes = Axes {
    norm: Norm::Layer,
    placement: Placement::Post,
    order: BlockOrder::Sequential,
    rotary: false,
    causal: false,
    windows: false,
    mlp: Mlp::Plain,
    activation: Activation::Gelu,
    grouped_keys: false,
    qk_norm: false,
    caps: false,
};

/// Buffers; the pooler and heads that classify, which give no tokens; the unembedding again, where it is tied, and its
/// bias under a second name.
pub(super) const UNUSED: &[&str] = &[
    "position_ids",
    "token_type_ids",
    "pooler.dense.weight",
    "pooler.dense.bias",
    "cls.seq_relationship.weight",
    "cls.seq_relationship.bias",
    "classifier.weight",
    "classifier.bias",
    "qa_outputs.weight",
    "qa_outputs.bias",
    "cls.predictions.decoder.weight",
    "cls.predictions.bias",
];

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    // What the multilingual checkpoints say about a pooler that is not run, and about the mask.
    config.harmless(&[
        "directionality",
        "pooler_fc_size",
        "pooler_num_attention_heads",
        "pooler_num_fc_layers",
        "pooler_size_per_head",
        "pooler_type",
    ]);
    let spec = plain(FAMILY.model_type, config, 0)?;
    if !config.has_tensor("cls.predictions.transform.dense.weight") {
        return Ok(spec);
    }
    Ok(with_head(spec.activation, spec))
}

/// What BERT and RoBERTa write alike: a trunk without a head. The first `unused_positions` rows of the table of positions
/// are no token's.
pub(super) fn plain(
    family: &'static str,
    config: &mut Config<'_>,
    unused_positions: usize,
) -> Result<ModelSpec, ConfigError> {
    config.must_be("position_embedding_type", &json!("absolute"))?;
    config.must_be("is_decoder", &json!(false))?;
    config.must_be("add_cross_attention", &json!(false))?;
    config.harmless(&[
        "attention_probs_dropout_prob",
        "hidden_dropout_prob",
        "classifier_dropout",
    ]);
    // Row 0 is read, and every table has one.
    config.optional_size("type_vocab_size")?;
    let d_model = config.size("hidden_size")?;
    let n_heads = config.size("num_attention_heads")?;
    let n_positions = config.size("max_position_embeddings")?;
    let sizes = Sizes {
        n_layers: config.size("num_hidden_layers")?,
        n_heads,
        n_kv_heads: n_heads,
        d_model,
        d_head: head_width(d_model, n_heads)?,
        d_mlp: config.size("intermediate_size")?,
        n_vocab: config.size("vocab_size")?,
        n_ctx: n_positions
            .checked_sub(unused_positions)
            .filter(|n_ctx| *n_ctx > 0)
            .ok_or_else(|| ConfigError::Inconsistent {
                reason: format!(
                    "of {n_positions} positions the first {unused_positions} are no token's"
                ),
            })?,
    };
    Ok(ModelSpec {
        norm_eps: config.number("layer_norm_eps", 1e-12)?,
        activation: activation("hidden_act", config.text("hidden_act", "gelu")?)?,
        type_embed: true,
        tied: config.flag("tie_word_embeddings", true)?,
        bos_id: config.bos_id(),
        ..post_norm(family, sizes)
    })
}

/// The axes of the post-norm encoders, without a head.
pub(super) fn post_norm(family: &'static str, sizes: Sizes) -> ModelSpec {
    ModelSpec {
        placement: Placement::Post,
        embed_norm: true,
        masks: vec![Mask::NONE; sizes.n_layers],
        activation: Activation::Gelu,
        head: Head::None,
        ..ModelSpec::plain(family, sizes)
    }
}

/// A trunk with the head that all of them have: dense with a bias, activation, norm, unembedding with a bias.
pub(super) fn with_head(activation: Activation, trunk: ModelSpec) -> ModelSpec {
    ModelSpec {
        head: Head::MaskedToken {
            activation,
            dense_bias: true,
        },
        unembed_bias: true,
        ..trunk
    }
}

fn sources(slot: Slot, spec: &ModelSpec) -> Vec<Source> {
    let one = |name: &str| vec![Source::new(format!("cls.predictions.{name}"))];
    match slot {
        Slot::PosEmbed => vec![Source::new("embeddings.position_embeddings.weight")],
        Slot::HeadDense => one("transform.dense.weight"),
        Slot::HeadDenseBias => one("transform.dense.bias"),
        Slot::HeadNormWeight => one("transform.LayerNorm.weight"),
        Slot::HeadNormBias => one("transform.LayerNorm.bias"),
        Slot::Unembed => one("decoder.weight"),
        Slot::UnembedBias => one("decoder.bias"),
        _ => trunk(slot, spec),
    }
}

/// Where BERT and RoBERTa keep the weights that they have alike: all but positions and head.
pub(super) fn trunk(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    let Slot::Block(layer, slot) = slot else {
        let one = |name: &str| vec![Source::new(format!("embeddings.{name}"))];
        return match slot {
            Slot::Embed => one("word_embeddings.weight"),
            Slot::TypeEmbed => {
                vec![Source::new("embeddings.token_type_embeddings.weight").rows(0..1)]
            }
            Slot::EmbedNormWeight => one("LayerNorm.weight"),
            Slot::EmbedNormBias => one("LayerNorm.bias"),
            _ => vec![],
        };
    };
    let parts = |names: &[&str], ending: &str| {
        names
            .iter()
            .map(|name| Source::new(format!("encoder.layer.{layer}.{name}.{ending}")))
            .collect()
    };
    let qkv = [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ];
    match slot {
        BlockSlot::Qkv => parts(&qkv, "weight"),
        BlockSlot::QkvBias => parts(&qkv, "bias"),
        BlockSlot::Out => parts(&["attention.output.dense"], "weight"),
        BlockSlot::OutBias => parts(&["attention.output.dense"], "bias"),
        BlockSlot::Norm1Weight => parts(&["attention.output.LayerNorm"], "weight"),
        BlockSlot::Norm1Bias => parts(&["attention.output.LayerNorm"], "bias"),
        BlockSlot::MlpIn => parts(&["intermediate.dense"], "weight"),
        BlockSlot::MlpInBias => parts(&["intermediate.dense"], "bias"),
        BlockSlot::MlpOut => parts(&["output.dense"], "weight"),
        BlockSlot::MlpOutBias => parts(&["output.dense"], "bias"),
        BlockSlot::Norm2Weight => parts(&["output.LayerNorm"], "weight"),
        BlockSlot::Norm2Bias => parts(&["output.LayerNorm"], "bias"),
        _ => vec![],
    }
}
