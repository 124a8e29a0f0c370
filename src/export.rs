//! From a run to the figure of a view: the same heads, colours and choices as the session has on screen.
//!
//! `figure` draws plain numbers; here they are picked from a run. The window and the command line both export through
//! this module, so that they give the same files.

pub mod report;

use crate::colormap::ColorScale;
use crate::edit::describe;
use crate::experiment::resolve::Resolved;
use crate::experiment::{LayerMaps, Outcome, Pass, Readout};
use crate::figure::{
    ArcsFigure, AttentionFigure, BeforeAfter, Figure, HeadCell, HeadPanel, HeadsFigure, Provenance,
    ReadoutFigure, ReadoutRow, Thumb, TokenLabel,
};
use crate::ids::HeadId;
use crate::mask::Mask;
use crate::model::Model;
use crate::session::{Prompt, Session, Shown};

/// Rows of the readout.
const TOP: usize = 10;
/// Side of the thumbnails in the grid of heads; longer prompts are pooled.
const THUMB: usize = 32;
/// Share of the scale below which weights are not drawn as arcs.
const ARC_THRESHOLD: f32 = 0.02;

/// What can be exported as a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExportView {
    Heads,
    Attention,
    Arcs,
    Readout,
}

/// A run that is complete, with all that says how to look at it.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub model: &'a Model,
    pub session: &'a Session,
    pub resolved: &'a Resolved,
    pub outcome: &'a Outcome,
}

/// Why a view cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("no head is selected: select one, or name it (on the command line: --head L0H1)")]
    NothingSelected,
    #[error("the model has no head {head}: it has {n_layers} layers of {n_heads} heads")]
    NoSuchHead {
        head: HeadId,
        n_layers: usize,
        n_heads: usize,
    },
    #[error("the model has no language-model head, so there is no readout")]
    NoReadout,
}

impl ExportView {
    pub const ALL: [Self; 4] = [Self::Heads, Self::Attention, Self::Arcs, Self::Readout];

    /// As the command line and file names have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Attention => "attention",
            Self::Arcs => "arcs",
            Self::Readout => "readout",
        }
    }
}

/// The figure of a view. `heads` are those of attention and arcs.
pub fn figure(run: Run<'_>, view: ExportView, heads: &[HeadId]) -> Result<Figure, ExportError> {
    Ok(match view {
        ExportView::Heads => Figure::Heads(run.heads()?),
        ExportView::Attention => {
            let (panels, scale) = run.panels(heads)?;
            Figure::Attention(AttentionFigure {
                panels,
                tokens: run.tokens(),
                scale,
                value_label: run.label(),
            })
        }
        ExportView::Arcs => {
            let (panels, scale) = run.panels(heads)?;
            Figure::Arcs(ArcsFigure {
                panels,
                tokens: run.tokens(),
                threshold: ARC_THRESHOLD * scale.max,
                scale,
                value_label: run.label(),
            })
        }
        ExportView::Readout => Figure::Readout(run.readout()?),
    })
}

pub fn provenance(model: &Model, session: &Session, resolved: &Resolved) -> Provenance {
    let edits = resolved.spec.edits.iter();
    Provenance {
        model: model.name.clone(),
        fingerprint: model.fingerprint.clone(),
        prompt: match &session.experiment.prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Ids(ids) => format!("ids {ids:?}"),
        },
        edits: edits.map(ToString::to_string).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        method: None,
    }
}

impl<'a> Run<'a> {
    /// The grid shows plain attention in one full scale, as in the window.
    fn heads(self) -> Result<HeadsFigure, ExportError> {
        let spec = &self.model.spec;
        let mut cells = Vec::with_capacity(spec.n_layers * spec.n_heads);
        for layer in 0..spec.n_layers {
            for head in (0..spec.n_heads).map(|head| HeadId::new(layer, head)) {
                let values = self.values(head, Shown::Attention)?;
                let n_tokens = self.resolved.spec.ids.len();
                cells.push(HeadCell {
                    thumb: Some(pooled(&values, n_tokens, spec.masks[layer])),
                    badge: self.badge(head).unwrap_or_default(),
                });
            }
        }
        let view = &self.session.view;
        Ok(HeadsFigure {
            n_layers: spec.n_layers,
            n_heads: spec.n_heads,
            cells,
            scale: ColorScale {
                map: view.colormap,
                max: 1.0,
                log: view.log_scale,
            },
            value_label: label(Shown::Attention, view.hide_sink),
        })
    }

