//! Generates text on the thread that runs experiments, a token at a time, while no run is wanted there.
//!
//! A run goes first: the token under way is given up at its next layer, and asked for again once the run is through.
//! Nothing that was generated is lost by that. A newer request for text replaces an older one; the unedited text of the
//! same prompt is taken over from it.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::Event;
use super::text::{TextId, TextToken};
use crate::experiment::engine::{Engine, RunError};
use crate::experiment::{Generation, RunSpec, Side};
use crate::model::Model;

#[derive(Debug)]
pub(super) struct TextRequest {
    pub(super) text: TextId,
    pub(super) model: Arc<Model>,
    pub(super) spec: Arc<RunSpec>,
    pub(super) n_tokens: usize,
}

/// The request that is worked on, and the texts so far.
#[derive(Debug, Default)]
pub(super) struct Writer {
    work: Option<Work>,
    before: Option<Line>,
    after: Option<Line>,
}

#[derive(Debug)]
struct Work {
    request: TextRequest,
    /// Its count in the mailbox.
    generation: u64,
    side: Side,
    /// How many tokens of the side the window has been told.
    n_told: usize,
}

/// A text under way.
#[derive(Debug)]
struct Line {
    /// Weak: a text shall not keep the weights of a model that is no longer open.
    model: Weak<Model>,
    prompt: Arc<[u32]>,
    generation: Generation,
    tokens: Vec<TextToken>,
    /// What all tokens but the first took together.
    millis: f64,
}

impl Writer {
    pub(super) fn take(&mut self, request: TextRequest, generation: u64) {
        let belongs = |line: &Line| {
            std::ptr::eq(line.model.as_ptr(), Arc::as_ptr(&request.model))
                && line.prompt == request.spec.ids
        };
        self.before = self.before.take().filter(belongs);
        self.after = None;
        self.work = Some(Work {
            request,
            generation,
            side: Side::Before,
            n_told: 0,
        });
    }

    /// The count of the request that is worked on.
    pub(super) fn generation(&self) -> Option<u64> {
        self.work.as_ref().map(|work| work.generation)
    }

    pub(super) fn model(&self) -> Option<&Arc<Model>> {
        self.work.as_ref().map(|work| &work.request.model)
    }

    /// What is worked on is no longer wanted.
    pub(super) fn drop_work(&mut self) {
        self.work = None;
        self.after = None;
    }

    /// Everything may be half made.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The sides of the request that are not through, for a message about them.
    pub(super) fn under_way(&self) -> impl Iterator<Item = (TextId, Side)> {
        let work = self.work.as_ref();
        let sides = work.map(|work| {
            let after = (work.side == Side::Before && !work.request.spec.edits.is_empty())
                .then_some(Side::After);
            std::iter::once(work.side)
                .chain(after)
                .map(|side| (work.request.text, side))
        });
        sides.into_iter().flatten()
    }

    /// Does the next piece of work: up to a token. `go_on` is asked at every layer.
    pub(super) fn advance(
        &mut self,
        engine: &mut Engine,
        go_on: &mut dyn FnMut() -> bool,
        send: &dyn Fn(Event),
    ) {
        let Some(work) = &mut self.work else { return };
        let line = match work.side {
            Side::Before => &mut self.before,
            Side::After => &mut self.after,
        };
        let (text, side) = (work.request.text, work.side);
        let is_through = match work.next(line, engine, go_on, send) {
            Ok(is_through) => is_through,
            Err(RunError::Stopped) => false,
            Err(error) => {
                send(Event::LineFailed {
                    text,
                    side,
                    message: error.to_string(),
                });
                true
            }
        };
        if is_through {
            if work.side == Side::Before && !work.request.spec.edits.is_empty() {
                work.side = Side::After;
                work.n_told = 0;
            } else {
                self.work = None;
            }
        }
    }
}

impl Work {
    /// Tells the tokens that are known, or makes the next one. True where the side is through.
    fn next(
        &mut self,
        line: &mut Option<Line>,
        engine: &mut Engine,
        go_on: &mut dyn FnMut() -> bool,
        send: &dyn Fn(Event),
    ) -> Result<bool, RunError> {
        let TextRequest {
            text,
            model,
            spec,
            n_tokens,
        } = &self.request;
        Generation::check_room(&model.spec, spec.ids.len(), *n_tokens)?;
        let line = match line {
            Some(line) => line,
            None => line.insert(Line {
                generation: engine.begin(spec, self.side, *n_tokens, go_on)?,
                model: Arc::downgrade(model),
                prompt: Arc::clone(&spec.ids),
                tokens: vec![],
                millis: 0.0,
            }),
        };
        while let Some(token) = line
            .tokens
            .get(self.n_told)
            .filter(|_| self.n_told < *n_tokens)
        {
            send(Event::Token {
                text: *text,
                side: self.side,
                index: self.n_told,
                token: token.clone(),
            });
            self.n_told += 1;
        }
        let last = self.n_told.checked_sub(1).map(|last| &line.tokens[last]);
        let ended = last.is_some_and(|token| model.spec.eos_ids.contains(&token.chosen.id));
        if ended || self.n_told >= *n_tokens {
            let n_timed = line.tokens.len().saturating_sub(1);
            send(Event::LineDone {
                text: *text,
                side: self.side,
                n_tokens: self.n_told,
                ended,
                millis: (n_timed > 0).then(|| line.millis / n_timed as f64),
            });
            return Ok(true);
        }
        let started = Instant::now();
        let token = line.generation.advance(model, go_on)?;
        if !line.tokens.is_empty() {
            line.millis += started.elapsed().as_secs_f64() * 1e3;
        }
        line.tokens.push(TextToken {
            chosen: token.chosen,
            top: token.top,
        });
        Ok(false)
    }
}
