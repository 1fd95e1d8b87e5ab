//! Vocoder, latents to samples: transposed and dilated convolutions, causal but for the first, which has two latent
//! frames of look-ahead. So it streams, in pieces of any length.

use candle_core::{Device, Tensor};

use super::{
    config::HeartCodecConfig,
    tensors::{DILATIONS, expected_tensors_of_vocoder},
};
use crate::{
    error::{ModelError, Result},
    kernels::{Awaited, CausalConv, ConvEpilogue, ConvHistory, HostReader, Results, UpConv},
    weights::TensorStore,
};

#[cfg(test)]
mod tests;

/// Latent frames that are decoded at once. Fixed, so that the samples do not depend on how the latents were fed, where
/// they depend on how many are decoded at once; 8 frames are 0.32 s, and the widest layer of the published size then works on 60 MB.
pub(super) const CHUNK: usize = 8;
/// The most latent frames that are decoded at once where a sample does not depend on how many are: fewer do not fill a
/// GPU.
pub const MOST_AT_ONCE: usize = 128;

/// The weights of the vocoder. Two audio channels are two entries of a batch. Clones share the weights.
#[derive(Debug, Clone)]
pub struct Vocoder {
    latent_dim: usize,
    samples_per_latent: usize,
    first: CausalConv,
    /// Receptive field of the first convolution to each side, in latent frames. It is computed causally, with this
    /// number of frames of look-ahead.
    margin: usize,
    blocks: Vec<Block>,
    repeat: Option<(usize, CausalConv, f64)>,
    last: CausalConv,
    /// Latent frames that are decoded at once, at most.
    at_once: usize,
    /// Whether a sample does not depend on how many are computed with it.
    row_stable: bool,
    device: Device,
    reader: HostReader,
}

#[derive(Debug, Clone)]
struct Block {
    up: UpConv,
    units: Vec<ResidualUnit>,
}

#[derive(Debug, Clone)]
struct ResidualUnit {
    dilated: CausalConv,
    pointwise: CausalConv,
    slopes: [f64; 2],
}

/// State of the vocoder for one stream of latents.
#[derive(Debug)]
pub struct VocoderState {
    /// Latents for the first convolution, \[frames, 2, C\] in host memory: `margin` frames of the past (zeros at the
    /// start) and all that was not decoded yet.
    waiting: Vec<f32>,
    histories: Vec<ConvHistory>,
}

impl Vocoder {
    /// Reads the weights.
    ///
    /// # Errors
    /// When tensors are missing or do not fit the config: all of them in one error.
    pub fn load(config: &HeartCodecConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        store.check(&expected_tensors_of_vocoder(config))?;
        let read = Reader { store, device };
        let (wide, narrow, taps) = (config.vocoder_channels(0), config.init_channel, config.default_kernel_size);
        let (weight, bias) = read.normed("0", [wide, config.latent_hidden_dim, config.delay_kernel_size], wide)?;
        let after = config.upsample_factors.len() + 1;
        let repeat = if config.num_samples > 1 {
            let weight = read.plain(&format!("{after}.conv.weight"), &[narrow, narrow, taps])?;
            let bias = read.plain(&format!("{after}.conv.bias"), &[narrow])?;
            Some((config.num_samples, CausalConv::new(&weight, bias, 1)?, read.slope(&format!("{after}.activation"))?))
        } else {
            None
        };
        let (last, last_bias) =
            read.normed(&(after + usize::from(repeat.is_some())).to_string(), [1, narrow, taps], 1)?;
        let block = |(block, factor): (usize, &usize)| Block::load(config, &read, block, *factor);
        let mut vocoder = Self {
            latent_dim: config.latent_hidden_dim,
            samples_per_latent: config.samples_per_latent(),
            first: CausalConv::new(&weight, bias, 1)?,
            margin: config.delay_kernel_size / 2,
            blocks: config.upsample_factors.iter().enumerate().map(block).collect::<Result<_>>()?,
            repeat,
            last: CausalConv::new(&last, last_bias, 1)?,
            at_once: CHUNK,
            row_stable: false,
            device: device.clone(),
            reader: HostReader::of(device)?,
        };
        // Tensors in memory may be trained.
        if device.is_cuda() && !store.are_in_memory() {
            vocoder = vocoder.on_tensor_cores()?;
            vocoder.at_once = if vocoder.is_row_stable() { MOST_AT_ONCE } else { CHUNK };
        }
        vocoder.row_stable = vocoder.is_row_stable();
        Ok(vocoder)
    }

