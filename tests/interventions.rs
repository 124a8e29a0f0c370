//! What must hold of edits whatever the weights: properties, without a published number.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;

use std::sync::Arc;

use headscope::experiment::engine::{Engine, RunError, Unwatched, Watch};
use headscope::experiment::{LayerMaps, Pass, RunSpec, Side};
use headscope::model::Model;
use headscope::model::load::{Unreported, open};
use headscope::model::plan::{Change, NewRow, PatternRow, Plan, RowEdit};
use headscope::model::site::{Part, Site};
use headscope::model::spec::Head;

use support::{close, every_fixture_model, fixture_model, run_spec};

const IDS: [u32; 11] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5];
const MODELS: [&str; 3] = ["tiny-gpt2", "tiny-llama", "tiny-llama-tied"];

fn with(edits: &[&str]) -> RunSpec {
    let mut swapped = IDS;
    swapped[4] = 7;
    RunSpec {
        contrast: Some(swapped.as_slice().into()),
        ..run_spec(&IDS, edits)
    }
}

/// Logits of a run on an engine that has run nothing before.
fn fresh(model: &Arc<Model>, spec: &RunSpec) -> Arc<[f32]> {
    logits(&mut Engine::new(Arc::clone(model)), spec)
}

fn logits(engine: &mut Engine, spec: &RunSpec) -> Arc<[f32]> {
    let outcome = engine.run(spec, &mut Unwatched).unwrap();
    outcome.after.unwrap_or(outcome.before).logits.unwrap()
}

#[test]
fn an_edit_that_changes_nothing_changes_no_bit() {
    // K1: scale(1), add(…, 0), mix(…, 0), affine(0, 0).
    for name in MODELS {
        let model = fixture_model(name);
        let plain = fresh(&model, &with(&[]));
        let folder = vectors(model.spec.d_head);
        for edit in [
            "L0H1=scale(1)",
            "L1=scale(1)@last",
            "R1=scale(1)",
            "L1H0=add(vectors.safetensors:head, 0)",
            "L1H0=mix(vectors.safetensors:head, 0)",
            "L1H0=affine(vectors.safetensors:nought, vectors.safetensors:nought)",
            "L1H0[9->3]=scale(1)",
        ] {
            let spec = RunSpec {
                folder: Some(folder.path().to_owned()),
                ..with(&[edit])
            };
            assert_eq!(fresh(&model, &spec), plain, "{name} {edit}");
        }
        // The same tokens through the dump, which restarts nowhere.
        let whole = Engine::new(Arc::clone(&model))
            .dump(&with(&[]), &[Site::Logits])
            .unwrap();
        let row = &whole[0].values[(IDS.len() - 1) * model.spec.n_vocab..];
        close(&plain, row, 2e-6).unwrap();
    }
}

/// A folder with `vectors.safetensors`, which holds `head`, `gain` and `nought`, each of a head's width.
fn vectors(d_head: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |of: &dyn Fn(usize) -> f32| -> Vec<u8> {
        (0..d_head).flat_map(|i| of(i).to_le_bytes()).collect()
    };
    let (head, gain, nought) = (bytes(&head_value), bytes(&gain_value), bytes(&|_| 0.0));
    let view = |bytes| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![d_head], bytes).unwrap()
    };
    let tensors = [
        ("head", view(&head)),
        ("gain", view(&gain)),
        ("nought", view(&nought)),
    ];
    let path = folder.path().join("vectors.safetensors");
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    folder
}

fn head_value(i: usize) -> f32 {
    1.0 - 0.3 * i as f32
}

fn gain_value(i: usize) -> f32 {
    0.2 * i as f32 - 0.5
}

/// The values of a run at a site of layer 1.
fn at(model: &Arc<Model>, spec: &RunSpec, part: Part) -> Vec<f32> {
    let dumped = Engine::new(Arc::clone(model)).dump(spec, &[Site::Block(1, part)]);
    dumped.unwrap().remove(0).values
}

