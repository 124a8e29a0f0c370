//! The window's shell, driven as a user would: through the accessibility tree and the keyboard, without a display.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

#[path = "support/window.rs"]
mod window;

use egui::{Key, Modifiers, Shape, Theme};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use headscope::ids::HeadId;
use headscope::session::{Prompt, ReadPosition};
use headscope::ui::action::Action;

use window::{Window, open, press, step_until};

const MISSING: &str = "/nowhere/model.gguf";

/// A window on a model that is not there, once that is known.
fn without_model() -> Window {
    let mut window = open(Some(MISSING));
    step_until(&mut window, "Try again");
    window
}

/// A window on the bundled model, its first run complete.
fn demo() -> Window {
    let mut harness = without_model();
    harness.get_by_label("Open the bundled model").click();
    step_until_model(&mut harness);
    harness
}

fn step_until_model(harness: &mut Window) {
    step_until(harness, "Up to date");
}

#[test]
fn the_palette_finds_and_runs_a_command_by_keyboard_alone() {
    let mut harness = without_model();
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
    let mut harness = without_model();
    press(&mut harness, Modifiers::COMMAND, Key::K);
    assert!(harness.query_by_label("Open session…").is_some());
    press(&mut harness, Modifiers::NONE, Key::Escape);
    assert!(harness.query_by_label("Open session…").is_none());
    assert!(harness.query_by_label_contains("MIT licence").is_none());
}

#[test]
fn undo_and_redo_are_offered_when_there_is_something_to_take_back() {
    let mut harness = without_model();
    let disabled =
        |harness: &Window, name: &str| harness.get_by_label(name).accesskit_node().is_disabled();
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
    let mut harness = demo();
    // Fields have a colour that is in one theme only.
    let shows = |harness: &Window, theme| {
        let fill = harness.ctx.style_of(theme).visuals.text_edit_bg_color();
        let shapes = harness.output().shapes.iter();
        let mut rects = shapes.filter_map(|clipped| match &clipped.shape {
            Shape::Rect(rect) => Some(rect.fill),
            _ => None,
        });
        rects.any(|found| found == fill)
    };
    for theme in [Theme::Dark, Theme::Light] {
        press(&mut harness, Modifiers::COMMAND, Key::T);
        assert_eq!(harness.ctx.theme(), theme);
        let drawn = [Theme::Dark, Theme::Light].map(|theme| shows(&harness, theme));
        assert_eq!(drawn, [theme == Theme::Dark, theme == Theme::Light]);
    }
}

#[test]
fn a_model_that_cannot_be_opened_says_why_and_what_to_do() {
    let mut harness = without_model();
    assert!(
        harness
            .query_by_label("model.gguf cannot be opened")
            .is_some()
    );
    for way_out in ["Try again", "Open model folder…", "Open the bundled model"] {
        assert!(harness.query_by_label(way_out).is_some(), "{way_out}");
    }
    harness.get_by_label("Open the bundled model").click();
    step_until_model(&mut harness);
}

#[test]
fn what_was_said_can_be_read_again() {
    let mut harness = without_model();
    harness
        .state()
        .push(Action::OpenSession("/nowhere/x.headscope.json".into()));
    harness.run_ok();
    assert!(harness.query_by_label_contains("2 notifications").is_some());
    harness.get_by_label("Put away").click();
    harness.run_ok();
    assert!(harness.query_by_label("Error").is_none());
    press(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    assert_eq!(harness.query_all_by_label("Error").count(), 2);
    harness.get_by_label("Clear").click();
    harness.run_ok();
    assert!(harness.query_by_label("Nothing yet").is_some());
}

#[test]
fn unsaved_work_is_not_replaced_without_asking() {
    let mut harness = without_model();
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
            .query_by_label("model.gguf cannot be opened")
            .is_some()
    );
    harness.state().push(Action::OpenModel("other.gguf".into()));
    harness.run_ok();
    harness.get_by_label("Do not save").click();
    step_until(&mut harness, "other.gguf cannot be opened");
}

