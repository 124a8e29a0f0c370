//! The short cuts against the plain path: many edited runs at once equal one run after the other, and tokens generated
//! with kept keys and values equal whole runs.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;

use std::sync::Arc;

use headscope::edit::Edit;
use headscope::experiment::engine::{Engine, RunError, Unwatched};
use headscope::experiment::{Reading, RunSpec, Side};
use headscope::model::Model;
use headscope::model::site::{Part, Site};
use headscope::model::spec::Head;

use support::{close, every_fixture_model, fixture_model, run_spec};

const IDS: [u32; 11] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5];

/// Logits of magnitude 1 to 10 by the same products over other numbers of rows: the last bits may differ.
const TOLERANCE: f32 = 1e-5;

fn edits(list: &[&str]) -> Vec<Edit> {
    list.iter().map(|edit| edit.parse().unwrap()).collect()
}

fn spec(position: usize) -> RunSpec {
    let mut swapped = IDS;
    swapped[4] = 7;
    RunSpec {
        position,
        contrast: Some(swapped.as_slice().into()),
        ..run_spec(&IDS, &[])
    }
}

fn one_by_one(model: &Arc<Model>, spec: &RunSpec, edits: &[Edit]) -> Vec<f32> {
    let spec = RunSpec {
        edits: edits.to_vec(),
        ..spec.clone()
    };
    let outcome = Engine::new(Arc::clone(model))
        .run(&spec, &mut Unwatched)
        .unwrap();
    outcome
        .after
        .unwrap_or(outcome.before)
        .logits
        .unwrap()
        .to_vec()
}

#[test]
fn a_sweep_equals_one_run_after_the_other() {
    for (name, model) in every_fixture_model() {
        if model.spec.head == Head::None {
            continue;
        }
        let (layers, heads) = (model.spec.n_layers, model.spec.n_heads);
        // Not the last position, so that rows after the one that is read are there.
        let position = 6;
        let mut variants: Vec<Vec<Edit>> = vec![vec![]];
        for op in ["zero", "zero@6", "scale(-2)@last", "resample", "uniform@6"] {
            for head in 0..layers * heads {
                let target = format!("L{}H{}", head / heads, head % heads);
                variants.push(edits(&[&format!("{target}={op}")]));
            }
        }
        for list in [
            &["L0H0[6->5]=knockout"][..],
            &["L1H1[6->6]=knockout", "L0H1=zero@6"],
            &["L1=scale(3)@6", "M0=zero@6"],
            &["R1=scale(0.5)@6"],
            &["R1=scale(0.5)@2"],
            &["L1KV0=scale(2)@6"],
            &["L0KV0=zero@1"],
            &["R0=zero@3", "L1H0=mean"],
            &["M1=resample@6"],
            &["L0H0=scale(1)"],
            &["L1=uniform"],
        ] {
            variants.push(edits(list));
        }
        variants.push(edits(&[&format!("R{layers}=scale(2)@6")]));
        let tokens = [3, 0, 11];
        let mut engine = Engine::new(Arc::clone(&model));
        let mut fractions = vec![];
        let all = engine
            .sweep(
                &spec(position),
                &variants,
                Reading::default(),
                &mut |fraction| {
                    fractions.push(fraction);
                    true
                },
            )
            .unwrap();
        let some = engine
            .sweep(
                &spec(position),
                &variants,
                Reading::of(&tokens),
                &mut |_| true,
            )
            .unwrap();
        assert!(fractions.is_sorted() && fractions.len() > layers);
        for ((variant, all), some) in variants.iter().zip(&all).zip(&some) {
            let expected = one_by_one(&model, &spec(position), variant);
            let what = |worst| panic!("{name} {variant:?}: {worst}");
            close(all, &expected, TOLERANCE).unwrap_or_else(what);
            let chosen = tokens.map(|token| expected[token as usize]);
            close(some, &chosen, TOLERANCE).unwrap_or_else(what);
        }
    }
}

