//! The forward pass: one function of the architecture's axes, with a named site for every activation.
//!
//! Start reading at [`Forward::step`]. Shapes are without a batch axis: several sequences are one long activation, row
//! after row, and only attention knows where one ends. At each site edits come first, then recording, so that a
//! recording shows what the model used.

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::attention::{Attended, Attention, Changes, Keys, Wanted};
use super::kernels::{self, RotaryTable};
use super::plan::{Change, Entry, Plan, RowEdit};
use super::site::{Part, Site};
use super::spec::{BlockOrder, Head, Mlp, ModelSpec, Norm, Placement, Rotary};
use super::tensors::{from_vec, in_place, with_values};
use super::transformer::{
    Activations, Block, Kept, NormWeights, Past, PastLayer, Transformer, rows_of,
};

/// A pass under way. Between steps the caller may look, cancel, or go on.
#[derive(Debug)]
pub struct Forward<'a> {
    model: &'a Transformer,
    /// One a sequence.
    plans: Vec<&'a Plan>,
    record: &'a BTreeSet<Site>,
    rows: Rows,
    /// The layer to come.
    layer: usize,
    /// resid_pre of the layer to come, before its edits: rows of the sequences one after the other.
    resid: Vec<Tensor>,
    /// The same of sequences whose attention in that layer is taken over from a kept run, with their z.
    taken_over: Vec<(Tensor, Tensor)>,
    /// In the last layer, after z: its resid_pre and z. What follows is computed where it is read.
    pending: Option<(Tensor, Tensor)>,
    /// What single rows attend to besides themselves.
    past: Option<&'a Past>,
    /// Of layers that see all keys, and of those with a window.
    rotary: [RotaryTable; 2],
    /// `None` where several sequences go through: nothing starts from those.
    kept: Option<Kept>,
    recorded: Activations,
}

/// Which rows an activation has: the same positions of every sequence.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    /// Rising.
    positions: Vec<usize>,
}

impl Rows {
    pub(super) fn whole(n_tokens: usize) -> Self {
        Self {
            positions: (0..n_tokens).collect(),
        }
    }

    pub(super) fn one(position: usize) -> Self {
        Self {
            positions: vec![position],
        }
    }

    /// Where a position's row lies within a sequence; `None` where this pass does not compute it.
    fn of(&self, position: usize) -> Option<usize> {
        self.positions.binary_search(&position).ok()
    }
}

impl<'a> Forward<'a> {
    pub(super) fn new(
        model: &'a Transformer,
        rows: Rows,
        plan: &'a Plan,
        record: &'a BTreeSet<Site>,
    ) -> Self {
        Self {
            plans: vec![plan],
            kept: Some(Kept::default()),
            ..Self::empty(model, rows, record)
        }
    }

    /// A pass that sequences will [join](Self::join), the first at this layer.
    pub(super) fn beginning_at(mut self, layer: usize) -> Self {
        self.layer = layer;
        self
    }

    /// A pass without a sequence.
    pub(super) fn empty(model: &'a Transformer, rows: Rows, record: &'a BTreeSet<Site>) -> Self {
        Self {
            model,
            plans: vec![],
            record,
            layer: 0,
            resid: vec![],
            taken_over: vec![],
            pending: None,
            past: None,
            rotary: rotary_tables(&model.spec, &rows.positions),
            kept: None,
            recorded: Activations::new(),
            rows,
        }
    }

    pub(super) fn after(mut self, past: &'a Past) -> Self {
        self.past = Some(past);
        self
    }

