//! What was trained for a checkpoint, so that the next frames can be drafted from the backbone's last output?
//!
//! Two ways to the outputs that the backbone will have, and one small mixer that goes from an output to the codes of its
//! frame through the model's own heads:
//! - heads: output k frames ahead = h + SiLU(W_k \[h, frame\]), after Cai et al., "Medusa",
//!   <https://arxiv.org/abs/2401.10774>;
//! - next state: the next output = A \[h, frame\] + b, again and again;
//! - mixer: code j is drawn from head_j(y), y = z + V SiLU(z), z = U \[h, codes before j\] + place_j.
//!
//! A transition score links code 0 of a frame with that of the next, after "Viterbi" drafting of speech tokens,
//! <https://arxiv.org/abs/2410.13839>, as a product of two small vectors.

use candle_core::{Device, Tensor};

use crate::{
    error::{ModelError, Result},
    heartmula::HeartMulaConfig,
    kernels::Linear,
    weights::{Checkpoint, Expected, Shards},
};

/// The file of a trained drafter, in the folder of the language model.
pub const DRAFTER_FILE: &str = "drafter.safetensors";
/// Frames that heads can reach.
const MOST_HEADS: usize = 16;

/// The weights of a trained drafter.
#[derive(Debug)]
pub struct DrafterWeights {
    heads: Vec<Linear>,
    next_state: Linear,
    mixer_input: Linear,
    mixer_hidden: Linear,
    /// \[K - 1, D of the decoder\]
    places: Tensor,
    /// Both \[vocabulary, rank\].
    transition: (Tensor, Tensor),
}

impl DrafterWeights {
    /// The tensors of a drafter with `heads` heads and transitions of `rank` numbers.
    pub fn expected(config: &HeartMulaConfig, heads: usize, rank: usize) -> Vec<Expected> {
        let (width, inner) = (config.backbone.embed_dim, config.decoder.embed_dim);
        let mut tensors = vec![
            Expected::new("next_state.weight", &[width, 2 * width]),
            Expected::new("next_state.bias", &[width]),
            Expected::new("mixer.input.weight", &[inner, 2 * width]),
            Expected::new("mixer.hidden.weight", &[inner, inner]),
            Expected::new("mixer.places", &[config.audio_num_codebooks - 1, inner]),
            Expected::new("transition.from", &[config.audio_vocab_size, rank]),
            Expected::new("transition.to", &[config.audio_vocab_size, rank]),
        ];
        tensors.extend((0..heads).map(|head| Expected::new(format!("heads.{head}.weight"), &[width, 2 * width])));
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
        Self::load(config, &Shards::open_file(checkpoint, &file)?, device).map(Some)
    }

    /// Reads the weights onto `device`.
    ///
    /// # Errors
    /// When tensors are missing or do not fit the config: all of them in one error.
    pub fn load(config: &HeartMulaConfig, shards: &Shards, device: &Device) -> Result<Self> {
        let heads = (0..MOST_HEADS).take_while(|head| shards.shape(&format!("heads.{head}.weight")).is_some()).count();
        let rank = shards.shape("transition.from").and_then(|shape| shape.get(1)).copied().unwrap_or(1);
        shards.check(&Self::expected(config, heads, rank))?;
        let (width, inner) = (config.backbone.embed_dim, config.decoder.embed_dim);
        let head = |head| Linear::load(shards, &format!("heads.{head}"), [width, 2 * width], false, device);
        let table = |name| shards.tensor(name, &[config.audio_vocab_size, rank], device);
        Ok(Self {
            heads: (0..heads).map(head).collect::<Result<_>>()?,
            next_state: Linear::load(shards, "next_state", [width, 2 * width], true, device)?,
            mixer_input: Linear::load(shards, "mixer.input", [inner, 2 * width], false, device)?,
            mixer_hidden: Linear::load(shards, "mixer.hidden", [inner, inner], false, device)?,
            places: shards.tensor("mixer.places", &[config.audio_num_codebooks - 1, inner], device)?,
            transition: (table("transition.from")?, table("transition.to")?),
        })
    }

    /// Frames that the heads reach.
    pub fn reach(&self) -> usize {
        self.heads.len()
    }

    /// The output that the backbone may have `ahead` frames (from 1 to [`Self::reach`]) after the frame that it had
    /// `hidden` for, from that frame's embedding.
    ///
    /// # Shapes
    /// - `hidden`, `frame` and result \[rows, D\]
    ///
    /// # Errors
    /// When no head reaches so far.
    pub fn ahead(&self, ahead: usize, hidden: &Tensor, frame: &Tensor) -> Result<Tensor> {
        let head = ahead.checked_sub(1).and_then(|place| self.heads.get(place));
        let head = head.ok_or_else(|| ModelError::shape("frames ahead", format!("1 to {}", self.reach()), ahead))?;
        Ok((hidden + head.forward(&Tensor::cat(&[hidden, frame], 1)?)?.silu()?)?)
    }

    /// The output that the backbone may have next, from the present one and the embedding of its frame.
    ///
    /// # Shapes
    /// - `hidden`, `frame` and result \[rows, D\]
    ///
    /// # Errors
    /// When the device cannot compute.
    pub fn next(&self, hidden: &Tensor, frame: &Tensor) -> Result<Tensor> {
        Ok(self.next_state.forward(&Tensor::cat(&[hidden, frame], 1)?)?)
    }

    /// What head `codebook` (from 1 on) of the model is fed for a frame, from the backbone's output and the sum of the
    /// embeddings of the codes before it.
    ///
    /// # Shapes
    /// - `hidden`, `codes` \[rows, D\], result \[rows, D of the decoder\]
    ///
    /// # Errors
    /// When there is no such codebook.
    pub fn mixed(&self, codebook: usize, hidden: &Tensor, codes: &Tensor) -> Result<Tensor> {
        let input = self.mixer_input.forward(&Tensor::cat(&[hidden, codes], 1)?)?;
        let input = input.broadcast_add(&self.places.narrow(0, codebook - 1, 1)?)?;
        Ok((&input + self.mixer_hidden.forward(&input.silu()?)?)?)
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
