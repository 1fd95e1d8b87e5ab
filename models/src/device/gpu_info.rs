//! Properties of a GPU: its name, its memory, and the two limits of every stage, bandwidth and arithmetic.

use std::time::Instant;

use candle_core::{DType, Device, Tensor, cuda_backend::cudarc::driver::sys::CUdevice_attribute};

use crate::{
    error::{ModelError, Result},
    kernels::cpu::Limits,
};

/// Properties of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuInfo {
    /// The name that its maker gave it.
    pub name: String,
    /// Bytes that a program can still take. Where GPU and host share their memory, what the host calls available: CUDA
    /// counts the page cache of files as used there.
    pub free: u64,
    /// Bytes of memory in all.
    pub total: u64,
    /// Whether GPU and host share their memory.
    pub integrated: bool,
}

impl GpuInfo {
    /// Reads it from the driver.
    ///
    /// # Errors
    /// When `device` is no GPU, or the driver does not answer.
    pub fn of(device: &Device) -> Result<Self> {
        let stream = device.as_cuda_device()?.cuda_stream();
        let context = stream.context();
        let failed = |error| ModelError::Compute(candle_core::Error::wrap(error));
        let (free, total) = context.mem_get_info().map_err(failed)?;
        let integrated = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED).map_err(failed)? != 0;
        let available = integrated.then(memory_available).flatten();
        Ok(Self {
            name: context.name().map_err(failed)?,
            free: available.unwrap_or(free as u64),
            total: total as u64,
            integrated,
        })
    }
}

/// `MemAvailable` of Linux, in bytes.
fn memory_available() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// Bytes of the tensor that is copied to measure bandwidth: far more than any GPU's cache.
const COPIED: usize = 1 << 30;
/// Sides of the square matrices that are multiplied in bf16: large enough to fill a GPU of any size.
const SIDE: usize = 8192;
/// Measurements, of which the best counts: the first ones load kernels and raise clocks.
const TRIES: usize = 5;

/// Measures what a GPU can do: bytes that a copy moves in a second, read and written, and operations in a second of a
/// bf16 product with f32 sums by cuBLAS.
///
/// # Errors
/// When the GPU has no room for 2 GiB, or fails.
pub fn gpu_limits(device: &Device) -> Result<Limits> {
    let failed = |error| ModelError::Compute(candle_core::Error::wrap(error));
    let stream = device.as_cuda_device()?.cuda_stream();
    // By the driver and into memory that is there already: candle's copies are kernels that reach half of this.
    let from = stream.alloc_zeros::<u8>(COPIED).map_err(failed)?;
    let mut to = stream.alloc_zeros::<u8>(COPIED).map_err(failed)?;
    let copy = fastest(device, || stream.memcpy_dtod(&from, &mut to).map_err(candle_core::Error::wrap))?;
    drop((from, to));
    // Random numbers: products of equal ones draw less power and run faster.
    let matrix = || Tensor::randn(0f32, 1.0, (SIDE, SIDE), device)?.to_dtype(DType::BF16);
    let (lhs, rhs) = (matrix()?, matrix()?);
    let product = fastest(device, || lhs.matmul(&rhs).map(drop))?;
    Ok(Limits { read_bytes: 2.0 * COPIED as f64 / copy, flop: 2.0 * (SIDE as f64).powi(3) / product })
}

/// Seconds of the fastest of [`TRIES`] runs of `work`.
fn fastest(device: &Device, mut work: impl FnMut() -> candle_core::Result<()>) -> Result<f64> {
    let mut fastest = f64::INFINITY;
    for _ in 0..TRIES {
        device.synchronize()?;
        let began = Instant::now();
        work()?;
        device.synchronize()?;
        fastest = fastest.min(began.elapsed().as_secs_f64());
    }
    Ok(fastest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_no_gpu() {
        assert!(GpuInfo::of(&Device::Cpu).is_err() && gpu_limits(&Device::Cpu).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn available_memory_is_read_from_linux() {
        assert!(memory_available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
