//! Texts that scores are taken on: seeded random repeats, and plain prose.

use rand::seq::index::sample;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::model::Model;
use crate::model::tokenizer::Tokenizer;
use crate::prompt::BosRule;

/// Random tokens, repeated, with a beginning-of-text token in front where the model has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeats {
    pub ids: Vec<u32>,
    /// Tokens before the first repeat: 1, or 0.
    pub front: usize,
    /// Tokens of one round.
    pub length: usize,
}

/// The share of ids at either end of the vocabulary that prefix matching leaves out: in byte-pair vocabularies ids rise as
/// tokens get rarer, and no frequencies are known.
const EDGE: f64 = 0.04;

/// Prose of ours, in which words, names and phrases come back, as they do in texts.
pub const PROSE: &str = "When the rain stopped, Anna walked down to the harbour to look for her brother. The harbour was \
quiet, and the boats lay close together in the grey water. She asked the old man at the gate whether he had seen her \
brother, but the old man had not seen him since Monday. On Monday, he said, her brother had asked him about the boats, \
and then he had walked back to the town. Anna thanked the old man and walked back to the town too.";

impl Repeats {
    /// `rounds` times the same `length` random tokens that are not special.
    pub fn draw(model: &Model, length: usize, rounds: usize, seed: u64) -> Self {
        Self::among(model, 0.0, length, rounds, seed)
    }

    /// As [`Self::draw`], without the ids at either end of the vocabulary.
    pub fn of_middling_tokens(model: &Model, length: usize, rounds: usize, seed: u64) -> Self {
        Self::among(model, EDGE, length, rounds, seed)
    }

    fn among(model: &Model, edge: f64, length: usize, rounds: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n_vocab = model.spec.n_vocab;
        let cut = (n_vocab as f64 * edge) as usize;
        let special = |id: u32| model.tokenizer.as_ref().is_some_and(|t| t.is_special(id));
        let choices: Vec<u32> = (cut as u32..(n_vocab - cut) as u32)
            .filter(|id| !special(*id) && Some(*id) != model.spec.bos_id)
            .collect();
        let round: Vec<u32> = if choices.len() >= length {
            // All different, so that each token has one earlier occurrence.
            let chosen = sample(&mut rng, choices.len(), length);
            chosen.into_iter().map(|i| choices[i]).collect()
        } else {
            (0..length)
                .map(|_| rng.random_range(0..n_vocab as u32))
                .collect()
        };
        let bos = model.bos_id();
        let mut ids: Vec<u32> = bos.into_iter().collect();
        ids.extend(round.repeat(rounds));
        Self {
            ids,
            front: usize::from(bos.is_some()),
            length,
        }
    }
}

/// The longest round that fits `rounds` times into the context, and at most `most`.
pub fn round_length(model: &Model, rounds: usize, most: usize) -> usize {
    most.min(model.spec.n_ctx.saturating_sub(1) / rounds).max(1)
}

/// Tokens of [`PROSE`], as many as the context has room for; `None` without a tokenizer.
pub fn prose(model: &Model) -> Option<Vec<u32>> {
    let tokenizer: &Tokenizer = model.tokenizer.as_ref()?;
    let mut ids = tokenizer.encode(PROSE, BosRule::Auto).ok()?;
    ids.truncate(model.spec.n_ctx);
    (ids.len() > 1).then_some(ids)
}
