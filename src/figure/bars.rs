//! Horizontal bars of parts put end to end, those above 0 to the right of a line and those below it to the left.

use super::axis::{Axis, decimals_for, number};
use super::layout::{LABEL_GAP, LABEL_SIZE, SMALL_SIZE, centred};
use super::matrix::ink;
use super::page::Room;
use super::parts::{BarPiece, BarRow, BarsFigure};
use super::scene::{Anchor, Rect, Scene};
use super::style::{Palette, Rgb};
use super::text;

/// Of a page of its own.
pub(super) const WIDTH: f32 = 600.0;
const ROW: f32 = 20.0;
const BAR: f32 = 13.0;
const MAX_NAME: f32 = 180.0;
/// Of the bars, without names and numbers.
const LEAST_PLOT: f32 = 90.0;
const LEGEND_ROW: f32 = 16.0;
const SWATCH: f32 = 9.0;
/// From a bar's end to its number.
const VALUE_GAP: f32 = 5.0;
const PIECE_TEXT: f32 = 9.0;
/// Length of the marks at the sum of a bar with two sides.
const SUM_MARK: f32 = 3.0;

pub(super) fn body(figure: &BarsFigure, palette: &Palette, room: Room) -> Scene {
    let mut scene = Scene::empty(palette.background);
    let kinds = kinds(figure, palette);
    let names: Vec<String> = figure
        .bars
        .iter()
        .map(|bar| text::fit(&text::token_label(&bar.label), LABEL_SIZE, MAX_NAME))
        .collect();
    let name_width = names
        .iter()
        .map(|name| text::width(name, LABEL_SIZE))
        .fold(0.0, f32::max);
    let values = values(figure);
    let of_side = |is_left: bool| {
        let bars = figure.bars.iter().zip(&values);
        bars.filter(|(bar, _)| is_left == Extent::of(bar).is_left())
            .map(|(_, value)| text::width(value, SMALL_SIZE) + VALUE_GAP + 2.0)
            .fold(0.0, f32::max)
    };
    let [before, after] = [of_side(true), of_side(false)];
    let left = name_width + LABEL_GAP + 3.0 + before;
    let plot_width = (room.width - left - after).max(LEAST_PLOT);
    let right = left + plot_width;
    let top = draw_legend(&mut scene, palette, figure, &kinds, right) + 2.0;
    let plot = Rect::new(left, top, plot_width, ROW * figure.bars.len() as f32);
    let (low, high) = figure
        .bars
        .iter()
        .map(Extent::of)
        .fold((0.0, 0.0), |(low, high), of| {
            (f64::min(low, of.low), f64::max(high, of.high))
        });
    let high = if low == 0.0 && high == 0.0 { 1.0 } else { high };
    let axis = Axis::between(low, high, (plot_width / 70.0).clamp(2.0, 8.0) as usize);
    let ends = draw_axis(&mut scene, palette, &figure.axis, &axis, plot);
    for (i, ((bar, name), value)) in figure.bars.iter().zip(&names).zip(&values).enumerate() {
        let middle = plot.y + (i as f32 + 0.5) * ROW;
        let at = [name_width, centred(middle, LABEL_SIZE)];
        scene.text(name, at, LABEL_SIZE, palette.text, Anchor::End);
        draw_bar(&mut scene, palette, bar, &kinds, &axis, plot, middle);
        let of = Extent::of(bar);
        let (end, anchor) = if of.is_left() {
            (
                plot.x + axis.at(of.low) * plot.width - VALUE_GAP,
                Anchor::End,
            )
        } else {
            (
                plot.x + axis.at(of.high) * plot.width + VALUE_GAP,
                Anchor::Start,
            )
        };
        let color = if of.is_whole {
            palette.text
        } else {
            palette.muted
        };
        let at = [end, centred(middle, SMALL_SIZE)];
        scene.text(value, at, SMALL_SIZE, color, anchor);
    }
    // Over the bars: where they part.
    let zero = plot.x + axis.at(0.0) * plot.width;
    scene.line([zero, plot.y], [zero, plot.bottom()], palette.text, 1.0);
    scene.width = (right + after).max(ends[0]);
    scene.height = ends[1];
    scene
}

