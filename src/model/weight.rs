//! A matrix that activations are multiplied with, in the numbers that it is kept in.
//!
//! Activations are f32 on the CPU before and after each product, whatever the matrix is kept in and wherever it lies: so
//! every site, edit and kernel is the same for all. Narrower numbers are widened, exactly, a panel of rows at a time
//! while the product needs them; activations are never rounded. (candle's products in f16 and in quantised blocks round
//! them, and are slower at more than a few rows but for one type.)

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use rayon::prelude::*;

use super::binding::transpose;
use super::checkpoint::{StoredType, widen};
use super::product::{Matrix, multiply};
use super::tensors::{from_vec, with_values};
use crate::compute::Dtype;

/// Rows that are widened at a time: in f32 they stay in a core's own cache.
const PANEL: usize = 32;

/// Sums of a product's panels that run beside one another, whatever the machine, so that the bits are the same on all;
/// and the rows of x for which they are held at a time.
const RUNNING_SUMS: usize = 16;
const ROWS_AT_ONCE: usize = 256;

/// A matrix `[out, in]`.
#[derive(Clone, Debug)]
pub(super) struct Weight(Form);

#[derive(Clone, Debug)]
enum Form {
    /// f32 on the CPU.
    Plain(Tensor),
    Narrow(Arc<Narrow>),
    Placed(Arc<dyn Placed>),
}

/// A matrix whose products are made elsewhere than from memory of this process: on a device, or from a file. Activations
/// come and go as f32 on the CPU.
pub(super) trait Placed: Debug + Send + Sync {
    /// x Wᵀ, `[row, out]`.
    fn product(&self, x: &Tensor) -> Result<Tensor>;
    /// x W, `[row, in]`: how gradients go through it.
    fn product_back(&self, x: &Tensor) -> Result<Tensor>;
    /// Chosen rows, `[chosen, in]`.
    fn rows(&self, rows: &[usize]) -> Result<Tensor>;
    fn bytes(&self) -> usize;
}

/// Rows in narrow numbers, one part after the other.
#[derive(Debug)]
struct Narrow {
    parts: Vec<Part>,
    n_out: usize,
    n_in: usize,
}

#[derive(Debug)]
struct Part {
    n_rows: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    /// As a file has them; a row is whole blocks.
    Blocks(StoredType, Vec<u8>),
}

impl Weight {
    /// From f32 rows `[out, in]`. `None` where a value is beyond what the type can hold.
    pub(super) fn new(rows: Vec<f32>, shape: (usize, usize), dtype: Dtype) -> Result<Option<Self>> {
        let values = match dtype {
            Dtype::F32 => return Ok(Some(Self::plain(from_vec(rows, shape)?))),
            Dtype::F16 => Values::F16(f16s(&rows)),
            Dtype::Bf16 => Values::Bf16(rows.iter().map(|x| bf16::from_f32(*x)).collect()),
            Dtype::Quantized => bail!("f32 rows are not quantised again"),
        };
        let holds = match &values {
            Values::F16(values) => values.iter().all(|x| x.is_finite()),
            Values::Bf16(values) => values.iter().all(|x| x.is_finite()),
            Values::Blocks(..) => true,
        };
        let n_rows = shape.0;
        Ok(holds.then(|| Self::narrow(vec![Part { n_rows, values }], shape)))
    }

    /// From rows as a file has them, one tensor after the other: type and bytes.
    pub(super) fn of_blocks(tensors: Vec<(StoredType, Vec<u8>)>, shape: (usize, usize)) -> Self {
        let parts = tensors.into_iter().map(|(stored, bytes)| Part {
            n_rows: bytes.len() / stored.row_bytes(shape.1).unwrap_or(1),
            values: Values::Blocks(stored, bytes),
        });
        Self::narrow(parts.collect(), shape)
    }

    pub(super) fn placed(placed: impl Placed + 'static) -> Self {
        Self(Form::Placed(Arc::new(placed)))
    }

    fn plain(tensor: Tensor) -> Self {
        Self(Form::Plain(tensor))
    }

    fn narrow(parts: Vec<Part>, (n_out, n_in): (usize, usize)) -> Self {
        Self(Form::Narrow(Arc::new(Narrow { parts, n_out, n_in })))
    }

