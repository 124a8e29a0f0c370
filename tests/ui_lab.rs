//! The Head atlas, the Lab and the Gallery in the whole window, by clicks and names.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

mod support;
#[path = "support/window.rs"]
mod window;

use egui::accesskit::Role;
use egui_kittest::kittest::Queryable as _;
use headscope::ids::HeadId;
use headscope::session::Lab;
use headscope::session::file;
use headscope::ui::action::Action;
use headscope::ui::command::Command;
use headscope::ui::gallery::ENTRIES;
use headscope::ui::layout::Pane;

use window::{Window, open, step_until};

fn demo() -> Window {
    let mut window = open(None);
    step_until(&mut window, "Up to date");
    window.run_ok();
    window
}

fn push(window: &mut Window, action: Action) {
    window.state().push(action);
    window.run_ok();
}

fn has(window: &Window, text: &str) -> bool {
    window.query_all_by_label_contains(text).next().is_some()
}

fn click(window: &mut Window, name: &str) {
    window.get_by_label(name).click();
    window.run_ok();
}

#[test]
fn the_atlas_names_heads_and_a_cell_selects_one() {
    let mut window = demo();
    push(&mut window, Action::Run(Command::TogglePane(Pane::Atlas)));
    assert!(has(&window, "What kind of head is each one?"));
    click(&mut window, "Score the heads");
    step_until(&mut window, "Score again");
    // The first score is induction's; the best head stands first in the ranking and wears its tag.
    assert!(has(&window, "L0H0 induction"));
    assert!(has(&window, "Heads in order"));
    window.get_by_label_contains("L2H5 induction").click();
    window.run_ok();
    assert_eq!(window.state().session().view.selection, [HeadId::new(2, 5)]);
}

#[test]
fn every_entry_of_the_gallery_shows_its_method_at_work() {
    for (i, entry) in ENTRIES.iter().enumerate() {
        let mut window = demo();
        push(&mut window, Action::Run(Command::Gallery));
        assert!(has(&window, entry.title), "{}", entry.title);
        if entry.method == "icl" {
            // It trains for half a minute: here only that it begins and can be stopped.
            push(&mut window, Action::OpenGallery(i));
            step_until(&mut window, "Stop");
            push(&mut window, Action::StopMethod);
            continue;
        }
        if entry.model != "demo" {
            // From the hub, which no test asks.
            continue;
        }
        push(&mut window, Action::OpenGallery(i));
        let is_over = if entry.method == "atlas" {
            "Score again"
        } else {
            " in all"
        };
        step_until(&mut window, is_over);
        let lab = window.state().session().lab.clone().unwrap();
        assert_eq!(lab.method, entry.method);
        assert!(!has(&window, "cannot"), "{}", entry.title);
    }
}

#[test]
fn settings_are_kept_with_the_session_and_errors_say_what_is_missing() {
    let mut window = demo();
    push(&mut window, Action::Run(Command::TogglePane(Pane::Lab)));
    assert!(has(&window, "Nothing has been run yet"));
    let lab = Lab {
        method: "patch".into(),
        settings: vec![("what".into(), "q".into())],
        ..Lab::default()
    };
    push(&mut window, Action::SetLab(lab.clone()));
    assert!(has(&window, "what: q"));
    click(&mut window, "Run");
    step_until(&mut window, "prompt B");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.headscope.json");
    push(&mut window, Action::SaveSession(path.clone()));
    assert_eq!(file::open(&path).unwrap().session.lab, Some(lab));
}

#[test]
fn a_method_that_is_stopped_leaves_the_window_as_it_was() {
    let mut window = demo();
    let lab = Lab {
        method: "icl".into(),
        ..Lab::default()
    };
    push(&mut window, Action::SetLab(lab.clone()));
    push(&mut window, Action::Run(Command::TogglePane(Pane::Lab)));
    push(&mut window, Action::Analyse(lab));
    step_until(&mut window, "Stop");
    window.get_by_role_and_label(Role::Button, "Stop").click();
    window.run_ok();
    assert!(
        window
            .query_by_role_and_label(Role::Button, "Run")
            .is_some()
    );
    push(
        &mut window,
        Action::Select {
            heads: vec![HeadId::new(1, 3)],
            extend: false,
        },
    );
    step_until(&mut window, "Up to date");
}

/// Pictures of every entry's report, to be looked at: `cargo test --test ui_lab look -- --ignored` writes them into
/// `target/look`. With `HEADSCOPE_TEST_MODELS` also those on real models; `HEADSCOPE_LOOK` names methods, or `light`.
#[test]
#[ignore = "for eyes"]
fn look() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/look");
    std::fs::create_dir_all(&folder).unwrap();
    let only = std::env::var("HEADSCOPE_LOOK").unwrap_or_default();
    let models = std::env::var("HEADSCOPE_TEST_MODELS").ok();
    let named = ENTRIES
        .iter()
        .any(|entry| only.split(',').any(|name| name == entry.method));
    for (i, entry) in ENTRIES.iter().enumerate() {
        if named && !only.split(',').any(|name| name == entry.method) {
            continue;
        }
        let mut session = entry.session();
        if entry.model != "demo" {
            let Some(models) = &models else { continue };
            session.model = format!("{models}/smollm2-135m-instruct-q4_1");
        }
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a.headscope.json");
        let saved = file::Saved {
            session: session.clone(),
            record: None,
        };
        file::save(&path, &saved, None).unwrap();
        let mut window = open(path.to_str());
        window.set_size(egui::vec2(1440.0, 1500.0));
        // Real vocabularies have signs that no bundled font has.
        window
            .ctx
            .set_missing_glyph_policy(egui::MissingGlyphPolicy::Tofu);
        step_until(&mut window, "Up to date");
        if only.contains("light") {
            push(&mut window, Action::Run(Command::CycleTheme));
            push(&mut window, Action::Run(Command::CycleTheme));
        }
        let pane = if entry.method == "atlas" {
            Pane::Atlas
        } else {
            Pane::Lab
        };
        let at_home = if entry.method == "atlas" {
            "Score"
        } else {
            "Method: "
        };
        while !has(&window, at_home) {
            push(&mut window, Action::Run(Command::TogglePane(pane)));
        }
        push(&mut window, Action::Analyse(session.lab.unwrap()));
        let started = std::time::Instant::now();
        while started.elapsed().as_secs() < 240 {
            window.run_ok();
            let is_over = if entry.method == "atlas" {
                "Score again"
            } else {
                " in all"
            };
            if has(&window, is_over) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let image = window.render().unwrap();
        image
            .save(folder.join(format!("{i:02}-{}.png", entry.method)))
            .unwrap();
    }
}
