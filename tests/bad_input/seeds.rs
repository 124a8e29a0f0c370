//! Small sound files of every kind: what is damaged.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Value, json};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(path)
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(fixture(path)).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A safetensors file with that header.
pub(crate) fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

pub(crate) fn safetensors() -> Vec<Vec<u8>> {
    let data: Vec<u8> = (0..48).collect();
    let view =
        |dtype, shape, n| safetensors::tensor::TensorView::new(dtype, shape, &data[..n]).unwrap();
    let written = [
        ("wte.weight", view(safetensors::Dtype::F32, vec![3, 4], 48)),
        ("h.0.bias", view(safetensors::Dtype::BF16, vec![8], 16)),
        ("mask", view(safetensors::Dtype::BOOL, vec![2, 2], 4)),
    ];
    let by_hand = r#"{"__metadata__":{"format":"pt"},"scalar":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"none":{"dtype":"F16","shape":[0,7],"data_offsets":[8,8]},"w":{"dtype":"F8_E4M3","shape":[2,3],"data_offsets":[8,14]}}   "#;
    vec![
        safetensors::serialize(written, None).unwrap(),
        with_header(by_hand.as_bytes(), &data[..14]),
    ]
}

/// Writes a GGUF: keys, then tensors, then aligned data.
pub(crate) struct Gguf {
    pairs: Vec<u8>,
    n_pairs: u64,
    tensors: Vec<u8>,
    n_tensors: u64,
    data: Vec<u8>,
}

impl Gguf {
    pub(crate) fn new() -> Self {
        Self {
            pairs: Vec::new(),
            n_pairs: 0,
            tensors: Vec::new(),
            n_tensors: 0,
            data: Vec::new(),
        }
    }

    fn key(mut self, key: &str, kind: u32) -> Self {
        self.n_pairs += 1;
        self.pairs.extend(string(key));
        self.pairs.extend(kind.to_le_bytes());
        self
    }

    pub(crate) fn u32(mut self, key: &str, value: u32) -> Self {
        self = self.key(key, 4);
        self.pairs.extend(value.to_le_bytes());
        self
    }

    fn f32(mut self, key: &str, value: f32) -> Self {
        self = self.key(key, 6);
        self.pairs.extend(value.to_le_bytes());
        self
    }

    fn bool(mut self, key: &str, value: bool) -> Self {
        self = self.key(key, 7);
        self.pairs.push(value.into());
        self
    }

    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self = self.key(key, 8);
        self.pairs.extend(string(value));
        self
    }

    /// An array of `n` elements of a type, given as bytes.
    pub(crate) fn array(mut self, key: &str, kind: u32, n: usize, elements: &[u8]) -> Self {
        self = self.key(key, 9);
        self.pairs.extend(kind.to_le_bytes());
        self.pairs.extend((n as u64).to_le_bytes());
        self.pairs.extend_from_slice(elements);
        self
    }

    pub(crate) fn texts(self, key: &str, texts: &[&str]) -> Self {
        let elements: Vec<u8> = texts.iter().flat_map(|text| string(text)).collect();
        self.array(key, 8, texts.len(), &elements)
    }

    /// Dimensions as GGML lists them, the fastest first.
    pub(crate) fn tensor(mut self, name: &str, dims: &[u64], kind: u32, data: &[u8]) -> Self {
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.n_tensors += 1;
        self.tensors.extend(string(name));
        self.tensors.extend((dims.len() as u32).to_le_bytes());
        self.tensors
            .extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend_from_slice(data);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(self.n_tensors.to_le_bytes());
        file.extend(self.n_pairs.to_le_bytes());
        file.extend(self.pairs);
        file.extend(self.tensors);
        if !self.data.is_empty() {
            file.resize(file.len().next_multiple_of(32), 0);
            file.extend(self.data);
        }
        file
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

pub(crate) fn gguf() -> Vec<Vec<u8>> {
    let llama = Gguf::new()
        .text("general.architecture", "llama")
        .u32("general.alignment", 32)
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 16)
        .u32("llama.embedding_length", 32)
        .u32("llama.feed_forward_length", 32)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 1)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .f32("llama.rope.freq_base", 10_000.0)
        .tensor("token_embd.weight", &[32, 2], 8, &[1; 68])
        .tensor("output_norm.weight", &[32], 0, &[0; 128])
        .tensor("blk.0.attn_q.weight", &[32, 1], 3, &[2; 20])
        .tensor("rope_freqs.weight", &[8], 0, &[0; 32])
        .finish();
    let values = Gguf::new()
        .text("general.architecture", "gpt2")
        .bool("yes", true)
        .array("u8", 0, 3, &[1, 2, 3])
        .array("i16", 3, 2, &[1, 2, 3, 4])
        .array("bool", 7, 2, &[0, 1])
        .array("f64", 12, 1, &1f64.to_le_bytes())
        .texts("texts", &["a", "", "é"])
        .tensor("a", &[256], 14, &[3; 210])
        .tensor("b", &[1, 1, 1, 2], 30, &[0; 4])
        .finish();
    vec![llama, values]
}