    /// The embedding of `ids`, one a row, as layer 0's resid_pre.
    pub(super) fn embedded(mut self, ids: &[u32]) -> Result<Self> {
        let model = self.model;
        let rows: Vec<usize> = ids.iter().map(|id| *id as usize).collect();
        let embedded = model.embed.rows(&rows)?;
        if let Some(scale) = model.spec.embed_scale {
            in_place(&embedded, |values| {
                for x in values {
                    *x *= scale as f32;
                }
            })?;
        }
        let mut resid = self.site(Site::Embed, embedded)?;
        if let Some(pos_embed) = &model.pos_embed {
            let positions = rows_of(pos_embed, self.rows.positions.iter().copied())?;
            resid = (resid + self.site(Site::PosEmbed, positions)?)?;
        }
        if let Some(type_embed) = &model.type_embed {
            let types = from_vec(type_embed.repeat(ids.len()), (ids.len(), type_embed.len()))?;
            resid = (resid + self.site(Site::TypeEmbed, types)?)?;
        }
        if let Some(norm) = &model.embed_norm {
            let sites = [Site::EmbedScale, Site::EmbedNormalized];
            resid = self.norm(sites, norm, &resid)?;
        }
        self.resid.push(resid);
        Ok(self)
    }

    /// The rest of a kept run of the same tokens from `entry` on, under this pass's only plan.
    pub(super) fn entering(mut self, kept: &Kept, entry: Entry) -> Self {
        self.layer = entry.layer;
        self.kept = Some(Kept {
            resid_pre: kept.resid_pre[..entry.layer].to_vec(),
            z: kept.z[..entry.layer].to_vec(),
        });
        let resid = kept.resid_pre[entry.layer].clone();
        if entry.after_pattern {
            self.taken_over.push((resid, kept.z[entry.layer].clone()));
        } else {
            self.resid.push(resid);
        }
        self
    }

    /// Adds a sequence at the layer to come: a kept run, changed by `plan` from `entry` on. Of one layer, those that
    /// enter at the top come first.
    pub fn join(&mut self, kept: &Kept, entry: Entry, plan: &'a Plan) -> Result<()> {
        let mine = |kept: &Tensor| {
            if kept.dim(0)? == self.rows.positions.len() {
                Ok(kept.clone())
            } else {
                rows_of(kept, self.rows.positions.iter().copied())
            }
        };
        let resid = mine(&kept.resid_pre[entry.layer])?;
        if entry.after_pattern {
            self.taken_over.push((resid, mine(&kept.z[entry.layer])?));
        } else {
            self.resid.push(resid);
        }
        self.plans.push(plan);
        Ok(())
    }

    /// The layer that the next step runs.
    pub const fn next_layer(&self) -> usize {
        self.layer
    }

    /// Runs one layer and gives what it recorded (with what came before the first layer). `None` after the last.
    /// The last one ends at its z: [`Self::finish`] has the rest.
    pub fn step(&mut self) -> Result<Option<Activations>> {
        let Some(block) = self.model.blocks.get(self.layer) else {
            return Ok(None);
        };
        let at = |layer, part| Site::Block(layer, part);
        let layer = self.layer;

        let under_way = self.resid.len();
        let mut resid = std::mem::take(&mut self.resid);
        let (joining, mut kept_z): (Vec<_>, Vec<_>) = self.taken_over.drain(..).unzip();
        resid.extend(joining);
        let resid = stacked(resid)?;
        if let Some(kept) = &mut self.kept {
            kept.resid_pre.push(resid.clone());
        }
        let resid = self.site(at(layer, Part::ResidPre), resid)?;
        if under_way > 0 {
            let n_rows = resid.dim(0)? - kept_z.len() * self.rows.positions.len();
            let x = self.attention_input(block, &resid.narrow(0, 0, n_rows)?)?;
            kept_z.insert(0, self.attention(block, &x)?);
        }
        let z = stacked(kept_z)?;
        if let Some(kept) = &mut self.kept {
            kept.z.push(z.clone());
        }
        let z = self.site(at(layer, Part::Z), z)?;
        if self.record.contains(&at(layer, Part::Result)) {
            self.record_results(at(layer, Part::Result), &z)?;
        }
        if layer + 1 == self.model.spec.n_layers {
            self.pending = Some((resid, z));
        } else {
            let resid = self.rest(block, resid, &z)?;
            self.resid.push(resid);
        }
        self.layer += 1;
        Ok(Some(self.recorded()))
    }

