//! Methods against the plain way to the same numbers, on every fixture model, and on heads that were planted.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod attribution_and_lens;
#[path = "../support/mod.rs"]
mod support;
mod sweeps;

use std::sync::Arc;

use headscope::analysis::attribution::{self, Summands, attribute, summands};
use headscope::analysis::cases::Whole;
use headscope::analysis::metric::Metric;
use headscope::analysis::patching::{self, Direction, What, patch};
use headscope::analysis::{Case, Cell, Unheard, ablation, lens};
use headscope::edit::{Edit, Op, Positions};
use headscope::experiment::engine::{Engine, Unwatched};
use headscope::experiment::{
    Effect, Means, Reading, Readout, RunSpec, beside, lens_of as lens_of_streams,
};
use headscope::ids::HeadId;
use headscope::model::Model;
use headscope::model::site::{Part, Site};
use headscope::model::spec::{Head, Placement};

use support::{close, every_fixture_model, fixture_model, run_spec};

const IDS: [u32; 11] = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5];

fn case(position: usize) -> Case {
    let mut other = IDS;
    other[4] = 7;
    Case {
        label: "a fixture".into(),
        spec: RunSpec {
            position,
            contrast: Some(other.as_slice().into()),
            ..run_spec(&IDS, &[])
        },
        answers: vec![7],
        wrong: vec![2],
        ..Case::default()
    }
}

fn engine(model: &Arc<Model>) -> Engine {
    Engine::new(Arc::clone(model))
}

fn has_sum(model: &Model) -> bool {
    model.spec.head == Head::NextToken && model.spec.placement != Placement::Post
}

fn logits(model: &Arc<Model>, spec: &RunSpec) -> Vec<f32> {
    let outcome = engine(model).run(spec, &mut Unwatched).unwrap();
    let pass = outcome.after.unwrap_or(outcome.before);
    pass.logits.unwrap().to_vec()
}

/// The difference of the logits before the cap.
fn uncapped(model: &Model, logits: &[f32], case: &Case) -> f64 {
    let (a, b) = case.pair().unwrap();
    let of = |id: u32| {
        let logit = f64::from(logits[id as usize]);
        model
            .spec
            .logit_cap
            .map_or(logit, |cap| cap * (logit / cap).atanh())
    };
    of(a) - of(b)
}
