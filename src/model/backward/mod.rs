//! Gradients of a function of the logits by what flows through the model, with its weights as they are: the forward of
//! `model/forward.rs` walked back by hand, edits included.
//!
//! Start reading at [`Transformer::gradients`]. The pass records what products and norms read; patterns are made again on
//! the way back. After the last layer's z only rows that the loss reads are computed, there and back.

mod attention;
mod kernels;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::attention::{Attention, Changes, Keys};
use super::forward::rotary_tables;
use super::kernels::RotaryTable;
use super::plan::{Change, Plan};
use super::site::{Part, Site};
use super::spec::{BlockOrder, Head, Mlp, ModelSpec, Placement};
use super::tensors::{from_vec, with_values};
use super::transformer::{Activations, Block, NormWeights, Transformer};
use super::weight::Weight;

/// Where gradients begin and end.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Whose logits the loss reads; rising.
    pub positions: &'a [usize],
    /// The way back ends at the top of this layer.
    pub down_to: usize,
}

/// From logits `[position, vocab]` to the gradient of a loss by them, of the same size.
pub type Loss<'a> = dyn FnMut(&[f32]) -> Vec<f32> + 'a;

/// Gradients of a loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradients {
    /// What the loss read, `[position, vocab]`.
    pub logits: Vec<f32>,
    /// By the final residual of what the loss read, `[position, d_model]`.
    pub by_final_resid: Vec<f32>,
    /// One a layer; empty ones below where the way back ends.
    pub layers: Vec<LayerGradients>,
}

/// Gradients by what stands in a layer. A learned z ← (1 + a) ⊙ z + v that comes first has Σ z ⊙ `by_edited_z` over the
/// positions as its gradient by a, and Σ `by_edited_z` as that by v.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerGradients {
    /// The heads' z before its edits, `[pos, head, d_head]`.
    pub z: Vec<f32>,
    /// By z before its edits.
    pub by_z: Vec<f32>,
    /// By z after its edits: as W_O reads it.
    pub by_edited_z: Vec<f32>,
    /// By resid_pre before its edits, `[pos, d_model]`.
    pub by_resid_pre: Vec<f32>,
    /// By what the MLP adds to the stream, before its edits, `[pos, d_model]`.
    pub by_mlp_out: Vec<f32>,
}

/// Why there are no gradients.
#[derive(Debug, thiserror::Error)]
pub enum GradientError {
    #[error("there are no gradients of models whose norms stand on the stream")]
    NormsOnTheStream,
    #[error("there are no gradients of models that fill in masked tokens")]
    MaskedTokens,
    #[error("the model has no language-model head, so there are no logits to take gradients of")]
    NoLogits,
    #[error("an edit at {0} has no gradient here")]
    Edit(Site),
    #[error(
        "logits are read at rising positions below {n_tokens}, at least at one, and gradients end at a layer below \
         {n_layers}"
    )]
    Reach { n_tokens: usize, n_layers: usize },
    #[error("the loss gave {found} values for {expected} logits")]
    Loss { found: usize, expected: usize },
    #[error("the gradient was stopped")]
    Stopped,
    #[error("the pass failed: {0}")]
    Pass(#[from] candle_core::Error),
}