/// A name, and the colour of its pieces.
struct Kind<'a> {
    name: &'a str,
    color: Rgb,
}

/// The names in the order in which they come first.
fn kinds<'a>(figure: &'a BarsFigure, palette: &Palette) -> Vec<Kind<'a>> {
    let mut kinds: Vec<Kind<'a>> = Vec::new();
    for piece in figure.bars.iter().flat_map(|bar| &bar.parts) {
        if kinds.iter().all(|kind| kind.name != piece.name) {
            let color = series(palette, kinds.len());
            kinds.push(Kind {
                name: &piece.name,
                color,
            });
        }
    }
    kinds
}

/// A colour for the `i`th of several: the palette's, then the same nearer to the ground.
pub(super) fn series(palette: &Palette, i: usize) -> Rgb {
    let n = palette.heads.len();
    let color = palette.heads[i % n];
    if (i / n).is_multiple_of(2) {
        return color;
    }
    std::array::from_fn(|c| u8::midpoint(color[c], palette.background[c]))
}

/// How far a bar reaches to both sides, and its sum.
#[derive(Clone, Copy)]
struct Extent {
    low: f64,
    high: f64,
    /// Every piece has a value.
    is_whole: bool,
}

impl Extent {
    fn of(bar: &BarRow) -> Self {
        let values = || bar.parts.iter().map(|piece| piece.value);
        let drawn = || values().filter(|value| is_drawn(*value));
        Self {
            low: drawn().filter(|value| *value < 0.0).sum(),
            high: drawn().filter(|value| *value > 0.0).sum(),
            is_whole: !bar.parts.is_empty() && values().all(is_drawn),
        }
    }

    fn sum(self) -> f64 {
        self.low + self.high
    }

    /// Its sum is no end of it.
    fn is_marked(self) -> bool {
        self.is_whole && self.low < 0.0 && self.high > 0.0
    }

    /// Its number stands to the left of it.
    fn is_left(self) -> bool {
        self.is_whole && self.sum() < 0.0
    }
}

fn is_drawn(value: f64) -> bool {
    value.abs() < 1e100
}

/// The sums as they are written.
fn values(figure: &BarsFigure) -> Vec<String> {
    let sizes = figure.bars.iter().map(|bar| Extent::of(bar).sum().abs());
    let decimals = decimals_for(sizes.fold(0.0, f64::max));
    let value = |bar: &BarRow| {
        let of = Extent::of(bar);
        if of.is_whole {
            number(of.sum(), decimals)
        } else {
            "N/A".to_owned()
        }
    };
    figure.bars.iter().map(value).collect()
}

