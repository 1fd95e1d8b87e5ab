//! Configs of synthesised checkpoints, by size.

use heartstream_models::{
    SongDefaults,
    heartcodec::HeartCodecConfig,
    heartmula::{HeartMulaConfig, TransformerConfig},
};
use serde_json::json;

/// A size of checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SynthSize {
    /// The model of noise that needs no files: 1.7 M parameters, faster than real time on one core.
    Noise,
    /// As small as can be, for tests: 0.3 M parameters, and windows still take 29.76 s.
    Tiny,
    /// As small, with counts that no other size has, for tests of what must not depend on them: five codebooks of 37
    /// codes, widths that are no powers of two, an odd number of heads.
    Odd,
    /// The published shapes at a hundredth of their size: written and loaded in a moment.
    Small,
    /// The published shapes at a tenth of their size: large enough to measure memory on.
    Medium,
    /// As published: 3.9 B parameters of the language model, 1.66 B of the codec.
    Full,
}

impl SynthSize {
    /// Sizes of the language model.
    pub fn lm(self) -> HeartMulaConfig {
        let transformer =
            |num_layers, num_heads, num_kv_heads, embed_dim, intermediate_dim, max_seq_len| TransformerConfig {
                flavor: format!("explicit-{embed_dim}x{num_layers}"),
                num_layers,
                num_heads,
                num_kv_heads,
                embed_dim,
                max_seq_len,
                intermediate_dim,
                norm_eps: 1e-5,
                rope_base: 500_000.0,
                rope_scale_factor: 32.0,
            };
        let (backbone, decoder, codes) = match self {
            Self::Full => return HeartMulaConfig::published(),
            Self::Small => (transformer(6, 4, 2, 256, 768, 8192), transformer(2, 4, 2, 256, 768, 2048), 8192),
            Self::Medium => (transformer(12, 16, 4, 1024, 3072, 8192), transformer(3, 8, 4, 1024, 3072, 2048), 8192),
            Self::Noise => (transformer(3, 4, 2, 96, 256, 8192), transformer(2, 4, 2, 96, 192, 2048), 128),
            Self::Tiny => (transformer(1, 2, 1, 32, 64, 4096), transformer(1, 2, 1, 32, 64, 64), 32),
            Self::Odd => (transformer(2, 5, 1, 60, 88, 4096), transformer(1, 3, 3, 36, 52, 64), 37),
        };
        HeartMulaConfig {
            backbone,
            decoder,
            text_vocab_size: super::tokenizer::VOCABULARY,
            audio_vocab_size: codes + 5, // as published: 8192 codes, 8197 ids
            audio_num_codebooks: self.codebooks(),
            muq_dim: 16,
        }
    }

    fn codebooks(self) -> usize {
        if self == Self::Odd { 5 } else { 8 }
    }

    /// Sizes of the codec.
    pub fn codec(self) -> HeartCodecConfig {
        let (codebook_size, heads, layers, init_channel) = match self {
            Self::Full => return HeartCodecConfig::published(),
            Self::Small => (8192, 12, (6, 2), 8),
            Self::Medium => (8192, 36, (10, 3), 24),
            Self::Noise => (128, 2, (3, 2), 4),
            Self::Tiny => (32, 1, (1, 1), 1),
            Self::Odd => (37, 3, (1, 1), 1),
        };
        HeartCodecConfig {
            dim: 32,
            codebook_size,
            codebook_dim: 16,
            num_quantizers: self.codebooks(),
            num_attention_heads: heads,
            attention_head_dim: 16,
            in_channels: 2 * 256 + 32,
            out_channels: 256,
            num_layers: layers.0,
            num_layers_2: layers.1,
            init_channel,
            latent_hidden_dim: 128,
            delay_kernel_size: 5,
            res_kernel_size: 7,
            default_kernel_size: 7,
            upsample_factors: vec![5, 4, 4, 4, 3],
            num_samples: 2,
        }
    }
}

/// `config.json` of a language model with weights of `dtype`.
pub fn lm_json(config: &HeartMulaConfig, dtype: &str) -> String {
    let transformer = |t: &TransformerConfig| {
        json!({
            "num_layers": t.num_layers, "num_heads": t.num_heads, "num_kv_heads": t.num_kv_heads, "embed_dim": t.embed_dim,
            "max_seq_len": t.max_seq_len, "intermediate_dim": t.intermediate_dim, "norm_eps": t.norm_eps,
            "rope_base": t.rope_base, "rope_scale_factor": t.rope_scale_factor,
        })
    };
    let mut json = json!({
        "architectures": ["HeartMuLa"], "model_type": "heartmula", "dtype": dtype,
        "backbone_flavor": config.backbone.flavor, "decoder_flavor": config.decoder.flavor,
        "text_vocab_size": config.text_vocab_size, "audio_vocab_size": config.audio_vocab_size,
        "audio_num_codebooks": config.audio_num_codebooks, "muq_dim": config.muq_dim,
    });
    if *config != HeartMulaConfig::published() {
        json["backbone"] = transformer(&config.backbone);
        json["decoder"] = transformer(&config.decoder);
    }
    format!("{json:#}\n")
}

/// `config.json` of a codec with weights of `dtype`.
pub fn codec_json(config: &HeartCodecConfig, dtype: &str) -> String {
    let doubled: Vec<usize> = config.upsample_factors.iter().map(|factor| 2 * factor).collect();
    let json = json!({
        "architectures": ["HeartCodec"], "model_type": "heartcodec", "dtype": dtype, "sample_rate": 48_000,
        "dim": config.dim, "codebook_size": config.codebook_size, "codebook_dim": config.codebook_dim,
        "num_quantizers": config.num_quantizers, "num_attention_heads": config.num_attention_heads,
        "attention_head_dim": config.attention_head_dim, "in_channels": config.in_channels,
        "out_channels": config.out_channels, "num_layers": config.num_layers, "num_layers_2": config.num_layers_2,
        "norm_type": "ada_norm_single", "num_bands": 1, "causal": true, "num_samples": config.num_samples,
        "init_channel": config.init_channel, "latent_hidden_dim": config.latent_hidden_dim,
        "delay_kernel_size": config.delay_kernel_size, "res_kernel_size": config.res_kernel_size,
        "default_kernel_size": config.default_kernel_size, "upsample_factors": config.upsample_factors,
        "upsample_kernel_sizes": doubled, "use_cosine_sim": false,
    });
    format!("{json:#}\n")
}

/// `gen_config.json`: the song ends with the second of the ids that are no codes, as in the published file. Of the
/// defaults it says those that are not the reference's.
pub fn gen_config_json(config: &HeartMulaConfig, defaults: &SongDefaults) -> String {
    let [bos, eos] = super::tokenizer::SPECIAL;
    let mut json =
        json!({ "text_bos_id": bos, "text_eos_id": eos, "audio_eos_id": config.audio_vocab_size - 4, "empty_id": 0 });
    for ((name, own), (_, usual)) in defaults.fields().into_iter().zip(SongDefaults::default().fields()) {
        if own != usual {
            json[name] = own;
        }
    }
    format!("{json:#}\n")
}

#[cfg(test)]
mod tests {
    use heartstream_models::WeightDtype;

    use super::*;

    #[test]
    fn a_small_model_keeps_f32_whatever_its_weights_are() {
        for size in [SynthSize::Noise, SynthSize::Tiny, SynthSize::Small, SynthSize::Medium] {
            for weights in [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16] {
                assert_eq!(size.lm().kv_dtype(weights), WeightDtype::F32);
            }
        }
    }
}
