//! Does a head know what comes next? Read from weights: of each word of an ordered list, which other one does the head
//! raise most (Gould, Ong, Ogden, Conmy 2023, "Successor Heads", arXiv 2312.09230).
//!
//! E_eff\[w\] is the first MLP of the bare embedding; logits\[w, w'\] = E_eff\[w\] · W_V W_O · W_U\[:, w'\] with the gains of the
//! norm before attention, of a norm behind it and of the final one folded in (scales are positive factors a row and left
//! out, biases too). A pair succeeds where its successor has *strictly* the largest logit of the candidates: heads that
//! write nothing succeed nowhere. The score pools the pairs of all lists and forms with at least four of them.

pub mod residues;
mod succession;
pub mod token_circuit;

use crate::analysis::field::{Field, Value};
use std::collections::BTreeSet;

use crate::analysis::{
    AnalysisError, Cell, Grid, HeadScores, Progress, Report, Scale, Table, step,
};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;
use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::analysis::sequences::{Sequence, Variant, built_in, tokenizer, variants};
pub use crate::analysis::successor::token_circuit::Effective;
use crate::analysis::successor::token_circuit::{Circuit, check, successes};

/// A form with fewer pairs says nothing.
const LEAST_PAIRS: usize = 4;

/// What a successor has to beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Candidates {
    /// All successors of its list, in the same form.
    #[default]
    List,
    /// All successors of all lists.
    Union,
    Vocabulary,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Without any, the nine built-in ones.
    pub lists: Vec<Sequence>,
    pub candidates: Candidates,
    pub effective: Effective,
    /// Whether the norms' gains are folded into the circuit, and LayerNorm's centring.
    pub fold: bool,
    /// A best pooled score below this is no successor head.
    pub found_above: f32,
    /// Heads whose matrices are shown; without any, the best one's.
    pub heads: Vec<HeadId>,
    /// The list of the matrices; `None`: the one of which the head has most.
    pub matrix: Option<String>,
    /// Whether prompts are run to confirm it.
    pub behaviour: bool,
    pub residues: residues::Settings,
}

crate::choose!(Candidates, Effective);

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "candidates",
                "What the successor has to beat: its list, all lists, or the vocabulary",
                Value::Choice(&mut self.candidates),
            ),
            Field::new(
                "effective",
                "What stands for a token: the first MLP's output, without its norm, or the embedding",
                Value::Choice(&mut self.effective),
            ),
            Field::new(
                "fold",
                "With the gains of the norms",
                Value::Flag(&mut self.fold),
            ),
            Field::new(
                "heads",
                "Heads whose matrices are shown; none: the best",
                Value::Heads(&mut self.heads),
            ),
            Field::new(
                "behaviour",
                "With the two tests on prompts",
                Value::Flag(&mut self.behaviour),
            ),
            Field::new(
                "residues",
                "With residues modulo ten and their arithmetic",
                Value::Flag(&mut self.residues.is_on),
            ),
            Field::new(
                "seed",
                "Seed of the probe",
                Value::Seed(&mut self.residues.seed),
            ),
        ]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lists: vec![],
            candidates: Candidates::List,
            effective: Effective::Mlp,
            fold: true,
            found_above: 0.4,
            heads: vec![],
            matrix: None,
            behaviour: true,
            residues: residues::Settings::default(),
        }
    }
}

impl Candidates {
    pub const ALL: [Self; 3] = [Self::List, Self::Union, Self::Vocabulary];

    pub const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Union => "union",
            Self::Vocabulary => "vocabulary",
        }
    }
}

/// The pairs of one form, as places among the sources, and among the targets.
struct Task {
    variant: usize,
    sources: Vec<usize>,
    candidates: Vec<usize>,
    /// Each pair's target among `candidates`.
    right: Vec<usize>,
}

/// All tokens that are asked about.
struct Asked {
    sources: Vec<u32>,
    targets: Vec<u32>,
    tasks: Vec<Task>,
}

