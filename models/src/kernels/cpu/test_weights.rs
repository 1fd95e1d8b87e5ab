//! Weights for the tests of products.

use super::{Packed, packed::WeightDtype};
use crate::signal::KeyedNoise;

/// Dtypes of weights.
pub(super) const KINDS: [WeightDtype; 3] = [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16];

/// Normal numbers.
pub(super) fn noise(key: u64, count: usize) -> Vec<f32> {
    let mut numbers = vec![0f32; count];
    KeyedNoise::new(key).fill_latent(0, &mut numbers);
    numbers
}

/// A weight of normal numbers.
pub(super) fn packed(outputs: usize, inputs: usize, kind: WeightDtype) -> Packed {
    let numbers = noise(1, outputs * inputs);
    Packed::new(outputs, inputs, kind, |row, to| to.copy_from_slice(&numbers[row * inputs..][..inputs]))
}
