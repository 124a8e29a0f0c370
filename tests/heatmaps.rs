//! Heat maps as they are drawn: the GPU against its twin on the CPU, and properties of the pictures.
//!
//! Needs a Vulkan driver (mesa-vulkan-drivers will do). Without one the tests are skipped, but fail when `CI` is set.
//! With `HEADSCOPE_PICTURES=folder` the pictures are written there to be looked at.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use egui::{Rect, pos2, vec2};
use headscope::colormap::{ColorScale, Colormap, MASKED};
use headscope::mask::Mask;
use headscope::pyramid::{LayerOverview, MapPyramid};
use headscope::render::Backend;
use headscope::render::geometry::{GridLayout, Window};
use headscope::render::gpu::wgpu_setup;
use headscope::render::heatmap::{paint_grid, paint_matrix};
use headscope::render::offscreen::{Frame, Offscreen, OffscreenError};
use headscope::render::plan::{CellStyle, GridDraw, MatrixDraw, MatrixStyle};
use image::RgbaImage;

const LINEAR: ColorScale = ColorScale {
    map: Colormap::Viridis,
    log: false,
    max: 1.0,
};
const LOG: ColorScale = ColorScale {
    log: true,
    ..LINEAR
};
const CHANGE: ColorScale = ColorScale {
    map: Colormap::RdBu,
    log: false,
    max: 0.5,
};
const LOG_CHANGE: ColorScale = ColorScale {
    log: true,
    ..CHANGE
};

#[test]
fn the_gpu_draws_a_grid_as_the_cpu_does() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    for (t, seed) in [(1, 1), (23, 2), (64, 3), (300, 4)] {
        for (scale, mask) in [
            (LINEAR, Mask::CAUSAL),
            (LOG, Mask::causal_window(9)),
            (CHANGE, Mask::NONE),
            (LOG_CHANGE, Mask::to_either_side(20)),
        ] {
            let signed = scale.map.is_diverging();
            for (cell, hide_first_key) in [(19.5, false), (64.0, true), (90.0, false)] {
                let values = noise(3 * t * t, seed, signed);
                let layer = Arc::new(LayerOverview::new(0, 3, t, mask, &values));
                let style = |i: u8| CellStyle {
                    tint: [200, 10, 10, 40 * i],
                    outline: [255, 255, 0, 120 * i],
                };
                let draw = GridDraw {
                    id: egui::Id::unique("grid"),
                    layout: GridLayout {
                        origin: pos2(-7.25, 3.5),
                        cell,
                        gap: 2.0,
                        rows: 3,
                        columns: 3,
                    },
                    layers: vec![Some(layer.clone()), None, Some(layer)],
                    scale,
                    hide_first_key,
                    styles: (0..3).map(style).collect(),
                    outline_width: 1.5,
                };
                same_picture(
                    &mut offscreen,
                    &format!("grid t {t} cell {cell} {scale:?} {mask:?}"),
                    |painter, rect, backend| {
                        paint_grid(backend, painter, rect, draw.clone());
                    },
                );
            }
        }
    }
}

#[test]
fn the_gpu_draws_a_matrix_as_the_cpu_does() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    let t = 400;
    for (scale, mask, hide_first_key) in [
        (LINEAR, Mask::CAUSAL, false),
        (LOG, Mask::causal_window(37), true),
        (CHANGE, Mask::NONE, false),
        (LOG_CHANGE, Mask::to_either_side(50), true),
        (LINEAR, Mask::causal_window(1), false),
    ] {
        let map = Arc::new(MapPyramid::new(
            t,
            mask,
            &noise(t * t, 9, scale.map.is_diverging()),
        ));
        let windows = [
            Window::full(t),
            Window {
                x: [0.0, 7.5],
                y: [-1.0, 6.5],
            },
            Window {
                x: [100.3, 221.7],
                y: [120.1, 241.5],
            },
            Window {
                x: [0.0, 400.0],
                y: [10.0, 30.0],
            },
            Window {
                x: [-300.0, 700.0],
                y: [-300.0, 700.0],
            },
        ];
        for window in windows {
            let draw = MatrixDraw {
                id: egui::Id::unique("matrix"),
                map: map.clone(),
                window,
                scale,
                hide_first_key,
                marked_query: Some(125),
                marked_key: Some(3),
                style: MatrixStyle {
                    tint: [20, 20, 40, 30],
                    line: [0, 0, 0, 60],
                    mark: [255, 255, 255, 90],
                },
            };
            same_picture(
                &mut offscreen,
                &format!("matrix {window:?} {scale:?} {mask:?}"),
                |painter, rect, backend| {
                    paint_matrix(backend, painter, rect, draw.clone());
                },
            );
        }
    }
}

