//! Direct logit attribution: what each head, MLP and bias adds to a logit difference by itself.
//!
//! The final norm is linear once its scale is held at its value of the run, so that the difference is a sum over everything
//! that was added to the stream (specification, circuits 9.2; check C0). Later layers' reactions are not in it: the total
//! effect is what [`super::ablation`] measures.
//!
//! A prediction head for masked tokens is not linear, and there the logits are no sum: each part is left out of the final
//! stream in turn instead, which is exact for that part alone (`left_out`).

mod left_out;
mod set;
mod summands;
mod views;

use super::cases::Case;
use super::field::{Field, Value};
use super::report::{HeadScores, Report, Scale};
use super::{AnalysisError, Progress, check_heads, step};
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::spec::{Head, Placement};

pub(super) use summands::norm_scale;
use summands::{Directions, of, record};
pub use summands::{Summands, summands};
pub use views::token_labels;
use views::{bars, by_position, neurons, parts, sources, strongest, vocabulary};

/// Heads that are looked at more closely where none is named.
const STRONGEST: usize = 3;

/// Tokens at which a grid over all positions is made.
const MOST_POSITIONS: usize = 256;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Heads whose sum is split over source tokens; without any, the strongest.
    pub heads: Vec<HeadId>,
    /// An MLP whose neurons are listed; `None`: the strongest.
    pub mlp: Option<usize>,
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "heads",
                "Heads that are split over their source tokens; none: the three strongest",
                Value::Heads(&mut self.heads),
            ),
            Field::new(
                "mlp",
                "The layer whose neurons are listed; auto: the strongest",
                Value::MaybeCount(&mut self.mlp, 0..=9999),
            ),
        ]
    }
}

/// Refuses models whose logits are no sum.
fn check(model: &Model) -> Result<(), AnalysisError> {
    if model.spec.head == Head::None {
        return Err(RunError::NoLogits.into());
    }
    if model.spec.placement == Placement::Post
        || matches!(model.spec.head, Head::MaskedToken { .. })
    {
        return Err(AnalysisError::needs(
            "direct logit attribution is a sum over what is added to the stream; this model has norms on the stream or a \
             prediction head that is not linear, so its logits are no such sum: measure the total effect with `sweep`",
        ));
    }
    Ok(())
}

/// The attribution of one prompt, or the means of a set.
pub fn attribute_all(
    engine: &mut Engine,
    cases: &[Case],
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    match cases {
        [] => Err(AnalysisError::needs("attribution needs a prompt")),
        [case] => attribute(engine, case, settings, progress),
        cases => set::report(engine, cases, progress),
    }
}

/// The attribution of the first two answers' difference, in the edited run of `case.spec`.
pub fn attribute(
    engine: &mut Engine,
    case: &Case,
    settings: &Settings,
    progress: &mut dyn Progress,
) -> Result<Report, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let Some((answer, wrong)) = case.pair() else {
        return Err(AnalysisError::needs(
            "attribution is of a logit difference: give two answers",
        ));
    };
    if left_out::applies(&model.spec) {
        return left_out::report(engine, case, progress);
    }
    check(&model)?;
    let spec = &model.spec;
    let position = case.spec.position;
    let recorded = record(engine, &case.spec, &model, true)?;
    step(progress, 0.5)?;
    let directions = Directions::new(&model, &recorded, position, answer, wrong)?;
    let found = of(&model, &recorded, &directions, position)?;
    let mut report = Report::new("attribute")
        .with(
            "answers",
            vec![model.token_text(answer), model.token_text(wrong)],
        )
        .with("position", position);
    let shape = (spec.n_layers, spec.n_heads);
    let of_head = |head: HeadId| Some(found.heads[head.layer * spec.n_heads + head.head]);
    report.scores.push(HeadScores::of_heads(
        "attribution",
        "what the head adds to the logit difference by itself",
        Scale::Signed,
        shape,
        of_head,
    ));
    report.bars.push(bars(&found));
    report.tables.push(parts(&found));
    report.note(
        "each summand is read through the final norm with its scale of this run; what later layers make of it is not in it",
    );
    if spec.logit_cap.is_some() {
        report.note("this model caps its logits: the sum is the difference before the cap");
    }
    if found.edits != 0.0 {
        report.note("edits of the stream or of whole outputs are a summand of their own");
    }
    let heads = if settings.heads.is_empty() {
        strongest(&found.heads, STRONGEST)
            .into_iter()
            .map(|i| HeadId::new(i / spec.n_heads, i % spec.n_heads))
            .collect()
    } else {
        check_heads(spec, &settings.heads)?;
        settings.heads.clone()
    };
    report
        .grids
        .push(sources(&model, &recorded, &directions, case, &heads)?);
    report
        .tables
        .push(vocabulary(&model, &recorded, position, &heads)?);
    if let Some(layer) = settings
        .mlp
        .or_else(|| strongest(&found.mlps, 1).first().copied())
    {
        if layer >= spec.n_layers {
            return Err(AnalysisError::needs(format!(
                "there is no M{layer}: the model's layers are 0 to {}",
                spec.n_layers - 1
            )));
        }
        report
            .tables
            .push(neurons(&model, &recorded, &directions, layer, position)?);
    }
    if case.spec.ids.len() <= MOST_POSITIONS {
        report.grids.push(by_position(&model, &recorded, case)?);
    }
    Ok(report)
}
