//! Prompts whose answer stands in them word for word: needles in filler text.
//!
//! A sentence among filler sentences, at several lengths and depths. The length counts the whole prompt and its
//! answer; filler is cut at whole sentences, and a depth is the last sentence boundary at or before it (depth 1: the end).
//! The span is the answer's own place: in the needle, or as the value of the key that is asked for ([`super::lookup`]).

use std::ops::Range;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::analysis::AnalysisError;
use crate::prompt::BosRule;

use super::prompts::{Question, Texts};
use super::wording::{NEEDLES, Needle, SENTENCES};

/// A prompt whose answer is a copy of a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub label: String,
    /// The prompt; the answer comes after it.
    pub ids: Vec<u32>,
    /// At least one token.
    pub answer: Vec<u32>,
    pub answer_text: String,
    /// Where the answer stands in the prompt.
    pub span: Range<usize>,
    /// Indices of its length and depth.
    pub cell: Option<(usize, usize)>,
}

/// Instances that heads are found on, and others that they are tested on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Haystack {
    pub instances: Vec<Instance>,
    pub held_out: Vec<Instance>,
    /// Tokens of each row of the grid, and the depth of each column; empty where there is no grid.
    pub lengths: Vec<usize>,
    pub depths: Vec<f64>,
    pub notes: Vec<String>,
}

/// How the answer begins, in the prompt: without it, small models tuned for chats end their text at once.
const LEAD: &str = " The text says that";

/// Lengths below this say little, where the context has room for more.
const SHORTEST: usize = 128;

const LENGTHS: usize = 8;
const DEPTHS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// Lengths of the needle grid: evenly from 0.1 to 0.9 of the context, those below 128 tokens left out where there are
/// longer ones; without repeats.
fn lengths(context: usize) -> Vec<usize> {
    let longest = context * 9 / 10;
    let shortest = (context / 10).max(SHORTEST).min(longest);
    let step = (longest - shortest) as f64 / (LENGTHS - 1) as f64;
    let mut lengths: Vec<usize> = (0..LENGTHS)
        .map(|i| shortest + (step * i as f64).round() as usize)
        .collect();
    lengths.dedup();
    lengths
}

/// Three needles at every length and depth, and the fourth for the test. `context` is what prompt and answer may take.
pub(super) fn needles(
    texts: Texts<'_>,
    context: usize,
    seed: u64,
) -> Result<Haystack, AnalysisError> {
    let mut found = Haystack {
        lengths: lengths(context),
        depths: DEPTHS.to_vec(),
        ..Haystack::default()
    };
    let (mut too_long, mut shortest_of_all) = (0, usize::MAX);
    for (i, needle) in NEEDLES.iter().enumerate() {
        for (row, length) in found.lengths.clone().into_iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream((i * LENGTHS + row) as u64);
            let (filler, bare) = filler(texts, needle, length, &mut rng)?;
            shortest_of_all = shortest_of_all.min(bare);
            for (column, depth) in DEPTHS.into_iter().enumerate() {
                let instance = among(texts, needle, &filler, depth)?
                    .filter(|found| found.ids.len() + found.answer.len() <= length);
                let Some(mut instance) = instance else {
                    too_long += 1;
                    continue;
                };
                instance.label = format!("needle {}, {length} tokens, depth {depth}", i + 1);
                instance.cell = Some((row, column));
                if i + 1 < NEEDLES.len() {
                    found.instances.push(instance);
                } else {
                    found.held_out.push(instance);
                }
            }
        }
    }
    if found.instances.is_empty() {
        return Err(AnalysisError::needs(format!(
            "a needle with its question and answer takes {shortest_of_all} tokens of this model or more, and there is room \
             for {}: choose a model with a longer context, or allow more tokens",
            found.lengths.last().copied().unwrap_or(0)
        )));
    }
    if too_long > 0 {
        found.notes.push(format!(
            "{too_long} instances left out: needle, question and answer are longer than the length, or the place of the \
             needle is not seen in the tokens"
        ));
    }
    Ok(found)
}