#[test]
fn several_views_of_a_frame_keep_their_own_numbers() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    let map = Arc::new(MapPyramid::new(64, Mask::CAUSAL, &noise(64 * 64, 5, false)));
    same_picture(&mut offscreen, "views", |painter, rect, backend| {
        for (i, scale) in [LINEAR, LOG, CHANGE].into_iter().enumerate() {
            let part = Rect::from_min_size(
                rect.min + vec2(70.0 * i as f32, 0.0),
                vec2(66.0, 66.0 + 10.0 * i as f32),
            );
            let draw = MatrixDraw {
                scale,
                id: egui::Id::unique(i),
                ..matrix(&map)
            };
            paint_matrix(backend, painter, part, draw);
        }
    });
}

#[test]
fn every_sink_and_diagonal_is_one_even_line_in_every_cell() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    let t = 1024;
    let layer = Arc::new(LayerOverview::new(
        0,
        2,
        t,
        Mask::CAUSAL,
        &[diagonal(t, 0), sink(t)].concat(),
    ));
    let cell = 61;
    let layout = GridLayout {
        origin: pos2(3.0, 5.0),
        cell: 61.0,
        gap: 2.0,
        rows: 2,
        columns: 2,
    };
    let draw = GridDraw {
        layout,
        ..grid(vec![Some(layer.clone()), Some(layer)])
    };
    let picture = render(&mut offscreen, 1.0, |painter, rect, backend| {
        paint_grid(backend, painter, rect, draw.clone());
    });
    let bright = |x: u32, y: u32| picture.get_pixel(x, y).0[..3] == LINEAR.map.table()[255][..3];
    for row in 0..2 {
        for y in 0..cell {
            for x in 0..cell {
                let (left, top) = (3 + x, 5 + 63 * row + y);
                assert_eq!(bright(left, top), x == y, "diagonal at {x}, {y}");
                assert_eq!(bright(left + 63, top), x == 0, "sink at {x}, {y}");
            }
        }
    }
}

#[test]
fn future_keys_are_grey_and_a_hidden_first_key_too() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    let map = Arc::new(MapPyramid::new(4, Mask::CAUSAL, &[1.0; 16]));
    let draw = MatrixDraw {
        hide_first_key: true,
        ..matrix(&map)
    };
    let picture = render(&mut offscreen, 1.0, |painter, rect, backend| {
        let part = Rect::from_min_size(rect.min, vec2(40.0, 40.0));
        paint_matrix(backend, painter, part, draw.clone());
    });
    for query in 0..4 {
        for key in 0..4 {
            let grey = picture.get_pixel(10 * key + 5, 10 * query + 5).0[..3] == MASKED;
            assert_eq!(grey, key > query || key == 0, "query {query} key {key}");
        }
    }
}

