//! No text makes a reader panic, and what it takes can be used: seeded mutants of small samples; and, where
//! `HEADSCOPE_TEST_DATA` names a folder of published files, those files.

use std::path::{Path, PathBuf};

use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{Draw, MASK, TaskSet, Verbaliser};
use super::encode;

const MUTANTS: usize = 10_000;
const SAMPLES: &[&str] = &[
    ",clean,corrupted,correct_idx,incorrect_idx\n7,\"A, b\",\"A, c\",12,\"[3, 4]\"\n8,d,e,1,2\n",
    "clean,corrupted,label\nfrom 1352 to 13,from 1301 to 13,52\n",
    r#"{"word_idxs":{"IO":1,"end":2},"prompts":[{"clean":"A é b","corrupt":"A c b","answers":[" a",7],"wrong_answers":["b"]}]}"#,
    r#"[{"input":"up","output":"down"},{"input":"in","output":"out"}]"#,
    "prompt,answer,wrong,contrast\nThe sky is,blue,red,The rose is\n1,2,,\n",
    r#"[{"prompt":"The sky is","answer":["blue",5],"wrong":" red"}]"#,
    r#"[["Q: é?\nA:"," Blue"]]"#,
    r#"{"Definition":["Say."],"Positive Examples":[{"input":"F","output":"y"}],"Instances":[{"input":"G","output":["y"]},{"input":"H","output":"y"}]}"#,
    r#"[{"template":"{}: It is{}. It is","target_true":" Rome","target_new":" Oslo","prompt":"Redefine: It is Oslo. It is"}]"#,
    r#"{"schema_version":1,"name":"s","items":[{"prompt":"é [MASK]","contrast":null,"answers":[1," a"],"wrong":[],"spans":[{"name":"a","start":0,"end":2}]}],"verbaliser":[{"name":"c","words":[["w",0.5]]}]}"#,
];
const VERBALISERS: &[(&str, Option<&str>)] = &[
    (
        r#"{"good":{"fine":0.5,"nice":1},"bad":["poor"],"so":"so"}"#,
        None,
    ),
    ("art,paint\nlaw,court\n", Some("1,0.5\n1,0.25\n")),
];
/// What mutations put in: brackets, separators, numbers at their limits, odd characters.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\n",
    "\r",
    "\t",
    "null",
    "-1",
    "4294967296",
    "1e999",
    "{}",
    "[]",
    "\\",
    "é",
    "\u{1F600}",
    "\u{0}",
    " ",
    "99",
    "\u{feff}",
    "[MASK]",
];

/// The sample with one to four places changed: cut out, doubled, swapped, or with a piece put in.
fn mutate(rng: &mut ChaCha8Rng, sample: &str) -> String {
    let mut chars: Vec<char> = sample.chars().collect();
    for _ in 0..rng.random_range(1..=4) {
        if chars.is_empty() {
            break;
        }
        let at = rng.random_range(0..chars.len());
        let end = (at + rng.random_range(1..12)).min(chars.len());
        match rng.random_range(0..5) {
            0 => drop(chars.drain(at..end)),
            1 => {
                let copy = chars[at..end].to_vec();
                chars.splice(at..at, copy);
            }
            2 => chars.swap(at, end - 1),
            3 => chars.truncate(at),
            _ => drop(chars.splice(at..at, PIECES[rng.random_range(0..PIECES.len())].chars())),
        }
    }
    chars.into_iter().collect()
}

/// Uses everything in a set that could go wrong later.
fn check(set: &TaskSet, from: &str) {
    assert!(!set.items.is_empty(), "{from}");
    for item in &set.items {
        for span in &item.spans {
            assert!(item.prompt.get(span.bytes.clone()).is_some(), "{from}");
        }
        let own = item.with_mask("<é>");
        assert!(
            own.spans
                .iter()
                .all(|span| own.prompt.get(span.bytes.clone()).is_some()),
            "{from}"
        );
        assert!(!own.prompt.contains(MASK), "{from}");
    }
    let again = TaskSet::parse(&encode(set), "again", &Draw::default());
    assert_eq!(again.as_ref(), Ok(set), "{from}");
}

