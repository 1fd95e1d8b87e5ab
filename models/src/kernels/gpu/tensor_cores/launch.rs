//! Kernel launches with tensors as arguments.

use candle_core::{Device, Result, Tensor};

/// Kernels that are compiled together.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing is started without CUDA"))]
pub struct Module {
    /// What they are kept under.
    pub name: &'static str,
    /// Their machine code for several GPUs, and PTX for others; nothing in a program without CUDA.
    pub image: &'static [u8],
}

#[cfg(feature = "cuda")]
impl Module {
    /// A kernel of these. Each GPU has them once, however many streams it has.
    fn kernel(
        self,
        device: &candle_core::CudaDevice,
        name: &'static str,
    ) -> Result<candle_core::cuda_backend::cudarc::driver::CudaFunction> {
        use std::{
            collections::{HashMap, hash_map::Entry},
            sync::{Arc, LazyLock, Mutex, PoisonError},
        };

        use candle_core::cuda_backend::{
            WrapErr,
            cudarc::{
                driver::{CudaFunction, CudaModule},
                nvrtc::Ptx,
            },
        };
        /// By the number of the GPU and the module's name.
        type Loaded = HashMap<(usize, &'static str), (Arc<CudaModule>, HashMap<&'static str, CudaFunction>)>;
        static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);

        let stream = device.cuda_stream();
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let (module, kernels) = match loaded.entry((stream.context().ordinal(), self.name)) {
            Entry::Occupied(module) => module.into_mut(),
            Entry::Vacant(place) => {
                let module = stream.context().load_module(Ptx::from_binary(self.image.to_vec())).w()?;
                place.insert((module, HashMap::new()))
            }
        };
        match kernels.entry(name) {
            Entry::Occupied(kernel) => Ok(kernel.get().clone()),
            Entry::Vacant(place) => Ok(place.insert(module.load_function(name).w()?).clone()),
        }
    }
}

/// An argument of a kernel. A tensor is the address of its first number: it must be contiguous.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing is started without CUDA"))]
pub enum Argument<'a> {
    /// What is read or written.
    Array(&'a Tensor),
    /// An `int`.
    Int(usize),
    /// An `int` that may be negative.
    Signed(i64),
    /// A `long long`.
    Long(usize),
    /// A `float`.
    Float(f32),
}

/// A kernel and how often it runs.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing is started without CUDA"))]
pub struct Launch {
    /// Where it is.
    pub module: Module,
    /// What it is called there.
    pub name: &'static str,
    /// Blocks, in two dimensions.
    pub blocks: [usize; 2],
    /// Threads of a block.
    pub threads: usize,
    /// Bytes of shared memory of a block that its launch decides.
    pub shared: usize,
}

impl Launch {
    /// Starts the kernel in the stream of `device`, on which all tensors lie.
    ///
    /// Callers hold themselves to what makes this sound: arguments are those of the kernel's signature, in its order; what
    /// it reads and writes lies in the tensors; and what it writes nothing else reads or holds yet.
    ///
    /// # Errors
    /// When a tensor is not contiguous or not on a GPU, or the GPU refuses.
    #[cfg(feature = "cuda")]
    pub fn run(self, device: &Device, arguments: &[Argument<'_>]) -> Result<()> {
        use candle_core::{
            Storage, bail,
            cuda_backend::{
                WrapErr,
                cudarc::driver::{LaunchConfig, PushKernelArg, sys::CUfunction_attribute},
            },
        };
        let device = device.as_cuda_device()?;
        let stream = device.cuda_stream();
        let function = self.module.kernel(device, self.name)?;
        if self.shared > super::SHARED {
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, i32::try_from(self.shared)?).w()?;
        }
        let tensors: Vec<_> = arguments
            .iter()
            .filter_map(|argument| if let Argument::Array(tensor) = argument { Some(tensor) } else { None })
            .map(|tensor| tensor.storage_and_layout())
            .collect();
        let mut places = Vec::with_capacity(tensors.len());
        for (storage, layout) in &tensors {
            let (Storage::Cuda(storage), Some((start, _))) = (&**storage, layout.contiguous_offsets()) else {
                bail!("a kernel for GPUs takes contiguous numbers on a GPU, was given {layout:?}")
            };
            places.push(place(storage, start, &stream)?);
        }
        let (mut ints, mut longs, mut floats) = (Vec::new(), Vec::new(), Vec::new());
        for argument in arguments {
            match argument {
                Argument::Array(_) => (),
                Argument::Int(number) => ints.push(i32::try_from(*number)?),
                Argument::Signed(number) => ints.push(i32::try_from(*number)?),
                Argument::Long(number) => longs.push(i64::try_from(*number)?),
                Argument::Float(number) => floats.push(*number),
            }
        }
        let (mut place, mut int, mut long, mut float) = (places.iter(), ints.iter(), longs.iter(), floats.iter());
        let mut builder = stream.launch_builder(&function);
        for argument in arguments {
            match argument {
                Argument::Array(_) => place.next().map(|(address, _)| builder.arg(address)),
                Argument::Int(_) | Argument::Signed(_) => int.next().map(|number| builder.arg(number)),
                Argument::Long(_) => long.next().map(|number| builder.arg(number)),
                Argument::Float(_) => float.next().map(|number| builder.arg(number)),
            };
        }
        let grid = LaunchConfig {
            grid_dim: (u32::try_from(self.blocks[0])?, u32::try_from(self.blocks[1])?, 1),
            block_dim: (u32::try_from(self.threads)?, 1, 1),
            shared_mem_bytes: u32::try_from(self.shared)?,
        };
        // SAFETY: the conditions above, which each caller in this folder keeps: it has checked shapes and types.
        unsafe { builder.launch(grid) }.w()?;
        Ok(())
    }