    fn on_tensor_cores(self) -> Result<Self> {
        let of_unit = |ResidualUnit { dilated, pointwise, slopes }| {
            let (dilated, pointwise) = (dilated.on_tensor_cores()?, pointwise.on_tensor_cores()?);
            Ok(ResidualUnit { dilated, pointwise, slopes })
        };
        let of_block = |Block { up, units }: Block| {
            let units = units.into_iter().map(of_unit).collect::<Result<_>>()?;
            Ok(Block { up: up.on_tensor_cores()?, units })
        };
        let of_repeat = |(times, convolution, slope): (usize, CausalConv, f64)| {
            Ok::<_, ModelError>((times, convolution.on_tensor_cores()?, slope))
        };
        Ok(Self {
            first: self.first.on_tensor_cores()?,
            blocks: self.blocks.into_iter().map(of_block).collect::<Result<_>>()?,
            repeat: self.repeat.map(of_repeat).transpose()?,
            last: self.last.on_tensor_cores()?,
            ..self
        })
    }

    /// Whether a sample does not depend on how many are computed with it.
    fn is_row_stable(&self) -> bool {
        let of_unit = |unit: &ResidualUnit| unit.dilated.is_row_stable() && unit.pointwise.is_row_stable();
        let of_block = |block: &Block| block.up.is_row_stable() && block.units.iter().all(of_unit);
        self.first.is_row_stable()
            && self.blocks.iter().all(of_block)
            && self.repeat.as_ref().is_none_or(|(_, convolution, _)| convolution.is_row_stable())
            && self.last.is_row_stable()
    }

    /// Samples of one audio channel that a latent frame becomes.
    pub fn samples_per_latent(&self) -> usize {
        self.samples_per_latent
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How many latent frames are decoded at once, at most.
    pub fn latents_at_once(&self) -> usize {
        self.at_once
    }

    /// Latent frames to feed so that the samples of the first `wanted` do not depend on what follows: the look-ahead,
    /// and the rest of the chunk.
    pub fn latents_to_feed(&self, wanted: usize) -> usize {
        (wanted + self.margin).next_multiple_of(CHUNK)
    }

    /// The state at the beginning of a stream: zero histories.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn start(&self) -> Result<VocoderState> {
        let waiting = vec![0f32; self.margin * 2 * self.latent_dim];
        Ok(VocoderState { waiting, histories: self.zero_histories(2)? })
    }

    /// The histories of all layers behind the first, before the first sample of `batch` channels.
    fn zero_histories(&self, batch: usize) -> Result<Vec<ConvHistory>> {
        let mut histories = Vec::new();
        for block in &self.blocks {
            histories.push(block.up.zero_history(batch, &self.device)?);
            for unit in &block.units {
                histories.push(unit.dilated.zero_history(batch, &self.device)?);
                histories.push(unit.pointwise.zero_history(batch, &self.device)?);
            }
        }
        if let Some((_, convolution, _)) = &self.repeat {
            histories.push(convolution.zero_history(batch, &self.device)?);
        }
        histories.push(self.last.zero_history(batch, &self.device)?);
        Ok(histories)
    }

    /// Feeds latents and returns the samples of all frames that can be decoded by now, left and right.
    ///
    /// # Shapes
    /// - `latents` frame after frame: the left channel's numbers, then the right channel's
    ///
    /// # Errors
    /// When the latents are not whole frames, or what is made of them are not numbers.
    pub fn push(&self, state: &mut VocoderState, latents: &[f32]) -> Result<[Vec<f32>; 2]> {
        let width = 2 * self.latent_dim;
        if !latents.len().is_multiple_of(width) {
            return Err(ModelError::shape("latents", format!("whole frames of {width}"), latents.len()));
        }
        state.waiting.extend(latents.iter().copied().map(round_to_ninths));
        self.decode_chunks(state, CHUNK)
    }

    /// The samples of latents that wait for a chunk to be full, left and right: for a listener who would hear a pause
    /// otherwise. None where samples depend on how many are computed at once.
    ///
    /// # Errors
    /// As [`Vocoder::push`].
    pub fn flush(&self, state: &mut VocoderState) -> Result<[Vec<f32>; 2]> {
        if self.row_stable { self.decode_chunks(state, 1) } else { Ok([Vec::new(), Vec::new()]) }
    }

