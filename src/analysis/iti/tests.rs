use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::analysis::Unheard;
use crate::analysis::learned::tests::{
    StopsAt, case, cases, engine, furthest, logits, number, real, row, task, whole,
};
use crate::edit::Positions;
use crate::experiment::engine::Unwatched;

const SHAPE: (usize, usize) = (4, 6);

/// Random z of 2 layers of 4 heads, of which L1H2's third value is raised where `sign` says so.
fn synthetic(n: usize, seed: u64, sign: &mut dyn FnMut(usize) -> f32) -> Vec<Pair> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let at = (SHAPE.0 + 2) * SHAPE.1 + 3;
    (0..n)
        .map(|i| {
            let mut z = || -> Vec<f32> {
                let noise = |_| rng.random_range(-1.0..1.0);
                (0..2 * SHAPE.0 * SHAPE.1).map(noise).collect()
            };
            let (mut right, mut wrong) = (z(), z());
            right[at] += 4.0 * sign(i);
            wrong[at] -= 4.0 * sign(i);
            Pair { right, wrong }
        })
        .collect()
}

fn heads() -> Vec<HeadId> {
    (0..8).map(|i| HeadId::new(i / 4, i % 4)).collect()
}

fn found(fitted: &[Pair], judged: &[Pair], direction: Direction) -> Vec<Found> {
    let settings = Settings {
        direction,
        ..Settings::default()
    };
    probes(fitted, judged, &heads(), SHAPE, &settings, &mut |_| true).unwrap()
}

#[test]
fn a_planted_head_is_found_and_points_where_it_was_planted() {
    let (fitted, judged) = (
        synthetic(60, 1, &mut |_| 1.0),
        synthetic(40, 2, &mut |_| 1.0),
    );
    for direction in Direction::ALL {
        let found = found(&fitted, &judged, direction);
        let ranked = ranked(&found);
        assert_eq!(ranked[0].head, HeadId::new(1, 2));
        assert!(ranked[0].accuracy > 0.99 && ranked[0].auc > 0.99);
        assert!(ranked[0].direction[3] > 0.95, "{:?}", ranked[0].direction);
        // 0.75: six standard errors of 80 guesses above one half would be 0.83, so noise stays below.
        assert!(ranked[1..].iter().all(|of| of.accuracy < 0.75));
        // Along ±4 with noise of variance 1/3.
        let sd = (16.0f64 + 1.0 / 3.0).sqrt();
        assert!((ranked[0].sd - sd).abs() < 0.2, "{}", ranked[0].sd);
    }
}

#[test]
fn on_shuffled_labels_it_is_not_found() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut sign = |_| if rng.random_bool(0.5) { 1.0 } else { -1.0 };
    let fitted = synthetic(60, 1, &mut sign);
    let judged = synthetic(40, 2, &mut sign);
    let found = found(&fitted, &judged, Direction::MassMean);
    assert!(found.iter().all(|of| of.accuracy < 0.75), "{found:?}");
}

#[test]
fn ties_are_broken_by_auc_and_then_by_place() {
    let of = |head, accuracy, auc| Found {
        head: HeadId::new(0, head),
        accuracy,
        auc,
        direction: vec![],
        sd: 0.0,
    };
    let found = [
        of(0, 0.7, 0.9),
        of(1, 0.8, 0.8),
        of(2, 0.8, 0.9),
        of(3, 0.7, 0.9),
    ];
    let order: Vec<usize> = ranked(&found).iter().map(|of| of.head.head).collect();
    assert_eq!(order, [2, 1, 0, 3]);
}

#[test]
fn a_probe_is_where_its_objective_has_no_slope() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let rows: Vec<Vec<f32>> = (0..40)
        .map(|_| (0..5).map(|_| rng.random_range(-2.0..2.0)).collect())
        .collect();
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let labels: Vec<bool> = rows.iter().map(|row| row[0] + row[1] > 0.3).collect();
    let probe = Probe::fit(&rows, &labels, 1.0);
    let residuals: Vec<f64> = rows
        .iter()
        .zip(&labels)
        .map(|(row, y)| 1.0 / (1.0 + (-probe.score(row)).exp()) - f64::from(u8::from(*y)))
        .collect();
    assert!(residuals.iter().sum::<f64>().abs() < 1e-5);
    for (j, w) in probe.weights.iter().enumerate() {
        let along = residuals
            .iter()
            .zip(&rows)
            .map(|(r, row)| r * f64::from(row[j]));
        assert!((along.sum::<f64>() + w).abs() < 1e-5);
    }
    // Separable and unpenalised: no answer is finite, and the fit ends all the same.
    let free = Probe::fit(&rows, &labels, 0.0);
    assert!(free.weights.iter().all(|w| w.is_finite()));
    let scores: Vec<f64> = rows.iter().map(|row| free.score(row)).collect();
    assert!(accuracy(&scores, &labels) > 0.999);
    assert!((auc(&scores, &labels) - 1.0).abs() < 1e-12);
    assert!((auc(&[0.5, 0.5, 1.0], &[true, false, false]) - 0.25).abs() < 1e-12);
}

