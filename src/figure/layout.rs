//! What several views share: margins, fitting into an asked size, token labels along an axis, the colour bar.

use crate::colormap::{ColorScale, MASKED};

use super::input::TokenLabel;
use super::scene::{Anchor, Rect, Scene};
use super::style::Palette;
use super::text;

pub(super) const MARGIN: f32 = 14.0;
/// Font sizes: panel titles, labels, the small print.
pub(super) const TITLE_SIZE: f32 = 12.0;
pub(super) const LABEL_SIZE: f32 = 11.0;
pub(super) const SMALL_SIZE: f32 = 9.5;
/// From a panel to its labels.
pub(super) const LABEL_GAP: f32 = 5.0;
/// For an axis title along a panel.
pub(super) const AXIS_TITLE: f32 = 18.0;

/// Labels of tokens are cut beyond this width.
const MAX_LABEL: f32 = 110.0;
/// From this many tokens on, labels carry the position, because not every token gets one.
const INDEXED_FROM: usize = 65;
/// Closest that two base lines may be.
const LEAST_PITCH: f32 = 8.6;

const BAR_WIDTH: f32 = 10.0;
const BAR_STEPS: usize = 128;
const BAR_GAP: f32 = 18.0;

/// The size to lay out for an asked one: the same aspect, and room for `least`. Larger than asked means smaller print.
pub(super) fn at_least(asked: [f32; 2], least: [f32; 2]) -> [f32; 2] {
    let grow = (least[0] / asked[0]).max(least[1] / asked[1]).max(1.0);
    asked.map(|length| length * grow)
}

/// Moves a base line down so that the text is centred on it.
pub(super) fn centred(y: f32, size: f32) -> f32 {
    y + size * 0.35
}

/// Labels of all tokens, in token order, cut to a common most width; of long prompts with the position in a column of its own.
pub(super) struct TokenAxis {
    labels: Vec<Label>,
    /// Largest font size.
    size: f32,
    /// Of the widest label with its position, at that size, px.
    pub(super) width: f32,
    /// Of that the column of positions, its gap included.
    position_width: f32,
}

struct Label {
    position: String,
    text: String,
}

/// Where the labels stand, seen from what they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
    /// Reading upwards.
    Below,
}

impl TokenAxis {
    pub(super) fn new(tokens: &[TokenLabel]) -> Self {
        let with_position = tokens.len() >= INDEXED_FROM;
        let labels: Vec<Label> = tokens
            .iter()
            .map(|token| Label {
                position: if with_position {
                    token.index.to_string()
                } else {
                    String::new()
                },
                text: text::fit(&text::token_label(&token.text), LABEL_SIZE, MAX_LABEL),
            })
            .collect();
        let widest = |part: fn(&Label) -> &str| {
            let widths = labels
                .iter()
                .map(|label| text::width(part(label), LABEL_SIZE));
            widths.fold(0.0, f32::max)
        };
        let position = if with_position {
            widest(|label| &label.position) + 8.0
        } else {
            0.0
        };
        Self {
            size: LABEL_SIZE,
            width: widest(|label| &label.text) + position,
            position_width: position,
            labels,
        }
    }

    /// As narrow as this pitch (px a token) makes it: a layout that first allowed for full labels can take back what they will not use.
    pub(super) fn narrowed(self, pitch: f32) -> Self {
        let size = self.size_at(pitch);
        Self {
            width: self.width * size / self.size,
            position_width: self.position_width * size / self.size,
            size,
            labels: self.labels,
        }
    }

    /// The labels that have room: all, every second, every fifth, … The first token starts at the given point, on the edge that they name.
    pub(super) fn draw(
        &self,
        scene: &mut Scene,
        palette: &Palette,
        [x, y]: [f32; 2],
        pitch: f32,
        side: Side,
    ) {
        let size = self.size_at(pitch);
        for (i, label) in self.labels.iter().enumerate().step_by(token_step(pitch)) {
            let along = centred((i as f32 + 0.5) * pitch, size);
            // The position is the tick of the axis, so it stands next to the edge.
            let parts = [
                (&label.position, palette.muted, LABEL_GAP),
                (&label.text, palette.text, LABEL_GAP + self.position_width),
            ];
            for (text, color, away) in parts.into_iter().filter(|(text, ..)| !text.is_empty()) {
                match side {
                    Side::Left => {
                        scene.text(text, [x - away, y + along], size, color, Anchor::End);
                    }
                    Side::Right => {
                        scene.text(text, [x + away, y + along], size, color, Anchor::Start);
                    }
                    Side::Below => {
                        scene.upright_text(text, [x + along, y + away], size, color, Anchor::End);
                    }
                }
            }
        }
    }

    fn size_at(&self, pitch: f32) -> f32 {
        (pitch * token_step(pitch) as f32 * 0.85).clamp(7.4, self.size)
    }
}