#[test]
fn mix_and_affine_are_their_formulas() {
    for name in MODELS {
        let model = fixture_model(name);
        let (d_head, width) = (model.spec.d_head, model.spec.n_heads * model.spec.d_head);
        let folder = vectors(d_head);
        let of = |edits: &[&str]| RunSpec {
            folder: Some(folder.path().to_owned()),
            ..with(edits)
        };
        let plain = at(&model, &of(&[]), Part::Z);
        for (edit, formula) in [
            (
                "L1H1=mix(vectors.safetensors:head, 0.25)@2,10",
                (&|z: f32, i: usize| 0.75 * z + 0.25 * head_value(i)) as &dyn Fn(f32, usize) -> f32,
            ),
            (
                "L1H1=affine(vectors.safetensors:gain, vectors.safetensors:head)@2,10",
                &|z, i| (1.0 + gain_value(i)) * z + head_value(i),
            ),
        ] {
            let mut expected = plain.clone();
            for position in [2, 10] {
                for i in 0..d_head {
                    let z = &mut expected[position * width + d_head + i];
                    *z = formula(*z, i);
                }
            }
            close(&at(&model, &of(&[edit]), Part::Z), &expected, 1e-6).unwrap();
        }
    }
}

#[test]
fn q_k_and_v_of_prompt_b_together_give_its_z() {
    for (name, model) in every_fixture_model() {
        let spec = &model.spec;
        let plain = with(&[]);
        let other = run_spec(plain.contrast.as_deref().unwrap(), &[]);
        let mut edits: Vec<String> = (0..spec.n_heads)
            .map(|head| format!("L1H{head}.q=resample"))
            .collect();
        for kv in 0..spec.n_kv_heads {
            edits.push(format!("L1KV{kv}.k=resample"));
            edits.push(format!("L1KV{kv}=resample"));
        }
        let all: Vec<&str> = edits.iter().map(String::as_str).collect();
        let theirs = at(&model, &other, Part::Z);
        close(&at(&model, &with(&all), Part::Z), &theirs, 1e-6)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(close(&at(&model, &plain, Part::Z), &theirs, 1e-4).is_err());
        // One head's q alone: its rows of the pattern become others, and no other head's.
        let one = at(&model, &with(&["L1H1.q=resample"]), Part::Pattern);
        let own = at(&model, &plain, Part::Pattern);
        let map = IDS.len() * IDS.len();
        for head in 0..spec.n_heads {
            let part = head * map..(head + 1) * map;
            assert_eq!(one[part.clone()] == own[part], head != 1, "{name} {head}");
        }
        // Its scores by hand.
        let [q, k] = Part::scored(spec, 1);
        let (q, k) = (at(&model, &other, q), at(&model, &plain, k));
        let scores = at(&model, &with(&["L1H1.q=resample"]), Part::Scores);
        let (d_head, kv) = (spec.d_head, spec.kv_head_of(1));
        for query in 0..IDS.len() {
            for key in spec.masks[1].keys(query, IDS.len()) {
                let dot: f32 = (0..d_head)
                    .map(|i| {
                        q[(query * spec.n_heads + 1) * d_head + i]
                            * k[(key * spec.n_kv_heads + kv) * d_head + i]
                    })
                    .sum();
                let score = dot * spec.score_scale as f32;
                let score = spec
                    .score_cap
                    .map_or(score, |cap| cap as f32 * (score / cap as f32).tanh());
                let found = scores[map + query * IDS.len() + key];
                assert!((found - score).abs() < 1e-4, "{name}: {found}, {score}");
            }
        }
    }
}

#[test]
fn a_pattern_of_prompt_b_reads_the_values_of_prompt_a() {
    for (name, model) in every_fixture_model() {
        let spec = &model.spec;
        let plain = with(&[]);
        let other = run_spec(plain.contrast.as_deref().unwrap(), &[]);
        let n = IDS.len();
        let (own, theirs) = (
            at(&model, &plain, Part::Pattern),
            at(&model, &other, Part::Pattern),
        );
        // The later edit of a row wins.
        let edits = ["L1H1=uniform", "L1H1.pattern=resample", "L1H0=uniform@3"];
        let found = at(&model, &with(&edits), Part::Pattern);
        assert_eq!(found[n * n..2 * n * n], theirs[n * n..2 * n * n], "{name}");
        assert_ne!(found[n * n..2 * n * n], own[n * n..2 * n * n], "{name}");
        assert_eq!(found[2 * n * n..], own[2 * n * n..], "{name}");
        let (z, v) = (
            at(&model, &with(&edits), Part::Z),
            at(&model, &plain, Part::V),
        );
        let (d_head, kv) = (spec.d_head, spec.kv_head_of(1));
        for query in 0..n {
            for i in 0..d_head {
                let by_hand: f32 = (0..n)
                    .map(|key| {
                        theirs[(n + query) * n + key] * v[(key * spec.n_kv_heads + kv) * d_head + i]
                    })
                    .sum();
                let found = z[(query * spec.n_heads + 1) * d_head + i];
                assert!((found - by_hand).abs() < 1e-5, "{name}: {found}, {by_hand}");
            }
        }
    }
}

