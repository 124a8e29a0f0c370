//! Coloured objects (after Merullo et al. 2023): one solved example, then the colour of one of three objects.
//! The contrast asks for another object of the same scene.

use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use crate::task::draw::{Digits, Rng, arrangements};
use crate::task::prompt::{Prompt, article};
use crate::task::{Answer, Item};

const COLOURS: &[&str] = &[
    "red", "blue", "green", "yellow", "orange", "purple", "black", "white", "brown", "pink",
];
const OBJECTS: &[&str] = &[
    "spoon", "towel", "brush", "candle", "mirror", "pillow", "clock", "comb", "ribbon", "button",
    "basket", "wallet", "scarf", "glove", "jar", "bucket", "hammer", "fork", "box", "bell", "pan",
    "rope", "drum", "shirt", "shoe",
];
const SURFACES: &[&str] = &["shelf", "bench", "counter", "carpet"];

pub(super) fn space() -> usize {
    SURFACES.len() * arrangements(COLOURS.len(), 3) * arrangements(OBJECTS.len(), 3) * 3
}

pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    let mut digits = Digits::new(number);
    let surface = digits.pick(SURFACES);
    let colours = digits.different::<3>(COLOURS.len()).map(|at| COLOURS[at]);
    let objects = digits.different::<3>(OBJECTS.len()).map(|at| OBJECTS[at]);
    let asked = digits.take(3);
    let (other, third) = ((asked + 1) % 3, (asked + 2) % 3);
    let example = example(rng, surface, &colours, &objects);
    let prompt = |query: usize| {
        scene(
            Prompt::new().text(&example),
            surface,
            &colours,
            &objects,
            asked,
            query,
        )
    };
    let wrong = vec![
        Answer::spaced(colours[other]),
        Answer::spaced(colours[third]),
    ];
    prompt(asked).item(prompt(other), vec![Answer::spaced(colours[asked])], wrong)
}

/// A solved scene with none of the objects and colours of the asked one.
fn example(rng: &mut Rng, surface: &str, colours: &[&str; 3], objects: &[&str; 3]) -> String {
    let mut three = |list: &[&'static str], taken: &[&str]| {
        let left: Vec<&str> = list
            .iter()
            .copied()
            .filter(|word| !taken.contains(word))
            .collect();
        let mut chosen = left.choose_multiple(rng, 3).copied();
        [(); 3].map(|()| chosen.next().unwrap_or_default())
    };
    let (colours, objects) = (three(COLOURS, colours), three(OBJECTS, objects));
    let asked = rng.random_range(0..3);
    let text = scene(Prompt::new(), surface, &colours, &objects, asked, asked).into_text();
    format!("{text} {}\n", colours[asked])
}

/// The scene names the object that matters `object`, and its colour `colour`.
fn scene(
    start: Prompt,
    surface: &str,
    colours: &[&str; 3],
    objects: &[&str; 3],
    asked: usize,
    query: usize,
) -> Prompt {
    let mut prompt = start.text("Q: On the ").text(surface).text(" there is");
    for (i, (colour, object)) in colours.iter().zip(objects).enumerate() {
        let before = match i {
            0 => " ",
            1 => ", ",
            _ => ", and ",
        };
        prompt = prompt.text(before).text(article(colour)).text(" ");
        prompt = if i == asked {
            prompt
                .word("colour", colour)
                .text(" ")
                .word("object", object)
        } else {
            prompt.text(colour).text(" ").text(object)
        };
    }
    prompt
        .text(". What color is the ")
        .word("query", objects[query])
        .text("?\nA:")
}
