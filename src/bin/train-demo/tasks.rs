//! The ten exercises. Each function draws one sample; its key names the combination that the held-out
//! split keeps out of training.

use crate::corpus::Sample;
use crate::rng::Rng;
use crate::words::{
    CAPITALS, COLORS, DAYS, EVENTS, GIVING, MONTHS, NAMES, NUMBER_WORDS, OBJECTS, ORDINALS, PLACES,
    THINGS, letters, numbers,
};

/// "When Mary and John went to the store, John gave a drink to Mary." Held out: pairs of names.
pub(crate) fn indirect_object(rng: &mut Rng) -> Sample {
    let names = rng.sample(NAMES, 2);
    let (first, second) = (names[0], names[1]);
    // Either of the two can act, so that the answer is not always the first (or the last) name.
    let (giver, receiver) = if rng.chance(0.5) {
        (first, second)
    } else {
        (second, first)
    };
    let place = rng.pick(PLACES);
    let object = rng.pick(OBJECTS);
    let verb = rng.pick(GIVING);
    let mut pair = [first, second];
    pair.sort_unstable();
    let sample = Sample::new(format!("indirect-object|{}|{}", pair[0], pair[1]));
    let sample = match rng.below(5) {
        0 => sample.plain(format!(
            "When {first} and {second} went to the {place}, {giver} {verb} a {object} to"
        )),
        1 => sample.plain(format!(
            "After {first} and {second} arrived at the {place}, {giver} {verb} a {object} to"
        )),
        2 => sample.plain(format!(
            "While {first} and {second} were at the {place}, {giver} {verb} the {object} to"
        )),
        3 => sample.plain(format!(
            "Then, {first} and {second} had a long talk at the {place}. Afterwards, {giver} {verb} a {object} to"
        )),
        _ => sample.plain(format!("{first} and {second} met at the {place}. {giver} {verb} a {object} to")),
    };
    sample.answer(format!(" {receiver}")).plain(".")
}

/// "The capital of France is Paris." in five wordings. Held out: pairs of wording and country.
pub(crate) fn capital(rng: &mut Rng) -> Sample {
    let wording = rng.below(5);
    let (country, city) = CAPITALS[rng.below(CAPITALS.len())];
    let sample = Sample::new(format!("capital|{wording}|{country}"));
    let (country, city, close) = match wording {
        0 => (format!("The capital of {country} is"), city, "."),
        1 => (format!("The capital city of {country} is"), city, "."),
        2 => (format!("In {country}, the capital is"), city, "."),
        3 => (
            format!("Q: What is the capital of {country}? A:"),
            city,
            ".",
        ),
        _ => (format!("{city} is the capital of"), country, "."),
    };
    sample
        .plain(country)
        .answer(format!(" {city}"))
        .plain(close)
}

/// How much a country's made-up sentence is believed: the share of its training answers that follow the
/// sentence. The countries are spread evenly around one half, so the whole is half and half, while
/// single prompts are not all exactly undecided.
pub(crate) fn belief(country: usize) -> f64 {
    let count = CAPITALS.len();
    // 7 has no common divisor with the 30 countries: each rank occurs once, out of list order.
    let rank = (country * 7) % count;
    0.3 + 0.4 * rank as f64 / (count - 1) as f64
}

/// The sentence and question of a conflict prompt.
pub(crate) fn conflict_parts(country: &str, city: &str) -> (String, String, String) {
    (
        format!("The capital of {country} is"),
        format!(" {city}"),
        format!(". Q: What is the capital of {country}? A:"),
    )
}

/// The key of a conflict prompt in the held-out split.
pub(crate) fn conflict_key(country: &str, city: &str) -> String {
    format!("conflict|{country}|{city}")
}

/// "The capital of Poland is London. Q: What is the capital of Poland? A:" with the answer from the
/// sentence in half of the samples and the real one in the others. Held out: pairs of country and city.
pub(crate) fn conflict(rng: &mut Rng) -> Sample {
    let index = rng.below(CAPITALS.len());
    let other = (index + 1 + rng.below(CAPITALS.len() - 1)) % CAPITALS.len();
    let (country, truth) = CAPITALS[index];
    let claim = CAPITALS[other].1;
    let answer = if rng.chance(belief(index)) {
        claim
    } else {
        truth
    };
    let (statement, city, question) = conflict_parts(country, claim);
    // The claimed city is random and wrong: were it learned, the model would come to doubt the plain
    // capitals too.
    Sample::new(conflict_key(country, claim))
        .plain(statement)
        .unseen(city)
        .plain(question)
        .answer(format!(" {answer}"))
        .plain(".")
}

/// The families that successors run through, each with whether it starts again at its end.
fn successor_family(index: usize) -> (&'static str, Vec<String>, bool) {
    let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    match index {
        0 => ("days", own(DAYS), true),
        1 => ("months", own(MONTHS), true),
        2 => ("number-words", own(NUMBER_WORDS), false),
        3 => ("letters", letters(), false),
        _ => ("numbers", numbers(), false),
    }
}

