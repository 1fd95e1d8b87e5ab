//! Storage dtype of weight matrices: as in the file, or narrower.

use half::{bf16, f16};

use crate::kernels::cpu::WeightDtype;

/// Size in bytes of a language model's f32 matrices from which [`Storage::Auto`] narrows them: 1 GiB.
/// The published model has 15.75 GB of them and was trained in bf16; models for tests stay what they are.
pub const WORTH_NARROWING: u64 = 1 << 30;

/// How the matrices of one part of a checkpoint are stored in memory. Norms and biases are f32 always, and so is all
/// arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// As in the file; but a language model with more than [`WORTH_NARROWING`] of f32 matrices as bf16.
    #[default]
    Auto,
    /// As in the file.
    Stored,
    /// As this.
    As(WeightDtype),
}

/// Accuracy of flow matching's products on a GPU's tensor cores. On a processor they are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FlowPrecision {
    /// That of f32: inputs, and weights of more than 11 bits, as the sum of two f16 numbers each.
    #[default]
    F32,
    /// One pass: inputs and weights rounded to one f16 number of 11 bits each, sums in f32. Half as many operations.
    F16,
}

/// Whether [`Storage`] applies to a tensor: matrices of products, and embedding tables. The rest is small and decides
/// precision.
pub fn is_matrix(name: &str, shape: &[usize]) -> bool {
    let small = name.contains("scale_shift_table") || name.ends_with("original0") || name.contains("_codebook.");
    shape.len() >= 2 && !small
}

/// Fake quantisation: integers of a few bits, each block of [`FakeQuant::BLOCK`] neighbours with a scale of its own.
/// Weights are rounded to these values when they are read, to measure what quantisation costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FakeQuant {
    bits: u32,
}

impl FakeQuant {
    /// Numbers that share a scale.
    pub const BLOCK: usize = 32;

    /// With 2 to 8 `bits`; `None` for others.
    pub fn new(bits: u32) -> Option<Self> {
        (2..=8).contains(&bits).then_some(Self { bits })
    }

    /// Rounds numbers to the quantised values; the first begins a block.
    pub(super) fn round(self, numbers: &mut [f32]) {
        let largest = ((1u32 << (self.bits - 1)) - 1) as f32;
        for block in numbers.chunks_mut(Self::BLOCK) {
            let scale = block.iter().fold(0f32, |most, x| most.max(x.abs())) / largest;
            if scale > 0.0 {
                block.iter_mut().for_each(|x| *x = (*x / scale).round() * scale);
            }
        }
    }
}

/// Rounds `numbers` to `kind`.
pub(super) fn round(numbers: &mut [f32], kind: WeightDtype) {
    match kind {
        WeightDtype::F32 => (),
        WeightDtype::F16 => numbers.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        WeightDtype::Bf16 => numbers.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_numbers_are_whole_multiples_of_their_blocks_scale_and_off_by_no_more_than_half_of_it() {
        let numbers: Vec<f32> =
            (0..100).map(|place| (place as f32 * 0.7).sin() * (1.0 + place as f32 / 10.0)).collect();
        for (bits, steps) in [(8, 127.0), (4, 7.0)] {
            let mut rounded = numbers.clone();
            FakeQuant::new(bits).expect("a width").round(&mut rounded);
            for (block, fine) in rounded.chunks(FakeQuant::BLOCK).zip(numbers.chunks(FakeQuant::BLOCK)) {
                let scale = fine.iter().fold(0f32, |most, x| most.max(x.abs())) / steps;
                for (fake_quant, fine) in block.iter().zip(fine) {
                    assert!((fake_quant - fine).abs() <= 0.501 * scale, "{fake_quant} and {fine}, {bits} bits");
                    assert!((fake_quant / scale - (fake_quant / scale).round()).abs() < 1e-3);
                }
            }
        }
        assert!(FakeQuant::new(1).is_none() && FakeQuant::new(9).is_none());
    }
}
