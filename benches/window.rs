//! What a person waits for: new logits after a slider move on the bundled model, and the window's state while a run of
//! 1,024 tokens is going on. Drawing is not part of either (see `heatmaps`).
//!
//! `cargo bench --bench window` prints medians and the longest.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use headscope::experiment::RunSpec;
use headscope::prompt::Prompt;
use headscope::render::Backend;
use headscope::session::settings::Settings;
use headscope::ui::action::Action;
use headscope::ui::{App, Setup, prepare};
use headscope::worker::{Event, Worker};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    report(
        "slider move on the bundled model, request to last event",
        slider(),
    );
    report(
        "update of the window's state during a run of 1,024 tokens",
        updates(),
    );
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{what}: median {median:.2?}, longest {longest:.2?} of {}",
        times.len()
    );
}

fn worker() -> Worker {
    Worker::start(Arc::new(|| {})).unwrap_or_else(|error| panic!("{error}"))
}

/// Maps pooled for the GPU are included.
fn slider() -> Vec<Duration> {
    let mut worker = worker();
    worker.load("demo", headscope::compute::Compute::default());
    let model = loop {
        match worker.wait(Duration::from_mins(1)) {
            Some(Event::Loaded(model)) => break model,
            None => panic!("the bundled model was not loaded within a minute"),
            Some(_) => {}
        }
    };
    let moves = (0..200).map(|i| {
        let edit = format!("L0H3=scale({})", 1.5 + f64::from(i) * 0.01);
        let spec = RunSpec {
            ids: (1..21).collect(),
            n_prompt: 20,
            reach: 20,
            contrast: None,
            edits: edit.parse().into_iter().collect(),
            position: 19,
            last: 19,
            bos_count: 0,
            folder: None,
        };
        let started = Instant::now();
        let wanted = worker.submit(&model, Arc::new(spec), &[]);
        while let Some(event) = worker.wait(Duration::from_secs(10)) {
            if matches!(event, Event::RunDone { run, .. } if run == wanted) {
                break;
            }
        }
        started.elapsed()
    });
    moves.collect()
}

/// Updates of the window's state, a millisecond apart, from the change of the prompt on until the run must be over.
fn updates() -> Vec<Duration> {
    const OPENING: Duration = Duration::from_secs(8);
    const RUN: Duration = Duration::from_secs(8);
    let setup = Setup {
        settings: Settings::default(),
        worker: worker(),
        backend: Backend::Cpu {
            reason: "nothing is shown".into(),
        },
        adapter: String::new(),
        autosave: None,
        recovered: Vec::new(),
    };
    let ctx = egui::Context::default();
    prepare(&ctx);
    let model = support::random_model();
    let mut app = App::new(setup, Some(&model.to_string_lossy()));
    let mut update_for = |duration: Duration, action: Option<Action>| {
        if let Some(action) = action {
            app.push(action);
        }
        let until = Instant::now() + duration;
        let mut times = Vec::new();
        while Instant::now() < until {
            let mut took = Duration::ZERO;
            let input = egui::RawInput {
                screen_rect: Some(egui::Rect::from_min_size(
                    egui::Pos2::ZERO,
                    egui::vec2(1280.0, 800.0),
                )),
                ..egui::RawInput::default()
            };
            let _ = ctx.run_ui(input, |ui| {
                let started = Instant::now();
                app.update(ui.ctx());
                took += started.elapsed();
                app.draw(ui);
            });
            times.push(took);
            std::thread::sleep(Duration::from_millis(1));
        }
        times
    };
    update_for(OPENING, None);
    let prompt = Prompt::Ids((0..1024).map(|i| i * 7919 % 50_257).collect());
    let times = update_for(RUN, Some(Action::SetPrompt(prompt.clone())));
    assert_eq!(
        app.session().experiment.prompt,
        prompt,
        "the run was asked for"
    );
    times
}