#[test]
fn a_sweep_of_more_rows_than_a_batch_holds_is_the_same() {
    let model = fixture_model("tiny-llama");
    let variants: Vec<Vec<Edit>> = (0..500)
        .map(|i| edits(&[&format!("L{}H{}=scale({})", i % 2, i % 4, i as f32 / 100.0)]))
        .collect();
    let mut engine = Engine::new(Arc::clone(&model));
    let all = engine
        .sweep(&spec(10), &variants, Reading::default(), &mut |_| true)
        .unwrap();
    for i in [0, 1, 250, 371, 372, 373, 499] {
        close(
            &all[i],
            &one_by_one(&model, &spec(10), &variants[i]),
            TOLERANCE,
        )
        .unwrap();
    }
}

#[test]
fn a_sweep_stops_when_it_is_told_to_and_refuses_as_a_run_does() {
    let mut engine = Engine::new(fixture_model("tiny-gpt2"));
    let stopped = engine.sweep(
        &spec(3),
        &[edits(&["L0H0=zero"])],
        Reading::default(),
        &mut |_| false,
    );
    assert!(matches!(stopped, Err(RunError::Stopped)));
    let refused = engine.sweep(
        &spec(3),
        &[edits(&["L7H0=zero"])],
        Reading::default(),
        &mut |_| true,
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .starts_with("edit `L7H0=zero`")
    );
}

/// K5 of the specification: generating with edits equals running the whole text with the same edits at each step.
#[test]
fn generated_tokens_equal_those_of_whole_runs_under_the_same_edits() {
    for (name, model) in every_fixture_model() {
        if !model.spec.is_causal() {
            let refused =
                Engine::new(model).generate(&spec(10), Side::After, 3, &[], &mut |_| true);
            assert!(matches!(refused, Err(RunError::NotCausal)), "{name}");
            continue;
        }
        let ids = &IDS[..9];
        for list in [
            &[][..],
            &["L0H1=zero"],
            &["L1H0=scale(2.5)", "L0=uniform"],
            &["L0H0=scale(-1)@last", "L1KV0=scale(2)", "M0=zero@3"],
            &["L1H1[8->7]=knockout", "R1=scale(1.5)"],
            // What edits take their values from is the prompt's own; positions may be those of tokens to come.
            &["L0H1=mean", "M1=mean@2,10"],
            &["L1H0=resample@4,7", "L0=resample@last"],
            &["L1H1[10->9]=knockout", "L0H0=scale(3)@9,11"],
        ] {
            let asked = RunSpec {
                edits: edits(list),
                contrast: Some([3, 1, 4, 1, 5, 9, 7, 2, 8].into()),
                bos_count: 1,
                reach: ids.len() + 4,
                ..run_spec(ids, &[])
            };
            let mut engine = Engine::new(Arc::clone(&model));
            let mut heard = 0;
            let generated = engine
                .generate(&asked, Side::After, 4, &[], &mut |_| {
                    heard += 1;
                    true
                })
                .unwrap();
            assert_eq!((heard, generated.tokens.len()), (4, 4));
            let mut text = ids.to_vec();
            for (step, token) in generated.tokens.iter().enumerate() {
                // `last` stays the prompt's.
                let whole = RunSpec {
                    ids: text.as_slice().into(),
                    position: text.len() - 1,
                    edits: spelled_out(&asked, list),
                    ..asked.clone()
                };
                let sites: Vec<Site> = (0..model.spec.n_layers)
                    .map(|layer| Site::Block(layer, Part::Pattern))
                    .chain([Site::Logits])
                    .collect();
                let mut dumped = Engine::new(Arc::clone(&model))
                    .dump(&whole, &sites)
                    .unwrap();
                let what = |worst| panic!("{name} {list:?} step {step}: {worst}");
                let logits = dumped.pop().unwrap().values;
                let last = &logits[logits.len() - model.spec.n_vocab..];
                for top in &token.top {
                    close(&[top.logit], &[last[top.id as usize]], TOLERANCE).unwrap_or_else(what);
                }
                let n = text.len();
                assert_eq!(token.rows.len(), model.spec.n_layers);
                for (row, whole) in token.rows.iter().zip(&dumped) {
                    let last: Vec<f32> = whole
                        .values
                        .chunks_exact(n)
                        .skip(n - 1)
                        .step_by(n)
                        .flatten()
                        .copied()
                        .collect();
                    // Scores of magnitude 10 carry their rounding into the weights.
                    close(row, &last, 5e-6).unwrap_or_else(what);
                }
                text.push(token.chosen.id);
            }
        }
    }
}

