//! Scores, matrices and reports against the whole circuit, and on models.

use std::sync::Arc;

use crate::analysis::Cell;
use crate::analysis::Unheard;
use crate::model::demo;
use crate::model::load::{Unreported, open};
use nalgebra::DMatrix;

use super::token_circuit::whole;
use super::*;

fn demo() -> Engine {
    Engine::new(Arc::new(open(demo::NAME, &mut Unreported).unwrap()))
}

fn tiny(name: &str) -> Model {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/tests/fixtures/models/{name}");
    open(&path, &mut Unreported).unwrap()
}

/// Scores alone.
fn quick() -> Settings {
    Settings {
        behaviour: false,
        residues: residues::Settings {
            is_on: false,
            ..residues::Settings::default()
        },
        ..Settings::default()
    }
}

fn effective(model: &Model, ids: &[u32]) -> DMatrix<f64> {
    let rows = Effective::Mlp.rows(model, ids).unwrap();
    let rows = rows.into_iter().map(f64::from);
    DMatrix::from_row_iterator(ids.len(), model.spec.d_model, rows)
}

#[test]
fn scores_are_those_of_the_whole_circuit() {
    let mut engine = demo();
    let model = Arc::clone(engine.model());
    let report = successor(&mut engine, &quick(), &mut Unheard).unwrap();
    let lists = variants(&model, &built_in(model.tokenizer.as_ref().unwrap())).unwrap();
    let scores = report.scores_of("successor").unwrap();
    for head in [
        HeadId::new(0, 1),
        HeadId::new(2, 6),
        HeadId::new(3, 2),
        HeadId::new(3, 3),
    ] {
        let (mut won, mut all) = (0, 0);
        for list in &lists {
            let pairs: Vec<(u32, u32)> = list
                .tokens
                .windows(2)
                .filter_map(|pair| Some((pair[0]?, pair[1]?)))
                .collect();
            if pairs.len() < 4 {
                continue;
            }
            let (from, to): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
            let logits = whole(&model, head, &effective(&model, &from), &to);
            all += from.len();
            won += (0..from.len())
                .filter(|row| {
                    let others = (0..to.len()).filter(|column| to[*column] != to[*row]);
                    let best = others.map(|column| logits[(*row, column)]);
                    logits[(*row, *row)] > best.fold(f64::NEG_INFINITY, f64::max)
                })
                .count();
        }
        // Near ties may fall either way in f32: one word of 330.
        let right = won as f32 / all as f32;
        assert!(
            (scores.value(head).unwrap() - right).abs() <= 1.01 / all as f32,
            "{head}"
        );
    }
}

#[test]
fn the_matrix_is_the_whole_circuit_for_every_kind_of_norm() {
    for name in [
        "tiny-gpt2",
        "tiny-llama",
        "tiny-gemma2",
        "tiny-gpt-neox",
        "tiny-qwen3",
    ] {
        let model = tiny(name);
        let ids: Vec<u32> = vec![3, 1, 7, 12];
        for head in [HeadId::new(0, 1), HeadId::new(model.spec.n_layers - 1, 0)] {
            let found = matrix(&model, head, &ids, &Settings::default()).unwrap();
            let right = whole(&model, head, &effective(&model, &ids), &ids);
            let size = right.amax();
            for (i, found) in found.iter().enumerate() {
                let right = right[(i / 4, i % 4)];
                assert!(
                    (f64::from(*found) - right).abs() < 1e-5 * (size + 1e-3),
                    "{name} {head}"
                );
            }
        }
    }
}

#[test]
fn more_candidates_are_never_easier() {
    let mut engine = demo();
    let mut run = |candidates| {
        let settings = Settings {
            candidates,
            ..quick()
        };
        let report = successor(&mut engine, &settings, &mut Unheard).unwrap();
        report.scores_of("successor").unwrap().values.clone()
    };
    let scores = [Candidates::List, Candidates::Union, Candidates::Vocabulary].map(&mut run);
    for pair in scores.windows(2) {
        assert!(pair[0].iter().zip(&pair[1]).all(|(few, many)| few >= many));
    }
    assert_ne!(scores[0], scores[2]);
}

