//! The window's shell, driven as a user would: through the accessibility tree and the keyboard, without a display.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::sync::Arc;

use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use headscope::render::Backend;
use headscope::session::settings::Settings;
use headscope::ui::action::Action;
use headscope::ui::{App, Setup, prepare};
use headscope::worker::{Event, Worker};

const MISSING: &str = "/nowhere/model.gguf";

/// A window on a model that is not there.
fn window() -> Harness<'static, App> {
    let setup = Setup {
        settings: Settings::default(),
        worker: Worker::start(Arc::new(|| {})).unwrap(),
        backend: Backend::Cpu {
            reason: "a test".into(),
        },
        adapter: String::new(),
        autosave: None,
        recovered: Vec::new(),
    };
    let mut app = App::new(setup, Some(MISSING));
    app.handle(Event::LoadProgress {
        fraction: 0.0,
        what: String::new(),
    });
    let mut harness = Harness::builder()
        .with_size([1280.0, 800.0])
        .with_max_steps(16)
        .with_context_setup(prepare)
        .build_ui_state(
            |ui, app: &mut App| {
                app.update(ui.ctx());
                app.draw(ui);
            },
            app,
        );
    harness.run_ok();
    harness
}

fn fail_to_load(harness: &mut Harness<'_, App>) {
    harness.state_mut().handle(Event::LoadFailed {
        source: MISSING.into(),
        message: "there is no such file".into(),
    });
    harness.run_ok();
}

fn press(harness: &mut Harness<'_, App>, modifiers: Modifiers, key: Key) {
    harness.key_press_modifiers(modifiers, key);
    harness.run_ok();
}

#[test]
fn the_palette_finds_and_runs_a_command_by_keyboard_alone() {
    let mut harness = window();
    press(&mut harness, Modifiers::COMMAND, Key::K);
    harness.event(egui::Event::Text("abou".into()));
    harness.run_ok();
    assert!(
        harness
            .query_by_label("Undo")
            .is_some_and(|n| n.accesskit_node().is_disabled())
    );
    press(&mut harness, Modifiers::NONE, Key::Enter);
    assert!(harness.query_by_label_contains("MIT licence").is_some());
    press(&mut harness, Modifiers::NONE, Key::Escape);
    assert!(harness.query_by_label_contains("MIT licence").is_none());
}

#[test]
fn the_palette_closes_without_running_anything() {
    let mut harness = window();
    press(&mut harness, Modifiers::COMMAND, Key::K);
    assert!(harness.query_by_label("About Headscope").is_some());
    press(&mut harness, Modifiers::NONE, Key::Escape);
    assert!(harness.query_by_label("About Headscope").is_none());
    assert!(harness.query_by_label_contains("MIT licence").is_none());
}

#[test]
fn undo_and_redo_are_offered_when_there_is_something_to_take_back() {
    let mut harness = window();
    let disabled = |harness: &Harness<'_, App>, name: &str| {
        harness.get_by_label(name).accesskit_node().is_disabled()
    };
    assert!(disabled(&harness, "Undo") && disabled(&harness, "Redo"));
    let edit: headscope::edit::Edit = "L0H1=zero".parse().unwrap();
    harness.state().push(Action::AddEdit(edit));
    harness.run_ok();
    assert!(!disabled(&harness, "Undo") && disabled(&harness, "Redo"));
    harness.get_by_label("Undo").click();
    harness.run_ok();
    assert!(harness.state().session().experiment.edits.is_empty());
    assert!(disabled(&harness, "Undo") && !disabled(&harness, "Redo"));
    press(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    assert_eq!(harness.state().session().experiment.edits.len(), 1);
}

#[test]
fn the_theme_can_be_switched_by_key() {
    let mut harness = window();
    press(&mut harness, Modifiers::COMMAND, Key::T);
    assert_eq!(harness.ctx.theme(), egui::Theme::Dark);
    press(&mut harness, Modifiers::COMMAND, Key::T);
    assert_eq!(harness.ctx.theme(), egui::Theme::Light);
}

#[test]
fn a_model_that_cannot_be_opened_says_why_and_what_to_do() {
    let mut harness = window();
    assert!(
        harness
            .query_by_label_contains("Opening model.gguf")
            .is_some()
    );
    fail_to_load(&mut harness);
    assert!(harness.query_by_label("there is no such file").is_some());
    for way_out in ["Try again", "Open model folder…", "Open the bundled model"] {
        assert!(harness.query_by_label(way_out).is_some(), "{way_out}");
    }
    harness.get_by_label("Try again").click();
    harness.run_ok();
    assert!(
        harness
            .query_by_label_contains("Opening model.gguf")
            .is_some()
    );
}

#[test]
fn what_was_said_can_be_read_again() {
    let mut harness = window();
    fail_to_load(&mut harness);
    assert!(harness.query_by_label_contains("1 notification").is_some());
    harness.get_by_label("Put away").click();
    harness.run_ok();
    assert!(harness.query_by_label("Error").is_none());
    press(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    assert!(harness.query_by_label("Error").is_some());
    harness.get_by_label("Clear").click();
    harness.run_ok();
    assert!(harness.query_by_label("Nothing yet").is_some());
}

#[test]
fn unsaved_work_is_not_replaced_without_asking() {
    let mut harness = window();
    fail_to_load(&mut harness);
    let edit: headscope::edit::Edit = "L0H1=zero".parse().unwrap();
    harness.state().push(Action::AddEdit(edit));
    harness.run_ok();
    harness.state().push(Action::OpenModel("other.gguf".into()));
    harness.run_ok();
    assert!(harness.query_by_label("Save the session first?").is_some());
    harness.get_by_label("Cancel").click();
    harness.run_ok();
    assert!(
        harness
            .query_by_label_contains("Opening other.gguf")
            .is_none()
    );
    harness.state().push(Action::OpenModel("other.gguf".into()));
    harness.run_ok();
    harness.get_by_label("Do not save").click();
    harness.run_ok();
    assert!(
        harness
            .query_by_label_contains("Opening other.gguf")
            .is_some()
    );
}

#[test]
fn a_session_that_cannot_be_read_changes_nothing_and_is_reported() {
    let mut harness = window();
    fail_to_load(&mut harness);
    let before = harness.state().session().clone();
    harness
        .state()
        .push(Action::OpenSession("/nowhere/x.headscope.json".into()));
    harness.run_ok();
    assert_eq!(*harness.state().session(), before);
    assert!(
        harness
            .query_by_label_contains("x.headscope.json")
            .is_some()
    );
}
