//! Distributions of the teacher: those of a frame's codes, through heads and depth decoder as they are.
//!
//! Gradients pass through both, and neither is trained: a drafter's output is as good as what they make of it.

use candle_core::{Device, Tensor};
use heartstream_models::{
    Result,
    heartmula::{HeartMulaConfig, KvCache, Transformer, TransformerConfig, expected_tensors, guided},
    kernels::Linear,
    weights::TensorStore,
};

/// What follows the backbone in the model.
pub(super) struct Teacher {
    projection: Linear,
    decoder: Transformer,
    sizes: TransformerConfig,
    /// Of code 0, then of the others.
    heads: Vec<Linear>,
    /// The weight of the norm behind the backbone \[D\].
    pub(super) norm: Tensor,
}

impl Teacher {
    pub(super) fn load(config: &HeartMulaConfig, lm: &TensorStore, device: &Device) -> Result<Self> {
        let needed = expected_tensors(config).into_iter().filter(|tensor| {
            let parts = ["decoder.", "projection.", "codebook0_head.", "audio_head", "backbone.norm."];
            parts.iter().any(|part| tensor.name.starts_with(part))
        });
        let held = needed.map(|tensor| Ok((tensor.name.clone(), lm.tensor(&tensor.name, &tensor.shape, device)?)));
        let held = TensorStore::from_tensors(held.collect::<Result<Vec<_>>>()?);
        let (width, inner, vocabulary) = (config.backbone.embed_dim, config.decoder.embed_dim, config.audio_vocab_size);
        let mut heads = vec![Linear::load(&held, "codebook0_head", [vocabulary, width], false, device)?];
        let others = [config.audio_num_codebooks - 1, inner, vocabulary];
        for codebook in 0..others[0] {
            heads.push(Linear::load_transposed(&held, "audio_head", others, codebook, device)?);
        }
        Ok(Self {
            projection: Linear::load(&held, "projection", [inner, width], false, device)?,
            decoder: Transformer::load(&config.decoder, &held, "decoder", device)?,
            sizes: config.decoder.clone(),
            heads,
            norm: held.tensor("backbone.norm.scale", &[width], device)?,
        })
    }

    pub(super) fn codebooks(&self) -> usize {
        self.heads.len()
    }

    /// Logits of code 0.
    ///
    /// # Shapes
    /// - `outputs` \[N, B, D\], result \[N, vocabulary\]
    pub(super) fn first(&self, outputs: &Tensor, guidance: f64) -> Result<Tensor> {
        Ok(self.heads[0].forward(&guided(&outputs.flatten_to(1)?, outputs.dim(1)?, guidance)?)?)
    }

    /// Logits of the codes from 1 on, each under the codes before it.
    ///
    /// # Shapes
    /// - `outputs` \[N, B, D\], `codes` \[N, K - 1, D\], results \[N, vocabulary\]
    pub(super) fn others(&self, outputs: &Tensor, codes: &Tensor, guidance: f64) -> Result<Vec<Tensor>> {
        let ((count, batch, width), codebooks) = (outputs.dims3()?, self.codebooks());
        let rows = count * batch;
        let codes = codes.unsqueeze(1)?.broadcast_as((count, batch, codebooks - 1, width))?;
        let codes = codes.reshape((rows, codebooks - 1, width))?;
        let input = Tensor::cat(&[&outputs.reshape((rows, 1, width))?, &codes], 1)?;
        let mut cache = KvCache::new(&self.sizes, rows, codebooks, outputs.device())?;
        let inner = self.decoder.forward(&self.projection.forward(&input)?, &mut cache)?;
        let logits = |codebook: usize| {
            let rows = inner.narrow(1, codebook, 1)?.squeeze(1)?.contiguous()?;
            Ok(self.heads[codebook].forward(&guided(&rows, batch, guidance)?)?)
        };
        (1..codebooks).map(logits).collect()
    }
}
