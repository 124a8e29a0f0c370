//! Which checkpoint tensors make up which weight, as data: it can be listed, checked for completeness, and shown.

use std::ops::Range;

use super::spec::{Head, Mlp, ModelSpec, Norm, Placement, Positions};

/// A weight of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// `[vocab, d_model]`
    Embed,
    /// `[context, d_model]`
    PosEmbed,
    /// `[1, d_model]`: the vector of the text's first part.
    TypeEmbed,
    EmbedNormWeight,
    EmbedNormBias,
    FinalNormWeight,
    FinalNormBias,
    /// `[d_model, d_model]`: before the unembedding of a masked token.
    HeadDense,
    HeadDenseBias,
    HeadNormWeight,
    HeadNormBias,
    /// `[vocab, d_model]`; absent where tied.
    Unembed,
    UnembedBias,
    Block(usize, BlockSlot),
}

/// A weight within a block. Products are `[out, in]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockSlot {
    Norm1Weight,
    Norm1Bias,
    /// Rows of all q heads, then all k heads, then all v heads: `[(H + 2 Hkv) · d_head, d_model]`.
    Qkv,
    QkvBias,
    /// `[d_head]`, the same for all heads.
    QNormWeight,
    KNormWeight,
    /// `[d_model, H · d_head]`
    Out,
    OutBias,
    /// On attention's output.
    PostNorm1Weight,
    Norm2Weight,
    Norm2Bias,
    /// `[d_mlp, d_model]`; with a gate, its rows first: `[2 · d_mlp, d_model]`.
    MlpIn,
    MlpInBias,
    /// `[d_model, d_mlp]`
    MlpOut,
    MlpOutBias,
    /// On the MLP's output.
    PostNorm2Weight,
}

impl Slot {
    /// The weights that a model of this shape has, and no others.
    pub fn all(spec: &ModelSpec) -> Vec<Self> {
        let norm_bias = spec.norm == Norm::Layer && spec.norm_bias;
        let masked = matches!(spec.head, Head::MaskedToken { .. });
        let dense_bias = matches!(
            spec.head,
            Head::MaskedToken {
                dense_bias: true,
                ..
            }
        );
        let has_logits = spec.head != Head::None;
        let whole = [
            (true, Self::Embed),
            (spec.positions == Positions::Learned, Self::PosEmbed),
            (spec.type_embed, Self::TypeEmbed),
            (spec.embed_norm, Self::EmbedNormWeight),
            (spec.embed_norm && norm_bias, Self::EmbedNormBias),
            (spec.has_final_norm(), Self::FinalNormWeight),
            (spec.has_final_norm() && norm_bias, Self::FinalNormBias),
            (masked, Self::HeadDense),
            (dense_bias, Self::HeadDenseBias),
            (masked, Self::HeadNormWeight),
            (masked && norm_bias, Self::HeadNormBias),
            (has_logits && !spec.tied, Self::Unembed),
            (has_logits && spec.unembed_bias, Self::UnembedBias),
        ];
        let norm2 = spec.has_second_norm();
        let sandwich = spec.placement == Placement::Sandwich;
        let block = |layer| {
            let norm1 = spec.has_first_norm(layer);
            [
                (norm1, BlockSlot::Norm1Weight),
                (norm1 && norm_bias, BlockSlot::Norm1Bias),
                (true, BlockSlot::Qkv),
                (spec.qkv_bias, BlockSlot::QkvBias),
                (spec.qk_norm, BlockSlot::QNormWeight),
                (spec.qk_norm, BlockSlot::KNormWeight),
                (true, BlockSlot::Out),
                (spec.out_bias, BlockSlot::OutBias),
                (sandwich, BlockSlot::PostNorm1Weight),
                (norm2, BlockSlot::Norm2Weight),
                (norm2 && norm_bias, BlockSlot::Norm2Bias),
                (true, BlockSlot::MlpIn),
                (spec.mlp_bias, BlockSlot::MlpInBias),
                (true, BlockSlot::MlpOut),
                (spec.mlp_bias, BlockSlot::MlpOutBias),
                (sandwich, BlockSlot::PostNorm2Weight),
            ]
            .map(|(wanted, slot)| (wanted, Self::Block(layer, slot)))
        };
        whole
            .into_iter()
            .chain((0..spec.n_layers).flat_map(block))
            .filter_map(|(wanted, slot)| wanted.then_some(slot))
            .collect()
    }

