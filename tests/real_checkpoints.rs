//! The reader and the tokenizers on real models, where `HEADSCOPE_TEST_MODELS` names a folder with them.
//!
//! The unit tests beside the code do not need them; these show that files of the wild are read as their makers meant.
#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headscope::model::checkpoint::{Checkpoint, Form, StoredType};
use headscope::model::fingerprint::fingerprint;
use headscope::model::tokenizer::{BosRule, Tokenizer};
use serde_json::json;

/// The folder of a model, or `None` (said aloud) where there is none.
#[expect(
    clippy::print_stdout,
    reason = "a skipped test must not look like a passed one"
)]
fn model(name: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("HEADSCOPE_TEST_MODELS").map(|models| PathBuf::from(models).join(name));
    if !folder.as_ref().is_some_and(|folder| folder.is_dir()) {
        println!("skipped: set HEADSCOPE_TEST_MODELS to a folder that holds {name}");
        return None;
    }
    folder
}

const TEXTS: [&str; 24] = [
    "",
    " ",
    "Hello",
    " Mary",
    "When Mary and John went to the store, John gave a drink to",
    "The capital of France is",
    "  two leading, two trailing  ",
    "tabs\tand\n\nnewlines\r\n  end\n",
    "1234567890 3.14159 ½ ² ٣ Ⅷ",
    "it's they'll we've I'm you'd he'S",
    "naïve café e\u{301}te\u{301} Ångström",
    "日本語のテキスト。中文字符",
    "Привет, мир! Γειά σου κόσμε",
    "مرحبا بالعالم שלום",
    "🙂 👩‍👩‍👧‍👦 🇫🇷 🤷🏽‍♀️",
    "fn main() { println!(\"{:?}\", x << 2 | y); }",
    "a_b-c.d/e\\f@g#h$i%j^k&l*m(n)o+p=q[r]s{t}u;v:w,x<y>z?",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "<|im_start|>user\nhi<|im_end|>\n",
    "text<|endoftext|>more",
    "\u{0}\u{1}\u{7f}\u{85}\u{a0}\u{ad}\u{200b}\u{feff}",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ ﷺ",
    "mixedCASE ALLCAPS camelCaseWord snake_case_word",
    "…—–‘’“”„‚ • ™ © ®",
];

#[test]
fn smollm2s_gguf_gives_the_same_ids_as_its_tokenizer_json() {
    let Some(folder) = model("smollm2-135m-instruct-q4_1") else {
        return;
    };
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let gguf = Tokenizer::from_gguf(checkpoint.gguf_metadata().unwrap()).unwrap();
    let json = Tokenizer::from_file(&folder.join("tokenizer.json"), None).unwrap();
    assert_eq!(gguf.vocab_size(), json.vocab_size());
    assert_eq!(gguf.bos_id(), Some(1));
    for text in TEXTS {
        let ids = gguf.encode(text, BosRule::Auto).unwrap();
        assert_eq!(ids, json.encode(text, BosRule::Auto).unwrap(), "{text:?}");
        assert_eq!(gguf.pieces(&ids), json.pieces(&ids), "{text:?}");
        let bytes: Vec<u8> = gguf
            .pieces(&ids)
            .into_iter()
            .flat_map(|piece| piece.bytes)
            .collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }
    let prompt = TEXTS[4];
    let ids = gguf.encode(prompt, BosRule::Auto).unwrap();
    assert_eq!((ids[0], ids.len()), (2427, 14));
    let answer = gguf
        .answer_id(prompt, &ids, " Mary", BosRule::Auto)
        .unwrap();
    assert_eq!(
        (answer.id, answer.ids.len(), answer.alone),
        (5099, 1, false)
    );
    assert_eq!(gguf.pieces(&[5099])[0].text, " Mary");
}