/// 6 pixels a cell, and 8 cells a pixel.
#[test]
fn what_the_mask_hides_is_grey_however_small() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    for (t, pixels) in [(10, 60), (512, 64)] {
        for mask in [
            Mask::CAUSAL,
            Mask::NONE,
            Mask::causal_window(3),
            Mask::causal_window(100),
            Mask::to_either_side(2),
            Mask::to_either_side(64),
        ] {
            let map = Arc::new(MapPyramid::new(t, mask, &vec![1.0; t * t]));
            let layer = Arc::new(LayerOverview::new(0, 1, t, mask, &vec![1.0; t * t]));
            let side = pixels as f32;
            let picture = render(&mut offscreen, 1.0, |painter, rect, backend| {
                let part = Rect::from_min_size(rect.min, vec2(side, side));
                paint_matrix(backend, painter, part, matrix(&map));
                let mut cells = grid(vec![Some(layer.clone())]);
                cells.layout.origin = pos2(side + 8.0, 0.0);
                cells.layout.cell = side;
                paint_grid(backend, painter, rect, cells);
            });
            // The cells, or the block of cells, that a pixel shows.
            let shown = |pixel: u32| {
                let pixel = pixel as usize;
                if t < pixels {
                    let cell = pixel * t / pixels;
                    cell..=cell
                } else {
                    let block = t / pixels;
                    pixel * block..=(pixel + 1) * block - 1
                }
            };
            for (x, y) in (0..pixels as u32).flat_map(|x| (0..pixels as u32).map(move |y| (x, y))) {
                let seen = mask.sees_any(shown(y), shown(x));
                for left in [0, pixels as u32 + 8] {
                    let grey = picture.get_pixel(left + x, y).0[..3] == MASKED;
                    assert_eq!(grey, !seen, "t {t} {mask:?} pixel {x}, {y} from {left}");
                }
            }
        }
    }
}

#[test]
fn a_changed_layer_replaces_the_one_before_and_memory_is_counted() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    let [a, b, larger] = [(8, 0.0), (8, 1.0), (16, 0.5)].map(|(t, value)| {
        let layer = LayerOverview::new(0, 1, t, Mask::NONE, &vec![value; t * t]);
        (grid(vec![Some(Arc::new(layer))]), value)
    });
    let mut bytes = Vec::new();
    for (draw, value) in [&a, &b, &a, &larger] {
        let picture = render(&mut offscreen, 1.0, |painter, rect, backend| {
            paint_grid(backend, painter, rect, draw.clone());
        });
        let index = (value * 255.0 + 0.5) as usize;
        let expected = &LINEAR.map.table()[index][..3];
        assert_eq!(picture.get_pixel(30, 30).0[..3], *expected, "{value}");
        bytes.push(offscreen.backend().memory_bytes());
    }
    assert_eq!(bytes[0], bytes[2]);
    assert!(
        bytes[2] < bytes[3] && bytes[3] < 4 * bytes[0] + 100,
        "{bytes:?}"
    );
}

#[test]
fn a_style_is_its_own_cells_alone() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    let layer = Arc::new(LayerOverview::new(0, 2, 4, Mask::NONE, &[0.0; 32]));
    let mut draw = grid(vec![Some(layer.clone()), Some(layer)]);
    draw.layout.columns = 2;
    draw.styles = vec![CellStyle::default(); 4];
    draw.styles[2].tint = [250, 0, 0, 255];
    let picture = render(&mut offscreen, 1.0, |painter, rect, backend| {
        paint_grid(backend, painter, rect, draw.clone());
    });
    for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let red = picture.get_pixel(62 * column + 30, 62 * row + 30).0[0] == 250;
        assert_eq!(red, (row, column) == (1, 0), "row {row} column {column}");
    }
}

#[test]
fn a_hidden_first_key_does_not_hide_the_keys_pooled_with_it() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    let t = 300;
    let second_key = (0..t * t).map(|i| f32::from(u8::from(i % t == 1)));
    let layer = LayerOverview::new(0, 1, t, Mask::NONE, &second_key.collect::<Vec<_>>());
    assert!(layer.side < t);
    let mut draw = grid(vec![Some(Arc::new(layer))]);
    draw.hide_first_key = true;
    draw.layout.cell = 150.0;
    let picture = render(&mut offscreen, 1.0, |painter, rect, backend| {
        paint_grid(backend, painter, rect, draw.clone());
    });
    let brightest = &LINEAR.map.table()[255][..3];
    assert_eq!(picture.get_pixel(0, 100).0[..3], *brightest);
}

