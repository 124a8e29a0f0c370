//! A weight as a checkpoint has it: read into memory, or again from the file for every product.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Tensor;

use super::binding::{RowOrder, Source};
use super::checkpoint::Checkpoint;
use super::load::LoadError;
use super::weight::{Placed, Weight};
use crate::compute::Dtype;

/// A slot's sources with the names that the checkpoint has for them.
pub(super) type NamedSources = Vec<(String, Source)>;

/// Tensors whose rows, one after the other, are a weight `[out, in]`.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) checkpoint: Arc<Checkpoint>,
    /// For messages.
    pub(super) path: PathBuf,
    pub(super) sources: NamedSources,
    pub(super) shape: (usize, usize),
}

impl Stored {
    /// The values, row-major.
    pub(super) fn values(&self) -> Result<Vec<f32>, LoadError> {
        let mut rows = Vec::new();
        for (name, source) in &self.sources {
            let values = self.checkpoint.read_f32(name)?;
            if !values.iter().all(|v| v.is_finite()) {
                return Err(self.not_finite(name));
            }
            let mut values = source.arrange(values, self.shape.1);
            if self.sources.len() == 1 {
                rows = values;
            } else {
                rows.append(&mut values);
            }
        }
        Ok(rows)
    }

    /// In memory.
    pub(super) fn read(&self, dtype: Dtype) -> Result<Weight, LoadError> {
        if dtype == Dtype::Quantized {
            return self.blocks();
        }
        Weight::new(self.values()?, self.shape, dtype)?.ok_or_else(|| LoadError::OutOfRange {
            tensor: self.names(),
            dtype,
            path: self.path.clone(),
        })
    }

    /// In the bytes that the file has.
    fn blocks(&self) -> Result<Weight, LoadError> {
        let tensors = self
            .sources
            .iter()
            .map(|(name, source)| {
                let info = self.checkpoint.info(name);
                let bytes = self.checkpoint.stored_bytes(name);
                let (Some(info), Some(bytes)) = (info, bytes) else {
                    return Err(self.not_by_rows(name));
                };
                match info.dtype.row_bytes(self.shape.1) {
                    // Rows can be moved, as blocks lie within them; their values stay as they are.
                    Some(width) if source.order != RowOrder::Transposed && source.plus == 0.0 => {
                        Ok((info.dtype, source.arrange_rows(bytes.to_vec(), width)))
                    }
                    _ => Err(self.not_by_rows(name)),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let weight = Weight::of_blocks(tensors, self.shape);
        if weight.is_finite() {
            Ok(weight)
        } else {
            Err(self.not_finite(&self.names()))
        }
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.sources.iter().map(|(name, _)| &**name).collect();
        names.join("`, `")
    }

    fn not_finite(&self, tensor: &str) -> LoadError {
        LoadError::NotFinite {
            tensor: tensor.to_owned(),
            path: self.path.clone(),
        }
    }

    fn not_by_rows(&self, tensor: &str) -> LoadError {
        LoadError::NotByRows {
            tensor: tensor.to_owned(),
            path: self.path.clone(),
        }
    }
}

/// A matrix that is read again for each product, so that a second model can run beside the first in the memory of one
/// matrix.
#[derive(Debug)]
pub(super) struct Reread {
    pub(super) stored: Stored,
    pub(super) dtype: Dtype,
}

impl Reread {
    fn read(&self) -> candle_core::Result<Weight> {
        let weight = self.stored.read(self.dtype);
        weight.map_err(candle_core::Error::wrap)
    }
}

impl Placed for Reread {
    fn product(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.read()?.product(x)
    }

    fn product_back(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.read()?.product_back(x)
    }

    fn rows(&self, rows: &[usize]) -> candle_core::Result<Tensor> {
        self.read()?.rows(rows)
    }

    fn bytes(&self) -> usize {
        0
    }
}
