//! Losses of answers by the logits, with their gradients, in nats.

use crate::analysis::metric::log_prob;

/// −ln of a token's probability, and its gradient by the logits. No loss for what is no token.
pub fn cross_entropy(logits: &[f32], id: u32) -> (Option<f64>, Vec<f32>) {
    let Some(log_p) = log_prob(logits, id) else {
        return (None, vec![0.0; logits.len()]);
    };
    let log_sum = f64::from(logits[id as usize]) - log_p;
    let d = logits.iter().enumerate().map(|(i, logit)| {
        let p = (f64::from(*logit) - log_sum).exp();
        (p - f64::from(u8::from(i == id as usize))) as f32
    });
    (Some(-log_p), d.collect())
}

/// −ln of the probability of tokens one after the other, of logits `[token, vocab]` that each of them was read from, and
/// its gradient by those. No loss where one is no token.
pub fn answer_loss(logits: &[f32], tokens: &[u32]) -> (Option<f64>, Vec<f32>) {
    let n_vocab = logits.len() / tokens.len().max(1);
    let mut sum = Some(0.0);
    let mut d = Vec::with_capacity(logits.len());
    for (row, token) in logits.chunks_exact(n_vocab.max(1)).zip(tokens) {
        let (loss, of_row) = cross_entropy(row, *token);
        sum = sum.zip(loss).map(|(sum, loss)| sum + loss);
        d.extend(of_row);
    }
    (sum, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_is_its_definition() {
        let logits = [0.5, -1.0, 2.0];
        let (loss, d) = cross_entropy(&logits, 1);
        assert!((loss.unwrap() + log_prob(&logits, 1).unwrap()).abs() < 1e-12);
        assert!(d.iter().sum::<f32>().abs() < 1e-6);
        let p = log_prob(&logits, 2).unwrap().exp() as f32;
        assert!((d[2] - p).abs() < 1e-6 && d[1] < 0.0);
        assert_eq!(cross_entropy(&logits, 3).0, None);
    }

    #[test]
    fn losses_of_tokens_add_up() {
        let logits = [0.5, -1.0, 2.0, 1.0, 1.0, -3.0];
        let (loss, d) = answer_loss(&logits, &[1, 2]);
        let (first, of_first) = cross_entropy(&logits[..3], 1);
        let (second, of_second) = cross_entropy(&logits[3..], 2);
        assert!((loss.unwrap() - first.unwrap() - second.unwrap()).abs() < 1e-12);
        assert_eq!(d, [of_first, of_second].concat());
        assert_eq!(answer_loss(&logits, &[1, 3]).0, None);
    }
}
