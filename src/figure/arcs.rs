//! The tokens twice, queries left and keys right, with lines between them by weight.

use super::input::{ArcsFigure, shown, title};
use super::layout::{
    LABEL_GAP, MARGIN, SMALL_SIZE, Side, TITLE_SIZE, TokenAxis, at_least, centred,
};
use super::scene::{Anchor, Scene, Shape};
use super::style::{Palette, Rgb};
use super::text;

const LINES_WIDTH: f32 = 200.0;
const LEAST_LINES_WIDTH: f32 = 90.0;
const LEAST_PITCH: f32 = 3.0;
const MAX_PITCH: f32 = 20.0;
const HEADER: f32 = 20.0;
const FOOTER: f32 = 34.0;
const LEGEND_ROW: f32 = 17.0;
const SWATCH: f32 = 16.0;
const TAG: &str = "edited";
const TAG_GAP: f32 = 8.0;
/// More lines cannot be told apart, and would make a file that no program opens; the weakest are left out.
const MAX_LINES: usize = 20_000;
/// Opacity of the weakest line that is drawn.
const FAINTEST: f32 = 0.12;

pub(super) fn build(figure: &ArcsFigure, palette: &Palette, asked: Option<[f32; 2]>) -> Scene {
    let axis = TokenAxis::new(&figure.tokens);
    let n = figure.tokens.len() as f32;
    let legend = Legend::new(figure, palette);
    let column = axis.width.max(text::width("Query", SMALL_SIZE)) + LABEL_GAP;
    let fixed = [
        2.0 * (MARGIN + column),
        2.0 * MARGIN + legend.height + HEADER + FOOTER,
    ];
    let least_width = LEAST_LINES_WIDTH.max(legend.width - 2.0 * column);
    let least = [fixed[0] + least_width, fixed[1] + n * LEAST_PITCH];
    let (size, lines_width, pitch) = if let Some(asked) = asked {
        let size = at_least(asked, least);
        let lines_width = (size[0] - fixed[0]).min(2.5 * LINES_WIDTH);
        (
            size,
            lines_width.max(least_width),
            ((size[1] - fixed[1]) / n).min(2.0 * MAX_PITCH),
        )
    } else {
        let pitch = (960.0 / n).floor().clamp(LEAST_PITCH, MAX_PITCH);
        let lines_width = LINES_WIDTH.max(least_width);
        (
            [fixed[0] + lines_width, fixed[1] + n * pitch],
            lines_width,
            pitch,
        )
    };
    let left = (size[0] - fixed[0] - lines_width) / 2.0 + MARGIN;
    let [x_query, x_key] = [left + column, left + column + lines_width];
    let top = ((size[1] - fixed[1] - n * pitch) / 2.0 + MARGIN).round();
    let rows = top + legend.height + HEADER;
    let lines = strongest_lines(figure);
    let mut scene = Scene {
        width: size[0],
        height: size[1],
        title: title(&figure.value_label, &figure.panels),
        description: description(figure, &lines),
        background: palette.background,
        images: Vec::new(),
        shapes: Vec::new(),
    };
    let middle = f32::midpoint(x_query, x_key);
    legend.draw(&mut scene, palette, [middle, top]);
    let header_y = rows - 8.0;
    scene.text(
        "Query",
        [x_query - LABEL_GAP, header_y],
        SMALL_SIZE,
        palette.muted,
        Anchor::End,
    );
    scene.text(
        "Key",
        [x_key + LABEL_GAP, header_y],
        SMALL_SIZE,
        palette.muted,
        Anchor::Start,
    );
    let y = |token: usize| rows + (token as f32 + 0.5) * pitch;
    for line in &lines.drawn {
        scene.shapes.push(Shape::Curve {
            from: [x_query, y(line.query)],
            to: [x_key, y(line.key)],
            color: legend.color(figure, line),
            width: stroke_width(line.strength),
            opacity: opacity(line.strength),
        });
    }
    axis.draw(&mut scene, palette, [x_query, rows], pitch, Side::Left);
    axis.draw(&mut scene, palette, [x_key, rows], pitch, Side::Right);
    legend.draw_strengths(
        &mut scene,
        palette,
        figure,
        [middle, rows + n * pitch + 14.0],
    );
    scene
}

struct Line {
    panel: usize,
    query: usize,
    key: usize,
    value: f32,
    /// 0 to 1, of the range.
    strength: f32,
}

struct Lines {
    /// Weakest first, so that strong lines lie on top.
    drawn: Vec<Line>,
    /// Above the threshold, but too many.
    left_out: usize,
}

fn strongest_lines(figure: &ArcsFigure) -> Lines {
    let n = figure.tokens.len();
    let mut drawn: Vec<Line> = Vec::new();
    for (panel, head) in figure.panels.iter().enumerate() {
        let values = shown(&head.values, n, |query, key| head.hides(query, key));
        for (i, value) in values.enumerate() {
            let strength = strength(figure, value);
            // Written so that NaN draws nothing.
            if strength > 0.0 && value.abs() >= figure.threshold {
                drawn.push(Line {
                    panel,
                    query: i / n,
                    key: i % n,
                    value,
                    strength,
                });
            }
        }
    }
    drawn.sort_by(|a, b| a.strength.total_cmp(&b.strength));
    let left_out = drawn.len().saturating_sub(MAX_LINES);
    drawn.drain(..left_out);
    Lines { drawn, left_out }
}

/// How far a value is from 0 on its scale, 0 to 1; NaN stays NaN.
fn strength(figure: &ArcsFigure, value: f32) -> f32 {
    let t = figure.scale.t(value);
    if figure.scale.map.is_diverging() {
        (t - 0.5).abs() * 2.0
    } else {
        t
    }
}

