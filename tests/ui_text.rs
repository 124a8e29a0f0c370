//! Generated text in the window, as a user goes along it: by keys, clicks and names, on a real model and a real worker.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

#[path = "support/window.rs"]
mod window;

use egui::accesskit::{Role, Toggled};
use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use headscope::session::file::SUFFIX;
use headscope::session::{Continuation, Prompt, ReadPosition};
use headscope::ui::action::Action;
use headscope::ui::command::Command;

use window::{Window, open, press, step_until};

/// Tokens of the prompt that the bundled model opens with.
const TOKENS: usize = 19;
/// Tokens of the prompt of a story.
const STORY: usize = 8;

fn demo() -> Window {
    let mut window = open(None);
    settle(&mut window);
    window
}

/// Steps until runs and text belong to what was asked for last.
fn settle(window: &mut Window) {
    step_until(window, "Up to date");
    window.run_ok();
}

/// A window on a prompt after which the bundled model goes on for a while.
fn story() -> Window {
    let mut window = demo();
    push(
        &mut window,
        Action::SetPrompt(Prompt::Text("One day, Tom".into())),
    );
    settle(&mut window);
    window
}

/// A window on a prompt after which it does not come to an end.
fn endless() -> Window {
    let mut window = demo();
    push(
        &mut window,
        Action::SetPrompt(Prompt::Ids(vec![3, 1, 4, 1, 5])),
    );
    settle(&mut window);
    window
}

fn push(window: &mut Window, action: Action) {
    window.state().push(action);
    window.run_ok();
}

fn has(window: &Window, text: &str) -> bool {
    window.query_all_by_label_contains(text).next().is_some()
}

/// All names that begin so, in the order of the window.
fn names(window: &Window, start: &str) -> Vec<String> {
    let all = window.root().children_recursive();
    all.filter_map(|node| node.accesskit_node().label())
        .filter_map(|name| name.strip_prefix(start).map(str::to_owned))
        .collect()
}

/// The tokens of a text in view, without their numbers.
fn text(window: &Window, side: &str) -> Vec<String> {
    let names = names(window, &format!("{side} step "));
    let word = |name: String| name.split_once(' ').unwrap().1.to_owned();
    names.into_iter().map(word).collect()
}

fn continuation(window: &Window) -> Continuation {
    window.state().session().experiment.continuation.clone()
}

/// Generates `n_tokens`, and waits for all of them.
fn generate(window: &mut Window, n_tokens: usize) {
    window.state().push(Action::SetTextLength(n_tokens));
    press(window, Modifiers::COMMAND, Key::G);
    through(window);
}

fn through(window: &mut Window) {
    step_until(window, "ms a token");
    settle(window);
}

/// The likeliest next token, as the table has it.
fn predicted(window: &Window) -> String {
    names(window, "Next token ").remove(0)
}

fn is_newest(window: &Window, name: &str) -> bool {
    let chip = window.get_by_label_contains(name);
    chip.accesskit_node().toggled() == Some(Toggled::True)
        || chip.accesskit_node().is_selected() == Some(true)
}

#[test]
fn text_is_generated_and_walked_along_and_the_prompt_comes_back() {
    let mut window = story();
    push(&mut window, Action::SetPosition(ReadPosition::At(2)));
    settle(&mut window);
    let (experiment, at_prompt) = (
        window.state().session().experiment.clone(),
        predicted(&window),
    );
    generate(&mut window, 6);
    let words = text(&window, "Unedited");
    assert_eq!(words.len(), 6, "{words:?}");
    assert_eq!(window.state().session().experiment, experiment);
    assert!(has(&window, "at the prompt"));
    for step in 1..=6 {
        press(&mut window, Modifiers::NONE, Key::PageDown);
        settle(&mut window);
        assert_eq!(continuation(&window).step, step);
        assert!(has(&window, &format!("step {step} of 6")));
        // All panels are about the text up to there, read at its newest token.
        assert!(has(
            &window,
            &format!("attention map, {} tokens", STORY + step)
        ));
        assert!(has(
            &window,
            &format!("Generated token {} ", STORY + step - 1)
        ));
        assert!(!has(&window, &format!("Generated token {} ", STORY + step)));
        assert!(is_newest(&window, &format!("Unedited step {step} ")));
        assert!(is_newest(
            &window,
            &format!("Generated token {} ", STORY + step - 1)
        ));
        // The run of the text is the step's own: it predicts what was generated.
        if let Some(next) = words.get(step) {
            assert_eq!(predicted(&window), *next, "step {step}");
        }
    }
    press(&mut window, Modifiers::NONE, Key::PageDown);
    assert_eq!(continuation(&window).step, 6, "there is no further one");
    press(&mut window, Modifiers::NONE, Key::PageUp);
    assert_eq!(continuation(&window).step, 5);
    window.get_by_label_contains("Unedited step 2 ").click();
    window.run_ok();
    assert_eq!(continuation(&window).step, 2);
    press(&mut window, Modifiers::NONE, Key::Home);
    settle(&mut window);
    assert_eq!(window.state().session().experiment, experiment);
    assert_eq!(predicted(&window), at_prompt);
    assert!(!has(&window, "Generated token"));
    assert_eq!(text(&window, "Unedited"), words);
}

