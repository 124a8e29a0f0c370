//! Promises of whole figures. With `HEADSCOPE_FIGURES=folder` the pictures are also written there, to be looked at.

mod data;
mod report;
mod samples;

use data::read_csv;

use std::time::{Duration, Instant};

use resvg::usvg;
use resvg::usvg::roxmltree;

use super::*;
use crate::colormap::{ColorScale, Colormap, MASKED};
use crate::ids::HeadId;
use crate::mask::Mask;

const IOI: &str =
    "<|endoftext|>|When| Mary| and| John| went| to| the| store|,| John| gave| a| drink| to";

fn tokens(n: usize) -> Vec<TokenLabel> {
    let words: Vec<&str> = IOI
        .split('|')
        .filter(|word| !word.is_empty() && *word != "<")
        .collect();
    let more = " Then| the| two| friends| walked| slowly| home| through| the| rain|,| and| unbelievably| nobody|\n|\n|He| said| “|it| is| 1984|”|.| Antidisestablishmentarianism".split('|');
    let cycle: Vec<&str> = ["<|endoftext|>"]
        .into_iter()
        .chain(
            words[1..]
                .iter()
                .copied()
                .filter(|w| *w != "endoftext" && *w != ">"),
        )
        .chain(more)
        .collect();
    (0..n)
        .map(|index| TokenLabel {
            index,
            text: cycle[if index == 0 {
                0
            } else {
                1 + (index - 1) % (cycle.len() - 1)
            }]
            .to_owned(),
        })
        .collect()
}

/// Rows that sum to 1: a sink on the first token, some on the previous one, some on repeats.
fn pattern(n: usize, seed: usize) -> Vec<f32> {
    let mut values = vec![0.0; n * n];
    for query in 0..n {
        let row = &mut values[query * n..][..n];
        for (key, value) in row.iter_mut().enumerate().take(query + 1) {
            let noise = ((query * 31 + key * 17 + seed * 7) % 23) as f32 / 23.0;
            *value = 0.05 * noise + 0.02;
            if key == 0 {
                *value += 1.2;
            }
            if key + 1 == query {
                *value += 0.8 * ((seed + query) % 3) as f32 / 2.0;
            }
            if (query + seed) % 14 == (key + 5) % 14 {
                *value += 1.5;
            }
        }
        let sum: f32 = row.iter().sum();
        for value in row {
            *value /= sum;
        }
    }
    values
}

fn panel(layer: usize, head: usize, n: usize) -> HeadPanel {
    let id = HeadId::new(layer, head);
    HeadPanel {
        title: id.to_string(),
        head: id,
        values: pattern(n, layer + head),
        mask: Mask::CAUSAL,
        edited: false,
    }
}

fn scale(map: Colormap) -> ColorScale {
    ColorScale {
        map,
        log: false,
        max: 1.0,
    }
}

fn attention(n: usize, heads: usize) -> AttentionFigure {
    AttentionFigure {
        panels: (0..heads).map(|i| panel(9, 6 + i, n)).collect(),
        tokens: tokens(n),
        scale: scale(Colormap::Blues),
        value_label: "attention".to_owned(),
    }
}

fn heads(n_layers: usize, n_heads: usize, side: usize) -> HeadsFigure {
    let badge = |i: usize| match i {
        5 => "×",
        17 => "×2.5",
        20 => "⇄",
        _ => "",
    };
    HeadsFigure {
        n_layers,
        n_heads,
        cells: (0..n_layers * n_heads)
            .map(|i| HeadCell {
                thumb: Some(Thumb {
                    side,
                    values: pattern(side, i),
                    n_tokens: side,
                    mask: Mask::CAUSAL,
                }),
                badge: badge(i).to_owned(),
            })
            .collect(),
        scale: scale(Colormap::Viridis),
        value_label: "attention".to_owned(),
    }
}

