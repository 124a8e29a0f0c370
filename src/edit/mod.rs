//! Edits as data: what to change, how, and at which positions.
//!
//! An edit is small, comparable and printable (`L9H6=scale(2.5)@last`), so that it can be saved, undone, listed and
//! used as a key. The model compiles a list of them against its shape before anything runs.

pub mod align;
pub mod describe;
mod grammar;

pub use grammar::ParseEditError;

use crate::ids::{HeadId, KvHeadId};

/// One change to a forward pass. Printed and parsed in the canonical spelling `TARGET=OP[@POS]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edit {
    pub target: Target,
    pub op: Op,
    pub at: Positions,
}

/// What an edit acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// z of a query head, `[pos, d_head]`: its output before W_O.
    Head(HeadId),
    /// q of a query head, `[pos, d_head]`, before rotary.
    Query(HeadId),
    /// Rows of a query head's pattern, `[query, key]`.
    Pattern(HeadId),
    /// v of a key/value head, `[pos, d_head]`, shared by its group of query heads.
    KvHead(KvHeadId),
    /// k of a key/value head, `[pos, d_head]`, before rotary; shared likewise.
    Key(KvHeadId),
    /// One score of a head: what `query` may read from `key`.
    Edge {
        head: HeadId,
        query: usize,
        key: usize,
    },
    /// Attention output of a layer, `[pos, d_model]`, b_O included.
    Attention(usize),
    /// MLP output of a layer, `[pos, d_model]`, bias included.
    Mlp(usize),
    /// resid_pre of a layer, `[pos, d_model]`; the number of layers names the final residual.
    Resid(usize),
}

/// What an edit does to its target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The value becomes 0 (for z: the share of b_V goes too).
    Zero,
    /// z becomes b_V: what ablation measures once value biases are folded away.
    ZeroKeepBias,
    /// The mean over positions of the unedited run, beginning-of-text left out.
    Mean,
    /// The value of prompt B's unedited run.
    Resample,
    /// The value times a factor; of an edge, its score before the softmax.
    Scale(Finite),
    /// The value plus `factor` times a vector from a file.
    Add { vector: VectorRef, factor: Finite },
    /// (1 − `share`) times the value, plus `share` times a vector from a file.
    Mix { vector: VectorRef, share: Finite },
    /// (1 + `gain`) ⊙ value + `shift`, both vectors from files.
    Affine { gain: VectorRef, shift: VectorRef },
    /// Equal attention on every key that the mask allows.
    Uniform,
    /// Minus infinity before the softmax; the row renormalises.
    Knockout,
}

/// A vector in a safetensors file. Resolved when the edit is compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VectorRef {
    pub file: String,
    pub name: String,
}

/// The positions at which an edit acts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Positions {
    All,
    /// The last token that is not special.
    Last,
    /// Token indices, beginning-of-text counted; sorted, without repeats.
    At(Vec<usize>),
}

/// A number that is neither infinite nor NaN, and so can be compared and hashed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finite(f64);

impl Finite {
    pub const ONE: Self = Self(1.0);

    /// `None` for infinities and NaN.
    pub fn new(value: f64) -> Option<Self> {
        // -0 and 0 are one value here, so that equality and hash agree.
        value.is_finite().then_some(Self(value + 0.0))
    }

    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Eq for Finite {}

impl std::hash::Hash for Finite {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl Edit {
    /// An edit at all positions.
    pub const fn new(target: Target, op: Op) -> Self {
        Self {
            target,
            op,
            at: Positions::All,
        }
    }

    /// Whether the edit leaves every value as it is (`scale(1)`, `add(…, 0)`). It is still applied, and shown as such.
    pub fn changes_nothing(&self) -> bool {
        match &self.op {
            Op::Scale(factor) => *factor == Finite::ONE,
            Op::Add { factor, .. } | Op::Mix { share: factor, .. } => factor.get() == 0.0,
            _ => false,
        }
    }

    /// The vectors that it reads from files.
    pub fn vectors_mut(&mut self) -> Vec<&mut VectorRef> {
        match &mut self.op {
            Op::Add { vector, .. } | Op::Mix { vector, .. } => vec![vector],
            Op::Affine { gain, shift } => vec![gain, shift],
            _ => vec![],
        }
    }

    /// Whether the edit reads prompt B.
    pub fn needs_contrast(&self) -> bool {
        self.op == Op::Resample
    }
}

impl Op {
    /// Whether every target that holds a value, and not only its source, can be changed by it.
    const fn is_of_any_value(&self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Mean | Self::Resample | Self::Scale(_)
        )
    }
}

impl Target {
    /// Whether the table of edits has this pair.
    pub fn allows(self, op: &Op) -> bool {
        match self {
            Self::Head(_) => *op != Op::Knockout,
            Self::Edge { .. } => matches!(op, Op::Knockout | Op::Scale(_)),
            Self::Query(_) | Self::Pattern(_) | Self::Key(_) => *op == Op::Resample,
            Self::KvHead(_) => op.is_of_any_value(),
            Self::Attention(_) => {
                op.is_of_any_value() || matches!(op, Op::Add { .. } | Op::Uniform)
            }
            Self::Mlp(_) | Self::Resid(_) => op.is_of_any_value() || matches!(op, Op::Add { .. }),
        }
    }

    /// Whether this is a part of a query head: its z, q, pattern, one of its edges, or the key/value head that
    /// `group_size` query heads share.
    pub fn is_of_head(self, head: HeadId, group_size: usize) -> bool {
        match self {
            Self::Head(target)
            | Self::Query(target)
            | Self::Pattern(target)
            | Self::Edge { head: target, .. } => target == head,
            Self::KvHead(kv) | Self::Key(kv) => {
                kv.layer == head.layer && kv.kv_head == head.head / group_size
            }
            Self::Attention(_) | Self::Mlp(_) | Self::Resid(_) => false,
        }
    }

    pub const fn layer(self) -> usize {
        match self {
            Self::Head(head)
            | Self::Query(head)
            | Self::Pattern(head)
            | Self::Edge { head, .. } => head.layer,
            Self::KvHead(head) | Self::Key(head) => head.layer,
            Self::Attention(layer) | Self::Mlp(layer) | Self::Resid(layer) => layer,
        }
    }
}
