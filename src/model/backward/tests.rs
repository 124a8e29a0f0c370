//! Every gradient against central differences of the plain forward.

use std::collections::BTreeSet;

use super::*;
use crate::compute::{Compute, Dtype};
use crate::model::Model;
use crate::model::device::Candle;
use crate::model::hub::Hub;
use crate::model::load::{Unreported, open, open_on};
use crate::model::plan::{Edge, NewRow, PatternRow, RowEdit};

/// Between them: all norms, orders, activations, positions, masks, caps, and norms of q and k.
const MODELS: [&str; 14] = [
    "tiny-gpt2",
    "tiny-llama",
    "tiny-llama-tied",
    "tiny-gemma2",
    "tiny-gemma3-text",
    "tiny-gpt-neox",
    "tiny-gpt-neox-sequential",
    "tiny-gpt-neo",
    "tiny-phi",
    "tiny-phi3",
    "tiny-qwen2-windowed",
    "tiny-qwen3",
    "tiny-opt",
    "tiny-mistral",
];

/// Later than every window.
const N_TOKENS: usize = 9;
const READ: [usize; 2] = [5, 7];

fn path(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/tests/fixtures/models/{name}")
}

fn model(name: &str) -> Model {
    open(&path(name), &mut Unreported).unwrap()
}

fn ids(model: &Model) -> Vec<u32> {
    (0..N_TOKENS as u32)
        .map(|i| (i * 11 + 3) % model.spec.n_vocab as u32)
        .collect()
}

/// Cross-entropy at both positions, and its gradient by the logits.
fn cross_entropy(logits: &[f32]) -> (f64, Vec<f32>) {
    let n_vocab = logits.len() / READ.len();
    let (mut loss, mut d) = (0.0, vec![]);
    for (row, target) in logits.chunks_exact(n_vocab).zip([4, 17]) {
        let exps: Vec<f64> = row.iter().map(|x| f64::from(*x).exp()).collect();
        let sum: f64 = exps.iter().sum();
        loss += sum.ln() - f64::from(row[target]);
        let of = |(i, x): (usize, &f64)| (x / sum - f64::from(u8::from(i == target))) as f32;
        d.extend(exps.iter().enumerate().map(of));
    }
    (loss, d)
}

fn loss(model: &Model, plan: &Plan) -> f64 {
    let record = BTreeSet::new();
    let mut forward = model.transformer.start(&ids(model), plan, &record).unwrap();
    while forward.step().unwrap().is_some() {}
    let resid = forward.finish(Some(&READ)).unwrap();
    let logits = forward.logits(resid).unwrap().unwrap();
    with_values(&logits, |logits| cross_entropy(logits).0).unwrap()
}

fn gradients(model: &Model, plan: &Plan, down_to: usize) -> Result<Gradients, GradientError> {
    let reach = Reach {
        positions: &READ,
        down_to,
    };
    let transformer = &model.transformer;
    let loss = &mut |logits: &[f32]| cross_entropy(logits).1;
    transformer.gradients(&ids(model), plan, reach, loss, &mut || true)
}

/// Of five points, so that curvature does not show at a step whose rounding does not either.
fn slope(step: f32, f: impl Fn(f32) -> f64) -> f64 {
    let about = |step: f32| f(step) - f(-step);
    (8.0 * about(step) - about(2.0 * step)) / (12.0 * f64::from(step))
}

const STEP: f32 = 0.04;

/// Where the stream is small beside a step, or a slope jumps within it, a shorter one shows what the longer one hides.
const SHORTER_STEPS: [f32; 3] = [0.01, 0.0025, 0.0006];

/// Where a change stands among the edits of its site.
#[derive(Clone, Copy, PartialEq)]
enum When {
    First,
    Last,
}

fn with(plan: &Plan, site: Site, when: When, edit: RowEdit) -> Plan {
    let mut plan = plan.clone();
    let edits = plan.rows.entry(site).or_default();
    let at = if when == When::First { 0 } else { edits.len() };
    edits.insert(at, edit);
    plan
}