fn scores() -> HeadsFigure {
    let mut figure = heads(12, 12, 1);
    for (i, cell) in figure.cells.iter_mut().enumerate() {
        let value = ((i * 37 % 101) as f32 / 50.0 - 1.0).powi(3) * 0.83;
        cell.thumb = (i != 30).then(|| Thumb {
            side: 1,
            values: vec![value],
            n_tokens: 1,
            mask: Mask::NONE,
        });
    }
    figure.scale = ColorScale {
        max: 0.83,
        ..scale(Colormap::PuOr)
    };
    figure.value_label = "direct logit attribution".to_owned();
    figure
}

fn arcs(n: usize, heads: usize) -> ArcsFigure {
    let AttentionFigure {
        panels,
        tokens,
        scale,
        value_label,
    } = attention(n, heads);
    ArcsFigure {
        panels,
        tokens,
        scale,
        value_label,
        threshold: 0.05,
    }
}

fn readout(edited: bool) -> ReadoutFigure {
    let row = |token: &str, id, before: (f32, f32), after: (f32, f32)| ReadoutRow {
        token: token.to_owned(),
        id,
        logit: BeforeAfter {
            before: before.0,
            after: edited.then_some(after.0),
        },
        prob: BeforeAfter {
            before: before.1,
            after: edited.then_some(after.1),
        },
    };
    ReadoutFigure {
        masked_token: false,
        position: TokenLabel {
            index: 13,
            text: " to".to_owned(),
        },
        rows: vec![
            row(" Mary", 5099, (11.04, 0.681), (8.31, 0.204)),
            row(" the", 262, (8.9, 0.080), (8.88, 0.362)),
            row(" John", 1757, (8.1, 0.036), (8.2, 0.181)),
            row(" her", 607, (7.95, 0.031), (7.1, 0.061)),
            row("\n", 198, (-0.42, 0.000_008), (0.3, 0.000_07)),
        ],
        answers: vec![
            row(" Mary", 5099, (11.04, 0.681), (8.31, 0.204)),
            row(" John", 1757, (8.1, 0.036), (8.2, 0.181)),
        ],
        logit_diff: Some(BeforeAfter {
            before: 2.94,
            after: edited.then_some(0.11),
        }),
    }
}

fn provenance() -> Provenance {
    Provenance {
        model: "gpt2".to_owned(),
        fingerprint: "h1:0123abcd".to_owned(),
        prompt: "When Mary,\n\"and\" <John>".to_owned(),
        edits: vec!["L9H6=scale(2.5)@last".to_owned(), "L1H5=zero".to_owned()],
        version: "0.1.0".to_owned(),
        method: None,
    }
}

fn every_figure() -> Vec<(&'static str, Figure)> {
    let mut edited = attention(14, 3);
    edited.panels[1].edited = true;
    let mut log = attention(60, 1);
    log.scale = ColorScale {
        log: true,
        ..scale(Colormap::Viridis)
    };
    let mut change = attention(14, 1);
    change.scale = ColorScale {
        max: 0.4,
        ..scale(Colormap::RdBu)
    };
    change.value_label = "change".to_owned();
    for (i, value) in change.panels[0].values.iter_mut().enumerate() {
        *value = (*value - 0.2) * if i % 3 == 0 { -1.0 } else { 1.0 };
    }
    let mut change_arcs = arcs(14, 1);
    change_arcs.panels[0] = change.panels[0].clone();
    change_arcs.panels[0].edited = true;
    change_arcs.scale = change.scale;
    change_arcs.value_label = "change".to_owned();
    let mut many = arcs(14, 4);
    many.panels[2].edited = true;
    vec![
        ("attention-14", Figure::Attention(attention(14, 1))),
        ("attention-14x3", Figure::Attention(edited)),
        ("attention-14x6", Figure::Attention(attention(14, 6))),
        ("attention-2", Figure::Attention(attention(2, 1))),
        ("attention-60-log", Figure::Attention(log)),
        ("attention-60x2", Figure::Attention(attention(60, 2))),
        ("attention-200", Figure::Attention(attention(200, 1))),
        ("attention-change", Figure::Attention(change)),
        ("heads-12x12", Figure::Heads(heads(12, 12, 14))),
        ("heads-12x12-64", Figure::Heads(heads(12, 12, 48))),
        ("heads-4x8", Figure::Heads(heads(4, 8, 14))),
        ("heads-1x2", Figure::Heads(heads(1, 2, 14))),
        ("heads-32x32", Figure::Heads(heads(32, 32, 8))),
        ("heads-scores", Figure::Heads(scores())),
        ("arcs-14", Figure::Arcs(arcs(14, 1))),
        ("arcs-14x4", Figure::Arcs(many)),
        ("arcs-60", Figure::Arcs(arcs(60, 1))),
        ("arcs-300", Figure::Arcs(arcs(300, 1))),
        ("arcs-change", Figure::Arcs(change_arcs)),
        ("readout", Figure::Readout(readout(false))),
        ("readout-edited", Figure::Readout(readout(true))),
    ]
}