/// Sentences with their tokens.
type Filler = Vec<(&'static str, usize)>;

/// As many whole sentences as fit beside the needle; and the tokens of a prompt without any.
fn filler(
    texts: Texts<'_>,
    needle: &Needle,
    length: usize,
    rng: &mut ChaCha8Rng,
) -> Result<(Filler, usize), AnalysisError> {
    let (text, _) = needle_text(texts, needle, &[], 0);
    let bare = texts.count(&question(&text, needle))?;
    let mut used = bare;
    let (mut filler, mut waiting) = (vec![], vec![]);
    loop {
        if waiting.is_empty() {
            waiting = SENTENCES.to_vec();
            waiting.shuffle(rng);
        }
        let Some(sentence) = waiting.pop() else {
            break;
        };
        let alone = texts
            .tokenizer
            .encode(&format!(" {sentence}"), BosRule::Never);
        let n = alone.map_or(sentence.len(), |ids| ids.len()).max(1);
        if used + n > length {
            break;
        }
        used += n;
        filler.push((sentence, n));
    }
    Ok((filler, bare))
}

fn among(
    texts: Texts<'_>,
    needle: &Needle,
    filler: &[(&str, usize)],
    depth: f64,
) -> Result<Option<Instance>, AnalysisError> {
    let total: usize = filler.iter().map(|(_, n)| n).sum();
    let wanted = (total as f64 * depth) as usize;
    let mut before = 0;
    let at = filler
        .iter()
        .take_while(|(_, n)| {
            before += n;
            before <= wanted
        })
        .count();
    let sentences: Vec<&str> = filler.iter().map(|(sentence, _)| *sentence).collect();
    let (text, bytes) = needle_text(texts, needle, &sentences, at);
    texts.compose(String::new(), &question(&text, needle), &bytes)
}

fn question<'a>(text: &'a str, needle: &Needle) -> Question<'a> {
    Question {
        text,
        lead: LEAD,
        answer: needle.answer,
    }
}