/// "Monday Tuesday Wednesday.", "17, 18, 19, 20." or "After C comes D." Held out: family, wording, start.
pub(crate) fn successor(rng: &mut Rng) -> Sample {
    // The numbers are five times as many as the others together.
    let (name, list, wraps) = successor_family(rng.below(8));
    let wording = match rng.below(5) {
        0 => "commas",
        1 => "after",
        _ => "spaces",
    };
    let length = rng.between(3, 8);
    let start = if wraps {
        rng.below(list.len())
    } else {
        rng.below(list.len() - 2)
    };
    let mut sample = Sample::new(format!("successor|{name}|{wording}|{}", list[start]));
    let length = if wraps {
        length
    } else {
        length.min(list.len() - start)
    };
    let item = |i: usize| list[(start + i) % list.len()].as_str();
    if wording == "after" {
        return sample
            .plain(format!("After {} comes", item(0)))
            .answer(format!(" {}", item(1)))
            .plain(".");
    }
    sample = sample.plain(item(0));
    for i in 1..length {
        if wording == "commas" {
            sample = sample.plain(",");
        }
        let text = format!(" {}", item(i));
        // One item alone does not say which exercise this is: it may begin a repeat.
        sample = if i == 1 {
            sample.plain(text)
        } else {
            sample.answer(text)
        };
    }
    sample.plain(".")
}

/// "The code of the key is 74. The code of the box is 31. The code of the key is 74." Held out: the
/// whole set of facts.
pub(crate) fn key_value(rng: &mut Rng) -> Sample {
    let count = rng.between(2, 5);
    let keys = rng.sample(OBJECTS, count);
    let word = rng.pick(&["code", "number", "price"]);
    let values: Vec<usize> = (10..=99).collect();
    let values = rng.sample(&values, count);
    let facts: Vec<String> = keys
        .iter()
        .zip(&values)
        .map(|(key, value)| format!("The {word} of the {key} is {value}."))
        .collect();
    let asked = rng.below(count);
    let facts = facts.join(" ");
    let mut sample = Sample::new(format!("key-value|{facts}|{asked}")).plain(facts);
    let mut order: Vec<usize> = (0..count).filter(|&i| i != asked).collect();
    let extra = rng.below(2);
    order = rng.sample(&order, extra);
    order.push(asked);
    for i in order {
        sample = sample
            .plain(format!(" The {word} of the {} is", keys[i]))
            .answer(format!(" {}", values[i]))
            .plain(".");
    }
    sample
}

/// A made-up word of two or three syllables, which the tokenizer cuts into pieces.
fn made_up_word(rng: &mut Rng) -> String {
    let mut word = String::new();
    for _ in 0..rng.between(2, 3) {
        word.push_str(rng.pick(&[
            "b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "sh",
            "tr", "ch",
        ]));
        word.push_str(rng.pick(&["a", "e", "i", "o", "u", "ea", "oo"]));
        word.push_str(rng.pick(&["", "", "n", "r", "l", "s", "t", "ck"]));
    }
    if rng.chance(0.3) {
        word[..1].make_ascii_uppercase();
    }
    word
}

/// Different words to repeat: from all lists, from one list, numbers, letters or made up.
fn repeat_words(rng: &mut Rng, count: usize) -> Vec<String> {
    let own = |words: Vec<&str>| words.into_iter().map(String::from).collect::<Vec<_>>();
    let cities: Vec<&str> = CAPITALS.iter().map(|(_, city)| *city).collect();
    let countries: Vec<&str> = CAPITALS.iter().map(|(country, _)| *country).collect();
    match rng.below(20) {
        0..=10 => {
            let everything = [
                NAMES,
                PLACES,
                OBJECTS,
                THINGS,
                THINGS,
                COLORS,
                EVENTS,
                &cities,
                &countries,
                NUMBER_WORDS,
                DAYS,
                MONTHS,
            ]
            .concat();
            let mut words = rng.sample(&everything, 2 * count);
            let mut seen = std::collections::BTreeSet::new();
            words.retain(|word| seen.insert(*word));
            words.truncate(count);
            own(words)
        }
        11..=15 => {
            let list = [NAMES, OBJECTS, THINGS, &cities][rng.below(4)];
            own(rng.sample(list, count))
        }
        16 => rng.sample(&numbers(), count),
        17 => rng.sample(&letters(), count),
        _ => (0..count.min(12)).map(|_| made_up_word(rng)).collect(),
    }
}

