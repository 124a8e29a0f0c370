//! What the logits at one position say: the likeliest tokens, the answers, their difference.

/// A token with its logit and probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenScore {
    pub id: u32,
    pub logit: f32,
    pub prob: f32,
}

/// The logits at the read position, ready to be asked. Logits and probabilities are the model's own.
#[derive(Clone, Copy, Debug)]
pub struct Readout<'a> {
    logits: &'a [f32],
    /// log Σ exp(logit), in f64.
    log_sum: f64,
}

impl<'a> Readout<'a> {
    /// `logits` is `[vocab]`.
    pub fn new(logits: &'a [f32]) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
        Self {
            logits,
            log_sum: f64::from(max) + sum.ln(),
        }
    }

    /// `None` where the id is outside the vocabulary.
    pub fn score(&self, id: u32) -> Option<TokenScore> {
        let logit = *self.logits.get(id as usize)?;
        Some(TokenScore {
            id,
            logit,
            prob: (f64::from(logit) - self.log_sum).exp() as f32,
        })
    }

    /// ln of the probability of a token, in nats; `None` where the id is outside the vocabulary.
    pub fn log_prob(&self, id: u32) -> Option<f64> {
        Some(f64::from(*self.logits.get(id as usize)?) - self.log_sum)
    }

    /// The `k` likeliest tokens, falling by logit; equal logits by id, NaN last.
    pub fn top(&self, k: usize) -> Vec<TokenScore> {
        let mut ids: Vec<u32> = (0..self.logits.len() as u32).collect();
        let key = |id: &u32| {
            let logit = self.logits[*id as usize];
            if logit.is_nan() {
                f32::NEG_INFINITY
            } else {
                logit
            }
        };
        let order = |a: &u32, b: &u32| key(b).total_cmp(&key(a)).then(a.cmp(b));
        let k = k.min(ids.len());
        if k > 0 && k < ids.len() {
            ids.select_nth_unstable_by(k - 1, order);
        }
        ids.truncate(k);
        ids.sort_unstable_by(order);
        ids.into_iter().filter_map(|id| self.score(id)).collect()
    }

    /// First answer minus second; `None` with fewer than two.
    pub fn logit_diff(&self, answers: &[u32]) -> Option<f32> {
        let [first, second, ..] = answers else {
            return None;
        };
        Some(self.score(*first)?.logit - self.score(*second)?.logit)
    }

    /// Whether every logit is a finite number.
    pub fn is_finite(&self) -> bool {
        self.logits.iter().all(|l| l.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_even_for_large_logits() {
        let logits = [1000.0, 999.0, -1000.0, 1000.0];
        let readout = Readout::new(&logits);
        let top = readout.top(9);
        assert_eq!(top.iter().map(|t| t.id).collect::<Vec<_>>(), [0, 3, 1, 2]);
        let sum: f32 = top.iter().map(|t| t.prob).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(readout.logit_diff(&[0, 1]), Some(1.0));
        assert_eq!(readout.logit_diff(&[0]), None);
        assert_eq!(readout.logit_diff(&[0, 99]), None);
    }

    #[test]
    fn the_top_is_the_head_of_the_whole_order() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1009) as f32).collect();
        let readout = Readout::new(&logits);
        assert_eq!(readout.top(10), readout.top(1000)[..10]);
    }
}
