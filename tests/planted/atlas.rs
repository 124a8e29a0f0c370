//! The atlas: each planted head has the largest score of its detector and its tag alone; with its weights 0 it attends
//! equally, scores what equal attention scores, and the tag is given to none.

use std::sync::Arc;

use headscope::analysis::atlas::{Settings, atlas};
use headscope::analysis::tags;
use headscope::analysis::{Case, Cell, Report, Unheard};
use headscope::experiment::engine::Engine;
use headscope::ids::HeadId;
use headscope::model::Model;

use super::found::{score, second};
use super::names::{
    AGAINST, BACKUP, CURRENT, DUPLICATE, GAINS, IN_THEIR_PLACE, INDUCTION, INHIBITION, MOVERS,
    N_CTX, NEGATIVE, PREVIOUS, PUNCTUATION, SINK, cases, plan,
};

/// A score, the head that was planted for it, the least that this has to have of it, and the most that others may have.
const PLANTED: [(&str, &str, f32, f32); 10] = [
    ("induction", INDUCTION, 0.95, 0.2),
    ("prefix_matching", INDUCTION, 0.95, 0.2),
    ("duplicate_token", DUPLICATE, 0.99, 0.2),
    ("previous_token", PREVIOUS, 0.99, 0.2),
    ("sink", SINK, 0.99, 0.2),
    ("current_token", CURRENT, 0.99, 0.2),
    // Equal attention has one half.
    ("distance", SINK, 0.99, 0.6),
    ("punctuation", PUNCTUATION, 0.8, 0.2),
    // Shares of all rows, most of which have no earlier occurrence.
    ("induction_text", INDUCTION, 0.1, 0.05),
    ("duplicate_text", DUPLICATE, 0.1, 0.05),
];

/// Heads with their labels.
const LABELS: [(&str, &str); 11] = [
    (INDUCTION, "induction"),
    (DUPLICATE, "duplicate token"),
    (PREVIOUS, "previous token"),
    (CURRENT, "current token"),
    (SINK, "sink"),
    (MOVERS[0], "name mover"),
    (MOVERS[1], "name mover"),
    (MOVERS[2], "name mover"),
    (NEGATIVE, "negative name mover"),
    (BACKUP, "backup name mover"),
    (INHIBITION, "S-inhibition"),
];

fn report(model: &Arc<Model>, cases: &[Case], weights: bool) -> Report {
    let settings = Settings {
        sequences: 2,
        weights,
        ..Settings::default()
    };
    let mut engine = Engine::new(Arc::clone(model));
    atlas(&mut engine, cases, &settings, &mut Unheard).unwrap()
}

