//! From heads into the inputs of MLPs (Zhang et al. 2024, arXiv 2409.01659, section 3). What an MLP writes is a function of
//! what it reads, so that is what is handed on.

use std::collections::BTreeSet;

use super::fill;
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::plan::Plan;
use crate::model::site::{Part, Site};
use crate::model::spec::BlockOrder;

impl Engine {
    /// Logits of `tokens` at `spec`'s position for each sender and each layer's MLP, `[sender][layer][token]`; `None`
    /// where the MLP reads before the sender writes. `spec` needs a contrast in which its position has a partner.
    pub fn through_mlps(
        &mut self,
        spec: &RunSpec,
        senders: &[HeadId],
        tokens: &[u32],
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Vec<Vec<Option<Vec<f32>>>>, RunError> {
        let spec = self.prepared(spec)?;
        let (n_layers, order) = (self.model().spec.n_layers, self.model().spec.order);
        let site = |layer| Site::Block(layer, Part::MlpOut);
        let sites: BTreeSet<Site> = (0..n_layers).map(site).collect();
        let noted = self.first_pass(&spec, senders, &sites, &mut |f| go_on(f / 2.0))?;
        // [sender, layer]
        let mut plans: Vec<Option<Plan>> = vec![None; senders.len() * n_layers];
        for layer in 0..n_layers {
            for (sender, row) in noted.get(&site(layer)).into_iter().flatten() {
                if senders[*sender].layer < layer || order == BlockOrder::Sequential {
                    plans[sender * n_layers + layer] = Some(Plan {
                        rows: [(site(layer), vec![fill(spec.position, 0, row)])].into(),
                        ..Plan::default()
                    });
                }
            }
        }
        let found = self.second_pass(&spec, &plans, tokens, &mut |f| go_on(0.5 + f / 2.0))?;
        Ok(found.chunks(n_layers).map(<[_]>::to_vec).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::experiment::Reading;
    use crate::model::load::{Unreported, open};
    use crate::model::plan::{Change, RowEdit};

    const IDS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];
    const OTHER: [u32; 9] = [3, 1, 7, 1, 5, 8, 2, 6, 5];
    const TOKENS: [u32; 3] = [7, 11, 2];
    const END: usize = IDS.len() - 1;

    fn engine(name: &str) -> Engine {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/tests/fixtures/models/{name}");
        Engine::new(Arc::new(open(&path, &mut Unreported).unwrap()))
    }

    fn spec() -> RunSpec {
        RunSpec {
            ids: IDS.as_slice().into(),
            contrast: Some(OTHER.as_slice().into()),
            n_prompt: IDS.len(),
            reach: IDS.len(),
            position: END,
            last: END,
            ..RunSpec::default()
        }
    }

    fn fill(plan: &mut Plan, site: Site, columns: std::ops::Range<usize>, values: &[f32]) {
        plan.rows.entry(site).or_default().push(RowEdit {
            columns,
            positions: vec![END],
            change: Change::Fill(values.to_vec()),
        });
    }

    /// Whole passes from the first layer: of the sender's patch what the MLP reads behind its norm is noted, and written
    /// into a second one.
    fn by_hand(engine: &mut Engine, sender: HeadId, layer: usize, is_shared: bool) -> Vec<f32> {
        let model = Arc::clone(engine.model());
        let (shape, transformer) = (&model.spec, &model.transformer);
        let width = shape.n_heads * shape.d_head;
        let run = |ids: &[u32], plan: &Plan, record: &BTreeSet<Site>| {
            let mut forward = transformer.start(ids, plan, record).unwrap();
            let mut rows = BTreeMap::new();
            let mut note = |recorded: crate::model::transformer::Activations| {
                for (site, values) in recorded {
                    let values: Vec<f32> = values.flatten_all().unwrap().to_vec1().unwrap();
                    let width = values.len() / ids.len();
                    rows.insert(site, values[END * width..][..width].to_vec());
                }
            };
            while let Some(recorded) = forward.step().unwrap() {
                note(recorded);
            }
            let resid = forward.finish(None).unwrap();
            note(forward.recorded());
            let resid = resid.narrow(0, END, 1).unwrap().contiguous().unwrap();
            let logits = forward.logits_of(resid, &TOKENS).unwrap().unwrap();
            (
                rows,
                logits.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            )
        };
        let of = |layer, part| Site::Block(layer, part);
        // A norm that attention shares cannot be changed for the MLP alone; what it writes says the same.
        let part = if is_shared {
            Part::MlpOut
        } else {
            Part::Ln2Normalized
        };
        let read = of(layer, part);
        let z = of(sender.layer, Part::Z);
        let theirs = run(&OTHER, &Plan::default(), &BTreeSet::from([z])).0;
        let outs: BTreeSet<Site> = (0..shape.n_layers)
            .map(|layer| of(layer, Part::AttnOut))
            .collect();
        let own = run(&IDS, &Plan::default(), &outs).0;
        let mut plan = Plan::default();
        let columns = sender.head * shape.d_head..(sender.head + 1) * shape.d_head;
        assert_eq!(theirs[&z].len(), width);
        fill(&mut plan, z, columns.clone(), &theirs[&z][columns]);
        for later in sender.layer + 1..shape.n_layers {
            let site = of(later, Part::AttnOut);
            fill(&mut plan, site, 0..shape.d_model, &own[&site]);
        }
        let first = run(&IDS, &plan, &BTreeSet::from([read])).0;
        let mut second = Plan::default();
        fill(&mut second, read, 0..shape.d_model, &first[&read]);
        run(&IDS, &second, &BTreeSet::new()).1
    }

    #[test]
    fn it_is_the_literal_two_passes() {
        for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-gpt-neox"] {
            let mut engine = engine(name);
            let shape = engine.model().spec.clone();
            let is_sequential = shape.order == BlockOrder::Sequential;
            let is_shared = shape.order == BlockOrder::Parallel { shared_norm: true };
            let senders: Vec<HeadId> = (0..shape.n_layers)
                .rev()
                .flat_map(|layer| (0..shape.n_heads).map(move |head| HeadId::new(layer, head)))
                .collect();
            let found = engine
                .through_mlps(&spec(), &senders, &TOKENS, &mut |_| true)
                .unwrap();
            let plain = engine
                .sweep(&spec(), &[vec![]], Reading::of(&TOKENS), &mut |_| true)
                .unwrap()
                .remove(0);
            let mut largest = 0.0f32;
            for (sender, found) in senders.iter().zip(&found) {
                for (layer, found) in found.iter().enumerate() {
                    let reads = layer > sender.layer || (layer == sender.layer && is_sequential);
                    assert_eq!(found.is_some(), reads, "{name} {sender} {layer}");
                    let Some(found) = found else { continue };
                    let right = by_hand(&mut engine, *sender, layer, is_shared);
                    for ((a, b), plain) in found.iter().zip(&right).zip(&plain) {
                        assert!((a - b).abs() < 2e-5, "{name} {sender} {layer}: {a} {b}");
                        largest = largest.max((b - plain).abs());
                    }
                }
            }
            assert!(largest > 1e-3, "{name}: nothing was moved ({largest})");
        }
    }

    #[test]
    fn what_cannot_be_done_is_an_error() {
        let heads = [HeadId::new(0, 0)];
        let go = |name: &str, spec: &RunSpec, go_on: bool| {
            engine(name).through_mlps(spec, &heads, &TOKENS, &mut |_| go_on)
        };
        let error = go("tiny-bert", &spec(), true).unwrap_err();
        assert!(matches!(error, RunError::NotCausal), "{error}");
        let error = go("tiny-gpt2", &spec(), false).unwrap_err();
        assert!(matches!(error, RunError::Stopped), "{error}");
        let alone = RunSpec {
            contrast: None,
            ..spec()
        };
        let error = go("tiny-gpt2", &alone, true).unwrap_err();
        assert!(matches!(error, RunError::Edit(_)), "{error}");
        assert_eq!(
            engine("tiny-gpt2")
                .through_mlps(&spec(), &[], &TOKENS, &mut |_| true)
                .unwrap(),
            Vec::<Vec<Option<Vec<f32>>>>::new()
        );
    }
}
