//! Small tokenizers made here, and the two of the fixtures, whose ids come from other programs.

use std::path::PathBuf;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::model::checkpoint::{Checkpoint, GgufArray, GgufMetadata, GgufValue};

/// Byte-level BPE over all bytes and a few merges, with `<s>` (id 0) and `</s>` (id 1).
fn byte_level(post_processor: &Value) -> Value {
    let mut vocab = serde_json::Map::new();
    let tokens = ["<s>".to_owned(), "</s>".to_owned()].into_iter();
    let bytes = (0u8..=255).map(|byte| pieces::tests::char_of(byte).to_string());
    let merged = ["he", "Ġt", "Ġthe", "ca"].map(str::to_owned);
    for token in tokens.chain(bytes).chain(merged) {
        vocab.insert(token, vocab.len().into());
    }
    let special = |id: u32, content: &str| json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    json!({
        "version": "1.0",
        "truncation": { "max_length": 4, "strategy": "LongestFirst", "stride": 0 },
        "padding": { "strategy": { "Fixed": 9 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>" },
        "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": post_processor,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": ["h e", "Ġ t", "Ġt he", "c a"],
        },
    })
}

/// `<s> text </s>`.
fn both_ends() -> Value {
    json!({
        "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }, { "SpecialToken": { "id": "</s>", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { "<s>": { "id": "<s>", "ids": [0], "tokens": ["<s>"] }, "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
    })
}

/// From tokenizer.json, tokenizer_config.json and config.json; `Null` stands for a file that is not there.
fn open(tokenizer: &Value, tokenizer_config: &Value, config: &Value) -> Tokenizer {
    let tokenizer_config = (!tokenizer_config.is_null()).then(|| tokenizer_config.to_string());
    let tokenizer_config = tokenizer_config.as_ref().map(String::as_bytes);
    let config = (!config.is_null()).then_some(config);
    Tokenizer::from_json_bytes(tokenizer.to_string().as_bytes(), tokenizer_config, config).unwrap()
}

fn texts(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    tokenizer
        .pieces(ids)
        .into_iter()
        .map(|piece| piece.text)
        .collect()
}

/// What another program makes of a text.
#[derive(Deserialize)]
struct Case {
    text: String,
    /// By the file's own rule for the beginning of text.
    ids: Vec<u32>,
    ids_without_bos: Vec<u32>,
}

/// A GGUF of the fixtures, its tokenizer and its cases.
fn fixture(file: &str) -> (Checkpoint, Tokenizer, Vec<Case>) {
    let cases = PathBuf::from(file).with_file_name("tokenizer_cases.json");
    fixture_with(
        &format!("models/{file}"),
        &format!("models/{}", cases.display()),
    )
}

fn fixture_with(file: &str, cases: &str) -> (Checkpoint, Tokenizer, Vec<Case>) {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let cases = std::fs::read(fixtures.join(cases)).unwrap();
    let checkpoint = Checkpoint::open(&fixtures.join(file)).unwrap();
    let tokenizer = Tokenizer::from_gguf(checkpoint.gguf_metadata().unwrap()).unwrap();
    (
        checkpoint,
        tokenizer,
        serde_json::from_slice(&cases).unwrap(),
    )
}

#[test]
fn both_kinds_of_gguf_tokenizers_give_the_reference_ids_and_read_back() {
    for (file, bos_id) in [
        ("tiny-llama-gguf/tiny-llama.gguf", 0),
        ("tiny-llama-gguf-spm/tiny-llama-spm.gguf", 1),
    ] {
        let (checkpoint, tokenizer, cases) = fixture(file);
        assert!(cases.len() >= 16);
        assert_eq!(tokenizer.bos_id(), Some(bos_id));
        assert_eq!(
            tokenizer.vocab_size(),
            checkpoint.info("token_embd.weight").unwrap().shape[0]
        );
        for Case {
            text,
            ids,
            ids_without_bos,
        } in cases
        {
            assert_eq!(
                tokenizer.encode(&text, BosRule::Auto).unwrap(),
                ids,
                "{file} {text:?}"
            );
            assert_eq!(
                tokenizer.encode(&text, BosRule::Never).unwrap(),
                ids_without_bos,
                "{file} {text:?}"
            );
            let bytes: Vec<u8> = tokenizer
                .pieces(&ids)
                .into_iter()
                .filter(|piece| !piece.special)
                .flat_map(|piece| piece.bytes)
                .collect();
            assert_eq!(String::from_utf8(bytes).unwrap(), text, "{file}");
        }
    }
}

fn encoder(name: &str) -> (Tokenizer, PathBuf) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/models")
        .join(name);
    let config: Value =
        serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"), Some(&config)).unwrap();
    (tokenizer, folder)
}

