//! Numbers kept with a session, and whether a fresh run gives the same ones.

use std::fmt;

use crate::experiment::{Outcome, Pass, Readout, Side};
use crate::ids::HeadId;

/// The largest difference that still counts as the same run: the order of additions differs between machines.
pub const TOLERANCE: f64 = 1e-3;

/// Top logits kept a side.
const TOP: usize = 10;

/// Pattern cells kept, over both sides.
const SAMPLES: usize = 64;

/// What was on screen when the session was saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// Version of Headscope that made them.
    pub app: String,
    /// The type that the forward computed in.
    pub dtype: String,
    /// The position that logits were read at.
    pub position: usize,
    pub before: SideNumbers,
    /// Absent without edits.
    pub after: Option<SideNumbers>,
    pub patterns: Vec<PatternSample>,
}

/// One run's logits at the read position; empty without a language-model head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideNumbers {
    pub top: Vec<TokenLogit>,
    pub answers: Vec<TokenLogit>,
    /// First answer minus second.
    pub logit_diff: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogit {
    pub id: u32,
    pub logit: f32,
}

/// A[query, key] of a head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatternSample {
    pub side: Side,
    pub head: HeadId,
    pub query: usize,
    pub key: usize,
    pub value: f32,
}

/// The verdict on a fresh run.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Every kept number was found, and none differs by more than [`TOLERANCE`].
    pub agrees: bool,
    /// Infinite where a number is finite on one side only.
    pub max_diff: f64,
    pub compared: usize,
    /// Kept numbers that the fresh run has none for: other tokens, another shape.
    pub missing: usize,
    /// Where the largest difference is, such as `logit of token 5099, after`; empty if nothing was compared.
    pub worst: String,
}

impl Numbers {
    /// The numbers of `outcome`; `answers` are the ids of the answer tokens.
    pub fn capture(outcome: &Outcome, dtype: &str, position: usize, answers: &[u32]) -> Self {
        let mut passes = vec![(Side::Before, &outcome.before)];
        passes.extend(outcome.after.as_ref().map(|after| (Side::After, after)));
        let share = SAMPLES / passes.len();
        Self {
            app: env!("CARGO_PKG_VERSION").to_owned(),
            dtype: dtype.to_owned(),
            position,
            before: SideNumbers::capture(&outcome.before, answers),
            after: outcome
                .after
                .as_ref()
                .map(|after| SideNumbers::capture(after, answers)),
            patterns: passes
                .into_iter()
                .flat_map(|(side, pass)| sample(side, pass, share))
                .collect(),
        }
    }
}

impl SideNumbers {
    fn capture(pass: &Pass, answers: &[u32]) -> Self {
        let Some(logits) = &pass.logits else {
            return Self::default();
        };
        let readout = Readout::new(logits);
        let kept = |score: crate::experiment::TokenScore| TokenLogit {
            id: score.id,
            logit: score.logit,
        };
        Self {
            top: readout.top(TOP).into_iter().map(kept).collect(),
            answers: answers
                .iter()
                .filter_map(|&id| readout.score(id).map(kept))
                .collect(),
            logit_diff: readout.logit_diff(answers),
        }
    }
}

/// Cells spread over all heads, the same ones for the same shape. Only keys that the mask leaves.
fn sample(side: Side, pass: &Pass, count: usize) -> Vec<PatternSample> {
    let heads: Vec<_> = pass
        .layers
        .iter()
        .flat_map(|maps| (0..maps.patterns.n_heads()).map(move |head| (maps, head)))
        .filter(|(maps, _)| maps.patterns.n_tokens() > 0)
        .collect();
    if heads.is_empty() {
        return Vec::new();
    }
    let mut state = 0_u64;
    let mut below = |n: usize| (split_mix(&mut state) % n as u64) as usize;
    (0..count)
        .map(|i| {
            let (maps, head) = heads[i * heads.len() / count];
            let n_tokens = maps.patterns.n_tokens();
            let query = below(n_tokens);
            let keys = maps.mask.keys(query, n_tokens);
            let key = keys.start + below(keys.len());
            PatternSample {
                side,
                head: HeadId::new(maps.layer, head),
                query,
                key,
                value: maps.patterns.value(head, query, key),
            }
        })
        .collect()
}

