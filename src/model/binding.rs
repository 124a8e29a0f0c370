//! Which checkpoint tensors make up which weight, as data: it can be listed, checked for completeness, and shown.

/// A weight of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// `[vocab, d_model]`
    Embed,
    /// `[context, d_model]`
    PosEmbed,
    /// `[vocab, d_model]`; absent where tied.
    Unembed,
    FinalNormWeight,
    FinalNormBias,
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
    /// `[d_model, H · d_head]`
    Out,
    OutBias,
    Norm2Weight,
    Norm2Bias,
    /// `[d_mlp, d_model]`; with a gate, its rows first: `[2 · d_mlp, d_model]`.
    MlpIn,
    MlpInBias,
    /// `[d_model, d_mlp]`
    MlpOut,
    MlpOutBias,
}

/// The tensors whose rows, one after the other, are a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub to: Slot,
    pub from: Vec<Source>,
}

/// One checkpoint tensor, and how it becomes rows `[out, in]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    /// Stored `[in, out]` (GPT-2's Conv1D).
    pub transposed: bool,
    /// llama.cpp keeps the rotary pairs of each of so many heads side by side; we keep halves.
    pub interleaved_heads: Option<usize>,
}

impl Binding {
    pub fn new(to: Slot, name: impl Into<String>) -> Self {
        Self {
            to,
            from: vec![Source::new(name)],
        }
    }

    /// A weight made of several tensors' rows.
    pub const fn stacked(to: Slot, from: Vec<Source>) -> Self {
        Self { to, from }
    }
}

impl Source {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            transposed: false,
            interleaved_heads: None,
        }
    }

    #[must_use]
    pub const fn interleaved(mut self, heads: Option<usize>) -> Self {
        self.interleaved_heads = heads;
        self
    }
}

/// Rows `[out, in]` with each head's rotary pairs side by side (2i, 2i+1) become halves (i, i + d_head/2).
pub fn split_rotary_pairs(rows: &[f32], n_heads: usize, n_in: usize) -> Vec<f32> {
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

/// `[in, out]` to `[out, in]`, in tiles that fit the cache.
pub fn transpose(values: &[f32], n_in: usize, n_out: usize) -> Vec<f32> {
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
        let rows = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        assert_eq!(
            split_rotary_pairs(&rows, 2, 1),
            [0.0, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0]
        );
    }

    #[test]
    fn transposing_twice_gives_the_same() {
        let values: Vec<f32> = (0..35 * 70).map(|i| i as f32).collect();
        let once = transpose(&values, 35, 70);
        assert_eq!(once[..2], [values[0], values[70]]);
        assert_eq!(transpose(&once, 70, 35), values);
    }
}
