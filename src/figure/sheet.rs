//! A page of several figures: its name, what it is of and was made with, the parts side by side where they fit, and notes.

use serde_json::Value;

use super::layout::{LABEL_SIZE, SMALL_SIZE};
use super::page::{self, Block, Room};
use super::parts::{Part, SheetFigure};
use super::scene::{Anchor, Scene};
use super::style::Palette;
use super::text;

/// Of a page of its own.
const WIDTH: f32 = 760.0;
const NAME_SIZE: f32 = 16.0;
const COLUMN_GAP: f32 = 30.0;
const ROW_GAP: f32 = 26.0;
/// From this many matrices on they stand side by side, as many as their columns allow.
const SEVERAL: usize = 3;
const NARROW: usize = 16;
const MIDDLING: usize = 40;
/// Longest value of a setting.
const MAX_SETTING: usize = 48;
const NOTE_LINES: usize = 6;

pub(super) fn build(figure: &SheetFigure, palette: &Palette, asked: Option<[f32; 2]>) -> Scene {
    let mut page = page::page(palette, asked, WIDTH, |room| body(figure, palette, room));
    page.title.clone_from(&figure.title);
    page.description.clone_from(&figure.question);
    page
}

fn body(figure: &SheetFigure, palette: &Palette, room: Room) -> Scene {
    let mut scene = Scene::empty(palette.background);
    let mut y = draw_heading(&mut scene, palette, figure, room.width);
    scene.width = room.width;
    let mut shelf = Shelf::default();
    for part in &figure.parts {
        let of_part = Room {
            width: part_width(figure, part, room.width),
            height: None,
        };
        let block = Block::new(part, palette, of_part);
        if !shelf.blocks.is_empty() && shelf.width + COLUMN_GAP + block.width() > room.width {
            y = std::mem::take(&mut shelf).draw(&mut scene, palette, y);
        }
        shelf.push(block, part.view());
    }
    y = shelf.draw(&mut scene, palette, y);
    y = draw_notes(&mut scene, palette, &figure.notes, [room.width, y]);
    scene.height = y - ROW_GAP;
    scene
}

/// Many maps are small ones, of which several stand side by side.
fn part_width(figure: &SheetFigure, part: &Part, width: f32) -> f32 {
    let columns = |part: &Part| match part {
        Part::Matrix(matrix) if matrix.texts.is_empty() => Some(matrix.columns.len()),
        _ => None,
    };
    let n_maps = figure.parts.iter().filter_map(columns).count();
    let of = |n: f32| (width - (n - 1.0) * COLUMN_GAP) / n;
    match (part, columns(part)) {
        (Part::Matrix(_), Some(n)) if n_maps >= SEVERAL && n <= NARROW => {
            of((width / 240.0).floor().max(1.0))
        }
        (Part::Matrix(_), Some(n)) if n_maps >= SEVERAL && n <= MIDDLING => {
            of((width / 360.0).floor().max(1.0))
        }
        (Part::Curves(_), _) => of((width / 360.0).floor().max(1.0)),
        _ => width,
    }
}

/// Blocks side by side. Those of one kind have their bodies at one height.
#[derive(Default)]
struct Shelf {
    blocks: Vec<Block>,
    kinds: Vec<&'static str>,
    width: f32,
}

impl Shelf {
    fn push(&mut self, block: Block, kind: &'static str) {
        if !self.blocks.is_empty() {
            self.width += COLUMN_GAP;
        }
        self.width += block.width();
        self.blocks.push(block);
        self.kinds.push(kind);
    }

    /// Returns where the next shelf begins.
    fn draw(self, scene: &mut Scene, palette: &Palette, y: f32) -> f32 {
        let heading = |kind: &str| {
            let of_kind = self.blocks.iter().zip(&self.kinds);
            let of_kind = of_kind.filter(|(_, other)| **other == kind);
            let headings = of_kind.map(|(block, _)| block.heading_height());
            headings.fold(0.0, f32::max)
        };
        let headings: Vec<f32> = self.kinds.iter().map(|kind| heading(kind)).collect();
        scene.width = scene.width.max(self.width);
        let [mut x, mut height] = [0.0, 0.0_f32];
        for (block, heading) in self.blocks.into_iter().zip(headings) {
            let width = block.width();
            height = height.max(heading + block.body.height);
            block.draw(scene, palette, [x, y], heading);
            x += width + COLUMN_GAP;
        }
        y + height + ROW_GAP
    }
}

/// Returns where the parts begin.
fn draw_heading(scene: &mut Scene, palette: &Palette, figure: &SheetFigure, width: f32) -> f32 {
    let title = text::fit(&text::token_label(&figure.title), NAME_SIZE, width);
    scene.text(
        &title,
        [0.0, NAME_SIZE],
        NAME_SIZE,
        palette.text,
        Anchor::Start,
    );
    let mut y = NAME_SIZE + 8.0;
    if !figure.question.is_empty() {
        let question = text::fit(&figure.question, LABEL_SIZE, width);
        scene.text(
            &question,
            [0.0, y + LABEL_SIZE],
            LABEL_SIZE,
            palette.text,
            Anchor::Start,
        );
        y += LABEL_SIZE + 7.0;
    }
    for line in &figure.subject {
        let of = text::wrap(&text::token_label(line), SMALL_SIZE, width, 2);
        y = page::lines(scene, palette, &of, [0.0, y]);
    }
    let settings: Vec<String> = figure
        .settings
        .iter()
        .map(|(name, value)| setting(name, value))
        .collect();
    let settings = text::wrap(&settings.join(" · "), SMALL_SIZE, width, NOTE_LINES);
    y = page::lines(scene, palette, &settings, [0.0, y]) + 5.0;
    scene.line([0.0, y], [width, y], palette.rule, 0.75);
    y + 16.0
}

/// A name with its value, which stay together in a line.
fn setting(name: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text::token_label(text),
        other => other.to_string(),
    };
    let mut short: String = text.chars().take(MAX_SETTING).collect();
    if text.chars().nth(MAX_SETTING).is_some() {
        short.push('…');
    }
    if short.is_empty() {
        "–".clone_into(&mut short);
    }
    let words = format!("{name} {short}");
    words.replace(' ', "\u{a0}")
}

/// Returns where they end, with the gap to a next shelf.
fn draw_notes(scene: &mut Scene, palette: &Palette, notes: &[String], [width, y]: [f32; 2]) -> f32 {
    if notes.is_empty() {
        return y;
    }
    let y = y - ROW_GAP + 18.0;
    scene.line([0.0, y], [width, y], palette.rule, 0.75);
    let mut y = y + 8.0;
    let indent = 10.0;
    for note in notes {
        let of = text::wrap(note, SMALL_SIZE, width - indent, NOTE_LINES);
        let base = y + SMALL_SIZE;
        scene.text("–", [0.0, base], SMALL_SIZE, palette.muted, Anchor::Start);
        y = page::lines(scene, palette, &of, [indent, y]) + 2.0;
    }
    y + ROW_GAP
}
