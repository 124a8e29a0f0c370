//! A tokenizer from the metadata of a GGUF: byte-level BPE ("gpt2") and SentencePiece ("llama").
//!
//! A GGUF names its splitting rule and leaves out normalisers, so only rules whose whole original is known are built;
//! the others are refused by name rather than tokenised nearly right.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{NFC, Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizerWrapper, SplitDelimiterBehavior};

use super::pieces::{AddedSpace, Reading, Script};
use super::{Tokenizer, TokenizerError};
use crate::model::checkpoint::GgufMetadata;

/// `tokenizer.ggml.model` that are read.
pub(super) const MODELS: &str = "gpt2, llama";

/// `tokenizer.ggml.pre` that are known. A file without one, or with "default", is older than the key: GPT-2's rule.
pub(super) const PRE_TOKENIZERS: [(&str, PreTokenizer); 12] = [
    ("default", PreTokenizer::GPT2),
    ("gpt-2", PreTokenizer::GPT2),
    ("phi-2", PreTokenizer::GPT2),
    (
        "olmo",
        PreTokenizer {
            nfc: true,
            ..PreTokenizer::GPT2
        },
    ),
    (
        "mpt",
        PreTokenizer {
            nfc: true,
            ..PreTokenizer::GPT2
        },
    ),
    (
        "smollm",
        PreTokenizer {
            digits: true,
            ..PreTokenizer::GPT2
        },
    ),
    (
        "starcoder",
        PreTokenizer {
            digits: true,
            ..PreTokenizer::GPT2
        },
    ),
    (
        "refact",
        PreTokenizer {
            digits: true,
            ..PreTokenizer::GPT2
        },
    ),
    ("llama3", PreTokenizer::LLAMA3),
    ("llama-bpe", PreTokenizer::LLAMA3),
    (
        "dbrx",
        PreTokenizer {
            ignore_merges: false,
            ..PreTokenizer::LLAMA3
        },
    ),
    ("qwen2", PreTokenizer::QWEN2),
];

/// How a byte-level model splits text before its merges.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreTokenizer {
    /// Text is composed first (Unicode NFC).
    nfc: bool,
    /// Every digit on its own.
    digits: bool,
    /// The model's own expression; GPT-2's without one.
    regex: Option<&'static str>,
    /// A word that is in the vocabulary is that token, whatever the merges give.
    ignore_merges: bool,
}

impl PreTokenizer {
    const GPT2: Self = Self {
        nfc: false,
        digits: false,
        regex: None,
        ignore_merges: false,
    };
    const LLAMA3: Self = Self {
        regex: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        ignore_merges: true,
        ..Self::GPT2
    };
    const QWEN2: Self = Self {
        nfc: true,
        regex: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        ..Self::GPT2
    };
}

/// `llama_token_type`, as `tokenizer.ggml.token_type` numbers them.
const NORMAL: u64 = 1;
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// A longer SentencePiece token is damage (the format's own limit is 16 characters): every cut of it is looked up.
const MAX_TOKEN_BYTES: usize = 512;

pub(super) fn from_metadata(metadata: &GgufMetadata) -> Result<Tokenizer, TokenizerError> {
    let model = metadata
        .str("tokenizer.ggml.model")
        .ok_or_else(|| missing("tokenizer.ggml.model"))?;
    let tokens = Tokens::read(metadata)?;
    let (mut inner, reading) = match model {
        "gpt2" => byte_level(metadata, &tokens)?,
        "llama" => sentence_piece(metadata, &tokens)?,
        other => {
            return Err(TokenizerError::UnsupportedModel {
                found: other.to_owned(),
            });
        }
    };
    inner
        .add_tokens(tokens.added())
        .map_err(|error| damaged(error.to_string()))?;
    let bos_id = metadata
        .u64("tokenizer.ggml.bos_token_id")
        .and_then(|id| id.try_into().ok());
    Ok(Tokenizer::new(
        inner,
        reading,
        bos_id,
        metadata.bool("tokenizer.ggml.add_bos_token"),
    ))
}