pub(crate) fn index() -> Vec<Vec<u8>> {
    let long = read("models/tiny-llama-sharded/model.safetensors.index.json");
    let short =
        br#"{"metadata":{"total_size":8},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#;
    vec![long, short.to_vec()]
}

pub(crate) fn config() -> Vec<Vec<u8>> {
    let mut configs: Vec<_> = [
        "tiny-gpt2",
        "tiny-llama",
        "tiny-llama-sharded",
        "tiny-llama-tied",
    ]
    .map(|model| read(&format!("models/{model}/config.json")))
    .into();
    configs.push(bytes(&json!({
        "model_type": "llama", "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
        "num_hidden_layers": 2, "intermediate_size": 8, "vocab_size": 9, "max_position_embeddings": 32,
        "rope_scaling": { "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192 },
    })));
    configs
}

pub(crate) fn special(id: u32, content: &str) -> Value {
    json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true })
}

fn around(first: (&str, u32), last: (&str, u32)) -> Value {
    let token = |(text, id): (&str, u32)| json!({ "id": text, "ids": [id], "tokens": [text] });
    let piece = |(text, _): (&str, u32)| json!({ "SpecialToken": { "id": text, "type_id": 0 } });
    json!({
        "type": "TemplateProcessing",
        "single": [piece(first), { "Sequence": { "id": "A", "type_id": 0 } }, piece(last)],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { first.0: token(first), last.0: token(last) },
    })
}

