use std::sync::Arc;

use crate::analysis::cases::of_task;
use crate::analysis::{Unheard, texts};
use crate::edit::{Edit, Op, Positions, Target};
use crate::experiment::Means;
use crate::experiment::engine::Unwatched;
use crate::model::load::{Unreported, open};
use crate::prompt::BosRule;
use crate::task::{Draw, TaskSet};
use nalgebra::{DMatrix, DVector};
use rand::Rng as _;

use super::regression::{Fit, Moments, reading};
use super::streams::{lens, lens_of_parts, results};
use super::*;

fn demo() -> Arc<Model> {
    Arc::new(open("demo", &mut Unreported).unwrap())
}

fn cases(model: &Model, task: &str, n: usize) -> Vec<Case> {
    let draw = Draw {
        n: Some(n),
        ..Draw::default()
    };
    let set = TaskSet::open(task, &draw).unwrap();
    of_task(&set, model, BosRule::Auto).unwrap().0
}

fn run(model: &Arc<Model>, cases: &[Case], settings: &Settings) -> Report {
    recall(
        &mut Engine::new(Arc::clone(model)),
        cases,
        settings,
        &mut Unheard,
    )
    .unwrap()
}

fn rows<'a>(report: &'a Report, name: &str) -> &'a [Vec<Cell>] {
    let table = report.tables.iter().find(|table| table.name == name);
    &table.unwrap_or_else(|| panic!("no table {name}")).rows
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Number(Some(x)) => *x,
        other => panic!("no number: {other:?}"),
    }
}

fn random(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()
}

#[test]
fn the_regression_recovers_planted_coefficients() {
    // m = 0.5 a_1 − 1.0 a_2 + b, exactly.
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (n, d) = (40, 24);
    let b = random(&mut rng, d);
    let samples: Vec<Vec<f32>> = (0..n).map(|_| random(&mut rng, 3 * d)).collect();
    let target = |inputs: &[f32]| -> Vec<f32> {
        // Quarters of halves: exact in f32, so that only the solution rounds.
        let of = (0..d).map(|i| 0.5 * inputs[i] - inputs[d + i]);
        of.zip(&b).map(|(x, b)| x + b).collect()
    };
    let mut moments = Moments::new(3, d);
    for inputs in &samples {
        moments.add(inputs, &target(inputs));
    }
    let fit = moments.fit(1e-6).unwrap();
    for (found, right) in fit.coefficients.iter().zip([0.5, -1.0, 0.0]) {
        assert!((found - right).abs() < 1e-6, "{found} {right}");
    }
    for (found, right) in fit.intercept.iter().zip(&b) {
        assert!((found - f64::from(*right)).abs() < 1e-6);
    }
    let explained = moments.explained(&fit, Some(&moments)).unwrap();
    assert!((explained - 1.0).abs() < 1e-9, "{explained}");
    assert_eq!(reading(fit.coefficients[0]), "amplified");
    assert_eq!(reading(fit.coefficients[1]), "erased");
    assert_eq!(reading(fit.coefficients[2]), "kept");
}

#[test]
fn the_normal_equations_are_the_tall_least_squares() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (n, d, k) = (12, 7, 4);
    let samples: Vec<(Vec<f32>, Vec<f32>)> = (0..n)
        .map(|_| (random(&mut rng, k * d), random(&mut rng, d)))
        .collect();
    let mut moments = Moments::new(k, d);
    for (inputs, output) in &samples {
        moments.add(inputs, output);
    }
    let fit = moments.fit(0.0).unwrap();
    // All coordinates of all samples, and one column for each coordinate of b.
    let mut system = DMatrix::zeros(n * d, k + d);
    let mut target = DVector::zeros(n * d);
    for (s, (inputs, output)) in samples.iter().enumerate() {
        for i in 0..d {
            for j in 0..k {
                system[(s * d + i, j)] = f64::from(inputs[j * d + i]);
            }
            system[(s * d + i, k + i)] = 1.0;
            target[s * d + i] = f64::from(output[i]);
        }
    }
    let solved = system
        .clone()
        .svd(true, true)
        .solve(&target, 1e-12)
        .unwrap();
    let found = fit.coefficients.iter().chain(&fit.intercept);
    for (found, right) in found.zip(solved.iter()) {
        assert!((found - right).abs() < 1e-9, "{found} {right}");
    }
    let rest = (&target - &system * &solved).norm_squared();
    let explained = moments.explained(&fit, None).unwrap();
    assert!((explained - (1.0 - rest / target.norm_squared())).abs() < 1e-9);
    // What it did not see: another number, below.
    let mut unseen = Moments::new(k, d);
    for _ in 0..n {
        unseen.add(&random(&mut rng, k * d), &random(&mut rng, d));
    }
    assert!(unseen.explained(&fit, Some(&moments)).unwrap() < explained);
    let nothing = Moments::new(k, d);
    assert_eq!(nothing.explained(&fit, None), None);
    let dead = Fit {
        coefficients: vec![0.0; k],
        intercept: vec![0.0; d],
    };
    assert!(moments.explained(&dead, None).unwrap().abs() < 1e-9);
}

