//! Lines, or single points with names, over two axes with marks at round numbers.

use super::axis::Axis;
use super::bars::series;
use super::layout::{LABEL_GAP, SMALL_SIZE, centred};
use super::page::Room;
use super::parts::{CurvesFigure, is_drawn};
use super::scene::{Anchor, Rect, Scene, Shape};
use super::style::Palette;
use super::text;

/// Of a page of its own.
pub(super) const WIDTH: f32 = 500.0;
/// Height of the plot, of its width.
const SHAPE: f32 = 0.6;
const LEAST_SIDES: [f32; 2] = [140.0, 90.0];
const LEGEND_ROW: f32 = 16.0;
const SAMPLE: f32 = 16.0;
const STROKE: f32 = 1.75;
const DOT: f32 = 2.75;
/// A line with so few points shows each of them.
const DOTTED: usize = 24;
/// More names could not be told apart; those of the points that lie furthest out are written.
const MOST_NAMES: usize = 40;
const POINT_TEXT: f32 = 8.5;

pub(super) fn body(figure: &CurvesFigure, palette: &Palette, room: Room) -> Scene {
    let mut scene = Scene::empty(palette.background);
    let [x_range, y_range] = ranges(figure);
    let is_whole = |of: usize| {
        let mut points = drawn(figure);
        points.all(|point| point[of].fract() == 0.0)
    };
    let height = |width: f32| match room.height {
        Some(height) => (height - 90.0).clamp(0.35 * width, 1.1 * width),
        None => SHAPE * width,
    };
    let legend = legend(figure, room.width);
    let y_axis = |height: f32| {
        let most = (height / 34.0).clamp(2.0, 8.0) as usize;
        Axis::around(y_range[0], y_range[1], most, is_whole(1))
    };
    // The numbers of the y axis take width, which changes the height, which hardly changes the numbers.
    let y = y_axis(height(room.width - 60.0).max(LEAST_SIDES[1]));
    let labels = y
        .ticks
        .iter()
        .map(|(_, label)| text::width(label, SMALL_SIZE));
    let left = SMALL_SIZE + 8.0 + labels.fold(0.0, f32::max) + LABEL_GAP;
    let width = (room.width - left - 10.0).max(LEAST_SIDES[0]).floor();
    let top = legend.height.max(SMALL_SIZE / 2.0);
    let plot = Rect::new(left, top, width, height(width).max(LEAST_SIDES[1]).floor());
    let x = {
        let most = (width / 64.0).clamp(2.0, 10.0) as usize;
        if figure.is_scatter {
            Axis::around(x_range[0], x_range[1], most, is_whole(0))
        } else {
            Axis::between(x_range[0], x_range[1], most)
        }
    };
    draw_axes(&mut scene, palette, figure, [&x, &y], plot);
    let at = |point: &[f64; 2]| {
        [
            plot.x + x.at(point[0]) * plot.width,
            plot.bottom() - y.at(point[1]) * plot.height,
        ]
    };
    for (i, line) in figure.lines.iter().enumerate() {
        let color = series(palette, i);
        let n_drawn = line.points.iter().filter(|point| is_drawn(point)).count();
        for run in line.points.split(|point| !is_drawn(point)) {
            let points: Vec<[f32; 2]> = run.iter().map(at).collect();
            if figure.is_scatter || n_drawn <= DOTTED || points.len() == 1 {
                for point in &points {
                    scene.dot(*point, DOT, color);
                }
            }
            if !figure.is_scatter && points.len() > 1 {
                scene.shapes.push(Shape::Path {
                    points,
                    color,
                    width: STROKE,
                });
            }
        }
    }
    name_points(&mut scene, palette, figure, at, plot);
    legend.draw(&mut scene, palette, figure, left);
    let last = x.ticks.last().map_or(0.0, |(value, label)| {
        plot.x + x.at(*value) * plot.width + text::width(label, SMALL_SIZE) / 2.0
    });
    let x_title = plot.x + plot.width / 2.0 + text::width(&figure.x_axis, SMALL_SIZE) / 2.0;
    scene.width = plot.right().max(last).max(x_title).max(left + legend.width) + 2.0;
    scene.height = plot.bottom() + LABEL_GAP + 2.0 * SMALL_SIZE + 10.0;
    scene
}

