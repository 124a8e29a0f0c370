//! A tokenizer from the separate files of older folders: `vocab.json` with `merges.txt` (GPT-2, OPT, RoBERTa, Qwen2), or
//! `vocab.txt` (BERT).
//!
//! The files hold the vocabulary only; the rest is the rule of the class that the config names. Both are put together to
//! what a tokenizer.json would say, and read as one. A class whose rule is not known is refused by name rather than
//! tokenised nearly right.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::gguf::PreTokenizer;
use super::{Tokenizer, TokenizerError, json as tokenizer_json};

/// Classes that are read, as `transformers` calls them.
pub(super) const CLASSES: &str = "GPT2Tokenizer, CodeGenTokenizer, RobertaTokenizer, Qwen2Tokenizer, BertTokenizer, DistilBertTokenizer";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Gpt2,
    Roberta,
    Qwen2,
    Bert,
}

impl Class {
    /// The class that the config names, or that of the model's family.
    fn of(config: &Value, model_config: Option<&Value>) -> Result<Self, TokenizerError> {
        let text = |config: &Value, key: &str| config[key].as_str().map(str::to_owned);
        let named = text(config, "tokenizer_class")
            .or_else(|| text(model_config?, "tokenizer_class"))
            .or_else(|| text(model_config?, "model_type"))
            .unwrap_or_default();
        match named.strip_suffix("Fast").unwrap_or(&named) {
            "GPT2Tokenizer" | "CodeGenTokenizer" | "gpt2" | "gpt_neo" | "opt" | "phi" => {
                Ok(Self::Gpt2)
            }
            "RobertaTokenizer" | "roberta" => Ok(Self::Roberta),
            "Qwen2Tokenizer" | "qwen2" | "qwen3" => Ok(Self::Qwen2),
            "BertTokenizer" | "DistilBertTokenizer" | "bert" | "distilbert" => Ok(Self::Bert),
            _ => Err(TokenizerError::UnknownClass { found: named }),
        }
    }

    /// Special tokens where the files name no others: what each is for, and its text.
    const fn specials(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Gpt2 => &[
                ("bos_token", "<|endoftext|>"),
                ("eos_token", "<|endoftext|>"),
                ("unk_token", "<|endoftext|>"),
            ],
            Self::Qwen2 => &[
                ("eos_token", "<|endoftext|>"),
                ("pad_token", "<|endoftext|>"),
            ],
            Self::Roberta => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("sep_token", "</s>"),
                ("cls_token", "<s>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Self::Bert => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
        }
    }
}

/// The tokenizer of files without a tokenizer.json; `None` where they have no vocabulary either. `file` gives a file's
/// text, and `None` where there is no such file.
pub(super) fn from_files(
    file: &dyn Fn(&str) -> Result<Option<String>, TokenizerError>,
    model_config: Option<&Value>,
) -> Result<Option<Tokenizer>, TokenizerError> {
    let vocab = match (file("vocab.json")?, file("merges.txt")?) {
        (Some(vocab), Some(merges)) => Vocab::Merges(
            object("vocab.json", &vocab)?,
            merges_of(&merges).map_err(|problem| damaged("merges.txt", problem))?,
        ),
        _ => match file("vocab.txt")? {
            Some(words) => Vocab::Words(words_of(&words)),
            None => return Ok(None),
        },
    };
    let read = |name: &str| match file(name)? {
        Some(text) => object(name, &text),
        None => Ok(Map::new()),
    };
    // What tokenizer_config.json says stands above what older programs wrote beside it.
    let mut config = read("special_tokens_map.json")?;
    config.extend(read("tokenizer_config.json")?);
    let config = Value::Object(config);
    let class = Class::of(&config, model_config)?;
    let parts = Parts {
        class,
        config: &config,
        added: read("added_tokens.json")?,
    };
    let tokenizer = parts.tokenizer(vocab)?.to_string();
    let config = parts.complete_config().to_string();
    tokenizer_json::from_bytes(tokenizer.as_bytes(), Some(config.as_bytes()), model_config)
        .map(Some)
}

