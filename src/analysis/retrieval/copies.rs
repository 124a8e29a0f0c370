//! Which heads copy which tokens of an answer: what retrieval scores count, over tokens that the model writes or that it
//! is fed.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use crate::analysis::AnalysisError;
use crate::analysis::atlas::plain;
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Readout, Side};
use crate::model::site::{Part, Site};
use crate::model::spec::ModelSpec;

use super::super::masking::BUDGET;
use super::haystack::Instance;

/// How copies become a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counting {
    pub of: Count,
    /// A copied token may stand anywhere, and not only in the answer's place; it has to be one of the answer's.
    pub anywhere: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Count {
    /// Each different token once, over the different tokens of the place (the paper).
    #[default]
    Set,
    /// Each copy, over the tokens of the place: can exceed 1 (the authors' program).
    Steps,
}

impl Count {
    pub const ALL: [Self; 2] = [Self::Set, Self::Steps];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Steps => "steps",
        }
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            Count::Set => "each token once",
            Count::Steps => "each step",
        };
        let place = if self.anywhere {
            "anywhere"
        } else {
            "in the answer's place"
        };
        write!(f, "{of}, {place}")
    }
}

/// What one instance gave.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard {
    /// Whether it counts.
    pub kept: bool,
    /// What the model wrote; `None` where it was fed the answer.
    pub written: Option<String>,
    /// ROUGE-1 recall of the answer in that.
    pub recall: Option<f64>,
    /// Share of the answer's tokens that were the likeliest; `None` where the model wrote.
    pub accuracy: Option<f64>,
    /// `[layer, head]`
    pub scores: Vec<f32>,
    /// Steps in which a head copied, `[layer, head]`.
    pub copies: Vec<usize>,
}

/// Copies of every head on one instance.
struct Copies<'a> {
    counting: Counting,
    span: &'a Range<usize>,
    /// The tokens of the place.
    wanted: BTreeSet<u32>,
    /// `[layer, head]`
    copied: Vec<BTreeSet<u32>>,
    steps: Vec<usize>,
}

impl<'a> Copies<'a> {
    fn new(instance: &'a Instance, counting: Counting, spec: &ModelSpec) -> Self {
        let n = spec.n_layers * spec.n_heads;
        Self {
            counting,
            span: &instance.span,
            wanted: instance.ids[instance.span.clone()]
                .iter()
                .copied()
                .collect(),
            copied: vec![BTreeSet::new(); n],
            steps: vec![0; n],
        }
    }

    /// One head's row before a token: `ids` are those it sees, `token` the next one.
    fn hear(&mut self, head: usize, row: &[f32], ids: &[u32], token: u32) {
        let Some(key) = strongest(row) else {
            return;
        };
        let in_place = if self.counting.anywhere {
            self.wanted.contains(&token)
        } else {
            self.span.contains(&key)
        };
        if in_place && ids.get(key) == Some(&token) {
            self.copied[head].insert(token);
            self.steps[head] += 1;
        }
    }

    fn scores(&self) -> Vec<f32> {
        let of = |head: usize| match self.counting.of {
            Count::Set => self.copied[head].len() as f32 / self.wanted.len() as f32,
            Count::Steps => self.steps[head] as f32 / self.span.len() as f32,
        };
        (0..self.steps.len()).map(of).collect()
    }
}

/// The index of the largest; the first of equal ones.
fn strongest(row: &[f32]) -> Option<usize> {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)))
}

