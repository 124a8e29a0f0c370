//! Prompts as methods take them: tokens, the answers' tokens, and places with a name.

use std::sync::Arc;

use super::AnalysisError;
use super::classes::{Classes, Classified};
use crate::experiment::resolve::{Resolved, resolve};
use crate::experiment::{Experiment, RunSpec};
use crate::model::Model;
use crate::model::tokenizer::Tokenizer;
use crate::prompt::{BosRule, Prompt};
use crate::task::{Answer, Item, TaskSet};

/// Letters of a prompt that are shown in tables.
const LABEL: usize = 60;

/// One prompt, ready to run.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// The prompt's text, or the end of a long one.
    pub label: String,
    /// The unedited run; prompt B is its contrast.
    pub spec: RunSpec,
    /// The right answers' first tokens; the first of them against the first wrong one is the logit difference.
    pub answers: Vec<u32>,
    pub wrong: Vec<u32>,
    /// The same answers with all their tokens.
    pub whole: Whole,
    /// What the answer is among a verbaliser's classes, where the set has one.
    pub class: Option<Classified>,
    /// Token positions that the set names: `IO`, `S1`, `key`, …
    pub spans: Vec<(String, Vec<usize>)>,
}

/// All tokens of a case's answers, in step with their first ones; empty where each answer is one token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    pub right: Vec<Vec<u32>>,
    pub wrong: Vec<Vec<u32>>,
}

impl Case {
    /// What is in the prompt bar: the first answer is right, the others are wrong.
    pub fn of_experiment(resolved: &Resolved) -> Self {
        let ids: Vec<u32> = resolved.answers.iter().map(|answer| answer.id).collect();
        let whole = resolved.answers.iter().map(|answer| answer.ids.clone());
        let mut whole: Vec<Vec<u32>> = whole.collect();
        let text: String = resolved
            .tokens
            .iter()
            .map(|piece| piece.text.as_str())
            .collect();
        let (answers, wrong) = ids.split_at(ids.len().min(1));
        Self {
            label: shortened(&text),
            spec: RunSpec {
                edits: vec![],
                ..resolved.spec.clone()
            },
            answers: answers.to_vec(),
            wrong: wrong.to_vec(),
            whole: Whole {
                wrong: whole.split_off(answers.len()),
                right: whole,
            },
            class: None,
            spans: vec![],
        }
    }

    /// Whether its right and its wrong answer are the same tokens, or the only ones of their kind and differ nowhere that
    /// is read.
    fn cannot_be_told_apart(&self) -> bool {
        let begin_alike = self.pair().is_some_and(|(a, b)| a == b);
        let are_alone = self.answers.len() == 1 && self.wrong.len() == 1;
        begin_alike && (are_alone || self.right_tokens(0) == self.wrong_tokens(0))
    }

    /// All tokens of a right answer; none where there is no such answer.
    pub fn right_tokens(&self, i: usize) -> &[u32] {
        tokens(&self.whole.right, &self.answers, i)
    }

    /// All tokens of a wrong answer.
    pub fn wrong_tokens(&self, i: usize) -> &[u32] {
        tokens(&self.whole.wrong, &self.wrong, i)
    }

    /// The run with more tokens after the prompt, and after its contrast; it is read where it was.
    pub fn followed_by(&self, ids: &[u32]) -> RunSpec {
        let contrast = self.spec.contrast.as_deref();
        RunSpec {
            ids: longer(&self.spec.ids, ids),
            n_prompt: self.spec.n_prompt + ids.len(),
            reach: self.spec.reach + ids.len(),
            contrast: contrast.map(|of| longer(of, ids)),
            ..self.spec.clone()
        }
    }

    /// The tokens whose logits the logit difference reads.
    pub fn pair(&self) -> Option<(u32, u32)> {
        Some((*self.answers.first()?, *self.wrong.first()?))
    }

    /// The positions of a named place; none where the set does not name it.
    pub fn span(&self, name: &str) -> &[usize] {
        let span = self.spans.iter().find(|(known, _)| known == name);
        span.map_or(&[], |(_, positions)| positions)
    }