enum Vocab {
    /// Token to id, and pairs in the order in which they are joined.
    Merges(Map<String, Value>, Vec<[String; 2]>),
    Words(Map<String, Value>),
}

impl Vocab {
    fn tokens(&self) -> &Map<String, Value> {
        match self {
            Self::Merges(tokens, _) | Self::Words(tokens) => tokens,
        }
    }
}

/// What the small files say.
struct Parts<'a> {
    class: Class,
    /// Of tokenizer_config.json and special_tokens_map.json.
    config: &'a Value,
    /// Tokens that were added to the vocabulary, with their ids.
    added: Map<String, Value>,
}

impl Parts<'_> {
    /// What tokenizer.json would say.
    fn tokenizer(&self, vocab: Vocab) -> Result<Value, TokenizerError> {
        match (&vocab, self.class) {
            (Vocab::Merges(..), Class::Bert) => {
                return Err(damaged("the folder", "it lacks vocab.txt".to_owned()));
            }
            (Vocab::Words(_), Class::Gpt2 | Class::Roberta | Class::Qwen2) => {
                let problem = "it lacks vocab.json or merges.txt".to_owned();
                return Err(damaged("the folder", problem));
            }
            _ => {}
        }
        let added = self.added_tokens(vocab.tokens())?;
        let prefix = self.config["add_prefix_space"] == true;
        let byte_level = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": use_regex });
        let between = |ends: [&str; 2]| self.between(ends, vocab.tokens(), &added);
        let (normalizer, pre_tokenizer, post_processor, decoder) = match self.class {
            Class::Gpt2 => (Value::Null, byte_level(true), Value::Null, byte_level(true)),
            Class::Roberta => (
                Value::Null,
                byte_level(true),
                between(["cls_token", "sep_token"])?,
                byte_level(true),
            ),
            Class::Qwen2 => {
                let regex = PreTokenizer::QWEN2.regex;
                let split = json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
                (
                    json!({ "type": "NFC" }),
                    json!({ "type": "Sequence", "pretokenizers": [split, byte_level(false)] }),
                    Value::Null,
                    byte_level(false),
                )
            }
            Class::Bert => (
                json!({
                    "type": "BertNormalizer",
                    "clean_text": true,
                    "handle_chinese_chars": self.switch("tokenize_chinese_chars", true),
                    "strip_accents": self.config["strip_accents"].as_bool(),
                    "lowercase": self.switch("do_lower_case", true),
                }),
                json!({ "type": "BertPreTokenizer" }),
                between(["cls_token", "sep_token"])?,
                json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
            ),
        };
        let model = match vocab {
            Vocab::Merges(vocab, merges) => json!({
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges,
            }),
            Vocab::Words(vocab) => json!({
                "type": "WordPiece", "unk_token": self.special("unk_token"), "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab,
            }),
        };
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added.values().collect::<Vec<_>>(),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
            "decoder": decoder, "model": model,
        }))
    }

    /// The config with the names that the class has by itself.
    fn complete_config(&self) -> Value {
        let mut config = self.config.clone();
        for (key, _) in self.class.specials() {
            config[*key] = self.special(key).into();
        }
        config
    }

    fn switch(&self, key: &str, default: bool) -> bool {
        self.config[key].as_bool().unwrap_or(default)
    }

    /// The text of a special token: the files' own, or the class's. `None` where the files say that there is none.
    fn special(&self, key: &str) -> Option<&str> {
        let named = self.config.get(key).and_then(content);
        let by_class = || {
            let mut specials = self.class.specials().iter();
            specials.find_map(|(known, text)| (*known == key).then_some(*text))
        };
        match self.config.get(key) {
            Some(Value::Null) => None,
            _ => named.or_else(by_class),
        }
    }

    /// Tokens that are found in a text before anything else, by id.
    fn added_tokens(
        &self,
        vocab: &Map<String, Value>,
    ) -> Result<BTreeMap<u64, Value>, TokenizerError> {
        let id_of = |text: &str| vocab.get(text).or_else(|| self.added.get(text))?.as_u64();
        let mut found = BTreeMap::new();
        let mut put = |id: u64, token: &Value, is_special: bool| {
            let flag = |key: &str| token[key].as_bool().unwrap_or(false);
            let text = content(token).unwrap_or_default();
            let entry = json!({
                "id": id, "content": text, "single_word": flag("single_word"), "lstrip": flag("lstrip"),
                "rstrip": flag("rstrip"), "normalized": flag("normalized"), "special": is_special || flag("special"),
            });
            found.entry(id).or_insert(entry);
        };
        // The most complete description first: what is there is not replaced.
        if let Some(described) = self.config["added_tokens_decoder"].as_object() {
            for (id, token) in described {
                let id = id.parse().map_err(|_| {
                    let problem = format!("the id {id:?} of an added token is no number");
                    damaged("tokenizer_config.json", problem)
                })?;
                put(id, token, false);
            }
        }
        let own = self.class.specials().iter().map(|(key, _)| *key);
        let others = [
            "bos_token",
            "eos_token",
            "unk_token",
            "pad_token",
            "sep_token",
            "cls_token",
            "mask_token",
        ];
        for key in own.chain(others) {
            let Some(text) = self.special(key) else {
                continue;
            };
            let Some(id) = id_of(text) else {
                continue;
            };
            let named = &self.config[key];
            // RoBERTa's mask takes the space before it, unless its description says otherwise.
            let lstrip = self.class == Class::Roberta && key == "mask_token";
            if named.is_object() {
                put(id, named, true);
            } else {
                put(id, &json!({ "content": text, "lstrip": lstrip }), true);
            }
        }
        let more = self.config["additional_special_tokens"].as_array();
        for token in more.into_iter().flatten() {
            if let Some((id, text)) = content(token).and_then(|text| Some((id_of(text)?, text))) {
                if token.is_object() {
                    put(id, token, true);
                } else {
                    put(id, &json!({ "content": text }), true);
                }
            }
        }
        for (text, id) in &self.added {
            let id = id.as_u64().ok_or_else(|| {
                let problem = format!("the id of {text:?} is no number");
                damaged("added_tokens.json", problem)
            })?;
            put(id, &json!({ "content": text, "normalized": true }), false);
        }
        Ok(found)
    }

    /// A text between two special tokens.
    fn between(
        &self,
        ends: [&str; 2],
        vocab: &Map<String, Value>,
        added: &BTreeMap<u64, Value>,
    ) -> Result<Value, TokenizerError> {
        let mut tokens = Map::new();
        let mut piece = |key: &str| {
            let missing = || {
                let problem = format!("its vocabulary lacks the {key} of a {:?}", self.class);
                damaged("the tokenizer", problem)
            };
            let text = self.special(key).ok_or_else(missing)?;
            let is_it = |(id, token): (&u64, &Value)| (token["content"] == text).then_some(*id);
            let id = vocab.get(text).and_then(Value::as_u64);
            let id = id
                .or_else(|| added.iter().find_map(is_it))
                .ok_or_else(missing)?;
            let special = json!({ "id": text, "ids": [id], "tokens": [text] });
            tokens.insert(text.to_owned(), special);
            Ok::<_, TokenizerError>(json!({ "SpecialToken": { "id": text, "type_id": 0 } }))
        };
        let (first, last) = (piece(ends[0])?, piece(ends[1])?);
        let text = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
        Ok(json!({
            "type": "TemplateProcessing",
            "single": [first, text("A"), last],
            "pair": [first, text("A"), last, text("B"), last],
            "special_tokens": tokens,
        }))
    }
}

