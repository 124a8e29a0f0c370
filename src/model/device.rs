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

    fn product_back(&self, x: &Tensor) -> Result<Tensor> {
        let matrix = self.0.to_dtype(DType::F32)?;
        x.to_device(matrix.device())?
            .matmul(&matrix)?
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::compute::{Compute, Dtype};
    use crate::model::Model;
    use crate::model::hub::Hub;
    use crate::model::load::{LoadError, Unreported, open, open_on};
    use crate::model::plan::Plan;
    use crate::model::site::Site;
    use crate::model::tensors::with_values;

    /// What a broken device does to one product.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        None,
        /// One value of the matrix is another.
        OneWeight,
        /// Of a square matrix, rows and columns are exchanged.
        Transposed,
        NotANumber,
        /// Everything is one per cent too large.
        SlightlyWrong,
        /// The second row of several is the first again, as with a wrong stride.
        RepeatedRow,
    }

    /// The CPU through the seam of devices, with a fault in the matrix that is placed as number `at`.
    #[derive(Debug)]
    struct Faulty {
        fault: Fault,
        at: usize,
        placed: Cell<usize>,
    }

    #[derive(Debug)]
    struct FaultyMatrix {
        right: Weight,
        fault: Fault,
    }

    impl Faulty {
        fn new(fault: Fault, at: usize) -> Self {
            Self {
                fault,
                at,
                placed: Cell::new(0),
            }
        }
    }

    impl Backend for Faulty {
        fn name(&self) -> &'static str {
            "a broken device"
        }

        fn place(&self, weight: &Weight) -> Result<Weight> {
            let right = Candle(CandleDevice::Cpu).place(weight)?;
            let number = self.placed.replace(self.placed.get() + 1);
            let fault = if number == self.at {
                self.fault
            } else {
                Fault::None
            };
            Ok(Weight::placed(FaultyMatrix { right, fault }))
        }
    }

    impl Placed for FaultyMatrix {
        fn product(&self, x: &Tensor) -> Result<Tensor> {
            let y = self.right.product(x)?;
            match self.fault {
                Fault::None => Ok(y),
                Fault::OneWeight => {
                    // One more of x's first column in y's last.
                    let last = y.dim(1)? - 1;
                    let column = (y.narrow(1, last, 1)? + (x.narrow(1, 0, 1)? * 0.05)?)?;
                    Tensor::cat(&[y.narrow(1, 0, last)?, column], 1)?.contiguous()
                }
                Fault::Transposed => {
                    let all: Vec<usize> = (0..y.dim(1)?).collect();
                    x.matmul(&self.right.rows(&all)?)
                }
                Fault::NotANumber => {
                    let nan = (y.narrow(0, 0, 1)? * f64::NAN)?;
                    Tensor::cat(&[nan, y.narrow(0, 1, y.dim(0)? - 1)?], 0)
                }
                Fault::SlightlyWrong => y * 1.01,
                Fault::RepeatedRow => {
                    let first = y.narrow(0, 0, 1)?;
                    let rest = y.narrow(0, 2, y.dim(0)? - 2)?;
                    Tensor::cat(&[first.clone(), first, rest], 0)
                }
            }
        }

        fn product_back(&self, x: &Tensor) -> Result<Tensor> {
            self.right.product_back(x)
        }

        fn rows(&self, rows: &[usize]) -> Result<Tensor> {
            self.right.rows(rows)
        }

        fn bytes(&self) -> usize {
            self.right.bytes()
        }
    }

    fn path(model: &str) -> String {
        let root = env!("CARGO_MANIFEST_DIR");
        format!("{root}/tests/fixtures/models/{model}")
    }

    fn open_with(
        backend: &dyn Backend,
        model: &str,
        dtype: Dtype,
    ) -> std::result::Result<Model, LoadError> {
        let compute = Compute {
            dtype,
            ..Compute::default()
        };
        open_on(
            &Hub::from_env(),
            &path(model),
            compute,
            Some(backend),
            &mut Unreported,
        )
    }

    #[track_caller]
    fn refused_at(fault: Fault, at: usize, model: &str) -> Site {
        match open_with(&Faulty::new(fault, at), model, Dtype::F32) {
            Err(LoadError::Disagrees { site, .. }) => site,
            Err(error) => panic!("{model} {fault:?}: {error}"),
            Ok(_) => panic!("{model} {fault:?} in matrix {at} was not seen"),
        }
    }

    /// Matrices of a layer, in the order in which they are placed.
    const OF_LAYER: usize = 4;

    #[test]
    fn a_wrong_product_anywhere_is_refused_at_the_site_where_it_shows() {
        // GPT-2's W_O is square; the unembedding is tied and placed last.
        for (fault, at, site) in [
            (Fault::OneWeight, OF_LAYER + 3, "blocks.1.hook_mlp_out"),
            (Fault::OneWeight, OF_LAYER + 2, "blocks.1.mlp.hook_pre"),
            (Fault::OneWeight, OF_LAYER, "blocks.1.attn.hook_v"),
            (Fault::OneWeight, 2 * OF_LAYER, "logits"),
            (Fault::Transposed, OF_LAYER + 1, "blocks.1.hook_attn_out"),
            (Fault::NotANumber, OF_LAYER + 3, "blocks.1.hook_mlp_out"),
            (Fault::NotANumber, 0, "blocks.0.attn.hook_q"),
            (Fault::SlightlyWrong, OF_LAYER + 3, "blocks.1.hook_mlp_out"),
            (Fault::SlightlyWrong, 2 * OF_LAYER, "logits"),
            (Fault::RepeatedRow, OF_LAYER + 1, "blocks.1.hook_attn_out"),
        ] {
            let found = refused_at(fault, at, "tiny-gpt2");
            assert_eq!(found.to_string(), site, "{fault:?} in matrix {at}");
        }
        // A norm on the stream, a masked token's head, gates, parallel blocks: whatever is placed last but one.
        for model in [
            "tiny-bert",
            "tiny-gemma2",
            "tiny-gpt-neox",
            "tiny-modernbert",
        ] {
            for at in 0..OF_LAYER {
                refused_at(Fault::SlightlyWrong, at, model);
            }
        }
    }

    #[test]
    fn the_refusal_says_where_and_by_how_much() {
        let broken = Faulty::new(Fault::SlightlyWrong, OF_LAYER + 3);
        let error = open_with(&broken, "tiny-llama-tied", Dtype::F32).unwrap_err();
        let text = error.to_string();
        for part in ["a broken device", "blocks.1.hook_mlp_out", "off by", "1e-4"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_device_that_is_right_is_used_in_every_type_that_it_has() {
        for (model, is_tied) in [
            ("tiny-gpt2", true),
            ("tiny-llama", false),
            ("tiny-llama-tied", true),
            ("tiny-bert", true),
            ("tiny-bert-base", false),
            ("tiny-gemma2", true),
        ] {
            let on_cpu = open(&path(model), &mut Unreported).unwrap();
            let logits = |model: &Model| -> Option<Vec<f32>> {
                let (plan, record) = (Plan::default(), std::collections::BTreeSet::new());
                let transformer = &model.transformer;
                let mut forward = transformer.start(&[3, 1, 4], &plan, &record).unwrap();
                while forward.step().unwrap().is_some() {}
                let resid = forward.finish(None).unwrap();
                let logits = forward.logits(resid).unwrap()?;
                Some(with_values(&logits, <[f32]>::to_vec).unwrap())
            };
            for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
                let device = Candle(CandleDevice::Cpu);
                let found = open_with(&device, model, dtype).unwrap();
                if dtype == Dtype::F32 {
                    assert_eq!(logits(&found), logits(&on_cpu), "{model}");
                    // Rows of a tied embedding are looked up here, and multiplied there.
                    let more = found.weight_bytes > on_cpu.weight_bytes;
                    assert_eq!(more, is_tied, "{model}");
                } else {
                    assert_ne!(found.logit_difference, Some(0.0), "{model} {dtype}");
                }
            }
        }
    }

    #[test]
    fn quantised_blocks_stay_on_the_cpu() {
        let model = "tiny-llama-quantized/tiny-llama-quantized.gguf";
        let error = open_with(&Candle(CandleDevice::Cpu), model, Dtype::Quantized);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("on the cpu only"), "{error}");
    }

    #[test]
    fn a_device_that_the_program_lacks_is_refused_with_the_way_to_build_it() {
        for device in [Device::Cuda, Device::Metal] {
            if device.is_built() {
                continue;
            }
            let error = backend(device).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(&format!("--features {device}")), "{error}");
        }
        assert!(backend(Device::Cpu).unwrap().is_none());
    }
}
