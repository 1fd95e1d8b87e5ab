//! Operands and results of products: tensors, or on a GPU's tensor cores split rows and partial results, which fused
//! operations between products read and write.

use candle_core::{Result, Tensor};

use super::{
    Linear, centred_windows,
    gpu::tensor_cores::{Parts, SplitRows},
};

/// Rows in the form that one product takes.
#[derive(Debug, Clone)]
pub enum Operand {
    /// As they are.
    Plain(Tensor),
    /// Split for tensor cores.
    Split(SplitRows),
}

/// The results of a product.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// As they are.
    Plain(Tensor),
    /// Parts of them.
    Parts(Parts),
}

impl Operand {
    /// Rows as an operand of `product`.
    ///
    /// # Shapes
    /// - `rows` \[…, in\]
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn of(rows: Tensor, product: &Linear) -> Result<Self> {
        match product.arrangement() {
            Some(arrangement) => Ok(Self::Split(SplitRows::of(&rows, arrangement)?)),
            None => Ok(Self::Plain(rows)),
        }
    }

    /// Of each place what a centred convolution of `taps` taps multiplies, made ready for `product`.
    ///
    /// # Shapes
    /// - `xs` and `beside` \[B, T, any\]: the channels of a place, one after the other
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn windows(xs: &Tensor, beside: Option<&Tensor>, taps: usize, product: &Linear) -> Result<Self> {
        match (product.arrangement(), beside) {
            (Some(arrangement), _) => Ok(Self::Split(SplitRows::windows(xs, beside, taps, arrangement)?)),
            (None, None) => Ok(Self::Plain(centred_windows(xs, taps)?)),
            (None, Some(beside)) => {
                let joined = Tensor::cat(&[xs, beside], 2)?.contiguous()?;
                Ok(Self::Plain(centred_windows(&joined, taps)?))
            }
        }
    }
}

impl Outcome {
    /// The results as a tensor.
    ///
    /// # Shapes
    /// - result \[…, out\]
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn tensor(self) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor),
            Self::Parts(parts) => parts.finish(None),
        }
    }
}
