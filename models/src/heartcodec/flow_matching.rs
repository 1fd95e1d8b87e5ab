//! Flow matching: an Euler solver that follows the estimator's velocity from noise to latents.

#[cfg(feature = "cuda")]
use std::sync::Arc;

use candle_core::{Device, Tensor};
use heartstream_messages::Flow;

#[cfg(feature = "cuda")]
use super::on_gpu::GpuSolver;
use super::{config::HeartCodecConfig, estimator::Estimator, quantizer::Quantizer};
use crate::{
    error::{ModelError, Result},
    weights::TensorStore,
};

/// Latent frames of one code frame: 25 a second against 12.5.
pub const LATENTS_PER_FRAME: usize = 2;
/// Noise that remains in an in-context latent at time 1 (`1e-6` in the reference's solver).
const NOISE_FLOOR: f32 = 1e-6;
/// Most guidance that is accepted: more than makes sense, and far less than makes latents infinite.
const MOST_GUIDANCE: f32 = 1000.0;

/// Whether to stop. It is asked before each block of a step on a processor, on any thread that computes, and before
/// each step on a GPU. It may also wait before it answers, to let others compute.
pub type StopCheck<'a> = &'a (dyn Fn() -> bool + Sync);

/// Accepts the options of the solver, or says which is out of range. Above a guidance of 1 the unconditional velocity
/// is computed in the same batch and extrapolated away from.
///
/// # Errors
/// When there are no steps, or more than 1000, or the guidance is below 1, above 1000 or not a number.
pub fn check_flow(flow: Flow) -> Result<Flow> {
    let refuse = |option, expected: &str, found: String| {
        Err(ModelError::Option { option, expected: expected.to_owned(), found })
    };
    if !(1..=1000).contains(&flow.steps) {
        return refuse("flow-steps", "from 1 to 1000 (10 is usual)", flow.steps.to_string());
    }
    if !(1.0..=MOST_GUIDANCE).contains(&flow.guidance) {
        let expected = format!("a number from 1.0 (no guidance) to {MOST_GUIDANCE}; 1.25 is usual");
        return refuse("flow-guidance", &expected, flow.guidance.to_string());
    }
    Ok(flow)
}

/// One window to make latents for; a pure function's argument.
#[derive(Debug, Clone, Copy)]
pub struct FlowJob<'a> {
    /// Codes, frame after frame with K each.
    pub codes: &'a [u16],
    /// Initial state: normal noise, L · channels numbers, latent frame after latent frame, L twice the frames.
    pub noise: &'a [f32],
    /// In-context latents at the beginning of the window: a whole number of latent frames, or none.
    pub in_context: &'a [f32],
    /// Steps and guidance.
    pub options: Flow,
}

/// Quantiser, estimator and solver. Clones share the weights.
#[derive(Debug, Clone)]
pub struct FlowMatching {
    /// Codes to condition.
    pub quantizer: Quantizer,
    /// State, time and condition to velocity.
    pub estimator: Estimator,
    channels: usize,
    device: Device,
    /// What solves on a GPU.
    #[cfg(feature = "cuda")]
    gpu: Option<Arc<GpuSolver>>,
}

impl FlowMatching {
    /// Reads the weights.
    ///
    /// # Errors
    /// When a tensor is not there in its shape.
    pub fn load(config: &HeartCodecConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        let estimator = Estimator::load(config, store, device)?;
        Ok(Self {
            quantizer: Quantizer::load(config, store, device)?,
            channels: config.out_channels,
            device: device.clone(),
            #[cfg(feature = "cuda")]
            gpu: GpuSolver::new(&estimator, config.out_channels, device)?.map(Arc::new),
            estimator,
        })
    }