#[test]
fn more_than_a_frame_may_upload_follows_in_the_next() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    let n_layers = 20;
    let values = vec![1.0; 12 * 256 * 256];
    let layers = (0..n_layers)
        .map(|l| {
            Some(Arc::new(LayerOverview::new(
                l,
                12,
                256,
                Mask::CAUSAL,
                &values,
            )))
        })
        .collect();
    let layout = GridLayout {
        origin: pos2(0.0, 0.0),
        cell: 10.0,
        gap: 0.0,
        rows: n_layers,
        columns: 12,
    };
    let draw = GridDraw {
        layout,
        ..grid(layers)
    };
    let mut n_frames = 0;
    let picture = render(&mut offscreen, 1.0, |painter, rect, backend| {
        n_frames += 1;
        paint_grid(backend, painter, rect, draw.clone());
    });
    assert!(n_frames > 1);
    assert_eq!(
        picture.get_pixel(0, 199).0[..3],
        LINEAR.map.table()[255][..3]
    );
}

#[test]
fn a_layer_over_the_gpus_limit_is_drawn_in_parts_and_a_map_by_the_cpu() {
    let egui_wgpu::WgpuSetup::CreateNew(mut setup) = wgpu_setup() else {
        unreachable!()
    };
    setup.device_descriptor = Arc::new(|adapter| wgpu::DeviceDescriptor {
        required_limits: wgpu::Limits {
            max_storage_buffer_binding_size: 400_000,
            ..adapter.limits()
        },
        ..wgpu::DeviceDescriptor::default()
    });
    let Some(mut offscreen) = offscreen_with(Offscreen::with_setup(setup.into())) else {
        return;
    };
    let t = 256;
    let values = noise(5 * t * t, 8, false);
    let layer = Arc::new(LayerOverview::new(0, 5, t, Mask::CAUSAL, &values));
    assert!(layer.words.len() * 4 > 800_000, "three parts");
    let layout = GridLayout {
        origin: pos2(2.0, 2.0),
        cell: 40.0,
        gap: 3.0,
        rows: 1,
        columns: 5,
    };
    let styles = (0..5)
        .map(|i| CellStyle {
            tint: [0, 0, 50 * i, 90],
            outline: [0; 4],
        })
        .collect();
    let draw = GridDraw {
        layout,
        styles,
        ..grid(vec![Some(layer)])
    };
    same_picture(&mut offscreen, "parts", |painter, rect, backend| {
        paint_grid(backend, painter, rect, draw.clone());
    });
    let map = Arc::new(MapPyramid::new(
        400,
        Mask::CAUSAL,
        &noise(400 * 400, 8, false),
    ));
    same_picture(&mut offscreen, "map", |painter, rect, backend| {
        paint_matrix(backend, painter, rect, matrix(&map));
    });
}

#[test]
fn a_picture_of_no_size_is_refused_with_the_limit() {
    let Some(mut offscreen) = offscreen() else {
        return;
    };
    for size in [[0, 10], [1 << 20, 10]] {
        let frame = Frame {
            size,
            pixels_per_point: 1.0,
            theme: egui::Theme::Dark,
            frames: 1,
        };
        let error = offscreen.render(frame, |_| {}).unwrap_err();
        assert!(matches!(error, OffscreenError::Size { .. }), "{error}");
    }
}

