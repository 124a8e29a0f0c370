//! A layer's q, k and v, cut into chunks and turned to their places within them: from there a row is anywhere by a turn
//! of whole chunks.

use std::ops::Range;

use rayon::prelude::*;

use super::Sizes;
use super::rotate::{Turn, Turns};
use crate::model::spec::ModelSpec;

/// What attention of a layer reads. The key of a token is at its position modulo the chunk.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    spec: &'a ModelSpec,
    layer: usize,
    chunk: usize,
    /// By so many chunks, ahead.
    ahead: Vec<Turn>,
    /// From a place within a chunk to position 0.
    home: Vec<Turn>,
    /// `[token, head, d_head]`
    q: Vec<f32>,
    /// `[token, kv_head, d_head]`
    k: Vec<f32>,
    /// `[token, kv_head, d_head]`
    v: &'a [f32],
}

/// Neighbouring keys of a chunk, as a query reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) tokens: Range<usize>,
    /// Chunks from theirs to the query's, in the positions that count.
    pub(super) back: usize,
}

impl<'a> Rows<'a> {
    /// From q and k as they are scored (after rotary) and v; shapes as in the fields.
    pub(super) fn new(
        spec: &'a ModelSpec,
        layer: usize,
        sizes: Sizes,
        (mut q, mut k, v): (Vec<f32>, Vec<f32>, &'a [f32]),
    ) -> Self {
        let turns = spec.rotary(layer).map_or_else(Turns::default, Turns::new);
        let chunk = sizes.chunk;
        let (q_width, k_width) = (spec.n_heads * spec.d_head, spec.n_kv_heads * spec.d_head);
        q.par_chunks_mut(chunk * q_width)
            .zip(k.par_chunks_mut(chunk * k_width))
            .enumerate()
            .for_each(|(i, (q, k))| {
                let back = turns.by(-((i * chunk) as f64));
                for row in [q, k]
                    .into_iter()
                    .flat_map(|rows| rows.chunks_exact_mut(spec.d_head))
                {
                    back.apply(row);
                }
            });
        let n_chunks = (q.len() / q_width).div_ceil(chunk);
        Self {
            spec,
            layer,
            chunk,
            ahead: (0..n_chunks)
                .map(|i| turns.by((i * chunk) as f64))
                .collect(),
            home: (0..chunk).map(|i| turns.by(-(i as f64))).collect(),
            q,
            k,
            v,
        }
    }

    fn q(&self, token: usize, head: usize) -> &[f32] {
        row(&self.q, token * self.spec.n_heads + head, self.spec.d_head)
    }

    fn k(&self, token: usize, head: usize) -> &[f32] {
        row(&self.k, self.of_group(token, head), self.spec.d_head)
    }

    fn v(&self, token: usize, head: usize) -> &[f32] {
        row(self.v, self.of_group(token, head), self.spec.d_head)
    }

    fn of_group(&self, token: usize, head: usize) -> usize {
        token * self.spec.n_kv_heads + self.spec.kv_head_of(head)
    }

    /// What plain attention reads.
    pub(super) fn plain(&self, query: usize) -> Vec<Keys> {
        let seen = self.spec.masks[self.layer].keys(query, query + 1);
        let own = query / self.chunk;
        let of_chunk = |chunk: usize| Keys {
            tokens: seen.start.max(chunk * self.chunk)..seen.end.min((chunk + 1) * self.chunk),
            back: own - chunk,
        };
        (seen.start / self.chunk..=own).map(of_chunk).collect()
    }

    /// These chunks closed up: the query's own is last, and positions are counted without what is left out.
    pub(super) fn in_line(&self, query: usize, chunks: &[usize]) -> Vec<Keys> {
        let of_chunk = |(i, chunk): (usize, &usize)| Keys {
            tokens: chunk * self.chunk..((chunk + 1) * self.chunk).min(query + 1),
            back: chunks.len() - 1 - i,
        };
        chunks.iter().enumerate().map(of_chunk).collect()
    }

    /// A query's weights of the keys that it reads, in their order.
    pub(super) fn weights(&self, head: usize, query: usize, keys: &[Keys]) -> Vec<f32> {
        let mut weights = Vec::with_capacity(keys.iter().map(|keys| keys.tokens.len()).sum());
        let mut q = vec![0.0; self.spec.d_head];
        for keys in keys {
            q.copy_from_slice(self.q(query, head));
            self.ahead[keys.back].apply(&mut q);
            let tokens = keys.tokens.clone();
            weights.extend(tokens.map(|token| dot(&q, self.k(token, head))));
        }
        self.soft_max(&mut weights);
        weights
    }

    /// Adds what a query reads to `z`, `[d_head]`.
    pub(super) fn read(&self, head: usize, query: usize, keys: &[Keys], z: &mut [f32]) {
        let weights = self.weights(head, query, keys);
        let tokens = keys.iter().flat_map(|keys| keys.tokens.clone());
        for (weight, token) in weights.iter().zip(tokens) {
            add(z, *weight, self.v(token, head));
        }
    }

    /// Raw scores to weights, as the model does it.
    fn soft_max(&self, scores: &mut [f32]) {
        let scale = self.spec.score_scale as f32;
        let cap = self.spec.score_cap.map(|cap| cap as f32);
        let mut max = f32::NEG_INFINITY;
        for score in scores.iter_mut() {
            *score *= scale;
            if let Some(cap) = cap {
                *score = cap * (*score / cap).tanh();
            }
            max = max.max(*score);
        }
        let mut total = 0.0;
        for score in scores.iter_mut() {
            *score = (*score - max).exp();
            total += *score;
        }
        for score in scores {
            *score /= total;
        }
    }

    /// What stands for each of the first `n_chunks` chunks, which are full, by head: `[chunk, d_head]`.
    pub(super) fn representations(&self, n_chunks: usize) -> Vec<Vec<f32>> {
        let of_head = |head: usize| {
            (0..n_chunks)
                .into_par_iter()
                .flat_map_iter(|chunk| self.representation(head, chunk))
                .collect()
        };
        (0..self.spec.n_heads)
            .into_par_iter()
            .map(of_head)
            .collect()
    }

    fn representation(&self, head: usize, chunk: usize) -> Vec<f32> {
        let tokens = chunk * self.chunk..(chunk + 1) * self.chunk;
        let mut mean = vec![0.0; self.spec.d_head];
        for query in tokens.clone() {
            let first = self.spec.masks[self.layer].keys(query, query + 1).start;
            let within = Keys {
                tokens: first.max(tokens.start)..query + 1,
                back: 0,
            };
            self.read(head, query, &[within], &mut mean);
        }
        for x in &mut mean {
            *x /= self.chunk as f32;
        }
        let scores = tokens.clone().map(|token| dot(&mean, self.k(token, head)));
        let mut weights: Vec<f32> = scores.collect();
        self.soft_max(&mut weights);
        let mut representation = vec![0.0; self.spec.d_head];
        for (weight, token) in weights.iter().zip(tokens) {
            add(&mut representation, *weight, self.k(token, head));
        }
        representation
    }

    /// A query's scores of the full chunks before its own, from what stands for them.
    pub(super) fn scores(&self, head: usize, query: usize, representations: &[f32]) -> Vec<f32> {
        let mut q = self.q(query, head).to_vec();
        self.home[query % self.chunk].apply(&mut q);
        let rows = representations.chunks_exact(self.spec.d_head);
        rows.take(query / self.chunk)
            .map(|row| dot(&q, row))
            .collect()
    }
}

fn row(values: &[f32], i: usize, width: usize) -> &[f32] {
    &values[i * width..][..width]
}

/// In eight sums, which the processor makes side by side.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let (mut a, mut b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut sums = [0.0; LANES];
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest = a.remainder().iter().zip(b.remainder());
    sums.iter().sum::<f32>() + rest.map(|(a, b)| a * b).sum::<f32>()
}

fn add(sum: &mut [f32], weight: f32, row: &[f32]) {
    for (sum, x) in sum.iter_mut().zip(row) {
        *sum += weight * x;
    }
}