fn drawn(figure: &CurvesFigure) -> impl Iterator<Item = &[f64; 2]> {
    let points = figure.lines.iter().flat_map(|line| &line.points);
    points.filter(|point| is_drawn(point))
}

/// Of both axes. With 0 where it is near the numbers, for then lengths can be compared.
fn ranges(figure: &CurvesFigure) -> [[f64; 2]; 2] {
    let range = |of: usize| {
        let values = drawn(figure).map(|point| point[of]);
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
            [low.min(value), high.max(value)]
        })
    };
    let [low, high] = range(1);
    let y = if low > 0.0 && low < 0.5 * high {
        [0.0, high]
    } else if high < 0.0 && high > 0.5 * low {
        [low, 0.0]
    } else {
        [low, high]
    };
    [range(0), y]
}

fn draw_axes(
    scene: &mut Scene,
    palette: &Palette,
    figure: &CurvesFigure,
    [x, y]: [&Axis; 2],
    plot: Rect,
) {
    for (value, label) in &y.ticks {
        let at = plot.bottom() - y.at(*value) * plot.height;
        scene.line([plot.x, at], [plot.right(), at], palette.grid, 0.75);
        let label_at = [plot.x - LABEL_GAP, centred(at, SMALL_SIZE)];
        scene.text(label, label_at, SMALL_SIZE, palette.muted, Anchor::End);
    }
    let base = plot.bottom() + LABEL_GAP + SMALL_SIZE;
    for (value, label) in &x.ticks {
        let at = plot.x + x.at(*value) * plot.width;
        scene.line([at, plot.y], [at, plot.bottom()], palette.grid, 0.75);
        scene.text(label, [at, base], SMALL_SIZE, palette.muted, Anchor::Middle);
    }
    // 0 is where signs change; at the edge the frame is enough.
    for (axis, is_x) in [(x, true), (y, false)] {
        let t = axis.at(0.0);
        if t > 0.001 && t < 0.999 {
            let (from, to) = if is_x {
                let at = plot.x + t * plot.width;
                ([at, plot.y], [at, plot.bottom()])
            } else {
                let at = plot.bottom() - t * plot.height;
                ([plot.x, at], [plot.right(), at])
            };
            scene.line(from, to, palette.rule, 1.0);
        }
    }
    let corner = [plot.x, plot.bottom()];
    scene.line([plot.x, plot.y], corner, palette.muted, 1.0);
    scene.line(corner, [plot.right(), plot.bottom()], palette.muted, 1.0);
    let x_name = text::fit(&figure.x_axis, SMALL_SIZE, plot.right());
    let half = text::width(&x_name, SMALL_SIZE) / 2.0;
    let middle = (plot.x + plot.width / 2.0).max(half);
    let at = [middle, base + SMALL_SIZE + 6.0];
    scene.text(&x_name, at, SMALL_SIZE, palette.muted, Anchor::Middle);
    let y_name = text::fit(&figure.y_axis, SMALL_SIZE, plot.bottom());
    let half = text::width(&y_name, SMALL_SIZE) / 2.0;
    let at = [SMALL_SIZE, (plot.y + plot.height / 2.0).max(half)];
    scene.upright_text(&y_name, at, SMALL_SIZE, palette.muted, Anchor::Middle);
}

/// The names of lines in rows above the plot.
struct Legend {
    /// Name, and where its sample begins.
    entries: Vec<(String, [f32; 2])>,
    width: f32,
    height: f32,
}

