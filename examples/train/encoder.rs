//! Encoder, sound to latents: the vocoder's mirror, needed for training alone.

use candle_core::{Device, Result as CandleResult, Tensor};
use heartstream_models::{
    heartcodec::HeartCodecConfig,
    kernels::{CausalConv, ConvEpilogue, Linear, centred_windows, taps_as_product},
    weights::{Expected, TensorStore},
};

use crate::error::Result;

/// Dilations of the residual units of a level. The vocoder has five; the encoder's work is easier.
const DILATIONS: [usize; 2] = [1, 3];
const SLOPE: f64 = 0.25;
const TAPS: usize = 7;
/// Latent frames that the linear way sees, this one and the next.
const LINE_FRAMES: usize = 2;

/// The tensors of an encoder that begins with `channels` channels: their names begin with `encoder.`.
pub fn expected(config: &HeartCodecConfig, channels: usize) -> Vec<Expected> {
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: [usize; 3]| {
        tensors.push(Expected::new(format!("encoder.{name}.weight"), &shape));
        tensors.push(Expected::new(format!("encoder.{name}.bias"), &[shape[0]]));
    };
    let levels = config.upsample_factors.len();
    add("enter".to_owned(), [channels, config.num_samples, TAPS]);
    for (level, factor) in config.upsample_factors.iter().rev().enumerate() {
        let (inputs, outputs) = (channels << level, channels << (level + 1));
        for unit in 0..DILATIONS.len() {
            add(format!("{level}.{unit}.first"), [inputs, inputs, TAPS]);
            add(format!("{level}.{unit}.second"), [inputs, inputs, 1]);
        }
        add(format!("{level}.down"), [outputs, inputs * factor, 2]);
    }
    add("leave".to_owned(), [config.latent_hidden_dim, channels << levels, 3]);
    let seen = LINE_FRAMES * config.samples_per_latent();
    tensors.push(Expected::new("encoder.lines.weight", &[config.latent_hidden_dim, seen]));
    tensors
}

/// The encoder.
pub struct Encoder {
    enter: CausalConv,
    levels: Vec<Level>,
    leave: Linear,
    /// A linear way beside the levels, straight from the samples: tones with their phases (see [`crate::lapped`]).
    lines: Linear,
    samples_per_latent: usize,
    samples: usize,
    device: Device,
}

struct Level {
    units: Vec<(CausalConv, CausalConv)>,
    down: CausalConv,
    factor: usize,
}

fn whole(convolution: &CausalConv, xs: &Tensor, after: ConvEpilogue) -> CandleResult<Tensor> {
    convolution.forward(xs, &mut convolution.zero_history(xs.dim(1)?, xs.device())?, after)?.tensor()
}

impl Encoder {
    /// Reads the weights, of as many channels as they have.
    pub fn load(config: &HeartCodecConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        let channels = store.shape("encoder.enter.weight").and_then(|shape| shape.first().copied());
        let channels = channels.unwrap_or(config.init_channel);
        let expected = expected(config, channels);
        let convolution = |name: String, dilation: usize| -> Result<CausalConv> {
            let name = format!("encoder.{name}.weight");
            let shape = expected.iter().find(|tensor| tensor.name == name).map_or(&[][..], |tensor| &tensor.shape);
            let bias = store.tensor(&name.replace(".weight", ".bias"), &shape[..1], device)?;
            Ok(CausalConv::new(&store.tensor(&name, shape, device)?, bias, dilation)?)
        };
        let level = |(level, factor): (usize, &usize)| {
            let unit = |(unit, dilation): (usize, &usize)| {
                let name = format!("{level}.{unit}");
                Ok((convolution(format!("{name}.first"), *dilation)?, convolution(format!("{name}.second"), 1)?))
            };
            Ok(Level {
                units: DILATIONS.iter().enumerate().map(unit).collect::<Result<_>>()?,
                down: convolution(format!("{level}.down"), 1)?,
                factor: *factor,
            })
        };
        let wide = channels << config.upsample_factors.len();
        let weight = store.tensor("encoder.leave.weight", &[config.latent_hidden_dim, wide, 3], device)?;
        let bias = store.tensor("encoder.leave.bias", &[config.latent_hidden_dim], device)?;
        Ok(Self {
            enter: convolution("enter".to_owned(), 1)?,
            levels: config.upsample_factors.iter().rev().enumerate().map(level).collect::<Result<_>>()?,
            leave: taps_as_product(&weight, bias)?,
            lines: Linear::new(
                &store.tensor(
                    "encoder.lines.weight",
                    &[config.latent_hidden_dim, LINE_FRAMES * config.samples_per_latent()],
                    device,
                )?,
                None,
            )?,
            samples_per_latent: config.samples_per_latent(),
            samples: config.num_samples,
            device: device.clone(),
        })
    }

    /// Latents between -1 and 1, not rounded yet.
    ///
    /// # Shapes
    /// - `sound` \[B, S\], S whole latents; result \[B, L, C\]
    pub fn forward(&self, sound: &Tensor) -> Result<Tensor> {
        let (batch, samples) = sound.dims2()?;
        let sound = sound.to_device(&self.device)?;
        let lines = self.lines.forward(&self.frames(&sound)?)?;
        let sound = sound.reshape((batch, samples / self.samples, self.samples))?;
        let activated = ConvEpilogue { slope: Some(SLOPE), ..ConvEpilogue::default() };
        // Time comes first, [T, B, C], as in the vocoder.
        let mut xs = whole(&self.enter, &sound.transpose(0, 1)?.contiguous()?, ConvEpilogue::default())?;
        for level in &self.levels {
            for (first, second) in &level.units {
                let ys = whole(first, &xs, activated.clone())?;
                xs = whole(second, &ys, ConvEpilogue { add: Some((&xs).into()), ..ConvEpilogue::default() })?;
            }
            let (length, _, channels) = xs.dims3()?;
            let (length, factor) = (length / level.factor, level.factor);
            let steps = xs.contiguous()?.reshape((length, factor, batch, channels))?.transpose(1, 2)?;
            xs = whole(
                &level.down,
                &steps.contiguous()?.reshape((length, batch, factor * channels))?,
                activated.clone(),
            )?;
        }
        let learnt = self.leave.forward(&centred_windows(&xs.transpose(0, 1)?, 3)?)?;
        Ok((learnt + lines)?.tanh()?)
    }

    /// The samples of each latent frame and of the next, \[B, L, 2 · samples per latent\]; behind the end is silence.
    fn frames(&self, sound: &Tensor) -> CandleResult<Tensor> {
        let (batch, samples) = sound.dims2()?;
        let frames = sound.reshape((batch, samples / self.samples_per_latent, self.samples_per_latent))?;
        let silence = Tensor::zeros((batch, 1, self.samples_per_latent), sound.dtype(), sound.device())?;
        let next = Tensor::cat(&[&frames.narrow(1, 1, frames.dim(1)? - 1)?, &silence], 1)?;
        Tensor::cat(&[&frames, &next], 2)?.contiguous()
    }
}

/// Rounds to ninths; the gradient passes as if nothing had happened.
pub fn rounded(latents: &Tensor) -> CandleResult<Tensor> {
    let ninths = ((latents.detach() * 9.0)?.round()? / 9.0)?;
    latents + (ninths - latents.detach())?
}
