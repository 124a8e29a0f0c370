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

    /// The same for models that are asked what `mask` stands for: a fact that many know.
    pub fn masked_sample(mask: &str) -> Self {
        Self::Text(format!("The capital of France is {mask}."))
    }

    /// Two answers to [`Self::masked_sample`], the right one first.
    pub fn masked_sample_answers() -> Vec<String> {
        vec![" Paris".to_owned(), " London".to_owned()]
    }

    /// The two names of [`Self::sample`], the right one first.
    pub fn sample_answers() -> Vec<String> {
        vec![" Mary".to_owned(), " John".to_owned()]
    }
}