#[test]
fn z_is_that_of_the_last_token_and_its_head() {
    let mut engine = engine("tiny-llama");
    let case = case(&[3, 1, 4, 1], 5, Some(9));
    let pair = &pairs(&mut engine, std::slice::from_ref(&case), &mut |_| true).unwrap()[0];
    let spec = statement(&case, &[9]);
    assert_eq!(&spec.ids[..], [3, 1, 4, 1, 9]);
    let z = engine.dump(&spec, &[Site::Block(1, Part::Z)]).unwrap();
    let shape = engine.model().spec.clone();
    let width = shape.n_heads * shape.d_head;
    assert_eq!(z[0].values[4 * width..], pair.wrong[width..2 * width]);
    assert_ne!(pair.right, pair.wrong);
}

#[test]
fn statements_have_whole_answers() {
    let mut engine = engine("tiny-llama");
    let of = whole(case(&[3, 1, 4, 1], 5, Some(9)), &[&[5, 6, 2]], &[&[9, 7]]);
    let pair = &pairs(&mut engine, std::slice::from_ref(&of), &mut |_| true).unwrap()[0];
    let by_hand = case(&[3, 1, 4, 1, 5, 6, 2], 0, None);
    let z = engine
        .dump(&by_hand.spec, &[Site::Block(0, Part::Z)])
        .unwrap();
    let width = engine.model().spec.n_heads * engine.model().spec.d_head;
    assert_eq!(z[0].values[6 * width..], pair.right[..width]);
}

#[test]
fn moving_each_token_of_an_answer_is_moving_them_all_from_the_prompt_s_last_on() {
    let mut engine = engine("tiny-llama");
    let n_tokens = 4;
    let given: Vec<Case> = cases(10, Some(9))
        .into_iter()
        .map(|case| {
            let (right, wrong) = (case.answers[0], case.wrong[0]);
            whole(case, &[&[right, 8, 3]], &[&[wrong, 5]])
        })
        .collect();
    let (report, vectors) = iti(&mut engine, &given, &settings(), &mut Unheard).unwrap();
    let table = report.tables.iter().find(|t| t.name == "held-out prompts");
    let columns = &table.unwrap().columns;
    assert_eq!(columns.last().unwrap(), "loss of the whole answer");
    assert_eq!(columns[1], "accuracy of first tokens");
    let each = row(&report, "answers' tokens");
    // By hand: the same edits with the positions spelt out, on the same prompts.
    let (_, held_out) = part(given, 0.5, settings().seed);
    let folder = tempfile::tempdir().unwrap();
    vectors.save(&folder.path().join("t.safetensors")).unwrap();
    let mut edits = vectors.edits_from("t.safetensors").unwrap();
    let mut sum = 0.0;
    for of in &held_out {
        let tokens = of.right_tokens(0);
        for edit in &mut edits {
            edit.at = Positions::At((n_tokens - 1..n_tokens + 2).collect());
        }
        for (i, token) in tokens.iter().enumerate() {
            let so_far = case(&of.followed_by(&tokens[..2]).ids, 0, None);
            let spec = RunSpec {
                position: n_tokens - 1 + i,
                ..so_far.spec.clone()
            };
            let row = logits(&mut engine, &Case { spec, ..so_far }, &edits, folder.path());
            sum -= crate::analysis::metric::log_prob(&row, *token).unwrap();
        }
    }
    let loss = sum / held_out.len() as f64;
    assert!((each[5] - loss).abs() < 1e-4, "{} {loss}", each[5]);
    assert!((each[5] - row(&report, "chosen")[5]).abs() > 1e-6);
}

