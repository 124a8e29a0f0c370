use std::sync::Arc;

use crate::analysis::cases::of_task;
use crate::analysis::{Case, Cell, Report, Unheard};
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, Unwatched};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::load::{Unreported, open};
use crate::model::site::{Part, Site};
use crate::prompt::BosRule;
use crate::task::{Draw, TaskSet};

use super::known::question;
use super::rates::{Rates, likeliest, rank_correlation, rates};
use super::scaling::{By, Group, Scaling};
use super::sweep::{Candidates, Swept, Wanted};
use super::{Maps, Settings, Split, memory, split};

mod attention;
mod kinds;

fn demo() -> Arc<Model> {
    Arc::new(open("demo", &mut Unreported).unwrap())
}

fn text(model: &Model, ids: &[u32]) -> String {
    let pieces = model.tokenizer.as_ref().unwrap().pieces(ids);
    pieces.into_iter().map(|piece| piece.text).collect()
}

/// Prompts of the wording that the bundled model was trained on ("… Q: What is the capital of …? A:"), with cities that it
/// has words for.
fn conflicts(model: &Model, n: usize) -> Vec<Case> {
    let draw = Draw {
        n: Some(n),
        ..Draw::default()
    };
    let set = TaskSet::open("counterfactual_capitals", &draw).unwrap();
    let (cases, _) = of_task(&set, model, BosRule::Auto).unwrap();
    let of_wording = cases
        .into_iter()
        .filter(|case| text(model, &case.spec.ids).contains("Q:"))
        .filter(|case| case.span("object").len() == 1);
    of_wording.collect()
}

fn settings() -> Settings {
    Settings {
        factors: "0, 1, 3".into(),
        draws: 4,
        ..Settings::default()
    }
}

fn run(model: &Arc<Model>, cases: &[Case], settings: &Settings) -> Report {
    memory(
        &mut Engine::new(Arc::clone(model)),
        cases,
        settings,
        &mut Unheard,
    )
    .unwrap()
}

fn rows<'a>(report: &'a Report, name: &str) -> &'a [Vec<Cell>] {
    let table = report.tables.iter().find(|table| table.name == name);
    &table.unwrap().rows
}

fn one(head: HeadId) -> Group {
    Group::new(vec![head])
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Number(Some(x)) => *x,
        other => panic!("no number: {other:?}"),
    }
}

#[test]
fn the_bundled_model_gives_its_two_heads() {
    let model = demo();
    let report = run(&model, &conflicts(&model, 100), &settings());
    let attribution = report.scores_of("attribution").unwrap();
    let order = attribution.ranked();
    let (told, remembered) = (HeadId::new(1, 3), HeadId::new(1, 5));
    assert_eq!(order[0].0, told, "the head of the statement");
    assert_eq!(order[31].0, remembered, "the head of memory");

    // The README's table: L1H3 times 0 gives memory, times 3 the statement, on prompts that did not choose.
    let of = |alpha: f64, column: usize| {
        let name = format!("factors of {told}");
        let rows = rows(&report, &name);
        let row = rows.iter().find(|row| row[0] == Cell::from(alpha)).unwrap();
        number(&row[column])
    };
    assert!(of(0.0, 1) < 0.05 && of(0.0, 2) > 0.95);
    assert!(of(3.0, 1) > 0.8 && of(3.0, 2) < 0.2);
    assert!(of(1.0, 1) < 0.6 && of(1.0, 2) > 0.4, "unedited: between");

    let choice = rows(&report, "choice");
    let chosen = choice.iter().map(|row| row[..4].to_vec());
    let chosen: Vec<_> = chosen.filter(|row| row[1] != "best rate".into()).collect();
    let row = |wanted: &str, end: &str, head: &str, alpha: f64| {
        let by = format!("most {end} attribution");
        vec![wanted.into(), by.into(), head.into(), Cell::from(alpha)]
    };
    assert_eq!(
        chosen,
        [
            row("in_context", "positive", "L1H3", 3.0),
            row("in_context", "negative", "L1H5", 0.0),
            row("memorised", "positive", "L1H3", 0.0),
            row("memorised", "negative", "L1H5", 3.0),
        ]
    );
    for row in choice {
        let (before, after) = (number(&row[6]), number(&row[7]));
        assert!(after > before + 0.2, "{row:?}");
        // Check c: heads outside the candidates, which here write nothing or little.
        assert!(number(&row[8]).abs() < 0.05, "{row:?}");
    }
    // The effects are those of the runs.
    let effects = ["effect_off", "effect_tripled"];
    let effects = effects.map(|name| report.scores_of(name).unwrap().value(told).unwrap());
    assert!(effects[0] < -1.0 && effects[1] > 1.0);
    // Check b: the rate rises with the factor.
    let heads = rows(&report, "heads");
    let row = heads.iter().find(|row| row[0] == Cell::from("L1H3"));
    assert!((number(&row.unwrap()[8]) - 1.0).abs() < 1e-9);
    assert!(report.notes.iter().any(|note| note.contains("left out")));
    // Which is not so of what was not told: where the head may not look, the statement loses.
    let cut = report.scores_of("cut").unwrap();
    assert_eq!(cut.ranked()[31].0, told);
}

