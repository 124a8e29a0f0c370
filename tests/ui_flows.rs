//! Whole flows through the window, as a user goes them: by clicks, keys and names, on real models and a real worker.

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;
#[path = "support/window.rs"]
mod window;

use std::path::{Path, PathBuf};

use egui::accesskit::Role;
use egui::{Event, Key, Modifiers, Pos2, vec2};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use headscope::compute::Dtype;
use headscope::ids::HeadId;
use headscope::session::Prompt;
use headscope::session::file::SUFFIX;
use headscope::ui::action::Action;
use headscope::ui::command::Command;

use support::fixture;
use window::{Window, open, press, step_until};

/// Tokens of the prompt that the bundled model opens with.
const TOKENS: usize = 19;

fn demo() -> Window {
    let mut window = open(None);
    settle(&mut window);
    window
}

/// Steps until all that is shown belongs to what was asked for last.
fn settle(window: &mut Window) {
    step_until(window, "Up to date");
    // Numbers are painted in the frame after the one that says so.
    window.run_ok();
}

fn push(window: &mut Window, action: Action) {
    window.state().push(action);
    window.run_ok();
}

fn edits(window: &Window) -> Vec<String> {
    let rows = &window.state().session().experiment.edits;
    rows.iter().map(|row| row.edit.to_string()).collect()
}

fn has(window: &Window, text: &str) -> bool {
    window.query_all_by_label_contains(text).next().is_some()
}

/// Clicks the head's cell in the grid, by its name with its badge.
fn click_head(window: &mut Window, name: &str) {
    window.get_by_role_and_label(Role::Button, name).click();
    window.run_ok();
}

fn click(window: &mut Window, name: &str) {
    window.get_by_label(name).click();
    window.run_ok();
}

/// A second without a click: clicks that follow each other faster are counted together.
fn pause(window: &mut Window) {
    window.run_steps(60);
}

/// The middle of a cell of a head's attention map.
fn cell(window: &Window, head: &str, query: usize, key: usize) -> Pos2 {
    let name = format!("{head} attention map, {TOKENS} tokens");
    let rect = window.get_by_label(&name).rect();
    rect.min + (vec2(key as f32, query as f32) + vec2(0.5, 0.5)) * rect.size() / TOKENS as f32
}

fn click_at(window: &mut Window, at: Pos2) {
    window.hover_at(at);
    window.drag_at(at);
    window.drop_at(at);
    window.run_ok();
}

/// The logit difference on screen: now, or before, after and the change if it is one.
fn difference(window: &Window) -> Vec<String> {
    window
        .root()
        .children_recursive()
        .filter(|node| node.accesskit_node().role() == Role::Label)
        .filter_map(|node| node.value())
        .filter(|text| {
            text.starts_with(['+', '−']) && text.replace('−', "-").parse::<f32>().is_ok()
        })
        .collect()
}

