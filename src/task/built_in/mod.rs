//! Built-in task sets, made from our own word lists: one file each.
//!
//! Each set numbers its prompts, so that a draw without repeats is a draw of numbers and a small set ends by itself.

mod arithmetic;
mod capitals;
mod coloured_objects;
mod counterfactual_capitals;
mod docstring;
mod greater_than;
mod ioi;
mod key_value;
mod masked;
mod multiple_choice;
mod sentiment;
mod successors;
#[cfg(test)]
mod tests;

pub(super) use greater_than::years;

use super::draw::{self, Rng};
use super::{Draw, Item, TaskError, TaskSet, Verbaliser};

/// A task set that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    pub name: &'static str,
    /// What it asks, in one line.
    pub what: &'static str,
    /// How many different prompts there are.
    space: fn() -> usize,
    /// The prompt of a number below that; the generator settles what does not tell prompts apart.
    item: fn(usize, &mut Rng) -> Item,
    verbaliser: fn() -> Option<Verbaliser>,
}

const fn plain(
    name: &'static str,
    what: &'static str,
    space: fn() -> usize,
    item: fn(usize, &mut Rng) -> Item,
) -> BuiltIn {
    BuiltIn {
        name,
        what,
        space,
        item,
        verbaliser: || None,
    }
}

/// The built-in sets.
pub const BUILT_IN: &[BuiltIn] = &[
    plain(
        "ioi",
        "Indirect objects: who was given it; the contrast names a third person",
        ioi::space,
        ioi::item,
    ),
    plain(
        "greater_than",
        "Years: an end later than the start",
        greater_than::space,
        greater_than::item,
    ),
    plain(
        "capitals",
        "Capitals of countries",
        capitals::space,
        capitals::item,
    ),
    plain(
        "counterfactual_capitals",
        "Capitals redefined in the prompt, against the remembered ones",
        counterfactual_capitals::space,
        counterfactual_capitals::item,
    ),
    plain(
        "successors",
        "What comes next: days, months, numbers, letters",
        successors::space,
        successors::item,
    ),
    plain(
        "coloured_objects",
        "The colour of one of three objects",
        coloured_objects::space,
        coloured_objects::item,
    ),
    plain(
        "arithmetic",
        "Sums and differences of one digit, after three examples",
        arithmetic::space,
        arithmetic::item,
    ),
    plain(
        "key_value",
        "The value of a key in a list of pairs",
        key_value::space,
        key_value::item,
    ),
    plain(
        "docstring",
        "The next argument in a Python docstring",
        docstring::space,
        docstring::item,
    ),
    plain(
        "multiple_choice",
        "Questions with options A to D",
        multiple_choice::space,
        multiple_choice::item,
    ),
    plain(
        "masked",
        "A masked word, for encoders",
        masked::space,
        masked::item,
    ),
    BuiltIn {
        name: "sentiment",
        what: "Positive or negative reviews, with a verbaliser",
        space: sentiment::space,
        item: sentiment::item,
        verbaliser: || Some(sentiment::verbaliser()),
    },
];

impl BuiltIn {
    /// The asked number of different prompts, or all there are with a note that says so.
    pub fn draw(&self, options: &Draw) -> Result<TaskSet, TaskError> {
        let asked = options.n.unwrap_or(Draw::DEFAULT_N);
        if asked == 0 {
            return Err(TaskError::NoneAsked);
        }
        let mut rng = options.rng();
        let numbers = draw::distinct(&mut rng, (self.space)(), asked);
        let items: Vec<Item> = numbers
            .into_iter()
            .map(|number| (self.item)(number, &mut rng))
            .collect();
        let notes = if items.len() < asked {
            vec![draw::fewer(asked, items.len())]
        } else {
            Vec::new()
        };
        Ok(TaskSet {
            name: self.name.to_owned(),
            items,
            verbaliser: (self.verbaliser)(),
            notes,
        })
    }
}

/// A random entry of a list that is not among `taken`. The list must have one.
fn other<'a>(rng: &mut Rng, list: &[&'a str], taken: &[&str]) -> &'a str {
    use rand::seq::IndexedRandom as _;
    let left: Vec<&str> = list
        .iter()
        .copied()
        .filter(|word| !taken.contains(word))
        .collect();
    left.choose(rng).copied().unwrap_or_default()
}