fn svg(figure: &Figure, style: &Style) -> String {
    let bytes = figure
        .render(Format::Svg, style, &provenance())
        .expect("an SVG");
    String::from_utf8(bytes).expect("UTF-8")
}

struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
    texts: Vec<(String, String)>,
}

fn png(figure: &Figure, style: &Style) -> Picture {
    let bytes = figure
        .render(Format::Png, style, &provenance())
        .expect("a PNG");
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .expect("a PNG");
    let mut rgb = vec![0; reader.output_buffer_size().expect("a size")];
    reader.next_frame(&mut rgb).expect("pixels");
    let info = reader.info();
    Picture {
        width: info.width,
        height: info.height,
        rgb,
        texts: info
            .utf8_text
            .iter()
            .map(|chunk| (chunk.keyword.clone(), chunk.get_text().expect("text")))
            .collect(),
    }
}

impl Picture {
    fn pixel(&self, x: f32, y: f32) -> [u8; 3] {
        let at = 3 * (y as usize * self.width as usize + x as usize);
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }
}

#[test]
fn every_view_renders_in_both_themes_and_any_size() {
    let sizes = [None, Some((1280, 800)), Some((400, 900)), Some((90, 60))];
    for (name, figure) in every_figure() {
        for theme in [Theme::Light, Theme::Dark] {
            for size in sizes {
                let style = Style {
                    theme,
                    size: size.map(|(width, height)| FigureSize { width, height }),
                    scale: 1.0,
                };
                let svg = svg(&figure, &style);
                let tree = usvg::Tree::from_str(&svg, &usvg::Options::default()).expect(name);
                if let Some((width, height)) = size {
                    assert_eq!(
                        (tree.size().width(), tree.size().height()),
                        (width as f32, height as f32)
                    );
                }
                nothing_leaves_the_page(name, &figure.scene(&style));
                if let Some(folder) = std::env::var_os("HEADSCOPE_FIGURES") {
                    let size = size.map_or(String::new(), |(width, height)| {
                        format!("-{width}x{height}")
                    });
                    let stem = Path::new(&folder).join(format!("{name}-{theme:?}{size}"));
                    let style = Style {
                        scale: 1.5,
                        ..style
                    };
                    let bytes = figure
                        .render(Format::Png, &style, &provenance())
                        .expect("a PNG");
                    std::fs::write(stem.with_extension("png"), bytes).expect("written");
                    std::fs::write(stem.with_extension("svg"), svg).expect("written");
                }
            }
        }
    }
}

fn nothing_leaves_the_page(name: &str, scene: &scene::Scene) {
    let inside = |x0: f32, y0: f32, x1: f32, y1: f32, what: &str| {
        let ok = x0 >= 0.0 && y0 >= 0.0 && x1 <= scene.width && y1 <= scene.height;
        assert!(
            ok,
            "{name} ({}×{}): {what} at {x0} {y0} {x1} {y1}",
            scene.width, scene.height
        );
    };
    for shape in &scene.shapes {
        match shape {
            scene::Shape::Fill { rect, .. } | scene::Shape::Outline { rect, .. } => {
                inside(rect.x, rect.y, rect.right(), rect.bottom(), "a rectangle");
            }
            scene::Shape::Line { from, to, .. } | scene::Shape::Curve { from, to, .. } => {
                inside(from[0], from[1], to[0], to[1].max(from[1]), "a line");
            }
            scene::Shape::Path { points, .. } => {
                for [x, y] in points {
                    inside(*x, *y, *x, *y, "a point of a line");
                }
            }
            scene::Shape::Dot { at, radius, .. } => {
                let [[x0, y0], [x1, y1]] = [-radius, *radius].map(|r| at.map(|side| side + r));
                inside(x0, y0, x1, y1, "a dot");
            }
            scene::Shape::Text(text) => {
                let [x0, y0, x1, y1] = box_of(text);
                inside(x0, y0, x1, y1, &text.content);
            }
        }
    }
}

