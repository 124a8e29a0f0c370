//! One small sample of each format.

use super::super::{Answer, Draw, Item, Span, TaskSet, Verbaliser};
use super::encode;

/// The set of a text, everything in it.
fn parse(text: &str) -> TaskSet {
    TaskSet::parse(text, "sample", &Draw::default()).unwrap()
}

fn text(answer: &str) -> Answer {
    Answer::Text(answer.to_owned())
}

#[test]
fn eap_ig_csv() {
    let set = parse(
        ",clean,corrupted,corrupted_hard,correct_idx,incorrect_idx\n\
         7,\"Ann met Bo, Bo gave\",\"Ann met Bo, Al gave\",x,12,\"[3, 4]\"\n",
    );
    let item = &set.items[0];
    assert_eq!(item.prompt, "Ann met Bo, Bo gave");
    assert_eq!(item.contrast.as_deref(), Some("Ann met Bo, Al gave"));
    assert_eq!(
        (item.answers.as_slice(), item.wrong.len()),
        ([Answer::Id(12)].as_slice(), 2)
    );
    assert_eq!(item.wrong[1], Answer::Id(4));
    assert!(set.notes[0].contains("token ids"));
}

#[test]
fn greater_than_csv() {
    let item = &parse("clean,corrupted,label\nfrom 1352 to 13,from 1301 to 13,07\n").items[0];
    assert_eq!((item.answers.len(), item.wrong.len()), (92, 8));
    assert_eq!(
        (&item.answers[0], &item.wrong[0]),
        (&text("08"), &text("07"))
    );
}

#[test]
fn auto_circuit_json() {
    let json = r#"{"word_idxs": {"IO": 2, "S2": 6, "end": 8}, "prompts": [
        {"clean": "Then, Ann and Bo. Bo went", "corrupt": "Then, Ann and Bo. Al went", "answers": [" Ann"], "wrong_answers": [17]}]}"#;
    let item = &parse(json).items[0];
    assert_eq!(
        (&item.answers[0], &item.wrong[0]),
        (&text(" Ann"), &Answer::Id(17))
    );
    // Eight pieces and an end at 8: the positions count a BOS.
    assert_eq!(
        (item.span("IO"), item.span("S2"), item.span("end")),
        (Some(","), Some("."), Some("went"))
    );
    let without_bos = parse(&json.replace("\"end\": 8", "\"end\": 7"));
    assert_eq!(
        (
            without_bos.items[0].span("IO"),
            without_bos.items[0].span("S2")
        ),
        (Some("Ann"), Some("Bo"))
    );
    assert!(
        parse(&json.replace("\"end\": 8", "\"end\": 9")).items[0]
            .spans
            .is_empty()
    );
}

#[test]
fn input_output_pairs_with_solved_examples() {
    let json = r#"[{"input": "up", "output": "down"}, {"input": "hot", "output": "cold"}, {"input": "in", "output": "out"}]"#;
    let plain = parse(json);
    assert_eq!(plain.items[1].prompt, "Q: hot\nA:");
    assert_eq!(plain.items[1].answers, [text(" cold")]);
    let shots = |shots| {
        TaskSet::parse(
            json,
            "sample",
            &Draw {
                shots,
                ..Draw::default()
            },
        )
        .unwrap()
    };
    let set = shots(2);
    for item in &set.items {
        assert_eq!(
            (
                item.prompt.matches("Q: ").count(),
                item.prompt.matches("\n\n").count()
            ),
            (3, 2)
        );
        let query = item.span("query").unwrap();
        assert!(item.prompt.ends_with(&format!("Q: {query}\nA:")));
        assert_eq!(
            item.prompt.matches(&format!("Q: {query}\n")).count(),
            1,
            "the question is not among its examples"
        );
    }
    assert!(set.notes.is_empty());
    assert!(shots(9).notes[0].contains("9 solved examples were asked for; 2"));
    assert_eq!(shots(2), set);
}

