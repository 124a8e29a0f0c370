use super::super::masking::{names, outliers};
use super::testing::{engine, key_values};
use super::*;
use crate::analysis::Unheard;
use crate::model::load::{Unreported, open};

fn haystack(engine: &Engine) -> Haystack {
    let mut instances = key_values(engine.model(), 12, 1);
    for (i, one) in instances.iter_mut().enumerate() {
        one.cell = Some((i % 2, i % 3));
    }
    Haystack {
        instances,
        held_out: key_values(engine.model(), 4, 77),
        lengths: vec![20, 30],
        depths: vec![0.0, 0.5, 1.0],
        notes: vec![],
    }
}

fn table<'a>(report: &'a Report, name: &str) -> &'a Table {
    report
        .tables
        .iter()
        .find(|table| table.name == name)
        .unwrap()
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Number(Some(value)) => *value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn heads_that_look_codes_up_are_found_and_masking_them_costs_the_answer() {
    let mut engine = engine();
    let haystack = haystack(&engine);
    let settings = Settings {
        max_new: 2,
        k: Some(3),
        draws: 5,
        ..Settings::default()
    };
    let report = retrieval_on(&mut engine, &haystack, &settings, &mut Unheard).unwrap();
    let scores = report.scores_of("retrieval").unwrap();
    let (best, value) = scores.ranked()[0];
    assert!(value.unwrap() > 0.9, "{best} {value:?}");
    let frequency = report.scores_of("activation_frequency").unwrap();
    for (score, frequency) in scores.values.iter().zip(&frequency.values) {
        assert!(score.unwrap() <= frequency.unwrap() + 1e-6);
    }
    // All instances are answered, so each cell of the grid is full.
    assert_eq!(report.grids[0].name, "success");
    assert_eq!(report.grids[0].values, [Some(1.0); 6]);
    assert!(report.settings.contains(&("decoding", "greedy".into())));
    assert!(report.settings.contains(&("kept", 12.into())));
    // Masking: the answer's loss rises more than under any random heads.
    let masking = table(&report, "masking");
    assert_eq!(masking.rows.len(), 7);
    let rise = number(&masking.rows[1][2]);
    let random: Vec<f64> = (2..7).map(|i| number(&masking.rows[i][2])).collect();
    let median = number(&table(&report, "controls").rows[0][2]);
    assert!(rise > 10.0 * median.max(0.01), "{rise} {random:?}");
    // One draw hits a head of layer 0 that everything rests on: it is named, with its heads.
    let out = outliers(&random);
    assert!(!out.is_empty());
    for i in out {
        let draw = format!("random draw {}", i + 1);
        let note = report.notes.iter().find(|note| note.contains(&draw));
        assert!(
            ["L0H1", "L0H6"]
                .iter()
                .any(|head| note.unwrap().contains(head)),
            "{note:?}"
        );
    }
    let controls = table(&report, "controls");
    let larger = random.iter().filter(|x| **x >= rise).count();
    assert_eq!(controls.rows[0][6], Cell::from((1 + larger) as f64 / 6.0));
    assert_eq!(
        names(&scores.top(3)),
        match &masking.rows[1][6] {
            Cell::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    );
    let again = retrieval_on(&mut engine, &haystack, &settings, &mut Unheard).unwrap();
    assert_eq!(report, again);
}

#[test]
fn more_masked_heads_cost_more_and_scores_are_compared_with_a_file() {
    let mut engine = engine();
    let haystack = haystack(&engine);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.json");
    let mut settings = Settings {
        decoding: Decoding::TeacherForced,
        k: Some(5),
        draws: 5,
        ladder: true,
        ..Settings::default()
    };
    let report = retrieval_on(&mut engine, &haystack, &settings, &mut Unheard).unwrap();
    let plot = &report.plots[0];
    let sizes: Vec<f64> = plot.lines[0].points.iter().map(|point| point[0]).collect();
    assert_eq!(
        sizes,
        [0.0, 2.0, 5.0, 10.0, 15.0],
        "16 others of 32 at most"
    );
    // The step of five heads is the mask of the experiment itself.
    let masking = table(&report, "masking");
    let (intact, masked) = (number(&masking.rows[0][1]), number(&masking.rows[1][1]));
    let best = &plot.lines[0].points;
    assert!((best[0][1] - intact).abs() < 1e-9 && (best[2][1] - masked).abs() < 1e-9);
    let random: f64 = (2..7).map(|i| number(&masking.rows[i][1])).sum::<f64>() / 5.0;
    assert!((plot.lines[1].points[2][1] - random).abs() < 1e-9);
    assert!(best[2][1] > plot.lines[1].points[2][1]);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("masks of 20, 30, 50, 100"))
    );

    // With itself r is 1, and with its negative −1.
    settings.mask = false;
    settings.compare = path.to_str().unwrap().to_owned();
    let own = report.scores_of("retrieval").unwrap();
    let mut r = |scores: &HeadScores| {
        std::fs::write(&path, write_scores(scores).to_string()).unwrap();
        let report = retrieval_on(&mut engine, &haystack, &settings, &mut Unheard).unwrap();
        number(&table(&report, "compared").rows[0][2])
    };
    assert!((r(own) - 1.0).abs() < 1e-6);
    let mut negative = own.clone();
    negative
        .values
        .iter_mut()
        .for_each(|value| *value = value.map(|x| -x));
    assert!((r(&negative) + 1.0).abs() < 1e-6);
    for (text, part) in [("{\"0-0\": [1]}", "4 layers of 8 heads"), ("[]", "16-19")] {
        std::fs::write(&path, text).unwrap();
        let error = retrieval_on(&mut engine, &haystack, &settings, &mut Unheard).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_question_without_its_answer_in_place_finds_no_head() {
    let mut engine = engine();
    let mut haystack = haystack(&engine);
    for one in &mut haystack.instances {
        // The place holds another key's code.
        let other = haystack_other(one);
        one.ids[one.span.clone()].copy_from_slice(&other);
    }
    let settings = Settings {
        decoding: Decoding::TeacherForced,
        mask: false,
        ..Settings::default()
    };
    let report = retrieval_on(&mut engine, &haystack, &settings, &mut Unheard).unwrap();
    let scores = report.scores_of("retrieval").unwrap();
    assert!(scores.values.iter().all(|x| *x == Some(0.0)));
    assert_eq!(table(&report, "bins").rows[0][1], Cell::from(1.0));
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("teacher-forced"))
    );
}

