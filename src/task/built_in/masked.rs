//! A masked word, for encoders. The prompt holds the placeholder `[MASK]`; [`Item::with_mask`] puts the model's own.

use rand::seq::IndexedRandom as _;

use super::capitals::another;
use crate::task::draw::Rng;
use crate::task::prompt::{Prompt, article};
use crate::task::words::{CAPITALS, KINDS};
use crate::task::{Answer, Item, MASK};

/// Pairs of opposites; each can be asked from either side.
const OPPOSITES: &[(&str, &str)] = &[
    ("hot", "cold"),
    ("big", "small"),
    ("up", "down"),
    ("left", "right"),
    ("fast", "slow"),
    ("light", "dark"),
    ("old", "young"),
    ("rich", "poor"),
    ("open", "closed"),
    ("wet", "dry"),
    ("hard", "soft"),
    ("high", "low"),
    ("long", "short"),
    ("early", "late"),
    ("full", "empty"),
    ("strong", "weak"),
    ("day", "night"),
    ("good", "bad"),
    ("black", "white"),
    ("north", "south"),
    ("east", "west"),
    ("true", "false"),
    ("happy", "sad"),
    ("clean", "dirty"),
    ("near", "far"),
    ("first", "last"),
    ("love", "hate"),
    ("war", "peace"),
];

/// Every word of a kind, with its kind.
fn members() -> Vec<(&'static str, &'static str)> {
    KINDS
        .iter()
        .flat_map(|(kind, words)| words.iter().map(move |word| (*word, *kind)))
        .collect()
}

pub(super) fn space() -> usize {
    CAPITALS.len() + 2 * OPPOSITES.len() + members().len()
}

pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    let opposites = number.checked_sub(CAPITALS.len());
    let kinds = opposites.and_then(|n| n.checked_sub(2 * OPPOSITES.len()));
    match (opposites, kinds) {
        (None, _) => capital(number, rng),
        (Some(number), None) => opposite(number, rng),
        (_, Some(number)) => kind(number, rng),
    }
}

fn capital(number: usize, rng: &mut Rng) -> Item {
    let (country, city) = CAPITALS[number];
    let (foreign, foreign_city) = another(rng, country);
    let prompt = |city| {
        Prompt::new()
            .word("subject", city)
            .text(" is the capital of ")
            .word("MASK", MASK)
            .text(".")
    };
    prompt(city).item(
        prompt(foreign_city),
        vec![Answer::spaced(country)],
        vec![Answer::spaced(foreign)],
    )
}

fn opposite(number: usize, rng: &mut Rng) -> Item {
    let turned =
        |(a, b): (&'static str, &'static str), turn: usize| if turn == 0 { (a, b) } else { (b, a) };
    let (word, answer) = turned(OPPOSITES[number / 2], number % 2);
    let left: Vec<_> = OPPOSITES
        .iter()
        .filter(|(a, b)| *a != word && *b != word)
        .collect();
    let (other, other_answer) = turned(
        left.choose(rng).map_or(OPPOSITES[0], |pair| **pair),
        number % 2,
    );
    let prompt = |word| {
        Prompt::new()
            .text("The opposite of ")
            .word("subject", word)
            .text(" is ")
            .word("MASK", MASK)
            .text(".")
    };
    prompt(word).item(
        prompt(other),
        vec![Answer::spaced(answer)],
        vec![Answer::spaced(other_answer)],
    )
}

fn kind(number: usize, rng: &mut Rng) -> Item {
    let all = members();
    let (word, kind) = all[number];
    // The same article, so that the prompts differ in one word.
    let left: Vec<_> = all
        .iter()
        .filter(|(w, k)| *k != kind && article(w) == article(word))
        .collect();
    let (other, other_kind) = left.choose(rng).map_or(all[0], |pair| **pair);
    let prompt = |word: &str| {
        let subject = if article(word) == "an" { "An " } else { "A " };
        Prompt::new()
            .text(subject)
            .word("subject", word)
            .text(" is a kind of ")
            .word("MASK", MASK)
            .text(".")
    };
    prompt(word).item(
        prompt(other),
        vec![Answer::spaced(kind)],
        vec![Answer::spaced(other_kind)],
    )
}
