//! Tensors of the kernels' tests.

use candle_core::{Device, Tensor};

use crate::signal::KeyedNoise;

/// Standard normal values of `shape`, which follow from `key`.
pub(super) fn noise(key: u64, shape: &[usize]) -> Tensor {
    let mut values = vec![0f32; shape.iter().product()];
    KeyedNoise::new(key).fill_latent(0, &mut values);
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
}

/// All values of a tensor, row after row.
pub(super) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
}
