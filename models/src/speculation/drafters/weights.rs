//! Weights of a trained drafter.
//!
//! - next state: the output that the backbone has for a frame, and the frame that was drawn from it, give the output
//!   for the next frame, through one layer like the backbone's own, which sees the frames before: Li et al., "EAGLE",
//!   <https://arxiv.org/abs/2401.15077>. With guidance the unconditional row goes through it as the other one does, so
//!   it does not depend on the guidance scale. Fed with its own outputs it goes on for as long as one likes.
//! - heads: an output further ahead = next state + V_k SiLU(U_k next state), without knowing the frames between, after
//!   Cai et al., "Medusa", <https://arxiv.org/abs/2401.10774>.
//!
//! From an output the codes of a frame follow as they do in the model itself. A transition score links code 0 of a
//! frame with that of the next, after "Viterbi" drafting of speech tokens, <https://arxiv.org/abs/2410.13839>, as a
//! product of two small vectors; the heads need it, since they do not know the frame between.

use candle_core::{Device, Tensor};

use crate::{
    error::{ModelError, Result},
    heartmula::{HeartMulaConfig, KvCache, Transformer, TransformerConfig, transformer_tensors},
    kernels::{Linear, RmsNorm},
    weights::{Checkpoint, Expected, TensorStore},
};

/// The file of a trained drafter, in the folder of the language model.
pub const DRAFTER_FILE: &str = "drafter.safetensors";
/// Frames that heads can reach.
const MOST_HEADS: usize = 16;
/// Frames that the layer sees at most; it is trained on as many.
pub const MOST_POSITIONS: usize = 256;
/// Width of a layer of a drafter, at most. That of the published model would have 4928 in its middle.
const MOST_WIDTH: usize = 1 << 16;
/// Added to the mean square of what the layer is fed.
const EPS: f64 = 1e-5;

/// How large a drafter is. Its file says so by the shapes of its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrafterSizes {
    /// Frames that the heads reach, at least 1: the first needs no weights of its own.
    pub reach: usize,
    /// Width of the hidden layer of the layer's feed-forward part.
    pub hidden: usize,
    /// Numbers in the middle of a head.
    pub narrow: usize,
    /// Numbers of a code in the transition score.
    pub rank: usize,
}

impl DrafterSizes {
    /// The usual sizes for a model: a little less than one layer of its backbone.
    pub fn usual(config: &HeartMulaConfig, reach: usize) -> Self {
        let (width, hidden) = (config.backbone.embed_dim, config.backbone.intermediate_dim);
        Self { reach, hidden: (hidden * 3 / 5).next_multiple_of(16), narrow: (width / 8).max(4), rank: 16 }
    }

    /// Those of a drafter in `store`.
    fn of(store: &TensorStore) -> Self {
        let rows = |name: &str, place: usize| store.shape(name).and_then(|shape| shape.get(place)).copied();
        let heads = (2..=MOST_HEADS).take_while(|ahead| store.shape(&head(*ahead, "down.weight")).is_some()).count();
        Self {
            reach: heads + 1,
            hidden: rows("next.layers.0.mlp.w1.weight", 0).unwrap_or(1),
            narrow: rows(&head(2, "down.weight"), 0).unwrap_or(1),
            rank: rows("transition.from", 1).unwrap_or(1),
        }
    }
}

/// The weights of a trained drafter.
#[derive(Debug)]
pub struct DrafterWeights {
    input: Linear,
    norm: RmsNorm,
    next: Transformer,
    layer: TransformerConfig,
    /// Of each head from the second on: D -> narrow, and back.
    heads: Vec<[Linear; 2]>,
    /// Both \[vocabulary, rank\].
    transition: (Tensor, Tensor),
}

impl DrafterWeights {
    /// The tensors of a drafter of these sizes.
    pub fn expected(config: &HeartMulaConfig, sizes: DrafterSizes) -> Vec<Expected> {
        let (width, DrafterSizes { reach, narrow, rank, .. }) = (config.backbone.embed_dim, sizes);
        let mut tensors = vec![
            Expected::new("input.weight", &[width, 2 * width]),
            Expected::new("transition.from", &[config.audio_vocab_size, rank]),
            Expected::new("transition.to", &[config.audio_vocab_size, rank]),
        ];
        for ahead in 2..=reach {
            tensors.push(Expected::new(head(ahead, "down.weight"), &[narrow, width]));
            tensors.push(Expected::new(head(ahead, "up.weight"), &[width, narrow]));
        }
        transformer_tensors("next", &layer(config, sizes.hidden), &mut tensors);
        tensors
    }

    /// Reads the drafter beside the language model in the folder `part`, if there is one.
    ///
    /// # Errors
    /// When the file is damaged or was made for a model of other sizes.
    pub fn find(
        checkpoint: &Checkpoint,
        part: &str,
        config: &HeartMulaConfig,
        device: &Device,
    ) -> Result<Option<Self>> {
        let file = format!("{part}/{DRAFTER_FILE}");
        if !checkpoint.has(&file) {
            return Ok(None);
        }
        Self::load(config, &TensorStore::open_file(checkpoint, &file)?, device).map(Some)
    }