    /// After the last step: the final residual `[row, d_model]` at chosen positions (rising) of each sequence, or at all.
    pub fn finish(&mut self, positions: Option<&[usize]>) -> Result<Tensor> {
        let Some((mut resid, mut z)) = self.pending.take() else {
            candle_core::bail!("a pass is finished once, after its last layer");
        };
        if let Some(positions) = positions {
            let n = self.rows.positions.len();
            let rows: Vec<usize> = (0..self.plans.len())
                .flat_map(|sequence| {
                    let of = |position: &usize| Some(sequence * n + self.rows.of(*position)?);
                    positions.iter().filter_map(of).collect::<Vec<_>>()
                })
                .collect();
            resid = rows_of(&resid, rows.iter().copied())?;
            z = rows_of(&z, rows.iter().copied())?;
            self.rows.positions = positions.to_vec();
        }
        self.layer -= 1;
        let resid = self.rest(&self.model.blocks[self.layer], resid, &z)?;
        self.layer += 1;
        Ok(resid)
    }

    /// What the last calls recorded.
    pub fn recorded(&mut self) -> Activations {
        std::mem::take(&mut self.recorded)
    }

    /// What another run may start from, once every layer has run.
    pub fn into_kept(self) -> Kept {
        self.kept.unwrap_or_default()
    }

    /// Logits `[row, vocab]` of a final residual; `None` without a language-model head.
    pub fn logits(&mut self, final_resid: Tensor) -> Result<Option<Tensor>> {
        let rows = self.unembedding_input(final_resid)?;
        let logits = self.unembedded(&rows, None)?;
        logits
            .map(|logits| self.site(Site::Logits, logits))
            .transpose()
    }

    /// Logits of chosen tokens only, `[row, token]`: the others are never computed.
    pub fn logits_of(&mut self, final_resid: Tensor, tokens: &[u32]) -> Result<Option<Tensor>> {
        let rows = self.unembedding_input(final_resid)?;
        self.unembedded(&rows, Some(tokens))
    }

    /// The product with the unembedding, and what follows it: `[row, token]`, of all tokens where `None`.
    fn unembedded(&self, rows: &Tensor, tokens: Option<&[u32]>) -> Result<Option<Tensor>> {
        let model = self.model;
        let Some(unembed) = &model.unembed else {
            return Ok(None);
        };
        let bias = model.unembed_bias.as_deref();
        let Some(tokens) = tokens else {
            let logits = unembed.product(rows)?;
            self.bias_and_cap(&logits, bias)?;
            return Ok(Some(logits));
        };
        let chosen: Vec<usize> = tokens.iter().map(|id| *id as usize).collect();
        let logits = rows.matmul(&unembed.rows(&chosen)?.t()?)?;
        let bias: Option<Vec<f32>> = bias.map(|bias| chosen.iter().map(|id| bias[*id]).collect());
        self.bias_and_cap(&logits, bias.as_deref())?;
        Ok(Some(logits))
    }

    /// Logits `[change, token]` (of all tokens where `None`) of one row of the final residual plus each of several
    /// changes, with the final norm's scale as it is without them.
    pub fn logits_beside(
        &mut self,
        final_resid: &Tensor,
        changes: Vec<f32>,
        tokens: Option<&[u32]>,
    ) -> Result<Option<Tensor>> {
        let model = self.model;
        let Some(norm) = &model.final_norm else {
            return Ok(None);
        };
        let (d_model, kind) = (model.spec.d_model, model.spec.norm);
        let (normalized, scale) = self.normalize(final_resid)?;
        let scale = with_values(&scale, |scale| scale[0])?;
        let mut rows = changes;
        with_values(&normalized, |plain| {
            for row in rows.chunks_exact_mut(d_model) {
                let mean = match kind {
                    Norm::Layer => row.iter().sum::<f32>() / d_model as f32,
                    Norm::Rms => 0.0,
                };
                for (x, plain) in row.iter_mut().zip(plain) {
                    *x = plain + (*x - mean) / scale;
                }
            }
        })?;
        let n_rows = rows.len() / d_model;
        let rows = norm.apply(from_vec(rows, (n_rows, d_model))?)?;
        self.unembedded(&rows, tokens)
    }