/// The names with their colours, and the mark of sums where there are any, in rows of at most `width`; returns where they
/// end. One kind needs none.
fn draw_legend(
    scene: &mut Scene,
    palette: &Palette,
    figure: &BarsFigure,
    kinds: &[Kind<'_>],
    width: f32,
) -> f32 {
    let has_sums = figure.bars.iter().map(Extent::of).any(Extent::is_marked);
    if kinds.len() < 2 && !has_sums {
        return 0.0;
    }
    let names = kinds.iter().map(|kind| (kind.name, Some(kind.color)));
    let sum = has_sums.then_some(("sum", None));
    let [mut x, mut y] = [0.0, 0.0];
    for (name, color) in names.chain(sum) {
        let name = if name.is_empty() { "other" } else { name };
        let name = text::fit(&text::token_label(name), SMALL_SIZE, width - SWATCH - 4.0);
        let entry = SWATCH + 4.0 + text::width(&name, SMALL_SIZE);
        if x > 0.0 && x + entry > width {
            [x, y] = [0.0, y + LEGEND_ROW];
        }
        let middle = y + 1.0 + SWATCH / 2.0;
        if let Some(color) = color {
            scene.fill(Rect::new(x, y + 1.0, SWATCH, SWATCH), color);
        } else {
            let at = x + SWATCH / 2.0;
            scene.line(
                [at, middle - SUM_MARK],
                [at, middle + SUM_MARK],
                palette.text,
                2.0,
            );
        }
        let at = [x + SWATCH + 4.0, centred(middle, SMALL_SIZE)];
        scene.text(&name, at, SMALL_SIZE, palette.text, Anchor::Start);
        x += entry + 14.0;
    }
    y + LEGEND_ROW + 2.0
}

/// Lines behind the bars and numbers below; returns where the axis ends to the right and below.
fn draw_axis(
    scene: &mut Scene,
    palette: &Palette,
    name: &str,
    axis: &Axis,
    plot: Rect,
) -> [f32; 2] {
    let base = plot.bottom() + LABEL_GAP + SMALL_SIZE;
    let mut end = plot.right();
    for (value, label) in &axis.ticks {
        let x = plot.x + axis.at(*value) * plot.width;
        scene.line([x, plot.y], [x, plot.bottom()], palette.grid, 0.75);
        let half = text::width(label, SMALL_SIZE) / 2.0;
        scene.text(label, [x, base], SMALL_SIZE, palette.muted, Anchor::Middle);
        end = end.max(x + half);
    }
    if name.is_empty() {
        return [end, base + 4.0];
    }
    let half = text::width(name, SMALL_SIZE) / 2.0;
    let middle = (plot.x + plot.width / 2.0).max(half);
    let base = base + SMALL_SIZE + 6.0;
    scene.text(
        name,
        [middle, base],
        SMALL_SIZE,
        palette.muted,
        Anchor::Middle,
    );
    [end.max(middle + half), base + 4.0]
}

fn draw_bar(
    scene: &mut Scene,
    palette: &Palette,
    bar: &BarRow,
    kinds: &[Kind<'_>],
    axis: &Axis,
    plot: Rect,
    middle: f32,
) {
    let x = |value: f64| plot.x + axis.at(value) * plot.width;
    let [mut low, mut high] = [0.0, 0.0];
    for piece in bar.parts.iter().filter(|piece| is_drawn(piece.value)) {
        let end = if piece.value < 0.0 {
            &mut low
        } else {
            &mut high
        };
        let from = *end;
        *end += piece.value;
        let (from, to) = (x(from.min(*end)), x(from.max(*end)));
        let color = kinds
            .iter()
            .find(|kind| kind.name == piece.name)
            .map_or(palette.before, |kind| kind.color);
        let rect = Rect::new(from, middle - BAR / 2.0, to - from, BAR);
        if rect.width < 0.2 {
            continue;
        }
        scene.fill(rect, color);
        draw_piece(scene, palette, bar, piece, rect, color);
    }
    let of = Extent::of(bar);
    if of.is_marked() {
        // What both sides come to: above and below, so that it covers no name.
        let at = x(of.sum());
        for side in [-1.0, 1.0] {
            let from = middle + side * BAR / 2.0;
            scene.line([at, from], [at, from + side * SUM_MARK], palette.text, 2.0);
        }
    }
}

/// The edge of a piece towards the next, and its name where it has room and says more than the bar's.
fn draw_piece(
    scene: &mut Scene,
    palette: &Palette,
    bar: &BarRow,
    piece: &BarPiece,
    rect: Rect,
    color: Rgb,
) {
    if bar.parts.len() < 2 {
        return;
    }
    if rect.width > 2.5 {
        let outer = if piece.value < 0.0 {
            rect.x
        } else {
            rect.right()
        };
        scene.line(
            [outer, rect.y],
            [outer, rect.bottom()],
            palette.background,
            0.75,
        );
    }
    let label = text::token_label(&piece.label);
    let has_name = !piece.label.is_empty() && piece.label != bar.label;
    if has_name && text::width(&label, PIECE_TEXT) + 6.0 <= rect.width {
        let at = [
            rect.x + rect.width / 2.0,
            centred(rect.y + rect.height / 2.0, PIECE_TEXT),
        ];
        scene.text(&label, at, PIECE_TEXT, ink(color), Anchor::Middle);
    }
}
