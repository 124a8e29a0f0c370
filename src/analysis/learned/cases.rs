//! Which prompts are learned from, and which are only measured on.

use std::collections::HashSet;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::analysis::cases::Whole;
use crate::analysis::{AnalysisError, Case};
use crate::experiment::RunSpec;
use crate::experiment::engine::RunError;
use crate::model::Model;
use crate::model::spec::Head;

use super::FEWEST;

/// The cases that can be learned from, up to where the answer follows; each prompt once. Where all answers begin with a
/// token that is only a space, that belongs to the prompt: it tells none of them.
pub fn usable(
    model: &Model,
    cases: &[Case],
    method: &str,
    needs_wrong: bool,
) -> Result<(Vec<Case>, Vec<String>), AnalysisError> {
    let spec = &model.spec;
    if spec.head == Head::None {
        return Err(RunError::NoLogits.into());
    }
    if !spec.is_causal() {
        return Err(AnalysisError::needs(format!(
            "{method} is for models that generate: {} reads in both directions and fills in masked tokens",
            model.name
        )));
    }
    let what = if needs_wrong {
        "a right and a wrong answer"
    } else {
        "an answer"
    };
    let mut kept: Vec<Case> = Vec::new();
    let mut known = HashSet::new();
    let (mut lacking, mut repeated, mut long, mut spaced) = (0, 0, 0, 0);
    for case in cases {
        let lacks = case.answers.is_empty() || (needs_wrong && case.wrong.is_empty());
        let ids = case.spec.ids.get(..=case.spec.position).unwrap_or_default();
        if lacks || ids.is_empty() {
            lacking += 1;
        } else if ids.len() + longest_answer(case) - 1 > spec.n_ctx {
            long += 1;
        } else if !known.insert(ids) {
            repeated += 1;
        } else {
            let cut = Case {
                spec: read_at_end(&case.spec, ids),
                ..case.clone()
            };
            let after_space = after_space(model, &cut);
            spaced += usize::from(after_space.is_some());
            kept.push(after_space.unwrap_or(cut));
        }
    }
    if kept.len() < FEWEST {
        return Err(AnalysisError::needs(format!(
            "{method} needs at least {FEWEST} different prompts with {what}, and {} of the {} given are: choose a task set \
             with more items",
            kept.len(),
            cases.len()
        )));
    }
    let mut notes = vec![];
    for (n, why) in [
        (lacking, format!("without {what} were left out")),
        (
            long,
            "whose answers do not fit behind them into the context were left out".into(),
        ),
        (repeated, "that are there already were left out".into()),
        (
            spaced,
            "are read after the space that their answers begin with".into(),
        ),
    ] {
        if n > 0 {
            notes.push(format!("{n} prompts {why}"));
        }
    }
    Ok((kept, notes))
}

/// The run of these tokens, read at the last of them.
fn read_at_end(spec: &RunSpec, ids: &[u32]) -> RunSpec {
    RunSpec {
        ids: ids.into(),
        n_prompt: ids.len(),
        reach: ids.len(),
        contrast: None,
        edits: vec![],
        position: ids.len() - 1,
        last: ids.len() - 1,
        ..spec.clone()
    }
}

/// All answers with all their tokens: the right ones, and the wrong ones.
fn whole(case: &Case) -> [Vec<Vec<u32>>; 2] {
    let right = (0..case.answers.len()).map(|i| case.right_tokens(i).to_vec());
    let wrong = (0..case.wrong.len()).map(|i| case.wrong_tokens(i).to_vec());
    [right.collect(), wrong.collect()]
}

fn longest_answer(case: &Case) -> usize {
    let [right, wrong] = whole(case);
    let lengths = right.iter().chain(&wrong).map(Vec::len);
    lengths.max().unwrap_or(0).max(1)
}

/// The case with the space that all its answers begin with at the prompt's end (several, should there be several).
/// `None` where they do not, or where one is nothing else.
fn after_space(model: &Model, case: &Case) -> Option<Case> {
    let tokenizer = model.tokenizer.as_ref()?;
    let is_space = |id: u32| {
        let piece = tokenizer.next_piece(id);
        !piece.special && !piece.bytes.is_empty() && piece.text.chars().all(char::is_whitespace)
    };
    let [mut right, mut wrong] = whole(case);
    let mut ids = case.spec.ids.to_vec();
    while let Some(space) = right.first().and_then(|ids| ids.first()).copied() {
        let mut all = right.iter().chain(&wrong);
        if !is_space(space) || !all.all(|ids| ids.len() > 1 && ids[0] == space) {
            break;
        }
        ids.push(space);
        for answer in right.iter_mut().chain(&mut wrong) {
            answer.remove(0);
        }
    }
    let first = |of: &[Vec<u32>]| of.iter().map(|ids| ids[0]).collect();
    (ids.len() > case.spec.ids.len()).then(|| Case {
        spec: read_at_end(&case.spec, &ids),
        answers: first(&right),
        wrong: first(&wrong),
        whole: Whole { right, wrong },
        ..case.clone()
    })
}