#[test]
fn a_pattern_row_without_a_partner_for_each_key_is_refused() {
    let model = fixture_model("tiny-gpt2");
    let longer = [3, 1, 4, 1, 5, 9, 9, 2, 6, 5, 3, 5];
    let spec = |edit| RunSpec {
        contrast: Some(longer.as_slice().into()),
        ..run_spec(&IDS, &[edit])
    };
    let refusal = |edit| {
        let run = Engine::new(Arc::clone(&model)).run(&spec(edit), &mut Unwatched);
        run.unwrap_err().to_string()
    };
    let text = refusal("L1H1.pattern=resample");
    for part in ["L1H1.pattern=resample", "11 tokens", "12"] {
        assert!(text.contains(part), "{text}");
    }
    // Before the tokens that differ, every key has one.
    Engine::new(Arc::clone(&model))
        .run(&spec("L1H1.pattern=resample@4"), &mut Unwatched)
        .unwrap();
    let none = run_spec(&IDS, &["L1H1.pattern=resample"]);
    let error = Engine::new(Arc::clone(&model)).run(&none, &mut Unwatched);
    assert!(error.unwrap_err().to_string().contains("prompt B"));
}

#[test]
fn a_scaled_edge_has_its_score_multiplied_before_the_softmax() {
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-mistral"] {
        let model = fixture_model(name);
        let n = IDS.len();
        let rows = |spec: &RunSpec, part: Part| -> Vec<f32> {
            let row = (2 * n + 9) * n;
            at(&model, spec, part)[row..row + n].to_vec()
        };
        let plain = rows(&with(&[]), Part::Scores);
        for (edits, factors, out) in [
            (&["L1H2[9->8]=scale(5)"][..], [(8, 5.0), (7, 1.0)], None),
            (
                &["L1H2[9->8]=scale(-1.5)", "L1H2[9->7]=scale(0)"],
                [(8, -1.5), (7, 0.0)],
                None,
            ),
            // Twice is the product; what is knocked out stays so.
            (
                &["L1H2[9->8]=scale(2)", "L1H2[9->8]=scale(3)"],
                [(8, 6.0), (7, 1.0)],
                None,
            ),
            (
                &["L1H2[9->7]=scale(-3)", "L1H2[9->7]=knockout"],
                [(8, 1.0), (7, 1.0)],
                Some(7),
            ),
        ] {
            let spec = with(edits);
            let mut scores: Vec<f64> = plain.iter().map(|s| f64::from(*s)).collect();
            for (key, factor) in factors {
                scores[key] *= factor;
            }
            if let Some(key) = out {
                scores[key] = f64::NEG_INFINITY;
            }
            let total: f64 = scores.iter().map(|s| s.exp()).sum();
            let expected: Vec<f32> = scores.iter().map(|s| (s.exp() / total) as f32).collect();
            close(&rows(&spec, Part::Pattern), &expected, 1e-5)
                .unwrap_or_else(|error| panic!("{name} {edits:?}: {error}"));
            let recorded = rows(&spec, Part::Scores);
            for (found, expected) in recorded.iter().zip(&scores) {
                let same = f64::from(*found) - expected;
                assert!(same.abs() < 1e-4 || (found.is_infinite() && expected.is_infinite()));
            }
            // A run that restarts and one row alone give the same.
            let mut engine = Engine::new(Arc::clone(&model));
            logits(&mut engine, &with(&["L0H0=zero"]));
            close(&logits(&mut engine, &spec), &fresh(&model, &spec), 1e-5).unwrap();
        }
    }
}

