//! What heads write at the read position of a run, as logits of some tokens.

use crate::analysis::AnalysisError;
use crate::analysis::attribution::norm_scale;
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::site::{Part, Site};
use nalgebra::{DMatrix, RowDVector};

use super::token_circuit::Circuit;

/// What heads write for some tokens: `[d_head, token]` each, final gain folded in.
pub(super) struct Writers {
    tokens: Vec<u32>,
    pub(super) heads: Vec<DMatrix<f32>>,
}

impl Writers {
    pub(super) fn new(model: &Model, tokens: Vec<u32>) -> Result<Self, AnalysisError> {
        let circuit = Circuit::new(model, &tokens, true)?;
        let (n_layers, n_heads) = (model.spec.n_layers, model.spec.n_heads);
        let mut heads = Vec::with_capacity(n_layers * n_heads);
        for layer in 0..n_layers {
            for head in 0..n_heads {
                let weights = model.head_weights(HeadId::new(layer, head))?;
                heads.push(circuit.q(layer, &weights));
            }
        }
        Ok(Self { tokens, heads })
    }

    /// The logits that each head adds at the read position of a run, scales of norms as in the run: `[head][token]`.
    pub(super) fn logits(
        &self,
        engine: &mut Engine,
        spec: &RunSpec,
    ) -> Result<Vec<RowDVector<f32>>, AnalysisError> {
        let shape = engine.model().spec.clone();
        let layers = 0..shape.n_layers;
        let last = Site::final_resid(&shape);
        let mut sites: Vec<Site> = layers
            .clone()
            .flat_map(|layer| [Part::Z, Part::Ln1PostScale].map(|part| Site::Block(layer, part)))
            .collect();
        sites.push(last);
        let dumped = engine.dump(spec, &sites)?;
        let row = |site: Site| {
            let name = site.to_string();
            let found = dumped.iter().find(|dumped| dumped.name == name)?;
            let width: usize = found.shape[2..].iter().product();
            found
                .values
                .get(spec.position * width..(spec.position + 1) * width)
        };
        let resid = row(last).ok_or(RunError::NoLogits)?;
        let scale = match engine.model().final_gain() {
            Some(_) => norm_scale(resid, shape.norm, shape.norm_eps) as f32,
            None => 1.0,
        };
        let mut logits = vec![];
        for layer in layers {
            let z = row(Site::Block(layer, Part::Z)).ok_or(RunError::NoLogits)?;
            let post = row(Site::Block(layer, Part::Ln1PostScale));
            let post = post.and_then(|scale| scale.first()).copied().unwrap_or(1.0);
            for (head, z) in z.chunks_exact(shape.d_head).enumerate() {
                let q = &self.heads[layer * shape.n_heads + head];
                logits.push(RowDVector::from_row_slice(z) * q / (post * scale));
            }
        }
        Ok(logits)
    }

    pub(super) fn place(&self, token: u32) -> Option<usize> {
        self.tokens.binary_search(&token).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::attribution::summands;
    use crate::edit::{Edit, Op, Target};
    use crate::experiment::Experiment;
    use crate::experiment::resolve::resolve;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};
    use crate::prompt::Prompt;
    use std::sync::Arc;

    fn engine(name: &str) -> Engine {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = match name {
            demo::NAME => name.to_owned(),
            name => format!("{root}/tests/fixtures/models/{name}"),
        };
        Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()))
    }

    /// The difference of two tokens is what attribution says, which goes another way: its directions are per run.
    #[test]
    fn what_heads_add_is_their_attribution() {
        for name in [demo::NAME, "tiny-gpt2", "tiny-llama", "tiny-gemma2"] {
            let mut engine = engine(name);
            let model = Arc::clone(engine.model());
            let (a, b) = (5, 9);
            let writers = Writers::new(&model, vec![a, b]).unwrap();
            let ids: Vec<u32> = vec![1, 7, 4, 9, 3];
            let experiment = Experiment::new(Prompt::Ids(ids));
            let mut spec = resolve(&experiment, &model, None).unwrap().spec;
            let found = writers.logits(&mut engine, &spec).unwrap();
            let right = summands(&mut engine, &spec, (a, b)).unwrap().heads;
            let size = right.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            assert!(size > 0.0);
            for (found, right) in found.iter().zip(&right) {
                assert!(
                    (found[0] - found[1] - right).abs() < 1e-4 * size,
                    "{name}: {found} {right}"
                );
            }
            spec.edits = vec![Edit::new(Target::Head(HeadId::new(0, 1)), Op::Zero)];
            let found = writers.logits(&mut engine, &spec).unwrap();
            assert!(found[1].amax() < 1e-9, "a silenced head adds nothing");
        }
    }
}