/// The worst differences found, in the units in which they are judged.
#[derive(Debug, Default)]
struct Found {
    worst: f64,
    count: usize,
    n_shorter: usize,
    largest: f64,
}

/// Single values of one site, changed at single positions, against `found` `[row, width]`, whose rows are `positions`.
fn check(
    model: &Model,
    plan: &Plan,
    (site, when): (Site, When),
    positions: &[usize],
    found: &[f32],
    so_far: &mut Found,
) {
    let width = found.len() / positions.len();
    let largest = found
        .iter()
        .fold(0.0_f64, |most, x| most.max(f64::from(x.abs())));
    for (row, position) in positions.iter().enumerate() {
        for column in (row..width).step_by(7) {
            let about = |step: f32| {
                slope(step, |by| {
                    let edit = RowEdit {
                        columns: column..column + 1,
                        positions: vec![*position],
                        change: Change::Add(vec![by]),
                    };
                    loss(model, &with(plan, site, when, edit))
                })
            };
            let found = f64::from(found[row * width + column]);
            // One per cent; of small ones beside large ones the rounding shows.
            let allowed = 0.01 * found.abs() + 0.002 * largest;
            let mut by_differences = about(STEP);
            for step in SHORTER_STEPS {
                if (found - by_differences).abs() > allowed {
                    by_differences = about(step);
                    so_far.n_shorter += 1;
                }
            }
            let off = (found - by_differences).abs();
            if allowed > 0.0 {
                so_far.worst = so_far.worst.max(off / allowed);
            }
            assert!(
                off <= allowed,
                "{} {site} position {position} value {column}: {found} and {by_differences} by differences",
                model.spec.family
            );
            so_far.count += 1;
            so_far.largest = so_far.largest.max(found.abs());
        }
    }
}

fn check_all(model: &Model, plan: &Plan) -> Found {
    let gradients = gradients(model, plan, 0).unwrap();
    let all: Vec<usize> = (0..N_TOKENS).collect();
    let mut so_far = Found::default();
    for (layer, of) in gradients.layers.iter().enumerate() {
        for (part, when, found) in [
            (Part::ResidPre, When::First, &of.by_resid_pre),
            (Part::Z, When::First, &of.by_z),
            (Part::Z, When::Last, &of.by_edited_z),
            (Part::MlpOut, When::First, &of.by_mlp_out),
        ] {
            let at = (Site::Block(layer, part), when);
            check(model, plan, at, &all, found, &mut so_far);
        }
    }
    let at = (Site::final_resid(&model.spec), When::Last);
    let found = &gradients.by_final_resid;
    check(model, plan, at, &READ, found, &mut so_far);
    so_far
}

