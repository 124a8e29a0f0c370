use std::sync::Arc;

use super::*;
use crate::analysis::cases::{Whole, of_task};
use crate::analysis::metric::log_prob;
use crate::analysis::report::Cell;
use crate::analysis::{Case, Progress};
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, Unwatched};
use crate::model::load::{Unreported, open};
use crate::prompt::BosRule;
use crate::task::{Draw, TaskSet};

pub(crate) fn model(name: &str) -> Model {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = match name {
        "demo" => name.to_owned(),
        name => format!("{root}/tests/fixtures/models/{name}"),
    };
    open(&path, &mut Unreported).unwrap()
}

pub(crate) fn engine(name: &str) -> Engine {
    Engine::new(Arc::new(model(name)))
}

/// Items of a built-in task for the bundled model.
pub(crate) fn task(name: &str, n: usize) -> Vec<Case> {
    let draw = Draw {
        n: Some(n),
        ..Draw::default()
    };
    let set = TaskSet::open(name, &draw).unwrap();
    of_task(&set, &model("demo"), BosRule::Auto).unwrap().0
}

/// A real model and items of a built-in task for it, where the environment names a folder of such models.
pub(crate) fn real(name: &str, n: usize) -> Option<(Engine, Vec<Case>)> {
    let folder = std::env::var("HEADSCOPE_TEST_MODELS").ok()?;
    let path = format!("{folder}/smollm2-135m-instruct-q4_1");
    let model = Arc::new(open(&path, &mut Unreported).unwrap());
    let draw = Draw {
        n: Some(n),
        ..Draw::default()
    };
    let set = TaskSet::open(name, &draw).unwrap();
    let cases = of_task(&set, &model, BosRule::Auto).unwrap().0;
    Some((Engine::new(model), cases))
}

/// A prompt of tokens.
pub(crate) fn case(ids: &[u32], right: u32, wrong: Option<u32>) -> Case {
    Case {
        label: String::new(),
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
        answers: vec![right],
        wrong: wrong.into_iter().collect(),
        ..Case::default()
    }
}

/// The case with answers of several tokens.
pub(crate) fn whole(case: Case, right: &[&[u32]], wrong: &[&[u32]]) -> Case {
    let first = |of: &[&[u32]]| of.iter().map(|ids| ids[0]).collect();
    let all = |of: &[&[u32]]| of.iter().map(|ids| ids.to_vec()).collect();
    Case {
        answers: first(right),
        wrong: first(wrong),
        whole: Whole {
            right: all(right),
            wrong: all(wrong),
        },
        ..case
    }
}

/// Different prompts with an answer.
pub(crate) fn cases(n: u32, wrong: Option<u32>) -> Vec<Case> {
    let ids = |i: u32| [1 + i % 5, 2, 7 + i, 4];
    (0..n).map(|i| case(&ids(i), 3 + i % 2, wrong)).collect()
}

/// Stops at a call.
pub(crate) struct StopsAt(pub(crate) usize);

impl Progress for StopsAt {
    fn at(&mut self, fraction: f32, _so_far: Option<&Report>) -> bool {
        assert!((0.0..=1.001).contains(&fraction), "{fraction}");
        let go_on = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        go_on
    }
}

/// Logits of a run with edits whose file is in `folder`.
pub(crate) fn logits(engine: &mut Engine, case: &Case, edits: &[Edit], folder: &Path) -> Vec<f32> {
    let spec = RunSpec {
        edits: edits.to_vec(),
        folder: Some(folder.to_owned()),
        ..case.spec.clone()
    };
    let outcome = engine.run(&spec, &mut Unwatched).unwrap();
    let pass = outcome.after.unwrap_or(outcome.before);
    pass.logits.unwrap().to_vec()
}

pub(crate) fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f32::max)
}

/// A row of a table of effects, without its name.
pub(crate) fn row(report: &Report, start: &str) -> Vec<f64> {
    let table = report.tables.iter().find(|t| t.name == "held-out prompts");
    let rows = &table.unwrap().rows;
    let named = |row: &&Vec<Cell>| matches!(&row[0], Cell::Text(text) if text.contains(start));
    let found = rows.iter().find(named).unwrap();
    let number = |cell: &Cell| match cell {
        Cell::Number(x) => x.unwrap_or(f64::NAN),
        _ => f64::NAN,
    };
    found[1..].iter().map(number).collect()
}

/// A number of a table whose name contains a word; NaN where it is blank.
pub(crate) fn number(report: &Report, name: &str, row: usize, column: usize) -> f64 {
    let mut tables = report.tables.iter();
    let table = tables.find(|table| table.name.contains(name)).unwrap();
    match &table.rows[row][column] {
        Cell::Number(x) => x.unwrap_or(f64::NAN),
        other => panic!("{other:?}"),
    }
}