#[test]
fn folds_are_each_measured_on_what_the_other_learned_from() {
    let mut engine = engine("demo");
    let given = task("capitals", 24);
    let of = |report: &Report| {
        let folds = report.tables.iter().find(|table| table.name == "folds");
        folds.unwrap().rows.clone()
    };
    let (report, vectors) = iti(&mut engine, &given, &settings(), &mut Unheard).unwrap();
    assert_eq!(of(&report).len(), 3);
    let number = |row, column| number(&report, "folds", row, column);
    for column in 2..10 {
        let mean = f64::midpoint(number(0, column), number(1, column));
        assert!((number(2, column) - mean).abs() < 1e-12);
    }
    assert!((number(0, 4) - row(&report, "unedited")[0]).abs() < 1e-12);
    assert!((number(0, 7) - row(&report, "chosen")[0]).abs() < 1e-12);
    // The second fold by hand: probes of the prompts that were held out.
    let (kept, _) = usable(engine.model(), &given, "iti", true).unwrap();
    let (learned, held_out) = part(kept, 0.5, settings().seed);
    let half = learn(
        &mut engine,
        &held_out,
        &settings(),
        settings().seed + 2,
        &mut |_| true,
    )
    .unwrap();
    let chosen: Vec<&Found> = ranked(&half.found).into_iter().take(3).collect();
    let scratch = crate::analysis::learned::Scratch::new(&tensors(&chosen)).unwrap();
    let variants = [edits(&chosen, 2.0, &Positions::Last).into()];
    let folder = scratch.folder();
    let after =
        crate::analysis::learned::effects(&mut engine, &learned, &variants, &folder, &mut |_| true);
    assert!((number(1, 7) - after.unwrap()[0].accuracy).abs() < 1e-12);
    assert!((number(1, 2) - chosen[0].accuracy).abs() < 1e-12);
    // One fold learns the same and says so.
    let one = Settings {
        folds: 1,
        ..settings()
    };
    let (of_one, same) = iti(&mut engine, &given, &one, &mut Unheard).unwrap();
    assert_eq!((of(&of_one).len(), same.tensors), (1, vectors.tensors));
}

#[test]
fn what_prose_loses_is_that_of_the_whole_text_moved() {
    let mut engine = engine("demo");
    let (report, vectors) = iti(
        &mut engine,
        &task("capitals", 16),
        &settings(),
        &mut Unheard,
    )
    .unwrap();
    let number = |row, column| number(&report, "prose", row, column);
    let folder = tempfile::tempdir().unwrap();
    vectors.save(&folder.path().join("t.safetensors")).unwrap();
    let mut edits = vectors.edits_from("t.safetensors").unwrap();
    for edit in &mut edits {
        edit.at = Positions::All;
    }
    let ids = crate::analysis::texts::prose(engine.model()).unwrap();
    let (mut losses, mut kls) = ([0.0; 2], 0.0);
    let n = ids.len();
    for position in 0..n {
        let mut of = case(&ids, 0, None);
        of.spec.position = position;
        let plain = logits(&mut engine, &of, &[], folder.path());
        let edited = logits(&mut engine, &of, &edits, folder.path());
        kls += crate::analysis::metric::kl(&plain, &edited) / n as f64;
        if position + 1 < n {
            for (loss, row) in losses.iter_mut().zip([&plain, &edited]) {
                let log_p = crate::analysis::metric::log_prob(row, ids[position + 1]);
                *loss -= log_p.unwrap() / (n - 1) as f64;
            }
        }
    }
    assert!((number(0, 1) - losses[0]).abs() < 1e-4);
    assert!((number(1, 1) - losses[1]).abs() < 1e-4);
    assert!(kls > 1e-6 && (number(1, 2) - kls).abs() < 1e-4 * kls.max(1.0));
    assert!(number(0, 2) == 0.0);
}

fn settings() -> Settings {
    Settings {
        heads: Some(3),
        alpha: 2.0,
        ..Settings::default()
    }
}

