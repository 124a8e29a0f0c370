//! Scores of all heads: successes pooled over lists, one map a list, and a table of the lists' forms.

use crate::analysis::sequences::Variant;
use crate::analysis::{AnalysisError, Cell, HeadScores, Progress, Report, Scale, Table, step};
use crate::ids::HeadId;
use crate::model::Model;
use nalgebra::DMatrix;
use rayon::prelude::*;

use super::Settings;
use super::asked::{Asked, LEAST_PAIRS, Task};
use super::token_circuit::{Circuit, Effective};

/// Successes, `[head][task]`, from two inputs.
pub(super) struct Wins {
    pub(super) chosen: Vec<Vec<usize>>,
    baseline: Vec<Vec<usize>>,
}

impl Wins {
    pub(super) fn of(
        model: &Model,
        asked: &Asked,
        settings: &Settings,
        progress: &mut dyn Progress,
    ) -> Result<Self, AnalysisError> {
        let spec = &model.spec;
        let circuit = Circuit::new(model, &asked.targets, settings.fold)?;
        let rows = |effective: Effective| -> Result<DMatrix<f32>, AnalysisError> {
            let rows = effective.rows(model, &asked.sources)?;
            let n = asked.sources.len();
            Ok(DMatrix::from_row_slice(n, spec.d_model, &rows))
        };
        let inputs = [rows(settings.effective)?, rows(Effective::Embedding)?];
        let (mut chosen, mut baseline) = (vec![], vec![]);
        for layer in 0..spec.n_layers {
            step(progress, 0.5 * layer as f32 / spec.n_layers as f32)?;
            let read = inputs.each_ref().map(|rows| circuit.read(layer, rows));
            let weights = (0..spec.n_heads)
                .map(|head| model.head_weights(HeadId::new(layer, head)))
                .collect::<Result<Vec<_>, _>>()?;
            let of_layer: Vec<[Vec<usize>; 2]> = weights
                .par_iter()
                .map(|weights| {
                    let q = circuit.q(layer, weights);
                    read.each_ref()
                        .map(|read| asked.wins(&Circuit::p(weights, read), &q))
                })
                .collect();
            for [own, plain] in of_layer {
                chosen.push(own);
                baseline.push(plain);
            }
        }
        Ok(Self { chosen, baseline })
    }

    /// Adds the maps: pooled, the baseline, and each list's.
    pub(super) fn add_scores(
        &self,
        report: &mut Report,
        model: &Model,
        variants: &[Variant],
        asked: &Asked,
    ) {
        let shape = (model.spec.n_layers, model.spec.n_heads);
        let share = |wins: &[Vec<usize>], head: HeadId, counts: &dyn Fn(&Task) -> bool| {
            let tasks = asked
                .tasks
                .iter()
                .zip(&wins[head.layer * shape.1 + head.head]);
            let (mut won, mut all) = (0, 0);
            for (task, wins) in tasks.filter(|(task, _)| counts(task)) {
                won += wins;
                all += task.right.len();
            }
            (all > 0).then(|| won as f32 / all as f32)
        };
        let mut add =
            |name: &str, about: &str, wins: &[Vec<usize>], counts: &dyn Fn(&Task) -> bool| {
                let of = |head| share(wins, head, counts);
                let scores = HeadScores::of_heads(name, about, Scale::Share, shape, of);
                report.scores.push(scores);
            };
        let about = "share of words whose successor the head raises most, all lists";
        add("successor", about, &self.chosen, &|_| true);
        let about = "the same with W_E in place of the first MLP's output";
        add("baseline", about, &self.baseline, &|_| true);
        let tasks = asked.tasks.iter();
        let mut names: Vec<&String> = tasks.map(|task| &variants[task.variant].name).collect();
        names.dedup();
        for name in names {
            let about = format!("share of words whose successor the head raises most, {name}");
            let counts = |task: &Task| variants[task.variant].name == *name;
            add(&format!("successor, {name}"), &about, &self.chosen, &counts);
        }
    }

    /// Adds a row a form: how many pairs it has, whether it counts, and which head is best at it.
    pub(super) fn add_lists(
        &self,
        report: &mut Report,
        model: &Model,
        variants: &[Variant],
        asked: &Asked,
    ) {
        let n_heads = model.spec.n_heads;
        let mut rows = vec![];
        for (index, variant) in variants.iter().enumerate() {
            let at = asked.tasks.iter().position(|task| task.variant == index);
            let best = at.and_then(|at| {
                let wins = self.chosen.iter().enumerate();
                let wins = wins.map(|(i, wins)| (i, wins[at]));
                wins.max_by_key(|(i, wins)| (*wins, std::cmp::Reverse(*i)))
            });
            let n_valid = variant.pairs().len();
            rows.push(vec![
                Cell::from(variant.name.clone()),
                Cell::from(variant.form.clone()),
                Cell::from(n_valid),
                Cell::from(if at.is_some() { "yes" } else { "no" }),
                Cell::from(best.map_or(String::new(), |(i, _)| {
                    HeadId::new(i / n_heads, i % n_heads).to_string()
                })),
                Cell::from(best.map(|(_, wins)| wins as f32 / n_valid as f32)),
            ]);
        }
        let left_out = variants.len() - asked.tasks.len();
        if left_out > 0 {
            report.note(format!(
                "{left_out} of {} forms have fewer than {LEAST_PAIRS} pairs of single tokens and are not counted",
                variants.len()
            ));
        }
        report.tables.push(Table {
            name: "lists".into(),
            columns: [
                "list",
                "form",
                "n_valid",
                "counted",
                "best head",
                "its score",
            ]
            .map(str::to_owned)
            .into(),
            rows,
        });
    }
}