/// Every kind of edit that a list compiles to, at every site.
fn edits(spec: &ModelSpec) -> Plan {
    let (dh, d) = (spec.d_head, spec.d_model);
    let values = |n: usize, by: f32| (0..n).map(|i| ((i + 1) as f32 * by).sin()).collect();
    let gains = |n: usize| (0..n).map(|i| 1.0 + 0.4 * (i as f32).cos()).collect();
    let mut plan = Plan::default();
    let mut edit = |layer, part, columns, positions: &[usize], change| {
        let edits = plan.rows.entry(Site::Block(layer, part)).or_default();
        edits.push(RowEdit {
            columns,
            positions: positions.to_vec(),
            change,
        });
    };
    let all: Vec<usize> = (0..N_TOKENS).collect();
    let affine = |n: usize| Change::Affine {
        gain: gains(n),
        shift: values(n, 0.3),
    };
    edit(0, Part::Z, 0..dh, &all, Change::Scale(0.5));
    edit(0, Part::Z, dh..2 * dh, &[1, 4, 6], affine(dh));
    edit(0, Part::Z, dh..2 * dh, &[4, 6], Change::Scale(-1.5));
    edit(
        0,
        Part::Z,
        2 * dh..3 * dh,
        &[3],
        Change::Fill(values(dh, 0.2)),
    );
    edit(1, Part::Z, 0..dh, &[5], affine(dh));
    edit(
        1,
        Part::Z,
        dh..2 * dh,
        &[2, 5],
        Change::Rows(values(2 * dh, 0.7)),
    );
    edit(1, Part::ResidPre, 0..d, &[2, 6], affine(d));
    edit(1, Part::Q, 0..dh, &all, Change::Scale(1.3));
    edit(1, Part::K, 0..dh, &[1, 3], affine(dh));
    edit(1, Part::V, 0..dh, &[0, 2], Change::Scale(2.0));
    edit(0, Part::AttnOut, 0..d, &[5], Change::Scale(0.7));
    edit(1, Part::AttnOut, 0..d, &[5, 6], affine(d));
    edit(0, Part::MlpOut, 0..d, &all, affine(d));
    edit(1, Part::MlpOut, 0..d, &[7], Change::Scale(0.6));
    edit(spec.n_layers - 1, Part::ResidPost, 0..d, &[4, 7], affine(d));
    let edge = |head, query, key| Edge { head, query, key };
    let edges = BTreeSet::from([edge(0, 5, 4), edge(2, 7, 7)]);
    plan.knockouts.insert(0, edges.clone());
    plan.knockouts.insert(1, edges);
    let factors = [(edge(0, 6, 2), 3.0), (edge(1, 7, 5), -1.5)];
    plan.scaled.insert(0, factors.into());
    plan.scaled.insert(1, factors.into());
    let row = |head, query| PatternRow { head, query };
    let weights: Vec<f32> = values(7, 0.4);
    let rows = [
        (row(1, 5), NewRow::Uniform),
        (row(2, 6), NewRow::Given(weights.into())),
    ];
    plan.patterns.insert(1, Arc::new(rows.into()));
    plan
}

#[test]
fn gradients_are_central_differences() {
    for name in MODELS {
        let found = check_all(&model(name), &Plan::default());
        assert!(found.count > 140 && found.largest > 1e-3);
        println!("{name}: {found:.2?}");
    }
}

#[test]
fn later_tokens_and_a_missing_norm_are_gone_through() {
    // An encoder's blocks, read as a decoder's would be.
    let mut model = model("tiny-modernbert");
    model.transformer.spec.head = Head::NextToken;
    let spec = &model.transformer.spec;
    assert!(spec.first_norm_absent && spec.embed_norm && !spec.is_causal());
    let found = check_all(&model, &Plan::default());
    println!("{found:.2?}");
    let of = &gradients(&model, &Plan::default(), 0).unwrap().layers[0];
    let last = of.by_z.rchunks(4).next().unwrap();
    assert!(last.iter().all(|x| *x != 0.0), "later tokens have a part");
}

#[test]
fn edits_are_gone_through() {
    for name in MODELS {
        let model = model(name);
        let plan = edits(&model.spec);
        let found = check_all(&model, &plan);
        println!("{name}: {found:.2?}");
        let gradients = gradients(&model, &plan, 0).unwrap();
        let of = &gradients.layers[0];
        assert_ne!(of.by_z, of.by_edited_z);
        // What is filled in does not answer to what stood there.
        let (width, dh) = (model.spec.n_heads * model.spec.d_head, model.spec.d_head);
        assert_eq!(of.by_z[3 * width + 2 * dh..][..dh], vec![0.0; dh]);
    }
}

