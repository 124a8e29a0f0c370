//! The same model's circuit by sweeps, patches and attribution, and its induction head as the one that retrieves.

use std::sync::Arc;

use headscope::analysis::ablation::{self, sweep};
use headscope::analysis::attribution::{self, attribute};
use headscope::analysis::influence::{self, influence, of_texts};
use headscope::analysis::patching::{self, patch};
use headscope::analysis::retrieval::{Decoding, Haystack, Instance, Settings, retrieval_on};
use headscope::analysis::{Cell, Report, Unheard};
use headscope::experiment::Effect;
use headscope::experiment::engine::Engine;
use headscope::ids::HeadId;
use headscope::model::Model;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::found::{lowest, score, second};
use super::model::Plan;
use super::names::{
    AGAINST, BACKUP, GAINS, INDUCTION, INHIBITION, MOVERS, NAMES, NEGATIVE, PREVIOUS, cases, plan,
};

/// All movers and their negative together.
fn whole() -> f32 {
    GAINS.iter().sum::<f32>() + AGAINST
}

fn swept(plan: &Plan, model: &Arc<Model>, effect: Effect) -> Report {
    let settings = ablation::Settings {
        effect,
        ..ablation::Settings::default()
    };
    let mut engine = Engine::new(Arc::clone(model));
    sweep(&mut engine, &cases(plan), &settings, &mut Unheard).unwrap()
}

#[test]
fn a_sweep_finds_the_head_that_all_others_rest_on_and_directly_the_one_that_writes_most() {
    let plan = plan();
    let model = plan.open();
    let total = swept(&plan, &model, Effect::Total);
    let (head, change) = lowest(&total, "change");
    assert_eq!(head, INHIBITION);
    // From all of it on the right name to a third there and two thirds on the wrong one.
    let expected = -whole() * 4.0 / 3.0;
    assert!((change / expected - 1.0).abs() < 0.1, "{change} {expected}");
    let direct = swept(&plan, &model, Effect::Direct);
    let (head, change) = lowest(&direct, "change");
    assert_eq!(head, MOVERS[0]);
    assert!((change / -GAINS[0] - 1.0).abs() < 0.1, "{change}");
    assert_eq!(
        direct.scores_of("change").unwrap().top(1)[0].to_string(),
        NEGATIVE
    );
    assert!(score(&direct, "change", INHIBITION).unwrap().abs() < 1e-3);

    let model = plan.without(&[INHIBITION, MOVERS[0]]).open();
    for effect in [Effect::Total, Effect::Direct] {
        let report = swept(&plan, &model, effect);
        for head in [INHIBITION, MOVERS[0]] {
            assert!(
                score(&report, "change", head).unwrap().abs() < 1e-4,
                "{head}"
            );
        }
    }
}

#[test]
fn patching_finds_where_the_prompts_part_and_how_much_each_mover_carries() {
    let plan = plan();
    let cases = cases(&plan);
    let settings = patching::Settings::default();
    let patched = |plan: &Plan| {
        let mut engine = Engine::new(plan.open());
        patch(&mut engine, &cases, &settings, &mut Unheard).unwrap()
    };
    // Nothing comes before `gave`, so the induction head writes a bit of every token, and most of the name that came twice.
    let bit = -1.0 / cases[0].spec.ids.len() as f32;
    let check = |report: &Report, without: f32, expected: &[(&str, f32)]| {
        for (head, gain) in expected {
            let found = score(report, "effect", head).unwrap();
            let expected = gain / (whole() - without + bit);
            assert!(
                (found - expected).abs() < 0.01,
                "{head}: {found} {expected}"
            );
        }
    };
    let report = patched(&plan);
    let top = report.scores_of("effect").unwrap().top(1)[0];
    assert_eq!(top.to_string(), INHIBITION);
    let movers: Vec<(&str, f32)> = MOVERS.into_iter().zip(GAINS).collect();
    let others = [(NEGATIVE, AGAINST), (INDUCTION, bit), (BACKUP, 0.0)];
    check(&report, 0.0, &[(INHIBITION, whole())]);
    check(&report, 0.0, &movers);
    check(&report, 0.0, &others);
    let report = patched(&plan.without(&[MOVERS[0]]));
    check(
        &report,
        GAINS[0],
        &[(INHIBITION, whole() - GAINS[0]), (MOVERS[0], 0.0)],
    );
    check(&report, GAINS[0], &movers[1..]);
    check(&report, GAINS[0], &others);
}