/// SplitMix64.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Compares kept numbers with a fresh run. Tokens are looked up by id, so a changed order of the top is no difference.
pub fn compare(saved: &Numbers, fresh: &Outcome) -> Replay {
    let mut verdict = Comparison::default();
    verdict.side(Side::Before, &saved.before, Some(&fresh.before));
    if let Some(after) = &saved.after {
        verdict.side(Side::After, after, fresh.after.as_ref());
    }
    for cell in &saved.patterns {
        let PatternSample {
            side,
            head,
            query,
            key,
            value,
        } = *cell;
        let pass = match side {
            Side::Before => Some(&fresh.before),
            Side::After => fresh.after.as_ref(),
        };
        let patterns = pass
            .and_then(|pass| pass.layers.iter().find(|maps| maps.layer == head.layer))
            .map(|maps| &maps.patterns)
            .filter(|p| head.head < p.n_heads() && query.max(key) < p.n_tokens());
        let now = patterns.map(|patterns| patterns.value(head.head, query, key));
        verdict.number(value, now, || {
            format!(
                "attention of {head} from {query} to {key}, {}",
                side_name(side)
            )
        });
    }
    verdict.finish()
}

#[derive(Default)]
struct Comparison {
    max_diff: f64,
    compared: usize,
    missing: usize,
    worst: String,
}

impl Comparison {
    fn side(&mut self, side: Side, saved: &SideNumbers, fresh: Option<&Pass>) {
        let SideNumbers {
            top,
            answers,
            logit_diff,
        } = saved;
        let readout = fresh
            .and_then(|pass| pass.logits.as_deref())
            .map(Readout::new);
        let logit = |id| Some(readout?.score(id)?.logit);
        for token in top.iter().chain(answers) {
            self.number(token.logit, logit(token.id), || {
                format!("logit of token {}, {}", token.id, side_name(side))
            });
        }
        if let Some(diff) = *logit_diff {
            let ids: Vec<u32> = answers.iter().map(|answer| answer.id).collect();
            let now = readout.and_then(|readout| readout.logit_diff(&ids));
            self.number(diff, now, || {
                format!("logit difference, {}", side_name(side))
            });
        }
    }

    fn number<D: fmt::Display>(&mut self, saved: f32, now: Option<f32>, place: impl FnOnce() -> D) {
        let Some(now) = now else {
            self.missing += 1;
            return;
        };
        let diff = match (saved.is_finite(), now.is_finite()) {
            (true, true) => (f64::from(saved) - f64::from(now)).abs(),
            // Files keep no difference between infinities and NaN.
            (false, false) => 0.0,
            _ => f64::INFINITY,
        };
        if self.compared == 0 || diff > self.max_diff {
            self.max_diff = diff;
            self.worst = place().to_string();
        }
        self.compared += 1;
    }