    /// The same weights, with everything that is computed with them born on `device`: another stream of the same GPU.
    ///
    /// # Errors
    /// When the device has no memory for what it computes in.
    pub(super) fn on(&self, device: &Device) -> Result<Self> {
        let (quantizer, estimator) = (self.quantizer.on(device), self.estimator.on(device));
        Ok(Self {
            quantizer,
            channels: self.channels,
            device: device.clone(),
            #[cfg(feature = "cuda")]
            gpu: GpuSolver::new(&estimator, self.channels, device)?.map(Arc::new),
            estimator,
        })
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Channels of a latent frame.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Makes the latents of a window, latent frame after latent frame; `None` when `cancelled` said so under
    /// way.
    ///
    /// # Errors
    /// When codes, noise and in-context latents do not fit together.
    pub fn solve(&self, job: FlowJob<'_>, cancelled: StopCheck<'_>) -> Result<Option<Vec<f32>>> {
        let FlowJob { codes, noise, in_context, options } = job;
        let Flow { steps, guidance } = check_flow(options)?;
        let channels = self.channels;
        let length = codes.len() / self.quantizer.codebooks() * LATENTS_PER_FRAME;
        if noise.len() != length * channels || length == 0 {
            return Err(ModelError::shape("noise of a window", format!("{length} x {channels} numbers"), noise.len()));
        }
        if in_context.len() > noise.len() || !in_context.len().is_multiple_of(channels) {
            return Err(ModelError::shape(
                "in-context latents",
                format!("at most {length} whole frames of {channels}"),
                in_context.len(),
            ));
        }
        let fixed = self.fixed_inputs(codes, in_context, guidance > 1.0)?;
        let tensor =
            |numbers: &[f32]| Tensor::from_slice(numbers, (1, numbers.len() / channels, channels), &self.device);
        // The state stays on the estimator's device: no step waits for a transfer.
        let noise = tensor(noise)?;
        let known = if in_context.is_empty() { None } else { Some(tensor(in_context)?) };
        let finished = |mut latents: Vec<f32>| {
            latents[..in_context.len()].copy_from_slice(in_context);
            latents
        };
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            return Ok(gpu.solve(&fixed, &noise, known.as_ref(), options, cancelled)?.map(finished));
        }
        let mut state = noise.clone();
        for EulerTime { left, time, length } in euler_times(steps) {
            if let Some(known) = &known {
                state = led(&state, &noise, known, (left, time))?;
            }
            let Some(velocity) = self.velocity(&state, &fixed, (time, guidance), cancelled)? else { return Ok(None) };
            state = (state + (velocity * f64::from(length))?)?;
        }
        Ok(Some(finished(state.flatten_all()?.to_vec1::<f32>()?)))
    }

    /// The estimator's inputs beside the state, the same at each step: in-context latents and condition.
    ///
    /// # Shapes
    /// - result \[B, L, channels + dim\]; with guidance B is 2, and the first row has zeros for a condition
    fn fixed_inputs(&self, codes: &[u16], in_context: &[f32], guided: bool) -> Result<Tensor> {
        let condition = self.quantizer.condition(&self.quantizer.embed(codes)?)?;
        let (frames, dim) = condition.dims2()?;
        // Each frame stands for two latents.
        let condition =
            condition.unsqueeze(1)?.broadcast_as((frames, LATENTS_PER_FRAME, dim))?.reshape((1, (), dim))?;
        let mut known = in_context.to_vec();
        known.resize(frames * LATENTS_PER_FRAME * self.channels, 0.0);
        let known = Tensor::from_vec(known, (1, frames * LATENTS_PER_FRAME, self.channels), &self.device)?;
        let conditional = Tensor::cat(&[&known, &condition], 2)?;
        if !guided {
            return Ok(conditional);
        }
        let unconditional = Tensor::cat(&[&known, &condition.zeros_like()?], 2)?;
        Ok(Tensor::cat(&[unconditional, conditional], 0)?)
    }

    /// # Shapes
    /// - `state` and result \[1, L, channels\], `fixed` of [`FlowMatching::fixed_inputs`]
    fn velocity(
        &self,
        state: &Tensor,
        fixed: &Tensor,
        (time, guidance): (f32, f32),
        cancelled: StopCheck<'_>,
    ) -> Result<Option<Tensor>> {
        let (batch, length, _) = fixed.dims3()?;
        let state = state.broadcast_as((batch, length, self.channels))?;
        let input = Tensor::cat(&[&state.contiguous()?, fixed], 2)?.contiguous()?;
        let velocity = self.estimator.forward_unless(&input, &vec![time; batch], cancelled)?;
        let Some(velocity) = velocity else { return Ok(None) };
        if batch == 1 {
            return Ok(Some(velocity));
        }
        let (unconditional, conditional) = (velocity.narrow(0, 0, 1)?, velocity.narrow(0, 1, 1)?);
        Ok(Some((&unconditional + ((conditional - &unconditional)? * f64::from(guidance))?)?))
    }
}

/// The state with what is known led along its own straight way from noise to latent.
fn led(state: &Tensor, noise: &Tensor, known: &Tensor, (left, time): (f32, f32)) -> Result<Tensor> {
    let (count, length) = (known.dim(1)?, state.dim(1)?);
    let led = ((noise.narrow(1, 0, count)? * f64::from(left))? + (known * f64::from(time))?)?;
    Ok(if count == length { led } else { Tensor::cat(&[&led, &state.narrow(1, count, length - count)?], 1)? })
}

/// When a step is made, what is then left of the noise in what is known, and how long the step is.
#[derive(Debug, Clone, Copy)]
pub(super) struct EulerTime {
    pub(super) left: f32,
    pub(super) time: f32,
    pub(super) length: f32,
}

/// The steps of the solver, their lengths summed up as the reference sums them.
pub(super) fn euler_times(steps: usize) -> Vec<EulerTime> {
    let mut time = 0.0;
    let step = |next: f32| {
        let step = EulerTime { left: 1.0 - (1.0 - NOISE_FLOOR) * time, time, length: next - time };
        time += step.length;
        step
    };
    time_steps(steps).into_iter().skip(1).map(step).collect()
}

