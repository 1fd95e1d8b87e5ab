//! A weight as tensor cores take it, and its product with rows that are split as it is.

use candle_core::{DType, Result, Tensor, bail};

use super::{
    launch::{settled, unwritten_weight},
    rows::{Arrangement, PartialResults, SplitRows, fits, split_weight},
};
use crate::weights::FlowPrecision;

/// Numbers of 16 bits that lie within 16 bytes, which cuBLAS wants rows to be a multiple of.
const ROW_MULTIPLE: usize = 8;
/// Results are read four at a time.
const OUTPUT_MULTIPLE: usize = 4;
/// The largest number of a weight is brought between 2^14 and 2^15: the largest f16 is 65504.
const LARGEST_EXPONENT: i32 = 14;

/// A weight \[out, in\] as f16 halves, times a power of two: one half where all numbers of the weight have 11 digits, as
/// those of f16 and bf16 have, or where one pass is wanted; else two.
#[derive(Debug, Clone)]
pub struct HalvedWeight {
    /// \[out, in\], or the low half of each row before its high one, \[out, 2, in\].
    halves: Tensor,
    /// What products are multiplied with.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "products are made with CUDA only"))]
    unscale: f32,
    arrangement: Arrangement,
    /// [`FlowPrecision::F16`]: of the rows, too, only the high halves are multiplied.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "products are made with CUDA only"))]
    one_pass: bool,
}

impl HalvedWeight {
    /// Splits a weight that lies on a GPU; `None` where products cannot be made with it.
    ///
    /// # Shapes
    /// - `weight` \[out, in\]
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn of(weight: &Tensor, precision: FlowPrecision) -> Result<Option<Self>> {
        let (outputs, inputs) = weight.dims2()?;
        let multiples = inputs.is_multiple_of(ROW_MULTIPLE) && outputs.is_multiple_of(OUTPUT_MULTIPLE);
        if !weight.device().is_cuda() || weight.track_op() || !multiples || !fits(inputs) {
            return Ok(None);
        }
        let weight = weight.to_dtype(DType::F32)?;
        let largest = largest(&weight)?;
        if !largest.is_finite() {
            return Ok(None);
        }
        let scale = scale_for(largest);
        let [high, low] = split_weight(&weight, scale)?;
        let one_pass = precision == FlowPrecision::F16;
        let (halves, arrangement) = if one_pass || is_zero(&low)? {
            (settled(&high)?, Arrangement::Stacked)
        } else {
            let both = unwritten_weight(&[outputs, 2, inputs], DType::F16, weight.device())?;
            both.slice_set(&low.unsqueeze(1)?, 1, 0)?;
            both.slice_set(&high.unsqueeze(1)?, 1, 1)?;
            (both, Arrangement::SideBySide)
        };
        // Other streams read what this one wrote.
        weight.device().synchronize()?;
        Ok(Some(Self { halves, unscale: 1.0 / scale, arrangement, one_pass }))
    }

    /// How rows must be split for it.
    pub fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// Whether one half is all of it.
    pub fn is_single(&self) -> bool {
        self.arrangement == Arrangement::Stacked
    }

    /// The products of rows with the weight's rows.
    ///
    /// # Errors
    /// When the rows have another width or were split otherwise.
    pub fn multiply(&self, rows: &SplitRows) -> Result<PartialResults> {
        let dims = self.halves.dims();
        let (Some(outputs), Some(inputs)) = (dims.first(), dims.last()) else { bail!("a weight is a matrix") };
        if rows.width()? != *inputs || rows.arrangement != self.arrangement {
            bail!(
                "a weight {dims:?} ({:?}) was given rows {:?} ({:?})",
                self.arrangement,
                rows.halves.shape(),
                rows.arrangement
            )
        }
        self.product(rows, *outputs, *inputs)
    }

    #[cfg(not(feature = "cuda"))]
    fn product(&self, _: &SplitRows, outputs: usize, inputs: usize) -> Result<PartialResults> {
        bail!("this program is built without CUDA, and has no product with a weight {outputs} x {inputs}")
    }

    #[cfg(feature = "cuda")]
    fn product(&self, rows: &SplitRows, outputs: usize, inputs: usize) -> Result<PartialResults> {
        use super::launch::unwritten;

        let count = rows.rows();
        let parts = if self.is_single() && !self.one_pass { 2 } else { 1 };
        let numbers = unwritten(&[parts, count, outputs], DType::F32, rows.halves.device())?;
        let size = |rows, width| Size { rows, outputs, width };
        match self.arrangement {
            // Both halves of the rows are rows of one product; the high ones come first.
            Arrangement::Stacked => {
                let (a, w) = ((&rows.halves, 0, inputs), (&self.halves, 0, inputs));
                gemm(a, w, &numbers, size(parts * count, inputs), self.unscale, 0.0)?;
            }
            // high · low + low · high, and then high · high is added.
            Arrangement::SideBySide => {
                let (a, w) = ((&rows.halves, 0, 2 * inputs), (&self.halves, 0, 2 * inputs));
                gemm(a, w, &numbers, size(count, 2 * inputs), self.unscale, 0.0)?;
                let (a, w) = ((&rows.halves, 0, 2 * inputs), (&self.halves, inputs, 2 * inputs));
                gemm(a, w, &numbers, size(count, inputs), self.unscale, 1.0)?;
            }
        }
        Ok(PartialResults { numbers, unscale: rows.unscale.clone(), outer: rows.outer.clone() })
    }
}

