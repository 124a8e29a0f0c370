//! Every parser on thousands of damaged files, on every beginning of a sound one, and on the files that take the most
//! memory for their bytes. `fuzz` looks further with the same functions.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use super::allocation::peak_of;
use super::mutate::Mutator;
use super::parsers::{self, Parsed};
use super::seeds::{self, EDIT_WORDS, EDITS, Gguf, with_header};

const MUTANTS: usize = 12_000;
/// None of these files is large: more means that the time does not grow with the size.
const PATIENCE: Duration = Duration::from_secs(10);

/// The crate keeps a little for each tokenizer that a thread ever used, in one table that grows with their number.
const TOKENIZER_CACHES: usize = 2 << 20;

/// A parser, and the memory that it may take: so many bytes for each byte of the file, and so many besides.
struct Parser {
    parse: fn(&[u8]) -> Parsed,
    per_byte: usize,
    besides: usize,
}

impl Parser {
    /// What the parser says of `input`, within its time and memory.
    #[track_caller]
    fn run(&self, input: &[u8]) -> Parsed {
        // As the program does: a panic that is caught prints nothing, and makes no trace to be counted here.
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| {
            headscope::panics::log_uncaught();
            // What is not caught is still to be seen.
            let _ = tracing_subscriber::fmt()
                .with_writer(std::io::stderr)
                .try_init();
        });
        let started = Instant::now();
        let (result, peak) = peak_of(|| catch_unwind(AssertUnwindSafe(|| (self.parse)(input))));
        let shown = || String::from_utf8_lossy(&input[..input.len().min(4096)]).into_owned();
        let result = result.unwrap_or_else(|panic| {
            eprintln!("the input was {:?}", shown());
            resume_unwind(panic)
        });
        let allowed = self.per_byte * input.len() + self.besides;
        assert!(
            peak <= allowed,
            "{peak} bytes were held for an input of {}, {allowed} are allowed: {:?}",
            input.len(),
            shown()
        );
        assert!(
            started.elapsed() < PATIENCE,
            "it took {:?}: {:?}",
            started.elapsed(),
            shown()
        );
        result
    }

    /// Every mutant is taken or refused; some of each, so the mutations bite and leave something to take.
    #[track_caller]
    fn take_mutants(&self, seeds: &[Vec<u8>], mutant: impl Fn(&mut Mutator, &[u8]) -> Vec<u8>) {
        let mut mutator = Mutator::new(0x5EED);
        let mut n_taken = 0;
        for seed in seeds {
            assert_eq!(
                self.run(seed),
                Ok(()),
                "the seed itself: {}",
                String::from_utf8_lossy(seed)
            );
        }
        for i in 0..MUTANTS {
            let input = mutant(&mut mutator, &seeds[i % seeds.len()]);
            n_taken += usize::from(self.run(&input).is_ok());
        }
        assert!(
            (MUTANTS / 50..MUTANTS * 9 / 10).contains(&n_taken),
            "{n_taken} of {MUTANTS} mutants were taken"
        );
    }

    /// No beginning of a seed is taken for the whole.
    #[track_caller]
    fn refuse_beginnings(&self, seeds: &[Vec<u8>]) {
        for seed in seeds {
            let whole = seed.trim_ascii_end().len();
            for n in 0..whole {
                assert!(
                    self.run(&seed[..n]).is_err(),
                    "{n} of {whole} bytes are taken"
                );
            }
        }
    }
}

/// A piece of JSON again and again, with commas between, about a megabyte of it.
fn many(piece: &str) -> String {
    vec![piece; (1 << 20) / (piece.len() + 1)].join(",")
}

/// The same with a number in it that grows.
fn many_numbered(before: &str, after: &str) -> String {
    let pieces: Vec<_> = (0..(1 << 20) / (before.len() + after.len() + 6))
        .map(|i| format!("{before}{i}{after}"))
        .collect();
    pieces.join(",")
}

const SAFETENSORS: Parser = Parser {
    parse: parsers::safetensors,
    per_byte: 8,
    besides: 8 << 10,
};

#[test]
fn damaged_safetensors_are_taken_or_refused() {
    let seeds = seeds::safetensors();
    SAFETENSORS.refuse_beginnings(&seeds);
    SAFETENSORS.take_mutants(&seeds, |mutator, seed| {
        if mutator.below(3) == 0 {
            return mutator.bytes(seed);
        }
        // Of the header only, whose length stays right.
        let header_end = 8 + u64::from_le_bytes(*seed.first_chunk().unwrap()) as usize;
        let header = mutator.json(&seed[8..header_end]);
        with_header(&header, &seed[header_end..])
    });
}

