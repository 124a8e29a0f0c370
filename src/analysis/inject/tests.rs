use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::analysis::Unheard;
use crate::analysis::learned::tests::{
    StopsAt, case, cases, engine, furthest, logits, number, row, task, whole,
};
use crate::analysis::metric::log_prob;
use crate::experiment::RunSpec;
use crate::experiment::engine::Unwatched;
use crate::model::site::{Part, Site};

fn quick() -> Settings {
    Settings {
        prompts: 4,
        shots: 2,
        steps: 6,
        every: 3,
        function_prompts: 2,
        ..Settings::default()
    }
}

fn plain(engine: &mut Engine, case: &Case) -> Vec<f32> {
    let pass = engine.run(&case.spec, &mut Unwatched).unwrap().before;
    pass.logits.unwrap().to_vec()
}

#[test]
fn slopes_are_those_of_the_loss_and_closed_gates_change_nothing() {
    for name in ["tiny-llama", "tiny-gpt2"] {
        let mut engine = engine(name);
        let spec = engine.model().spec.clone();
        let n = spec.n_layers * spec.n_heads;
        let t: Vec<f32> = (0..n * spec.d_head).map(|i| (i as f32).sin()).collect();
        let case = case(&[3, 1, 4, 1, 5], 2, None);
        let alphas: Vec<f64> = (0..n).map(|i| 0.1 + 0.8 * (i as f64 / n as f64)).collect();
        let (_, slopes) = gradient(&mut engine, &case, &t, (&alphas, 0), &mut || true).unwrap();
        for at in [0, n / 2, n - 1] {
            let mut of = |by: f64| {
                let mut alphas = alphas.clone();
                alphas[at] += by;
                gradient(&mut engine, &case, &t, (&alphas, 0), &mut || true)
                    .unwrap()
                    .0
            };
            let slope = (of(0.02) - of(-0.02)) / 0.04;
            // A loss in f32 is known to 1e-6 or so.
            let apart = (slope - slopes[at]).abs();
            assert!(
                apart < 2e-4 + 0.02 * slope.abs(),
                "{name} {at}: {slope} {}",
                slopes[at]
            );
        }
        assert!(slopes.iter().any(|slope| slope.abs() > 1e-3));
        let (loss, _) = gradient(&mut engine, &case, &t, (&vec![0.0; n], 0), &mut || true).unwrap();
        let logits = plain(&mut engine, &case);
        assert!((loss + log_prob(&logits, 2).unwrap()).abs() < 1e-5);
    }
}

#[test]
fn open_gates_replace_every_head_s_output() {
    let mut engine = engine("tiny-llama");
    let spec = engine.model().spec.clone();
    let heads = all_heads(engine.model());
    let t: Vec<f32> = (0..heads.len() * spec.d_head)
        .map(|i| (i as f32).cos())
        .collect();
    let tensors: Vec<_> = heads
        .iter()
        .zip(t.chunks_exact(spec.d_head))
        .map(|(head, t)| (name(*head), t.to_vec()))
        .collect();
    let scratch = Scratch::new(&tensors).unwrap();
    let case = case(&[3, 1, 4, 1, 5], 2, None);
    let of = |alpha: f64| RunSpec {
        edits: edits(&heads, &vec![alpha; heads.len()]),
        folder: Some(scratch.folder()),
        ..case.spec.clone()
    };
    // After the last layer's attention nothing of the edit's own site is left to see but its result.
    let width = spec.n_heads * spec.d_head;
    let last = spec.n_layers - 1;
    let edited = engine
        .dump(&of(1.0), &[Site::Block(last, Part::AttnOut)])
        .unwrap();
    let by_hand: Vec<f32> = {
        let mut sum = vec![0.0; spec.d_model];
        for head in 0..spec.n_heads {
            let o = engine
                .model()
                .head_weights(HeadId::new(last, head))
                .unwrap()
                .o;
            let t = &t[last * width + head * spec.d_head..][..spec.d_head];
            for (sum, row) in sum.iter_mut().zip(o.chunks_exact(spec.d_head)) {
                *sum += row.iter().zip(t).map(|(w, t)| w * t).sum::<f32>();
            }
        }
        sum
    };
    let at = case.spec.position * spec.d_model;
    let out = &edited[0].values[at..at + spec.d_model];
    assert!(furthest(out, &by_hand) < 1e-4, "tiny-llama has no b_O");
    let closed = logits(&mut engine, &case, &of(0.0).edits, &scratch.folder());
    assert_eq!(closed, plain(&mut engine, &case));
    // The same logits as with each z taken away and its embedding put in its place.
    let replaced: Vec<Edit> = heads
        .iter()
        .flat_map(|head| {
            let file = crate::analysis::learned::FILE;
            let add = format!("{head}=add({file}:{}, 1)@last", name(*head));
            [format!("{head}=zero@last"), add]
        })
        .map(|edit| edit.parse().unwrap())
        .collect();
    let by_replacing = logits(&mut engine, &case, &replaced, &scratch.folder());
    let open = logits(&mut engine, &case, &of(1.0).edits, &scratch.folder());
    assert!(furthest(&open, &by_replacing) < 1e-5);
    assert!(furthest(&open, &closed) > 1e-3);
}