/// Heads heard while the model writes up to `most` tokens, or to the end of a line or text. The instance counts where the
/// answer's recall is above `gate`.
pub(super) fn greedy(
    engine: &mut Engine,
    instance: &Instance,
    counting: Counting,
    (most, gate): (usize, f64),
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Heard, AnalysisError> {
    let model = std::sync::Arc::clone(engine.model());
    let n_heads = model.spec.n_heads;
    let most = most.min(model.spec.n_ctx.saturating_sub(instance.ids.len()));
    let mut copies = Copies::new(instance, counting, &model.spec);
    let mut generation = engine.begin(&plain(&instance.ids), Side::Before, most, go_on)?;
    let mut ids = instance.ids.clone();
    let n_prompt = ids.len();
    while ids.len() < n_prompt + most {
        let token = generation.advance(&model, go_on)?;
        let id = token.chosen.id;
        for (layer, rows) in token.rows.iter().enumerate() {
            for (head, row) in rows.chunks_exact(rows.len() / n_heads).enumerate() {
                copies.hear(layer * n_heads + head, row, &ids, id);
            }
        }
        ids.push(id);
        if model.spec.eos_ids.contains(&id) || model.token_text(id).contains('\n') {
            break;
        }
    }
    let written = model.text_after(&instance.ids, &ids[n_prompt..]);
    let recall = if instance.answer_text.is_empty() {
        recall(&model.text_after(&instance.ids, &instance.answer), &written)
    } else {
        recall(&instance.answer_text, &written)
    };
    Ok(Heard {
        kept: recall > gate,
        written: Some(written),
        recall: Some(recall),
        accuracy: None,
        scores: copies.scores(),
        copies: copies.steps,
    })
}

/// Heads heard while the true answer is fed; it counts in any case.
pub(super) fn teacher_forced(
    engine: &mut Engine,
    instance: &Instance,
    counting: Counting,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Heard, AnalysisError> {
    forced_within(engine, instance, counting, BUDGET, go_on)
}

fn forced_within(
    engine: &mut Engine,
    instance: &Instance,
    counting: Counting,
    budget: usize,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Heard, AnalysisError> {
    let spec = engine.model().spec.clone();
    let mut copies = Copies::new(instance, counting, &spec);
    // The last token of the answer is read, not fed.
    let fed = &instance.answer[..instance.answer.len().saturating_sub(1)];
    let ids = [&instance.ids[..], fed].concat();
    let (n, first) = (ids.len(), instance.ids.len() - 1);
    let mut right = 0;
    for sites in groups(&spec, n, budget) {
        let dumped = engine.dump_while(&plain(&ids), &sites, go_on)?;
        for (site, dumped) in sites.iter().zip(&dumped) {
            for (i, token) in instance.answer.iter().enumerate() {
                let query = first + i;
                if let Site::Block(layer, _) = site {
                    for head in 0..spec.n_heads {
                        let row = &dumped.values[(head * n + query) * n..][..=query];
                        copies.hear(layer * spec.n_heads + head, row, &ids[..=query], *token);
                    }
                } else {
                    let logits = &dumped.values[query * spec.n_vocab..][..spec.n_vocab];
                    let top = Readout::new(logits).top(1);
                    right += usize::from(top.first().is_some_and(|top| top.id == *token));
                }
            }
        }
    }
    Ok(Heard {
        kept: true,
        written: None,
        recall: None,
        accuracy: Some(right as f64 / instance.answer.len() as f64),
        scores: copies.scores(),
        copies: copies.steps,
    })
}

/// The patterns of all layers and the logits, in groups that each take no more than `budget` bytes, but for a single one
/// that does. Each group is in order of execution.
fn groups(spec: &ModelSpec, n_tokens: usize, budget: usize) -> Vec<Vec<Site>> {
    let layers = (0..spec.n_layers).map(|layer| Site::Block(layer, Part::Pattern));
    let mut groups: Vec<Vec<Site>> = vec![];
    let mut used = 0;
    for site in layers.chain([Site::Logits]) {
        let size: usize = site.shape(spec, n_tokens).iter().product::<usize>() * size_of::<f32>();
        match groups.last_mut() {
            Some(group) if used + size <= budget => group.push(site),
            _ => {
                groups.push(vec![site]);
                used = 0;
            }
        }
        used += size;
    }
    groups
}

impl Instance {
    /// Whether it fits itself and the model; which it was, where not.
    pub fn check(&self, spec: &ModelSpec) -> Result<(), AnalysisError> {
        let needs = |what: &str| {
            let label = &self.label;
            Err(AnalysisError::needs(format!(
                "the instance `{label}` {what}"
            )))
        };
        if self.answer.is_empty() {
            return needs("has no answer");
        }
        if self.span.is_empty() || self.span.end > self.ids.len() {
            return needs("has an answer's place that is empty or outside its prompt");
        }
        if self.answer.iter().any(|id| *id as usize >= spec.n_vocab) {
            return needs("has an answer that is not in the model's vocabulary");
        }
        if self.ids.len() + self.answer.len() > spec.n_ctx {
            return Err(RunError::TooLong {
                which: "a prompt with its answer",
                n_tokens: self.ids.len() + self.answer.len(),
                n_ctx: spec.n_ctx,
            }
            .into());
        }
        Ok(())
    }
}

/// ROUGE-1 recall: the share of the reference's words, each as often as it stands there, that are in `text`. Words are
/// runs of letters and digits in lower case, without the endings of plurals and verbs.
pub(super) fn recall(reference: &str, text: &str) -> f64 {
    let (reference, mut left) = (words(reference), words(text));
    if reference.is_empty() {
        return 0.0;
    }
    let found = reference.iter().filter(|word| {
        let at = left.iter().position(|other| other == *word);
        at.map(|at| left.swap_remove(at)).is_some()
    });
    found.count() as f64 / reference.len() as f64
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| {
            let ends = ["ing", "ed", "es", "s"].into_iter();
            let mut stems = ends.filter_map(|end| word.strip_suffix(end));
            let stem = stems.find(|stem| stem.chars().count() >= 3);
            stem.unwrap_or(word).to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::{engine, key_values};
    use super::*;

    const EVERYWHERE: Counting = Counting {
        of: Count::Set,
        anywhere: true,
    };
    const STEPS: Counting = Counting {
        of: Count::Steps,
        anywhere: false,
    };

    /// One layer of two heads.
    fn two_heads() -> ModelSpec {
        let mut spec = engine().model().spec.clone();
        (spec.n_layers, spec.n_heads) = (1, 2);
        spec
    }

    #[test]
    fn a_copy_is_the_next_token_at_the_strongest_key_in_the_place() {
        let instance = Instance {
            label: String::new(),
            ids: vec![9, 5, 6, 5, 7, 5],
            answer: vec![5, 6],
            answer_text: String::new(),
            span: 1..4,
            cell: None,
        };
        let spec = two_heads();
        let of = |counting: Counting, rows: &[(usize, usize, u32)]| {
            let mut copies = Copies::new(&instance, counting, &spec);
            for (head, key, token) in rows {
                let mut row = [0.1; 6];
                row[*key] = 0.5;
                copies.hear(*head, &row, &instance.ids, *token);
            }
            copies.scores()
        };
        // Two different tokens in a place of three.
        let set = Counting::default();
        assert_eq!(of(set, &[(0, 1, 5), (0, 3, 5)]), [0.5, 0.0]);
        assert_eq!(of(set, &[(0, 1, 5), (0, 2, 6)]), [1.0, 0.0]);
        assert_eq!(of(STEPS, &[(0, 1, 5), (0, 3, 5)]), [2.0 / 3.0, 0.0]);
        let four = [(1, 1, 5); 4];
        assert_eq!(of(STEPS, &four), [0.0, 4.0 / 3.0]);
        // The right place with another token, the right token in another place.
        assert_eq!(of(set, &[(0, 1, 6), (1, 5, 5)]), [0.0, 0.0]);
        assert_eq!(of(EVERYWHERE, &[(0, 1, 6), (1, 5, 5)]), [0.0, 0.5]);
        assert_eq!(of(EVERYWHERE, &[(0, 0, 9), (1, 4, 7)]), [0.0, 0.0]);
        // Attention to the first token copies nothing, and of equal keys the first counts.
        assert_eq!(strongest(&[0.5, 0.5]), Some(0));
        assert_eq!(strongest(&[]), None);
    }

    #[test]
    fn writing_and_feeding_the_same_tokens_give_the_same_scores() {
        let mut engine = engine();
        let all = key_values(engine.model(), 6, 1);
        let mut same = 0;
        for one in &all {
            let never = &mut || true;
            for counting in [Counting::default(), EVERYWHERE, STEPS] {
                let n = one.answer.len();
                let written = greedy(&mut engine, one, counting, (n, 0.5), never).unwrap();
                let fed = teacher_forced(&mut engine, one, counting, never).unwrap();
                // The demo knows this exercise.
                assert!(written.kept && fed.accuracy == Some(1.0), "{written:?}");
                assert_eq!(written.scores, fed.scores);
                assert_eq!(written.copies, fed.copies);
                same += usize::from(fed.scores.iter().any(|x| *x > 0.9));
            }
        }
        assert!(same > 0, "some head copies");
    }

    #[test]
    fn groups_of_layers_give_what_one_dump_gives() {
        let mut engine = engine();
        let one = &key_values(engine.model(), 1, 2)[0];
        let spec = engine.model().spec.clone();
        assert_eq!(groups(&spec, one.ids.len(), BUDGET).len(), 1);
        let small = groups(&spec, one.ids.len(), 1);
        assert_eq!(small.len(), 5, "each layer by itself, and the logits");
        let layer = 8 * 32 * 32 * 4;
        assert_eq!(groups(&spec, 32, 2 * layer)[0].len(), 2);
        let run = |engine: &mut Engine, budget| {
            forced_within(engine, one, Counting::default(), budget, &mut || true).unwrap()
        };
        assert_eq!(run(&mut engine, 1), run(&mut engine, BUDGET));
    }

    #[test]
    fn recall_counts_words_once_each() {
        assert!((recall("the cat and the dog", "The dog!") - 0.4).abs() < 1e-9);
        assert!((recall("red lamps", "a red lamp") - 1.0).abs() < 1e-9);
        assert!((recall("the the the", "the") - 1.0 / 3.0).abs() < 1e-9);
        assert!(recall("", "x").abs() < 1e-9 && recall("x", "").abs() < 1e-9);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let engine = engine();
        let spec = &engine.model().spec;
        let good = key_values(engine.model(), 1, 0).remove(0);
        good.check(spec).unwrap();
        let mut bad = good.clone();
        bad.span = 5..good.ids.len() + 1;
        let error = bad.check(spec).unwrap_err().to_string();
        assert!(error.contains("outside"), "{error}");
        let mut bad = good.clone();
        bad.answer.clear();
        bad.check(spec).unwrap_err();
        let mut bad = good.clone();
        bad.answer[0] = 60_000;
        bad.check(spec).unwrap_err();
        let mut bad = good;
        bad.ids = [1].repeat(128);
        bad.check(spec).unwrap_err();
        let encoder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/models/tiny-bert"
        );
        let model = crate::model::load::open(encoder, &mut crate::model::load::Unreported);
        super::super::super::masking::check(&Arc::new(model.unwrap())).unwrap_err();
    }
}