/// The largest absolute number. A matrix is looked at a few rows at a time: a copy of all of it is memory that a GPU may not
/// have.
fn largest(tensor: &Tensor) -> Result<f32> {
    let mut largest = 0f32;
    for rows in some_rows(tensor)? {
        let found = rows?.to_dtype(DType::F32)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        // A number that is none stays one.
        largest = if found.is_nan() { found } else { largest.max(found) };
        if !largest.is_finite() {
            break;
        }
    }
    Ok(largest)
}

fn is_zero(tensor: &Tensor) -> Result<bool> {
    Ok(largest(tensor)? == 0.0)
}

/// The rows of a matrix, a few million numbers at a time.
fn some_rows(tensor: &Tensor) -> Result<impl Iterator<Item = Result<Tensor>> + '_> {
    const NUMBERS: usize = 1 << 22;
    let (rows, width) = tensor.dims2()?;
    let step = (NUMBERS / width.max(1)).max(1);
    Ok((0..rows).step_by(step).map(move |first| tensor.narrow(0, first, step.min(rows - first))))
}

/// The power of two that brings a number to its place below the largest f16.
fn scale_for(largest: f32) -> f32 {
    const BIAS: i32 = 127;
    if largest == 0.0 {
        return 1.0;
    }
    let exponent = (largest.to_bits() >> 23) as i32 - BIAS;
    2f32.powi((LARGEST_EXPONENT - exponent).clamp(-100, 100))
}

#[cfg(feature = "cuda")]
#[derive(Clone, Copy)]
struct Size {
    rows: usize,
    outputs: usize,
    width: usize,
}

/// `out = unscale · rows · weightᵀ + beta · out`, in f16 with sums in f32. Rows and weight are a tensor, where they begin
/// in it, and how far its rows are apart.
#[cfg(feature = "cuda")]
fn gemm(
    (rows, row_start, row_stride): (&Tensor, usize, usize),
    (weight, weight_start, weight_stride): (&Tensor, usize, usize),
    out: &Tensor,
    size: Size,
    unscale: f32,
    beta: f32,
) -> Result<()> {
    use std::ffi::{c_int, c_void};

    use candle_core::{
        Storage,
        cuda_backend::{
            WrapErr,
            cudarc::cublas::{result, sys},
        },
    };

    let device = rows.device().as_cuda_device()?;
    let (stream, blas) = (device.cuda_stream(), device.cublas_handle());
    let tensors = [(rows, row_start), (weight, weight_start), (out, 0)];
    let mut held = Vec::new();
    for (tensor, _) in tensors {
        held.push(tensor.storage_and_layout());
    }
    let mut places = Vec::new();
    for ((storage, layout), (_, start)) in held.iter().zip(tensors) {
        let (Storage::Cuda(storage), Some((first, _))) = (&**storage, layout.contiguous_offsets()) else {
            bail!("a product on a GPU takes numbers that lie contiguous_aligned, was given {layout:?}")
        };
        places.push(super::launch::place(storage, first + start, &stream)?);
    }
    let [(rows, _), (weight, _), (out, _)] = &places[..] else { bail!("a product has three tensors") };
    let int = |number: usize| c_int::try_from(number);
    let (outputs, count, width) = (int(size.outputs)?, int(size.rows)?, int(size.width)?);
    let (weight_stride, row_stride) = (int(weight_stride)?, int(row_stride)?);
    let number = |number: &f32| std::ptr::from_ref(number).cast::<c_void>();
    // SAFETY: cuBLAS reads `size` numbers at these strides, which the tensors have (their shapes were compared), and writes
    // `out`, which nothing else holds; factors are read before it returns.
    unsafe {
        result::gemm_ex(
            *blas.handle(),
            sys::cublasOperation_t::CUBLAS_OP_T,
            sys::cublasOperation_t::CUBLAS_OP_N,
            outputs,
            count,
            width,
            number(&unscale),
            *weight as *const c_void,
            sys::cudaDataType::CUDA_R_16F,
            weight_stride,
            *rows as *const c_void,
            sys::cudaDataType::CUDA_R_16F,
            row_stride,
            number(&beta),
            *out as *mut c_void,
            sys::cudaDataType::CUDA_R_32F,
            outputs,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
    }
    .w()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_number_of_a_weight_comes_to_lie_below_the_largest_f16() {
        for largest in [1e-25f32, 0.02, 0.5, 1.0, 1.999, 3.0, 65504.0, 1e20] {
            let scaled = largest * scale_for(largest);
            assert!((16384.0..32768.0).contains(&scaled), "{largest} becomes {scaled}");
        }
        assert_eq!(scale_for(0.0), 1.0);
    }
}