#[test]
fn encoders_get_the_reference_ids_and_their_masks_are_known() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        ids: Vec<u32>,
        ids_without_special: Vec<u32>,
        masks: Vec<usize>,
    }
    for (name, mask) in [
        ("tiny-bert", "[MASK]"),
        ("tiny-distilbert", "[MASK]"),
        ("tiny-roberta", "<mask>"),
        ("tiny-modernbert", "[MASK]"),
    ] {
        let (tokenizer, folder) = encoder(name);
        assert_eq!(tokenizer.mask().as_deref(), Some(mask));
        let cases = std::fs::read(folder.join("tokenizer_cases.json")).unwrap();
        let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
        assert!(cases.len() >= 16);
        for case in cases {
            let text = &case.text;
            let ids = tokenizer.encode(text, BosRule::Auto).unwrap();
            assert_eq!(ids, case.ids, "{name} {text:?}");
            let bare = tokenizer.encode(text, BosRule::Never).unwrap();
            assert_eq!(bare, case.ids_without_special, "{name} {text:?}");
            let masks: Vec<usize> = (0..ids.len())
                .filter(|i| Some(ids[*i]) == tokenizer.mask_id())
                .collect();
            assert_eq!(masks, case.masks, "{name} {text:?}");
        }
    }
}

#[test]
fn a_mask_that_no_file_names_is_found_by_how_it_is_written() {
    let (named, folder) = encoder("tiny-modernbert");
    let file = std::fs::read(folder.join("tokenizer.json")).unwrap();
    let unnamed = Tokenizer::from_json_bytes(&file, None, None).unwrap();
    assert_eq!(unnamed.mask_id(), named.mask_id());
    assert!(unnamed.mask_id().is_some());
    let other = json!({ "mask_token": "[UNK]" });
    let other = other.to_string();
    let other = Tokenizer::from_json_bytes(&file, Some(other.as_bytes()), None).unwrap();
    assert_eq!(other.mask().as_deref(), Some("[UNK]"));
    let none = open(&byte_level(&Value::Null), &Value::Null, &Value::Null);
    assert_eq!((none.mask_id(), none.mask()), (None, None));
}

#[test]
fn an_answer_stands_where_the_mask_stands() {
    let answer = |name: &str, prompt: &str, position: usize, answer: &str| {
        let (tokenizer, _) = encoder(name);
        let ids = tokenizer.encode(prompt, BosRule::Auto).unwrap();
        tokenizer.answer_in_place(prompt, &ids, position, answer)
    };
    let seen = |answer: AnswerToken| {
        assert_eq!(answer.ids[0], answer.id);
        (answer.id, answer.ids.len(), answer.alone, answer.respaced)
    };
    let found =
        |id: u32, n_tokens: usize, alone: bool, respaced: bool| (id, n_tokens, alone, respaced);
    let roberta = |prompt: &str, position, text: &str| {
        seen(answer("tiny-roberta", prompt, position, text).unwrap())
    };
    let (cat, space_cat) = (32, 33);
    // The mask takes the space before it: the word has it, however it was typed.
    let prompt = "The <mask> sat.";
    assert_eq!(roberta(prompt, 2, "cat"), found(space_cat, 1, false, true));
    assert_eq!(
        roberta(prompt, 2, " cat"),
        found(space_cat, 1, false, false)
    );
    assert_eq!(
        roberta(prompt, 2, "cat sat"),
        found(space_cat, 2, false, true)
    );
    // Without a space there, it is the answer's own.
    let prompt = "The<mask> sat";
    assert_eq!(roberta(prompt, 2, "cat"), found(cat, 1, false, false));
    assert_eq!(
        roberta(prompt, 2, " cat"),
        found(space_cat, 1, false, false)
    );
    // At the beginning there is none.
    let prompt = "<mask> sat";
    assert_eq!(roberta(prompt, 1, "cat"), found(cat, 1, false, false));
    assert_eq!(roberta(prompt, 1, " cat"), found(cat, 1, false, true));
    // In the place of an ordinary token, and of one that has no place.
    assert_eq!(roberta(prompt, 2, "cat"), found(space_cat, 1, false, true));
    assert_eq!(roberta(prompt, 0, "cat"), found(cat, 1, true, false));

    let bert = |prompt: &str, position, text: &str| {
        seen(answer("tiny-bert", prompt, position, text).unwrap())
    };
    for text in ["Dog", " dog", "dog"] {
        assert_eq!(bert("the [MASK] sat", 2, text), found(12, 1, false, false));
    }
    assert_eq!(
        bert("the [MASK] sat", 2, "played"),
        found(19, 2, false, false)
    );
    // The words beside it would run into the answer.
    assert_eq!(
        bert("the cat[MASK]sat", 3, "dog"),
        found(12, 1, true, false)
    );
    for empty in ["", "  "] {
        let error = answer("tiny-bert", "the [MASK]", 2, empty).unwrap_err();
        assert!(
            error.to_string().contains("no tokens of its own"),
            "{error}"
        );
    }
}

