//! How tokens are written in a figure, and how wide that is in the bundled fonts.
//!
//! Only the bundled fonts count, so a PNG looks the same on every machine.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use resvg::usvg::fontdb;
use ttf_parser::Face;

/// First the family of all labels, then those that have what it lacks: arrows, emoji, symbols.
const FILES: [&[u8]; 4] = [
    epaint_default_fonts::UBUNTU_LIGHT,
    epaint_default_fonts::HACK_REGULAR,
    epaint_default_fonts::NOTO_EMOJI_REGULAR,
    epaint_default_fonts::EMOJI_ICON,
];

static FACES: LazyLock<Vec<Face<'static>>> = LazyLock::new(|| {
    FILES
        .iter()
        .filter_map(|file| Face::parse(file, 0).ok())
        .collect()
});

/// The bundled fonts for the rasteriser.
pub(super) fn font_database() -> Arc<fontdb::Database> {
    static DATABASE: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
        let mut database = fontdb::Database::new();
        for file in FILES {
            database.load_font_source(fontdb::Source::Binary(Arc::new(file)));
        }
        database.set_sans_serif_family("Ubuntu");
        database.set_serif_family("Ubuntu");
        Arc::new(database)
    });
    Arc::clone(&DATABASE)
}

/// A token as a label: a leading space as a mid dot, line breaks and tabs as arrows, what has no shape as `<0x1B>` or `<U+202E>`.
pub(super) fn token_label(token: &str) -> String {
    let (mark, rest) = match token.strip_prefix(' ') {
        Some(rest) => ("·", rest),
        None => ("", token),
    };
    if token.is_empty() {
        return "∅".to_owned();
    }
    let mut label = mark.to_owned();
    for c in rest.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\n' => label.write_char('↵'),
            '\t' => label.write_char('⇥'),
            c if c.is_ascii_control() => write!(label, "<0x{:02X}>", c as u32),
            c if is_shapeless(c) => write!(label, "<U+{:04X}>", c as u32),
            c => label.write_char(c),
        };
    }
    label
}

/// Characters that draw nothing, or that turn around the text beside them.
fn is_shapeless(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

/// Width of a text in px; a character that no bundled font has counts as one em.
pub(super) fn width(text: &str, size: f32) -> f32 {
    // The rasteriser takes the first font that has all of a text, before it mixes fonts.
    let has_all = |face: &&Face<'_>| text.chars().all(|c| face.glyph_index(c).is_some());
    let face = FACES.iter().find(has_all);
    let advance = |c: char| match face {
        Some(face) => advance_in(face, c),
        None => FACES.iter().find_map(|face| advance_in(face, c)),
    };
    text.chars().map(|c| advance(c).unwrap_or(1.0) * size).sum()
}

/// The text, cut with an ellipsis where it is wider than `most` px.
pub(super) fn fit(text: &str, size: f32, most: f32) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let ends: Vec<usize> = text.char_indices().map(|(end, _)| end).collect();
    let cut = |end: usize| format!("{}…", &text[..end]);
    // Wider with each character.
    let fitting = ends.partition_point(|&end| width(&cut(end), size) <= most);
    cut(fitting.checked_sub(1).map_or(0, |last| ends[last]))
}

/// The text in lines of at most `most` px, broken at spaces that may break; a word that is wider is cut. The last of `lines` lines says with
/// an ellipsis that there is more.
pub(super) fn wrap(text: &str, size: f32, most: f32, lines: usize) -> Vec<String> {
    let mut wrapped: Vec<String> = Vec::new();
    let may_break = |c: char| c.is_whitespace() && c != '\u{a0}';
    for word in text.split(may_break).filter(|word| !word.is_empty()) {
        // What is left for the last line all goes onto it, and is cut there.
        let is_last = wrapped.len() == lines;
        match wrapped.last_mut() {
            Some(line) if is_last || width(&format!("{line} {word}"), size) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => wrapped.push(word.to_owned()),
        }
    }
    wrapped.iter().map(|line| fit(line, size, most)).collect()
}

/// In em.
fn advance_in(face: &Face<'_>, c: char) -> Option<f32> {
    let units = face.glyph_hor_advance(face.glyph_index(c)?)?;
    Some(f32::from(units) / f32::from(face.units_per_em()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_show_what_cannot_be_seen() {
        assert_eq!(token_label(" Mary"), "·Mary");
        assert_eq!(token_label("\n"), "↵");
        assert_eq!(token_label(" "), "·");
        assert_eq!(token_label(""), "∅");
        assert_eq!(token_label("a\x1b\u{202e}b"), "a<0x1B><U+202E>b");
    }

    #[test]
    fn every_mark_of_ours_has_a_shape_in_the_bundled_fonts() {
        for c in "·↵⇥∅…✖×⇄−≤‖Δ“”😀".chars() {
            assert!(
                FACES.iter().any(|face| face.glyph_index(c).is_some()),
                "{c} U+{:04X}",
                c as u32
            );
        }
    }

    #[test]
    fn wrapped_lines_fit_and_lose_no_word_unless_they_say_so() {
        let text = "what attention (L) and MLP (M) of each layer add to the logit difference";
        for most in [60.0, 90.0, 200.0, 1000.0] {
            let lines = wrap(text, 9.5, most, 50);
            assert!(lines.iter().all(|line| width(line, 9.5) <= most));
            assert_eq!(lines.join(" "), text);
        }
        let two = wrap(text, 9.5, 90.0, 2);
        assert!(two.len() == 2 && two[1].ends_with('…'), "{two:?}");
        assert!(wrap(" ", 9.5, 90.0, 2).is_empty());
    }

    #[test]
    fn a_cut_label_fits_and_says_so() {
        let long = "antidisestablishmentarianism";
        let cut = fit(long, 10.0, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 10.0) <= 60.0, "{cut}");
        assert!(width(&cut, 10.0) > 45.0, "{cut} wastes the room");
        assert_eq!(fit("short", 10.0, 60.0), "short");
    }
}
