//! The training documents: ten kinds of one-line exercise made from the word lists, the split into a
//! training and a held-out side, and documents of one or several exercises.
//!
//! Every sample knows which of its words can be predicted (`Role::Answer`): the trainer weighs these
//! up, because most other words are drawn at random and teach nothing but their frequency.

use crate::rng::Rng;
use crate::tasks;

/// One in this many keys is kept out of training.
pub(crate) const HELD_OUT_ONE_IN: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Template words and random choices: learned with a small weight.
    Plain,
    /// A word that follows from what stands before it.
    Answer,
    /// A word that must not be learned: the made-up city of a counterfactual sentence.
    Unseen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) role: Role,
}

/// One exercise.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) pieces: Vec<Piece>,
    /// What is held out: the combination that this exercise asks about, whatever its wording.
    pub(crate) key: String,
    /// All right answers to the last question, when there is more than the one that stands there.
    pub(crate) accepted: Vec<String>,
}

/// The last question of a sample, as evaluation asks it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) prompt: String,
    pub(crate) accepted: Vec<String>,
}

impl Sample {
    pub(crate) fn new(key: String) -> Self {
        Self {
            pieces: Vec::new(),
            key,
            accepted: Vec::new(),
        }
    }

    fn push(mut self, text: String, role: Role) -> Self {
        self.pieces.push(Piece { text, role });
        self
    }

    pub(crate) fn plain(self, text: impl Into<String>) -> Self {
        self.push(text.into(), Role::Plain)
    }

    pub(crate) fn answer(self, text: impl Into<String>) -> Self {
        self.push(text.into(), Role::Answer)
    }

    pub(crate) fn unseen(self, text: impl Into<String>) -> Self {
        self.push(text.into(), Role::Unseen)
    }

    pub(crate) fn accepting(mut self, accepted: Vec<String>) -> Self {
        self.accepted = accepted;
        self
    }

    /// Whether this sample belongs to the held-out side.
    pub(crate) fn held_out(&self) -> bool {
        fnv1a(&self.key).is_multiple_of(HELD_OUT_ONE_IN)
    }

    pub(crate) fn text(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect()
    }

    /// Everything before the last answer, and that answer.
    pub(crate) fn question(&self) -> Option<Question> {
        let last = self
            .pieces
            .iter()
            .rposition(|piece| piece.role == Role::Answer)?;
        let prompt = self.pieces[..last]
            .iter()
            .map(|piece| piece.text.as_str())
            .collect();
        let accepted = if self.accepted.is_empty() {
            vec![self.pieces[last].text.clone()]
        } else {
            self.accepted.clone()
        };
        Some(Question { prompt, accepted })
    }
}