#[test]
fn the_gguf_tokenizers_of_each_architecture_give_the_reference_ids_and_read_back() {
    for architecture in ["gemma3", "gptneox", "phi2", "phi3", "qwen2"] {
        let (_, tokenizer, cases) = fixture_with(
            &format!("tokenizers/{architecture}.gguf"),
            &format!("tokenizers/{architecture}.json"),
        );
        assert!(cases.len() >= 18);
        for Case {
            text,
            ids,
            ids_without_bos,
        } in cases
        {
            for (bos, ids) in [(BosRule::Auto, ids), (BosRule::Never, ids_without_bos)] {
                assert_eq!(
                    tokenizer.encode(&text, bos).unwrap(),
                    ids,
                    "{architecture} {text:?}"
                );
                if bos == BosRule::Never {
                    let pieces = tokenizer.pieces(&ids);
                    let bytes = pieces.into_iter().flat_map(|piece| piece.bytes).collect();
                    // Some compose what is written with a combining accent.
                    let composed = text.replace("e\u{301}", "é");
                    let read_back = String::from_utf8(bytes).unwrap();
                    assert!(read_back == text || read_back == composed, "{text:?}");
                }
            }
        }
    }
}

#[test]
fn a_prompt_is_neither_cut_nor_filled_up() {
    let tokenizer = open(&byte_level(&Value::Null), &Value::Null, &Value::Null);
    assert_eq!(tokenizer.encode("x", BosRule::Auto).unwrap().len(), 1);
    assert_eq!(tokenizer.encode("xyzxyz", BosRule::Auto).unwrap().len(), 6);
    assert_eq!(tokenizer.vocab_size(), 262);
}

#[test]
fn what_training_drops_at_random_is_not_dropped() {
    let text = "the cat the cat the cat";
    let exact = open(&byte_level(&Value::Null), &Value::Null, &Value::Null);
    let mut dropping = byte_level(&Value::Null);
    dropping["model"]["dropout"] = json!(0.5);
    let dropping = open(&dropping, &Value::Null, &Value::Null);
    for _ in 0..20 {
        assert_eq!(
            dropping.encode(text, BosRule::Auto).unwrap(),
            exact.encode(text, BosRule::Auto).unwrap()
        );
    }
}

#[test]
fn auto_follows_the_post_processor_then_add_bos_token_then_nothing() {
    let check = |post_processor: &Value, tokenizer_config: &Value, expected: &[&str]| {
        let config = json!({ "bos_token_id": 0 });
        let tokenizer = open(&byte_level(post_processor), tokenizer_config, &config);
        let ids = tokenizer.encode("x", BosRule::Auto).unwrap();
        assert_eq!(
            texts(&tokenizer, &ids),
            expected,
            "{post_processor} {tokenizer_config}"
        );
    };
    let (asks, declines) = (
        json!({ "add_bos_token": true }),
        json!({ "add_bos_token": false }),
    );
    check(&both_ends(), &declines, &["<s>", "x", "</s>"]);
    check(&both_ends(), &asks, &["<s>", "x", "</s>"]);
    // A post-processor that adds nothing says nothing about the beginning of text.
    let trims = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true });
    check(&trims, &asks, &["<s>", "x"]);
    check(&trims, &declines, &["x"]);
    check(&Value::Null, &Value::Null, &["x"]);
}

