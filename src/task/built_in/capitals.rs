//! Capitals of countries; the contrast asks for another country.

use rand::seq::IndexedRandom as _;

use crate::task::draw::{Digits, Rng};
use crate::task::prompt::Prompt;
use crate::task::words::CAPITALS;
use crate::task::{Answer, Item};

const TEMPLATES: &[&str] = &[
    "The capital of {country} is",
    "The capital city of {country} is called",
    "Q: What is the capital of {country}?\nA:",
];

pub(super) fn space() -> usize {
    TEMPLATES.len() * CAPITALS.len()
}

pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    let mut digits = Digits::new(number);
    let template = digits.pick(TEMPLATES);
    let (country, capital) = digits.pick(CAPITALS);
    let (foreign, foreign_capital) = another(rng, country);
    let prompt = |country| Prompt::new().fill(template, &[("country", country)]);
    prompt(country).item(
        prompt(foreign),
        vec![Answer::spaced(capital)],
        vec![Answer::spaced(foreign_capital)],
    )
}

/// Another country and its capital.
pub(super) fn another(rng: &mut Rng, country: &str) -> (&'static str, &'static str) {
    let left: Vec<_> = CAPITALS
        .iter()
        .filter(|(other, _)| *other != country)
        .collect();
    left.choose(rng).map_or(CAPITALS[0], |pair| **pair)
}