/// Tokens that are not the answer's.
fn haystack_other(one: &Instance) -> Vec<u32> {
    one.answer.iter().map(|id| id + 1).collect()
}

#[test]
fn too_few_answered_instances_are_fed_instead() {
    let mut engine = engine();
    let mut haystack = haystack(&engine);
    haystack.instances.truncate(3);
    let settings = Settings {
        max_new: 2,
        mask: false,
        ..Settings::default()
    };
    let report = retrieval_on(&mut engine, &haystack, &settings, &mut Unheard).unwrap();
    assert!(
        report
            .settings
            .contains(&("decoding", "teacher-forced".into()))
    );
    assert!(
        report.notes.iter().any(|note| note.contains("3 of 3")),
        "{:?}",
        report.notes
    );
    let greedy = Settings {
        decoding: Decoding::Greedy,
        ..settings
    };
    let report = retrieval_on(&mut engine, &haystack, &greedy, &mut Unheard).unwrap();
    assert!(report.settings.contains(&("decoding", "greedy".into())));
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let path = |name: &str| {
        format!(
            "{}/tests/fixtures/models/{name}",
            env!("CARGO_MANIFEST_DIR")
        )
    };
    let refused = |name: &str, settings: &Settings| {
        let model = Arc::new(open(name, &mut Unreported).unwrap());
        let found = retrieval(&mut Engine::new(model), settings, &mut Unheard);
        found.unwrap_err().to_string()
    };
    let settings = Settings::default();
    assert!(refused(&path("tiny-bert"), &settings).contains("both directions"));
    assert!(refused(&path("tiny-llama"), &settings).contains("tokenizer"));
    assert!(refused("demo", &settings).contains("context"));
    let chat = Settings {
        chat: true,
        ..Settings::default()
    };
    assert!(refused("demo", &chat).contains("no chat template"));
    let mut engine = engine();
    let haystack = haystack(&engine);
    for bad in [
        Settings {
            k: Some(0),
            ..Settings::default()
        },
        Settings {
            k: Some(32),
            ..Settings::default()
        },
        Settings {
            share: 0.0,
            ..Settings::default()
        },
        Settings {
            draws: 2,
            max_new: 1,
            ..Settings::default()
        },
    ] {
        retrieval_on(&mut engine, &haystack, &bad, &mut Unheard).unwrap_err();
    }
    retrieval_on(&mut engine, &Haystack::default(), &settings, &mut Unheard).unwrap_err();
}