#[test]
fn always_puts_exactly_one_and_never_puts_none() {
    let tokenizer = open(
        &byte_level(&both_ends()),
        &Value::Null,
        &json!({ "bos_token_id": 0 }),
    );
    let encode = |text, bos| texts(&tokenizer, &tokenizer.encode(text, bos).unwrap());
    assert_eq!(encode("x", BosRule::Always), ["<s>", "x"]);
    assert_eq!(encode("<s><s>x", BosRule::Always), ["<s>", "x"]);
    assert_eq!(encode("x", BosRule::Never), ["x"]);
    assert_eq!(
        tokenizer.bos_count(&tokenizer.encode("<s>x", BosRule::Auto).unwrap()),
        2
    );
    let unknown = open(&byte_level(&both_ends()), &Value::Null, &Value::Null);
    assert!(
        unknown
            .encode("x", BosRule::Always)
            .unwrap_err()
            .to_string()
            .contains("no beginning-of-text token is known")
    );
}

#[test]
fn the_bos_id_comes_from_either_form_of_the_tokenizer_config_then_the_config() {
    let check = |tokenizer_config: Value, config: Value, expected: Option<u32>| {
        let tokenizer = open(&byte_level(&Value::Null), &tokenizer_config, &config);
        assert_eq!(tokenizer.bos_id(), expected, "{tokenizer_config} {config}");
    };
    let (none, zero) = (Value::Null, json!({ "bos_token_id": 0 }));
    check(json!({ "bos_token": "</s>" }), zero.clone(), Some(1));
    check(
        json!({ "bos_token": { "content": "</s>" } }),
        none.clone(),
        Some(1),
    );
    check(json!({ "bos_token": null }), zero, Some(0));
    check(none.clone(), json!({ "bos_token_id": 50_256 }), None); // outside the vocabulary
    check(none.clone(), none, None);
}

#[test]
fn pieces_read_in_place_and_join_to_the_prompt() {
    let tokenizer = open(&byte_level(&Value::Null), &Value::Null, &Value::Null);
    let prompt = " the café\n\t🙂 cat";
    let ids = tokenizer.encode(prompt, BosRule::Auto).unwrap();
    let pieces = tokenizer.pieces(&ids);
    assert_eq!(pieces[0].text, " the");
    let part = pieces.iter().find(|piece| piece.bytes == [0xF0]).unwrap();
    assert_eq!(part.text, "<0xF0>");
    let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.bytes).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), prompt);

    let special = &tokenizer.pieces(&[0])[0];
    assert_eq!((special.text.as_str(), special.special), ("<s>", true));
    assert!(tokenizer.is_special(1) && !tokenizer.is_special(2));
    let unknown = &tokenizer.pieces(&[9_999])[0];
    assert_eq!(
        (unknown.text.as_str(), unknown.special, unknown.bytes.len()),
        ("#9999", false, 0)
    );
}

#[test]
fn word_pieces_read_as_words() {
    let words = ["[CLS]", "the", "cat", "##s", ",", "[MASK]"];
    let vocab: serde_json::Map<_, _> = words
        .iter()
        .enumerate()
        .map(|(id, word)| ((*word).to_owned(), id.into()))
        .collect();
    let tokenizer = open(
        &json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": [
                { "id": 0, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true },
            ],
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab },
        }),
        &Value::Null,
        &Value::Null,
    );
    assert_eq!(
        texts(&tokenizer, &[0, 1, 2, 3, 4, 2]),
        ["[CLS]", "the", " cat", "s", ",", " cat"]
    );
}

#[test]
fn an_answer_is_the_first_token_after_the_prompt() {
    let tokenizer = open(
        &byte_level(&both_ends()),
        &Value::Null,
        &json!({ "bos_token_id": 0 }),
    );
    let answer = |prompt: &str, answer: &str, bos| {
        let prompt_ids = tokenizer.encode(prompt, bos).unwrap();
        let token = tokenizer
            .answer_id(prompt, &prompt_ids, answer, bos)
            .unwrap();
        (
            texts(&tokenizer, &[token.id]).remove(0),
            token.ids.len(),
            token.alone,
        )
    };
    for bos in [BosRule::Auto, BosRule::Always, BosRule::Never] {
        assert_eq!(
            answer("x", " the", bos),
            (" the".to_owned(), 1, false),
            "{bos:?}"
        );
        assert_eq!(
            answer("x", " they", bos),
            (" the".to_owned(), 2, false),
            "{bos:?}"
        );
        // "h" and "e" become one token, so the prompt's own change.
        assert_eq!(answer("h", "ex", bos), ("e".to_owned(), 2, true), "{bos:?}");
    }
    let ids = tokenizer.encode("x", BosRule::Auto).unwrap();
    let error = tokenizer
        .answer_id("x", &ids, "", BosRule::Auto)
        .unwrap_err()
        .to_string();
    assert!(error.contains("has no tokens of its own"), "{error}");
}

