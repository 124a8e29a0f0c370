//! Text after the prompt, token by token, with the edits at work in the prompt and at every step.
//!
//! Keys and values of the tokens before are kept, so a step costs one row. An edit of all positions acts on generated
//! ones too; `last` stays the prompt's last token.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::engine::{Engine, RunError, Unwatched};
use super::readout::{Readout, TokenScore};
use super::{RunSpec, Side};
use crate::model::plan::Plan;
use crate::model::site::{Part, Site};
use crate::model::transformer::Past;

/// A generated continuation of prompt A.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    pub tokens: Vec<GeneratedToken>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedToken {
    /// The chosen token, with its logit and probability.
    pub chosen: TokenScore,
    /// The likeliest tokens of this step, falling.
    pub top: Vec<TokenScore>,
    /// Where the token that this one was read from attended, by layer: `[head, key]`.
    pub rows: Vec<Arc<[f32]>>,
}

impl Engine {
    /// The likeliest token after prompt A, the likeliest after that, and so on, `n_tokens` times at most, or until one
    /// of `ends`; under the edits, or without them for [`Side::Before`]. `each` hears every token, and may stop it.
    pub fn generate(
        &mut self,
        spec: &RunSpec,
        side: Side,
        n_tokens: usize,
        ends: &[u32],
        each: &mut dyn FnMut(&GeneratedToken) -> bool,
    ) -> Result<Generated, RunError> {
        const TOP: usize = 10;
        let shape = self.model().spec.clone();
        if !shape.is_causal() {
            return Err(RunError::NotCausal);
        }
        let n_prompt = spec.ids.len();
        let n_all = n_prompt + n_tokens;
        if n_all > shape.n_ctx {
            return Err(RunError::TooLong {
                which: "prompt A with what is generated after it",
                n_tokens: n_all,
                n_ctx: shape.n_ctx,
            });
        }
        self.check(spec)?;
        let plan = if side == Side::Before || spec.edits.is_empty() {
            Plan::default()
        } else {
            self.unedited(spec, &mut Unwatched)?;
            self.plan_up_to(spec, n_all)?
        };

        let transformer = &self.model().transformer;
        let mut record: BTreeSet<Site> = transformer.past_sites().collect();
        record.extend((0..shape.n_layers).map(|layer| Site::Block(layer, Part::Pattern)));
        let mut past = Past::default();
        let mut generated = Generated { tokens: vec![] };
        while generated.tokens.len() < n_tokens {
            let mut forward = match generated.tokens.last() {
                None => transformer.start(&spec.ids, &plan, &record)?,
                Some(token) => transformer.next(token.chosen.id, &past, &plan, &record)?,
            };
            let (mut rows, mut recorded) = (vec![], vec![]);
            while let Some(of_layer) = forward.step()? {
                let layer = recorded.len();
                let pattern = &of_layer[&Site::Block(layer, Part::Pattern)];
                let (n_heads, n_queries, n_keys) = pattern.dims3()?;
                let last = pattern.narrow(1, n_queries - 1, 1)?;
                let last = last.reshape(n_heads * n_keys)?.to_vec1::<f32>()?;
                rows.push(last.into());
                recorded.push(of_layer);
            }
            let last = n_prompt - 1 + generated.tokens.len();
            let resid = forward.finish(Some(&[last]))?;
            let logits = forward.logits(resid)?.ok_or(RunError::NoLogits)?;
            let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
            drop(forward);
            for (layer, of_layer) in recorded.iter().enumerate() {
                transformer.append(&mut past, layer, of_layer)?;
            }
            let top = Readout::new(&logits).top(TOP);
            let token = GeneratedToken {
                chosen: top[0],
                top,
                rows,
            };
            let go_on = each(&token) && !ends.contains(&token.chosen.id);
            generated.tokens.push(token);
            if !go_on {
                break;
            }
        }
        Ok(generated)
    }
}