#[test]
fn smollm2s_tensors_are_all_read() {
    let Some(folder) = model("smollm2-135m-instruct-q4_1") else {
        return;
    };
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(
        (checkpoint.form(), checkpoint.dominant_type()),
        (Form::Gguf, Some(StoredType::Q4_1))
    );
    assert_eq!(
        checkpoint.info("blk.0.ffn_gate.weight").unwrap().shape,
        [1536, 576]
    );
    let mut n_elements = 0;
    for name in checkpoint.names() {
        let values = checkpoint.read_f32(name).unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{name}");
        n_elements += values.len();
    }
    assert_eq!(n_elements, 134_515_008);
    assert_eq!(
        fingerprint(&checkpoint),
        fingerprint(&Checkpoint::open(&folder).unwrap())
    );
}

#[test]
fn gpt2s_tokenizer_gives_the_published_ids() {
    let Some(folder) = model("gpt2-tokenizer") else {
        return;
    };
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"), None).unwrap();
    let prompt = TEXTS[4];
    let ids = tokenizer.encode(prompt, BosRule::Auto).unwrap();
    assert_eq!(
        ids,
        [
            2215, 5335, 290, 1757, 1816, 284, 262, 3650, 11, 1757, 2921, 257, 4144, 284
        ]
    );
    let texts: Vec<String> = tokenizer
        .pieces(&ids)
        .into_iter()
        .map(|piece| piece.text)
        .collect();
    assert_eq!(texts.concat(), prompt);
    assert_eq!(texts[1], " Mary");
    let answer = tokenizer
        .answer_id(prompt, &ids, " Mary", BosRule::Auto)
        .unwrap();
    assert_eq!(answer.id, 5335);
}

/// Checks that a folder without tokenizer.json gives the ids of `expected` on all texts.
fn check_parts(folder: &Path, config: &serde_json::Value, expected: impl Fn(&str) -> Vec<u32>) {
    let parts = Tokenizer::from_folder(folder, Some(config))
        .unwrap()
        .unwrap();
    for text in TEXTS {
        let ids = parts.encode(text, BosRule::Auto).unwrap();
        assert_eq!(ids, expected(text), "{text:?}");
    }
}

#[test]
fn gpt2s_vocabulary_and_merges_give_the_same_ids_as_its_tokenizer_json() {
    let Some(folder) = model("gpt2-tokenizer") else {
        return;
    };
    let json = Tokenizer::from_file(&folder.join("tokenizer.json"), None).unwrap();
    let plain = |text: &str| json.encode(text, BosRule::Auto).unwrap();
    check_parts(&folder, &json!({ "model_type": "gpt2" }), plain);

    // RoBERTa and OPT have the same merges, with their special tokens before the words.
    let moved = tempfile::tempdir().unwrap();
    let vocab = std::fs::read(folder.join("vocab.json")).unwrap();
    let vocab: BTreeMap<String, u32> = serde_json::from_slice(&vocab).unwrap();
    let specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
    let n = specials.len() as u32;
    let moved_vocab: BTreeMap<_, _> = (0..)
        .zip(specials)
        .map(|(id, token)| (token.to_owned(), id))
        .chain(vocab.into_iter().map(|(token, id)| (token, id + n)))
        .collect();
    let write = |name: &str, text: &[u8]| std::fs::write(moved.path().join(name), text).unwrap();
    write("vocab.json", &serde_json::to_vec(&moved_vocab).unwrap());
    write(
        "merges.txt",
        &std::fs::read(folder.join("merges.txt")).unwrap(),
    );
    // GPT-2's own special token is no token of theirs: the one text with it is split otherwise.
    let end = "<|endoftext|>";
    let words = |text: &str| -> Vec<u32> {
        let plain = |text: &str| json.encode(text, BosRule::Auto).unwrap();
        let ids = match text.split_once(end) {
            None => plain(text),
            Some((before, after)) => {
                let as_text = plain("<|")
                    .into_iter()
                    .chain(plain("endoftext"))
                    .chain(plain("|>"));
                [plain(before), as_text.collect(), plain(after)].concat()
            }
        };
        ids.into_iter().map(|id| id + n).collect()
    };
    let roberta = |text: &str| [&[0], &words(text)[..], &[2]].concat();
    check_parts(moved.path(), &json!({ "model_type": "roberta" }), roberta);
    write(
        "tokenizer_config.json",
        br#"{"tokenizer_class":"GPT2Tokenizer","add_bos_token":true,"bos_token":"</s>","eos_token":"</s>","unk_token":"</s>"}"#,
    );
    let opt = |text: &str| [&[2], &words(text)[..]].concat();
    check_parts(moved.path(), &json!({ "model_type": "opt" }), opt);
}