    /// In a program without CUDA there is nothing to start.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "cuda"))]
    pub fn run(self, _: &Device, _: &[Argument<'_>]) -> Result<()> {
        candle_core::bail!("this program is built without CUDA, and has no {}", self.name)
    }
}

/// The address of a tensor's number `start`, and what tells other streams when it is no longer in use.
#[cfg(feature = "cuda")]
pub(super) fn place<'a>(
    storage: &'a candle_core::CudaStorage,
    start: usize,
    stream: &'a candle_core::cuda_backend::cudarc::driver::CudaStream,
) -> Result<(u64, candle_core::cuda_backend::cudarc::driver::SyncOnDrop<'a>)> {
    use candle_core::{DType, backend::BackendStorage, bail, cuda_backend::cudarc::driver::DevicePtr};
    let ((address, guard), size) = match storage.dtype() {
        DType::F32 => (storage.as_cuda_slice::<f32>()?.device_ptr(stream), size_of::<f32>()),
        DType::F16 => (storage.as_cuda_slice::<half::f16>()?.device_ptr(stream), size_of::<half::f16>()),
        DType::BF16 => (storage.as_cuda_slice::<half::bf16>()?.device_ptr(stream), size_of::<half::bf16>()),
        other => bail!("a kernel for GPUs takes numbers of 16 or 32 bits, was given {other:?}"),
    };
    Ok((address + (start * size) as u64, guard))
}

/// A tensor that a kernel is about to write, all of it.
pub(super) fn unwritten(shape: &[usize], kind: candle_core::DType, device: &Device) -> Result<Tensor> {
    // SAFETY: each caller hands it to a kernel that writes every number before anything reads it, in the same stream.
    unsafe { Tensor::empty(shape, kind, device) }
}

/// The same for a weight, which stays as long as the model.
#[cfg(feature = "cuda")]
pub(super) fn unwritten_weight(shape: &[usize], kind: candle_core::DType, device: &Device) -> Result<Tensor> {
    // SAFETY: as above.
    unsafe { crate::kernels::gpu::weight_pool::tensor(shape, kind, device) }
}

/// A weight where it stays as long as the model.
#[cfg(feature = "cuda")]
pub(super) fn settled(weight: &Tensor) -> Result<Tensor> {
    crate::kernels::gpu::weight_pool::settled(weight)
}

/// In a program without CUDA it stays where it is.
#[cfg(not(feature = "cuda"))]
pub(super) fn settled(weight: &Tensor) -> Result<Tensor> {
    Ok(weight.clone())
}

/// In a program without CUDA there is nowhere to put one.
#[cfg(not(feature = "cuda"))]
pub(super) fn unwritten_weight(shape: &[usize], kind: candle_core::DType, device: &Device) -> Result<Tensor> {
    unwritten(shape, kind, device)
}
