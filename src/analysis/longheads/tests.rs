mod attention;
mod keys;

use super::rotate::Turns;
use super::rows::Rows;
use super::select::{choose, select};
use super::*;
use crate::analysis::{Cell, Unheard};
use crate::edit::{Edit, Op, Target};
use crate::experiment::RunSpec;
use crate::experiment::engine::Unwatched;
use crate::ids::HeadId;
use crate::mask::Mask;
use crate::model::load::{Unreported, open};
use crate::model::site::{Part, Site};

fn engine(name: &str) -> Engine {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = match name {
        "demo" => name.to_owned(),
        _ => format!("{root}/tests/fixtures/models/{name}"),
    };
    Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()))
}

fn case(n_tokens: usize) -> Case {
    let ids: Vec<u32> = (0..n_tokens as u32)
        .map(|i| (i * i + 3 * i) % 31 + 2)
        .collect();
    Case {
        label: String::new(),
        spec: RunSpec {
            n_prompt: n_tokens,
            reach: n_tokens,
            ids: ids.into(),
            contrast: None,
            edits: vec![],
            position: n_tokens - 1,
            last: n_tokens - 1,
            bos_count: 0,
            folder: None,
        },
        answers: vec![4],
        wrong: vec![],
        spans: vec![("needle".into(), vec![9, 10])],
        ..Case::default()
    }
}

const SMALL: Sizes = Sizes {
    chunk: 4,
    window: 16,
};

fn settings(sizes: Sizes) -> Settings {
    Settings {
        chunk: Some(sizes.chunk),
        window: Some(sizes.window),
        ..Settings::default()
    }
}

/// A row in f64 moved to another position, pair by pair.
fn turned(row: &[f64], positions: f64, frequencies: &[f64]) -> Vec<f64> {
    let (mut turned, half) = (row.to_vec(), frequencies.len());
    for (i, frequency) in frequencies.iter().enumerate() {
        let (sin, cos) = (positions * frequency).sin_cos();
        turned[i] = row[i] * cos - row[i + half] * sin;
        turned[i + half] = row[i + half] * cos + row[i] * sin;
    }
    turned
}

/// With rotary, and no norm on q and k: their values before rotary are those that are turned.
const ROTARY: [&str; 3] = ["tiny-llama", "tiny-gpt-neox", "tiny-gemma2"];

