//! A matrix product with fixed weights.

use candle_core::{D, Device, Result, Tensor};

use crate::weights::Shards;

/// `x Wᵀ + b` over the last dimension.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Transposed view of \[out, in\], so \[in, out\].
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// From a weight of shape \[out, in\] and a bias of shape \[out\].
    ///
    /// # Errors
    /// When the weight has not two dimensions.
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        Ok(Self { weight: weight.t()?, bias })
    }

    /// Reads `name.weight` \[outputs, inputs\], and `name.bias` when `bias` is set.
    ///
    /// # Errors
    /// When a tensor is not there in that shape.
    pub fn load(
        shards: &Shards,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
        device: &Device,
    ) -> crate::Result<Self> {
        let weight = shards.tensor(&format!("{name}.weight"), &[outputs, inputs], device)?;
        let bias = if bias { Some(shards.tensor(&format!("{name}.bias"), &[outputs], device)?) } else { None };
        Ok(Self::new(&weight, bias)?)
    }

    /// # Shapes
    /// - `xs` \[…, in\], result \[…, out\]
    ///
    /// # Errors
    /// When the last dimension of `xs` is not `in`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        // One product over all rows: with a batch dimension candle would read the weights again for each entry.
        let mut shape = xs.dims().to_vec();
        let rows = xs.reshape(((), xs.dim(D::Minus1)?))?;
        let mut ys = rows.matmul(&self.weight)?;
        if let Some(bias) = &self.bias {
            ys = ys.broadcast_add(bias)?;
        }
        if let Some(last) = shape.last_mut() {
            *last = self.weight.dim(1)?;
        }
        ys.reshape(shape)
    }
}
