//! A pass whose attention is done some other way: positions that are counted anew, keys that are left out. Everything else
//! is the model's.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::engine::{Engine, RunError};
use super::{Readout, RunSpec};
use crate::model::plan::{Entry, Plan};
use crate::model::site::{Part, Site};
use crate::model::transformer::Activations;

/// What a layer's attention reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    pub layer: usize,
    /// After rotary, where there is one: `[query, head, d_head]`.
    pub q: Vec<f32>,
    /// After rotary: `[key, kv_head, d_head]`.
    pub k: Vec<f32>,
    /// `[key, kv_head, d_head]`
    pub v: Vec<f32>,
}

/// Another attention. It is asked layer by layer, from the first.
pub trait Attend {
    /// z, `[query, head, d_head]`. `None` stops the pass.
    fn z(&mut self, read: &Read) -> Option<Vec<f32>>;
}

impl Engine {
    /// Logits `[vocab]` at `spec`'s position of a pass over its tokens, whose z is what `attend` makes it. No edits, and
    /// nothing of it is kept.
    pub fn run_attending(
        &mut self,
        spec: &RunSpec,
        attend: &mut dyn Attend,
    ) -> Result<Vec<f32>, RunError> {
        self.check(spec)?;
        let model = self.model();
        let n_layers = model.spec.n_layers;
        let transformer = &model.transformer;
        let (plan, record): (Plan, BTreeSet<Site>) = (
            Plan::default(),
            (0..n_layers)
                .flat_map(|layer| {
                    let [q, k] = Part::scored(&model.spec, layer);
                    [q, k, Part::V].map(|part| Site::Block(layer, part))
                })
                .collect(),
        );
        let mut forward = transformer.start(&spec.ids, &plan, &record)?;
        for layer in 0..n_layers {
            let recorded = forward.step()?.unwrap_or_default();
            let mut kept = forward.into_kept();
            let values = |part| values(&recorded, Site::Block(layer, part));
            let [q, k] = Part::scored(&model.spec, layer);
            let read = Read {
                layer,
                q: values(q)?,
                k: values(k)?,
                v: values(Part::V)?,
            };
            let z = attend.z(&read).ok_or(RunError::Stopped)?;
            kept.z[layer] = Tensor::from_vec(z, kept.z[layer].shape(), kept.z[layer].device())?;
            let after = Entry {
                layer,
                after_pattern: true,
            };
            forward = transformer.resume(&kept, after, &plan, &record)?;
            forward.step()?;
        }
        let resid = forward.finish(Some(&[spec.position]))?;
        let logits = forward.logits(resid)?.ok_or(RunError::NoLogits)?;
        Ok(logits.flatten_all()?.to_vec1()?)
    }

    /// The likeliest token of such a pass, again and again: `n` tokens after `spec`'s. `attend` makes one pass a token.
    pub fn generate_attending(
        &mut self,
        spec: &RunSpec,
        n: usize,
        attend: &mut dyn Attend,
    ) -> Result<Vec<u32>, RunError> {
        let mut ids = spec.ids.to_vec();
        for _ in 0..n {
            let longer = RunSpec {
                ids: ids.as_slice().into(),
                position: ids.len() - 1,
                ..spec.clone()
            };
            let logits = self.run_attending(&longer, attend)?;
            ids.extend(Readout::new(&logits).top(1).first().map(|token| token.id));
        }
        Ok(ids.split_off(spec.ids.len()))
    }
}

fn values(recorded: &Activations, site: Site) -> Result<Vec<f32>, RunError> {
    match recorded.get(&site) {
        Some(values) => Ok(values.flatten_all()?.to_vec1()?),
        None => Err(candle_core::Error::Msg(format!("{site} is not recorded")).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::experiment::engine::Unwatched;
    use crate::model::load::{Unreported, open};
    use crate::model::spec::ModelSpec;

    const IDS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

    /// The model's own attention, one row at a time; `head` of layer 1 gives nothing.
    struct Plain {
        spec: ModelSpec,
        silent: Option<usize>,
    }

    impl Attend for Plain {
        fn z(&mut self, read: &Read) -> Option<Vec<f32>> {
            let spec = &self.spec;
            let (dh, n) = (spec.d_head, IDS.len());
            let mut z = vec![0.0; read.q.len()];
            for query in 0..n {
                for head in 0..spec.n_heads {
                    if read.layer == 1 && self.silent == Some(head) {
                        continue;
                    }
                    let q = &read.q[(query * spec.n_heads + head) * dh..][..dh];
                    let at = |key: usize| (key * spec.n_kv_heads + spec.kv_head_of(head)) * dh;
                    let keys = spec.masks[read.layer].keys(query, n);
                    let scores: Vec<f64> = keys
                        .clone()
                        .map(|key| {
                            let k = &read.k[at(key)..][..dh];
                            let dot: f64 = q.iter().zip(k).map(|(q, k)| f64::from(q * k)).sum();
                            let score = dot * spec.score_scale;
                            spec.score_cap
                                .map_or(score, |cap| cap * (score / cap).tanh())
                        })
                        .collect();
                    let total: f64 = scores.iter().map(|s| s.exp()).sum();
                    let own = &mut z[(query * spec.n_heads + head) * dh..][..dh];
                    for (key, score) in keys.zip(scores) {
                        let weight = (score.exp() / total) as f32;
                        own.iter_mut()
                            .zip(&read.v[at(key)..])
                            .for_each(|(z, v)| *z += weight * v);
                    }
                }
            }
            Some(z)
        }
    }

    struct Stops;

    impl Attend for Stops {
        fn z(&mut self, _read: &Read) -> Option<Vec<f32>> {
            None
        }
    }

    #[test]
    fn the_model_s_own_attention_gives_the_model_s_own_logits() {
        for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-gpt-neox"] {
            let root = env!("CARGO_MANIFEST_DIR");
            let path = format!("{root}/tests/fixtures/models/{name}");
            let mut engine = Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()));
            let mut spec = RunSpec {
                ids: IDS.as_slice().into(),
                n_prompt: IDS.len(),
                reach: IDS.len(),
                position: IDS.len() - 2,
                last: IDS.len() - 1,
                ..RunSpec::default()
            };
            let mut plain = Plain {
                spec: engine.model().spec.clone(),
                silent: None,
            };
            let found = engine.run_attending(&spec, &mut plain).unwrap();
            let of = |engine: &mut Engine, spec: &RunSpec| {
                let outcome = engine.run(spec, &mut Unwatched).unwrap();
                outcome.after.unwrap_or(outcome.before).logits.unwrap()
            };
            let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
            let expected = of(&mut engine, &spec);
            assert!(close(&found, &expected), "{name}");
            plain.silent = Some(1);
            let silent = engine.run_attending(&spec, &mut plain).unwrap();
            spec.edits = vec!["L1H1=zero".parse().unwrap()];
            assert!(close(&silent, &of(&mut engine, &spec)), "{name}");
            assert!(!close(&silent, &expected), "{name}");

            let stopped = engine.run_attending(&spec, &mut Stops).unwrap_err();
            assert!(matches!(stopped, RunError::Stopped), "{stopped}");
        }
    }
}
