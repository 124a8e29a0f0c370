use super::*;
use crate::analysis::Unheard;
use crate::experiment::engine::Unwatched;
use crate::experiment::{RunSpec, Side};
use crate::model::load::{Unreported, open};
use crate::prompt::BosRule;
use nalgebra::DMatrix;

use super::principal::dumped;

fn engine(name: &str) -> Engine {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = match name {
        "demo" => name.to_owned(),
        _ => format!("{root}/tests/fixtures/models/{name}"),
    };
    Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()))
}

fn case(ids: &[u32]) -> Case {
    Case {
        label: format!("{ids:?}"),
        spec: RunSpec {
            ids: ids.into(),
            n_prompt: ids.len(),
            reach: ids.len(),
            contrast: None,
            edits: vec![],
            position: ids.len() - 1,
            last: ids.len() - 1,
            bos_count: 0,
            folder: None,
        },
        answers: vec![4, 9],
        wrong: vec![],
        ..Case::default()
    }
}

fn of_ids() -> Vec<Case> {
    vec![
        case(&[3, 7, 20, 7, 1]),
        case(&[30, 2, 2, 14]),
        case(&[8, 25, 31, 6, 8, 25]),
    ]
}

/// The next-token distribution under edits, by a plain run.
fn distribution(engine: &mut Engine, case: &Case, edits: Vec<Edit>) -> Vec<f64> {
    let spec = RunSpec {
        edits,
        ..case.spec.clone()
    };
    let outcome = engine.run(&spec, &mut Unwatched).unwrap();
    let logits = outcome.after.unwrap_or(outcome.before).logits.unwrap();
    let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
    logits.iter().map(|l| f64::from(*l).exp() / total).collect()
}

/// The sum of principal angles by the book: thin SVD of the dumped rows, arccos of the singular values.
fn angle(engine: &mut Engine, cases: &[Case], edits: &[Edit], rank: usize) -> f64 {
    let mut basis = |edits: &[Edit]| {
        let rows: Vec<Vec<f64>> = cases
            .iter()
            .map(|case| {
                let edits = edits.to_vec();
                let spec = RunSpec {
                    edits,
                    ..case.spec.clone()
                };
                dumped(engine, &spec).unwrap()
            })
            .collect();
        let matrix = DMatrix::from_fn(rows.len(), rows[0].len(), |i, j| rows[i][j]);
        let svd = matrix.svd(true, false);
        svd.u.unwrap().columns(0, rank).into_owned()
    };
    let (plain, edited) = (basis(&[]), basis(edits));
    let between = (plain.transpose() * edited).singular_values();
    between
        .iter()
        .map(|c| c.clamp(-1.0, 1.0).acos().to_degrees())
        .sum()
}

fn sahara(report: &Report) -> Vec<(HeadId, f64)> {
    let table = report.tables.iter().find(|table| table.name == "sahara");
    let row = |row: &Vec<Cell>| match &row[..] {
        [_, Cell::Text(head), Cell::Number(Some(angle))] => (head.parse().unwrap(), *angle),
        _ => panic!("{row:?}"),
    };
    table.unwrap().rows.iter().map(row).collect()
}

#[test]
fn scores_are_those_of_one_run_after_the_other() {
    for (name, ablation, rank) in [
        ("demo", Ablation::Undifferentiated, 1),
        ("tiny-llama", Ablation::Zero, 2),
        ("tiny-gpt2", Ablation::Undifferentiated, 1),
        ("tiny-gemma2", Ablation::Scale, 1),
    ] {
        let mut engine = engine(name);
        let cases = of_ids();
        let settings = Settings {
            ablation,
            rank,
            steps: 2,
            ..Settings::default()
        };
        let report = of_cases(&mut engine, &cases, &settings, &mut Unheard).unwrap();
        let map = |name: &str| report.scores_of(name).unwrap().clone();
        let (kls, angles, changes) = (map("ships"), map("ships_angle"), map("refusal_change"));
        let mut largest: f32 = 0.0;
        for (head, value) in kls.ranked() {
            let edits = settings.edits(&[head]);
            let (mut kl, mut change) = (0.0, 0.0);
            for case in &cases {
                let plain = distribution(&mut engine, case, vec![]);
                let edited = distribution(&mut engine, case, edits.clone());
                let terms = plain.iter().zip(&edited).map(|(p, q)| p * (p / q).ln());
                kl += terms.sum::<f64>() / 3.0;
                let openers = |p: &[f64]| p[4] + p[9];
                change += (openers(&edited) - openers(&plain)) / 3.0;
            }
            let value = value.unwrap();
            assert!(value >= 0.0);
            largest = largest.max(value);
            // Logits of f32: 1e-6 each, and of a sweep in another order of sums.
            assert!(
                (f64::from(value) - kl).abs() < 1e-5 + 1e-3 * kl,
                "{name} {head}"
            );
            assert!((f64::from(changes.value(head).unwrap()) - change).abs() < 1e-5);
            let by_hand = angle(&mut engine, &cases, &edits, rank);
            let found = f64::from(angles.value(head).unwrap());
            // A row is off by 1e-5 of its norm, 6e-4 of a degree; arccos near 1 loses half its digits.
            assert!(
                (found - by_hand).abs() < 5e-3,
                "{name} {head}: {found} {by_hand}"
            );
        }
        assert!(largest > 1e-4, "{name}: some head matters");

        let steps = sahara(&report);
        assert_eq!(
            steps[0].0,
            angles.ranked()[0].0,
            "the first is the single best"
        );
        assert!((steps[0].1 - f64::from(angles.ranked()[0].1.unwrap())).abs() < 1e-4);
        let first = steps[0].0;
        let best = kls
            .ranked()
            .into_iter()
            .filter(|(head, _)| *head != first)
            .map(|(head, _)| {
                let edits = settings.edits(&[first, head]);
                angle(&mut engine, &cases, &edits, rank)
            })
            .fold(0.0, f64::max);
        assert!(
            (steps[1].1 - best).abs() < 5e-3,
            "{name}: {} {best}",
            steps[1].1
        );
        let own = angle(
            &mut engine,
            &cases,
            &settings.edits(&[first, steps[1].0]),
            rank,
        );
        assert!((own - best).abs() < 5e-3);
    }
}

