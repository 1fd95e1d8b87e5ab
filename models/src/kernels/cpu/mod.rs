//! How do ordinary processors compute what the models ask for? The only place with `unsafe` in it.
//!
//! Two promises hold in here for each [`KernelSet`]: the result of a row depends neither on the rows beside it nor on
//! the number of threads, and every set agrees with the portable one within rounding. Speculation lives on the first:
//! five frames verified in one pass must be bit for bit what five passes make of them.

#![allow(unsafe_code)]

#[cfg(test)]
mod against_portable;
mod attention;
mod kv_store;
mod left;
mod limits;
mod matmul;
mod packed;
mod rows;
mod set;
mod tile;
#[cfg(target_arch = "x86_64")]
mod tile_avx2;
#[cfg(target_arch = "x86_64")]
mod tile_avx512;
#[cfg(target_arch = "aarch64")]
mod tile_neon;
mod vector;

pub use attention::KvNumber;
pub use kv_store::{Angles, Heads, KvStore, STEP, full_attention};
pub use left::Rows;
pub use limits::Limits;
pub use matmul::{Finish, matmul};
pub use packed::{NumberType, PANEL, Packed};
pub use rows::{Norm, PerEntry, gated_sum, norm, prelu, rotary, silu_up, softmax};
pub use set::{KernelSet, VARIABLE};