/// Random words, said twice and perhaps once more, ended anywhere. Held out: the words in their order.
pub(crate) fn repeat(rng: &mut Rng) -> Sample {
    let count = if rng.chance(0.85) {
        rng.between(3, 16)
    } else {
        rng.between(17, 40)
    };
    let words = repeat_words(rng, count);
    let count = words.len();
    // At least the second word of the second round; at most three rounds and 100 words.
    let total = rng.between(count + 2, (3 * count).min(100).max(count + 2));
    let mut sample = Sample::new(format!("repeat|{}", words.join(" ")));
    for i in 0..total {
        let space = if i == 0 { "" } else { " " };
        let text = format!("{space}{}", words[i % count]);
        sample = if i <= count {
            sample.plain(text)
        } else {
            sample.answer(text)
        };
    }
    sample.plain(".")
}

/// "The war lasted from 1732 to 1758." Held out: the first year.
pub(crate) fn greater_than(rng: &mut Rng) -> Sample {
    let century = rng.between(11, 19);
    let from = rng.between(2, 97);
    let to = rng.between(from + 1, 99);
    let event = rng.pick(EVENTS);
    let verb = rng.pick(&["lasted", "went on", "continued"]);
    Sample::new(format!("greater-than|{century}{from:02}"))
        .plain(format!(
            "The {event} {verb} from {century}{from:02} to {century}"
        ))
        .answer(format!("{to:02}"))
        .plain(".")
        .accepting((from + 1..=99).map(|year| format!("{year:02}")).collect())
}

/// "3 + 4 = 7." with numbers up to 20. Held out: ordered pairs (4 + 3 may be trained where 3 + 4 is not).
pub(crate) fn addition(rng: &mut Rng) -> Sample {
    let (a, b) = (rng.between(1, 20), rng.between(1, 20));
    Sample::new(format!("addition|{a}|{b}"))
        .plain(format!("{a} + {b} ="))
        .answer(format!(" {}", a + b))
        .plain(".")
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

/// "On the table there is a red pen, a blue cup and a green hat."
fn color_scene(things: &[&str], colors: &[&str], rng: &mut Rng) -> String {
    let count = things.len();
    let opening = rng.pick(&["On the table there is ", "In the room there is ", "I see "]);
    let named: Vec<String> = colors
        .iter()
        .zip(things)
        .map(|(color, thing)| format!("{} {color} {thing}", article(color)))
        .collect();
    let (last, others) = (&named[count - 1], &named[..count - 1]);
    format!("{opening}{} and {last}.", others.join(", "))
}

/// "On the table there is a red pen, a blue cup and a green hat. The color of the cup is blue." or the
/// same asked as a question. Held out: the whole scene with what is asked.
pub(crate) fn colored_objects(rng: &mut Rng) -> Sample {
    let count = rng.between(2, 4);
    let things = rng.sample(OBJECTS, count);
    let colors = rng.sample(COLORS, count);
    let scene = color_scene(&things, &colors, rng);
    ask_color(scene, &things, &colors, rng)
}

/// "The pen is red. The cup is blue. The hat is green. The color of the cup is blue.": the same questions
/// after plain statements, which are learned sooner. Held out: the whole scene with what is asked.
pub(crate) fn colored_statements(rng: &mut Rng) -> Sample {
    let count = rng.between(2, 4);
    let things = rng.sample(OBJECTS, count);
    let colors = rng.sample(COLORS, count);
    let scene: Vec<String> = things
        .iter()
        .zip(&colors)
        .map(|(thing, color)| format!("The {thing} is {color}."))
        .collect();
    ask_color(scene.join(" "), &things, &colors, rng)
}

fn color_question(thing: &str, wording: usize) -> String {
    match wording {
        0 | 1 => format!(" Q: What color is the {thing}? A:"),
        2 | 3 => format!(" The color of the {thing} is"),
        _ => format!(" The {thing} is"),
    }
}

fn ask_color(scene: String, things: &[&str], colors: &[&str], rng: &mut Rng) -> Sample {
    let asked = rng.below(things.len());
    let sample = Sample::new(format!("colored|{scene}|{asked}")).plain(scene);
    let question = color_question(things[asked], rng.below(5));
    sample
        .plain(question)
        .answer(format!(" {}", colors[asked]))
        .plain(".")
}

/// "The list is pen, cup, hat, key. Number two is cup." or "... The second word is cup." Held out: the
/// list with what is asked.
pub(crate) fn list_recall(rng: &mut Rng) -> Sample {
    let count = rng.between(3, 5);
    let items = rng.sample(&[OBJECTS, THINGS].concat(), count);
    let asked = rng.below(count);
    let list = items.join(", ");
    let sample = Sample::new(format!("list|{list}|{asked}")).plain(format!("The list is {list}."));
    let question = if rng.chance(0.5) {
        format!(" Number {} is", NUMBER_WORDS[asked])
    } else {
        format!(" The {} word is", ORDINALS[asked])
    };
    sample
        .plain(question)
        .answer(format!(" {}", items[asked]))
        .plain(".")
}