#[test]
fn the_space_that_the_tokenizer_adds_is_read_back_only_inside_a_text() {
    let (_, tokenizer, _) = fixture("tiny-llama-gguf-spm/tiny-llama-spm.gguf");
    let ids = tokenizer.encode("cat cat", BosRule::Never).unwrap();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(texts(&tokenizer, &ids), ["cat", " cat"]);
    assert_eq!(
        texts(&tokenizer, &[1, ids[0], 1, ids[0]]),
        ["<s>", "cat", "<s>", "cat"]
    );
    assert_eq!(tokenizer.next_piece(ids[0]).text, " cat");
}

#[test]
fn a_sentence_piece_answer_alone_gets_no_second_space() {
    let (_, tokenizer, _) = fixture("tiny-llama-gguf-spm/tiny-llama-spm.gguf");
    let answer = |prompt: &str, ids: &[u32]| {
        tokenizer
            .answer_id(prompt, ids, " cat", BosRule::Auto)
            .unwrap()
    };
    let in_place = answer("the", &tokenizer.encode("the", BosRule::Auto).unwrap());
    // Other ids than the prompt's own, as after editing them by hand.
    let alone = answer("the", &[5, 6]);
    assert_eq!((in_place.alone, alone.alone), (false, true));
    assert_eq!(
        (in_place.id, in_place.ids.len()),
        (alone.id, alone.ids.len())
    );
}

#[test]
fn damaged_tokenizer_files_are_refused() {
    let refused = |text: &str| {
        Tokenizer::from_json_bytes(text.as_bytes(), None, None)
            .err()
            .unwrap()
            .to_string()
    };
    assert!(refused("{").contains("tokenizer.json is damaged"));
    let mut contradicting = byte_level(&Value::Null);
    contradicting["model"]["merges"] = json!(["he absent"]);
    assert!(refused(&contradicting.to_string()).contains("tokenizer.json is damaged"));
    // Two tokens longer together than any of the vocabulary: the crate's builder panics.
    contradicting["model"]["merges"] = json!(["</s> </s>"]);
    assert!(refused(&contradicting.to_string()).contains("its parts contradict each other"));
    // A special token that the post-processor does not define: the crate panics when it encodes.
    let mut undefined = both_ends();
    undefined["special_tokens"] = json!({ "<s>": { "id": "<s>", "ids": [0], "tokens": ["<s>"] } });
    let refusal = refused(&byte_level(&undefined).to_string());
    assert!(refusal.contains("tokenizer.json is damaged"), "{refusal}");
    // One special token that is a thousand.
    let mut long = both_ends();
    long["special_tokens"]["<s>"] =
        json!({ "id": "<s>", "ids": vec![0; 1000], "tokens": vec!["<s>"; 1000] });
    let refusal = refused(&byte_level(&long).to_string());
    assert!(
        refusal.contains("puts 1001 tokens around a text"),
        "{refusal}"
    );
    let good = byte_level(&Value::Null).to_string();
    let error = Tokenizer::from_json_bytes(good.as_bytes(), Some(b"nonsense"), None)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("tokenizer_config.json is damaged"),
        "{error}"
    );
}

#[test]
fn a_text_on_which_the_crate_panics_is_an_error_and_the_next_one_is_encoded() {
    // SentencePiece's table of characters, with places for the letters up to `a` only.
    let tree = [0; 4 * (b'a' as usize + 1)];
    let table = [&(tree.len() as u32).to_le_bytes()[..], &tree, b"\0"].concat();
    let table = base64::engine::general_purpose::STANDARD.encode(table);
    let mut file = byte_level(&Value::Null);
    file["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": table });
    let tokenizer = open(&file, &Value::Null, &Value::Null);
    let refused = |text: &str| {
        let error = tokenizer.encode(text, BosRule::Auto).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        refused("az"),
        "cannot tokenise \"az\": the tokenizer's parts contradict each other"
    );
    assert!(refused(&"z".repeat(10_000)).len() < 200);
    assert_eq!(tokenizer.encode("aa", BosRule::Auto).unwrap().len(), 2);
}

/// Metadata of a small GGUF tokenizer.
fn metadata(pairs: &[(&str, GgufValue)]) -> GgufMetadata {
    pairs
        .iter()
        .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value.clone()))
        .collect()
}

