//! The forward pass: one function of the architecture's axes, with a named site for every activation.
//!
//! Start reading at [`Forward::step`]. Shapes are without a batch axis. At each site edits come first, then recording, so
//! that a recording shows what the model used.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{D, Result, Tensor};

use super::kernels;
use super::plan::{Change, Entry, Plan, RowEdit};
use super::site::{Part, Site};
use super::spec::{Mlp, ModelSpec};
use super::tensors::{from_vec, in_place, with_values};

/// Weights in the form that the forward uses. Products are `[out, in]`: at few rows that reads memory fastest.
#[derive(Debug)]
pub struct Transformer {
    pub(super) spec: ModelSpec,
    /// `[vocab, d_model]`
    pub(super) embed: Tensor,
    /// `[context, d_model]`
    pub(super) pos_embed: Option<Tensor>,
    pub(super) blocks: Vec<Block>,
    pub(super) final_norm: NormWeights,
    /// `[vocab, d_model]`; the embedding itself where tied.
    pub(super) unembed: Tensor,
    /// `[d_head / 2]`; empty without rotary positions.
    pub(super) frequencies: Vec<f64>,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) norm1: NormWeights,
    /// `[(H + 2 Hkv) · d_head, d_model]`: all q heads, all k heads, all v heads.
    pub(super) qkv: Linear,
    /// `[d_model, H · d_head]`
    pub(super) out: Linear,
    pub(super) norm2: NormWeights,
    /// `[d_mlp, d_model]`; with a gate, its rows first: `[2 · d_mlp, d_model]`.
    pub(super) mlp_in: Linear,
    /// `[d_model, d_mlp]`
    pub(super) mlp_out: Linear,
}

#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Vec<f32>>,
}

#[derive(Debug)]
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
    /// `[pos, d_model]` for each layer, and (as edited) the final residual after them.
    pub resid_pre: Vec<Tensor>,
    /// `[pos, head, d_head]` for each layer.
    pub z: Vec<Tensor>,
}

impl Kept {
    pub fn n_tokens(&self) -> usize {
        self.resid_pre.first().map_or(0, |resid| resid.dims()[0])
    }
}

/// A pass under way. Between steps the caller may look, cancel, or go on.
#[derive(Debug)]
pub struct Forward<'a> {
    model: &'a Transformer,
    plan: &'a Plan,
    record: &'a BTreeSet<Site>,
    /// resid_pre of the layer to come, before its edits.
    resid: Tensor,
    layer: usize,
    n_tokens: usize,
    /// z of the layer to come, where its attention is taken over from a kept run.
    kept_z: Option<Tensor>,
    /// cos and sin, `[pos, d_head / 2]`.
    rotary: (Vec<f32>, Vec<f32>),
    kept: Kept,
    recorded: Activations,
}

