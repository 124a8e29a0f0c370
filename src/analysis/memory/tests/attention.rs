//! Scaling by attention, and what the report shows of any scaling.

use crate::edit::Edit;
use crate::mask::Mask;

use super::*;

fn by_attention() -> Settings {
    Settings {
        by: By::Attention,
        known_only: false,
        ..settings()
    }
}

#[test]
fn the_score_of_every_token_of_the_stated_answer_is_multiplied() {
    let model = demo();
    let case = Case {
        spans: vec![("object".into(), vec![4, 5])],
        ..conflicts(&model, 30)[0].clone()
    };
    let head = HeadId::new(1, 3);
    let scaling = Scaling {
        group: one(head),
        factor: 5.0,
    };
    let query = case.spec.position;
    let edits = scaling.edits(By::Attention, &case, &model.spec.masks);
    let expected = [4, 5].map(|key| format!("L1H3[{query}->{key}]=scale(5)"));
    assert_eq!(
        edits.iter().map(Edit::to_string).collect::<Vec<_>>(),
        expected
    );
    let hidden = vec![Mask::causal_window(1); model.spec.n_layers];
    assert!(scaling.edits(By::Attention, &case, &hidden).is_empty());

    // The pattern is the softmax of the scores with two of them multiplied.
    let mut engine = Engine::new(Arc::clone(&model));
    let n = case.spec.ids.len();
    let row = |engine: &mut Engine, part, edits: &[Edit]| -> Vec<f64> {
        let spec = RunSpec {
            edits: edits.to_vec(),
            ..case.spec.clone()
        };
        let of = engine
            .dump(&spec, &[Site::Block(1, part)])
            .unwrap()
            .remove(0);
        let row = &of.values[(head.head * n + query) * n..][..n];
        row.iter().map(|x| f64::from(*x)).collect()
    };
    let mut scores = row(&mut engine, Part::Scores, &[]);
    for key in [4, 5] {
        scores[key] *= 5.0;
    }
    let whole: f64 = scores[..=query].iter().map(|x| x.exp()).sum();
    let found = row(&mut engine, Part::Pattern, &edits);
    for (found, score) in found[..=query].iter().zip(&scores) {
        assert!((found - score.exp() / whole).abs() < 1e-5);
    }
}

#[test]
fn heads_are_scaled_alone_and_the_two_against_the_statement_together() {
    let model = demo();
    let cases = conflicts(&model, 100);
    let report = run(&model, &cases, &by_attention());
    let choice = rows(&report, "choice");
    let names: Vec<_> = choice.iter().map(|row| row[..3].to_vec()).collect();
    // The last two of a falling list, in the order of heads.
    let last_two = |values: &dyn Fn(HeadId) -> f32| {
        let mut heads: Vec<HeadId> = (0..32).map(|i| HeadId::new(i / 8, i % 8)).collect();
        heads.sort_by(|a, b| values(*a).total_cmp(&values(*b)));
        heads.truncate(2);
        heads.sort_unstable();
        format!("{}+{}", heads[0], heads[1])
    };
    let of = |name: &str, head| report.scores_of(name).unwrap().value(head).unwrap();
    let attribution = last_two(&|head| of("attribution", head));
    let effect = last_two(&|head| of("effect_tripled", head) - of("effect_off", head));
    assert_ne!(attribution, effect);
    for (by, group) in [
        ("two most negative attributions", attribution),
        ("two most negative effects", effect),
    ] {
        let row = vec!["in_context".into(), by.into(), group.into()];
        assert!(names.contains(&row), "{names:?}");
    }

    // Given heads: one group, and nothing else.
    let given = Settings {
        heads: vec![HeadId::new(1, 5), HeadId::new(1, 3)],
        ..by_attention()
    };
    let report = run(&model, &cases, &given);
    let heads = rows(&report, "heads");
    assert_eq!(heads.len(), 1);
    assert_eq!(heads[0][0], "L1H3+L1H5".into());
    let attribution = report.scores_of("attribution").unwrap();
    let sum: f32 = given
        .heads
        .iter()
        .map(|head| attribution.value(*head).unwrap())
        .sum();
    assert!((number(&heads[0][1]) - f64::from(sum)).abs() < 1e-6);
    for row in rows(&report, "choice") {
        let random = match &row[11] {
            Cell::Text(names) => names.split(' ').map(|name| name.split('+').count()),
            other => panic!("{other:?}"),
        };
        assert!(random.clone().all(|n| n == 2), "as many heads as given");
        // A head that reads the stated answer more says it more.
        assert!(number(&row[7]) > number(&row[6]), "{row:?}");
    }
    // The statement's head reads it less at factor 0, and the answer changes.
    let table = rows(&report, "factors of L1H3+L1H5");
    let in_context: Vec<f64> = table.iter().map(|row| number(&row[1])).collect();
    assert!(in_context[0] < in_context[1] && in_context[1] < in_context[2]);
}

