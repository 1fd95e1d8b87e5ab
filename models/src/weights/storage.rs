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

/// What `numbers` are after they were stored as `kind`.
pub(super) fn round(numbers: &mut [f32], kind: NumberType) {
    match kind {
        NumberType::F32 => (),
        NumberType::F16 => numbers.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        NumberType::Bf16 => numbers.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32()),
    }
}
