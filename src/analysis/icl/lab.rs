//! A training run as a method: trained in slices that can be stopped, with a report as it goes.

use super::inspect::{cosine, step_matrix};
use super::reference::best_step;
use super::tables::{heads, scaled, tests};
use super::{Reference, Report as Trained, Settings, Trainer, by_omega};
use crate::analysis::report::{Bar, BarPart, Bars, Grid, Line, Plot, Report, Scale};
use crate::analysis::{AnalysisError, Progress};
use crate::experiment::engine::RunError;

/// Reports that are made while it trains.
const SLICES: usize = 100;

/// Trains, and tells what its heads have become.
pub fn run(settings: &Settings, progress: &mut dyn Progress) -> Result<Report, AnalysisError> {
    let mut trainer =
        Trainer::new(settings.clone()).map_err(|error| AnalysisError::needs(error.to_string()))?;
    let slice = (settings.steps / SLICES).max(1);
    while !trainer.is_done() {
        trainer.advance(slice);
        let fraction = trainer.steps_done() as f32 / settings.steps as f32;
        if !progress.at(fraction, Some(&report(&trainer))) {
            return Err(RunError::Stopped.into());
        }
    }
    Ok(report(&trainer))
}

fn report(trainer: &Trainer) -> Report {
    let trained = trainer.report();
    let mut report = Report::new("icl");
    for field in trained.settings.clone().fields() {
        report.settings.push((field.name, field.text().into()));
    }
    report.settings.push(("step", trained.step.into()));
    report.plots = vec![losses(&trained), by_length(&trained)];
    // Seeds permute heads: a finished run shows them in the order in which runs compare, one that trains leaves them in place.
    let order = if trainer.is_done() {
        by_omega(&trained)
    } else {
        (0..trained.heads.len()).collect()
    };
    circuits(&trained, &order, &mut report);
    report.tables = vec![
        heads(trainer, &trained),
        scaled(trainer, &trained),
        tests(&trained),
    ];
    for task in 0..trained.settings.tasks {
        step(&trained, task, &mut report);
    }
    report
}

/// KQ of each head as a map, OV as bars.
fn circuits(trained: &Trained, order: &[usize], report: &mut Report) {
    let settings = &trained.settings;
    let (width, d) = (settings.width(), settings.d);
    let names = entries(settings);
    for head in order {
        let of = &trained.heads[*head];
        report.grids.push(Grid {
            name: format!("KQ of head {head}"),
            about: "rows: the key's entry, columns: the query's (whose labels are always 0)".into(),
            scale: Scale::Signed,
            row_axis: "key",
            rows: names.clone(),
            column_axis: "query",
            // The labels' columns have no effect.
            columns: names[..d].to_vec(),
            values: of
                .kq
                .chunks_exact(width)
                .flat_map(|row| row[..d].iter().map(|x| Some(*x)))
                .collect(),
            texts: vec![],
        });
        for (task, ov) in of.ov.chunks_exact(width).enumerate() {
            report.bars.push(Bars {
                name: format!("OV of head {head}{}", of_task(settings, task)),
                about: "what the head writes of each entry of the tokens that it attends to".into(),
                axis: "weight",
                bars: names
                    .iter()
                    .zip(ov)
                    .enumerate()
                    .map(|(i, (name, value))| Bar {
                        label: name.clone(),
                        parts: vec![BarPart {
                            name: if i < d { "covariate" } else { "label" }.into(),
                            label: String::new(),
                            value: f64::from(*value),
                        }],
                    })
                    .collect(),
            });
        }
    }
    let rows = order.iter().flat_map(|head| {
        (0..settings.tasks).map(move |task| format!("{head}{}", of_task(settings, task)))
    });
    let values = order.iter().flat_map(|head| &trained.heads[*head].ov);
    report.grids.push(Grid {
        name: "OV".into(),
        about: "what each head writes of a token's entries".into(),
        scale: Scale::Signed,
        row_axis: "head",
        rows: rows.collect(),
        column_axis: "entry",
        columns: names,
        values: values.map(|x| Some(*x)).collect(),
        texts: vec![],
    });
}

/// What the heads of a task add up to, beside one gradient step; of correlated covariates as matrices.
fn step(trained: &Trained, task: usize, report: &mut Report) {
    let settings = &trained.settings;
    let of = of_task(settings, task);
    report.note(format!(
        "sum of mu over sum of |mu|{of}: {:.4} (near 0 where heads debias); eta, the step that they add up to: {:.3}",
        trained.zero_sum[task], trained.eta[task]
    ));
    if settings.covariance == 0.0 {
        return;
    }
    let reads = settings.reads(task);
    let found = step_matrix(&trained.heads, task, &reads);
    let best = best_step(settings, task);
    report.note(format!(
        "with correlated covariates a step has a matrix, and eta cannot be compared with that of one gradient step; cosine of \
         the heads' matrix with that of the best step{of}: {:.4}, of a multiple of the identity with it: {:.4}",
        cosine(&found, &best),
        cosine(&identity(reads.len()), &best)
    ));
    let names = entries(settings)[reads].to_vec();
    for (name, about, matrix) in [
        (
            "step of the heads",
            "sum over heads of mu KQ, the matrix of the step that they add up to while scores are small",
            found,
        ),
        (
            "best step",
            "P of the best prediction 1/L sum y x P x_q: what the heads' step is to become",
            best,
        ),
    ] {
        report.grids.push(Grid {
            name: format!("{name}{of}"),
            about: about.into(),
            scale: Scale::Signed,
            row_axis: "key",
            rows: names.clone(),
            column_axis: "query",
            columns: names.clone(),
            values: matrix.into_iter().map(Some).collect(),
            texts: vec![],
        });
    }
}

