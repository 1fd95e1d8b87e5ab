//! CPU kernels of both models. The only place of this crate with `unsafe` for arithmetic on a processor.
//!
//! Two promises hold in here for each [`KernelSet`]: the result of a row depends neither on the rows beside it nor on
//! the number of threads, and every set agrees with the portable one within rounding. Speculation rests on the first:
//! five frames verified in one pass must be bit for bit what five passes make of them.

#![allow(unsafe_code)]

#[cfg(test)]
mod against_portable;
mod attention;
mod bf16_tiles;
mod elementwise;
mod isa;
mod kv_store;
mod lhs_packing;
mod matmul;
mod packed;
mod results;
mod roofline;
#[cfg(test)]
mod test_weights;
mod tile;
#[cfg(target_arch = "x86_64")]
mod tile_avx2;
#[cfg(target_arch = "x86_64")]
mod tile_avx512;
#[cfg(target_arch = "aarch64")]
mod tile_neon;
mod vector;

pub use attention::KvNumber;
pub use elementwise::{Norm, PerEntry, gated_sum, norm, prelu, rotary, silu_up, softmax};
pub use isa::{KernelSet, VARIABLE};
pub use kv_store::{Angles, HeadDims, KvStore, STEP, full_attention};
pub use lhs_packing::Rows;
pub use matmul::matmul;
pub use packed::{PANEL, Packed, WeightDtype};
pub use results::ProductEpilogue;
pub use roofline::Limits;
