//! The background thread as the window uses it: newest request wins, old results stay until new ones come.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use headscope::compute::Compute;
use headscope::experiment::{RunSpec, Side};
use headscope::model::Model;
use headscope::worker::{Event, Live, RunId, Worker};

use support::{fixture, run_spec};

const PATIENCE: Duration = Duration::from_mins(1);

fn worker() -> Worker {
    Worker::start(Arc::new(|| {})).unwrap()
}

/// Waits until an event answers `pick`.
fn wait_for<T>(worker: &mut Worker, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(found) = worker
            .wait(Duration::from_secs(1))
            .and_then(|event| pick(&event))
        {
            return found;
        }
    }
    panic!("no such event within {PATIENCE:?}");
}

fn load(worker: &mut Worker, source: &str) -> Arc<Model> {
    worker.load(source, Compute::default());
    wait_for(worker, |event| match event {
        Event::Loaded(model) => Some(Arc::clone(model)),
        Event::LoadFailed { message, .. } => panic!("{message}"),
        _ => None,
    })
}

fn tiny(worker: &mut Worker) -> Arc<Model> {
    load(worker, fixture("models/tiny-gpt2").to_str().unwrap())
}

fn spec(edits: &[&str]) -> Arc<RunSpec> {
    Arc::new(run_spec(&[3, 1, 4, 1, 5], edits))
}

fn finish(worker: &mut Worker, live: &mut Live, run: RunId) {
    wait_for(worker, |event| {
        live.apply(event);
        matches!(event, Event::RunDone { run: done, .. } if *done == run).then_some(())
    });
}

#[test]
fn of_many_requests_the_newest_is_answered() {
    let mut worker = worker();
    let model = tiny(&mut worker);
    let mut live = Live::default();
    live.reset(model.spec.n_layers);
    let mut newest = RunId::default();
    for i in 0..200 {
        let spec = spec(&[&format!("L0H1=scale({i})")]);
        newest = worker.submit(&model, Arc::clone(&spec), &[]);
        live.submitted(newest, spec);
    }
    finish(&mut worker, &mut live, newest);
    assert!(live.complete && live.error.is_none());
    let expected = {
        let mut engine = headscope::experiment::engine::Engine::new(Arc::clone(&model));
        let outcome = engine.run(
            &spec(&["L0H1=scale(199)"]),
            &mut headscope::experiment::engine::Unwatched,
        );
        outcome.unwrap().after.unwrap().logits
    };
    assert_eq!(live.after.logits, expected);
}

#[test]
fn old_results_stay_and_are_known_as_old() {
    let mut worker = worker();
    let model = tiny(&mut worker);
    let mut live = Live::default();
    live.reset(model.spec.n_layers);
    let first = worker.submit(&model, spec(&[]), &[]);
    live.submitted(first, spec(&[]));
    finish(&mut worker, &mut live, first);
    let shown = live.layer(1).unwrap().run;
    assert!(!live.is_old(shown));
    let second = worker.submit(&model, spec(&["L0H0=zero"]), &[]);
    live.submitted(second, spec(&["L0H0=zero"]));
    assert!(
        live.is_old(live.layer(1).unwrap().run),
        "the map of before is still there, as an old one"
    );
    assert_eq!(live.current_side(), Side::After);
    finish(&mut worker, &mut live, second);
    assert!(!live.is_old(live.layer(1).unwrap().run));
}

#[test]
fn a_refused_edit_is_an_error_and_the_worker_goes_on() {
    let mut worker = worker();
    let model = tiny(&mut worker);
    let mut live = Live::default();
    live.reset(model.spec.n_layers);
    let refused = worker.submit(&model, spec(&["L9H0=zero"]), &[]);
    live.submitted(refused, spec(&["L9H0=zero"]));
    wait_for(&mut worker, |event| {
        live.apply(event);
        matches!(event, Event::RunFailed { .. }).then_some(())
    });
    assert!(
        live.error
            .as_deref()
            .is_some_and(|error| error.contains("L9H0=zero"))
    );
    let good = worker.submit(&model, spec(&[]), &[]);
    live.submitted(good, spec(&[]));
    finish(&mut worker, &mut live, good);
    assert!(live.error.is_none() && live.before.logits.is_some());
}

#[test]
fn a_model_that_cannot_be_opened_says_why() {
    let mut worker = worker();
    worker.load("/no/such/model", Compute::default());
    let message = wait_for(&mut worker, |event| match event {
        Event::LoadFailed { message, .. } => Some(message.clone()),
        _ => None,
    });
    assert!(
        message.contains("/no/such/model") && message.contains("config.json"),
        "{message}"
    );
    assert_eq!(load(&mut worker, "demo").name, "demo");
}

#[test]
fn maps_that_are_told_again_are_not_pooled_again() {
    let mut worker = worker();
    let model = tiny(&mut worker);
    let mut live = Live::default();
    live.reset(model.spec.n_layers);
    let mut run = |edits: &[&str]| {
        let id = worker.submit(&model, spec(edits), &[]);
        live.submitted(id, spec(edits));
        finish(&mut worker, &mut live, id);
        let ids = |pass: &headscope::worker::LivePass| -> Vec<u64> {
            pass.layers
                .iter()
                .flatten()
                .map(|layer| layer.overview.id)
                .collect()
        };
        (ids(&live.before), ids(&live.after))
    };
    let (plain, _) = run(&[]);
    let (before, after) = run(&["L1H0=uniform"]);
    assert_eq!(before, plain);
    assert_eq!(
        after[0], plain[0],
        "the layer before the edit is the plain run's"
    );
    assert_ne!(after[1], plain[1]);
    let (before, again) = run(&["L1H0=uniform", "L1H1=scale(2)"]);
    assert_eq!(
        (before, again),
        (plain, after),
        "after the pattern, no map changes"
    );
}