    /// Ends the stream and returns the samples of the frames that were waiting for look-ahead.
    ///
    /// # Errors
    /// When the device fails.
    pub fn finish(&self, mut state: VocoderState) -> Result<[Vec<f32>; 2]> {
        // Beyond the end the first convolution reads zeros.
        state.waiting.resize(state.waiting.len() + self.margin * 2 * self.latent_dim, 0.0);
        let [mut left, mut right] = self.decode_chunks(&mut state, CHUNK)?;
        let [last_left, last_right] = self.decode_chunks(&mut state, 1)?;
        left.extend(last_left);
        right.extend(last_right);
        Ok([left, right])
    }

    /// Decodes the latents of a whole window.
    ///
    /// # Errors
    /// When the latents are not whole frames.
    pub fn decode(&self, latents: &[f32]) -> Result<[Vec<f32>; 2]> {
        let mut state = self.start()?;
        let [mut left, mut right] = self.push(&mut state, latents)?;
        let [last_left, last_right] = self.finish(state)?;
        left.extend(last_left);
        right.extend(last_right);
        Ok([left, right])
    }

    /// Decodes as long as at least `least` frames can be; at most `at_once` at once.
    fn decode_chunks(&self, state: &mut VocoderState, least: usize) -> Result<[Vec<f32>; 2]> {
        let mut samples = [Vec::new(), Vec::new()];
        let (mut done, width) = (0, 2 * self.latent_dim);
        let mut decoded: Option<Awaited> = None;
        let frames = state.waiting.len() / width;
        // One copy to a GPU in the place of two for each piece.
        let waiting = Tensor::from_slice(&state.waiting, (frames, 2, self.latent_dim), &self.device)?;
        loop {
            let ready = (frames - done).saturating_sub(2 * self.margin).min(self.at_once);
            if ready < least.max(1) {
                break;
            }
            // The first convolution runs ahead: its history are the frames before and the look-ahead.
            let seen = ConvHistory::of(waiting.narrow(0, done, 2 * self.margin)?);
            let new = waiting.narrow(0, done + 2 * self.margin, ready)?;
            let next = self.reader.expect(&self.forward(seen, &new, &mut state.histories)?)?;
            // A GPU works on these frames while the host takes the samples of those before.
            if let Some(decoded) = decoded.replace(next) {
                take(decoded, &mut samples)?;
            }
            done += ready;
        }
        state.waiting.drain(..done * width);
        if let Some(decoded) = decoded {
            take(decoded, &mut samples)?;
        }
        Ok(samples)
    }

    /// Decodes whole latents, rounded already, of any number of channels at once. It has a gradient: for training.
    ///
    /// # Shapes
    /// - `latents` \[B, L, C\], result \[B, L · samples per latent\]
    ///
    /// # Errors
    /// When a shape does not fit.
    pub fn forward_whole(&self, latents: &Tensor) -> Result<Tensor> {
        let (batch, frames, width) = latents.dims3()?;
        let margin = Tensor::zeros((self.margin, batch, width), latents.dtype(), latents.device())?;
        let padded = Tensor::cat(&[&margin, &latents.transpose(0, 1)?, &margin], 0)?;
        let seen = ConvHistory::of(padded.narrow(0, 0, 2 * self.margin)?);
        let new = padded.narrow(0, 2 * self.margin, frames)?;
        let samples = self.forward(seen, &new, &mut self.zero_histories(batch)?)?; // [S, B, 1]
        Ok(samples.squeeze(2)?.t()?.contiguous()?)
    }

