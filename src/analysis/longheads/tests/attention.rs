//! The method's attention against the definition, one query at a time in f64, and against the model's own.

use super::*;
use crate::analysis::longheads::attend::Chunked;
use crate::analysis::longheads::rows::Keys;
use crate::analysis::longheads::select::By;
use crate::experiment::attend::{Attend, Read};

/// Grouped queries, norms on q and k, biases, rotary on a part of the head, a cap with windowed layers.
const MODELS: [&str; 7] = [
    "tiny-llama",
    "tiny-qwen3",
    "tiny-qwen2",
    "tiny-gpt-neox",
    "tiny-phi",
    "tiny-gemma2",
    "tiny-mistral",
];

fn plain(engine: &mut Engine, case: &Case) -> Vec<f32> {
    let outcome = engine.run(&case.spec, &mut Unwatched).unwrap();
    outcome.before.logits.unwrap().to_vec()
}

fn far(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn prob(logits: &[f32], id: usize) -> f64 {
    let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
    f64::from(logits[id]).exp() / total
}

fn next_of_method(engine: &mut Engine, case: &Case) -> f64 {
    let model = Arc::clone(engine.model());
    let mut go_on = |_| true;
    let mut method = Chunked::new(&model.spec, (SMALL, By::Scores), 0, &mut go_on);
    prob(&engine.run_attending(&case.spec, &mut method).unwrap(), 4)
}

/// z of one head of a layer by the paper's text: q and k are turned back to position 0, and everything is made from them
/// for each query anew.
fn by_hand(spec: &ModelSpec, read: &Read, sizes: Sizes, head: usize, query: usize) -> Vec<f64> {
    let (d, c) = (spec.d_head, sizes.chunk);
    let frequencies = spec.rotary(read.layer).unwrap().frequencies();
    let row = |values: &[f32], n_heads: usize, head: usize, t: usize| -> Vec<f64> {
        let row = &values[(t * n_heads + head) * d..][..d];
        row.iter().map(|x| f64::from(*x)).collect()
    };
    let kv = head * spec.n_kv_heads / spec.n_heads;
    let at = |row: &[f64], position: usize| turned(row, position as f64, &frequencies);
    let bare = |row: Vec<f64>, t: usize| turned(&row, -(t as f64), &frequencies);
    let q = |t: usize| bare(row(&read.q, spec.n_heads, head, t), t);
    let k = |t: usize| bare(row(&read.k, spec.n_kv_heads, kv, t), t);
    let v = |t: usize| row(&read.v, spec.n_kv_heads, kv, t);
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let attend = |q: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]| {
        let exps = keys.iter().map(|k| {
            let score = product(q, k) * spec.score_scale;
            let cap = |cap: f64| cap * (score / cap).tanh();
            spec.score_cap.map_or(score, cap).exp()
        });
        let exps: Vec<f64> = exps.collect();
        let total: f64 = exps.iter().sum();
        let sum = |i: usize| exps.iter().zip(values).map(|(e, v)| e * v[i]).sum::<f64>() / total;
        (0..d).map(sum).collect::<Vec<f64>>()
    };
    let mask = spec.masks[read.layer];
    if query < sizes.window || mask.has_window() {
        let seen: Vec<usize> = (0..=query).filter(|key| mask.sees(query, *key)).collect();
        let keys: Vec<_> = seen.iter().map(|t| at(&k(*t), *t)).collect();
        let values: Vec<_> = seen.iter().map(|t| v(*t)).collect();
        return attend(&at(&q(query), query), &keys, &values);
    }
    let own = query / c;
    let score = |chunk: usize| {
        let keys: Vec<_> = (0..c).map(|i| at(&k(chunk * c + i), i)).collect();
        let values: Vec<_> = (0..c).map(|i| v(chunk * c + i)).collect();
        let rows = (0..c).map(|i| attend(&at(&q(chunk * c + i), i), &keys[..=i], &values[..=i]));
        let rows: Vec<_> = rows.collect();
        let mean: Vec<f64> = (0..d)
            .map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / c as f64)
            .collect();
        product(&q(query), &attend(&mean, &keys, &keys))
    };
    let mut others: Vec<(f64, usize)> = (1..own - 1).map(|chunk| (score(chunk), chunk)).collect();
    others.sort_by(|a, b| b.0.total_cmp(&a.0));
    let n_chunks = sizes.window / c;
    let mut chunks: Vec<usize> = others.iter().take(n_chunks - 3).map(|(_, i)| *i).collect();
    chunks.extend([0, own - 1, own]);
    chunks.sort_unstable();
    let tokens = chunks.iter().flat_map(|chunk| chunk * c..(chunk + 1) * c);
    let tokens: Vec<usize> = tokens.filter(|t| *t <= query).collect();
    let keys: Vec<_> = tokens
        .iter()
        .enumerate()
        .map(|(i, t)| at(&k(*t), i))
        .collect();
    let values: Vec<_> = tokens.iter().map(|t| v(*t)).collect();
    attend(
        &at(&q(query), (n_chunks - 1) * c + query % c),
        &keys,
        &values,
    )
}