/// What the table of tags says of a label.
fn named(report: &Report, label: &str) -> String {
    let table = report.tables.iter().find(|table| table.name == "tags");
    let mut rows = table.unwrap().rows.iter();
    let row = rows.find(|row| row[0] == Cell::from(label)).unwrap();
    match &row[3] {
        Cell::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_planted_head_is_the_first_of_its_detector_and_has_its_label_alone() {
    let plan = plan();
    let report = report(&plan.open(), &cases(&plan), true);
    for (name, head, least, most) in PLANTED {
        let (found, other) = (
            score(&report, name, head).unwrap(),
            second(&report, name, &[head]),
        );
        assert!(
            found >= least && other <= most,
            "{name}: {head} {found}, others {other}"
        );
    }
    // Nothing is left to chance by heads that attend to one place.
    for head in [PREVIOUS, CURRENT, SINK] {
        let found = score(&report, "entropy", head).unwrap();
        assert!(found < 1e-3, "{head} {found}");
    }
    for head in [PREVIOUS, CURRENT] {
        let found = score(&report, "local_mass", head).unwrap();
        assert!(found > 0.99, "{head} {found}");
    }
    assert!(second(&report, "local_mass", &[PREVIOUS, CURRENT]) < 0.5);
    // The first token stands there for the first time.
    assert!(score(&report, "first_occurrence", SINK).unwrap() > 0.99);

    let n_heads = report.scores[0].n_heads;
    for i in 0..report.scores[0].values.len() {
        let head = HeadId::new(i / n_heads, i % n_heads);
        let found = tags::of_head(&report.scores, head);
        let found: Vec<&str> = found.iter().map(|tag| tag.rule.label).collect();
        let planted = LABELS.iter().filter(|(of, _)| *of == head.to_string());
        let planted: Vec<&str> = planted.map(|(_, label)| *label).collect();
        assert_eq!(found, planted, "{head}");
    }
}

/// Of `1 / (query + 1)`, what equal attention gives one key.
fn equal(queries: std::ops::Range<usize>) -> f32 {
    let n = queries.len() as f32;
    queries.map(|query| 1.0 / (query as f32 + 1.0)).sum::<f32>() / n
}

#[test]
fn a_head_whose_weights_are_zero_scores_as_equal_attention_and_is_not_named() {
    let plan = plan();
    // The second of two rounds.
    let length = (N_CTX - 1) / 2;
    let second_round = equal(length..2 * length);
    for (head, label, name, expected) in [
        (INDUCTION, "induction", "induction", second_round),
        (
            DUPLICATE,
            "duplicate token",
            "duplicate_token",
            second_round,
        ),
        (
            PREVIOUS,
            "previous token",
            "previous_token",
            equal(1..N_CTX),
        ),
        (SINK, "sink", "sink", equal(1..N_CTX)),
        (CURRENT, "current token", "current_token", equal(0..N_CTX)),
    ] {
        let report = report(&plan.without(&[head]).open(), &[], false);
        let found = score(&report, name, head).unwrap();
        assert!(
            (found - expected).abs() < 1e-5,
            "{head}: {found} {expected}"
        );
        assert_eq!(named(&report, label), "none found");
        assert!((score(&report, "entropy", head).unwrap() - 1.0).abs() < 1e-6);
        assert!((score(&report, "distance", head).unwrap() - 0.5).abs() < 1e-6);
        // The others stay, but for induction, which reads what the head of the token before has written.
        for (other, label) in &LABELS[..5] {
            let stays = *other != head && (head, *other) != (PREVIOUS, INDUCTION);
            assert_eq!(
                named(&report, label).starts_with(other),
                stays,
                "{head} {label}"
            );
        }
        if head == PREVIOUS {
            assert_eq!(named(&report, "induction"), "none found");
        }
    }
    let report = report(&plan.without(&[PUNCTUATION]).open(), &[], false);
    assert!(second(&report, "punctuation", &[]) < 0.2);
}

#[test]
fn of_nothing_but_noise_nothing_is_named() {
    let plan = plan();
    let report = report(&plan.without_any().open(), &cases(&plan), true);
    for (_, label) in LABELS {
        assert_eq!(named(&report, label), "none found");
    }
}

#[test]
fn weights_that_copy_have_one_and_those_that_lower_have_minus_one() {
    let plan = plan();
    let copies = [&[INDUCTION, BACKUP][..], &MOVERS].concat();
    let found = report(&plan.open(), &[], true);
    for head in &copies {
        assert!(
            (score(&found, "copying", head).unwrap() - 1.0).abs() < 1e-4,
            "{head}"
        );
    }
    assert!((score(&found, "copying", NEGATIVE).unwrap() + 1.0).abs() < 1e-4);
    // What writes elsewhere copies nothing, and noise as much up as down.
    for head in [PREVIOUS, CURRENT, SINK, PUNCTUATION, DUPLICATE, INHIBITION] {
        assert_eq!(score(&found, "copying", head), None, "{head}");
    }
    assert!(second(&found, "copying", &copies) < 0.5);

    let found = report(&plan.without_any().open(), &[], true);
    for head in copies.iter().chain(&[NEGATIVE]) {
        assert_eq!(score(&found, "copying", head), None, "{head}");
        assert_eq!(score(&found, "ov_norm", head), Some(0.0), "{head}");
    }
}

#[test]
fn name_movers_their_negative_and_their_backup_are_found_by_what_they_write() {
    let plan = plan();
    let cases = cases(&plan);
    let found = report(&plan.open(), &cases, false);
    for head in [&MOVERS[..], &[NEGATIVE]].concat() {
        for name in ["attention_to_answer", "pointer_accuracy"] {
            assert!(score(&found, name, head).unwrap() > 0.999, "{name} {head}");
        }
    }
    // The last norm's scale is one for all.
    let of = |head| score(&found, "name_mover", head).unwrap();
    let scale = of(MOVERS[0]) / GAINS[0];
    assert!((scale - 1.0).abs() < 0.1, "{scale}");
    let against = [(NEGATIVE, AGAINST)];
    for (head, gain) in MOVERS.into_iter().zip(GAINS).chain(against) {
        assert!(
            (of(head) / scale - gain).abs() < 1e-3,
            "{head} {}",
            of(head)
        );
    }
    assert!(of(BACKUP).abs() < 1e-3 && second(&found, "name_mover", &MOVERS) < 1e-3);
    let rise = score(&found, "backup", BACKUP).unwrap();
    assert!((rise - IN_THEIR_PLACE).abs() < 0.15, "{rise}");
    assert!(second(&found, "backup", &[BACKUP]) < 0.05);
}

#[test]
fn movers_that_are_taken_away_are_not_found_and_the_backup_steps_in() {
    let plan = plan();
    let cases = cases(&plan);
    let found = |without: &[&str]| report(&plan.without(without).open(), &cases, false);
    let labels = ["name mover", "negative name mover", "backup name mover"];
    let check = |without: &[&str], expected: [Option<&str>; 3]| {
        let report = found(without);
        for (label, expected) in labels.into_iter().zip(expected) {
            let named = named(&report, label);
            match expected {
                Some(head) => assert!(named.starts_with(head), "{without:?} {label}: {named}"),
                None => assert_eq!(named, "none found", "{without:?} {label}"),
            }
        }
    };
    let [mover, _, _] = MOVERS;
    let all = [&MOVERS[..], &[BACKUP]].concat();
    check(&[NEGATIVE], [Some(mover), None, Some(BACKUP)]);
    check(&[BACKUP], [Some(mover), Some(NEGATIVE), None]);
    // Nobody says that the work is done, so the backup is itself a mover.
    check(&MOVERS, [Some(BACKUP), Some(NEGATIVE), None]);
    check(&all, [None, Some(NEGATIVE), None]);
    // Without the head that says which name came again, movers look at all names alike.
    check(&[INHIBITION], [None, None, None]);
}

#[test]
fn the_head_that_keeps_movers_from_the_repeated_name_is_found_by_its_path_into_their_queries() {
    let plan = plan();
    let cases = cases(&plan);
    let of = |without: &[&str]| report(&plan.without(without).open(), &cases, false);
    let found = of(&[]);
    let best = found.scores_of("s_inhibition").unwrap().top(1)[0].to_string();
    assert_eq!(best, INHIBITION);
    assert!(named(&found, "S-inhibition").starts_with(INHIBITION));
    assert!(second(&found, "s_inhibition", &[INHIBITION]) < 0.05);
    assert_eq!(named(&of(&[INHIBITION]), "S-inhibition"), "none found");
}
