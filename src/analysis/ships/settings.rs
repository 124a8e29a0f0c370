//! What Ships is run with: what is done to a head, and what a request is put into.

use crate::analysis::AnalysisError;
use crate::analysis::field::{Field, Value};
use crate::edit::{Edit, Finite, Op, Target};
use crate::ids::HeadId;
use crate::model::Model;
use crate::model::spec::Head;
use crate::prompt::BosRule;

use super::refusals::OPENERS;
use crate::model::chat::Message;

/// The paper's own wording around a request.
const QUERY: (&str, &str) = ("## Query:", "\n## Answer:");

/// What is done to a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ablation {
    /// Equal attention on all that is seen: W_q, or W_k, times a vanishing ε.
    #[default]
    Undifferentiated,
    /// What the head gives, times ε.
    Scale,
    Zero,
}

/// How a request is put to the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// As it is.
    #[default]
    Raw,
    /// After `## Query:`, and `## Answer:` follows (the paper).
    Query,
    /// The user's turn of the model's chat template.
    Chat,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub ablation: Ablation,
    /// ε of [`Ablation::Scale`].
    pub epsilon: f64,
    pub form: Form,
    /// What a request is worded as, before its form; `{q}` is its place.
    pub template: String,
    /// Of the other forms than [`Form::Chat`], whose template writes its special tokens itself.
    pub bos: BosRule,
    /// Left singular vectors that angles are taken between: r.
    pub rank: usize,
    /// Heads of the Sahara group; 0 grows none.
    pub steps: usize,
    /// How refusals open; the first token of each counts.
    pub openers: Vec<String>,
    /// Heads with the largest mean Ships that are ablated together for the answers (1 to 5 in the paper).
    pub together: usize,
    /// Tokens of the answers before and after (128 in the paper); 0 leaves them out.
    pub answer_tokens: usize,
}

crate::choose!(Ablation, Form);

impl Ablation {
    pub const ALL: [Self; 3] = [Self::Undifferentiated, Self::Scale, Self::Zero];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Undifferentiated => "undifferentiated",
            Self::Scale => "scale",
            Self::Zero => "zero",
        }
    }
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Raw, Self::Query, Self::Chat];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Query => "query",
            Self::Chat => "chat",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ablation: Ablation::default(),
            epsilon: 1e-5,
            form: Form::default(),
            template: "{q}".into(),
            bos: BosRule::Auto,
            rank: 1,
            steps: 3,
            openers: OPENERS.iter().map(|text| (*text).to_owned()).collect(),
            together: 1,
            answer_tokens: 0,
        }
    }
}

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "ablation",
                "What is done to a head: undifferentiated, scale or zero",
                Value::Choice(&mut self.ablation),
            ),
            Field::new(
                "epsilon",
                "What scale multiplies the head's output with",
                Value::Number(&mut self.epsilon, 0.0..=1.0),
            ),
            Field::new(
                "form",
                "How a request is put: raw, as \"## Query:… ## Answer:\", or as the user's turn of a chat",
                Value::Choice(&mut self.form),
            ),
            Field::new(
                "template",
                "What a request is worded as, at {q}, before its form",
                Value::Text(&mut self.template),
            ),
            Field::new(
                "rank",
                "Directions that the angle between the two sets of streams is taken over",
                Value::Count(&mut self.rank, 1..=64),
            ),
            Field::new(
                "steps",
                "Heads that Sahara puts together; 0 leaves it out",
                Value::Count(&mut self.steps, 0..=10),
            ),
            Field::new(
                "together",
                "Heads that are silenced for the answers",
                Value::Count(&mut self.together, 1..=10),
            ),
            Field::new(
                "answer-tokens",
                "Tokens of the answers before and after; 0 leaves them out",
                Value::Count(&mut self.answer_tokens, 0..=512),
            ),
        ]
    }

    /// A request as it is run.
    pub(super) fn prompt(&self, model: &Model, request: &str) -> Result<String, AnalysisError> {
        let request = self.template.replace("{q}", request);
        match self.form {
            Form::Raw => Ok(request),
            Form::Query => Ok(format!("{}{request}{}", QUERY.0, QUERY.1)),
            Form::Chat => model
                .chat
                .as_ref()
                .map_err(ToString::to_string)
                .and_then(|chat| {
                    let rendered = chat.render(&[Message::user(request)], true);
                    rendered.map_err(|error| error.to_string())
                })
                .map_err(|error| {
                    AnalysisError::needs(format!(
                        "requests cannot be put as a chat, use --form raw or --form query: {error}"
                    ))
                }),
        }
    }

    pub(super) const fn bos(&self) -> BosRule {
        match self.form {
            Form::Chat => BosRule::Never,
            Form::Raw | Form::Query => self.bos,
        }
    }

    fn op(&self) -> Op {
        match self.ablation {
            Ablation::Undifferentiated => Op::Uniform,
            Ablation::Scale => Finite::new(self.epsilon).map_or(Op::Zero, Op::Scale),
            Ablation::Zero => Op::Zero,
        }
    }

    pub(super) fn edits(&self, heads: &[HeadId]) -> Vec<Edit> {
        heads
            .iter()
            .map(|head| Edit::new(Target::Head(*head), self.op()))
            .collect()
    }

    pub(super) fn check(&self, model: &Model, n_cases: usize) -> Result<(), AnalysisError> {
        if n_cases == 0 {
            return Err(AnalysisError::needs(
                "ships needs requests: a file with one a line (--texts FILE)",
            ));
        }
        if model.spec.head != Head::NextToken || !model.spec.is_causal() {
            return Err(AnalysisError::needs(
                "ships reads the next token after a request, and this model predicts none: choose a model that generates \
                 text",
            ));
        }
        let most = n_cases.min(model.spec.d_model);
        if n_cases > 1 && !(1..=most).contains(&self.rank) {
            return Err(AnalysisError::needs(format!(
                "the rank is {}, and {n_cases} requests have 1 to {most} directions: give more requests, or a smaller rank",
                self.rank
            )));
        }
        Ok(())
    }
}
