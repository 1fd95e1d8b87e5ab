//! Activations and softmax.

use candle_core::{D, DType, Result, Tensor};

use super::{
    Linear, Operand, ProductResult,
    cpu::{self, KernelSet},
    cpu_dispatch::fused,
    gpu::{Prelu, tensor_cores},
};

/// Parametric ReLU with one slope for all channels: x where x is positive, slope · x elsewhere.
///
/// # Errors
/// When the device fails.
pub fn prelu(xs: &Tensor, slope: f64) -> Result<Tensor> {
    let kernel = |[xs]: [&[f32]; 1], out: &mut [f32]| cpu::prelu(KernelSet::chosen(), xs, slope as f32, out);
    if let Some(ys) = fused([xs], xs.shape(), kernel)? {
        return Ok(ys);
    }
    if xs.device().is_cuda() && xs.dtype() == DType::F32 {
        return Prelu(slope as f32).apply(xs);
    }
    prelu_formula(xs, slope)
}

/// The same in candle's operations.
pub(super) fn prelu_formula(xs: &Tensor, slope: f64) -> Result<Tensor> {
    // The factor is detached, so the gradient is one product.
    let factor = xs.detach().gt(0f32)?.to_dtype(xs.dtype())?.affine(1.0 - slope, slope)?;
    xs * factor
}

/// `silu(gate) · up` of both side by side, as one product makes them.
///
/// # Shapes
/// - `joined` \[…, 2 · width\]: the gate's numbers, then the others; result \[…, width\]
///
/// # Errors
/// When the last dimension is odd.
pub fn silu_up(joined: &Tensor) -> Result<Tensor> {
    let mut shape = joined.dims().to_vec();
    let width = match shape.last_mut() {
        Some(last) if last.is_multiple_of(2) => {
            *last /= 2;
            *last
        }
        _ => {
            candle_core::bail!("a gate and what it gates side by side are an even number of channels, found {shape:?}")
        }
    };
    let kernel = |[xs]: [&[f32]; 1], out: &mut [f32]| {
        let up = xs.get(width..).unwrap_or_default();
        cpu::silu_up(KernelSet::chosen(), xs, up, width, 2 * width, out);
    };
    match fused([joined], shape, kernel)? {
        Some(ys) => Ok(ys),
        None => joined.narrow(D::Minus1, 0, width)?.silu()? * joined.narrow(D::Minus1, width, width)?,
    }
}

/// [`silu_up`] of a product's results, as the operand of the next product.
///
/// # Errors
/// When their width is odd.
pub fn gated(joined: ProductResult, product: &Linear) -> Result<Operand> {
    match (joined, product.arrangement()) {
        (ProductResult::Partial(parts), Some(arrangement)) => {
            Ok(Operand::Split(tensor_cores::silu_up(&parts, arrangement)?))
        }
        (joined, _) => Operand::of(silu_up(&joined.tensor()?)?, product),
    }
}

/// Softmax over the last dimension.
///
/// # Errors
/// When there is no dimension.
pub fn softmax(xs: &Tensor) -> Result<Tensor> {
    let width = xs.dim(D::Minus1)?;
    let kernel = |[xs]: [&[f32]; 1], out: &mut [f32]| {
        out.copy_from_slice(xs);
        cpu::softmax(KernelSet::chosen(), out, width);
    };
    match fused([xs], xs.shape(), kernel)? {
        Some(ys) => Ok(ys),
        None if xs.track_op() => {
            // The result does not depend on which number is subtracted, so no gradient goes through it.
            let exps = xs.broadcast_sub(&xs.max_keepdim(D::Minus1)?.detach())?.exp()?;
            exps.broadcast_div(&exps.sum_keepdim(D::Minus1)?)
        }
        None => candle_nn::ops::softmax_last_dim(&xs.contiguous()?),
    }
}
