//! Weights and operations of a frame, computed from the config alone: every weight is read once a pass.

use super::config::{HeartMulaConfig, TransformerConfig};

impl TransformerConfig {
    /// Weights that one pass reads, and multiplications of a position: those of all matrices, attention not counted.
    pub fn matrix_weights(&self) -> u64 {
        let (width, hidden) = (self.embed_dim as u64, self.intermediate_dim as u64);
        let keys = (self.num_kv_heads * self.head_dim()) as u64;
        self.num_layers as u64 * (2 * width * width + 2 * keys * width + 3 * width * hidden)
    }
}

impl HeartMulaConfig {
    /// Weights that the backbone reads for a frame.
    pub fn backbone_weights(&self) -> u64 {
        self.backbone.matrix_weights()
    }

    /// Weights that the heads and the depth decoder read for a frame. The decoder runs once for each codebook but the
    /// first, one after the other.
    pub fn depth_weights(&self) -> u64 {
        let (width, inner) = (self.backbone.embed_dim as u64, self.decoder.embed_dim as u64);
        let (vocabulary, others) = (self.audio_vocab_size as u64, self.audio_num_codebooks as u64 - 1);
        vocabulary * width + others * (width * inner + self.decoder.matrix_weights() + inner * vocabulary)
    }
}

#[cfg(test)]
mod tests {
    use crate::heartmula::HeartMulaConfig;

    #[test]
    fn a_frame_of_the_published_3b_model_reads_five_and_a_quarter_billion_weights() {
        let config = HeartMulaConfig::published();
        // 2.819 billion in the backbone, norms included, and 10.5 GB of bf16 in all.
        assert_eq!(config.backbone_weights() / 1_000_000, 2818);
        let bytes = 2 * (config.backbone_weights() + config.depth_weights());
        assert!((10.4e9..10.6e9).contains(&(bytes as f64)), "{bytes}");
    }
}
