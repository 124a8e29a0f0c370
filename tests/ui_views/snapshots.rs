//! A few pictures that are compared with the ones in `tests/snapshots`: the colours, marks and signs that names do not tell.
//!
//! After a wanted change: `UPDATE_SNAPSHOTS=1 cargo test --test ui_views snapshots`.

use egui_kittest::{Harness, SnapshotOptions};
use headscope::ui::views::{attention, heads};

use crate::fixture::{Fixture, Shape, install};

/// Squared distance of colours that still counts as the same: drivers blend and round differently.
const TOLERANCE: f32 = 0.6;

/// Compares the picture of a panel in one theme. Without a driver that can draw, only continuous integration fails.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn compare(name: &str, size: [f32; 2], dark: bool, mut fixture: Fixture) {
    let instance = wgpu::Instance::default();
    let adapter =
        pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()));
    if let Err(error) = adapter
        && std::env::var_os("CI").is_none()
    {
        println!("skipped {name}: {error}");
        return;
    }
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
        .with_max_steps(20)
        .with_context_setup(install)
        .build_ui_state(|ui, fixture: &mut Fixture| fixture.show(ui), fixture);
    harness.run();
    harness.snapshot_options(name, &SnapshotOptions::new().threshold(TOLERANCE));
}

fn edited_map() -> Fixture {
    let mut fixture = Fixture::new(Shape(4, 8, 8), 15, |cx, states, ui| {
        attention::show(cx, &mut states.attention, ui);
    });
    fixture.select(&[(3, 4)]);
    fixture.edit(&["L3H4[9->3]=knockout"]);
    fixture.run(2);
    fixture
}

#[test]
fn the_attention_map_looks_the_same_in_the_dark() {
    compare("attention_dark", [420.0, 380.0], true, edited_map());
}

#[test]
fn the_attention_map_looks_the_same_in_the_light() {
    compare("attention_light", [420.0, 380.0], false, edited_map());
}

#[test]
fn the_grid_with_its_badges_looks_the_same() {
    let mut fixture = Fixture::new(Shape(4, 8, 2), 15, |cx, states, ui| {
        heads::show(cx, &mut states.heads, ui);
    });
    fixture.select(&[(1, 2), (2, 3)]);
    fixture.edit(&[
        "L1H2=zero",
        "L2H3=scale(2.5)",
        "L0H5=resample",
        "L3KV1=mean",
        "L0=uniform",
    ]);
    fixture.run(2);
    compare("heads_badges", [400.0, 230.0], true, fixture);
}