/// What was said so far, newest first: the list of notifications, opened.
fn said(window: &mut Window, text: &str) -> bool {
    press(window, Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    let found = has(window, text);
    press(window, Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    found
}

/// A saved session with an edit of each kind that a pointer makes.
fn saved(folder: &Path) -> PathBuf {
    let path = folder.join(format!("names{SUFFIX}"));
    let mut window = demo();
    for edit in ["L1H2=zero", "L2H3=scale(-2.5)", "L0H1[7->3]=knockout"] {
        push(&mut window, Action::AddEdit(edit.parse().unwrap()));
    }
    settle(&mut window);
    push(&mut window, Action::SaveSession(path.clone()));
    assert!(said(&mut window, "Saved names"));
    path
}

#[test]
fn a_head_is_ablated_by_space_by_its_button_and_by_a_double_click() {
    let mut window = demo();
    let unedited = difference(&window);
    assert_eq!(unedited.len(), 1, "{unedited:?}");
    click_head(&mut window, "L2H3");
    assert_eq!(window.state().session().view.selection, [HeadId::new(2, 3)]);
    press(&mut window, Modifiers::NONE, Key::Space);
    assert_eq!(edits(&window), ["L2H3=zero"]);
    settle(&mut window);
    let ablated = difference(&window);
    assert!(ablated.len() > 1, "{ablated:?}");
    click(&mut window, "Zero");
    assert_eq!(edits(&window), [""; 0]);
    settle(&mut window);
    assert_eq!(difference(&window), unedited);
    pause(&mut window);
    for _ in 0..2 {
        window.get_by_role_and_label(Role::Button, "L2H3").click();
    }
    window.run_ok();
    assert_eq!(edits(&window), ["L2H3=zero"]);
    settle(&mut window);
    assert_eq!(difference(&window), ablated);
    assert!(
        window
            .query_by_role_and_label(Role::Button, "L2H3 ×")
            .is_some()
    );
}

#[test]
fn a_factor_is_dragged_in_one_step_and_typed_beyond_the_slider() {
    let mut window = demo();
    click_head(&mut window, "L2H3");
    let slider = window.get_by_label("α of L2H3").rect();
    let at = |share: f32| slider.left_center() + vec2(slider.width() * share, 0.0);
    window.hover_at(at(0.55));
    window.drag_at(at(0.55));
    for share in [0.6, 0.7, 0.75] {
        window.hover_at(at(share));
        window.run_ok();
        assert_eq!(edits(&window).len(), 1);
    }
    window.drop_at(at(0.75));
    settle(&mut window);
    let dragged = edits(&window);
    let factor = dragged[0]
        .strip_prefix("L2H3=scale(")
        .unwrap()
        .strip_suffix(')')
        .unwrap();
    assert!(
        (4.0..6.5).contains(&factor.parse::<f64>().unwrap()),
        "{dragged:?}"
    );
    press(&mut window, Modifiers::COMMAND, Key::Z);
    assert_eq!(edits(&window), [""; 0], "the drag is one step");
    press(&mut window, Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    assert_eq!(edits(&window), dragged);
    click(&mut window, "α of L2H3, typed");
    window.event(Event::Text("12.5".into()));
    press(&mut window, Modifiers::NONE, Key::Enter);
    assert_eq!(edits(&window), ["L2H3=scale(12.5)"]);
    settle(&mut window);
    assert!(difference(&window).len() > 1);
}

#[test]
fn undo_and_redo_bring_back_every_state_with_its_numbers() {
    let mut window = demo();
    let mut states = vec![(edits(&window), difference(&window))];
    for edit in ["L0H0=zero", "L3H1=scale(4)", "L2H6[14->2]=knockout"] {
        push(&mut window, Action::AddEdit(edit.parse().unwrap()));
        settle(&mut window);
        states.push((edits(&window), difference(&window)));
    }
    for expected in states[..3].iter().rev() {
        click(&mut window, "Undo");
        settle(&mut window);
        assert_eq!((edits(&window), difference(&window)), *expected);
    }
    for expected in &states[1..] {
        click(&mut window, "Redo");
        settle(&mut window);
        assert_eq!((edits(&window), difference(&window)), *expected);
    }
}

#[test]
fn a_click_on_a_cell_of_the_matrix_knocks_the_edge_out_and_another_frees_it() {
    let mut window = demo();
    click_head(&mut window, "L1H2");
    let (edge, future) = (cell(&window, "L1H2", 7, 3), cell(&window, "L1H2", 3, 7));
    click_at(&mut window, future);
    assert_eq!(
        edits(&window),
        [""; 0],
        "after the query there is nothing to knock out"
    );
    click_at(&mut window, edge);
    assert_eq!(edits(&window), ["L1H2[7->3]=knockout"]);
    settle(&mut window);
    assert!(
        window
            .query_by_role_and_label(Role::Button, "L1H2 ⊘")
            .is_some()
    );
    pause(&mut window);
    click_at(&mut window, edge);
    assert_eq!(edits(&window), [""; 0]);
}

#[test]
fn a_saved_session_opens_in_another_window_and_all_its_values_agree() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let mut window = open(path.to_str());
    settle(&mut window);
    assert!(said(&mut window, "Replayed: all "));
    assert!(!said(&mut window, "it differs"));
    let expected = ["L1H2=zero", "L2H3=scale(-2.5)", "L0H1[7->3]=knockout"];
    assert_eq!(edits(&window), expected);
    assert!(window.get_by_label("Undo").accesskit_node().is_disabled());
    assert!(difference(&window).len() > 1);
}

#[test]
fn opening_what_is_already_shown_gives_its_verdict_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let mut window = open(path.to_str());
    settle(&mut window);
    press(&mut window, Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    window.get_all_by_label("Clear").last().unwrap().click();
    window.run_ok();
    assert!(has(&window, "Nothing yet"));
    press(&mut window, Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    push(&mut window, Action::OpenSession(path));
    settle(&mut window);
    assert!(said(&mut window, "Replayed: all "));
}

#[test]
fn a_session_whose_numbers_were_altered_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    json["numbers"]["after"]["top"][0]["logit"] = 99.0.into();
    std::fs::write(&path, json.to_string()).unwrap();
    let mut window = open(path.to_str());
    settle(&mut window);
    assert!(said(&mut window, "Replayed, and it differs"));
    assert!(!said(&mut window, "Replayed: all "));
}

#[test]
fn an_edit_made_before_the_replay_is_through_is_not_taken_for_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let mut window = demo();
    window.state().push(Action::OpenSession(path));
    window.state().push(Action::ClearEdits);
    settle(&mut window);
    assert_eq!(edits(&window), [""; 0]);
    assert!(!said(&mut window, "Replayed"));
}

#[test]
fn a_damaged_session_is_refused_and_what_is_open_stays_usable() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved(folder.path());
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let mut window = demo();
    click_head(&mut window, "L1H1");
    let (session, numbers) = (window.state().session().clone(), difference(&window));
    push(&mut window, Action::OpenSession(path));
    assert!(has(&window, "it is no session, or a damaged one"));
    assert_eq!(*window.state().session(), session);
    assert_eq!(difference(&window), numbers);
    press(&mut window, Modifiers::NONE, Key::Space);
    settle(&mut window);
    assert_eq!(edits(&window), ["L1H1=zero"]);
}