#[test]
fn prompts_without_a_place_of_the_stated_answer_are_left_out_by_attention() {
    let model = demo();
    let mut cases = conflicts(&model, 60);
    cases[0].spans.clear();
    let report = run(&model, &cases, &by_attention());
    assert!(report.notes.iter().any(|note| note.starts_with("1 of ")));
    for case in &mut cases {
        case.spans.clear();
    }
    let mut engine = Engine::new(Arc::clone(&model));
    let refused = memory(&mut engine, &cases, &by_attention(), &mut Unheard);
    assert!(refused.unwrap_err().to_string().contains("`object`"));
}

#[test]
fn curves_and_bars_are_the_tables_numbers() {
    let model = demo();
    let cases = conflicts(&model, 100);
    let report = run(&model, &cases, &settings());
    let choice = rows(&report, "choice");
    assert_eq!(report.plots.len(), choice.len());
    for (row, plot) in choice.iter().zip(&report.plots) {
        let factor = number(&row[3]);
        let near = |x: &f64| (x - factor).abs() < 1e-9;
        let at = [0.0, 1.0, 3.0].iter().position(near).unwrap();
        let point = |line: usize, at: usize| {
            let [x, y] = plot.lines[line].points[at];
            assert!((x - [0.0, 1.0, 3.0][at]).abs() < 1e-9);
            y
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{}: {a} {b}", plot.name);
        // Choosing, reported on, random: at 1 and at the factor. Check d: at 1 nothing changes.
        close(point(0, 1), number(&row[4]));
        close(point(0, at), number(&row[5]));
        close(point(1, 1), number(&row[6]));
        close(point(1, at), number(&row[7]));
        close(point(2, 1), number(&row[6]));
        close(point(2, at), number(&row[6]) + number(&row[8]));
    }
    let [logits, probabilities] = &report.bars[..] else {
        panic!("{}", report.bars.len());
    };
    let of = |bars: &crate::analysis::Bars, label: &str| {
        let bar = bars.bars.iter().find(|bar| bar.label == label);
        bar.unwrap().parts[0].value
    };
    let table = rows(&report, "factors of L1H3");
    for (i, run) in [(1, "unedited"), (2, "L1H3 ×3")] {
        for (column, answer) in [(0, "in_context"), (1, "memorised")] {
            let label = format!("{run}: {answer}");
            assert!((of(logits, &label) - number(&table[i][5 + column])).abs() < 1e-3);
            assert!((of(probabilities, &label) - number(&table[i][7 + column])).abs() < 1e-4);
        }
    }
    assert!(of(probabilities, "L1H3 ×0: memorised") > 0.9);
}

/// Checks b and c of the specification, on more prompts and factors than the report's test.
#[test]
fn the_rate_rises_with_the_factor_of_the_chosen_head_and_with_no_random_ones() {
    let model = demo();
    let cases = conflicts(&model, 300);
    let all: Vec<&Case> = cases.iter().collect();
    let split = split(&all, &settings());
    let mut engine = Engine::new(Arc::clone(&model));
    let factors = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0];
    let of_chosen = Scaling::grid(&[one(HeadId::new(1, 3))], &factors);
    let mut rate = |cases: &[&Case], scalings: &[Scaling]| -> Vec<f64> {
        let found = rates(&mut engine, cases, By::Value, scalings, &mut |_| true).unwrap();
        found.iter().map(|rates| rates.in_context).collect()
    };
    let rising = rate(&split.development, &of_chosen);
    assert!(rising.is_sorted(), "{rising:?}");
    assert!(rising[5] > rising[0] + 0.8, "{rising:?}");

    // All heads that are not among the six that the attribution and the effects of this model name.
    let named = ["L0H1", "L0H4", "L1H3", "L1H5", "L1H7", "L2H6"];
    let heads = (0..32).map(|i| HeadId::new(i / 8, i % 8));
    let others: Vec<Group> = heads
        .filter(|head| !named.contains(&head.to_string().as_str()))
        .map(one)
        .collect();
    let plain = rate(&split.evaluation, &[Scaling::default()])[0];
    let random = rate(&split.evaluation, &Scaling::grid(&others, &[3.0]));
    let changes: Vec<f64> = random.iter().map(|rate| (rate - plain).abs()).collect();
    let mean = changes.iter().sum::<f64>() / changes.len() as f64;
    assert!(mean < 0.02, "{changes:?}");
    assert!(changes.iter().all(|change| *change < 0.05), "{changes:?}");
}
