//! Between candle's tensors and the slices that the kernels work on.

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail};

/// A tensor that owns `values`; nothing is copied.
pub(super) fn from_vec(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// Reads a contiguous f32 tensor's values in place.
pub(super) fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("values are read from contiguous tensors only");
    };
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => Ok(f(&values[start..end])),
        _ => bail!("values are read from f32 tensors of the CPU only"),
    }
}

/// Changes a contiguous f32 tensor's values in place. Only for tensors that nobody else holds.
pub(super) fn in_place(tensor: &Tensor, f: impl Fn(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&OnValues(f))
}

struct OnValues<F>(F);

impl<F: Fn(&mut [f32])> InplaceOp1 for OnValues<F> {
    fn name(&self) -> &'static str {
        "on-values"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("values are changed in contiguous tensors only");
        };
        match storage {
            CpuStorage::F32(values) => {
                self.0(&mut values[start..end]);
                Ok(())
            }
            _ => bail!("values are changed in f32 tensors only"),
        }
    }
}
