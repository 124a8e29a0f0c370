//! The reader and the tokenizers on real models, where `HEADSCOPE_TEST_MODELS` names a folder with them.
//!
//! The unit tests beside the code do not need them; these show that files of the wild are read as their makers meant.

use std::path::PathBuf;

use headscope::model::checkpoint::{Checkpoint, Form, StoredType};
use headscope::model::fingerprint::fingerprint;
use headscope::model::tokenizer::{BosRule, Tokenizer};

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
    assert_eq!((answer.id, answer.n_tokens, answer.alone), (5099, 1, false));
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
