//! CUDA kernels of this crate: where candle's operations copy the same numbers many times, as in convolutions of few
//! channels, or would round results to the 16 bits of the weights.
//!
//! The language model, where a song waits for every frame, is computed by kernels of its own altogether: `lm`. The
//! codec's products with f32's accuracy are in [`tensor_cores`]. The other kernels are in `kernels.cu`; the build
//! script compiles them to PTX. Each operation here has a plain loop for processors, too, which only the tests run:
//! they compare it, and its gradients, with the formulas.
#![allow(unsafe_code)]

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
mod lasting;
#[cfg(feature = "cuda")]
pub mod lazy_link;
#[cfg(feature = "cuda")]
pub(crate) mod lm;
#[cfg(feature = "cuda")]
mod priority;
mod product;
mod reader;
#[cfg(feature = "cuda")]
mod recording;
mod taps;
pub(super) mod tensor_cores;

#[cfg(feature = "cuda")]
pub(crate) use self::{
    priority::{Priority, stream_of},
    recording::Recording,
};
pub(super) use product::{Narrow, fits_narrow};
pub(crate) use reader::{Awaited, HostReader};
pub(super) use taps::{DilatedConv, Prelu};

/// Numbers that a kernel reads at once: they must begin at a multiple of so many.
const ALIGNED: usize = 4;

/// The tensor as kernels take it: its numbers lie together, from a place on where several can be read at once.
fn together(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.contiguous()?;
    if tensor.layout().start_offset().is_multiple_of(ALIGNED) { Ok(tensor) } else { tensor.copy() }
}

/// Has what is computed on `device` not wait for events: cudarc records some for each tensor that a kernel reads or writes,
/// which takes longer than most kernels run, and no recording can wait for them.
#[cfg(feature = "cuda")]
pub(crate) fn order_by_stream_alone(device: &candle_core::CudaDevice) {
    // SAFETY: what is computed on a device is asked for in its one stream. Where a stream reads what another one made, the
    // maker has been waited for: weights behind their loading, a kept prompt behind its keeping. And what another stream
    // reads is let go by its maker only behind a wait for that stream, or when all that reads it has ended.
    unsafe { device.disable_event_tracking() };
}

/// Access to the kernels.
#[cfg(feature = "cuda")]
mod launch {
    use super::ALIGNED;
    use candle_core::{
        CudaStorage, Layout, Result, WithDType, bail,
        cuda_backend::{
            CudaDType,
            cudarc::driver::{CudaView, DeviceRepr},
        },
    };

    pub use candle_core::cuda_backend::cudarc::driver::LaunchConfig as Grid;

    /// All kernels, and the name that the device keeps them under.
    pub const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));
    pub const MODULE: &str = "heartstream";

    /// The numbers of a tensor that lies together.
    pub fn numbers<'a, T: CudaDType + WithDType + DeviceRepr>(
        storage: &'a CudaStorage,
        layout: &Layout,
    ) -> Result<CudaView<'a, T>> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a kernel for GPUs takes numbers that lie together, was given {layout:?}")
        };
        if !start.is_multiple_of(ALIGNED) {
            bail!("a kernel for GPUs takes numbers from a place that is a multiple of {ALIGNED}, was given {layout:?}")
        }
        Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
    }

    /// Runs a kernel whose arguments are the numbers of tensors, its `$count` results, and single numbers, in this
    /// order and by the names that the kernel has for them, and gives the results as a tensor's storage. The types must
    /// be those of the kernel's signature, it must write every result, and stay inside of what `$count`, the tensors'
    /// shapes and the single numbers say.
    macro_rules! launched {
        ($device:expr, $name:expr, $grid:expr, $count:expr, [$($tensor:ident = $numbers:expr),+],
         [$($number:ident = $value:expr),+]) => {{
            use candle_core::cuda_backend::{WrapErr, cudarc::driver::PushKernelArg};
            let function = $device.get_or_load_custom_func($name, launch::MODULE, launch::PTX)?;
            // SAFETY: nothing reads the results before the kernel, which writes each, on the stream of all the device's
            // work.
            let results = unsafe { $device.alloc::<f32>($count)? };
            $(let $tensor = $numbers;)+
            $(let $number = $value;)+
            let mut arguments = function.builder();
            $(arguments.arg(&$tensor);)+
            arguments.arg(&results);
            $(arguments.arg(&$number);)+
            // SAFETY: the macro's conditions, which every call keeps: it has checked the shapes.
            unsafe { arguments.launch($grid) }.w()?;
            candle_core::CudaStorage::wrap_cuda_slice(results, $device.clone())
        }};
    }
    pub(in crate::kernels::gpu) use launched;
}