/// `steps + 1` times from 0 to 1, rounded as torch's `linspace` rounds them: from both ends to the middle.
fn time_steps(steps: usize) -> Vec<f32> {
    let step = 1.0 / steps as f32;
    (0..=steps).map(|i| if i < steps.div_ceil(2) { step * i as f32 } else { 1.0 - step * (steps - i) as f32 }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{signal::KeyedNoise, test_checkpoints::tiny};

    const FRAMES: usize = 10;

    fn setting() -> (FlowMatching, Vec<u16>, Vec<f32>) {
        let (_folder, directory) = tiny();
        let codec = directory.load_codec(&Device::Cpu).expect("a codec");
        let codes = (0..FRAMES * codec.flow.quantizer.codebooks()).map(|place| (place * 5 % 32) as u16).collect();
        let mut noise = vec![0f32; FRAMES * LATENTS_PER_FRAME * codec.flow.channels()];
        KeyedNoise::new(6).fill_latent(0, &mut noise);
        (codec.flow, codes, noise)
    }

    #[test]
    fn in_context_latents_come_out_as_they_were_given_and_lead_what_follows() {
        let (flow, codes, noise) = setting();
        for guidance in [1.0, 1.25] {
            for known in [0, 1, 7, FRAMES * LATENTS_PER_FRAME] {
                let mut in_context = vec![0f32; known * flow.channels()];
                KeyedNoise::new(7).fill_latent(1, &mut in_context);
                let options = Flow { steps: 3, guidance };
                let solve = |in_context: &[f32]| {
                    let job = FlowJob { codes: &codes, noise: &noise, in_context, options };
                    flow.solve(job, &|| false).expect("a job that fits").expect("not cancelled")
                };
                let latents = solve(&in_context);
                assert_eq!(latents.len(), noise.len());
                assert!(latents.iter().all(|x| x.is_finite()));
                assert!(latents[..in_context.len()] == in_context[..], "{known} latents, guidance {guidance}");
                if (1..FRAMES * LATENTS_PER_FRAME).contains(&known) {
                    let free = solve(&[]);
                    assert!(latents[in_context.len()..] != free[in_context.len()..], "{known} latents lead nothing");
                }
            }
        }
    }

    #[test]
    fn a_window_that_is_cancelled_has_no_latents() {
        let (flow, codes, noise) = setting();
        let job =
            |steps| FlowJob { codes: &codes, noise: &noise, in_context: &[], options: Flow { steps, guidance: 1.0 } };
        let asked = AtomicUsize::new(0);
        let in_a_step = || {
            flow.solve(job(1), &|| asked.fetch_add(1, Ordering::Relaxed) == usize::MAX).expect("a job that fits");
            asked.swap(0, Ordering::Relaxed)
        };
        let blocks = in_a_step();
        assert!(blocks > 1, "asked before each block");
        for before in 0..2 * blocks {
            let stopped = || asked.fetch_add(1, Ordering::Relaxed) == before;
            assert!(flow.solve(job(5), &stopped).expect("a job that fits").is_none());
            assert_eq!(asked.swap(0, Ordering::Relaxed), before + 1, "not asked after the answer");
        }
    }

    #[test]
    fn noise_or_latents_of_another_length_are_refused() {
        let (flow, codes, noise) = setting();
        let options = Flow { steps: 1, guidance: 1.0 };
        let refused = |codes: &[u16], noise: &[f32], in_context: &[f32]| {
            flow.solve(FlowJob { codes, noise, in_context, options }, &|| false).is_err()
        };
        assert!(refused(&codes, &noise[1..], &[]));
        assert!(refused(&codes[1..], &noise, &[]));
        assert!(refused(&[], &[], &[]));
        assert!(refused(&codes, &noise, &noise[1..]));
        assert!(refused(&codes, &noise, &[&noise[..], &noise[..flow.channels()]].concat()));
    }

    #[test]
    fn time_goes_from_0_to_1_in_equal_steps() {
        for steps in [1, 4, 5, 10, 15, 20] {
            let times = time_steps(steps);
            assert_eq!((times.len(), times[0], times[steps]), (steps + 1, 0.0, 1.0));
            for (place, time) in times.iter().enumerate() {
                assert!((time - place as f32 / steps as f32).abs() < 1e-6, "{steps} steps: {times:?}");
            }
        }
    }

    #[test]
    fn options_outside_their_range_are_refused_by_name() {
        let check = |steps, guidance| check_flow(Flow { steps, guidance }).map_err(|error| error.to_string());
        assert!(check(1, 1.0).is_ok() && check(1000, 1000.0).is_ok());
        assert!(check(0, 1.25).is_err_and(|error| error.starts_with("flow-steps must be")));
        for guidance in [0.99, 1000.5, f32::MAX, f32::NAN, f32::INFINITY] {
            assert!(check(10, guidance).is_err_and(|error| error.starts_with("flow-guidance must be")));
        }
    }
}
