//! Ablation, patching and means: one run after the other gives the same.

use super::*;

#[test]
fn a_whole_answer_is_the_sum_of_its_tokens_each_after_those_before() {
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2"] {
        let model = fixture_model(name);
        let answer = [7u32, 2, 9];
        let case = Case {
            whole: Whole {
                right: vec![answer.to_vec()],
                wrong: vec![],
            },
            ..case(IDS.len() - 1)
        };
        let settings = ablation::Settings {
            metric: Metric::WholeAnswer,
            ..ablation::Settings::default()
        };
        let report = ablation::sweep(
            &mut engine(&model),
            std::slice::from_ref(&case),
            &settings,
            &mut Unheard,
        )
        .unwrap();
        let by_hand = |edits: &[&str]| -> f64 {
            (0..answer.len())
                .map(|k| {
                    let ids = [&IDS[..], &answer[..k]].concat();
                    let logits = logits(&model, &run_spec(&ids, edits));
                    Readout::new(&logits).log_prob(answer[k]).unwrap()
                })
                .sum()
        };
        let plain = by_hand(&[]);
        for head in [HeadId::new(0, 1), HeadId::new(1, 2)] {
            let expected = by_hand(&[&format!("{head}=zero")]) - plain;
            let found = f64::from(report.scores[0].value(head).unwrap());
            assert!(
                (found - expected).abs() < 1e-4,
                "{name} {head}: {found} {expected}"
            );
        }
        // Patching runs both prompts with the answer after them.
        let settings = patching::Settings {
            metric: Metric::WholeAnswer,
            what: What::Resid,
            ..patching::Settings::default()
        };
        let report = patch(
            &mut engine(&model),
            std::slice::from_ref(&case),
            &settings,
            &mut Unheard,
        )
        .unwrap();
        let grid = &report.grids[0];
        assert_eq!(grid.columns.len(), IDS.len());
        let at = grid.values[4].unwrap();
        assert!(
            (at - 1.0).abs() < 1e-3,
            "{name}: the whole difference enters there: {at}"
        );
    }
}

/// The metric of a run with one edit, the plain way.
fn one_by_one(model: &Arc<Model>, case: &Case, metric: Metric, edits: Vec<Edit>) -> f32 {
    let plain = logits(model, &case.spec);
    let spec = RunSpec {
        edits,
        ..case.spec.clone()
    };
    let edited = logits(model, &spec);
    let chosen = |all: &[f32]| match metric.reads(case).tokens {
        Some(tokens) => tokens.iter().map(|id| all[*id as usize]).collect(),
        None => all.to_vec(),
    };
    metric.of(case, &chosen(&edited), &chosen(&plain)).unwrap()
}

#[test]
fn a_sweep_is_one_ablation_after_the_other_in_every_metric() {
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-bert"] {
        let model = fixture_model(name);
        let case = case(8);
        for (metric, op) in [
            (Metric::LogitDiff, Op::Zero),
            (Metric::Kl, Op::Mean),
            (Metric::Prob, Op::Resample),
            (Metric::Rank, Op::Uniform),
            (Metric::Loss, Op::Zero),
        ] {
            let settings = ablation::Settings {
                op: op.clone(),
                metric,
                ..ablation::Settings::default()
            };
            let report = ablation::sweep(
                &mut engine(&model),
                std::slice::from_ref(&case),
                &settings,
                &mut Unheard,
            )
            .unwrap();
            let plain = one_by_one(&model, &case, metric, vec![]);
            for (head, change) in report.scores_of("change").unwrap().ranked() {
                let edit = Edit::new(headscope::edit::Target::Head(head), op.clone());
                let right = one_by_one(&model, &case, metric, vec![edit]) - plain;
                let found = change.unwrap();
                assert!(
                    (found - right).abs() < 1e-4,
                    "{name} {metric:?} {head}: {found} {right}"
                );
            }
        }
    }
}

