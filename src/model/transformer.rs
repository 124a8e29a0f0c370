//! The weights of an open model, and where passes over them begin.
//!
//! The pass itself is [`Forward`].

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Result, Tensor};

use super::forward::{Forward, Rows};
use super::kernels;
use super::plan::{Entry, Plan};
use super::site::{Part, Site};
use super::spec::ModelSpec;
use super::tensors::{from_vec, in_place, with_values};
use super::weight::Weight;

/// Weights in the form that the forward uses. Products are `[out, in]`: at few rows that reads memory fastest.
#[derive(Debug)]
pub struct Transformer {
    pub(super) spec: ModelSpec,
    /// `[vocab, d_model]`
    pub(super) embed: Weight,
    /// `[context, d_model]`
    pub(super) pos_embed: Option<Tensor>,
    /// `[d_model]`
    pub(super) type_embed: Option<Vec<f32>>,
    pub(super) embed_norm: Option<NormWeights>,
    pub(super) blocks: Vec<Block>,
    pub(super) final_norm: Option<NormWeights>,
    pub(super) masked_head: Option<MaskedHead>,
    /// `[vocab, d_model]`; the embedding itself where tied; `None` without a language-model head.
    pub(super) unembed: Option<Weight>,
    /// `[vocab]`
    pub(super) unembed_bias: Option<Vec<f32>>,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) norm1: Option<NormWeights>,
    /// `[(H + 2 Hkv) · d_head, d_model]`: all q heads, all k heads, all v heads.
    pub(super) qkv: Linear,
    /// `[d_head]`
    pub(super) q_norm: Option<Vec<f32>>,
    pub(super) k_norm: Option<Vec<f32>>,
    /// `[d_model, H · d_head]`
    pub(super) out: Linear,
    /// On what attention gives.
    pub(super) post_norm1: Option<NormWeights>,
    pub(super) norm2: Option<NormWeights>,
    /// `[d_mlp, d_model]`; with a gate, its rows first: `[2 · d_mlp, d_model]`.
    pub(super) mlp_in: Linear,
    /// `[d_model, d_mlp]`
    pub(super) mlp_out: Linear,
    /// On what the MLP gives.
    pub(super) post_norm2: Option<NormWeights>,
}

/// What stands between the final stream and the unembedding of a masked token.
#[derive(Debug)]
pub(super) struct MaskedHead {
    /// `[d_model, d_model]`
    pub(super) dense: Linear,
    pub(super) norm: NormWeights,
}

#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Weight,
    pub(super) bias: Option<Vec<f32>>,
}

#[derive(Debug, Default)]
pub(super) struct NormWeights {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
}

/// Recorded activations by site, without a batch axis.
pub type Activations = BTreeMap<Site, Tensor>;

/// What is kept of a run so that another may start in its middle: values before the edits at their own site, so that
/// another run can apply its own.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// `[pos, d_model]` for each layer.
    pub resid_pre: Vec<Tensor>,
    /// `[pos, head, d_head]` for each layer.
    pub z: Vec<Tensor>,
}

impl Kept {
    pub fn n_tokens(&self) -> usize {
        self.resid_pre.first().map_or(0, |resid| resid.dims()[0])
    }
}

/// Keys (as they are scored, after rotary) and values of the tokens before, by layer: what the next token attends to.
#[derive(Clone, Debug, Default)]
pub struct Past {
    pub(super) layers: Vec<PastLayer>,
}

