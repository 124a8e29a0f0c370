use super::*;
use crate::analysis::Unheard;
use crate::edit::{Edit, Op, Target};
use crate::experiment::engine::Unwatched;
use crate::model::load::{Unreported, open};

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
        answers: vec![],
        wrong: vec![],
        ..Case::default()
    }
}

/// Small counts, so that short prompts are compressed.
fn small() -> Settings {
    Settings {
        queries: 4,
        top: 5,
        pool: 3,
        beta: 0.25,
        sink: 1,
        recent: 2,
        budget: 0.6,
        tail: 4,
        ..Settings::default()
    }
}

fn table<'a>(report: &'a Report, name: &str) -> &'a Table {
    report.tables.iter().find(|t| t.name == name).unwrap()
}

#[test]
fn vectors_of_all_tokens_are_means_of_what_heads_give() {
    // The mean row of A times V is the mean of z over those rows.
    for name in ["demo", "tiny-llama", "tiny-qwen2-windowed"] {
        let mut engine = engine(name);
        let spec = case(16).spec;
        for vector in [Vector::Full, Vector::Efficient] {
            let settings = Settings {
                vector,
                top: 256,
                ..small()
            };
            let rows = if vector == Vector::Full { 16 } else { 4 };
            let layers = layers(&mut engine, &spec, &settings, &mut |_| Ok(())).unwrap();
            let shape = engine.model().spec.clone();
            for (index, layer) in layers.iter().enumerate() {
                let z = engine.dump(&spec, &[Site::Block(index, Part::Z)]).unwrap();
                let at = |token: usize, head: usize, i: usize| {
                    f64::from(z[0].values[(token * shape.n_heads + head) * shape.d_head + i])
                };
                let mean = |head: usize, i: usize| {
                    (16 - rows..16).map(|t| at(t, head, i)).sum::<f64>() / f64::from(rows as u32)
                };
                for i in 0..shape.d_head {
                    let centre: f64 = (0..shape.n_heads).map(|head| mean(head, i)).sum();
                    let centre = centre / shape.n_heads as f64;
                    let sum: f64 = layer.centred.iter().map(|delta| delta[i]).sum();
                    assert!(sum.abs() < 1e-9, "differences from the mean add up to 0");
                    for (head, delta) in layer.centred.iter().enumerate() {
                        assert!((delta[i] - (mean(head, i) - centre)).abs() < 1e-5, "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn vectors_of_the_top_tokens_are_their_definition() {
    for name in ["demo", "tiny-llama"] {
        let mut engine = engine(name);
        let spec = case(16).spec;
        let layers = layers(&mut engine, &spec, &small(), &mut |_| Ok(())).unwrap();
        let shape = engine.model().spec.clone();
        let sites = [Site::Block(1, Part::V), Site::Block(1, Part::Pattern)];
        let dumped = engine.dump(&spec, &sites).unwrap();
        let (v, a) = (&dumped[0].values, &dumped[1].values);
        let vectors: Vec<Vec<f64>> = (0..shape.n_heads)
            .map(|head| {
                let c: Vec<f64> = (0..16)
                    .map(|key| {
                        let rows =
                            (12..16).map(|query| f64::from(a[(head * 16 + query) * 16 + key]));
                        rows.sum::<f64>() / 4.0
                    })
                    .collect();
                let at = |i: i32| {
                    if (0..16).contains(&i) {
                        c[i as usize]
                    } else {
                        0.0
                    }
                };
                let pooled: Vec<f64> = (0..16)
                    .map(|i| (at(i - 1) + at(i) + at(i + 1)) / 3.0)
                    .collect();
                let beaten_by = |i: usize| {
                    let above =
                        |j: &usize| pooled[*j] > pooled[i] || (pooled[*j] >= pooled[i] && *j < i);
                    (0..16).filter(above).count()
                };
                let chosen: Vec<usize> = (0..16).filter(|i| beaten_by(*i) < 5).collect();
                assert_eq!(chosen.len(), 5);
                let kv = shape.kv_head_of(head);
                (0..shape.d_head)
                    .map(|i| {
                        let value = |t: &usize| {
                            f64::from(v[(t * shape.n_kv_heads + kv) * shape.d_head + i])
                        };
                        chosen.iter().map(|t| c[*t] * value(t)).sum()
                    })
                    .collect()
            })
            .collect();
        for i in 0..shape.d_head {
            let centre = vectors.iter().map(|v| v[i]).sum::<f64>() / shape.n_heads as f64;
            for (head, vector) in vectors.iter().enumerate() {
                assert!((layers[1].centred[head][i] - (vector[i] - centre)).abs() < 1e-9);
            }
        }
        let by_hand = layers[1].centred[0]
            .iter()
            .map(|x| x.powi(2))
            .sum::<f64>()
            .sqrt();
        assert!((layers[1].distances[0] - by_hand).abs() < 1e-12);
    }
}

#[test]
fn the_count_of_heterogeneous_heads_falls_from_beta_to_m() {
    let llama = Settings {
        beta: 0.25,
        least: 4,
        ..Settings::default()
    };
    let of = |settings: &Settings, layer| settings.heterogeneous(32, layer, 32);
    assert_eq!((of(&llama, 0), of(&llama, 31)), (8, 4));
    assert_eq!(of(&llama, 16), 6);
    let mistral = Settings::default();
    // 32 · 0.3 = 9.6
    assert_eq!((of(&mistral, 0), of(&mistral, 31)), (10, 1));
    assert!((0..31).all(|layer| of(&mistral, layer) >= of(&mistral, layer + 1)));
    assert_eq!(mistral.heterogeneous(4, 0, 1), 1, "one layer: the first");
    assert_eq!(
        Settings {
            least: 9,
            ..mistral
        }
        .heterogeneous(4, 3, 4),
        4
    );
}

#[test]
fn a_planted_outlier_is_heterogeneous_and_only_then() {
    let mut shape = engine("demo").model().spec.clone();
    (shape.n_heads, shape.n_kv_heads, shape.d_head) = (4, 4, 2);
    let n_tokens = 3;
    // Every head has the same values: the last token's alone differ.
    let v: Vec<f32> = (0..n_tokens)
        .flat_map(|token| [if token == 2 { [5.0, 0.0] } else { [0.0, 1.0] }; 4].concat())
        .collect();
    let of = |outlier: Option<usize>| {
        let mut pattern = vec![];
        for head in 0..4 {
            pattern.extend([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
            pattern.extend(if Some(head) == outlier {
                [0.0, 0.0, 1.0]
            } else {
                [1.0, 0.0, 0.0]
            });
        }
        let attended = Attended {
            shape: &shape,
            n_tokens,
            v: &v,
            pattern: &pattern,
        };
        let settings = Settings {
            queries: 1,
            ..small()
        };
        Layer::new(&attended, 0, &settings)
    };
    for outlier in 0..4 {
        let layer = of(Some(outlier));
        assert_eq!(layer.roles[outlier], Role::Heterogeneous);
        assert_eq!(
            layer
                .roles
                .iter()
                .filter(|r| **r == Role::Heterogeneous)
                .count(),
            1
        );
        assert_eq!(
            layer.roles.iter().filter(|r| **r == Role::Centre).count(),
            1
        );
        // v = (5, 0) against three (0, 1): three quarters of their distance.
        assert!((layer.distances[outlier] - 0.75 * 26.0f64.sqrt()).abs() < 1e-9);
        // The first component is the line between them.
        let axes = components(&layer.centred);
        assert!((axes[outlier][0] - layer.distances[outlier]).abs() < 1e-9);
        assert!(axes.iter().all(|[_, y]| y.abs() < 1e-6));
    }
    assert!(of(None).distances.iter().all(|distance| *distance < 1e-12));
}

#[test]
fn the_budget_is_used_up_and_not_passed() {
    for name in ["demo", "tiny-llama", "tiny-gpt2"] {
        for grouping in [Grouping::Any, Grouping::Mean] {
            for centre_head in [true, false] {
                let mut engine = engine(name);
                let spec = case(16).spec;
                let settings = Settings {
                    budget: 0.9,
                    beta: 0.25,
                    grouping,
                    centre_head,
                    ..small()
                };
                let layers = layers(&mut engine, &spec, &settings, &mut |_| Ok(())).unwrap();
                let n = engine.model().spec.n_kv_heads;
                for layer in &layers {
                    let whole = layer.whole.iter().filter(|whole| **whole).count();
                    let Some(k) = layer.middle else {
                        assert_eq!(layer.n_kept(), n * 16);
                        continue;
                    };
                    assert_eq!(layer.n_kept(), whole * 16 + (n - whole) * (3 + k), "{name}");
                    let (budget, kept) = (0.9 * (16 * n) as f64, layer.n_kept() as f64);
                    if layer.over {
                        assert_eq!(k, 0);
                        assert!(kept > budget);
                    } else {
                        // Less than one token a head is lost to rounding, or all is kept.
                        assert!(kept <= budget + 1e-6 && budget - kept < (n - whole) as f64);
                    }
                    for (kept, whole) in layer.kept.iter().zip(&layer.whole) {
                        let count = |of| kept.iter().filter(|k| **k == of).count();
                        let counts = [Kept::Sink, Kept::Middle, Kept::Recent].map(count);
                        assert_eq!(counts, if *whole { [0; 3] } else { [1, k, 2] });
                        assert!(*whole || kept[0] == Kept::Sink && kept[15] == Kept::Recent);
                    }
                }
            }
        }
    }
}

#[test]
fn shared_keys_are_chosen_by_any_head_or_by_the_mean() {
    let mut engine = engine("tiny-llama");
    let spec = case(16).spec;
    let of = |grouping, engine: &mut Engine| {
        let settings = Settings {
            grouping,
            ..small()
        };
        layers(engine, &spec, &settings, &mut |_| Ok(())).unwrap()
    };
    let (any, mean) = (
        of(Grouping::Any, &mut engine),
        of(Grouping::Mean, &mut engine),
    );
    for (any, mean) in any.iter().zip(&mean) {
        assert_eq!((any.distances.len(), mean.distances.len()), (4, 2));
        for kv in 0..2 {
            let group = [2 * kv, 2 * kv + 1];
            let is_any = group.iter().any(|head| any.roles[*head] != Role::Other);
            assert_eq!(any.whole[kv], is_any);
            assert_eq!(mean.whole[kv], mean.roles[kv] != Role::Other);
            for (i, delta) in mean.centred[kv].iter().enumerate() {
                let of_heads = f64::midpoint(any.centred[group[0]][i], any.centred[group[1]][i]);
                assert!((delta - of_heads).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn the_tail_reads_the_cache_that_is_left() {
    for name in ["demo", "tiny-llama"] {
        let mut engine = engine(name);
        let case = case(20);
        let losses = |report: &Report| -> Vec<[f64; 2]> {
            let row = |row: &Vec<Cell>| match row[..] {
                [_, Cell::Number(Some(before)), Cell::Number(Some(after))] => [before, after],
                _ => panic!("{row:?}"),
            };
            table(report, "tail").rows.iter().map(row).collect()
        };
        let whole = Settings {
            budget: 1.0,
            ..small()
        };
        let report = taskkv(&mut engine, &case, &whole, &mut Unheard).unwrap();
        assert!(losses(&report).iter().all(|[a, b]| (a - b).abs() < 1e-12));
        assert!(
            report
                .notes
                .iter()
                .any(|note| note.starts_with("nothing is evicted"))
        );

        let settings = Settings {
            budget: 0.2,
            ..small()
        };
        let report = taskkv(&mut engine, &case, &settings, &mut Unheard).unwrap();
        let found = losses(&report);
        assert_eq!(
            found.len(),
            3,
            "the first token of the tail is predicted from a full row"
        );
        assert!(found.iter().any(|[a, b]| (a - b).abs() > 1e-4), "{name}");
        // One by one: each query alone, with its own keys taken away from it and from the queries before.
        let spec = prefix(&case.spec, 16);
        let layers = layers(&mut engine, &spec, &settings, &mut |_| Ok(())).unwrap();
        let shape = engine.model().spec.clone();
        for (i, [_, after]) in found.iter().enumerate() {
            let position = 16 + i;
            let mut edits = vec![];
            for (index, layer) in layers.iter().enumerate() {
                for head in 0..shape.n_heads {
                    for query in 16..=position {
                        for key in 0..16 {
                            if layer.kept[shape.kv_head_of(head)][key] == Kept::Evicted {
                                let head = HeadId::new(index, head);
                                let target = Target::Edge { head, query, key };
                                edits.push(Edit::new(target, Op::Knockout));
                            }
                        }
                    }
                }
            }
            let run = RunSpec {
                edits,
                position,
                ..case.spec.clone()
            };
            let outcome = engine.run(&run, &mut Unwatched).unwrap();
            let logits = outcome.after.unwrap().logits.unwrap();
            let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            let loss = total.ln() - f64::from(logits[case.spec.ids[position + 1] as usize]);
            assert!((loss - after).abs() < 1e-4, "{name}: {loss} {after}");
        }
    }
}

#[test]
fn layers_are_left_with_a_few_heads() {
    let mut engine = engine("demo");
    let settings = Settings { keep: 3, ..small() };
    let report = taskkv(&mut engine, &case(20), &settings, &mut Unheard).unwrap();
    let table = table(&report, "layers with a few heads");
    assert_eq!(table.rows.len(), 4);
    let distances = report.scores_of("distance").unwrap();
    let Cell::Text(far) = &table.rows[2][1] else {
        panic!("names");
    };
    let far: Vec<HeadId> = far.split(' ').map(|head| head.parse().unwrap()).collect();
    let least = far
        .iter()
        .map(|h| distances.value(*h).unwrap())
        .fold(f32::MAX, f32::min);
    let others = (0..8)
        .map(|h| HeadId::new(2, h))
        .filter(|h| !far.contains(h));
    assert!(
        others
            .map(|h| distances.value(h).unwrap())
            .all(|d| d <= least)
    );
    let many = Settings { keep: 5, ..small() };
    let error = taskkv(&mut engine, &case(20), &many, &mut Unheard).unwrap_err();
    assert!(error.to_string().contains("keep fewer"), "{error}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let refused = |name: &str, n_tokens: usize, settings: &Settings, what: &str| {
        let error = taskkv(&mut engine(name), &case(n_tokens), settings, &mut Unheard);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    refused("tiny-bert", 8, &small(), "both directions");
    refused("demo", 1, &small(), "two tokens");
    refused("demo", 8, &Settings { pool: 4, ..small() }, "odd pool");
    refused(
        "demo",
        8,
        &Settings {
            beta: 1.5,
            ..small()
        },
        "shares",
    );
    let short = taskkv(
        &mut engine("demo"),
        &case(8),
        &Settings::default(),
        &mut Unheard,
    )
    .unwrap();
    assert!(
        short
            .notes
            .iter()
            .any(|note| note.contains("was not tried"))
    );
    assert!(
        short
            .notes
            .iter()
            .any(|note| note.starts_with("nothing is evicted"))
    );
    let scaled = Settings::default().scaled_to(256);
    assert_eq!((scaled.sink, scaled.recent, scaled.top), (2, 16, 16));
    assert_eq!(Settings::default().scaled_to(9000), Settings::default());
}

#[test]
fn a_real_model_has_heads_apart_from_the_rest() {
    let Ok(folder) = std::env::var("HEADSCOPE_TEST_MODELS") else {
        return;
    };
    let path = format!("{folder}/smollm2-135m-instruct-q4_1");
    let mut engine = Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()));
    let ids = crate::analysis::texts::prose(engine.model()).unwrap();
    let mut prose = case(ids.len());
    prose.spec.ids = ids.into();
    let settings = Settings {
        budget: 0.6,
        ..Settings::default().scaled_to(prose.spec.ids.len())
    };
    let report = taskkv(&mut engine, &prose, &settings, &mut Unheard).unwrap();
    let losses = &table(&report, "tail").rows;
    let mean = |column: usize| {
        let of = losses.iter().map(|row| match row[column] {
            Cell::Number(Some(loss)) => loss,
            _ => panic!("{row:?}"),
        });
        of.sum::<f64>() / losses.len() as f64
    };
    // The smaller cache costs something, and not the text.
    assert!((mean(1) - mean(2)).abs() > 1e-4 && mean(2) < mean(1) + 2.0);
    let distances = report.scores_of("distance").unwrap();
    for layer in 0..30 {
        let mut of_layer: Vec<f32> = (0..9)
            .map(|head| distances.value(HeadId::new(layer, head)).unwrap())
            .collect();
        of_layer.sort_by(f32::total_cmp);
        assert!(of_layer[8] > 1.2 * of_layer[4], "L{layer}: {of_layer:?}");
    }
}