#[test]
fn minilms_words_give_the_same_ids_as_its_tokenizer_json() {
    let Some(folder) = model("all-minilm-l6-v2-fp16") else {
        return;
    };
    let file = std::fs::read(folder.join("tokenizer.json")).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let words = file["model"]["vocab"].as_object().unwrap();
    let mut lines = vec![""; words.len()];
    for (word, id) in words {
        lines[id.as_u64().unwrap() as usize] = word;
    }
    let parts = tempfile::tempdir().unwrap();
    std::fs::write(parts.path().join("vocab.txt"), lines.join("\n") + "\n").unwrap();
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        std::fs::write(
            parts.path().join(name),
            std::fs::read(folder.join(name)).unwrap(),
        )
        .unwrap();
    }
    let json = Tokenizer::from_file(&folder.join("tokenizer.json"), None).unwrap();
    let expected = |text: &str| json.encode(text, BosRule::Auto).unwrap();
    check_parts(parts.path(), &json!({ "model_type": "bert" }), expected);
    // Its config gone, the class's rules are the same.
    std::fs::remove_file(parts.path().join("tokenizer_config.json")).unwrap();
    check_parts(parts.path(), &json!({ "model_type": "bert" }), expected);
}

#[test]
fn stories260k_starts_with_its_beginning_of_text_and_reads_back() {
    let Some(folder) = model("stories260k") else {
        return;
    };
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(
        (checkpoint.form(), checkpoint.dominant_type()),
        (Form::HuggingFace, Some(StoredType::F32))
    );
    let tokenizer =
        Tokenizer::from_file(&folder.join("tokenizer.json"), checkpoint.config()).unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.vocab_size()), (Some(1), 512));
    for text in TEXTS {
        let ids = tokenizer.encode(text, BosRule::Auto).unwrap();
        assert_eq!(tokenizer.bos_count(&ids), 1);
        assert_eq!(ids, tokenizer.encode(text, BosRule::Always).unwrap());
        let bytes: Vec<u8> = tokenizer
            .pieces(&ids[1..])
            .into_iter()
            .flat_map(|piece| piece.bytes)
            .collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }
}

#[test]
fn minilm_reads_as_an_encoder() {
    let Some(folder) = model("all-minilm-l6-v2-fp16") else {
        return;
    };
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(checkpoint.dominant_type(), Some(StoredType::F16));
    let tokenizer =
        Tokenizer::from_file(&folder.join("tokenizer.json"), checkpoint.config()).unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.vocab_size()), (None, 30_522));
    let ids = tokenizer
        .encode("The embeddings of Paris, France.", BosRule::Auto)
        .unwrap();
    let texts: Vec<String> = tokenizer
        .pieces(&ids)
        .into_iter()
        .map(|piece| piece.text)
        .collect();
    assert_eq!(texts.concat(), "[CLS]the embeddings of paris, france.[SEP]");
    let answer = tokenizer.answer_id(
        "Paris is in",
        &tokenizer.encode("Paris is in", BosRule::Auto).unwrap(),
        " France",
        BosRule::Auto,
    );
    assert_eq!(tokenizer.pieces(&[answer.unwrap().id])[0].text, "france");
}