#[test]
fn sweeps_over_layers_and_positions_are_grids() {
    let model = fixture_model("tiny-llama");
    let case = case(8);
    let sweep = |over, op| {
        let settings = ablation::Settings {
            over,
            op,
            ..ablation::Settings::default()
        };
        ablation::sweep(
            &mut engine(&model),
            std::slice::from_ref(&case),
            &settings,
            &mut Unheard,
        )
    };
    let plain = one_by_one(&model, &case, Metric::LogitDiff, vec![]);
    let check = |report: headscope::analysis::Report, at: usize, edit: &str| {
        let found = report.grids[0].values[at].unwrap();
        let right = one_by_one(
            &model,
            &case,
            Metric::LogitDiff,
            vec![edit.parse().unwrap()],
        ) - plain;
        assert!((found - right).abs() < 1e-4, "{edit}: {found} {right}");
    };
    check(
        sweep(ablation::Over::Layers, Op::Zero).unwrap(),
        3,
        "M1=zero",
    );
    let n = IDS.len();
    check(
        sweep(ablation::Over::Positions, Op::Resample).unwrap(),
        n + 4,
        "R1=resample@4",
    );
    check(
        sweep(ablation::Over::Positions, Op::Uniform).unwrap(),
        n + 6,
        "L1=uniform@6",
    );
    let error = sweep(ablation::Over::Layers, Op::Uniform)
        .unwrap_err()
        .to_string();
    assert!(error.contains("uniform"), "{error}");
}

#[test]
fn patching_everything_is_the_other_prompt() {
    for (name, model) in every_fixture_model() {
        if model.spec.head == Head::None {
            continue;
        }
        let case = case(8);
        for direction in Direction::ALL {
            // The stream before layer 0 at the one position that differs is the whole difference.
            let settings = patching::Settings {
                what: What::Resid,
                direction,
                ..patching::Settings::default()
            };
            let report = patch(
                &mut engine(&model),
                std::slice::from_ref(&case),
                &settings,
                &mut Unheard,
            )
            .unwrap();
            let grid = &report.grids[0];
            let found = grid.values[4].unwrap();
            assert!((found - 1.0).abs() < 1e-2, "{name} {direction:?}: {found}");
            // Before it nothing differs, and after it nothing does yet.
            for position in [0, 3, 7] {
                assert!(
                    grid.values[position].unwrap().abs() < 1e-2,
                    "{name} {position}"
                );
            }
        }
    }
}

#[test]
fn each_activation_is_patched_as_its_edit_is() {
    let model = fixture_model("tiny-llama");
    let case = case(8);
    for (what, edit, at) in [
        (What::Z, "L1H2=resample", 4 + 2),
        (What::Q, "L1H1.q=resample", 4 + 1),
        (What::Pattern, "L1H3.pattern=resample", 4 + 3),
        (What::K, "L1KV1.k=resample", 2 + 1),
        (What::V, "L1KV0=resample", 2),
    ] {
        for direction in Direction::ALL {
            let settings = patching::Settings {
                what,
                direction,
                ..patching::Settings::default()
            };
            let report = patch(
                &mut engine(&model),
                std::slice::from_ref(&case),
                &settings,
                &mut Unheard,
            )
            .unwrap();
            let found = report.scores_of("effect").unwrap().values[at].unwrap();
            let swapped = case.swapped().unwrap();
            let (run, other) = match direction {
                Direction::Denoise => (&swapped, &case),
                Direction::Noise => (&case, &swapped),
            };
            let of =
                |case: &Case, edits: Vec<Edit>| one_by_one(&model, case, Metric::LogitDiff, edits);
            let (from, to) = (of(run, vec![]), of(other, vec![]));
            let value = of(run, vec![edit.parse().unwrap()]);
            let right = (value - from) / (to - from);
            assert!(
                (found - right).abs() < 1e-3,
                "{what:?} {direction:?}: {found} {right}"
            );
        }
    }
    let mut alone = case.clone();
    alone.spec.contrast = None;
    let refused = patch(
        &mut engine(&model),
        &[alone],
        &patching::Settings::default(),
        &mut Unheard,
    );
    assert!(refused.unwrap_err().to_string().contains("prompt B"));
}

#[test]
fn a_direct_effect_is_the_change_of_the_heads_summand() {
    for (name, model) in every_fixture_model() {
        let case = case(8);
        let variants: Vec<Vec<Edit>> = [
            "L0H1=zero",
            "L1H1=scale(2)@8",
            "L1H0=uniform",
            "M0=zero",
            "M1=scale(3)",
        ]
        .map(|edit| vec![edit.parse().unwrap()])
        .into();
        let reading = Reading {
            effect: Effect::Direct,
            ..Reading::default()
        };
        let mut engine = engine(&model);
        let swept = engine.sweep(&case.spec, &variants, reading, &mut |_| true);
        if !has_sum(&model) {
            swept.unwrap_err();
            continue;
        }
        let plain = summands(&mut engine, &case.spec, case.pair().unwrap()).unwrap();
        let n_heads = model.spec.n_heads;
        let before = plain.sum();
        for (edits, logits) in variants.iter().zip(swept.unwrap()) {
            let edit = &edits[0];
            let found = uncapped(&model, &logits, &case) - before;
            let right = match edit.to_string().as_str() {
                "L0H1=zero" if model.spec.placement == Placement::Pre => -plain.heads[1],
                "L1H1=scale(2)@8" if model.spec.placement == Placement::Pre => {
                    plain.heads[n_heads + 1]
                }
                "M0=zero" => -plain.mlps[0],
                "M1=scale(3)" => 2.0 * plain.mlps[1],
                // After a post-norm heads are no plain summands of each other; a uniform pattern has no closed form here.
                _ => continue,
            };
            assert!(
                (found - f64::from(right)).abs() < 1e-3,
                "{name} {edit}: {found} {right}"
            );
        }
    }
}

