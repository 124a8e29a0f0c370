//! Heads masked by equal attention, and what that costs, beside random heads: what retrieval scores and
//! AttentionInfluence share (the specification's sections 1, 2 and 12).
//!
//! The mask is a pattern of equal weights on every key that a query sees, and not an output of zero.

use crate::analysis::atlas::plain;
use crate::analysis::controls::{Comparison, draws, draws_by_layer, median};
use crate::analysis::metric::log_prob;
use crate::analysis::report::{Cell, Table};
use crate::analysis::{AnalysisError, HeadScores};
use crate::edit::{Edit, Op, Target};
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::site::Site;
use crate::model::spec::{Head, ModelSpec};

/// Bytes that the activations of one dump may take.
pub const BUDGET: usize = 256 << 20;

/// Fewer draws say nothing of a spread.
pub const FEWEST_DRAWS: usize = 5;

/// A draw this many robust standard deviations above the median stands out.
const STANDS_OUT: f64 = 3.0;

/// The standard deviation of a normal distribution over its median absolute deviation.
const SD_OF_MAD: f64 = 1.4826;

/// How random sets are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    pub n: usize,
    /// As many heads of each layer as the chosen set has: stricter.
    pub by_layer: bool,
    pub seed: u64,
}

impl Draws {
    /// Whether there are enough of them.
    pub fn check(self) -> Result<(), AnalysisError> {
        if self.n < FEWEST_DRAWS {
            return Err(AnalysisError::needs(format!(
                "random controls need at least {FEWEST_DRAWS} draws, and {} were asked for",
                self.n
            )));
        }
        Ok(())
    }

    /// Random sets as large as `chosen`, out of `pool`.
    pub fn sets(
        self,
        pool: &[HeadId],
        chosen: &[HeadId],
    ) -> Result<Vec<Vec<HeadId>>, AnalysisError> {
        self.check()?;
        let sets = if self.by_layer {
            draws_by_layer(pool, chosen, self.n, self.seed)
        } else {
            draws(pool, chosen.len(), self.n, self.seed)
        };
        if sets.iter().any(|set| set.len() != chosen.len()) {
            return Err(AnalysisError::needs(format!(
                "random controls need {} heads that are not among the chosen{}, and {} are left: choose fewer heads",
                chosen.len(),
                if self.by_layer {
                    " in the same layers"
                } else {
                    ""
                },
                pool.len()
            )));
        }
        Ok(sets)
    }

    /// The same out of the heads that score below `low`; where these are too few, out of all that are not chosen. With
    /// whether the low ones were enough.
    pub fn sets_of_low(
        self,
        spec: &ModelSpec,
        scores: &HeadScores,
        chosen: &[HeadId],
        low: f32,
    ) -> Result<(Vec<Vec<HeadId>>, bool), AnalysisError> {
        let is_low = |head: HeadId| scores.value(head).is_none_or(|score| score < low);
        let pool = heads_where(spec, |head| !chosen.contains(&head) && is_low(head));
        if let Ok(sets) = self.sets(&pool, chosen) {
            return Ok((sets, true));
        }
        let pool = heads_where(spec, |head| !chosen.contains(&head));
        Ok((self.sets(&pool, chosen)?, false))
    }
}

/// What a method that reads next-token losses of texts needs of a model.
pub fn check(model: &Model) -> Result<(), AnalysisError> {
    if !model.spec.is_causal() {
        return Err(RunError::NotCausal.into());
    }
    if model.spec.head == Head::None {
        return Err(RunError::NoLogits.into());
    }
    Ok(())
}

/// Heads that the model has, as many as a share of all, at least one.
pub fn count_of_share(spec: &ModelSpec, share: f64) -> Result<usize, AnalysisError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(AnalysisError::needs(format!(
            "a share of heads is above 0 and up to 1, and {share} was given"
        )));
    }
    let n = spec.n_layers * spec.n_heads;
    Ok(((n as f64 * share).round() as usize).clamp(1, n))
}

