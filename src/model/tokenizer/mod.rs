//! Text to token ids, and ids to pieces of text that read in place.
//!
//! The tokenising itself is the `tokenizers` crate's; here is what lies around it: where a tokenizer comes from
//! (`json`, `parts`, `gguf`), the beginning-of-text rule, what a token reads like (`pieces`), and which token an answer is.

mod bounds;
mod error;
mod gguf;
mod json;
mod parts;
mod pieces;

use std::fmt;
use std::path::Path;

use serde_json::Value;
use tokenizers::{Encoding, PostProcessor as _};

pub use self::error::TokenizerError;
pub use self::pieces::Piece;
use self::pieces::{Before, Reading};
use super::checkpoint::GgufMetadata;
use crate::panics::catch;
pub use crate::prompt::BosRule;

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    reading: Reading,
    /// One more than the highest id.
    vocab_size: usize,
    bos_id: Option<u32>,
    mask_id: Option<u32>,
    /// Whether the post-processor puts special tokens around a text.
    adds_specials: bool,
    /// What `tokenizer_config.json` or the GGUF says, where either does.
    add_bos_token: Option<bool>,
}

/// The token that stands for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerToken {
    /// The first of the answer's tokens.
    pub id: u32,
    /// All of them; with more than one, `id` stands for a part of the answer only.
    pub ids: Vec<u32>,
    /// The prompt's own tokens change when the answer follows, so the answer was tokenised alone.
    pub alone: bool,
    /// The answer as it was typed begins with another token: its place asks for a space before it, or for none.
    pub respaced: bool,
}

/// How the mask is written in vocabularies whose files do not name it.
const MASKS: [&str; 2] = ["[MASK]", "<mask>"];

impl Tokenizer {
    /// `tokenizer.json`, with the `tokenizer_config.json` beside it where there is one; `model_config` is config.json.
    pub fn from_file(path: &Path, model_config: Option<&Value>) -> Result<Self, TokenizerError> {
        json::from_file(path, model_config)
    }

    /// What older folders have instead: `vocab.json` and `merges.txt`, or `vocab.txt`. `None` where there is neither.
    pub fn from_folder(
        folder: &Path,
        model_config: Option<&Value>,
    ) -> Result<Option<Self>, TokenizerError> {
        parts::from_files(&|name| parts::text_of(&folder.join(name)), model_config)
    }

    /// The same from texts with the names of those files.
    pub fn from_texts(
        files: &[(&str, &str)],
        model_config: Option<&Value>,
    ) -> Result<Option<Self>, TokenizerError> {
        let file = |name: &str| {
            let of_name = files.iter().find(|(known, _)| *known == name);
            Ok(of_name.map(|(_, text)| (*text).to_owned()))
        };
        parts::from_files(&file, model_config)
    }

    /// The contents of `tokenizer.json` and `tokenizer_config.json`; `model_config` is config.json.
    pub fn from_json_bytes(
        tokenizer: &[u8],
        tokenizer_config: Option<&[u8]>,
        model_config: Option<&Value>,
    ) -> Result<Self, TokenizerError> {
        json::from_bytes(tokenizer, tokenizer_config, model_config)
    }

    /// The tokenizer that a GGUF carries.
    pub fn from_gguf(metadata: &GgufMetadata) -> Result<Self, TokenizerError> {
        gguf::from_metadata(metadata)
    }