    /// Maps side by side, and one scale for all of them, so that they can be compared.
    fn panels(self, heads: &[HeadId]) -> Result<(Vec<HeadPanel>, ColorScale), ExportError> {
        if heads.is_empty() {
            return Err(ExportError::NothingSelected);
        }
        let view = &self.session.view;
        let panel = |&head: &HeadId| {
            Ok(HeadPanel {
                title: head.to_string(),
                head,
                values: self.values(head, view.shown)?,
                mask: self.model.spec.masks[head.layer],
                edited: self.badge(head).is_some(),
            })
        };
        let panels = heads.iter().map(panel).collect::<Result<Vec<_>, _>>()?;
        let values = panels.iter().flat_map(|panel| &panel.values);
        // `max` passes over NaN, which is what a hidden key has.
        let largest = values.fold(0.0_f32, |largest, value| largest.max(value.abs()));
        Ok((panels, view.color_scale(largest)))
    }

    /// `[query, key]`; NaN where the first key is hidden.
    fn values(self, head: HeadId, shown: Shown) -> Result<Vec<f32>, ExportError> {
        let Outcome { before, after } = self.outcome;
        let now = self.layer(after.as_ref().unwrap_or(before), head)?;
        let n_tokens = now.patterns.n_tokens();
        let mut values = now.patterns.glance(head.head).to_vec();
        match shown {
            Shown::Attention => {}
            Shown::ValueWeighted => {
                let norms = &now.value_norms[head.head * n_tokens..][..n_tokens];
                for (value, norm) in values.iter_mut().zip(norms.iter().cycle()) {
                    *value *= norm;
                }
            }
            Shown::Change => {
                let before = self.layer(before, head)?.patterns.glance(head.head);
                for (value, before) in values.iter_mut().zip(before.iter()) {
                    *value -= before;
                }
            }
        }
        if self.session.view.hide_sink {
            values
                .iter_mut()
                .step_by(n_tokens)
                .for_each(|v| *v = f32::NAN);
        }
        Ok(values)
    }

