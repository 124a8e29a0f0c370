//! Every law fails when it is broken: one value of a real run is changed, and the law that is about it says which.

use std::sync::Arc;

use super::*;
use crate::experiment::{LayerMaps, Patterns};
use crate::model::load::{Unreported, open};

const MODELS: [&str; 3] = ["tiny-gpt2", "tiny-llama", "tiny-llama-tied"];

fn model(name: &str) -> Arc<Model> {
    let path = format!(
        "{}/tests/fixtures/models/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    Arc::new(open(&path, &mut Unreported).unwrap())
}

/// A check whose plain run is recorded, and what it recorded.
fn recorded(name: &str) -> (Check, Vec<crate::experiment::engine::Dumped>) {
    let mut check = Check::new(model(name), None);
    let sites = Site::all(&check.engine.model().spec);
    let dumped = check.engine.dump(&check.prompt, &sites).unwrap();
    (check, dumped)
}

/// What a law says of a run in which one value is another.
fn judge(name: &str, law: Law, broken: &str, flat: usize, value: f32) -> Tally {
    let (check, mut dumped) = recorded(name);
    let activation = dumped.iter_mut().find(|a| a.name == broken).unwrap();
    activation.values[flat] = value;
    let ground = Ground {
        spec: &check.engine.model().spec,
        precision: Precision::of("f32"),
        activations: &Activations::new(dumped),
    };
    ground.check(law).unwrap()
}

#[test]
fn every_law_holds_of_every_form_of_model() {
    for name in MODELS {
        let report = check(model(name), None);
        assert_eq!(
            report.first_failure(),
            None,
            "{name}: {:#?}",
            report.invariants
        );
        let mut laws: Vec<&str> = report.invariants.iter().map(|i| i.law.name()).collect();
        laws.sort_unstable();
        let mut all = Law::ALL.map(Law::name);
        all.sort_unstable();
        assert_eq!(laws, all, "{name}");
        for invariant in &report.invariants {
            assert_eq!(invariant.status, Status::Passed, "{invariant:?}");
            assert!(invariant.tally.compared > 0, "{invariant:?}");
        }
        assert_eq!(report.verdict(), Verdict::InvariantsOnly);
    }
}

#[test]
fn laws_about_activations_name_the_value_that_is_wrong() {
    for name in MODELS {
        for (law, broken, blamed) in [
            (
                Law::Finite,
                "blocks.1.mlp.hook_post",
                "blocks.1.mlp.hook_post",
            ),
            (
                Law::PatternRows,
                "blocks.1.attn.hook_pattern",
                "blocks.1.attn.hook_pattern",
            ),
            (
                Law::PatternTimesV,
                "blocks.0.attn.hook_v",
                "blocks.0.attn.hook_z",
            ),
            (
                Law::PatternTimesV,
                "blocks.1.attn.hook_z",
                "blocks.1.attn.hook_z",
            ),
            (
                Law::ResidMid,
                "blocks.1.hook_attn_out",
                "blocks.1.hook_resid_mid",
            ),
            (
                Law::ResidPost,
                "blocks.0.hook_mlp_out",
                "blocks.0.hook_resid_post",
            ),
            (
                Law::ResidPost,
                "blocks.1.hook_resid_post",
                "blocks.1.hook_resid_post",
            ),
        ] {
            let value = if law == Law::Finite { f32::NAN } else { 0.25 };
            let tally = judge(name, law, broken, 0, value);
            assert!(tally.wrong > 0, "{name} {law:?}");
            assert_eq!(tally.first_wrong.unwrap().site, blamed, "{name} {law:?}");
            assert!(tally.worst.unwrap().in_tolerances() > 100.0);
        }
    }
}

#[test]
fn the_smallest_weight_behind_the_mask_is_too_much() {
    let tally = judge(
        "tiny-llama",
        Law::Mask,
        "blocks.0.attn.hook_pattern",
        1,
        1e-30,
    );
    assert_eq!(tally.wrong, 1);
    assert_eq!(tally.first_wrong.unwrap().index, [0, 0, 0, 1]);
    // A masked score that is finite, and one that is seen and is not.
    for (flat, value) in [(1, -1e4), (0, f32::NEG_INFINITY)] {
        let site = "blocks.0.attn.hook_attn_scores";
        let tally = judge("tiny-gpt2", Law::Finite, site, flat, value);
        assert_eq!(tally.wrong, 1, "{flat}");
    }
}

#[test]
fn a_tolerance_is_no_wider_than_rounding() {
    for name in MODELS {
        // Each law with the smallest error that could pass for rounding, times a hundred.
        for (law, broken) in [
            (Law::ResidPost, "blocks.0.hook_resid_post"),
            (Law::ResidMid, "blocks.0.hook_resid_mid"),
            (Law::PatternTimesV, "blocks.0.attn.hook_z"),
        ] {
            let (_, dumped) = recorded(name);
            let activation = dumped.iter().find(|a| a.name == broken).unwrap();
            let (flat, value) = activation
                .values
                .iter()
                .enumerate()
                .max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()))
                .unwrap();
            let tally = judge(name, law, broken, flat, value * (1.0 + 1e-4));
            assert_eq!(tally.wrong, 1, "{name} {law:?}");
        }
    }
}

