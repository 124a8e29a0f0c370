//! Sums and differences with one-digit operands and results (after Zhang et al. 2024), behind three solved examples.
//! The contrast has another second operand.

use rand::seq::{IndexedRandom as _, IteratorRandom as _};

use crate::task::draw::{Digits, Rng};
use crate::task::prompt::Prompt;
use crate::task::{Answer, Item};

const SHOTS: usize = 3;
const STYLES: &[Style] = &[
    Style {
        template: "{a} {op} {b} =",
        signs: ["+", "-"],
    },
    Style {
        template: "{a} {op} {b} is",
        signs: ["plus", "minus"],
    },
    Style {
        template: "Q: What is {a} {op} {b}? A:",
        signs: ["plus", "minus"],
    },
];

struct Style {
    template: &'static str,
    signs: [&'static str; 2],
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Problem {
    a: u8,
    b: u8,
    minus: bool,
}

impl Problem {
    /// The result, if it is one digit.
    fn result(self) -> Option<u8> {
        if self.minus {
            self.a.checked_sub(self.b)
        } else {
            Some(self.a + self.b).filter(|sum| *sum <= 9)
        }
    }

    fn prompt(self, start: Prompt, style: &Style) -> Prompt {
        let (a, b) = (self.a.to_string(), self.b.to_string());
        start.fill(
            style.template,
            &[
                ("a", &a),
                ("op", style.signs[usize::from(self.minus)]),
                ("b", &b),
            ],
        )
    }
}

/// All problems with operands from 1 to 9.
fn problems() -> Vec<(Problem, u8)> {
    let pairs = (1..=9).flat_map(|a| {
        (1..=9).flat_map(move |b| [false, true].map(|minus| Problem { a, b, minus }))
    });
    pairs
        .filter_map(|problem| Some((problem, problem.result()?)))
        .collect()
}

pub(super) fn space() -> usize {
    STYLES.len() * problems().len()
}

pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    let all = problems();
    let mut digits = Digits::new(number);
    let style = digits.pick(STYLES);
    let &(asked, result) = digits.pick(&all);
    let same_a = |problem: &Problem| problem.a == asked.a && problem.minus == asked.minus;
    // 8 + 1 and 1 - 1 have no partner with another second operand: the other sign then.
    let partner = all
        .iter()
        .filter(|(problem, value)| same_a(problem) && *value != result)
        .choose(rng)
        .or_else(|| {
            all.iter()
                .find(|(p, value)| p.a == asked.a && p.b == asked.b && *value != result)
        });
    let (swapped, swapped_result) = partner.copied().unwrap_or((asked, (result + 1) % 10));
    let examples: Vec<_> = all
        .iter()
        .filter(|(p, _)| *p != asked && *p != swapped)
        .collect();
    let mut start = Prompt::new();
    for (problem, value) in examples.choose_multiple(rng, SHOTS) {
        let solved = problem.prompt(Prompt::new(), style).into_text();
        start = start.text(&format!("{solved} {value}\n"));
    }
    let answer = |value: u8| vec![Answer::spaced(&value.to_string())];
    asked.prompt(start.clone(), style).item(
        swapped.prompt(start, style),
        answer(result),
        answer(swapped_result),
    )
}
