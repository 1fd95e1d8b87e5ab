//! Priorities of streams that share a GPU.

use std::sync::Arc;

use candle_core::{
    Result,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaContext, CudaStream, sys},
    },
};

/// What is served before what. What has no priority comes last: long windows of flow matching, the vocoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Short windows, which nothing sounds before.
    FirstSound,
    /// Frames of the language model, which every window waits for.
    Frames,
}

/// A stream of this priority.
///
/// # Errors
/// When the GPU has no room for one.
pub(crate) fn stream_of(context: &Arc<CudaContext>, priority: Priority) -> Result<Arc<CudaStream>> {
    context.bind_to_thread().w()?;
    let (mut lowest, mut highest) = (0, 0);
    // SAFETY: both places are there to be written to; the context is bound to this thread.
    unsafe { sys::cuCtxGetStreamPriorityRange(&raw mut lowest, &raw mut highest) }.result().w()?;
    // Smaller numbers are served first.
    let priority = match priority {
        Priority::FirstSound => highest,
        Priority::Frames => (highest + 1).min(lowest),
    };
    context.new_stream_with_priority(priority).w()
}