#[test]
fn the_heads_and_the_lens_are_compared_with_what_was_run() {
    for name in MODELS {
        let (mut check, dumped) = recorded(name);
        let width = check.engine.model().spec.d_model;
        let n_vocab = check.engine.model().spec.n_vocab;
        check.activations = Activations::new(dumped.clone());
        let ground = Ground {
            spec: &check.engine.model().spec,
            precision: Precision::of("f32"),
            activations: &check.activations,
        };
        // Without b_O where there is one: as if it were forgotten.
        let mut outs: Vec<_> = dumped
            .into_iter()
            .filter(|a| a.name.ends_with("hook_attn_out"))
            .collect();
        for out in &mut outs {
            out.values.fill(0.125);
        }
        let tally = ground.heads_sum(&Activations::new(outs)).unwrap();
        assert_eq!(tally.wrong, tally.compared, "{name}");
        assert_eq!(tally.first_wrong.unwrap().site, "blocks.0.hook_attn_out");

        let model = Arc::clone(check.engine.model());
        let stream = ground.final_stream().unwrap();
        assert_eq!(stream.len(), check.prompt.ids.len() * width);
        let mut logits = crate::experiment::lens(&model, stream).unwrap();
        assert_eq!(ground.lens(&logits).unwrap().wrong, 0);
        logits[n_vocab + 3] += 1e-3;
        let tally = ground.lens(&logits).unwrap();
        assert_eq!(tally.wrong, 1);
        assert_eq!(tally.first_wrong.unwrap().index, [0, 1, 3]);
    }
}

#[test]
fn two_passes_are_compared_to_the_last_bit_or_to_rounding() {
    let mut check = Check::new(model("tiny-gpt2"), None);
    let Ok(plain) = check.run(Vec::new(), &mut || true) else {
        panic!("nothing stops it")
    };
    let plain = plain.unwrap().before;
    let mut other = plain.clone();
    let patterns = &plain.layers[1].patterns;
    let heads = (0..patterns.n_heads()).map(|head| patterns.head(head).to_vec());
    let mut weights = heads.collect::<Vec<_>>().concat();
    weights[0] -= f32::EPSILON / 2.0;
    let n_tokens = check.prompt.ids.len();
    other.layers[1] = Arc::new(LayerMaps {
        layer: 1,
        mask: plain.layers[1].mask,
        patterns: Patterns::kept(plain.layers[1].patterns.n_heads(), n_tokens, weights),
        value_norms: Arc::clone(&plain.layers[1].value_norms),
    });
    let ground = Ground {
        spec: &check.engine.model().spec,
        precision: Precision::of("f32"),
        activations: &check.activations,
    };
    let wrong = |law, pass: &Pass| ground.same_pass(law, pass, &plain).unwrap().first_wrong;
    assert_eq!(wrong(Law::NoChange, &plain), None);
    let bit = wrong(Law::NoChange, &other).unwrap();
    assert_eq!(bit.site, "blocks.1.attn.hook_pattern");
    assert_eq!(wrong(Law::Restart, &other), None);

    let mut logits = plain.logits.clone().unwrap().to_vec();
    logits[7] += 1e-3;
    other.logits = Some(logits.into());
    let logit = wrong(Law::Restart, &other).unwrap();
    assert_eq!(
        (logit.site.as_str(), &logit.index[..]),
        ("logits", &[0, 7][..])
    );
    other.logits = None;
    assert!(ground.same_pass(Law::Restart, &other, &plain).is_err());
}

