//! The background thread as the window uses it: newest request wins, old results stay until new ones come.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use headscope::compute::Compute;
use headscope::experiment::engine::Engine;
use headscope::experiment::{RunSpec, Side};
use headscope::model::Model;
use headscope::verify::Verdict;
use headscope::worker::{Event, LineState, Live, LiveText, RunId, TextId, Worker};

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
        let mut engine = Engine::new(Arc::clone(&model));
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
fn a_model_is_checked_once_no_run_is_wanted() {
    let mut worker = worker();
    let model = load(&mut worker, fixture("models/tiny-llama").to_str().unwrap());
    worker.check(&model);
    // A window that is being used: the check waits.
    let mut live = Live::default();
    live.reset(model.spec.n_layers);
    let started = Instant::now();
    let mut last = started;
    while started.elapsed() < Duration::from_millis(400) {
        let run = worker.submit(&model, spec(&["L0H1=scale(2)"]), &[]);
        live.submitted(run, spec(&["L0H1=scale(2)"]));
        wait_for(&mut worker, |event| match event {
            Event::Checked { .. } => panic!("checked between two runs"),
            Event::RunDone { run: done, .. } => (*done == run).then_some(()),
            _ => None,
        });
        last = Instant::now();
    }
    let report = wait_for(&mut worker, |event| match event {
        Event::Checked { model: of, report } => {
            assert!(Arc::ptr_eq(of, &model));
            Some(Arc::clone(report))
        }
        Event::CheckFailed { message, .. } => panic!("{message}"),
        _ => None,
    });
    assert!(last.elapsed() >= Duration::from_millis(100));
    assert_eq!(report.verdict(), Verdict::Checked, "{}", report.summary());
}

