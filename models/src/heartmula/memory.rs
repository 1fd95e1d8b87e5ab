//! Peak memory of a song of the language model beside the weights, computed from the config alone.

use super::{
    config::{HeartMulaConfig, TransformerConfig},
    prefix::MOST_BYTES,
};
use crate::{
    kernels::cpu::{PANEL, STEP, WeightDtype},
    speculation::MOST_FRAMES,
    weights::WORTH_NARROWING,
};

/// Bytes of an activation.
const F32: u64 = size_of::<f32>() as u64;
/// Positions of a page of keys and values on a GPU, and of a block's span of them at most (`PAGE` and `MOST_SPAN` of the
/// kernels).
const GPU_PAGE: u64 = 256;
const GPU_SPAN: u64 = 64;
/// Frames that are verified together at most on a GPU: drafts, the frame behind them, and a first one that is there.
const GPU_WINDOW: u64 = MOST_FRAMES as u64 + 2;
#[cfg(feature = "cuda")]
const _: () = assert!(GPU_PAGE == crate::kernels::lm::PAGE as u64 && GPU_WINDOW == super::on_gpu::WINDOW as u64);

impl TransformerConfig {
    /// Bytes of keys and values of one position in one row on a processor.
    fn kv_bytes_per_position(&self, dtype: WeightDtype) -> u64 {
        let head = self.head_dim() as u64;
        let kept = head + head.next_multiple_of(PANEL as u64); // values are whole panels of channels
        self.num_layers as u64 * self.num_kv_heads as u64 * kept * dtype.bytes() as u64
    }

    /// Bytes of the activations of one pass over `positions` positions, those of all rows together.
    fn pass_bytes(&self, positions: u64) -> u64 {
        let (width, hidden) = (self.embed_dim as u64, self.intermediate_dim as u64);
        // Input, queries, the attention's result for both rows and for new positions, the residual stream before and
        // after attention, its norm, and angles; gate, up projection, and their product.
        F32 * positions * (10 * width + 3 * hidden)
    }

    /// The same on a GPU: the residual stream and its rows as parts, queries with keys and values, the attention's result,
    /// and the gated product.
    fn gpu_pass_bytes(&self, positions: u64) -> u64 {
        let (width, hidden) = (self.embed_dim as u64, self.intermediate_dim as u64);
        let keys = (self.num_kv_heads * self.head_dim()) as u64;
        F32 * positions * (4 * width + 2 * keys + hidden)
    }
}

impl HeartMulaConfig {
    /// How the keys and values of the backbone are kept where its matrices are stored as `weights`: in f16 where those
    /// are of 16 bits and large enough to be worth narrowing, and in f32 everywhere else
    /// (`docs/decisions/010-keys-and-values-in-f16.md`).
    pub fn kv_dtype(&self, weights: WeightDtype) -> WeightDtype {
        let large = F32 * self.backbone_weights() > WORTH_NARROWING;
        if large && weights != WeightDtype::F32 { WeightDtype::F16 } else { WeightDtype::F32 }
    }

    /// Bytes of the backbone's keys and values of `rows` rows, once a song is as long as its `positions` positions:
    /// they grow by steps, the last of which ends where the song does.
    pub fn kv_bytes(&self, rows: u64, positions: u64, dtype: WeightDtype) -> u64 {
        rows * positions.next_multiple_of(PANEL as u64) * self.backbone.kv_bytes_per_position(dtype)
    }

    /// Bytes of a cached prefill of `positions` positions. A prefill above the cache's limit counts only while the
    /// prompt is read.
    fn prefix_bytes(&self, rows: u64, positions: u64) -> u64 {
        let TransformerConfig { num_layers, num_kv_heads, .. } = self.backbone;
        // The unconditional row is one position.
        F32 * 2 * (num_layers * num_kv_heads * self.backbone.head_dim()) as u64 * (positions + rows - 1)
    }

