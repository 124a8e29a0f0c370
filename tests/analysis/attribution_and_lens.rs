//! What adds to an answer, and what each layer would say: sums, means and other ways to the same numbers.

use super::*;

#[test]
fn attribution_sums_to_the_logit_difference() {
    // C0, edited and not.
    let mut n_models = 0;
    for (name, model) in every_fixture_model() {
        let case = case(8);
        if !has_sum(&model) {
            let in_turn = matches!(model.spec.head, Head::MaskedToken { .. })
                && model.spec.placement == Placement::Pre;
            if model.spec.head != Head::None && !in_turn {
                let refused = attribute(
                    &mut engine(&model),
                    &case,
                    &attribution::Settings::default(),
                    &mut Unheard,
                );
                let error = refused.unwrap_err().to_string();
                assert!(error.contains("sweep"), "{name}: {error}");
            }
            continue;
        }
        n_models += 1;
        for edits in [
            &[][..],
            &["L1H1=zero", "L0H0=scale(3)@4"],
            &["M1=zero@8", "R1=scale(1.5)"],
        ] {
            let spec = RunSpec {
                edits: edits.iter().map(|edit| edit.parse().unwrap()).collect(),
                ..case.spec.clone()
            };
            let found: Summands =
                summands(&mut engine(&model), &spec, case.pair().unwrap()).unwrap();
            let right = uncapped(&model, &logits(&model, &spec), &case);
            assert!(
                (found.sum() - right).abs() < 1e-3,
                "{name} {edits:?}: {} {right}",
                found.sum()
            );
            // Only what changes the stream itself is no summand of its own.
            let of_stream = edits.iter().any(|edit| edit.starts_with('R'));
            assert_eq!(
                found.edits != 0.0,
                of_stream,
                "{name} {edits:?} {}",
                found.edits
            );
        }
    }
    assert!(n_models > 10);
}

#[test]
fn the_lens_of_a_set_ends_in_the_mean_probability_of_the_answers() {
    let model = fixture_model("tiny-gpt2");
    let cases = [case(8), case(10)];
    for frozen in [false, true] {
        let settings = lens::Settings {
            frozen,
            ..lens::Settings::default()
        };
        let report = lens::lens_all(&mut engine(&model), &cases, &settings, &mut Unheard).unwrap();
        let probs = cases.each_ref().map(|case| {
            let logits = logits(&model, &case.spec);
            f64::from(Readout::new(&logits).score(case.answers[0]).unwrap().prob)
        });
        let [_, found] = *report.plots[0].lines[0].points.last().unwrap();
        assert!((found - f64::midpoint(probs[0], probs[1])).abs() < 1e-6);
        assert_eq!(report.tables[0].rows.len(), model.spec.n_layers + 1);
    }
}

#[test]
fn the_attribution_of_a_set_is_the_mean_of_its_prompts() {
    let model = fixture_model("tiny-llama");
    let cases = [case(8), case(10)];
    let settings = attribution::Settings::default();
    let report =
        attribution::attribute_all(&mut engine(&model), &cases, &settings, &mut Unheard).unwrap();
    let each = cases
        .each_ref()
        .map(|case| summands(&mut engine(&model), &case.spec, case.pair().unwrap()).unwrap());
    let head = HeadId::new(1, 2);
    let i = model.spec.n_heads + 2;
    let (a, b) = (each[0].heads[i], each[1].heads[i]);
    let found = report
        .scores_of("attribution")
        .unwrap()
        .value(head)
        .unwrap();
    assert!((found - f32::midpoint(a, b)).abs() < 1e-6);
    let spread = report.scores_of("spread").unwrap().value(head).unwrap();
    assert!((spread - (a - b).abs() / 2f32.sqrt()).abs() < 1e-5);
    let sum: f64 = report.bars[0]
        .bars
        .iter()
        .flat_map(|bar| &bar.parts)
        .map(|p| p.value)
        .sum();
    assert!((sum - f64::midpoint(each[0].sum(), each[1].sum())).abs() < 1e-4);
    assert_eq!(report.tables[0].rows.len(), 2);
}

