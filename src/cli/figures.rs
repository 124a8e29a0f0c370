//! From a run to the figure of a view: the same heads, colours and choices as the session has on screen.

use anyhow::{Context as _, bail};

use super::args::{ExportArgs, ExportView};
use super::opened::Opened;
use super::report::token_text;
use crate::colormap::ColorScale;
use crate::edit::{Edit, Op, Target};
use crate::experiment::{LayerMaps, Outcome, Pass, Readout};
use crate::figure::{
    ArcsFigure, AttentionFigure, BeforeAfter, Figure, HeadCell, HeadPanel, HeadsFigure, Provenance,
    ReadoutFigure, ReadoutRow, Thumb, TokenLabel,
};
use crate::ids::HeadId;
use crate::model::spec::ModelSpec;
use crate::session::{Prompt, Shown};

/// Rows of the readout.
const TOP: usize = 10;
/// Side of the thumbnails in the grid of heads; longer prompts are pooled.
const THUMB: usize = 32;
/// Weights below are not drawn as arcs.
const ARC_THRESHOLD: f32 = 0.02;

pub(super) fn figure(
    opened: &Opened,
    outcome: &Outcome,
    args: &ExportArgs,
) -> anyhow::Result<Figure> {
    let maps = Maps::new(opened, outcome);
    let figure = match args.view {
        ExportView::Window => {
            bail!("the window is not exported by this version; the other views are")
        }
        ExportView::Heads => Figure::Heads(maps.heads()?),
        ExportView::Attention => Figure::Attention(maps.attention(args)?),
        ExportView::Arcs => Figure::Arcs(maps.arcs(args)?),
        ExportView::Readout => Figure::Readout(readout(opened, outcome)?),
    };
    Ok(figure)
}

pub(super) fn provenance(opened: &Opened) -> Provenance {
    let model = opened.model_ref();
    let spec = &opened.resolved.spec;
    Provenance {
        model: model.name.clone(),
        fingerprint: model.fingerprint.clone(),
        prompt: match &opened.session.experiment.prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Ids(ids) => format!("ids {ids:?}"),
        },
        edits: spec.edits.iter().map(ToString::to_string).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The maps of a run, as the session shows them.
struct Maps<'a> {
    opened: &'a Opened,
    outcome: &'a Outcome,
    spec: &'a ModelSpec,
    shown: Shown,
}

impl<'a> Maps<'a> {
    fn new(opened: &'a Opened, outcome: &'a Outcome) -> Self {
        Self {
            opened,
            outcome,
            spec: &opened.model_ref().spec,
            shown: opened.session.view.shown,
        }
    }

    fn attention(&self, args: &ExportArgs) -> anyhow::Result<AttentionFigure> {
        let panels = self.panels(args)?;
        Ok(AttentionFigure {
            scale: self.scale(panels.iter().map(|panel| panel.values.as_slice())),
            panels,
            tokens: tokens(self.opened),
            causal: true,
            value_label: self.label(),
        })
    }

    fn arcs(&self, args: &ExportArgs) -> anyhow::Result<ArcsFigure> {
        let panels = self.panels(args)?;
        Ok(ArcsFigure {
            scale: self.scale(panels.iter().map(|panel| panel.values.as_slice())),
            panels,
            tokens: tokens(self.opened),
            causal: true,
            value_label: self.label(),
            threshold: ARC_THRESHOLD,
        })
    }

    fn heads(&self) -> anyhow::Result<HeadsFigure> {
        let ModelSpec {
            n_layers, n_heads, ..
        } = *self.spec;
        let n_tokens = self.opened.resolved.spec.ids.len();
        let mut values = Vec::with_capacity(n_layers * n_heads);
        for head in (0..n_layers).flat_map(|layer| (0..n_heads).map(move |h| HeadId::new(layer, h)))
        {
            values.push((head, self.values(head)?));
        }
        let scale = self.scale(values.iter().map(|(_, values)| values.as_slice()));
        let cells = values.iter().map(|(head, values)| HeadCell {
            thumb: Some(pooled(values, n_tokens)),
            badge: badge(self.spec, &self.opened.resolved.spec.edits, *head),
        });
        Ok(HeadsFigure {
            n_layers,
            n_heads,
            cells: cells.collect(),
            causal: true,
            scale,
            value_label: self.label(),
        })
    }

    /// The heads that were asked for, else the session's selection.
    fn panels(&self, args: &ExportArgs) -> anyhow::Result<Vec<HeadPanel>> {
        let selection = &self.opened.session.view.selection;
        let heads = if args.heads.is_empty() {
            selection
        } else {
            &args.heads
        };
        if heads.is_empty() {
            bail!("no head is selected: name one or several, such as --head L0H1");
        }
        let edits = &self.opened.resolved.spec.edits;
        heads
            .iter()
            .map(|&head| {
                Ok(HeadPanel {
                    title: head.to_string(),
                    head,
                    values: self.values(head)?,
                    edited: !badge(self.spec, edits, head).is_empty(),
                })
            })
            .collect()
    }

    /// `[query, key]`.
    fn values(&self, head: HeadId) -> anyhow::Result<Vec<f32>> {
        let Outcome { before, after } = self.outcome;
        let now = self.layer(after.as_ref().unwrap_or(before), head)?;
        let pattern = now.patterns.head(head.head);
        Ok(match self.shown {
            Shown::Attention => pattern.into_owned(),
            Shown::ValueWeighted => {
                let n_tokens = now.patterns.n_tokens();
                let norms = &now.value_norms[head.head * n_tokens..][..n_tokens];
                let norms = norms.iter().cycle();
                pattern
                    .iter()
                    .zip(norms)
                    .map(|(a, norm)| a * norm)
                    .collect()
            }
            Shown::Change => {
                let before = self.layer(before, head)?.patterns.head(head.head);
                pattern
                    .iter()
                    .zip(before.iter())
                    .map(|(a, b)| a - b)
                    .collect()
            }
        })
    }