#[test]
fn every_path_together_is_the_contrast_and_each_is_as_by_hand() {
    let model = demo();
    let cases = cases(&model, "capitals", 40);
    let case = cases.iter().find(|case| subject(case).len() == 1).unwrap();
    let spec = RunSpec {
        edits: vec![],
        ..case.spec.clone()
    };
    let mut engine = Engine::new(Arc::clone(&model));
    let own = [(Arc::clone(&spec.ids), spec.bos_count)];
    let means = Means::over(&engine, &own, &mut || true).unwrap();
    let reading = Reading {
        means: Some(&means),
        ..Reading::default()
    };
    let at = || Positions::At(vec![spec.position]);
    let all: Vec<Edit> = (0..4)
        .flat_map(|layer| heads_of(layer, 8))
        .map(|head| Edit {
            target: Target::Head(head),
            op: Op::Resample,
            at: at(),
        })
        .collect();
    let (head, late) = (HeadId::new(0, 1), HeadId::new(3, 7));
    let resampled = |head: HeadId| Edit {
        target: Target::Head(head),
        op: Op::Resample,
        at: at(),
    };
    // Every other head frozen at all positions, one by one, as the definition has it.
    let others = (0..4).flat_map(|layer| heads_of(layer, 8));
    let others = others.filter(|other| *other != head);
    let frozen = others.map(|other| Edit::new(Target::Head(other), Op::Mean));
    let variants = [
        all,
        patch::path(head, &model.spec, spec.position, false),
        patch::path(head, &model.spec, spec.position, true),
        frozen.chain([resampled(head)]).collect(),
        patch::path(late, &model.spec, spec.position, false),
    ];
    let found = engine
        .sweep(&spec, &variants, reading, &mut |_| true)
        .unwrap();
    let swapped = case.swapped().unwrap();
    let other = engine.run(&swapped.spec, &mut Unwatched).unwrap();
    // Batched products round otherwise: logits here are of size 10.
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-3);
    assert!(close(&found[0], &other.before.logits.unwrap()));

    assert!(close(&found[1], &found[3]));
    // After the last layer's heads there is no attention: their path is their total effect.
    let total = RunSpec {
        edits: vec![resampled(late)],
        ..spec.clone()
    };
    let total = engine.run(&total, &mut Unwatched).unwrap().after.unwrap();
    assert!(close(&found[4], &total.logits.unwrap()));

    // By hand: the head's z and all later attention as plain numbers, head by head.
    let plain = Streams::of(&mut engine, &spec).unwrap();
    let patched = Streams::of(&mut engine, &swapped.spec).unwrap();
    let d_head = model.spec.d_head;
    let mut z = plain.clone();
    let of_head = head.head * d_head..(head.head + 1) * d_head;
    z.z[0][of_head.clone()].copy_from_slice(&patched.z[0][of_head]);
    let change = |layer: usize| -> Vec<f32> {
        let new = &results(&model, layer, &[&z]).unwrap()[0];
        let old = &results(&model, layer, &[&plain]).unwrap()[0];
        let d = model.spec.d_model;
        let mut sum = vec![0.0; d];
        for (i, (new, old)) in new.iter().zip(old).enumerate() {
            sum[i % d] += new - old;
        }
        sum
    };
    // With MLPs frozen the change goes straight into the final stream.
    let direct = streams::add(&plain.after(3), &change(0));
    assert!(close(&found[2], &lens(&model, &[direct]).unwrap()[0]));
    let moved = found[1].iter().zip(&found[2]);
    assert!(
        moved.clone().any(|(a, b)| (a - b).abs() > 1e-2),
        "MLPs answer"
    );
}

