//! Pages of the parts of a report: a heading over a body, and the layout that suits an asked size.

use super::layout::{MARGIN, SMALL_SIZE, TITLE_SIZE};
use super::parts::Part;
use super::scene::{Anchor, Scene};
use super::style::Palette;
use super::{bars, curves, matrix, table, text};

/// Lines of what a part is about.
const ABOUT_LINES: usize = 4;
const TITLE_LINE: f32 = 16.0;
pub(super) const SMALL_LINE: f32 = 13.0;
/// From the heading to the body.
const HEADING_GAP: f32 = 8.0;
/// A heading is at least as wide, however narrow its body.
const LEAST_HEADING: f32 = 190.0;
/// Widths that are tried for an asked size, of the asked width.
const WIDTHS: [f32; 14] = [
    0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 2.75, 4.0, 6.0,
];

/// How much room there is. A body may become narrower; wider only where it cannot be drawn otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) width: f32,
    /// Given where a page is to be filled.
    pub(super) height: Option<f32>,
}

/// A part of a page; the body has no margins.
pub(super) struct Block {
    title: String,
    about: Vec<String>,
    pub(super) body: Scene,
}

impl Block {
    pub(super) fn new(part: &Part, palette: &Palette, room: Room) -> Self {
        let (title, about, body) = match part {
            Part::Matrix(f) => (&f.title, f.about.as_str(), matrix::body(f, palette, room)),
            Part::Bars(f) => (&f.title, f.about.as_str(), bars::body(f, palette, room)),
            Part::Curves(f) => (&f.title, "", curves::body(f, palette, room)),
            Part::Table(f) => (&f.title, "", table::body(f, palette, room)),
        };
        let width = body.width.max(LEAST_HEADING.min(room.width));
        Self {
            title: text::fit(&text::token_label(title), TITLE_SIZE, width),
            about: text::wrap(about, SMALL_SIZE, width, ABOUT_LINES),
            body,
        }
    }

    pub(super) fn width(&self) -> f32 {
        let abouts = self.about.iter().map(|line| text::width(line, SMALL_SIZE));
        let title = text::width(&self.title, TITLE_SIZE);
        abouts.fold(self.body.width.max(title), f32::max)
    }

    /// From the top to the body.
    pub(super) fn heading_height(&self) -> f32 {
        TITLE_LINE + self.about.len() as f32 * SMALL_LINE + HEADING_GAP
    }

    /// With its upper left corner at `at`, and the body `heading` below that: the same for neighbours, so that bodies align.
    pub(super) fn draw(self, scene: &mut Scene, palette: &Palette, [x, y]: [f32; 2], heading: f32) {
        scene.text(
            &self.title,
            [x, y + TITLE_SIZE],
            TITLE_SIZE,
            palette.text,
            Anchor::Start,
        );
        lines(scene, palette, &self.about, [x, y + TITLE_LINE]);
        scene.place(self.body, [x, y + heading]);
    }

    /// As a body of its own.
    fn into_scene(self, palette: &Palette) -> Scene {
        let mut scene = Scene::empty(palette.background);
        let heading = self.heading_height();
        scene.width = self.width();
        scene.height = heading + self.body.height;
        self.draw(&mut scene, palette, [0.0, 0.0], heading);
        scene
    }
}

/// Small print from `at` down; returns where the next line would begin.
pub(super) fn lines(
    scene: &mut Scene,
    palette: &Palette,
    lines: &[String],
    [x, y]: [f32; 2],
) -> f32 {
    for (i, line) in lines.iter().enumerate() {
        let base = y + i as f32 * SMALL_LINE + SMALL_SIZE;
        scene.text(line, [x, base], SMALL_SIZE, palette.muted, Anchor::Start);
    }
    y + lines.len() as f32 * SMALL_LINE
}

/// A page of one part.
pub(super) fn of_part(part: &Part, palette: &Palette, asked: Option<[f32; 2]>) -> Scene {
    let natural = match part {
        Part::Matrix(f) => matrix::natural_width(f),
        Part::Bars(_) => bars::WIDTH,
        Part::Curves(_) => curves::WIDTH,
        Part::Table(_) => table::WIDTH,
    };
    let body = |room| Block::new(part, palette, room).into_scene(palette);
    let mut page = page(palette, asked, natural, body);
    (page.title, page.description) = part.words();
    page
}

/// A page with margins around a body. Without an asked size the body has `natural` px of width; else the width with which
/// its print becomes largest on a page of the asked shape, and of those the one that fills it best.
pub(super) fn page(
    palette: &Palette,
    asked: Option<[f32; 2]>,
    natural: f32,
    body: impl Fn(Room) -> Scene,
) -> Scene {
    let mut page = Scene::empty(palette.background);
    let with_margins = |of: &Scene| [of.width + 2.0 * MARGIN, of.height + 2.0 * MARGIN];
    let Some(asked) = asked else {
        let body = body(Room {
            width: natural,
            height: None,
        });
        [page.width, page.height] = with_margins(&body);
        page.place(body, [MARGIN, MARGIN]);
        return page;
    };
    let fitted = WIDTHS.map(|of_asked| {
        let width = (asked[0] * of_asked - 2.0 * MARGIN).max(LEAST_HEADING);
        let height = asked[1] * of_asked.max(1.0) - 2.0 * MARGIN;
        let body = body(Room {
            width,
            height: Some(height),
        });
        let needed = with_margins(&body);
        let grow = (needed[0] / asked[0]).max(needed[1] / asked[1]).max(1.0);
        (grow, body)
    });
    let area = |body: &Scene| body.width * body.height;
    let best = fitted.into_iter().min_by(|(a_grow, a), (b_grow, b)| {
        // Print that is larger by less than this is no reason for a worse layout.
        let step = |grow: f32| (grow * 20.0).round();
        let of_page = |grow: f32, body: &Scene| area(body) / (grow * grow);
        step(*a_grow)
            .total_cmp(&step(*b_grow))
            .then(of_page(*b_grow, b).total_cmp(&of_page(*a_grow, a)))
    });
    let Some((grow, body)) = best else {
        return page;
    };
    [page.width, page.height] = asked.map(|length| length * grow);
    let left = (page.width - body.width) / 2.0;
    let top = (page.height - body.height) / 2.0;
    page.place(body, [left.floor().max(0.0), top.floor().max(0.0)]);
    page
}