/// Shuffled, and parted: those to learn from, and a share of them that is held out (at least one, at most half).
pub fn part<T>(mut items: Vec<T>, held_out: f64, seed: u64) -> (Vec<T>, Vec<T>) {
    items.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let n = items.len();
    let n_out = ((n as f64 * held_out).round() as usize).clamp(1, (n / 2).max(1));
    let out = items.split_off(n - n_out);
    (items, out)
}

/// How many heads: those asked for, or a share of all (at least one).
pub fn count(asked: Option<usize>, share: f64, n_all: usize) -> usize {
    let n = asked.unwrap_or_else(|| (share * n_all as f64).round() as usize);
    n.clamp(1, n_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::learned::tests::{case, cases, model, whole};

    #[test]
    fn parts_are_seeded_and_lose_nothing() {
        let items: Vec<usize> = (0..11).collect();
        let (kept, out) = part(items.clone(), 0.25, 3);
        assert_eq!((kept.len(), out.len()), (8, 3));
        assert_eq!(part(items.clone(), 0.25, 3), (kept.clone(), out.clone()));
        assert_ne!(part(items.clone(), 0.25, 4), (kept.clone(), out.clone()));
        let mut all = [kept, out].concat();
        all.sort_unstable();
        assert_eq!(all, items);
        assert_eq!(part(vec![1, 2], 0.0, 0).1.len(), 1);
    }

    #[test]
    fn prompts_are_cut_where_the_answer_follows_and_taken_once() {
        let model = model("tiny-gpt2");
        let mut given = cases(9, None);
        given[0].spec.position = 2;
        given.push(given[1].clone());
        given.push(Case {
            answers: vec![],
            ..given[2].clone()
        });
        let (kept, notes) = usable(&model, &given, "x", false).unwrap();
        assert_eq!((kept.len(), notes.len()), (9, 2), "{notes:?}");
        assert_eq!((kept[0].spec.ids.len(), kept[0].spec.last), (3, 2));
    }

    #[test]
    fn a_space_that_all_answers_begin_with_belongs_to_the_prompt() {
        let model = model("demo");
        let tokenizer = model.tokenizer.as_ref().unwrap();
        let space = (0..model.spec.n_vocab as u32)
            .find(|id| tokenizer.next_piece(*id).text == " ")
            .unwrap();
        let letters: Vec<u32> = (0..model.spec.n_vocab as u32)
            .filter(|id| {
                let text = tokenizer.next_piece(*id).text;
                !text.is_empty() && text.chars().all(char::is_alphabetic)
            })
            .take(3)
            .collect();
        let [a, b, c] = letters[..] else { panic!() };
        let of = |i: u32, right: &[u32], wrong: &[u32]| {
            whole(case(&[a, b, c, 40 + i], 0, None), &[right], &[wrong])
        };
        let mut given: Vec<Case> = (0..9).map(|i| of(i, &[space, a, b], &[space, c])).collect();
        // One whose wrong answer begins otherwise, and one that is nothing but a space.
        given.push(of(9, &[space, a], &[c, b]));
        given.push(of(10, &[space], &[space, c]));
        let (kept, notes) = usable(&model, &given, "x", true).unwrap();
        assert!(
            notes[0].starts_with("9 prompts are read after"),
            "{notes:?}"
        );
        let first = &kept[0];
        assert_eq!(&first.spec.ids[..], [a, b, c, 40, space]);
        assert_eq!((first.spec.position, first.spec.last), (4, 4));
        assert_eq!((first.answers[0], first.wrong[0]), (a, c));
        assert_eq!(
            (first.right_tokens(0), first.wrong_tokens(0)),
            (&[a, b][..], &[c][..])
        );
        assert_eq!(kept[9].spec.ids.len(), 4);
        assert_eq!(kept[10].answers[0], space);
    }
}