#[test]
fn before_a_head_that_is_not_linear_each_part_is_left_out_in_turn() {
    let mut n_models = 0;
    for (name, model) in every_fixture_model() {
        let is_masked = matches!(model.spec.head, Head::MaskedToken { .. });
        if !is_masked || model.spec.placement != Placement::Pre {
            continue;
        }
        n_models += 1;
        let case = case(8);
        let settings = attribution::Settings::default();
        let report = attribute(&mut engine(&model), &case, &settings, &mut Unheard).unwrap();
        let last = model.spec.n_layers - 1;
        let value = |label: &str| -> f64 {
            let parts = report.bars[0].bars.iter().flat_map(|bar| &bar.parts);
            let part = parts.into_iter().find(|part| part.label == label);
            part.unwrap_or_else(|| panic!("{label}")).value
        };
        // Nothing answers to the last MLP: without it is ablated.
        let spec = RunSpec {
            edits: vec![format!("M{last}=zero").parse().unwrap()],
            ..case.spec.clone()
        };
        let (plain, without) = (logits(&model, &case.spec), logits(&model, &spec));
        let expected = uncapped(&model, &plain, &case) - uncapped(&model, &without, &case);
        let found = value(&format!("M{last}"));
        assert!(
            (found - expected).abs() < 1e-4,
            "{name}: {found} {expected}"
        );
        // The parts are all there is: without any of them, the embedding is left.
        let n_parts: usize = report.bars[0].bars.iter().map(|bar| bar.parts.len()).sum();
        let n_biases = (0..=last).filter(|l| model.out_bias(*l).is_some()).count();
        assert_eq!(
            n_parts,
            1 + (last + 1) * (model.spec.n_heads + 1) + n_biases
        );
        let head = HeadId::new(0, 1);
        let score = report
            .scores_of("attribution")
            .unwrap()
            .value(head)
            .unwrap();
        assert!((value("L0H1") - f64::from(score)).abs() < 1e-9);
    }
    assert!(n_models > 0);
}

#[test]
fn what_a_head_adds_to_a_logit_by_itself_is_its_row_beside_the_final_stream() {
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gpt-neox"] {
        let model = fixture_model(name);
        let case = case(8);
        let mut engine = engine(&model);
        let (d, n_heads) = (model.spec.d_model, model.spec.n_heads);
        let sites = [Site::Block(1, Part::Result), Site::final_resid(&model.spec)];
        let dumped = engine.dump(&case.spec, &sites).unwrap();
        let resid = &dumped[1].values[8 * d..][..d];
        let result = &dumped[0].values[(8 * n_heads + 2) * d..][..d];
        let changes = [vec![0.0; d], result.to_vec()].concat();
        let logits = beside(&model, resid, changes).unwrap();
        let (plain, with) = logits.split_at(model.spec.n_vocab);
        close(plain, &lens_of_streams(&model, resid, None).unwrap(), 1e-5).unwrap();
        let (a, b) = case.pair().unwrap();
        let difference = |logits: &[f32]| logits[a as usize] - logits[b as usize];
        let found = difference(with) - difference(plain);
        let summand = summands(&mut engine, &case.spec, (a, b)).unwrap().heads[n_heads + 2];
        assert!((found - summand).abs() < 1e-4, "{name}: {found} {summand}");
    }
}

#[test]
fn through_a_frozen_norm_streams_are_read_as_parts_of_the_final_one() {
    for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2"] {
        let model = fixture_model(name);
        let case = case(10);
        let frozen = lens::Settings {
            frozen: true,
            ..lens::Settings::default()
        };
        let report = lens::lens(&mut engine(&model), &case, &frozen, &mut Unheard).unwrap();
        let table = report
            .tables
            .iter()
            .find(|t| t.name == "at_position")
            .unwrap();
        let difference = |row: &[Cell]| match row.last() {
            Some(Cell::Number(Some(x))) => *x,
            other => panic!("{other:?}"),
        };
        let rows: Vec<f64> = table.rows.iter().map(|row| difference(row)).collect();
        let whole = logits(&model, &case.spec);
        let (a, b) = case.pair().unwrap();
        let last = f64::from(whole[a as usize] - whole[b as usize]);
        assert!((rows.last().unwrap() - last).abs() < 1e-4, "{name}");
        // What the last layer adds is the sum of its summands, before a cap.
        if model.spec.logit_cap.is_none() {
            let found = summands(&mut engine(&model), &case.spec, (a, b)).unwrap();
            let layer = model.spec.n_layers - 1;
            let n_heads = model.spec.n_heads;
            let added: f32 = found.heads[layer * n_heads..].iter().sum::<f32>()
                + found.biases[layer]
                + found.mlps[layer];
            let step = last - rows[layer];
            assert!(
                (step - f64::from(added)).abs() < 1e-3,
                "{name}: {step} {added}"
            );
        }
        let own = lens::lens(
            &mut engine(&model),
            &case,
            &lens::Settings::default(),
            &mut Unheard,
        );
        assert_ne!(own.unwrap().tables, report.tables, "{name}");
    }
}