    /// The same prompt run backwards: B is run, and A is its contrast. `None` without a prompt B, or where the places that
    /// are read do not pair.
    pub fn swapped(&self) -> Option<Self> {
        let contrast = self.spec.contrast.clone()?;
        let alignment = crate::edit::align::Alignment::new(&self.spec.ids, &contrast);
        let position = alignment.partner(self.spec.position)?;
        let last = alignment.partner(self.spec.last)?;
        Some(Self {
            spec: RunSpec {
                n_prompt: contrast.len(),
                reach: contrast.len(),
                ids: contrast,
                contrast: Some(self.spec.ids.clone()),
                position,
                last,
                ..self.spec.clone()
            },
            spans: vec![],
            ..self.clone()
        })
    }
}

/// Tokens with others after them.
fn longer(ids: &[u32], more: &[u32]) -> Arc<[u32]> {
    [ids, more].concat().into()
}

fn tokens<'a>(whole: &'a [Vec<u32>], first: &'a [u32], i: usize) -> &'a [u32] {
    match (whole.get(i), first.get(i)) {
        (Some(all), _) => all,
        (None, Some(one)) => std::slice::from_ref(one),
        (None, None) => &[],
    }
}

/// The items of a set for a model, and what a reader should know of those that were left out.
pub fn of_task(
    set: &TaskSet,
    model: &Model,
    bos: BosRule,
) -> Result<(Vec<Case>, Vec<String>), AnalysisError> {
    let mut notes = set.notes.clone();
    let mut cases = Vec::new();
    let mut classes: Option<Arc<Classes>> = None;
    let (mut same, mut alike, mut several, mut put_at_end) = (0, 0, 0, 0);
    let mut failed = Vec::new();
    for item in &set.items {
        let item = match model.tokenizer.as_ref().and_then(Tokenizer::mask) {
            Some(mask) if item.is_masked() => item.with_mask(&mask),
            Some(mask) if model.spec.predicts_in_place() => {
                put_at_end += 1;
                item.masked_at_end().with_mask(&mask)
            }
            _ => item.clone(),
        };
        match case(&item, model, bos) {
            Err(error) => failed.push(error),
            Ok((case, _)) if case.cannot_be_told_apart() => same += 1,
            Ok((mut case, is_several)) => {
                several += usize::from(is_several);
                alike += usize::from(case.pair().is_some_and(|(a, b)| a == b));
                if let (None, Some(verbaliser)) = (&classes, &set.verbaliser) {
                    let found = Classes::new(verbaliser, model, &item.prompt, bos)?;
                    classes = Some(Arc::new(found));
                }
                if let (Some(classes), Some(Answer::Text(text))) = (&classes, item.answers.first())
                {
                    case.class = classes.named(text).map(|right| Classified {
                        of: Arc::clone(classes),
                        right,
                    });
                }
                cases.push(case);
            }
        }
    }
    let unnamed = cases.iter().filter(|case| case.class.is_none()).count();
    if classes.is_some() && unnamed > 0 {
        notes.push(format!(
            "{unnamed} items have an answer that is no class of the verbaliser, nor a word of one"
        ));
    }
    if put_at_end > 0 {
        notes.push(format!(
            "{put_at_end} prompts have no mask: one was put at their end, with a full stop"
        ));
    }
    if same > 0 {
        notes.push(format!(
            "{same} items left out: right and wrong answer are the same tokens of this model"
        ));
    }
    if alike > 0 {
        notes.push(format!(
            "of {alike} items the first right and the first wrong answer begin with the same token: their logit difference \
             is 0"
        ));
    }
    if several > 0 {
        notes.push(format!(
            "{several} items have an answer of several tokens: its first one is read, but for whole_answer"
        ));
    }
    if let Some(first) = failed.first() {
        notes.push(format!(
            "{} items left out; the first because {first}",
            failed.len()
        ));
    }
    if cases.is_empty() {
        return Err(AnalysisError::needs(format!(
            "no item of the set `{}` can be run on this model: {}",
            set.name,
            notes.join("; ")
        )));
    }
    Ok((cases, notes))
}

