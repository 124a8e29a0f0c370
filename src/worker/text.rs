//! What the window shows of generated text: the newest tokens of both sides, and older ones until newer come.

use std::sync::Arc;

use super::Event;
use crate::experiment::{RunSpec, Side, TokenScore};

/// Number of a request for text; newer is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextId(pub u64);

/// A generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct TextToken {
    pub chosen: TokenScore,
    /// The likeliest tokens of this step, falling.
    pub top: Vec<TokenScore>,
}

/// The state of the newest request for text. Read by the window; changed only by events.
#[derive(Clone, Debug, Default)]
pub struct LiveText {
    /// The newest request: its number, the prompt with its edits, and the most tokens.
    pub wanted: Option<(TextId, Arc<RunSpec>, usize)>,
    pub before: LiveLine,
    /// Empty without edits.
    pub after: LiveLine,
    /// Given up before it was complete.
    pub stopped: bool,
}

/// One side's text.
#[derive(Clone, Debug, Default)]
pub struct LiveLine {
    /// With the request that each belongs to. Those of the newest come first; older ones follow until newer come.
    pub tokens: Vec<(TextId, TextToken)>,
    pub state: LineState,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum LineState {
    #[default]
    Waiting,
    Done {
        /// By a token of the model, not by the number of tokens.
        ended: bool,
        /// A token's, the first left out.
        millis: Option<f64>,
    },
    Failed(String),
}

impl LiveText {
    /// Notes that a request was sent. What was generated of the same prompt stays, and counts as old where edits differ.
    pub fn submitted(&mut self, text: TextId, spec: Arc<RunSpec>, n_tokens: usize) {
        let same_prompt = matches!(&self.wanted, Some((_, old, _)) if old.ids == spec.ids);
        if !same_prompt {
            self.before = LiveLine::default();
        }
        if !same_prompt || spec.edits.is_empty() {
            self.after = LiveLine::default();
        }
        // Edits do not reach the unedited text.
        self.before.tokens.truncate(n_tokens);
        for (of, _) in &mut self.before.tokens {
            *of = text;
        }
        self.before.state = LineState::Waiting;
        self.after.state = LineState::Waiting;
        self.wanted = Some((text, spec, n_tokens));
        self.stopped = false;
    }

    /// Notes that the request was given up: what it gave stays, what is older goes.
    pub fn stop(&mut self) {
        let newest = self.newest();
        for line in [&mut self.before, &mut self.after] {
            line.tokens.retain(|(of, _)| *of == newest);
        }
        self.stopped |= !self.is_complete();
    }

    /// Takes an event in; events of superseded requests are dropped.
    pub fn apply(&mut self, event: &Event) {
        if self.stopped {
            return;
        }
        let newest = self.newest();
        match event {
            Event::Token {
                text,
                side,
                index,
                token,
            } if *text == newest => {
                let line = self.line_mut(*side);
                let token = (newest, token.clone());
                match line.tokens.get_mut(*index) {
                    Some(old) => *old = token,
                    None => line.tokens.push(token),
                }
            }
            Event::LineDone {
                text,
                side,
                n_tokens,
                ended,
                millis,
            } if *text == newest => {
                let line = self.line_mut(*side);
                line.tokens.truncate(*n_tokens);
                line.state = LineState::Done {
                    ended: *ended,
                    millis: *millis,
                };
            }
            Event::LineFailed {
                text,
                side,
                message,
            } if *text == newest => {
                let line = self.line_mut(*side);
                line.tokens.clear();
                line.state = LineState::Failed(message.clone());
            }
            _ => {}
        }
    }

    fn newest(&self) -> TextId {
        self.wanted
            .as_ref()
            .map_or_else(TextId::default, |(text, ..)| *text)
    }

    pub fn line(&self, side: Side) -> &LiveLine {
        match side {
            Side::Before => &self.before,
            Side::After => &self.after,
        }
    }

    fn line_mut(&mut self, side: Side) -> &mut LiveLine {
        match side {
            Side::Before => &mut self.before,
            Side::After => &mut self.after,
        }
    }

    /// The sides that there are: the edited one only where there are edits.
    pub fn sides(&self) -> &'static [Side] {
        match &self.wanted {
            Some((_, spec, _)) if !spec.edits.is_empty() => &[Side::Before, Side::After],
            _ => &[Side::Before],
        }
    }