#[test]
fn heads_and_streams_are_the_forward_pass() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models");
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-gpt-neox"] {
        let model = Arc::new(open(&format!("{root}/{name}"), &mut Unreported).unwrap());
        let case = bare_case();
        let mut engine = Engine::new(Arc::clone(&model));
        let logits = engine.run(&case.spec, &mut Unwatched).unwrap();
        let logits = logits.before.logits.unwrap();
        let run = Streams::of(&mut engine, &case.spec).unwrap();
        let last = model.spec.n_layers - 1;
        let read = &lens(&model, &[run.after(last)]).unwrap()[0];
        for (a, b) in read.iter().zip(logits.iter()) {
            assert!((a - b).abs() < 1e-3, "{name}: {a} {b}");
        }
        // The heads' results, and b_O, are attention's output.
        let d = model.spec.d_model;
        for layer in 0..=last {
            let heads = &results(&model, layer, &[&run]).unwrap()[0];
            let [post, _] = model.post_gains(layer);
            for i in 0..d {
                let sum: f32 = heads.iter().skip(i).step_by(d).sum();
                let gain = post.as_ref().map_or(1.0, |post| post.weight[i]);
                let bias = model.out_bias(layer).map_or(0.0, |bias| bias[i]);
                let whole = sum + bias * gain / run.post_scale[layer];
                let right = run.attention[layer][i];
                assert!((whole - right).abs() < 1e-4 * (1.0 + right.abs()), "{name}");
            }
        }
        let none = &lens_of_parts(&model, &[vec![0.0; d]]).unwrap()[0];
        assert!(none.iter().all(|logit| *logit == 0.0));
    }
}

#[test]
fn a_report_of_the_bundled_model_holds_together() {
    let model = demo();
    let cases = cases(&model, "capitals", 60);
    let report = run(&model, &cases, &Settings::default());
    // Two heads bring the country to the end, and L0H1 after them; L1H5 looks at nothing else (.98) and writes its name.
    let movers = rows(&report, "movers");
    let of = |head: &str| {
        let row = movers.iter().find(|row| row[0] == Cell::from(head));
        row.unwrap()
    };
    for head in ["L1H5", "L1H3"] {
        let row = of(head);
        assert!(number(&row[1]) < -0.05 && number(&row[2]) > 0.5, "{row:?}");
        assert_eq!(row[6], Cell::from("passes the subject on"));
    }
    assert!(number(&of("L1H5")[2]) > 0.9);
    assert_eq!(of("L1H7")[6], Cell::from(""), "it attends elsewhere");
    // A head that writes nothing has no effect, and no coefficient.
    let silent = HeadId::new(1, 0);
    let effect = report.scores_of("effect").unwrap();
    assert!(effect.value(silent).unwrap().abs() < 1e-3);
    let coefficient = report.scores_of("mlp_coefficient").unwrap();
    assert_eq!(coefficient.value(silent), None);
    assert!(coefficient.value(HeadId::new(1, 3)).is_some());
    let trace = rows(&report, "trace");
    assert!(
        number(&trace[4][2]) < 0.5,
        "the answer leads at the end: only such prompts are kept"
    );
    let points = rows(&report, "last layer");
    assert!(number(&points[2][3]) > 0.99);
    assert_eq!(rows(&report, "mitigations").len(), 6);
}

#[test]
fn an_effect_is_the_relative_change_of_the_metric() {
    let model = demo();
    let cases = cases(&model, "capitals", 40);
    let case = cases.iter().find(|case| subject(case).len() == 1).unwrap();
    let mut engine = Engine::new(Arc::clone(&model));
    let head = HeadId::new(1, 5);
    let own = [(Arc::clone(&case.spec.ids), case.spec.bos_count)];
    let means = Means::over(&engine, &own, &mut || true).unwrap();
    let reading = Reading {
        means: Some(&means),
        ..Reading::default()
    };
    let variants = [
        vec![],
        patch::path(head, &model.spec, case.spec.position, false),
    ];
    let swept = engine
        .sweep(&case.spec, &variants, reading, &mut |_| true)
        .unwrap();
    let (answer, wrong) = case.pair().unwrap();
    for against in [Against::Mean, Against::Wrong] {
        let settings = Settings {
            against,
            right_only: false,
            ..Settings::default()
        };
        let report = run(&model, std::slice::from_ref(case), &settings);
        let found = report.scores_of("effect").unwrap().value(head).unwrap();
        let metric = |logits: &[f32]| match against {
            Against::Mean => {
                logits[answer as usize] - logits.iter().sum::<f32>() / logits.len() as f32
            }
            Against::Wrong => logits[answer as usize] - logits[wrong as usize],
        };
        let clean = metric(&swept[0]);
        let right = (metric(&swept[1]) - clean) / clean;
        assert!((found - right).abs() < 1e-3, "{found} {right}");
    }
}

#[test]
fn without_contrasts_and_with_one_prompt_what_is_left_out_is_said() {
    let model = demo();
    let one: Vec<Case> = cases(&model, "capitals", 1)
        .into_iter()
        .map(|case| Case {
            wrong: vec![],
            spec: RunSpec {
                contrast: None,
                ..case.spec
            },
            ..case
        })
        .collect();
    let report = run(&model, &one, &Settings::default());
    assert!(report.scores_of("effect").is_none());
    assert!(report.notes.iter().any(|note| note.contains("--contrast")));
    assert!(report.notes.iter().any(|note| note.contains("at least 5")));
    assert_eq!(rows(&report, "last layer").len(), 3);
}

