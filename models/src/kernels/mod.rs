//! With which arithmetic do the models compute? The operations of both models, each once.
//!
//! On a processor they are the kernels in [`cpu`]; on other devices, and while a model is trained, they are plain candle.
//! Shapes use the letters of the whole crate: B batch,
//! T frames or positions, L latent frames, K codebooks, C channels, D width, S samples.

mod convolution;
pub mod cpu;
mod linear;
mod norm;
mod rotary;

pub use convolution::{CausalConv, ConvHistory, UpConv, centred_windows, taps_as_product};
pub use linear::Linear;
pub use norm::{RmsNorm, layer_norm};
pub use rotary::{RotaryTable, base_frequencies};

use candle_core::{Result, Tensor};

/// Parametric ReLU with one slope for all channels: x where x is positive, slope · x elsewhere.
pub fn prelu(xs: &Tensor, slope: f64) -> Result<Tensor> {
    let positive = xs.relu()?;
    (xs - &positive)?.affine(slope, 0.0)? + positive
}

/// Softmax attention without a mask of its own.
///
/// # Shapes
/// - `q` \[B, heads, T, D\], already scaled; `k`, `v` \[B, heads, L, D\]
/// - `mask` broadcasts to \[B, heads, T, L\]: 0 where a query may look, -inf where not
/// - result \[B, heads, T, D\]
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let mut scores = q.matmul(&k.transpose(2, 3)?)?;
    if let Some(mask) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    candle_nn::ops::softmax_last_dim(&scores)?.matmul(v)
}