#[test]
fn safetensors_that_are_all_header_take_memory_of_their_size() {
    let tensor = r#"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    for (header, is_taken) in [
        (format!("{{{}}}", many_numbered("\"", tensor)), true),
        (
            format!(
                r#"{{"w":{{"dtype":"U8","shape":[{}],"data_offsets":[0,0]}}}}"#,
                many("0")
            ),
            true,
        ),
        (format!(r#"{{"__metadata__":[{}]}}"#, many("[]")), true),
        (format!("{{\"{}\":0}}", "x".repeat(1 << 20)), false),
        ("[".repeat(1 << 20), false),
    ] {
        let file = with_header(header.as_bytes(), b"");
        assert_eq!(SAFETENSORS.run(&file).is_ok(), is_taken);
    }
}

const GGUF: Parser = Parser {
    parse: parsers::gguf,
    per_byte: 10,
    besides: 8 << 10,
};

#[test]
fn damaged_ggufs_are_taken_or_refused() {
    let seeds = seeds::gguf();
    GGUF.refuse_beginnings(&seeds);
    GGUF.take_mutants(&seeds, Mutator::bytes);
}

#[test]
fn ggufs_that_are_all_arrays_take_memory_of_their_size() {
    let zeros = vec![0; 1 << 20];
    for (kind, bytes_each) in [(0, 1), (1, 1), (2, 2), (6, 4), (7, 1), (8, 8), (12, 8)] {
        let file = Gguf::new().array("a", kind, zeros.len() / bytes_each, &zeros);
        assert_eq!(GGUF.run(&file.finish()), Ok(()), "{kind}");
    }
    let keys = (0..50_000).fold(Gguf::new(), |file, i| file.u32(&i.to_string(), i));
    assert_eq!(GGUF.run(&keys.finish()), Ok(()));
    let tensors = (0..30_000).fold(Gguf::new(), |file, i| {
        file.tensor(&i.to_string(), &[], 0, &[0; 4])
    });
    assert_eq!(GGUF.run(&tensors.finish()), Ok(()));
}

const INDEX: Parser = Parser {
    parse: parsers::index,
    per_byte: 56,
    besides: 64 << 10,
};

#[test]
fn damaged_indexes_are_taken_or_refused() {
    let seeds = seeds::index();
    INDEX.refuse_beginnings(&seeds);
    INDEX.take_mutants(&seeds, Mutator::json);
    let file = format!(
        r#"{{"weight_map":{{{}}}}}"#,
        many_numbered("\"", "\":\"a\"")
    );
    assert!(INDEX.run(file.as_bytes()).is_ok());
    assert!(INDEX.run(format!("[{}]", many("0")).as_bytes()).is_err());
}

const CONFIG: Parser = Parser {
    parse: parsers::config,
    per_byte: 56,
    besides: 64 << 10,
};

#[test]
fn damaged_configs_are_taken_or_refused() {
    let seeds = seeds::config();
    CONFIG.refuse_beginnings(&seeds);
    CONFIG.take_mutants(&seeds, Mutator::json);
    for list in [many("0"), many("[]"), many("{}"), many("\"\"")] {
        assert!(CONFIG.run(format!("[{list}]").as_bytes()).is_err());
    }
    assert!(
        CONFIG
            .run(format!("{{{}}}", many_numbered("\"", "\":0")).as_bytes())
            .is_err()
    );
}

/// The crate's tree of a Unigram vocabulary has a hash map for every byte; the other models take a quarter.
const TOKENIZER_JSON: Parser = Parser {
    parse: parsers::tokenizer_json,
    per_byte: 300,
    besides: TOKENIZER_CACHES,
};

#[test]
fn damaged_tokenizer_files_are_taken_or_refused() {
    let seeds = seeds::tokenizer_json();
    TOKENIZER_JSON.refuse_beginnings(&seeds);
    TOKENIZER_JSON.take_mutants(&seeds, Mutator::json);
}

#[test]
fn tokenizer_files_with_many_tokens_take_memory_of_their_size() {
    let file = |added: &str, model: String| {
        format!(r#"{{"version":"1.0","added_tokens":[{added}],"model":{model}}}"#).into_bytes()
    };
    let words =
        |vocab: &str| format!(r#"{{"type":"WordLevel","unk_token":"a","vocab":{{"a":1{vocab}}}}}"#);
    let short = many_numbered("\"", "\":1");
    assert!(
        TOKENIZER_JSON
            .run(&file("", words(&format!(",{short}"))))
            .is_ok()
    );
    let pairs = many("\"a b\"");
    let bpe = format!(r#"{{"type":"BPE","vocab":{{"a":0,"b":1,"ab":2}},"merges":[{pairs}]}}"#);
    assert!(TOKENIZER_JSON.run(&file("", bpe)).is_ok());
    let added = many_numbered(
        "{\"id\":1,\"content\":\"",
        "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}",
    );
    assert!(TOKENIZER_JSON.run(&file(&added, words(""))).is_ok());
    let unlike = many_numbered("[\"", &format!("{}\",0]", "x".repeat(40)));
    let unigram = format!(r#"{{"type":"Unigram","unk_id":0,"vocab":[{unlike}]}}"#);
    assert!(TOKENIZER_JSON.run(&file("", unigram)).is_ok());
    let zeros = many("0");
    assert!(
        TOKENIZER_JSON
            .run(format!("{{\"model\":[{zeros}]}}").as_bytes())
            .is_err()
    );
    assert!(
        TOKENIZER_JSON
            .run(format!("{{\"normalizer\":[{zeros}]}}").as_bytes())
            .is_err()
    );
}

const TOKENIZER_PARTS: Parser = Parser {
    parse: parsers::tokenizer_parts,
    per_byte: 300,
    besides: TOKENIZER_CACHES,
};

#[test]
fn damaged_files_of_older_tokenizers_are_taken_or_refused() {
    let seeds = seeds::tokenizer_parts();
    TOKENIZER_PARTS.take_mutants(&seeds, |mutator, seed| {
        // Damage within a file, or to what says where one begins.
        mutator.bytes(seed)
    });
    for seed in &seeds {
        for n in 0..seed.len() {
            // Every beginning, some of which are smaller vocabularies.
            let _ = TOKENIZER_PARTS.run(&seed[..n]);
        }
    }
}

const GGUF_TOKENIZER: Parser = Parser {
    parse: parsers::gguf_tokenizer,
    per_byte: 24,
    besides: TOKENIZER_CACHES,
};

#[test]
fn damaged_tokenizers_of_ggufs_are_taken_or_refused() {
    let seeds = seeds::gguf_tokenizer();
    GGUF_TOKENIZER.refuse_beginnings(&seeds);
    GGUF_TOKENIZER.take_mutants(&seeds, Mutator::bytes);
}

#[test]
fn tokens_that_are_all_parts_of_each_other_take_memory_of_their_size() {
    let runs: Vec<String> = (1..=500).map(|n| "a".repeat(n)).collect();
    let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
    let file = Gguf::new()
        .text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", &runs)
        .array(
            "tokenizer.ggml.scores",
            6,
            runs.len(),
            &vec![0; 4 * runs.len()],
        )
        .finish();
    let message = GGUF_TOKENIZER.run(&file).unwrap_err();
    assert!(message.contains("more than 16 ways each"), "{message}");
}

/// What was read is also written, and read again.
const SESSION: Parser = Parser {
    parse: parsers::session,
    per_byte: 120,
    besides: 64 << 10,
};

#[test]
fn damaged_sessions_are_taken_or_refused() {
    let seeds = seeds::session();
    SESSION.refuse_beginnings(&seeds);
    SESSION.take_mutants(&seeds, Mutator::json);
    let with = |rest: String| {
        format!(r#"{{"version":1,"model":{{"source":"demo"}},"prompt":{{"text":""}},{rest}}}"#)
    };
    for list in [many("0"), many("[]"), many("{}"), many("\"\"")] {
        assert!(
            SESSION
                .run(with(format!("\"layout\":[{list}]")).as_bytes())
                .is_ok()
        );
    }
    let rows = many(r#"{"edit":"L0=zero"}"#);
    assert!(
        SESSION
            .run(with(format!("\"edits\":[{rows}]")).as_bytes())
            .is_err()
    );
}

const REFERENCE: Parser = Parser {
    parse: parsers::reference,
    per_byte: 120,
    besides: 64 << 10,
};

#[test]
fn damaged_references_are_taken_or_refused() {
    let seeds = seeds::reference();
    REFERENCE.refuse_beginnings(&seeds);
    REFERENCE.take_mutants(&seeds, Mutator::json);
    let ids = format!(
        r#"{{"schema_version":1,"source":"","cases":[{{"ids":[{}],"values":[{{"site":"logits","index":[0],"value":1,"tolerance":1}}]}}]}}"#,
        many("0")
    );
    assert!(REFERENCE.run(ids.as_bytes()).is_ok());
}

const EDIT: Parser = Parser {
    parse: parsers::edit,
    per_byte: 8,
    besides: 4 << 10,
};

#[test]
fn damaged_edits_are_taken_or_refused() {
    let seeds = EDITS.map(|edit| edit.as_bytes().to_vec());
    EDIT.take_mutants(&seeds, |mutator, seed| {
        mutator
            .text(std::str::from_utf8(seed).unwrap(), &EDIT_WORDS)
            .into_bytes()
    });
    let positions = format!("L0=zero@{}", many("1"));
    assert!(EDIT.run(positions.as_bytes()).is_ok());
    for n in 0..EDITS[3].len() {
        // Every beginning, some of which are edits.
        let _ = EDIT.run(&EDITS[3].as_bytes()[..n]);
    }
}
