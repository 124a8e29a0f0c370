//! GPT-Neo: GPT-2 whose scores are not scaled and whose q, k and v have no bias; every other layer has a window.

use serde_json::Value;

use super::config::{Config, ConfigError, not_understood, wrong};
use super::names::Names;
use super::{Axes, Family, activation, gpt2, head_width};
use crate::mask::Mask;
use crate::model::binding::{Slot, Source};
use crate::model::spec::{ModelSpec, Sizes};

pub(super) const FAMILY: Family = Family {
    model_type: "gpt_neo",
    examples: "GPT-Neo 125M to 2.7B, TinyStories",
    axes: Axes {
        windows: true,
        ..gpt2::FAMILY.axes
    },
    spec,
    sources,
    // Buffers of the mask; the head again, where it is tied.
    unused: &["attention.bias", "attention.masked_bias", "lm_head.weight"],
    gguf: None,
    ..gpt2::FAMILY
};

fn spec(config: &mut Config<'_>) -> Result<ModelSpec, ConfigError> {
    let d_model = config.size("hidden_size")?;
    let n_heads = config.size("num_heads")?;
    let sizes = Sizes {
        n_layers: config.size("num_layers")?,
        n_heads,
        n_kv_heads: n_heads,
        d_model,
        d_head: head_width(d_model, n_heads)?,
        d_mlp: config
            .optional_size("intermediate_size")?
            .unwrap_or(4 * d_model),
        n_vocab: config.size("vocab_size")?,
        n_ctx: config.size("max_position_embeddings")?,
    };
    let key = "activation_function";
    Ok(ModelSpec {
        norm_eps: config.number("layer_norm_epsilon", 1e-5)?,
        activation: activation(key, config.text(key, "gelu_new")?)?,
        masks: masks(config, sizes.n_layers)?,
        score_scale: 1.0,
        qkv_bias: false,
        tied: config.flag("tie_word_embeddings", true)?,
        bos_id: config.bos_id(),
        ..ModelSpec::plain(FAMILY.model_type, sizes)
    })
}

/// Each layer's by `attention_layers`; where that is missing, by `attention_types`.
fn masks(config: &mut Config<'_>, n_layers: usize) -> Result<Vec<Mask>, ConfigError> {
    let window = config.optional_size("window_size")?.unwrap_or(256);
    let key = "attention_types";
    let in_turn = match config.get(key) {
        Some(value) => in_turn(value, n_layers)
            .ok_or_else(|| wrong(key, value, "kinds of layers, and how often they follow"))?,
        None => ["global", "local"].into_iter().cycle().take(24).collect(),
    };
    let kinds = config.texts("attention_layers")?.unwrap_or(in_turn);
    let mask = |kind| match kind {
        "global" => Ok(Mask::CAUSAL),
        "local" => Ok(Mask::causal_window(window)),
        _ => Err(not_understood("attention_layers", &kind.into())),
    };
    kinds.into_iter().map(mask).collect()
}

/// The kinds of the layers from `[[["global", "local"], 6]]`; a list that is longer than the model ends one after it.
fn in_turn(value: &Value, n_layers: usize) -> Option<Vec<&str>> {
    let mut kinds = Vec::new();
    for item in value.as_array()? {
        let [group, times] = item.as_array()?.as_slice() else {
            return None;
        };
        let group: Vec<&str> = group
            .as_array()?
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()?;
        let room = (n_layers + 1).saturating_sub(kinds.len());
        let times = usize::try_from(times.as_u64()?).ok()?;
        let n_more = group.len().saturating_mul(times).min(room);
        kinds.extend(group.into_iter().cycle().take(n_more));
    }
    Some(kinds)
}

const NAMES: Names = Names {
    qkv: &[
        "attn.attention.q_proj",
        "attn.attention.k_proj",
        "attn.attention.v_proj",
    ],
    out: "attn.attention.out_proj",
    ..gpt2::NAMES
};

fn sources(slot: Slot, _: &ModelSpec) -> Vec<Source> {
    NAMES.sources(slot)
}