fn vocabulary(tokens: &[&str]) -> Value {
    let ids = tokens.iter().enumerate();
    ids.map(|(id, token)| ((*token).to_owned(), json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A byte-level tokenizer with those tokens, some of which are special, and no merges.
pub(crate) fn byte_level(tokens: &[&str], specials: &[&str]) -> Value {
    let step = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let added: Vec<Value> = (0..)
        .zip(specials)
        .map(|(id, text)| special(id, text))
        .collect();
    json!({
        "version": "1.0", "added_tokens": added, "pre_tokenizer": step, "decoder": step,
        "model": { "type": "BPE", "vocab": vocabulary(tokens), "merges": [] },
    })
}

/// SentencePiece's table of characters, in which `a` is replaced by `b`.
fn charsmap() -> String {
    let mut tree = [0u32; 257];
    tree[0x61] = 0x61 | 1 << 8 | (0x61 ^ 0x100) << 10;
    let tree: Vec<u8> = tree.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let table = [&(tree.len() as u32).to_le_bytes()[..], &tree, b"b\0"].concat();
    base64::engine::general_purpose::STANDARD.encode(table)
}

/// One of each model, with the steps around it that real files have.
pub(crate) fn tokenizer_json() -> Vec<Vec<u8>> {
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let gpt2 = json!({
        "version": "1.0",
        "truncation": { "max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
        "padding": { "strategy": { "Fixed": 9 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>" },
        "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": around(("<s>", 0), ("</s>", 1)), "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": 0.1, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary(&["<s>", "</s>", "a", "b", "c", "t", "h", "e", "Ġ", "Ã", "©", "he", "Ġt", "Ġthe", "ca"]),
            "merges": ["h e", "Ġ t", "Ġt he", "c a"],
        },
    });
    let llama = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>")],
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, { "type": "Replace", "pattern": { "String": " " }, "content": "▁" }] },
        "pre_tokenizer": null, "post_processor": around(("<s>", 1), ("<s>", 1)),
        "decoder": { "type": "Sequence", "decoders": [{ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }, { "type": "ByteFallback" }, { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 }] },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>",
            "fuse_unk": true, "byte_fallback": true,
            "vocab": vocabulary(&["<unk>", "<s>", "<0xC3>", "<0xA9>", "▁", "a", "##b", "▁a", "ab", "##c</w>"]),
            "merges": [["a", "##b"]],
        },
    });
    let xlm = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Precompiled", "precompiled_charsmap": charsmap() }, { "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " }, { "type": "NFKC" }] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true }] },
        "post_processor": around(("<s>", 0), ("</s>", 1)),
        "decoder": { "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true },
        "model": { "type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab": [["<s>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -2.5], ["b", -3.0], ["▁b", -3.5], ["c", -9.25]] },
    });
    let bert = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special(0, "[CLS]"), special(1, "[SEP]")],
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0] },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary(&["[CLS]", "[SEP]", "[UNK]", "the", "cat", "##b", "a"]) },
    });
    let words = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{ "id": 3, "content": "cat", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true, "special": false }],
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Strip", "strip_left": true, "strip_right": true }, { "type": "Lowercase" }, { "type": "NFD" }, { "type": "StripAccents" }] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [{ "type": "Split", "pattern": { "Regex": "(?i:'s)|\\p{N}{1,3}|\\s+(?!\\S)|\\S+" }, "behavior": "Isolated", "invert": false }, { "type": "Digits", "individual_digits": true }, { "type": "Punctuation", "behavior": "Isolated" }, { "type": "FixedLength", "length": 5 }] },
        "post_processor": { "type": "RobertaProcessing", "sep": ["b", 1], "cls": ["a", 0], "trim_offsets": true, "add_prefix_space": false },
        "decoder": null,
        "model": { "type": "WordLevel", "unk_token": "a", "vocab": vocabulary(&["a", "b", "the"]) },
    });
    [gpt2, llama, xlm, bert, words].iter().map(bytes).collect()
}

/// One of each class, as [`super::parsers::tokenizer_parts`] takes them.
pub(crate) fn tokenizer_parts() -> Vec<Vec<u8>> {
    let merged = vocabulary(&[
        "<s>",
        "</s>",
        "<unk>",
        "<pad>",
        "<mask>",
        "<|endoftext|>",
        "a",
        "t",
        "h",
        "e",
        "Ġ",
        "he",
        "Ġt",
        "Ġthe",
    ]);
    let of_class = |class: &str| {
        let config = json!({
            "tokenizer_class": class, "add_prefix_space": false, "unk_token": { "content": "<unk>", "lstrip": true },
            "added_tokens_decoder": { "3": { "content": "<pad>", "special": true } }, "additional_special_tokens": ["<mask>"],
        });
        format!(
            "\u{c}vocab.json\n{merged}\u{c}merges.txt\n#version: 0.2\nh e\nĠ t\nĠt he\n\u{c}tokenizer_config.json\n{config}\
             \u{c}added_tokens.json\n{{\"new\":14}}"
        )
    };
    let words = "\u{c}vocab.txt\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n##b\na\n\u{c}tokenizer_config.json\n{\"tokenizer_class\":\"BertTokenizer\",\"do_lower_case\":false}\u{c}special_tokens_map.json\n{\"mask_token\":\"[MASK]\"}";
    ["GPT2Tokenizer", "RobertaTokenizer", "Qwen2TokenizerFast"]
        .map(of_class)
        .into_iter()
        .chain([words.to_owned()])
        .map(String::into_bytes)
        .collect()
}