impl Transformer {
    /// A pass over `ids` under `plan`, and the way back from what `loss` gives for its logits. `go_on` may stop it between
    /// layers.
    ///
    /// New pattern rows are constants; what a plan fills in cuts the way to what stood there.
    pub fn gradients(
        &self,
        ids: &[u32],
        plan: &Plan,
        reach: Reach<'_>,
        loss: &mut Loss<'_>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Gradients, GradientError> {
        let n_layers = self.spec.n_layers;
        self.can_go_back(ids.len(), plan, reach)?;
        let record = self.sites_back(reach.down_to);
        let mut forward = self.start(ids, plan, &record)?;
        let mut recorded = Activations::new();
        while let Some(mut of_layer) = forward.step()? {
            if !go_on() {
                return Err(GradientError::Stopped);
            }
            recorded.append(&mut of_layer);
        }
        let resid = forward.finish(Some(reach.positions))?;
        let logits = forward.logits(resid)?.ok_or(GradientError::NoLogits)?;
        recorded.append(&mut forward.recorded());
        let logits = with_values(&logits, <[f32]>::to_vec)?;
        let z = forward.into_kept().z;

        let d = loss(&logits);
        if d.len() != logits.len() {
            return Err(GradientError::Loss {
                found: d.len(),
                expected: logits.len(),
            });
        }
        let all: Vec<usize> = (0..ids.len()).collect();
        let mut back = Backward {
            model: self,
            plan,
            recorded,
            read: reach.positions,
            rotary: rotary_tables(&self.spec, &all).map(RotaryTable::inverse),
            all,
        };
        let mut d = back.logits(&logits, d)?;
        let mut gradients = Gradients {
            logits,
            by_final_resid: d.clone(),
            layers: vec![LayerGradients::default(); n_layers],
        };
        for layer in (reach.down_to..n_layers).rev() {
            if !go_on() {
                return Err(GradientError::Stopped);
            }
            let (by_resid_pre, mut of_layer) = back.layer(layer, d)?;
            of_layer.z = with_values(&z[layer], <[f32]>::to_vec)?;
            of_layer.by_resid_pre.clone_from(&by_resid_pre);
            gradients.layers[layer] = of_layer;
            d = by_resid_pre;
        }
        Ok(gradients)
    }

    fn can_go_back(
        &self,
        n_tokens: usize,
        plan: &Plan,
        reach: Reach<'_>,
    ) -> Result<(), GradientError> {
        let spec = &self.spec;
        match (spec.placement, spec.head) {
            (_, Head::None) => return Err(GradientError::NoLogits),
            (_, Head::MaskedToken { .. }) => return Err(GradientError::MaskedTokens),
            (Placement::Post, _) => return Err(GradientError::NormsOnTheStream),
            (Placement::Pre | Placement::Sandwich, Head::NextToken) => {}
        }
        let Reach { positions, down_to } = reach;
        let rising = positions.is_sorted_by(|a, b| a < b);
        if !rising
            || positions.last().is_none_or(|last| *last >= n_tokens)
            || down_to >= spec.n_layers
        {
            return Err(GradientError::Reach {
                n_tokens,
                n_layers: spec.n_layers,
            });
        }
        match plan.rows.keys().find(|site| !has_way_back(**site)) {
            Some(site) => Err(GradientError::Edit(*site)),
            None => Ok(()),
        }
    }

    /// What the way back reads of the pass.
    fn sites_back(&self, down_to: usize) -> BTreeSet<Site> {
        const PARTS: [Part; 11] = [
            Part::Ln1Scale,
            Part::Ln1Normalized,
            Part::V,
            Part::Ln1PostScale,
            Part::Ln1PostNormalized,
            Part::Ln2Scale,
            Part::Ln2Normalized,
            Part::MlpPre,
            Part::MlpPreLinear,
            Part::Ln2PostScale,
            Part::Ln2PostNormalized,
        ];
        let of_layer = |layer: usize| {
            let block = &self.blocks[layer];
            let scored = [
                (Part::Q, block.q_norm.is_some()),
                (Part::K, block.k_norm.is_some()),
            ];
            let before_norms = scored
                .into_iter()
                .filter_map(|(part, has_norm)| has_norm.then_some(part));
            PARTS
                .into_iter()
                .chain(before_norms)
                .chain(self.scored(layer))
                .map(move |part| Site::Block(layer, part))
        };
        (down_to..self.spec.n_layers)
            .flat_map(of_layer)
            .chain([Site::FinalScale, Site::FinalNormalized])
            .collect()
    }

