//! Both folds: what either half of the prompts teaches, measured on the other.

use crate::analysis::report::{Cell, Report, Table};
use crate::analysis::{AnalysisError, Case};
use crate::experiment::engine::Engine;
use crate::ids::HeadId;

use super::effect::{edits, tensors};
use super::{Found, Settings, learn, ranked};
use crate::analysis::learned::{Effect, Scratch, Variant, effects};

/// Prompts below which the second fold is left out: it needs some to fit to and some to judge by.
const FEWEST: usize = 4;

/// What one fold gave.
pub(super) struct Fold {
    heads: Vec<HeadId>,
    /// Mean validation accuracy of the chosen heads.
    accuracy: f64,
    best: f64,
    n_held_out: usize,
    /// On prompts that nothing was learned from, without and with the edits.
    effects: [Effect; 2],
}

impl Fold {
    pub(super) fn new(chosen: &[&Found], n_held_out: usize, effects: [Effect; 2]) -> Self {
        let sum: f64 = chosen.iter().map(|of| of.accuracy).sum();
        Self {
            heads: chosen.iter().map(|of| of.head).collect(),
            accuracy: sum / chosen.len().max(1) as f64,
            best: chosen.first().map_or(0.0, |of| of.accuracy),
            n_held_out,
            effects,
        }
    }

    /// Validation accuracies, and effects by turns without and with the edits.
    fn numbers(&self) -> Vec<Option<f64>> {
        let [before, after] = &self.effects;
        let mut numbers = vec![Some(self.best), Some(self.accuracy)];
        for of in [before, after] {
            numbers.extend([Some(of.accuracy), of.prefers, of.mass]);
        }
        numbers
    }
}

/// Learns from what was held out, measures on what was learned from, and sets the two folds side by side.
pub(super) fn compare(
    engine: &mut Engine,
    (first, [learned, held_out]): (Fold, [&[Case]; 2]),
    (settings, k): (&Settings, usize),
    report: &mut Report,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<(), AnalysisError> {
    let mut folds = vec![first];
    if settings.folds > 1 && held_out.len() < FEWEST {
        report.note(format!(
            "{} prompts were held out: too few to be learned from, so there is no second fold",
            held_out.len()
        ));
    } else if settings.folds > 1 {
        let seed = settings.seed.wrapping_add(2);
        let half = learn(engine, held_out, settings, seed, &mut |done| {
            go_on(0.6 * done)
        })?;
        let chosen: Vec<&Found> = ranked(&half.found).into_iter().take(k).collect();
        let scratch = Scratch::new(&tensors(&chosen))?;
        let edits = edits(&chosen, settings.alpha, &settings.at);
        let variants = [Variant::default(), edits.into()];
        let heard = &mut |done: f32| go_on(0.4f32.mul_add(done, 0.6));
        let found = effects(engine, learned, &variants, &scratch.folder(), heard)?;
        folds.push(Fold::new(&chosen, learned.len(), [found[0], found[1]]));
        let first = &folds[0].heads;
        let common = folds[1].heads.iter().filter(|head| first.contains(head));
        report.note(format!(
            "{} of the {k} heads are chosen in both folds; what is saved is of the first",
            common.count()
        ));
    }
    report.tables.push(table(&folds));
    Ok(())
}

fn table(folds: &[Fold]) -> Table {
    let columns = [
        "fold",
        "held-out prompts",
        "best probe",
        "chosen probes",
        "accuracy",
        "MC1",
        "MC2",
        "accuracy, edited",
        "MC1, edited",
        "MC2, edited",
    ];
    let row = |name: String, n: usize, numbers: Vec<Option<f64>>| {
        let mut row = vec![Cell::from(name), Cell::from(n)];
        row.extend(numbers.into_iter().map(Cell::Number));
        row
    };
    let mut rows: Vec<Vec<Cell>> = folds
        .iter()
        .enumerate()
        .map(|(i, fold)| row((i + 1).to_string(), fold.n_held_out, fold.numbers()))
        .collect();
    if let [first, second] = folds {
        let both = first.numbers().into_iter().zip(second.numbers());
        let mean = both.map(|(a, b)| a.zip(b).map(|(a, b)| f64::midpoint(a, b)));
        let n = first.n_held_out + second.n_held_out;
        rows.push(row("mean".into(), n, mean.collect()));
    }
    Table {
        name: "folds".into(),
        columns: columns.map(str::to_owned).into(),
        rows,
    }
}