    /// What follows the product with the unembedding, in place. `bias` has one value a column.
    fn bias_and_cap(&self, logits: &Tensor, bias: Option<&[f32]>) -> Result<()> {
        in_place(logits, |rows| {
            if let Some(bias) = bias {
                kernels::add_row(rows, bias);
            }
            if let Some(cap) = self.model.spec.logit_cap {
                kernels::soft_cap(rows, cap as f32);
            }
        })
    }

    /// What the unembedding reads, `[row, d_model]`.
    fn unembedding_input(&mut self, final_resid: Tensor) -> Result<Tensor> {
        let model = self.model;
        let mut rows = final_resid;
        if let Some(norm) = &model.final_norm {
            rows = self.norm([Site::FinalScale, Site::FinalNormalized], norm, &rows)?;
        }
        if let (Some(head), Head::MaskedToken { activation, .. }) =
            (&model.masked_head, model.spec.head)
        {
            let pre = head.dense.apply(&rows)?;
            let pre = self.site(Site::HeadPre, pre)?;
            let post = self.own(Site::HeadPre, pre)?;
            in_place(&post, |values| kernels::activate(activation, values))?;
            let post = self.site(Site::HeadPost, post)?;
            rows = self.norm([Site::HeadScale, Site::HeadNormalized], &head.norm, &post)?;
        }
        Ok(rows)
    }

    /// What q, k and v are made from.
    fn attention_input(&mut self, block: &Block, resid: &Tensor) -> Result<Tensor> {
        match (&block.norm1, self.model.spec.placement) {
            (Some(norm), Placement::Pre | Placement::Sandwich) => {
                let sites = [Part::Ln1Scale, Part::Ln1Normalized];
                self.norm(sites.map(|part| Site::Block(self.layer, part)), norm, resid)
            }
            // Norms on the stream: it is normalized already. No norm: it is read as it is.
            (_, Placement::Post) | (None, _) => Ok(resid.clone()),
        }
    }

    /// What follows z in a block: the residual that the next layer reads.
    fn rest(&mut self, block: &Block, resid: Tensor, z: &Tensor) -> Result<Tensor> {
        let layer = self.layer;
        let at = |part| Site::Block(layer, part);
        let ln1 = [Part::Ln1Scale, Part::Ln1Normalized].map(at);
        let ln2 = [Part::Ln2Scale, Part::Ln2Normalized].map(at);
        let spec = &self.model.spec;

        let mut out = block.out.apply(&z.flatten_from(1)?)?;
        if let Some(norm) = &block.post_norm1 {
            let sites = [Part::Ln1PostScale, Part::Ln1PostNormalized].map(at);
            out = self.norm(sites, norm, &out)?;
        }
        let out = self.site(at(Part::AttnOut), out)?;

        // What the MLP's output is added to, and what the MLP reads.
        let (stream, x) = match spec.order {
            BlockOrder::Sequential => {
                let mid = self.site(at(Part::ResidMid), (resid + out)?)?;
                match (spec.placement, &block.norm1, &block.norm2) {
                    (Placement::Post, Some(norm1), _) => {
                        let stream = self.norm(ln1, norm1, &mid)?;
                        (stream.clone(), stream)
                    }
                    (_, _, Some(norm2)) => {
                        let x = self.norm(ln2, norm2, &mid)?;
                        (mid, x)
                    }
                    _ => (mid.clone(), mid),
                }
            }
            BlockOrder::Parallel { shared_norm } => {
                let x = match (shared_norm, &block.norm1, &block.norm2) {
                    // Recorded where attention read it, which may have been all rows.
                    (true, Some(norm1), _) => norm1.apply(self.normalize(&resid)?.0)?,
                    (false, _, Some(norm2)) => self.norm(ln2, norm2, &resid)?,
                    _ => resid.clone(),
                };
                ((resid + out)?, x)
            }
        };

        let mut out = self.mlp(block, &x)?;
        if let Some(norm) = &block.post_norm2 {
            let sites = [Part::Ln2PostScale, Part::Ln2PostNormalized].map(at);
            out = self.norm(sites, norm, &out)?;
        }
        let out = self.site(at(Part::MlpOut), out)?;
        let resid = self.site(at(Part::ResidPost), (stream + out)?)?;
        match (spec.placement, &block.norm2) {
            (Placement::Post, Some(norm2)) => {
                let normalized = self.norm(ln2, norm2, &resid)?;
                self.site(at(Part::NormalizedResidPost), normalized)
            }
            _ => Ok(resid),
        }
    }

