//! Arithmetic of both models: each operation once.
//!
//! Each runs on every device and can be trained: on a processor, while nothing tracks gradients, it is a kernel in
//! [`cpu`]; elsewhere it is a formula of candle's operations, or, where those waste a GPU's memory, a kernel in `gpu`.
//! Shapes use the letters of the whole crate: B batch, T frames or positions, L latent frames, K codebooks, C channels,
//! D width, S samples.

mod activation;
mod attention;
mod convolution;
pub mod cpu;
mod cpu_dispatch;
mod gpu;
#[cfg(test)]
mod gradient_tests;
mod linear;
mod norm;
mod operand;
mod rotary;
#[cfg(test)]
mod test_tensors;

pub use activation::{gated, prelu, silu_up, softmax};
pub use attention::{FullAttention, KvLayer};
pub use convolution::{
    CausalConv, ConvEpilogue, ConvHistory, Results, Signal, UpConv, centred_windows, taps_as_product,
};
pub use cpu::HeadDims;
#[cfg(feature = "cuda")]
pub(crate) use gpu::tensor_cores::{EulerStep, EulerWay};
pub(crate) use gpu::{Awaited, HostReader};
#[cfg(feature = "cuda")]
pub(crate) use gpu::{
    CapturedGraph, Priority, Uploads, lazy_link::missing_libraries, lm, order_by_stream_alone, settled, stream_of,
};
pub use linear::Linear;
pub use norm::{AdaLnModulation, RmsNorm, gated_sum, layer_norm};
pub use operand::{Operand, ProductResult};
pub use rotary::{GrowingRotary, RotaryTable, base_frequencies};