pub(crate) fn gguf_tokenizer() -> Vec<Vec<u8>> {
    let gpt2 = Gguf::new()
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "llama-bpe")
        .texts(
            "tokenizer.ggml.tokens",
            &["<s>", "a", "b", "Ġ", "Ġa", "ab", ""],
        )
        .texts("tokenizer.ggml.merges", &["Ġ a", "a b"])
        .array(
            "tokenizer.ggml.token_type",
            5,
            7,
            &i32s(&[3, 1, 1, 1, 1, 4, 5]),
        )
        .u32("tokenizer.ggml.bos_token_id", 0)
        .bool("tokenizer.ggml.add_bos_token", true)
        .finish();
    let scores: Vec<u8> = [0.0f32, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0]
        .iter()
        .flat_map(|score| score.to_le_bytes())
        .collect();
    let llama = Gguf::new()
        .text("tokenizer.ggml.model", "llama")
        .texts(
            "tokenizer.ggml.tokens",
            &["<unk>", "<s>", "<0xC3>", "▁", "a", "▁a", "b"],
        )
        .array("tokenizer.ggml.scores", 6, 7, &scores)
        .array(
            "tokenizer.ggml.token_type",
            5,
            7,
            &i32s(&[2, 3, 6, 1, 1, 1, 1]),
        )
        .u32("tokenizer.ggml.unknown_token_id", 0)
        .bool("tokenizer.ggml.add_space_prefix", true)
        .finish();
    vec![gpt2, llama]
}

fn i32s(values: &[i32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

pub(crate) fn session() -> Vec<Vec<u8>> {
    let short = r#"{"version":1,"model":{"source":"demo"},"prompt":{"text":"A B"},"edits":[{"edit":"9.6=zero"}]}"#;
    vec![
        read("sessions/v1.headscope.json"),
        short.as_bytes().to_vec(),
    ]
}

pub(crate) fn reference() -> Vec<Vec<u8>> {
    let short = r#"{"schema_version":1,"source":"a test","cases":[{"ids":[1,2],"edits":["L0H0=zero"],"values":[{"site":"logit_diff","index":[0,1,3,4],"value":0.5,"tolerance":1e-3},{"site":"blocks.0.attn.hook_z","index":[0,1,0,2],"value":-1,"tolerance":0}]}]}"#;
    vec![short.as_bytes().to_vec()]
}

pub(crate) const EDITS: [&str; 10] = [
    "L9H6=scale(-0.1)@last",
    "L9H6=zero_keep_bias",
    "L9H6=resample@0,3",
    "L9H6=add(a,b@c:d.safetensors:dir, -2)@1",
    "L9KV1=scale(2)",
    "L9H6[12->3]=knockout",
    "L9=uniform",
    "M5=mean",
    "R7=add(v.safetensors:x, 1)@last",
    "(9, 6) = zero @ 1, 2",
];

/// What the grammar of edits is made of, and what it has to count with.
pub(crate) const EDIT_WORDS: [&str; 34] = [
    "L",
    "H",
    "KV",
    "M",
    "R",
    "9",
    "0",
    "18446744073709551616",
    "[",
    "]",
    "->",
    "=",
    "@",
    "(",
    ")",
    ",",
    ":",
    ".",
    "-",
    " ",
    "\u{a0}",
    "é🙂",
    "zero",
    "mean",
    "resample",
    "scale(",
    "add(",
    "uniform",
    "knockout",
    "last",
    "1e999",
    "nan",
    "inf",
    "\0",
];
