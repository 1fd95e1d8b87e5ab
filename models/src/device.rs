//! Compute devices, processor or GPU: their names, and how they are opened.

#[cfg(feature = "cuda")]
mod gpu_info;

use std::{fmt, str::FromStr};

use candle_core::Device;

#[cfg(feature = "cuda")]
pub use gpu_info::{GpuInfo, gpu_limits};

use crate::error::{ModelError, Result};

/// Name of a device that computes a part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeviceName {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
}

impl DeviceName {
    /// Opens the device. Each call for a GPU opens a new CUDA stream with its own cuBLAS handle. Work of one stream
    /// runs in order, whichever thread submits it, and concurrently with other streams. So a stage that computes beside
    /// others opens its device itself and allocates its tensors there. Weights may come from another stream of the same
    /// GPU.
    ///
    /// # Errors
    /// When this program was built without CUDA, or there is no such GPU.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => open_cuda(number),
        }
    }

    /// Bytes of its own memory that a program can still take; `None` for a processor, whose memory is the machine's.
    ///
    /// # Errors
    /// As [`DeviceName::open`], or when the driver does not answer.
    pub fn free_memory(self) -> Result<Option<u64>> {
        #[cfg(feature = "cuda")]
        if self != Self::Cpu {
            return Ok(Some(GpuInfo::of(&self.open()?)?.free));
        }
        self.open().map(|_| None)
    }

    /// Whether this is a processor, whose results do not depend on what is computed beside them.
    pub fn is_cpu(self) -> bool {
        self == Self::Cpu
    }
}

/// What each part of a model computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Devices {
    /// The language model.
    pub lm: DeviceName,
    /// The flow workers.
    pub flow: DeviceName,
    /// The vocoder.
    pub vocoder: DeviceName,
}

impl Devices {
    /// All parts on one device.
    pub fn all(device: DeviceName) -> Self {
        Self { lm: device, flow: device, vocoder: device }
    }

    /// The GPUs among them, each once.
    pub fn gpus(self) -> Vec<DeviceName> {
        let mut gpus: Vec<_> = [self.lm, self.flow, self.vocoder].into_iter().filter(|name| !name.is_cpu()).collect();
        gpus.dedup();
        if gpus.len() > 2 && gpus[0] == gpus[2] {
            gpus.pop();
        }
        gpus
    }
}

/// The oldest GPUs that the kernels run on: `mma.sync` on bf16 came with compute capability 8.0.
#[cfg(feature = "cuda")]
const OLDEST: (i32, i32) = (8, 0);

#[cfg(feature = "cuda")]
fn open_cuda(number: usize) -> Result<Device> {
    use candle_core::cuda_backend::{
        cudarc::driver::{CudaContext, sys::CUresult},
        set_gemm_reduced_precision_bf16, set_gemm_reduced_precision_f16, set_gemm_reduced_precision_f32,
    };

    use crate::kernels::{missing_libraries, order_by_stream_alone};

    let refuse = |reason: String, remedy: &str| {
        Err(ModelError::Device { device: DeviceName::Cuda(number), reason, remedy: remedy.to_owned() })
    };
    let missing = missing_libraries();
    if missing.contains(&"libcuda.so.1") {
        return refuse("NVIDIA's driver (libcuda.so.1) is not installed".to_owned(), "Install it, or use cpu");
    }
    let count = match CudaContext::device_count() {
        Ok(count) => usize::try_from(count).unwrap_or(0),
        Err(error) if error.0 == CUresult::CUDA_ERROR_NO_DEVICE => 0,
        Err(error) => {
            return refuse(format!("CUDA does not start ({:?})", error.0), "Install NVIDIA's driver, or use cpu");
        }
    };
    if number >= count {
        let found = match count {
            0 => "there is no GPU that CUDA can use".to_owned(),
            1 => "there is one GPU, cuda:0".to_owned(),
            count => format!("there are {count} GPUs, cuda:0 to cuda:{}", count - 1),
        };
        return refuse(found, "Give one that is there, or use cpu");
    }
    if !missing.is_empty() {
        let reason = format!("{} cannot be opened", missing.join(", "));
        return refuse(reason, "Install CUDA's libraries, or name their folder in LD_LIBRARY_PATH; or use cpu");
    }
    // Sums in less than f32, and f32 products of 10 bits (TF32), are faster and can be heard.
    set_gemm_reduced_precision_f32(false);
    set_gemm_reduced_precision_f16(false);
    set_gemm_reduced_precision_bf16(false);
    let device = Device::new_cuda_with_stream(number)
        .or_else(|error| refuse(format!("it does not open ({error})"), "See what else uses it, or use cpu"))?;
    order_by_stream_alone(device.as_cuda_device()?);
    let capability = device.as_cuda_device()?.cuda_stream().context().compute_capability();
    match capability {
        Ok(found) if found < OLDEST => {
            let ((major, minor), (oldest, _)) = (found, OLDEST);
            let reason = format!("its compute capability is {major}.{minor}, and the kernels need {oldest}.0 (Ampere)");
            refuse(reason, "Use a GPU of 2020 or later, or cpu")
        }
        _ => Ok(device),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(number: usize) -> Result<Device> {
    Err(ModelError::Device {
        device: DeviceName::Cuda(number),
        reason: "this program is built without CUDA".to_owned(),
        remedy: "Build it with the feature cuda, which needs CUDA's compiler, or use cpu".to_owned(),
    })
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    /// Reads `cpu`, `cuda:N`, or `cuda` for the first GPU.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|number| *number < 1024);
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(number)
                .map(Self::Cuda)
                .ok_or_else(|| "what computes is cpu or cuda:N, N the number of a GPU".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_shown_and_others_are_refused() {
        for name in ["cpu", "cuda:0", "cuda:7"] {
            assert_eq!(name.parse::<DeviceName>().map(|device| device.to_string()), Ok(name.to_owned()));
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        for wrong in ["", "CPU", "cuda:", "cuda:-1", "cuda:1024", "gpu", "Built-in Audio", "alsa_output.pci"] {
            assert!(wrong.parse::<DeviceName>().is_err_and(|error| error.contains("cuda:N")), "{wrong}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_without_cuda_is_refused_with_the_way_to_build_it() {
        let error = DeviceName::Cuda(1).open().expect_err("there is no CUDA here").to_string();
        assert!(error.contains("cuda:1") && error.contains("the feature cuda"), "{error}");
        assert!(DeviceName::Cpu.open().is_ok_and(|device| device.is_cpu()));
    }
}
