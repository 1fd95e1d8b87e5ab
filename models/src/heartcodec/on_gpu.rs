//! Flow matching on an NVIDIA GPU: steps are queued without waiting, those of short windows as one recorded graph.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use candle_core::{
    Device, Tensor,
    cuda_backend::cudarc::driver::{CudaEvent, CudaStream},
};

use super::{
    Flow,
    estimator::Estimator,
    flow_matching::{EulerTime, StopCheck, euler_times},
    memory::RECORDED_ON_GPU,
    modulation::Modulation,
};
use crate::{
    error::Result,
    kernels::{CapturedGraph, EulerStep, EulerWay, Priority, RotaryTable, stream_of},
};

/// Latents up to which a window's step is recorded: the kernels of a longer one take the GPU longer than the host. They
/// are those of a song's first windows, too, which its first sound and the speakers wait for.
const MOST_RECORDED: usize = RECORDED_ON_GPU as usize;
/// Positions that there are angles for from the beginning: more than the longest usual window has.
const POSITIONS: usize = 1024;
/// Steps whose modulation is on the GPU at once, 1.3 MB each at the published size.
const MODULATED: usize = 32;
/// Windows whose graphs are kept.
const MOST_WINDOWS: usize = 8;
/// Steps that the GPU was asked for and has not made: what is asked for cannot be cancelled.
const UNDER_WAY: usize = 2;

/// The solver of one stream of a GPU. One window at a time; others wait.
pub(super) struct GpuSolver {
    estimator: Estimator,
    channels: usize,
    device: Device,
    /// A stream for what a song's first sound waits for: it is served before the language model.
    first: Arc<CudaStream>,
    cache: Mutex<Cache>,
}

/// What is of use to later windows.
#[derive(Default)]
struct Cache {
    plan: Option<Plan>,
    /// Those used last come last.
    windows: Vec<Window>,
}

/// The modulation of some of the steps, whatever the window.
struct Plan {
    /// How many steps there are in all, and the first of these.
    steps: usize,
    first: usize,
    modulation: Modulation,
    /// [`Modulation::numbers`], on the GPU.
    tables: Tensor,
}

/// What windows have to agree in to be computed in the same place by the same kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WindowShape {
    entries: usize,
    latents: usize,
    known: usize,
}

/// Where windows of one shape are computed.
struct Window {
    shape: WindowShape,
    /// First, so that it ends before what it works in. There from the second window of this shape on.
    recording: Option<CapturedGraph>,
    was_used: bool,
    way: EulerWay,
    /// Views of `tables`.
    modulation: Modulation,
    /// The modulation of the step, \[1, any\].
    tables: Tensor,
    /// What the recording turns by.
    _angles: [RotaryTable; 2],
}

impl fmt::Debug for GpuSolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GpuSolver")
    }
}

impl GpuSolver {
    /// A solver in the stream of `device`; `None` where the estimator's products are not all made on tensor cores.
    ///
    /// # Errors
    /// When the device has no memory.
    pub(super) fn new(estimator: &Estimator, channels: usize, device: &Device) -> Result<Option<Self>> {
        if !device.is_cuda() || !estimator.is_on_tensor_cores() {
            return Ok(None);
        }
        estimator.angles_up_to(POSITIONS)?;
        // Streams of other workers share the angles.
        device.synchronize()?;
        let first = stream_of(device.as_cuda_device()?.cuda_stream().context(), Priority::FirstSound)?;
        let (estimator, device) = (estimator.clone(), device.clone());
        Ok(Some(Self { estimator, channels, device, first, cache: Mutex::default() }))
    }