#[test]
fn an_ablation_that_does_nothing_has_no_ships_and_no_angle() {
    let mut engine = engine("demo");
    let noop = Settings {
        ablation: Ablation::Scale,
        epsilon: 1.0,
        ..Settings::default()
    };
    let report = of_cases(&mut engine, &of_ids(), &noop, &mut Unheard).unwrap();
    for name in ["ships", "ships_angle", "refusal_change"] {
        for value in &report.scores_of(name).unwrap().values {
            // Angles keep half the digits of f64.
            assert!(value.unwrap().abs() < 1e-5, "{name}: {value:?}");
        }
    }
    // With one token there is nothing to attend to but itself: equal attention is what there was.
    let alone = [case(&[5]), case(&[6]), case(&[17])];
    let of = |ablation, engine: &mut Engine| {
        let settings = Settings {
            ablation,
            ..Settings::default()
        };
        let report = of_cases(engine, &alone, &settings, &mut Unheard).unwrap();
        let (_, value) = report.scores_of("ships").unwrap().ranked()[0];
        value.unwrap()
    };
    assert!(of(Ablation::Undifferentiated, &mut engine) < 1e-6);
    assert!(of(Ablation::Zero, &mut engine) > 1e-3);
}

#[test]
fn requests_are_read_from_their_texts_and_answered_before_and_after() {
    let mut engine = engine("demo");
    let texts = [
        "Monday Tuesday".to_owned(),
        "river lamp red river".to_owned(),
    ];
    let settings = Settings {
        openers: vec![" Wednesday".into(), " lamp".into(), " lamp".into()],
        steps: 1,
        answer_tokens: 3,
        ..Settings::default()
    };
    let report = ships(&mut engine, &texts, &settings, &mut Unheard).unwrap();
    let own = cases(engine.model(), &texts, &settings).unwrap();
    assert_eq!(own[0].answers.len(), 2, "each opener counts once");
    let table = report.tables.iter().find(|t| t.name == "answers").unwrap();
    assert_eq!(table.rows.len(), texts.len() * 3, "intact, ships, sahara");
    let plain = distribution(&mut engine, &own[0], vec![]);
    let by_hand: f64 = own[0].answers.iter().map(|id| plain[*id as usize]).sum();
    assert!(matches!(table.rows[0][4], Cell::Number(Some(p)) if (p - by_hand).abs() < 1e-5));
    let generated = engine
        .generate(&own[0].spec, Side::Before, 3, &[], &mut |_| true)
        .unwrap();
    let ids: Vec<u32> = generated.tokens.iter().map(|t| t.chosen.id).collect();
    let text = engine.model().text_after(&own[0].spec.ids, &ids);
    assert_eq!(table.rows[0][5], Cell::from(text));
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.starts_with("intact: 2 of 2"))
    );
    // The bars are the means of the table.
    let bars = |name: &str| &report.bars.iter().find(|b| b.name == name).unwrap().bars;
    let means: Vec<f64> = bars("refusals").iter().map(|b| b.parts[0].value).collect();
    assert_eq!(means.len(), 3);
    for (i, mean) in means.iter().enumerate() {
        let of = |row: usize| match table.rows[row][4] {
            Cell::Number(Some(p)) => p,
            _ => panic!("{row}"),
        };
        assert!((mean - f64::midpoint(of(i), of(3 + i))).abs() < 1e-9);
    }
    assert!(
        bars("answers given")
            .iter()
            .all(|bar| bar.parts[0].value == 0.0)
    );
    assert_eq!(bars("sahara").len(), 1);
}

