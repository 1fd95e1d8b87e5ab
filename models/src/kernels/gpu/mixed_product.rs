//! Mixed-precision product: f32 rows times 16-bit weights, without rounding the rows.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, backend::BackendStorage};

#[cfg(feature = "cuda")]
use super::launch::{self, Grid, launched, numbers};
use super::{ALIGNED, contiguous_aligned};

/// The product of rows with a narrow weight. Sums are 32 bits wide, and a row's result does not depend on the rows beside
/// it.
///
/// # Shapes
/// - rows \[rows, in\] f32, weight \[out, in\] bf16 or f16, result \[rows, out\]
#[derive(Debug, Clone, Copy)]
pub struct Narrow;

/// Whether [`Narrow`] takes a weight that is held as the transposed view \[in, out\] of its rows.
pub fn fits_narrow(rows: &Tensor, transposed: &Tensor) -> bool {
    cfg!(feature = "cuda")
        && rows.device().is_cuda()
        && matches!(transposed.dtype(), DType::BF16 | DType::F16)
        && !transposed.track_op()
        && transposed.dims().first().is_some_and(|inputs| inputs.is_multiple_of(ALIGNED))
        && transposed
            .t()
            .is_ok_and(|weight| weight.is_contiguous() && weight.layout().start_offset().is_multiple_of(ALIGNED))
}

#[cfg(feature = "cuda")]
fn sizes(xs: &Layout, weight: &Layout) -> Result<[usize; 3]> {
    let ((rows, inputs), (outputs, width)) = (xs.shape().dims2()?, weight.shape().dims2()?);
    if inputs != width {
        bail!("rows of {inputs} numbers were given a weight {:?}", weight.shape())
    }
    Ok([rows, inputs, outputs])
}

impl Narrow {
    /// The product, with a weight that [`fits_narrow`].
    ///
    /// # Errors
    /// When they do not fit each other.
    pub fn apply(self, rows: &Tensor, transposed: &Tensor) -> Result<Tensor> {
        contiguous_aligned(rows)?.apply_op2_no_bwd(&transposed.t()?, &self)
    }
}

impl CustomOp2 for Narrow {
    fn name(&self) -> &'static str {
        "product with a narrow weight"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("processors have packed weights for this")
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, xs: &CudaStorage, x: &Layout, weight: &CudaStorage, w: &Layout) -> Result<(CudaStorage, Shape)> {
        /// Threads of a block, and outputs that they compute: a warp for each; and rows that a block sees.
        const THREADS: u32 = 256;
        const OUTPUTS: usize = 8;
        const ROWS: usize = 8;

        let [rows, inputs, outputs] = sizes(x, w)?;
        let grid = Grid {
            grid_dim: (outputs.div_ceil(OUTPUTS) as u32, rows.div_ceil(ROWS) as u32, 1),
            block_dim: (THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        let name = match weight.dtype() {
            DType::BF16 => "product_bf16",
            DType::F16 => "product_f16",
            other => bail!("a narrow weight is bf16 or f16, found {other:?}"),
        };
        // The kernel takes both as the 16 bits that they are.
        macro_rules! product {
            ($type:ty) => {
                launched!(
                    xs.device(),
                    name,
                    grid,
                    rows * outputs,
                    [input = numbers::<f32>(xs, x)?, narrow = numbers::<$type>(weight, w)?],
                    [count = rows as i32, ins = inputs as i32, outs = outputs as i32]
                )
            };
        }
        let ys = if weight.dtype() == DType::BF16 { product!(half::bf16) } else { product!(half::f16) };
        Ok((ys, Shape::from((rows, outputs))))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_kernel_is_not_asked_where_it_cannot_run() {
        let zeros = |shape: (usize, usize), dtype| Tensor::zeros(shape, dtype, &Device::Cpu).expect("zeros");
        let weight = zeros((3, 8), DType::BF16).t().expect("a matrix");
        assert!(!fits_narrow(&zeros((2, 8), DType::F32), &weight), "on a processor");
    }
}
