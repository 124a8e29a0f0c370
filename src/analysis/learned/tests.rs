use std::sync::Arc;

use super::*;
use crate::analysis::Progress;
use crate::analysis::cases::of_task;
use crate::experiment::engine::Unwatched;
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
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
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
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
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
fn parts_are_seeded_and_lose_nothing() {
    let items: Vec<usize> = (0..11).collect();
    let (kept, out) = part(items.clone(), 0.25, 3);
    assert_eq!((kept.len(), out.len()), (8, 3));
    assert_eq!(part(items.clone(), 0.25, 3), (kept.clone(), out.clone()));
    assert_ne!(part(items.clone(), 0.25, 4), (kept.clone(), out.clone()));
    let mut all = [kept, out].concat();
    all.sort_unstable();
    assert_eq!(all, items);
    assert_eq!(part(vec![1, 2], 0.0, 0).1.len(), 1);
}

#[test]
fn effects_are_their_definitions() {
    let mut of = case(&[0], 2, Some(0));
    of.answers.push(1);
    let effect = Effect::of(&of, &[1.0, 3.0, 2.0, 4.0]).unwrap();
    assert!(effect.accuracy == 0.0 && effect.prefers == Some(1.0));
    let (e1, e2, e3) = (1f64.exp(), 2f64.exp(), 3f64.exp());
    let share = (e3 + e2) / (e3 + e2 + e1);
    assert!((effect.mass.unwrap() - share).abs() < 1e-6);
    assert!((effect.logit_diff.unwrap() - 1.0).abs() < 1e-6);
    let loss = (e1 + e2 + e3 + 4f64.exp()).ln() - 2.0;
    assert!((effect.loss - loss).abs() < 1e-6);
    // Nothing underflows to 0/0.
    let far = Effect::of(&of, &[-2000.0, -2000.0, -2000.0, 0.0]).unwrap();
    assert!((far.mass.unwrap() - 2.0 / 3.0).abs() < 1e-6);
    assert_eq!(Effect::of(&of, &[0.0]), None);
}

#[test]
fn prompts_are_cut_where_the_answer_follows_and_taken_once() {
    let model = model("tiny-gpt2");
    let mut given = cases(9, None);
    given[0].spec.position = 2;
    given.push(given[1].clone());
    given.push(Case {
        answers: vec![],
        ..given[2].clone()
    });
    let (kept, notes) = usable(&model, &given, "x", false).unwrap();
    assert_eq!((kept.len(), notes.len()), (9, 2), "{notes:?}");
    assert_eq!((kept[0].spec.ids.len(), kept[0].spec.last), (3, 2));
}

#[test]
fn vectors_that_are_measured_are_gone_afterwards() {
    let scratch = Scratch::new(&vectors().tensors).unwrap();
    let folder = scratch.folder();
    assert!(folder.join(FILE).exists());
    drop(scratch);
    assert!(!folder.exists());
}
