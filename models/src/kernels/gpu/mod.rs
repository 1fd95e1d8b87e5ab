//! Where does an NVIDIA GPU need kernels of our own? Where candle's operations copy the same numbers many times, as for
//! convolutions of few channels, and where they would round what is computed to the 16 bits that weights are held in.
//!
//! The kernels are in `kernels.cu`; the build script compiles them to PTX. Each operation here has a plain loop for
//! processors, too, which only the tests run: they compare it, and its gradients, with the formulas.

mod product;
mod taps;

pub(super) use product::{Narrow, fits_narrow};
pub(super) use taps::{Prelu, Taps};

/// How the kernels are reached.
#[cfg(feature = "cuda")]
mod launch {
    #![allow(unsafe_code)]

    use candle_core::{
        CudaDevice, CudaStorage, Layout, Result, WithDType, bail,
        cuda_backend::{
            CudaDType, WrapErr,
            cudarc::driver::{CudaSlice, CudaView, DeviceRepr, LaunchArgs, LaunchConfig},
        },
    };

    pub use candle_core::cuda_backend::cudarc::driver::{LaunchConfig as Grid, PushKernelArg};

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
        Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
    }

    /// Room for `count` results.
    pub fn room(device: &CudaDevice, count: usize) -> Result<CudaSlice<f32>> {
        // SAFETY: every operation here launches a kernel on it that writes each result before anything reads it, on the
        // stream that all other work of the device runs on.
        unsafe { device.alloc::<f32>(count) }
    }

    /// Runs a kernel.
    pub fn run(mut arguments: LaunchArgs<'_>, grid: LaunchConfig) -> Result<()> {
        // SAFETY: the arguments are pushed in the order and types of the kernel's signature next to the call; the kernel
        // stays inside of the numbers whose counts it is told, which the callers have checked against the shapes.
        unsafe { arguments.launch(grid) }.w()?;
        Ok(())
    }
}
