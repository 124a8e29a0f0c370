//! Path patching of heads into the queries of later heads (Wang et al. 2022, "Interpretability in the wild", section 3.2
//! and its appendix): what a sender says of another prompt reaches the logits only by where the receivers then look.
//!
//! First pass: z of the sender at the read position is the contrast's, later attention there stays as it was, MLPs and
//! norms follow; the receivers' queries are noted. Second pass: an unedited run, but for those queries. Both are single
//! rows, since no earlier position is touched and none sees a later one.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::{Engine, RunError, Unwatched};
use super::{Reading, RunSpec};
use crate::edit::{Edit, Op, Positions, Target};
use crate::ids::HeadId;
use crate::model::plan::{Change, Plan, RowEdit};
use crate::model::site::{Part, Site};

impl Engine {
    /// Logits of `tokens` at `spec`'s position for each sender, `[sender][token]`; `None` where no receiver stands in a
    /// later layer. `spec` needs a contrast in which its position has a partner.
    pub fn through_queries(
        &mut self,
        spec: &RunSpec,
        senders: &[HeadId],
        receivers: &[HeadId],
        tokens: &[u32],
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Vec<Option<Vec<f32>>>, RunError> {
        if !self.model().spec.is_causal() {
            return Err(RunError::NotCausal);
        }
        let spec = RunSpec {
            edits: vec![],
            ..spec.clone()
        };
        self.check(&spec)?;
        self.unedited(&spec, &mut Unwatched)?;
        let queries = self.patched_queries(&spec, senders, receivers, &mut |f| go_on(f / 2.0))?;
        let reading = Reading::of(tokens);
        let plain = self.plain_reading(&spec, Some(tokens), &[])?;
        let plans: Vec<Plan> = queries.iter().flatten().cloned().collect();
        let results = vec![plain; plans.len()];
        let found = self.run_plans(&spec, plans, reading, results, &mut |f| {
            go_on(f64::from(f).mul_add(0.5, 0.5) as f32)
        })?;
        let mut found = found.into_iter();
        let reads = |plan: &Option<Plan>| plan.as_ref().and_then(|_| found.next());
        Ok(queries.iter().map(reads).collect())
    }

    /// A plan a sender that gives the later receivers the queries they have once the sender is patched.
    fn patched_queries(
        &mut self,
        spec: &RunSpec,
        senders: &[HeadId],
        receivers: &[HeadId],
        go_on: &mut dyn FnMut(f32) -> bool,
    ) -> Result<Vec<Option<Plan>>, RunError> {
        let shape = self.model().spec.clone();
        let mut plans: Vec<Option<Plan>> = vec![None; senders.len()];
        let Some(last) = receivers.iter().map(|head| head.layer).max() else {
            return Ok(plans);
        };
        let mut order: Vec<usize> = (0..senders.len())
            .filter(|i| senders[*i].layer < last)
            .collect();
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
        for layer in first + 1..last {
            let site = Site::Block(layer, Part::AttnOut);
            let values = transformer.values_at(kept, site)?;
            let own = &values[spec.position * shape.d_model..][..shape.d_model];
            let freeze = RowEdit {
                columns: 0..shape.d_model,
                positions: vec![spec.position],
                change: Change::Fill(own.to_vec()),
            };
            for (i, plan) in order.iter().zip(&mut patched) {
                if senders[*i].layer < layer {
                    plan.rows.entry(site).or_default().push(freeze.clone());
                }
            }
        }
        let record: BTreeSet<Site> = receivers
            .iter()
            .map(|head| Site::Block(head.layer, Part::Q))
            .collect();
        let past = transformer.past(kept, &Plan::default(), spec.position)?;
        let mut forward = transformer.gather_row(&past, first, &record);
        let mut waiting = order.iter().zip(&patched).peekable();
        let mut under_way: Vec<usize> = Vec::new();
        while forward.next_layer() <= last {
            let layer = forward.next_layer();
            if !go_on((layer - first) as f32 / (last + 1 - first) as f32) {
                return Err(RunError::Stopped);
            }
            let own = under_way.len();
            while let Some((i, plan)) = waiting.next_if(|(i, _)| senders[**i].layer == layer) {
                let entry = plan.first_difference(&Plan::default());
                let entry = entry.unwrap_or(crate::model::plan::Entry {
                    layer,
                    after_pattern: true,
                });
                forward.join(kept, entry, plan)?;
                under_way.push(*i);
            }
            let mut recorded = forward.step()?.unwrap_or_default();
            let Some(q) = recorded.remove(&Site::Block(layer, Part::Q)) else {
                continue;
            };
            // Those that joined here have their attention from the kept run: no query of theirs was made.
            let width = shape.n_heads * shape.d_head;
            let q: Vec<f32> = q.flatten_all()?.to_vec1()?;
            for (row, i) in q.chunks_exact(width).zip(&under_way[..own]) {
                let plan = plans[*i].get_or_insert_with(Plan::default);
                plan.give_queries(layer, receivers, row, shape.d_head, spec.position);
            }
        }
        Ok(plans)
    }
}

impl Plan {
    /// The receivers of a layer get a row's queries, `[head, d_head]`.
    fn give_queries(
        &mut self,
        layer: usize,
        receivers: &[HeadId],
        row: &[f32],
        d_head: usize,
        position: usize,
    ) {
        let heads: BTreeMap<usize, &HeadId> = receivers
            .iter()
            .filter(|head| head.layer == layer)
            .map(|head| (head.head, head))
            .collect();
        let edits = self.rows.entry(Site::Block(layer, Part::Q)).or_default();
        edits.extend(heads.keys().map(|head| {
            let columns = head * d_head..(head + 1) * d_head;
            RowEdit {
                change: Change::Fill(row[columns.clone()].to_vec()),
                columns,
                positions: vec![position],
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::load::{Unreported, open};

    const IDS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];
    const OTHER: [u32; 9] = [3, 1, 7, 1, 5, 8, 2, 6, 5];
    const TOKENS: [u32; 3] = [7, 11, 2];

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
            position: IDS.len() - 1,
            last: IDS.len() - 1,
            ..RunSpec::default()
        }
    }

    /// The same by the plain way: whole passes, each from the first layer, with every value written in.
    fn by_hand(engine: &mut Engine, sender: HeadId, receivers: &[HeadId]) -> Option<Vec<f32>> {
        let model = Arc::clone(engine.model());
        let (shape, transformer) = (&model.spec, &model.transformer);
        let later: Vec<HeadId> = receivers
            .iter()
            .copied()
            .filter(|head| head.layer > sender.layer)
            .collect();
        if later.is_empty() {
            return None;
        }
        let end = IDS.len() - 1;
        let dump = |engine: &mut Engine, ids: &[u32], site| {
            let spec = RunSpec {
                ids: ids.into(),
                contrast: None,
                ..spec()
            };
            engine.dump(&spec, &[site]).unwrap().remove(0).values
        };
        let row = |values: &[f32], width: usize| values[end * width..][..width].to_vec();
        let fill = |plan: &mut Plan, site, columns: std::ops::Range<usize>, values: Vec<f32>| {
            plan.rows.entry(site).or_default().push(RowEdit {
                columns,
                positions: vec![end],
                change: Change::Fill(values),
            });
        };
        let mut plan = Plan::default();
        let width = shape.n_heads * shape.d_head;
        let own = sender.head * shape.d_head..(sender.head + 1) * shape.d_head;
        let z = dump(engine, &OTHER, Site::Block(sender.layer, Part::Z));
        let z = row(&z, width)[own.clone()].to_vec();
        fill(&mut plan, Site::Block(sender.layer, Part::Z), own, z);
        for layer in sender.layer + 1..shape.n_layers {
            let site = Site::Block(layer, Part::AttnOut);
            let out = dump(engine, &IDS, site);
            fill(&mut plan, site, 0..shape.d_model, row(&out, shape.d_model));
        }
        let record: BTreeSet<Site> = (0..shape.n_layers)
            .map(|layer| Site::Block(layer, Part::Q))
            .collect();
        let run = |plan: &Plan, record: &BTreeSet<Site>| {
            let mut forward = transformer.start(&IDS, plan, record).unwrap();
            let mut recorded = BTreeMap::new();
            while let Some(mut of_layer) = forward.step().unwrap() {
                recorded.append(&mut of_layer);
            }
            let resid = forward.finish(Some(&[end])).unwrap();
            let logits = forward.logits_of(resid, &TOKENS).unwrap().unwrap();
            (
                recorded,
                logits.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            )
        };
        let (queries, _) = run(&plan, &record);
        let mut second = Plan::default();
        for head in later {
            let site = Site::Block(head.layer, Part::Q);
            let q = queries[&site]
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            let columns = head.head * shape.d_head..(head.head + 1) * shape.d_head;
            let values = row(&q, width)[columns.clone()].to_vec();
            fill(&mut second, site, columns, values);
        }
        Some(run(&second, &BTreeSet::new()).1)
    }

    #[test]
    fn it_is_the_literal_two_passes() {
        for name in ["tiny-gpt2", "tiny-llama", "tiny-gemma2", "tiny-gpt-neox"] {
            let mut engine = engine(name);
            let shape = engine.model().spec.clone();
            let last = shape.n_layers - 1;
            let receivers = [
                HeadId::new(last, 1),
                HeadId::new(last, 0),
                HeadId::new(1, 1),
            ];
            let senders: Vec<HeadId> = (0..shape.n_layers)
                .flat_map(|layer| (0..shape.n_heads).map(move |head| HeadId::new(layer, head)))
                .collect();
            let found = engine
                .through_queries(&spec(), &senders, &receivers, &TOKENS, &mut |_| true)
                .unwrap();
            let plain = engine.plain_reading(&spec(), Some(&TOKENS), &[]).unwrap();
            let mut largest = 0.0f32;
            for (sender, found) in senders.iter().zip(&found) {
                let expected = by_hand(&mut engine, *sender, &receivers);
                assert_eq!(found.is_some(), expected.is_some(), "{name} {sender}");
                for ((a, b), plain) in found
                    .iter()
                    .flatten()
                    .zip(expected.iter().flatten())
                    .zip(&plain)
                {
                    assert!((a - b).abs() < 2e-5, "{name} {sender}: {a} {b}");
                    largest = largest.max((b - plain).abs());
                }
            }
            assert!(largest > 1e-3, "{name}: nothing was moved ({largest})");
        }
    }

    #[test]
    fn what_cannot_be_done_is_an_error() {
        let heads = [HeadId::new(0, 0), HeadId::new(1, 0)];
        let go = |name: &str, spec: &RunSpec, go_on: bool| {
            engine(name).through_queries(spec, &heads[..1], &heads[1..], &TOKENS, &mut |_| go_on)
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
    }
}
