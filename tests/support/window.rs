//! The whole window in a test harness: no display, no settings, no files of its own.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use headscope::model::hub::Hub;
use headscope::render::Backend;
use headscope::session::settings::Settings;
use headscope::ui::{App, Setup, prepare};
use headscope::worker::Worker;

pub(crate) type Window = Harness<'static, App>;

const PATIENCE: Duration = Duration::from_mins(1);

/// A window that has been told to open `target`; nothing has been drawn yet.
pub(crate) fn open(target: Option<&str>) -> Window {
    // No test asks the network.
    open_with(Hub::offline("/nowhere"), target)
}

/// The same with a hub.
pub(crate) fn open_with(hub: Hub, target: Option<&str>) -> Window {
    let setup = Setup {
        settings: Settings::default(),
        worker: Worker::start_with(hub, Arc::new(|| {})).unwrap(),
        backend: Backend::Cpu {
            reason: "a test".into(),
        },
        adapter: String::new(),
        autosave: None,
        recovered: Vec::new(),
    };
    Harness::builder()
        .with_size([1280.0, 800.0])
        // A frame is short, so that two clicks are a double click and toasts last.
        .with_step_dt(1.0 / 60.0)
        .with_max_steps(16)
        .with_context_setup(prepare)
        .build_ui_state(
            |ui, app: &mut App| {
                app.update(ui.ctx());
                app.draw(ui);
            },
            App::new(setup, target),
        )
}

/// Steps until something with that name is there.
pub(crate) fn step_until(window: &mut Window, label: &str) {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        window.run_ok();
        if window.query_all_by_label_contains(label).next().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let there: Vec<String> = window
        .root()
        .children_recursive()
        .filter_map(|node| node.accesskit_node().label().or(node.value()))
        .collect();
    panic!("{label} does not appear among {there:?}");
}

pub(crate) fn press(window: &mut Window, modifiers: Modifiers, key: Key) {
    window.key_press_modifiers(modifiers, key);
    window.run_ok();
}
