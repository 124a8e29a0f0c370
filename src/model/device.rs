//! Devices other than the CPU: where the matrices lie and products are made. Everything between the products stays on the
//! CPU, in f32.

use std::fmt::Debug;

use candle_core::{DType, Device as CandleDevice, Result, Tensor};

use super::weight::{Placed, Weight};
use crate::compute::Device;

/// Takes matrices to where their products are made.
pub(super) trait Backend: Debug {
    /// For messages.
    fn name(&self) -> &'static str;
    fn place(&self, weight: &Weight) -> Result<Weight>;
}

/// Why a device is not used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error(
        "this program was built without {device}: build it with `cargo build --release --features {device}`, or \
         compute on the cpu"
    )]
    NotBuilt { device: Device },
    #[error("{device} cannot be used: {source}; compute on the cpu")]
    Unusable {
        device: Device,
        source: candle_core::Error,
    },
}

/// `None` for the CPU.
pub(super) fn backend(
    device: Device,
) -> std::result::Result<Option<Box<dyn Backend>>, DeviceError> {
    if !device.is_built() {
        return Err(DeviceError::NotBuilt { device });
    }
    let candle = match device {
        Device::Cpu => return Ok(None),
        Device::Cuda => CandleDevice::new_cuda(0),
        Device::Metal => CandleDevice::new_metal(0),
    };
    let device = candle.map_err(|source| DeviceError::Unusable { device, source })?;
    Ok(Some(Box::new(Candle(device))))
}

/// A device of candle's.
#[derive(Debug)]
pub(super) struct Candle(pub(super) CandleDevice);

impl Backend for Candle {
    fn name(&self) -> &'static str {
        match self.0 {
            CandleDevice::Cpu => "cpu",
            CandleDevice::Cuda(_) => "cuda",
            CandleDevice::Metal(_) => "metal",
        }
    }

    fn place(&self, weight: &Weight) -> Result<Weight> {
        let matrix = weight.tensor()?.to_device(&self.0)?;
        Ok(Weight::placed(OnDevice(matrix)))
    }
}

/// `[out, in]`, in its own type.
#[derive(Debug)]
struct OnDevice(Tensor);

impl Placed for OnDevice {
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        // Widened there, so that activations are not rounded: the numbers are the CPU's.
        let matrix = self.0.to_dtype(DType::F32)?;
        x.to_device(matrix.device())?
            .matmul(&matrix.t()?)?
            .to_device(&CandleDevice::Cpu)
    }

    fn rows(&self, rows: &[usize]) -> Result<Tensor> {
        let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let rows = Tensor::new(rows, self.0.device())?;
        self.0
            .index_select(&rows, 0)?
            .to_device(&CandleDevice::Cpu)?
            .to_dtype(DType::F32)
    }

    fn bytes(&self) -> usize {
        self.0.elem_count() * self.0.dtype().size_in_bytes()
    }
}
