//! How much memory does a song of the language model take beside the weights? Follows from the config alone.

use super::{
    config::{HeartMulaConfig, TransformerConfig},
    prefix::MOST_BYTES,
};
use crate::{
    kernels::cpu::{NumberType, PANEL, STEP},
    speculation::MOST_FRAMES,
    weights::WORTH_NARROWING,
};

/// Bytes of an activation.
const F32: u64 = size_of::<f32>() as u64;

impl TransformerConfig {
    /// Bytes of keys and values of one position in one row on a processor.
    fn kv_bytes_per_position(&self, numbers: NumberType) -> u64 {
        let head = self.head_dim() as u64;
        let kept = head + head.next_multiple_of(PANEL as u64); // values are whole panels of channels
        self.num_layers as u64 * self.num_kv_heads as u64 * kept * numbers.bytes() as u64
    }

    /// Bytes of what one pass over `positions` positions, those of all rows together, makes and lets go.
    fn pass_bytes(&self, positions: u64) -> u64 {
        let (width, hidden) = (self.embed_dim as u64, self.intermediate_dim as u64);
        // What goes in, queries, what was found for both rows and without what is known, the residual stream before and
        // behind attention, its norm, and angles; gate and what it gates, and their product.
        F32 * positions * (10 * width + 3 * hidden)
    }
}

impl HeartMulaConfig {
    /// How the keys and values of the backbone are kept where its matrices are stored as `weights`: in f16 where those
    /// are of 16 bits and so many as are worth narrowing, and in f32 everywhere else
    /// (`docs/decisions/010-keys-and-values-in-f16.md`).
    pub fn kv_numbers(&self, weights: NumberType) -> NumberType {
        let large = F32 * self.backbone_weights() > WORTH_NARROWING;
        if large && weights != NumberType::F32 { NumberType::F16 } else { NumberType::F32 }
    }

    /// Bytes of the backbone's keys and values of `rows` rows, once a song is as long as its `positions` positions: they
    /// grow by steps, the last of which ends where the song does.
    pub fn kv_bytes(&self, rows: u64, positions: u64, numbers: NumberType) -> u64 {
        rows * positions.next_multiple_of(PANEL as u64) * self.backbone.kv_bytes_per_position(numbers)
    }

    /// Bytes of what is kept of a prompt of `positions` positions for another song with the same words; those that are
    /// more than is kept count only while the prompt is read.
    fn prefix_bytes(&self, rows: u64, positions: u64) -> u64 {
        let TransformerConfig { num_layers, num_kv_heads, .. } = self.backbone;
        // The unconditional row is one position.
        F32 * 2 * (num_layers * num_kv_heads * self.backbone.head_dim()) as u64 * (positions + rows - 1)
    }

    /// The most bytes that a song takes beside the weights: `rows` rows, a prompt of `prompt` positions and `frames`
    /// frames. The larger of two moments: the prompt is read, or the last frames are verified.
    pub fn song_bytes(&self, rows: u64, prompt: u64, frames: u64, numbers: NumberType) -> u64 {
        let prefix = self.prefix_bytes(rows, prompt);
        let step = prompt.next_multiple_of(STEP as u64);
        let reading = self.kv_bytes(rows, step, numbers) + prefix + self.backbone.pass_bytes(prompt + rows - 1);
        let kept = if prefix <= MOST_BYTES as u64 { prefix } else { 0 };
        let verifying = self.backbone.pass_bytes(rows * (MOST_FRAMES as u64 + 1));
        let writing = self.kv_bytes(rows, prompt + frames, numbers) + kept + verifying;
        reading.max(writing)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        heartmula::{HeartMula, KeyedSampler, PromptIds, SamplingOptions},
        signal::KeyedNoise,
        synth::{SynthSize, tiny},
    };

    #[test]
    fn a_song_of_four_minutes_of_the_published_model_remembers_three_quarters_of_a_gigabyte() {
        let config = SynthSize::Full.lm();
        assert_eq!(config.kv_numbers(NumberType::Bf16), NumberType::F16);
        assert_eq!(config.kv_numbers(NumberType::F32), NumberType::F32);
        // 28 layers, 8 heads of 128 keys and 128 values, 2 bytes each.
        assert_eq!(config.kv_bytes(2, 3200, NumberType::F16), 2 * 3200 * 114_688);
        assert_eq!(config.kv_bytes(2, 3200, NumberType::F32), 2 * config.kv_bytes(2, 3200, NumberType::F16));
    }

    #[test]
    fn a_small_model_keeps_f32_whatever_its_weights_are() {
        for size in [SynthSize::Noise, SynthSize::Tiny, SynthSize::Small, SynthSize::Medium] {
            for weights in [NumberType::F32, NumberType::F16, NumberType::Bf16] {
                assert_eq!(size.lm().kv_numbers(weights), NumberType::F32);
            }
        }
    }

    #[test]
    fn a_song_that_is_as_long_as_its_positions_holds_the_keys_and_values_that_were_foretold() {
        let (_folder, directory) = tiny();
        let prompt = PromptIds { tags: vec![1, 80, 2], lyrics: vec![1, 100, 2] };
        let frames = 300;
        for numbers in [NumberType::F32, NumberType::F16] {
            let model: HeartMula = directory.load_lm(&Device::Cpu).expect("a model").keeping_kv_as(numbers);
            let mut state = model.start(&prompt, 1.5, frames).expect("a prompt");
            let options = SamplingOptions { temperature: 1.0, top_k: 50 };
            let mut sampler = KeyedSampler::new(options, KeyedNoise::new(1)).expect("options in range");
            let first = model.next_frame(&mut state, &mut sampler).expect("a frame");
            let depth = state.kv_bytes() as u64 - model.config().kv_bytes(2, STEP as u64, numbers);
            for _ in 1..frames {
                model.replay_frame(&mut state, &first).expect("a frame");
            }
            let positions = (prompt.positions() + frames - 1) as u64;
            assert_eq!(state.kv_bytes() as u64, depth + model.config().kv_bytes(2, positions, numbers));
        }
    }
}