#[test]
fn examples_are_other_prompts_with_their_answers() {
    let model = engine("tiny-gpt2");
    let given = cases(9, None);
    let shots = Shots::new(model.model(), &given, &quick()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let separator =
        (Shots::new(model.model(), &given, &quick()).unwrap()).draw(&given, None, &mut rng);
    let gap = (separator.spec.ids.len() - 3 * 4 - 2) / 2;
    for _ in 0..20 {
        let drawn = shots.draw(&given, Some(&given[8]), &mut rng);
        let ids = &drawn.spec.ids;
        assert_eq!(ids[ids.len() - 4..], given[8].spec.ids[..]);
        assert_eq!(
            (drawn.spec.position, drawn.answers[0]),
            (ids.len() - 1, given[8].answers[0])
        );
        for i in 0..2 {
            let from = i * (5 + gap);
            let example = given
                .iter()
                .find(|case| case.spec.ids[..] == ids[from..from + 4]);
            assert_eq!(example.unwrap().answers[0], ids[from + 4]);
        }
    }
    // One with a token at the front keeps it there, and only there.
    let mut with_bos = given.clone();
    for case in &mut with_bos {
        case.spec.ids = [&[0], &case.spec.ids[..]].concat().into();
        case.spec.bos_count = 1;
    }
    let drawn = shots.draw(&with_bos, Some(&with_bos[8]), &mut rng);
    assert_eq!(drawn.spec.ids[0], 0);
    assert_eq!(drawn.spec.ids.len(), separator.spec.ids.len() + 1);
}

#[test]
fn examples_hold_whole_answers() {
    let model = engine("tiny-llama");
    let given: Vec<Case> = cases(9, None)
        .into_iter()
        .enumerate()
        .map(|(i, case)| {
            let first = case.answers[0];
            let long: &[u32] = &[first, 11, 12, 13];
            whole(case, &[&long[..=i % 3]], &[])
        })
        .collect();
    let shots = Shots::new(model.model(), &given, &quick()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut seen = 0;
    for _ in 0..20 {
        let drawn = shots.draw(&given[..8], Some(&given[8]), &mut rng);
        let solved = |case: &&Case| {
            let text = [&case.spec.ids[..], case.right_tokens(0)].concat();
            drawn.spec.ids.windows(text.len()).any(|part| part == text)
        };
        let n = given[..8].iter().filter(solved).count();
        assert_eq!(n, 2, "{:?}", drawn.spec.ids);
        seen += given[..8]
            .iter()
            .filter(|case| solved(case) && case.right_tokens(0).len() > 1)
            .count();
        assert_eq!(drawn.right_tokens(0), given[8].right_tokens(0));
    }
    assert!(seen > 10);
    // Answers take room: those of examples, and the query's own where it is written.
    let many = |given: &[Case], exact| {
        let settings = Settings {
            shots: 1000,
            exact,
            ..quick()
        };
        Shots::new(model.model(), given, &settings).unwrap().n
    };
    let short = many(&cases(9, None), false);
    assert!(many(&given, false) < short);
    assert!(many(&cases(9, None), true) < short);
}

#[test]
fn gates_of_another_run_are_tried_with_this_task_s_embeddings() {
    let mut engine = engine("tiny-gpt2");
    let settings = Settings {
        baselines: false,
        exact: true,
        ..quick()
    };
    let (_, first) = inject(&mut engine, &cases(10, None), &settings, &mut Unheard).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    first.save(&path).unwrap();
    // Once of the same task, whose gates are then its own, and once shut.
    let shut = Vectors {
        edits: first
            .edits
            .iter()
            .map(|edit| format!("{}, 0)@last", edit.rsplit_once(", ").unwrap().0))
            .collect(),
        ..first.clone()
    };
    let shut_path = folder.path().join("shut.safetensors");
    shut.save(&shut_path).unwrap();
    let both = Settings {
        gates: format!("{}, {}", path.display(), shut_path.display()),
        ..settings.clone()
    };
    let (report, vectors) = inject(&mut engine, &cases(10, None), &both, &mut Unheard).unwrap();
    assert_eq!(
        (&vectors.edits, &vectors.tensors),
        (&first.edits, &first.tensors)
    );
    let number = |row, column| number(&report, "gates of other tasks", row, column);
    let held_out = report
        .tables
        .iter()
        .find(|table| table.name == "held-out prompts");
    assert_eq!(held_out.unwrap().rows.len(), 4, "no row of borrowed gates");
    assert_eq!(held_out.unwrap().columns.last().unwrap(), "exact match");
    assert!((number(2, 2) - number(1, 2)).abs() < 1e-12);
    assert!((number(2, 3) - 1.0).abs() < 1e-12 && (number(2, 4) - 1.0).abs() < 1e-9);
    // A shut gate is computed, and rounds.
    let (shut, plain) = (number(3, 2), number(0, 2));
    assert!((shut - plain).abs() < 1e-5, "{shut} {plain}");
    assert!(number(3, 3).is_nan(), "{}", number(3, 3));
    assert!((number(1, 2) - row(&report, "soft injection")[4]).abs() < 1e-12);
    let wrong = Settings {
        gates: "none.safetensors".into(),
        ..settings
    };
    let error = inject(&mut engine, &cases(10, None), &wrong, &mut Unheard);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("none.safetensors"), "{error}");
}

#[test]
fn a_histogram_counts_every_gate_once() {
    let mut engine = engine("tiny-gpt2");
    let (report, _) = inject(&mut engine, &cases(10, None), &quick(), &mut Unheard).unwrap();
    let bars = &report.bars[0].bars;
    let gates = &report.scores_of("gate").unwrap().values;
    assert_eq!(bars.len(), 10);
    let count = |i: usize| {
        let inside = |a: &&Option<f32>| {
            let a = f64::from(a.unwrap());
            a >= i as f64 / 10.0 && (a < (i + 1) as f64 / 10.0 || i == 9)
        };
        gates.iter().filter(inside).count() as f64
    };
    for (i, bar) in bars.iter().enumerate() {
        assert!((bar.parts[0].value - count(i)).abs() < 1e-12, "{i}");
    }
}

#[test]
fn an_embedding_is_a_mean_of_z() {
    let mut engine = engine("tiny-llama");
    let given = cases(3, None);
    let mut of = |cases: &[Case]| shots::embedding(&mut engine, cases, &mut |_| true).unwrap();
    let each: Vec<Vec<f32>> = given
        .iter()
        .map(|case| of(std::slice::from_ref(case)))
        .collect();
    let mean: Vec<f32> = (0..each[0].len())
        .map(|i| each.iter().map(|z| z[i]).sum::<f32>() / 3.0)
        .collect();
    assert!(furthest(&of(&given), &mean) < 1e-6);
    let z = engine
        .dump(&given[1].spec, &[Site::Block(1, Part::Z)])
        .unwrap();
    let width = each[1].len() / engine.model().spec.n_layers;
    assert_eq!(z[0].values[3 * width..], each[1][width..2 * width]);
}

#[test]
fn a_task_is_put_into_prompts_of_the_bundled_model() {
    let mut engine = engine("demo");
    let given = task("counterfactual_capitals", 60);
    let settings = Settings {
        prompts: 10,
        shots: 2,
        steps: 60,
        every: 20,
        function_prompts: 3,
        ..Settings::default()
    };
    let (report, vectors) = inject(&mut engine, &given, &settings, &mut Unheard).unwrap();
    let of = |what| row(&report, what);
    let (before, after) = (of("zero-shot"), of("soft injection"));
    assert!(
        after[4] < before[4] - 1.0 && after[0] > before[0],
        "{before:?} {after:?}"
    );
    assert!(of("random")[4] > after[4]);
    for what in ["examples", "function vector", "task vector"] {
        assert!(of(what)[4].is_finite());
    }
    let folder = tempfile::tempdir().unwrap();
    vectors.save(&folder.path().join("i.safetensors")).unwrap();
    let edits = vectors.edits_from("i.safetensors").unwrap();
    assert_eq!(edits.len(), 32);
    let edited = logits(&mut engine, &given[0], &edits, folder.path());
    let gate = report.scores_of("gate").unwrap();
    let alphas: Vec<f64> = gate.values.iter().map(|a| f64::from(a.unwrap())).collect();
    let embedding: Vec<f32> = vectors.tensors[..32]
        .iter()
        .flat_map(|(_, t)| t.clone())
        .collect();
    let (loss, _) = gradient(
        &mut engine,
        &given[0],
        &embedding,
        (&alphas, 0),
        &mut || true,
    )
    .unwrap();
    let found = -log_prob(&edited, given[0].answers[0]).unwrap();
    assert!((loss - found).abs() < 1e-4, "{loss} {found}");
}

#[test]
fn a_function_vector_is_what_its_heads_write_together() {
    let mut engine = engine("tiny-llama");
    let given = cases(10, None);
    let settings = Settings {
        function_heads: 1,
        ..quick()
    };
    let (_, vectors) = inject(&mut engine, &given, &settings, &mut Unheard).unwrap();
    let (_, function) = vectors
        .tensors
        .iter()
        .find(|(n, _)| n == baselines::FUNCTION)
        .unwrap();
    let written = |head: HeadId| -> Vec<f32> {
        let (_, t) = vectors
            .tensors
            .iter()
            .find(|(n, _)| *n == name(head))
            .unwrap();
        let o = engine.model().head_weights(head).unwrap().o;
        let rows = o.chunks_exact(t.len());
        rows.map(|row| row.iter().zip(t).map(|(w, t)| w * t).sum())
            .collect()
    };
    let one_head = all_heads(engine.model()).into_iter().map(written);
    assert!(one_head.into_iter().any(|v| furthest(&v, function) < 1e-6));
}

#[test]
fn a_seed_gives_the_same_again() {
    let run = |seed| {
        let settings = Settings { seed, ..quick() };
        inject(
            &mut engine("tiny-gpt2"),
            &cases(10, None),
            &settings,
            &mut Unheard,
        )
        .unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).1.edits, run(2).1.edits);
}

#[test]
fn it_stops_where_it_is_told_to() {
    let mut engine = engine("tiny-gpt2");
    let given = cases(10, None);
    for calls in (0..3000).step_by(7) {
        match inject(&mut engine, &given, &quick(), &mut StopsAt(calls)) {
            Err(error) => assert!(error.is_stop(), "{error}"),
            Ok(_) => return assert!(calls > 10),
        }
    }
    panic!("it never ends");
}

#[test]
fn what_it_lacks_is_named() {
    let error = |name: &str, cases: &[Case]| {
        let found = inject(&mut engine(name), cases, &quick(), &mut Unheard);
        found.unwrap_err().to_string()
    };
    let few = error("tiny-gpt2", &cases(7, None));
    assert!(few.contains("inject needs at least 8"), "{few}");
    let encoder = error("tiny-bert", &cases(10, None));
    assert!(encoder.contains("both directions"), "{encoder}");
    let n_ctx = engine("tiny-gpt2").model().spec.n_ctx as u32;
    let mut long = cases(10, None);
    long[0] = case(&vec![1; n_ctx as usize / 2 + 1], 3, None);
    let full = error("tiny-gpt2", &long);
    assert!(full.contains("no room"), "{full}");
}