impl Asked {
    fn new(variants: &[Variant], candidates: Candidates, n_vocab: usize) -> Self {
        let counted = || {
            let variants = variants.iter().enumerate();
            variants.filter(|(_, variant)| variant.pairs().len() >= LEAST_PAIRS)
        };
        let ids = |of: fn(&(usize, usize)) -> usize| -> Vec<u32> {
            let ids = counted().flat_map(|(_, variant)| {
                let pairs = variant.pairs().into_iter();
                pairs.filter_map(move |pair| variant.tokens[of(&pair)])
            });
            ids.collect::<BTreeSet<u32>>().into_iter().collect()
        };
        let sources = ids(|pair| pair.0);
        let targets = match candidates {
            Candidates::Vocabulary => (0..n_vocab as u32).collect(),
            _ => ids(|pair| pair.1),
        };
        let place = |ids: &[u32], id: Option<u32>| id.and_then(|id| ids.binary_search(&id).ok());
        let tasks = counted()
            .map(|(index, variant)| {
                let pairs = variant.pairs();
                let of = |at: usize| place(&targets, variant.tokens[at]);
                let places: Vec<usize> = pairs.iter().filter_map(|(_, to)| of(*to)).collect();
                let candidates: Vec<usize> = match candidates {
                    Candidates::List => {
                        let set: BTreeSet<usize> = places.iter().copied().collect();
                        set.into_iter().collect()
                    }
                    _ => (0..targets.len()).collect(),
                };
                let right = places
                    .iter()
                    .filter_map(|p| candidates.binary_search(p).ok());
                let from = pairs.iter().map(|(from, _)| variant.tokens[*from]);
                Task {
                    variant: index,
                    sources: from.filter_map(|id| place(&sources, id)).collect(),
                    right: right.collect(),
                    candidates,
                }
            })
            .collect();
        Self {
            sources,
            targets,
            tasks,
        }
    }

    /// Successes of each task.
    fn wins(&self, p: &DMatrix<f32>, q: &DMatrix<f32>) -> Vec<usize> {
        let of = |task: &Task| {
            let p = p.select_rows(&task.sources);
            let found = if task.candidates.len() == q.ncols() {
                successes(&p, q, &task.right)
            } else {
                successes(&p, &q.select_columns(&task.candidates), &task.right)
            };
            found.into_iter().filter(|success| *success).count()
        };
        self.tasks.iter().map(of).collect()
    }
}

/// Successes, `[head][task]`, from two inputs.
struct Wins {
    chosen: Vec<Vec<usize>>,
    baseline: Vec<Vec<usize>>,
}

/// The scores of all heads from weights, the best head's matrix, residue arithmetic on it, and prompts that confirm it.
pub fn successor(
    engine: &mut Engine,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    check(&model)?;
    let lists = match &settings.lists[..] {
        [] => built_in(tokenizer(&model)?),
        lists => lists.to_vec(),
    };
    let spec = &model.spec;
    if let Some(head) = settings
        .heads
        .iter()
        .find(|head| head.layer >= spec.n_layers || head.head >= spec.n_heads)
    {
        return Err(AnalysisError::needs(format!(
            "the model has no head {head}: its layers are 0 to {}, and a layer's heads 0 to {}",
            spec.n_layers - 1,
            spec.n_heads - 1
        )));
    }
    let variants = variants(&model, &lists)?;
    let asked = Asked::new(&variants, settings.candidates, spec.n_vocab);
    if asked.tasks.is_empty() {
        return Err(AnalysisError::needs(format!(
            "no list has {LEAST_PAIRS} pairs of neighbours that are single tokens of this model: give a list of its words"
        )));
    }
    let wins = wins(&model, &asked, settings, progress)?;
    let mut report = started(settings, &lists);
    add_scores(&mut report, &model, &variants, &asked, &wins);
    let best = report.scores_of("successor").and_then(|scores| {
        let (head, score) = *scores.ranked().first()?;
        Some((head, score?))
    });
    let Some((best, score)) = best else {
        return Ok(report);
    };
    report.note(if score < settings.found_above {
        format!(
            "none found: the best head, {best}, has {score:.3}, and a successor head {} or more",
            settings.found_above
        )
    } else {
        format!("{best} has the best score, {score:.3}")
    });
    let heads = match &settings.heads[..] {
        [] => vec![best],
        heads => heads.to_vec(),
    };
    for head in &heads {
        add_matrix(
            &mut report,
            &model,
            *head,
            &variants,
            &asked,
            &wins,
            settings,
        )?;
    }
    if !progress.at(0.5, Some(&report)) {
        return Err(RunError::Stopped.into());
    }
    residues::add(&mut report, &model, heads[0], &lists, settings)?;
    if settings.behaviour {
        succession::add(engine, &mut report, progress)?;
    }
    Ok(report)
}

