//! Back through attention of one layer: from the gradient by z to those by q, k and v as they were scored.
//!
//! Patterns are made again, a block of queries at a time as in the pass and with its bits, so that no map is kept.

use rayon::prelude::*;

use super::super::attention::{Attention, BLOCK, Block, Changes, Keys};
use super::super::plan::PatternRow;
use super::super::product::{Matrix, multiply};
use super::kernels::cap_slope;

/// Gradients by what attention read.
#[derive(Debug)]
pub(super) struct Read {
    /// `[query, head, d_head]`
    pub(super) q: Vec<f32>,
    /// `[key, kv_head, d_head]`
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

/// The same of one head alone: `[row, d_head]` each.
struct OfHead<'a> {
    q: &'a mut [f32],
    k: &'a mut [f32],
    v: &'a mut [f32],
}

impl Attention {
    /// `q` and `d_z` are `[query, head, d_head]`; the queries and keys of one whole sequence.
    pub(super) fn back(
        &self,
        q: &[f32],
        keys: Keys<'_>,
        changes: Changes<'_>,
        d_z: &[f32],
    ) -> Read {
        let Self {
            n_heads, d_head, ..
        } = *self;
        let n = q.len() / (n_heads * d_head);
        let size = n * d_head;
        // Query heads that share keys and values each have their own part of those gradients until all are there.
        let mut heads = vec![0.0; n_heads * 3 * size];
        heads
            .par_chunks_exact_mut(3 * size)
            .enumerate()
            .for_each(|(head, parts)| {
                let (of_q, rest) = parts.split_at_mut(size);
                let (of_k, of_v) = rest.split_at_mut(size);
                let of_head = OfHead {
                    q: of_q,
                    k: of_k,
                    v: of_v,
                };
                self.head_back(head, q, keys, changes, d_z, of_head);
            });
        let mut read = Read {
            q: vec![0.0; q.len()],
            k: vec![0.0; keys.k.len()],
            v: vec![0.0; keys.v.len()],
        };
        for (head, parts) in heads.chunks_exact(3 * size).enumerate() {
            let kv_head = head * self.n_kv_heads / n_heads;
            for (part, (sum, head, n_heads)) in parts.chunks_exact(size).zip([
                (&mut read.q, head, n_heads),
                (&mut read.k, kv_head, self.n_kv_heads),
                (&mut read.v, kv_head, self.n_kv_heads),
            ]) {
                let rows = sum.chunks_exact_mut(n_heads * d_head);
                for (row, part) in rows.zip(part.chunks_exact(d_head)) {
                    let row = &mut row[head * d_head..][..d_head];
                    row.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
                }
            }
        }
        read
    }

    fn head_back(
        &self,
        head: usize,
        q: &[f32],
        keys: Keys<'_>,
        changes: Changes<'_>,
        d_z: &[f32],
        sums: OfHead<'_>,
    ) {
        let Self {
            n_heads, d_head, ..
        } = *self;
        let OfHead {
            q: of_q,
            k: of_k,
            v: of_v,
        } = sums;
        let n = q.len() / (n_heads * d_head);
        let scratch = || vec![0.0; BLOCK.min(n) * n];
        let (mut pattern, mut d_scores) = (scratch(), scratch());
        let mut scores = self.cap.map(|_| scratch()).unwrap_or_default();
        for first in (0..n).step_by(BLOCK) {
            let count = BLOCK.min(n - first);
            let block = Block {
                head,
                first,
                count,
                n,
            };
            let start = (first * n_heads + head) * d_head;
            let queries = |values| Matrix::rows(values, count, d_head, n_heads * d_head);
            let (q_rows, d_z_rows) = (queries(&q[start..]), queries(&d_z[start..]));
            // Most rows of the last layer, where the loss reads few positions.
            if is_zero(&d_z_rows) {
                continue;
            }
            let pattern = &mut pattern[..count * n];
            let scores = match self.cap {
                Some(_) => &mut scores[..count * n],
                None => &mut [],
            };
            let seen = self.pattern(&block, q, keys.k, changes, pattern, scores);
            let (from, stride) = self.of_group(head, seen.start);
            let of_keys = |values| Matrix::rows(values, seen.len(), d_head, stride);

            // z = P V.
            let weights = Matrix::rows(&pattern[seen.start..], count, seen.len(), n);
            multiply(
                &mut of_v[seen.start * d_head..],
                d_head,
                true,
                weights.transposed(),
                d_z_rows,
            );
            multiply(
                &mut d_scores[seen.start..],
                n,
                false,
                d_z_rows,
                of_keys(&keys.v[from..]).transposed(),
            );
            for i in 0..count {
                let row = i * n + seen.start..i * n + seen.end;
                let d_row = &mut d_scores[row.clone()];
                let place = PatternRow {
                    head,
                    query: first + i,
                };
                if changes.rows.is_some_and(|rows| rows.contains_key(&place)) {
                    // Given: no score stands behind it.
                    d_row.fill(0.0);
                    continue;
                }
                let scaled: Vec<(usize, f32)> = changes
                    .scaled_of(head, first + i)
                    .filter(|(key, _)| seen.contains(key))
                    .map(|(key, factor)| (key - seen.start, factor))
                    .collect();
                self.soft_max_back(
                    &pattern[row.clone()],
                    scores.get_mut(row).unwrap_or_default(),
                    &scaled,
                    d_row,
                );
            }
            // Scores = q Kᵀ.
            let d_scores = Matrix::rows(&d_scores[seen.start..], count, seen.len(), n);
            multiply(
                &mut of_q[first * d_head..],
                d_head,
                false,
                d_scores,
                of_keys(&keys.k[from..]),
            );
            multiply(
                &mut of_k[seen.start * d_head..],
                d_head,
                true,
                d_scores.transposed(),
                q_rows,
            );
        }
    }