    /// Where q and k are as they are scored, in a pass: after norms of their own too.
    fn scored(&self, layer: usize) -> [Part; 2] {
        let block = &self.blocks[layer];
        let is_turned = self.spec.rotary(layer).is_some();
        let of = |norm: &Option<_>, plain, placed| match norm {
            None if !is_turned => plain,
            _ => placed,
        };
        [
            of(&block.q_norm, Part::Q, Part::RotQ),
            of(&block.k_norm, Part::K, Part::RotK),
        ]
    }
}

/// Whether the gradient passes edits at a site: those that a list of edits compiles to.
fn has_way_back(site: Site) -> bool {
    match site {
        // No gradient reaches so far down.
        Site::Embed | Site::PosEmbed | Site::TypeEmbed => true,
        Site::Block(_, part) => matches!(
            part,
            Part::ResidPre
                | Part::Q
                | Part::K
                | Part::V
                | Part::Z
                | Part::AttnOut
                | Part::MlpOut
                | Part::ResidPost
        ),
        _ => false,
    }
}

/// The way back under way. Gradients are `d`, rows of positions.
struct Backward<'a> {
    model: &'a Transformer,
    plan: &'a Plan,
    recorded: Activations,
    /// Positions whose rows the last layer has after its z, and all.
    read: &'a [usize],
    all: Vec<usize>,
    /// Tables that turn back, of layers that see all keys and of those with a window.
    rotary: [RotaryTable; 2],
}

/// Gradients by what [`Backward::rest`] went back to.
struct Rest {
    resid: Vec<f32>,
    edited_z: Vec<f32>,
    mlp_out: Vec<f32>,
    /// By what attention and MLP both read, as far as the MLP goes; empty where it reads the stream by itself.
    shared: Vec<f32>,
}