fn started(settings: &Settings, lists: &[Sequence]) -> Report {
    let names: Vec<&str> = lists.iter().map(|list| &list.name[..]).collect();
    let heads: Vec<String> = settings.heads.iter().map(HeadId::to_string).collect();
    let mut report = Report::new("successor")
        .with("lists", names)
        .with("candidates", settings.candidates.name())
        .with("effective", settings.effective.name())
        .with("fold", settings.fold)
        .with("found_above", settings.found_above)
        .with("heads", heads)
        .with("matrix", settings.matrix.clone())
        .with("behaviour", settings.behaviour)
        .with("residues", settings.residues.is_on)
        .with("steps", settings.residues.steps)
        .with("ridge", settings.residues.ridge)
        .with("strengths", settings.residues.strengths.clone())
        .with("seed", settings.residues.seed);
    report.note(
        "from weights: scales of norms and all biases are left out; a tie with another candidate is no success",
    );
    report
}

fn wins(
    model: &Model,
    asked: &Asked,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Wins, AnalysisError> {
    let spec = &model.spec;
    let circuit = Circuit::new(model, &asked.targets, settings.fold)?;
    let rows = |effective: Effective| -> Result<DMatrix<f32>, AnalysisError> {
        let rows = effective.rows(model, &asked.sources)?;
        Ok(DMatrix::from_row_slice(
            asked.sources.len(),
            spec.d_model,
            &rows,
        ))
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
    Ok(Wins { chosen, baseline })
}

fn add_scores(
    report: &mut Report,
    model: &Model,
    variants: &[Variant],
    asked: &Asked,
    wins: &Wins,
) {
    let spec = &model.spec;
    let share = |wins: &[Vec<usize>], head: HeadId, counts: &dyn Fn(&Task) -> bool| {
        let of_head = &wins[head.layer * spec.n_heads + head.head];
        let tasks = asked.tasks.iter().zip(of_head);
        let (mut won, mut all) = (0, 0);
        for (task, wins) in tasks.filter(|(task, _)| counts(task)) {
            won += wins;
            all += task.right.len();
        }
        (all > 0).then(|| won as f32 / all as f32)
    };
    let mut add = |name: &str, about: &str, wins: &[Vec<usize>], counts: &dyn Fn(&Task) -> bool| {
        let of = |head| share(wins, head, counts);
        let shape = (spec.n_layers, spec.n_heads);
        let scores = HeadScores::of_heads(name, about, Scale::Share, shape, of);
        let (best, value) = scores.ranked()[0];
        report.scores.push(scores);
        (best, value)
    };
    let about = "share of words whose successor the head raises most, all lists";
    add("successor", about, &wins.chosen, &|_| true);
    let about = "the same with W_E in place of the first MLP's output";
    add("baseline", about, &wins.baseline, &|_| true);
    let mut names: Vec<&String> = asked
        .tasks
        .iter()
        .map(|t| &variants[t.variant].name)
        .collect();
    names.dedup();
    for name in names {
        let about = format!("share of words whose successor the head raises most, {name}");
        let counts = |task: &Task| variants[task.variant].name == *name;
        add(&format!("successor, {name}"), &about, &wins.chosen, &counts);
    }
    let mut rows = vec![];
    for (index, variant) in variants.iter().enumerate() {
        let at = asked.tasks.iter().position(|task| task.variant == index);
        let best = at.and_then(|at| {
            let wins = wins
                .chosen
                .iter()
                .enumerate()
                .map(|(i, wins)| (i, wins[at]));
            wins.max_by_key(|(i, wins)| (*wins, std::cmp::Reverse(*i)))
        });
        let n_valid = variant.pairs().len();
        rows.push(vec![
            Cell::from(variant.name.clone()),
            Cell::from(variant.form.clone()),
            Cell::from(n_valid),
            Cell::from(if at.is_some() { "yes" } else { "no" }),
            Cell::from(best.map_or(String::new(), |(i, _)| {
                HeadId::new(i / spec.n_heads, i % spec.n_heads).to_string()
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

/// A head's n × n matrix in the order of a list: of a successor head the diagonal above the main one stands out.
fn add_matrix(
    report: &mut Report,
    model: &Model,
    head: HeadId,
    variants: &[Variant],
    asked: &Asked,
    wins: &Wins,
    settings: &Settings,
) -> Result<(), AnalysisError> {
    let of_head = &wins.chosen[head.layer * model.spec.n_heads + head.head];
    let tasks = asked.tasks.iter().zip(of_head);
    let wanted = |task: &Task| {
        let name = &variants[task.variant].name;
        settings.matrix.as_ref().is_none_or(|wanted| wanted == name)
    };
    let best = tasks.filter(|(task, _)| wanted(task)).reduce(|a, b| {
        // b's share is larger, by whole numbers.
        let is_more = b.1 * a.0.right.len() > a.1 * b.0.right.len();
        if is_more { b } else { a }
    });
    let Some((task, _)) = best else {
        return Err(AnalysisError::needs(format!(
            "the list `{}` has no {LEAST_PAIRS} pairs of single tokens, or there is none of that name: choose one of {}",
            settings.matrix.as_deref().unwrap_or_default(),
            variants
                .iter()
                .map(Variant::label)
                .collect::<Vec<_>>()
                .join(", ")
        )));
    };
    let variant = &variants[task.variant];
    let mut items: Vec<(u32, String)> = Vec::new();
    for (token, text) in variant.tokens.iter().zip(&variant.texts) {
        if let Some(id) = token
            && items.iter().all(|(known, _)| known != id)
        {
            items.push((*id, text.clone()));
        }
    }
    let ids: Vec<u32> = items.iter().map(|(id, _)| *id).collect();
    let logits = matrix(model, head, &ids, settings)?;
    let n = ids.len();
    let mut texts = vec![String::new(); n * n];
    for (row, values) in logits.chunks_exact(n).enumerate() {
        let best = (0..n).max_by(|a, b| values[*a].total_cmp(&values[*b]).then(b.cmp(a)));
        if let Some(best) = best {
            texts[row * n + best] = "max".into();
        }
    }
    let names: Vec<String> = items.into_iter().map(|(_, text)| text).collect();
    report.grids.push(Grid {
        name: format!("{head}, {}", variant.label()),
        about: "logit of each word (column) when the head attends to a word (row); the row's largest is marked".into(),
        scale: Scale::Signed,
        row_axis: "attended to",
        rows: names.clone(),
        column_axis: "raised",
        columns: names,
        values: logits.into_iter().map(Some).collect(),
        texts,
    });
    Ok(())
}

/// E_eff · W_V W_O · W_U between tokens, `[token, token]`.
pub fn matrix(
    model: &Model,
    head: HeadId,
    ids: &[u32],
    settings: &Settings,
) -> Result<Vec<f32>, AnalysisError> {
    let circuit = Circuit::new(model, ids, settings.fold)?;
    let rows = settings.effective.rows(model, ids)?;
    let rows = DMatrix::from_row_slice(ids.len(), model.spec.d_model, &rows);
    let weights = model.head_weights(head)?;
    let p = Circuit::p(&weights, &circuit.read(head.layer, &rows));
    let logits = p * circuit.q(head.layer, &weights);
    Ok(logits.transpose().as_slice().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Unheard;
    use crate::analysis::successor::token_circuit::whole;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};
    use std::sync::Arc;

    fn demo() -> Engine {
        Engine::new(Arc::new(open(demo::NAME, &mut Unreported).unwrap()))
    }

    fn tiny(name: &str) -> Model {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/tests/fixtures/models/{name}");
        open(&path, &mut Unreported).unwrap()
    }

    /// Scores alone.
    fn quick() -> Settings {
        Settings {
            behaviour: false,
            residues: residues::Settings {
                is_on: false,
                ..residues::Settings::default()
            },
            ..Settings::default()
        }
    }

    fn effective(model: &Model, ids: &[u32]) -> DMatrix<f64> {
        let rows = Effective::Mlp.rows(model, ids).unwrap();
        let rows = rows.into_iter().map(f64::from);
        DMatrix::from_row_iterator(ids.len(), model.spec.d_model, rows)
    }

    /// A cycle of seven tokens that a head moves along by `by`.
    fn planted(by: usize) -> (Asked, DMatrix<f32>, DMatrix<f32>) {
        let variant = Variant {
            name: "planted".into(),
            form: String::new(),
            texts: vec![String::new(); 8],
            tokens: (0..7).chain([0]).map(|id| Some(id + 100)).collect(),
        };
        let asked = Asked::new(&[variant], Candidates::List, 1000);
        let q = DMatrix::from_fn(7, 7, |from, to| f32::from(u8::from((from + by) % 7 == to)));
        (asked, DMatrix::identity(7, 7), q)
    }

    #[test]
    fn a_planted_successor_head_is_found_and_nothing_else_is() {
        let (asked, p, q) = planted(1);
        assert_eq!(asked.sources.len(), 7);
        assert_eq!(asked.wins(&p, &q), [7]);
        assert_eq!(asked.wins(&(p.clone() * 0.5), &(q.clone() * 3.0)), [7]);
        assert_eq!(asked.wins(&p, &(q.clone() * 0.0)), [0], "removed: all tie");
        assert_eq!(asked.wins(&p, &(-q.clone())), [0], "the negative of it");
        assert_eq!(asked.wins(&p, &(q * f32::NAN)), [0]);
        for by in [0, 2, 6] {
            let (asked, p, q) = planted(by);
            assert_eq!(asked.wins(&p, &q), [0], "copies, or moves by another step");
        }
    }

    #[test]
    fn scores_are_those_of_the_whole_circuit() {
        let mut engine = demo();
        let model = Arc::clone(engine.model());
        let report = successor(&mut engine, &quick(), &mut Unheard).unwrap();
        let lists = variants(&model, &built_in(model.tokenizer.as_ref().unwrap())).unwrap();
        let scores = report.scores_of("successor").unwrap();
        for head in [
            HeadId::new(0, 1),
            HeadId::new(2, 6),
            HeadId::new(3, 2),
            HeadId::new(3, 3),
        ] {
            let (mut won, mut all) = (0, 0);
            for list in &lists {
                let pairs: Vec<(u32, u32)> = list
                    .tokens
                    .windows(2)
                    .filter_map(|pair| Some((pair[0]?, pair[1]?)))
                    .collect();
                if pairs.len() < 4 {
                    continue;
                }
                let (from, to): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
                let logits = whole(&model, head, &effective(&model, &from), &to);
                all += from.len();
                won += (0..from.len())
                    .filter(|row| {
                        let others = (0..to.len()).filter(|column| to[*column] != to[*row]);
                        let best = others.map(|column| logits[(*row, column)]);
                        logits[(*row, *row)] > best.fold(f64::NEG_INFINITY, f64::max)
                    })
                    .count();
            }
            // Near ties may fall either way in f32: one word of 330.
            let right = won as f32 / all as f32;
            assert!(
                (scores.value(head).unwrap() - right).abs() <= 1.01 / all as f32,
                "{head}"
            );
        }
    }

    #[test]
    fn the_matrix_is_the_whole_circuit_for_every_kind_of_norm() {
        for name in [
            "tiny-gpt2",
            "tiny-llama",
            "tiny-gemma2",
            "tiny-gpt-neox",
            "tiny-qwen3",
        ] {
            let model = tiny(name);
            let ids: Vec<u32> = vec![3, 1, 7, 12];
            for head in [HeadId::new(0, 1), HeadId::new(model.spec.n_layers - 1, 0)] {
                let found = matrix(&model, head, &ids, &Settings::default()).unwrap();
                let right = whole(&model, head, &effective(&model, &ids), &ids);
                let size = right.amax();
                for (i, found) in found.iter().enumerate() {
                    let right = right[(i / 4, i % 4)];
                    assert!(
                        (f64::from(*found) - right).abs() < 1e-5 * (size + 1e-3),
                        "{name} {head}"
                    );
                }
            }
        }
    }

    #[test]
    fn more_candidates_are_never_easier() {
        let mut engine = demo();
        let mut run = |candidates| {
            let settings = Settings {
                candidates,
                ..quick()
            };
            let report = successor(&mut engine, &settings, &mut Unheard).unwrap();
            report.scores_of("successor").unwrap().values.clone()
        };
        let scores = [Candidates::List, Candidates::Union, Candidates::Vocabulary].map(&mut run);
        for pair in scores.windows(2) {
            assert!(pair[0].iter().zip(&pair[1]).all(|(few, many)| few >= many));
        }
        assert_ne!(scores[0], scores[2]);
    }

    #[test]
    fn the_report_is_complete_and_repeats_itself() {
        let mut engine = demo();
        let settings = Settings {
            heads: vec![HeadId::new(3, 2), HeadId::new(1, 1)],
            matrix: Some("months".into()),
            ..Settings::default()
        };
        let report = successor(&mut engine, &settings, &mut Unheard).unwrap();
        assert_eq!(
            report,
            successor(&mut engine, &settings, &mut Unheard).unwrap()
        );
        let names: Vec<&str> = report
            .scores
            .iter()
            .map(|scores| &scores.name[..])
            .collect();
        for name in [
            "successor",
            "baseline",
            "successor, days",
            "tomorrow",
            "direct",
            "lift",
        ] {
            assert!(names.contains(&name), "{name} {names:?}");
        }
        assert_eq!(report.grids.len(), 2);
        for grid in &report.grids {
            assert!(grid.name.contains("months"), "{}", grid.name);
            assert_eq!((grid.rows.len(), grid.values.len()), (12, 144));
            for (row, texts) in grid.texts.chunks(12).enumerate() {
                let best = texts.iter().position(|text| text == "max").unwrap();
                let values = &grid.values[row * 12..][..12];
                assert!(values.iter().all(|value| *value <= values[best]));
            }
        }
        // The demo was trained on templates, and has no such head.
        assert!(
            report
                .notes
                .iter()
                .any(|note| note.starts_with("none found")),
            "{:?}",
            report.notes
        );
        let found = Settings {
            found_above: 0.0,
            ..quick()
        };
        let report = successor(&mut engine, &found, &mut Unheard).unwrap();
        assert!(
            !report
                .notes
                .iter()
                .any(|note| note.starts_with("none found"))
        );
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let refusal = |engine: &mut Engine, settings: &Settings| {
            successor(engine, settings, &mut Unheard)
                .unwrap_err()
                .to_string()
        };
        let error = refusal(&mut Engine::new(Arc::new(tiny("tiny-bert"))), &quick());
        assert!(error.contains("norms on the stream"), "{error}");
        let mut engine = demo();
        let far = Settings {
            heads: vec![HeadId::new(4, 0)],
            ..quick()
        };
        assert!(refusal(&mut engine, &far).contains("no head L4H0"));
        let unknown = Settings {
            matrix: Some("hours".into()),
            ..quick()
        };
        assert!(refusal(&mut engine, &unknown).contains("`hours`"));
        let lists = vec![Sequence::typed("qwop,zxcv,bnmk,tyui,ghjk").unwrap()];
        assert!(refusal(&mut engine, &Settings { lists, ..quick() }).contains("single tokens"));
        let mut model = open(demo::NAME, &mut Unreported).unwrap();
        model.tokenizer = None;
        let error = refusal(&mut Engine::new(Arc::new(model)), &quick());
        assert!(error.contains("no tokenizer"), "{error}");
    }

    /// Specification, section 15: L23H3 = .18 of 20 forms, next .14, digits .56, "none found".
    #[test]
    fn smollm2_has_no_successor_head_by_its_weights() {
        let Ok(folder) = std::env::var("HEADSCOPE_TEST_MODELS") else {
            return;
        };
        let path = format!("{folder}/smollm2-135m-instruct-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf");
        let mut engine = Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()));
        let report = successor(&mut engine, &quick(), &mut Unheard).unwrap();
        let counted = report.tables[0]
            .rows
            .iter()
            .filter(|row| row[3] == Cell::from("yes"));
        assert_eq!(counted.count(), 20);
        let ranked = report.scores_of("successor").unwrap().ranked();
        assert_eq!(ranked[0].0, HeadId::new(23, 3));
        assert!((ranked[0].1.unwrap() - 0.18).abs() < 0.05, "{ranked:?}");
        assert!((ranked[1].1.unwrap() - 0.14).abs() < 0.05, "{ranked:?}");
        let digits = report.scores_of("successor, numbers").unwrap();
        assert!((digits.value(HeadId::new(23, 3)).unwrap() - 0.56).abs() < 0.12);
        assert!(
            report
                .notes
                .iter()
                .any(|note| note.starts_with("none found"))
        );
    }
}