    fn layer<'p>(&self, pass: &'p Pass, head: HeadId) -> anyhow::Result<&'p LayerMaps> {
        let layer = pass.layers.iter().find(|maps| maps.layer == head.layer);
        let ModelSpec {
            n_layers, n_heads, ..
        } = self.spec;
        layer
            .filter(|maps| head.head < maps.patterns.n_heads())
            .map(|maps| &**maps)
            .with_context(|| {
                format!("the model has no head {head}: it has {n_layers} layers of {n_heads} heads")
            })
    }

    /// One scale for all maps of a figure, so that they can be compared.
    fn scale<'m>(&self, maps: impl Iterator<Item = &'m [f32]>) -> ColorScale {
        let view = &self.opened.session.view;
        let n_tokens = self.opened.resolved.spec.ids.len();
        let first_key = usize::from(view.hide_sink);
        let max = if self.shown == Shown::Attention && !view.hide_sink {
            1.0
        } else {
            maps.flat_map(|map| map.chunks(n_tokens))
                .flat_map(|row| &row[first_key..])
                .fold(0.0_f32, |max, value| max.max(value.abs()))
        };
        ColorScale {
            map: match self.shown {
                Shown::Change => view.diverging,
                Shown::Attention | Shown::ValueWeighted => view.colormap,
            },
            log: view.log_scale,
            max,
        }
    }

    fn label(&self) -> String {
        match self.shown {
            Shown::Attention => "attention",
            Shown::ValueWeighted => "attention × ‖v‖",
            Shown::Change => "change of attention",
        }
        .to_owned()
    }
}

/// The largest magnitude of each block, so that a single bright cell is not lost.
fn pooled(values: &[f32], n_tokens: usize) -> Thumb {
    let side = n_tokens.min(THUMB);
    let mut thumb = vec![0.0_f32; side * side];
    for (i, &value) in values.iter().enumerate() {
        let (query, key) = (i / n_tokens, i % n_tokens);
        let cell = &mut thumb[query * side / n_tokens * side + key * side / n_tokens];
        if value.abs() > cell.abs() {
            *cell = value;
        }
    }
    Thumb {
        side,
        values: thumb,
    }
}

/// What the last edit of a head does to it; empty without one.
fn badge(spec: &ModelSpec, edits: &[Edit], head: HeadId) -> String {
    let acts = |target: Target| match target {
        Target::Head(other) | Target::Edge { head: other, .. } => other == head,
        Target::KvHead(kv) => kv.layer == head.layer && kv.kv_head == spec.kv_head_of(head.head),
        Target::Attention(layer) => layer == head.layer,
        Target::Mlp(_) | Target::Resid(_) => false,
    };
    let last = edits.iter().rev().find(|edit| acts(edit.target));
    last.map_or_else(String::new, |edit| match &edit.op {
        Op::Zero | Op::ZeroKeepBias | Op::Knockout => "✕".to_owned(),
        Op::Scale(factor) => format!("×{}", factor.get()),
        Op::Resample => "⇄".to_owned(),
        Op::Mean => "mean".to_owned(),
        Op::Uniform => "=".to_owned(),
        Op::Add { .. } => "+".to_owned(),
    })
}

fn tokens(opened: &Opened) -> Vec<TokenLabel> {
    let pieces = opened.resolved.tokens.iter().enumerate();
    pieces
        .map(|(index, piece)| TokenLabel {
            index,
            text: piece.text.clone(),
        })
        .collect()
}

/// The likeliest tokens of the run as it is now, and what they were before.
fn readout(opened: &Opened, outcome: &Outcome) -> anyhow::Result<ReadoutFigure> {
    let Outcome { before, after } = outcome;
    let logits = before.logits.as_deref();
    let before = Readout::new(logits.context("the model has no language-model head: no readout")?);
    let after = after
        .as_ref()
        .and_then(|pass| pass.logits.as_deref())
        .map(Readout::new);
    let row = |id: u32, token: String| {
        let score = before.score(id)?;
        let now = after.and_then(|after| after.score(id));
        Some(ReadoutRow {
            token,
            id,
            logit: BeforeAfter {
                before: score.logit,
                after: now.map(|now| now.logit),
            },
            prob: BeforeAfter {
                before: score.prob,
                after: now.map(|now| now.prob),
            },
        })
    };
    let top = after.unwrap_or(before).top(TOP);
    let rows = top
        .iter()
        .filter_map(|score| row(score.id, token_text(opened.model_ref(), score.id)));
    let answers = opened.resolved.answers.iter();
    let ids = opened.answer_ids();
    let position = opened.resolved.spec.position;
    Ok(ReadoutFigure {
        position: tokens(opened).swap_remove(position),
        rows: rows.collect(),
        answers: answers
            .filter_map(|answer| row(answer.id, answer.text.clone()))
            .collect(),
        logit_diff: before.logit_diff(&ids).map(|diff| BeforeAfter {
            before: diff,
            after: after.and_then(|after| after.logit_diff(&ids)),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_keeps_the_strongest_cell_and_small_maps_as_they_are() {
        let small = [0.1, -0.2, 0.3, 0.4];
        assert_eq!(pooled(&small, 2).values, small);
        let n = 3 * THUMB;
        let mut values = vec![0.01; n * n];
        values[(n - 1) * n + 4] = -0.9;
        let thumb = pooled(&values, n);
        assert_eq!(thumb.side, THUMB);
        assert_eq!(
            thumb.values[(THUMB - 1) * THUMB + 1].to_bits(),
            (-0.9_f32).to_bits()
        );
    }
}