#[test]
fn a_heads_summand_is_the_sum_over_its_source_tokens_and_an_mlps_over_its_neurons() {
    for (name, model) in every_fixture_model() {
        if !has_sum(&model) {
            continue;
        }
        let case = case(8);
        let head = HeadId::new(1, 2.min(model.spec.n_heads - 1));
        let settings = attribution::Settings {
            heads: vec![head],
            mlp: Some(1),
        };
        let report = attribute(&mut engine(&model), &case, &settings, &mut Unheard).unwrap();
        let whole = report
            .scores_of("attribution")
            .unwrap()
            .value(head)
            .unwrap();
        let sources = report
            .grids
            .iter()
            .find(|grid| grid.name == "sources")
            .unwrap();
        let sum: f32 = sources.values.iter().flatten().sum();
        // The value bias goes through rows that sum to 1, and so does everything.
        assert!((sum - whole).abs() < 1e-4, "{name}: {sum} {whole}");
        let number = |cell: &Cell| match cell {
            Cell::Number(Some(number)) => *number,
            other => panic!("{other:?}"),
        };
        let table = |of: &str| report.tables.iter().find(|table| table.name == of).unwrap();
        let neurons = number(table("neurons").rows.last().unwrap().last().unwrap());
        let parts = table("parts");
        let mlp = parts
            .rows
            .iter()
            .find(|row| row[0] == Cell::from("M1"))
            .unwrap();
        assert!(
            (neurons - number(&mlp[1])).abs() < 1e-4,
            "{name}: {neurons} {mlp:?}"
        );
        let by_position = report
            .grids
            .iter()
            .find(|grid| grid.name == "by_position")
            .unwrap();
        let m1 = by_position.values[3 * IDS.len() + 8].unwrap();
        assert!((f64::from(m1) - neurons).abs() < 1e-4, "{name}");
    }
}

#[test]
fn the_lens_of_the_last_stream_is_the_model() {
    for (name, model) in every_fixture_model() {
        let case = case(8);
        let report = lens::lens(
            &mut engine(&model),
            &case,
            &lens::Settings::default(),
            &mut Unheard,
        );
        if model.spec.head == Head::None || model.spec.placement == Placement::Post {
            report.unwrap_err();
            continue;
        }
        let report = report.unwrap();
        let right = logits(&model, &case.spec);
        let row = &report.tables[0].rows[model.spec.n_layers];
        let expected = right[7] - right[2];
        let Cell::Number(Some(found)) = row[4] else {
            panic!("{row:?}")
        };
        assert!((found - f64::from(expected)).abs() < 1e-4, "{name}");
        let grid = |of: &str| report.grids.iter().find(|grid| grid.name == of).unwrap();
        let n = IDS.len();
        for column in 0..n {
            let kl = grid("kl").values[model.spec.n_layers * n + column].unwrap();
            assert!(kl < 1e-6, "{name}: {kl}");
        }
        assert!(
            grid("kl").values[..n].iter().flatten().any(|kl| *kl > 1e-4),
            "{name}"
        );
        let sum: f32 = right.iter().map(|l| l.exp()).sum();
        let prob = grid("answer_prob").values[model.spec.n_layers * n + 8].unwrap();
        assert!((prob - right[7].exp() / sum).abs() < 1e-5, "{name}");
    }
}