/// The same edits with `last` as the prompt's last position.
fn spelled_out(asked: &RunSpec, list: &[&str]) -> Vec<Edit> {
    let last = format!("@{}", asked.last);
    list.iter()
        .map(|edit| edit.replace("@last", &last).parse().unwrap())
        .collect()
}

#[test]
fn generating_past_the_context_or_resampling_what_has_no_partner_is_refused() {
    let model = fixture_model("tiny-gpt2");
    let mut engine = Engine::new(model);
    let mut generate = |edits_of: &[&str], n| {
        let spec = RunSpec {
            edits: edits(edits_of),
            ..spec(10)
        };
        engine.generate(&spec, Side::After, n, &[], &mut |_| true)
    };
    assert!(matches!(
        generate(&[], 6),
        Err(RunError::TooLong { n_tokens: 17, .. })
    ));
    assert!(generate(&["L0H0=resample@4"], 3).is_ok());
    let refused = generate(&["L0H0=resample"], 3).unwrap_err().to_string();
    assert!(refused.contains("position 11 has no partner"), "{refused}");
}

#[test]
fn generation_stops_at_an_end_and_when_it_is_told_to() {
    let mut engine = Engine::new(fixture_model("tiny-llama"));
    let asked = run_spec(&IDS, &[]);
    let free = engine
        .generate(&asked, Side::After, 5, &[], &mut |_| true)
        .unwrap();
    let end = free.tokens[2].chosen.id;
    let first = free.tokens.iter().position(|t| t.chosen.id == end).unwrap();
    let ended = engine
        .generate(&asked, Side::After, 5, &[end], &mut |_| true)
        .unwrap();
    assert_eq!(ended.tokens, free.tokens[..=first]);
    let stopped = engine
        .generate(&asked, Side::After, 5, &[], &mut |_| false)
        .unwrap();
    assert_eq!(stopped.tokens, free.tokens[..1]);
}

#[test]
fn a_token_that_was_given_up_between_layers_is_the_same_when_it_is_asked_for_again() {
    let model = fixture_model("tiny-llama");
    let mut engine = Engine::new(Arc::clone(&model));
    let asked = run_spec(&IDS, &["L0H1=scale(3)"]);
    let whole = engine
        .generate(&asked, Side::After, 4, &[], &mut |_| true)
        .unwrap();
    let mut generation = engine.begin(&asked, Side::After, 4, &mut || true).unwrap();
    for token in whole.tokens {
        for layers in 0..=model.spec.n_layers {
            let mut left = layers;
            let given_up = generation.advance(&model, &mut || {
                left = left.wrapping_sub(1);
                left != usize::MAX
            });
            assert!(matches!(given_up, Err(RunError::Stopped)));
        }
        assert_eq!(generation.advance(&model, &mut || true).unwrap(), token);
    }
}

#[test]
fn text_begins_after_the_prompt_whatever_was_generated_before() {
    let mut engine = Engine::new(fixture_model("tiny-gpt2"));
    let prompt = RunSpec {
        reach: 12,
        ..run_spec(&IDS[..8], &["L0H1=mean", "L1H0=zero@last"])
    };
    let mut generate = |spec: &RunSpec| {
        let of = engine.generate(spec, Side::After, 4, &[], &mut |_| true);
        of.unwrap().tokens
    };
    let tokens = generate(&prompt);
    let text: Vec<u32> = tokens.iter().map(|token| token.chosen.id).collect();
    let further = RunSpec {
        ids: [&IDS[..8], &text[..3]].concat().into(),
        position: 10,
        ..prompt.clone()
    };
    assert_eq!(generate(&further), tokens);
    // A run over the longer text serves the prompt too.
    engine.run(&further, &mut Unwatched).unwrap();
    let again = engine.generate(&further, Side::After, 4, &[], &mut |_| true);
    let ids = again
        .unwrap()
        .tokens
        .iter()
        .map(|t| t.chosen.id)
        .collect::<Vec<_>>();
    assert_eq!(ids, text);
}