fn vectors() -> Vectors {
    Vectors {
        tensors: vec![
            ("L0H1.direction".into(), vec![1.0, -0.5, 0.25]),
            ("L1H0.direction".into(), vec![0.5; 3]),
        ],
        edits: vec![format!("L0H1=add({FILE}:L0H1.direction, 15)@last")],
        recipe: json!({ "method": "iti", "seed": 7, "model": { "source": "demo", "fingerprint": "h1:ab" } }),
    }
}

#[test]
fn a_saved_file_has_the_vectors_and_how_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truth.safetensors");
    vectors().save(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata["method"], "iti");
    assert_eq!(metadata["seed"], "7");
    assert_eq!(metadata["fingerprint"], "h1:ab");
    assert_eq!(
        metadata["edits"],
        "L0H1=add(truth.safetensors:L0H1.direction, 15)@last"
    );
    let digest = format!("{:x}", Sha256::digest(metadata["recipe"].as_bytes()));
    assert_eq!(metadata["digest"], format!("sha256:{digest}"));
    let read = SafeTensors::deserialize(&bytes).unwrap();
    let values = read.tensor("L0H1.direction").unwrap();
    let expected: Vec<u8> = [1.0f32, -0.5, 0.25]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    assert_eq!((values.shape(), values.data()), (&[3][..], &expected[..]));
    assert_eq!(vectors().to_bytes("truth.safetensors").unwrap(), bytes);
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    let error = vectors().save(&taken).unwrap_err().to_string();
    assert!(error.contains("taken"), "{error}");
    let names = fs::read_dir(folder.path()).unwrap();
    assert_eq!(names.count(), 1);
    vectors().save(Path::new("/")).unwrap_err();
}

#[test]
fn effects_are_their_definitions() {
    let mut engine = engine("tiny-llama");
    let mut of = case(&[3, 1, 4], 2, Some(0));
    of.answers.push(1);
    let row = logits(&mut engine, &of, &[], Path::new(""));
    let effect = plain_effect(&mut engine, &of);
    let p = |id: u32| log_prob(&row, id).unwrap().exp();
    let share = (p(2) + p(1)) / (p(2) + p(1) + p(0));
    assert!((effect.mass.unwrap() - share).abs() < 1e-6);
    assert_eq!(effect.prefers, Some(f64::from(u8::from(p(2) > p(0)))));
    let difference = f64::from(row[2] - row[0]);
    assert!((effect.logit_diff.unwrap() - difference).abs() < 1e-5);
    assert!((effect.loss + p(2).ln()).abs() < 1e-6);
    assert_eq!((effect.whole_loss, effect.exact), (None, None));
    let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    let right = case(&[3, 1, 4], best.unwrap() as u32, None);
    let of_right = plain_effect(&mut engine, &right);
    assert!(of_right.accuracy > 0.5 && of_right.prefers.is_none());
    assert!(effect.accuracy < 0.5 || of.answers.contains(&right.answers[0]));
    of.wrong.push(1 << 30);
    let unknown = effects(
        &mut engine,
        &[of],
        &[Variant::default()],
        Path::new(""),
        &mut |_| true,
    );
    assert!(unknown.unwrap_err().to_string().contains("no token"));
}

fn plain_effect(engine: &mut Engine, case: &Case) -> Effect {
    let cases = std::slice::from_ref(case);
    let plain = [Variant::default()];
    effects(engine, cases, &plain, Path::new(""), &mut |_| true).unwrap()[0]
}

/// ln p of tokens after a prompt, each from a run of its own.
fn by_hand(engine: &mut Engine, prompt: &[u32], tokens: &[u32]) -> f64 {
    let of_token = |(i, token): (usize, &u32)| {
        let ids = [prompt, &tokens[..i]].concat();
        let row = logits(engine, &case(&ids, 0, None), &[], Path::new(""));
        log_prob(&row, *token).unwrap()
    };
    tokens.iter().enumerate().map(of_token).sum()
}