/// FNV-1a: a hash whose values are the same on every machine and in every version of Rust.
fn fnv1a(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    // The low bits of FNV mix badly on short keys that differ in one letter: fold the high ones in.
    hash ^ (hash >> 29) ^ (hash >> 47)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Task {
    IndirectObject,
    Capitals,
    Conflict,
    Successors,
    KeyValue,
    Repeats,
    GreaterThan,
    Addition,
    ColoredObjects,
    ListRecall,
    ColoredStatements,
}

impl Task {
    pub(crate) const ALL: [Task; 11] = [
        Task::IndirectObject,
        Task::Capitals,
        Task::Conflict,
        Task::Successors,
        Task::KeyValue,
        Task::Repeats,
        Task::GreaterThan,
        Task::Addition,
        Task::ColoredObjects,
        Task::ListRecall,
        Task::ColoredStatements,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Task::IndirectObject => "indirect-object",
            Task::Capitals => "capitals",
            Task::Conflict => "conflict",
            Task::Successors => "successors",
            Task::KeyValue => "key-value",
            Task::Repeats => "repeats",
            Task::GreaterThan => "greater-than",
            Task::Addition => "addition",
            Task::ColoredObjects => "colored-objects",
            Task::ListRecall => "list-recall",
            Task::ColoredStatements => "colored-statements",
        }
    }

    /// How often the task is drawn, before any change on the command line.
    #[expect(clippy::match_same_arms, reason = "a table: one line for each task")]
    fn weight(self) -> f64 {
        match self {
            Task::IndirectObject => 4.0,
            Task::Capitals => 1.5,
            Task::Conflict => 2.0,
            Task::Successors => 3.5,
            Task::KeyValue => 2.5,
            Task::Repeats => 4.0,
            Task::GreaterThan => 1.5,
            Task::Addition => 1.0,
            Task::ColoredObjects => 3.0,
            Task::ListRecall => 2.0,
            // A step on the way to colored objects, which a later phase adds.
            Task::ColoredStatements => 0.0,
        }
    }

    /// Draws one exercise, on either side of the split.
    pub(crate) fn draw(self, rng: &mut Rng) -> Sample {
        match self {
            Task::IndirectObject => tasks::indirect_object(rng),
            Task::Capitals => tasks::capital(rng),
            Task::Conflict => tasks::conflict(rng),
            Task::Successors => tasks::successor(rng),
            Task::KeyValue => tasks::key_value(rng),
            Task::Repeats => tasks::repeat(rng),
            Task::GreaterThan => tasks::greater_than(rng),
            Task::Addition => tasks::addition(rng),
            Task::ColoredObjects => tasks::colored_objects(rng),
            Task::ListRecall => tasks::list_recall(rng),
            Task::ColoredStatements => tasks::colored_statements(rng),
        }
    }

    /// Draws until the exercise lies on the wanted side.
    pub(crate) fn draw_side(self, rng: &mut Rng, held_out: bool) -> Sample {
        loop {
            let sample = self.draw(rng);
            if sample.held_out() == held_out {
                return sample;
            }
        }
    }
}

/// How often each task is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Mixture(Vec<(Task, f64)>);

impl Default for Mixture {
    fn default() -> Self {
        Self(
            Task::ALL
                .iter()
                .map(|&task| (task, task.weight()))
                .collect(),
        )
    }
}

impl Mixture {
    /// Changes weights by a list such as `repeats=5,successors=4`.
    pub(crate) fn with(mut self, changes: &str) -> anyhow::Result<Self> {
        for change in changes.split(',').filter(|change| !change.is_empty()) {
            let (name, weight) = change
                .split_once('=')
                .ok_or_else(|| anyhow::anyhow!("expected task=weight, got {change}"))?;
            let entry = self
                .0
                .iter_mut()
                .find(|(task, _)| task.name() == name)
                .ok_or_else(|| anyhow::anyhow!("no task called {name}"))?;
            entry.1 = weight.parse()?;
        }
        Ok(self)
    }

    fn task(&self, rng: &mut Rng) -> Task {
        let total: f64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut rest = rng.unit() * total;
        for &(task, weight) in &self.0 {
            rest -= weight;
            if rest < 0.0 {
                return task;
            }
        }
        Task::Repeats
    }

    /// One training document: mostly a single exercise, otherwise a few of different tasks in a row,
    /// so that the model also works on prompts of several sentences and away from the first positions.
    pub(crate) fn document(&self, rng: &mut Rng) -> Vec<Piece> {
        let wanted = if rng.chance(0.7) {
            1
        } else {
            rng.between(2, 4)
        };
        let mut tasks = Vec::new();
        let mut pieces: Vec<Piece> = Vec::new();
        while tasks.len() < wanted {
            let task = self.task(rng);
            if tasks.contains(&task) {
                continue;
            }
            if !tasks.is_empty() {
                pieces.push(Piece {
                    text: " ".to_string(),
                    role: Role::Plain,
                });
            }
            tasks.push(task);
            pieces.extend(task.draw_side(rng, false).pieces);
        }
        pieces
    }
}
