//! Exact path patching, sender → logits (Zhang et al. 2024, arXiv 2409.01659, section 3).
//!
//! The clean prompt is run, the sender's output is the counterfactual run's, every other head is held at its clean output,
//! and later MLPs answer. Held heads carry nothing from one position to another, so that only the read position matters
//! and one row is run: the sender resampled there, and the attention outputs of all later layers filled in with those of
//! the clean run (a mean over a set of this one prompt). Without MLPs it is the direct effect into the final stream. The
//! effect is (logit′ − logit) / |logit| of the right answer, the paper's where logits are positive.

use std::sync::Arc;

use crate::analysis::{AnalysisError, HeadScores, Progress, Report, Scale};
use crate::edit::{Edit, Op, Positions, Target};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Effect, Means, Reading};
use crate::ids::HeadId;
use crate::model::Model;

use super::Settings;
use super::prompts::Kept;

/// Effects of each prompt, as shares of its answer's logit.
#[derive(Default)]
pub(super) struct Effects {
    /// `[prompt][layer, head]`
    pub(super) heads: Vec<Vec<Option<f32>>>,
    /// `[prompt][layer]`
    pub(super) mlps: Vec<Vec<Option<f32>>>,
}

impl Effects {
    pub(super) fn over(
        engine: &mut Engine,
        kept: &[Kept],
        settings: &Settings,
        report: &mut Report,
        progress: &mut dyn Progress,
    ) -> Result<Self, AnalysisError> {
        let model = Arc::clone(engine.model());
        let n_heads = model.spec.n_layers * model.spec.n_heads;
        let mut effects = Self::default();
        for (i, of_prompt) in kept.iter().enumerate() {
            let done = |part: f32| 0.2 + 0.3 * (i as f32 + part) / kept.len() as f32;
            let go_on = &mut |part: f32| progress.at(done(part), None);
            let mut of_heads = patched(engine, of_prompt, settings.through_mlps, go_on)?;
            effects.mlps.push(of_heads.split_off(n_heads));
            effects.heads.push(of_heads);
            let mut so_far = report.clone();
            so_far.scores.push(effects.scores(&model, settings));
            if !progress.at(done(1.0), Some(&so_far)) {
                return Err(RunError::Stopped.into());
            }
        }
        let blank = kept.iter().filter(|kept| kept.share(0.0).is_none()).count();
        if blank > 0 {
            report.note(format!(
                "{blank} prompts are not in the effect: their right answer's logit is 0, or it is not finite"
            ));
        }
        Ok(effects)
    }

    /// Adds the map, the MLPs' bars and the number of key heads. Gives the heads by what they take, the most first.
    pub(super) fn add(
        &self,
        report: &mut Report,
        model: &Model,
        settings: &Settings,
    ) -> Vec<HeadId> {
        let scores = self.scores(model, settings);
        let order = strongest(&scores);
        report.scores.push(scores);
        let mlps = HeadScores::mean(&counted(&self.mlps));
        report.bar_chart(
            "mlp_effect",
            if settings.through_mlps {
                "change of the right answer's logit, as a share of it, when the layer's MLP alone is that of the prompt without \
                 an operator (path patching)"
            } else {
                "change of the right answer's logit, as a share of it, by the layer's MLP itself (direct)"
            },
            "share of the logit",
            mlps.iter()
                .enumerate()
                .filter_map(|(layer, share)| Some((format!("MLP {layer}"), f64::from((*share)?)))),
        );
        let n = model.spec.n_layers * model.spec.n_heads;
        let n_key = self.key_heads(model, settings).len();
        report.note(format!(
            "{n_key} key heads of {n} ({:.1} %): their effect is below −{} of the answer's logit",
            100.0 * n_key as f64 / n as f64,
            settings.threshold
        ));
        order
    }

    /// The heads whose effect is below the threshold, the strongest first.
    pub(super) fn key_heads(&self, model: &Model, settings: &Settings) -> Vec<HeadId> {
        let scores = self.scores(model, settings);
        let is_key = |head: &HeadId| {
            let effect = scores.value(*head).map(f64::from);
            effect.is_some_and(|effect| effect < -settings.threshold)
        };
        strongest(&scores).into_iter().filter(is_key).collect()
    }

    pub(super) fn scores(&self, model: &Model, settings: &Settings) -> HeadScores {
        let (n_layers, n_heads) = (model.spec.n_layers, model.spec.n_heads);
        let mean = HeadScores::mean(&counted(&self.heads));
        let about = if settings.through_mlps {
            "change of the right answer's logit, as a share of it, when the head alone sees no operator (path patching)"
        } else {
            "change of the right answer's logit, as a share of it, by the head itself seeing no operator (direct)"
        };
        HeadScores::of_heads(
            "effect",
            about,
            Scale::Signed,
            (n_layers, n_heads),
            |head| {
                mean.get(head.layer * n_heads + head.head)
                    .copied()
                    .flatten()
            },
        )
    }
}

/// A prompt without a logit to lose is blank throughout, and left out.
fn counted(maps: &[Vec<Option<f32>>]) -> Vec<Vec<Option<f32>>> {
    let counts = |map: &&Vec<Option<f32>>| map.iter().all(Option::is_some);
    maps.iter().filter(counts).cloned().collect()
}

/// The effect of each head on the right answer's logit, as a share of it, then that of each MLP: `[layer, head]` and
/// `[layer]`.
pub(super) fn patched(
    engine: &mut Engine,
    kept: &Kept,
    through_mlps: bool,
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<Option<f32>>, AnalysisError> {
    let spec = &kept.case.spec;
    let (n_layers, n_heads) = (engine.model().spec.n_layers, engine.model().spec.n_heads);
    let at = Positions::At(vec![spec.position]);
    let edit = |target, op| Edit {
        target,
        op,
        at: at.clone(),
    };
    let heads = (0..n_layers)
        .flat_map(|layer| (0..n_heads).map(move |head| Target::Head(HeadId::new(layer, head))));
    let variants: Vec<Vec<Edit>> = heads
        .chain((0..n_layers).map(Target::Mlp))
        .map(|sender| {
            let held = (sender.layer() + 1..n_layers).filter(|_| through_mlps);
            let held = held.map(|layer| edit(Target::Attention(layer), Op::Mean));
            std::iter::once(edit(sender, Op::Resample))
                .chain(held)
                .collect()
        })
        .collect();
    // The mean over a set of one prompt: its own values, position by position.
    let clean = Means::over(
        engine,
        &[(Arc::clone(&spec.ids), spec.bos_count)],
        &mut || true,
    )?;
    let reading = Reading {
        tokens: Some(&[kept.answer]),
        effect: if through_mlps {
            Effect::Total
        } else {
            Effect::Direct
        },
        means: Some(&clean),
        ..Reading::default()
    };
    let logits = engine.sweep(spec, &variants, reading, go_on)?;
    Ok(logits.iter().map(|logits| kept.share(logits[0])).collect())
}

/// Heads by what they take from the answer, the most first.
pub(super) fn strongest(scores: &HeadScores) -> Vec<HeadId> {
    let mut ranked: Vec<(HeadId, f32)> = scores
        .ranked()
        .into_iter()
        .filter_map(|(head, value)| Some((head, value?)))
        .collect();
    ranked.sort_by(|(a, x), (b, y)| x.total_cmp(y).then(a.cmp(b)));
    ranked.into_iter().map(|(head, _)| head).collect()
}