#[test]
fn prompt_and_answer_tables() {
    let csv = parse(
        "prompt,answer,wrong,contrast\nThe sky is,blue,red,The rose is\n\"Say \"\"a\"\"\",b,,\n",
    );
    assert_eq!(csv.items[0].answers, [text(" blue")]);
    assert_eq!(
        (
            csv.items[0].wrong.as_slice(),
            csv.items[0].contrast.as_deref()
        ),
        ([text(" red")].as_slice(), Some("The rose is"))
    );
    assert_eq!(
        csv.items[1],
        Item {
            prompt: "Say \"a\"".into(),
            answers: vec![text("b")],
            ..Item::default()
        }
    );
    let tsv = parse("\u{feff}answer\tprompt\n5\tfrom 1 to 1\n");
    assert_eq!(
        (tsv.items[0].prompt.as_str(), &tsv.items[0].answers[0]),
        ("from 1 to 1", &text("5"))
    );
    let json = parse(r#"[{"prompt": "The sky is", "answer": ["blue", 5], "wrong": " red"}]"#);
    assert_eq!(json.items[0].answers, [text(" blue"), Answer::Id(5)]);
    assert_eq!(json.items[0].wrong, [text(" red")]);
}

#[test]
fn labelled_prompts() {
    let item = &parse(r#"[["Q: What color?\nA:", " Blue"]]"#).items[0];
    assert_eq!(
        (item.prompt.as_str(), &item.answers[0]),
        ("Q: What color?\nA:", &text(" Blue"))
    );
}

const NATURAL: &str = r#"{"Definition": ["Say if it is good."], "Positive Examples": [{"input": "Fine.", "output": "yes", "explanation": ""}],
    "Instances": [{"id": "1", "input": "Great.", "output": ["yes"]}, {"input": "Bad.", "output": "no"},
                  {"input": "Nice.", "output": ["yes", "sure"]}, {"input": "Poor.", "output": ["no"]},
                  {"input": "Well.", "output": ["yes"]}, {"input": "Ugh.", "output": ["no"]}]}"#;

#[test]
fn natural_instructions_json() {
    let set = parse(NATURAL);
    assert_eq!(
        set.items[0].prompt,
        "Say if it is good.\n\nInput: Great.\nOutput:"
    );
    assert_eq!(set.items[0].span("input"), Some("Great."));
    assert_eq!(set.items[2].answers, [text(" yes"), text(" sure")]);
    assert_eq!(set.items[2].wrong, [text(" no")]);
    let shot = TaskSet::parse(
        NATURAL,
        "s",
        &Draw {
            shots: 2,
            ..Draw::default()
        },
    )
    .unwrap();
    assert_eq!(
        shot.items[1].prompt,
        "Say if it is good.\n\nInput: Fine.\nOutput: yes\n\nInput: Bad.\nOutput:"
    );
    assert_eq!(shot.items[1].span("input"), Some("Bad."));
    assert!(shot.notes[0].contains("the file has 1"));
}

#[test]
fn counterfactual_json() {
    let json = r#"[{"template": "{}: It is in{}. It is in", "target_true": " Rome", "target_new": " Oslo",
                    "prompt": "Redefine: It is in Oslo. It is in"}]"#;
    let item = &parse(json).items[0];
    assert_eq!(
        (&item.answers[0], &item.wrong[0]),
        (&text(" Oslo"), &text(" Rome"))
    );
    assert_eq!(
        item.contrast.as_deref(),
        Some("Redefine: It is in Rome. It is in")
    );
    assert_eq!(item.span("object"), Some("Oslo"));
    let unfit = parse(&json.replace("{}: It", "{}; It"));
    assert_eq!(
        (unfit.items[0].contrast.as_ref(), unfit.items[0].spans.len()),
        (None, 0)
    );
}

#[test]
fn verbalisers() {
    let weighted = Verbaliser::parse(
        r#"{"good": {"fine": 0.5, "nice": 1}, "bad": ["poor", "poor", " "], "so": "so"}"#,
        None,
    )
    .unwrap();
    assert_eq!(
        weighted.classes[0].words,
        [("fine".to_owned(), 0.5), ("nice".to_owned(), 1.0)]
    );
    assert_eq!(weighted.classes[1].words, [("poor".to_owned(), 1.0)]);
    assert_eq!(weighted.classes[2].words, [("so".to_owned(), 1.0)]);
    let lines = Verbaliser::parse("art,paint,art\nlaw,court\n", Some("1,0.5,1\n1,0.25\n")).unwrap();
    assert_eq!(lines.classes[0].name, "art");
    assert_eq!(
        lines.classes[0].words,
        [("art".to_owned(), 1.0), ("paint".to_owned(), 0.5)]
    );
    assert_eq!(lines.classes[1].words[1], ("court".to_owned(), 0.25));
    let error = |words, scores| Verbaliser::parse(words, scores).unwrap_err().to_string();
    assert!(error("a,b\n", Some("1\n")).contains("line 1: 1 scores for 2 words"));
    assert!(error("a\nb\n", Some("1\n")).contains("1 lines of scores for 2 lines of words"));
    assert!(error("a\n", Some("x\n")).contains("no finite number"));
    assert!(error(r#"{"a": {"b": "c"}}"#, None).contains("`a`: the weight text; expected"));
    assert!(error(r#"{"a": []}"#, None).contains("no words"));
    assert!(error("", None).contains("empty"));
}

#[test]
fn our_own_json_round_trips_exactly() {
    for built_in in super::super::BUILT_IN {
        let set = TaskSet::open(
            built_in.name,
            &Draw {
                n: Some(30),
                seed: 1,
                shots: 0,
            },
        )
        .unwrap();
        assert_eq!(parse(&encode(&set)), set, "{}", built_in.name);
    }
    let odd_weights = (1..2000_u32).map(|i| {
        (
            i.to_string(),
            f32::from_bits(i.wrapping_mul(2_654_435_761) & 0x7f7f_ffff),
        )
    });
    let class = super::super::Class {
        name: "\u{0}é\"\n".into(),
        words: odd_weights.collect(),
    };
    let item = Item {
        prompt: "é\u{1F600}\r\n\t\\".into(),
        answers: vec![Answer::Id(u32::MAX), text(" 7"), text("7")],
        spans: vec![Span {
            name: String::new(),
            bytes: 2..6,
        }],
        ..Item::default()
    };
    let verbaliser = Some(Verbaliser {
        classes: vec![class.clone(), class],
    });
    let set = TaskSet {
        name: String::new(),
        items: vec![item],
        verbaliser,
        notes: vec!["a".into()],
    };
    assert_eq!(parse(&encode(&set)), set);
}

#[test]
fn some_of_a_file_is_a_seeded_choice_in_its_order() {
    let rows = (0..50)
        .map(|i| format!("p{i:02},a"))
        .collect::<Vec<_>>()
        .join("\n");
    let draw = |n, seed| {
        TaskSet::parse(
            &format!("prompt,answer\n{rows}"),
            "s",
            &Draw {
                n: Some(n),
                seed,
                shots: 0,
            },
        )
        .unwrap()
    };
    let set = draw(10, 1);
    assert_eq!(set.items.len(), 10);
    assert!(set.items.is_sorted_by(|a, b| a.prompt < b.prompt));
    assert_eq!(set, draw(10, 1));
    assert_ne!(set, draw(10, 2));
    assert_eq!(draw(60, 1).items.len(), 50);
    assert!(draw(60, 1).notes[0].contains("60 prompts were asked for; there are 50"));
}