    /// From the gradient by a pattern row to that by its raw scores, in place. `scores` are capped ones, and empty without
    /// a cap. Keys that are masked or knocked out have no weight and so no gradient. `scaled` scores were multiplied.
    fn soft_max_back(
        &self,
        pattern: &[f32],
        scores: &mut [f32],
        scaled: &[(usize, f32)],
        d: &mut [f32],
    ) {
        let mean: f32 = pattern.iter().zip(&*d).map(|(p, d)| p * d).sum();
        for (d, p) in d.iter_mut().zip(pattern) {
            *d = p * (*d - mean) * self.scale;
        }
        for (key, factor) in scaled {
            d[*key] *= factor;
            // The cap's slope is that of the score before; of one that is gone no gradient is left to multiply.
            if let Some(score) = scores.get_mut(*key).filter(|_| *factor != 0.0) {
                *score /= factor;
            }
        }
        if let Some(cap) = self.cap {
            for ((d, p), score) in d.iter_mut().zip(pattern).zip(scores) {
                // The score of a key without weight may be −∞.
                if *p > 0.0 {
                    *d *= cap_slope(*score, cap);
                }
            }
        }
    }
}

fn is_zero(rows: &Matrix<'_>) -> bool {
    (0..rows.n_rows).all(|row| {
        let row = &rows.values[row * rows.row_stride..][..rows.n_columns];
        row.iter().all(|x| *x == 0.0)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mask::Mask;
    use crate::model::plan::{Edge, NewRow, PatternRows, ScaledEdges};

    fn values(n: usize, seed: f32) -> Vec<f32> {
        (0..n)
            .map(|i| ((i as f32 + seed) * 12.9898).sin() * 1.5)
            .collect()
    }

    /// The plain path: one row at a time in f64, from the patterns that the forward's own test checks.
    fn by_hand(
        a: &Attention,
        q: &[f32],
        keys: Keys<'_>,
        changes: Changes<'_>,
        d_z: &[f32],
    ) -> [Vec<f64>; 3] {
        let (dh, stride) = (a.d_head, a.n_kv_heads * a.d_head);
        let n = q.len() / (a.n_heads * dh);
        let f64s = |values: &[f32]| -> Vec<f64> { values.iter().map(|x| f64::from(*x)).collect() };
        let (q, k, v, d_z) = (f64s(q), f64s(keys.k), f64s(keys.v), f64s(d_z));
        let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let (mut d_q, mut d_k, mut d_v) =
            (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        for head in 0..a.n_heads {
            let kv = head * a.n_kv_heads / a.n_heads;
            for query in 0..n {
                let at = (query * a.n_heads + head) * dh;
                let of = |key: usize| key * stride + kv * dh;
                let is_knocked = |key| {
                    let edge = Edge { head, query, key };
                    changes.knockouts.is_some_and(|edges| edges.contains(&edge))
                };
                let seen = a.mask.keys(query, n);
                let place = PatternRow { head, query };
                let new = changes.rows.and_then(|rows| rows.get(&place));
                let raw = |key| dot(&q[at..at + dh], &k[of(key)..][..dh]) * f64::from(a.scale);
                let capped = |raw: f64| {
                    a.cap.map_or(raw, |cap| {
                        let cap = f64::from(cap);
                        cap * (raw / cap).tanh()
                    })
                };
                let factor = |key| {
                    let edge = Edge { head, query, key };
                    let factor = changes.scaled.and_then(|edges| edges.get(&edge));
                    f64::from(*factor.unwrap_or(&1.0))
                };
                let slope = |raw: f64| {
                    a.cap
                        .map_or(1.0, |cap| (raw / f64::from(cap)).cosh().powi(-2))
                };
                let exp = |key: usize| {
                    if is_knocked(key) {
                        0.0
                    } else {
                        (factor(key) * capped(raw(key))).exp()
                    }
                };
                let sum: f64 = seen.clone().map(exp).sum();
                let weight = |key: usize| match new {
                    Some(NewRow::Uniform) => 1.0 / seen.len() as f64,
                    Some(NewRow::Given(weights)) => f64::from(weights[key]),
                    None => exp(key) / sum,
                };
                let by_weight = |key: usize| dot(&d_z[at..at + dh], &v[of(key)..][..dh]);
                let mean: f64 = seen.clone().map(|key| weight(key) * by_weight(key)).sum();
                for key in seen.clone() {
                    let by_raw = if new.is_some() {
                        0.0
                    } else {
                        weight(key) * (by_weight(key) - mean) * slope(raw(key)) * factor(key)
                    };
                    for i in 0..dh {
                        let scale = f64::from(a.scale);
                        d_q[at + i] += by_raw * scale * k[of(key) + i];
                        d_k[of(key) + i] += by_raw * scale * q[at + i];
                        d_v[of(key) + i] += weight(key) * d_z[at + i];
                    }
                }
            }
        }
        [d_q, d_k, d_v]
    }

    #[test]
    fn blocks_of_queries_equal_one_row_at_a_time() {
        let edges: BTreeSet<Edge> = [(1, 5, 3), (1, 5, 4), (3, 70, 66)]
            .map(|(head, query, key)| Edge { head, query, key })
            .into();
        let mut rows: PatternRows = [(0, 9), (2, 69)]
            .map(|(head, query)| (PatternRow { head, query }, NewRow::Uniform))
            .into();
        let weights = values(BLOCK + 9, 0.9).into();
        rows.insert(PatternRow { head: 1, query: 6 }, NewRow::Given(weights));
        let scaled: ScaledEdges = [(0, 5, 3, 5.0), (1, 5, 2, -2.0), (2, 68, 60, 0.5)]
            .map(|(head, query, key, factor)| (Edge { head, query, key }, factor))
            .into();
        let changes = Changes {
            knockouts: Some(&edges),
            scaled: Some(&scaled),
            rows: Some(&rows),
        };
        for mask in [
            Mask::CAUSAL,
            Mask::NONE,
            Mask::causal_window(7),
            Mask::to_either_side(3),
        ] {
            for (n, cap) in [(1, None), (BLOCK, Some(2.0)), (BLOCK + 9, None)] {
                let attention = Attention {
                    n_heads: 4,
                    n_kv_heads: 2,
                    d_head: 6,
                    scale: 0.4,
                    cap,
                    mask,
                };
                let (q, k, v) = (
                    values(n * 24, 0.0),
                    values(n * 12, 0.3),
                    values(n * 12, 0.6),
                );
                let keys = Keys { k: &k, v: &v };
                for from in [0, BLOCK] {
                    // Rows without a gradient, as where the loss reads few positions.
                    let mut d_z = values(n * 24, 0.8);
                    d_z[..from.min(n) * 24].fill(0.0);
                    let expected = by_hand(&attention, &q, keys, changes, &d_z);
                    let Read { q, k, v } = attention.back(&q, keys, changes, &d_z);
                    for (found, expected) in [q, k, v].iter().zip(expected) {
                        assert_eq!(found.len(), expected.len());
                        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                            let off = (f64::from(*a) - b).abs();
                            assert!(off < 1e-4 + 1e-5 * b.abs(), "{mask:?} {n} {i}: {a} and {b}");
                        }
                    }
                }
            }
        }
    }
}
