//! A step of an Euler solver beside the velocity, on numbers that stay where they are.

use candle_core::{Device, Result, Tensor, bail};

use super::launch::{
    Argument::{Array, Int},
    Launch, Module,
};

const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/euler.fatbin"));
const MODULE: Module = Module { name: "euler", image: IMAGE };
const THREADS: usize = 256;

/// What is known of one step, in the order of `Step` in `euler.cu`.
#[derive(Debug, Clone, Copy)]
pub struct EulerStep {
    /// What is left of the noise at the step's time.
    pub left: f32,
    /// The time.
    pub time: f32,
    /// How long the step is.
    pub length: f32,
    /// How far the condition guides the velocity.
    pub guidance: f32,
}

impl EulerStep {
    /// Numbers of a step.
    pub const NUMBERS: usize = 4;

    /// The step as a kernel reads it.
    pub fn numbers(self) -> [f32; Self::NUMBERS] {
        [self.left, self.time, self.length, self.guidance]
    }
}

/// A way from noise to latents. Its tensors are written over, so their addresses stay what they are from step to step and
/// from way to way.
#[derive(Debug)]
pub struct EulerWay {
    /// \[1, L, channels\].
    state: Tensor,
    noise: Tensor,
    /// The latents that the way begins with, \[1, known, channels\]; nothing is read of it where none are known.
    known: Tensor,
    known_count: usize,
    /// What the velocity follows from, \[B, L, any\]: the state, then what is the same at all steps.
    input: Tensor,
    /// The step, \[1, 4\].
    step: Tensor,
}

impl EulerWay {
    /// Room for a way of `length` latents of `channels` numbers, the first `known` of them known, on a GPU. The velocity
    /// follows from rows of `inputs` numbers of `entries` entries, one or two.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn new(
        (length, known): (usize, usize),
        channels: usize,
        (entries, inputs): (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        if !(1..=2).contains(&entries) || known > length || channels > inputs {
            bail!("a way of {length} latents, {known} of them known, in {entries} entries of {inputs} numbers")
        }
        let zeros = |shape: [usize; 3]| Tensor::zeros(&shape, candle_core::DType::F32, device);
        Ok(Self {
            state: zeros([1, length, channels])?,
            noise: zeros([1, length, channels])?,
            known: zeros([1, known.max(1), channels])?,
            known_count: known,
            input: zeros([entries, length, inputs])?,
            step: Tensor::zeros((1, EulerStep::NUMBERS), candle_core::DType::F32, device)?,
        })
    }

    /// Begins a way.
    ///
    /// # Shapes
    /// - `noise` \[1, L, channels\], `known` \[1, known, channels\], `fixed` \[B, L, inputs - channels\]
    ///
    /// # Errors
    /// When they have other shapes.
    pub fn begin(&self, noise: &Tensor, known: Option<&Tensor>, fixed: &Tensor) -> Result<()> {
        self.state.slice_set(noise, 0, 0)?;
        self.noise.slice_set(noise, 0, 0)?;
        if known.map_or(Ok(0), |known| known.dim(1))? != self.known_count {
            bail!("{:?} are known where {} are to be", known.map(Tensor::dims), self.known_count)
        }
        if let Some(known) = known {
            self.known.slice_set(known, 0, 0)?;
        }
        self.input.slice_set(fixed, 2, self.state.dim(2)?)
    }

    /// Where the numbers of the step lie, \[1, 4\].
    pub fn step_numbers(&self) -> &Tensor {
        &self.step
    }

    /// Makes one step: asks `velocity` for what follows from its argument, \[B, L, inputs\] to \[B, L, channels\].
    ///
    /// # Errors
    /// When it gives another shape, or the GPU refuses.
    pub fn step<E: From<candle_core::Error>>(
        &self,
        velocity: impl FnOnce(&Tensor) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(), E> {
        let Self { state, noise, known, known_count, input, step } = self;
        let (device, count) = (state.device(), state.elem_count());
        let ((_, _, channels), (entries, length, inputs)) = (state.dims3()?, input.dims3()?);
        let arguments = [
            Array(step),
            Array(state),
            Array(noise),
            Array(known),
            Array(input),
            Int(known_count * channels),
            Int(count),
            Int(channels),
            Int(inputs),
            Int(entries),
        ];
        launch("enter_step", count).run(device, &arguments)?;
        let velocity = velocity(input)?;
        if velocity.dims() != [entries, length, channels] {
            let (expected, found) = ([entries, length, channels], velocity.dims());
            return Err(candle_core::Error::Msg(format!("a velocity of {expected:?}, found {found:?}")).into());
        }
        let arguments = [Array(step), Array(state), Array(&velocity), Int(count), Int(entries)];
        Ok(launch("leave_step", count).run(device, &arguments)?)
    }

    /// Where the way has come to, latent after latent.
    ///
    /// # Errors
    /// When something before failed.
    pub fn state(&self) -> Result<Vec<f32>> {
        self.state.flatten_all()?.to_vec1()
    }
}

fn launch(name: &'static str, count: usize) -> Launch {
    Launch { module: MODULE, name, blocks: [count.div_ceil(THREADS), 1], threads: THREADS, shared: 0 }
}