#[test]
fn a_request_is_put_in_its_form() {
    let demo = "demo".to_owned();
    let model = open(&demo, &mut Unreported).unwrap();
    let of = |form| Settings {
        form,
        template: "Say: {q}".into(),
        ..Settings::default()
    };
    let text = |form| of(form).prompt(&model, "red");
    assert_eq!(text(Form::Raw).unwrap(), "Say: red");
    assert_eq!(text(Form::Query).unwrap(), "## Query:Say: red\n## Answer:");
    let error = text(Form::Chat).unwrap_err().to_string();
    assert!(
        error.contains("--form raw") && error.contains("no chat template"),
        "{error}"
    );

    // A model with one: its special token is written out once, and none is put before it.
    let folder = tempfile::tempdir().unwrap();
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/models/demo");
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let from = std::path::Path::new(files).join(name);
        std::fs::copy(from, folder.path().join(name)).unwrap();
    }
    let bos = model.tokenizer.as_ref().unwrap();
    let bos = bos.pieces(&[model.bos_id().unwrap()])[0].text.clone();
    let chat = format!(
        "{bos}{{% for m in messages %}}{{{{ m.role }}}}: {{{{ m.content }}}}{{% endfor %}} answer:"
    );
    std::fs::write(folder.path().join("chat_template.jinja"), chat).unwrap();
    let model = open(folder.path().to_str().unwrap(), &mut Unreported).unwrap();
    let texts = ["red".to_owned()];
    let chat = &cases(&model, &texts, &of(Form::Chat)).unwrap()[0].spec.ids;
    let tokenizer = model.tokenizer.as_ref().unwrap();
    let by_hand = tokenizer
        .encode("user: Say: red answer:", BosRule::Always)
        .unwrap();
    assert_eq!(chat[..], by_hand);
    let raw = &cases(&model, &texts, &of(Form::Raw)).unwrap()[0].spec.ids;
    assert_eq!(
        raw[..],
        tokenizer.encode("Say: red", BosRule::Auto).unwrap()
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let mut demo = engine("demo");
    let texts = vec!["Monday".to_owned(), "Tuesday".to_owned()];
    let refused = |settings: &Settings, texts: &[String], engine: &mut Engine, what: &str| {
        let error = ships(engine, texts, settings, &mut Unheard).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    };
    let plain = Settings::default();
    refused(&plain, &[], &mut demo, "--texts");
    let template = Settings {
        template: "q".into(),
        ..Settings::default()
    };
    refused(&template, &texts, &mut demo, "{q}");
    for rank in [0, 3] {
        let rank = Settings {
            rank,
            ..Settings::default()
        };
        refused(&rank, &texts, &mut demo, "directions");
    }
    refused(&plain, &texts, &mut engine("tiny-llama"), "no tokenizer");
    let encoder = &mut engine("tiny-bert");
    let error = of_cases(encoder, &of_ids(), &plain, &mut Unheard).unwrap_err();
    assert!(error.to_string().contains("next token"), "{error}");
    let one = ships(&mut demo, &texts[..1], &plain, &mut Unheard).unwrap();
    assert!(one.scores_of("ships_angle").is_none());
    assert!(one.notes.iter().any(|note| note.contains("at least two")));
}

#[test]
fn it_stops_when_it_is_told_to() {
    struct Stop(f32);
    impl Progress for Stop {
        fn at(&mut self, fraction: f32, _so_far: Option<&Report>) -> bool {
            fraction < self.0
        }
    }
    let mut engine = engine("demo");
    for at in [0.0, 0.3, 0.6, 0.95] {
        let error = of_cases(&mut engine, &of_ids(), &Settings::default(), &mut Stop(at));
        assert!(error.unwrap_err().is_stop(), "{at}");
    }
}

#[test]
fn a_real_model_declines_less_or_more_without_some_head() {
    let Ok(folder) = std::env::var("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path = format!("{folder}/smollm2-135m-instruct-q4_1");
    let mut engine = Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()));
    let texts: Vec<String> = BENIGN[..2].iter().map(|text| (*text).to_owned()).collect();
    let settings = Settings {
        steps: 1,
        ..Settings::default()
    };
    let report = ships(&mut engine, &texts, &settings, &mut Unheard).unwrap();
    let kls = report.scores_of("ships").unwrap();
    assert!(
        kls.values
            .iter()
            .all(|value| value.is_some_and(|x| x >= 0.0))
    );
    let strongest = kls.ranked()[0].1.unwrap();
    let mut sorted: Vec<f32> = kls.values.iter().flatten().copied().collect();
    sorted.sort_by(f32::total_cmp);
    // A few heads decide: the strongest is far above the middle one.
    assert!(strongest > 10.0 * sorted[sorted.len() / 2]);
    assert!(
        !report
            .notes
            .iter()
            .any(|note| note.contains("a pass of its own"))
    );
}
