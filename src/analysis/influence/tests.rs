use super::super::masking::masked;
use super::super::retrieval::testing::engine;
use super::table::selected;
use super::*;
use crate::analysis::Unheard;
use crate::analysis::metric::log_prob;
use crate::analysis::report::{Cell, Table};
use crate::experiment::RunSpec;
use crate::experiment::engine::Unwatched;
use crate::model::load::{Unreported, open};
use crate::prompt::BosRule;

fn text(domain: &str, text: &str) -> Text {
    Text {
        domain: domain.into(),
        text: text.into(),
    }
}

/// Words that come back, and words that do not, of the demo's own lists.
fn texts() -> Vec<Text> {
    vec![
        text(
            "words",
            "river lamp red Tom key blue cup river lamp red Tom key blue cup river lamp red Tom key blue cup",
        ),
        text(
            "words",
            "pen hat Mary green box store pen hat Mary green box store pen hat Mary green box store",
        ),
        text(
            "words",
            "When Mary and John went to the store, Tom gave a red pen to the old key of Poland",
        ),
        text(
            "words",
            "The capital of France is Paris. The list is pen, cup, hat. Monday Tuesday Wednesday red",
        ),
        text(
            "words",
            "On the table there is a green box. The war lasted from 1732 to 17 58. 3 + 4 = 7",
        ),
        text("other", "lamp key red cup"),
    ]
}

/// The demo's induction heads.
fn settings() -> Settings {
    Settings {
        heads: ["L1H7", "L1H1", "L1H5", "L1H3"]
            .map(|head| head.parse().unwrap())
            .into(),
        draws: 5,
        ..Settings::default()
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
fn texts_that_repeat_lean_on_induction_heads() {
    let mut engine = engine();
    let report = influence(&mut engine, &texts(), &settings(), &mut Unheard).unwrap();
    let rows = &table(&report, "texts").rows;
    let of: Vec<f64> = rows.iter().map(|row| number(&row[6])).collect();
    for (repeat, random) in rows[..2]
        .iter()
        .map(|row| (number(&row[6]), number(&row[7])))
    {
        assert!(of[2..5].iter().all(|other| repeat > 2.0 * other), "{of:?}");
        assert!(repeat > 2.0 * random, "{repeat} {random}");
    }
    // A fifth of five is one, the best; the short text is not selected, though it is alone in its domain.
    let best = usize::from(of[0] <= of[1]);
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(
            row[10],
            Cell::from(if i == best { "yes" } else { "" }),
            "{i}"
        );
    }
    assert_eq!(rows[5][11], Cell::from("too short"));
    assert_eq!(table(&report, "controls").rows.len(), 1);
    assert_eq!(table(&report, "draws").rows.len(), 5);
    assert_eq!(report.grids[0].name, format!("text {}", best + 1));
    // The first round cannot be copied; what rises are the later ones.
    let strip = &report.grids[0].values;
    assert_eq!(strip.len(), report.grids[0].columns.len());
    let mean_of = |part: &[Option<f32>]| part.iter().flatten().sum::<f32>() / part.len() as f32;
    let third = strip.len() / 3;
    assert!(mean_of(&strip[third..]) > mean_of(&strip[..third]) + 0.5);
}

#[test]
fn scores_are_what_runs_position_by_position_give() {
    let mut engine = engine();
    let model = Arc::clone(engine.model());
    // Longer than two windows of 20.
    let long = texts()[..3]
        .iter()
        .map(|text| text.text.as_str())
        .collect::<Vec<_>>()
        .join(" ");
    let settings = Settings {
        window: 20,
        ..settings()
    };
    let given = [text("", &long)];
    let report = influence(&mut engine, &given, &settings, &mut Unheard).unwrap();
    let windows = Windows::of(&model, &long, 20).unwrap();
    assert!(windows.runs.len() > 2 && windows.runs.iter().all(|ids| ids.len() <= 20));
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("window by window"))
    );
    let bos = model.bos_id().unwrap();
    let body: Vec<u32> = windows
        .runs
        .iter()
        .flat_map(|ids| {
            assert_eq!(ids[0], bos);
            ids[1..].to_vec()
        })
        .collect();
    let whole = model
        .tokenizer
        .as_ref()
        .unwrap()
        .encode(&long, BosRule::Auto)
        .unwrap();
    assert_eq!(body, whole[1..]);
    let mut mean_loss = |heads: &[HeadId]| {
        let (mut sum, mut n) = (0.0, 0);
        for ids in &windows.runs {
            for at in 1..ids.len() {
                let spec = RunSpec {
                    position: at - 1,
                    ..masked(ids, heads)
                };
                let outcome = engine.run(&spec, &mut Unwatched).unwrap();
                let pass = outcome.after.unwrap_or(outcome.before);
                sum -= log_prob(&pass.logits.unwrap(), ids[at]).unwrap();
                n += 1;
            }
        }
        assert_eq!(n, body.len());
        sum / f64::from(n as u32)
    };
    let (base, under) = (mean_loss(&[]), mean_loss(&settings.heads));
    let row = &table(&report, "texts").rows[0];
    for (found, by_hand) in [(4, base), (5, under), (6, (under - base) / base)] {
        // f32 logits of two ways through the same products.
        assert!(
            (number(&row[found]) - by_hand).abs() < 1e-4,
            "{found} {by_hand}"
        );
    }
    let other = Settings {
        denominator: Denominator::Masked,
        ..settings
    };
    let report = influence(&mut engine, &given, &other, &mut Unheard).unwrap();
    let found = number(&table(&report, "texts").rows[0][6]);
    assert!((found - (under - base) / under).abs() < 1e-4);
}

