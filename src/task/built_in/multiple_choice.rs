//! Questions with four options, answered by letter. The contrast asks for another option.

use rand::seq::IndexedRandom as _;

use crate::task::draw::{Digits, Rng, arrangements};
use crate::task::prompt::Prompt;
use crate::task::words::{CAPITALS, KINDS};
use crate::task::{Answer, Item};

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// The letter, the country asked for and the one that the contrast asks for.
fn capital_questions() -> usize {
    LETTERS.len() * arrangements(CAPITALS.len(), 2)
}

/// The letter and the four kinds.
fn kind_questions() -> usize {
    LETTERS.len() * arrangements(KINDS.len(), 4)
}

pub(super) fn space() -> usize {
    capital_questions() + kind_questions()
}

pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    match number.checked_sub(capital_questions()) {
        None => capital_item(&mut Digits::new(number), rng),
        Some(number) => kind_item(&mut Digits::new(number), rng),
    }
}

/// Which of these is a kind of fruit?
fn kind_item(digits: &mut Digits, rng: &mut Rng) -> Item {
    let asked = digits.take(LETTERS.len());
    let kinds = digits.different::<4>(KINDS.len()).map(|at| KINDS[at]);
    let options = kinds.map(|(_, words)| words.choose(rng).copied().unwrap_or_default());
    let question = |query: usize| {
        Prompt::new()
            .text("Question: Which of these is a kind of ")
            .word("query", kinds[query].0)
            .text("?\n")
    };
    build(asked, options, question)
}

/// What is the capital of France?
fn capital_item(digits: &mut Digits, rng: &mut Rng) -> Item {
    let asked = digits.take(LETTERS.len());
    let [first, second] = digits.different(CAPITALS.len()).map(|at| CAPITALS[at]);
    let left: Vec<_> = CAPITALS
        .iter()
        .filter(|pair| **pair != first && **pair != second)
        .collect();
    let mut others = left.choose_multiple(rng, 2).map(|pair| **pair);
    let mut pairs = [first, second, first, first];
    for pair in &mut pairs[2..] {
        *pair = others.next().unwrap_or(second);
    }
    // The asked country stands at its letter, the contrast's at the next.
    pairs.rotate_right(asked);
    let question = |query: usize| {
        Prompt::new()
            .text("Question: What is the capital of ")
            .word("query", pairs[query].0)
            .text("?\n")
    };
    build(asked, pairs.map(|(_, capital)| capital), question)
}

fn build(asked: usize, options: [&str; 4], question: impl Fn(usize) -> Prompt) -> Item {
    let partner = (asked + 1) % LETTERS.len();
    let prompt = |query: usize| {
        let mut prompt = question(query);
        for (i, (letter, option)) in LETTERS.iter().zip(options).enumerate() {
            prompt = if i == asked {
                prompt
                    .word("letter", letter)
                    .text(". ")
                    .word("option", option)
                    .text("\n")
            } else {
                prompt.text(letter).text(". ").text(option).text("\n")
            };
        }
        prompt.text("Answer:")
    };
    let wrong = (1..LETTERS.len())
        .map(|step| Answer::spaced(LETTERS[(asked + step) % LETTERS.len()]))
        .collect();
    prompt(asked).item(prompt(partner), vec![Answer::spaced(LETTERS[asked])], wrong)
}