#[test]
fn the_report_is_complete_and_repeats_itself() {
    let mut engine = demo();
    let settings = Settings {
        heads: vec![HeadId::new(3, 2), HeadId::new(1, 1)],
        matrix: Shown::Months,
        ..Settings::default()
    };
    let report = successor(&mut engine, &settings, &mut Unheard).unwrap();
    assert_eq!(
        report,
        successor(&mut engine, &settings, &mut Unheard).unwrap()
    );
    let names: Vec<&str> = report
        .scores
        .iter()
        .map(|scores| &scores.name[..])
        .collect();
    for name in [
        "successor",
        "baseline",
        "successor, days",
        "tomorrow",
        "direct",
        "lift",
    ] {
        assert!(names.contains(&name), "{name} {names:?}");
    }
    assert_eq!(
        report.grids.len(),
        3,
        "two heads, and the features of residues"
    );
    for grid in &report.grids[..2] {
        assert!(grid.name.contains("months"), "{}", grid.name);
        assert_eq!((grid.rows.len(), grid.values.len()), (12, 144));
        for (row, texts) in grid.texts.chunks(12).enumerate() {
            let best = texts.iter().position(|text| !text.is_empty()).unwrap();
            let values = &grid.values[row * 12..][..12];
            assert!(values.iter().all(|value| *value <= values[best]));
            // December is followed by January.
            let is_next = texts[best] == "next";
            assert_eq!(is_next, best == (row + 1) % 12, "{row} {best}");
        }
    }
    // The demo was trained on templates, and has no such head.
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.starts_with("none found")),
        "{:?}",
        report.notes
    );
    let found = Settings {
        found_above: 0.0,
        ..quick()
    };
    let report = successor(&mut engine, &found, &mut Unheard).unwrap();
    assert!(
        !report
            .notes
            .iter()
            .any(|note| note.starts_with("none found"))
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let refusal = |engine: &mut Engine, settings: &Settings| {
        successor(engine, settings, &mut Unheard)
            .unwrap_err()
            .to_string()
    };
    let error = refusal(&mut Engine::new(Arc::new(tiny("tiny-bert"))), &quick());
    assert!(error.contains("norms on the stream"), "{error}");
    let mut engine = demo();
    let far = Settings {
        heads: vec![HeadId::new(4, 0)],
        ..quick()
    };
    assert!(refusal(&mut engine, &far).contains("no head L4H0"));
    let words = "qwop,zxcv,bnmk,tyui,ghjk".to_owned();
    assert!(refusal(&mut engine, &Settings { words, ..quick() }).contains("single tokens"));
    let words = "red,,blue".to_owned();
    assert!(refusal(&mut engine, &Settings { words, ..quick() }).contains("commas"));
    let short = Settings {
        matrix: Shown::RomanNumerals,
        ..quick()
    };
    let error = refusal(&mut engine, &short);
    assert!(
        error.contains("`Roman numerals`") && error.contains("months"),
        "{error}"
    );
    let mut model = open(demo::NAME, &mut Unreported).unwrap();
    model.tokenizer = None;
    let error = refusal(&mut Engine::new(Arc::new(model)), &quick());
    assert!(error.contains("no tokenizer"), "{error}");
}

/// Specification, section 15: L23H3 = .18 of 20 forms, next .14, digits .56, "none found".
#[test]
fn smollm2_has_no_successor_head_by_its_weights() {
    let Ok(folder) = std::env::var("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path = format!("{folder}/smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf");
    let mut engine = Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()));
    let report = successor(&mut engine, &quick(), &mut Unheard).unwrap();
    let counted = report.tables[0]
        .rows
        .iter()
        .filter(|row| row[3] == Cell::from("yes"));
    assert_eq!(counted.count(), 20);
    let ranked = report.scores_of("successor").unwrap().ranked();
    assert_eq!(ranked[0].0, HeadId::new(23, 3));
    assert!((ranked[0].1.unwrap() - 0.18).abs() < 0.05, "{ranked:?}");
    assert!((ranked[1].1.unwrap() - 0.14).abs() < 0.05, "{ranked:?}");
    let digits = report.scores_of("successor, numbers").unwrap();
    assert!((digits.value(HeadId::new(23, 3)).unwrap() - 0.56).abs() < 0.12);
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.starts_with("none found"))
    );
}

#[test]
fn every_list_that_can_be_shown_is_built_in() {
    let tokenizer = open(demo::NAME, &mut Unreported).unwrap().tokenizer;
    let lists = built_in(tokenizer.as_ref().unwrap());
    let names: Vec<&str> = lists.iter().map(|list| &list.name[..]).collect();
    let shown: Vec<&str> = Shown::ALL.iter().filter_map(|shown| shown.list()).collect();
    assert_eq!(shown, names);
}

#[test]
fn words_of_one_s_own_are_a_list_with_its_matrix() {
    let mut engine = demo();
    let words = "Monday, Tuesday, Wednesday, Thursday, Friday".to_owned();
    let settings = Settings {
        words,
        matrix: Shown::Months,
        behaviour: false,
        ..Settings::default()
    };
    let report = successor(&mut engine, &settings, &mut Unheard).unwrap();
    let grid = &report.grids[0];
    assert!(grid.name.contains("typed"), "{}", grid.name);
    assert_eq!(grid.rows.len(), 5);
    assert!(report.scores_of("successor, typed").is_some());
    // Residues are of numbers, whatever is asked about.
    assert!(
        report
            .tables
            .iter()
            .any(|table| table.name == "probe of n mod 10")
    );
}
