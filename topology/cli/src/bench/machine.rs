//! The machine that a bench measures on: its threads, its limits, its name.

#[cfg(feature = "cuda")]
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use heartstream_actors::awake::kept_awake;
use heartstream_models::{
    DeviceName,
    kernels::cpu::{KernelSet, Limits},
};

use crate::Failed;

/// Time between two looks at a GPU's memory: a window of flow matching takes longer.
#[cfg(feature = "cuda")]
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// What the stages are measured on, and what it can do at best.
pub(super) struct Machine {
    pool: rayon::ThreadPool,
    limits: Option<Limits>,
    #[cfg(feature = "cuda")]
    gpu: Option<Gpu>,
}

/// A GPU as it was found, before anything was loaded.
#[cfg(feature = "cuda")]
struct Gpu {
    device: candle_core::Device,
    name: DeviceName,
    found: heartstream_models::GpuInfo,
}

impl Machine {
    /// Opens `device`, and starts the threads that processors compute with.
    ///
    /// # Errors
    /// When there is no such device, or the operating system gives no threads.
    pub(super) fn open(device: DeviceName, threads: Option<usize>) -> Result<Self, Failed> {
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Failed::Error(format!("the operating system gives no threads: {error}")))?;
        #[cfg(feature = "cuda")]
        let gpu = match device {
            DeviceName::Cpu => None,
            name => {
                let device = name.open()?;
                Some(Gpu { found: heartstream_models::GpuInfo::of(&device)?, device, name })
            }
        };
        #[cfg(not(feature = "cuda"))]
        device.open()?;
        Ok(Self {
            pool,
            limits: None,
            #[cfg(feature = "cuda")]
            gpu,
        })
    }

    /// Measures what it can do; the better of several measurements counts.
    ///
    /// # Errors
    /// When a GPU fails.
    pub(super) fn measure(&mut self) -> Result<(), Failed> {
        #[cfg(feature = "cuda")]
        let found = match &self.gpu {
            Some(gpu) => heartstream_models::gpu_limits(&gpu.device)?,
            None => self.pool.install(|| Limits::measure(KernelSet::chosen())),
        };
        #[cfg(not(feature = "cuda"))]
        let found = self.pool.install(|| Limits::measure(KernelSet::chosen()));
        self.limits = Some(self.limits.map_or(found, |limits| limits.or(found)));
        Ok(())
    }

    /// Runs `work` on its threads.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(|| kept_awake(&|| false, work))
    }

    pub(super) fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// What was measured; nothing at all before that.
    pub(super) fn limits(&self) -> Limits {
        self.limits.unwrap_or(Limits { read_bytes: 0.0, flop: 0.0 })
    }

    /// What it is, for a table's head.
    pub(super) fn name(&self) -> String {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            return format!("{} ({})", gpu.found.name, gpu.name);
        }
        format!("{} with {} kernels, {} threads", processor(), KernelSet::chosen(), self.threads())
    }

    /// Does `work`, and looks at the GPU's memory meanwhile: the result, and the most bytes that were taken and were free when
    /// the GPU was opened, so without CUDA's own context; `None` on a processor.
    pub(super) fn with_gpu_memory<T>(&self, work: impl FnOnce() -> T) -> (T, Option<u64>) {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            let taken = || {
                let now = heartstream_models::GpuInfo::of(&gpu.device).ok()?;
                Some(gpu.found.free.saturating_sub(now.free))
            };
            let ended = AtomicBool::new(false);
            return std::thread::scope(|scope| {
                let most = scope.spawn(|| {
                    let mut most = None;
                    while !ended.load(Ordering::Acquire) {
                        most = most.max(taken());
                        std::thread::sleep(BETWEEN_LOOKS);
                    }
                    most.max(taken())
                });
                let end = EndOnDrop(&ended); // a panic of the work must not leave the other thread waiting
                let result = work();
                drop(end);
                (result, most.join().unwrap_or(None))
            });
        }
        (work(), None)
    }
}

/// Sets a flag when it is dropped.
#[cfg(feature = "cuda")]
struct EndOnDrop<'a>(&'a AtomicBool);

#[cfg(feature = "cuda")]
impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What the operating system calls the processor.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
