//! Weights that a pass reads: the cost of decoding where memory bandwidth is the limit.

use super::config::HeartMulaConfig;

/// Weights that a pass reads of each part of a language model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightReads {
    /// The backbone with the head of code 0.
    pub backbone: f64,
    /// The depth decoder with the projection before it, without heads.
    pub trunk: f64,
    /// One of its heads.
    pub head: f64,
    /// Its heads: codes of a frame, less the first.
    pub heads: f64,
}

impl WeightReads {
    /// Of a model of these sizes.
    pub fn new(config: &HeartMulaConfig) -> Self {
        let (width, inner) = (config.backbone.embed_dim as f64, config.decoder.embed_dim as f64);
        Self {
            backbone: config.backbone.matrix_weights() as f64 + width * config.audio_vocab_size as f64,
            trunk: config.decoder.matrix_weights() as f64 + inner * width,
            head: inner * config.audio_vocab_size as f64,
            heads: config.audio_num_codebooks as f64 - 1.0,
        }
    }

    /// For a frame of plain decoding.
    pub fn plain_frame(&self) -> f64 {
        self.backbone + self.heads * (self.trunk + self.head)
    }

    /// For `passes` of the depth decoder over several codes in `rounds`: the first of a round reads every
    /// head, later ones those of the open codes, half of them as a rule.
    pub fn passes(&self, rounds: f64, passes: f64) -> f64 {
        let first = passes.min(rounds);
        passes * self.trunk + (first + (passes - first) / 2.0) * self.heads * self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_model_reads_what_was_counted_for_it() {
        let reads = WeightReads::new(&HeartMulaConfig::published());
        assert!((reads.backbone / 1e9 - 2.844).abs() < 0.002, "{reads:?}");
        assert!(((reads.trunk + reads.head) / 1e9 - 0.346).abs() < 0.002, "{reads:?}");
        assert!((reads.plain_frame() / 1e9 - 5.266).abs() < 0.01, "{reads:?}");
        // A pass over all eight positions.
        assert!((reads.passes(1.0, 1.0) / 1e9 - 0.497).abs() < 0.003, "{reads:?}");
    }
}
