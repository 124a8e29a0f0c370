//! The pass key test.

use super::*;
use crate::analysis::longheads::trials::trial;
use crate::experiment::{GeneratedToken, Side};

#[test]
fn a_pass_key_lies_where_it_was_put() {
    let demo = engine("demo");
    let model = demo.model();
    for depth in [0.0, 0.5, 1.0] {
        let case = passkey(model, 128, depth, 42).unwrap();
        assert_eq!(case.spec.ids.len(), 128);
        let ids: Vec<u32> = case
            .span("needle")
            .iter()
            .map(|at| case.spec.ids[*at])
            .collect();
        let text = model.text_after(&[], &ids);
        assert_eq!(
            text.trim(),
            "The pass key is 42. Remember it. 42 is the pass key."
        );
    }
    assert!(passkey(model, 10, 0.5, 42).is_err());
}

#[test]
fn a_trial_writes_what_the_two_attentions_write() {
    for name in ["tiny-llama", "tiny-mistral"] {
        let mut engine = engine(name);
        let spec = engine.model().spec.clone();
        let mut case = case(23);
        case.whole.right = vec![vec![4, 7, 9]];
        let mut greedy = vec![];
        let mut each = |token: &GeneratedToken| {
            greedy.push(token.chosen.id);
            true
        };
        engine
            .generate(&case.spec, Side::Before, 3, &[], &mut each)
            .unwrap();
        let of = |engine: &mut Engine, case: &Case, sizes: Sizes| {
            let mut heard = vec![];
            let go_on = &mut |f: f32| {
                heard.push(f);
                true
            };
            let trial = trial(engine, case, sizes, (0.5, 7), go_on).unwrap();
            assert!(heard.is_sorted() && heard.iter().all(|f| (0.0..1.0).contains(f)));
            trial
        };
        // The window holds the prompt and the answer: both write the same.
        let wide = Sizes {
            chunk: 4,
            window: 28,
        };
        let found = of(&mut engine, &case, wide);
        let first = vec![greedy[0]];
        assert_eq!(
            found.written,
            [first.clone(), first.clone(), first],
            "wrong at once"
        );
        assert_eq!(found.is_right(), [false; 3]);
        case.whole.right = vec![greedy.clone()];
        let found = of(&mut engine, &case, wide);
        assert_eq!(found.is_right(), [true; 3]);
        assert!((found.chance - 1.0).abs() < 1e-6);
        // The needle is in chunk 2, one of three of which one is read; another needle is in the first one as well.
        for (needle, chance) in [(vec![9, 10], 1.0 / 3.0), (vec![2, 9], 2.0 / 3.0)] {
            case.spans = vec![("needle".into(), needle)];
            let found = of(&mut engine, &case, SMALL);
            assert!((found.chance - chance).abs() < 1e-6);
            assert_eq!(found.written[0], greedy);
            let n = spec.n_layers * spec.n_heads;
            assert_eq!(found.read.len(), n);
            let least: f32 = if chance > 0.5 { 0.5 } else { 0.0 };
            let is_plain = name == "tiny-mistral";
            for read in &found.read {
                assert_eq!(read.is_none(), is_plain, "its layers have windows");
                assert!([least, 1.0].map(Some).contains(read) || is_plain);
            }
            for written in &found.written[1..] {
                assert_eq!(*written == greedy, is_plain, "{name}");
            }
        }
    }
}

#[test]
fn retrieval_heads_of_a_real_model_select_the_pass_key() {
    let Ok(folder) = std::env::var("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path = format!("{folder}/smollm2-135m-instruct-q4_1");
    let mut engine = Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()));
    let case = passkey(engine.model(), 256, 0.4, 47_261).unwrap();
    let settings = settings(Sizes {
        chunk: 16,
        window: 112,
    });
    let report = longheads(&mut engine, &case, &settings, &mut Unheard).unwrap();
    let [found, mass] =
        ["finds_place", "selected_mass"].map(|name| report.scores_of(name).unwrap());
    let mean = found.values.iter().flatten().sum::<f32>() / found.values.len() as f32;
    // Chance selects 8 of 16 chunks.
    assert!((0.3..0.7).contains(&mean), "{mean}");
    // Of the retrieval heads of the specification's table: these two read nothing but the pass key here.
    for head in [HeadId::new(18, 6), HeadId::new(18, 7)] {
        assert_eq!(found.value(head), Some(1.0), "{head}");
        assert!(mass.value(head).unwrap() > 0.99, "{head}");
    }
    let table = report.tables.last().unwrap();
    for row in &table.rows {
        assert_eq!(row[1], Cell::from("4"), "the answer survives the selection");
    }
    // Digit by digit, out of a chunk that is a matter of choice.
    let sizes = Sizes {
        chunk: 16,
        window: 80,
    };
    let case = passkey(engine.model(), 160, 0.6, 47).unwrap();
    let found = trial(&mut engine, &case, sizes, (0.6, 47), &mut |_| true).unwrap();
    assert_eq!(found.is_right(), [true, true, false]);
    assert!(found.chance < 0.5);
}