    /// # Shapes
    /// - `latents` \[frames, B, C\], result \[frames · samples per latent, B, 1\]
    fn forward(&self, mut seen: ConvHistory, latents: &Tensor, histories: &mut [ConvHistory]) -> Result<Tensor> {
        let mut histories = histories.iter_mut();
        // Histories are in the order of `start`.
        let mut next = || histories.next().ok_or_else(|| ModelError::shape("histories", "one for each layer", "less"));
        let activated = |slope, results| ConvEpilogue { slope: Some(slope), add: None, results };
        let mut xs = self.first.forward(
            latents,
            &mut seen,
            ConvEpilogue { results: Results::Multiplied, ..ConvEpilogue::default() },
        )?;
        for block in &self.blocks {
            xs = block.up.forward(&xs, next()?)?;
            for unit in &block.units {
                let ys = unit.dilated.forward(&xs, next()?, activated(unit.slopes[0], Results::Multiplied))?;
                let add = Some(xs);
                let epilogue = ConvEpilogue { slope: Some(unit.slopes[1]), add, ..ConvEpilogue::default() };
                xs = unit.pointwise.forward(&ys, next()?, epilogue)?;
            }
        }
        if let Some((times, convolution, slope)) = &self.repeat {
            let repeated = xs.repeated(*times)?;
            drop(xs); // of a GPU's memory these two layers would take most
            xs = convolution.forward(repeated, next()?, activated(*slope, Results::Multiplied))?;
        }
        let sound = ConvEpilogue { results: Results::Read, ..ConvEpilogue::default() };
        Ok(self.last.forward(&xs, next()?, sound)?.tensor()?)
    }
}

impl Block {
    fn load(config: &HeartCodecConfig, read: &Reader<'_>, block: usize, factor: usize) -> Result<Self> {
        let (inputs, outputs) = (config.vocoder_channels(block), config.vocoder_channels(block + 1));
        let place = block + 1; // the first convolution is place 0
        let (weight, bias) = read.normed(&format!("{place}.up_conv.layer"), [inputs, outputs, 2 * factor], outputs)?;
        let unit = |(unit, dilation): (usize, &usize)| {
            let name = format!("{place}.convs.{unit}");
            let (dilated, dilated_bias) =
                read.normed(&format!("{name}.conv1"), [outputs, outputs, config.res_kernel_size], outputs)?;
            let (pointwise, pointwise_bias) = read.normed(&format!("{name}.conv2"), [outputs, outputs, 1], outputs)?;
            Ok(ResidualUnit {
                dilated: CausalConv::new(&dilated, dilated_bias, *dilation)?,
                pointwise: CausalConv::new(&pointwise, pointwise_bias, 1)?,
                slopes: [read.slope(&format!("{name}.activation1"))?, read.slope(&format!("{name}.activation2"))?],
            })
        };
        Ok(Self {
            up: UpConv::new(&weight, &bias, factor)?,
            units: DILATIONS.iter().enumerate().map(unit).collect::<Result<_>>()?,
        })
    }
}

/// Takes samples \[S, 2, 1\] to those of the left and of the right channel.
fn take(decoded: Awaited, samples: &mut [Vec<f32>; 2]) -> Result<()> {
    let decoded = decoded.receive()?;
    // A loudspeaker must never be handed such values, and a file of them is no music.
    if let Some(found) = decoded.iter().find(|sample| !sample.is_finite()) {
        return Err(ModelError::NotASound { found: *found });
    }
    let [left, right] = samples;
    left.reserve(decoded.len() / 2);
    right.reserve(decoded.len() / 2);
    for pair in decoded.chunks_exact(2) {
        left.push(pair[0]);
        right.push(pair[1]);
    }
    Ok(())
}

/// Reads the vocoder's tensors by their short names.
struct Reader<'a> {
    store: &'a TensorStore,
    device: &'a Device,
}

impl Reader<'_> {
    fn plain(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.store.tensor(&format!("scalar_model.decoder.{name}"), shape, self.device)
    }

    fn slope(&self, name: &str) -> Result<f64> {
        // Onto the host: reading it back from a device would wait for the device's queue.
        let name = format!("scalar_model.decoder.{name}.weight");
        Ok(f64::from(self.store.tensor(&name, &[1], &Device::Cpu)?.to_vec1::<f32>()?[0]))
    }

    /// Weight and bias of a convolution that is stored as a length and a direction for each filter.
    fn normed(&self, name: &str, shape: [usize; 3], biases: usize) -> Result<(Tensor, Tensor)> {
        let length = self.plain(&format!("{name}.parametrizations.weight.original0"), &[shape[0], 1, 1])?;
        let direction = self.plain(&format!("{name}.parametrizations.weight.original1"), &shape)?;
        let norm = direction.sqr()?.sum_keepdim((1, 2))?.sqrt()?;
        Ok((direction.broadcast_mul(&(length / norm)?)?, self.plain(&format!("{name}.bias"), &[biases])?))
    }
}

/// Rounds to the next ninth, ties to the even one as torch does: the scalar quantiser the vocoder was trained behind.
pub fn round_to_ninths(x: f32) -> f32 {
    (9.0 * x).round_ties_even() / 9.0
}