fn strings(texts: &[&str]) -> GgufValue {
    GgufValue::Array(GgufArray::Str(
        texts.iter().map(|&text| text.to_owned()).collect(),
    ))
}

#[track_caller]
fn check_gguf_refused(pairs: &[(&str, GgufValue)], expected: &str) {
    let error = Tokenizer::from_gguf(&metadata(pairs))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains(expected),
        "{error:?} does not say {expected:?}"
    );
}

#[test]
fn gguf_tokenizers_that_cannot_be_built_rightly_are_refused_by_name() {
    let text = |text: &str| GgufValue::Str(text.to_owned());
    let tokens = || ("tokens", strings(&["a", "b", "ab"]));
    let model = |name: &str| ("model", text(name));
    let merges = |merge: &str| ("merges", strings(&[merge]));
    check_gguf_refused(&[tokens()], "\"tokenizer.ggml.model\" is missing");
    check_gguf_refused(&[model("gpt2")], "\"tokenizer.ggml.tokens\" is missing");
    check_gguf_refused(
        &[model("t5"), tokens()],
        "of type \"t5\", which is not read",
    );
    check_gguf_refused(
        &[model("gpt2"), tokens(), ("pre", text("tekken"))],
        "by the rule \"tekken\", which is not known",
    );
    check_gguf_refused(
        &[model("gpt2"), tokens()],
        "\"tokenizer.ggml.merges\" is missing",
    );
    check_gguf_refused(
        &[model("gpt2"), tokens(), merges("ab")],
        "\"ab\" has not two sides",
    );
    check_gguf_refused(
        &[model("gpt2"), tokens(), merges("a ab")],
        "needs the token \"aab\"",
    );
    check_gguf_refused(
        &[model("gpt2"), ("tokens", strings(&["a", "a"]))],
        "tokens 0 and 1 are both \"a\"",
    );
    check_gguf_refused(
        &[model("llama"), tokens()],
        "\"tokenizer.ggml.scores\" is missing",
    );
    let short = GgufValue::Array(GgufArray::Float(vec![0.0]));
    check_gguf_refused(
        &[model("llama"), tokens(), ("scores", short)],
        "1 scores for 3 tokens",
    );
    let types = GgufValue::Array(GgufArray::Signed(vec![1]));
    check_gguf_refused(
        &[model("llama"), tokens(), ("token_type", types)],
        "1 token types for 3 tokens",
    );
}

/// The ids of `text` under the splitting rule `pre`, over all bytes and merges that every rule but one forbids.
fn split_by(pre: &str, text: &str) -> Vec<String> {
    let bytes: Vec<String> = (0u8..=255)
        .map(|byte| pieces::tests::char_of(byte).to_string())
        .collect();
    let mut tokens: Vec<&str> = bytes.iter().map(String::as_str).collect();
    tokens.extend(["12", "123", "1234", "!Ċ", "S'", "'S", "Ġ!"]);
    let merges = strings(&["1 2", "12 3", "123 4", "! Ċ", "S '", "' S", "Ġ !"]);
    let tokenizer = Tokenizer::from_gguf(&metadata(&[
        ("model", GgufValue::Str("gpt2".to_owned())),
        ("pre", GgufValue::Str(pre.to_owned())),
        ("tokens", strings(&tokens)),
        ("merges", merges),
    ]))
    .unwrap();
    texts(&tokenizer, &tokenizer.encode(text, BosRule::Auto).unwrap())
}

#[test]
fn each_splitting_rule_splits_its_own_way() {
    assert_eq!(split_by("gpt-2", "1234"), ["1234"]);
    assert_eq!(split_by("smollm", "1234"), ["1", "2", "3", "4"]);
    assert_eq!(split_by("llama-bpe", "1234"), ["123", "4"]);
    assert_eq!(split_by("qwen2", "1234"), ["1", "2", "3", "4"]);
    assert_eq!(split_by("gpt-2", "!\n"), ["!", "\n"]);
    assert_eq!(split_by("llama-bpe", "!\n"), ["!\n"]);
    assert_eq!(split_by("gpt-2", "A'S"), ["A", "'", "S"]);
    assert_eq!(split_by("qwen2", "A'S"), ["A", "'S"]);
    // NFC: e and a combining acute accent are one character of two bytes.
    assert_eq!(split_by("gpt-2", "e\u{301}").len(), 3);
    assert_eq!(split_by("olmo", "e\u{301}").len(), 2);
}
