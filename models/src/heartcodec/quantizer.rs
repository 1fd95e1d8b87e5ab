//! Residual quantiser: the sum of one row of each codebook, projected twice.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::config::HeartCodecConfig;
use crate::{
    error::{ModelError, Result},
    kernels::Linear,
    weights::TensorStore,
};

/// Codebooks and the two projections behind them. Clones share them.
#[derive(Debug, Clone)]
pub struct Quantizer {
    codebook_size: usize,
    codebook_dim: usize,
    /// The rows of each codebook, one after the other.
    codebooks: Arc<[Vec<f32>]>,
    project_out: Option<Linear>,
    condition: Linear,
    device: Device,
}

impl Quantizer {
    /// Reads codebooks and projections.
    ///
    /// # Errors
    /// When a tensor is not there in its shape.
    pub fn load(config: &HeartCodecConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        let HeartCodecConfig { dim, codebook_size, codebook_dim, num_quantizers, .. } = *config;
        let codebook = |quantizer| {
            let name = format!("flow_matching.vq_embed.layers.{quantizer}._codebook.embed");
            Ok(store.tensor(&name, &[1, codebook_size, codebook_dim], &Device::Cpu)?.flatten_all()?.to_vec1()?)
        };
        let linear =
            |name: &str, inputs| Linear::load(store, &format!("flow_matching.{name}"), [dim, inputs], true, device);
        Ok(Self {
            codebook_size,
            codebook_dim,
            codebooks: (0..num_quantizers).map(codebook).collect::<Result<_>>()?,
            project_out: if codebook_dim == dim { None } else { Some(linear("vq_embed.project_out", codebook_dim)?) },
            condition: linear("cond_feature_emb", dim)?,
            device: device.clone(),
        })
    }

    /// The same weights, with results allocated on `device`.
    pub(super) fn on(&self, device: &Device) -> Self {
        Self { device: device.clone(), ..self.clone() }
    }

    /// Codebooks, K.
    pub fn codebooks(&self) -> usize {
        self.codebooks.len()
    }

    /// The quantiser's output for `codes`, frame after frame with K codes each.
    ///
    /// The language model can write a few special codes that no codebook has a row for and that do not end the song.
    /// Such a code adds nothing here. The reference does not handle them: with one version of its libraries it fails,
    /// with another it reads a row of the next codebook.
    ///
    /// # Shapes
    /// - result \[T, dim\]
    ///
    /// # Errors
    /// When the codes are not whole frames.
    pub fn embed(&self, codes: &[u16]) -> Result<Tensor> {
        let (count, width) = (self.codebooks.len(), self.codebook_dim);
        if !codes.len().is_multiple_of(count) {
            return Err(ModelError::shape("codes", format!("a multiple of {count}"), codes.len()));
        }
        let frames = codes.len() / count;
        let mut sums = vec![0f32; frames * width];
        for (sum, frame) in sums.chunks_mut(width).zip(codes.chunks(count)) {
            for (codebook, code) in self.codebooks.iter().zip(frame) {
                let code = usize::from(*code);
                if code < self.codebook_size {
                    let row = &codebook[code * width..(code + 1) * width];
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
            }
        }
        let sums = Tensor::from_vec(sums, (frames, width), &self.device)?;
        match &self.project_out {
            Some(project) => Ok(project.forward(&sums)?),
            None => Ok(sums),
        }
    }

    /// What flow matching is conditioned on, before each frame is repeated for its two latents.
    ///
    /// # Shapes
    /// - `embedded` and result \[T, dim\]
    ///
    /// # Errors
    /// When the width is another.
    pub fn condition(&self, embedded: &Tensor) -> Result<Tensor> {
        Ok(self.condition.forward(embedded)?)
    }
}