    /// x Wᵀ, `[row, out]`.
    pub(super) fn product(&self, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Form::Plain(weight) => x.matmul(&weight.t()?),
            Form::Narrow(weight) => {
                let (n_rows, n_in) = x.dims2()?;
                if n_in != weight.n_in {
                    bail!("{n_in} columns cannot be multiplied with {}", weight.n_in);
                }
                let y = with_values(x, |x| weight.product(x, n_rows))?;
                from_vec(y, (n_rows, weight.n_out))
            }
            Form::Placed(weight) => weight.product(x),
        }
    }

    /// x W, `[row, in]`: how gradients go through the product.
    pub(super) fn product_back(&self, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Form::Plain(weight) => x.matmul(weight),
            Form::Narrow(weight) => {
                let (n_rows, n_out) = x.dims2()?;
                if n_out != weight.n_out {
                    bail!("{n_out} columns cannot be multiplied with {}", weight.n_out);
                }
                let y = with_values(x, |x| weight.product_back(x))?;
                from_vec(y, (n_rows, weight.n_in))
            }
            Form::Placed(weight) => weight.product_back(x),
        }
    }

    /// Chosen rows in f32, in that order, `[chosen, in]`.
    pub(super) fn rows(&self, rows: &[usize]) -> Result<Tensor> {
        match &self.0 {
            Form::Plain(weight) => super::transformer::rows_of(weight, rows.iter().copied()),
            Form::Narrow(weight) => {
                let mut values = vec![0.0; rows.len() * weight.n_in];
                for (row, values) in rows.iter().zip(values.chunks_exact_mut(weight.n_in)) {
                    weight.widen(*row..row + 1, values);
                }
                from_vec(values, (rows.len(), weight.n_in))
            }
            Form::Placed(weight) => weight.rows(rows),
        }
    }

    /// Some columns of all `n_out` rows in f32, `[out, len]`.
    pub(super) fn columns(&self, n_out: usize, columns: Range<usize>) -> Result<Tensor> {
        let all = match &self.0 {
            Form::Plain(weight) => weight.clone(),
            _ => self.rows(&(0..n_out).collect::<Vec<_>>())?,
        };
        all.narrow(1, columns.start, columns.len())
    }

    /// The values in their own type, on the CPU; quantised ones have none.
    pub(super) fn tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Form::Plain(weight) => Ok(weight.clone()),
            Form::Narrow(weight) => match &weight.parts[..] {
                [part] => part.values.tensor((weight.n_out, weight.n_in)),
                _ => bail!("rows of several types are no tensor"),
            },
            Form::Placed(_) => bail!("what is placed elsewhere is not moved on"),
        }
    }

    /// Whether it lies in this process's memory.
    pub(super) const fn is_here(&self) -> bool {
        !matches!(self.0, Form::Placed(_))
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.0 {
            Form::Plain(weight) => weight.elem_count() * size_of::<f32>(),
            Form::Narrow(weight) => weight.parts.iter().map(|part| part.values.bytes()).sum(),
            Form::Placed(weight) => weight.bytes(),
        }
    }

    /// Whether all values are finite.
    pub(super) fn is_finite(&self) -> bool {
        match &self.0 {
            Form::Narrow(weight) => weight.is_finite(),
            _ => true,
        }
    }
}

impl Narrow {
    /// `[row, out]` from x `[row, in]`.
    fn product(&self, x: &[f32], n_rows: usize) -> Vec<f32> {
        if n_rows == 0 {
            return vec![];
        }
        let right = Matrix::rows(x, n_rows, self.n_in, self.n_in).transposed();
        // [out, row], so that what a panel gives lies together.
        let mut y = vec![0.0; self.n_out * n_rows];
        self.in_panels(y.par_chunks_mut(PANEL * n_rows), |panel, y| {
            let left = Matrix::rows(panel, panel.len() / self.n_in, self.n_in, self.n_in);
            multiply(y, n_rows, false, left, right);
        });
        if n_rows == 1 {
            y
        } else {
            transpose(&y, self.n_out, n_rows)
        }
    }