#[test]
fn with_later_patterns_frozen_only_what_is_moved_changes() {
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-gpt-neox"] {
        let model = fixture_model(name);
        let case = case(8);
        let edit: Edit = "L0H1=scale(3)".parse().unwrap();
        let reading = Reading {
            effect: Effect::FrozenPatterns,
            ..Reading::default()
        };
        let mut engine = engine(&model);
        let frozen = engine
            .sweep(&case.spec, &[vec![edit.clone()]], reading, &mut |_| true)
            .unwrap();
        let total = engine
            .sweep(
                &case.spec,
                &[vec![edit.clone()]],
                Reading::default(),
                &mut |_| true,
            )
            .unwrap();
        assert_ne!(frozen, total, "{name}");
        // The same by hand: later patterns of an unedited prompt A, from a run in which prompt B is prompt A.
        let mut edits = vec![edit];
        for layer in 1..model.spec.n_layers {
            let rows =
                (0..model.spec.n_heads).map(|head| format!("L{layer}H{head}.pattern=resample"));
            edits.extend(rows.map(|edit| edit.parse::<Edit>().unwrap()));
        }
        let spec = RunSpec {
            contrast: Some(IDS.as_slice().into()),
            edits,
            ..case.spec.clone()
        };
        close(&frozen[0], &logits(&model, &spec), 1e-5)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn means_over_a_set_are_per_position_where_lengths_agree() {
    let model = fixture_model("tiny-llama");
    let prompts: Vec<Vec<u32>> = vec![
        vec![3, 1, 4, 1, 5],
        vec![9, 2, 6, 5, 3],
        vec![5, 8, 9, 7, 9],
    ];
    let engine_of = engine(&model);
    let of = |prompts: &[Vec<u32>]| {
        let prompts: Vec<(Arc<[u32]>, usize)> = prompts
            .iter()
            .map(|ids| (ids.as_slice().into(), 0))
            .collect();
        Means::over(&engine_of, &prompts, &mut || true).unwrap()
    };
    let z = |ids: &[u32]| {
        let dumped = engine(&model)
            .dump(&run_spec(ids, &[]), &[Site::Block(1, Part::Z)])
            .unwrap();
        dumped[0].values.clone()
    };
    let d_head = model.spec.d_head;
    let width = model.spec.n_heads * d_head;
    let edit: Edit = "L1H1=mean".parse().unwrap();
    let spec = run_spec(&prompts[0], &[]);
    let swept = |means: &Means| {
        let reading = Reading {
            means: Some(means),
            ..Reading::default()
        };
        engine(&model)
            .sweep(&spec, &[vec![edit.clone()]], reading, &mut |_| true)
            .unwrap()
            .remove(0)
    };
    // By hand: head 1's z becomes a vector from a file, position by position.
    let by_hand = |row: &dyn Fn(usize) -> Vec<f32>| {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<Vec<u8>> = (0..5)
            .map(|at| row(at).iter().flat_map(|x| x.to_le_bytes()).collect())
            .collect();
        let tensors = rows.iter().enumerate().map(|(at, bytes)| {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![d_head], bytes);
            (format!("p{at}"), view.unwrap())
        });
        let path = folder.path().join("v.safetensors");
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
        let mut edits = vec!["L1H1=zero".parse().unwrap()];
        edits.extend((0..5).map(|at| {
            format!("L1H1=add(v.safetensors:p{at}, 1)@{at}")
                .parse::<Edit>()
                .unwrap()
        }));
        let spec = RunSpec {
            edits,
            folder: Some(folder.path().to_owned()),
            ..spec.clone()
        };
        logits(&model, &spec)
    };
    let same = of(&prompts);
    assert!(same.is_per_position());
    let all: Vec<Vec<f32>> = prompts.iter().map(|ids| z(ids)).collect();
    let mean_at = |at: usize| -> Vec<f32> {
        (0..d_head)
            .map(|i| all.iter().map(|z| z[at * width + d_head + i]).sum::<f32>() / 3.0)
            .collect()
    };
    close(&swept(&same), &by_hand(&mean_at), 1e-5).unwrap();

    let uneven = vec![prompts[0].clone(), vec![9, 2, 6]];
    let means = of(&uneven);
    assert!(!means.is_per_position());
    let all: Vec<Vec<f32>> = uneven.iter().map(|ids| z(ids)).collect();
    let mean = |_: usize| -> Vec<f32> {
        (0..d_head)
            .map(|i| {
                let rows = all
                    .iter()
                    .flat_map(|z| z.chunks_exact(width))
                    .map(|row| row[d_head + i]);
                rows.sum::<f32>() / 8.0
            })
            .collect()
    };
    close(&swept(&means), &by_hand(&mean), 1e-5).unwrap();
    assert!(swept(&means) != swept(&same));
}