    /// The latents of a window, latent frame after latent frame; `None` when `cancelled` said so before a step.
    ///
    /// # Shapes
    /// - `fixed` \[B, L, any\], `noise` \[1, L, channels\], `known` \[1, at most L, channels\]
    ///
    /// # Errors
    /// When they do not fit together, or the GPU fails.
    pub(super) fn solve(
        &self,
        fixed: &Tensor,
        noise: &Tensor,
        known: Option<&Tensor>,
        options: Flow,
        cancelled: StopCheck<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let (entries, latents, _) = fixed.dims3()?;
        let shape = WindowShape { entries, latents, known: known.map_or(Ok(0), |known| known.dim(1))? };
        let times = euler_times(options.steps);
        let step = |EulerTime { left, time, length }: &EulerTime| {
            EulerStep { left: *left, time: *time, length: *length, guidance: options.guidance }.numbers()
        };
        let numbers: Vec<f32> = times.iter().flat_map(step).collect();
        let steps = Tensor::from_vec(numbers, (times.len(), EulerStep::NUMBERS), &self.device)?;

        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let Cache { plan, windows } = &mut *cache;
        let window = match windows.iter().position(|window| window.shape == shape) {
            Some(place) => windows.remove(place),
            None => self.window(shape, self.plan(plan, &times, 0)?)?,
        };
        if windows.len() == MOST_WINDOWS {
            windows.remove(0);
        }
        windows.push(window);
        let Some(window) = windows.last_mut() else { return Ok(None) };

        window.way.begin(noise, known, fixed)?;
        let mut under_way: Vec<CudaEvent> = Vec::new();
        for index in 0..times.len() {
            if under_way.len() == UNDER_WAY {
                under_way.remove(0).synchronize().map_err(candle_core::Error::wrap)?;
            }
            if cancelled() {
                return Ok(None);
            }
            let plan = self.plan(plan, &times, index)?;
            let (step, table) = (steps.narrow(0, index, 1)?, plan.tables.narrow(0, index - plan.first, 1)?);
            self.step(window, &step, &table)?;
            let event = self.device.as_cuda_device()?.cuda_stream().record_event(None);
            under_way.push(event.map_err(candle_core::Error::wrap)?);
        }
        window.was_used = true;
        Ok(Some(window.way.state()?))
    }

    /// Makes the step whose numbers are `step`, modulated by `table`.
    fn step(&self, window: &mut Window, step: &Tensor, table: &Tensor) -> Result<()> {
        let Window { shape, recording, was_used, way, modulation, tables, .. } = window;
        let ask = || way.step(|input| self.estimator.modulated(input, modulation));
        let own = self.device.as_cuda_device()?.cuda_stream();
        if *was_used && shape.latents <= MOST_RECORDED && recording.is_none() {
            *recording = Some(CapturedGraph::of(&own, ask)?);
        }
        let copies = [(step, way.step_numbers()), (table, &*tables)];
        match recording {
            Some(recording) => Ok(recording.run_in(&self.first, &own, &copies)?),
            None => {
                copies.iter().try_for_each(|(from, to)| to.slice_set(from, 0, 0))?;
                ask()
            }
        }
    }

    /// The modulation of step `index` and those around it.
    fn plan<'a>(&self, cached: &'a mut Option<Plan>, times: &[EulerTime], index: usize) -> Result<&'a Plan> {
        let first = index / MODULATED * MODULATED;
        let same = |plan: &Plan| (plan.steps, plan.first) == (times.len(), first);
        match cached.take().filter(same) {
            Some(plan) => Ok(cached.insert(plan)),
            None => {
                let these: Vec<f32> = times.iter().skip(first).take(MODULATED).map(|step| step.time).collect();
                let modulation = self.estimator.modulation(&these)?;
                let tables = modulation.numbers()?.to_device(&self.device)?;
                Ok(cached.insert(Plan { steps: times.len(), first, tables, modulation }))
            }
        }
    }

    fn window(&self, shape: WindowShape, plan: &Plan) -> Result<Window> {
        let WindowShape { entries, latents, known } = shape;
        let tables = plan.tables.narrow(0, 0, 1)?.copy()?;
        let inputs = self.estimator.in_channels();
        Ok(Window {
            shape,
            recording: None,
            was_used: false,
            way: EulerWay::new((latents, known), self.channels, (entries, inputs), &self.device)?,
            modulation: plan.modulation.viewing(&tables)?,
            tables,
            _angles: self.estimator.angles_up_to(POSITIONS.max(latents))?,
        })
    }
}
