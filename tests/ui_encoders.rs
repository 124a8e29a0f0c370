//! The window with encoders: read at a mask, or without anything to read.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;
#[path = "support/window.rs"]
mod window;

use egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use headscope::session::{Prompt, ReadPosition};
use headscope::ui::action::Action;

use support::fixture;
use window::{Window, open, press, step_until};

fn opened(model: &str) -> Window {
    let mut window = open(fixture(&format!("models/{model}")).to_str());
    settle(&mut window);
    window
}

/// Steps until all that is shown belongs to what was asked for last.
fn settle(window: &mut Window) {
    step_until(window, "Up to date");
    window.run_ok();
}

fn push(window: &mut Window, action: Action) {
    window.state().push(action);
    window.run_ok();
}

fn has(window: &Window, text: &str) -> bool {
    window.query_all_by_label_contains(text).next().is_some()
}

fn prompt(text: &str) -> Prompt {
    Prompt::Text(text.to_owned())
}

fn asked(window: &Window) -> (Prompt, ReadPosition) {
    let experiment = &window.state().session().experiment;
    (experiment.prompt.clone(), experiment.position)
}

#[test]
fn a_model_with_a_head_opens_with_a_mask_and_is_read_there() {
    let mut window = opened("tiny-bert");
    let sample = prompt("The capital of France is [MASK].");
    assert_eq!(asked(&window), (sample, ReadPosition::Usual));
    assert!(has(&window, "Read at [6] [MASK] (last mask)"));
    assert!(has(&window, "Masked token ·paris"));
    assert!(!has(&window, "Next token"));

    press(&mut window, Modifiers::NONE, Key::Space);
    settle(&mut window);
    let edits = &window.state().session().experiment.edits;
    assert_eq!(edits[0].edit.to_string(), "L0H0=zero");
    assert!(has(&window, "Masked token ·paris"));
}

#[test]
fn the_rule_for_the_beginning_of_text_cannot_be_overridden() {
    let window = opened("tiny-bert");
    let is_disabled = |name: &str| window.get_by_label(name).accesskit_node().is_disabled();
    assert!(is_disabled("Beginning of text always"));
    assert!(is_disabled("Beginning of text never"));
    assert!(!is_disabled("Beginning of text auto"));
}

#[test]
fn a_prompt_without_a_mask_says_what_to_do_and_can_be_read_elsewhere() {
    let mut window = opened("tiny-bert");
    push(&mut window, Action::SetPrompt(prompt("the cat sat")));
    step_until(&mut window, "Not run");
    assert!(has(&window, "put [MASK] into it"));
    push(&mut window, Action::SetPosition(ReadPosition::Last));
    settle(&mut window);
    assert!(has(&window, "Read at [3] ·sat (last)"));
    // It holds for the next prompt, too.
    push(&mut window, Action::SetPrompt(prompt("a dog is in")));
    settle(&mut window);
    assert!(has(&window, "Read at [4] ·in (last)"));
}

#[test]
fn without_a_head_the_readout_says_so_and_the_rest_works() {
    let mut window = opened("tiny-bert-base");
    assert!(has(&window, "No language-model head"));
    press(&mut window, Modifiers::NONE, Key::Space);
    settle(&mut window);
    assert!(has(&window, "L0H0 attention map"));
    assert!(has(&window, "to the token after"));
}

#[test]
fn a_sample_gives_way_to_the_encoders_own_and_a_users_prompt_stays() {
    let bert = fixture("models/tiny-bert");
    let bert = || Action::OpenModel(bert.to_str().unwrap().to_owned());
    let mut window = open(None);
    settle(&mut window);
    push(&mut window, bert());
    step_until(&mut window, "Masked token");
    let sample = prompt("The capital of France is [MASK].");
    assert_eq!(asked(&window), (sample, ReadPosition::Usual));

    let mut window = open(None);
    settle(&mut window);
    let own = prompt("the cat sat on the mat");
    push(&mut window, Action::SetPrompt(own.clone()));
    settle(&mut window);
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("own.headscope.json");
    push(&mut window, Action::SaveSession(saved));
    push(&mut window, bert());
    step_until(&mut window, "Masked token");
    assert_eq!(asked(&window), (own, ReadPosition::Last));
}
