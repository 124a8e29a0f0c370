//! A model of the hub through the window: asked for by its id, downloaded, stopped, refused.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

#[path = "support/hub.rs"]
mod server;
mod support;
#[path = "support/window.rs"]
mod window;

use egui::{Event, Key, Modifiers};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use headscope::model::hub::Hub;

use server::{Manners, REPO, Server, files_of};
use support::fixture;
use window::{Window, open_with, press, step_until};

fn demo(hub: Hub) -> Window {
    let mut window = open_with(hub, None);
    step_until(&mut window, "Up to date");
    window
}

/// Opens the dialog from the palette.
fn ask(window: &mut Window) {
    press(window, Modifiers::COMMAND, Key::K);
    window.event(Event::Text("from hub".into()));
    window.run_ok();
    press(window, Modifiers::NONE, Key::Enter);
    assert!(window.query_by_label("Hub id").is_some());
}

#[test]
fn an_id_is_typed_and_downloaded_and_can_be_stopped() {
    let cache = tempfile::tempdir().unwrap();
    let silent = Manners {
        is_silent: true,
        ..Manners::default()
    };
    let server = Server::start(files_of(&fixture("models/tiny-gpt2")), silent);
    let mut window = demo(server.hub(cache.path()));
    ask(&mut window);
    let can_open = |window: &Window| !window.get_by_label("Open").accesskit_node().is_disabled();
    assert!(!can_open(&window));
    window.event(Event::Text("no id".into()));
    window.run_ok();
    assert!(window.query_by_label("This is no hub id").is_some() && !can_open(&window));
    press(&mut window, Modifiers::COMMAND, Key::A);
    window.event(Event::Text(REPO.into()));
    window.run_ok();
    assert!(can_open(&window));
    assert_eq!(server.asked(), [], "nothing is sent while it is typed");
    press(&mut window, Modifiers::NONE, Key::Enter);
    step_until(&mut window, "downloading model.safetensors, 22 kB of 43 kB");
    assert!(window.query_by_label("Opening tester/tiny").is_some());
    window.get_by_label("Stop").click();
    window.run_ok();
    assert!(window.query_by_label_contains("downloading").is_none());
    assert!(window.query_by_label_contains("Model demo").is_some());

    server.recover();
    ask(&mut window);
    window.event(Event::Text(REPO.into()));
    window.run_ok();
    press(&mut window, Modifiers::NONE, Key::Enter);
    step_until(&mut window, "Model tiny");
    step_until(&mut window, "Up to date");
    assert!(server.asked_store().pop().unwrap().range.is_some());
}

#[test]
fn what_the_hub_lacks_is_said_as_of_any_model() {
    let cache = tempfile::tempdir().unwrap();
    let mut window = demo(Hub::offline(cache.path()));
    ask(&mut window);
    window.event(Event::Text(" tester/none ".into()));
    window.run_ok();
    window.get_by_label("Open").click();
    step_until(
        &mut window,
        "tester/none cannot be opened: `tester/none` is not in the cache",
    );
    assert!(window.query_by_label("Try again").is_some());
    press(&mut window, Modifiers::NONE, Key::Escape);
    ask(&mut window);
    press(&mut window, Modifiers::NONE, Key::Escape);
    assert!(
        window.query_by_label("Hub id").is_none(),
        "Escape closes it"
    );
}
