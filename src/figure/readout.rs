//! The table of predicted tokens: probability as a bar and a number, logit, and what the edits changed.

use super::input::{BeforeAfter, ReadoutFigure, ReadoutRow};
use super::layout::{LABEL_SIZE, MARGIN, SMALL_SIZE, TITLE_SIZE, centred};
use super::scene::{Anchor, Rect, Scene};
use super::style::{Palette, Rgb};
use super::text;

const ROW: f32 = 18.0;
const TITLE_BAND: f32 = 22.0;
const HEADER_BAND: f32 = 34.0;
/// Between the predicted tokens, the answers and the difference.
const SECTION_GAP: f32 = 12.0;
const MAX_TOKEN: f32 = 160.0;
const ID_WIDTH: f32 = 52.0;
/// A group is a bar, a probability and a logit.
const BAR: f32 = 72.0;
const PROB: f32 = 50.0;
const LOGIT: f32 = 52.0;
const GROUP: f32 = BAR + PROB + LOGIT;
const GROUP_GAP: f32 = 22.0;

pub(super) fn build(figure: &ReadoutFigure, palette: &Palette, asked: Option<[f32; 2]>) -> Scene {
    let table = Table::new(figure);
    // A table has one shape: an asked size shrinks or grows it as a whole, around its middle.
    let natural = table.size(figure);
    let size = match asked {
        Some(asked) => {
            let grow = (natural[0] / asked[0]).max(natural[1] / asked[1]);
            asked.map(|length| length * grow)
        }
        None => natural,
    };
    let mut scene = Scene {
        width: size[0],
        height: size[1],
        title: title(figure),
        description: format!(
            "Probability and logit of the {} token, without and with the edits.",
            if figure.masked_token {
                "masked"
            } else {
                "next"
            }
        ),
        background: palette.background,
        images: Vec::new(),
        shapes: Vec::new(),
    };
    let origin = [
        (size[0] - natural[0]) / 2.0 + MARGIN,
        (size[1] - natural[1]) / 2.0 + MARGIN,
    ];
    table.draw(&mut scene, palette, figure, origin);
    scene
}

fn title(figure: &ReadoutFigure) -> String {
    let position = &figure.position;
    let label = text::fit(&text::token_label(&position.text), TITLE_SIZE, MAX_TOKEN);
    let what = if figure.masked_token {
        "Token in the place of"
    } else {
        "Next token after"
    };
    format!("{what} “{label}” at position {}", position.index)
}

/// Widths and the values that fill a bar.
struct Table {
    token_width: f32,
    has_after: bool,
    most_prob: f32,
    most_change: f32,
}

impl Table {
    fn new(figure: &ReadoutFigure) -> Self {
        let rows = || figure.rows.iter().chain(&figure.answers);
        let most = |values: &mut dyn Iterator<Item = f32>| {
            values
                .filter(|value| value.is_finite())
                .fold(1e-6, f32::max)
        };
        Self {
            token_width: rows()
                .map(|row| text::width(&text::token_label(&row.token), LABEL_SIZE))
                .fold(90.0, f32::max)
                .min(MAX_TOKEN),
            has_after: rows().any(|row| row.logit.after.is_some())
                || figure.logit_diff.is_some_and(|diff| diff.after.is_some()),
            most_prob: most(
                &mut rows()
                    .flat_map(|row| [Some(row.prob.before), row.prob.after])
                    .flatten(),
            ),
            most_change: most(&mut rows().filter_map(|row| row.prob.change()).map(f32::abs)),
        }
    }

    fn inner_width(&self) -> f32 {
        let groups = if self.has_after { 3.0 } else { 1.0 };
        self.token_width + ID_WIDTH + groups * (GROUP + GROUP_GAP)
    }

    fn size(&self, figure: &ReadoutFigure) -> [f32; 2] {
        let answers = if figure.answers.is_empty() {
            0.0
        } else {
            SECTION_GAP + figure.answers.len() as f32 * ROW
        };
        let diff = if figure.logit_diff.is_some() {
            SECTION_GAP + ROW
        } else {
            0.0
        };
        let rows = figure.rows.len() as f32 * ROW;
        let width = self
            .inner_width()
            .max(text::width(&title(figure), TITLE_SIZE));
        [
            width + 2.0 * MARGIN,
            2.0 * MARGIN + TITLE_BAND + HEADER_BAND + rows + answers + diff,
        ]
    }

