//! Pictures for people: `HEADSCOPE_PICTURES=folder cargo test --test ui_views look` writes them there.

use std::path::Path;

use egui_kittest::Harness;
use headscope::session::Shown;
use headscope::ui::views::{arcs, attention, head, heads, interventions, readout};

use crate::fixture::{Fixture, Shape};

const GPT2: Shape = Shape(12, 12, 12);

fn picture(name: &str, size: [f32; 2], prepare: impl Fn() -> Fixture) {
    picture_of(name, size, prepare, |_| {});
}

/// A picture after something was done.
fn picture_of(
    name: &str,
    size: [f32; 2],
    prepare: impl Fn() -> Fixture,
    act: impl Fn(&mut Harness<'_, Fixture>),
) {
    let Some(folder) = std::env::var_os("HEADSCOPE_PICTURES") else {
        return;
    };
    std::fs::create_dir_all(&folder).unwrap();
    for dark in [true, false] {
        let mut fixture = prepare();
        if !dark {
            fixture.theme = headscope::ui::theme::LIGHT.clone();
        }
        let theme = if dark {
            egui::Theme::Dark
        } else {
            egui::Theme::Light
        };
        let mut harness = Harness::builder()
            .with_size(size)
            .with_theme(theme)
            .with_pixels_per_point(1.5)
            .with_max_steps(20)
            .with_context_setup(crate::fixture::install)
            .build_ui_state(|ui, fixture: &mut Fixture| fixture.show(ui), fixture);
        harness.run();
        act(&mut harness);
        let suffix = if dark { "dark" } else { "light" };
        let file = Path::new(&folder).join(format!("{name}_{suffix}.png"));
        harness.render().unwrap().save(file).unwrap();
    }
}

#[test]
fn look() {
    if std::env::var_os("HEADSCOPE_PICTURES").is_none() {
        println!("skipped: HEADSCOPE_PICTURES names no folder for pictures");
        return;
    }
    for (name, shape, size) in [
        ("heads_12x12", GPT2, [320.0, 420.0]),
        ("heads_30x9", Shape(30, 9, 3), [260.0, 420.0]),
        ("heads_4x8", Shape(4, 8, 8), [420.0, 300.0]),
        ("heads_48x25", Shape(48, 25, 25), [420.0, 520.0]),
    ] {
        picture(name, size, || {
            let mut fixture = Fixture::new(shape, 28, |cx, states, ui| {
                heads::show(cx, &mut states.heads, ui);
            });
            fixture.select(&[(3, 4), (2, 6)]);
            fixture.edit(&[
                "L1H2=zero",
                "L2H3=scale(2.5)",
                "L3H1=resample",
                "L0=uniform",
                "L3H4=scale(-0.5)",
            ]);
            fixture.session.experiment.edits[2].enabled = true;
            fixture.run(2);
            fixture
        });
    }
    for (name, n_tokens, heads, size) in [
        ("attention_15", 15, &[(3, 4)][..], [620.0, 520.0]),
        ("attention_60", 60, &[(2, 0), (3, 1)], [900.0, 520.0]),
        ("attention_300", 300, &[(2, 0)], [700.0, 620.0]),
        (
            "attention_4heads",
            28,
            &[(2, 0), (3, 1), (4, 2), (5, 5)],
            [760.0, 620.0],
        ),
        ("attention_small", 15, &[(3, 4)], [300.0, 280.0]),
    ] {
        picture(name, size, || {
            let mut fixture = Fixture::new(GPT2, n_tokens, |cx, states, ui| {
                attention::show(cx, &mut states.attention, ui);
            });
            fixture.select(heads);
            fixture.edit(&["L3H4[9->3]=knockout"]);
            fixture.focus.set(headscope::ui::focus::Item::Cell {
                head: headscope::ids::HeadId::new(3, 4),
                query: 10,
                key: 4,
            });
            fixture.focus.end_frame();
            fixture
        });
    }
    picture("attention_change_log", [560.0, 520.0], || {
        let mut fixture = Fixture::new(GPT2, 28, |cx, states, ui| {
            attention::show(cx, &mut states.attention, ui);
        });
        fixture.select(&[(3, 4)]);
        fixture.edit(&["L1H2=zero"]);
        fixture.session.view.shown = Shown::Change;
        fixture.run(2);
        fixture
    });
    for (name, n_tokens, heads, size) in [
        ("arcs_15", 15, &[(3, 4)][..], [420.0, 380.0]),
        (
            "arcs_60_3heads",
            60,
            &[(3, 4), (2, 0), (0, 0)],
            [420.0, 420.0],
        ),
    ] {
        picture(name, size, || {
            let mut fixture = Fixture::new(GPT2, n_tokens, |cx, states, ui| {
                arcs::show(cx, &mut states.arcs, ui);
            });
            fixture.select(heads);
            fixture
        });
    }
    for (name, size) in [
        ("interventions", [340.0, 420.0]),
        ("interventions_narrow", [270.0, 420.0]),
    ] {
        picture(name, size, || {
            let mut fixture = Fixture::new(Shape(12, 12, 4), 15, |cx, states, ui| {
                interventions::show(cx, &mut states.interventions, ui);
            });
            fixture.edit(&[
                "L9H6=scale(2.5)@last",
                "L9H6[12->3]=knockout",
                "L2KV1=mean",
                "M5=zero@4",
                "R7=add(steer.safetensors:dir, -2)",
                "L1H1=scale(1)",
            ]);
            fixture.session.experiment.edits[2].enabled = false;
            fixture.live.error = Some("edit `R7=add(steer.safetensors:dir, -2)`: the file steer.safetensors does not exist".into());
            fixture
        });
    }
    picture("interventions_empty", [340.0, 200.0], || {
        Fixture::new(GPT2, 15, |cx, states, ui| {
            interventions::show(cx, &mut states.interventions, ui);
        })
    });
    for (name, size) in [("head", [340.0, 460.0]), ("head_narrow", [240.0, 460.0])] {
        picture(name, size, || {
            let mut fixture = Fixture::new(Shape(12, 12, 4), 15, |cx, states, ui| {
                head::show(cx, &mut states.head, ui);
            });
            fixture.select(&[(3, 4), (1, 1)]);
            fixture.edit(&["L3H4=scale(2.5)", "L3H4[9->3]=knockout"]);
            fixture
        });
    }
    for (name, size) in [
        ("readout_wide", [1200.0, 230.0]),
        ("readout_medium", [700.0, 260.0]),
        ("readout_narrow", [360.0, 620.0]),
    ] {
        picture(name, size, || {
            let mut fixture = Fixture::new(GPT2, 15, |cx, states, ui| {
                readout::show(cx, &mut states.readout, ui);
            });
            fixture.edit(&["L3H4=scale(2.5)"]);
            fixture.run(2);
            fixture
        });
    }
    picture("readout_no_edits", [1200.0, 230.0], || {
        Fixture::new(GPT2, 15, |cx, states, ui| {
            readout::show(cx, &mut states.readout, ui);
        })
    });
    picture_of(
        "readout_trace",
        [1200.0, 230.0],
        || {
            Fixture::new(GPT2, 15, |cx, states, ui| {
                readout::show(cx, &mut states.readout, ui);
            })
        },
        |harness| {
            for i in 0..12_u64 {
                let alpha = 1.0 - 0.25 * i as f64;
                harness.state_mut().edit(&[&format!("L3H4=scale({alpha})")]);
                harness.state_mut().run(2 + i);
                harness.run();
            }
        },
    );
    picture_of(
        "attention_hover",
        [620.0, 520.0],
        || {
            let mut fixture = Fixture::new(GPT2, 28, |cx, states, ui| {
                attention::show(cx, &mut states.attention, ui);
            });
            fixture.select(&[(3, 4)]);
            fixture
        },
        |harness| {
            use egui_kittest::kittest::Queryable as _;
            let map = harness.get_by_label_contains("attention map").rect();
            harness.hover_at(map.min + map.size() * egui::vec2(0.23, 0.6));
            harness.run_steps(10);
        },
    );
    picture_of(
        "heads_menu",
        [420.0, 460.0],
        || {
            let mut fixture = Fixture::new(Shape(12, 12, 4), 28, |cx, states, ui| {
                heads::show(cx, &mut states.heads, ui);
            });
            fixture.select(&[(2, 1)]);
            fixture
        },
        |harness| {
            use egui_kittest::kittest::Queryable as _;
            harness.get_by_label("L2H1 (kv 0)").click_secondary();
            harness.run();
        },
    );
    picture_of(
        "arcs_hover",
        [420.0, 420.0],
        || {
            let mut fixture = Fixture::new(GPT2, 60, |cx, states, ui| {
                arcs::show(cx, &mut states.arcs, ui);
            });
            fixture.select(&[(3, 4), (2, 0)]);
            fixture
        },
        |harness| {
            use egui_kittest::kittest::Queryable as _;
            harness.get_by_label("Query [7] ·the").hover();
            harness.run_steps(10);
        },
    );
}