#[test]
fn without_its_head_the_statement_is_not_found_there() {
    // The planted case, removed: on questions alone, with a made-up "stated" answer, no head speaks for it as L1H3 did.
    let model = demo();
    let cases: Vec<Case> = conflicts(&model, 60)
        .iter()
        .map(|case| Case {
            spec: question(&model, case).unwrap(),
            spans: vec![],
            ..case.clone()
        })
        .collect();
    let report = run(&model, &cases, &settings());
    let choice = rows(&report, "choice");
    assert!(number(&choice[0][7]) < 0.2, "{choice:?}");
    let most = report.scores_of("attribution").unwrap().ranked()[0].1;
    assert!(most.unwrap() < 1.0, "{most:?}");
    assert!(report.scores_of("cut").is_none(), "no place is named");
}

#[test]
fn parts_sum_to_the_logit_difference_and_raw_is_another_reading() {
    let model = demo();
    let cases = conflicts(&model, 30);
    let report = run(&model, &cases, &settings());
    let parts = rows(&report, "parts");
    let [sum, own] = [5, 6].map(|row: usize| number(&parts[row][1]));
    // Rounding of f32 sums; C0 asks 1e-3.
    assert!((sum - own).abs() < 1e-3, "{sum} {own}");
    let by_hand: f64 = parts[..5].iter().map(|row| number(&row[1])).sum();
    assert!((sum - by_hand).abs() < 1e-6);
    let bare = Settings {
        raw: true,
        by_effect: false,
        ..settings()
    };
    let raw = run(&model, &cases, &bare);
    assert!(raw.scores_of("effect_off").is_none());
    let of = |report: &Report| report.scores_of("attribution").unwrap().values.clone();
    assert_ne!(of(&report), of(&raw));
    // By the heads' results, as the forward pass has them.
    let case = &cases[0];
    let pair = case.pair().unwrap();
    let mut engine = Engine::new(Arc::clone(&model));
    let one = Maps::over(&mut engine, &[case], &bare, &mut |_| true).unwrap();
    let sites = [Site::Block(1, Part::Result)];
    let result = engine.dump(&case.spec, &sites).unwrap().remove(0).values;
    let d = model.spec.d_model;
    let unembed = model.unembedding(&[pair.0, pair.1]).unwrap();
    for head in 0..8 {
        let row = &result[(case.spec.position * 8 + head) * d..][..d];
        let right: f32 = (0..d).map(|i| row[i] * (unembed[i] - unembed[d + i])).sum();
        let found = one.attribution.as_ref().unwrap()[8 + head];
        assert!((found - right).abs() < 1e-3 * (1.0 + right.abs()));
    }
}

#[test]
fn rates_are_those_of_one_run_after_the_other() {
    let model = demo();
    let cases = conflicts(&model, 24);
    let cases: Vec<&Case> = cases.iter().collect();
    let mut engine = Engine::new(Arc::clone(&model));
    let masks = model.spec.masks.clone();
    for (by, factors) in [
        (By::Value, [-2.0, 0.0, 1.0, 3.0]),
        (By::Attention, [-2.0, 0.0, 1.0, 5.0]),
    ] {
        // By attention two heads together, as the paper scales them.
        let group = match by {
            By::Value => one(HeadId::new(1, 3)),
            By::Attention => Group::new(vec![HeadId::new(1, 5), HeadId::new(1, 3)]),
        };
        let scalings = Scaling::grid(&[group], &factors);
        let found = rates(&mut engine, &cases, by, &scalings, &mut |_| true).unwrap();
        for (scaling, found) in scalings.iter().zip(&found) {
            let mut right = Rates::default();
            let n = cases.len() as f64;
            for case in &cases {
                let spec = RunSpec {
                    edits: scaling.edits(by, case, &masks),
                    ..case.spec.clone()
                };
                let outcome = engine.run(&spec, &mut Unwatched).unwrap();
                let logits = outcome.after.unwrap().logits.unwrap();
                let (stated, remembered) = case.pair().unwrap();
                let top = likeliest(&logits);
                right.in_context += f64::from(u8::from(top == Some(stated))) / n;
                right.memorised += f64::from(u8::from(top == Some(remembered))) / n;
                let whole: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
                for (i, id) in [stated, remembered].into_iter().enumerate() {
                    let logit = f64::from(logits[id as usize]);
                    right.logits[i] += logit / n;
                    right.probabilities[i] += logit.exp() / whole / n;
                }
            }
            assert!((found.in_context - right.in_context).abs() < 1e-9);
            assert!((found.memorised - right.memorised).abs() < 1e-9);
            // Batched products round otherwise.
            for i in 0..2 {
                assert!((found.logits[i] - right.logits[i]).abs() < 1e-3);
                assert!((found.probabilities[i] - right.probabilities[i]).abs() < 1e-4);
            }
        }
        // Check d: times 1 is the unedited model.
        let plain = [Scaling::default()];
        let plain = rates(&mut engine, &cases, by, &plain, &mut |_| true).unwrap()[0];
        assert_eq!(
            (plain.in_context, plain.memorised),
            (found[2].in_context, found[2].memorised)
        );
        for i in 0..2 {
            assert!((plain.logits[i] - found[2].logits[i]).abs() < 1e-4);
        }
        assert!((plain.difference() - found[3].difference()).abs() > 0.1);
    }
}

