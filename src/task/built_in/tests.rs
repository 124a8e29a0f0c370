//! Promises of every built-in set.

use std::collections::HashSet;

use super::BUILT_IN;
use crate::task::{Answer, Draw, Item, MASK, TaskError, TaskSet};

fn draw(name: &str, n: usize, seed: u64) -> TaskSet {
    TaskSet::open(
        name,
        &Draw {
            n: Some(n),
            seed,
            shots: 0,
        },
    )
    .unwrap()
}

/// Every item of a fair sample of every set.
fn check_all(check: impl Fn(&str, &Item)) {
    for built_in in BUILT_IN {
        for item in draw(built_in.name, 400, 7).items {
            check(built_in.name, &item);
        }
    }
}

fn text(answers: &[Answer]) -> &str {
    match &answers[0] {
        Answer::Text(text) => text.trim(),
        Answer::Id(_) => panic!("an id in a built-in set"),
    }
}

#[test]
fn every_set_gives_the_asked_number_and_20_by_default() {
    for built_in in BUILT_IN {
        assert_eq!(
            draw(built_in.name, 50, 1).items.len(),
            50,
            "{}",
            built_in.name
        );
        let set = TaskSet::open(built_in.name, &Draw::default()).unwrap();
        assert_eq!(
            (set.items.len(), set.name.as_str()),
            (Draw::DEFAULT_N, built_in.name)
        );
        assert!(set.notes.is_empty());
    }
}

#[test]
fn the_seed_settles_the_draw() {
    for built_in in BUILT_IN {
        assert_eq!(
            draw(built_in.name, 30, 5),
            draw(built_in.name, 30, 5),
            "{}",
            built_in.name
        );
        assert_ne!(
            draw(built_in.name, 30, 5),
            draw(built_in.name, 30, 6),
            "{}",
            built_in.name
        );
    }
}

#[test]
fn a_set_that_is_small_ends_and_says_so_and_no_prompt_comes_twice() {
    for built_in in BUILT_IN {
        let asked = 3000;
        let set = draw(built_in.name, asked, 3);
        assert_eq!(
            set.items.len(),
            (built_in.space)().min(asked),
            "{}",
            built_in.name
        );
        assert_eq!(set.notes.len(), usize::from(set.items.len() < asked));
        let prompts: HashSet<_> = set.items.iter().map(|item| &item.prompt).collect();
        assert_eq!(prompts.len(), set.items.len(), "{}", built_in.name);
    }
    assert!(draw("capitals", 3000, 0).notes[0].contains("3000 prompts were asked for"));
}

#[test]
fn no_answer_is_right_and_wrong() {
    check_all(|name, item| {
        assert!(
            !item.answers.is_empty() && !item.wrong.is_empty(),
            "{name}: {item:?}"
        );
        assert!(
            item.answers
                .iter()
                .all(|answer| !item.wrong.contains(answer)),
            "{name}: {item:?}"
        );
        let all: HashSet<_> = item.answers.iter().chain(&item.wrong).collect();
        assert_eq!(
            all.len(),
            item.answers.len() + item.wrong.len(),
            "{name}: {item:?}"
        );
    });
}

#[test]
fn the_contrast_differs_in_one_word() {
    check_all(|name, item| {
        let contrast = item.contrast.as_deref().unwrap();
        let (a, b): (Vec<_>, Vec<_>) = (
            item.prompt.split_whitespace().collect(),
            contrast.split_whitespace().collect(),
        );
        assert_eq!(a.len(), b.len(), "{name}: {} | {contrast}", item.prompt);
        let differ = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 1, "{name}: {} | {contrast}", item.prompt);
    });
}

#[test]
fn prompts_leave_no_place_unfilled_and_end_without_a_space() {
    check_all(|name, item| {
        for prompt in [Some(&item.prompt), item.contrast.as_ref()]
            .into_iter()
            .flatten()
        {
            assert!(
                !prompt.contains("{}") && !prompt.contains("  :param  "),
                "{name}: {prompt}"
            );
            assert!(
                name == "key_value" || !prompt.contains(['{', '}']),
                "{name}: {prompt}"
            );
            assert!(!prompt.ends_with(char::is_whitespace), "{name}: {prompt}");
        }
    });
}

#[test]
fn spans_cover_whole_words() {
    check_all(|name, item| {
        assert!(!item.spans.is_empty(), "{name}");
        for span in &item.spans {
            let word = &item.prompt[span.bytes.clone()];
            assert!(
                !word.is_empty() && word.trim() == word,
                "{name}: {span:?} {word:?}"
            );
        }
    });
}

