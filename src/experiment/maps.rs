//! Attention maps of a layer as plain values: what the window draws and the exports write.

use std::borrow::Cow;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::mask::Mask;

/// What one layer of a run leaves for looking at.
#[derive(Debug)]
pub struct LayerMaps {
    pub layer: usize,
    /// Which cells of the patterns a query sees.
    pub mask: Mask,
    pub patterns: Patterns,
    /// ‖v_j‖ as each query head reads it, `[head, key]`.
    pub value_norms: Arc<[f32]>,
}

/// Attention patterns of one layer, `[head, query, key]`. Kept as f32, or as f16 where the f32 maps of all layers would
/// pass the memory budget (see [`Patterns::is_exact`]).
#[derive(Debug)]
pub struct Patterns {
    n_heads: usize,
    n_tokens: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

impl Patterns {
    /// `values` is `[head, query, key]`, row-major.
    pub fn exact(n_heads: usize, n_tokens: usize, values: Vec<f32>) -> Self {
        assert_eq!(
            values.len(),
            n_heads * n_tokens * n_tokens,
            "[head, query, key]"
        );
        Self {
            n_heads,
            n_tokens,
            values: Values::F32(values),
        }
    }

    /// The same maps in half the memory, rounded to f16 (relative error up to 2⁻¹¹).
    pub fn rounded(n_heads: usize, n_tokens: usize, values: &[f32]) -> Self {
        assert_eq!(
            values.len(),
            n_heads * n_tokens * n_tokens,
            "[head, query, key]"
        );
        let mut half = vec![f16::ZERO; values.len()];
        half.convert_from_f32_slice(values);
        Self {
            n_heads,
            n_tokens,
            values: Values::F16(half),
        }
    }

    pub fn n_heads(&self) -> usize {
        self.n_heads
    }

    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Whether values are the run's own f32; otherwise they were rounded for display.
    pub fn is_exact(&self) -> bool {
        matches!(self.values, Values::F32(_))
    }

    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::F32(values) => size_of_val(values.as_slice()),
            Values::F16(values) => size_of_val(values.as_slice()),
        }
    }

    /// A[query, key] of a head.
    pub fn value(&self, head: usize, query: usize, key: usize) -> f32 {
        let i = (head * self.n_tokens + query) * self.n_tokens + key;
        match &self.values {
            Values::F32(values) => values[i],
            Values::F16(values) => values[i].to_f32(),
        }
    }

    /// All maps, `[head, query, key]`.
    pub fn all(&self) -> Cow<'_, [f32]> {
        match &self.values {
            Values::F32(values) => Cow::Borrowed(values),
            Values::F16(values) => Cow::Owned(values.to_f32_vec()),
        }
    }

    /// The map of one head, `[query, key]`.
    pub fn head(&self, head: usize) -> Cow<'_, [f32]> {
        let size = self.n_tokens * self.n_tokens;
        let range = head * size..(head + 1) * size;
        match &self.values {
            Values::F32(values) => Cow::Borrowed(&values[range]),
            Values::F16(values) => Cow::Owned(values[range].to_f32_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_the_same_as_its_cells() {
        let values: Vec<f32> = (0..2 * 9).map(|i| i as f32 / 17.0).collect();
        let exact = Patterns::exact(2, 3, values.clone());
        let rounded = Patterns::rounded(2, 3, &values);
        for (i, cell) in exact.head(1).iter().enumerate() {
            assert_eq!(cell.to_bits(), exact.value(1, i / 3, i % 3).to_bits());
            assert!((rounded.value(1, i / 3, i % 3) - cell).abs() <= cell / 2048.0);
        }
        assert_eq!(rounded.bytes() * 2, exact.bytes());
    }
}