    /// z of all heads before its edits, `[row, head, d_head]`, from what attention reads, `[row, d_model]`.
    fn attention(&mut self, block: &Block, x: &Tensor) -> Result<Tensor> {
        let ModelSpec {
            n_heads, d_head, ..
        } = self.model.spec;
        let n_rows = x.dim(0)?;
        let layer = self.layer;
        let at = |part| Site::Block(layer, part);

        let [q, k, v] = self.projected(block, x)?;
        let attended = with_values(&q, |q| {
            with_values(&k, |k| with_values(&v, |v| self.attend(q, Keys { k, v })))
        })????;
        let Attended { z, scores, pattern } = attended;
        for (part, map) in [(Part::Scores, scores), (Part::Pattern, pattern)] {
            if self.record.contains(&at(part)) {
                let n_keys = map.len() / (n_heads * n_rows);
                let map = from_vec(map, (n_heads, n_rows, n_keys))?;
                self.recorded.insert(at(part), map);
            }
        }
        from_vec(z, (n_rows, n_heads, d_head))
    }

    /// q and k as they are scored, and v, from what attention reads.
    fn projected(&mut self, block: &Block, x: &Tensor) -> Result<[Tensor; 3]> {
        let ModelSpec {
            n_heads,
            n_kv_heads,
            d_head,
            ..
        } = self.model.spec;
        let n_rows = x.dim(0)?;
        let layer = self.layer;
        let at = |part| Site::Block(layer, part);
        let qkv = block.qkv.apply(x)?;
        let heads = |first: usize, count: usize| {
            qkv.narrow(1, first * d_head, count * d_head)?
                .contiguous()?
                .reshape((n_rows, count, d_head))
        };
        let q = self.site(at(Part::Q), heads(0, n_heads)?)?;
        let k = self.site(at(Part::K), heads(n_heads, n_kv_heads)?)?;
        let v = self.site(at(Part::V), heads(n_heads + n_kv_heads, n_kv_heads)?)?;
        let q = self.placed([Part::Q, Part::RotQ], q, n_heads, block.q_norm.as_deref())?;
        let k = self.placed(
            [Part::K, Part::RotK],
            k,
            n_kv_heads,
            block.k_norm.as_deref(),
        )?;
        Ok([q, k, v])
    }

    /// The MLP of the layer at hand on rows that no block gave; `normed`: with the norms around it.
    pub(super) fn mlp_alone(mut self, x: &Tensor, normed: bool) -> Result<Tensor> {
        let block = &self.model.blocks[self.layer];
        let before = match self.model.spec.order {
            BlockOrder::Parallel { shared_norm: true } => &block.norm1,
            _ => &block.norm2,
        };
        let x = match before {
            Some(norm) if normed => norm.apply(self.normalize(x)?.0)?,
            _ => x.clone(),
        };
        let out = self.mlp(block, &x)?;
        match &block.post_norm2 {
            Some(norm) if normed => norm.apply(self.normalize(&out)?.0),
            _ => Ok(out),
        }
    }