fn identity(n: usize) -> Vec<f32> {
    let entry = |i: usize| if i / n == i % n { 1.0 } else { 0.0 };
    (0..n * n).map(entry).collect()
}

/// Which task a name is of, where there are two.
pub(super) fn of_task(settings: &Settings, task: usize) -> String {
    if settings.tasks == 1 {
        String::new()
    } else {
        format!(", task {}", task + 1)
    }
}

/// x1, x2, …, y; of two tasks y1 and y2.
fn entries(settings: &Settings) -> Vec<String> {
    let mut names: Vec<String> = (1..=settings.d).map(|i| format!("x{i}")).collect();
    if settings.tasks == 1 {
        names.push("y".into());
    } else {
        names.extend((1..=settings.tasks).map(|task| format!("y{task}")));
    }
    names
}

/// The lines that a trained model is compared with: names and risks, in step.
fn references(settings: &Settings, of: &Reference) -> Vec<(&'static str, f64)> {
    let mut lines = vec![
        ("Bayes", of.bayes),
        ("one gradient step", of.gd),
        ("debiased gradient step", of.debiased),
    ];
    if settings.covariance != 0.0 {
        lines.push(("preconditioned step", of.preconditioned));
    }
    lines
}

fn line(name: impl Into<String>, points: Vec<[f64; 2]>) -> Line {
    Line {
        name: name.into(),
        points,
        ..Line::default()
    }
}

fn losses(trained: &Trained) -> Plot {
    let points = trained
        .losses
        .iter()
        .map(|(step, loss)| [*step as f64, f64::from(*loss)]);
    let mut lines = vec![line("loss", points.collect())];
    let length = trained.settings.length;
    if let Some(reference) = trained.references.iter().find(|of| of.length == length) {
        let to = trained.settings.steps as f64;
        for (name, loss) in references(&trained.settings, reference) {
            lines.push(line(name, vec![[0.0, loss], [to, loss]]));
        }
    }
    Plot {
        name: "loss".into(),
        x_axis: "step",
        y_axis: "mean squared error",
        lines,
        ..Plot::default()
    }
}

fn by_length(trained: &Trained) -> Plot {
    let settings = &trained.settings;
    let tests = || trained.test.iter();
    let points = tests().map(|test| [test.length as f64, test.loss]);
    let mut lines = vec![line("trained", points.collect())];
    for task in (0..settings.tasks).filter(|_| settings.tasks > 1) {
        let points = tests().map(|test| [test.length as f64, test.of_task[task]]);
        let name = format!("trained{}", of_task(settings, task));
        lines.push(line(name, points.collect()));
    }
    let known: Vec<_> = trained
        .references
        .iter()
        .map(|of| (of.length as f64, references(settings, of)))
        .collect();
    let names = known.first().into_iter().flat_map(|(_, lines)| lines);
    for (i, (name, _)) in names.enumerate() {
        let points = known.iter().map(|(length, lines)| [*length, lines[i].1]);
        lines.push(line(*name, points.collect()));
    }
    Plot {
        name: "by length".into(),
        x_axis: "examples in the prompt",
        y_axis: "mean squared error",
        lines,
        ..Plot::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::HeadEdit;
    use super::*;
    use crate::analysis::{Cell, Unheard};

    fn small() -> Settings {
        Settings {
            d: 5,
            length: 8,
            n_heads: 3,
            tasks: 2,
            steps: 40,
            batch: 16,
            covariance: 0.5,
            ..Settings::default()
        }
    }

    fn numbers(row: &[Cell]) -> Vec<f64> {
        let number = |cell: &Cell| match cell {
            Cell::Number(value) => *value,
            _ => None,
        };
        row.iter().filter_map(number).collect()
    }

    #[test]
    fn a_report_has_every_head_task_and_length() {
        let report = run(&small(), &mut Unheard).unwrap();
        let names: Vec<&str> = report.bars.iter().map(|of| of.name.as_str()).collect();
        assert_eq!(names.len(), 6);
        assert!(names.contains(&"OV of head 2, task 2"));
        assert_eq!(report.bars[0].bars.len(), 7);
        // Three KQ, OV, and two matrices of each task.
        assert_eq!(report.grids.len(), 3 + 1 + 4);
        let kq = &report.grids[0];
        assert_eq!((kq.rows.len(), kq.columns.len()), (7, 5));
        assert_eq!(kq.values.len(), 35);
        let best = report.grids.last().unwrap();
        assert_eq!(
            (best.rows.first().unwrap().as_str(), best.values.len()),
            ("x2", 16)
        );
        let by_length = &report.plots[1];
        assert_eq!(by_length.lines.len(), 3 + 4);
        assert!(by_length.lines.iter().all(|line| line.points.len() == 4));
    }

    #[test]
    fn losses_of_scaled_heads_are_those_of_the_trainer() {
        let mut trainer = Trainer::new(small()).unwrap();
        trainer.advance(usize::MAX);
        let report = report(&trainer);
        let table = report.tables.iter().find(|of| of.name == "scaled").unwrap();
        assert_eq!(table.rows.len(), 6, "heads times tasks");
        for row in &table.rows {
            let (Cell::Count(head), Cell::Count(task)) = (&row[0], &row[1]) else {
                panic!("{row:?}");
            };
            for (found, scale) in numbers(row).iter().zip([0.0, 0.5, 1.0, 2.0]) {
                let edit = HeadEdit { head: *head, scale };
                let right = trainer.task_losses_with(&[edit])[task - 1];
                assert!((found - right).abs() < 1e-12);
            }
        }
        let heads = report.tables.iter().find(|of| of.name == "heads").unwrap();
        assert_eq!(heads.rows.len(), 3);
        assert!(
            heads
                .rows
                .iter()
                .all(|row| row.len() == heads.columns.len())
        );
    }
}
