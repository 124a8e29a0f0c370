//! Accuracy without the strongest heads, beside that without as many random ones (Zhang et al. 2024, arXiv 2409.01659): z
//! becomes its mean over the kept prompts.

use std::sync::Arc;

use crate::analysis::controls::{self, Comparison};
use crate::analysis::{AnalysisError, Cell, Line, Plot, Progress, Report, Table};
use crate::edit::{Edit, Op, Target};
use crate::experiment::engine::Engine;
use crate::experiment::{Means, Reading, Readout};
use crate::ids::HeadId;

use super::Settings;
use super::prompts::Kept;

/// Numbers of heads that are knocked out, with the largest that is asked for.
const SIZES: [usize; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];

/// Adds a table and the curve over the number of heads. `order` are all heads, the strongest first.
pub(super) fn add(
    engine: &mut Engine,
    kept: &[Kept],
    order: &[HeadId],
    settings: &Settings,
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<(), AnalysisError> {
    let most = settings.knock_out;
    let mut sizes: Vec<usize> = SIZES.into_iter().filter(|k| *k < most).collect();
    sizes.extend((most > 0).then_some(most));
    let (sizes, too_many): (Vec<usize>, Vec<usize>) =
        sizes.into_iter().partition(|k| *k <= order.len() / 2);
    for k in too_many {
        report.note(format!(
            "knock-out of {k} heads left out: of {} heads there are not as many others",
            order.len()
        ));
    }
    let Some(last) = sizes.last() else {
        return Ok(());
    };
    // Controls come from the heads that none of the sets has.
    let pool = &order[*last..];
    let mut sets: Vec<Vec<HeadId>> = vec![];
    for k in &sizes {
        let chosen = &order[..*k];
        let drawn = if settings.by_layer {
            controls::draws_by_layer(pool, chosen, settings.draws, settings.seed)
        } else {
            controls::draws(pool, *k, settings.draws, settings.seed)
        };
        sets.push(chosen.to_vec());
        sets.extend(drawn);
    }
    let shares = accuracies(engine, kept, &sets, report, progress)?;
    let n_sets = settings.draws + 1;
    // What is compared is the loss, of which more is more.
    let compared: Vec<Option<Comparison>> = shares
        .chunks(n_sets)
        .map(|shares| {
            let losses = shares[1..].iter().map(|share| 1.0 - share).collect();
            Comparison::new(1.0 - shares[0], losses)
        })
        .collect();
    let mut rows = vec![];
    for (i, (k, compared)) in sizes.iter().zip(&compared).enumerate() {
        let (chosen, compared) = (&sets[i * n_sets], compared.as_ref());
        let names: Vec<String> = chosen.iter().map(HeadId::to_string).collect();
        rows.push(vec![
            Cell::from(*k),
            Cell::from(names.join(" ")),
            Cell::from(shares[i * n_sets]),
            Cell::Number(compared.map(|c| 1.0 - c.mean)),
            Cell::Number(compared.map(|c| c.sd)),
            Cell::Number(compared.and_then(|c| c.z)),
            Cell::Number(compared.map(|c| c.p)),
        ]);
    }
    report.tables.push(Table {
        name: "knock_out".into(),
        columns: [
            "heads",
            "which",
            "accuracy without them",
            "without random ones, mean",
            "sd",
            "z of the loss",
            "p",
        ]
        .map(str::to_owned)
        .into(),
        rows,
    });
    let without = |k: usize, loss: f64| [k as f64, 1.0 - loss];
    let line = |name: &str, of: fn(&Comparison) -> f64| {
        let of = |(k, compared): (&usize, &Option<Comparison>)| {
            Some(without(*k, of(compared.as_ref()?)))
        };
        Line {
            name: name.into(),
            // Without a knock-out all kept prompts are answered right.
            points: std::iter::once([0.0, 1.0])
                .chain(sizes.iter().zip(&compared).filter_map(of))
                .collect(),
            labels: vec![],
        }
    };
    report.plots.push(Plot {
        name: "knock_out".into(),
        x_axis: "heads knocked out",
        y_axis: "accuracy",
        is_scatter: false,
        lines: vec![
            line("strongest", |compared| compared.effect),
            line("random, mean", |compared| compared.mean),
            line("random, worst", |compared| {
                compared.draws.iter().copied().fold(0.0, f64::max)
            }),
        ],
    });
    report.note("knock-out: all kept prompts are answered right by the unedited model");
    Ok(())
}

/// Share of the prompts that are still answered right without each set of heads.
fn accuracies(
    engine: &mut Engine,
    kept: &[Kept],
    sets: &[Vec<HeadId>],
    report: &mut Report,
    progress: &mut dyn Progress,
) -> Result<Vec<f64>, AnalysisError> {
    let without = |head: &HeadId| Edit::new(Target::Head(*head), Op::Mean);
    let variants: Vec<Vec<Edit>> = sets
        .iter()
        .map(|heads| heads.iter().map(without).collect())
        .collect();
    let prompts: Vec<_> = kept
        .iter()
        .map(|kept| (Arc::clone(&kept.case.spec.ids), kept.case.spec.bos_count))
        .collect();
    let means = Means::over(engine, &prompts, &mut || progress.at(0.6, None))?;
    report.note(if means.is_per_position() {
        "knock-out: z becomes its mean over the kept prompts, position by position"
    } else {
        "knock-out: z becomes its mean over all positions of the kept prompts, whose lengths differ"
    });
    let reading = Reading {
        means: Some(&means),
        ..Reading::default()
    };
    let mut right = vec![0usize; sets.len()];
    for (i, of_prompt) in kept.iter().enumerate() {
        let done = |part: f32| 0.6 + 0.2 * (i as f32 + part) / kept.len() as f32;
        let go_on = &mut |part: f32| progress.at(done(part), None);
        let logits = engine.sweep(&of_prompt.case.spec, &variants, reading, go_on)?;
        for (right, logits) in right.iter_mut().zip(logits) {
            let best = Readout::new(&logits).top(1);
            *right += usize::from(best.first().is_some_and(|best| best.id == of_prompt.answer));
        }
    }
    let share = |right: &usize| *right as f64 / kept.len() as f64;
    Ok(right.iter().map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::asked;
    use super::*;
    use crate::analysis::Unheard;

    /// L0H1 and L0H6 are what the demo's sums lean on (its README); half of its heads write nothing.
    #[test]
    fn heads_that_matter_are_told_from_silent_ones() {
        let (mut engine, settings, kept) = asked(6);
        let heads = |list: &[(usize, usize)]| -> Vec<HeadId> {
            list.iter()
                .map(|(layer, head)| HeadId::new(*layer, *head))
                .collect()
        };
        let matter = heads(&[(0, 1), (0, 6)]);
        let silent = heads(&[
            (0, 0),
            (0, 2),
            (1, 0),
            (1, 2),
            (2, 0),
            (2, 2),
            (3, 0),
            (3, 1),
        ]);
        let settings = Settings {
            knock_out: 2,
            ..settings
        };
        let mut accuracy = |order: &[HeadId]| {
            let mut report = Report::new("arithmetic");
            add(
                &mut engine,
                &kept,
                order,
                &settings,
                &mut report,
                &mut Unheard,
            )
            .unwrap();
            let [one, two] = &report.tables[0].rows[..] else {
                panic!("one head, and two")
            };
            assert_eq!((&one[0], &two[0]), (&Cell::from(1), &Cell::from(2)));
            let numbers = two.iter().filter_map(|cell| match cell {
                Cell::Number(number) => *number,
                _ => None,
            });
            let numbers: Vec<f64> = numbers.collect();
            let lines = &report.plots[0].lines;
            assert_eq!(lines[0].points.len(), 3);
            for (line, number) in lines[..2].iter().zip(&numbers) {
                let [[none, share], ..] = line.points[..] else {
                    panic!("a first point")
                };
                assert!(
                    none.abs() + (share - 1.0).abs() < 1e-12,
                    "all are right at first"
                );
                assert!((line.points[2][1] - number).abs() < 1e-12, "the table's");
            }
            assert!(lines[2].points[2][1] <= lines[1].points[2][1]);
            numbers
        };
        let found = accuracy(&[&matter[..], &silent[..]].concat());
        assert!(found[0] < 0.8, "{found:?}");
        assert!(
            (found[1] - 1.0).abs() < 1e-9,
            "silent heads cost nothing: {found:?}"
        );
        let found = accuracy(&silent);
        assert!((found[0] - 1.0).abs() < 1e-9, "{found:?}");
    }
}