#[test]
fn scaling_by_zero_is_zeroing() {
    // K2
    for name in MODELS {
        let model = fixture_model(name);
        for target in ["L0H1", "L1KV0", "L0", "M1", "R1", "R2"] {
            let scaled = fresh(&model, &with(&[&format!("{target}=scale(0)")]));
            assert_eq!(
                scaled,
                fresh(&model, &with(&[&format!("{target}=zero")])),
                "{name} {target}"
            );
        }
    }
}

#[test]
fn uniform_attention_gives_the_running_mean_of_v() {
    // K4
    for name in MODELS {
        let model = fixture_model(name);
        let spec = &model.spec;
        let sites = [
            Site::Block(1, Part::V),
            Site::Block(1, Part::Z),
            Site::Block(1, Part::Pattern),
        ];
        let dumped = Engine::new(Arc::clone(&model))
            .dump(&with(&["L1H1=uniform"]), &sites)
            .unwrap();
        let [v, pattern, z] = &dumped[..] else {
            panic!("three sites")
        };
        let (d, kv) = (spec.d_head, spec.kv_head_of(1));
        for position in 0..IDS.len() {
            let mean: Vec<f32> = (0..d)
                .map(|i| {
                    let sum: f64 = (0..=position)
                        .map(|p| f64::from(v.values[(p * spec.n_kv_heads + kv) * d + i]))
                        .sum();
                    (sum / (position + 1) as f64) as f32
                })
                .collect();
            let found = &z.values[(position * spec.n_heads + 1) * d..][..d];
            close(found, &mean, 1e-5).unwrap();
        }
        for row in pattern.values.chunks_exact(IDS.len()) {
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{name}: a row sums to {sum}");
        }
    }
}

/// A plan's pattern and z in a layer, `[head, query, key]` and `[pos, head, d_head]`, and all logits.
fn under(model: &Model, layer: usize, plan: &Plan) -> [Vec<f32>; 3] {
    let sites = [Part::Pattern, Part::Z].map(|part| Site::Block(layer, part));
    let record = sites.into();
    let mut forward = model.transformer.start(&IDS, plan, &record).unwrap();
    let mut found = vec![];
    while let Some(of_layer) = forward.step().unwrap() {
        found.extend(of_layer.into_values());
    }
    let resid = forward.finish(None).unwrap();
    found.extend(forward.logits(resid).unwrap());
    let mut values = found
        .iter()
        .map(|found| found.flatten_all().unwrap().to_vec1().unwrap());
    [(); 3].map(|()| values.next().unwrap_or_default())
}

#[test]
fn a_query_next_to_nothing_attends_uniformly() {
    // K3: q times 1e-6, against the edit `uniform`.
    for (name, model) in every_fixture_model() {
        let spec = &model.spec;
        // A norm of q would undo the factor.
        let q = if spec.qk_norm { Part::RotQ } else { Part::Q };
        for layer in 0..spec.n_layers {
            let head = (layer + 1) % spec.n_heads;
            let tiny = RowEdit {
                columns: head * spec.d_head..(head + 1) * spec.d_head,
                positions: (0..IDS.len()).collect(),
                change: Change::Scale(1e-6),
            };
            let tiny = Plan {
                rows: [(Site::Block(layer, q), vec![tiny])].into(),
                ..Plan::default()
            };
            let rows = (0..IDS.len()).map(|query| (PatternRow { head, query }, NewRow::Uniform));
            let uniform = Plan {
                patterns: [(layer, Arc::new(rows.collect()))].into(),
                ..Plan::default()
            };
            let (found, expected) = (under(&model, layer, &tiny), under(&model, layer, &uniform));
            assert!(!found[0].is_empty() && !found[1].is_empty());
            assert_eq!(found[2].is_empty(), spec.head == Head::None, "{name}");
            assert_ne!(found[0], under(&model, layer, &Plan::default())[0]);
            for (found, expected) in found.iter().zip(&expected) {
                let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                close(found, expected, 1e-4 * largest)
                    .unwrap_or_else(|worst| panic!("{name} L{layer}H{head}: {worst}"));
            }
        }
    }
}