    /// Whether activations are multiplied with it (or, for the embedding, may be: where it is the unembedding too).
    pub const fn is_product(self) -> bool {
        matches!(
            self,
            Self::Embed
                | Self::Unembed
                | Self::HeadDense
                | Self::Block(
                    _,
                    BlockSlot::Qkv | BlockSlot::Out | BlockSlot::MlpIn | BlockSlot::MlpOut
                )
        )
    }

    /// Rows and columns, `[out, in]`; vectors are one column.
    pub fn shape(self, spec: &ModelSpec) -> (usize, usize) {
        let (d, d_mlp) = (spec.d_model, spec.d_mlp);
        let qkv = (spec.n_heads + 2 * spec.n_kv_heads) * spec.d_head;
        let mlp_in = match spec.mlp {
            Mlp::Plain => d_mlp,
            Mlp::Gated => 2 * d_mlp,
        };
        match self {
            Self::Embed | Self::Unembed => (spec.n_vocab, d),
            Self::PosEmbed => (spec.n_ctx, d),
            Self::TypeEmbed => (1, d),
            Self::HeadDense => (d, d),
            Self::UnembedBias => (spec.n_vocab, 1),
            Self::EmbedNormWeight
            | Self::EmbedNormBias
            | Self::FinalNormWeight
            | Self::FinalNormBias
            | Self::HeadDenseBias
            | Self::HeadNormWeight
            | Self::HeadNormBias => (d, 1),
            Self::Block(_, slot) => match slot {
                BlockSlot::Qkv => (qkv, d),
                BlockSlot::QkvBias => (qkv, 1),
                BlockSlot::QNormWeight | BlockSlot::KNormWeight => (spec.d_head, 1),
                BlockSlot::Out => (d, spec.n_heads * spec.d_head),
                BlockSlot::MlpIn => (mlp_in, d),
                BlockSlot::MlpInBias => (mlp_in, 1),
                BlockSlot::MlpOut => (d, d_mlp),
                BlockSlot::Norm1Weight
                | BlockSlot::Norm1Bias
                | BlockSlot::PostNorm1Weight
                | BlockSlot::Norm2Weight
                | BlockSlot::Norm2Bias
                | BlockSlot::PostNorm2Weight
                | BlockSlot::OutBias
                | BlockSlot::MlpOutBias => (d, 1),
            },
        }
    }
}

/// One checkpoint tensor, and how it becomes rows `[out, in]` of a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub name: String,
    pub order: RowOrder,
    /// Only these of the stored rows; `None` is all.
    pub rows: Option<Range<usize>>,
    /// Added to every value (Gemma stores its norms' weights less 1).
    pub plus: f32,
}

/// How the rows of a stored tensor lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// `[out, in]`, as the weight has them.
    AsWeight,
    /// `[in, out]` (GPT-2's Conv1D).
    Transposed,
    /// The rotary pairs of each of so many heads side by side (llama.cpp); the weight has halves.
    RotaryPairs { heads: usize },
    /// q, k and v of the first head, of the second, … (GPT-NeoX); the weight has all q, all k, all v.
    QkvPerHead { heads: usize },
}

