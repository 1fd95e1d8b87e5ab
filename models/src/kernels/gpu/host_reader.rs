//! Asynchronous copies to the host, while a GPU works on what it was asked for next.

use candle_core::{Device, Result, Tensor};

#[cfg(feature = "cuda")]
use candle_core::cuda_backend::{
    WrapErr,
    cudarc::driver::{CudaEvent, CudaStream},
};
#[cfg(feature = "cuda")]
use std::sync::Arc;

/// Brings results of one device to the host.
#[derive(Debug, Clone)]
pub struct HostReader {
    /// A stream that does nothing else; `None` where the device is no GPU.
    #[cfg(feature = "cuda")]
    stream: Option<Arc<CudaStream>>,
}

/// Results that are being computed.
#[derive(Debug)]
pub struct Awaited {
    numbers: Tensor,
    /// When they are there, and the stream that brings them.
    #[cfg(feature = "cuda")]
    made: Option<(CudaEvent, Arc<CudaStream>)>,
}

impl HostReader {
    /// For results that are computed on `device`.
    ///
    /// # Errors
    /// When a GPU has no room for another stream.
    pub fn of(device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        {
            let context = device.is_cuda().then(|| device.as_cuda_device()).transpose()?;
            let stream = context.map(|device| device.cuda_stream().context().new_stream().w()).transpose()?;
            Ok(Self { stream })
        }
        #[cfg(not(feature = "cuda"))]
        {
            let _ = device;
            Ok(Self {})
        }
    }

    /// Results that are there when all is done that the device was asked for so far.
    ///
    /// # Errors
    /// When the device fails.
    pub fn expect(&self, numbers: &Tensor) -> Result<Awaited> {
        let numbers = numbers.flatten_all()?.contiguous()?;
        #[cfg(feature = "cuda")]
        {
            let made = match &self.stream {
                None => None,
                Some(stream) => {
                    let asked = numbers.device().as_cuda_device()?.cuda_stream();
                    Some((asked.record_event(None).w()?, Arc::clone(stream)))
                }
            };
            Ok(Awaited { numbers, made })
        }
        #[cfg(not(feature = "cuda"))]
        Ok(Awaited { numbers })
    }
}

impl Awaited {
    /// Waits for the results.
    ///
    /// # Errors
    /// When the device failed.
    pub fn receive(self) -> Result<Vec<f32>> {
        #[cfg(feature = "cuda")]
        if let Some((made, stream)) = &self.made {
            use candle_core::{Storage, bail};
            stream.wait(made).w()?;
            let (storage, layout) = self.numbers.storage_and_layout();
            let (Storage::Cuda(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
                bail!("results on a GPU are contiguous there")
            };
            let numbers = stream.clone_dtoh(&storage.as_cuda_slice::<f32>()?.slice(start..end)).w()?;
            stream.synchronize().w()?;
            return Ok(numbers);
        }
        self.numbers.to_vec1()
    }
}