/// Goes on with the method's z, once it is what is made by hand.
struct Checked<'a> {
    method: Chunked<'a>,
    spec: &'a ModelSpec,
    sizes: Sizes,
    name: &'static str,
}

impl Attend for Checked<'_> {
    fn z(&mut self, read: &Read) -> Option<Vec<f32>> {
        let z = self.method.z(read)?;
        for (i, z) in z.chunks(self.spec.d_head).enumerate() {
            let (query, head) = (i / self.spec.n_heads, i % self.spec.n_heads);
            let expected = by_hand(self.spec, read, self.sizes, head, query);
            for (z, expected) in z.iter().zip(expected) {
                let difference = (f64::from(*z) - expected).abs();
                let (name, layer) = (self.name, read.layer);
                // Sums of f32 values of about 1.
                assert!(
                    difference < 1e-5,
                    "{name} L{layer}H{head}@{query}: {z} {expected}"
                );
            }
        }
        Some(z)
    }
}

#[test]
fn the_method_is_its_definition_query_by_query() {
    for name in MODELS {
        let mut engine = engine(name);
        let model = Arc::clone(engine.model());
        let spec = &model.spec;
        for (chunk, window, n_tokens) in [(4, 16, 39), (3, 14, 32), (5, 15, 41)] {
            let sizes = Sizes { chunk, window };
            let case = case(n_tokens);
            let mut go_on = |_| true;
            let mut checked = Checked {
                method: Chunked::new(spec, (sizes, By::Scores), n_tokens - 1, &mut go_on),
                spec,
                sizes,
                name,
            };
            let found = engine.run_attending(&case.spec, &mut checked).unwrap();
            let difference = far(&found, &plain(&mut engine, &case));
            let is_changed = spec.masks.iter().any(|mask| !mask.has_window());
            assert_eq!(difference > 1e-3, is_changed, "{name}: {difference}");
        }
    }
}

#[test]
fn a_prompt_that_fits_the_window_is_the_plain_model_s() {
    for name in MODELS {
        let mut engine = engine(name);
        let model = Arc::clone(engine.model());
        // The last query of 16 tokens is still within the window, and that of 17 is not.
        for (n_tokens, is_plain) in [(9, true), (16, true), (17, false)] {
            let case = case(n_tokens);
            let mut go_on = |_| true;
            let mut method =
                Chunked::new(&model.spec, (SMALL, By::Scores), n_tokens - 1, &mut go_on);
            let found = engine.run_attending(&case.spec, &mut method).unwrap();
            let difference = far(&found, &plain(&mut engine, &case));
            if is_plain {
                assert!(difference < 1e-4, "{name}: {difference}");
                assert!(
                    method
                        .choices
                        .iter()
                        .flatten()
                        .all(|choice| *choice == Choice::Whole)
                );
            } else if model.spec.masks.iter().all(|mask| !mask.has_window()) {
                assert!(difference > 1e-4, "{name}: {difference}");
            }
        }
    }
}

#[test]
fn chunks_close_up_and_all_of_them_are_plain_attention() {
    for name in ["tiny-llama", "tiny-gpt-neox"] {
        let mut engine = engine(name);
        let (case, spec) = (case(30), engine.model().spec.clone());
        let dump = |engine: &mut Engine, part| {
            let dumped = engine.dump(&case.spec, &[Site::Block(1, part)]).unwrap();
            dumped[0].values.clone()
        };
        let [q, k, v, z] = [Part::RotQ, Part::RotK, Part::V, Part::Z].map(|p| dump(&mut engine, p));
        let rows = Rows::new(&spec, 1, SMALL, (q, k, &v));
        let keys = rows.in_line(29, &[0, 3, 6, 7]);
        let of = |tokens, back| Keys { tokens, back };
        assert_eq!(
            keys,
            [of(0..4, 3), of(12..16, 2), of(24..28, 1), of(28..30, 0)]
        );
        for head in 0..spec.n_heads {
            for query in 0..30 {
                // As many as there are: positions are what they were.
                let all: Vec<usize> = (0..=query / 4).collect();
                assert_eq!(rows.in_line(query, &all), rows.plain(query));
                let mut found = vec![0.0; spec.d_head];
                rows.read(head, query, &rows.in_line(query, &all), &mut found);
                let own = &z[(query * spec.n_heads + head) * spec.d_head..][..spec.d_head];
                assert!(far(&found, own) < 1e-5, "{name}");
            }
        }
    }
}