#[test]
fn removing_a_direction_is_the_edited_run() {
    // Along the MLP's own output: nothing of it is left, as with the factor 0.
    let model = demo();
    let cases = cases(&model, "capitals", 3);
    let mut engine = Engine::new(Arc::clone(&model));
    let prompt = record(&mut engine, &cases[0]).unwrap();
    let own = prompt.streams.mlp[3].clone();
    let stream = last_layer::without(&prompt, &own, 3);
    let edits = vec![Edit {
        target: Target::Mlp(3),
        op: Op::Zero,
        at: Positions::At(vec![cases[0].spec.position]),
    }];
    let swept = engine
        .sweep(&cases[0].spec, &[edits], Reading::default(), &mut |_| true)
        .unwrap();
    for (a, b) in lens(&model, &[stream]).unwrap()[0].iter().zip(&swept[0]) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
    assert!(texts::prose(&model).is_some());
}

/// Ids for a model without words.
fn bare_case() -> Case {
    Case {
        label: "ids".into(),
        spec: RunSpec {
            ids: [3, 1, 4, 1, 5].as_slice().into(),
            n_prompt: 5,
            reach: 5,
            contrast: Some([3, 6, 4, 1, 5].as_slice().into()),
            edits: vec![],
            position: 4,
            last: 4,
            bos_count: 0,
            folder: None,
        },
        answers: vec![7],
        wrong: vec![2],
        ..Case::default()
    }
}

#[test]
fn models_of_all_kinds_run_or_say_what_they_lack() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models");
    let cases: Vec<Case> = (0..6u32)
        .map(|i| {
            let mut case = bare_case();
            case.spec.ids = [3, 8 + i, 4, 1, 5].as_slice().into();
            case
        })
        .collect();
    for name in ["tiny-llama", "tiny-gemma2", "tiny-gpt-neox"] {
        let model = Arc::new(open(&format!("{root}/{name}"), &mut Unreported).unwrap());
        let report = run(&model, &cases, &Settings::default());
        let n = rows(&report, "regression").len();
        let parallel = usize::from(name == "tiny-gpt-neox");
        assert_eq!(n, model.spec.n_layers - parallel, "{name}");
    }
    for name in ["tiny-bert", "tiny-modernbert"] {
        let model = Arc::new(open(&format!("{root}/{name}"), &mut Unreported).unwrap());
        let mut engine = Engine::new(model);
        recall(&mut engine, &cases, &Settings::default(), &mut Unheard).unwrap_err();
    }
}

#[test]
fn what_is_missing_is_named() {
    let model = demo();
    let refused = |cases: &[Case], settings: &Settings| {
        let mut engine = Engine::new(Arc::clone(&model));
        recall(&mut engine, cases, settings, &mut Unheard)
            .unwrap_err()
            .to_string()
    };
    let settings = Settings::default();
    assert!(refused(&[], &settings).contains("a prompt"));
    let mut case = bare_case();
    case.spec.contrast = Some([3, 6].as_slice().into());
    assert!(refused(std::slice::from_ref(&case), &settings).contains("one token"));
    case.answers.clear();
    assert!(refused(std::slice::from_ref(&case), &settings).contains("--answer"));
    let mut case = bare_case();
    case.wrong.clear();
    let wrong = Settings {
        against: Against::Wrong,
        ..Settings::default()
    };
    assert!(refused(&[case], &wrong).contains("wrong answer"));
    let layer = Settings {
        layer: Some(4),
        ..Settings::default()
    };
    assert!(refused(&[bare_case()], &layer).contains("0 to 3"));
}

#[test]
fn a_real_model_if_there_is_one() {
    let Ok(folder) = std::env::var("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path = format!("{folder}/smollm2-135m-instruct-q4_1");
    let model = Arc::new(open(&path, &mut Unreported).unwrap());
    let cases = cases(&model, "capitals", 12);
    let one = cases.iter().find(|case| subject(case).len() == 1).unwrap();
    let settings = Settings {
        right_only: false,
        movers: 2,
        scales: vec![0.5],
        ..Settings::default()
    };
    let report = run(&model, std::slice::from_ref(one), &settings);
    let effect = report.scores_of("effect").unwrap();
    assert!(effect.values.iter().all(Option::is_some));
    assert_eq!(rows(&report, "movers").len(), 2);
    // C0 of a 30-layer model in f32.
    let mut engine = Engine::new(Arc::clone(&model));
    let prompt = record(&mut engine, one).unwrap();
    let (answer, wrong) = one.pair().unwrap();
    let own = f64::from(prompt.logits[answer as usize] - prompt.logits[wrong as usize]);
    assert!((prompt.summands.sum() - own).abs() < 1e-3 * (1.0 + own.abs()));
}
