//! What a prediction says of a verbaliser's classes: words and weights become one number a class (SciPrompt: You et al.
//! 2024, and its released program; specification, circuits 10.3).
//!
//! ℓ(c, w) is the mean of a word's tokens' logits, p their softmax over all words of all classes, and a class scores
//! S(c) = Σ_w softmax(weights)(w) · ln p(c, w). It works alike on a masked token and on the next one.

use std::sync::Arc;

use super::AnalysisError;
use crate::experiment::resolve::resolve;
use crate::experiment::{Experiment, Readout};
use crate::model::Model;
use crate::prompt::{BosRule, Prompt};
use crate::task::Verbaliser;

/// Added to a probability before its logarithm.
const LEAST: f64 = 1e-15;

/// Classes whose words are tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    pub names: Vec<String>,
    words: Vec<Word>,
    /// Every token of a word, each once.
    tokens: Vec<u32>,
    /// What p is divided by, word by word; see [`Self::calibrated`].
    prior: Option<Vec<f64>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Word {
    class: usize,
    text: String,
    /// Where its tokens stand in `tokens`.
    tokens: Vec<usize>,
    /// Softmax of the weights within the class.
    share: f64,
}

/// A prompt's class among those of its set.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    pub of: Arc<Classes>,
    /// Which of them is right.
    pub right: usize,
}

impl Classes {
    /// The verbaliser's words as they stand after (in a masked prompt: in) `prompt`.
    pub fn new(
        verbaliser: &Verbaliser,
        model: &Model,
        prompt: &str,
        bos: BosRule,
    ) -> Result<Self, AnalysisError> {
        let mut experiment = Experiment::new(Prompt::Text(prompt.to_owned()));
        experiment.bos = bos;
        let words = || {
            verbaliser
                .classes
                .iter()
                .enumerate()
                .flat_map(|(class, of)| of.words.iter().map(move |word| (class, word)))
        };
        experiment.answers = words().map(|(_, (word, _))| format!(" {word}")).collect();
        let resolved = resolve(&experiment, model, None)
            .map_err(|error| AnalysisError::needs(format!("the verbaliser's words: {error}")))?;
        let mut tokens: Vec<u32> = Vec::new();
        let words: Vec<Word> = words()
            .zip(&resolved.answers)
            .map(|((class, (text, weight)), answer)| Word {
                class,
                text: text.clone(),
                tokens: answer
                    .ids
                    .iter()
                    .map(|id| {
                        tokens
                            .iter()
                            .position(|known| known == id)
                            .unwrap_or_else(|| {
                                tokens.push(*id);
                                tokens.len() - 1
                            })
                    })
                    .collect(),
                share: f64::from(*weight),
            })
            .collect();
        let names: Vec<String> = verbaliser.classes.iter().map(|c| c.name.clone()).collect();
        Ok(Self::of(names, words, tokens))
    }

    /// With the words' weights as they are in `share`.
    fn of(names: Vec<String>, mut words: Vec<Word>, tokens: Vec<u32>) -> Self {
        for class in 0..names.len() {
            let mut own: Vec<&mut Word> = words.iter_mut().filter(|w| w.class == class).collect();
            let most = own
                .iter()
                .map(|w| w.share)
                .fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = own.iter().map(|w| (w.share - most).exp()).sum();
            for word in &mut own {
                word.share = (word.share - most).exp() / total;
            }
        }
        Self {
            names,
            words,
            tokens,
            prior: None,
        }
    }

    /// The tokens whose logits are read, each once.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Which class an answer names: by the class's name, else by one of its words.
    pub fn named(&self, answer: &str) -> Option<usize> {
        let answer = answer.trim();
        let same = |name: &str| name.eq_ignore_ascii_case(answer);
        let by_name = self.names.iter().position(|name| same(name));
        by_name.or_else(|| self.words.iter().find(|w| same(&w.text)).map(|w| w.class))
    }

    /// The same with each word's probability divided by its mean one over `predictions` (logits of [`Self::tokens`]), and
    /// normalised again: what the prompt's form alone makes likely counts no longer. Words in the lower half by that mean
    /// are dropped, but for the likeliest of each class.
    #[must_use]
    pub fn calibrated(&self, predictions: &[Vec<f32>]) -> Self {
        let mut prior = vec![0.0; self.words.len()];
        for logits in predictions {
            for (sum, p) in prior.iter_mut().zip(self.word_probs(logits)) {
                *sum += p / predictions.len() as f64;
            }
        }
        let mut sorted = prior.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let best = |class: usize| {
            let own = (0..prior.len()).filter(|i| self.words[*i].class == class);
            own.max_by(|a, b| prior[*a].total_cmp(&prior[*b]))
        };
        let stays = |i: usize| prior[i] >= middle || best(self.words[i].class) == Some(i);
        let kept: Vec<usize> = (0..prior.len()).filter(|i| stays(*i)).collect();
        let words = kept.iter().map(|i| Word {
            // Back to a weight: a softmax of logarithms gives the shares again.
            share: self.words[*i].share.ln(),
            ..self.words[*i].clone()
        });
        Self {
            prior: Some(kept.iter().map(|i| prior[*i].max(LEAST)).collect()),
            ..Self::of(self.names.clone(), words.collect(), self.tokens.clone())
        }
    }