fn byte_level(
    metadata: &GgufMetadata,
    tokens: &Tokens,
) -> Result<(tokenizers::Tokenizer, Reading), TokenizerError> {
    let name = metadata.str("tokenizer.ggml.pre").unwrap_or("default");
    let (_, rule) = PRE_TOKENIZERS
        .into_iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| TokenizerError::UnsupportedPreTokenizer {
            found: name.to_owned(),
        })?;
    let merges = metadata
        .strings("tokenizer.ggml.merges")
        .ok_or_else(|| missing("tokenizer.ggml.merges"))?;
    let merges = merges
        .iter()
        .map(|merge| tokens.merge(merge))
        .collect::<Result<Merges, _>>()?;
    let model = BPE::builder()
        .vocab_and_merges(tokens.vocab(), merges)
        .ignore_merges(rule.ignore_merges)
        .build()
        .map_err(|error| damaged(error.to_string()))?;

    let mut inner = tokenizers::Tokenizer::new(model);
    if rule.nfc {
        inner
            .with_normalizer(Some(NFC))
            .map_err(|error| damaged(error.to_string()))?;
    }
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    if rule.digits {
        steps.push(Digits::new(true).into());
    }
    if let Some(regex) = rule.regex {
        let pattern = SplitPattern::Regex(regex.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        steps.push(split.map_err(|error| damaged(error.to_string()))?.into());
    }
    steps.push(ByteLevel::new(false, true, rule.regex.is_none()).into());
    inner.with_pre_tokenizer(Some(PreTokenizers::new(steps)));
    let reading = Reading {
        script: Script::ByteLevel,
        added_space: AddedSpace::None,
    };
    Ok((inner, reading))
}

/// SentencePiece joins the pair that makes the token of the highest score; as merges in that order, BPE does the same.
fn sentence_piece(
    metadata: &GgufMetadata,
    tokens: &Tokens,
) -> Result<(tokenizers::Tokenizer, Reading), TokenizerError> {
    let scores = metadata
        .f64s("tokenizer.ggml.scores")
        .ok_or_else(|| missing("tokenizer.ggml.scores"))?;
    if scores.len() != tokens.texts.len() {
        return Err(damaged(format!(
            "{} scores for {} tokens",
            scores.len(),
            tokens.texts.len()
        )));
    }
    let unknown = metadata
        .u64("tokenizer.ggml.unknown_token_id")
        .and_then(|id| usize::try_from(id).ok());
    let mut builder = BPE::builder()
        .vocab_and_merges(tokens.vocab(), tokens.merges_by_score(scores)?)
        .fuse_unk(true)
        .byte_fallback(true);
    if let Some(text) = unknown.and_then(|id| tokens.texts.get(id)) {
        builder = builder.unk_token(text.clone());
    }
    let mut inner = tokenizers::Tokenizer::new(
        builder
            .build()
            .map_err(|error| damaged(error.to_string()))?,
    );

    let adds_space = metadata
        .bool("tokenizer.ggml.add_space_prefix")
        .unwrap_or(true);
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if adds_space {
        steps.push(Prepend::new("▁".to_owned()).into());
    }
    steps.push(
        Replace::new(" ", "▁")
            .map_err(|error| damaged(error.to_string()))?
            .into(),
    );
    inner
        .with_normalizer(Some(Normalizers::new(steps)))
        .map_err(|error| damaged(error.to_string()))?;
    let reading = Reading {
        script: Script::SentencePiece,
        added_space: if adds_space {
            AddedSpace::Segments
        } else {
            AddedSpace::None
        },
    };
    Ok((inner, reading))
}

/// The vocabulary, each text once.
struct Tokens {
    /// By id.
    texts: Vec<String>,
    /// By id; all normal where the file does not say.
    types: Vec<u64>,
    ids: HashMap<String, u32>,
}

