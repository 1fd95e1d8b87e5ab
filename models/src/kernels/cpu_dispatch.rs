//! Dispatch to the CPU kernels, and access to a tensor's numbers.

use candle_core::{CpuStorage, DType, Result, Shape, Storage, Tensor, bail};

/// Whether the kernels of [`super::cpu`] may compute with this tensor: it lies in host memory in f32, and no gradient
/// is tracked.
pub(super) fn is_plain(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32 && !tensor.track_op()
}

/// Calls `read` with the numbers of each tensor, row after row. All of them must be plain ([`is_plain`]).
///
/// # Errors
/// When one is not.
pub(super) fn with_numbers<const N: usize, T>(tensors: [&Tensor; N], read: impl FnOnce([&[f32]; N]) -> T) -> Result<T> {
    let mut together = Vec::with_capacity(N);
    for tensor in tensors {
        together.push(tensor.contiguous()?);
    }
    let places: Vec<_> = together.iter().map(Tensor::storage_and_layout).collect();
    let mut numbers = [&[][..]; N];
    for (numbers, (storage, layout)) in numbers.iter_mut().zip(&places) {
        let (Storage::Cpu(CpuStorage::F32(all)), Some((start, end))) = (&**storage, layout.contiguous_offsets()) else {
            bail!("a kernel for processors takes f32 in host memory, was given {layout:?}")
        };
        *numbers = &all[start..end];
    }
    Ok(read(numbers))
}

/// A tensor of `shape` whose numbers `kernel` writes from those of `inputs`; `None` when one of them is not plain, and
/// the caller then takes the formula.
pub(super) fn fused<const N: usize>(
    inputs: [&Tensor; N],
    shape: impl Into<Shape>,
    kernel: impl FnOnce([&[f32]; N], &mut [f32]),
) -> Result<Option<Tensor>> {
    if !inputs.into_iter().all(is_plain) {
        return Ok(None);
    }
    let shape = shape.into();
    let mut out = vec![0f32; shape.elem_count()];
    with_numbers(inputs, |numbers| kernel(numbers, &mut out))?;
    Ok(Some(Tensor::from_vec(out, shape, inputs[0].device())?))
}