#[test]
fn what_is_saved_does_what_was_measured() {
    let mut engine = engine("demo");
    let cases = task("capitals", 24);
    // Most heads of the bundled model write nothing, and a probe does not know that: more than half are moved.
    let settings = Settings {
        heads: Some(20),
        ..settings()
    };
    let (report, vectors) = iti(&mut engine, &cases, &settings, &mut Unheard).unwrap();
    assert_eq!((vectors.tensors.len(), vectors.edits.len()), (20, 20));
    assert_eq!(
        report
            .scores_of("validation_accuracy")
            .unwrap()
            .values
            .len(),
        32
    );
    let folder = tempfile::tempdir().unwrap();
    vectors.save(&folder.path().join("t.safetensors")).unwrap();
    let edits = vectors.edits_from("t.safetensors").unwrap();
    let mut edited = logits(&mut engine, &cases[0], &edits, folder.path());
    // The same by hand, through changes that no file names.
    let shape = engine.model().spec.clone();
    let at = cases[0].spec.position;
    let learned: Vec<_> = vectors
        .tensors
        .iter()
        .map(|(name, values)| {
            let head: HeadId = name.split('.').next().unwrap().parse().unwrap();
            let change = crate::model::plan::RowEdit {
                columns: head.head * shape.d_head..(head.head + 1) * shape.d_head,
                positions: vec![at],
                change: crate::model::plan::Change::Add(values.iter().map(|v| 2.0 * v).collect()),
            };
            (Site::Block(head.layer, Part::Z), change)
        })
        .collect();
    let reach = crate::model::backward::Reach {
        positions: &[at],
        down_to: 3,
    };
    let loss = &mut |logits: &[f32]| vec![0.0; logits.len()];
    let by_hand = engine.gradient(&cases[0].spec, &learned, reach, loss, &mut || true);
    let by_hand = by_hand.unwrap().logits;
    assert!(
        furthest(&edited, &by_hand) < 1e-4,
        "{}",
        furthest(&edited, &by_hand)
    );
    let plain = engine.run(&cases[0].spec, &mut Unwatched).unwrap().before;
    let plain = plain.logits.unwrap().to_vec();
    assert!(furthest(&edited, &plain) > 1e-3);
    // Strength 0 is the unedited run.
    let off: Vec<Edit> = edits
        .iter()
        .map(|edit| edit.to_string().replace(", 2)", ", 0)").parse().unwrap())
        .collect();
    assert!(off.iter().all(Edit::changes_nothing));
    edited = logits(&mut engine, &cases[0], &off, folder.path());
    assert!(furthest(&edited, &plain) < 1e-5);
}

#[test]
fn a_seed_gives_the_same_again() {
    let cases = task("capitals", 16);
    let run = |seed| {
        let settings = Settings { seed, ..settings() };
        iti(&mut engine("demo"), &cases, &settings, &mut Unheard).unwrap()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).1.tensors, run(2).1.tensors);
}

#[test]
fn strength_0_of_the_plot_is_the_unedited_row() {
    let mut engine = engine("demo");
    let (report, _) = iti(
        &mut engine,
        &task("capitals", 16),
        &settings(),
        &mut Unheard,
    )
    .unwrap();
    let plain = row(&report, "unedited");
    let plot = report.plots.iter().find(|plot| plot.name == "strength");
    assert!((plot.unwrap().lines[0].points[0][1] - plain[0]).abs() < 1e-12);
    assert!(row(&report, "chosen")[3].is_finite() && row(&report, "random")[3].is_finite());
}

#[test]
fn it_stops_where_it_is_told_to() {
    let mut engine = engine("tiny-gpt2");
    let given = cases(10, Some(9));
    for calls in (0..600).step_by(3) {
        match iti(&mut engine, &given, &settings(), &mut StopsAt(calls)) {
            Err(error) => assert!(error.is_stop(), "{error}"),
            Ok(_) => return assert!(calls > 10),
        }
    }
}

#[test]
fn what_it_lacks_is_named() {
    let error = |name: &str, cases: &[Case]| {
        let found = iti(&mut engine(name), cases, &settings(), &mut Unheard);
        found.unwrap_err().to_string()
    };
    let none = error("tiny-gpt2", &cases(10, None));
    assert!(
        none.contains("wrong answer") && none.contains("0 of the 10"),
        "{none}"
    );
    let few = error("tiny-gpt2", &cases(7, Some(9)));
    assert!(few.contains("at least 8"), "{few}");
    let encoder = error("tiny-bert", &cases(10, Some(9)));
    assert!(encoder.contains("both directions"), "{encoder}");
    let headless = error("tiny-bert-base", &cases(10, Some(9)));
    assert!(headless.contains("head"), "{headless}");
    let n_ctx = engine("tiny-gpt2").model().spec.n_ctx;
    let mut long = cases(10, Some(9));
    long[0] = case(&vec![1; n_ctx], 3, Some(9));
    let full = error("tiny-gpt2", &long);
    assert!(full.contains("context"), "{full}");
}

#[test]
fn heads_of_a_real_model_tell_true_capitals_from_false_ones() {
    let Some((mut engine, cases)) = real("capitals", 40) else {
        return;
    };
    let settings = Settings {
        alpha: 5.0,
        held_out: 0.25,
        folds: 1,
        ..Settings::default()
    };
    let (report, _) = iti(&mut engine, &cases, &settings, &mut Unheard).unwrap();
    let best = report.scores_of("validation_accuracy").unwrap().ranked();
    // 12 statements: of 270 guessing heads one would reach 1 in 15 runs, and three never.
    assert!(best[2].1.unwrap() > 0.99, "{:?}", &best[..5]);
    // More than 13 heads tell all of them: the report says that the choice among those is none.
    assert!(report.notes.iter().any(|note| note.contains("more heads")));
    assert!(number(&report, "prose", 1, 1) > number(&report, "prose", 0, 1));
}