#[test]
fn edits_give_a_text_of_their_own_and_the_place_where_it_parts_is_said() {
    let mut window = demo();
    generate(&mut window, 5);
    let unedited = text(&window, "Unedited");
    assert!(!has(&window, "Edited step") && !has(&window, "part at step"));
    push(&mut window, Action::AddEdit("L1H3=zero".parse().unwrap()));
    step_until(&mut window, "Edited step 3 ");
    through(&mut window);
    let edited = text(&window, "Edited");
    assert_eq!(text(&window, "Unedited"), unedited);
    assert_eq!((&*unedited[0], &*edited[0]), ("·London", "·Warsaw"));
    assert!(has(&window, "the texts part at step 1"));
    assert!(edited.len() < 5, "the model ends it: {edited:?}");
    // Keys walk along the edited text, a click goes over to the other.
    press(&mut window, Modifiers::NONE, Key::PageDown);
    settle(&mut window);
    assert!(is_newest(&window, "Edited step 1 ") && !is_newest(&window, "Unedited step 1 "));
    assert!(has(&window, &format!("Generated token {TOKENS}  Warsaw")));
    assert_eq!(predicted(&window), edited[1]);
    window.get_by_label_contains("Unedited step 2 ").click();
    window.run_ok();
    press(&mut window, Modifiers::NONE, Key::PageDown);
    settle(&mut window);
    assert!(is_newest(&window, "Unedited step 3 ") && !is_newest(&window, "Edited step 3 "));
    assert!(has(&window, &format!("Generated token {TOKENS}  London")));
}

#[test]
fn what_is_shown_stays_when_an_edit_changes_what_the_model_writes() {
    let mut window = demo();
    push(&mut window, Action::AddEdit("L1H3=zero".parse().unwrap()));
    generate(&mut window, 4);
    press(&mut window, Modifiers::NONE, Key::PageDown);
    settle(&mut window);
    let shown = continuation(&window);
    // Twice as strong instead of gone: it says London, and so does the unedited text.
    push(
        &mut window,
        Action::SetEdit {
            row: 0,
            edit: "L1H3=scale(2)".parse().unwrap(),
        },
    );
    step_until(&mut window, "no longer what the model writes");
    settle(&mut window);
    assert_eq!(continuation(&window), shown);
    assert!(has(&window, &format!("Generated token {TOKENS}  Warsaw")));
    press(&mut window, Modifiers::COMMAND, Key::Z);
    step_until(&mut window, "ms a token");
    settle(&mut window);
    assert!(is_newest(&window, "Edited step 1 "));
    press(&mut window, Modifiers::NONE, Key::PageDown);
    assert_eq!(continuation(&window).step, 2);
}

