//! Instances on the bundled model, for tests.

use std::fmt::Write as _;
use std::sync::Arc;

use rand::seq::index::sample;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::experiment::engine::Engine;
use crate::model::Model;
use crate::model::load::{Unreported, open};
use crate::prompt::BosRule;

use super::haystack::Instance;

pub(crate) fn engine() -> Engine {
    Engine::new(Arc::new(open("demo", &mut Unreported).unwrap()))
}

/// Look-ups of the demo's own kind: three keys with codes, and one of them again.
pub(crate) fn key_values(model: &Model, n: usize, seed: u64) -> Vec<Instance> {
    let tokenizer = model.tokenizer.as_ref().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let things = ["key", "box", "lamp", "cup", "hat", "pen"];
    (0..n)
        .map(|i| {
            let chosen = sample(&mut rng, things.len(), 3).into_vec();
            let first = rng.random_range(10..40);
            let codes = [first, first + 23, first + 47];
            let asked = rng.random_range(0..3);
            let mut text = String::new();
            for (thing, code) in chosen.iter().zip(codes) {
                let _ = write!(text, "The code of the {} is {code}. ", things[*thing]);
            }
            let _ = write!(text, "The code of the {} is", things[chosen[asked]]);
            let ids = tokenizer.encode(&text, BosRule::Auto).unwrap();
            let answer_text = codes[asked].to_string();
            let answer = tokenizer
                .encode(&format!(" {answer_text}"), BosRule::Never)
                .unwrap();
            let at = (0..ids.len())
                .find(|at| ids[*at..].starts_with(&answer))
                .unwrap();
            Instance {
                label: format!("codes {i}"),
                span: at..at + answer.len(),
                ids,
                answer,
                answer_text,
                cell: None,
            }
        })
        .collect()
}
