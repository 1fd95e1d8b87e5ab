//! The two normalisations: by the root mean square, and by mean and variance.

use candle_core::{D, Device, Result, Tensor};

use crate::weights::Shards;

/// Divides by the root of the mean square, then multiplies by a weight for each channel.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    /// Reads the weight `name` \[width\]; `eps` is added to the mean square.
    ///
    /// # Errors
    /// When the tensor is not there in that shape.
    pub fn load(shards: &Shards, name: &str, width: usize, eps: f64, device: &Device) -> crate::Result<Self> {
        Ok(Self { weight: shards.tensor(name, &[width], device)?, eps: eps as f32 })
    }

    /// # Shapes
    /// - `xs` and result \[…, width\]
    ///
    /// # Errors
    /// When the last dimension of `xs` is not the width.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        if xs.track_op() {
            // The fused operation has no gradient.
            let power = xs.sqr()?.mean_keepdim(D::Minus1)?;
            return xs.broadcast_div(&(power + f64::from(self.eps))?.sqrt()?)?.broadcast_mul(&self.weight);
        }
        candle_nn::ops::rms_norm(&xs.contiguous()?, &self.weight, self.eps)
    }
}

/// Subtracts the mean of the last dimension and divides by the root of its variance; no weight, no bias.
///
/// # Errors
/// When `xs` has no dimension.
pub fn layer_norm(xs: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = xs.broadcast_sub(&xs.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}