/// One line whose name says no more than the title needs none.
fn legend(figure: &CurvesFigure, width: f32) -> Legend {
    let mut legend = Legend {
        entries: vec![],
        width: 0.0,
        height: 0.0,
    };
    let is_single = figure.lines.len() == 1
        && (figure.lines[0].name.is_empty() || figure.lines[0].name == figure.title);
    if is_single {
        return legend;
    }
    let [mut x, mut y] = [0.0, 0.0];
    for line in &figure.lines {
        let name = text::fit(&text::token_label(&line.name), SMALL_SIZE, 240.0);
        let entry = SAMPLE + 5.0 + text::width(&name, SMALL_SIZE);
        if x > 0.0 && x + entry > width - 60.0 {
            [x, y] = [0.0, y + LEGEND_ROW];
        }
        legend.entries.push((name, [x, y]));
        legend.width = legend.width.max(x + entry);
        x += entry + 14.0;
    }
    legend.height = y + LEGEND_ROW + 4.0;
    legend
}

impl Legend {
    fn draw(&self, scene: &mut Scene, palette: &Palette, figure: &CurvesFigure, left: f32) {
        for (i, (name, [x, y])) in self.entries.iter().enumerate() {
            let (x, y) = (left + x, y + LEGEND_ROW / 2.0 - 2.0);
            let color = series(palette, i);
            if figure.is_scatter {
                scene.dot([x + SAMPLE / 2.0, y], DOT, color);
            } else {
                scene.line([x, y], [x + SAMPLE, y], color, STROKE + 0.5);
            }
            let at = [x + SAMPLE + 5.0, centred(y, SMALL_SIZE)];
            scene.text(name, at, SMALL_SIZE, palette.text, Anchor::Start);
        }
    }
}

/// Names beside their points, those furthest from the middle first, each where it covers no other name and no point; a
/// name without such a place is left out.
fn name_points(
    scene: &mut Scene,
    palette: &Palette,
    figure: &CurvesFigure,
    at: impl Fn(&[f64; 2]) -> [f32; 2],
    plot: Rect,
) {
    let middle = [plot.x + plot.width / 2.0, plot.y + plot.height / 2.0];
    let mut named: Vec<([f32; 2], &str)> = Vec::new();
    let mut taken: Vec<Rect> = Vec::new();
    for line in &figure.lines {
        for (i, point) in line.points.iter().enumerate() {
            if !is_drawn(point) {
                continue;
            }
            let place = at(point);
            let [x, y] = place.map(|side| side - DOT);
            taken.push(Rect::new(x, y, 2.0 * DOT, 2.0 * DOT));
            if let Some(label) = line.labels.get(i).filter(|label| !label.is_empty()) {
                named.push((place, label));
            }
        }
    }
    let distance = |[x, y]: [f32; 2]| (x - middle[0]).hypot(y - middle[1]);
    named.sort_by(|(a, _), (b, _)| distance(*b).total_cmp(&distance(*a)));
    let mut n_named = 0;
    for ([x, y], label) in named {
        if n_named == MOST_NAMES {
            break;
        }
        let label = text::fit(&text::token_label(label), POINT_TEXT, 90.0);
        let width = text::width(&label, POINT_TEXT);
        let away = DOT + 2.5;
        let height = POINT_TEXT;
        let places = [
            [x + away, y - height / 2.0],
            [x - away - width, y - height / 2.0],
            [x - width / 2.0, y - away - height],
            [x - width / 2.0, y + away],
        ];
        let free = places
            .into_iter()
            .map(|[x, y]| Rect::new(x, y, width, height))
            .find(|place| {
                let is_inside = place.x >= plot.x
                    && place.right() <= plot.right()
                    && place.y >= plot.y
                    && place.bottom() <= plot.bottom();
                is_inside && taken.iter().all(|other| !place.overlaps(other))
            });
        if let Some(place) = free {
            let base = centred(place.y + height / 2.0, POINT_TEXT);
            scene.text(
                &label,
                [place.x, base],
                POINT_TEXT,
                palette.text,
                Anchor::Start,
            );
            taken.push(place);
            n_named += 1;
        }
    }
}
