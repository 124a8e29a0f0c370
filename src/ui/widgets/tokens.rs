//! Tokens as labels, and a small picker of positions.

use egui::{RichText, Ui};

use crate::model::tokenizer::Piece;
use crate::ui::theme::Theme;

/// A token's text with its white space made visible: `·Mary`, `\n`.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        match c {
            ' ' => out.push('·'),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// [`visible`], cut to `max` characters.
pub fn short(text: &str, max: usize) -> String {
    let text = visible(text);
    if text.chars().count() <= max {
        return text;
    }
    let mut cut: String = text.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A position and its token: `[4] ·Mary`; only the position where the token is not known.
pub fn at(tokens: &[Piece], position: usize) -> String {
    match tokens.get(position) {
        Some(piece) => format!("[{position}] {}", short(&piece.text, 24)),
        None => format!("[{position}]"),
    }
}

/// The label of a position without its number, cut to `max` characters. Special tokens have long names that say little:
/// theirs are cut to 8.
pub fn label(tokens: &[Piece], position: usize, max: usize) -> String {
    tokens.get(position).map_or_else(
        || position.to_string(),
        |piece| short(&piece.text, if piece.special { max.min(8) } else { max }),
    )
}

/// A list of tokens to choose from; the position that was clicked.
pub fn list(
    ui: &mut Ui,
    theme: &Theme,
    tokens: &[Piece],
    is_chosen: impl Fn(usize) -> bool,
) -> Option<usize> {
    let mut clicked = None;
    let row = ui.spacing().interact_size.y;
    ui.set_min_width(160.0);
    egui::ScrollArea::vertical()
        .id_salt("tokens")
        .max_height(260.0)
        .show_rows(ui, row, tokens.len(), |ui, rows| {
            for position in rows {
                let text = at(tokens, position);
                let text = if tokens[position].special {
                    RichText::new(text).color(theme.text_weak)
                } else {
                    RichText::new(text)
                };
                let button = egui::Button::selectable(is_chosen(position), text)
                    .min_size(egui::vec2(ui.available_width(), 0.0));
                if ui.add(button).clicked() {
                    clicked = Some(position);
                }
            }
        });
    clicked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_can_be_seen_and_long_tokens_are_cut() {
        assert_eq!(visible(" Mary\n"), "·Mary\\n");
        assert_eq!(short(" internationalisation", 6), "·inte…");
        assert_eq!(short("né", 2), "né");
    }
}