/// A token's text: a string, or an object with its content.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// Pairs of a merges.txt, whose first line is its version.
fn merges_of(text: &str) -> Result<Vec<[String; 2]>, String> {
    text.lines()
        .enumerate()
        .filter(|(i, line)| !(line.is_empty() || *i == 0 && line.starts_with("#version")))
        .map(|(i, line)| {
            let pair = line.split_once(' ').filter(|(left, right)| {
                !left.is_empty() && !right.is_empty() && !right.contains(' ')
            });
            pair.map(|(left, right)| [left.to_owned(), right.to_owned()])
                .ok_or_else(|| format!("line {} is no pair of tokens", i + 1))
        })
        .collect()
}

/// A word a line; of equal ones the last counts, as in Python.
fn words_of(text: &str) -> Map<String, Value> {
    let words = text.lines().enumerate();
    words
        .map(|(id, word)| (word.to_owned(), id.into()))
        .collect()
}

/// The file's text; `None` where there is no such file.
pub(super) fn text_of(path: &Path) -> Result<Option<String>, TokenizerError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

fn object(name: &str, text: &str) -> Result<Map<String, Value>, TokenizerError> {
    serde_json::from_str(text).map_err(|error| damaged(name, error.to_string()))
}

fn damaged(what: &str, problem: String) -> TokenizerError {
    TokenizerError::Damaged {
        what: what.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tokenizer::BosRule;
    use crate::model::tokenizer::pieces::tests::char_of;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// Byte-level tokens after `first`, and merges for ` the`.
    fn byte_level(first: &[&str]) -> (String, &'static str) {
        let first = first.iter().map(|&token| token.to_owned());
        let bytes = (0u8..=255).map(|byte| char_of(byte).to_string());
        let merged = ["he", "Ġt", "Ġthe"].map(str::to_owned);
        let tokens = first.chain(bytes).chain(merged).enumerate();
        let vocab: Map<String, Value> = tokens.map(|(id, token)| (token, id.into())).collect();
        (
            Value::Object(vocab).to_string(),
            "#version: 0.2\nh e\nĠ t\nĠt he\n",
        )
    }

    fn texts(tokenizer: &Tokenizer, text: &str, bos: BosRule) -> Vec<String> {
        let ids = tokenizer.encode(text, bos).unwrap();
        let pieces = tokenizer.pieces(&ids).into_iter();
        pieces.map(|piece| piece.text).collect()
    }

    #[test]
    fn opt_begins_with_the_token_that_its_config_names() {
        let (vocab, merges) = byte_level(&["<s>", "<pad>", "</s>", "<unk>"]);
        let config = r#"{"tokenizer_class":"GPT2Tokenizer","add_bos_token":true,"add_prefix_space":false,
            "bos_token":{"content":"</s>","normalized":true,"lstrip":false},"unk_token":"</s>","eos_token":"</s>"}"#;
        let folder = folder(&[
            ("vocab.json", &vocab),
            ("merges.txt", merges),
            ("tokenizer_config.json", config),
            (
                "special_tokens_map.json",
                r#"{"bos_token":"<s>","pad_token":"<pad>"}"#,
            ),
        ]);
        let tokenizer = Tokenizer::from_folder(folder.path(), None)
            .unwrap()
            .unwrap();
        assert_eq!(tokenizer.bos_id(), Some(2));
        let auto = |text| texts(&tokenizer, text, BosRule::Auto);
        assert_eq!(auto("x the<pad>"), ["</s>", "x", " the", "<pad>"]);
        assert!(tokenizer.is_special(1) && !tokenizer.is_special(0));
    }

    #[test]
    fn robertas_ends_and_mask_are_those_of_its_class() {
        let (vocab, merges) = byte_level(&["<s>", "<pad>", "</s>", "<unk>", "<mask>"]);
        let folder = folder(&[("vocab.json", &vocab), ("merges.txt", merges)]);
        let config = json!({ "model_type": "roberta" });
        let tokenizer = Tokenizer::from_folder(folder.path(), Some(&config))
            .unwrap()
            .unwrap();
        let auto = texts(&tokenizer, "x the <mask>.", BosRule::Auto);
        assert_eq!(auto, ["<s>", "x", " the", "<mask>", ".", "</s>"]);
        assert_eq!(tokenizer.mask().as_deref(), Some("<mask>"));
        assert_eq!(texts(&tokenizer, " the", BosRule::Never), [" the"]);
    }

    #[test]
    fn a_space_goes_before_the_text_where_the_config_says_so() {
        let (vocab, merges) = byte_level(&["<|endoftext|>"]);
        for (prefix, ids) in [("true", 1), ("false", 2)] {
            let config = format!(r#"{{"add_prefix_space":{prefix}}}"#);
            let folder = folder(&[
                ("vocab.json", &vocab),
                ("merges.txt", merges),
                ("tokenizer_config.json", &config),
            ]);
            let config = json!({ "model_type": "gpt2" });
            let tokenizer = Tokenizer::from_folder(folder.path(), Some(&config))
                .unwrap()
                .unwrap();
            assert_eq!(tokenizer.encode("the", BosRule::Auto).unwrap().len(), ids);
            assert_eq!(tokenizer.bos_id(), Some(0));
        }
    }

    #[test]
    fn berts_words_are_lower_case_unless_the_config_says_otherwise() {
        let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nThe\ncat\n##s\n";
        let check = |config: &str, text: &str, expected: &[&str]| {
            let folder = folder(&[("vocab.txt", words), ("tokenizer_config.json", config)]);
            let bert = json!({ "model_type": "bert" });
            let tokenizer = Tokenizer::from_folder(folder.path(), Some(&bert))
                .unwrap()
                .unwrap();
            assert_eq!(texts(&tokenizer, text, BosRule::Auto), expected, "{config}");
        };
        let lower = ["[CLS]", "the", " cat", "s", "[MASK]", "[SEP]"];
        check("{}", "The cats[MASK]", &lower);
        let cased = ["[CLS]", "The", " cat", "s", "[MASK]", "[SEP]"];
        check(r#"{"do_lower_case":false}"#, "The cats[MASK]", &cased);
    }

    #[test]
    fn added_tokens_keep_their_ids() {
        let (vocab, merges) = byte_level(&["<|endoftext|>"]);
        let n = 260;
        let added = format!(r#"{{"<b>":{},"<a>":{n}}}"#, n + 1);
        let folder = folder(&[
            ("vocab.json", &vocab),
            ("merges.txt", merges),
            ("added_tokens.json", &added),
            (
                "tokenizer_config.json",
                r#"{"tokenizer_class":"Qwen2TokenizerFast","bos_token":null}"#,
            ),
        ]);
        let tokenizer = Tokenizer::from_folder(folder.path(), None)
            .unwrap()
            .unwrap();
        let ids = tokenizer.encode("<b>x<a>", BosRule::Auto).unwrap();
        assert_eq!((ids[0], ids[2]), (n + 1, n));
        assert_eq!(tokenizer.bos_id(), None);
        assert_eq!(
            texts(&tokenizer, "1234", BosRule::Auto),
            ["1", "2", "3", "4"]
        );
    }

    #[track_caller]
    fn check_refused(files: &[(&str, &str)], config: &Value, expected: &str) {
        let folder = folder(files);
        let error = Tokenizer::from_folder(folder.path(), Some(config))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
    }

    fn files<'a>(vocab: &'a str, merges: &'a str) -> [(&'static str, &'a str); 2] {
        [("vocab.json", vocab), ("merges.txt", merges)]
    }

    #[test]
    fn what_cannot_be_built_rightly_is_refused_by_name() {
        let (vocab, merges) = byte_level(&[]);
        let gpt2 = json!({ "model_type": "gpt2" });
        let clip = json!({ "tokenizer_class": "CLIPTokenizer" });
        check_refused(&files(&vocab, merges), &clip, "\"CLIPTokenizer\"");
        check_refused(&files(&vocab, merges), &json!({}), "no tokenizer class");
        check_refused(&files("{", merges), &gpt2, "vocab.json is damaged");
        check_refused(&files(&vocab, "h e\nhe\n"), &gpt2, "line 2 is no pair");
        check_refused(&files(&vocab, "x y\n"), &gpt2, "is damaged");
        check_refused(&files(r#"{"a":"b"}"#, ""), &gpt2, "is damaged");
        let roberta = json!({ "model_type": "roberta" });
        check_refused(&files(&vocab, merges), &roberta, "lacks the cls_token");
        check_refused(
            &[("vocab.txt", "a\n")],
            &gpt2,
            "lacks vocab.json or merges.txt",
        );
        let bert = json!({ "model_type": "bert" });
        check_refused(&files(&vocab, merges), &bert, "lacks vocab.txt");
        assert!(
            Tokenizer::from_folder(folder(&[("vocab.json", &vocab)]).path(), Some(&gpt2))
                .unwrap()
                .is_none()
        );
    }
}