#[test]
fn what_a_query_reads_does_not_hang_on_later_tokens() {
    let mut engine = engine("tiny-llama");
    let model = Arc::clone(engine.model());
    let logits = |engine: &mut Engine, n_tokens: usize| {
        let mut case = case(n_tokens);
        case.spec.position = 21;
        let mut go_on = |_| true;
        let mut method = Chunked::new(&model.spec, (SMALL, By::Scores), 21, &mut go_on);
        let logits = engine.run_attending(&case.spec, &mut method).unwrap();
        (logits, method.choices)
    };
    let (short, long) = (logits(&mut engine, 22), logits(&mut engine, 35));
    assert!(far(&short.0, &long.0) < 1e-5);
    assert_eq!(short.1, long.1);
    assert!(
        short
            .1
            .iter()
            .flatten()
            .any(|choice| *choice == Choice::Scored)
    );
}

#[test]
fn the_control_reads_the_nearest_chunks() {
    use Choice::{First, Last, No, Own, Scored};
    let mut engine = engine("tiny-llama");
    let model = Arc::clone(engine.model());
    let mut go_on = |_| true;
    let sizes = Sizes {
        window: 20,
        ..SMALL
    };
    let mut control = Chunked::new(&model.spec, (sizes, By::Nearness), 29, &mut go_on);
    engine.run_attending(&case(30).spec, &mut control).unwrap();
    assert_eq!(control.choices.len(), 8);
    for choices in control.choices {
        assert_eq!(choices, [First, No, No, No, Scored, Scored, Last, Own]);
    }
}

#[test]
fn a_pass_stops_between_layers() {
    let mut engine = engine("tiny-llama");
    let model = Arc::clone(engine.model());
    let mut heard = vec![];
    let mut go_on = |layers| {
        heard.push(layers);
        layers == 0
    };
    let mut method = Chunked::new(&model.spec, (SMALL, By::Scores), 22, &mut go_on);
    let stopped = engine.run_attending(&case(23).spec, &mut method);
    assert!(matches!(stopped, Err(RunError::Stopped)));
    assert_eq!(heard, [0, 1]);
}

#[test]
fn what_fits_the_window_is_the_plain_model_and_what_does_not_is_cut() {
    let next = |report: &Report| -> Vec<f64> {
        let table = report
            .tables
            .iter()
            .find(|t| t.name == "next token")
            .unwrap();
        let number = |row: &Vec<Cell>| match row[3] {
            Cell::Number(Some(prob)) => prob,
            _ => panic!("{row:?}"),
        };
        table.rows.iter().map(number).collect()
    };
    for name in ["tiny-llama", "tiny-qwen3"] {
        let mut engine = engine(name);
        let case = case(23);
        let wide = Sizes {
            window: 24,
            ..SMALL
        };
        let report = longheads(&mut engine, &case, &settings(wide), &mut Unheard).unwrap();
        let probs = next(&report);
        assert!((probs[0] - probs[1]).abs() < 1e-9);
        // Another order of the same sums.
        assert!((probs[0] - probs[2]).abs() < 1e-6);
        let mass = report.scores_of("selected_mass").unwrap();
        assert!(mass.values.iter().all(|m| (m.unwrap() - 1.0).abs() < 1e-5));
        let found = report.scores_of("finds_place").unwrap();
        assert!(found.values.iter().all(|found| *found == Some(1.0)));

        let report = longheads(&mut engine, &case, &settings(SMALL), &mut Unheard).unwrap();
        let probs = next(&report);
        assert!((probs[0] - probs[1]).abs() > 1e-6, "{name}");
        assert!((probs[1] - probs[2]).abs() > 1e-6, "{name}");
        assert!((next_of_method(&mut engine, &case) - probs[2]).abs() < 1e-9);
        let spec = engine.model().spec.clone();
        let selections = selections(&mut engine, &case, SMALL, &mut |_| Ok(())).unwrap();
        let mut run = case.spec.clone();
        for (i, selection) in selections.iter().enumerate() {
            let head = HeadId::new(i / spec.n_heads, i % spec.n_heads);
            let chose = report
                .scores_of("finds_place")
                .unwrap()
                .value(head)
                .unwrap();
            assert_eq!(chose > 0.5, selection.choices[2] != Choice::No);
            for key in (0..23).filter(|key| selection.choices[key / 4] == Choice::No) {
                let target = Target::Edge {
                    head,
                    query: 22,
                    key,
                };
                run.edits.push(Edit::new(target, Op::Knockout));
            }
        }
        let outcome = engine.run(&run, &mut Unwatched).unwrap();
        let logits = outcome.after.unwrap().logits.unwrap();
        assert!((prob(&logits, 4) - probs[1]).abs() < 1e-5);
    }
}
