//! What a token reads like: the several ways in which vocabularies write spaces and bytes, undone token by token.
//!
//! The crate's decoders join tokens and lose where each one starts; this keeps them apart.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;
use tokenizers::AddedToken;

/// One token as it reads in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub id: u32,
    /// The text, as in `" Mary"`; a byte that is only a part of a character as `<0xE2>`; `#7` for an unknown id.
    pub text: String,
    /// The bytes it stands for; empty for an unknown id.
    pub bytes: Vec<u8>,
    pub special: bool,
}

/// How a vocabulary writes text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) script: Script,
    pub(super) added_space: AddedSpace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Script {
    /// GPT-2's printable stand-in for every byte.
    ByteLevel,
    /// `▁` for a space, `<0xE2>` for a byte.
    SentencePiece,
    /// Words; the prefix marks what continues one.
    WordPiece { prefix: String },
    /// As it is written.
    Plain,
}

/// The space that the tokenizer puts before a text that does not have it, and that therefore is not read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddedSpace {
    None,
    /// Before the text.
    Start,
    /// Before the text and after every added token in it.
    Segments,
}

impl Reading {
    /// From the parts of a tokenizer.json.
    pub(super) fn of(inner: &tokenizers::Tokenizer) -> Self {
        let json = |part: serde_json::Result<Value>| part.unwrap_or(Value::Null);
        let normalizer = json(serde_json::to_value(inner.get_normalizer()));
        let pre_tokenizer = json(serde_json::to_value(inner.get_pre_tokenizer()));
        let decoder = json(serde_json::to_value(inner.get_decoder()));
        // The decoder says it; without one, the pre-tokenizer tells what was done.
        let script = leaves(&decoder)
            .chain(leaves(&pre_tokenizer))
            .find_map(script_of)
            .unwrap_or(Script::Plain);
        let added_space = leaves(&normalizer)
            .chain(leaves(&pre_tokenizer))
            .map(added_space_of)
            .find(|space| *space != AddedSpace::None)
            .unwrap_or(AddedSpace::None);
        Self {
            script,
            added_space,
        }
    }

    /// An answer without the space that the tokenizer itself would put before it.
    pub(super) fn continuation<'a>(&self, answer: &'a str) -> &'a str {
        match self.added_space {
            AddedSpace::None => answer,
            AddedSpace::Start | AddedSpace::Segments => answer.strip_prefix(' ').unwrap_or(answer),
        }
    }
}

/// The components of a normalizer, pre-tokenizer or decoder, `Sequence`s opened.
fn leaves(part: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    let members = ["normalizers", "pretokenizers", "decoders"]
        .iter()
        .find_map(|key| part.get(key)?.as_array());
    match members {
        Some(members) => Box::new(members.iter().flat_map(leaves)),
        None => Box::new(std::iter::once(part)),
    }
}

fn script_of(part: &Value) -> Option<Script> {
    match part["type"].as_str()? {
        "ByteLevel" => Some(Script::ByteLevel),
        "Metaspace" | "ByteFallback" => Some(Script::SentencePiece),
        "Replace" if part["pattern"]["String"] == "▁" => Some(Script::SentencePiece),
        "WordPiece" => Some(Script::WordPiece {
            prefix: part["prefix"].as_str().unwrap_or("##").to_owned(),
        }),
        _ => None,
    }
}

fn added_space_of(part: &Value) -> AddedSpace {
    match part["type"].as_str() {
        Some("Prepend") if part["prepend"] == "▁" || part["prepend"] == " " => {
            AddedSpace::Segments
        }
        Some("ByteLevel") if part["add_prefix_space"] == true => AddedSpace::Segments,
        Some("Metaspace") => match part["prepend_scheme"].as_str() {
            Some("never") => AddedSpace::None,
            Some("first") => AddedSpace::Start,
            _ => AddedSpace::Segments,
        },
        _ => AddedSpace::None,
    }
}

/// What stands before a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// An ordinary token, somewhere.
    started: bool,
    /// An ordinary token, directly.
    in_segment: bool,
}