/// All heads that pass.
pub fn heads_where(spec: &ModelSpec, keep: impl Fn(HeadId) -> bool) -> Vec<HeadId> {
    (0..spec.n_layers)
        .flat_map(|layer| (0..spec.n_heads).map(move |head| HeadId::new(layer, head)))
        .filter(|head| keep(*head))
        .collect()
}

/// Equal attention in each head, at all positions.
pub fn edits(heads: &[HeadId]) -> Vec<Edit> {
    let edit = |head: &HeadId| Edit::new(Target::Head(*head), Op::Uniform);
    heads.iter().map(edit).collect()
}

/// The run of some tokens under a mask.
pub fn masked(ids: &[u32], heads: &[HeadId]) -> RunSpec {
    RunSpec {
        edits: edits(heads),
        ..plain(ids)
    }
}

/// −ln p of each token from `from` on given those before it, in nats, with the heads masked. `from` is at least 1.
pub fn losses(
    engine: &mut Engine,
    ids: &[u32],
    from: usize,
    heads: &[HeadId],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<f64>, AnalysisError> {
    let from = from.max(1);
    if from >= ids.len() {
        return Ok(vec![]);
    }
    let dumped = engine.dump_while(&masked(ids, heads), &[Site::Logits], go_on)?;
    let logits = &dumped.first().ok_or(RunError::NoLogits)?.values;
    Ok(losses_of(logits, ids, from))
}

/// The same from logits `[token, vocab]`.
pub fn losses_of(logits: &[f32], ids: &[u32], from: usize) -> Vec<f64> {
    let n_vocab = logits.len() / ids.len();
    logits
        .chunks_exact(n_vocab)
        .skip(from - 1)
        .zip(&ids[from..])
        .map(|(row, id)| -log_prob(row, *id).unwrap_or(f64::NAN))
        .collect()
}

/// The mean; NaN of nothing, which reports show as blank.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Draws whose effect stands out above the others': over the median by three robust standard deviations (median absolute
/// deviation), and at least twice the median.
pub fn outliers(effects: &[f64]) -> Vec<usize> {
    let Some(middle) = median(effects) else {
        return vec![];
    };
    let off: Vec<f64> = effects.iter().map(|x| (x - middle).abs()).collect();
    let spread = SD_OF_MAD * median(&off).unwrap_or(0.0);
    let bar = (middle + STANDS_OUT * spread).max(2.0 * middle);
    (0..effects.len()).filter(|i| effects[*i] > bar).collect()
}

/// A note for each draw that stands out, with its heads: one of them may be a head that everything rests on.
pub fn outlier_notes(what: &str, effects: &[f64], sets: &[Vec<HeadId>]) -> Vec<String> {
    outliers(effects)
        .into_iter()
        .filter_map(|i| {
            Some(format!(
                "random draw {} stands out ({what} {:+.3}): {}",
                i + 1,
                effects[i],
                names(sets.get(i)?)
            ))
        })
        .collect()
}

pub fn names(heads: &[HeadId]) -> String {
    let names: Vec<String> = heads.iter().map(HeadId::to_string).collect();
    names.join(" ")
}

/// Effects of the chosen heads beside those of the random draws, one row each.
pub fn controls_table(comparisons: &[(&str, Comparison)]) -> Table {
    Table {
        name: "controls".into(),
        columns: [
            "effect",
            "chosen",
            "random median",
            "mean",
            "sd",
            "z",
            "p",
            "draws",
        ]
        .map(str::to_owned)
        .into(),
        rows: comparisons
            .iter()
            .map(|(name, found)| {
                vec![
                    Cell::from(*name),
                    Cell::from(found.effect),
                    Cell::from(found.median),
                    Cell::from(found.mean),
                    Cell::from(found.sd),
                    Cell::Number(found.z),
                    Cell::from(found.p),
                    Cell::from(found.draws.len()),
                ]
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::analysis::Scale;
    use crate::experiment::engine::Unwatched;
    use crate::model::load::{Unreported, open};

    fn engine() -> Engine {
        Engine::new(Arc::new(open("demo", &mut Unreported).unwrap()))
    }

    #[test]
    fn losses_are_those_of_one_run_a_position() {
        let mut engine = engine();
        let ids: Vec<u32> = (1..12).map(|i| i * 37 % 900).collect();
        for heads in [vec![], vec![HeadId::new(1, 7), HeadId::new(0, 4)]] {
            let found = losses(&mut engine, &ids, 3, &heads, &mut || true).unwrap();
            assert_eq!(found.len(), ids.len() - 3);
            for (i, loss) in found.iter().enumerate() {
                let spec = RunSpec {
                    position: i + 2,
                    ..masked(&ids, &heads)
                };
                let outcome = engine.run(&spec, &mut Unwatched).unwrap();
                let pass = outcome.after.unwrap_or(outcome.before);
                let by_hand = -log_prob(&pass.logits.unwrap(), ids[i + 3]).unwrap();
                // f32 logits of two ways through the same products.
                assert!((loss - by_hand).abs() < 1e-4, "{loss} {by_hand}");
            }
        }
        assert!(
            losses(&mut engine, &ids[..1], 0, &[], &mut || true)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_mask_of_equal_weights_is_not_an_output_of_zero() {
        let mut engine = engine();
        let ids: Vec<u32> = (1..20).map(|i| i * 53 % 900).collect();
        let head = HeadId::new(0, 4);
        let uniform = losses(&mut engine, &ids, 1, &[head], &mut || true).unwrap();
        let spec = RunSpec {
            edits: vec![Edit::new(Target::Head(head), Op::Zero)],
            ..plain(&ids)
        };
        let zero = engine.dump(&spec, &[Site::Logits]).unwrap();
        let zero = losses_of(&zero[0].values, &ids, 1);
        let apart = uniform.iter().zip(&zero).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f64::max) > 0.01);
    }

    #[test]
    fn a_draw_that_stands_out_is_named() {
        let effects = [0.11, 0.10, 4.7, 0.12, 0.09, 0.11];
        assert_eq!(outliers(&effects), [2]);
        let sets: Vec<Vec<HeadId>> = (0..6).map(|i| vec![HeadId::new(i, 1)]).collect();
        let notes = outlier_notes("rise", &effects, &sets);
        assert!(notes.len() == 1 && notes[0].contains("L2H1") && notes[0].contains("draw 3"));
        assert!(outliers(&[0.1, 0.12, 0.11, 0.13, 0.14]).is_empty());
        assert!(outliers(&[]).is_empty());
    }

    #[test]
    fn random_sets_are_of_other_heads_or_are_refused() {
        let spec = engine().model().spec.clone();
        let chosen = [HeadId::new(1, 7), HeadId::new(1, 1)];
        let scores = HeadScores::of_heads("x", "", Scale::Share, (4, 8), |head| {
            Some(if chosen.contains(&head) {
                0.9
            } else {
                head.layer as f32 * 0.05
            })
        });
        let draws = Draws {
            n: 5,
            by_layer: false,
            seed: 1,
        };
        let (sets, is_low) = draws.sets_of_low(&spec, &scores, &chosen, 0.1).unwrap();
        assert!(is_low && sets.iter().flatten().all(|head| head.layer < 2));
        let (sets, is_low) = draws.sets_of_low(&spec, &scores, &chosen, 0.0).unwrap();
        assert!(!is_low && sets.iter().flatten().all(|head| !chosen.contains(head)));
        let by_layer = Draws {
            by_layer: true,
            ..draws
        };
        let (sets, _) = by_layer.sets_of_low(&spec, &scores, &chosen, 0.1).unwrap();
        for set in sets {
            assert!(set.len() == 2 && set.iter().all(|head| head.layer == 1));
        }
        let pool = heads_where(&spec, |head| !chosen.contains(&head));
        Draws { n: 4, ..draws }.sets(&pool, &chosen).unwrap_err();
        // None is left in layer 1.
        by_layer.sets(&pool[..8], &chosen).unwrap_err();
        draws.sets(&pool[..1], &chosen).unwrap_err();
        assert_eq!(count_of_share(&spec, 0.05).unwrap(), 2);
        for share in [0.0, 1.5, f64::NAN] {
            count_of_share(&spec, share).unwrap_err();
        }
    }
}