impl Tokens {
    fn read(metadata: &GgufMetadata) -> Result<Self, TokenizerError> {
        let texts = metadata
            .strings("tokenizer.ggml.tokens")
            .ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        let types = metadata
            .u64s("tokenizer.ggml.token_type")
            .unwrap_or_else(|| vec![NORMAL; texts.len()]);
        if types.len() != texts.len() {
            return Err(damaged(format!(
                "{} token types for {} tokens",
                types.len(),
                texts.len()
            )));
        }
        let mut unique = Vec::with_capacity(texts.len());
        let mut ids = HashMap::with_capacity(texts.len());
        for (id, text) in (0u32..).zip(texts) {
            // Converters leave rows that no text reaches empty; each needs a name of its own.
            let text = if text.is_empty() {
                format!("[EMPTY_{id}]")
            } else {
                text.clone()
            };
            if let Some(earlier) = ids.insert(text.clone(), id) {
                return Err(damaged(format!(
                    "tokens {earlier} and {id} are both {text:?}"
                )));
            }
            unique.push(text);
        }
        Ok(Self {
            texts: unique,
            types,
            ids,
        })
    }

    fn vocab(&self) -> Vocab {
        self.ids
            .iter()
            .map(|(text, id)| (text.clone(), *id))
            .collect()
    }

    /// Tokens that are found in a text before anything else.
    fn added(&self) -> impl Iterator<Item = AddedToken> {
        self.texts
            .iter()
            .zip(&self.types)
            .filter_map(|(text, kind)| {
                let special = match *kind {
                    CONTROL | UNKNOWN => true,
                    USER_DEFINED => false,
                    _ => return None,
                };
                Some(AddedToken::from(text.clone(), special).normalized(false))
            })
    }

    /// The two sides of `"Ġ t"`; the crate's builder takes it for granted that they and their sum are tokens.
    fn merge(&self, merge: &str) -> Result<(String, String), TokenizerError> {
        // A side may itself start with a space in some vocabularies, so the first character does not count.
        let cut = merge
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == ' ')
            .map(|(at, _)| at);
        let Some((left, right)) = cut.map(|at| (&merge[..at], &merge[at + 1..])) else {
            return Err(damaged(format!("the merge {merge:?} has not two sides")));
        };
        for text in [left, right, &format!("{left}{right}")] {
            if !self.ids.contains_key(text) {
                return Err(damaged(format!(
                    "the merge {merge:?} needs the token {text:?}, which is not there"
                )));
            }
        }
        Ok((left.to_owned(), right.to_owned()))
    }

    /// Every way to cut a normal token into two tokens: highest score first, of one score the longest left side first.
    fn merges_by_score(&self, scores: &[f64]) -> Result<Merges, TokenizerError> {
        let mut merges = Vec::new();
        for ((text, kind), score) in self.texts.iter().zip(&self.types).zip(scores) {
            if !matches!(*kind, NORMAL | USER_DEFINED) {
                continue;
            }
            if text.len() > MAX_TOKEN_BYTES {
                return Err(damaged(format!("a token of {} bytes", text.len())));
            }
            for (cut, _) in text.char_indices().skip(1) {
                let (left, right) = text.split_at(cut);
                if self.ids.contains_key(left) && self.ids.contains_key(right) {
                    merges.push((*score, left, right));
                }
            }
        }
        merges.sort_by(|(a, left_a, _), (b, left_b, _)| {
            b.total_cmp(a).then(left_b.len().cmp(&left_a.len()))
        });
        Ok(merges
            .into_iter()
            .map(|(_, left, right)| (left.to_owned(), right.to_owned()))
            .collect())
    }
}

fn missing(key: &str) -> TokenizerError {
    damaged(format!("key {key:?} is missing"))
}

fn damaged(problem: String) -> TokenizerError {
    TokenizerError::Damaged {
        what: "the GGUF's tokenizer".to_owned(),
        problem,
    }
}
