//! A training run as a method: trained in slices that can be stopped, with a report as it goes.

use super::{HeadEdit, Report as Trained, Settings, Trainer};
use crate::analysis::report::{Cell, Grid, Line, Plot, Report, Scale, Table};
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
    for (head, of) in trained.heads.iter().enumerate() {
        let width = of.ov.len();
        let names = entries(width);
        report.grids.push(Grid {
            name: format!("KQ of head {head}"),
            about: "rows: the key's entry, columns: the query's (whose last is always 0)".into(),
            scale: Scale::Signed,
            row_axis: "key",
            rows: names.clone(),
            column_axis: "query",
            // The last column has no effect.
            columns: names[..width - 1].to_vec(),
            values: of
                .kq
                .chunks_exact(width)
                .flat_map(|row| row[..width - 1].iter().map(|x| Some(*x)))
                .collect(),
            texts: vec![],
        });
    }
    let names = entries(trained.settings.d + 1);
    report.grids.push(Grid {
        name: "OV".into(),
        about: "what each head writes of a token's entries".into(),
        scale: Scale::Signed,
        row_axis: "head",
        rows: (0..trained.heads.len())
            .map(|head| head.to_string())
            .collect(),
        column_axis: "entry",
        columns: names,
        values: trained
            .heads
            .iter()
            .flat_map(|of| of.ov.iter().map(|x| Some(*x)))
            .collect(),
        texts: vec![],
    });
    report.tables = vec![heads(trainer, &trained), tests(&trained)];
    report.note(format!(
        "sum of mu over sum of |mu|: {:.4} (near 0 where heads debias); eta, the step that they add up to: {:.3}",
        trained.zero_sum, trained.eta
    ));
    if trained.settings.covariance != 0.0 {
        report.note(
            "with correlated covariates eta cannot be compared with that of one gradient step",
        );
    }
    report
}

/// x1, x2, …, y
fn entries(width: usize) -> Vec<String> {
    let mut names: Vec<String> = (1..width).map(|i| format!("x{i}")).collect();
    names.push("y".into());
    names
}

fn losses(trained: &Trained) -> Plot {
    let points = trained
        .losses
        .iter()
        .map(|(step, loss)| [*step as f64, f64::from(*loss)]);
    let mut lines = vec![Line {
        name: "loss".into(),
        points: points.collect(),
        ..Line::default()
    }];
    let length = trained.settings.length;
    if let Some(reference) = trained.references.iter().find(|of| of.length == length) {
        let to = trained.settings.steps as f64;
        for (name, loss) in [
            ("Bayes", reference.bayes),
            ("one gradient step", reference.gd),
            ("debiased gradient step", reference.debiased),
        ] {
            lines.push(Line {
                name: name.into(),
                points: vec![[0.0, loss], [to, loss]],
                ..Line::default()
            });
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
    let line = |name: &str, points: Vec<[f64; 2]>| Line {
        name: name.into(),
        points,
        ..Line::default()
    };
    let of = |loss: &dyn Fn(&super::Reference) -> f64| {
        let points = trained
            .references
            .iter()
            .map(|r| [r.length as f64, loss(r)]);
        points.collect()
    };
    let tests = trained
        .test
        .iter()
        .map(|test| [test.length as f64, test.loss]);
    Plot {
        name: "by length".into(),
        x_axis: "examples in the prompt",
        y_axis: "mean squared error",
        lines: vec![
            line("trained", tests.collect()),
            line("Bayes", of(&|r| r.bayes)),
            line("one gradient step", of(&|r| r.gd)),
            line("debiased gradient step", of(&|r| r.debiased)),
        ],
        ..Plot::default()
    }
}

fn heads(trainer: &Trainer, trained: &Trained) -> Table {
    let whole = trainer.loss_with(&[]);
    let rows = super::by_omega(trained).into_iter().map(|head| {
        let of = &trained.heads[head];
        let without = trainer.loss_with(&[HeadEdit { head, scale: 0.0 }]);
        vec![
            Cell::from(head),
            Cell::from(of.omega),
            Cell::from(of.mu),
            Cell::from(of.homogeneity),
            Cell::from(of.off_diagonal),
            Cell::from(of.last_row),
            Cell::from(of.last_entry),
            Cell::from(if of.active { "active" } else { "dummy" }),
            Cell::from(without - whole),
        ]
    });
    Table {
        name: "heads".into(),
        columns: [
            "head",
            "omega",
            "mu",
            "homogeneity",
            "off diagonal",
            "last row",
            "OV in y",
            "state",
            "loss without it",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    }
}

fn tests(trained: &Trained) -> Table {
    let rows = trained
        .test
        .iter()
        .zip(&trained.references)
        .map(|(test, reference)| {
            vec![
                Cell::from(test.length),
                Cell::from(test.loss),
                Cell::from(reference.bayes),
                Cell::from(reference.gd),
                Cell::from(reference.debiased),
            ]
        });
    Table {
        name: "lengths".into(),
        columns: [
            "examples",
            "trained",
            "Bayes",
            "one gradient step",
            "debiased",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
    }
}
