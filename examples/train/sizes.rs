//! Sizes of the model, and of the parts that only training needs.
//!
//! The arithmetic of [`Size::Demo`]. Parameters: language model 6.0 M (backbone 6 layers of width 256: 4.1 M, depth
//! decoder 2 layers of width 192: 0.8 M, embeddings and heads of 8 x 261 codes: 0.9 M, words 0.3 M), flow matching 5.4
//! M (stage 1: 4 x 0.26 M, stage 2: 4 x 0.85 M, time embedding 0.8 M, projections 0.5 M), vocoder 3.1 M: together 14.5
//! M, 29 MB in 16 bits. Work for a second of music: vocoder 105 GFLOP x (12 / 64)^2 = 3.7 GFLOP; flow matching 25
//! latents x 10 steps x 2 rows x 2 x 4.6 M = 4.6 GFLOP, attention and overlap make it 6.5; language model 12.5 frames x
//! 2 rows x 2 x (4.1 M + 7 x 1.0 M) = 0.6 GFLOP. 11 GFLOP in all are 0.2 s on two cores at 60 GFLOP/s.

use heartstream_models::{
    heartcodec::HeartCodecConfig,
    heartmula::{HeartMulaConfig, TransformerConfig},
};

/// Codebooks of a frame instead of the published eight. What more of them would say of this music is noise that no
/// language model can tell and no drafter can draft.
const QUANTIZERS: usize = 3;

/// A size of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// The model in the program.
    Demo,
    /// As small as can be, to see that everything fits together.
    Tiny,
}

impl Size {
    /// Sizes of the codec.
    pub fn codec(self) -> HeartCodecConfig {
        let (dim, codebook_size, codebook_dim, heads, head_dim, layers, init_channel, latent) = match self {
            Self::Demo => (128, 256, 32, 4, 32, (4, 4), 12, 88),
            Self::Tiny => (32, 32, 16, 1, 16, (1, 1), 1, 8),
        };
        HeartCodecConfig {
            dim,
            codebook_size,
            codebook_dim,
            num_quantizers: QUANTIZERS,
            num_attention_heads: heads,
            attention_head_dim: head_dim,
            in_channels: 4 * latent + dim,
            out_channels: 2 * latent,
            num_layers: layers.0,
            num_layers_2: layers.1,
            init_channel,
            latent_hidden_dim: latent,
            delay_kernel_size: 5,
            res_kernel_size: 7,
            default_kernel_size: 7,
            upsample_factors: vec![5, 4, 4, 4, 3],
            num_samples: 2,
        }
    }

    /// Sizes of the language model, which knows `words` ids of text.
    pub fn lm(self, words: usize) -> HeartMulaConfig {
        let transformer = |num_layers, num_heads, embed_dim, intermediate_dim, max_seq_len| TransformerConfig {
            flavor: format!("explicit-{embed_dim}x{num_layers}"),
            num_layers,
            num_heads,
            num_kv_heads: num_heads / 2,
            embed_dim,
            max_seq_len,
            intermediate_dim,
            norm_eps: 1e-5,
            rope_base: 500_000.0,
            rope_scale_factor: 32.0,
        };
        let (backbone, decoder) = match self {
            Self::Demo => (transformer(6, 4, 256, 640, 8192), transformer(2, 4, 192, 512, 2048)),
            Self::Tiny => (transformer(1, 2, 32, 64, 4096), transformer(1, 2, 32, 64, 64)),
        };
        HeartMulaConfig {
            backbone,
            decoder,
            text_vocab_size: words,
            audio_vocab_size: self.codec().codebook_size + 5, // as published: 8192 codes, 8197 ids
            audio_num_codebooks: QUANTIZERS,
            muq_dim: 16,
        }
    }

    /// Width of the semantic encoder.
    pub fn semantic_width(self) -> usize {
        match self {
            Self::Demo => 256,
            Self::Tiny => 32,
        }
    }

    /// Width and channels of encoders that are learnt beside a finished checkpoint. They follow what is there already,
    /// and are kept with the trainer, so they are small: 0.31 M and 0.82 M numbers.
    pub fn beside(self) -> (usize, usize) {
        match self {
            Self::Demo => (88, 6),
            Self::Tiny => (16, 2),
        }
    }
}
