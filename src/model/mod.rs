//! The instrumented transformer: reading checkpoints, the forward pass with a named site for every activation, edits at
//! those sites. Tensors live here and nowhere above.

mod attention;
pub mod backward;
pub mod binding;
pub mod chat;
pub mod checkpoint;
pub mod circuit;
mod compare;
pub mod demo;
mod device;
mod ends;
pub mod families;
mod files;
pub mod fingerprint;
pub mod forward;
pub mod hub;
mod json;
mod kernels;
pub mod load;
pub mod memory;
pub mod plan;
mod product;
pub mod scored;
pub mod site;
pub mod spec;
mod stored;
mod tensors;
pub mod tokenizer;
pub mod transformer;
mod weight;

use std::path::PathBuf;

use self::chat::{ChatError, ChatTemplate};
use self::hub::HubId;
use self::spec::{Head, ModelSpec};
use self::tokenizer::Tokenizer;
use self::transformer::Transformer;
use crate::compute::{Compute, Device};
use crate::prompt::{BosRule, Prompt};

/// The name of a reference that lies beside its model: values of another program to compare with.
pub const REFERENCE_FILE: &str = "headscope-reference.json";

/// An open model: shape, tokenizer and weights.
pub struct Model {
    /// Short name for people: `demo`, the folder's or the file's name.
    pub name: String,
    /// MODEL as it was asked for: `demo`, a path or a hub id.
    pub source: String,
    /// The folder or file that it was read from; `None` for the bundled model.
    pub path: Option<PathBuf>,
    /// The commit that a hub id stood for.
    pub revision: Option<String>,
    pub spec: ModelSpec,
    /// `None` where the model has none: tokens are then shown as ids.
    pub tokenizer: Option<Tokenizer>,
    /// How talks are put as a text; or why the model's files do not say it.
    pub chat: Result<ChatTemplate, ChatError>,
    /// `h1:` and a SHA-256; see [`fingerprint`].
    pub fingerprint: String,
    /// The type that most weights are stored in, such as `Q4_1`.
    pub stored: String,
    /// What the matrices are kept in, and where products are made.
    pub compute: Compute,
    /// The largest difference of a sample prompt's logits from those in f32; `None` for f32 itself, and without logits.
    pub logit_difference: Option<f32>,
    pub load_millis: f64,
    /// Bytes that the weights take in memory.
    pub weight_bytes: usize,
    pub transformer: Transformer,
}

impl Model {
    /// MODEL such that it stands for the same weights tomorrow: a hub id with its commit, where that is known.
    pub fn pinned_source(&self) -> String {
        match (&self.revision, HubId::parse(&self.source)) {
            (Some(commit), Some(id)) => id.at(commit).to_string(),
            _ => self.source.clone(),
        }
    }

    /// The token at the beginning of a text; `None` where its files name none.
    pub fn bos_id(&self) -> Option<u32> {
        let tokenizer = self.tokenizer.as_ref();
        tokenizer.and_then(Tokenizer::bos_id).or(self.spec.bos_id)
    }

    /// What is asked of the model where nothing else is, and two answers; `None` without a tokenizer.
    pub fn sample(&self) -> Option<(Prompt, Vec<String>)> {
        let tokenizer = self.tokenizer.as_ref()?;
        let (prompt, answers) = match tokenizer.mask() {
            _ if self.source == demo::NAME => (
                Prompt::Text(demo::FIRST_PROMPT.to_owned()),
                demo::FIRST_ANSWERS.map(str::to_owned).to_vec(),
            ),
            Some(mask) if self.spec.predicts_in_place() => {
                let answers = Prompt::masked_sample_answers();
                (Prompt::masked_sample(&mask), answers)
            }
            _ => (Prompt::sample(), Prompt::sample_answers()),
        };
        let has_logits = self.spec.head != Head::None;
        Some((prompt, if has_logits { answers } else { vec![] }))
    }

    /// What generated tokens read like in their place, one after the other. An end-of-text token is not part of it.
    pub fn text_after(&self, prompt: &[u32], generated: &[u32]) -> String {
        let text = match generated.split_last() {
            Some((last, rest)) if self.spec.eos_ids.contains(last) => rest,
            _ => generated,
        };
        let Some(tokenizer) = &self.tokenizer else {
            let ids: Vec<_> = text.iter().map(|id| format!("#{id}")).collect();
            return ids.join(" ");
        };
        let pieces = tokenizer.pieces(&[prompt, text].concat());
        let bytes: Vec<u8> = pieces[prompt.len()..]
            .iter()
            .flat_map(|piece| piece.bytes.iter().copied())
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it computes in, what its file stores, and where: `f16 (stored Q4_1) on cuda`.
    pub fn numbers(&self) -> String {
        let Compute { dtype, device } = self.compute;
        let mut text = dtype.to_string();
        if !self.stored.eq_ignore_ascii_case(dtype.name()) {
            text = format!("{text} (stored {})", self.stored);
        }
        if device != Device::Cpu {
            text = format!("{text} on {device}");
        }
        text
    }

    /// Tokens to try the model on: its sample prompt's, or any where it has none.
    fn sample_ids(&self, most: usize) -> Vec<u32> {
        let text = self.sample().and_then(|(prompt, _)| match prompt {
            Prompt::Text(text) => Some(text),
            Prompt::Ids(_) => None,
        });
        let encoded = self.tokenizer.as_ref().zip(text);
        let mut ids = encoded
            .and_then(|(tokenizer, text)| tokenizer.encode(&text, BosRule::Auto).ok())
            .unwrap_or_default();
        if ids.is_empty() {
            ids = (0..self.spec.n_vocab as u32).collect();
        }
        ids.truncate(most.min(self.spec.n_ctx));
        ids
    }

    /// What a token reads like after other text, as a candidate for the next one does; `#5` without a tokenizer.
    pub fn token_text(&self, id: u32) -> String {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.next_piece(id).text,
            None => format!("#{id}"),
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("source", &self.source)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::load::{Unreported, open};
    use crate::prompt::BosRule;

    #[test]
    fn a_candidate_token_keeps_the_space_before_its_word() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/models/tiny-llama-gguf-spm/tiny-llama-spm.gguf"
        );
        let model = open(path, &mut Unreported).unwrap();
        let tokenizer = model.tokenizer.as_ref().unwrap();
        // SentencePiece puts a space before the text, which reads as nothing at its beginning and as a space further on.
        let ids = tokenizer.encode("the", BosRule::Never).unwrap();
        assert_eq!(tokenizer.pieces(&ids)[0].text.chars().next(), Some('t'));
        assert_eq!(model.token_text(ids[0]).chars().next(), Some(' '));
    }
}