#[test]
fn a_model_that_is_not_there_leaves_the_old_one_usable() {
    let mut window = demo();
    click_head(&mut window, "L1H1");
    let session = window.state().session().clone();
    push(&mut window, Action::OpenModel("/nowhere/model.gguf".into()));
    step_until(&mut window, "model.gguf cannot be opened");
    assert!(has(&window, "Try again"));
    assert!(has(&window, "Model demo"));
    assert_eq!(*window.state().session(), session);
    press(&mut window, Modifiers::NONE, Key::Space);
    settle(&mut window);
    assert!(difference(&window).len() > 1);
    let strip = window.get_by_label("Try again").rect();
    let close = window
        .get_all_by_label("Close")
        .find(|node| node.rect().y_range() == strip.y_range());
    close.unwrap().click();
    window.run_ok();
    assert!(!has(&window, "cannot be opened"));
}

#[test]
fn of_two_quick_edits_only_the_second_one_is_shown_in_the_end() {
    let mut window = demo();
    let scale = |factor| Action::SetHeadScale {
        heads: vec![HeadId::new(1, 3)],
        factor,
    };
    let mut shown = Vec::new();
    for factor in [8.0, -6.0] {
        push(&mut window, scale(factor));
        settle(&mut window);
        shown.push(difference(&window));
        push(&mut window, scale(1.0));
        settle(&mut window);
    }
    assert_ne!(shown[0], shown[1]);
    // A frame apart, far less than a run.
    for factor in [8.0, -6.0] {
        window.state().push(scale(factor));
        window.step();
    }
    settle(&mut window);
    assert_eq!(difference(&window), shown[1]);
    pause(&mut window);
    assert_eq!(
        difference(&window),
        shown[1],
        "a late answer changes nothing"
    );
}

