//! Tensor-core kernels with f32's accuracy: each number is the sum of two halves of 16 bits, and the products of halves
//! are accumulated in f32.
//!
//! Rows and weights are split into f16 halves: [`SplitRows`] and [`HalvedWeight`], whose product are [`PartialResults`].
//! A row has a power of two of its own, so that no number is too large for f16 and the halves of the small ones are not cut off.
//! What lies between two products reads parts and writes halves in one kernel each. Attention splits into bf16, which has
//! f32's range, and so do convolutions ([`TapWeight`]).

mod attend;
mod convolve;
#[cfg(feature = "cuda")]
mod euler;
mod fused;
mod launch;
mod rows;
#[cfg(all(test, feature = "cuda"))]
mod tests;
mod weight;

pub use attend::{attend, attends};
pub use convolve::{HalvedSignal, Reach, TapEpilogue, TapWeight, last_of};
#[cfg(feature = "cuda")]
pub use euler::{EulerStep, EulerWay};
pub use fused::{TableRows, gated_norm, gated_sum, layer_norm, norm, silu_up};
pub use rows::{Arrangement, PartialResults, SplitRows, fits};
pub use weight::HalvedWeight;

/// Bytes of shared memory that every GPU gives a block without being asked, less what kernels declare themselves.
const SHARED: usize = (48 << 10) - 512;