#[test]
fn it_stops_when_it_is_told_to() {
    struct Stop(f32);
    impl Progress for Stop {
        fn at(&mut self, fraction: f32, _so_far: Option<&Report>) -> bool {
            fraction < self.0
        }
    }
    let mut engine = engine();
    let haystack = haystack(&engine);
    let settings = Settings {
        max_new: 1,
        ..Settings::default()
    };
    for at in [0.0, 0.3, 0.8] {
        let stopped = retrieval_on(&mut engine, &haystack, &settings, &mut Stop(at));
        assert!(stopped.unwrap_err().is_stop(), "{at}");
    }
}

/// The same heads copy when needles are put as a chat.
#[test]
fn smollm2_has_them_in_a_chat_too() {
    let Some(folder) = std::env::var_os("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path = Path::new(&folder).join("smollm2-135m-instruct-q4_1");
    let model = open(path.to_str().unwrap(), &mut Unreported).unwrap();
    let chat = model.chat.as_ref().unwrap();
    let texts = Texts::new(&model, Some(chat)).unwrap();
    let mut haystack = needles(texts, 300, 0).unwrap();
    haystack.instances.truncate(3);
    let mut engine = Engine::new(Arc::new(model));
    let settings = Settings {
        decoding: Decoding::TeacherForced,
        mask: false,
        chat: true,
        ..Settings::default()
    };
    let report = retrieval_on(&mut engine, &haystack, &settings, &mut Unheard).unwrap();
    let top = report.scores_of("retrieval").unwrap().top(8);
    let known = ["L18H6", "L17H3", "L17H4", "L18H7"].map(|head| head.parse().unwrap());
    let found = known.iter().filter(|head| top.contains(head)).count();
    assert!(found >= 3, "{top:?}");
}

/// The specification's measured values, on the real model.
#[test]
fn smollm2_has_its_retrieval_heads() {
    let Some(folder) = std::env::var_os("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path =
        Path::new(&folder).join("smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf");
    let model = open(path.to_str().unwrap(), &mut Unreported).unwrap();
    let mut engine = Engine::new(Arc::new(model));
    let settings = Settings {
        data: Data::Json,
        lookup: Lookup {
            samples: 2,
            pairs: 5,
            ..Lookup::default()
        },
        tested: 1,
        draws: 5,
        ..Settings::default()
    };
    let report = retrieval(&mut engine, &settings, &mut Unheard).unwrap();
    let top = report.scores_of("retrieval").unwrap().top(6);
    for head in ["L18H6", "L17H3", "L17H4", "L18H7"] {
        assert!(top.contains(&head.parse().unwrap()), "{head} {top:?}");
    }
    let answer = &table(&report, "controls").rows[0];
    let (rise, random) = (number(&answer[1]), number(&answer[2]));
    assert!(rise > 10.0 * random, "{rise} {random}");
}