    /// `[row, in]` from x `[row, out]`.
    fn product_back(&self, x: &[f32]) -> Vec<f32> {
        let n_panels = self.n_out.div_ceil(PANEL);
        let of_sum = n_panels.div_ceil(RUNNING_SUMS) * PANEL;
        let mut y = Vec::with_capacity(x.len() / self.n_out * self.n_in);
        for x in x.chunks(ROWS_AT_ONCE * self.n_out) {
            let n_rows = x.len() / self.n_out;
            let size = n_rows * self.n_in;
            let mut sums = vec![0.0; self.n_out.div_ceil(of_sum) * size];
            sums.par_chunks_mut(size).enumerate().for_each(|(i, sum)| {
                let mut buffer = vec![0.0; PANEL * self.n_in];
                for start in (i * of_sum..self.n_out.min((i + 1) * of_sum)).step_by(PANEL) {
                    let rows = start..self.n_out.min(start + PANEL);
                    let panel = &mut buffer[..rows.len() * self.n_in];
                    self.widen(rows.clone(), panel);
                    let left = Matrix::rows(&x[start..], n_rows, rows.len(), self.n_out);
                    let right = Matrix::rows(panel, rows.len(), self.n_in, self.n_in);
                    multiply(sum, self.n_in, true, left, right);
                }
            });
            let (total, rest) = sums.split_at_mut(size);
            for sum in rest.chunks_exact(size) {
                total.iter_mut().zip(sum).for_each(|(x, y)| *x += y);
            }
            y.extend_from_slice(total);
        }
        y
    }

    fn is_finite(&self) -> bool {
        let mut finite = vec![true; self.n_out.div_ceil(PANEL)];
        self.in_panels(finite.par_iter_mut(), |panel, finite| {
            *finite = panel.iter().all(|x| x.is_finite());
        });
        finite.into_iter().all(|finite| finite)
    }

    /// Gives every panel's values in f32, `[row, in]`, with what belongs to it of `each`.
    fn in_panels<T: Send>(
        &self,
        each: impl IndexedParallelIterator<Item = T>,
        f: impl Fn(&[f32], T) + Sync,
    ) {
        let buffer = || vec![0.0; PANEL * self.n_in];
        each.enumerate()
            .for_each_init(buffer, |buffer, (panel, of_panel)| {
                let start = panel * PANEL;
                let rows = start..self.n_out.min(start + PANEL);
                let values = &mut buffer[..rows.len() * self.n_in];
                self.widen(rows, values);
                f(values, of_panel);
            });
    }

    /// Some rows in f32.
    fn widen(&self, rows: Range<usize>, mut out: &mut [f32]) {
        let mut first = 0;
        for part in &self.parts {
            let (start, end) = (
                rows.start.max(first) - first,
                rows.end.min(first + part.n_rows).max(first) - first,
            );
            if start < end {
                let (of_part, rest) = out.split_at_mut((end - start) * self.n_in);
                part.values.widen(start * self.n_in, of_part);
                out = rest;
            }
            first += part.n_rows;
        }
    }
}

impl Values {
    /// The values from `start` (the beginning of a row) on that fill `out`.
    fn widen(&self, start: usize, out: &mut [f32]) {
        match self {
            Self::F16(values) => values[start..][..out.len()].convert_to_f32_slice(out),
            Self::Bf16(values) => values[start..][..out.len()].convert_to_f32_slice(out),
            Self::Blocks(stored, bytes) => {
                let at = |n: usize| stored.row_bytes(n).unwrap_or_default();
                widen(*stored, &bytes[at(start)..][..at(out.len())], out);
            }
        }
    }

    fn tensor(&self, shape: (usize, usize)) -> Result<Tensor> {
        match self {
            Self::F16(values) => Tensor::from_slice(values, shape, &Device::Cpu),
            Self::Bf16(values) => Tensor::from_slice(values, shape, &Device::Cpu),
            Self::Blocks(..) => bail!("quantised rows are no tensor"),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::F16(values) => size_of_val(&values[..]),
            Self::Bf16(values) => size_of_val(&values[..]),
            Self::Blocks(_, bytes) => bytes.len(),
        }
    }
}

