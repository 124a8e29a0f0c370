//! From heads into the queries of later heads: what says where to look.

use std::collections::BTreeSet;

use super::fill;
use crate::experiment::RunSpec;
use crate::experiment::engine::{Engine, RunError};
use crate::ids::HeadId;
use crate::model::plan::Plan;
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
        let spec = self.prepared(spec)?;
        let receivers: BTreeSet<HeadId> = receivers.iter().copied().collect();
        let q = |head: &HeadId| Site::Block(head.layer, Part::Q);
        let sites = receivers.iter().map(q).collect();
        let noted = self.first_pass(&spec, senders, &sites, &mut |f| go_on(f / 2.0))?;
        let d_head = self.model().spec.d_head;
        let mut plans: Vec<Option<Plan>> = vec![None; senders.len()];
        for head in &receivers {
            for (sender, row) in noted.get(&q(head)).into_iter().flatten() {
                let start = head.head * d_head;
                let own = fill(spec.position, start, &row[start..start + d_head]);
                let plan = plans[*sender].get_or_insert_with(Plan::default);
                plan.rows.entry(q(head)).or_default().push(own);
            }
        }
        self.second_pass(&spec, &plans, tokens, &mut |f| go_on(0.5 + f / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::model::load::{Unreported, open};
    use crate::model::plan::{Change, RowEdit};

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
