//! Attention of one layer, from q, k and v to patterns and z, on f32 slices.
//!
//! Scores, mask, softmax and the product with the values are made for a block of queries at a time: keys that the mask
//! hides are never multiplied, and a map is written once, where somebody looks at it, or not at all.

use std::collections::BTreeSet;
use std::ops::Range;

use rayon::prelude::*;

use super::kernels;
use super::plan::{Edge, NewRow, PatternRow, PatternRows, ScaledEdges};
use super::product::{Matrix, multiply};
use super::spec::ModelSpec;
use crate::mask::Mask;

/// Queries whose scores are held at a time.
pub(super) const BLOCK: usize = 64;

/// How a layer scores and what its queries see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) d_head: usize,
    pub(super) scale: f32,
    pub(super) cap: Option<f32>,
    pub(super) mask: Mask,
}

/// Keys and values, both `[key, kv_head, d_head]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys<'a> {
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

/// What a plan changes in one layer's patterns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes<'a> {
    pub(super) knockouts: Option<&'a BTreeSet<Edge>>,
    pub(super) scaled: Option<&'a ScaledEdges>,
    pub(super) rows: Option<&'a PatternRows>,
}

/// Which of the large values somebody looks at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) scores: bool,
    pub(super) pattern: bool,
}

/// What attention gives.
#[derive(Debug, Default)]
pub(super) struct Attended {
    /// `[query, head, d_head]`
    pub(super) z: Vec<f32>,
    /// Scaled, capped, masked ones −∞: `[head, query, key]`; empty where not wanted.
    pub(super) scores: Vec<f32>,
    /// `[head, query, key]`; empty where not wanted.
    pub(super) pattern: Vec<f32>,
}

impl Attention {
    pub(super) fn of(spec: &ModelSpec, layer: usize) -> Self {
        Self {
            n_heads: spec.n_heads,
            n_kv_heads: spec.n_kv_heads,
            d_head: spec.d_head,
            scale: spec.score_scale as f32,
            cap: spec.score_cap.map(|cap| cap as f32),
            mask: spec.masks[layer],
        }
    }

    /// One whole sequence: `q` is `[query, head, d_head]`, and queries and keys are the same tokens.
    pub(super) fn whole(
        &self,
        q: &[f32],
        keys: Keys<'_>,
        changes: Changes<'_>,
        wanted: Wanted,
    ) -> Attended {
        let Self {
            n_heads, d_head, ..
        } = *self;
        let n = q.len() / (n_heads * d_head);
        let map = |wanted: bool| vec![0.0; if wanted { n_heads * n * n } else { 0 }];
        let (mut scores, mut pattern) = (map(wanted.scores), map(wanted.pattern));
        let mut z = vec![0.0; q.len()];
        // Where nobody looks, each head has an empty map.
        let size = |wanted: bool| if wanted { n * n } else { 0 };
        let rows = |wanted: bool| if wanted { BLOCK * n } else { 0 };
        let heads: Vec<_> = z
            .chunks_mut(n * d_head)
            .zip(parts(&mut pattern, size(wanted.pattern), n_heads))
            .zip(parts(&mut scores, size(wanted.scores), n_heads))
            .enumerate()
            .collect();
        heads
            .into_par_iter()
            .for_each(|(head, ((z, pattern), scores))| {
                let n_blocks = n.div_ceil(BLOCK);
                let blocks: Vec<_> = z
                    .chunks_mut(BLOCK * d_head)
                    .zip(parts(pattern, rows(wanted.pattern), n_blocks))
                    .zip(parts(scores, rows(wanted.scores), n_blocks))
                    .enumerate()
                    .collect();
                blocks
                    .into_par_iter()
                    .for_each(|(block, ((z, pattern), scores))| {
                        let block = Block {
                            head,
                            first: block * BLOCK,
                            count: z.len() / d_head,
                            n,
                        };
                        if wanted.pattern {
                            self.block(&block, q, keys, changes, z, pattern, scores);
                        } else {
                            let mut scratch = vec![0.0; block.count * n];
                            self.block(&block, q, keys, changes, z, &mut scratch, scores);
                        }
                    });
            });
        Attended {
            z: heads_inside(&z, n, n_heads, d_head),
            scores,
            pattern,
        }
    }

