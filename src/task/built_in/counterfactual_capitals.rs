//! Capitals that the prompt redefines (Yu et al. 2023; the "Redefine" frame of Ortu et al. 2024).
//!
//! The answer is what the prompt says; wrong is what the model remembers. The contrast says the true capital.

use crate::task::draw::{Digits, Rng, arrangements};
use crate::task::prompt::Prompt;
use crate::task::words::CAPITALS;
use crate::task::{Answer, Item};

const TEMPLATES: &[&str] = &[
    "Redefine: The capital of {country} is {object}. The capital of {query} is",
    "The capital of {country} is {object}. The capital of {query} is",
    "The capital of {country} is {object}. Q: What is the capital of {query}? A:",
];

pub(super) fn space() -> usize {
    TEMPLATES.len() * arrangements(CAPITALS.len(), 2)
}

pub(super) fn item(number: usize, _: &mut Rng) -> Item {
    let mut digits = Digits::new(number);
    let template = digits.pick(TEMPLATES);
    let [(country, truth), (_, told)] = digits.different(CAPITALS.len()).map(|at| CAPITALS[at]);
    let prompt = |object| {
        Prompt::new().fill(
            template,
            &[("country", country), ("object", object), ("query", country)],
        )
    };
    prompt(told).item(
        prompt(truth),
        vec![Answer::spaced(told)],
        vec![Answer::spaced(truth)],
    )
}