#[test]
fn the_best_of_each_domain_are_selected() {
    let of = |influence: f64, n_tokens| Scored {
        n_tokens,
        base: 1.0,
        masked: 1.0 + influence,
        influence,
        random: vec![0.0],
        changes: vec![],
    };
    let texts: Vec<Text> = (0..12)
        .map(|i| text(if i < 10 { "a" } else { "b" }, "x"))
        .collect();
    let mut scored: Vec<Scored> = (0..12).map(|i| of(f64::from(i), 20)).collect();
    scored[9].n_tokens = 15;
    assert_eq!(selected(&texts, &scored, 0.2), [7, 8, 11].into());
    assert_eq!(selected(&texts, &scored, 1.0).len(), 11);
    scored[11].influence = f64::NAN;
    assert!(selected(&texts, &scored, 0.2).contains(&10));
}

#[test]
fn a_domain_may_stand_before_a_text() {
    let read = of_texts(&["math\t1 + 1".to_owned(), " plain words".to_owned()]);
    assert_eq!(read, [text("math", "1 + 1"), text("", " plain words")]);
    assert!(
        of_texts(&[]).len() > 4,
        "without a file there are texts of our own"
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let mut engine = engine();
    let good = settings();
    let mut refused = |texts: &[Text], settings: &Settings| {
        let found = influence(&mut engine, texts, settings, &mut Unheard);
        found.unwrap_err().to_string()
    };
    assert!(refused(&[], &good).contains("no texts"));
    let bad = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        settings
    };
    let texts = texts();
    let outside = bad(&|s| s.heads = vec![HeadId::new(4, 0)]);
    assert!(refused(&texts, &outside).contains("L4H0"));
    assert!(refused(&texts, &bad(&|s| s.draws = 4)).contains("draws"));
    assert!(refused(&texts, &bad(&|s| s.select = 0.0)).contains("share"));
    assert!(refused(&texts, &bad(&|s| s.window = 2)).contains("window"));
    let all = bad(&|s| s.heads = heads_where(&engine_spec(), |_| true));
    assert!(refused(&texts, &all).contains("fewer heads"));
    // The demo's context has no room for a look-up.
    assert!(refused(&texts, &bad(&|s| s.heads.clear())).contains("context"));
    let path = |name: &str| {
        format!(
            "{}/tests/fixtures/models/{name}",
            env!("CARGO_MANIFEST_DIR")
        )
    };
    for (name, why) in [
        ("tiny-bert", "both directions"),
        ("tiny-llama", "tokenizer"),
    ] {
        let model = Arc::new(open(&path(name), &mut Unreported).unwrap());
        let mut engine = Engine::new(model);
        let found = influence(&mut engine, &texts, &good, &mut Unheard);
        let error = found.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

fn engine_spec() -> crate::model::spec::ModelSpec {
    engine().model().spec.clone()
}

/// The specification's test on the real model: what repeats leans on its retrieval heads, what does not leans on none.
#[test]
fn smollm2_copies_what_repeats() {
    let Some(folder) = std::env::var_os("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path = std::path::Path::new(&folder)
        .join("smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf");
    let model = open(path.to_str().unwrap(), &mut Unreported).unwrap();
    let words = "violin cement Tuesday orchid ladder mustard pilot velvet";
    let given = [
        text("repeats", &[words; 3].join(" ")),
        text(
            "plain",
            "A dog slept in the sun beside the open door, and nobody remembered who had planted the tree.",
        ),
    ];
    let heads =
        "L18H6 L17H3 L17H4 L18H7 L23H2 L20H6 L22H7 L23H7 L21H8 L17H5 L24H4 L23H8 L23H1 L22H4";
    let settings = Settings {
        heads: heads.split(' ').map(|head| head.parse().unwrap()).collect(),
        draws: 5,
        ..Settings::default()
    };
    let report = influence(
        &mut Engine::new(Arc::new(model)),
        &given,
        &settings,
        &mut Unheard,
    );
    let report = report.unwrap();
    let rows = &table(&report, "texts").rows;
    let (repeats, random) = (number(&rows[0][6]), number(&rows[0][7]));
    assert!(repeats > 3.0 * random.max(0.0), "{repeats} {random}");
    assert!(repeats > 3.0 * number(&rows[1][6]), "{:?}", rows[1]);
}