    /// One head's pattern of a whole sequence, `[query, key]`: the same bits as [`Self::whole`] gives.
    pub(super) fn map(&self, head: usize, q: &[f32], k: &[f32], changes: Changes<'_>) -> Vec<f32> {
        let n = q.len() / (self.n_heads * self.d_head);
        let mut pattern = vec![0.0; n * n];
        pattern
            .par_chunks_mut(BLOCK * n)
            .enumerate()
            .for_each(|(block, pattern)| {
                let block = Block {
                    head,
                    first: block * BLOCK,
                    count: pattern.len() / n,
                    n,
                };
                self.pattern(&block, q, k, changes, pattern, &mut []);
            });
        pattern
    }

    /// One query's row of it, `[key]`. Its last bits may be others: it is a product of one row.
    pub(super) fn row(
        &self,
        head: usize,
        query: usize,
        q: &[f32],
        k: &[f32],
        changes: Changes<'_>,
    ) -> Vec<f32> {
        let n = q.len() / (self.n_heads * self.d_head);
        let mut row = vec![0.0; n];
        let block = Block {
            head,
            first: query,
            count: 1,
            n,
        };
        self.pattern(&block, q, k, changes, &mut row, &mut []);
        row
    }

    /// A block of queries of one head. `z` is `[query, d_head]`, `pattern` and (unless empty) `scores` `[query, key]`.
    #[expect(clippy::too_many_arguments, reason = "three inputs and three outputs")]
    fn block(
        &self,
        block: &Block,
        q: &[f32],
        keys: Keys<'_>,
        changes: Changes<'_>,
        z: &mut [f32],
        pattern: &mut [f32],
        scores: &mut [f32],
    ) {
        let seen = self.pattern(block, q, keys.k, changes, pattern, scores);
        let (from, stride) = self.of_group(block.head, seen.start);
        multiply(
            z,
            self.d_head,
            false,
            Matrix::rows(&pattern[seen.start..], block.count, seen.len(), block.n),
            Matrix::rows(&keys.v[from..], seen.len(), self.d_head, stride),
        );
    }

    /// The patterns of a block of queries, and the keys that any of them sees.
    pub(super) fn pattern(
        &self,
        block: &Block,
        q: &[f32],
        k: &[f32],
        changes: Changes<'_>,
        pattern: &mut [f32],
        scores: &mut [f32],
    ) -> Range<usize> {
        let Self { d_head, mask, .. } = *self;
        let Block {
            head,
            first,
            count,
            n,
        } = *block;
        let seen = mask.keys(first, n).start..mask.keys(first + count - 1, n).end;
        let (q, q_stride) = (
            &q[(first * self.n_heads + head) * d_head..],
            self.n_heads * d_head,
        );
        let (from, stride) = self.of_group(head, seen.start);
        multiply(
            &mut pattern[seen.start..],
            n,
            false,
            Matrix::rows(q, count, d_head, q_stride),
            Matrix::rows(&k[from..], seen.len(), d_head, stride).transposed(),
        );
        for (i, row) in pattern.chunks_exact_mut(n).enumerate() {
            let query = first + i;
            let keys = mask.keys(query, n);
            let scored = self.change_scores(&changes, (head, query), row, keys.clone());
            if !scores.is_empty() {
                let scores = &mut scores[i * n..][..n];
                scores.fill(f32::NEG_INFINITY);
                scores[keys.clone()].copy_from_slice(&row[keys.clone()]);
                scored.finish(&mut scores[keys.clone()]);
            }
            Self::soft_max(&changes, (head, query), row, keys.clone(), scored);
            row[..keys.start].fill(0.0);
            row[keys.end..].fill(0.0);
        }
        seen
    }

