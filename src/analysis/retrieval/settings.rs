//! What retrieval scores are run with.

use crate::analysis::controls::DRAWS;
use crate::analysis::field::{Field, Value};
use crate::analysis::masking::Draws;

use super::copies::{Count, Counting};
use super::lookup::Lookup;

/// What prompts are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Data {
    /// A rare fact in filler text, at several lengths and depths.
    #[default]
    Needles,
    /// The value of a key of a JSON object.
    Json,
}

/// Which tokens heads are heard at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Decoding {
    /// Needles greedy, with the fallback; look-ups teacher-forced.
    #[default]
    Auto,
    /// Those that the model writes.
    Greedy,
    /// The true answer's.
    TeacherForced,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub data: Data,
    pub decoding: Decoding,
    pub counting: Counting,
    /// Prompts are the user's turn of the model's chat template.
    pub chat: bool,
    /// Tokens that a prompt and its answer may have; never more than the context.
    pub max_tokens: usize,
    /// Tokens that are written at most.
    pub max_new: usize,
    pub lookup: Lookup,
    pub seed: u64,
    /// The masking experiment; without it only scores.
    pub mask: bool,
    /// Share of all heads that is masked.
    pub share: f64,
    /// Heads that are masked, instead of the share.
    pub k: Option<usize>,
    /// Held-out instances that the mask is tested on.
    pub tested: usize,
    pub draws: usize,
    pub by_layer: bool,
    /// Masks of 2, 5, 10, … heads too.
    pub ladder: bool,
    /// A file with scores of another model; empty: none.
    pub compare: String,
}

crate::choose!(Data, Decoding, Count);

impl Settings {
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            Field::new(
                "data",
                "What is hidden in what: a rare fact in filler, or values behind random keys",
                Value::Choice(&mut self.data),
            ),
            Field::new(
                "decoding",
                "The model's own words, or the right answer fed to it; auto: the latter where it fails",
                Value::Choice(&mut self.decoding),
            ),
            Field::new(
                "counting",
                "Each copied token once, or each step that copies",
                Value::Choice(&mut self.counting.of),
            ),
            Field::new(
                "anywhere",
                "Copies count from anywhere, not only from the place of the answer",
                Value::Flag(&mut self.counting.anywhere),
            ),
            Field::new(
                "chat",
                "Prompts as the user's turn of the model's chat template, the filler between <book> tags",
                Value::Flag(&mut self.chat),
            ),
            Field::new(
                "max-tokens",
                "Tokens of the longest haystack",
                Value::Count(&mut self.max_tokens, 64..=1_000_000),
            ),
            Field::new(
                "max-new",
                "Tokens that are generated at most",
                Value::Count(&mut self.max_new, 1..=1000),
            ),
            Field::new(
                "samples",
                "Samples of the look-up data",
                Value::Count(&mut self.lookup.samples, 1..=1000),
            ),
            Field::new(
                "pairs",
                "Keys with values in a sample",
                Value::Count(&mut self.lookup.pairs, 1..=200),
            ),
            Field::new(
                "mask",
                "With the masking experiment: the top heads against random ones",
                Value::Flag(&mut self.mask),
            ),
            Field::new(
                "share",
                "Share of all heads that is masked",
                Value::Number(&mut self.share, 0.0..=1.0),
            ),
            Field::new(
                "draws",
                "Random draws that the mask is compared with",
                Value::Count(&mut self.draws, 5..=200),
            ),
            Field::new(
                "by-layer",
                "Random heads from the same layers",
                Value::Flag(&mut self.by_layer),
            ),
            Field::new(
                "ladder",
                "With masks of 2, 5, 10, 15, 20, 30, 50 and 100 heads, against random ones",
                Value::Flag(&mut self.ladder),
            ),
            Field::new(
                "seed",
                "Seed of data and draws",
                Value::Seed(&mut self.seed),
            ),
            Field::new(
                "compare",
                "Scores of another model to correlate with: what --json printed, or lists keyed layer-head",
                Value::Text(&mut self.compare),
            ),
        ]
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: Data::Needles,
            decoding: Decoding::Auto,
            counting: Counting::default(),
            chat: false,
            max_tokens: 512,
            max_new: 50,
            lookup: Lookup::default(),
            seed: 0,
            mask: true,
            share: 0.05,
            k: None,
            tested: 4,
            draws: DRAWS,
            by_layer: false,
            ladder: false,
            compare: String::new(),
        }
    }
}

impl Settings {
    pub(super) const fn draws(&self) -> Draws {
        Draws {
            n: self.draws,
            by_layer: self.by_layer,
            seed: self.seed,
        }
    }
}

impl Data {
    pub const ALL: [Self; 2] = [Self::Needles, Self::Json];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Needles => "needles",
            Self::Json => "json",
        }
    }
}

impl Decoding {
    pub const ALL: [Self; 3] = [Self::Auto, Self::Greedy, Self::TeacherForced];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Greedy => "greedy",
            Self::TeacherForced => "teacher-forced",
        }
    }
}
