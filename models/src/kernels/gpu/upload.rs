//! Page-locked host memory: uploads of weights to a GPU (while one buffer is copied, the other is filled), and what kernels
//! read from the host.

use std::{fmt, sync::Arc};

use candle_core::{
    CudaDevice, CudaStorage, Device, Error, Result, Storage, Tensor, WithDType, bail,
    cuda_backend::{
        CudaDType, WrapErr,
        cudarc::driver::{CudaContext, CudaEvent, CudaStream, DeviceRepr, PinnedHostSlice},
    },
    op::BackpropOp,
};

/// Bytes of a buffer: 32 MiB take some milliseconds to copy, far longer than it takes to ask for the copy.
const BYTES: usize = 32 << 20;

/// Bytes of host memory, all zero, that a GPU copies and its kernels read at the host's own address.
///
/// # Errors
/// When the host has no memory that can be locked.
pub(super) fn page_locked(context: &Arc<CudaContext>, bytes: usize) -> Result<PinnedHostSlice<u8>> {
    // SAFETY: every byte is written next.
    let mut memory = unsafe { context.alloc_pinned_with_flags::<u8>(bytes.max(1), 0) }.w()?;
    memory.as_mut_slice().w()?.fill(0);
    Ok(memory)
}

/// The first `count` numbers in `memory`, which must have room for them and lets the caller wait until no copy reads it.
///
/// # Errors
/// When there is no room.
pub(super) fn numbers_in<T: DeviceRepr + Copy>(memory: &mut PinnedHostSlice<u8>, count: usize) -> Result<&mut [T]> {
    if count.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > memory.num_bytes()) {
        bail!("{count} numbers of {} bytes in {} bytes of host memory", size_of::<T>(), memory.num_bytes())
    }
    let place = memory.as_mut_ptr().w()?.cast::<T>();
    // SAFETY: there is room for these numbers, all bytes of which were written; pages begin at a multiple of any number's size;
    // and `memory` is borrowed as long as they are.
    Ok(unsafe { std::slice::from_raw_parts_mut(place, count) })
}

/// Two page-locked buffers between the host's memory and a GPU.
pub(crate) struct Uploads {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    buffers: [Buffer; 2],
}

struct Buffer {
    memory: PinnedHostSlice<u8>,
    /// Reached once the GPU has what was in it.
    copied: Option<CudaEvent>,
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uploads")
    }
}

impl Uploads {
    /// Buffers for a GPU.
    ///
    /// # Errors
    /// When the host has no memory that can be locked.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        let device = device.as_cuda_device()?.clone();
        let stream = device.cuda_stream();
        let buffer = || Ok::<_, Error>(Buffer { memory: page_locked(stream.context(), BYTES)?, copied: None });
        let buffers = [buffer()?, buffer()?];
        Ok(Self { device, stream, buffers })
    }

    /// Whether they are buffers of `device`, and its stream.
    pub(crate) fn are_of(&self, device: &Device) -> bool {
        device.as_cuda_device().is_ok_and(|device| Arc::ptr_eq(&device.cuda_stream(), &self.stream))
    }

    /// A tensor whose numbers `fill` writes: those from a place on.
    ///
    /// # Errors
    /// Those of `fill`, and when the GPU has no memory.
    pub(crate) fn tensor<T: CudaDType + WithDType + DeviceRepr, E: From<Error>>(
        &mut self,
        shape: &[usize],
        fill: impl Fn(usize, &mut [T]) -> std::result::Result<(), E>,
    ) -> std::result::Result<Tensor, E> {
        let count = shape.iter().product::<usize>();
        // SAFETY: all numbers are written below, in the same stream.
        let mut there = unsafe { self.device.alloc::<T>(count)? };
        let at_once = BYTES / size_of::<T>();
        for (start, turn) in (0..count).step_by(at_once).zip(0..) {
            let Buffer { memory, copied } = &mut self.buffers[turn % 2];
            if let Some(copied) = copied.take() {
                copied.synchronize().w()?;
            }
            let length = at_once.min(count - start);
            let numbers = numbers_in::<T>(memory, length)?;
            fill(start, numbers)?;
            self.stream.memcpy_htod(numbers, &mut there.slice_mut(start..start + length)).w()?;
            *copied = Some(self.stream.record_event(None).w()?);
        }
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(there, self.device.clone()));
        Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        // The GPU may still read the buffers; a GPU that fails reads them no more.
        let _ = self.stream.synchronize();
    }
}