#[test]
fn mc1_and_mc2_are_of_whole_answers() {
    let prompt = [3, 1, 4];
    for name in ["tiny-llama", "tiny-gpt2"] {
        let mut engine = engine(name);
        let right: [&[u32]; 3] = [&[2, 5, 9], &[7], &[2, 6]];
        let wrong: [&[u32]; 2] = [&[2, 5, 8], &[11, 1]];
        let of = whole(case(&prompt, 0, None), &right, &wrong);
        let effect = plain_effect(&mut engine, &of);
        let mut sums = |answers: &[&[u32]]| -> Vec<f64> {
            let of = answers.iter();
            of.map(|tokens| by_hand(&mut engine, &prompt, tokens))
                .collect()
        };
        let (right, wrong) = (sums(&right), sums(&wrong));
        let p = |of: &[f64]| of.iter().map(|x| x.exp()).sum::<f64>();
        let share = p(&right) / (p(&right) + p(&wrong));
        assert!((effect.mass.unwrap() - share).abs() < 1e-5, "{name}");
        // The best right answer counts, however likely another right one is.
        let is_first = wrong.iter().all(|other| right[0] > *other);
        assert_eq!(effect.prefers, Some(f64::from(u8::from(is_first))));
        assert!((effect.whole_loss.unwrap() + right[0]).abs() < 1e-5);
        // First tokens say something else: two answers begin alike.
        assert!(effect.logit_diff.unwrap().abs() < 1e-9);
        assert!((effect.loss - effect.whole_loss.unwrap()).abs() > 0.1);
    }
}

#[test]
fn mc1_asks_for_the_first_right_answer() {
    let mut engine = engine("tiny-llama");
    let row = logits(&mut engine, &case(&[3, 1, 4], 0, None), &[], Path::new(""));
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    order.sort_by(|a, b| row[*b as usize].total_cmp(&row[*a as usize]));
    let mut of = case(&[3, 1, 4], order[0], Some(order[1]));
    of.answers.push(order[2]);
    assert_eq!(plain_effect(&mut engine, &of).prefers, Some(1.0));
    of.answers.swap(0, 1);
    assert_eq!(plain_effect(&mut engine, &of).prefers, Some(0.0));
}

#[test]
fn edits_act_on_whole_answers() {
    let mut engine = engine("tiny-llama");
    let of = whole(case(&[3, 1, 4], 0, None), &[&[2, 5, 9]], &[&[7, 1]]);
    let edits: Vec<Edit> = vec!["L0H1=zero@last".parse().unwrap()];
    let at = |edits: &str, engine: &mut Engine| -> f64 {
        let edits: Vec<Edit> = vec![edits.parse().unwrap()];
        let read = |(i, token): (usize, &u32)| {
            let mut case = case(&[3, 1, 4, 2, 5], 0, None);
            case.spec.position = 2 + i;
            log_prob(&logits(engine, &case, &edits, Path::new("")), *token).unwrap()
        };
        [2, 5, 9].iter().enumerate().map(read).sum()
    };
    let variants = [
        Variant::from(edits.clone()),
        Variant {
            edits,
            each_step: true,
        },
    ];
    let cases = std::slice::from_ref(&of);
    let found = effects(&mut engine, cases, &variants, Path::new(""), &mut |_| true).unwrap();
    let last = at("L0H1=zero@2", &mut engine);
    let each = at("L0H1=zero@2,3,4", &mut engine);
    assert!((found[0].whole_loss.unwrap() + last).abs() < 1e-5);
    assert!((found[1].whole_loss.unwrap() + each).abs() < 1e-5);
    assert!((last - each).abs() > 1e-4);
}

#[test]
fn tiny_probabilities_do_not_become_nothing() {
    let mut engine = engine("tiny-llama");
    let long: Vec<u32> = (0..40).map(|i| 1 + i % 7).collect();
    let mut other = long.clone();
    other[39] = 9;
    let right: [&[u32]; 1] = [&long];
    let wrong: [&[u32]; 1] = [&other];
    let effect = plain_effect(&mut engine, &whole(case(&[3], 0, None), &right, &wrong));
    let mass = effect.mass.unwrap();
    assert!(mass > 0.0 && mass < 1.0, "{mass}");
}

#[test]
fn what_was_saved_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truth.safetensors");
    vectors().save(&path).unwrap();
    assert_eq!(Vectors::load(&path).unwrap(), vectors());
    let error = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Vectors::load(&path).unwrap_err().to_string()
    };
    assert!(error(b"x").contains("truth.safetensors"));
    let foreign = error(&bytes_of(Map::new(), &vectors().tensors));
    assert!(foreign.contains("metadata"), "{foreign}");
    fs::remove_file(&path).unwrap();
    let missing = Vectors::load(&path).unwrap_err().to_string();
    assert!(missing.contains("cannot be read"), "{missing}");
}

#[test]
fn vectors_that_are_measured_are_gone_afterwards() {
    let scratch = Scratch::new(&vectors().tensors).unwrap();
    let folder = scratch.folder();
    assert!(folder.join(FILE).exists());
    drop(scratch);
    assert!(!folder.exists());
}