#[test]
fn a_session_that_cannot_be_read_changes_nothing_and_is_reported() {
    let mut harness = without_model();
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

#[test]
fn the_bundled_model_opens_with_its_prompt_and_runs() {
    let harness = demo();
    assert!(harness.query_by_label_contains("Model demo").is_some());
    assert!(harness.query_by_label("First steps").is_some());
    assert!(harness.query_by_label_contains("Token 1 ").is_some());
    for panel in ["Heads", "Attention", "Interventions", "Head", "Readout"] {
        assert!(harness.query_all_by_label(panel).count() > 0, "{panel}");
    }
}

#[test]
fn heads_are_chosen_and_ablated_by_keyboard() {
    let mut harness = demo();
    for key in [
        Key::ArrowRight,
        Key::ArrowRight,
        Key::ArrowDown,
        Key::ArrowLeft,
    ] {
        press(&mut harness, Modifiers::NONE, key);
    }
    let selection = harness.state().session().view.selection.clone();
    // From the head of the first launch, L1H3.
    assert_eq!(selection, [HeadId::new(2, 4)]);
    press(&mut harness, Modifiers::NONE, Key::Space);
    let edits = &harness.state().session().experiment.edits;
    assert_eq!(edits[0].edit.to_string(), "L2H4=zero");
    step_until(&mut harness, "restarted at L2");
    press(&mut harness, Modifiers::COMMAND, Key::Z);
    assert!(harness.state().session().experiment.edits.is_empty());
}

#[test]
fn a_token_sets_where_the_logits_are_read() {
    let mut harness = demo();
    let before = harness.state().session().experiment.position;
    assert_eq!(before, ReadPosition::Usual);
    harness.get_by_label_contains("Token 3 ").click();
    harness.run_ok();
    let position = harness.state().session().experiment.position;
    assert_eq!(position, ReadPosition::At(3));
    press(&mut harness, Modifiers::NONE, Key::Comma);
    let position = harness.state().session().experiment.position;
    assert_eq!(position, ReadPosition::At(2));
    press(&mut harness, Modifiers::NONE, Key::End);
    let position = harness.state().session().experiment.position;
    assert_eq!(position, ReadPosition::Usual);
}

#[test]
fn typing_changes_the_prompt_and_letters_run_no_commands() {
    let mut harness = demo();
    press(&mut harness, Modifiers::COMMAND, Key::L);
    press(&mut harness, Modifiers::COMMAND, Key::A);
    press(&mut harness, Modifiers::NONE, Key::L);
    harness.event(egui::Event::Text("Tom and Anna".into()));
    harness.run_ok();
    press(&mut harness, Modifiers::NONE, Key::Enter);
    let session = harness.state().session();
    assert_eq!(
        session.experiment.prompt,
        Prompt::Text("Tom and Anna".into())
    );
    assert!(!session.view.log_scale, "L was typed");
    assert!(harness.query_by_label("Undo").is_some());
}

#[test]
fn prompt_b_starts_as_a_copy_and_its_tokens_stand_under_their_partners() {
    let mut harness = demo();
    harness.get_by_label("Add B").click();
    harness.run_ok();
    let session = harness.state().session();
    assert_eq!(
        session.experiment.contrast.as_ref(),
        Some(&session.experiment.prompt)
    );
    let a = harness.get_by_label_contains("Token 2 of B").rect();
    let b = harness
        .get_all_by_label_contains("Token 2 ")
        .map(|node| node.rect())
        .find(|rect| rect.top() < a.top())
        .unwrap();
    assert!((a.left() - b.left()).abs() < 0.5);
    harness.get_by_label("Remove B").click();
    harness.run_ok();
    assert!(harness.state().session().experiment.contrast.is_none());
}

#[test]
fn a_closed_panel_comes_back_by_key() {
    let mut harness = demo();
    press(&mut harness, Modifiers::COMMAND, Key::Num6);
    assert_eq!(harness.query_all_by_label("Readout").count(), 0);
    press(&mut harness, Modifiers::COMMAND, Key::Num6);
    assert!(harness.query_all_by_label("Readout").count() > 0);
}
