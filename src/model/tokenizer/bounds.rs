//! What a tokenizer.json may ask of whoever reads it, looked at before the crate gets the file.
//!
//! The crate believes it: eight characters can make it reserve gigabytes, and a few lines make of one letter a text that
//! no memory holds. An allocation that fails ends the program, so this cannot be caught.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::model::json::Unambiguous;

/// Bytes that the normalizer may make of one. Llama's make 16, XLM-R's at most some hundreds.
const MAX_GROWTH: usize = 1 << 14;
/// Bytes of regular expressions; the longest of real models are some hundreds.
const MAX_EXPRESSION_BYTES: usize = 1 << 14;

/// The parts of the file that are small in every real one. A part that comes twice is refused: the crate takes the last.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Parts {
    normalizer: Unambiguous,
    pre_tokenizer: Unambiguous,
    post_processor: Unambiguous,
    decoder: Unambiguous,
    model: ModelParts,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ModelParts {
    continuing_subword_prefix: Option<String>,
}

/// Refuses, with the reason, what the crate must not be given.
pub(super) fn check(tokenizer: &[u8]) -> Result<(), String> {
    let parts: Parts = serde_json::from_slice(tokenizer).map_err(|error| error.to_string())?;
    if growth(&parts.normalizer.0)? > MAX_GROWTH {
        return Err(format!(
            "its normalizer can make a text more than {MAX_GROWTH} times as long"
        ));
    }
    let steps = [&parts.normalizer, &parts.pre_tokenizer, &parts.decoder];
    if steps
        .into_iter()
        .map(|step| expression_bytes(&step.0))
        .sum::<usize>()
        > MAX_EXPRESSION_BYTES
    {
        return Err(format!(
            "its regular expressions have more than {MAX_EXPRESSION_BYTES} bytes"
        ));
    }
    if repeats_the_text(&parts.post_processor.0) {
        return Err("its post-processor repeats the text".to_owned());
    }
    match parts.model.continuing_subword_prefix {
        Some(prefix) if !prefix.is_empty() => check_merges(tokenizer, &prefix),
        _ => Ok(()),
    }
}

/// The most bytes that a normalizer makes of one, its steps one after the other.
fn growth(part: &Value) -> Result<usize, String> {
    let mut all: usize = 1;
    match part {
        Value::Array(steps) => {
            for step in steps {
                all = all.saturating_mul(growth(step)?);
            }
        }
        Value::Object(step) => {
            let replaced = step
                .get("pattern")
                .and_then(|pattern| pattern["String"].as_str());
            for (key, value) in step {
                let one = match (key.as_str(), value.as_str()) {
                    ("content", Some(text)) => match replaced {
                        Some(replaced) if !replaced.is_empty() => {
                            text.len().div_ceil(replaced.len()).max(1)
                        }
                        // A pattern that may stand between any two characters.
                        _ => 1 + text.len(),
                    },
                    ("prepend", Some(text)) => 1 + text.len(),
                    ("precompiled_charsmap", Some(text)) => longest_replacement(text)?,
                    _ => growth(value)?,
                };
                all = all.saturating_mul(one);
            }
        }
        _ => {}
    }
    Ok(all)
}

/// Of SentencePiece's table of characters: the length in bytes of the tree, the tree, then the texts that it points to,
/// each up to a zero. The crate reserves memory for the tree before it looks whether it is there.
fn longest_replacement(charsmap: &str) -> Result<usize, String> {
    let table = STANDARD
        .decode(charsmap)
        .map_err(|error| format!("the table of its normalizer is no base64: {error}"))?;
    let texts = table.split_first_chunk().and_then(|(length, rest)| {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        rest.get(length..)
    });
    let texts = texts.ok_or("the table of its normalizer is shorter than it claims")?;
    let longest = texts.split(|byte| *byte == 0).map(<[u8]>::len).max();
    Ok(longest.unwrap_or(0).max(1))
}

fn expression_bytes(part: &Value) -> usize {
    match part {
        Value::Array(steps) => steps.iter().map(expression_bytes).sum(),
        Value::Object(step) => step
            .iter()
            .map(|(key, value)| match value.as_str() {
                Some(text) if key == "Regex" => text.len(),
                _ => expression_bytes(value),
            })
            .sum(),
        _ => 0,
    }
}

/// Whether a template puts the text in more than once.
fn repeats_the_text(part: &Value) -> bool {
    match part {
        Value::Array(steps) => steps.iter().any(repeats_the_text),
        Value::Object(step) => step.iter().any(|(key, value)| match value.as_array() {
            Some(pieces) if key == "single" => {
                let texts = pieces
                    .iter()
                    .filter(|piece| piece.get("Sequence").is_some());
                texts.count() > 1
            }
            _ => repeats_the_text(value),
        }),
        _ => false,
    }
}