#[test]
fn edits_are_made_while_text_is_generated_and_only_the_last_counts() {
    let mut window = endless();
    window.state().push(Action::SetTextLength(100));
    window.state().push(Action::Run(Command::Generate));
    for factor in [3, -2, 0] {
        let edit = format!("L1H3=scale({factor})").parse().unwrap();
        window.state().push(Action::AddEdit(edit));
        window.step();
        window.state().push(Action::Undo);
        window.step();
    }
    push(&mut window, Action::AddEdit("L1H3=zero".parse().unwrap()));
    window.state().push(Action::SetTextLength(4));
    step_until(&mut window, "Edited step 4 ");
    through(&mut window);
    let edited = text(&window, "Edited");
    let mut other = endless();
    push(&mut other, Action::AddEdit("L1H3=zero".parse().unwrap()));
    generate(&mut other, 4);
    assert_eq!(edited, text(&other, "Edited"));
}

#[test]
fn generating_is_stopped_and_taken_up_again() {
    let mut window = endless();
    window.state().push(Action::SetTextLength(100));
    press(&mut window, Modifiers::COMMAND, Key::G);
    step_until(&mut window, "Unedited step 1 ");
    window.state().push(Action::Run(Command::StopGenerating));
    step_until(&mut window, "stopped");
    let n_tokens = text(&window, "Unedited").len();
    assert!(n_tokens < 100);
    // Edits do not start it again.
    push(&mut window, Action::AddEdit("L0H0=zero".parse().unwrap()));
    settle(&mut window);
    assert!(has(&window, "stopped") && !has(&window, "Edited step"));
    window.state().push(Action::SetTextLength(8));
    window.get_by_label("Generate").click();
    step_until(&mut window, "Edited step 8 ");
    through(&mut window);
    window.get_by_label("Close the generated text").click();
    window.run_ok();
    assert!(!has(&window, "Text after the prompt") && !has(&window, "step 1 "));
}

#[test]
fn an_edge_of_a_generated_token_is_cut_and_stays_cut_further_back() {
    let mut window = story();
    generate(&mut window, 4);
    for _ in 0..3 {
        press(&mut window, Modifiers::NONE, Key::PageDown);
    }
    settle(&mut window);
    let edge = format!("L1H3[{}->3]=knockout", STORY + 2);
    push(&mut window, Action::AddEdit(edge.parse().unwrap()));
    through(&mut window);
    assert!(!has(&window, "The run gave no result"));
    for _ in 0..3 {
        press(&mut window, Modifiers::NONE, Key::PageUp);
        through(&mut window);
        assert!(!has(&window, "The run gave no result"));
        assert!(!has(&window, "Failed"));
    }
    assert_eq!(continuation(&window).step, 0);
}

#[test]
fn another_prompt_begins_at_its_own_end() {
    let mut window = demo();
    generate(&mut window, 3);
    press(&mut window, Modifiers::NONE, Key::PageDown);
    settle(&mut window);
    let prompt = "The capital of Finland is Helsinki. Q: What is the capital of Finland? A:";
    push(&mut window, Action::SetPrompt(Prompt::Text(prompt.into())));
    step_until(&mut window, "Unedited step 1 ·Helsinki");
    through(&mut window);
    assert_eq!(continuation(&window), Continuation::default());
}

#[test]
fn a_session_keeps_its_step_and_replays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("text{SUFFIX}"));
    let mut window = story();
    push(&mut window, Action::AddEdit("L1H3=mean".parse().unwrap()));
    generate(&mut window, 5);
    press(&mut window, Modifiers::NONE, Key::PageDown);
    press(&mut window, Modifiers::NONE, Key::PageDown);
    settle(&mut window);
    let (kept, words) = (continuation(&window), text(&window, "Edited"));
    assert_eq!((kept.ids.len(), kept.step), (5, 2));
    push(&mut window, Action::SaveSession(path.clone()));
    let mut window = open(path.to_str());
    settle(&mut window);
    through(&mut window);
    press(&mut window, Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    assert!(has(&window, "Replayed: all "));
    press(&mut window, Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    assert_eq!(continuation(&window), kept);
    assert_eq!(text(&window, "Edited")[..5], words);
    assert!(is_newest(&window, "Edited step 2 "));
}

#[test]
fn a_model_that_generates_nothing_offers_nothing() {
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/models/tiny-bert"
    );
    let mut window = open(Some(fixture));
    step_until(&mut window, "Model ");
    press(&mut window, Modifiers::COMMAND, Key::G);
    assert!(!has(&window, "Text after the prompt"));
    assert!(window.query_all_by_role(Role::SpinButton).count() < 9);
}