#[test]
fn costs_grow_with_what_is_run() {
    let model = fixture_model("tiny-llama");
    let spec = &model.spec;
    let sweep = ablation::Settings::default();
    // Half of two layers' heads run one layer, half run two.
    let expected = 1.0 + spec.n_heads as f32 * 1.5;
    assert!((sweep.passes(spec, 11) - expected).abs() < 1e-6);
    let at_last = ablation::Settings {
        at: Positions::Last,
        effect: Effect::Direct,
        ..sweep
    };
    assert!((at_last.passes(spec, 11) - 1.0).abs() < 1e-6);
}

/// Keeps what it is told.
#[derive(Default)]
struct Heard {
    reports: Vec<headscope::analysis::Report>,
    fractions: Vec<f32>,
}

impl headscope::analysis::Progress for Heard {
    fn at(&mut self, fraction: f32, so_far: Option<&headscope::analysis::Report>) -> bool {
        self.fractions.push(fraction);
        self.reports.extend(so_far.cloned());
        true
    }
}

#[test]
fn of_a_long_prompt_results_come_in_parts_and_are_the_same() {
    // Positions of all layers: more variants than one batch has room for.
    let model = fixture_model("tiny-llama");
    let n = model.spec.n_ctx.min(96);
    let ids: Vec<u32> = (0..n).map(|i| (i * 7 % 40) as u32).collect();
    let mut other = ids.clone();
    other[3] = 40;
    let case = Case {
        spec: RunSpec {
            contrast: Some(other.as_slice().into()),
            ..run_spec(&ids, &[])
        },
        ..case(0)
    };
    let settings = ablation::Settings {
        over: ablation::Over::Positions,
        ..ablation::Settings::default()
    };
    let variants = model.spec.n_layers * n;
    assert!(
        variants * n > headscope::experiment::MOST_ROWS,
        "{variants} {n}"
    );
    let mut heard = Heard::default();
    let report = ablation::sweep(
        &mut engine(&model),
        std::slice::from_ref(&case),
        &settings,
        &mut heard,
    )
    .unwrap();
    let parts = &heard.reports[..heard.reports.len() - 1];
    assert!(!parts.is_empty());
    let whole = &report.grids[0].values;
    for part in parts {
        let part = &part.grids[0].values;
        assert!(part.iter().any(Option::is_none));
        assert!(
            part.iter()
                .zip(whole)
                .all(|(part, whole)| part.is_none() || part == whole)
        );
    }
    assert!(heard.fractions.is_sorted());
    // The same as each position alone.
    for (layer, position) in [(0, 5), (1, n - 2)] {
        let edit = format!("R{layer}=zero@{position}").parse().unwrap();
        let found = whole[layer * n + position].unwrap();
        let expected = one_by_one(&model, &case, Metric::LogitDiff, vec![edit])
            - one_by_one(&model, &case, Metric::LogitDiff, vec![]);
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
    let settings = patching::Settings {
        what: What::Resid,
        ..patching::Settings::default()
    };
    let mut heard = Heard::default();
    let report = patch(
        &mut engine(&model),
        std::slice::from_ref(&case),
        &settings,
        &mut heard,
    )
    .unwrap();
    assert!(heard.reports.len() > 1);
    let whole = &report.grids[0].values;
    let first = &heard.reports[0].grids[0].values;
    assert!(
        first
            .iter()
            .zip(whole)
            .all(|(part, whole)| part.is_none() || part == whole)
    );
}