impl Backward<'_> {
    /// From the gradient by logits to that by the final residual, `[position, d_model]`.
    fn logits(&mut self, logits: &[f32], mut d: Vec<f32>) -> Result<Vec<f32>, GradientError> {
        let model = self.model;
        let Some(unembed) = &model.unembed else {
            return Err(GradientError::NoLogits);
        };
        if let Some(cap) = model.spec.logit_cap {
            kernels::soft_cap_back(logits, cap as f32, &mut d);
        }
        let mut d = through(unembed, d, self.read.len())?;
        if let Some(norm) = &model.final_norm {
            self.norm([Site::FinalScale, Site::FinalNormalized], norm, &mut d)?;
        }
        Ok(d)
    }

    /// From the gradient by a layer's resid_post (before its edits) to that by its resid_pre, and those between.
    fn layer(
        &mut self,
        layer: usize,
        d: Vec<f32>,
    ) -> Result<(Vec<f32>, LayerGradients), GradientError> {
        let model = self.model;
        let block = &model.blocks[layer];
        let at = |part| Site::Block(layer, part);
        let Rest {
            resid,
            edited_z,
            mlp_out,
            shared,
        } = if layer + 1 == model.spec.n_layers {
            let (read, n_rows) = (self.read, self.all.len());
            let rest = self.rest(layer, d, read)?;
            let spread = |d: Vec<f32>| spread(&d, read, n_rows);
            Rest {
                resid: spread(rest.resid),
                edited_z: spread(rest.edited_z),
                mlp_out: spread(rest.mlp_out),
                shared: spread(rest.shared),
            }
        } else {
            let all = std::mem::take(&mut self.all);
            let rest = self.rest(layer, d, &all);
            self.all = all;
            rest?
        };
        let mut z = edited_z.clone();
        self.edits(at(Part::Z), &self.all, &mut z);
        let mut d = self.attention(layer, block, &z)?;
        add(&mut d, &shared);
        if let Some(norm) = &block.norm1 {
            self.norm([Part::Ln1Scale, Part::Ln1Normalized].map(at), norm, &mut d)?;
        }
        add(&mut d, &resid);
        self.edits(at(Part::ResidPre), &self.all, &mut d);
        let of_layer = LayerGradients {
            by_z: z,
            by_edited_z: edited_z,
            by_mlp_out: mlp_out,
            ..LayerGradients::default()
        };
        Ok((d, of_layer))
    }

    /// What follows z in a block, at some positions.
    fn rest(
        &mut self,
        layer: usize,
        mut d: Vec<f32>,
        rows: &[usize],
    ) -> Result<Rest, GradientError> {
        let model = self.model;
        let block = &model.blocks[layer];
        let at = |part| Site::Block(layer, part);

        self.edits(at(Part::ResidPost), rows, &mut d);
        let mut mlp_out = d.clone();
        self.edits(at(Part::MlpOut), rows, &mut mlp_out);
        let mut x = mlp_out.clone();
        if let Some(norm) = &block.post_norm2 {
            let sites = [Part::Ln2PostScale, Part::Ln2PostNormalized].map(at);
            self.norm(sites, norm, &mut x)?;
        }
        let mut x = self.mlp(layer, block, x, rows.len())?;

        // By what attention added, and by the stream that it was added to.
        let mut attn_out = d.clone();
        let mut shared = vec![];
        let order = model.spec.order;
        if order == (BlockOrder::Parallel { shared_norm: true }) && block.norm1.is_some() {
            shared = x;
        } else {
            if let Some(norm) = &block.norm2 {
                self.norm([Part::Ln2Scale, Part::Ln2Normalized].map(at), norm, &mut x)?;
            }
            add(&mut d, &x);
            if order == BlockOrder::Sequential {
                attn_out.clone_from(&d);
            }
        }
        self.edits(at(Part::AttnOut), rows, &mut attn_out);
        if let Some(norm) = &block.post_norm1 {
            let sites = [Part::Ln1PostScale, Part::Ln1PostNormalized].map(at);
            self.norm(sites, norm, &mut attn_out)?;
        }
        Ok(Rest {
            resid: d,
            edited_z: through(&block.out.weight, attn_out, rows.len())?,
            mlp_out,
            shared,
        })
    }

    /// From the gradient by z before its edits to that by what attention read, `[pos, d_model]`.
    fn attention(
        &mut self,
        layer: usize,
        block: &Block,
        d_z: &[f32],
    ) -> Result<Vec<f32>, GradientError> {
        let spec = &self.model.spec;
        let [q_part, k_part] = self.model.scored(layer);
        // Norms of q and k read what stands before them.
        let q = self.values(Site::Block(layer, q_part))?;
        let k = self.values(Site::Block(layer, k_part))?;
        let v = self.values(Site::Block(layer, Part::V))?;
        let changes = Changes {
            knockouts: self.plan.knockouts.get(&layer),
            scaled: self.plan.scaled.get(&layer),
            rows: self.plan.patterns.get(&layer).map(Arc::as_ref),
        };
        let keys = Keys { k: &k, v: &v };
        let mut d = Attention::of(spec, layer).back(&q, keys, changes, d_z);
        for (part, n_heads, norm, d) in [
            (Part::Q, spec.n_heads, &block.q_norm, &mut d.q),
            (Part::K, spec.n_kv_heads, &block.k_norm, &mut d.k),
            (Part::V, spec.n_kv_heads, &None, &mut d.v),
        ] {
            let site = Site::Block(layer, part);
            if part != Part::V && spec.rotary(layer).is_some() {
                let table = &self.rotary[usize::from(spec.masks[layer].has_window())];
                table.rotate(d, spec.d_head, n_heads);
            }
            if let Some(weight) = norm {
                let x = self.values(site)?;
                kernels::rms_norm_back(&x, spec.norm_eps, weight, d);
            }
            self.edits(site, &self.all, d);
        }
        let (q_width, kv_width) = (spec.n_heads * spec.d_head, spec.n_kv_heads * spec.d_head);
        let mut qkv = Vec::with_capacity(d.q.len() + d.k.len() + d.v.len());
        for row in 0..self.all.len() {
            qkv.extend_from_slice(&d.q[row * q_width..][..q_width]);
            qkv.extend_from_slice(&d.k[row * kv_width..][..kv_width]);
            qkv.extend_from_slice(&d.v[row * kv_width..][..kv_width]);
        }
        Ok(through(&block.qkv.weight, qkv, self.all.len())?)
    }

    /// From the gradient by what the MLP gave to that by what it read.
    fn mlp(
        &mut self,
        layer: usize,
        block: &Block,
        d: Vec<f32>,
        n_rows: usize,
    ) -> Result<Vec<f32>, GradientError> {
        let ModelSpec {
            mlp,
            activation,
            d_mlp,
            ..
        } = self.model.spec;
        let mut post = through(&block.mlp_out.weight, d, n_rows)?;
        let pre = self.values(Site::Block(layer, Part::MlpPre))?;
        let pre = match mlp {
            Mlp::Plain => {
                kernels::activate_back(activation, &pre, &mut post);
                post
            }
            Mlp::Gated => {
                let linear = self.values(Site::Block(layer, Part::MlpPreLinear))?;
                kernels::gated_back(activation, &pre, &linear, &post, d_mlp)
            }
        };
        Ok(through(&block.mlp_in.weight, pre, n_rows)?)
    }

    /// Through a norm, in place.
    fn norm(
        &mut self,
        [scale, normalized]: [Site; 2],
        norm: &NormWeights,
        d: &mut [f32],
    ) -> Result<(), GradientError> {
        let (scales, normalized) = (self.values(scale)?, self.values(normalized)?);
        kernels::normalize_back(self.model.spec.norm, &norm.weight, &normalized, &scales, d);
        Ok(())
    }

    /// What the pass recorded at a site, which nothing else reads.
    fn values(&mut self, site: Site) -> candle_core::Result<Vec<f32>> {
        match self.recorded.remove(&site) {
            Some(values) => with_values(&values, <[f32]>::to_vec),
            None => candle_core::bail!("{site} is not recorded"),
        }
    }

    /// Through the edits at a site, in place; `rows` are the positions of `d`.
    fn edits(&self, site: Site, rows: &[usize], d: &mut [f32]) {
        let width = d.len() / rows.len();
        for edit in self.plan.rows.get(&site).into_iter().flatten().rev() {
            for position in &edit.positions {
                if let Ok(row) = rows.binary_search(position) {
                    let row = &mut d[row * width..][..width];
                    edit.change.back(&mut row[edit.columns.clone()]);
                }
            }
        }
    }
}

