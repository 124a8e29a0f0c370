//! From a question as text to an instance: plain, or as the user's turn of the model's chat template; and where a part of
//! the text stands in the tokens.

use std::ops::Range;

use crate::analysis::AnalysisError;
use crate::model::Model;
use crate::model::tokenizer::{Piece, Tokenizer};
use crate::prompt::BosRule;

use super::haystack::Instance;
use crate::model::chat::{ChatTemplate, Message};

/// How texts become prompts.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    /// Prompts are the user's turn of a chat.
    pub(super) chat: Option<&'a ChatTemplate>,
}

/// A text that asks for something, and how the answer begins.
pub(super) struct Question<'a> {
    pub(super) text: &'a str,
    pub(super) lead: &'static str,
    pub(super) answer: &'a str,
}

impl<'a> Texts<'a> {
    /// Fails where the model has no tokenizer.
    pub(super) fn new(
        model: &'a Model,
        chat: Option<&'a ChatTemplate>,
    ) -> Result<Self, AnalysisError> {
        let tokenizer = model.tokenizer.as_ref().ok_or_else(|| {
            AnalysisError::needs(
                "needles and look-ups are texts, and the model has no tokenizer: open one that has",
            )
        })?;
        Ok(Self { tokenizer, chat })
    }

    /// The prompt, where the question's text begins in it, and the answer as it follows.
    fn prompt(self, question: &Question<'_>) -> Result<(String, usize, String), AnalysisError> {
        let Question { text, lead, answer } = question;
        let Some(chat) = self.chat else {
            return Ok((format!("{text}{lead}"), 0, format!(" {answer}")));
        };
        let rendered = chat.render(&[Message::user(*text)], true);
        let rendered = rendered.map_err(|error| AnalysisError::needs(error.to_string()))?;
        let start = rendered.find(text).ok_or_else(|| {
            AnalysisError::needs(
                "the model's chat template changes what the user says, so that places in it are lost: leave --chat away",
            )
        })?;
        let space = if lead.is_empty() { "" } else { " " };
        let prompt = format!("{rendered}{}", lead.trim_start());
        Ok((prompt, start, format!("{space}{answer}")))
    }

    /// Tokens of a text that goes on: without what some tokenizers put at its end. A chat has its special tokens written
    /// out, those at the end too.
    fn tokens(self, text: &str) -> Result<Vec<u32>, AnalysisError> {
        let bos = match self.chat {
            Some(_) => BosRule::Never,
            None => BosRule::Auto,
        };
        let mut ids = self
            .tokenizer
            .encode(text, bos)
            .map_err(|error| AnalysisError::needs(format!("the prompt has no tokens: {error}")))?;
        let is_added = |id: &u32| self.chat.is_none() && self.tokenizer.is_special(*id);
        while ids.len() > 1 && ids.last().is_some_and(is_added) {
            ids.pop();
        }
        Ok(ids)
    }

    /// Tokens of prompt and answer.
    pub(super) fn count(self, question: &Question<'_>) -> Result<usize, AnalysisError> {
        let (prompt, _, answer) = self.prompt(question)?;
        Ok(self.tokens(&format!("{prompt}{answer}"))?.len())
    }

    /// The prompt with its answer and the tokens of a place in the question's text; `None` where the tokens' bytes are
    /// not the prompt's.
    pub(super) fn compose(
        self,
        label: String,
        question: &Question<'_>,
        bytes: &Range<usize>,
    ) -> Result<Option<Instance>, AnalysisError> {
        let (prompt, start, answer) = self.prompt(question)?;
        let ids = self.tokens(&prompt)?;
        let together = self.tokens(&format!("{prompt}{answer}"))?;
        let after = match together.strip_prefix(&ids[..]) {
            Some(rest) => rest.to_vec(),
            None => self
                .tokenizer
                .encode(&answer, BosRule::Never)
                .unwrap_or_default(),
        };
        let bytes = start + bytes.start..start + bytes.end;
        let Some(span) = self.place(&ids, prompt.len(), &bytes) else {
            return Ok(None);
        };
        Ok((!after.is_empty()).then(|| Instance {
            label,
            ids,
            answer: after,
            answer_text: question.answer.to_owned(),
            span,
            cell: None,
        }))
    }

    /// The tokens that hold some of a prompt's bytes.
    fn place(self, ids: &[u32], n_bytes: usize, bytes: &Range<usize>) -> Option<Range<usize>> {
        let pieces = self.tokenizer.pieces(ids);
        let written = || {
            // Special tokens are part of the text of a chat, and of no other.
            let is_written = |(_, piece): &(usize, &Piece)| self.chat.is_some() || !piece.special;
            pieces.iter().enumerate().filter(is_written)
        };
        let total: usize = written().map(|(_, piece)| piece.bytes.len()).sum();
        // Some tokenizers put a space before the text.
        let ahead = total.checked_sub(n_bytes).filter(|ahead| *ahead <= 1)?;
        let (from, to) = (bytes.start + ahead, bytes.end + ahead);
        let mut start = 0;
        let mut within = written().filter_map(|(position, piece)| {
            let own = start..start + piece.bytes.len();
            start = own.end;
            (own.start < to && from < own.end).then_some(position)
        });
        let first = within.next()?;
        Some(first..within.last().unwrap_or(first) + 1)
    }
}