    fn layer(self, pass: &'a Pass, head: HeadId) -> Result<&'a LayerMaps, ExportError> {
        let spec = &self.model.spec;
        let maps = pass.layers.iter().find(|maps| maps.layer == head.layer);
        maps.filter(|maps| head.head < maps.patterns.n_heads())
            .map(|maps| &**maps)
            .ok_or(ExportError::NoSuchHead {
                head,
                n_layers: spec.n_layers,
                n_heads: spec.n_heads,
            })
    }

    /// The mark of the edits on a head, or else on its whole layer.
    fn badge(self, head: HeadId) -> Option<String> {
        let edits = &self.resolved.spec.edits;
        describe::badge(edits, head, self.model.spec.group_size())
            .or_else(|| describe::layer_badge(edits, head.layer))
    }

    fn label(self) -> String {
        let view = &self.session.view;
        label(view.shown, view.hide_sink)
    }

    fn tokens(self) -> Vec<TokenLabel> {
        (0..self.resolved.tokens.len())
            .map(|index| self.token(index))
            .collect()
    }

    fn token(self, index: usize) -> TokenLabel {
        TokenLabel {
            index,
            text: self.resolved.tokens[index].text.clone(),
        }
    }

    /// The likeliest tokens of the run as it is now, and what they were before.
    fn readout(self) -> Result<ReadoutFigure, ExportError> {
        let readout = |pass: &'a Pass| pass.logits.as_deref().map(Readout::new);
        let before = readout(&self.outcome.before).ok_or(ExportError::NoReadout)?;
        let after = self.outcome.after.as_ref().and_then(readout);
        let row = |id: u32, token: String| {
            let was = before.score(id)?;
            let now = after.and_then(|after| after.score(id));
            Some(ReadoutRow {
                token,
                id,
                logit: BeforeAfter {
                    before: was.logit,
                    after: now.map(|now| now.logit),
                },
                prob: BeforeAfter {
                    before: was.prob,
                    after: now.map(|now| now.prob),
                },
            })
        };
        let top = after.unwrap_or(before).top(TOP);
        let answers = &self.resolved.answers;
        let ids: Vec<u32> = answers.iter().map(|answer| answer.id).collect();
        Ok(ReadoutFigure {
            position: self.token(self.resolved.spec.position),
            masked_token: self.model.spec.predicts_in_place(),
            rows: top
                .iter()
                .filter_map(|score| row(score.id, self.model.token_text(score.id)))
                .collect(),
            answers: answers
                .iter()
                .filter_map(|answer| row(answer.id, answer.text.clone()))
                .collect(),
            logit_diff: before.logit_diff(&ids).map(|diff| BeforeAfter {
                before: diff,
                after: after.and_then(|after| after.logit_diff(&ids)),
            }),
        })
    }
}

fn label(shown: Shown, hide_sink: bool) -> String {
    let what = match shown {
        Shown::Attention => "attention",
        Shown::ValueWeighted => "attention × ‖v‖",
        Shown::Change => "change of attention",
    };
    let without = if hide_sink { ", first key hidden" } else { "" };
    format!("{what}{without}")
}

/// The largest magnitude of each block, so that a single bright cell is not lost. NaN only where all of a block is.
fn pooled(values: &[f32], n_tokens: usize, mask: Mask) -> Thumb {
    let side = n_tokens.min(THUMB);
    let mut thumb = vec![f32::NAN; side * side];
    for (i, &value) in values.iter().enumerate() {
        let (query, key) = (i / n_tokens, i % n_tokens);
        let cell = &mut thumb[query * side / n_tokens * side + key * side / n_tokens];
        if mask.sees(query, key) && (cell.is_nan() || value.abs() > cell.abs()) {
            *cell = value;
        }
    }
    Thumb {
        side,
        values: thumb,
        n_tokens,
        mask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::engine::{Engine, Unwatched};
    use crate::experiment::resolve::resolve;
    use crate::model::load::{Unreported, open};
    use crate::session::{EditRow, Experiment};

    /// The bundled model's sample with edits, looked at as `view` has it.
    fn with_run<T>(
        edits: &[&str],
        look: impl FnOnce(&mut Session),
        test: impl FnOnce(Run<'_>) -> T,
    ) -> T {
        let model = std::sync::Arc::new(open("demo", &mut Unreported).unwrap());
        let mut session = Session::new("demo", Experiment::new(Prompt::sample()));
        session.experiment.answers = vec![" Mary".into(), " John".into()];
        session.experiment.edits = edits
            .iter()
            .map(|edit| EditRow {
                edit: edit.parse().unwrap(),
                enabled: true,
            })
            .collect();
        look(&mut session);
        let resolved = resolve(&session.experiment, &model, None).unwrap();
        let outcome = Engine::new(std::sync::Arc::clone(&model))
            .run(&resolved.spec, &mut Unwatched)
            .unwrap();
        test(Run {
            model: &model,
            session: &session,
            resolved: &resolved,
            outcome: &outcome,
        })
    }

    fn attention(run: Run<'_>, head: HeadId) -> AttentionFigure {
        match figure(run, ExportView::Attention, &[head]).unwrap() {
            Figure::Attention(figure) => figure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_map_is_the_edited_run_and_its_change_the_difference() {
        let head = HeadId::new(1, 0);
        let edit = &["L0=scale(3)"][..];
        let edited = with_run(edit, |_| {}, |run| attention(run, head));
        let plain = with_run(&[], |_| {}, |run| attention(run, head));
        let change = with_run(
            edit,
            |s| s.view.shown = Shown::Change,
            |run| attention(run, head),
        );
        assert_ne!(edited.panels[0].values, plain.panels[0].values);
        let difference = edited.panels[0].values.iter().zip(&plain.panels[0].values);
        let difference: Vec<f32> = difference.map(|(a, b)| a - b).collect();
        assert_eq!(change.panels[0].values, difference);
        assert_eq!(change.scale.map, crate::session::View::default().diverging);
        assert!(!edited.panels[0].edited, "the edit is on another layer");
    }

    #[test]
    fn a_hidden_first_key_is_out_of_the_map_and_of_its_colours() {
        let head = HeadId::new(0, 0);
        let figure = with_run(&[], |s| s.view.hide_sink = true, |run| attention(run, head));
        let n = figure.tokens.len();
        let values = &figure.panels[0].values;
        assert!((0..n).all(|query| values[query * n].is_nan()));
        let rest = values.iter().filter(|v| !v.is_nan());
        let largest = rest.fold(0.0_f32, |a, b| a.max(*b));
        assert!((figure.scale.max - largest).abs() < f32::EPSILON && largest > 0.0);
        assert!(figure.value_label.contains("first key hidden"));
    }

    #[test]
    fn the_grid_marks_edited_heads_and_the_heads_of_an_edited_layer() {
        let grid = with_run(
            &["L0H1=scale(2.5)", "L1=uniform"],
            |_| {},
            |run| figure(run, ExportView::Heads, &[]),
        );
        let Ok(Figure::Heads(grid)) = grid else {
            panic!()
        };
        let badge =
            |layer: usize, head: usize| grid.cells[layer * grid.n_heads + head].badge.as_str();
        assert_eq!((badge(0, 0), badge(0, 1), badge(1, 0)), ("", "×2.5", "="));
    }

    #[test]
    fn the_readout_has_both_runs_and_the_answers() {
        let readout = with_run(
            &["L0=zero"],
            |_| {},
            |run| figure(run, ExportView::Readout, &[]),
        );
        let Ok(Figure::Readout(readout)) = readout else {
            panic!()
        };
        assert_eq!(readout.rows.len(), TOP);
        assert_eq!(readout.answers[0].token, " Mary");
        let diff = readout.logit_diff.unwrap();
        assert!(
            (readout.answers[0].logit.before - readout.answers[1].logit.before - diff.before).abs()
                < 1e-5
        );
        assert!(
            diff.after
                .is_some_and(|after| (after - diff.before).abs() > 1e-6)
        );
    }

    #[test]
    fn a_head_that_is_not_there_is_named() {
        let error = with_run(
            &[],
            |_| {},
            |run| figure(run, ExportView::Arcs, &[HeadId::new(99, 0)]),
        );
        assert!(error.unwrap_err().to_string().contains("L99H0"));
        let error = with_run(&[], |_| {}, |run| figure(run, ExportView::Attention, &[]));
        assert!(matches!(error, Err(ExportError::NothingSelected)));
    }

    #[test]
    fn pooling_keeps_the_strongest_cell_and_small_maps_as_they_are() {
        let small = [0.1, -0.2, 0.3, 0.4];
        assert_eq!(pooled(&small, 2, Mask::NONE).values, small);
        let n = 3 * THUMB;
        let mut values = vec![0.01; n * n];
        values[(n - 1) * n + 4] = -0.9;
        values[0] = f32::NAN;
        let thumb = pooled(&values, n, Mask::CAUSAL);
        assert_eq!(thumb.side, THUMB);
        let bits = |i: usize| thumb.values[i].to_bits();
        assert_eq!(bits((THUMB - 1) * THUMB + 1), (-0.9_f32).to_bits());
        assert_eq!(bits(0), 0.01_f32.to_bits());
    }
}