/// The text with the needle before sentence `at` and the question, and the bytes of the answer in it.
fn needle_text(
    texts: Texts<'_>,
    needle: &Needle,
    sentences: &[&str],
    at: usize,
) -> (String, Range<usize>) {
    // The authors' wording for chats.
    let (open, close, what) = match texts.chat {
        Some(_) => ("<book>", "</book>", "book"),
        None => ("", "", "text"),
    };
    let mut all = sentences.to_vec();
    all.insert(at, needle.sentence);
    let before: usize = sentences[..at].iter().map(|text| text.len() + 1).sum();
    let start = open.len() + before + needle.sentence.find(needle.answer).unwrap_or(0);
    let text = format!(
        "{open}{}{close}\n\nBased on the content of the {what}, question: {}\nAnswer:",
        all.join(" "),
        needle.question
    );
    (text, start..start + needle.answer.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::lookup::{Lookup, json};
    use super::*;
    use crate::model::chat::ChatTemplate;
    use crate::model::load::{Unreported, open};

    #[test]
    fn texts_are_what_they_are_said_to_be() {
        let filler = SENTENCES.join(" ");
        for needle in NEEDLES {
            assert!(needle.sentence.contains(needle.answer));
            assert!(!needle.question.contains(needle.answer) && !filler.contains(needle.answer));
            let words = needle.sentence.split(' ').count();
            assert!((15..=25).contains(&words), "{words}");
        }
        let mut different = SENTENCES.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), SENTENCES.len());
    }

    #[test]
    fn lengths_are_even_and_fit() {
        assert_eq!(lengths(2000).len(), 8);
        assert_eq!((lengths(2000)[0], lengths(2000)[7]), (200, 1800));
        assert_eq!(lengths(512)[0], 128);
        assert_eq!(lengths(64), [57]);
    }

    /// The demo's tokenizer spells what it does not know in bytes, so the context is given more room than the model has:
    /// nothing is run here.
    #[test]
    fn spans_hold_the_answer_and_depths_fall_where_they_should() {
        let model = open("demo", &mut Unreported).unwrap();
        let tokenizer = model.tokenizer.as_ref().unwrap();
        let text = |ids: &[u32]| -> String {
            tokenizer
                .pieces(ids)
                .iter()
                .map(|piece| piece.text.clone())
                .collect()
        };
        let texts = Texts::new(&model, None).unwrap();
        let found = needles(texts, 4000, 3).unwrap();
        assert_eq!(found.instances.len(), 3 * 8 * 5);
        assert_eq!(found.held_out.len(), 8 * 5);
        for one in found.instances.iter().chain(&found.held_out) {
            let (row, column) = one.cell.unwrap();
            let length = found.lengths[row];
            let n = one.ids.len() + one.answer.len();
            // Whole sentences: at most one is missing.
            assert!(n <= length && n + 120 > length, "{n} of {length}");
            assert!(text(&one.ids[one.span.clone()]).contains(&one.answer_text));
            assert_eq!(text(&one.answer).trim(), one.answer_text);
            let share = one.span.start as f64 / one.ids.len() as f64;
            assert!(
                (share - found.depths[column]).abs() < 0.35,
                "{share} {}",
                one.label
            );
        }
        let of = |seed| needles(texts, 4000, seed).unwrap();
        assert_eq!(of(3), found);
        assert_ne!(of(4).instances, found.instances);

        let lookup = Lookup {
            samples: 4,
            pairs: 8,
            demonstrations: 3,
            digits: 12,
        };
        let found = json(texts, 4000, lookup, 5).unwrap();
        assert_eq!((found.instances.len(), found.held_out.len()), (4, 2));
        for one in found.instances.iter().chain(&found.held_out) {
            assert_eq!(
                text(&one.ids[one.span.clone()]).trim_matches('"'),
                one.answer_text
            );
            let whole = text(&one.ids);
            assert_eq!(
                whole.matches(&one.answer_text).count(),
                1,
                "not a demonstration"
            );
            assert_eq!(whole.matches("Question:").count(), 4);
        }
        let fewer = json(texts, found.instances[0].ids.len() * 9 / 10, lookup, 5).unwrap();
        assert!(fewer.notes[0].contains("pairs"), "{:?}", fewer.notes);
    }

    /// A template whose turns are marked with a special token, and one that changes what is said.
    #[test]
    fn a_chat_has_the_filler_in_the_users_turn_and_keeps_the_places() {
        let model = open("demo", &mut Unreported).unwrap();
        let tokenizer = model.tokenizer.as_ref().unwrap();
        let chat = |source: &str| ChatTemplate::of_text(source, BTreeMap::new(), "here").unwrap();
        let turns = chat(
            "{% for m in messages %}<|bos|>{{ m.role ~ '\\n' ~ m.content | trim }}{% endfor %}{{ '\\n<|bos|>assistant\\n' }}",
        );
        let texts = Texts::new(&model, Some(&turns)).unwrap();
        let read = |ids: &[u32]| -> String {
            let pieces = tokenizer.pieces(ids);
            pieces.iter().map(|piece| piece.text.clone()).collect()
        };
        let needles = needles(texts, 4000, 3).unwrap();
        assert_eq!(needles.instances.len(), 3 * 8 * 5);
        for one in &needles.instances {
            let whole = read(&one.ids);
            assert!(whole.starts_with("<|bos|>user\n<book>"), "{whole}");
            assert!(whole.contains("</book>\n\nBased on the content of the book"));
            assert!(whole.ends_with("Answer:\n<|bos|>assistant\nThe text says that"));
            assert!(read(&one.ids[one.span.clone()]).contains(&one.answer_text));
            assert_eq!(read(&one.answer), format!(" {}", one.answer_text));
            // Two of the template, and none put before it.
            assert_eq!(one.ids.iter().filter(|id| **id == 0).count(), 2);
        }
        let lookup = Lookup {
            samples: 2,
            ..Lookup::default()
        };
        for one in json(texts, 4000, lookup, 5).unwrap().instances {
            assert!(read(&one.ids).ends_with("Answer:\n<|bos|>assistant\n"));
            assert_eq!(read(&one.answer), one.answer_text);
            assert_eq!(
                read(&one.ids[one.span.clone()]).trim_matches('"'),
                one.answer_text
            );
        }
        let loud = chat("{{ messages[0].content | upper }}");
        let texts = Texts::new(&model, Some(&loud)).unwrap();
        let error = super::needles(texts, 4000, 0).unwrap_err().to_string();
        assert!(error.contains("changes what the user says"), "{error}");
    }

    #[test]
    fn what_does_not_fit_or_cannot_be_read_is_refused() {
        let demo = open("demo", &mut Unreported).unwrap();
        let texts = Texts::new(&demo, None).unwrap();
        let error = needles(texts, 128, 0).unwrap_err().to_string();
        assert!(error.contains("longer context"), "{error}");
        let lookup = Lookup {
            samples: 4,
            pairs: 8,
            demonstrations: 3,
            digits: 12,
        };
        let error = json(texts, 128, lookup, 0).unwrap_err().to_string();
        assert!(error.contains("longer context"), "{error}");
        json(texts, 4000, Lookup { pairs: 3, ..lookup }, 0).unwrap_err();
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/models/tiny-llama"
        );
        let tiny = open(path, &mut Unreported).unwrap();
        let error = Texts::new(&tiny, None).err().unwrap().to_string();
        assert!(error.contains("tokenizer"), "{error}");
    }
}