/// The case, and whether an answer that is read has several tokens.
fn case(item: &Item, model: &Model, bos: BosRule) -> Result<(Case, bool), String> {
    let mut experiment = Experiment::new(Prompt::Text(item.prompt.clone()));
    experiment.contrast = item.contrast.clone().map(Prompt::Text);
    experiment.bos = bos;
    experiment.answers = [&item.answers, &item.wrong]
        .into_iter()
        .flatten()
        .map(|answer| match answer {
            Answer::Text(text) => text.clone(),
            Answer::Id(id) => format!("#{id}"),
        })
        .collect();
    let mut resolved = resolve(&experiment, model, None).map_err(|error| error.to_string())?;
    let n_right = item.answers.len().min(resolved.answers.len());
    let whole = resolved.answers.iter().map(|answer| answer.ids.clone());
    let mut right: Vec<Vec<u32>> = whole.collect();
    let mut wrong = right.split_off(n_right);
    let spans = item
        .spans
        .iter()
        .filter_map(|span| {
            let positions = positions(&resolved, &item.prompt, &span.bytes);
            (!positions.is_empty()).then(|| (span.name.clone(), positions))
        })
        .collect();
    // Of several answers each begins in its own way: there is no one place to read on to.
    if let ([a], [b]) = (&mut right[..], &mut wrong[..]) {
        let shared = read_on(&mut resolved.spec, a, b);
        a.drain(..shared.len());
        b.drain(..shared.len());
    }
    let first = |of: &[Vec<u32>]| of.iter().map(|ids| ids[0]).collect();
    let read = right.first().into_iter().chain(wrong.first());
    let is_several = read.into_iter().any(|ids| ids.len() > 1);
    let case = Case {
        label: shortened(&item.prompt),
        answers: first(&right),
        wrong: first(&wrong),
        whole: Whole { right, wrong },
        class: None,
        spans,
        spec: resolved.spec,
    };
    Ok((case, is_several))
}

/// Two answers that begin alike are told apart by the first token that differs: what is before it follows the prompt,
/// and its contrast. Gives those tokens; none where the answers differ at once, or where nothing can follow.
fn read_on(spec: &mut RunSpec, a: &[u32], b: &[u32]) -> Vec<u32> {
    let n = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let is_at_end = spec.position + 1 == spec.ids.len();
    if n == 0 || n >= a.len().min(b.len()) || !is_at_end {
        return vec![];
    }
    spec.ids = longer(&spec.ids, &a[..n]);
    let contrast = spec.contrast.as_deref();
    spec.contrast = contrast.map(|ids| longer(ids, &a[..n]));
    spec.n_prompt += n;
    spec.reach += n;
    spec.position += n;
    spec.last += n;
    a[..n].to_vec()
}

/// The tokens that hold some of the prompt's bytes. None where the tokens' bytes are not the prompt's.
fn positions(resolved: &Resolved, prompt: &str, bytes: &std::ops::Range<usize>) -> Vec<usize> {
    let ordinary = || {
        resolved
            .tokens
            .iter()
            .enumerate()
            .filter(|(_, piece)| !piece.special)
    };
    let total: usize = ordinary().map(|(_, piece)| piece.bytes.len()).sum();
    // Some tokenizers put a space before the text.
    let Some(ahead) = total.checked_sub(prompt.len()).filter(|ahead| *ahead <= 1) else {
        return vec![];
    };
    let (from, to) = (bytes.start + ahead, bytes.end + ahead);
    let mut start = 0;
    ordinary()
        .filter_map(|(position, piece)| {
            let own = start..start + piece.bytes.len();
            start = own.end;
            (own.start < to && from < own.end).then_some(position)
        })
        .collect()
}

