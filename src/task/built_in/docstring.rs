//! The next argument of a Python docstring (after Heimersheim and Janiak 2023), with words of our own.
//! The contrast has another name for that argument in the definition.

use rand::seq::IndexedRandom as _;

use crate::task::draw::{Digits, Rng, arrangements};
use crate::task::prompt::Prompt;
use crate::task::words::THINGS;
use crate::task::{Answer, Item};

const METHODS: &[&str] = &[
    "load", "save", "print", "read", "write", "update", "find", "send", "merge", "build", "copy",
    "scan",
];
const ARGUMENTS: &[&str] = &[
    "count", "width", "color", "price", "level", "speed", "weight", "depth", "owner", "title",
    "score", "limit", "shape", "angle", "total", "brand", "delay", "scale", "radius", "height",
    "length", "margin", "prefix", "suffix", "offset", "parent", "child", "author", "mode", "rate",
    "group", "unit", "region", "phase",
];
const TEMPLATE: &str = "def {method}(self, {A1}, {A2}, {B1}, {B2}, {B3}, {C1}):\n    \"\"\"{w1} {w2} {w3}\n\n    \
    :param {B1_doc}: {x1} {x2}\n    :param {B2_doc}: {x3} {x4}\n    :{END}";

pub(super) fn space() -> usize {
    METHODS.len() * arrangements(ARGUMENTS.len(), 6)
}

pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    let mut digits = Digits::new(number);
    let method = digits.pick(METHODS);
    let names = digits
        .different::<6>(ARGUMENTS.len())
        .map(|at| ARGUMENTS[at]);
    let [a1, a2, b1, b2, b3, c1] = names;
    let swapped = super::other(rng, ARGUMENTS, &names);
    let mut described = THINGS.choose_multiple(rng, 7).copied();
    let [w1, w2, w3, x1, x2, x3, x4] = [(); 7].map(|()| described.next().unwrap_or_default());
    let prompt = |b3| {
        let words = [
            ("method", *method),
            ("A1", a1),
            ("A2", a2),
            ("B1", b1),
            ("B2", b2),
            ("B3", b3),
            ("C1", c1),
            ("B1_doc", b1),
            ("B2_doc", b2),
            ("END", "param"),
            ("w1", w1),
            ("w2", w2),
            ("w3", w3),
            ("x1", x1),
            ("x2", x2),
            ("x3", x3),
            ("x4", x4),
        ];
        Prompt::new().fill(TEMPLATE, &words)
    };
    let wrong = [swapped, c1, a1, a2, b1, b2].map(Answer::spaced).to_vec();
    let mut item = prompt(b3).item(prompt(swapped), vec![Answer::spaced(b3)], wrong);
    // The words of the descriptions are fillers, not places.
    item.spans.retain(|span| !span.name.starts_with(['w', 'x']));
    item
}