    /// The most bytes that a song takes beside the weights: `rows` rows, a prompt of `prompt` positions and `frames`
    /// frames. The larger of two moments: the prompt is read, or the last frames are verified.
    pub fn song_bytes(&self, rows: u64, prompt: u64, frames: u64, dtype: WeightDtype) -> u64 {
        let prefix = self.prefix_bytes(rows, prompt);
        let step = prompt.next_multiple_of(STEP as u64);
        let reading = self.kv_bytes(rows, step, dtype) + prefix + self.backbone.pass_bytes(prompt + rows - 1);
        let kept = if prefix <= MOST_BYTES as u64 { prefix } else { 0 };
        let verifying = self.backbone.pass_bytes(rows * (MOST_FRAMES as u64 + 1));
        let writing = self.kv_bytes(rows, prompt + frames, dtype) + kept + verifying;
        reading.max(writing)
    }

    /// The same on a GPU: pages of keys and values, a copy of those of the prompt, and what passes compute in, for as many
    /// frames as are verified together.
    pub fn song_bytes_on_gpu(&self, rows: u64, prompt: u64, frames: u64, dtype: WeightDtype) -> u64 {
        let TransformerConfig { num_layers, num_heads, num_kv_heads, .. } = self.backbone;
        let head = self.backbone.head_dim() as u64;
        let position = rows * (num_layers * num_kv_heads) as u64 * 2 * head * dtype.bytes() as u64;
        let pages = |positions: u64| position * positions.next_multiple_of(GPU_PAGE);
        let kept = Some(pages(prompt)).filter(|bytes| *bytes <= MOST_BYTES as u64).unwrap_or(0);
        let verified = rows * GPU_WINDOW;
        // What the blocks of an attention tell each other, of each span of positions.
        let spans = (prompt + frames).div_ceil(GPU_SPAN);
        let scratch = F32 * verified * spans * num_heads as u64 * (head + 2);
        let (depth, codebooks) = (&self.decoder, self.audio_num_codebooks as u64);
        let depth_position = (depth.num_layers * depth.num_kv_heads * 2 * depth.head_dim()) as u64 * F32;
        let depth_keys = verified * depth_position * codebooks.next_multiple_of(GPU_SPAN / 2);
        let logits = F32 * GPU_WINDOW * codebooks * self.audio_vocab_size as u64;
        let passes = self.backbone.gpu_pass_bytes(verified) + depth.gpu_pass_bytes(verified * codebooks);
        let entering = F32 * verified * (codebooks + 2) * self.backbone.embed_dim as u64;
        pages(prompt + frames) + kept + scratch + depth_keys + logits + passes + entering
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        heartmula::{HeartMula, KeyedSampler, PromptTokens, Sampling, prompt_positions},
        signal::KeyedNoise,
        test_checkpoints::tiny,
    };

    #[test]
    fn a_song_of_four_minutes_of_the_published_model_keeps_three_quarters_of_a_gigabyte() {
        let config = HeartMulaConfig::published();
        assert_eq!(config.kv_dtype(WeightDtype::Bf16), WeightDtype::F16);
        assert_eq!(config.kv_dtype(WeightDtype::F32), WeightDtype::F32);
        // 28 layers, 8 heads of 128 keys and 128 values, 2 bytes each.
        assert_eq!(config.kv_bytes(2, 3200, WeightDtype::F16), 2 * 3200 * 114_688);
        assert_eq!(config.kv_bytes(2, 3200, WeightDtype::F32), 2 * config.kv_bytes(2, 3200, WeightDtype::F16));
    }

    #[test]
    fn a_song_that_is_as_long_as_its_positions_holds_the_keys_and_values_that_were_estimated() {
        let (_folder, directory) = tiny();
        let prompt = PromptTokens { tags: vec![1, 80, 2], lyrics: vec![1, 100, 2] };
        let frames = 300;
        for dtype in [WeightDtype::F32, WeightDtype::F16] {
            let model: HeartMula = directory.load_lm(&Device::Cpu).expect("a model").keeping_kv_as(dtype);
            let mut state = model.start(&prompt, 1.5, frames).expect("a prompt");
            let options = Sampling::default();
            let mut sampler = KeyedSampler::new(options, KeyedNoise::new(1)).expect("options in range");
            let first = model.next_frame(&mut state, &mut sampler).expect("a frame");
            let depth = state.kv_bytes() as u64 - model.config().kv_bytes(2, STEP as u64, dtype);
            for _ in 1..frames {
                model.replay_frame(&mut state, &first).expect("a frame");
            }
            let positions = (prompt_positions(&prompt) + frames - 1) as u64;
            assert_eq!(state.kv_bytes() as u64, depth + model.config().kv_bytes(2, positions, dtype));
        }
    }
}
