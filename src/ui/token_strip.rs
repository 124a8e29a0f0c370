//! The tokens as chips: prompt A's in a row, prompt B's under their partners.
//!
//! ```text
//! ┌───┬────┬────┬─────┐
//! │BOS│When│·Mar│y    │   A
//! │BOS│When│·Joh│n    │   B
//! └───┴────┴────┴─────┘
//! ```
//! Widths are measured once for each resolution; a frame lays out the chips in sight only.

use egui::{Rect, Sense, pos2, vec2};

use super::action::{Action, ActionQueue};
use super::focus::{Focus, Item};
use super::theme::{Theme, size, space};
use crate::edit::align::Alignment;
use crate::experiment::resolve::{BosState, Resolved};
use crate::model::tokenizer::Piece;
use crate::session::ReadPosition;

pub(super) const CHIP_HEIGHT: f32 = 24.0;
pub(super) const GAP: f32 = 2.0;
/// A chip is never wider: a token may be a whole line of spaces.
const MAX_WIDTH: f32 = 240.0;

/// Where the chips stand, kept as long as the tokens stay.
#[derive(Debug, Default)]
pub(super) struct TokenStrip {
    /// Number of the resolution that `columns` belong to.
    resolution: u64,
    columns: Vec<Column>,
    /// The read position that was last brought into view.
    followed: Option<usize>,
}

/// One column: a token of A, of B, or both.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Column {
    a: Option<usize>,
    b: Option<usize>,
    /// A and B stand for each other.
    paired: bool,
    left: f32,
    width: f32,
}

pub(super) struct Context<'a> {
    pub theme: &'a Theme,
    pub resolved: &'a Resolved,
    /// Changes whenever `resolved` does.
    pub resolution: u64,
    pub position: ReadPosition,
    /// Without logits no position is read.
    pub has_logits: bool,
    pub focus: &'a Focus,
    pub actions: &'a ActionQueue,
}

impl TokenStrip {
    pub(super) fn show(&mut self, cx: &Context<'_>, ui: &mut egui::Ui) {
        if self.resolution != cx.resolution {
            self.resolution = cx.resolution;
            self.columns = measure(cx.resolved, ui);
        }
        let rows = 1 + usize::from(cx.resolved.contrast_tokens.is_some());
        let height = rows as f32 * (CHIP_HEIGHT + GAP) + space::XS;
        let width = self.columns.last().map_or(0.0, |c| c.left + c.width);
        egui::ScrollArea::horizontal()
            .id_salt("tokens")
            .auto_shrink([false, true])
            .show_viewport(ui, |ui, viewport| {
                ui.set_height(height);
                ui.set_width(width);
                let origin = ui.max_rect().min;
                self.follow(cx.resolved.spec.position, origin, ui);
                let visible = self.visible(viewport.left(), viewport.right());
                for column in &self.columns[visible] {
                    column_ui(cx, column, origin, ui);
                }
            });
    }

    /// Brings the read position into view when it has moved.
    fn follow(&mut self, position: usize, origin: egui::Pos2, ui: &egui::Ui) {
        if self.followed.replace(position) == Some(position) {
            return;
        }
        if let Some(column) = self.columns.iter().find(|c| c.a == Some(position)) {
            let at = pos2(origin.x + column.left, origin.y);
            ui.scroll_to_rect(
                Rect::from_min_size(at, vec2(column.width, CHIP_HEIGHT)),
                None,
            );
        }
    }

    /// Indices of the columns that touch the span.
    fn visible(&self, left: f32, right: f32) -> std::ops::Range<usize> {
        let first = self.columns.partition_point(|c| c.left + c.width < left);
        let last = self.columns.partition_point(|c| c.left <= right);
        first..last.max(first)
    }
}