impl Transformer {
    /// Begins a pass over `ids` (fewer than the context, each within the vocabulary: the caller has checked).
    pub fn start<'a>(
        &'a self,
        ids: &[u32],
        plan: &'a Plan,
        record: &'a BTreeSet<Site>,
    ) -> Result<Forward<'a>> {
        let mut forward = self.forward(Entry::top(0), None, ids.len(), plan, record)?;
        let embedded = rows_of(&self.embed, ids.iter().map(|id| *id as usize))?;
        let mut resid = forward.site(Site::Embed, embedded)?;
        if let Some(pos_embed) = &self.pos_embed {
            let positions = forward.site(Site::PosEmbed, pos_embed.narrow(0, 0, ids.len())?)?;
            resid = (resid + positions)?;
        }
        forward.resid = resid;
        Ok(forward)
    }

    /// Begins a pass in the middle of a kept run of the same tokens, which is the same up to `entry`.
    pub fn resume<'a>(
        &'a self,
        kept: &Kept,
        entry: Entry,
        plan: &'a Plan,
        record: &'a BTreeSet<Site>,
    ) -> Result<Forward<'a>> {
        let resid = kept.resid_pre[entry.layer].clone();
        let n_tokens = resid.dim(0)?;
        let mut forward = self.forward(entry, Some(resid), n_tokens, plan, record)?;
        forward.kept = Kept {
            resid_pre: kept.resid_pre[..entry.layer].to_vec(),
            z: kept.z[..entry.layer].to_vec(),
        };
        if entry.after_pattern {
            forward.kept_z = Some(kept.z[entry.layer].clone());
        }
        Ok(forward)
    }

    fn forward<'a>(
        &'a self,
        entry: Entry,
        resid: Option<Tensor>,
        n_tokens: usize,
        plan: &'a Plan,
        record: &'a BTreeSet<Site>,
    ) -> Result<Forward<'a>> {
        let resid = match resid {
            Some(resid) => resid,
            None => from_vec(vec![], (0, self.spec.d_model))?,
        };
        Ok(Forward {
            model: self,
            plan,
            record,
            resid,
            layer: entry.layer,
            n_tokens,
            kept_z: None,
            rotary: kernels::rotary_table(&self.frequencies, n_tokens),
            kept: Kept::default(),
            recorded: Activations::new(),
        })
    }

    /// Logits of chosen rows of the final residual, `[rows, vocab]`.
    pub fn logits(&self, final_resid: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let resid = rows_of(final_resid, rows.iter().copied())?;
        let (normalized, _) = self.normalize(&resid)?;
        self.unembed_rows(&self.final_norm.apply(normalized)?)
    }

    /// The values of a kept run at a site within a block, row-major: kept, or run again in that one layer.
    pub fn values_at(&self, kept: &Kept, site: Site) -> Result<Vec<f32>> {
        let value = match site {
            Site::Block(layer, Part::ResidPre) => kept.resid_pre[layer].clone(),
            Site::Block(layer, Part::ResidPost) => kept.resid_pre[layer + 1].clone(),
            Site::Block(layer, Part::Z) => kept.z[layer].clone(),
            Site::Block(layer, _) => {
                let (plan, record) = (Plan::default(), BTreeSet::from([site]));
                let mut forward = self.resume(kept, Entry::top(layer), &plan, &record)?;
                let recorded = forward.step()?.and_then(|mut all| all.remove(&site));
                match recorded {
                    Some(value) => value,
                    None => candle_core::bail!("{site} is not recorded"),
                }
            }
            _ => candle_core::bail!("{site} is outside the blocks"),
        };
        with_values(&value, <[f32]>::to_vec)
    }

    fn unembed_rows(&self, normalized: &Tensor) -> Result<Tensor> {
        normalized.matmul(&self.unembed.t()?)
    }

    /// x over its scale, and the scale: `[pos, d_model]`, `[pos, 1]`.
    fn normalize(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (n_rows, width) = x.dims2()?;
        let (rows, scales) = with_values(x, |x| {
            kernels::normalize(self.spec.norm, self.spec.norm_eps, x, width)
        })?;
        Ok((
            from_vec(rows, (n_rows, width))?,
            from_vec(scales, (n_rows, 1))?,
        ))
    }

    /// Bytes of all weights; a tied unembedding counts once.
    pub(super) fn bytes(&self) -> usize {
        let linear = |l: &Linear| l.weight.elem_count() + l.bias.as_ref().map_or(0, Vec::len);
        let norm = |n: &NormWeights| n.weight.len() + n.bias.as_ref().map_or(0, Vec::len);
        let blocks: usize = self
            .blocks
            .iter()
            .map(|block| {
                let products = [&block.qkv, &block.out, &block.mlp_in, &block.mlp_out];
                products.map(linear).iter().sum::<usize>() + norm(&block.norm1) + norm(&block.norm2)
            })
            .sum();
        let pos_embed = self.pos_embed.as_ref().map_or(0, Tensor::elem_count);
        let unembed = if self.spec.tied {
            0
        } else {
            self.unembed.elem_count()
        };
        let elements =
            self.embed.elem_count() + pos_embed + blocks + norm(&self.final_norm) + unembed;
        elements * size_of::<f32>()
    }

    /// W_O of a head, as `[d_model, d_head]`.
    fn w_o(&self, layer: usize, head: usize) -> Result<Tensor> {
        let d_head = self.spec.d_head;
        self.blocks[layer]
            .out
            .weight
            .narrow(1, head * d_head, d_head)
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

impl Forward<'_> {
    /// The layer that the next step runs.
    pub const fn next_layer(&self) -> usize {
        self.layer
    }

    /// Runs one layer and gives what it recorded (with what came before the first layer). `None` after the last.
    pub fn step(&mut self) -> Result<Option<Activations>> {
        let Some(block) = self.model.blocks.get(self.layer) else {
            return Ok(None);
        };
        let layer = self.layer;
        let at = |part| Site::Block(layer, part);

        self.kept.resid_pre.push(self.resid.clone());
        let resid = self.site(at(Part::ResidPre), self.resid.clone())?;
        let z = if let Some(z) = self.kept_z.take() {
            z
        } else {
            let sites = [at(Part::Ln1Scale), at(Part::Ln1Normalized)];
            let x = self.norm(sites, &block.norm1, &resid)?;
            self.attention(block, &x)?
        };
        self.kept.z.push(z.clone());
        let z = self.site(at(Part::Z), z)?;
        if self.record.contains(&at(Part::Result)) {
            self.record_results(at(Part::Result), &z)?;
        }
        let out = block.out.apply(&z.flatten_from(1)?)?;
        let out = self.site(at(Part::AttnOut), out)?;
        let resid = self.site(at(Part::ResidMid), (resid + out)?)?;

        let sites = [at(Part::Ln2Scale), at(Part::Ln2Normalized)];
        let x = self.norm(sites, &block.norm2, &resid)?;
        let out = self.mlp(block, &x)?;
        let out = self.site(at(Part::MlpOut), out)?;
        self.resid = self.site(at(Part::ResidPost), (resid + out)?)?;
        self.layer += 1;
        Ok(Some(std::mem::take(&mut self.recorded)))
    }

    /// What another run may start from, once every layer has run.
    pub fn into_kept(mut self) -> Kept {
        self.kept.resid_pre.push(self.resid);
        self.kept
    }

    /// What is recorded after the last layer: the final norm and the logits of all positions.
    pub fn record_final(&mut self) -> Result<Activations> {
        let (normalized, scale) = self.model.normalize(&self.resid)?;
        self.site(Site::FinalScale, scale)?;
        self.site(Site::FinalNormalized, normalized.clone())?;
        if self.record.contains(&Site::Logits) {
            // The record holds the normalized rows, which the weight changes in place.
            let rows = self.model.final_norm.apply(normalized.copy()?)?;
            let logits = self.model.unembed_rows(&rows)?;
            self.site(Site::Logits, logits)?;
        }
        Ok(std::mem::take(&mut self.recorded))
    }

    /// z of all heads before its edits, `[pos, head, d_head]`, from the normalized residual `[pos, d_model]`.
    fn attention(&mut self, block: &Block, x: &Tensor) -> Result<Tensor> {
        let ModelSpec {
            n_heads,
            n_kv_heads,
            d_head,
            ..
        } = self.model.spec;
        let n = self.n_tokens;
        let layer = self.layer;
        let at = |part| Site::Block(layer, part);

        let qkv = block.qkv.apply(x)?;
        let heads = |first: usize, count: usize| {
            qkv.narrow(1, first * d_head, count * d_head)?
                .contiguous()?
                .reshape((n, count, d_head))
        };
        let q = self.site(at(Part::Q), heads(0, n_heads)?)?;
        let k = self.site(at(Part::K), heads(n_heads, n_kv_heads)?)?;
        let v = self.site(at(Part::V), heads(n_heads + n_kv_heads, n_kv_heads)?)?;
        let q = self.rotated(at(Part::RotQ), at(Part::Q), q, n_heads)?;
        let k = self.rotated(at(Part::RotK), at(Part::K), k, n_kv_heads)?;

        // [head, query, key], raw: scale, mask and softmax follow in one pass.
        let scores = q
            .transpose(0, 1)?
            .matmul(&self.per_query_head(&k)?.permute((1, 2, 0))?)?;
        let pattern = self.pattern(scores)?;
        pattern
            .matmul(&self.per_query_head(&v)?.transpose(0, 1)?)?
            .transpose(0, 1)?
            .contiguous()
    }

    /// Attention patterns `[head, query, key]` from raw scores, which are changed in place.
    fn pattern(&mut self, scores: Tensor) -> Result<Tensor> {
        let n = self.n_tokens;
        let scale = self.model.spec.score_scale as f32;
        let row = |head: usize, query: usize| (head * n + query) * n;
        if let Some(edges) = self.plan.knockouts.get(&self.layer) {
            in_place(&scores, |scores| {
                for edge in edges {
                    scores[row(edge.head, edge.query) + edge.key] = f32::NEG_INFINITY;
                }
            })?;
        }
        let scores_site = Site::Block(self.layer, Part::Scores);
        if self.record.contains(&scores_site) {
            let masked = scores.copy()?;
            in_place(&masked, |scores| kernels::scale_and_mask(scores, n, scale))?;
            self.site(scores_site, masked)?;
        }
        in_place(&scores, |scores| kernels::causal_softmax(scores, n, scale))?;
        let pattern = scores;
        if let Some(rows) = self.plan.uniform.get(&self.layer) {
            in_place(&pattern, |pattern| {
                for uniform in rows {
                    let start = row(uniform.head, uniform.query);
                    let seen = uniform.query + 1;
                    pattern[start..start + seen].fill(1.0 / seen as f32);
                }
            })?;
        }
        self.site(Site::Block(self.layer, Part::Pattern), pattern)
    }

    /// MLP output `[pos, d_model]`, before its edits.
    fn mlp(&mut self, block: &Block, x: &Tensor) -> Result<Tensor> {
        let spec = &self.model.spec;
        let layer = self.layer;
        let at = |part| Site::Block(layer, part);
        let (d_mlp, activation) = (spec.d_mlp, spec.activation);
        let pre = block.mlp_in.apply(x)?;
        let post = match spec.mlp {
            Mlp::Plain => {
                // The recorded value must survive the activation, which works in place.
                let pre = self.site(at(Part::MlpPre), pre)?;
                let post = if self.record.contains(&at(Part::MlpPre)) {
                    pre.copy()?
                } else {
                    pre
                };
                in_place(&post, |values| kernels::activate(activation, values))?;
                post
            }
            Mlp::Gated => {
                for (part, start) in [(Part::MlpPre, 0), (Part::MlpPreLinear, d_mlp)] {
                    if self.record.contains(&at(part)) {
                        let values = pre.narrow(D::Minus1, start, d_mlp)?.contiguous()?;
                        self.site(at(part), values)?;
                    }
                }
                let post = with_values(&pre, |rows| kernels::gated(activation, rows, d_mlp))?;
                from_vec(post, (self.n_tokens, d_mlp))?
            }
        };
        let post = self.site(at(Part::MlpPost), post)?;
        block.mlp_out.apply(&post)
    }

    /// A normalized and weighted residual, with its scale and itself recorded.
    fn norm(&mut self, sites: [Site; 2], weights: &NormWeights, x: &Tensor) -> Result<Tensor> {
        let [scale_site, normalized_site] = sites;
        let (normalized, scale) = self.model.normalize(x)?;
        self.site(scale_site, scale)?;
        let normalized = self.site(normalized_site, normalized)?;
        if self.record.contains(&normalized_site) {
            weights.apply(normalized.copy()?)
        } else {
            weights.apply(normalized)
        }
    }

    fn rotated(&mut self, site: Site, plain: Site, x: Tensor, n_heads: usize) -> Result<Tensor> {
        if self.model.frequencies.is_empty() {
            return Ok(x);
        }
        // The plain value may be recorded; turning works in place.
        let x = if self.record.contains(&plain) {
            x.copy()?
        } else {
            x
        };
        let (cos, sin) = &self.rotary;
        in_place(&x, |rows| {
            kernels::rotate(rows, self.model.spec.d_head, n_heads, cos, sin);
        })?;
        self.site(site, x)
    }

    /// `[pos, kv_head, d_head]` to `[pos, head, d_head]`: each query head sees its group's.
    fn per_query_head(&self, x: &Tensor) -> Result<Tensor> {
        let group = self.model.spec.group_size();
        if group == 1 {
            return Ok(x.clone());
        }
        let (n, n_kv_heads, d_head) = x.dims3()?;
        x.unsqueeze(2)?
            .expand((n, n_kv_heads, group, d_head))?
            .contiguous()?
            .reshape((n, n_kv_heads * group, d_head))
    }

    /// z W_O of each head, `[pos, head, d_model]`: only built where it is recorded.
    fn record_results(&mut self, site: Site, z: &Tensor) -> Result<()> {
        let results = (0..self.model.spec.n_heads)
            .map(|head| {
                let z = z.narrow(1, head, 1)?.squeeze(1)?.contiguous()?;
                z.matmul(&self.model.w_o(self.layer, head)?.t()?)
            })
            .collect::<Result<Vec<_>>>()?;
        let stacked = Tensor::stack(&results, 1)?;
        self.site(site, stacked)?;
        Ok(())
    }

    /// Every site passes here: its edits are applied, then it is recorded if asked for.
    fn site(&mut self, site: Site, value: Tensor) -> Result<Tensor> {
        let value = match self.plan.rows.get(&site) {
            Some(edits) => edited(&value, edits)?,
            None => value,
        };
        if self.record.contains(&site) {
            self.recorded.insert(site, value.clone());
        }
        Ok(value)
    }
}

