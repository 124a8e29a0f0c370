//! What comes next in an ordered list (Gould et al. 2023): after one item, or after a run of three.

use crate::task::draw::{Digits, Rng};
use crate::task::prompt::Prompt;
use crate::task::{Answer, Item};

const DAYS: &[&str] = &[
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const NUMBERS: &[&str] = &[
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];
const LETTERS: &[&str] = &[
    "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S",
    "T", "U", "V", "W", "X", "Y", "Z",
];

struct Sequence {
    words: &'static [&'static str],
    cyclic: bool,
    templates: &'static [&'static str],
}

/// In a run, `{a}` and `{b}` are the two items before `{item}`.
const RUN: &str = "{a}, {b}, {item},";
const SEQUENCES: &[Sequence] = &[
    Sequence {
        words: DAYS,
        cyclic: true,
        templates: &[
            "If today is {item}, tomorrow is",
            "The day after {item} is",
            RUN,
        ],
    },
    Sequence {
        words: MONTHS,
        cyclic: true,
        templates: &["The month after {item} is", "After {item} comes", RUN],
    },
    Sequence {
        words: NUMBERS,
        cyclic: false,
        templates: &["The number after {item} is", "After {item} comes", RUN],
    },
    Sequence {
        words: LETTERS,
        cyclic: false,
        templates: &[
            "The letter after {item} is",
            "In the alphabet, {item} is followed by",
            RUN,
        ],
    },
];

impl Sequence {
    /// Places whose next item exists; in a run, the two before as well.
    fn places(&self, template: &str) -> Vec<usize> {
        let len = self.words.len();
        let first = if template == RUN && !self.cyclic {
            2
        } else {
            0
        };
        (first..if self.cyclic { len } else { len - 1 }).collect()
    }

    fn word(&self, at: usize) -> &'static str {
        self.words[at % self.words.len()]
    }
}

pub(super) fn space() -> usize {
    SEQUENCES
        .iter()
        .map(|list| {
            list.templates
                .iter()
                .map(|t| list.places(t).len())
                .sum::<usize>()
        })
        .sum()
}

pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    let (list, template, at) = locate(number);
    let before = at + list.words.len();
    let (a, b) = (list.word(before - 2), list.word(before - 1));
    let (now, next) = (list.word(at), list.word(at + 1));
    // The other item has a next one, and neither is in sight.
    let seen: &[&str] = if template == RUN {
        &[a, b, now, next]
    } else {
        &[now, next]
    };
    let places = list.places(template).into_iter();
    let others: Vec<&str> = places
        .filter(|at| !seen.contains(&list.word(at + 1)))
        .map(|at| list.word(at))
        .collect();
    let swapped = super::other(rng, &others, seen);
    let after = list
        .words
        .iter()
        .position(|word| *word == swapped)
        .map_or(next, |at| list.word(at + 1));
    let prompt = |item| Prompt::new().fill(template, &[("a", a), ("b", b), ("item", item)]);
    prompt(now).item(
        prompt(swapped),
        vec![Answer::spaced(next)],
        vec![Answer::spaced(after)],
    )
}

/// The list, template and place of a number below [`space`].
fn locate(number: usize) -> (&'static Sequence, &'static str, usize) {
    let mut left = number;
    for list in SEQUENCES {
        for template in list.templates {
            let places = list.places(template);
            if let Some(at) = places.get(left) {
                return (list, template, *at);
            }
            left -= places.len();
        }
    }
    let mut digits = Digits::new(number);
    (
        &SEQUENCES[0],
        SEQUENCES[0].templates[0],
        digits.take(DAYS.len()),
    )
}
