//! Greater-than (Hanna et al. 2023): an end year in the same century, with nouns of our own.

use crate::task::draw::{Digits, Rng};
use crate::task::prompt::Prompt;
use crate::task::{Answer, Item};

const NOUNS: &[&str] = &[
    "siege",
    "festival",
    "journey",
    "rebellion",
    "drought",
    "expedition",
    "reign",
    "voyage",
    "treaty",
    "famine",
    "feud",
    "alliance",
    "crusade",
    "strike",
    "revolt",
    "occupation",
    "trial",
    "plague",
    "study",
    "search",
    "project",
    "contest",
    "exile",
    "boom",
    "truce",
];
const CENTURIES: std::ops::RangeInclusive<usize> = 11..=18;
/// Start years: above 01, which is the contrast, and below 99, so that some year is later.
const YEARS: std::ops::RangeInclusive<usize> = 2..=98;

fn len(range: &std::ops::RangeInclusive<usize>) -> usize {
    range.end() - range.start() + 1
}

pub(super) fn space() -> usize {
    NOUNS.len() * len(&CENTURIES) * len(&YEARS)
}

/// Whether a year is one token or two depends on the tokenizer: a reader keeps those it needs.
pub(super) fn item(number: usize, _: &mut Rng) -> Item {
    let mut digits = Digits::new(number);
    let noun = digits.pick(NOUNS);
    let century = (CENTURIES.start() + digits.take(len(&CENTURIES))).to_string();
    let year = YEARS.start() + digits.take(len(&YEARS));
    let prompt = |yy: &str| {
        let words = [
            ("noun", *noun),
            ("XX1", &century),
            ("YY", yy),
            ("XX2", &century),
        ];
        Prompt::new().fill(
            "The {noun} lasted from the year {XX1}{YY} to the year {XX2}",
            &words,
        )
    };
    let (answers, wrong) = years(year as u8);
    prompt(&format!("{year:02}")).item(prompt("01"), answers, wrong)
}

/// The later two-digit years, rising, and the others, falling from the start year itself: the first of each are the
/// nearest on either side.
pub(crate) fn years(start: u8) -> (Vec<Answer>, Vec<Answer>) {
    let answer = |year: u8| Answer::Text(format!("{year:02}"));
    let start = start.min(99);
    (
        (start + 1..=99).map(answer).collect(),
        (0..=start).rev().map(answer).collect(),
    )
}
