//! A layer's patterns as what they are made from: q and k. For prompts whose maps of all heads would fill the memory:
//! a map is made where it is looked at, exactly as the pass made it.

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::attention::{Attention, Changes};
use super::plan::{Edge, PatternRows, Plan, ScaledEdges};
use super::spec::ModelSpec;
use super::tensors::with_values;

/// q and k as they were scored, and what the plan changed in the layer's patterns.
#[derive(Debug)]
pub struct Scored {
    attention: Attention,
    /// `[pos, head, d_head]`
    q: Vec<f32>,
    /// `[pos, kv_head, d_head]`
    k: Vec<f32>,
    knockouts: BTreeSet<Edge>,
    scaled: ScaledEdges,
    rows: Option<Arc<PatternRows>>,
}

impl Scored {
    /// From the recorded q and k of a layer, after rotary where there is one.
    pub fn new(
        spec: &ModelSpec,
        layer: usize,
        q: &Tensor,
        k: &Tensor,
        plan: &Plan,
    ) -> Result<Self> {
        Ok(Self {
            attention: Attention::of(spec, layer),
            q: with_values(q, <[f32]>::to_vec)?,
            k: with_values(k, <[f32]>::to_vec)?,
            knockouts: plan.knockouts.get(&layer).cloned().unwrap_or_default(),
            scaled: plan.scaled.get(&layer).cloned().unwrap_or_default(),
            rows: plan.patterns.get(&layer).cloned(),
        })
    }

    pub fn n_heads(&self) -> usize {
        self.attention.n_heads
    }

    pub fn n_tokens(&self) -> usize {
        self.q.len() / (self.attention.n_heads * self.attention.d_head)
    }

    /// The map of a head, `[query, key]`.
    pub fn head(&self, head: usize) -> Vec<f32> {
        self.attention.map(head, &self.q, &self.k, self.changes())
    }

    /// One row of it, `[key]`.
    pub fn row(&self, head: usize, query: usize) -> Vec<f32> {
        self.attention
            .row(head, query, &self.q, &self.k, self.changes())
    }

    pub fn bytes(&self) -> usize {
        (self.q.len() + self.k.len()) * size_of::<f32>()
    }

    fn changes(&self) -> Changes<'_> {
        Changes {
            knockouts: Some(&self.knockouts),
            scaled: Some(&self.scaled),
            rows: self.rows.as_deref(),
        }
    }
}
