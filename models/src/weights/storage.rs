//! How are a model's weight matrices stored in memory: as in the file, or narrower?

use half::{bf16, f16};

use crate::kernels::cpu::NumberType;

/// How large the f32 matrices of a language model must be, all together, before [`Storage::Auto`] narrows them: 1 GiB.
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
    As(NumberType),
}

/// Whether a tensor is one of those that are stored as [`Storage`] says: what products read, and tables of embeddings.
/// The rest is little and is what precision hangs on.
pub(crate) fn is_matrix(name: &str, shape: &[usize]) -> bool {
    let small = name.contains("scale_shift_table") || name.ends_with("original0") || name.contains("_codebook.");
    shape.len() >= 2 && !small
}

/// Whole numbers of a few bits, each block of [`Coarse::BLOCK`] neighbours with a scale of its own. Nothing computes with
/// such weights: a model is read as if its file had been written so, to see what it would still say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coarse {
    bits: u32,
}

impl Coarse {
    /// Numbers that share a scale.
    pub const BLOCK: usize = 32;

    /// Of so many bits, 2 to 8; `None` for others.
    pub fn new(bits: u32) -> Option<Self> {
        (2..=8).contains(&bits).then_some(Self { bits })
    }

    /// What numbers are after they were stored so; the first begins a block.
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

/// What `numbers` are after they were stored as `kind`.
pub(super) fn round(numbers: &mut [f32], kind: NumberType) {
    match kind {
        NumberType::F32 => (),
        NumberType::F16 => numbers.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        NumberType::Bf16 => numbers.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32()),
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
            Coarse::new(bits).expect("a width").round(&mut rounded);
            for (block, fine) in rounded.chunks(Coarse::BLOCK).zip(numbers.chunks(Coarse::BLOCK)) {
                let scale = fine.iter().fold(0f32, |most, x| most.max(x.abs())) / steps;
                for (coarse, fine) in block.iter().zip(fine) {
                    assert!((coarse - fine).abs() <= 0.501 * scale, "{coarse} and {fine}, {bits} bits");
                    assert!((coarse / scale - (coarse / scale).round()).abs() < 1e-3);
                }
            }
        }
        assert!(Coarse::new(1).is_none() && Coarse::new(9).is_none());
    }
}