    /// Left end of the groups: before, after, change.
    fn group_x(&self, x: f32, group: usize) -> f32 {
        x + self.token_width + ID_WIDTH + GROUP_GAP + group as f32 * (GROUP + GROUP_GAP)
    }

    fn draw(
        &self,
        scene: &mut Scene,
        palette: &Palette,
        figure: &ReadoutFigure,
        [x, top]: [f32; 2],
    ) {
        scene.text(
            &title(figure),
            [x, top + TITLE_SIZE],
            TITLE_SIZE,
            palette.text,
            Anchor::Start,
        );
        self.draw_header(scene, palette, [x, top + TITLE_BAND]);
        let mut y = top + TITLE_BAND + HEADER_BAND;
        for row in &figure.rows {
            self.draw_row(scene, palette, row, [x, y]);
            y += ROW;
        }
        if !figure.answers.is_empty() {
            y = self.draw_rule(scene, palette, [x, y]);
            for row in &figure.answers {
                self.draw_row(scene, palette, row, [x, y]);
                y += ROW;
            }
        }
        if let Some(diff) = figure.logit_diff {
            y = self.draw_rule(scene, palette, [x, y]);
            let base = centred(y + ROW / 2.0, LABEL_SIZE);
            scene.text(
                &self.diff_label(figure),
                [x, base],
                LABEL_SIZE,
                palette.text,
                Anchor::Start,
            );
            self.draw_logits(scene, palette, diff, x, base);
        }
    }

    /// Names both answers, up to where the numbers begin.
    fn diff_label(&self, figure: &ReadoutFigure) -> String {
        let label = match figure.answers.as_slice() {
            [first, second, ..] => {
                let [first, second] =
                    [first, second].map(|answer| text::token_label(&answer.token));
                format!("Logit difference {first} − {second}")
            }
            _ => "Logit difference".to_owned(),
        };
        text::fit(&label, LABEL_SIZE, self.group_x(0.0, 0) + BAR + PROB)
    }

    fn draw_header(&self, scene: &mut Scene, palette: &Palette, [x, y]: [f32; 2]) {
        let names: &[(&str, &str, &str)] = if self.has_after {
            &[
                ("Unedited", "p", "logit"),
                ("Edited", "p", "logit"),
                ("Change", "Δp", "Δ logit"),
            ]
        } else {
            &[("Unedited", "p", "logit")]
        };
        let base = y + HEADER_BAND - 8.0;
        scene.text("token", [x, base], SMALL_SIZE, palette.muted, Anchor::Start);
        scene.text(
            "id",
            [x + self.token_width + ID_WIDTH, base],
            SMALL_SIZE,
            palette.muted,
            Anchor::End,
        );
        for (group, (name, prob, logit)) in names.iter().enumerate() {
            let group_x = self.group_x(x, group);
            scene.text(
                name,
                [group_x, base],
                LABEL_SIZE,
                palette.text,
                Anchor::Start,
            );
            scene.text(
                prob,
                [group_x + BAR + PROB, base],
                SMALL_SIZE,
                palette.muted,
                Anchor::End,
            );
            scene.text(
                logit,
                [group_x + GROUP, base],
                SMALL_SIZE,
                palette.muted,
                Anchor::End,
            );
        }
        let rule_y = y + HEADER_BAND - 2.0;
        scene.line(
            [x, rule_y],
            [x + self.inner_width(), rule_y],
            palette.rule,
            0.75,
        );
    }

    /// Returns where the next row begins.
    fn draw_rule(&self, scene: &mut Scene, palette: &Palette, [x, y]: [f32; 2]) -> f32 {
        let rule_y = y + SECTION_GAP / 2.0;
        scene.line(
            [x, rule_y],
            [x + self.inner_width(), rule_y],
            palette.rule,
            0.75,
        );
        y + SECTION_GAP
    }

