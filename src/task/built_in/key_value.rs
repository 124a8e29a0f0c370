//! Recall from a list of key and value pairs; the contrast asks for another key of the list.

use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use crate::task::draw::{Digits, Rng, arrangements};
use crate::task::prompt::Prompt;
use crate::task::words::THINGS;
use crate::task::{Answer, Item};

const PAIRS: usize = 5;

pub(super) fn space() -> usize {
    arrangements(THINGS.len(), 2)
}

/// Written like JSON but without quotes, so that a value is a word after a space.
pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    let [key, value] = Digits::new(number)
        .different(THINGS.len())
        .map(|at| THINGS[at]);
    let left: Vec<&str> = THINGS
        .iter()
        .copied()
        .filter(|word| *word != key && *word != value)
        .collect();
    let fill: Vec<&str> = left
        .choose_multiple(rng, 2 * (PAIRS - 1))
        .copied()
        .collect();
    let mut pairs: Vec<(&str, &str)> = fill
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect();
    let (foreign, foreign_value) = pairs[0];
    let at = rng.random_range(0..PAIRS);
    pairs.shuffle(rng);
    pairs.insert(at, (key, value));

    let mut list = Prompt::new().text("{");
    for (i, (k, v)) in pairs.iter().enumerate() {
        list = list.text(if i == 0 { "" } else { ", " });
        list = if i == at {
            list.word("key", k).text(": ").word("value", v)
        } else {
            list.text(k).text(": ").text(v)
        };
    }
    let list = list.text("}\nThe value of ");
    let prompt = |query| list.clone().word("query", query).text(" is");
    let rest = pairs
        .iter()
        .filter(|(k, _)| *k != key && *k != foreign)
        .map(|(_, v)| *v);
    let wrong = std::iter::once(foreign_value)
        .chain(rest)
        .map(Answer::spaced)
        .collect();
    prompt(key).item(prompt(foreign), vec![Answer::spaced(value)], wrong)
}
