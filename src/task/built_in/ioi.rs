//! Indirect object identification (Wang et al. 2022), with templates and words of our own.

use super::other;
use crate::task::draw::{Digits, Rng, arrangements};
use crate::task::prompt::Prompt;
use crate::task::{Answer, Item};

const NAMES: &[&str] = &[
    "Mary", "John", "Tom", "Anna", "Peter", "Paul", "Emma", "Jack", "Kate", "Mark", "Lucy", "Sam",
    "Alice", "Frank", "Laura", "Simon", "Helen", "George", "Ruth", "Henry", "Rose", "Martin",
    "Jane", "Oliver", "Grace", "Philip", "Julia", "Arthur", "Clara", "Walter", "Diana", "Edward",
    "Nina", "Victor", "Leo", "Maria", "Carl", "Eva", "Oscar", "Sophie", "Hugo", "Linda", "Adam",
    "Susan", "Roger", "Karen", "Bruce", "Nancy", "Keith", "Wendy",
];
const PLACES: &[&str] = &[
    "market", "library", "station", "harbor", "bakery", "museum", "theater", "beach", "bridge",
    "church", "castle", "farm", "airport", "hotel", "zoo", "lake", "forest", "stadium", "cafe",
    "mill",
];
const OBJECTS: &[&str] = &[
    "book", "letter", "key", "ring", "map", "ball", "phone", "camera", "hat", "cup", "gift",
    "note", "bag", "lamp", "coin", "ticket", "basket", "flower", "pencil", "watch", "blanket",
    "radio",
];
/// `{1}` and `{2}` are the two people in either order, `{S2}` the one who gives.
const TEMPLATES: &[&str] = &[
    "When {1} and {2} walked to the {place}, {S2} handed a {object} {END}",
    "After {1} and {2} came back from the {place}, {S2} showed the {object} {END}",
    "While {1} and {2} were waiting at the {place}, {S2} passed the {object} {END}",
    "Yesterday {1} and {2} met near the {place}, and {S2} offered a {object} {END}",
    "Once {1} and {2} had found the {place}, {S2} lent the {object} {END}",
    "Today {1} and {2} worked together at the {place}. Later {S2} brought a {object} {END}",
];

pub(super) fn space() -> usize {
    TEMPLATES.len() * 2 * arrangements(NAMES.len(), 2) * PLACES.len() * OBJECTS.len()
}

pub(super) fn item(number: usize, rng: &mut Rng) -> Item {
    let mut digits = Digits::new(number);
    let template = digits.pick(TEMPLATES);
    let abba = digits.take(2) == 0;
    let [io, s] = digits.different(NAMES.len()).map(|at| NAMES[at]);
    let (place, object) = (digits.pick(PLACES), digits.pick(OBJECTS));
    let third = other(rng, NAMES, &[io, s]);
    // ABBA names the receiver first, BABA the giver.
    let (first, second) = if abba { ("IO", "S1") } else { ("S1", "IO") };
    let template = template
        .replace("{1}", &format!("{{{first}}}"))
        .replace("{2}", &format!("{{{second}}}"));
    let prompt = |giver: &str| {
        let words = [
            ("IO", io),
            ("S1", s),
            ("S2", giver),
            ("place", place),
            ("object", object),
            ("END", "to"),
        ];
        Prompt::new().fill(&template, &words)
    };
    let mut item = prompt(s).item(
        prompt(third),
        vec![Answer::spaced(io)],
        vec![Answer::spaced(s)],
    );
    item.spans.sort_by_key(|span| {
        ["IO", "S1", "S2", "place", "object", "END"]
            .iter()
            .position(|name| *name == span.name)
    });
    item
}