/// The crate cuts the prefix off the right side of every merge without looking whether it is there.
fn check_merges(tokenizer: &[u8], prefix: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct File {
        model: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        #[serde(default)]
        merges: Vec<Merge>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Merge {
        Pair(IgnoredAny, String),
        Text(String),
    }
    let File { model } = serde_json::from_slice(tokenizer).map_err(|error| error.to_string())?;
    let right = |merge: &Merge| match merge {
        Merge::Pair(_, right) => right.clone(),
        Merge::Text(text) => text.rsplit(' ').next().unwrap_or_default().to_owned(),
    };
    match model
        .merges
        .iter()
        .map(right)
        .find(|right| !right.starts_with(prefix))
    {
        Some(right) => Err(format!(
            "a merge continues with {right:?}, which lacks the prefix {prefix:?}"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_refused(file: &Value, reason: &str) {
        let problem = check(file.to_string().as_bytes()).unwrap_err();
        assert!(problem.contains(reason), "{problem}");
    }

    fn charsmap(tree_bytes: u32, tree: &[u8], texts: &[u8]) -> Value {
        let table = [&tree_bytes.to_le_bytes(), tree, texts].concat();
        json!({ "type": "Precompiled", "precompiled_charsmap": STANDARD.encode(table) })
    }

    #[test]
    fn a_table_of_characters_that_claims_gigabytes_is_refused() {
        check_refused(
            &json!({ "normalizer": charsmap(u32::MAX, &[0; 8], b"") }),
            "shorter than it claims",
        );
        let nested = json!({ "type": "Sequence", "normalizers": [charsmap(16, &[0; 12], b"")] });
        check_refused(&json!({ "normalizer": nested }), "shorter than it claims");
        let sound = json!({ "normalizer": charsmap(8, &[0; 8], b"ab\0c\0") });
        assert_eq!(check(sound.to_string().as_bytes()), Ok(()));
    }

    #[test]
    fn a_normalizer_that_swells_the_text_is_refused() {
        let replace = |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
        let twice = replace(json!({ "String": "a" }), "aa");
        let sequence = |steps: Vec<Value>| json!({ "normalizer": { "type": "Sequence", "normalizers": steps } });
        check_refused(
            &sequence(vec![twice.clone(); 30]),
            "more than 16384 times as long",
        );
        let between = replace(json!({ "Regex": "" }), "a");
        check_refused(
            &sequence(vec![between; 30]),
            "more than 16384 times as long",
        );
        let long = "x".repeat(1 << 15);
        check_refused(
            &json!({ "normalizer": charsmap(0, &[], long.as_bytes()) }),
            "times as long",
        );
        check_refused(
            &json!({ "normalizer": { "type": "Prepend", "prepend": long } }),
            "times as long",
        );
        // What real ones do: Llama's two steps, and many that only exchange characters.
        let llama = vec![
            json!({ "type": "Prepend", "prepend": "▁" }),
            replace(json!({ "String": " " }), "▁"),
        ];
        assert_eq!(growth(&sequence(llama)), Ok(12));
        let exchange = vec![replace(json!({ "String": "``" }), "\""); 100];
        assert_eq!(check(sequence(exchange).to_string().as_bytes()), Ok(()));
    }

    #[test]
    fn a_part_that_comes_twice_is_refused_since_the_crate_takes_the_last() {
        let problem = check(br#"{"normalizer":null,"normalizer":{"type":"NFC"}}"#).unwrap_err();
        assert!(
            problem.contains("duplicate field `normalizer`"),
            "{problem}"
        );
        let problem = check(br#"{"normalizer":{"prepend":"a","prepend":"b"}}"#).unwrap_err();
        assert!(problem.contains("\"prepend\" comes twice"), "{problem}");
    }

    #[test]
    fn texts_are_not_repeated_nor_expressions_without_end() {
        let piece = json!({ "Sequence": { "id": "A", "type_id": 0 } });
        let template = |single: Value| json!({ "post_processor": { "type": "TemplateProcessing", "single": single, "pair": [] } });
        check_refused(&template(json!([piece, piece])), "repeats the text");
        assert_eq!(
            check(template(json!([piece])).to_string().as_bytes()),
            Ok(())
        );
        let regex = json!({ "type": "Split", "pattern": { "Regex": "(?=a)".repeat(5_000) } });
        check_refused(&json!({ "pre_tokenizer": regex }), "regular expressions");
    }

    #[test]
    fn a_merge_without_the_prefix_that_the_crate_would_cut_off_is_refused() {
        let file = |merges: Value| json!({ "model": { "continuing_subword_prefix": "##", "merges": merges } });
        for merges in [json!(["a ##b", "a …"]), json!([["a", "…"]])] {
            check_refused(&file(merges), "\"…\", which lacks the prefix \"##\"");
        }
        assert_eq!(check(file(json!(["a ##b"])).to_string().as_bytes()), Ok(()));
    }
}