    /// Keys and values of the layer that [`Self::entering`] put this pass before.
    pub(super) fn keys_and_values(mut self) -> Result<PastLayer> {
        let block = &self.model.blocks[self.layer];
        let resid = stacked(std::mem::take(&mut self.resid))?;
        let resid = self.site(Site::Block(self.layer, Part::ResidPre), resid)?;
        let x = self.attention_input(block, &resid)?;
        let [_, k, v] = self.projected(block, &x)?;
        Ok(PastLayer {
            k: with_values(&k, <[f32]>::to_vec)?,
            v: with_values(&v, <[f32]>::to_vec)?,
        })
    }

    /// Attention of all sequences under way.
    fn attend(&self, q: &[f32], keys: Keys<'_>) -> Result<Attended> {
        let spec = &self.model.spec;
        let layer = self.layer;
        let attention = Attention::of(spec, layer);
        let wanted = Wanted {
            scores: self.record.contains(&Site::Block(layer, Part::Scores)),
            pattern: self.record.contains(&Site::Block(layer, Part::Pattern)),
        };
        let changes = |plan: &&'a Plan| Changes {
            knockouts: plan.knockouts.get(&layer),
            scaled: plan.scaled.get(&layer),
            rows: plan.patterns.get(&layer).map(Arc::as_ref),
        };
        let q_width = self.rows.positions.len() * spec.n_heads * spec.d_head;
        let kv_width = self.rows.positions.len() * spec.n_kv_heads * spec.d_head;
        let n_sequences = q.len() / q_width;
        let changes: Vec<_> = self.plans[..n_sequences].iter().map(changes).collect();
        if let Some(past) = self.past {
            let PastLayer { k, v } = &past.layers[layer];
            return Ok(attention.next(q, Keys { k, v }, keys, &changes, wanted));
        }
        if let [changes] = changes[..] {
            return Ok(attention.whole(q, keys, changes, wanted));
        }
        if wanted.scores || wanted.pattern {
            candle_core::bail!("maps are recorded of one sequence at a time");
        }
        let z: Vec<Vec<f32>> = q
            .par_chunks_exact(q_width)
            .zip(keys.k.par_chunks_exact(kv_width))
            .zip(keys.v.par_chunks_exact(kv_width))
            .zip(&changes)
            .map(|(((q, k), v), changes)| attention.whole(q, Keys { k, v }, *changes, wanted).z)
            .collect();
        Ok(Attended {
            z: z.concat(),
            ..Attended::default()
        })
    }

    /// q or k as it is scored: normed and turned, where the model does so. `sites` are before and after.
    fn placed(
        &mut self,
        [plain, turned]: [Part; 2],
        x: Tensor,
        n_heads: usize,
        norm: Option<&[f32]>,
    ) -> Result<Tensor> {
        let spec = &self.model.spec;
        let is_turned = spec.rotary(self.layer).is_some();
        if !is_turned && norm.is_none() {
            return Ok(x);
        }
        let table = &self.rotary[usize::from(spec.masks[self.layer].has_window())];
        let x = self.own(Site::Block(self.layer, plain), x)?;
        in_place(&x, |rows| {
            if let Some(weight) = norm {
                kernels::rms_norm(rows, spec.norm_eps, weight);
            }
            if is_turned {
                table.rotate(rows, spec.d_head, n_heads);
            }
        })?;
        self.site(Site::Block(self.layer, turned), x)
    }

    /// MLP output `[row, d_model]`, before its edits.
    fn mlp(&mut self, block: &Block, x: &Tensor) -> Result<Tensor> {
        let spec = &self.model.spec;
        let layer = self.layer;
        let at = |part| Site::Block(layer, part);
        let (d_mlp, activation) = (spec.d_mlp, spec.activation);
        let pre = block.mlp_in.apply(x)?;
        let post = match spec.mlp {
            Mlp::Plain => {
                let pre = self.site(at(Part::MlpPre), pre)?;
                let post = self.own(at(Part::MlpPre), pre)?;
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
                from_vec(post, (x.dim(0)?, d_mlp))?
            }
        };
        let post = self.site(at(Part::MlpPost), post)?;
        block.mlp_out.apply(&post)
    }

    /// A normalized and weighted activation, with its scale and itself recorded.
    fn norm(&mut self, sites: [Site; 2], weights: &NormWeights, x: &Tensor) -> Result<Tensor> {
        let [scale_site, normalized_site] = sites;
        let (normalized, scale) = self.normalize(x)?;
        self.site(scale_site, scale)?;
        let normalized = self.site(normalized_site, normalized)?;
        weights.apply(self.own(normalized_site, normalized)?)
    }

    /// x over its scale, and the scale: `[row, d_model]`, `[row, 1]`.
    fn normalize(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let spec = &self.model.spec;
        let (n_rows, width) = x.dims2()?;
        let (rows, scales) = with_values(x, |x| {
            kernels::normalize(spec.norm, spec.norm_eps, x, width)
        })?;
        Ok((
            from_vec(rows, (n_rows, width))?,
            from_vec(scales, (n_rows, 1))?,
        ))
    }

    /// z W_O of each head, `[row, head, d_model]`: only built where it is recorded.
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
        let value = if self.plans.iter().any(|plan| plan.rows.contains_key(&site)) {
            self.edited(site, &value)?
        } else {
            value
        };
        if self.record.contains(&site) {
            self.recorded.insert(site, value.clone());
        }
        Ok(value)
    }

    /// A tensor that may be changed in place: the value itself, or a copy where the record holds it.
    fn own(&self, site: Site, value: Tensor) -> Result<Tensor> {
        if self.record.contains(&site) {
            value.copy()
        } else {
            Ok(value)
        }
    }

    /// A copy of `value` with the rows of all plans' edits changed, in order.
    fn edited(&self, site: Site, value: &Tensor) -> Result<Tensor> {
        let width: usize = value.dims()[1..].iter().product();
        let n = self.rows.positions.len();
        let mut values = with_values(value, <[f32]>::to_vec)?;
        for (plan, sequence) in self.plans.iter().zip(values.chunks_mut(n * width)) {
            for edit in plan.rows.get(&site).into_iter().flatten() {
                for (i, position) in edit.positions.iter().enumerate() {
                    if let Some(row) = self.rows.of(*position) {
                        edit.change_row(i, &mut sequence[row * width..][..width]);
                    }
                }
            }
        }
        from_vec(values, value.shape())
    }
}