#[test]
fn spans_name_what_they_say() {
    for item in draw("ioi", 100, 2).items {
        assert_eq!(item.span("IO"), Some(text(&item.answers)));
        assert_eq!(item.span("S1"), Some(text(&item.wrong)));
        assert_eq!(item.span("S1"), item.span("S2"));
        let names: Vec<_> = item.spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["IO", "S1", "S2", "place", "object", "END"]);
        assert_eq!(item.spans[5].bytes.end, item.prompt.len());
        assert!(item.spans[2].bytes.start > item.spans[1].bytes.end);
    }
    for item in draw("key_value", 50, 2).items {
        assert_eq!(item.span("value"), Some(text(&item.answers)));
        assert_eq!(item.span("key"), item.span("query"));
    }
    for item in draw("docstring", 50, 2).items {
        assert_eq!(item.span("B3"), Some(text(&item.answers)));
        assert_eq!(item.span("B1"), item.span("B1_doc"));
        assert_eq!(item.span("END"), Some("param"));
    }
    for item in draw("coloured_objects", 50, 2).items {
        assert_eq!(item.span("colour"), Some(text(&item.answers)));
        assert_eq!(item.span("object"), item.span("query"));
    }
    for item in draw("counterfactual_capitals", 50, 2).items {
        assert_eq!(item.span("object"), Some(text(&item.answers)));
        assert_eq!(item.span("country"), item.span("query"));
    }
    for item in draw("multiple_choice", 50, 2).items {
        assert_eq!(item.span("letter"), Some(text(&item.answers)));
    }
}

#[test]
fn ioi_has_both_orders() {
    let set = draw("ioi", 200, 0);
    let receiver_first = set
        .items
        .iter()
        .filter(|item| item.spans[0].bytes.start < item.spans[1].bytes.start);
    assert!((60..140).contains(&receiver_first.count()));
}

#[test]
fn years_after_the_start_are_right_and_all_others_wrong() {
    for item in draw("greater_than", 100, 4).items {
        let start: usize = item.span("YY").unwrap().parse().unwrap();
        assert_eq!(item.answers.len() + item.wrong.len(), 100);
        assert_eq!(item.answers.len(), 99 - start);
        assert_eq!(text(&item.answers), format!("{:02}", start + 1));
        assert_eq!(text(&item.wrong), format!("{start:02}"));
        assert!(item.contrast.unwrap().contains("01 to the year"));
    }
}

#[test]
fn every_successor_has_another_to_stand_against() {
    for item in draw("successors", 400, 4).items {
        let words: Vec<_> = item.prompt.split(|c: char| !c.is_alphanumeric()).collect();
        let [right, wrong] = [text(&item.answers), text(&item.wrong)];
        assert!(!right.is_empty() && !wrong.is_empty(), "{item:?}");
        assert!(
            !words.contains(&right) && !words.contains(&wrong),
            "{item:?}"
        );
    }
}

#[test]
fn arithmetic_is_right() {
    for item in draw("arithmetic", 400, 4).items {
        let [a, op, b] = ["a", "op", "b"].map(|name| {
            // The solved examples have names too: the question's come last.
            let span = item.spans.iter().rfind(|span| span.name == name).unwrap();
            item.prompt[span.bytes.clone()].to_owned()
        });
        let (a, b): (i32, i32) = (a.parse().unwrap(), b.parse().unwrap());
        let result = if matches!(op.as_str(), "+" | "plus") {
            a + b
        } else {
            a - b
        };
        assert_eq!(text(&item.answers), result.to_string());
    }
}

#[test]
fn masked_prompts_take_the_token_of_the_model() {
    for item in draw("masked", 100, 4).items {
        assert!(item.is_masked());
        assert_eq!(item.prompt.matches(MASK).count(), 1);
        let own = item.with_mask("<mask>");
        assert_eq!(own.span("MASK"), Some("<mask>"));
        assert_eq!(own.span("subject"), item.span("subject"));
        assert!(!own.is_masked() && own.contrast.unwrap().contains("<mask>"));
    }
}

#[test]
fn sentiment_has_its_classes() {
    let set = draw("sentiment", 20, 0);
    let names: Vec<_> = set
        .verbaliser
        .unwrap()
        .classes
        .into_iter()
        .map(|class| class.name)
        .collect();
    assert_eq!(names, ["positive", "negative"]);
}

#[test]
fn no_item_and_no_name_are_errors_that_say_what_to_do() {
    let none = TaskSet::open(
        "ioi",
        &Draw {
            n: Some(0),
            ..Draw::default()
        },
    );
    assert!(matches!(none, Err(TaskError::NoneAsked)));
    let unknown = TaskSet::open("no such set", &Draw::default())
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("`no such set`") && unknown.contains("greater_than"),
        "{unknown}"
    );
}