#[test]
fn what_kept_a_law_from_being_checked_is_a_failure() {
    let (check, _) = recorded("tiny-gpt2");
    let nothing = Ground {
        spec: &check.engine.model().spec,
        precision: Precision::of("f32"),
        activations: &Activations::default(),
    };
    let missing = nothing.check(Law::PatternTimesV);
    let invariant = Invariant::judged(Law::PatternTimesV, missing);
    assert_eq!(invariant.status, Status::Failed);
    assert_eq!(
        invariant.note.as_deref(),
        Some("blocks.0.attn.hook_pattern was not recorded")
    );
}

#[test]
fn laws_that_a_form_of_model_exempts_are_skipped_with_the_reason() {
    use crate::model::spec::{BlockOrder, Head, Placement};
    let plain = model("tiny-gpt2").spec.clone();
    let exempt = |change: &dyn Fn(&mut crate::model::spec::ModelSpec)| {
        let mut spec = plain.clone();
        change(&mut spec);
        let exempt = Law::ALL.into_iter();
        exempt
            .filter(|law| law.exemption(&spec).is_some())
            .collect::<Vec<_>>()
    };
    assert_eq!(exempt(&|_| {}), []);
    let both_ways = exempt(&|spec| spec.masks.fill(crate::mask::Mask::NONE));
    assert_eq!(both_ways, [Law::Mask]);
    assert_eq!(exempt(&|spec| spec.head = Head::None), [Law::Lens]);
    let post = exempt(&|spec| spec.placement = Placement::Post);
    assert_eq!(post, [Law::ResidPost]);
    let sandwich = exempt(&|spec| spec.placement = Placement::Sandwich);
    assert_eq!(sandwich, [Law::HeadsSum]);
    let parallel = exempt(&|spec| spec.order = BlockOrder::Parallel { shared_norm: true });
    assert_eq!(parallel, [Law::ResidMid]);
    let skipped = Invariant::skipped(Law::Lens, "no head");
    assert_eq!((skipped.status, skipped.failure()), (Status::Skipped, None));
}

/// A check that is stopped at every layer in turn finds what an undisturbed one finds.
#[test]
fn a_check_that_is_stopped_goes_on_where_it_was() {
    let path = format!(
        "{}/tests/fixtures/models/tiny-llama/headscope-reference.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let reference = Reference::open(std::path::Path::new(&path)).unwrap();
    let undisturbed = check(model("tiny-llama"), Some(reference.clone()));
    let mut halting = Check::new(model("tiny-llama"), Some(reference));
    let (mut patience, mut left, mut stops) = (0, 0, 0);
    loop {
        let mut go_on = || {
            if left == 0 {
                patience += 1;
                left = patience;
                return false;
            }
            left -= 1;
            true
        };
        match halting.advance(&mut go_on) {
            Progress::Stopped => stops += 1,
            Progress::More => {}
            Progress::Done => break,
        }
    }
    assert!(stops > 5, "{stops}");
    let report = halting.into_report();
    assert_eq!(report.summary(), undisturbed.summary());
    let tallies = |report: &Report| {
        let of_laws = report.invariants.iter().map(|i| i.tally.clone());
        let cases = report.reference.iter().flat_map(|r| &r.cases);
        let of_cases = cases.map(|case| case.tally.clone());
        of_laws.chain(of_cases).collect::<Vec<_>>()
    };
    assert_eq!(tallies(&report), tallies(&undisturbed));
}

#[test]
fn the_prompt_is_within_the_model_whatever_its_size() {
    let model = model("tiny-gpt2");
    let spec = &model.spec;
    let prompt = prompt(&model);
    assert!(prompt.ids.len() > 4 && prompt.ids.len() <= spec.n_ctx);
    assert!(prompt.ids.iter().all(|id| (*id as usize) < spec.n_vocab));
    let distinct: std::collections::BTreeSet<_> = prompt.ids.iter().collect();
    assert!(distinct.len() > 4, "{:?}", prompt.ids);
}