    /// One more token of each of several sequences, at the position after `past`, which they share.
    /// `q` is `[sequence, head, d_head]`, `own` the new tokens' keys and values `[sequence, kv_head, d_head]`;
    /// `changes` has one entry a sequence. Maps come out as `[head, sequence, key]`, the new token's own key last.
    pub(super) fn next(
        &self,
        q: &[f32],
        past: Keys<'_>,
        own: Keys<'_>,
        changes: &[Changes<'_>],
        wanted: Wanted,
    ) -> Attended {
        let Self {
            n_heads,
            n_kv_heads,
            d_head,
            mask,
            ..
        } = *self;
        let n_sequences = changes.len();
        let n_past = past.k.len() / (n_kv_heads * d_head);
        let n_keys = n_past + 1;
        let keys = mask.keys(n_past, n_keys);
        let mut pattern = vec![0.0; n_heads * n_sequences * n_keys];
        let mut scores = vec![f32::NEG_INFINITY; if wanted.scores { pattern.len() } else { 0 }];
        let mut z = vec![0.0; n_heads * n_sequences * d_head];
        let heads: Vec<_> = z
            .chunks_mut(n_sequences * d_head)
            .zip(pattern.chunks_mut(n_sequences * n_keys))
            .zip(parts(
                &mut scores,
                if wanted.scores {
                    n_sequences * n_keys
                } else {
                    0
                },
                n_heads,
            ))
            .enumerate()
            .collect();
        heads
            .into_par_iter()
            .for_each(|(head, ((z, pattern), scores))| {
                let q = Matrix::rows(&q[head * d_head..], n_sequences, d_head, n_heads * d_head);
                let (from, stride) = self.of_group(head, keys.start);
                let (own_from, _) = self.of_group(head, 0);
                let n_seen = keys.len() - 1;
                let k = Matrix::rows(
                    past.k.get(from..).unwrap_or_default(),
                    n_seen,
                    d_head,
                    stride,
                );
                multiply(&mut pattern[keys.start..], n_keys, false, q, k.transposed());
                for (i, row) in pattern.chunks_exact_mut(n_keys).enumerate() {
                    let own_k = &own.k[i * stride + own_from..][..d_head];
                    let own_q = &q.values[i * q.row_stride..][..d_head];
                    row[n_past] = own_q.iter().zip(own_k).map(|(q, k)| q * k).sum();
                    let place = (head, n_past);
                    let scored = self.change_scores(&changes[i], place, row, keys.clone());
                    if !scores.is_empty() {
                        let scores = &mut scores[i * n_keys..][keys.clone()];
                        scores.copy_from_slice(&row[keys.clone()]);
                        scored.finish(scores);
                    }
                    Self::soft_max(&changes[i], place, row, keys.clone(), scored);
                    row[..keys.start].fill(0.0);
                    let own_v = &own.v[i * stride + own_from..][..d_head];
                    let weight = row[n_past];
                    for (z, v) in z[i * d_head..][..d_head].iter_mut().zip(own_v) {
                        *z = weight * v;
                    }
                }
                let v = Matrix::rows(
                    past.v.get(from..).unwrap_or_default(),
                    n_seen,
                    d_head,
                    stride,
                );
                let weights = Matrix::rows(&pattern[keys.start..], n_sequences, n_seen, n_keys);
                multiply(z, d_head, true, weights, v);
            });
        Attended {
            z: heads_inside(&z, n_sequences, n_heads, d_head),
            scores,
            pattern: if wanted.pattern { pattern } else { vec![] },
        }
    }

    /// Where the key/value head that a query head reads begins at a key, and how far apart keys are.
    pub(super) const fn of_group(&self, head: usize, key: usize) -> (usize, usize) {
        let stride = self.n_kv_heads * self.d_head;
        let kv_head = head * self.n_kv_heads / self.n_heads;
        (key * stride + kv_head * self.d_head, stride)
    }

    /// Raw scores of the keys that a query sees to its pattern row, in place; another row where the plan says so.
    fn soft_max(
        changes: &Changes<'_>,
        (head, query): (usize, usize),
        row: &mut [f32],
        keys: Range<usize>,
        scored: Scored,
    ) {
        let seen = &mut row[keys.clone()];
        match changes
            .rows
            .and_then(|rows| rows.get(&PatternRow { head, query }))
        {
            Some(NewRow::Uniform) => seen.fill(1.0 / keys.len() as f32),
            Some(NewRow::Given(weights)) => seen.copy_from_slice(&weights[keys]),
            None => kernels::softmax(seen, scored.scale, scored.cap),
        }
    }

    /// Knocks edges out of a row of raw scores, and multiplies others. Gives what is still to be done to the row: where
    /// something is multiplied, scale and cap are not.
    fn change_scores(
        &self,
        changes: &Changes<'_>,
        (head, query): (usize, usize),
        row: &mut [f32],
        keys: Range<usize>,
    ) -> Scored {
        changes.knock_out(head, query, row);
        let mut scaled = changes.scaled_of(head, query).peekable();
        if scaled.peek().is_none() {
            return Scored {
                scale: self.scale,
                cap: self.cap,
            };
        }
        kernels::scale_and_cap(&mut row[keys.clone()], self.scale, self.cap);
        for (key, factor) in scaled.filter(|(key, _)| keys.contains(key)) {
            // What is knocked out stays so.
            if row[key] != f32::NEG_INFINITY {
                row[key] *= factor;
            }
        }
        Scored {
            scale: 1.0,
            cap: None,
        }
    }
}

/// What is still to be done to scores.
#[derive(Clone, Copy, Debug)]
struct Scored {
    scale: f32,
    cap: Option<f32>,
}

impl Scored {
    fn finish(self, scores: &mut [f32]) {
        kernels::scale_and_cap(scores, self.scale, self.cap);
    }
}

impl Changes<'_> {
    /// The keys of a row whose scores are multiplied, with their factors.
    pub(super) fn scaled_of(
        &self,
        head: usize,
        query: usize,
    ) -> impl Iterator<Item = (usize, f32)> + '_ {
        let edge = move |key| Edge { head, query, key };
        let edges = self.scaled.into_iter();
        edges
            .flat_map(move |edges| edges.range(edge(0)..=edge(usize::MAX)))
            .map(|(edge, factor)| (edge.key, *factor))
    }

    fn knock_out(&self, head: usize, query: usize, row: &mut [f32]) {
        let Some(edges) = self.knockouts else { return };
        let edge = |key| Edge { head, query, key };
        for edge in edges.range(edge(0)..=edge(usize::MAX)) {
            if let Some(score) = row.get_mut(edge.key) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// Some queries of one head.
pub(super) struct Block {
    pub(super) head: usize,
    pub(super) first: usize,
    pub(super) count: usize,
    /// Of all queries.
    pub(super) n: usize,
}

/// `count` parts of a slice of `size` values each, the last one maybe shorter; empty ones where `size` is 0.
fn parts(values: &mut [f32], size: usize, count: usize) -> Vec<&mut [f32]> {
    if size == 0 {
        (0..count).map(|_| &mut [][..]).collect()
    } else {
        values.chunks_mut(size).collect()
    }
}

/// `[head, row, d_head]` to `[row, head, d_head]`.
fn heads_inside(z: &[f32], n_rows: usize, n_heads: usize, d_head: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(z.len());
    for row in 0..n_rows {
        for head in 0..n_heads {
            rows.extend_from_slice(&z[(head * n_rows + row) * d_head..][..d_head]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: f32) -> Vec<f32> {
        (0..n)
            .map(|i| ((i as f32 + seed) * 12.9898).sin() * 1.5)
            .collect()
    }

    /// The plain path: one row at a time in f64.
    fn by_hand(
        a: &Attention,
        q: &[f32],
        keys: Keys<'_>,
        changes: Changes<'_>,
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (dh, stride) = (a.d_head, a.n_kv_heads * a.d_head);
        let n = q.len() / (a.n_heads * dh);
        let mut scores = vec![f32::NEG_INFINITY; a.n_heads * n * n];
        let mut pattern = vec![0.0; a.n_heads * n * n];
        let mut z = vec![0.0; q.len()];
        for head in 0..a.n_heads {
            let kv = head * a.n_kv_heads / a.n_heads;
            for query in 0..n {
                let mut row = vec![f64::NEG_INFINITY; n];
                for (key, score) in row.iter_mut().enumerate() {
                    let knocked = changes
                        .knockouts
                        .is_some_and(|edges| edges.contains(&Edge { head, query, key }));
                    if !a.mask.sees(query, key) || knocked {
                        continue;
                    }
                    let dot: f64 = (0..dh)
                        .map(|i| {
                            f64::from(q[(query * a.n_heads + head) * dh + i])
                                * f64::from(keys.k[key * stride + kv * dh + i])
                        })
                        .sum();
                    let scaled = dot * f64::from(a.scale);
                    let capped = a.cap.map_or(scaled, |cap| {
                        f64::from(cap) * (scaled / f64::from(cap)).tanh()
                    });
                    let factor = changes
                        .scaled
                        .and_then(|edges| edges.get(&Edge { head, query, key }));
                    *score = capped * f64::from(*factor.unwrap_or(&1.0));
                }
                let at = (head * n + query) * n;
                let sum: f64 = row.iter().map(|s| s.exp()).sum();
                let seen = a.mask.keys(query, n);
                let new = changes
                    .rows
                    .and_then(|rows| rows.get(&PatternRow { head, query }));
                for key in 0..n {
                    scores[at + key] = row[key] as f32;
                    let weight = match new {
                        Some(_) if !seen.contains(&key) => 0.0,
                        Some(NewRow::Uniform) => 1.0 / seen.len() as f64,
                        Some(NewRow::Given(weights)) => f64::from(weights[key]),
                        None => row[key].exp() / sum,
                    };
                    pattern[at + key] = weight as f32;
                    for i in 0..dh {
                        z[(query * a.n_heads + head) * dh + i] +=
                            (weight * f64::from(keys.v[key * stride + kv * dh + i])) as f32;
                    }
                }
            }
        }
        (scores, pattern, z)
    }

    fn close(found: &[f32], expected: &[f32], what: &str) {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            let same = a.to_bits() == b.to_bits() || (a - b).abs() < 2e-5;
            assert!(same, "{what} {i}: {a} and {b}");
        }
    }

    fn scaled<const N: usize>(edges: [(usize, usize, usize, f32); N]) -> ScaledEdges {
        edges
            .map(|(head, query, key, factor)| (Edge { head, query, key }, factor))
            .into()
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
        let scaled = scaled([
            (0, 5, 3, 5.0),
            (1, 5, 2, -2.0),
            (1, 5, 3, 3.0),
            (3, 70, 68, 0.0),
        ]);
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
                let (scores, pattern, z) = by_hand(&attention, &q, keys, changes);
                let all = Wanted {
                    scores: true,
                    pattern: true,
                };
                let found = attention.whole(&q, keys, changes, all);
                let what = format!("{mask:?} {n}");
                close(&found.scores, &scores, &what);
                close(&found.pattern, &pattern, &what);
                close(&found.z, &z, &what);
                let unseen = attention.whole(&q, keys, changes, Wanted::default());
                assert_eq!(unseen.z, found.z, "a map that is not kept changes nothing");
                let maps: Vec<f32> = (0..4)
                    .flat_map(|head| attention.map(head, &q, &k, changes))
                    .collect();
                assert_eq!(maps, found.pattern, "a map made later is the same");
                let row = attention.row(3, n - 1, &q, &k, changes);
                close(&row, &pattern[(4 * n - 1) * n..], &what);
                assert!(unseen.pattern.is_empty() && unseen.scores.is_empty());
            }
        }
    }

    #[test]
    fn one_more_token_equals_the_last_row_of_the_whole() {
        let edges: BTreeSet<Edge> = [(1, 8, 3), (2, 8, 8)]
            .map(|(head, query, key)| Edge { head, query, key })
            .into();
        let rows: PatternRows = [
            (PatternRow { head: 0, query: 8 }, NewRow::Uniform),
            (
                PatternRow { head: 3, query: 8 },
                NewRow::Given(values(9, 0.2).into()),
            ),
        ]
        .into();
        let scaled = scaled([
            (1, 8, 7, 5.0),
            (2, 8, 7, -1.0),
            (2, 8, 8, 2.0),
            (2, 7, 7, 9.0),
        ]);
        let changed = Changes {
            knockouts: Some(&edges),
            scaled: Some(&scaled),
            rows: Some(&rows),
        };
        let n = 9;
        for mask in [Mask::CAUSAL, Mask::causal_window(4), Mask::causal_window(1)] {
            let attention = Attention {
                n_heads: 4,
                n_kv_heads: 2,
                d_head: 6,
                scale: 0.4,
                cap: None,
                mask,
            };
            let (q, k, v) = (
                values(n * 24, 0.0),
                values(n * 12, 0.3),
                values(n * 12, 0.6),
            );
            let all = Wanted {
                scores: true,
                pattern: true,
            };
            let plain = Changes::default();
            let whole = |changes| attention.whole(&q, Keys { k: &k, v: &v }, changes, all);
            let (one, other) = (
                whole(plain),
                whole(if mask == Mask::causal_window(1) {
                    plain
                } else {
                    changed
                }),
            );
            let last = |values: &[f32], width: usize| values[(n - 1) * width..].to_vec();
            let past = (n - 1) * 12;
            let found = attention.next(
                &[last(&q, 24), last(&q, 24)].concat(),
                Keys {
                    k: &k[..past],
                    v: &v[..past],
                },
                Keys {
                    k: &[last(&k, 12), last(&k, 12)].concat(),
                    v: &[last(&v, 12), last(&v, 12)].concat(),
                },
                &[
                    plain,
                    if mask == Mask::causal_window(1) {
                        plain
                    } else {
                        changed
                    },
                ],
                all,
            );
            close(&found.z[..24], &last(&one.z, 24), "z");
            close(&found.z[24..], &last(&other.z, 24), "z");
            for head in 0..4 {
                for (i, whole) in [&one, &other].into_iter().enumerate() {
                    let (row, whole_row) = ((head * 2 + i) * n, (head * n + n - 1) * n);
                    close(
                        &found.pattern[row..][..n],
                        &whole.pattern[whole_row..][..n],
                        "pattern",
                    );
                    close(
                        &found.scores[row..][..n],
                        &whole.scores[whole_row..][..n],
                        "scores",
                    );
                }
            }
        }
    }
}