fn shortened(text: &str) -> String {
    let flat = text.replace('\n', "⏎");
    let n = flat.chars().count();
    if n <= LABEL {
        flat
    } else {
        let end: String = flat.chars().skip(n - LABEL).collect();
        format!("…{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};
    use crate::task::Draw;

    #[test]
    fn items_become_tokens_with_their_places() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let draw = Draw {
            n: Some(8),
            ..Draw::default()
        };
        let set = TaskSet::open("ioi", &draw).unwrap();
        let (cases, _) = of_task(&set, &model, BosRule::Auto).unwrap();
        assert!(!cases.is_empty());
        let tokenizer = model.tokenizer.as_ref().unwrap();
        for case in &cases {
            let (io, s) = (case.span("IO"), case.span("S1"));
            assert!(!io.is_empty() && !s.is_empty());
            let text = |positions: &[usize]| -> String {
                let ids: Vec<u32> = positions.iter().map(|at| case.spec.ids[*at]).collect();
                tokenizer
                    .pieces(&ids)
                    .iter()
                    .map(|piece| piece.text.clone())
                    .collect()
            };
            assert_eq!(text(case.span("S1")).trim(), text(case.span("S2")).trim());
            assert_ne!(text(io).trim(), text(s).trim());
            let (right, wrong) = case.pair().unwrap();
            assert_ne!(right, wrong);
            let back = case.swapped().unwrap().swapped().unwrap();
            assert_eq!(back.spec, case.spec);
        }
    }

    #[test]
    fn answers_that_begin_alike_are_read_where_they_differ() {
        let spec = || RunSpec {
            ids: [1, 2, 3].as_slice().into(),
            contrast: Some([1, 4, 3].as_slice().into()),
            n_prompt: 3,
            reach: 3,
            position: 2,
            last: 2,
            ..RunSpec::default()
        };
        let mut longer = spec();
        assert_eq!(read_on(&mut longer, &[7, 8, 9], &[7, 8, 5]), [7, 8]);
        assert_eq!(longer.ids[..], [1, 2, 3, 7, 8]);
        assert_eq!(longer.contrast.as_deref(), Some(&[1, 4, 3, 7, 8][..]));
        assert_eq!((longer.position, longer.last, longer.n_prompt), (4, 4, 5));
        for (a, b) in [
            // They differ at once, one is the other's beginning, they are the same.
            (&[7, 8][..], &[6, 8][..]),
            (&[7, 8], &[7]),
            (&[7, 8], &[7, 8]),
        ] {
            let mut same = spec();
            assert_eq!(read_on(&mut same, a, b), [0u32; 0]);
            assert_eq!(same, spec());
        }
        let mut inside = RunSpec {
            position: 1,
            ..spec()
        };
        assert_eq!(read_on(&mut inside, &[7, 8], &[7, 5]), [0u32; 0]);
    }

    #[test]
    fn whole_answers_follow_their_prompt() {
        let case = Case {
            answers: vec![7],
            wrong: vec![6, 5],
            whole: Whole {
                right: vec![vec![7, 8, 9]],
                wrong: vec![],
            },
            spec: RunSpec {
                ids: [1, 2].as_slice().into(),
                n_prompt: 2,
                reach: 2,
                position: 1,
                last: 1,
                ..RunSpec::default()
            },
            ..Case::default()
        };
        assert_eq!(case.right_tokens(0), [7, 8, 9]);
        assert_eq!(case.wrong_tokens(1), [5]);
        assert_eq!(case.right_tokens(1), [0u32; 0]);
        let longer = case.followed_by(&[7, 8]);
        assert_eq!(longer.ids[..], [1, 2, 7, 8]);
        assert_eq!((longer.position, longer.last, longer.n_prompt), (1, 1, 4));
    }

    #[test]
    fn a_set_of_which_nothing_can_be_run_is_refused_with_the_reason() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let item = Item {
            prompt: String::new(),
            contrast: None,
            answers: vec![Answer::Text(" Mary".into())],
            wrong: vec![],
            spans: vec![],
        };
        let set = TaskSet {
            name: "none".into(),
            items: vec![item],
            verbaliser: None,
            notes: vec![],
        };
        let error = of_task(&set, &model, BosRule::Never)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`none`") && error.contains("empty"),
            "{error}"
        );
    }
}
