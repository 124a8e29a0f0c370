//! RoBERTa: BERT's trunk with positions counted from 2, and a head that keeps its tensors under other names.

use serde_json::json;

use super::Family;
use super::bert::{self, plain, trunk, with_head};
use super::config::{Config, ConfigError};
use crate::model::binding::{Slot, Source};
use crate::model::spec::{Activation, ModelSpec};

pub(super) const FAMILY: Family = Family {
    model_type: "roberta",
    examples: "RoBERTa base and large, DistilRoBERTa",
    axes: bert::AXES,
    prefixes: &["roberta."],
    spec,
    sources,
    unused: &[
        "position_ids",
        "token_type_ids",
        "pooler.dense.weight",
        "pooler.dense.bias",
        // Heads that classify.
        "classifier.dense.weight",
        "classifier.dense.bias",
        "classifier.out_proj.weight",
        "classifier.out_proj.bias",
        "classifier.weight",
        "classifier.bias",
        "qa_outputs.weight",
        "qa_outputs.bias",
        // The unembedding again, where it is tied; its bias under a second name.
        "lm_head.decoder.weight",
        "lm_head.bias",
    ],
    gguf: None,
};

/// Rows of the table of positions before the first token's: they count from the padding token's id, 1, plus one.
const FIRST_POSITION: usize = 2;

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    config.must_be("pad_token_id", &json!(FIRST_POSITION - 1))?;
    let spec = plain(FAMILY.model_type, config, FIRST_POSITION)?;
    if !config.has_tensor("lm_head.dense.weight") {
        return Ok(spec);
    }
    // Whatever the MLPs have.
    Ok(with_head(Activation::Gelu, spec))
}

fn sources(slot: Slot, spec: &ModelSpec) -> Vec<Source> {
    let one = |name: &str| vec![Source::new(format!("lm_head.{name}"))];
    match slot {
        Slot::PosEmbed => vec![
            Source::new("embeddings.position_embeddings.weight")
                .rows(FIRST_POSITION..FIRST_POSITION + spec.n_ctx),
        ],
        Slot::HeadDense => one("dense.weight"),
        Slot::HeadDenseBias => one("dense.bias"),
        Slot::HeadNormWeight => one("layer_norm.weight"),
        Slot::HeadNormBias => one("layer_norm.bias"),
        Slot::Unembed => one("decoder.weight"),
        Slot::UnembedBias => one("decoder.bias"),
        _ => trunk(slot, spec),
    }
}
