//! Models of all kinds, and a real one.

use super::*;

/// Ids for a model without words.
fn bare_cases() -> Vec<Case> {
    (0..4u32)
        .map(|i| Case {
            label: format!("ids {i}"),
            spec: RunSpec {
                ids: [3, 1 + i, 4, 1, 5].as_slice().into(),
                n_prompt: 5,
                reach: 5,
                contrast: None,
                edits: vec![],
                position: 4,
                last: 4,
                bos_count: 0,
                folder: None,
            },
            answers: vec![7],
            wrong: vec![2],
            spans: vec![("object".into(), vec![1])],
            ..Case::default()
        })
        .collect()
}

#[test]
fn models_of_all_kinds_run_or_say_what_they_lack() {
    for name in ["tiny-llama", "tiny-gemma2", "tiny-gpt-neox", "tiny-bert"] {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models");
        let model = Arc::new(open(&format!("{root}/{name}"), &mut Unreported).unwrap());
        let settings = Settings {
            known_only: false,
            ..settings()
        };
        let report = run(&model, &bare_cases(), &settings);
        let is_sum = name != "tiny-bert";
        assert_eq!(report.scores_of("attribution").is_some(), is_sum, "{name}");
        let [sum, own] = if is_sum {
            [5, 6].map(|row: usize| number(&rows(&report, "parts")[row][1]))
        } else {
            [0.0; 2]
        };
        // A cap after the sum is no part of it.
        if model.spec.logit_cap.is_none() {
            assert!((sum - own).abs() < 1e-3, "{name}: {sum} {own}");
        }
    }
}

#[test]
fn a_real_model_if_there_is_one() {
    let Ok(folder) = std::env::var("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path = format!("{folder}/smollm2-135m-instruct-q4_1");
    let model = Arc::new(open(&path, &mut Unreported).unwrap());
    let draw = Draw {
        n: Some(8),
        ..Draw::default()
    };
    let set = TaskSet::open("counterfactual_capitals", &draw).unwrap();
    let (cases, _) = of_task(&set, &model, BosRule::Auto).unwrap();
    let settings = Settings {
        factors: "0,1,3".into(),
        by_effect: false,
        candidates: 1,
        draws: 1,
        known_only: false,
        ..Settings::default()
    };
    let report = run(&model, &cases[..4], &settings);
    let parts = rows(&report, "parts");
    let [sum, own] = [5, 6].map(|row: usize| number(&parts[row][1]));
    // C0 of a 30-layer model in f32.
    assert!((sum - own).abs() < 1e-3 * (1.0 + own.abs()), "{sum} {own}");
    assert_eq!(rows(&report, "prompts").len(), 4);
}