#[test]
fn a_gain_and_a_shift_of_a_head_have_the_sums_over_positions() {
    for name in ["tiny-gpt2", "tiny-gemma2", "tiny-qwen3"] {
        let model = model(name);
        let ModelSpec {
            d_head, n_heads, ..
        } = model.spec;
        let all: Vec<usize> = (0..N_TOKENS).collect();
        let (layer, head) = (1, 2);
        let learned = |gain_by: f32, shift_by: f32| {
            let mut gain: Vec<f32> = (0..d_head).map(|i| 1.0 + 0.1 * i as f32).collect();
            let mut shift: Vec<f32> = (0..d_head).map(|i| 0.3 - 0.1 * i as f32).collect();
            gain[1] += gain_by;
            shift[1] += shift_by;
            let edit = RowEdit {
                columns: head * d_head..(head + 1) * d_head,
                positions: all.clone(),
                change: Change::Affine { gain, shift },
            };
            let site = Site::Block(layer, Part::Z);
            with(&Plan::default(), site, When::First, edit)
        };
        let gradients = gradients(&model, &learned(0.0, 0.0), layer).unwrap();
        assert_eq!(gradients.layers[0], LayerGradients::default());
        let of = &gradients.layers[layer];
        let values = |of: &[f32]| -> Vec<f64> {
            let rows = of.chunks_exact(n_heads * d_head);
            rows.map(|row| f64::from(row[head * d_head + 1])).collect()
        };
        let (z, d) = (values(&of.z), values(&of.by_edited_z));
        let by_gain: f64 = z.iter().zip(&d).map(|(z, d)| z * d).sum();
        let by_shift: f64 = d.iter().sum();
        for (found, about) in [
            (by_gain, slope(STEP, |by| loss(&model, &learned(by, 0.0)))),
            (by_shift, slope(STEP, |by| loss(&model, &learned(0.0, by)))),
        ] {
            assert!(
                (found - about).abs() < 0.01 * found.abs() + 1e-5,
                "{name}: {found} {about}"
            );
        }
        // No later token has a part in what is read.
        assert_eq!(d[N_TOKENS - 1].to_bits(), 0.0_f64.to_bits());
    }
}

#[test]
fn matrices_in_narrow_numbers_and_elsewhere_go_back_too() {
    let gguf = "tiny-llama-quantized/tiny-llama-quantized.gguf";
    let device = Candle(candle_core::Device::Cpu);
    for (name, dtype, is_placed) in [
        (gguf, Dtype::Quantized, false),
        ("tiny-gemma2", Dtype::F16, false),
        ("tiny-gpt-neox", Dtype::Bf16, false),
        ("tiny-qwen3", Dtype::F16, true),
    ] {
        let compute = Compute {
            dtype,
            ..Compute::default()
        };
        let backend = is_placed.then_some(&device as _);
        let model = open_on(
            &Hub::from_env(),
            &path(name),
            compute,
            backend,
            &mut Unreported,
        );
        let found = check_all(&model.unwrap(), &Plan::default());
        println!("{name} {dtype}: {found:.2?}");
    }
}

#[test]
fn what_has_no_way_back_is_refused_by_name() {
    let refused = |model: &Model, plan: &Plan| gradients(model, plan, 0).unwrap_err();
    let plain = Plan::default();
    let masked = refused(&model("tiny-bert"), &plain);
    assert!(matches!(masked, GradientError::MaskedTokens), "{masked}");
    let headless = refused(&model("tiny-bert-base"), &plain);
    assert!(matches!(headless, GradientError::NoLogits), "{headless}");

    let mut gpt2 = model("tiny-gpt2");
    let site = Site::Block(0, Part::Ln1Normalized);
    let edit = RowEdit {
        columns: 0..2,
        positions: vec![0],
        change: Change::Scale(2.0),
    };
    let edited = with(&plain, site, When::First, edit);
    match refused(&gpt2, &edited) {
        GradientError::Edit(at) => assert_eq!(at, site),
        error => panic!("{error}"),
    }
    let ids = ids(&gpt2);
    let reach = |positions: &[usize], down_to, values: usize, go_on: bool| {
        let reach = Reach { positions, down_to };
        let loss = &mut |_: &[f32]| vec![0.0; values];
        let transformer = &gpt2.transformer;
        let found = transformer.gradients(&ids, &plain, reach, loss, &mut || go_on);
        found.unwrap_err().to_string()
    };
    for (positions, down_to) in [
        (&[][..], 0),
        (&[3, 3], 0),
        (&[4, 3], 0),
        (&[N_TOKENS], 0),
        (&[1], 2),
    ] {
        let error = reach(positions, down_to, 0, true);
        assert!(error.contains("rising positions below 9"), "{error}");
    }
    assert!(reach(&[1], 0, 5, true).contains("5 values for 37 logits"));
    assert!(reach(&[1], 0, 37, false).contains("stopped"));

    gpt2.transformer.spec.placement = Placement::Post;
    let post = refused(&gpt2, &plain);
    assert!(matches!(post, GradientError::NormsOnTheStream), "{post}");
}
