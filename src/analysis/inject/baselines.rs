//! Function vectors and task vectors: two older ways to put a task into a prompt.

use std::path::Path;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::analysis::cases::Whole;
use crate::analysis::report::{Cell, HeadScores, Scale, Table};
use crate::analysis::{AnalysisError, Case};
use crate::edit::{Edit, Op, Positions, Target};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Reading, RunSpec};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::site::{Part, Site};

use super::shots::Shots;
use super::{Settings, name};
use crate::analysis::learned::{Effect, Scratch, Variant, add, all_heads, effects, mix};
use crate::analysis::metric::log_prob;

/// Names in the file.
pub(super) const FUNCTION: &str = "function_vector";
pub(super) const TASK: &str = "task_vector";

/// Heads that are tried at once: their logits are held.
const AT_ONCE: usize = 64;

/// The sum of what the heads that carry a task write.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionVector {
    /// `[d_model]`
    pub vector: Vec<f32>,
    /// Where it is added: resid_pre of this layer, the output of the one before.
    pub layer: usize,
    /// `[layer, head]`: rise of the answer's probability when the head's embedding is put into a prompt whose examples are
    /// wrong.
    pub effects: Vec<f64>,
    pub heads: Vec<HeadId>,
}

impl FunctionVector {
    pub fn edit(&self) -> Edit {
        add(Target::Resid(self.layer), FUNCTION, 1.0, Positions::Last)
    }

    pub(super) fn scores(&self, model: &Model) -> HeadScores {
        let n_heads = model.spec.n_heads;
        let of = |head: HeadId| {
            self.effects
                .get(head.layer * n_heads + head.head)
                .map(|x| *x as f32)
        };
        HeadScores::of_heads(
            "indirect_effect",
            "rise of the answer's probability when the head's embedding is put into a prompt with shuffled examples",
            Scale::Signed,
            (model.spec.n_layers, n_heads),
            of,
        )
    }
}

/// Finds the heads by their indirect effects, and sums what they write of their embeddings. The embeddings are in a
/// file of `folder`.
pub fn function_vector(
    engine: &mut Engine,
    train: &[Case],
    embedding: &[f32],
    (shots, settings, folder): (&Shots, &Settings, &Path),
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<FunctionVector, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let heads = all_heads(&model);
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed.wrapping_add(4));
    let n = settings.function_prompts.max(1);
    let mut sums = vec![0.0; heads.len()];
    for done in 0..n {
        let case = shots.draw_shuffled(train, &mut rng);
        let spec = RunSpec {
            folder: Some(folder.to_owned()),
            ..case.spec.clone()
        };
        let answer = case.answers[0];
        let prob = |logits: &[f32]| log_prob(logits, answer).map_or(0.0, f64::exp);
        for (chunk, sums) in heads.chunks(AT_ONCE).zip(sums.chunks_mut(AT_ONCE)) {
            let mut variants = vec![vec![]];
            variants.extend(chunk.iter().map(|head| vec![mix(*head, &name(*head), 1.0)]));
            let heard = &mut |_| go_on(done as f32 / n as f32);
            let swept = engine.sweep(&spec, &variants, Reading::default(), heard)?;
            for (sum, logits) in sums.iter_mut().zip(&swept[1..]) {
                *sum += (prob(logits) - prob(&swept[0])) / n as f64;
            }
        }
    }
    let mut order: Vec<usize> = (0..heads.len()).collect();
    order.sort_by(|a, b| sums[*b].total_cmp(&sums[*a]).then(a.cmp(b)));
    let top: Vec<HeadId> = order
        .iter()
        .take(settings.function_heads)
        .map(|i| heads[*i])
        .collect();
    let (n_heads, d_head) = (model.spec.n_heads, model.spec.d_head);
    let mut vector = vec![0.0; model.spec.d_model];
    for head in &top {
        let o = model.head_weights(*head)?.o;
        let t = &embedding[(head.layer * n_heads + head.head) * d_head..][..d_head];
        for (sum, row) in vector.iter_mut().zip(o.chunks_exact(d_head)) {
            *sum += row.iter().zip(t).map(|(w, t)| w * t).sum::<f32>();
        }
    }
    Ok(FunctionVector {
        vector,
        layer: model.spec.n_layers / 3 + 1,
        effects: sums,
        heads: top,
    })
}

