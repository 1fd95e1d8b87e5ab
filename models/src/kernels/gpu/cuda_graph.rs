//! CUDA graphs: capture and replay.

use std::{fmt, sync::Arc};

use candle_core::{
    CudaStorage, Error, Storage, Tensor, bail,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{
            CudaGraph, CudaStream, DevicePtr, DriverError, result,
            sys::{CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode},
        },
    },
};

/// How often a capture is tried that other threads spoil.
const TRIES: usize = 16;

/// Kernels that are launched together. What they read and write must be there as long as this is.
pub(crate) struct CapturedGraph(CudaGraph);

// SAFETY: a graph belongs to no thread; it must not be used by two at once, and running it takes `&mut self`.
unsafe impl Send for CapturedGraph {}

impl fmt::Debug for CapturedGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapturedGraph")
    }
}

impl CapturedGraph {
    /// Captures the kernels that `ask` launches on `stream`, instead of running them. It may ask for nothing else, and no
    /// other thread for anything in this stream meanwhile. A thread that waits for the whole GPU, or unloads kernels, spoils the
    /// captures of all others (seen on an H200 with four models loaded and dropped at once): they are done again.
    ///
    /// # Errors
    /// When one cannot be captured.
    pub fn of<E: From<Error>>(stream: &Arc<CudaStream>, ask: impl Fn() -> Result<(), E>) -> Result<Self, E> {
        let mut tried = 0;
        loop {
            tried += 1;
            stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).w()?;
            let asked = ask();
            let graph = stream.end_capture(CUgraphInstantiate_flags(0));
            let spoilt = |error: &DriverError| error.0 == CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
            if tried < TRIES && graph.as_ref().is_err_and(spoilt) {
                tracing::debug!(tried, "a capture was spoilt by another thread");
                continue;
            }
            asked?;
            return match graph.w()? {
                Some(graph) => Ok(Self(graph)),
                None => Err(Error::Msg("no kernels were captured for a CUDA graph".to_owned()).into()),
            };
        }
    }

    /// Launches the graph on the stream that it was captured on.
    ///
    /// # Errors
    /// When the GPU does not take them.
    pub fn run(&mut self) -> candle_core::Result<()> {
        self.0.launch().w()
    }

    /// Launches the graph on `first`, ordered after earlier and before later work of `recorded_in`. The kernels then have
    /// the priority of `first`. Before them, each pair of tensors is copied there, the first one to the place of the second.
    ///
    /// # Errors
    /// When a pair does not fit, or the GPU does not take them.
    pub fn run_in(
        &mut self,
        first: &CudaStream,
        recorded_in: &CudaStream,
        copies: &[(&Tensor, &Tensor)],
    ) -> candle_core::Result<()> {
        first.join(recorded_in).w()?;
        for (from, to) in copies {
            copy_in(first, from, to)?;
        }
        // SAFETY: the graph lives, and nothing else runs it: it is borrowed mutably.
        unsafe { result::graph::launch(self.0.cu_graph_exec(), first.cu_stream()) }.w()?;
        recorded_in.join(first).w()
    }
}

/// Copies numbers in `stream`, which alone uses both tensors meanwhile.
fn copy_in(stream: &CudaStream, from: &Tensor, to: &Tensor) -> candle_core::Result<()> {
    let [(from, from_layout), (to, to_layout)] = [from.storage_and_layout(), to.storage_and_layout()];
    let places = (from_layout.contiguous_offsets(), to_layout.contiguous_offsets());
    let (Storage::Cuda(from), Storage::Cuda(to), (Some((first, end)), Some((place, last)))) = (&*from, &*to, places)
    else {
        bail!("numbers that are copied on a GPU are contiguous there")
    };
    if end - first != last - place {
        bail!("{} numbers do not fit into the place of {}", end - first, last - place)
    }
    let numbers = |storage: &CudaStorage, place: usize| {
        Ok::<_, Error>(storage.as_cuda_slice::<f32>()?.device_ptr(stream).0 + (place * size_of::<f32>()) as u64)
    };
    let (from, to) = (numbers(from, first)?, numbers(to, place)?);
    // SAFETY: both have `end - first` numbers, and neither is let go before what was asked for in this stream is done: the caller
    // has the other stream, which lets them go, wait for it.
    unsafe { result::memcpy_dtod_async(to, from, (end - first) * size_of::<f32>(), stream.cu_stream()) }.w()
}