fn measure(resolved: &Resolved, ui: &egui::Ui) -> Vec<Column> {
    let width = |piece: Option<&Piece>| piece.map_or(0.0, |piece| chip_width(&piece.text, ui));
    let contrast = resolved.contrast_tokens.as_deref().unwrap_or_default();
    let mut left = 0.0;
    pairs(resolved.tokens.len(), resolved.alignment.as_ref())
        .into_iter()
        .map(|(a, b, paired)| {
            let width = width(a.and_then(|i| resolved.tokens.get(i)))
                .max(width(b.and_then(|i| contrast.get(i))));
            let column = Column {
                a,
                b,
                paired,
                left,
                width,
            };
            left += width + GAP;
            column
        })
        .collect()
}

/// How wide the chip of a token's text is.
pub(super) fn chip_width(text: &str, ui: &egui::Ui) -> f32 {
    let font = font();
    let ink: f32 = ui.fonts_mut(|fonts| {
        shown(text)
            .chars()
            .map(|letter| fonts.glyph_width(&font, letter))
            .sum()
    });
    (ink + 2.0 * 6.0).clamp(CHIP_HEIGHT, MAX_WIDTH)
}

/// The columns' tokens. Between common prefix and common suffix tokens stand over each other without being partners.
fn pairs(len_a: usize, alignment: Option<&Alignment>) -> Vec<(Option<usize>, Option<usize>, bool)> {
    let Some(al) = alignment else {
        return (0..len_a).map(|a| (Some(a), None, true)).collect();
    };
    let (middle_a, middle_b) = (
        al.len_a - al.prefix - al.suffix,
        al.len_b - al.prefix - al.suffix,
    );
    let prefix = (0..al.prefix).map(|i| (Some(i), Some(i), true));
    let middle = (0..middle_a.max(middle_b)).map(|i| {
        let a = (i < middle_a).then_some(al.prefix + i);
        let b = (i < middle_b).then_some(al.prefix + i);
        (a, b, false)
    });
    let suffix = (0..al.suffix).map(|i| {
        let a = al.len_a - al.suffix + i;
        let b = al.len_b - al.suffix + i;
        (Some(a), Some(b), true)
    });
    let generated = (al.len_a..len_a).map(|a| (Some(a), None, false));
    prefix
        .chain(middle)
        .chain(suffix)
        .chain(generated)
        .collect()
}

fn column_ui(cx: &Context<'_>, column: &Column, origin: egui::Pos2, ui: &mut egui::Ui) {
    let rect = |row: f32| {
        Rect::from_min_size(
            pos2(origin.x + column.left, origin.y + row * (CHIP_HEIGHT + GAP)),
            vec2(column.width, CHIP_HEIGHT),
        )
    };
    if let Some(index) = column.a
        && let Some(piece) = cx.resolved.tokens.get(index)
    {
        chip_a(cx, column, index, piece, rect(0.0), ui);
    }
    if let Some(index) = column.b
        && let Some(piece) = cx
            .resolved
            .contrast_tokens
            .as_ref()
            .and_then(|b| b.get(index))
    {
        chip_b(cx, column, index, piece, rect(1.0), ui);
    }
}

