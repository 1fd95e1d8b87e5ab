//! Configuration of a HeartCodec: the fields of its `config.json`.

use crate::{
    error::Result,
    weights::{Checkpoint, Json},
};

/// Latent frames per second; `detokenize` of the reference has this number in it.
const LATENTS_PER_SECOND: usize = 25;
/// The only rate the reference decodes to, Hz.
const SAMPLE_RATE: usize = 48_000;
/// Hidden widths of the estimator's feed-forward parts are rounded up to a multiple of this (`LlamaMLP` of the
/// reference).
const HIDDEN_MULTIPLE: usize = 256;

/// Sizes of the decoding side of a HeartCodec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartCodecConfig {
    /// Width of the condition.
    pub dim: usize,
    /// Codes of one codebook.
    pub codebook_size: usize,
    /// Width of a codebook's rows.
    pub codebook_dim: usize,
    /// Codebooks, K.
    pub num_quantizers: usize,
    /// Attention heads in both stages of the estimator.
    pub num_attention_heads: usize,
    /// Width of a head in the first stage; twice as much in the second.
    pub attention_head_dim: usize,
    /// Input channels of the estimator: state, in-context latents, condition.
    pub in_channels: usize,
    /// Channels of a latent frame: two audio channels side by side.
    pub out_channels: usize,
    /// Layers of the first stage.
    pub num_layers: usize,
    /// Layers of the second stage.
    pub num_layers_2: usize,
    /// Channels of the vocoder at the sample rate.
    pub init_channel: usize,
    /// Channels of one audio channel's latent.
    pub latent_hidden_dim: usize,
    /// Taps of the vocoder's first convolution, which is centred.
    pub delay_kernel_size: usize,
    /// Taps of the convolutions in residual units.
    pub res_kernel_size: usize,
    /// Taps of the last two convolutions.
    pub default_kernel_size: usize,
    /// What each block multiplies the rate by.
    pub upsample_factors: Vec<usize>,
    /// How often each sample is repeated after the blocks.
    pub num_samples: usize,
}

impl HeartCodecConfig {
    /// The sizes of the published codec.
    pub fn published() -> Self {
        Self {
            dim: 512,
            codebook_size: 8192,
            codebook_dim: 32,
            num_quantizers: 8,
            num_attention_heads: 24,
            attention_head_dim: 64,
            in_channels: 1024,
            out_channels: 256,
            num_layers: 24,
            num_layers_2: 6,
            init_channel: 64,
            latent_hidden_dim: 128,
            delay_kernel_size: 5,
            res_kernel_size: 7,
            default_kernel_size: 7,
            upsample_factors: vec![5, 4, 4, 4, 3],
            num_samples: 2,
        }
    }