fn values(engine: &mut Engine, case: &Case, layer: usize, part: Part) -> Vec<f64> {
    let dumped = engine
        .dump(&case.spec, &[Site::Block(layer, part)])
        .unwrap();
    dumped[0].values.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn rows_are_moved_as_the_model_turns_them() {
    for name in ROTARY {
        let mut engine = engine(name);
        let case = case(23);
        let spec = engine.model().spec.clone();
        for (plain, turned, n_heads) in [
            (Part::Q, Part::RotQ, spec.n_heads),
            (Part::K, Part::RotK, spec.n_kv_heads),
        ] {
            let plain = values(&mut engine, &case, 1, plain);
            let turned = values(&mut engine, &case, 1, turned);
            let turns = Turns::new(spec.rotary(1).unwrap());
            let pairs = plain.chunks(spec.d_head).zip(turned.chunks(spec.d_head));
            for (i, (plain, turned)) in pairs.enumerate() {
                let position = (i / n_heads) as f64;
                let moved = |row: &[f64], positions: f64| {
                    let mut row: Vec<f32> = row.iter().map(|x| *x as f32).collect();
                    turns.by(positions).apply(&mut row);
                    row
                };
                let (there, back) = (moved(plain, position), moved(turned, -position));
                for j in 0..spec.d_head {
                    assert!((f64::from(there[j]) - turned[j]).abs() < 1e-5, "{name}");
                    assert!((f64::from(back[j]) - plain[j]).abs() < 1e-5, "{name}");
                }
            }
        }
    }
}

/// Everything anew from q and k before rotary, in the order of the paper's text.
fn by_hand(engine: &mut Engine, case: &Case, layer: usize, head: usize) -> (Vec<f64>, Vec<f64>) {
    let spec = engine.model().spec.clone();
    let (d, c) = (spec.d_head, SMALL.chunk);
    let kv = spec.kv_head_of(head);
    let [q, k, v] = [Part::Q, Part::K, Part::V].map(|part| values(engine, case, layer, part));
    let q = |t: usize| q[(t * spec.n_heads + head) * d..][..d].to_vec();
    let k = |t: usize| k[(t * spec.n_kv_heads + kv) * d..][..d].to_vec();
    let v = |t: usize| v[(t * spec.n_kv_heads + kv) * d..][..d].to_vec();
    let frequencies = spec.rotary(layer).unwrap().frequencies();
    let turned = |row: Vec<f64>, position: usize| turned(&row, position as f64, &frequencies);
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let exp = |a: &[f64], b: &[f64]| {
        let score = product(a, b) * spec.score_scale;
        spec.score_cap
            .map_or(score, |cap| cap * (score / cap).tanh())
            .exp()
    };
    let query = q(case.spec.position);
    let (mut scores, mut first_mean) = (vec![], vec![]);
    for chunk in 0..case.spec.position / c {
        let keys: Vec<Vec<f64>> = (0..c).map(|i| turned(k(chunk * c + i), i)).collect();
        let mut u = vec![0.0; d];
        for i in 0..c {
            let local = turned(q(chunk * c + i), i);
            let total: f64 = (0..=i).map(|j| exp(&local, &keys[j])).sum();
            for (j, key) in keys.iter().enumerate().take(i + 1) {
                let value = v(chunk * c + j);
                for x in 0..d {
                    u[x] += exp(&local, key) / total * value[x] / c as f64;
                }
            }
        }
        let total: f64 = keys.iter().map(|key| exp(&u, key)).sum();
        scores.push(
            keys.iter()
                .map(|key| exp(&u, key) / total * product(&query, key))
                .sum(),
        );
        if chunk == 0 {
            first_mean = u;
        }
    }
    (scores, first_mean)
}

#[test]
fn scores_and_masses_are_their_definitions() {
    for name in ROTARY {
        let mut engine = engine(name);
        let case = case(23);
        let spec = engine.model().spec.clone();
        let found = selections(&mut engine, &case, SMALL, &mut |_| Ok(())).unwrap();
        let mut spread: f64 = 0.0;
        for layer in 0..spec.n_layers {
            let z = values(&mut engine, &case, layer, Part::Z);
            let pattern = values(&mut engine, &case, layer, Part::Pattern);
            for head in 0..spec.n_heads {
                let selection = &found[layer * spec.n_heads + head];
                let (scores, first_mean) = by_hand(&mut engine, &case, layer, head);
                assert_eq!(selection.scores.len(), 5);
                for (a, b) in selection.scores.iter().zip(&scores) {
                    // q and k come from f32 turned there and back.
                    let a = f64::from(*a);
                    assert!((a - b).abs() < 1e-4, "{name} L{layer}H{head}: {a} {b}");
                    spread = spread.max((a - scores[0]).abs());
                }
                // The first chunk's rows are the model's own: their mean is that of z.
                for (i, mean) in first_mean.iter().enumerate() {
                    let z = |t: usize| z[(t * spec.n_heads + head) * spec.d_head + i];
                    let own = (0..4).map(z).sum::<f64>() / 4.0;
                    assert!((own - mean).abs() < 1e-5, "{name}");
                }
                let row = &pattern[(head * 23 + 22) * 23..][..23];
                let mass: f64 = (0..23)
                    .filter(|key| selection.choices[key / 4] != Choice::No)
                    .map(|key| row[key])
                    .sum();
                assert!((selection.mass - mass).abs() < 1e-5, "{name}");
            }
        }
        assert!(spread > 1e-2, "{name}: chunks differ");
    }
}

#[test]
fn a_query_reads_k_chunks_of_which_three_are_given() {
    use Choice::{First, Last, No, Own, Scored};
    let scores = [9.0, 1.0, 5.0, 5.0, 3.0, 7.0, 8.0];
    // Seven full chunks of 4, and the query in the eighth; k = 5.
    let sizes = Sizes {
        window: 20,
        ..SMALL
    };
    let choices = choose(&scores, sizes, 29);
    assert_eq!(choices, [First, No, Scored, No, No, Scored, Last, Own]);
    for k in 3..=7 {
        let sizes = Sizes {
            window: 4 * k,
            ..SMALL
        };
        let read = choose(&scores, sizes, 29)
            .iter()
            .filter(|c| **c != No)
            .count();
        assert_eq!(read, k);
    }
    // What fits the window is read whole.
    let wide = Sizes {
        window: 30,
        ..SMALL
    };
    assert_eq!(choose(&scores, wide, 29), [Choice::Whole; 8]);
    assert_eq!(
        choose(&[2.0], Sizes { window: 5, ..SMALL }, 6),
        [First, Own]
    );
}

#[test]
fn a_planted_chunk_is_found_and_only_while_it_is_there() {
    let mut spec = engine("demo").model().spec.clone();
    (spec.n_heads, spec.n_kv_heads, spec.d_head) = (1, 1, 2);
    spec.masks = vec![Mask::CAUSAL];
    let of = |planted: Option<usize>| {
        let rows: Vec<f32> = (0..30)
            .flat_map(|token| {
                if Some(token / 4) == planted {
                    [3.0, 0.0]
                } else {
                    [0.0, 1.0]
                }
            })
            .collect();
        let q: Vec<f32> = (0..30).flat_map(|_| [5.0, 0.0]).collect();
        let sizes = Sizes {
            window: 16,
            ..SMALL
        };
        let of_layer = Rows::new(&spec, 0, sizes, (q, rows.clone(), &rows));
        let representations = of_layer.representations(7);
        select(&of_layer, 0, 29, sizes, &representations[0])
    };
    for chunk in 1..6 {
        let selection = of(Some(chunk));
        let scored: Vec<usize> = (0..8)
            .filter(|c| selection.choices[*c] == Choice::Scored)
            .collect();
        assert_eq!(scored, [chunk]);
        // Keys of a chunk are alike: it is represented by that key.
        assert!((selection.scores[chunk] - 15.0).abs() < 1e-5);
        // Four keys that score 15 against 26 that score 0, of which ten are read anyway.
        let strong = 4.0 * (15.0 * spec.score_scale).exp();
        assert!((selection.mass - (strong + 10.0) / (strong + 26.0)).abs() < 1e-6);
    }
    let without = of(None);
    assert!(without.scores.iter().all(|score| *score == 0.0));
    // Equal attention on 30 keys: those of four chunks, the last of two tokens.
    assert!((without.mass - 14.0 / 30.0).abs() < 1e-6);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let refused = |name: &str, sizes: Sizes, what: &str| {
        let error = longheads(&mut engine(name), &case(12), &settings(sizes), &mut Unheard);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    for name in ["demo", "tiny-gpt2", "tiny-bert"] {
        refused(name, SMALL, "rotary");
    }
    refused("tiny-modernbert", SMALL, "both directions");
    for (chunk, window) in [(4, 11), (0, 16)] {
        refused("tiny-llama", Sizes { chunk, window }, "3 chunks");
    }
    let llama = engine("tiny-llama");
    let error = passkey(llama.model(), 64, 0.5, 12).unwrap_err().to_string();
    assert!(error.contains("no tokenizer"), "{error}");
}

#[test]
fn sizes_are_the_paper_s_and_scaled_down_for_smaller_models() {
    let auto = |n_ctx: usize| Settings::default().sizes(n_ctx);
    for n_ctx in [8192, 1 << 17] {
        assert_eq!(
            auto(n_ctx),
            Sizes {
                chunk: 256,
                window: 4096
            }
        );
    }
    assert_eq!(
        auto(2048),
        Sizes {
            chunk: 64,
            window: 1024
        }
    );
    assert_eq!(
        auto(512),
        Sizes {
            chunk: 32,
            window: 256
        }
    );
    for n_ctx in [64, 128, 1024, 4096] {
        let sizes = auto(n_ctx);
        assert!(sizes.n_chunks() >= 8 && sizes.chunk <= 64 && sizes.window == n_ctx / 2);
    }
    // A window alone sets the chunk, and what is given stays.
    let given = |chunk, window| Settings {
        chunk,
        window,
        ..Settings::default()
    };
    assert_eq!(given(None, Some(512)).sizes(8192).chunk, 32);
    assert_eq!(given(None, Some(128)).sizes(2048).chunk, 16);
    assert_eq!(
        given(Some(5), Some(33)).sizes(8192),
        Sizes {
            chunk: 5,
            window: 33
        }
    );
    assert_eq!(given(Some(5), Some(33)).sizes(8192).n_chunks(), 6);
}