/// To be looked at: `HEADSCOPE_PICTURES=folder cargo test --test heatmaps pictures -- --nocapture`.
#[test]
fn pictures_and_frame_times() {
    if std::env::var_os("HEADSCOPE_PICTURES").is_none() {
        println!("skipped: HEADSCOPE_PICTURES names no folder for pictures");
        return;
    }
    let mut offscreen = offscreen().unwrap();
    for t in [64, 1024] {
        let heads: Vec<Vec<f32>> = (0..12).map(|head| kind_of_head(head, t)).collect();
        let started = Instant::now();
        let values = heads.concat();
        let layers: Vec<_> = (0..12)
            .map(|l| {
                Some(Arc::new(LayerOverview::new(
                    l,
                    12,
                    t,
                    Mask::CAUSAL,
                    &values,
                )))
            })
            .collect();
        println!("t {t}: overview of a layer {:.1?}", started.elapsed() / 12);
        let started = Instant::now();
        let maps: Vec<_> = heads
            .iter()
            .map(|head| Arc::new(MapPyramid::new(t, Mask::CAUSAL, head)))
            .collect();
        println!(
            "t {t}: full pyramid of a head {:.1?}",
            started.elapsed() / 12
        );

        for (name, cell, scale, hide) in [
            ("linear", 60.0, LINEAR, false),
            ("log", 60.0, LOG, false),
            ("hide", 60.0, LINEAR, true),
            ("large", 150.0, LINEAR, false),
        ] {
            let layout = GridLayout {
                origin: pos2(8.0, 8.0),
                cell,
                gap: 4.0,
                rows: 12,
                columns: 12,
            };
            let mut styles = vec![CellStyle::default(); 144];
            styles[14] = CellStyle {
                tint: [220, 40, 40, 90],
                outline: [0; 4],
            };
            styles[27] = CellStyle {
                tint: [0; 4],
                outline: [255, 160, 0, 255],
            };
            styles[40] = CellStyle {
                tint: [30, 30, 30, 160],
                outline: [0; 4],
            };
            let draw = GridDraw {
                layout,
                styles,
                scale,
                hide_first_key: hide,
                outline_width: 2.0,
                ..grid(layers.clone())
            };
            show(
                &mut offscreen,
                &format!("grid_{t}_{name}"),
                |painter, rect, backend| {
                    paint_grid(backend, painter, rect, draw.clone());
                },
            );
        }
        for (name, window) in [
            ("full", Window::full(t)),
            (
                "near",
                Window {
                    x: [0.0, 20.0],
                    y: [4.0, 24.0],
                },
            ),
            (
                "middle",
                Window {
                    x: [0.0, t as f64 / 2.5],
                    y: [10.0, 10.0 + t as f64 / 2.5],
                },
            ),
        ] {
            show(
                &mut offscreen,
                &format!("matrix_{t}_{name}"),
                |painter, rect, backend| {
                    for (i, map) in [0, 1, 3, 5].into_iter().map(|i| &maps[i]).enumerate() {
                        let corner =
                            rect.min + vec2(390.0 * (i % 3) as f32, 390.0 * (i / 3) as f32);
                        let draw = MatrixDraw {
                            id: egui::Id::unique(i),
                            window,
                            marked_query: Some(9),
                            marked_key: Some(4),
                            style: MatrixStyle {
                                tint: [0; 4],
                                line: [0, 0, 0, 40],
                                mark: [255, 255, 255, 70],
                            },
                            ..matrix(map)
                        };
                        paint_matrix(
                            backend,
                            painter,
                            Rect::from_min_size(corner, vec2(380.0, 380.0)),
                            draw,
                        );
                    }
                },
            );
        }
    }
}

fn show(
    offscreen: &mut Offscreen,
    name: &str,
    mut paint: impl FnMut(&egui::Painter, Rect, &Backend),
) {
    for backend in [offscreen.backend().clone(), cpu()] {
        let (mut times, mut painting) = (Vec::new(), Vec::new());
        let frame = Frame {
            size: [1280, 800],
            pixels_per_point: 1.0,
            theme: egui::Theme::Dark,
            frames: 12,
        };
        let picture = offscreen.render(frame, |ui| {
            times.push(Instant::now());
            paint(ui.painter(), ui.max_rect(), &backend);
            painting.push(times[times.len() - 1].elapsed());
        });
        let gaps: Vec<_> = times
            .windows(2)
            .skip(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        println!(
            "{name} {}: {:.1?} a frame at best, {:.1?} at worst; of that painting {:.1?} the first time, {:.1?} unchanged",
            kind(&backend),
            gaps.iter().min().unwrap(),
            gaps.iter().max().unwrap(),
            painting[0],
            painting[11],
        );
        if let (Some(folder), Backend::Gpu(_)) = (std::env::var_os("HEADSCOPE_PICTURES"), &backend)
        {
            let folder = PathBuf::from(folder);
            std::fs::create_dir_all(&folder).unwrap();
            picture
                .unwrap()
                .save(folder.join(format!("{name}.png")))
                .unwrap();
        }
    }
}

fn kind(backend: &Backend) -> &'static str {
    match backend {
        Backend::Gpu(_) => "GPU",
        Backend::Cpu { .. } => "CPU",
    }
}

fn cpu() -> Backend {
    Backend::Cpu {
        reason: "to compare".to_owned(),
    }
}

fn offscreen() -> Option<Offscreen> {
    offscreen_with(Offscreen::new())
}