impl RowEdit {
    /// Changes the row of the `i`th of its positions.
    fn change_row(&self, i: usize, row: &mut [f32]) {
        let row = &mut row[self.columns.clone()];
        match &self.change {
            Change::Fill(values) => row.copy_from_slice(values),
            Change::Rows(values) => row.copy_from_slice(&values[i * row.len()..][..row.len()]),
            Change::Scale(factor) => row.iter_mut().for_each(|x| *x *= factor),
            Change::Add(values) => row.iter_mut().zip(values).for_each(|(x, v)| *x += v),
            Change::Affine { gain, shift } => {
                let terms = gain.iter().zip(shift);
                row.iter_mut()
                    .zip(terms)
                    .for_each(|(x, (gain, shift))| *x = *x * gain + shift);
            }
        }
    }
}

/// Of layers that see all keys, and of those with a window.
pub(super) fn rotary_tables(spec: &ModelSpec, positions: &[usize]) -> [RotaryTable; 2] {
    let table = |rotary: Option<&Rotary>| {
        rotary.map_or_else(RotaryTable::default, |rotary| {
            RotaryTable::new(&rotary.frequencies(), positions)
        })
    };
    [false, true].map(|windows| {
        let layer = spec.masks.iter().position(|m| m.has_window() == windows);
        table(layer.and_then(|layer| spec.rotary(layer)))
    })
}

/// Rows of one tensor after those of another.
fn stacked(mut parts: Vec<Tensor>) -> Result<Tensor> {
    match parts.len() {
        1 => Ok(parts.remove(0)),
        _ => Tensor::cat(&parts, 0),
    }
}