    /// Reads `file` of a checkpoint; also returns a sentence for each field it does not know.
    ///
    /// # Errors
    /// When the file is missing, is no JSON object, or describes a codec that cannot be or is of another kind.
    pub fn read(checkpoint: &Checkpoint, file: &str) -> Result<(Self, Vec<String>)> {
        let mut json = Json::read(checkpoint, file)?;
        json.ignore(&["architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "_name_or_path"]);
        // The encoding side and what only training needs. `encoder_config` is null where there is only a decoder.
        json.ignore(&[
            "encoder_config",
            "commitment_weight",
            "decay",
            "threshold_ema_dead_code",
            "downsample_factors",
            "downsample_kernel_sizes",
        ]);
        let width = 1..=1 << 20;
        // Defaults: HeartCodecConfig in the reference's configuration_heartcodec.py.
        let config = Self {
            dim: json.whole("dim", 512, width.clone())?,
            codebook_size: json.whole("codebook_size", 8192, 1..=1 << 16)?,
            codebook_dim: json.whole("codebook_dim", 32, width.clone())?,
            num_quantizers: json.whole("num_quantizers", 8, 1..=64)?,
            num_attention_heads: json.whole("num_attention_heads", 24, 1..=1 << 12)?,
            attention_head_dim: json.whole("attention_head_dim", 64, 2..=1 << 12)?,
            in_channels: json.whole("in_channels", 1024, width.clone())?,
            out_channels: json.whole("out_channels", 256, width.clone())?,
            num_layers: json.whole("num_layers", 24, 0..=1024)?,
            num_layers_2: json.whole("num_layers_2", 6, 0..=1024)?,
            init_channel: json.whole("init_channel", 64, 1..=1 << 12)?,
            latent_hidden_dim: json.whole("latent_hidden_dim", 128, width)?,
            delay_kernel_size: json.whole("delay_kernel_size", 5, 1..=101)?,
            res_kernel_size: json.whole("res_kernel_size", 7, 1..=101)?,
            default_kernel_size: json.whole("default_kernel_size", 7, 1..=101)?,
            upsample_factors: json.wholes("upsample_factors", &[5, 4, 4, 4, 3], 1..=1000)?,
            num_samples: json.whole("num_samples", 2, 1..=1000)?,
        };
        let kernels = json.wholes("upsample_kernel_sizes", &[10, 8, 8, 8, 6], 1..=2000)?;
        config.check(&mut json, &kernels)?;
        Ok((config, json.finish()))
    }

    /// Checks relations between fields, and refuses variants that are not implemented.
    fn check(&self, json: &mut Json, kernels: &[usize]) -> Result<()> {
        let rate = json.whole("sample_rate", SAMPLE_RATE, 1..=1 << 24)?;
        if rate != SAMPLE_RATE {
            return Err(json.wrong("sample_rate", SAMPLE_RATE, rate));
        }
        let bands = json.whole("num_bands", 1, 1..=64)?;
        if bands != 1 {
            return Err(json.wrong("num_bands", "1, which all published codecs have", bands));
        }
        if !json.flag("causal", true)? {
            return Err(json.wrong("causal", "true, as in all published codecs", false));
        }
        if json.flag("use_cosine_sim", false)? {
            return Err(json.wrong("use_cosine_sim", "false, as in all published codecs", true));
        }
        let norm = json.text("norm_type", "ada_norm_single")?;
        if norm != "ada_norm_single" {
            return Err(json.wrong("norm_type", "\"ada_norm_single\", as in all published codecs", norm));
        }
        let doubled: Vec<usize> = self.upsample_factors.iter().map(|factor| 2 * factor).collect();
        if kernels != doubled {
            return Err(json.wrong(
                "upsample_kernel_sizes",
                format!("twice `upsample_factors`: {doubled:?}"),
                format!("{kernels:?}"),
            ));
        }
        if self.upsample_factors.len() > 16 {
            return Err(json.wrong("upsample_factors", "a list of at most 16 factors", self.upsample_factors.len()));
        }
        let product =
            self.upsample_factors.iter().try_fold(self.num_samples, |product, factor| product.checked_mul(*factor));
        if product != Some(SAMPLE_RATE / LATENTS_PER_SECOND) {
            let expected = format!(
                "such that their product times `num_samples` is {} (one latent frame of samples)",
                SAMPLE_RATE / LATENTS_PER_SECOND
            );
            return Err(json.wrong(
                "upsample_factors",
                expected,
                format!("{:?} times {}", self.upsample_factors, self.num_samples),
            ));
        }
        if self.out_channels != 2 * self.latent_hidden_dim {
            let expected = format!("twice `latent_hidden_dim` ({})", self.latent_hidden_dim);
            return Err(json.wrong("out_channels", expected, self.out_channels));
        }
        if self.in_channels != 2 * self.out_channels + self.dim {
            let expected = format!("twice `out_channels` plus `dim` ({})", 2 * self.out_channels + self.dim);
            return Err(json.wrong("in_channels", expected, self.in_channels));
        }
        if !self.attention_head_dim.is_multiple_of(2) {
            return Err(json.wrong("attention_head_dim", "even", self.attention_head_dim));
        }
        if self.delay_kernel_size.is_multiple_of(2) {
            return Err(json.wrong("delay_kernel_size", "odd", self.delay_kernel_size));
        }
        Ok(())
    }

    /// Width of the estimator's first stage; the second is twice as wide.
    pub fn inner_dim(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Hidden width of the feed-forward parts of a stage of `width`.
    pub fn hidden_dim(width: usize) -> usize {
        (2 * 4 * width / 3).next_multiple_of(HIDDEN_MULTIPLE)
    }

    /// Channels of the vocoder before block `block`; after the last block with `block` = their count.
    pub fn vocoder_channels(&self, block: usize) -> usize {
        self.init_channel << (self.upsample_factors.len() - block)
    }

    /// Samples of one audio channel that a latent frame becomes.
    pub fn samples_per_latent(&self) -> usize {
        self.num_samples * self.upsample_factors.iter().product::<usize>()
    }
}
