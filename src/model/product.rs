//! Matrix products on parts of slices, for attention: rows and columns with strides, so that heads need no copies.
//!
//! The arithmetic is that of candle's own products (the `gemm` crate, which picks the processor's vector width at run
//! time); candle's face asks for whole tensors.

/// A matrix within a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) n_rows: usize,
    pub(super) n_columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `n_columns` values, `row_stride` apart.
    pub(super) const fn rows(
        values: &'a [f32],
        n_rows: usize,
        n_columns: usize,
        row_stride: usize,
    ) -> Self {
        Self {
            values,
            n_rows,
            n_columns,
            row_stride,
            column_stride: 1,
        }
    }

    pub(super) const fn transposed(self) -> Self {
        Self {
            values: self.values,
            n_rows: self.n_columns,
            n_columns: self.n_rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    const fn fits(&self) -> bool {
        self.n_rows == 0
            || self.n_columns == 0
            || (self.n_rows - 1) * self.row_stride + (self.n_columns - 1) * self.column_stride
                < self.values.len()
    }
}

/// `out` = `left` · `right`, or added to what `out` holds; rows of `out` lie `out_stride` apart. On this thread alone.
#[expect(
    unsafe_code,
    reason = "the product takes pointers; every index is checked here"
)]
pub(super) fn multiply(
    out: &mut [f32],
    out_stride: usize,
    add: bool,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    let (n_rows, n_columns, depth) = (left.n_rows, right.n_columns, left.n_columns);
    assert_eq!(depth, right.n_rows, "inner sides of a product");
    if n_rows == 0 || n_columns == 0 || (depth == 0 && add) {
        return;
    }
    assert!(left.fits() && right.fits(), "a matrix within its slice");
    assert!(
        n_columns <= out_stride && (n_rows - 1) * out_stride + n_columns <= out.len(),
        "a product within its slice"
    );
    // SAFETY: the farthest element that is read of `left` and `right`, and written of `out`, was checked to lie within
    // its slice; rows of `out` do not overlap, and `out` is borrowed for writing, so nobody else holds it.
    unsafe {
        gemm::gemm(
            n_rows,
            n_columns,
            depth,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_slices_multiply_as_by_hand() {
        let left: Vec<f32> = (0..40).map(|i| (i as f32 * 0.7).sin()).collect();
        let right: Vec<f32> = (0..60).map(|i| (i as f32 * 0.3).cos()).collect();
        // 3 × 4 within rows of 10; 5 × 4 within rows of 12, transposed.
        let a = Matrix::rows(&left[2..], 3, 4, 10);
        let b = Matrix::rows(&right[1..], 5, 4, 12).transposed();
        for add in [false, true] {
            let mut out = vec![1.0; 3 * 7];
            multiply(&mut out, 7, add, a, b);
            for row in 0..3 {
                for column in 0..5 {
                    let sum: f32 = (0..4)
                        .map(|i| left[2 + row * 10 + i] * right[1 + column * 12 + i])
                        .sum();
                    let expected = if add { sum + 1.0 } else { sum };
                    assert!((out[row * 7 + column] - expected).abs() < 1e-5);
                }
                assert!(
                    out[row * 7 + 5..(row + 1) * 7]
                        .iter()
                        .all(|x| x.to_bits() == 1.0_f32.to_bits())
                );
            }
        }
    }
}
