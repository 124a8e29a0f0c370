//! Reviews of one sentence, with a verbaliser. The contrast has a word of the other feeling.

use crate::task::draw::{Digits, Rng};
use crate::task::prompt::Prompt;
use crate::task::{Answer, Class, Item, Verbaliser};

/// Good words and bad ones; `n` of one list stands against `n` of the other.
const FEELINGS: [&[&str]; 2] = [
    &[
        "wonderful",
        "great",
        "excellent",
        "superb",
        "brilliant",
        "charming",
        "amazing",
        "fantastic",
        "lovely",
        "perfect",
        "beautiful",
        "pleasant",
    ],
    &[
        "terrible",
        "awful",
        "horrible",
        "dreadful",
        "boring",
        "dull",
        "miserable",
        "disappointing",
        "pathetic",
        "nasty",
        "useless",
        "annoying",
    ],
];
const NAMES: [&str; 2] = ["positive", "negative"];
const SUBJECTS: &[&str] = &[
    "film",
    "movie",
    "book",
    "play",
    "show",
    "concert",
    "meal",
    "hotel",
    "game",
    "song",
    "album",
    "story",
    "lecture",
    "trip",
    "restaurant",
    "novel",
];
const TEMPLATES: &[&str] = &[
    "Review: I thought the {subject} was {feeling}.\nSentiment:",
    "Review: Everyone agreed that this {subject} is simply {feeling}.\nSentiment:",
    "Review: From start to end the {subject} was {feeling}.\nSentiment:",
];

/// Words for the classes beside their names, with how much they count.
const WORDS: [&[(&str, f32)]; 2] = [
    &[
        ("positive", 1.0),
        ("good", 0.8),
        ("great", 0.6),
        ("happy", 0.5),
    ],
    &[
        ("negative", 1.0),
        ("bad", 0.8),
        ("terrible", 0.6),
        ("sad", 0.5),
    ],
];

pub(super) fn space() -> usize {
    TEMPLATES.len() * SUBJECTS.len() * FEELINGS.len() * FEELINGS[0].len()
}

pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    let mut digits = Digits::new(number);
    let template = digits.pick(TEMPLATES);
    let subject = digits.pick(SUBJECTS);
    let class = digits.take(FEELINGS.len());
    let feeling = digits.pick(FEELINGS[class]);
    let against = super::other(rng, FEELINGS[1 - class], &[]);
    let prompt =
        |feeling| Prompt::new().fill(template, &[("subject", subject), ("feeling", feeling)]);
    prompt(feeling).item(
        prompt(against),
        vec![Answer::spaced(NAMES[class])],
        vec![Answer::spaced(NAMES[1 - class])],
    )
}

pub(super) fn verbaliser() -> Verbaliser {
    let class = |(name, words): (&str, &&[(&str, f32)])| Class {
        name: name.to_owned(),
        words: words
            .iter()
            .map(|(word, weight)| ((*word).to_owned(), *weight))
            .collect(),
    };
    Verbaliser {
        classes: NAMES.into_iter().zip(&WORDS).map(class).collect(),
    }
}
