//! The look-up of AttentionInfluence (Hua et al. 2025, step A): the value of a key of a JSON object, after demonstrations
//! with other keys.

use std::fmt::Write as _;

use rand::seq::index::sample;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::analysis::AnalysisError;

use super::haystack::{Haystack, Instance};
use super::prompts::{Question, Texts};
use super::wording::SENTENCES;

/// What a look-up is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lookup {
    pub samples: usize,
    /// Pairs of the object; fewer where the context has no room.
    pub pairs: usize,
    /// Demonstrations before the question.
    pub demonstrations: usize,
    /// Hexadecimal digits of a key.
    pub digits: usize,
}

impl Default for Lookup {
    fn default() -> Self {
        Self {
            samples: 8,
            pairs: 8,
            demonstrations: 3,
            digits: 12,
        }
    }
}

/// Samples of the look-up, and half as many (at least 2) for the test.
pub(super) fn json(
    texts: Texts<'_>,
    context: usize,
    lookup: Lookup,
    seed: u64,
) -> Result<Haystack, AnalysisError> {
    let fewest = lookup.demonstrations + 1;
    if lookup.samples == 0 || lookup.digits == 0 || lookup.pairs < fewest {
        return Err(AnalysisError::needs(
            "a look-up needs samples, keys with digits, and more pairs than demonstrations",
        ));
    }
    let most = lookup.pairs.min(SENTENCES.len());
    let mut found = Haystack::default();
    let n_test = (lookup.samples / 2).max(2);
    for pairs in (fewest..=most).rev() {
        let lookup = Lookup { pairs, ..lookup };
        let samples: Result<Vec<_>, _> = (0..lookup.samples + n_test)
            .map(|i| one_json(texts, lookup, seed, i))
            .collect();
        let mut samples: Vec<Instance> = samples?.into_iter().flatten().collect();
        let longest = samples.iter().map(|one| one.ids.len() + one.answer.len());
        let longest = longest.max().unwrap_or(usize::MAX);
        if longest <= context && samples.len() == lookup.samples + n_test {
            found.held_out = samples.split_off(lookup.samples);
            found.instances = samples;
            if pairs < most {
                found
                    .notes
                    .push(format!("{pairs} pairs an object: more do not fit"));
            }
            return Ok(found);
        }
        if pairs == fewest {
            let why = if longest == usize::MAX {
                "the places of values are not seen in this model's tokens".to_owned()
            } else {
                format!(
                    "a look-up with {fewest} pairs takes {longest} tokens of this model, and there is room for {context}"
                )
            };
            return Err(AnalysisError::needs(format!(
                "{why}: choose a model with a longer context, or allow more tokens"
            )));
        }
    }
    Err(AnalysisError::needs(format!(
        "at most {} pairs can be made, and {fewest} are needed",
        SENTENCES.len()
    )))
}

fn one_json(
    texts: Texts<'_>,
    lookup: Lookup,
    seed: u64,
    sample_number: usize,
) -> Result<Option<Instance>, AnalysisError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(sample_number as u64);
    let values = sample(&mut rng, SENTENCES.len(), lookup.pairs);
    let values: Vec<&str> = values.into_iter().map(|i| SENTENCES[i]).collect();
    let keys: Vec<String> = (0..lookup.pairs)
        .map(|_| {
            let digit = |_| char::from_digit(rng.random_range(0..16), 16).unwrap_or('0');
            (0..lookup.digits).map(digit).collect()
        })
        .collect();
    let asked = sample(&mut rng, lookup.pairs, lookup.demonstrations + 1).into_vec();
    let mut prompt = String::from(
        "Extract the value that belongs to the key from the JSON data. Output only the value.\n\nJSON data: {",
    );
    let mut places = vec![];
    for (i, (key, value)) in keys.iter().zip(&values).enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let _ = write!(prompt, "{comma}\"{key}\": \"");
        places.push(prompt.len()..prompt.len() + value.len());
        prompt.push_str(value);
        prompt.push('"');
    }
    prompt.push('}');
    let mut last = 0;
    for (i, which) in asked.into_iter().enumerate() {
        let _ = write!(prompt, "\n\nQuestion: \"{}\"\nAnswer:", keys[which]);
        if i < lookup.demonstrations {
            prompt.push(' ');
            prompt.push_str(values[which]);
        }
        last = which;
    }
    let label = format!(
        "look-up {}, pair {} of {}",
        sample_number + 1,
        last + 1,
        lookup.pairs
    );
    let question = Question {
        text: &prompt,
        lead: "",
        answer: values[last],
    };
    texts.compose(label, &question, &places[last])
}
