//! Prompts as the user gives them, before any tokenizer has seen them.

/// A prompt: text, or ids where a model has no tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// Whether a beginning-of-text token stands at the front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BosRule {
    /// As the model's files say: tokenizer.json's post-processor, else `add_bos_token`, else none.
    #[default]
    Auto,
    /// Exactly one.
    Always,
    /// None: encoded without special tokens.
    Never,
}

impl Prompt {
    /// What is asked where nothing else is: a name to be moved, which many models can.
    pub fn sample() -> Self {
        Self::Text("When Mary and John went to the store, John gave a drink to".to_owned())
    }

    /// [`Self::sample`] with `mask` where the name would follow.
    pub fn masked_sample(mask: &str) -> Self {
        Self::Text(format!(
            "When Mary and John went to the store, John gave a drink to {mask}."
        ))
    }

    /// The two names of the samples, the right one first.
    pub fn sample_answers() -> Vec<String> {
        vec![" Mary".to_owned(), " John".to_owned()]
    }
}