fn opacity(strength: f32) -> f32 {
    FAINTEST + (1.0 - FAINTEST) * strength
}

fn stroke_width(strength: f32) -> f32 {
    0.8 + 1.6 * strength
}

/// The heads with their colours, one a row above the tokens.
struct Legend {
    entries: Vec<Entry>,
    /// One head can spend its colour on the sign.
    by_sign: bool,
    /// Width of a line sample with its gap.
    swatch: f32,
    width: f32,
    height: f32,
}

struct Entry {
    title: String,
    color: Rgb,
    edited: bool,
}

impl Legend {
    fn new(figure: &ArcsFigure, palette: &Palette) -> Self {
        let colors = palette.heads.iter().cycle();
        let entries: Vec<Entry> = figure
            .panels
            .iter()
            .zip(colors)
            .map(|(panel, &color)| Entry {
                title: text::fit(&text::token_label(&panel.title), TITLE_SIZE, 160.0),
                color,
                edited: panel.edited,
            })
            .collect();
        let by_sign = figure.scale.map.is_diverging() && entries.len() == 1;
        let swatch = if by_sign { 0.0 } else { SWATCH + 6.0 };
        let widths = entries.iter().map(|entry| {
            let tag = if entry.edited {
                TAG_GAP + text::width(TAG, SMALL_SIZE)
            } else {
                0.0
            };
            swatch + text::width(&entry.title, TITLE_SIZE) + tag
        });
        Self {
            width: widths.fold(0.0, f32::max),
            height: entries.len() as f32 * LEGEND_ROW,
            by_sign,
            swatch,
            entries,
        }
    }

    fn color(&self, figure: &ArcsFigure, line: &Line) -> Rgb {
        if self.by_sign {
            end_color(figure, line.value)
        } else {
            self.entries[line.panel].color
        }
    }

    /// Centred around `middle`, from `top` down.
    fn draw(&self, scene: &mut Scene, palette: &Palette, [middle, top]: [f32; 2]) {
        let x = middle - self.width / 2.0;
        let title_x = x + self.swatch;
        for (i, entry) in self.entries.iter().enumerate() {
            let y = top + (i as f32 + 0.5) * LEGEND_ROW;
            if !self.by_sign {
                scene.line([x, y], [x + SWATCH, y], entry.color, 2.4);
            }
            let base = centred(y, TITLE_SIZE);
            scene.text(
                &entry.title,
                [title_x, base],
                TITLE_SIZE,
                palette.text,
                Anchor::Start,
            );
            if entry.edited {
                let tag_x = title_x + text::width(&entry.title, TITLE_SIZE) + TAG_GAP;
                scene.text(
                    TAG,
                    [tag_x, base],
                    SMALL_SIZE,
                    palette.accent,
                    Anchor::Start,
                );
            }
        }
    }

    /// What a line's strength means, on samples below the tokens; and what is not drawn.
    fn draw_strengths(
        &self,
        scene: &mut Scene,
        palette: &Palette,
        figure: &ArcsFigure,
        [middle, y]: [f32; 2],
    ) {
        let ticks = figure.scale.ticks();
        let ticks: Vec<_> = ticks
            .iter()
            .filter(|tick| strength(figure, tick.value) > 0.0)
            .collect();
        // Both signs, or a middling and a strong one.
        let first = if self.by_sign { 0 } else { ticks.len() / 2 };
        let samples = [ticks.get(first), ticks.last()];
        let line = 22.0;
        let sample_width = |label: &str| line + 5.0 + text::width(label, SMALL_SIZE);
        let between = 14.0;
        let total: f32 = samples
            .iter()
            .flatten()
            .map(|tick| sample_width(&tick.label))
            .sum();
        let mut x = middle - 0.5 * (total + between);
        for tick in samples.into_iter().flatten() {
            let strength = strength(figure, tick.value);
            let color = if self.by_sign {
                end_color(figure, tick.value)
            } else {
                palette.text
            };
            scene.shapes.push(Shape::Curve {
                from: [x, y],
                to: [x + line, y],
                color,
                width: stroke_width(strength),
                opacity: opacity(strength),
            });
            let at = [x + line + 5.0, centred(y, SMALL_SIZE)];
            scene.text(&tick.label, at, SMALL_SIZE, palette.muted, Anchor::Start);
            x += sample_width(&tick.label) + between;
        }
        let log = if figure.scale.log { " (log)" } else { "" };
        let threshold = figure.threshold;
        let from = if threshold > 0.0 {
            format!(", from {threshold}")
        } else {
            String::new()
        };
        let meaning = format!("{}{log}{from}", figure.value_label);
        scene.text(
            &meaning,
            [middle, y + 17.0],
            SMALL_SIZE,
            palette.muted,
            Anchor::Middle,
        );
    }
}

/// Of a diverging map, by sign; not the very end, which is nearly black.
fn end_color(figure: &ArcsFigure, value: f32) -> Rgb {
    figure.scale.map.rgb(if value < 0.0 { 0.15 } else { 0.85 })
}

fn description(figure: &ArcsFigure, lines: &Lines) -> String {
    let threshold = figure.threshold;
    let drawn = lines.drawn.len();
    let left_out = if lines.left_out > 0 {
        format!(" The {} weakest of them are left out.", lines.left_out)
    } else {
        String::new()
    };
    format!(
        "{drawn} lines from queries (left) to keys (right), for weights from {threshold} on.{left_out}"
    )
}