#[test]
fn a_reference_that_cannot_be_read_is_the_checks_failure() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        let from = fixture("models/tiny-gpt2").join(file);
        std::fs::copy(from, folder.path().join(file)).unwrap();
    }
    let reference = folder.path().join("headscope-reference.json");
    std::fs::write(reference, r#"{"schema_version":1}"#).unwrap();
    let mut worker = worker();
    let model = load(&mut worker, folder.path().to_str().unwrap());
    worker.check(&model);
    let message = wait_for(&mut worker, |event| match event {
        Event::CheckFailed { message, .. } => Some(message.clone()),
        _ => None,
    });
    assert!(
        message.contains("missing field `source`") && message.contains("headscope-reference.json"),
        "{message}"
    );
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

/// The ids that a side's text has without a worker.
fn text_of(model: &Arc<Model>, spec: &RunSpec, side: Side, n_tokens: usize) -> Vec<u32> {
    let mut engine = Engine::new(Arc::clone(model));
    let ends = &model.spec.eos_ids;
    let generated = engine.generate(spec, side, n_tokens, ends, &mut |_| true);
    let tokens = generated.unwrap().tokens;
    tokens.iter().map(|token| token.chosen.id).collect()
}

fn write(
    worker: &mut Worker,
    live: &mut LiveText,
    model: &Arc<Model>,
    spec: Arc<RunSpec>,
    n: usize,
) -> TextId {
    let text = worker.write(model, Arc::clone(&spec), n);
    live.submitted(text, spec, n);
    text
}

fn finish_text(worker: &mut Worker, live: &mut LiveText) {
    wait_for(worker, |event| {
        live.apply(event);
        live.is_complete().then_some(())
    });
}

#[test]
fn of_many_requests_for_text_the_newest_is_answered_on_both_sides() {
    let mut worker = worker();
    let model = load(&mut worker, "demo");
    let mut live = LiveText::default();
    for i in 0..50 {
        write(
            &mut worker,
            &mut live,
            &model,
            spec(&[&format!("L1H3=scale({i})")]),
            12,
        );
    }
    finish_text(&mut worker, &mut live);
    for side in [Side::Before, Side::After] {
        let expected = text_of(&model, &spec(&["L1H3=scale(49)"]), side, 12);
        assert_eq!(live.ids(side), expected);
        assert!(matches!(live.line(side).state, LineState::Done { .. }));
    }
    // Longer, of the same prompt: the unedited text goes on where it was.
    write(&mut worker, &mut live, &model, spec(&[]), 20);
    finish_text(&mut worker, &mut live);
    assert_eq!(
        live.ids(Side::Before),
        text_of(&model, &spec(&[]), Side::Before, 20)
    );
    assert_eq!(live.sides(), [Side::Before]);
}

#[test]
fn a_run_goes_before_text_that_is_under_way_and_costs_it_nothing() {
    const LONG: usize = 120;
    let mut worker = worker();
    let model = load(&mut worker, "demo");
    let mut live = LiveText::default();
    let asked = spec(&["L1H3=zero"]);
    write(&mut worker, &mut live, &model, Arc::clone(&asked), LONG);
    let mut n_tokens = 0;
    wait_for(&mut worker, |event| {
        live.apply(event);
        n_tokens += usize::from(matches!(event, Event::Token { .. }));
        (n_tokens > 3).then_some(())
    });
    for i in 0..3 {
        let run = worker.submit(&model, spec(&[&format!("L0H0=scale({i})")]), &[]);
        wait_for(&mut worker, |event| {
            live.apply(event);
            n_tokens += usize::from(matches!(event, Event::Token { .. }));
            matches!(event, Event::RunDone { run: done, .. } if *done == run).then_some(())
        });
    }
    assert!(
        !live.is_complete() && n_tokens < LONG,
        "runs waited for {n_tokens} tokens"
    );
    finish_text(&mut worker, &mut live);
    for side in [Side::Before, Side::After] {
        assert_eq!(live.ids(side), text_of(&model, &asked, side, LONG));
    }
}

#[test]
fn text_that_is_cancelled_stops_and_can_be_asked_for_again() {
    let mut worker = worker();
    let model = load(&mut worker, "demo");
    let mut live = LiveText::default();
    write(&mut worker, &mut live, &model, spec(&[]), 120);
    wait_for(&mut worker, |event| {
        live.apply(event);
        matches!(event, Event::Token { .. }).then_some(())
    });
    worker.cancel_text();
    live.stop();
    let kept = live.ids(Side::Before);
    // A run after it: whatever the text still had to say has been said.
    let run = worker.submit(&model, spec(&[]), &[]);
    wait_for(&mut worker, |event| {
        live.apply(event);
        assert!(!matches!(event, Event::LineDone { .. }));
        matches!(event, Event::RunDone { run: done, .. } if *done == run).then_some(())
    });
    assert!(live.stopped && live.ids(Side::Before) == kept && kept.len() < 120);
    write(&mut worker, &mut live, &model, spec(&[]), 30);
    finish_text(&mut worker, &mut live);
    assert_eq!(
        live.ids(Side::Before),
        text_of(&model, &spec(&[]), Side::Before, 30)
    );
}

#[test]
fn text_that_cannot_be_generated_says_why_and_the_other_side_is_there() {
    let mut worker = worker();
    let model = load(&mut worker, "demo");
    let mut live = LiveText::default();
    let swapped = Arc::new(RunSpec {
        contrast: Some([3, 1, 4, 2, 5].into()),
        ..run_spec(&[3, 1, 4, 1, 5], &["L0H0=resample"])
    });
    write(&mut worker, &mut live, &model, swapped, 4);
    finish_text(&mut worker, &mut live);
    assert_eq!(live.ids(Side::Before).len(), 4);
    let LineState::Failed(message) = &live.after.state else {
        panic!("{:?}", live.after.state)
    };
    assert!(
        message.contains("L0H0=resample") && message.contains("generated"),
        "{message}"
    );
    write(&mut worker, &mut live, &model, spec(&[]), 1000);
    finish_text(&mut worker, &mut live);
    let LineState::Failed(message) = &live.before.state else {
        panic!("{:?}", live.before.state)
    };
    assert!(
        message.contains("1005") && message.contains("128"),
        "{message}"
    );
}
