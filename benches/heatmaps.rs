//! How long frames take that show 144 maps of 1,024 tokens, at 1280×800, on whatever adapter wgpu finds.
//!
//! `cargo bench --bench heatmaps`; each figure is for 20 frames, reading the last one back included. The maps are on the
//! GPU before the first frame that counts, as they are while a person pans and zooms.

#![expect(
    clippy::print_stdout,
    reason = "the figures mean nothing without the adapter's name"
)]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use egui::{Rect, Theme, pos2, vec2};
use headscope::colormap::{ColorScale, Colormap};
use headscope::mask::Mask;
use headscope::pyramid::{LayerOverview, MapPyramid};
use headscope::render::geometry::{GridLayout, Window};
use headscope::render::heatmap::{paint_grid, paint_matrix};
use headscope::render::offscreen::{Frame, Offscreen};
use headscope::render::plan::{GridDraw, MatrixDraw, MatrixStyle};

const TOKENS: usize = 1024;
const FRAMES: usize = 20;

const SCALE: ColorScale = ColorScale {
    map: Colormap::Viridis,
    log: false,
    max: 1.0,
};

fn frame() -> Frame {
    Frame {
        size: [1280, 800],
        pixels_per_point: 1.0,
        theme: Theme::Dark,
        frames: FRAMES,
    }
}

/// Weights that look like attention: a few bright cells in each row.
fn head(seed: usize) -> Vec<f32> {
    (0..TOKENS * TOKENS)
        .map(|i| ((i * 31 + seed * 7) % 97) as f32 / 97.0)
        .map(|x| x.powi(8))
        .collect()
}

fn grid(c: &mut Criterion) {
    let mut offscreen = Offscreen::new().unwrap_or_else(|error| panic!("{error}"));
    println!("adapter: {}", offscreen.adapter());
    let backend = offscreen.backend().clone();
    let heads: Vec<f32> = (0..12).flat_map(head).collect();
    let layers: Vec<_> = (0..12)
        .map(|layer| {
            Some(Arc::new(LayerOverview::new(
                layer,
                12,
                TOKENS,
                Mask::CAUSAL,
                &heads,
            )))
        })
        .collect();
    let mut group = c.benchmark_group("20 frames, 144 maps of 1,024 tokens");
    group.sample_size(10);
    for (name, cell) in [("all in view", 60.0), ("zoomed in", 150.0)] {
        group.bench_function(format!("grid panned, {name}"), |b| {
            b.iter(|| {
                let mut moved = 0.0;
                offscreen.render(frame(), |ui| {
                    moved += 3.0;
                    let draw = GridDraw {
                        id: egui::Id::unique("grid"),
                        layout: GridLayout {
                            origin: pos2(8.0 - moved, 8.0 - moved),
                            cell,
                            gap: 4.0,
                            rows: 12,
                            columns: 12,
                        },
                        layers: layers.clone(),
                        scale: SCALE,
                        hide_first_key: false,
                        styles: Vec::new(),
                        outline_width: 2.0,
                    };
                    paint_grid(&backend, ui.painter(), ui.max_rect(), draw);
                })
            });
        });
    }
}

fn matrix(c: &mut Criterion) {
    let mut offscreen = Offscreen::new().unwrap_or_else(|error| panic!("{error}"));
    let backend = offscreen.backend().clone();
    let map = Arc::new(MapPyramid::new(TOKENS, Mask::CAUSAL, &head(3)));
    let rect = Rect::from_min_size(pos2(8.0, 8.0), vec2(780.0, 780.0));
    let mut group = c.benchmark_group("20 frames, one full map of 1,024 tokens");
    group.sample_size(10);
    group.bench_function("zoomed from the whole to a fifth", |b| {
        b.iter(|| {
            let mut window = Window::full(TOKENS);
            offscreen.render(frame(), |ui| {
                window = window.zoomed(rect, rect.center(), 1.08, TOKENS);
                let draw = MatrixDraw {
                    id: egui::Id::unique("matrix"),
                    map: Arc::clone(&map),
                    window,
                    scale: SCALE,
                    hide_first_key: false,
                    marked_query: None,
                    marked_key: None,
                    style: MatrixStyle::default(),
                };
                paint_matrix(&backend, ui.painter(), rect, draw);
            })
        });
    });
}

criterion_group!(benches, grid, matrix);
criterion_main!(benches);
