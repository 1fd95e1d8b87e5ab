//! A stream of a GPU, with the kernels of the language model.

use std::{collections::HashMap, ffi::c_void, fmt, sync::Arc};

use candle_core::{
    CudaDevice, Result, bail,
    cuda_backend::{
        WrapErr,
        cudarc::{
            driver::{
                CudaFunction, CudaStream,
                sys::{self, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchConfig},
            },
            nvrtc::Ptx,
        },
    },
};

use crate::kernels::gpu::{CapturedGraph, Priority, stream_of};

/// Machine code for the GPUs that the build script names, and PTX for later ones.
const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lm.fatbin"));
/// The first compute capability whose dependent kernels can begin before those before them have ended.
const OVERLAPPING: i32 = 9;

/// A stream that is served before what shares the GPU with it, but for what a first sound waits for.
#[derive(Clone)]
pub(crate) struct GpuStream {
    stream: Arc<CudaStream>,
    kernels: Arc<HashMap<String, CudaFunction>>,
    overlaps: bool,
}

impl fmt::Debug for GpuStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuStream").field("kernels", &self.kernels.len()).finish_non_exhaustive()
    }
}

impl GpuStream {
    /// A stream on the GPU of `device`.
    ///
    /// # Errors
    /// When the GPU is too old for the kernels, or has no memory for them.
    pub fn new(device: &CudaDevice) -> Result<Self> {
        let context = Arc::clone(device.cuda_stream().context());
        let (major, minor) = context.compute_capability().w()?;
        if major < 8 {
            bail!("a language model needs a GPU of compute capability 8.0 or later, found {major}.{minor}: use cpu")
        }
        let module = context.load_module(Ptx::from_binary(IMAGE.to_vec())).w()?;
        let mut names: Vec<String> =
            ["pack", "embed_frames", "embed_codes", "draw", "attention_f16", "attention_f32"].map(str::to_owned).into();
        for epilogue in ["store", "add", "begin", "gate", "guide"] {
            for rows in [1, 2, 4, 8] {
                names.extend([1, 2].map(|tiles| format!("product_{epilogue}_{rows}_{tiles}")));
            }
        }
        let kernels = names
            .into_iter()
            .map(|name| Ok((name.clone(), module.load_function(&name).w()?)))
            .collect::<Result<HashMap<_, _>>>()?;
        let stream = stream_of(&context, Priority::Frames)?;
        Ok(Self { stream, kernels: Arc::new(kernels), overlaps: major >= OVERLAPPING })
    }

    /// Another stream with the same kernels.
    ///
    /// # Errors
    /// When the GPU has no room for one.
    pub fn beside(&self) -> Result<Self> {
        Ok(Self { stream: stream_of(self.stream.context(), Priority::Frames)?, ..self.clone() })
    }

    pub(super) fn cuda(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Waits until all that was asked for is done.
    ///
    /// # Errors
    /// When something of it failed.
    pub fn wait(&self) -> Result<()> {
        self.stream.synchronize().w()
    }

    /// Runs a kernel on `blocks` blocks of `threads` threads, with `shared` bytes of memory for each block.
    ///
    /// # Safety
    /// `arguments` is the kernel's only argument; what it points to is memory of this GPU that is there until the
    /// kernel has run, as large as the kernel takes it to be from the sizes in `arguments`.
    pub(super) unsafe fn launch<A: Copy>(
        &self,
        name: &str,
        blocks: [usize; 3],
        threads: usize,
        shared: usize,
        arguments: A,
    ) -> Result<()> {
        let Some(kernel) = self.kernels.get(name) else { bail!("there is no kernel {name}") };
        self.stream.context().bind_to_thread().w()?;
        let mut attribute = CUlaunchAttribute {
            id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = CUlaunchConfig {
            gridDimX: blocks[0] as u32,
            gridDimY: blocks[1] as u32,
            gridDimZ: blocks[2] as u32,
            blockDimX: threads as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared as u32,
            hStream: self.stream.cu_stream(),
            attrs: &raw mut attribute,
            numAttrs: u32::from(self.overlaps),
        };
        let mut pointers = [(&raw const arguments).cast_mut().cast::<c_void>()];
        // SAFETY: the configuration and the argument outlive the call, which copies them; the caller guarantees the
        // rest.
        let answer = unsafe {
            sys::cuLaunchKernelEx(&raw const config, kernel.cu_function(), pointers.as_mut_ptr(), std::ptr::null_mut())
        };
        answer.result().w()
    }

    /// Captures the kernels that `ask` launches instead of running them. It may launch for nothing else.
    ///
    /// # Errors
    /// When one cannot be captured.
    pub fn record<E: From<candle_core::Error>>(
        &self,
        ask: impl Fn() -> std::result::Result<(), E>,
    ) -> std::result::Result<CapturedGraph, E> {
        CapturedGraph::of(&self.stream, ask)
    }
}