#[test]
fn uniform_attention_is_spread_over_the_keys_that_the_mask_leaves() {
    // K6, and K4 within a window.
    let mut windows = 0;
    for (name, model) in every_fixture_model() {
        let spec = &model.spec;
        for (layer, mask) in spec.masks.iter().enumerate() {
            let head = layer % spec.n_heads;
            let parts = [Part::V, Part::Pattern, Part::Z];
            let sites = parts.map(|part| Site::Block(layer, part));
            let edit = format!("L{layer}H{head}=uniform");
            let dumped = Engine::new(Arc::clone(&model))
                .dump(&with(&[&edit]), &sites)
                .unwrap();
            let [v, pattern, z] = [0, 1, 2].map(|i| &dumped[i].values);
            let (n, d) = (IDS.len(), spec.d_head);
            for query in 0..n {
                let keys = mask.keys(query, n);
                windows += usize::from(query + 1 > keys.len() && mask.is_causal());
                let share = 1.0 / keys.len() as f32;
                let weights: Vec<f32> = (0..n)
                    .map(|key| if keys.contains(&key) { share } else { 0.0 })
                    .collect();
                let row = &pattern[(head * n + query) * n..][..n];
                assert_eq!(row, weights, "{name} {edit}: query {query}");
                let mean: Vec<f32> = (0..d)
                    .map(|i| {
                        let of = |key| (key * spec.n_kv_heads + spec.kv_head_of(head)) * d + i;
                        keys.clone().map(|key| v[of(key)] * share).sum()
                    })
                    .collect();
                let found = &z[(query * spec.n_heads + head) * d..][..d];
                close(found, &mean, 1e-5).unwrap_or_else(|worst| panic!("{name} {edit}: {worst}"));
            }
        }
    }
    assert!(windows > 0, "no fixture has a window that hides a key");
}

#[test]
fn a_run_that_restarts_equals_a_whole_run() {
    let edits = [
        "L1H1=scale(2)",
        "L1H1=scale(-3)@last",
        "L0H0=zero",
        "L0H2=mean@2,5",
        "L1KV0=scale(3)",
        "L1=zero@4",
        "M0=scale(0.5)",
        "R1=scale(2)",
        "R2=scale(0.3)@last",
        "L1H0[6->2]=knockout",
        "L0H1=uniform@last",
        "L1H2=resample",
        "R1=mean@3",
        "R0=scale(1.5)",
        "M1=resample@4",
        "L0H1[9->0]=knockout",
        "L1H1=zero_keep_bias",
        "L0=uniform",
    ];
    for name in MODELS {
        let model = fixture_model(name);
        let mut engine = Engine::new(Arc::clone(&model));
        let mut seed = 7_u64;
        let mut next = |below: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut restarts = [0; 4];
        for _ in 0..150 {
            let list: Vec<&str> = (0..next(4)).map(|_| edits[next(edits.len())]).collect();
            let spec = RunSpec {
                position: next(IDS.len()),
                ..with(&list)
            };
            let outcome = engine.run(&spec, &mut Unwatched).unwrap();
            let pass = outcome.after.unwrap_or(outcome.before);
            restarts[pass.restarted_at] += 1;
            // A dump runs every layer of the edited model from the embedding on.
            let mut sites: Vec<Site> = (0..model.spec.n_layers)
                .map(|l| Site::Block(l, Part::Pattern))
                .collect();
            sites.push(Site::Logits);
            let mut whole = Engine::new(Arc::clone(&model)).dump(&spec, &sites).unwrap();
            // From the last layer's attention on, a dump computes all positions and a run one: other products, whose
            // last bits may differ (logits of magnitude 4, and five products on the way).
            let all = whole.pop().unwrap().values;
            let row = &all[spec.position * model.spec.n_vocab..][..model.spec.n_vocab];
            let logits = pass.logits.unwrap();
            close(&logits, row, 5e-6).unwrap_or_else(|worst| panic!("{name} {list:?}: {worst}"));
            assert_eq!(logits, fresh(&model, &spec), "{name} {list:?}");
            for (restarted, whole) in pass.layers.iter().zip(&whole) {
                for (head, whole_map) in whole.values.chunks_exact(IDS.len().pow(2)).enumerate() {
                    let map = restarted.patterns.head(head);
                    assert_eq!(*map, *whole_map, "{name} {list:?} {}", whole.name);
                }
            }
        }
        assert!(
            restarts[..3].iter().all(|count| *count > 5),
            "{name}: every place to restart was tried: {restarts:?}"
        );
    }
}

/// Stops at a chosen layer.
struct StopAt(usize);

