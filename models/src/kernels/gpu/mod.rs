//! CUDA kernels that candle lacks or does badly: convolutions of few channels, products of f32 with 16-bit weights.
//!
//! The language model, where a song waits for every frame, is computed by kernels of its own altogether: `lm`. The
//! codec's products with f32's accuracy are in [`tensor_cores`]. The other kernels are in `kernels.cu`; the build
//! script compiles them to PTX. Each operation here has a plain loop for processors, too, which only the tests run:
//! they compare it, and its gradients, with the formulas.
#![allow(unsafe_code)]

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
mod cuda_graph;
mod dilated_conv;
mod host_reader;
#[cfg(feature = "cuda")]
pub mod lazy_link;
#[cfg(feature = "cuda")]
pub(crate) mod lm;
mod mixed_product;
#[cfg(feature = "cuda")]
mod priority;
pub(super) mod tensor_cores;
#[cfg(feature = "cuda")]
mod upload;
#[cfg(feature = "cuda")]
mod weight_pool;

#[cfg(feature = "cuda")]
pub(crate) use self::{
    cuda_graph::CapturedGraph,
    priority::{Priority, stream_of},
    upload::Uploads,
    weight_pool::settled,
};
pub(super) use dilated_conv::{DilatedConv, Prelu};
pub(crate) use host_reader::{Awaited, HostReader};
pub(super) use mixed_product::{Narrow, fits_narrow};

/// Numbers that a kernel reads at once: they must begin at a multiple of it.
const ALIGNED: usize = 4;

/// The tensor as kernels take it: contiguous, from a place on where several numbers can be read at once.
fn contiguous_aligned(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.contiguous()?;
    if tensor.layout().start_offset().is_multiple_of(ALIGNED) { Ok(tensor) } else { tensor.copy() }
}

/// Disables cudarc's events for each tensor. They cost more than most kernels, and a CUDA graph cannot contain them.
#[cfg(feature = "cuda")]
pub(crate) fn order_by_stream_alone(device: &candle_core::CudaDevice) {
    // SAFETY: each device has one stream. Across streams the reader synchronises with the writer: after loading
    // weights, and after keeping a prefix. Memory is freed only after a synchronise with the reading stream, or after
    // its last reader ended.
    unsafe { device.disable_event_tracking() };
}

/// Access to the kernels.
#[cfg(feature = "cuda")]
mod launch {
    use candle_core::{
        CudaStorage, Layout, Result, WithDType, bail,
        cuda_backend::{
            CudaDType,
            cudarc::driver::{CudaView, DeviceRepr},
        },
    };

    use super::ALIGNED;

    pub use candle_core::cuda_backend::cudarc::driver::LaunchConfig as Grid;

    /// All kernels, and the name that the device keeps them under.
    pub const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));
    pub const MODULE: &str = "heartstream";

    /// The numbers of a contiguous tensor.
    pub fn numbers<'a, T: CudaDType + WithDType + DeviceRepr>(
        storage: &'a CudaStorage,
        layout: &Layout,
    ) -> Result<CudaView<'a, T>> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a kernel for GPUs takes contiguous numbers, was given {layout:?}")
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
