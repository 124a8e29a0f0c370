//! Does a head know what comes next? Read from weights: of each word of an ordered list, which other one does the head
//! raise most (Gould, Ong, Ogden, Conmy 2023, "Successor Heads", arXiv 2312.09230).
//!
//! E_eff\[w\] is the first MLP of the bare embedding; logits\[w, w'\] = E_eff\[w\] · W_V W_O · W_U\[:, w'\] with the gains of the
//! norm before attention, of a norm behind it and of the final one folded in (scales are positive factors a row and left
//! out, biases too). A pair succeeds where its successor has *strictly* the largest logit of the candidates: heads that
//! write nothing succeed nowhere. The score pools the pairs of all lists and forms with at least four of them.

mod asked;
mod matrix;
mod moved;
pub mod probe;
pub mod residues;
mod scores;
mod succession;
#[cfg(test)]
mod tests;
pub mod token_circuit;
mod writers;

use std::sync::Arc;

use crate::analysis::field::{Field, Value};
use crate::analysis::sequences::{Sequence, built_in, tokenizer, variants};
use crate::analysis::{AnalysisError, Progress, Report};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;

use asked::{Asked, LEAST_PAIRS};
pub use matrix::matrix;
use scores::Wins;
pub use token_circuit::Effective;
use token_circuit::check;

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

/// A built-in list whose matrix is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shown {
    /// The one of which the head has most.
    #[default]
    Auto,
    Numbers,
    NumberWords,
    Ordinals,
    Days,
    DayPrefixes,
    Months,
    MonthPrefixes,
    Letters,
    RomanNumerals,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// A list of the user's own, words in order with commas between them, instead of the nine built-in ones.
    pub words: String,
    pub candidates: Candidates,
    pub effective: Effective,
    /// Whether the norms' gains are folded into the circuit, and LayerNorm's centring.
    pub fold: bool,
    /// A best pooled score below this is no successor head.
    pub found_above: f32,
    /// Heads whose matrices are shown; without any, the best one's.
    pub heads: Vec<HeadId>,
    /// The list of the matrices, of the built-in ones.
    pub matrix: Shown,
    /// Whether prompts are run to confirm it.
    pub behaviour: bool,
    pub residues: residues::Settings,
}

crate::choose!(Candidates, Effective, Shown);

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        let residues = &mut self.residues;
        vec![
            Field::new(
                "words",
                "A list of your own, words in order with commas, instead of the nine built-in ones",
                Value::Text(&mut self.words),
            ),
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
                "matrix",
                "List of the matrices; auto: the one of which the head has most",
                Value::Choice(&mut self.matrix),
            ),
            Field::new(
                "behaviour",
                "With the two tests on prompts",
                Value::Flag(&mut self.behaviour),
            ),
            Field::new(
                "residues",
                "With residues modulo ten and their arithmetic",
                Value::Flag(&mut residues.is_on),
            ),
            Field::new(
                "token",
                "Word whose residue is moved; none: a number",
                Value::Text(&mut residues.token),
            ),
            Field::new(
                "from",
                "Residue that is taken away; auto: the word's own",
                Value::MaybeCount(&mut residues.from, 0..=9),
            ),
            Field::new(
                "to",
                "Residue that is put in its place; auto: the next",
                Value::MaybeCount(&mut residues.to, 0..=9),
            ),
            Field::new(
                "strength",
                "How far it is moved: 1 is as long as the tokens' own differences",
                Value::Number(&mut residues.strength, 0.0..=100.0),
            ),
            Field::new("seed", "Seed of the probe", Value::Seed(&mut residues.seed)),
        ]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            words: String::new(),
            candidates: Candidates::List,
            effective: Effective::Mlp,
            fold: true,
            found_above: 0.4,
            heads: vec![],
            matrix: Shown::Auto,
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

impl Shown {
    pub const ALL: [Self; 10] = [
        Self::Auto,
        Self::Numbers,
        Self::NumberWords,
        Self::Ordinals,
        Self::Days,
        Self::DayPrefixes,
        Self::Months,
        Self::MonthPrefixes,
        Self::Letters,
        Self::RomanNumerals,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::NumberWords => "number-words",
            Self::DayPrefixes => "day-prefixes",
            Self::MonthPrefixes => "month-prefixes",
            Self::RomanNumerals => "roman-numerals",
            Self::Numbers => "numbers",
            Self::Ordinals => "ordinals",
            Self::Days => "days",
            Self::Months => "months",
            Self::Letters => "letters",
        }
    }

    /// The list's own name; `None` leaves it to the head.
    const fn list(self) -> Option<&'static str> {
        match self {
            Self::Auto => None,
            Self::NumberWords => Some("number words"),
            Self::DayPrefixes => Some("day prefixes"),
            Self::MonthPrefixes => Some("month prefixes"),
            Self::RomanNumerals => Some("Roman numerals"),
            other => Some(other.name()),
        }
    }
}

/// The scores of all heads from weights, the best head's matrix, residue arithmetic on it, and prompts that confirm it.
pub fn successor(
    engine: &mut Engine,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = Arc::clone(engine.model());
    check(&model)?;
    let lists = match settings.words.trim() {
        "" => built_in(tokenizer(&model)?),
        words => vec![Sequence::typed(words)?],
    };
    has_heads(&model, &settings.heads)?;
    let variants = variants(&model, &lists)?;
    let asked = Asked::new(&variants, settings.candidates, model.spec.n_vocab);
    if asked.tasks.is_empty() {
        return Err(AnalysisError::needs(format!(
            "no list has {LEAST_PAIRS} pairs of neighbours that are single tokens of this model: give a list of its words"
        )));
    }
    let wins = Wins::of(&model, &asked, settings, progress)?;
    let mut report = started(settings, &lists);
    wins.add_scores(&mut report, &model, &variants, &asked);
    wins.add_lists(&mut report, &model, &variants, &asked);
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
        matrix::add(
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

fn has_heads(model: &Model, heads: &[HeadId]) -> Result<(), AnalysisError> {
    let spec = &model.spec;
    let mut heads = heads.iter();
    match heads.find(|head| head.layer >= spec.n_layers || head.head >= spec.n_heads) {
        Some(head) => Err(AnalysisError::needs(format!(
            "the model has no head {head}: its layers are 0 to {}, and a layer's heads 0 to {}",
            spec.n_layers - 1,
            spec.n_heads - 1
        ))),
        None => Ok(()),
    }
}

fn started(settings: &Settings, lists: &[Sequence]) -> Report {
    let names: Vec<&str> = lists.iter().map(|list| &list.name[..]).collect();
    let heads: Vec<String> = settings.heads.iter().map(HeadId::to_string).collect();
    let residues = &settings.residues;
    let mut report = Report::new("successor")
        .with("lists", names)
        .with("words", settings.words.clone())
        .with("candidates", settings.candidates.name())
        .with("effective", settings.effective.name())
        .with("fold", settings.fold)
        .with("found_above", settings.found_above)
        .with("heads", heads)
        .with("matrix", settings.matrix.name())
        .with("behaviour", settings.behaviour)
        .with("residues", residues.is_on)
        .with("steps", residues.steps)
        .with("ridge", residues.ridge)
        .with("strengths", residues.strengths.clone())
        .with("token", residues.token.clone())
        .with("from", residues.from)
        .with("to", residues.to)
        .with("strength", residues.strength)
        .with("seed", residues.seed);
    report.note(
        "from weights: scales of norms and all biases are left out; a tie with another candidate is no success",
    );
    report
}
