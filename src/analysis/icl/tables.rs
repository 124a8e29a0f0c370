//! The tables of a training run: heads, heads scaled after training, prompt lengths.

use super::lab::of_task;
use super::{HeadEdit, HeadReport, Report as Trained, Trainer, by_omega};
use crate::analysis::report::{Cell, Table};

/// What a head's output is multiplied by after training.
const SCALES: [f32; 4] = [0.0, 0.5, 1.0, 2.0];

/// One row a head, in the order in which runs compare.
pub(super) fn heads(trainer: &Trainer, trained: &Trained) -> Table {
    let tasks = trained.settings.tasks;
    let whole = trainer.task_losses_with(&[]);
    let rows = by_omega(trained).into_iter().map(|head| {
        let of = &trained.heads[head];
        let without = trainer.task_losses_with(&[HeadEdit { head, scale: 0.0 }]);
        let mut row = vec![Cell::from(head)];
        for of in &of.of_task {
            row.extend([Cell::from(of.omega), Cell::from(of.mu)]);
        }
        row.extend([
            Cell::from(of.homogeneity),
            Cell::from(of.off_diagonal),
            Cell::from(of.last_row),
            Cell::from(of.last_entry),
            Cell::from(state(of)),
        ]);
        let losses = without.iter().zip(&whole);
        row.extend(losses.map(|(without, whole)| Cell::from(without - whole)));
        row
    });
    let named = |name: &str| {
        let name = name.to_owned();
        (0..tasks).map(move |task| format!("{name}{}", of_task(&trained.settings, task)))
    };
    let mut columns = vec!["head".to_owned()];
    for (omega, mu) in named("omega").zip(named("mu")) {
        columns.extend([omega, mu]);
    }
    columns.extend(
        [
            "homogeneity",
            "off diagonal",
            "last row",
            "OV in y",
            "state",
        ]
        .map(str::to_owned),
    );
    columns.extend(named("loss without it"));
    Table {
        name: "heads".into(),
        columns,
        rows: rows.collect(),
    }
}

/// Which tasks a head serves; of one task, whether it does.
fn state(of: &HeadReport) -> String {
    let served: Vec<String> = of
        .of_task
        .iter()
        .enumerate()
        .filter(|(_, of)| of.active)
        .map(|(task, _)| (task + 1).to_string())
        .collect();
    match (of.of_task.len(), served.len()) {
        (_, 0) => "dummy".into(),
        (1, _) => "active".into(),
        _ => format!("task {}", served.join(" and ")),
    }
}

/// Test loss at the training length with one head's output multiplied, one row a head and task.
pub(super) fn scaled(trainer: &Trainer, trained: &Trained) -> Table {
    let tasks = trained.settings.tasks;
    let mut rows = Vec::new();
    for head in by_omega(trained) {
        let losses = SCALES.map(|scale| trainer.task_losses_with(&[HeadEdit { head, scale }]));
        for task in 0..tasks {
            let mut row = vec![Cell::from(head)];
            row.extend((tasks > 1).then(|| Cell::from(task + 1)));
            row.extend(losses.iter().map(|losses| Cell::from(losses[task])));
            rows.push(row);
        }
    }
    let mut columns = vec!["head".to_owned()];
    columns.extend((tasks > 1).then(|| "task".to_owned()));
    columns.extend(SCALES.map(|scale| format!("loss at ×{scale}")));
    Table {
        name: "scaled".into(),
        columns,
        rows,
    }
}

/// Test loss by prompt length, beside the references.
pub(super) fn tests(trained: &Trained) -> Table {
    let settings = &trained.settings;
    let (is_split, is_correlated) = (settings.tasks > 1, settings.covariance != 0.0);
    let rows = trained.test.iter().zip(&trained.references);
    let rows = rows.map(|(test, reference)| {
        let mut row = vec![Cell::from(test.length), Cell::from(test.loss)];
        let of_task = test.of_task.iter().filter(|_| is_split);
        row.extend(of_task.map(|loss| Cell::from(*loss)));
        row.extend([
            Cell::from(reference.bayes),
            Cell::from(reference.gd),
            Cell::from(reference.debiased),
        ]);
        row.extend(is_correlated.then(|| Cell::from(reference.preconditioned)));
        row
    });
    let mut columns = vec!["examples".to_owned(), "trained".to_owned()];
    let tasks = (0..settings.tasks).filter(|_| is_split);
    columns.extend(tasks.map(|task| format!("trained{}", of_task(settings, task))));
    columns.extend(["Bayes", "one gradient step", "debiased"].map(str::to_owned));
    columns.extend(is_correlated.then(|| "preconditioned".to_owned()));
    Table {
        name: "lengths".into(),
        columns,
        rows: rows.collect(),
    }
}