/// Left, top, right and bottom of a text, from its base line up.
fn box_of(text: &scene::Text) -> [f32; 4] {
    let width = text::width(&text.content, text.size);
    let before = match text.anchor {
        scene::Anchor::Start => 0.0,
        scene::Anchor::Middle => width / 2.0,
        scene::Anchor::End => width,
    };
    let (x, y, size) = (text.x, text.y, text.size);
    if text.upright {
        [x - size, y + before - width, x, y + before]
    } else {
        [x - before, y - size, x - before + width, y]
    }
}

#[test]
fn a_picture_has_the_asked_size_and_the_colours_of_the_map() {
    let figure = attention(14, 1);
    let style = Style {
        size: Some(FigureSize {
            width: 640,
            height: 520,
        }),
        scale: 2.0,
        ..Style::default()
    };
    let picture = png(&Figure::Attention(figure.clone()), &style);
    assert_eq!((picture.width, picture.height), (1280, 1040));
    // The panel is where the frame is.
    let natural = Style {
        scale: 2.0,
        ..Style::default()
    };
    for style in [style, natural] {
        let scene = Figure::Attention(figure.clone()).scene(&style);
        let picture = png(&Figure::Attention(figure.clone()), &style);
        check_cells(&figure, &picture, frame(&scene), style.scale);
    }
}

/// The first outline of an attention figure is its first panel's.
fn frame(scene: &scene::Scene) -> scene::Rect {
    scene
        .shapes
        .iter()
        .find_map(|shape| match shape {
            scene::Shape::Outline { rect, .. } => Some(*rect),
            _ => None,
        })
        .expect("a frame")
}

fn check_cells(figure: &AttentionFigure, picture: &Picture, panel: scene::Rect, scale: f32) {
    let n = figure.tokens.len();
    let cell = panel.width / n as f32;
    for query in 0..n {
        for key in 0..n {
            let x = (panel.x + (key as f32 + 0.5) * cell) * scale;
            let y = (panel.y + (query as f32 + 0.5) * cell) * scale;
            let expected = if figure.panels[0].mask.sees(query, key) {
                figure.scale.rgb(figure.panels[0].values[query * n + key])
            } else {
                MASKED
            };
            assert_eq!(picture.pixel(x, y), expected, "query {query}, key {key}");
        }
    }
}

#[test]
fn every_mask_is_drawn_and_nothing_behind_it_is_written() {
    let n = 9;
    for mask in [
        Mask::NONE,
        Mask::CAUSAL,
        Mask::causal_window(3),
        Mask::to_either_side(2),
    ] {
        let mut figure = attention(n, 1);
        figure.panels[0].mask = mask;
        figure.panels[0].values = (0..n * n).map(|i| i as f32 / 100.0).collect();
        let whole = Figure::Attention(figure.clone());
        let style = Style {
            scale: 2.0,
            ..Style::default()
        };
        let panel = frame(&whole.scene(&style));
        check_cells(&figure, &png(&whole, &style), panel, style.scale);
        let render = |format| {
            whole
                .render(format, &style, &provenance())
                .expect("written")
        };
        let (_, records) = read_csv(&render(Format::Csv));
        let written: Vec<(usize, usize)> = records
            .iter()
            .map(|record| [3, 5].map(|column| record[column].parse().expect("an index")))
            .map(|[query, key]| (query, key))
            .collect();
        let seen: Vec<(usize, usize)> = (0..n)
            .flat_map(|query| mask.keys(query, n).map(move |key| (query, key)))
            .collect();
        assert_eq!(written, seen, "{mask:?}");
        let json: serde_json::Value = serde_json::from_slice(&render(Format::Json)).expect("JSON");
        let panel = &json["data"]["panels"][0];
        for (query, key) in (0..n).flat_map(|query| (0..n).map(move |key| (query, key))) {
            let is_number = panel["values"][query][key].is_number();
            assert_eq!(is_number, mask.sees(query, key), "{mask:?} {query} {key}");
        }
        let reach = serde_json::json!({ "before": mask.before, "after": mask.after });
        assert_eq!(panel["mask"], reach);
    }
}