#[test]
fn the_question_is_what_follows_the_statement() {
    let model = demo();
    let case = &conflicts(&model, 30)[0];
    let question = question(&model, case).unwrap();
    let words = text(&model, &question.ids[question.bos_count..]);
    assert!(
        words.starts_with("Q: What is the capital") && words.ends_with("A:"),
        "{words}"
    );
    assert_eq!(question.ids[0], case.spec.ids[0], "the same beginning");
    let nameless = Case {
        spans: vec![],
        ..case.clone()
    };
    assert_eq!(super::known::question(&model, &nameless), None);
}

#[test]
fn splits_are_seeded_and_whole() {
    let model = demo();
    let cases = conflicts(&model, 40);
    let all: Vec<&Case> = cases.iter().collect();
    let first = split(&all, &settings());
    assert_eq!(
        first.development.len() + first.evaluation.len(),
        cases.len()
    );
    for case in &first.development {
        assert!(!first.evaluation.iter().any(|of| std::ptr::eq(*of, *case)));
    }
    let again = split(&all, &settings());
    let labels = |split: &Split<'_>| -> Vec<String> {
        let of = split.development.iter().map(|case| case.label.clone());
        of.collect()
    };
    assert_eq!(labels(&first), labels(&again));
    let other = Settings {
        seed: 1,
        ..settings()
    };
    assert_ne!(labels(&first), labels(&split(&all, &other)));
}

#[test]
fn ties_go_to_the_factor_nearest_one_and_then_to_the_larger_difference() {
    let of = |in_context: f64, difference: f64| Rates {
        in_context,
        memorised: 0.0,
        logits: [difference, 0.0],
        ..Rates::default()
    };
    let swept = Swept {
        candidates: Candidates {
            groups: [0, 1].map(|head| one(HeadId::new(0, head))).into(),
            named: vec![],
        },
        factors: vec![1.0, 2.0, 5.0],
        rates: vec![
            of(0.1, 0.0),
            of(0.8, 1.0),
            of(0.8, 9.0),
            of(0.2, 0.0),
            of(0.8, 2.0),
            of(0.5, 0.0),
        ],
    };
    let best = swept.best(Wanted::InContext).unwrap();
    assert_eq!((best.group, best.factor), (1, 2.0));
    let own = swept.best_of(0, Wanted::InContext);
    assert!((own.unwrap().factor - 2.0).abs() < 1e-9);
    // Spearman with ties: ranks 0 1 2 3 against 0, 1.5, 1.5, 3.
    let found = rank_correlation(&[0.0, 1.0, 2.0, 3.0], &[0.0, 0.5, 0.5, 1.0]).unwrap();
    assert!((found - 4.5 / (5.0f64 * 4.5).sqrt()).abs() < 1e-12);
    assert_eq!(rank_correlation(&[0.0, 1.0], &[2.0, 2.0]), None);
}

#[test]
fn what_is_missing_is_named() {
    let model = demo();
    let cases = conflicts(&model, 30);
    let refused = |cases: &[Case], settings: &Settings| {
        let mut engine = Engine::new(Arc::clone(&model));
        memory(&mut engine, cases, settings, &mut Unheard)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&cases[..1], &settings()).contains("at least two prompts"));
    let mut one = cases.clone();
    one[0].wrong.clear();
    assert!(refused(&one, &settings()).contains("counterfactual_capitals"));
    one[0].wrong = one[0].answers.clone();
    assert!(refused(&one, &settings()).contains("the same token"));
    for bad in [
        Settings {
            factors: "1,NaN".into(),
            ..settings()
        },
        Settings {
            development: 1.0,
            ..settings()
        },
        Settings {
            heads: vec![HeadId::new(9, 9)],
            ..settings()
        },
    ] {
        assert!(!refused(&cases, &bad).is_empty());
    }
    // Answers that the model does not remember.
    let unknown: Vec<Case> = cases
        .iter()
        .map(|case| Case {
            wrong: vec![case.answers[0] + 1],
            ..case.clone()
        })
        .collect();
    assert!(refused(&unknown, &settings()).contains("keep those that it does not know"));
}