fn chip_a(
    cx: &Context<'_>,
    column: &Column,
    index: usize,
    piece: &Piece,
    rect: Rect,
    ui: &mut egui::Ui,
) {
    let theme = cx.theme;
    let id = ui.scope_id().with(("a", index));
    let response = ui.interact(rect, id, Sense::click());
    let is_read = cx.has_logits && index == cx.resolved.spec.position;
    let hovered = matches!(cx.focus.hovered_positions(), Some((q, k)) if q == index || k == index);
    let odd = bos_problem(cx.resolved, index);
    let is_generated = index >= cx.resolved.spec.n_prompt;
    let fill = if hovered || response.hovered() {
        theme.hover
    } else if is_read {
        theme.accent_fill
    } else if odd.is_some() {
        theme.warn_fill
    } else if is_generated {
        theme.generated_fill
    } else {
        theme.surface
    };
    let outline = if hovered {
        theme.hover_stroke
    } else if is_read || response.has_focus() {
        theme.accent
    } else if odd.is_some() {
        theme.warn
    } else if is_generated {
        theme.generated_line
    } else {
        theme.line
    };
    let unpaired = !column.paired && cx.resolved.alignment.is_some() && !is_generated;
    let color = if piece.special || unpaired {
        theme.text_weak
    } else {
        theme.text
    };
    paint(ui, rect, fill, outline, &piece.text, color);
    if is_read {
        // A bar under the chip: the read position does not rest on colour alone.
        let bar = Rect::from_min_max(
            pos2(rect.left() + 4.0, rect.bottom() - 3.0),
            pos2(rect.right() - 4.0, rect.bottom() - 1.0),
        );
        ui.painter().rect_filled(bar, 1.0, theme.accent);
    }
    response.widget_info(|| {
        let kind = if is_generated {
            "Generated token"
        } else {
            "Token"
        };
        let name = format!("{kind} {index} {}", piece.text);
        egui::WidgetInfo::selected(egui::Role::Button, true, is_read, name)
    });
    let response = response.on_hover_ui(|ui| {
        details(ui, index, piece);
        if let Some(odd) = odd {
            ui.colored_label(theme.warn, odd);
        }
        if unpaired {
            ui.weak(unpaired_reason(cx.resolved));
        }
        if is_generated {
            ui.weak("Written by the model");
        }
        if cx.has_logits {
            ui.weak(if is_read {
                "The logits are read here"
            } else {
                "Click to read the logits here"
            });
        }
    });
    if response.hovered() {
        cx.actions.push(Action::Hover(Item::Token(index)));
    }
    if response.clicked() && cx.has_logits {
        let position = if cx.position == ReadPosition::At(index) {
            ReadPosition::Usual
        } else {
            ReadPosition::At(index)
        };
        cx.actions.push(Action::SetPosition(position));
    }
}

fn chip_b(
    cx: &Context<'_>,
    column: &Column,
    index: usize,
    piece: &Piece,
    rect: Rect,
    ui: &mut egui::Ui,
) {
    let theme = cx.theme;
    let id = ui.scope_id().with(("b", index));
    let response = ui.interact(rect, id, Sense::hover());
    let partner = column.a.filter(|_| column.paired);
    let differs =
        partner.is_some_and(|a| cx.resolved.tokens.get(a).is_some_and(|a| a.id != piece.id));
    let color = match partner {
        None => theme.text_stale,
        Some(_) if differs => theme.text,
        Some(_) => theme.text_weak,
    };
    let outline = if differs { theme.accent } else { theme.line };
    let fill = if partner.is_some() {
        theme.surface
    } else {
        theme.panel_bg
    };
    paint(ui, rect, fill, outline, &piece.text, color);
    response.widget_info(|| {
        let name = format!("Token {index} of B {}", piece.text);
        egui::WidgetInfo::labeled(egui::Role::Label, true, name)
    });
    response.on_hover_ui(|ui| {
        details(ui, index, piece);
        match partner {
            Some(a) => ui.weak(format!("Stands for token {a} of A")),
            None => ui.weak(unpaired_reason(cx.resolved)),
        };
    });
    if let Some(a) = partner
        && ui.rect_contains_pointer(rect)
    {
        cx.actions.push(Action::Hover(Item::Token(a)));
    }
}

fn unpaired_reason(resolved: &Resolved) -> String {
    let (a, b) = resolved
        .alignment
        .as_ref()
        .map_or((0, 0), |al| (al.len_a, al.len_b));
    format!(
        "No partner: A has {a} tokens and B has {b}, and only what they share at the front and at the end is paired. \
         It cannot be patched"
    )
}