#[test]
fn no_line_is_drawn_behind_a_mask() {
    let n = 9;
    let count = |mask: Mask| {
        let mut figure = arcs(n, 1);
        figure.panels[0].mask = mask;
        figure.panels[0].values = vec![0.5; n * n];
        let curves = Figure::Arcs(figure).scene(&Style::default()).shapes;
        let is_edge = |shape: &&scene::Shape| matches!(shape, scene::Shape::Curve { from, to, .. } if to[0] - from[0] > 40.0);
        curves.iter().filter(is_edge).count()
    };
    assert_eq!(count(Mask::NONE), n * n);
    assert_eq!(count(Mask::CAUSAL), n * (n + 1) / 2);
    assert_eq!(count(Mask::to_either_side(1)), 3 * n - 2);
}

#[test]
fn maps_beyond_128_tokens_are_images_with_the_same_colours() {
    for n in [128, 129] {
        let figure = attention(n, 1);
        let whole = Figure::Attention(figure.clone());
        let svg = svg(&whole, &Style::default());
        assert_eq!(svg.contains("<image"), n > 128);
        assert_eq!(
            svg.contains("embedded image"),
            n > 128,
            "said in the description"
        );
        let style = Style {
            scale: 1.0,
            ..Style::default()
        };
        check_cells(
            &figure,
            &png(&whole, &style),
            frame(&whole.scene(&style)),
            1.0,
        );
    }
}

#[test]
fn a_thousand_tokens_export_in_seconds() {
    let figure = Figure::Attention(attention(1024, 2));
    let start = Instant::now();
    let picture = png(&figure, &Style::default());
    let svg = svg(&figure, &Style::default());
    assert!(picture.width > 4000, "every cell has a pixel");
    assert!(svg.len() < 16 << 20);
    // Seconds in a debug build on a busy machine; rectangles would take minutes.
    assert!(
        start.elapsed() < Duration::from_mins(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn figures_that_do_not_add_up_are_refused() {
    let render = |figure: Figure| figure.render(Format::Svg, &Style::default(), &provenance());
    let mut short = attention(14, 1);
    short.panels[0].values.pop();
    let error = render(Figure::Attention(short))
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("L9H6") && error.contains("195") && error.contains("196"),
        "{error}"
    );
    assert!(render(Figure::Attention(attention(14, 0))).is_err());
    assert!(render(Figure::Arcs(arcs(14, 7))).is_err());
    assert!(render(Figure::Heads(heads(2, 2, 65))).is_err());
    let mut grid = heads(2, 2, 4);
    grid.cells.pop();
    assert!(render(Figure::Heads(grid)).is_err());
    let absurd = Style {
        size: Some(FigureSize {
            width: 0,
            height: 100,
        }),
        ..Style::default()
    };
    for format in [Format::Svg, Format::Png] {
        assert!(
            Figure::Readout(readout(false))
                .render(format, &absurd, &provenance())
                .is_err()
        );
    }
}

#[test]
fn formats_follow_the_ending() {
    assert_eq!(
        Format::from_path(Path::new("a/b.SVG")).expect("known"),
        Format::Svg
    );
    let error = Format::from_path(Path::new("fig.pdf"))
        .expect_err("unknown")
        .to_string();
    assert!(error.ends_with("fig.pdf"), "{error}");
}