/// Both `[pos, kv_head, d_head]`.
#[derive(Clone, Debug, Default)]
pub(super) struct PastLayer {
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

impl Past {
    pub fn bytes(&self) -> usize {
        let floats = |layer: &PastLayer| layer.k.len() + layer.v.len();
        self.layers.iter().map(floats).sum::<usize>() * size_of::<f32>()
    }
}

impl Transformer {
    /// Begins a pass over `ids` (fewer than the context, each within the vocabulary: the caller has checked).
    pub fn start<'a>(
        &'a self,
        ids: &[u32],
        plan: &'a Plan,
        record: &'a BTreeSet<Site>,
    ) -> Result<Forward<'a>> {
        let rows = Rows::whole(ids.len());
        Forward::new(self, rows, plan, record).embedded(ids)
    }

    /// Begins a pass in the middle of a kept run of the same tokens, which is the same up to `entry`.
    pub fn resume<'a>(
        &'a self,
        kept: &Kept,
        entry: Entry,
        plan: &'a Plan,
        record: &'a BTreeSet<Site>,
    ) -> Result<Forward<'a>> {
        let rows = Rows::whole(kept.n_tokens());
        Ok(Forward::new(self, rows, plan, record).entering(kept, entry))
    }

    /// Begins a pass over one more token, at the position after `past`.
    pub fn next<'a>(
        &'a self,
        id: u32,
        past: &'a Past,
        plan: &'a Plan,
        record: &'a BTreeSet<Site>,
    ) -> Result<Forward<'a>> {
        Forward::new(self, Rows::one(self.n_past(past)), plan, record)
            .after(past)
            .embedded(&[id])
    }

    /// Begins a pass over several kept runs of equally many tokens, each changed in its own way; they
    /// [join](Forward::join) it from `layer` on, those that enter first first. Nothing is recorded.
    pub fn gather(&self, n_tokens: usize, layer: usize) -> Forward<'_> {
        const NOTHING: &BTreeSet<Site> = &BTreeSet::new();
        Forward::empty(self, Rows::whole(n_tokens), NOTHING).beginning_at(layer)
    }

    /// The same over one row of each: that after `past`, which they share. Exact where later rows do not matter and
    /// earlier ones are not changed: causal masks, and plans that touch this position alone.
    pub fn gather_row<'a>(
        &'a self,
        past: &'a Past,
        layer: usize,
        record: &'a BTreeSet<Site>,
    ) -> Forward<'a> {
        Forward::empty(self, Rows::one(self.n_past(past)), record)
            .after(past)
            .beginning_at(layer)
    }

    /// Keys and values of a kept run's first `n_tokens`, under the plan that it ran with.
    pub fn past(&self, kept: &Kept, plan: &Plan, n_tokens: usize) -> Result<Past> {
        let record = BTreeSet::new();
        let width = self.spec.n_kv_heads * self.spec.d_head;
        let layers = (0..self.spec.n_layers)
            .map(|layer| {
                let mut of_layer = self
                    .resume(kept, Entry::top(layer), plan, &record)?
                    .keys_and_values()?;
                of_layer.k.truncate(n_tokens * width);
                of_layer.v.truncate(n_tokens * width);
                Ok(of_layer)
            })
            .collect::<Result<_>>()?;
        Ok(Past { layers })
    }

    fn n_past(&self, past: &Past) -> usize {
        let width = self.spec.n_kv_heads * self.spec.d_head;
        past.layers.first().map_or(0, |layer| layer.k.len() / width)
    }

    /// The sites whose records [`Self::append`] takes up.
    pub fn past_sites(&self) -> impl Iterator<Item = Site> {
        (0..self.spec.n_layers)
            .flat_map(|layer| [self.key_part(layer), Part::V].map(|part| Site::Block(layer, part)))
    }

    /// Where keys are as they are scored.
    fn key_part(&self, layer: usize) -> Part {
        let [_, k] = Part::scored(&self.spec, layer);
        k
    }

    /// Adds what a pass recorded at [`Self::past_sites`] of a layer.
    pub fn append(&self, past: &mut Past, layer: usize, recorded: &Activations) -> Result<()> {
        past.layers
            .resize_with(self.spec.n_layers, PastLayer::default);
        let of_layer = &mut past.layers[layer];
        for (part, values) in [
            (self.key_part(layer), &mut of_layer.k),
            (Part::V, &mut of_layer.v),
        ] {
            let site = Site::Block(layer, part);
            match recorded.get(&site) {
                Some(rows) => with_values(rows, |rows| values.extend_from_slice(rows))?,
                None => candle_core::bail!("{site} is not recorded"),
            }
        }
        Ok(())
    }

    /// The values of a kept run at a site within a block, row-major: kept, or run again in that one layer.
    pub fn values_at(&self, kept: &Kept, site: Site) -> Result<Vec<f32>> {
        match site {
            Site::Block(layer, Part::ResidPre) => {
                with_values(&kept.resid_pre[layer], <[f32]>::to_vec)
            }
            Site::Block(layer, Part::Z) => with_values(&kept.z[layer], <[f32]>::to_vec),
            _ => self.values_under(kept, site, &Plan::default()),
        }
    }

    /// The values at a site of one block, with the changes of a plan in that block on top of a kept run.
    pub fn values_under(&self, kept: &Kept, site: Site, plan: &Plan) -> Result<Vec<f32>> {
        let value = match site {
            Site::Block(layer, part) => {
                let record = BTreeSet::from([site]);
                let kept_after_pattern = Entry {
                    layer,
                    after_pattern: part > Part::Z,
                };
                let first = plan.first_difference(&Plan::default());
                let entry = first.map_or(kept_after_pattern, |first| {
                    first.clamp(Entry::top(layer), kept_after_pattern)
                });
                let mut forward = self.resume(kept, entry, plan, &record)?;
                let mut recorded = forward.step()?.unwrap_or_default();
                if layer + 1 == self.spec.n_layers {
                    forward.finish(None)?;
                    recorded.append(&mut forward.recorded());
                }
                match recorded.remove(&site) {
                    Some(value) => value,
                    None => candle_core::bail!("{site} is not recorded"),
                }
            }
            _ => candle_core::bail!("{site} is outside the blocks"),
        };
        with_values(&value, <[f32]>::to_vec)
    }

    /// Bytes of all weights; a tied unembedding counts once, where both are in the same memory.
    pub(super) fn bytes(&self) -> usize {
        let floats = |n: usize| n * size_of::<f32>();
        let vector = |v: &Option<Vec<f32>>| floats(v.as_ref().map_or(0, Vec::len));
        let linear = |l: &Linear| l.weight.bytes() + vector(&l.bias);
        let norm = |n: &NormWeights| floats(n.weight.len()) + vector(&n.bias);
        let norm_if = |n: &Option<NormWeights>| n.as_ref().map_or(0, norm);
        let blocks: usize = self
            .blocks
            .iter()
            .map(|block| {
                let products = [&block.qkv, &block.out, &block.mlp_in, &block.mlp_out];
                let norms = [
                    &block.norm1,
                    &block.norm2,
                    &block.post_norm1,
                    &block.post_norm2,
                ];
                let vectors = [&block.q_norm, &block.k_norm];
                products.map(linear).iter().sum::<usize>()
                    + norms.map(norm_if).iter().sum::<usize>()
                    + vectors.map(vector).iter().sum::<usize>()
            })
            .sum();
        let masked = self
            .masked_head
            .as_ref()
            .map_or(0, |head| linear(&head.dense) + norm(&head.norm));
        let unembed = match &self.unembed {
            Some(unembed) if !(self.spec.tied && unembed.is_here()) => unembed.bytes(),
            _ => 0,
        };
        let pos_embed = floats(self.pos_embed.as_ref().map_or(0, Tensor::elem_count));
        let norms = norm_if(&self.embed_norm) + norm_if(&self.final_norm);
        let vectors = vector(&self.type_embed) + vector(&self.unembed_bias);
        self.embed.bytes() + pos_embed + blocks + masked + unembed + norms + vectors
    }

    /// W_O of a head, as `[d_model, d_head]`.
    pub(super) fn w_o(&self, layer: usize, head: usize) -> Result<Tensor> {
        let ModelSpec {
            d_model, d_head, ..
        } = self.spec;
        let columns = head * d_head..(head + 1) * d_head;
        self.blocks[layer].out.weight.columns(d_model, columns)
    }

    /// ‖v_j‖ as each query head reads it, `[head, key]`, from a recorded v `[pos, kv_head, d_head]`.
    pub fn value_norms(&self, v: &Tensor) -> Result<Vec<f32>> {
        let ModelSpec {
            n_heads,
            n_kv_heads,
            d_head,
            ..
        } = self.spec;
        with_values(v, |v| kernels::value_norms(v, n_heads, n_kv_heads, d_head))
    }

    /// b_V of a key/value head, `[d_head]`; zeros where there is none.
    pub fn value_bias(&self, layer: usize, kv_head: usize) -> Vec<f32> {
        let spec = &self.spec;
        let start = (spec.n_heads + spec.n_kv_heads + kv_head) * spec.d_head;
        match &self.blocks[layer].qkv.bias {
            Some(bias) => bias[start..start + spec.d_head].to_vec(),
            None => vec![0.0; spec.d_head],
        }
    }
}

impl Linear {
    /// x W + b, `[pos, out]`.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.weight.product(x)?;
        if let Some(bias) = &self.bias {
            in_place(&y, |rows| kernels::add_row(rows, bias))?;
        }
        Ok(y)
    }
}

impl NormWeights {
    /// Weight and bias, in place.
    pub(super) fn apply(&self, normalized: Tensor) -> Result<Tensor> {
        in_place(&normalized, |rows| {
            kernels::scale_and_shift(rows, &self.weight, self.bias.as_deref());
        })?;
        Ok(normalized)
    }
}

/// Chosen rows of a tensor whose first axis is rows, in that order.
pub(super) fn rows_of(tensor: &Tensor, rows: impl Iterator<Item = usize>) -> Result<Tensor> {
    let mut shape = tensor.dims().to_vec();
    let width: usize = shape[1..].iter().product();
    let chosen = with_values(tensor, |values| {
        rows.flat_map(|row| &values[row * width..(row + 1) * width])
            .copied()
            .collect::<Vec<_>>()
    })?;
    shape[0] = chosen.len() / width;
    from_vec(chosen, shape)
}