    /// p of each word among all; `logits` are those of [`Self::tokens`].
    fn word_probs(&self, logits: &[f32]) -> Vec<f64> {
        let of_words: Vec<f32> = self
            .words
            .iter()
            .map(|word| {
                let own = word.tokens.iter().map(|at| logits[*at]);
                own.sum::<f32>() / word.tokens.len().max(1) as f32
            })
            .collect();
        let readout = Readout::new(&of_words);
        let ids = 0..of_words.len() as u32;
        ids.filter_map(|id| Some(readout.log_prob(id)?.exp()))
            .collect()
    }

    /// S of each class; `logits` are those of [`Self::tokens`].
    pub fn scores(&self, logits: &[f32]) -> Vec<f64> {
        let mut p = self.word_probs(logits);
        if let Some(prior) = &self.prior {
            p.iter_mut().zip(prior).for_each(|(p, prior)| *p /= prior);
            let total: f64 = p.iter().sum();
            for p in &mut p {
                *p /= total;
            }
        }
        let mut scores = vec![0.0; self.names.len()];
        for (word, p) in self.words.iter().zip(p) {
            scores[word.class] += word.share * (p + LEAST).ln();
        }
        scores
    }

    /// The class with the largest score; the first of equals.
    pub fn best(&self, logits: &[f32]) -> Option<usize> {
        let scores = self.scores(logits);
        let order = |a: &usize, b: &usize| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a));
        (0..scores.len()).max_by(order)
    }
}

impl Classified {
    /// S of the right class minus the largest of the others.
    pub fn margin(&self, logits: &[f32]) -> Option<f64> {
        let scores = self.of.scores(logits);
        let others = scores
            .iter()
            .enumerate()
            .filter(|(class, _)| *class != self.right);
        let best = others.map(|(_, score)| *score).reduce(f64::max)?;
        Some(scores.get(self.right)? - best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::demo;
    use crate::model::load::{Unreported, open};

    /// Two classes of two words and of one; the second word has two tokens.
    fn two() -> Classes {
        let word = |class, text: &str, tokens: &[usize], weight| Word {
            class,
            text: text.into(),
            tokens: tokens.to_vec(),
            share: weight,
        };
        let words = vec![
            word(0, "good", &[0], 1.0),
            word(0, "very fine", &[1, 2], 0.5),
            word(1, "bad", &[3], 1.0),
        ];
        Classes::of(
            vec!["positive".into(), "negative".into()],
            words,
            vec![7, 8, 9, 4],
        )
    }

    #[test]
    fn a_class_scores_its_words_by_their_weights() {
        let logits = [2.0, 1.0, 0.0, 1.5];
        let words = [2.0f64, 0.5, 1.5].map(f64::exp);
        let total: f64 = words.iter().sum();
        let shares = [1.0f64, 0.5].map(f64::exp);
        let both: f64 = shares.iter().sum();
        let by_hand = [
            shares[0] / both * (words[0] / total).ln() + shares[1] / both * (words[1] / total).ln(),
            (words[2] / total).ln(),
        ];
        let classes = two();
        for (score, expected) in classes.scores(&logits).iter().zip(by_hand) {
            assert!((score - expected).abs() < 1e-9, "{score} {expected}");
        }
        let right = |right| Classified {
            of: Arc::new(classes.clone()),
            right,
        };
        let margin = by_hand[0] - by_hand[1];
        assert!((right(0).margin(&logits).unwrap() - margin).abs() < 1e-9);
        assert!((right(1).margin(&logits).unwrap() + margin).abs() < 1e-9);
        assert_eq!(classes.best(&logits), Some(usize::from(margin < 0.0)));
        assert_eq!(classes.named(" Negative"), Some(1));
        assert_eq!(classes.named("very fine"), Some(0));
        assert_eq!(classes.named("unheard of"), None);
    }

    #[test]
    fn calibrated_the_mean_prediction_prefers_no_word() {
        let seen = vec![vec![3.0, 1.0, 1.0, 0.0]];
        let classes = two().calibrated(&seen);
        // The rarest word of its class is dropped, that of a class of one stays.
        let kept: Vec<&str> = classes
            .words
            .iter()
            .map(|word| word.text.as_str())
            .collect();
        assert_eq!(kept, ["good", "very fine", "bad"]);
        let scores = classes.scores(&seen[0]);
        assert!((scores[0] - scores[1]).abs() < 1e-9, "{scores:?}");
        // A word that is likelier than it was on the average now decides.
        assert_eq!(classes.best(&[3.0, 1.0, 1.0, 1.0]), Some(1));
        assert_eq!(two().best(&[3.0, 1.0, 1.0, 1.0]), Some(0));
    }

    #[test]
    fn words_are_tokens_where_they_stand() {
        let model = open(demo::NAME, &mut Unreported).unwrap();
        let set = crate::task::TaskSet::open("sentiment", &crate::task::Draw::default()).unwrap();
        let classes = Classes::new(
            set.verbaliser.as_ref().unwrap(),
            &model,
            &set.items[0].prompt,
            BosRule::Auto,
        )
        .unwrap();
        assert_eq!(classes.names.len(), 2);
        let total: f64 = classes
            .words
            .iter()
            .filter(|w| w.class == 0)
            .map(|w| w.share)
            .sum();
        assert!((total - 1.0).abs() < 1e-9);
        let logits: Vec<f32> = vec![0.0; classes.tokens().len()];
        assert_eq!(classes.scores(&logits).len(), 2);
    }
}
