//! The word lists that every document is made of.
//!
//! Each entry is one token of the tokenizer, with and without a leading space. Objects and things begin
//! with a consonant, so that "a" is always the right article.

pub(crate) const NAMES: &[&str] = &[
    "Mary", "John", "Tom", "James", "Alice", "Bob", "Anna", "Peter", "Sarah", "David", "Emma",
    "Paul", "Lucy", "Mark", "Kate", "Jack", "Laura", "Simon", "Julia", "Daniel", "Rose", "Henry",
    "Grace", "George", "Helen", "Frank", "Clara", "Oscar", "Nina", "Victor", "Ruth", "Martin",
    "Amy", "Kevin", "Diana", "Leo", "Susan", "Adam", "Jane", "Max",
];

pub(crate) const PLACES: &[&str] = &[
    "store",
    "park",
    "school",
    "office",
    "garden",
    "library",
    "museum",
    "station",
    "market",
    "beach",
    "hospital",
    "restaurant",
    "church",
    "theater",
    "harbor",
    "village",
];

pub(crate) const OBJECTS: &[&str] = &[
    "drink", "book", "ring", "ball", "key", "box", "pen", "cup", "hat", "map", "coin", "lamp",
    "letter", "flower", "basket", "bottle", "camera", "clock", "blanket", "ticket", "guitar",
    "picture", "shirt", "knife",
];

/// Nouns that only the repeats and the lists use.
pub(crate) const THINGS: &[&str] = &[
    "dog", "cat", "bird", "horse", "fish", "cow", "lion", "tiger", "wolf", "bear", "bread",
    "cheese", "cake", "soup", "rice", "river", "stone", "cloud", "tree", "mountain", "forest",
    "snow", "rain", "fire", "wind", "star", "moon", "sun", "lake", "road", "bridge", "house",
    "window", "door", "wall", "ship", "train", "car", "boat", "wheel", "paper", "silk", "gold",
    "salt", "sand", "leaf", "root", "seed", "hill", "field",
];

pub(crate) const COLORS: &[&str] = &[
    "red", "blue", "green", "yellow", "black", "white", "brown", "purple", "pink", "gray",
    "orange", "silver",
];

/// Country and capital.
pub(crate) const CAPITALS: &[(&str, &str)] = &[
    ("France", "Paris"),
    ("Germany", "Berlin"),
    ("Italy", "Rome"),
    ("Spain", "Madrid"),
    ("Poland", "Warsaw"),
    ("England", "London"),
    ("Japan", "Tokyo"),
    ("China", "Beijing"),
    ("Russia", "Moscow"),
    ("Egypt", "Cairo"),
    ("Greece", "Athens"),
    ("Portugal", "Lisbon"),
    ("Austria", "Vienna"),
    ("Hungary", "Budapest"),
    ("Norway", "Oslo"),
    ("Sweden", "Stockholm"),
    ("Denmark", "Copenhagen"),
    ("Finland", "Helsinki"),
    ("Ireland", "Dublin"),
    ("Canada", "Ottawa"),
    ("Cuba", "Havana"),
    ("Peru", "Lima"),
    ("Kenya", "Nairobi"),
    ("India", "Delhi"),
    ("Turkey", "Ankara"),
    ("Iran", "Tehran"),
    ("Belgium", "Brussels"),
    ("Thailand", "Bangkok"),
    ("Vietnam", "Hanoi"),
    ("Chile", "Santiago"),
];

pub(crate) const DAYS: &[&str] = &[
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

pub(crate) const MONTHS: &[&str] = &[
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

pub(crate) const NUMBER_WORDS: &[&str] = &[
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

pub(crate) const ORDINALS: &[&str] = &["first", "second", "third", "fourth", "fifth"];

/// Verbs of giving: "John gave a drink to Mary".
pub(crate) const GIVING: &[&str] = &[
    "gave", "handed", "sent", "showed", "passed", "sold", "brought",
];

/// Things that last from one year to another.
pub(crate) const EVENTS: &[&str] = &[
    "war", "siege", "voyage", "festival", "trial", "strike", "drought", "reign", "project",
    "journey", "plague", "famine",
];

/// The letters of the alphabet, each one a word.
pub(crate) fn letters() -> Vec<String> {
    ('A'..='Z').map(String::from).collect()
}

/// The numbers that successors count through: 1 to 99 without leading zeros.
pub(crate) fn numbers() -> Vec<String> {
    (1..=99).map(|n| n.to_string()).collect()
}

/// Every entry of every list, plus all one- and two-digit numbers.
pub(crate) fn every_word() -> Vec<String> {
    let lists = [
        NAMES,
        PLACES,
        OBJECTS,
        THINGS,
        COLORS,
        DAYS,
        MONTHS,
        NUMBER_WORDS,
        ORDINALS,
        GIVING,
        EVENTS,
    ];
    let mut words: Vec<String> = lists
        .iter()
        .flat_map(|list| list.iter().map(ToString::to_string))
        .collect();
    words.extend(
        CAPITALS
            .iter()
            .flat_map(|(country, city)| [country.to_string(), city.to_string()]),
    );
    words.extend(letters());
    words.extend((0..=9).map(|n| n.to_string()));
    words.extend((0..=99).map(|n| format!("{n:02}")));
    words
}