impl Linear {
    /// x W + b, `[pos, out]`.
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.t()?)?;
        if let Some(bias) = &self.bias {
            in_place(&y, |rows| kernels::add_row(rows, bias))?;
        }
        Ok(y)
    }
}

impl NormWeights {
    /// Weight and bias, in place.
    fn apply(&self, normalized: Tensor) -> Result<Tensor> {
        in_place(&normalized, |rows| {
            kernels::scale_and_shift(rows, &self.weight, self.bias.as_deref());
        })?;
        Ok(normalized)
    }
}

/// A copy of `value` with the rows of `edits` changed, in order.
fn edited(value: &Tensor, edits: &[RowEdit]) -> Result<Tensor> {
    let width: usize = value.dims()[1..].iter().product();
    let mut rows = with_values(value, <[f32]>::to_vec)?;
    for RowEdit {
        columns,
        positions,
        change,
    } in edits
    {
        for (i, position) in positions.iter().enumerate() {
            let row = &mut rows[position * width..][columns.clone()];
            match change {
                Change::Fill(values) => row.copy_from_slice(values),
                Change::Rows(values) => row.copy_from_slice(&values[i * row.len()..][..row.len()]),
                Change::Scale(factor) => row.iter_mut().for_each(|x| *x *= factor),
                Change::Add(values) => row.iter_mut().zip(values).for_each(|(x, v)| *x += v),
            }
        }
    }
    from_vec(rows, value.shape())
}

/// Chosen rows of a `[rows, width]` tensor, in that order.
fn rows_of(tensor: &Tensor, rows: impl Iterator<Item = usize>) -> Result<Tensor> {
    let width = tensor.dim(1)?;
    let chosen = with_values(tensor, |values| {
        rows.flat_map(|row| &values[row * width..(row + 1) * width])
            .copied()
            .collect::<Vec<_>>()
    })?;
    let n_rows = chosen.len() / width;
    from_vec(chosen, (n_rows, width))
}