fn offscreen_with(opened: Result<Offscreen, OffscreenError>) -> Option<Offscreen> {
    match opened {
        Ok(offscreen) => {
            assert!(
                matches!(offscreen.backend(), Backend::Gpu(_)),
                "{:?}",
                offscreen.backend()
            );
            Some(offscreen)
        }
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn render(
    offscreen: &mut Offscreen,
    pixels_per_point: f32,
    mut paint: impl FnMut(&egui::Painter, Rect, &Backend),
) -> RgbaImage {
    let backend = offscreen.backend().clone();
    let frame = Frame {
        size: [220, 200],
        pixels_per_point,
        theme: egui::Theme::Dark,
        frames: 1,
    };
    let picture = offscreen
        .render(frame, |ui| paint(ui.painter(), ui.max_rect(), &backend))
        .unwrap();
    assert_eq!(offscreen.errors().list(), []);
    picture
}

/// Both painters use the same whole numbers: not one pixel may differ.
fn same_picture(
    offscreen: &mut Offscreen,
    what: &str,
    mut paint: impl FnMut(&egui::Painter, Rect, &Backend),
) {
    for pixels_per_point in [1.0, 1.5] {
        let gpu = render(offscreen, pixels_per_point, |painter, rect, backend| {
            assert!(matches!(backend, Backend::Gpu(_)));
            paint(painter, rect, backend);
        });
        let cpu = render(offscreen, pixels_per_point, |painter, rect, _| {
            paint(painter, rect, &cpu());
        });
        let differ = gpu
            .enumerate_pixels()
            .zip(cpu.pixels())
            .find(|((.., a), b)| a != b);
        assert!(
            differ.is_none(),
            "{what} at {pixels_per_point}: GPU and CPU differ, {differ:?}"
        );
        let first = gpu.get_pixel(0, 0);
        assert!(
            gpu.pixels().any(|pixel| pixel != first),
            "{what}: nothing is drawn"
        );
    }
}

fn grid(layers: Vec<Option<Arc<LayerOverview>>>) -> GridDraw {
    GridDraw {
        id: egui::Id::unique("grid"),
        layout: GridLayout {
            origin: pos2(0.0, 0.0),
            cell: 60.0,
            gap: 2.0,
            rows: layers.len(),
            columns: 12,
        },
        layers,
        scale: LINEAR,
        hide_first_key: false,
        styles: Vec::new(),
        outline_width: 1.0,
    }
}

fn matrix(map: &Arc<MapPyramid>) -> MatrixDraw {
    MatrixDraw {
        id: egui::Id::unique("matrix"),
        window: Window::full(map.t),
        map: map.clone(),
        scale: LINEAR,
        hide_first_key: false,
        marked_query: None,
        marked_key: None,
        style: MatrixStyle::default(),
    }
}

/// Values over four decades, so that the logarithmic scales have something to show.
fn noise(n: usize, seed: u64, signed: bool) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..n)
        .map(|_| {
            let magnitude = 10f32.powf(-5.0 * uniform());
            if signed && uniform() < 0.5 {
                -magnitude
            } else {
                magnitude
            }
        })
        .collect()
}

/// All weight on the key `back` before the query.
fn diagonal(t: usize, back: usize) -> Vec<f32> {
    (0..t * t)
        .map(|i| f32::from(u8::from(i % t + back == i / t)))
        .collect()
}

fn sink(t: usize) -> Vec<f32> {
    (0..t * t)
        .map(|i| f32::from(u8::from(i % t == 0)))
        .collect()
}

fn kind_of_head(head: usize, t: usize) -> Vec<f32> {
    match head % 6 {
        0 => diagonal(t, 0),
        1 => diagonal(t, 1),
        2 => diagonal(t, t / 2),
        3 => sink(t)
            .iter()
            .zip(diagonal(t, 1))
            .map(|(a, b)| 0.8 * a + 0.2 * b)
            .collect(),
        4 => noise(t * t, head as u64, false),
        _ => (0..t * t)
            .map(|i| {
                if i % t <= i / t {
                    1.0 / (1 + i / t) as f32
                } else {
                    0.0
                }
            })
            .collect(),
    }
}
