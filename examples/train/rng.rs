//! Random numbers of training: from a seed and the step, so that a run can be resumed.

use candle_core::{Device, Tensor};

use crate::corpus::SplitMix64;

/// Apart from the streams of the corpus.
const DOMAIN: u64 = 0x51_7C_C1;

/// A stream of random numbers that belongs to its keys.
#[derive(Debug, Clone)]
pub struct Rng(SplitMix64);

impl Rng {
    /// The stream that belongs to all of `keys` in their order.
    pub fn new(keys: &[u64]) -> Self {
        Self(SplitMix64::new(DOMAIN, keys))
    }

    /// A number in (0, 1).
    pub fn unit(&mut self) -> f64 {
        ((self.0.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// A whole number below `count`, which is at least 1.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count - 1)
    }

    /// Standard normal numbers.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(count + 1);
        while numbers.len() < count {
            let (radius, angle) = ((-2.0 * self.unit().ln()).sqrt(), std::f64::consts::TAU * self.unit());
            numbers.push((radius * angle.cos()) as f32);
            numbers.push((radius * angle.sin()) as f32);
        }
        numbers.truncate(count);
        numbers
    }
}

/// Standard normal numbers on `device`: drawn there if it is a GPU, which is faster and follows the seed it was given.
pub fn normal(rng: &mut Rng, shape: &[usize], device: &Device) -> candle_core::Result<Tensor> {
    if device.is_cuda() {
        return Tensor::randn(0f32, 1f32, shape, device);
    }
    Tensor::from_vec(rng.normal(shape.iter().product()), shape, device)
}