impl Source {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            order: RowOrder::AsWeight,
            rows: None,
            plus: 0.0,
        }
    }

    #[must_use]
    pub const fn ordered(mut self, order: RowOrder) -> Self {
        self.order = order;
        self
    }

    #[must_use]
    pub const fn rows(mut self, rows: Range<usize>) -> Self {
        self.rows = Some(rows);
        self
    }

    #[must_use]
    pub const fn plus(mut self, plus: f32) -> Self {
        self.plus = plus;
        self
    }

    /// The weight's rows `[out, n_in]` from the stored values.
    pub fn arrange(&self, stored: Vec<f32>, n_in: usize) -> Vec<f32> {
        let stored = match self.order {
            RowOrder::Transposed => transpose(&stored, n_in, stored.len() / n_in),
            _ => stored,
        };
        let mut values = self.arrange_rows(stored, n_in);
        if self.plus != 0.0 {
            for value in &mut values {
                *value += self.plus;
            }
        }
        values
    }

    /// The weight's rows from stored ones, each `width` long in whatever they consist of.
    pub fn arrange_rows<T: Copy>(&self, stored: Vec<T>, width: usize) -> Vec<T> {
        let mut rows = match self.order {
            RowOrder::AsWeight | RowOrder::Transposed => stored,
            RowOrder::RotaryPairs { heads } => split_rotary_pairs(&stored, heads, width),
            RowOrder::QkvPerHead { heads } => gather_qkv(&stored, heads),
        };
        if let Some(chosen) = &self.rows {
            rows.truncate(chosen.end * width);
            rows.drain(..chosen.start * width);
        }
        rows
    }
}

/// Rows `[out, in]` with each head's rotary pairs side by side (2i, 2i+1) become halves (i, i + d_head/2).
fn split_rotary_pairs<T: Copy>(rows: &[T], n_heads: usize, n_in: usize) -> Vec<T> {
    let d_head = rows.len() / n_in / n_heads;
    let mut halves = Vec::with_capacity(rows.len());
    for head in 0..n_heads {
        for row in 0..d_head {
            let (half, pair) = (row / (d_head / 2), row % (d_head / 2));
            let from = (head * d_head + 2 * pair + half) * n_in;
            halves.extend_from_slice(&rows[from..from + n_in]);
        }
    }
    halves
}

/// `[head, q|k|v, …]` to `[q|k|v, head, …]`.
fn gather_qkv<T: Copy>(rows: &[T], n_heads: usize) -> Vec<T> {
    let size = rows.len() / n_heads / 3;
    let mut gathered = Vec::with_capacity(rows.len());
    for part in 0..3 {
        for head in 0..n_heads {
            gathered.extend_from_slice(&rows[(3 * head + part) * size..][..size]);
        }
    }
    gathered
}

/// `[in, out]` to `[out, in]`, in tiles that fit the cache.
pub(super) fn transpose(values: &[f32], n_in: usize, n_out: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut rows = vec![0.0; values.len()];
    for i0 in (0..n_in).step_by(TILE) {
        for o0 in (0..n_out).step_by(TILE) {
            for o in o0..(o0 + TILE).min(n_out) {
                for i in i0..(i0 + TILE).min(n_in) {
                    rows[o * n_in + i] = values[i * n_out + o];
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotary_pairs_become_halves() {
        // Two heads of width 4, one input: rows a0 b0 a1 b1 become a0 a1 b0 b1.
        let rows = vec![0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        let source = Source::new("q").ordered(RowOrder::RotaryPairs { heads: 2 });
        assert_eq!(
            source.arrange(rows, 1),
            [0.0, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0]
        );
    }

    #[test]
    fn q_k_and_v_of_each_head_become_all_q_all_k_all_v() {
        // Two heads of width 2: q0 k0 v0 q1 k1 v1.
        let rows: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let source = Source::new("qkv").ordered(RowOrder::QkvPerHead { heads: 2 });
        assert_eq!(
            source.arrange(rows, 1),
            [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0]
        );
    }

    #[test]
    fn transposing_twice_gives_the_same() {
        let values: Vec<f32> = (0..35 * 70).map(|i| i as f32).collect();
        let once = transpose(&values, 35, 70);
        assert_eq!(once[..2], [values[0], values[70]]);
        assert_eq!(transpose(&once, 70, 35), values);
    }

    #[test]
    fn chosen_rows_are_taken_and_a_constant_is_added() {
        let source = Source::new("positions").rows(1..3).plus(1.0);
        let stored = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        assert_eq!(source.arrange(stored, 2), [3.0, 4.0, 5.0, 6.0]);
    }
}