    fn finish(self) -> Replay {
        let Self {
            max_diff,
            compared,
            missing,
            worst,
        } = self;
        Replay {
            agrees: missing == 0 && max_diff <= TOLERANCE,
            max_diff,
            compared,
            missing,
            worst,
        }
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Before => "before",
        Side::After => "after",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::experiment::{LayerMaps, Patterns};

    const LAYERS: usize = 3;
    const HEADS: usize = 2;
    const TOKENS: usize = 5;

    fn pass(offset: f32) -> Pass {
        let layers = (0..LAYERS)
            .map(|layer| {
                let values: Vec<f32> = (0..HEADS * TOKENS * TOKENS)
                    .map(|i| (layer * 1000 + i) as f32 / 4096.0)
                    .collect();
                Arc::new(LayerMaps {
                    layer,
                    mask: crate::mask::Mask::CAUSAL,
                    patterns: Patterns::kept(HEADS, TOKENS, values),
                    value_norms: Arc::new([]),
                })
            })
            .collect();
        let logits: Vec<f32> = (0..50).map(|i| ((i * 37) % 50) as f32 + offset).collect();
        Pass {
            layers,
            logits: Some(logits.into()),
            restarted_at: 0,
            millis: 0.0,
        }
    }

    fn outcome() -> Outcome {
        Outcome {
            before: pass(0.0),
            after: Some(pass(0.25)),
        }
    }

    fn with_logit(mut outcome: Outcome, id: usize, logit: f32) -> Outcome {
        let mut logits = outcome.before.logits.unwrap().to_vec();
        logits[id] = logit;
        outcome.before.logits = Some(logits.into());
        outcome
    }

    #[test]
    fn the_same_run_agrees_exactly() {
        let numbers = Numbers::capture(&outcome(), "f32", 4, &[7, 3]);
        let replay = compare(&numbers, &outcome());
        assert!(replay.agrees, "{replay:?}");
        assert!(replay.max_diff <= 0.0, "{replay:?}");
        assert_eq!(
            (replay.compared, replay.missing),
            (2 * (10 + 2 + 1) + 64, 0)
        );
    }

    #[test]
    fn samples_cover_all_heads_and_only_visible_keys() {
        let numbers = Numbers::capture(&outcome(), "f32", 4, &[]);
        assert_eq!(numbers.patterns.len(), SAMPLES);
        for head in (0..LAYERS).flat_map(|layer| (0..HEADS).map(move |h| HeadId::new(layer, h))) {
            assert!(
                numbers.patterns.iter().any(|cell| cell.head == head),
                "{head}"
            );
        }
        assert!(numbers.patterns.iter().all(|cell| cell.key <= cell.query));
    }

    #[test]
    fn a_difference_above_the_tolerance_is_named() {
        let numbers = Numbers::capture(&outcome(), "f32", 4, &[7, 3]);
        let id = numbers.before.top[2].id;
        let logit = numbers.before.top[2].logit;
        let near = compare(
            &numbers,
            &with_logit(outcome(), id as usize, logit + 0.0005),
        );
        assert!(near.agrees && near.max_diff > 0.0004, "{near:?}");
        let far = compare(&numbers, &with_logit(outcome(), id as usize, logit - 0.5));
        assert!(!far.agrees);
        assert!((far.max_diff - 0.5).abs() < 1e-6);
        assert_eq!(far.worst, format!("logit of token {id}, before"));
    }

    #[test]
    fn a_changed_pattern_is_a_difference() {
        let mut numbers = Numbers::capture(&outcome(), "f32", 4, &[]);
        numbers.patterns[40].value += 0.01;
        let replay = compare(&numbers, &outcome());
        assert!(!replay.agrees);
        assert!(
            replay.worst.starts_with("attention of L"),
            "{}",
            replay.worst
        );
    }

    #[test]
    fn tokens_are_compared_by_id_and_not_by_rank() {
        let numbers = Numbers::capture(&outcome(), "f32", 4, &[]);
        // Another token becomes the first; the kept ones have the logits they had.
        let outsider = (0..50)
            .find(|id| numbers.before.top.iter().all(|t| t.id != *id))
            .unwrap();
        let replay = compare(&numbers, &with_logit(outcome(), outsider as usize, 1000.0));
        assert!(replay.agrees, "{replay:?}");
    }

    #[test]
    fn what_is_finite_on_one_side_only_never_agrees() {
        let id = Numbers::capture(&outcome(), "f32", 4, &[]).before.top[0].id as usize;
        let numbers = Numbers::capture(&outcome(), "f32", 4, &[]);
        let replay = compare(&numbers, &with_logit(outcome(), id, f32::NAN));
        assert!(!replay.agrees && replay.max_diff == f64::INFINITY);
        let broken = Numbers::capture(&with_logit(outcome(), id, f32::INFINITY), "f32", 4, &[]);
        assert!(compare(&broken, &with_logit(outcome(), id, f32::NAN)).agrees);
        assert!(!compare(&broken, &outcome()).agrees);
    }

    #[test]
    fn missing_parts_are_counted_and_never_agree() {
        let numbers = Numbers::capture(&outcome(), "f32", 4, &[7]);
        let mut unedited = outcome();
        unedited.after = None;
        let replay = compare(&numbers, &unedited);
        assert!(!replay.agrees);
        assert_eq!(replay.missing, 11 + 32);
        assert!(replay.max_diff <= 0.0, "{replay:?}");
        let mut shallow = outcome();
        shallow.before.layers.truncate(1);
        assert!(compare(&numbers, &shallow).missing > 0);
    }
}
