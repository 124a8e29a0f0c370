//! Text after the prompt, token by token, with the edits at work in the prompt and at every step.
//!
//! Keys and values of the tokens before are kept, so a step costs one row. An edit of all positions acts on generated
//! ones too; `last` stays the prompt's last token.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::engine::{Engine, RunError, Watch};
use super::readout::{Readout, TokenScore};
use super::{LayerMaps, Pass, RunSpec, Side};
use crate::model::Model;
use crate::model::plan::Plan;
use crate::model::site::{Part, Site};
use crate::model::spec::ModelSpec;
use crate::model::transformer::Past;

/// The likeliest tokens that a step keeps.
const TOP: usize = 10;

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

/// Text under way: what its next token needs of those before it. It can wait as long as it likes between two tokens.
#[derive(Debug)]
pub struct Generation {
    prompt: Arc<[u32]>,
    plan: Plan,
    record: BTreeSet<Site>,
    past: Past,
    n_tokens: usize,
    newest: Option<u32>,
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
        let mut generation = self.begin(spec, side, n_tokens, &mut || true)?;
        let mut tokens = vec![];
        while tokens.len() < n_tokens {
            let token = generation.advance(self.model(), &mut || true)?;
            let go_on = each(&token) && !ends.contains(&token.chosen.id);
            tokens.push(token);
            if !go_on {
                break;
            }
        }
        Ok(Generated { tokens })
    }

    /// Prepares a text of up to `n_tokens` after prompt A, as [`Self::generate`] does. `go_on` is asked now and then.
    pub fn begin(
        &mut self,
        spec: &RunSpec,
        side: Side,
        n_tokens: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Generation, RunError> {
        let spec = spec.of_prompt();
        Generation::check_room(&self.model().spec, spec.n_prompt, n_tokens)?;
        self.check(&spec)?;
        let plan = if side == Side::Before || spec.edits.is_empty() {
            Plan::default()
        } else {
            // Of a causal model, a run that goes on after the prompt is the prompt's as far as that reaches.
            if !self.knows(&spec.ids) {
                self.unedited(&spec, &mut Asked(go_on))?;
            }
            self.plan_up_to(&spec, spec.n_prompt + n_tokens)?
        };
        let model = self.model();
        let patterns = (0..model.spec.n_layers).map(|layer| Site::Block(layer, Part::Pattern));
        Ok(Generation {
            record: model.transformer.past_sites().chain(patterns).collect(),
            prompt: spec.ids,
            plan,
            past: Past::default(),
            n_tokens: 0,
            newest: None,
        })
    }
}

impl Generation {
    /// Whether a model can generate so many tokens after a prompt.
    pub fn check_room(shape: &ModelSpec, n_prompt: usize, n_tokens: usize) -> Result<(), RunError> {
        if !shape.is_causal() {
            return Err(RunError::NotCausal);
        }
        let n_all = n_prompt + n_tokens;
        if n_all > shape.n_ctx {
            return Err(RunError::TooLong {
                which: "prompt A with what is generated after it",
                n_tokens: n_all,
                n_ctx: shape.n_ctx,
            });
        }
        Ok(())
    }

    /// The next token, of the model that this was begun on. `go_on` is asked before each layer; where it says no, the
    /// token is given up ([`RunError::Stopped`]) and can be asked for again.
    pub fn advance(
        &mut self,
        model: &Model,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<GeneratedToken, RunError> {
        let transformer = &model.transformer;
        let (plan, record) = (&self.plan, &self.record);
        let mut forward = match self.newest {
            None => transformer.start(&self.prompt, plan, record)?,
            Some(id) => transformer.next(id, &self.past, plan, record)?,
        };
        let (mut rows, mut recorded) = (vec![], vec![]);
        loop {
            if !go_on() {
                return Err(RunError::Stopped);
            }
            let Some(mut of_layer) = forward.step()? else {
                break;
            };
            // Taken out: those of the prompt's pass are large, and one row of each head is wanted.
            if let Some(pattern) = of_layer.remove(&Site::Block(recorded.len(), Part::Pattern)) {
                let (n_heads, n_queries, n_keys) = pattern.dims3()?;
                let last = pattern.narrow(1, n_queries - 1, 1)?;
                let last = last.reshape(n_heads * n_keys)?.to_vec1::<f32>()?;
                rows.push(last.into());
            }
            recorded.push(of_layer);
        }
        let last = self.prompt.len() - 1 + self.n_tokens;
        let resid = forward.finish(Some(&[last]))?;
        let logits = forward.logits(resid)?.ok_or(RunError::NoLogits)?;
        let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        drop(forward);
        for (layer, of_layer) in recorded.iter().enumerate() {
            transformer.append(&mut self.past, layer, of_layer)?;
        }
        let top = Readout::new(&logits).top(TOP);
        self.newest = Some(top[0].id);
        self.n_tokens += 1;
        Ok(GeneratedToken {
            chosen: top[0],
            top,
            rows,
        })
    }
}

/// Hears nothing, and stops when it is told to.
struct Asked<'a>(&'a mut dyn FnMut() -> bool);

impl Watch for Asked<'_> {
    fn layer(&mut self, _side: Side, _maps: &Arc<LayerMaps>) -> bool {
        (self.0)()
    }

    fn pass(&mut self, _side: Side, _pass: &Pass) {}
}