impl Watch for StopAt {
    fn layer(&mut self, side: Side, maps: &Arc<LayerMaps>) -> bool {
        side == Side::Before || maps.layer < self.0
    }

    fn pass(&mut self, _side: Side, _pass: &Pass) {}
}

#[test]
fn a_stopped_run_leaves_no_trace() {
    let model = fixture_model("tiny-llama");
    let mut engine = Engine::new(Arc::clone(&model));
    logits(&mut engine, &with(&["L0H0=scale(2)"]));
    for layer in 0..2 {
        let stopped = engine.run(&with(&["R0=zero"]), &mut StopAt(layer));
        assert!(matches!(stopped, Err(RunError::Stopped)));
        let spec = with(&["L0H0=scale(3)"]);
        assert_eq!(logits(&mut engine, &spec), fresh(&model, &spec));
    }
}

#[test]
fn heads_and_their_bias_sum_to_the_attention_output() {
    for name in MODELS {
        let model = fixture_model(name);
        let n = IDS.len();
        let sites = [
            Part::ResidPre,
            Part::AttnOut,
            Part::ResidMid,
            Part::MlpOut,
            Part::ResidPost,
        ]
        .map(|part| Site::Block(0, part));
        let dumped = Engine::new(Arc::clone(&model))
            .dump(&with(&["L0H1=scale(2)"]), &sites)
            .unwrap();
        let values: Vec<&[f32]> = dumped.iter().map(|d| d.values.as_slice()).collect();
        let sums = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x + y).collect::<Vec<_>>();
        close(values[2], &sums(values[0], values[1]), 1e-6).unwrap();
        close(values[4], &sums(values[2], values[3]), 1e-6).unwrap();
        assert_eq!(values[0].len(), n * model.spec.d_model);
    }
}

#[test]
fn a_prompt_whose_map_would_not_fit_is_refused_before_it_runs() {
    let path = support::fixture("models/tiny-gpt2");
    let mut model = open(path.to_str().unwrap(), &mut Unreported).unwrap();
    // The weights are never touched.
    model.spec.n_ctx = 131_072;
    let error = Engine::new(Arc::new(model))
        .run(&run_spec(&vec![1; 20_000], &[]), &mut Unwatched)
        .unwrap_err();
    // A map of 20,000 x 20,000 f32.
    assert!(
        matches!(error, RunError::MapTooLarge { most: 16_384, needed_gb, .. } if (1.59..1.61).contains(&needed_gb)),
        "{error}"
    );
}

/// A long prompt on a tiny model: so many tokens that the maps of its heads are made where they are looked at.
#[test]
fn maps_made_on_demand_are_those_of_the_pass_bit_for_bit() {
    let path = support::fixture("models/tiny-llama");
    let mut model = open(path.to_str().unwrap(), &mut Unreported).unwrap();
    model.spec.n_ctx = 8192;
    let model = Arc::new(model);
    let n = 4_200;
    let ids: Vec<u32> = (0..n).map(|i| (i * i % 41) as u32).collect();
    let edits = ["L1H2[4100->7]=knockout", "L1H1=uniform@4000", "L0H0=zero"];
    let mut engine = Engine::new(Arc::clone(&model));
    let outcome = engine.run(&run_spec(&ids, &edits), &mut Unwatched).unwrap();
    let after = outcome.after.unwrap();
    let whole = Engine::new(Arc::clone(&model))
        .dump(
            &run_spec(&ids, &edits),
            &[Site::Block(1, Part::Pattern), Site::Block(1, Part::Z)],
        )
        .unwrap();
    let patterns = &after.layers[1].patterns;
    assert!(patterns.bytes() < 4 * n * n, "not even one map is kept");
    for head in 0..4 {
        let map = &whole[0].values[head * n * n..(head + 1) * n * n];
        assert!(*patterns.glance(head) == *map, "head {head}");
        assert!(*patterns.head(head) == *map, "head {head}");
        for (query, key) in [(4100, 7), (4000, 12), (4199, 4198), (0, 0), (3, 9)] {
            close(
                &[patterns.value(head, query, key)],
                &[map[query * n + key]],
                1e-6,
            )
            .unwrap();
        }
    }
    assert_eq!(patterns.value(2, 4100, 7).to_bits(), 0);
}