    /// The tokens that the newest request has given on a side.
    pub fn ids(&self, side: Side) -> Vec<u32> {
        let newest = self.newest();
        let line = self.line(side).tokens.iter();
        line.take_while(|(of, _)| *of == newest)
            .map(|(_, token)| token.chosen.id)
            .collect()
    }

    /// Whether a token is older than the newest request.
    pub fn is_old(&self, of: TextId) -> bool {
        of < self.newest()
    }

    /// Whether every side is through.
    pub fn is_complete(&self) -> bool {
        let is_through = |side: &Side| self.line(*side).state != LineState::Waiting;
        self.wanted.is_none() || self.sides().iter().all(is_through)
    }

    /// The first step at which the two texts differ; `None` while they do not, or as long as there is one.
    pub fn parts_at(&self) -> Option<usize> {
        if self.sides().len() < 2 {
            return None;
        }
        let (before, after) = (self.ids(Side::Before), self.ids(Side::After));
        let same = before.iter().zip(&after).take_while(|(a, b)| a == b);
        let same = same.count();
        let both = before.len().min(after.len());
        // One of them ended where the other goes on.
        let one_ended = self.is_complete() && before.len() != after.len() && both > 0;
        (same < both || one_ended).then_some(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(ids: &[u32], edits: &[&str]) -> Arc<RunSpec> {
        Arc::new(RunSpec {
            ids: ids.into(),
            n_prompt: ids.len(),
            reach: ids.len(),
            contrast: None,
            edits: edits.iter().map(|edit| edit.parse().unwrap()).collect(),
            position: 0,
            last: 0,
            bos_count: 0,
            folder: None,
        })
    }

    fn tell(live: &mut LiveText, text: TextId, side: Side, ids: &[u32]) {
        for (index, id) in ids.iter().enumerate() {
            let chosen = TokenScore {
                id: *id,
                logit: 0.0,
                prob: 1.0,
            };
            live.apply(&Event::Token {
                text,
                side,
                index,
                token: TextToken {
                    chosen,
                    top: vec![chosen],
                },
            });
        }
    }

    fn finish(live: &mut LiveText, text: TextId, side: Side, n_tokens: usize) {
        live.apply(&Event::LineDone {
            text,
            side,
            n_tokens,
            ended: false,
            millis: None,
        });
    }

    #[test]
    fn old_tokens_stay_until_newer_come_and_those_of_superseded_requests_are_dropped() {
        let (first, second) = (TextId(1), TextId(2));
        let mut live = LiveText::default();
        live.submitted(first, spec(&[1, 2], &["L0H0=zero"]), 3);
        tell(&mut live, first, Side::Before, &[5, 6, 7]);
        tell(&mut live, first, Side::After, &[5, 8, 9]);
        assert_eq!(live.parts_at(), Some(1));
        live.submitted(second, spec(&[1, 2], &["L0H1=zero"]), 3);
        assert_eq!(live.ids(Side::Before), [5, 6, 7], "edits do not reach it");
        assert_eq!(live.ids(Side::After), [0; 0]);
        assert_eq!(live.after.tokens.len(), 3);
        tell(&mut live, first, Side::After, &[1]);
        assert_eq!(live.ids(Side::After), [0; 0]);
        tell(&mut live, second, Side::After, &[5, 6]);
        assert_eq!(live.ids(Side::After), [5, 6]);
        assert!(live.is_old(live.after.tokens[2].0));
        assert_eq!(live.parts_at(), None);
        finish(&mut live, second, Side::Before, 3);
        assert!(!live.is_complete());
        finish(&mut live, second, Side::After, 2);
        assert!(live.is_complete());
        assert_eq!(live.after.tokens.len(), 2);
        assert_eq!(live.parts_at(), Some(2), "one ended");
    }

    #[test]
    fn what_is_stopped_keeps_what_it_gave_and_hears_no_more() {
        let mut live = LiveText::default();
        live.submitted(TextId(1), spec(&[1, 2], &["L0H0=zero"]), 3);
        tell(&mut live, TextId(1), Side::Before, &[5, 6]);
        live.stop();
        tell(&mut live, TextId(1), Side::Before, &[5, 6, 7]);
        assert_eq!(live.ids(Side::Before), [5, 6]);
        assert!(live.stopped);
        live.submitted(TextId(2), spec(&[3], &[]), 3);
        assert!(!live.stopped && live.before.tokens.is_empty());
    }
}