    /// Checks that the drafter in `store` is one for a model of these sizes, without reading its numbers.
    ///
    /// # Errors
    /// When tensors are missing, do not fit the config, or have a size that no drafter has.
    pub fn check(config: &HeartMulaConfig, store: &TensorStore) -> Result<DrafterSizes> {
        let sizes = DrafterSizes::of(store);
        let DrafterSizes { hidden, narrow, rank, .. } = sizes;
        for (tensor, found) in
            [("next.layers.0.mlp.w1.weight", hidden), ("heads.2.down.weight", narrow), ("transition.from", rank)]
        {
            if !(1..=MOST_WIDTH).contains(&found) {
                let path = store.files().next().map(|(path, _)| path.to_owned()).unwrap_or_default();
                return Err(ModelError::Damaged {
                    path,
                    reason: format!("`{tensor}` has a size of {found}, and drafters have 1 to {MOST_WIDTH} there"),
                    remedy: "Train the drafter again with `heartstream distill`, or delete the file: songs are the \
                             same without it"
                        .to_owned(),
                });
            }
        }
        store.check(&Self::expected(config, sizes))?;
        Ok(sizes)
    }

    /// Reads the weights onto `device`.
    ///
    /// # Errors
    /// As [`DrafterWeights::check`].
    pub fn load(config: &HeartMulaConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        let sizes = Self::check(config, store)?;
        let (width, layer) = (config.backbone.embed_dim, layer(config, sizes.hidden));
        let part = |ahead, name, shape| Linear::load(store, &head(ahead, name), shape, false, device);
        let both = |ahead| Ok([part(ahead, "down", [sizes.narrow, width])?, part(ahead, "up", [width, sizes.narrow])?]);
        let table = |name| store.tensor(name, &[config.audio_vocab_size, sizes.rank], device);
        Ok(Self {
            input: Linear::load(store, "input", [width, 2 * width], false, device)?,
            norm: RmsNorm::new(Tensor::ones(width, candle_core::DType::F32, device)?, EPS),
            next: Transformer::load(&layer, store, "next", device)?,
            layer,
            heads: (2..=sizes.reach).map(both).collect::<Result<_>>()?,
            transition: (table("transition.from")?, table("transition.to")?),
        })
    }

    /// Frames that the heads reach.
    pub fn reach(&self) -> usize {
        self.heads.len() + 1
    }

    /// A KV cache of the layer for `batch` rows.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn cache(&self, batch: usize, device: &Device) -> Result<KvCache> {
        KvCache::new(&self.layer, batch, self.layer.max_seq_len, device)
    }

    /// What the layer is fed of frames, from the backbone's outputs for them and their embeddings.
    ///
    /// # Shapes
    /// - `outputs`, `frames` and result \[B, T, D\]
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn fed(&self, outputs: &Tensor, frames: &Tensor) -> Result<Tensor> {
        let (outputs, frames) = (self.norm.forward(outputs)?, self.norm.forward(frames)?);
        Ok(self.input.forward(&Tensor::cat(&[outputs, frames], 2)?)?)
    }

    /// The outputs that the backbone will have for the frame behind each of those that are fed, which follow those in
    /// `cache`.
    ///
    /// # Shapes
    /// - `fed` and result \[B, T, D\]
    ///
    /// # Errors
    /// If there is no room for the frames.
    pub fn next(&self, fed: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        self.next.forward(fed, cache)
    }

    /// The output that the backbone may have `ahead` frames (from 1 to [`Self::reach`]) after a frame, from the one
    /// that it will have next.
    ///
    /// # Shapes
    /// - `next` and result \[…, D\]
    ///
    /// # Errors
    /// When no head reaches so far.
    pub fn ahead(&self, ahead: usize, next: &Tensor) -> Result<Tensor> {
        if ahead == 1 {
            return Ok(next.clone());
        }
        let found = ahead.checked_sub(2).and_then(|place| self.heads.get(place));
        let [down, up] =
            found.ok_or_else(|| ModelError::shape("frames ahead", format!("1 to {}", self.reach()), ahead))?;
        Ok((next + up.forward(&down.forward(next)?.silu()?)?)?)
    }

    /// Scores that code 0 of a frame gives those of the next.
    ///
    /// # Shapes
    /// - `codes`: code 0 of each row; result \[rows, vocabulary\]
    ///
    /// # Errors
    /// When a code is none of the model's.
    pub fn transitions(&self, codes: &Tensor) -> Result<Tensor> {
        let (from, to) = &self.transition;
        Ok(from.index_select(codes, 0)?.matmul(&to.t()?)?)
    }
}

/// The name of a tensor of the head that reaches so far.
fn head(ahead: usize, name: &str) -> String {
    format!("heads.{ahead}.{name}")
}

/// The layer of a drafter: as those of the backbone, of another width in the middle.
fn layer(config: &HeartMulaConfig, hidden: usize) -> TransformerConfig {
    TransformerConfig {
        flavor: "drafter".to_owned(),
        num_layers: 1,
        max_seq_len: MOST_POSITIONS,
        intermediate_dim: hidden,
        ..config.backbone.clone()
    }
}
