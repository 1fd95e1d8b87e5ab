//! Peak memory of decoding beside the weights, computed from the config alone.

use super::{config::HeartCodecConfig, vocoder::CHUNK};

/// Latents up to which a window's step is recorded on a GPU.
pub(super) const RECORDED_ON_GPU: u64 = 256;
/// Bytes of an activation.
const F32: u64 = size_of::<f32>() as u64;

impl HeartCodecConfig {
    /// The most bytes that flow matching takes for a window of `latents` latent frames: `rows` rows, two with guidance.
    pub fn window_bytes(&self, rows: u64, latents: u64) -> u64 {
        let (first, second) = (self.inner_dim() as u64, 2 * self.inner_dim() as u64);
        let (input, output) = (self.in_channels as u64, self.out_channels as u64);
        let hidden = Self::hidden_dim(2 * self.inner_dim()) as u64;
        // The estimator's input, its fixed part, the first stage's result, and both joined.
        let joined = input + first;
        let held = input + (input - output) + first + joined;
        // A convolution over three places: three of its inputs side by side, its result, and that of the layer behind it.
        let projection = 3 * joined + 2 * second;
        // The residual stream; gate, up projection, and their product.
        let feed_forward = second + 3 * hidden;
        // The residual stream, its norm, queries, keys and values, and the attention's result, by tasks and as rows.
        let attention = 7 * second;
        // Beside that a few of one row: noise, state, in-context latents, velocity.
        F32 * latents * (rows * (held + feed_forward.max(attention).max(projection)) + 4 * output)
    }

    /// The same on a GPU's tensor cores, where a product's results are kept in two parts.
    pub fn window_bytes_on_gpu(&self, rows: u64, latents: u64) -> u64 {
        let (second, hidden) = (2 * self.inner_dim() as u64, Self::hidden_dim(2 * self.inner_dim()) as u64);
        // Gate and what it gates in two parts, what becomes of them as halves, and the residual stream. Beside that what the
        // estimator is given.
        let feed_forward = 4 * hidden + hidden + second;
        // Queries, keys and values in two parts and as halves, and what was found.
        let attention = 6 * second + 3 * second + 3 * second;
        let of = |latents| F32 * latents * rows * (feed_forward.max(attention) + 2 * self.in_channels as u64);
        // Steps of short windows are recorded, each with memory of its own.
        of(latents) + of(latents.min(RECORDED_ON_GPU))
    }

    /// The most bytes that the vocoder takes on a GPU, which decodes more latents at once: of its widest layer, that at the
    /// sound's own rate, the input and the result as halves.
    pub fn sound_bytes_on_gpu(&self) -> u64 {
        let channels = (2 * self.init_channel * self.samples_per_latent()) as u64;
        2 * F32 * super::vocoder::MOST_AT_ONCE as u64 * channels
    }

    /// The most bytes that the vocoder takes for both channels: activations of a chunk, and histories.
    pub fn sound_bytes(&self) -> u64 {
        let mut places = CHUNK as u64;
        let (mut widest, mut history) = (places * self.vocoder_channels(0) as u64, 0);
        for (block, factor) in self.upsample_factors.iter().enumerate() {
            places *= *factor as u64;
            let channels = self.vocoder_channels(block + 1) as u64;
            widest = widest.max(places * channels);
            let reach: usize =
                super::tensors::DILATIONS.iter().map(|dilation| dilation * (self.res_kernel_size - 1)).sum();
            history += reach as u64 * channels + self.vocoder_channels(block) as u64;
        }
        places *= self.num_samples as u64;
        widest = widest.max(places * self.init_channel as u64);
        // The widest layer's input and result, and the sound as it comes out and as it is handed on.
        2 * F32 * (2 * (widest + places) + history)
    }
}
