//! Path patching of heads into the inputs of MLPs (Zhang et al. 2024, arXiv 2409.01659, section 3; Wang et al. 2022,
//! section 3.2): what a sender says of another prompt reaches the logits only by what one MLP then reads.
//!
//! First pass: z of the sender at the read position is the contrast's, later attention there stays as it was, MLPs and
//! norms follow; what each MLP then writes is noted, which is a function of what it reads. Second pass: an unedited run in
//! which one MLP writes that. Both are single rows, since no earlier position is touched and none sees a later one.

use std::collections::BTreeSet;

use super::engine::{Engine, RunError, Unwatched};
use super::{Reading, RunSpec};
use crate::edit::{Edit, Op, Positions, Target};
use crate::ids::HeadId;
use crate::model::plan::{Change, Entry, Plan, RowEdit};
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
        if !self.model().spec.is_causal() {
            return Err(RunError::NotCausal);
        }
        let spec = RunSpec {
            edits: vec![],
            ..spec.clone()
        };
        self.check(&spec)?;
        self.unedited(&spec, &mut Unwatched)?;
        let written = self.written_by_mlps(&spec, senders, &mut |f| go_on(f / 2.0))?;
        let reading = Reading::of(tokens);
        let plain = self.plain_reading(&spec, Some(tokens), &[])?;
        let plans: Vec<Plan> = written.iter().flatten().flatten().cloned().collect();
        let results = vec![plain; plans.len()];
        let found = self.run_plans(&spec, plans, reading, results, &mut |f| {
            go_on(f64::from(f).mul_add(0.5, 0.5) as f32)
        })?;
        let mut found = found.into_iter();
        let mut of_layer = |plan: &Option<Plan>| plan.as_ref().and_then(|_| found.next());
        let of_sender = |plans: &Vec<_>| plans.iter().map(&mut of_layer).collect();
        Ok(written.iter().map(of_sender).collect())
    }

    /// A plan a sender and layer, in which the layer's MLP writes what it writes once the sender is patched.
    fn written_by_mlps(
        &mut self,
        spec: &RunSpec,
        senders: &[HeadId],
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Vec<Vec<Option<Plan>>>, RunError> {
        let shape = self.model().spec.clone();
        let mut plans = vec![vec![None; shape.n_layers]; senders.len()];
        let mut order: Vec<usize> = (0..senders.len()).collect();
        order.sort_by_key(|i| senders[*i].layer);
        let Some(first) = order.first().map(|i| senders[*i].layer) else {
            return Ok(plans);
        };
        let resample = |head: HeadId| {
            vec![Edit {
                target: Target::Head(head),
                op: Op::Resample,
                at: Positions::At(vec![spec.position]),
            }]
        };
        let edits: Vec<Vec<Edit>> = order.iter().map(|i| resample(senders[*i])).collect();
        let mut patched = self.plans(spec, &edits, None)?;
        let (transformer, kept) = (&self.model().transformer, self.own_kept()?);
        let fill = |values: &[f32]| RowEdit {
            columns: 0..shape.d_model,
            positions: vec![spec.position],
            change: Change::Fill(values.to_vec()),
        };
        for layer in first + 1..shape.n_layers {
            let site = Site::Block(layer, Part::AttnOut);
            let values = transformer.values_at(kept, site)?;
            let freeze = fill(&values[spec.position * shape.d_model..][..shape.d_model]);
            for (i, plan) in order.iter().zip(&mut patched) {
                if senders[*i].layer < layer {
                    plan.rows.entry(site).or_default().push(freeze.clone());
                }
            }
        }
        let record: BTreeSet<Site> = (first..shape.n_layers)
            .map(|layer| Site::Block(layer, Part::MlpOut))
            .collect();
        let past = transformer.past(kept, &Plan::default(), spec.position)?;
        let mut forward = transformer.gather_row(&past, first, &record);
        let mut waiting = order.iter().zip(&patched).peekable();
        let mut under_way: Vec<usize> = vec![];
        while forward.next_layer() < shape.n_layers {
            let layer = forward.next_layer();
            if !go_on((layer - first) as f32 / (shape.n_layers - first) as f32) {
                return Err(RunError::Stopped);
            }
            while let Some((i, plan)) = waiting.next_if(|(i, _)| senders[**i].layer == layer) {
                let entry = Entry {
                    layer,
                    after_pattern: true,
                };
                forward.join(kept, entry, plan)?;
                under_way.push(*i);
            }
            let mut recorded = forward.step()?.unwrap_or_default();
            // The last layer ends at its z.
            if layer + 1 == shape.n_layers {
                forward.finish(Some(&[spec.position]))?;
                recorded = forward.recorded();
            }
            let site = Site::Block(layer, Part::MlpOut);
            let Some(written) = recorded.remove(&site) else {
                continue;
            };
            let written: Vec<f32> = written.flatten_all()?.to_vec1()?;
            for (row, i) in written.chunks_exact(shape.d_model).zip(&under_way) {
                let sender = senders[*i].layer;
                if sender < layer || shape.order == BlockOrder::Sequential {
                    plans[*i][layer] = Some(Plan {
                        rows: [(site, vec![fill(row)])].into(),
                        ..Plan::default()
                    });
                }
            }
        }
        Ok(plans)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::model::load::{Unreported, open};

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