/// What is unusual about the token at the front, for a token that stands there.
fn bos_problem(resolved: &Resolved, index: usize) -> Option<String> {
    match resolved.bos {
        BosState::Repeated(count) if index < count => Some(format!(
            "{count} beginning-of-text tokens: the prompt may hold one that the tokenizer adds as well"
        )),
        BosState::Forced if index == 0 => Some("Put here by your rule, not by the tokenizer".into()),
        BosState::Suppressed if index == 0 => {
            Some("The tokenizer would put a beginning-of-text token before this; your rule leaves it out".into())
        }
        _ => None,
    }
}

fn paint(
    ui: &egui::Ui,
    rect: Rect,
    fill: egui::Color32,
    outline: egui::Color32,
    text: &str,
    color: egui::Color32,
) {
    ui.painter().rect(
        rect,
        space::RADIUS,
        fill,
        egui::Stroke::new(1.0, outline),
        egui::StrokeKind::Inside,
    );
    paint_text(ui, rect, text, color);
}

/// A token's text in the middle of its chip.
pub(super) fn paint_text(ui: &egui::Ui, rect: Rect, text: &str, color: egui::Color32) {
    let galley = ui.painter().layout_no_wrap(shown(text), font(), color);
    let at = rect.center() - galley.size() / 2.0;
    let inner = rect.shrink(3.0);
    ui.painter()
        .with_clip_rect(inner.intersect(ui.clip_rect()))
        .galley(at.max(pos2(inner.left(), f32::MIN)), galley, color);
}

fn details(ui: &mut egui::Ui, index: usize, piece: &Piece) {
    ui.strong(format!("{:?}", piece.text));
    egui::Grid::new("token")
        .num_columns(2)
        .min_row_height(space::L)
        .show(ui, |ui| {
            ui.weak("Position");
            ui.label(index.to_string());
            ui.end_row();
            ui.weak("Id");
            ui.label(piece.id.to_string());
            ui.end_row();
            ui.weak("Bytes");
            let bytes: Vec<_> = piece
                .bytes
                .iter()
                .take(16)
                .map(|b| format!("{b:02X}"))
                .collect();
            let more = if piece.bytes.len() > 16 { " …" } else { "" };
            ui.monospace(bytes.join(" ") + more);
            ui.end_row();
            if piece.special {
                ui.weak("Kind");
                ui.label("special");
                ui.end_row();
            }
        });
}

/// A token's text with what is invisible made visible.
fn shown(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            ' ' => '·',
            '\n' => '↵',
            '\t' => '→',
            letter => letter,
        })
        .collect()
}

fn font() -> egui::FontId {
    egui::FontId::monospace(size::MONO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_share_a_column_and_the_rest_is_marked() {
        let alignment = Alignment::new(&[1, 2, 3, 9, 8], &[1, 2, 9, 8]);
        assert_eq!(
            pairs(5, Some(&alignment)),
            [
                (Some(0), Some(0), true),
                (Some(1), Some(1), true),
                (Some(2), None, false),
                (Some(3), Some(2), true),
                (Some(4), Some(3), true),
            ]
        );
        for (a, b, paired) in pairs(5, Some(&alignment)) {
            if let (Some(a), true) = (a, paired) {
                assert_eq!(alignment.partner(a), b);
            }
        }
        assert_eq!(pairs(2, None).len(), 2);
        let generated = &pairs(7, Some(&alignment))[5..];
        assert_eq!(generated, [(Some(5), None, false), (Some(6), None, false)]);
    }

    #[test]
    fn only_columns_in_sight_are_drawn() {
        let columns = (0..2000).map(|i| Column {
            a: Some(i),
            b: None,
            paired: true,
            left: i as f32 * 30.0,
            width: 28.0,
        });
        let strip = TokenStrip {
            resolution: 1,
            columns: columns.collect(),
            followed: None,
        };
        assert_eq!(strip.visible(0.0, 100.0), 0..4);
        assert_eq!(strip.visible(3000.0, 3059.0), 100..102);
        assert_eq!(strip.visible(1e9, 2e9), 2000..2000);
    }

    #[test]
    fn whitespace_is_visible() {
        assert_eq!(shown(" a\n\t"), "·a↵→");
    }
}
