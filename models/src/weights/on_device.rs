//! Tensors of a store on a device, in the dtype that they have there.

#[cfg(feature = "cuda")]
use std::sync::PoisonError;

use candle_core::{DType, Device, Tensor};

use super::TensorStore;
#[cfg(feature = "cuda")]
use crate::kernels::{Uploads, settled};
use crate::{error::Result, kernels::cpu::WeightDtype};

/// Numbers of a tensor that is worth an upload in pieces.
#[cfg(feature = "cuda")]
const LARGE: usize = 1 << 20;

impl TensorStore {
    /// Reads a float tensor as f32 onto `device`.
    ///
    /// # Errors
    /// When it is not there with exactly this shape.
    pub fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        self.read_as(DType::F32, name, shape, device)
    }

    /// Reads a weight matrix onto `device`, in its storage dtype. Only bf16 stays narrow there: a product then rounds
    /// its inputs to bf16, too, as in the training of the language models. f16 is widened to f32, so that inputs are
    /// not rounded to its 11 bits.
    ///
    /// # Errors
    /// When it is not there with exactly this shape.
    pub fn matrix(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        let dtype = match self.matrix_type(name) {
            WeightDtype::F32 | WeightDtype::F16 => DType::F32,
            WeightDtype::Bf16 => DType::BF16,
        };
        self.read_as(dtype, name, shape, device)
    }

    /// As f32 or bf16.
    fn read_as(&self, dtype: DType, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        if let Some(tensor) = self.in_memory.get(name).filter(|tensor| tensor.dims() == shape) {
            // By way of f32, as from a file.
            return Ok(tensor.to_device(device)?.to_dtype(DType::F32)?.to_dtype(dtype)?);
        }
        let numbers = self.numbers(name, shape)?;
        #[cfg(feature = "cuda")]
        if device.is_cuda() && shape.iter().product::<usize>() >= LARGE {
            let mut kept = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
            let uploads = match kept.take().filter(|uploads| uploads.are_of(device)) {
                Some(uploads) => kept.insert(uploads),
                None => kept.insert(Uploads::new(device)?),
            };
            return match dtype {
                DType::BF16 => uploads.tensor(shape, |first, to| numbers.read_as_bf16(first, to)),
                _ => uploads.tensor(shape, |first, to| numbers.read_in_parallel(first, to)),
            };
        }
        let tensor = Tensor::from_vec(numbers.read_all()?, shape, device)?.to_dtype(dtype)?;
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            return Ok(settled(&tensor)?);
        }
        Ok(tensor)
    }
}
