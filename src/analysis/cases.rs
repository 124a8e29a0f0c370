//! Prompts as methods take them: tokens, the answers' tokens, and places with a name.

use super::AnalysisError;
use crate::experiment::resolve::{Resolved, resolve};
use crate::experiment::{Experiment, RunSpec};
use crate::model::Model;
use crate::model::tokenizer::Tokenizer;
use crate::prompt::{BosRule, Prompt};
use crate::task::{Answer, Item, TaskSet};

/// Letters of a prompt that are shown in tables.
const LABEL: usize = 60;

/// One prompt, ready to run.
#[derive(Clone, Debug)]
pub struct Case {
    /// The prompt's text, or the end of a long one.
    pub label: String,
    /// The unedited run; prompt B is its contrast.
    pub spec: RunSpec,
    /// The right answers' tokens; the first of them against the first wrong one is the logit difference.
    pub answers: Vec<u32>,
    pub wrong: Vec<u32>,
    /// Token positions that the set names: `IO`, `S1`, `key`, …
    pub spans: Vec<(String, Vec<usize>)>,
}

impl Case {
    /// What is in the prompt bar: the first answer is right, the others are wrong.
    pub fn of_experiment(resolved: &Resolved) -> Self {
        let ids: Vec<u32> = resolved.answers.iter().map(|answer| answer.id).collect();
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
            spans: vec![],
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

/// The items of a set for a model, and what a reader should know of those that were left out.
pub fn of_task(
    set: &TaskSet,
    model: &Model,
    bos: BosRule,
) -> Result<(Vec<Case>, Vec<String>), AnalysisError> {
    let mut notes = set.notes.clone();
    let mut cases = Vec::new();
    let (mut same, mut several, mut failed) = (0, 0, Vec::new());
    for item in &set.items {
        let item = match model.tokenizer.as_ref().and_then(Tokenizer::mask) {
            Some(mask) if item.is_masked() => item.with_mask(&mask),
            _ => item.clone(),
        };
        match case(&item, model, bos) {
            Err(error) => failed.push(error),
            Ok((case, _)) if case.pair().is_some_and(|(a, b)| a == b) => same += 1,
            Ok((case, is_several)) => {
                several += usize::from(is_several);
                cases.push(case);
            }
        }
    }
    if same > 0 {
        notes.push(format!(
            "{same} items left out: right and wrong answer begin with the same token of this model"
        ));
    }
    if several > 0 {
        notes.push(format!(
            "{several} items have an answer of several tokens: its first one is read"
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

/// The case, and whether an answer of it has several tokens.
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
    let resolved = resolve(&experiment, model, None).map_err(|error| error.to_string())?;
    let ids: Vec<u32> = resolved.answers.iter().map(|answer| answer.id).collect();
    let n_right = item.answers.len().min(ids.len());
    let read = resolved
        .answers
        .first()
        .into_iter()
        .chain(resolved.answers.get(n_right));
    let is_several = read.into_iter().any(|answer| answer.n_tokens > 1);
    let spans = item
        .spans
        .iter()
        .filter_map(|span| {
            let positions = positions(&resolved, &item.prompt, &span.bytes);
            (!positions.is_empty()).then(|| (span.name.clone(), positions))
        })
        .collect();
    let case = Case {
        label: shortened(&item.prompt),
        answers: ids[..n_right].to_vec(),
        wrong: ids[n_right..].to_vec(),
        spans,
        spec: resolved.spec,
    };
    Ok((case, is_several))
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
