//! GPU memory pool for what stays, weights and the state of songs, against fragmentation.
//!
//! The driver takes and returns memory in pieces of 32 MiB. Where results that are let go at once lie between numbers that stay,
//! these hold whole pieces of which little is in use: 0.3 GB of the published model's. So what stays has a pool of its own.

use std::{
    collections::HashMap,
    ffi::c_int,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use candle_core::{
    CudaStorage, DType, Device, Result, Shape, Storage, Tensor, WithDType, bail,
    cuda_backend::{
        CudaDType, WrapErr,
        cudarc::driver::{
            CudaSlice, CudaStream, DeviceRepr, DriverError,
            sys::{self, CUmemAllocationType, CUmemLocationType, CUmemPoolProps, CUmemoryPool, CUresult},
        },
    },
    op::BackpropOp,
};

/// A pool; it lasts as long as the program.
#[derive(Clone, Copy)]
struct Pool(CUmemoryPool);

// SAFETY: the driver's pools may be used by any thread.
unsafe impl Send for Pool {}

/// The pool of the GPU that `stream` is on.
fn pool(stream: &CudaStream) -> Result<Pool> {
    static POOLS: LazyLock<Mutex<HashMap<usize, Pool>>> = LazyLock::new(Mutex::default);
    let gpu = stream.context().ordinal();
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&gpu) {
        return Ok(*pool);
    }
    stream.context().bind_to_thread().w()?;
    // SAFETY: all bits zero are a value of this type: no handles, no size limit.
    let mut properties: CUmemPoolProps = unsafe { std::mem::zeroed() };
    properties.allocType = CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    let location = [CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE as c_int, c_int::try_from(gpu)?];
    // SAFETY: a location begins with its kind and the number of the device, in every version of CUDA.
    unsafe { (&raw mut properties.location).cast::<[c_int; 2]>().write(location) };
    let mut made: CUmemoryPool = std::ptr::null_mut();
    // SAFETY: both places are there, and the context is bound to this thread.
    unsafe { sys::cuMemPoolCreate(&raw mut made, &raw const properties) }.result().w()?;
    pools.insert(gpu, Pool(made));
    Ok(Pool(made))
}

/// Room for `count` numbers, with whatever is there.
///
/// # Safety
/// They are written before they are read.
pub(super) unsafe fn room<T: DeviceRepr>(stream: &Arc<CudaStream>, count: usize) -> Result<CudaSlice<T>> {
    let Pool(pool) = pool(stream)?;
    let bytes = count.max(1) * size_of::<T>();
    let mut address = 0;
    stream.context().bind_to_thread().w()?;
    // SAFETY: the pool is of this GPU, whose context is bound to this thread.
    let answer = unsafe { sys::cuMemAllocFromPoolAsync(&raw mut address, bytes, pool, stream.cu_stream()) };
    if answer == CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        // What was let go may still be in the other pool.
        stream.synchronize().w()?;
        // SAFETY: as above.
        let again = unsafe { sys::cuMemAllocFromPoolAsync(&raw mut address, bytes, pool, stream.cu_stream()) };
        again.result().w()?;
    } else if answer != CUresult::CUDA_SUCCESS {
        return Err(DriverError(answer)).w();
    }
    // SAFETY: this number of elements was allocated in this stream, and nothing else knows of them.
    Ok(unsafe { stream.upgrade_device_ptr(address, count.max(1)) })
}

/// A tensor in memory of its own, with whatever is there.
///
/// # Safety
/// Every number is written before it is read.
pub(super) unsafe fn tensor(shape: impl Into<Shape>, kind: DType, device: &Device) -> Result<Tensor> {
    /// # Safety
    /// As above.
    unsafe fn storage<T: CudaDType + WithDType + DeviceRepr>(
        device: &candle_core::CudaDevice,
        count: usize,
    ) -> Result<CudaStorage> {
        // SAFETY: the caller's.
        let numbers = unsafe { room::<T>(&device.cuda_stream(), count)? };
        Ok(CudaStorage::wrap_cuda_slice(numbers, device.clone()))
    }
    let (shape, cuda) = (shape.into(), device.as_cuda_device()?);
    let count = shape.elem_count();
    // SAFETY: the caller's.
    let numbers = unsafe {
        match kind {
            DType::F16 => storage::<half::f16>(cuda, count)?,
            DType::BF16 => storage::<half::bf16>(cuda, count)?,
            DType::F32 => storage::<f32>(cuda, count)?,
            other => bail!("weights are of 16 or 32 bits, not {other:?}"),
        }
    };
    Ok(Tensor::from_storage(Storage::Cuda(numbers), shape, BackpropOp::none(), false))
}

/// The same numbers in memory of their own.
///
/// # Errors
/// When the GPU has no memory.
pub(crate) fn settled(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.contiguous()?;
    // SAFETY: all of it is written next, in the same stream.
    let settled = unsafe { self::tensor(tensor.dims(), tensor.dtype(), tensor.device())? };
    let flat = settled.flatten_all()?;
    flat.slice_set(&tensor.flatten_all()?, 0, 0)?;
    Ok(settled)
}
