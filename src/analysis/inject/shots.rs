//! Prompts with solved examples, made of cases.

use rand::seq::SliceRandom as _;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use crate::analysis::{AnalysisError, Case};
use crate::experiment::RunSpec;
use crate::experiment::engine::Engine;
use crate::model::Model;
use crate::model::site::{Part, Site};
use crate::prompt::BosRule;

use super::Settings;

/// How examples are put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Shots {
    /// Examples a prompt.
    pub n: usize,
    separator: Vec<u32>,
}

impl Shots {
    /// As many examples as asked for, or as the context has room for.
    pub fn new(model: &Model, cases: &[Case], settings: &Settings) -> Result<Self, AnalysisError> {
        let separator = match &model.tokenizer {
            Some(tokenizer) => tokenizer
                .encode(&settings.separator, BosRule::Never)
                .map_err(|error| AnalysisError::needs(format!("the separator: {error}")))?,
            None => vec![],
        };
        let longest = cases
            .iter()
            .map(|case| case.spec.ids.len())
            .max()
            .unwrap_or(0);
        let answers = cases.iter().map(|case| case.right_tokens(0).len());
        let answer = answers.max().unwrap_or(0).max(1);
        let example = longest + answer + separator.len();
        // The query's own answers follow it when they are read, all but their last token, and when they are written.
        let all_answers = cases.iter().flat_map(|case| {
            let right = (0..case.answers.len()).map(|i| case.right_tokens(i).len());
            right.chain((0..case.wrong.len()).map(|i| case.wrong_tokens(i).len()))
        });
        let after = all_answers.max().unwrap_or(0).max(1) - usize::from(!settings.exact);
        let query = longest + after;
        let room = model.spec.n_ctx.saturating_sub(query) / example;
        if room == 0 {
            return Err(AnalysisError::needs(format!(
                "inject needs prompts with a solved example before them, and the model's context of {} tokens has no room \
                 for one: choose shorter prompts",
                model.spec.n_ctx
            )));
        }
        Ok(Self {
            n: settings.shots.min(room).max(1),
            separator,
        })
    }

    #[must_use]
    pub fn at_most(self, n: usize) -> Self {
        Self {
            n: self.n.min(n),
            ..self
        }
    }

    pub fn notes(&self, settings: &Settings) -> Vec<String> {
        let fewer = || {
            format!(
                "{} examples a prompt instead of {}: the context, or the set, has no more",
                self.n, settings.shots
            )
        };
        let mut notes = vec![];
        if self.n < settings.shots {
            notes.push(fewer());
        }
        if self.separator.is_empty() {
            notes.push("examples follow one another with nothing between them".into());
        }
        notes
    }

    /// A query, one of `cases` where none is given, after random other cases with their first right answers, whole.
    pub fn draw(&self, cases: &[Case], query: Option<&Case>, rng: &mut ChaCha8Rng) -> Case {
        let n = (self.n + usize::from(query.is_none())).min(cases.len());
        let mut drawn: Vec<&Case> = sample(rng, cases.len(), n)
            .into_iter()
            .map(|i| &cases[i])
            .collect();
        let query = query.or_else(|| drawn.pop()).unwrap_or(&cases[0]);
        let answers: Vec<&[u32]> = drawn.iter().map(|case| case.right_tokens(0)).collect();
        self.put_together(&drawn, &answers, query)
    }

    /// As [`Self::draw`], with the examples' answers exchanged among them.
    pub fn draw_shuffled(&self, cases: &[Case], rng: &mut ChaCha8Rng) -> Case {
        let n = (self.n + 1).min(cases.len());
        let mut drawn: Vec<&Case> = sample(rng, cases.len(), n)
            .into_iter()
            .map(|i| &cases[i])
            .collect();
        let query = drawn.pop().unwrap_or(&cases[0]);
        let mut answers: Vec<&[u32]> = drawn.iter().map(|case| case.right_tokens(0)).collect();
        answers.shuffle(rng);
        self.put_together(&drawn, &answers, query)
    }

    fn put_together(&self, examples: &[&Case], answers: &[&[u32]], query: &Case) -> Case {
        let (bos, own) = query
            .spec
            .ids
            .split_at(query.spec.bos_count.min(query.spec.ids.len()));
        let mut ids = bos.to_vec();
        for (example, answer) in examples.iter().zip(answers) {
            ids.extend(example.spec.ids.iter().skip(example.spec.bos_count));
            ids.extend(*answer);
            ids.extend(&self.separator);
        }
        ids.extend(own);
        let n = ids.len();
        Case {
            spec: RunSpec {
                ids: ids.into(),
                n_prompt: n,
                reach: n,
                position: n - 1,
                last: n - 1,
                ..query.spec.clone()
            },
            spans: vec![],
            ..query.clone()
        }
    }
}

/// The mean z of all heads at the last tokens, `[layer, head, d_head]`.
pub(super) fn embedding(
    engine: &mut Engine,
    prompts: &[Case],
    go_on: &mut dyn FnMut(f32) -> bool,
) -> Result<Vec<f32>, AnalysisError> {
    let n_layers = engine.model().spec.n_layers;
    let sites: Vec<Site> = (0..n_layers)
        .map(|layer| Site::Block(layer, Part::Z))
        .collect();
    let mut sum: Vec<f64> = vec![];
    for (i, case) in prompts.iter().enumerate() {
        let heard = &mut || go_on(i as f32 / prompts.len() as f32);
        let dumped = engine.dump_while(&case.spec, &sites, heard)?;
        let z = dumped.iter().flat_map(|z| {
            let width = z.values.len() / case.spec.ids.len();
            z.values[width * case.spec.position..][..width].iter()
        });
        if sum.is_empty() {
            sum = z.map(|x| f64::from(*x)).collect();
        } else {
            for (sum, x) in sum.iter_mut().zip(z) {
                *sum += f64::from(*x);
            }
        }
    }
    let n = prompts.len().max(1) as f64;
    Ok(sum.iter().map(|x| (x / n) as f32).collect())
}
