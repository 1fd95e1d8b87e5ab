//! How do ordinary processors compute what the models ask for? The only place with `unsafe` in it.
//!
//! Two promises hold in here for each [`KernelSet`]: the result of a row depends neither on the rows beside it nor on
//! the number of threads, and every set agrees with the portable one within rounding. Speculation lives on the first:
//! five frames verified in one pass must be bit for bit what five passes make of them.

#![allow(unsafe_code)]

mod matmul;
mod packed;
mod set;
mod tile;
#[cfg(target_arch = "x86_64")]
mod tile_avx2;
#[cfg(target_arch = "x86_64")]
mod tile_avx512;

pub use matmul::{Rows, matmul};
pub use packed::{NumberType, Packed};
pub use set::KernelSet;