    fn new(
        inner: tokenizers::Tokenizer,
        reading: Reading,
        bos_id: Option<u32>,
        add_bos_token: Option<bool>,
    ) -> Self {
        let vocab_size = inner
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |id| id as usize + 1);
        let adds_specials = inner
            .get_post_processor()
            .is_some_and(|processor| processor.added_tokens(false) > 0);
        let mask_id = MASKS.iter().find_map(|mask| {
            let id = inner.token_to_id(mask)?;
            pieces::added_token(&inner, id).map(|_| id)
        });
        Self {
            inner,
            reading,
            vocab_size,
            bos_id: bos_id.filter(|id| (*id as usize) < vocab_size),
            mask_id,
            adds_specials,
            add_bos_token,
        }
    }

    /// The prompt's token ids.
    pub fn encode(&self, text: &str, bos: BosRule) -> Result<Vec<u32>, TokenizerError> {
        let bos_id = || self.bos_id.ok_or(TokenizerError::NoBos);
        match bos {
            BosRule::Never => self.encode_plain(text, false),
            BosRule::Always => {
                let bos_id = bos_id()?;
                let ids = self.encode_plain(text, false)?;
                let written_out = self.bos_count(&ids);
                Ok([&[bos_id], &ids[written_out..]].concat())
            }
            BosRule::Auto if !self.adds_specials && self.add_bos_token == Some(true) => {
                Ok([vec![bos_id()?], self.encode_plain(text, false)?].concat())
            }
            BosRule::Auto => self.encode_plain(text, true),
        }
    }

    fn encode_plain(&self, text: &str, specials: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = encoding_of(text, || self.inner.encode_fast(text, specials))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// What each token reads like where it stands; the texts of ordinary tokens, joined, are the prompt.
    pub fn pieces(&self, ids: &[u32]) -> Vec<Piece> {
        let mut before = Before::NOTHING;
        let piece = |id: &u32| pieces::piece(&self.inner, &self.reading, *id, &mut before);
        ids.iter().map(piece).collect()
    }

    /// What a token reads like after other text, as a candidate for the next one does.
    pub fn next_piece(&self, id: u32) -> Piece {
        let mut before = Before::TEXT;
        pieces::piece(&self.inner, &self.reading, id, &mut before)
    }

    /// One more than the highest id; a model's embedding may have more rows, never fewer.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The token that stands for one to be predicted.
    pub fn mask_id(&self) -> Option<u32> {
        self.mask_id
    }

    /// How that token is written in a prompt.
    pub fn mask(&self) -> Option<String> {
        self.inner.id_to_token(self.mask_id?)
    }

    pub fn is_special(&self, id: u32) -> bool {
        pieces::added_token(&self.inner, id).is_some_and(|token| token.special)
    }

    /// Beginning-of-text tokens at the front.
    pub fn bos_count(&self, ids: &[u32]) -> usize {
        ids.iter()
            .take_while(|id| Some(**id) == self.bos_id)
            .count()
    }

    /// The first token after the prompt when prompt and answer are tokenised together; of the answer alone if that
    /// changes the prompt's own tokens. `prompt_ids` are `prompt`'s under `bos`.
    pub fn answer_id(
        &self,
        prompt: &str,
        prompt_ids: &[u32],
        answer: &str,
        bos: BosRule,
    ) -> Result<AnswerToken, TokenizerError> {
        // What the post-processor puts after a text comes after the answer.
        let n_after = if bos == BosRule::Auto {
            self.n_specials_after()?
        } else {
            0
        };
        let body = |ids: &[u32]| ids[..ids.len().saturating_sub(n_after)].to_vec();
        let together = body(&self.encode(&format!("{prompt}{answer}"), bos)?);
        let (ids, alone) = match together.strip_prefix(&body(prompt_ids)[..]) {
            Some(rest) if !rest.is_empty() => (rest.to_vec(), false),
            _ => (
                self.encode_plain(self.reading.continuation(answer), false)?,
                true,
            ),
        };
        match ids.first().copied() {
            Some(id) if !answer.is_empty() => Ok(AnswerToken {
                id,
                ids,
                alone,
                respaced: false,
            }),
            _ => Err(TokenizerError::EmptyAnswer {
                answer: answer.to_owned(),
            }),
        }
    }

    /// The first token of an answer that stands in the prompt where its token at `position` is; of the answer alone if
    /// that changes the tokens around it. A space before the answer is left out or put there as its place asks.
    /// `prompt_ids` are `prompt`'s with special tokens.
    pub fn answer_in_place(
        &self,
        prompt: &str,
        prompt_ids: &[u32],
        position: usize,
        answer: &str,
    ) -> Result<AnswerToken, TokenizerError> {
        let empty = || TokenizerError::EmptyAnswer {
            answer: answer.to_owned(),
        };
        let encoding = encoding_of(prompt, || self.inner.encode(prompt, true))?;
        // What the post-processor puts there has no place in the text, and a part of a character is none to replace.
        let place = encoding.get_offsets().get(position).copied();
        let place = place.filter(|(start, end)| {
            start < end && prompt.is_char_boundary(*start) && prompt.is_char_boundary(*end)
        });
        let as_typed = self.encode_plain(answer, false)?;
        let (word, in_place) = match place {
            None => (answer.to_owned(), None),
            Some((start, end)) => {
                // Some vocabularies let a mask take the space before it.
                let token = &prompt[start..end];
                let start = end - token.trim_start().len();
                let end = start + prompt[start..end].trim_end().len();
                let (before, after) = (&prompt[..start], &prompt[end..]);
                let spaced = before.is_empty() || before.ends_with(char::is_whitespace);
                let word = if spaced { answer.trim_start() } else { answer };
                let ids = self.encode_plain(&format!("{before}{word}{after}"), true)?;
                let n_after = prompt_ids.len() - position - 1;
                let fits = ids.len() > position + n_after
                    && ids[..position] == prompt_ids[..position]
                    && ids.ends_with(&prompt_ids[position + 1..]);
                let in_place = fits.then(|| ids[position..ids.len() - n_after].to_vec());
                let space = if spaced && !before.is_empty() {
                    " "
                } else {
                    ""
                };
                (format!("{space}{word}"), in_place)
            }
        };
        let alone = in_place.is_none();
        let ids = match in_place {
            Some(ids) => ids,
            None => self.encode_plain(self.reading.continuation(&word), false)?,
        };
        match ids.first().copied() {
            Some(id) if !answer.trim_start().is_empty() => Ok(AnswerToken {
                id,
                ids,
                alone,
                respaced: as_typed.first() != Some(&id),
            }),
            _ => Err(empty()),
        }
    }

    /// How many special tokens the post-processor puts after a text, seen on a short one.
    fn n_specials_after(&self) -> Result<usize, TokenizerError> {
        if !self.adds_specials {
            return Ok(0);
        }
        let (bare, dressed) = (
            self.encode_plain("a", false)?,
            self.encode_plain("a", true)?,
        );
        let n_before = dressed
            .windows(bare.len().max(1))
            .position(|window| window == bare)
            .unwrap_or(0);
        Ok(dressed.len().saturating_sub(n_before + bare.len()))
    }
}

/// What the crate makes of `text`. A tokenizer that contradicts itself may panic on one text and not on another.
fn encoding_of(
    text: &str,
    encode: impl FnOnce() -> tokenizers::Result<Encoding>,
) -> Result<Encoding, TokenizerError> {
    catch(encode)
        .unwrap_or_else(|_panic| Err("the tokenizer's parts contradict each other".into()))
        .map_err(|source| TokenizerError::encode(text, source))
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("reading", &self.reading)
            .field("vocab_size", &self.vocab_size)
            .field("bos_id", &self.bos_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