#[test]
fn mutants_of_every_format_are_read_or_refused() {
    for (number, sample) in SAMPLES.iter().enumerate() {
        let options = Draw {
            shots: number % 3,
            ..Draw::default()
        };
        check(&TaskSet::parse(sample, "sample", &options).unwrap(), sample);
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let mut taken = 0;
        for _ in 0..MUTANTS {
            let mutant = mutate(&mut rng, sample);
            match TaskSet::parse(&mutant, "sample", &options) {
                Ok(set) => {
                    taken += 1;
                    // The round trip costs more than the reading.
                    if taken % 10 == 0 {
                        check(&set, &mutant);
                    }
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        assert!(
            (1..MUTANTS).contains(&taken),
            "sample {number}: {taken} mutants were taken"
        );
    }
}

#[test]
fn mutants_of_verbalisers_are_read_or_refused() {
    for (number, (words, scores)) in VERBALISERS.iter().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        for _ in 0..MUTANTS {
            let words = mutate(&mut rng, words);
            let scores = scores.map(|scores| mutate(&mut rng, scores));
            if let Ok(verbaliser) = Verbaliser::parse(&words, scores.as_deref()) {
                let mut all = verbaliser.classes.iter().flat_map(|class| &class.words);
                assert!(
                    all.all(|(word, weight)| !word.is_empty() && weight.is_finite()),
                    "{words}"
                );
                assert!(
                    verbaliser
                        .classes
                        .iter()
                        .all(|class| !class.words.is_empty()),
                    "{words}"
                );
            }
        }
    }
}

/// The published files, if they are there.
fn data(relative: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("HEADSCOPE_TEST_DATA")?).join(relative);
    path.exists().then_some(path)
}

fn load(path: &Path, shots: usize) -> TaskSet {
    TaskSet::load(
        path,
        &Draw {
            shots,
            ..Draw::default()
        },
    )
    .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn published_task_files_are_read() {
    let Some(folder) = data("function_vectors_tasks") else {
        return;
    };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let set = load(&path, 5);
            assert!(
                set.items
                    .iter()
                    .all(|item| item.prompt.matches("\n\nQ: ").count() == 5),
                "{}",
                path.display()
            );
        }
    }
    let files = [
        ("ioi/ioi_llama.csv", 1),
        ("greater_than/greater_than_data.csv", 2),
        ("comp_mech_counterfact/sample500_gpt2.json", 500),
        ("colored_objects/cobjs_data_42.json", 1000),
        ("colored_objects/cobjs_mindiff_data_42.json", 1000),
    ];
    for (file, least) in files {
        let Some(path) = data(file) else { continue };
        let set = load(&path, 0);
        assert!(set.items.len() >= least, "{file}");
        if file.starts_with("comp_mech") {
            assert!(
                set.items
                    .iter()
                    .all(|item| item.contrast.is_some() && item.spans.len() == 1)
            );
        }
    }
}

#[test]
fn published_verbalisers_are_read() {
    for name in ["S2ORC", "SDPRA", "emerging_nlp"] {
        let words = data(&format!(
            "sciprompt/knowledge_output__{name}_output_words.txt"
        ));
        let scores = data(&format!("sciprompt/scores__{name}_output_scores.txt"));
        let (Some(words), Some(scores)) = (words, scores) else {
            continue;
        };
        let verbaliser =
            Verbaliser::open(&words, Some(&scores)).unwrap_or_else(|error| panic!("{error}"));
        assert!(verbaliser.classes.len() >= 7);
        assert!(
            verbaliser
                .classes
                .iter()
                .all(|class| class.words[0].1 >= 1.0)
        );
    }
    for file in [
        "sciprompt/label_mappings__S2ORC_label_mappings.json",
        "sciprompt/label_mappings__SDPRA_label_mappings.json",
        "sciprompt/data__SDPRA2021__label_dict.txt",
        "modernbert_instruct/agnews_label_map.json",
    ] {
        let Some(path) = data(file) else { continue };
        assert!(
            Verbaliser::open(&path, None)
                .unwrap_or_else(|error| panic!("{error}"))
                .classes
                .len()
                >= 4
        );
    }
}