impl Change {
    /// From the gradient by a changed row to that by the row before, in place.
    fn back(&self, d: &mut [f32]) {
        match self {
            Self::Fill(_) | Self::Rows(_) => d.fill(0.0),
            Self::Scale(factor) => d.iter_mut().for_each(|d| *d *= factor),
            Self::Add(_) => {}
            Self::Affine { gain, .. } => d.iter_mut().zip(gain).for_each(|(d, gain)| *d *= gain),
        }
    }
}

/// Through a product, `[row, out]` to `[row, in]`.
fn through(weight: &Weight, d: Vec<f32>, n_rows: usize) -> candle_core::Result<Vec<f32>> {
    let width = d.len() / n_rows;
    let d = weight.product_back(&from_vec(d, (n_rows, width))?)?;
    with_values(&d, <[f32]>::to_vec)
}

/// Adds `more`, which may be empty.
fn add(d: &mut [f32], more: &[f32]) {
    d.iter_mut().zip(more).for_each(|(d, more)| *d += more);
}

/// Rows of some positions among those of all, which have none.
fn spread(d: &[f32], rows: &[usize], n_rows: usize) -> Vec<f32> {
    let width = d.len() / rows.len();
    let mut all = vec![0.0; n_rows * width];
    if width > 0 {
        for (row, d) in rows.iter().zip(d.chunks_exact(width)) {
            all[row * width..][..width].copy_from_slice(d);
        }
    }
    all
}