impl Before {
    pub(super) const NOTHING: Self = Self {
        started: false,
        in_segment: false,
    };
    pub(super) const TEXT: Self = Self {
        started: true,
        in_segment: true,
    };
}

/// The token `id` after `before`, which moves on past it.
pub(super) fn piece(
    inner: &tokenizers::Tokenizer,
    reading: &Reading,
    id: u32,
    before: &mut Before,
) -> Piece {
    if let Some(token) = added_token(inner, id) {
        before.in_segment = false;
        return Piece {
            id,
            text: token.content.clone(),
            bytes: token.content.as_bytes().to_vec(),
            special: token.special,
        };
    }
    let Some(token) = inner.id_to_token(id) else {
        return Piece {
            id,
            text: format!("#{id}"),
            bytes: Vec::new(),
            special: false,
        };
    };
    let mut bytes = bytes_of(&token, &reading.script, before.started);
    let space_was_added = match reading.added_space {
        AddedSpace::None => false,
        AddedSpace::Start => !before.started,
        AddedSpace::Segments => !before.in_segment,
    };
    if space_was_added && bytes.first() == Some(&b' ') {
        bytes.remove(0);
    }
    *before = Before::TEXT;
    Piece {
        id,
        text: readable(&bytes),
        bytes,
        special: false,
    }
}

pub(super) fn added_token(inner: &tokenizers::Tokenizer, id: u32) -> Option<&AddedToken> {
    inner
        .get_added_vocabulary()
        .get_added_tokens_decoder()
        .get(&id)
}

/// The bytes that an ordinary token stands for; `follows` another one.
fn bytes_of(token: &str, script: &Script, follows: bool) -> Vec<u8> {
    match script {
        Script::ByteLevel => {
            // A token with a character that stands for no byte was added by hand: it is what it says.
            let bytes: Option<Vec<u8>> = token.chars().map(|c| BYTE_OF.get(&c).copied()).collect();
            bytes.unwrap_or_else(|| token.as_bytes().to_vec())
        }
        Script::SentencePiece => match byte_token(token) {
            Some(byte) => vec![byte],
            None => token.replace('▁', " ").into_bytes(),
        },
        Script::WordPiece { prefix } => match token.strip_prefix(prefix.as_str()) {
            Some(rest) => rest.as_bytes().to_vec(),
            // Lower-cased words without their spaces cannot give the text back; punctuation is best read attached.
            None if follows && token.contains(char::is_alphanumeric) => {
                format!(" {token}").into_bytes()
            }
            None => token.as_bytes().to_vec(),
        },
        Script::Plain => token.as_bytes().to_vec(),
    }
}

/// The byte of `<0x0A>`.
fn byte_token(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let digits = hex.len() == 2 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(hex, 16).ok()).flatten()
}

fn readable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("<0x{byte:02X}>")));
    }
    text
}

/// GPT-2's `bytes_to_unicode`, from character to byte: printable Latin-1 stands for itself, the rest follow from U+0100.
static BYTE_OF: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let rest = (0..=u8::MAX).filter(|byte| !printable(byte));
    let own = (0..=u8::MAX)
        .filter(printable)
        .map(|byte| (char::from(byte), byte));
    own.chain(('\u{100}'..).zip(rest)).collect()
});

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn char_of(byte: u8) -> char {
        *BYTE_OF.iter().find(|(_, b)| **b == byte).unwrap().0
    }

    #[test]
    fn every_byte_has_gpt2s_character() {
        assert_eq!(BYTE_OF.len(), 256);
        // As in GPT-2's vocabulary: space, newline, the two that Latin-1 leaves unprintable, and one that is itself.
        let known = [
            (b' ', 'Ġ'),
            (b'\n', 'Ċ'),
            (0xA0, 'ł'),
            (0xAD, 'Ń'),
            (b'A', 'A'),
            (0, 'Ā'),
        ];
        for (byte, char) in known {
            assert_eq!(char_of(byte), char);
        }
    }

    #[test]
    fn byte_tokens_are_told_from_text() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        for text in ["<0x0>", "<0x0A", "0x0A", "<0x+A>", "<0xGG>"] {
            assert_eq!(byte_token(text), None, "{text}");
        }
    }
}