    fn draw_row(&self, scene: &mut Scene, palette: &Palette, row: &ReadoutRow, [x, y]: [f32; 2]) {
        let base = centred(y + ROW / 2.0, LABEL_SIZE);
        let token = text::fit(&text::token_label(&row.token), LABEL_SIZE, self.token_width);
        scene.text(&token, [x, base], LABEL_SIZE, palette.text, Anchor::Start);
        let id_x = x + self.token_width + ID_WIDTH;
        scene.text(
            &row.id.to_string(),
            [id_x, base],
            SMALL_SIZE,
            palette.muted,
            Anchor::End,
        );
        let probs = [
            (Some(row.prob.before), palette.before),
            (row.prob.after, palette.after),
        ];
        for (group, (prob, color)) in probs.into_iter().enumerate() {
            if let Some(prob) = prob {
                let group_x = self.group_x(x, group);
                draw_bar(
                    scene,
                    [group_x, y],
                    [0.0, prob / self.most_prob],
                    palette.ground,
                    color,
                );
                scene.text(
                    &probability(prob),
                    [group_x + BAR + PROB, base],
                    LABEL_SIZE,
                    palette.text,
                    Anchor::End,
                );
            }
        }
        if let Some(change) = row.prob.change() {
            let group_x = self.group_x(x, 2);
            let color = if change < 0.0 {
                palette.negative
            } else {
                palette.positive
            };
            let end = 0.5 + 0.5 * change / self.most_change;
            draw_bar(scene, [group_x, y], [0.5, end], palette.ground, color);
            let middle = group_x + BAR / 2.0;
            scene.line(
                [middle, y + 3.0],
                [middle, y + ROW - 3.0],
                palette.rule,
                0.75,
            );
            scene.text(
                &signed(change, probability),
                [group_x + BAR + PROB, base],
                LABEL_SIZE,
                palette.text,
                Anchor::End,
            );
        }
        self.draw_logits(scene, palette, row.logit, x, base);
    }

    fn draw_logits(
        &self,
        scene: &mut Scene,
        palette: &Palette,
        logit: BeforeAfter,
        x: f32,
        base: f32,
    ) {
        let texts = [
            Some(logit_text(logit.before)),
            logit.after.map(logit_text),
            logit
                .change()
                .map(|change| signed(change, |value| format!("{value:.2}"))),
        ];
        for (group, text) in texts.into_iter().enumerate() {
            if let Some(text) = text {
                scene.text(
                    &text,
                    [self.group_x(x, group) + GROUP, base],
                    LABEL_SIZE,
                    palette.text,
                    Anchor::End,
                );
            }
        }
    }
}

/// A bar from one end to the other, both 0 to 1 of its ground; what is not finite has none.
fn draw_bar(scene: &mut Scene, [x, y]: [f32; 2], ends: [f32; 2], ground: Rgb, color: Rgb) {
    let height = ROW - 8.0;
    scene.fill(Rect::new(x, y + 4.0, BAR, height), ground);
    if ends.iter().all(|end| end.is_finite()) {
        let [from, to] = ends.map(|end| end.clamp(0.0, 1.0) * BAR);
        let width = (to - from).abs();
        if width >= 0.25 {
            scene.fill(Rect::new(x + from.min(to), y + 4.0, width, height), color);
        }
    }
}

fn probability(value: f32) -> String {
    if value != 0.0 && value.abs() < 0.0005 {
        format!("{value:.0e}").replace('-', "−")
    } else {
        format!("{value:.3}")
    }
}

fn logit_text(value: f32) -> String {
    format!("{value:.2}").replace('-', "−")
}

/// With its sign, also for positive numbers.
fn signed(value: f32, magnitude: impl Fn(f32) -> String) -> String {
    let sign = match value {
        v if v > 0.0 => "+",
        v if v < 0.0 => "−",
        _ => "",
    };
    format!("{sign}{}", magnitude(value.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_their_sign() {
        assert_eq!(probability(0.93), "0.930");
        assert_eq!(probability(0.00012), "1e−4");
        assert_eq!(probability(0.0), "0.000");
        assert_eq!(logit_text(-3.136), "−3.14");
        assert_eq!(signed(-0.5, probability), "−0.500");
        assert_eq!(signed(2.0, |v| format!("{v:.2}")), "+2.00");
    }
}