#[test]
fn attribution_names_the_mover_and_the_token_that_it_reads() {
    let plan = plan();
    let case = &cases(&plan)[0];
    let attributed = |plan: &Plan| {
        let mut engine = Engine::new(plan.open());
        attribute(
            &mut engine,
            case,
            &attribution::Settings::default(),
            &mut Unheard,
        )
        .unwrap()
    };
    let report = attributed(&plan);
    let top = report.scores_of("attribution").unwrap().top(3);
    assert_eq!(
        top.iter().map(HeadId::to_string).collect::<Vec<_>>(),
        MOVERS
    );
    let sources = report
        .grids
        .iter()
        .find(|grid| grid.name == "sources")
        .unwrap();
    let row = sources
        .rows
        .iter()
        .position(|row| row.starts_with(MOVERS[0]))
        .unwrap();
    let row = &sources.values[row * sources.columns.len()..][..sources.columns.len()];
    let best = (0..row.len()).max_by(|a, b| row[*a].unwrap().total_cmp(&row[*b].unwrap()));
    assert_eq!(best, case.span("IO").first().copied());
    let report = attributed(&plan.without(&MOVERS[..1]));
    assert_eq!(score(&report, "attribution", MOVERS[0]), Some(0.0));
}

/// Words that have no part in the task.
fn plain_words(plan: &Plan) -> impl Iterator<Item = &'static str> {
    let has_part = |word: &&str| NAMES.contains(word) || ["gave", ",", ".", "[UNK]"].contains(word);
    plan.words().filter(move |word| !has_part(word))
}

/// Words in any order with a key and its two values among them, and the key again.
fn needles(plan: &Plan) -> Haystack {
    let words: Vec<u32> = plain_words(plan).map(|word| plan.id(word)).collect();
    let instance = |i: usize| {
        let mut words = words.clone();
        words.shuffle(&mut ChaCha8Rng::seed_from_u64(i as u64));
        let at = 2 + 2 * i;
        let mut ids = words[..24].to_vec();
        ids.push(ids[at]);
        Instance {
            label: format!("needle {i}"),
            span: at + 1..at + 3,
            answer: ids[at + 1..at + 3].to_vec(),
            answer_text: String::new(),
            ids,
            cell: None,
        }
    };
    Haystack {
        instances: (0..10).map(instance).collect(),
        ..Haystack::default()
    }
}

#[test]
fn the_induction_head_is_the_one_that_retrieves() {
    let plan = plan();
    let settings = Settings {
        decoding: Decoding::TeacherForced,
        mask: false,
        ..Settings::default()
    };
    let heard = |plan: &Plan| {
        let mut engine = Engine::new(plan.open());
        retrieval_on(&mut engine, &needles(plan), &settings, &mut Unheard).unwrap()
    };
    let report = heard(&plan);
    assert_eq!(score(&report, "retrieval", INDUCTION), Some(1.0));
    assert!(second(&report, "retrieval", &[INDUCTION]) < 0.5);
    // It needs what the head of the token before has written.
    for head in [INDUCTION, PREVIOUS] {
        let report = heard(&plan.without(&[head]));
        assert!(second(&report, "retrieval", &[]) < 0.5, "{head}");
    }
}

#[test]
fn without_the_induction_head_a_text_that_repeats_itself_is_what_the_model_loses() {
    let plan = plan();
    let words: Vec<&str> = plain_words(&plan).take(24).collect();
    let texts = of_texts(&[words[..12].repeat(2).join(" "), words.join(" ")]);
    let settings = influence::Settings {
        heads: vec![INDUCTION.parse().unwrap()],
        draws: 5,
        select: 0.5,
        ..influence::Settings::default()
    };
    let scores = |plan: &Plan| -> Vec<(f64, bool)> {
        let mut engine = Engine::new(plan.open());
        let report = influence(&mut engine, &texts, &settings, &mut Unheard).unwrap();
        let table = report
            .tables
            .iter()
            .find(|table| table.name == "texts")
            .unwrap();
        let of = |row: &Vec<Cell>| match row[6] {
            Cell::Number(Some(score)) => (score, row[10] == Cell::from("yes")),
            _ => panic!("{row:?}"),
        };
        table.rows.iter().map(of).collect()
    };
    let [(repeats, is_chosen), (other, other_is)] = scores(&plan)[..] else {
        panic!()
    };
    assert!(repeats > 0.1 && other.abs() < 0.05, "{repeats} {other}");
    assert!(is_chosen && !other_is);
    let found = scores(&plan.without(&[INDUCTION]));
    assert!(found.iter().all(|(score, _)| *score == 0.0), "{found:?}");
}
