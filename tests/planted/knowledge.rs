//! Methods about what a model knows, each on the head that was planted for it.

use std::sync::Arc;

use headscope::analysis::{Case, Cell, Report, Unheard};
use headscope::analysis::{iti, lofit, memory, recall, ships, successor, taskkv};
use headscope::experiment::engine::Engine;
use headscope::ids::HeadId;
use headscope::model::Model;

use super::facts::{
    LOOK_UP, REMEMBERED, REMEMBERED_GAIN, SUCCESSOR, TOLD, TOLD_GAIN, TRUTH, conflicts, plan,
    questions, statements,
};
use super::found::{lowest, score, second};
use super::support::run_spec;

fn engine(model: &Arc<Model>) -> Engine {
    Engine::new(Arc::clone(model))
}

fn top(report: &Report, name: &str) -> String {
    report.scores_of(name).unwrap().top(1)[0].to_string()
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

fn has_note(report: &Report, part: &str) -> bool {
    report.notes.iter().any(|note| note.contains(part))
}

#[test]
fn memory_finds_the_head_of_the_statement_and_the_head_of_what_is_remembered() {
    let plan = plan();
    let cases = conflicts(&plan);
    let settings = memory::Settings {
        factors: "0,1,3".into(),
        candidates: 1,
        known_only: false,
        draws: 5,
        ..memory::Settings::default()
    };
    let run = |without: &[&str]| {
        let model = plan.without(without).open();
        memory::memory(&mut engine(&model), &cases, &settings, &mut Unheard).unwrap()
    };
    let report = run(&[]);
    assert_eq!(top(&report, "attribution"), TOLD);
    let (head, remembered) = lowest(&report, "attribution");
    assert_eq!(head, REMEMBERED);
    let told = score(&report, "attribution", TOLD).unwrap();
    let ratio = f64::from(remembered / told);
    assert!(
        (ratio + f64::from(REMEMBERED_GAIN / TOLD_GAIN)).abs() < 1e-2,
        "{ratio}"
    );
    // It looks at the place of the statement, and at no other.
    assert_eq!(lowest(&report, "cut").0, TOLD);
    // Three times 2 is more than 4, and without either the other is left.
    let choice: Vec<_> = rows(&report, "choice")
        .iter()
        .filter(|row| row[1] != Cell::from("best rate"))
        .map(|row| {
            (
                row[0].clone(),
                row[2].clone(),
                row[3].clone(),
                number(&row[7]),
            )
        })
        .collect();
    let of = |wanted: &str, head: &str, alpha: f64| {
        (Cell::from(wanted), Cell::from(head), Cell::from(alpha), 1.0)
    };
    assert_eq!(
        choice,
        [
            of("in_context", TOLD, 3.0),
            of("in_context", REMEMBERED, 0.0),
            of("memorised", TOLD, 1.0),
            of("memorised", REMEMBERED, 1.0),
        ]
    );
    let report = run(&[TOLD]);
    assert_eq!(score(&report, "attribution", TOLD), Some(0.0));
    assert!(second(&report, "attribution", &[]) < 1e-2);
    let report = run(&[REMEMBERED]);
    assert_eq!(score(&report, "attribution", REMEMBERED), Some(0.0));
    assert!(lowest(&report, "attribution").1 > -1e-2);
}

#[test]
fn recall_finds_the_head_that_brings_the_fact() {
    let plan = plan();
    let cases = questions(&plan);
    let run = |without: &[&str]| {
        let model = plan.without(without).open();
        let settings = recall::Settings::default();
        recall::recall(&mut engine(&model), &cases, &settings, &mut Unheard).unwrap()
    };
    let report = run(&[]);
    assert!(
        has_note(&report, "likeliest token after 8 of 8"),
        "{:?}",
        report.notes
    );
    let (head, effect) = lowest(&report, "effect");
    assert_eq!(head, REMEMBERED);
    // The answer is a token like any other then.
    assert!((effect + 1.0).abs() < 0.1, "{effect}");
    let others = report.scores_of("effect").unwrap().ranked();
    let others = others[..others.len() - 1].iter();
    assert!(
        others
            .into_iter()
            .all(|(_, effect)| effect.unwrap().abs() < 0.02)
    );
    assert!(score(&report, "subject_attention", REMEMBERED).unwrap() > 0.999);
    assert_eq!(rows(&report, "movers")[0][0], Cell::from(REMEMBERED));

    let report = run(&[REMEMBERED]);
    assert!(
        has_note(&report, "no fact is recalled"),
        "{:?}",
        report.notes
    );
    let effect = score(&report, "effect", REMEMBERED);
    assert!(
        effect.is_none_or(|effect| effect.abs() < 1e-6),
        "{effect:?}"
    );
    assert_eq!(score(&report, "attribution", REMEMBERED), Some(0.0));
}

#[test]
fn ships_finds_the_head_that_the_next_token_rests_on() {
    let plan = plan();
    let run = |without: &[&str], ablation| {
        let model = plan.without(without).open();
        let settings = ships::Settings {
            ablation,
            ..ships::Settings::default()
        };
        ships::of_cases(
            &mut engine(&model),
            &questions(&plan),
            &settings,
            &mut Unheard,
        )
        .unwrap()
    };
    for ablation in [ships::Ablation::default(), ships::Ablation::Zero] {
        let report = run(&[], ablation);
        assert_eq!(top(&report, "ships"), REMEMBERED);
        let (found, other) = (
            score(&report, "ships", REMEMBERED).unwrap(),
            second(&report, "ships", &[REMEMBERED]),
        );
        assert!(found > 10.0 * other, "{ablation:?} {found} {other}");
        assert_eq!(top(&report, "ships_angle"), REMEMBERED);
        assert_eq!(rows(&report, "sahara")[0][1], Cell::from(REMEMBERED));
        let report = run(&[REMEMBERED], ablation);
        assert!(score(&report, "ships", REMEMBERED).unwrap() < 1e-6);
        assert!(second(&report, "ships", &[]) < 0.1 * found);
    }
}

#[test]
fn probes_find_the_head_that_knows_what_is_true() {
    let plan = plan();
    let settings = iti::Settings {
        heads: Some(1),
        validation: 0.5,
        ..iti::Settings::default()
    };
    let run = |without: &[&str]| {
        let model = plan.without(without).open();
        let (report, _) = iti::iti(
            &mut engine(&model),
            &statements(&plan),
            &settings,
            &mut Unheard,
        )
        .unwrap();
        report
    };
    let report = run(&[]);
    assert_eq!(score(&report, "validation_accuracy", TRUTH), Some(1.0));
    assert_eq!(rows(&report, "chosen heads")[0][0], Cell::from(TRUTH));
    // 40 statements: 0.8 is almost four standard errors above one half.
    let other = second(&report, "validation_accuracy", &[TRUTH]);
    assert!(other < 0.8, "{other}");
    // Without the look-up it has nothing to compare with.
    for head in [TRUTH, LOOK_UP] {
        let report = run(&[head]);
        let best = second(&report, "validation_accuracy", &[]);
        assert!(best < 0.8, "{head} {best}");
    }
}

#[test]
fn the_successor_head_is_found_by_its_weights_and_by_what_it_writes() {
    let plan = plan();
    let run = |without: &[&str]| {
        let model = plan.without(without).open();
        let settings = successor::Settings::default();
        successor::successor(&mut engine(&model), &settings, &mut Unheard).unwrap()
    };
    let report = run(&[]);
    // Of a list of seven, noise may have three by chance.
    for (name, most) in [
        ("successor", 0.4),
        ("successor, days", 0.5),
        ("successor, number words", 0.5),
    ] {
        assert_eq!(score(&report, name, SUCCESSOR), Some(1.0), "{name}");
        let other = second(&report, name, &[SUCCESSOR]);
        assert!(other < most, "{name} {other}");
    }
    assert!(has_note(
        &report,
        &format!("{SUCCESSOR} has the best score")
    ));
    // It reads what the first MLP has written, which is not in the embedding.
    assert_eq!(score(&report, "baseline", SUCCESSOR), Some(0.0));
    for name in ["tomorrow", "lift"] {
        assert_eq!(top(&report, name), SUCCESSOR, "{name}");
    }
    let report = run(&[SUCCESSOR]);
    assert_eq!(score(&report, "successor", SUCCESSOR), Some(0.0));
    assert!(has_note(&report, "none found"), "{:?}", report.notes);
}

#[test]
fn task_kv_keeps_the_head_that_means_something_of_its_own() {
    let plan = plan();
    let case = Case {
        spec: run_spec(&plan.ids("Monday Tuesday Wednesday one two three"), &[]),
        ..Case::default()
    };
    let settings = taskkv::Settings {
        vector: taskkv::Vector::Full,
        tail: 0,
        ..taskkv::Settings::default()
    };
    let run = |without: &[&str]| {
        let model = plan.without(without).open();
        taskkv::taskkv(&mut engine(&model), &case, &settings, &mut Unheard).unwrap()
    };
    let role = |report: &Report| {
        let rows = rows(report, "heads");
        let row = rows.iter().find(|row| row[0] == Cell::from(SUCCESSOR));
        row.unwrap()[2].clone()
    };
    let of_layer = |report: &Report| -> Vec<f32> {
        (0..4)
            .map(|head| score(report, "distance", &format!("L2H{head}")).unwrap())
            .collect()
    };
    let report = run(&[]);
    assert_eq!(role(&report), Cell::from("heterogeneous"));
    let distances = of_layer(&report);
    assert!((0..4).all(|head| head == 2 || 1.5 * distances[head] < distances[2]));
    let report = run(&[SUCCESSOR]);
    assert_ne!(role(&report), Cell::from("heterogeneous"));
}

#[test]
fn lofit_chooses_the_two_heads_that_decide_the_answer() {
    let plan = plan();
    let settings = lofit::Settings {
        heads: Some(2),
        controls: 1,
        ..lofit::Settings::default()
    };
    let run = |without: &[&str]| {
        let model = plan.without(without).open();
        lofit::lofit(
            &mut engine(&model),
            &conflicts(&plan),
            &settings,
            &mut Unheard,
        )
        .unwrap()
        .0
    };
    let chosen = |report: &Report| {
        let norms = report.scores_of("norm").unwrap();
        let mut chosen: Vec<String> = norms.top(2).iter().map(HeadId::to_string).collect();
        chosen.sort();
        chosen
    };
    let report = run(&[]);
    assert_eq!(chosen(&report), [TOLD, REMEMBERED]);
    let of = |head| score(&report, "norm", head).unwrap();
    let other = second(&report, "norm", &[TOLD, REMEMBERED]);
    assert!(of(TOLD).min(of(REMEMBERED)) > 2.0 * other, "{other}");
    // What gives nothing has no slope: its gains stay as small as they begin.
    for head in [TOLD, REMEMBERED] {
        let report = run(&[head]);
        assert!(!chosen(&report).contains(&head.to_owned()), "{head}");
        let found = score(&report, "norm", head).unwrap();
        assert!(found < 0.02, "{head} {found}");
    }
}