/// Every token as long as that is legible, else every second, fifth, … with comfortable room.
fn token_step(pitch: f32) -> usize {
    if pitch >= LEAST_PITCH {
        1
    } else {
        step_for(pitch, LABEL_SIZE)
    }
}

/// The smallest of 1, 2, 5, 10, 20, … that makes `room` px of steps of `pitch` px.
pub(super) fn step_for(pitch: f32, room: f32) -> usize {
    (0..6)
        .flat_map(|power| [1, 2, 5].map(|factor| factor * 10_usize.pow(power)))
        .find(|&step| pitch * step as f32 >= room)
        .unwrap_or(usize::MAX)
}

/// Width that [`draw_color_bar`] needs, its gap to the panels included.
pub(super) fn color_bar_width(scale: ColorScale) -> f32 {
    BAR_GAP + BAR_WIDTH + 6.0 + tick_width(scale) + 6.0 + SMALL_SIZE + 2.0
}

fn tick_width(scale: ColorScale) -> f32 {
    let widths = scale
        .ticks()
        .into_iter()
        .map(|tick| text::width(&tick.label, SMALL_SIZE));
    widths.fold(text::width("N/A", SMALL_SIZE), f32::max)
}

/// To the right of `x`, from `top` down: the bar with its ticks and meaning, and the masked colour where it occurs.
pub(super) fn draw_color_bar(
    scene: &mut Scene,
    palette: &Palette,
    scale: ColorScale,
    value_label: &str,
    [x, top, height]: [f32; 3],
    has_masked: bool,
) {
    let bar = Rect::new(x + BAR_GAP, top, BAR_WIDTH, height);
    let step = height / BAR_STEPS as f32;
    for i in 0..BAR_STEPS {
        let t = 1.0 - (i as f32 + 0.5) / BAR_STEPS as f32;
        let y = top + i as f32 * step;
        // To the end of the bar: later steps cover the rest, so there is no seam.
        scene.fill(
            Rect::new(bar.x, y, bar.width, bar.bottom() - y),
            scale.map.rgb(t),
        );
    }
    scene.outline(bar, palette.rule, 0.75);
    let label_x = bar.right() + 6.0;
    let mut last_y = f32::INFINITY;
    for tick in scale.ticks() {
        let y = bar.bottom() - tick.position * height;
        if last_y - y < SMALL_SIZE * 1.15 {
            continue;
        }
        last_y = y;
        scene.line(
            [bar.right(), y],
            [bar.right() + 3.0, y],
            palette.muted,
            0.75,
        );
        scene.text(
            &tick.label,
            [label_x, centred(y, SMALL_SIZE)],
            SMALL_SIZE,
            palette.muted,
            Anchor::Start,
        );
    }
    let meaning = if scale.log {
        format!("{value_label} (log)")
    } else {
        value_label.to_owned()
    };
    let meaning_x = label_x + tick_width(scale) + 6.0 + SMALL_SIZE;
    scene.upright_text(
        &meaning,
        [meaning_x, top + height / 2.0],
        SMALL_SIZE,
        palette.text,
        Anchor::Middle,
    );
    if has_masked {
        let swatch = Rect::new(bar.x, bar.bottom() + 10.0, BAR_WIDTH, BAR_WIDTH);
        scene.fill(swatch, MASKED);
        let y = centred(swatch.y + BAR_WIDTH / 2.0, SMALL_SIZE);
        scene.text(
            "N/A",
            [label_x, y],
            SMALL_SIZE,
            palette.muted,
            Anchor::Start,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Shape;
    use super::super::style::Theme;
    use super::*;

    #[test]
    fn labels_never_stand_closer_than_their_size_nor_reach_past_their_column() {
        for n in [1, 14, 60, 100, 300, 1024, 5000] {
            let tokens: Vec<_> = (0..n)
                .map(|index| TokenLabel {
                    index,
                    text: " antidisestablishmentarianism and more".to_owned(),
                })
                .collect();
            for pitch in [0.1, 0.5, 1.0, 4.0, 8.0, 9.0, 24.0] {
                let axis = TokenAxis::new(&tokens).narrowed(pitch);
                let mut scene = Scene::test(1e4, 1e4);
                axis.draw(
                    &mut scene,
                    &Theme::Light.palette(),
                    [500.0, 0.0],
                    pitch,
                    Side::Left,
                );
                let texts: Vec<_> = scene
                    .shapes
                    .iter()
                    .map(|shape| match shape {
                        Shape::Text(text) => text,
                        other => panic!("{other:?}"),
                    })
                    .filter(|text| text.content.starts_with('·'))
                    .collect();
                assert!(!texts.is_empty());
                for pair in texts.windows(2) {
                    assert!(
                        pair[1].y - pair[0].y >= pair[0].size * 1.1,
                        "{n} tokens at {pitch}"
                    );
                }
                for text in texts {
                    assert!(text::width(&text.content, text.size) <= axis.width + 0.01);
                }
            }
        }
    }
}