fn f16s(values: &[f32]) -> Vec<f16> {
    let mut narrow = vec![f16::ZERO; values.len()];
    narrow.convert_from_f32_slice(values);
    narrow
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of two tensors of different types; the second begins within a panel.
    fn two_parts() -> (Weight, Vec<f32>) {
        let (n_in, first, second) = (32, PANEL + 5, PANEL);
        let bytes = |n: usize| -> Vec<u8> { (0..n).map(|i| (i * 37 % 251) as u8).collect() };
        let mut q8 = bytes(first * 34);
        // The scale of each row's one block: 0.01 in f16.
        for block in q8.chunks_exact_mut(34) {
            block[..2].copy_from_slice(&f16::from_f32(0.01).to_le_bytes());
        }
        let half: Vec<u8> = (0..second * n_in)
            .flat_map(|i| f16::from_f32((i as f32 * 0.37).sin()).to_le_bytes())
            .collect();
        let mut values = vec![0.0; (first + second) * n_in];
        let (a, b) = values.split_at_mut(first * n_in);
        widen(StoredType::Q8_0, &q8, a);
        widen(StoredType::F16, &half, b);
        let tensors = vec![(StoredType::Q8_0, q8), (StoredType::F16, half)];
        (Weight::of_blocks(tensors, (first + second, n_in)), values)
    }

    fn check(weight: &Weight, values: &[f32], n_in: usize) {
        let n_out = values.len() / n_in;
        for n_rows in [1, 2, 33] {
            let x: Vec<f32> = (0..n_rows * n_in).map(|i| (i as f32 * 0.7).cos()).collect();
            let found = weight.product(&from_vec(x.clone(), (n_rows, n_in)).unwrap());
            let found = found.unwrap().to_vec2::<f32>().unwrap();
            for (x, found) in x.chunks_exact(n_in).zip(&found) {
                for (row, found) in values.chunks_exact(n_in).zip(found) {
                    let right: f64 = row.iter().zip(x).map(|(w, x)| f64::from(w * x)).sum();
                    assert!((f64::from(*found) - right).abs() < 1e-4, "{found} {right}");
                }
            }
            assert_eq!(found.len(), n_rows);
        }
        for n_rows in [1, 3, ROWS_AT_ONCE + 2] {
            let x: Vec<f32> = (0..n_rows * n_out)
                .map(|i| (i as f32 * 0.7).cos())
                .collect();
            let found = weight.product_back(&from_vec(x.clone(), (n_rows, n_out)).unwrap());
            let found = found.unwrap().to_vec2::<f32>().unwrap();
            for (x, found) in x.chunks_exact(n_out).zip(&found) {
                for (column, found) in found.iter().enumerate() {
                    let rows = values.chunks_exact(n_in);
                    let right: f64 = rows.zip(x).map(|(w, x)| f64::from(w[column] * x)).sum();
                    assert!((f64::from(*found) - right).abs() < 1e-4, "{found} {right}");
                }
            }
            assert_eq!(found.len(), n_rows);
        }
        let rows = weight.rows(&[n_out - 1, 0]).unwrap();
        let rows: Vec<f32> = rows.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(rows[..n_in], values[(n_out - 1) * n_in..]);
        assert_eq!(rows[n_in..], values[..n_in]);
        let columns = weight.columns(n_out, 3..5).unwrap().to_vec2::<f32>();
        for (found, row) in columns.unwrap().iter().zip(values.chunks_exact(n_in)) {
            assert_eq!(found[..], row[3..5]);
        }
    }

    #[test]
    fn products_rows_and_columns_are_those_of_the_widened_values() {
        let (weight, values) = two_parts();
        check(&weight, &values, 32);
        assert_eq!(weight.bytes(), (PANEL + 5) * 34 + PANEL * 64);
        assert!(weight.is_finite());

        let rows: Vec<f32> = (0..70 * 12).map(|i| (i as f32 * 0.3).sin()).collect();
        for (dtype, bytes) in [(Dtype::F32, 4), (Dtype::F16, 2), (Dtype::Bf16, 2)] {
            let weight = Weight::new(rows.clone(), (70, 12), dtype).unwrap().unwrap();
            let values: Vec<f32> = match dtype {
                Dtype::F16 => rows.iter().map(|x| f16::from_f32(*x).to_f32()).collect(),
                Dtype::Bf16 => rows.iter().map(|x| bf16::from_f32(*x).to_f32()).collect(),
                _ => rows.clone(),
            };
            check(&weight, &values, 12);
            assert_eq!(weight.bytes(), rows.len() * bytes, "{dtype}");
            assert_eq!(values == rows, dtype == Dtype::F32);
        }
    }

    #[test]
    fn what_is_not_finite_or_out_of_range_is_seen() {
        let mut block = vec![1; 34 * (PANEL + 1)];
        block[34 * PANEL..][..2].copy_from_slice(&f16::NAN.to_le_bytes());
        let weight = Weight::of_blocks(vec![(StoredType::Q8_0, block)], (PANEL + 1, 32));
        assert!(!weight.is_finite());
        let large = |dtype| {
            Weight::new(vec![1.0, 7e4], (1, 2), dtype)
                .unwrap()
                .is_some()
        };
        assert_eq!(
            [Dtype::F32, Dtype::F16, Dtype::Bf16].map(large),
            [true, false, true]
        );
    }
}