#[test]
fn small_models_of_every_format_open_run_and_take_an_edit() {
    for name in [
        "tiny-gpt2",
        "tiny-gpt2-prefixed",
        "tiny-llama",
        "tiny-llama-sharded",
        "tiny-llama-tied",
        "tiny-llama-gguf/tiny-llama.gguf",
        "tiny-llama-gguf-spm/tiny-llama-spm.gguf",
    ] {
        let path = fixture(&format!("models/{name}"));
        let mut window = open(path.to_str());
        step_until(&mut window, "Model ");
        push(
            &mut window,
            Action::SetPrompt(Prompt::Ids(vec![3, 1, 4, 1, 5])),
        );
        settle(&mut window);
        assert!(has(&window, "L0H0"), "{name}");
        press(&mut window, Modifiers::NONE, Key::Space);
        settle(&mut window);
        assert_eq!(edits(&window), ["L0H0=zero"], "{name}");
        assert!(has(&window, "Next token "), "{name}");
    }
}

#[test]
fn the_model_computes_in_other_numbers_and_the_work_on_it_goes_on() {
    let mut window = demo();
    push(&mut window, Action::AddEdit("L1H3=zero".parse().unwrap()));
    settle(&mut window);
    push(&mut window, Action::Run(Command::ComputeIn(Dtype::F16)));
    step_until(&mut window, "f16 (stored F32)");
    settle(&mut window);
    assert_eq!(edits(&window), ["L1H3=zero"]);
    assert_eq!(window.state().session().dtype, Dtype::F16);

    // Numbers that the file does not have leave the ones that are there.
    push(
        &mut window,
        Action::Run(Command::ComputeIn(Dtype::Quantized)),
    );
    step_until(&mut window, "no quantised weights");
    assert!(has(&window, "f16 (stored F32)"));
    assert_eq!(window.state().session().dtype, Dtype::F16);
    push(&mut window, Action::Run(Command::ComputeIn(Dtype::F32)));
    step_until(&mut window, "heads  ·  f32");
    settle(&mut window);
    assert_eq!(window.state().session().dtype, Dtype::F32);
    assert_eq!(edits(&window), ["L1H3=zero"]);
}

#[test]
fn ids_are_typed_where_a_model_has_no_tokenizer() {
    let path = fixture("models/tiny-gpt2");
    let mut window = open(path.to_str());
    settle(&mut window);
    assert!(has(&window, "Token 7 "), "there is a first prompt");
    press(&mut window, Modifiers::COMMAND, Key::L);
    press(&mut window, Modifiers::COMMAND, Key::A);
    window.event(Event::Text("3, 1, 4".into()));
    press(&mut window, Modifiers::NONE, Key::Enter);
    settle(&mut window);
    assert_eq!(
        window.state().session().experiment.prompt,
        Prompt::Ids(vec![3, 1, 4])
    );
    window.state().push(Action::Run(Command::FocusPrompt));
    press(&mut window, Modifiers::COMMAND, Key::A);
    window.event(Event::Text("999999".into()));
    press(&mut window, Modifiers::NONE, Key::Enter);
    step_until(&mut window, "Failed");
    assert!(has(&window, "999999"));
}

#[test]
fn a_long_prompt_leaves_the_panels_their_room() {
    let mut window = demo();
    let panel = window.get_by_role_and_label(Role::Button, "L0H0").rect();
    push(
        &mut window,
        Action::SetPrompt(Prompt::Text("Tom\n".repeat(30))),
    );
    settle(&mut window);
    let moved = window.get_by_role_and_label(Role::Button, "L0H0").rect();
    assert!(moved.top() < panel.top() + 100.0, "{panel:?} {moved:?}");
}
