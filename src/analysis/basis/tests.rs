use std::sync::Arc;

use crate::experiment::RunSpec;
use crate::experiment::engine::Engine;
use crate::model::load::{Unreported, open};
use crate::model::site::{Part, Site};

use super::*;

fn fixture(name: &str) -> Model {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models");
    open(&format!("{root}/{name}"), &mut Unreported).unwrap()
}

fn square(n: usize, values: &[f32]) -> Square {
    Square {
        n,
        values: values.to_vec(),
    }
}

#[test]
fn ratios_single_out_the_identity() {
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    let identity = square(2, &[-2.0, 0.0, 0.0, -2.0]);
    close(identity.diagonal_share(), 1.0);
    close(identity.trace_ratio(), -1.0);
    let diagonal = square(2, &[1.0, 0.0, 0.0, -1.0]);
    close(diagonal.diagonal_share(), 1.0);
    close(diagonal.trace_ratio(), 0.0);
    close(square(3, &[1.0; 9]).diagonal_share(), 1.0 / 3.0);
    close(square(3, &[0.0; 9]).trace_ratio(), 0.0);
}

/// In the first layer the stream is the embedding: the score of a token for itself is the diagonal of QK, and what the
/// head writes of it, as the unembedding reads it, is OV's row. Models without position vectors, biases and qk-norms.
#[test]
fn tokens_have_the_scores_and_outputs_of_the_first_layer() {
    for name in ["tiny-llama", "tiny-mistral"] {
        let model = Arc::new(fixture(name));
        let spec = model.spec.clone();
        let (d, n_heads) = (spec.d_model, spec.n_heads);
        let ids: Vec<u32> = (3..9).collect();
        let mut engine = Engine::new(Arc::clone(&model));
        let final_weight = model.final_gain().unwrap().weight;
        let unembed = model.unembedding(&ids).unwrap();
        for (i, id) in ids.iter().enumerate() {
            // One token alone: it attends to itself.
            let run = RunSpec {
                ids: [*id].as_slice().into(),
                n_prompt: 1,
                reach: 1,
                ..RunSpec::default()
            };
            let sites = [Part::Scores, Part::Result].map(|part| Site::Block(0, part));
            let [scores, results] = &engine.dump(&run, &sites).unwrap()[..] else {
                panic!();
            };
            for head in 0..n_heads {
                let [qk, ov] = in_tokens(&model, HeadId::new(0, head), &ids).unwrap();
                let found = qk.values[i * 6 + i];
                let right = scores.values[head];
                assert!(
                    (found - right).abs() < 1e-3 * (1.0 + right.abs()),
                    "{name}: {found} {right}"
                );
                let result = &results.values[head * d..(head + 1) * d];
                for j in 0..6 {
                    let read = result.iter().zip(&final_weight).zip(&unembed[j * d..]);
                    let right: f32 = read.map(|((x, w), u)| x * w * u).sum();
                    let found = ov.values[i * 6 + j];
                    assert!(
                        (found - right).abs() < 1e-3 * (1.0 + right.abs()),
                        "{name}: {found} {right}"
                    );
                }
            }
        }
    }
}

#[test]
fn singular_directions_are_those_of_the_whole_matrix() {
    for name in ["tiny-llama", "tiny-gpt2"] {
        let model = fixture(name);
        let d = model.spec.d_model;
        let head = HeadId::new(1, 1);
        let gain = model.attention_gain(1).unwrap();
        // The norm as a matrix: centring, then weights.
        let norm = DMatrix::from_fn(d, d, |i, j| {
            let centred = if gain.centres { 1.0 / d as f64 } else { 0.0 };
            (f64::from(u8::from(i == j)) - centred) * f64::from(gain.weight[j])
        });
        let HeadMatrices { q, k, v, o } = matrices(&model, head).unwrap();
        let qk = &norm * q * (&norm * k).transpose() * model.spec.score_scale;
        let ov = &norm * v * o.transpose();
        let found = in_singular(&model, head, 5).unwrap();
        for (whole, found) in [qk, ov].into_iter().zip(found) {
            let svd = whole.clone().svd(true, true);
            let u = svd.u.unwrap().columns(0, 5).into_owned();
            let right = Square::of(&(u.transpose() * whole * u));
            assert_eq!(found.n, 5);
            // A direction's sign is free, which leaves the diagonal and all sizes.
            for (i, (a, b)) in found.values.iter().zip(&right.values).enumerate() {
                let off = if i % 6 == 0 { a - b } else { a.abs() - b.abs() };
                assert!(off.abs() < 1e-4 * (1.0 + b.abs()), "{name} {i}: {a} {b}");
            }
        }
    }
}

#[test]
fn a_report_gets_two_grids_a_head_and_a_table() {
    let model = open("demo", &mut Unreported).unwrap();
    let heads = vec![HeadId::new(0, 1), HeadId::new(1, 3)];
    for basis in Basis::ALL {
        let settings = Settings {
            heads: heads.clone(),
            basis,
            size: 24,
        };
        let mut report = Report::new("atlas");
        add(&model, &settings, &mut report).unwrap();
        assert_eq!(report.grids.len(), 4);
        let n = report.grids[0].rows.len();
        assert!(n > 1 && n <= 24, "{n}");
        assert_eq!(report.grids[0].values.len(), n * n);
        assert_eq!(report.tables.len(), 2);
        assert_eq!(report.tables[0].rows.len(), 2);
        assert_eq!(report.plots[0].lines.len(), 2);
    }
    let mut report = Report::new("atlas");
    add(&model, &Settings::default(), &mut report).unwrap();
    assert_eq!(report, Report::new("atlas"));
    let none = Settings {
        heads: vec![HeadId::new(4, 0)],
        ..Settings::default()
    };
    let refused = add(&model, &none, &mut report).unwrap_err();
    assert!(refused.to_string().contains("there is no L4H0"));
}

#[test]
fn what_a_head_copies_is_the_diagonal_and_its_eigenvalues_give_the_copying_score() {
    for name in ["tiny-llama", "tiny-gpt2"] {
        let model = fixture(name);
        let head = HeadId::new(1, 2);
        let ids: Vec<u32> = (0..model.spec.n_vocab as u32).collect();
        let [_, ov] = in_tokens(&model, head, &ids).unwrap();
        let diagonal: Vec<f64> = ov.diagonal().collect();
        let own = own_scores(&model, head).unwrap();
        assert_eq!(own.len(), diagonal.len());
        for (a, b) in own.iter().zip(diagonal) {
            assert!(
                (f64::from(*a) - b).abs() < 1e-5 * (1.0 + b.abs()),
                "{name}: {a} {b}"
            );
        }
        let found = spectra(&model, &[head]).unwrap().remove(0).unwrap();
        let sum: f64 = found.iter().map(|[re, _]| re).sum();
        let size: f64 = found.iter().map(|[re, im]| re.hypot(*im)).sum();
        let scores = crate::analysis::copying::copying(&model, &mut crate::analysis::Unheard);
        let score = scores.unwrap().circuit[model.spec.n_heads + 2].unwrap();
        assert!((sum / size - f64::from(score)).abs() < 1e-5, "{name}");
    }
}