/// The stream at the end of a prompt with examples, in the layer where it does most in place of a prompt's own.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskVector {
    /// `[d_model]`
    pub vector: Vec<f32>,
    /// Whose resid_pre it replaces.
    pub layer: usize,
    /// Of each layer from 1 on, on validating prompts.
    pub effects: Vec<Effect>,
}

impl TaskVector {
    pub fn edits(&self) -> Vec<Edit> {
        replacing(self.layer, TASK)
    }

    pub(super) fn table(&self) -> Table {
        let rows = self.effects.iter().enumerate().map(|(i, effect)| {
            vec![
                Cell::from(format!("R{}", i + 1)),
                Cell::from(effect.accuracy),
                Cell::from(effect.loss),
                Cell::from(if i + 1 == self.layer { "chosen" } else { "" }),
            ]
        });
        Table {
            name: "task vector by layer, validating prompts".into(),
            columns: ["replaced", "accuracy", "loss", ""]
                .map(str::to_owned)
                .into(),
            rows: rows.collect(),
        }
    }
}

/// The stream of a layer's last position becomes a vector of the file.
fn replacing(layer: usize, name: &str) -> Vec<Edit> {
    let target = Target::Resid(layer);
    let zero = Edit {
        target,
        op: Op::Zero,
        at: Positions::Last,
    };
    vec![zero, add(target, name, 1.0, Positions::Last)]
}

/// Takes the vectors of all layers from a prompt with examples, and the layer by prompts without.
pub fn task_vector(
    engine: &mut Engine,
    shown: &Case,
    valid: &[Case],
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<TaskVector, AnalysisError> {
    if !go_on(0.0) {
        return Err(RunError::Stopped.into());
    }
    let n_layers = engine.model().spec.n_layers;
    // A model of a single layer has no stream between layers but the last.
    let layers: Vec<usize> = (1..n_layers.max(2)).collect();
    let sites: Vec<Site> = layers
        .iter()
        .map(|layer| match layer {
            layer if *layer < n_layers => Site::Block(*layer, Part::ResidPre),
            layer => Site::Block(layer - 1, Part::ResidPost),
        })
        .collect();
    let d_model = engine.model().spec.d_model;
    let dumped = engine.dump(&shown.spec, &sites)?;
    let at = shown.spec.position * d_model;
    let tensors: Vec<(String, Vec<f32>)> = layers
        .iter()
        .zip(&dumped)
        .map(|(layer, of)| (format!("R{layer}"), of.values[at..at + d_model].to_vec()))
        .collect();
    let scratch = Scratch::new(&tensors)?;
    let variants: Vec<Variant> = layers
        .iter()
        .map(|layer| replacing(*layer, &format!("R{layer}")).into())
        .collect();
    // A layer is chosen by first tokens: whole answers would cost a run each for every layer.
    let valid: Vec<Case> = valid
        .iter()
        .map(|case| Case {
            whole: Whole::default(),
            ..case.clone()
        })
        .collect();
    let effects = effects(engine, &valid, &variants, &scratch.folder(), go_on)?;
    let best = (0..layers.len())
        .max_by(|a, b| {
            let (a, b) = (&effects[*a], &effects[*b]);
            a.accuracy
                .total_cmp(&b.accuracy)
                .then(b.loss.total_cmp(&a.loss))
        })
        .unwrap_or(0);
    Ok(TaskVector {
        vector: tensors[best].1.clone(),
        layer: layers[best],
        effects,
    })
}
