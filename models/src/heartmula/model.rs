//! Autoregressive decoding of a song, frame by frame: prefill, backbone, depth decoder, guidance.

mod frame;
mod next_frames;
mod prompt;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};

pub use frame::guided;
pub use next_frames::SongInPass;
pub use prompt::prompt_positions;
pub use verify::{SongTarget, VerifyBuffers};

#[cfg(feature = "cuda")]
use super::on_gpu::{GpuModel, GpuSong, GpuTarget, GpuWindow};
use super::{
    PromptTokens, config::HeartMulaConfig, kv_cache::KvCache, prefix::Prefix, tensors::expected_tensors,
    transformer::Transformer,
};
use crate::{
    error::{ModelError, Result},
    kernels::{Linear, cpu::WeightDtype},
    weights::{RowTable, TensorStore},
};

/// The weights of a HeartMuLa language model; shared by all songs.
#[derive(Debug)]
pub struct HeartMula {
    config: HeartMulaConfig,
    device: Device,
    text_embeddings: RowTable,
    /// \[K · vocabulary, D\]; code `c` of codebook `k` is row `k · vocabulary + c`.
    audio_embeddings: RowTable,
    unconditional: Vec<f32>,
    /// Embedding of an absent reference recording: the projection of zeros, which is its bias.
    no_reference: Vec<f32>,
    weights: Weights,
    kv_dtype: WeightDtype,
}

/// Where the matrices are, and which kernels multiply them.
#[derive(Debug)]
enum Weights {
    /// Tensors: this crate's kernels on a processor, candle's elsewhere and while a model is trained.
    Tensors(Box<Tensors>),
    /// Weights of the GPU kernels.
    #[cfg(feature = "cuda")]
    Gpu(Box<GpuModel>),
}

#[derive(Debug)]
struct Tensors {
    backbone: Transformer,
    projection: Linear,
    decoder: Transformer,
    /// Output heads of the codebooks, the first on the backbone, the others on the depth decoder.
    heads: Vec<Linear>,
    /// The cached prefill of the last prompt, for another song with the same words.
    last_prompt: Mutex<Option<Arc<Prefix>>>,
}

/// Most guidance that is accepted: more than makes sense, and far less than makes logits infinite.
const MOST_GUIDANCE: f64 = 1000.0;

/// Accepts a guidance scale from 1 (none) to 1000.
///
/// # Errors
/// When it is outside of that, or not a number. The reference doubles the batch below 1 too, but guides nothing there.
pub fn check_guidance(guidance: f64) -> Result<f64> {
    if (1.0..=MOST_GUIDANCE).contains(&guidance) {
        return Ok(guidance);
    }
    let expected = format!("a number from 1.0 (no guidance) to {MOST_GUIDANCE}; 1.5 is usual");
    Err(ModelError::Option { option: "cfg-scale", expected, found: guidance.to_string() })
}

/// State of one song: KV caches, position, guidance.
#[derive(Debug)]
pub struct SongState {
    kv: SongKv,
    frame: u64,
    guidance: f64,
}

/// The KV caches of a song, on the device of the weights.
#[derive(Debug)]
enum SongKv {
    Tensors(Box<TensorSong>),
    #[cfg(feature = "cuda")]
    Gpu(Box<GpuSong>),
}

#[derive(Debug)]
struct TensorSong {
    backbone: KvCache,
    decoder: KvCache,
    /// Backbone output \[B, D\] from which the next frame follows; taken by it.
    hidden: Option<Tensor>,
    /// The last frame, not yet fed to the backbone.
    last: Option<Vec<u32>>,
}

impl SongState {
    /// Rows of the batch: the prompt's and, with guidance, the unconditional one.
    fn batch(&self) -> usize {
        if self.guidance > 1.0 { 2 } else { 1 }
    }

    /// Bytes of the song's KV cache at present.
    pub fn kv_bytes(&self) -> usize {
        match &self.kv {
            SongKv::Tensors(song) => song.backbone.bytes() + song.decoder.bytes(),
            #[cfg(feature = "cuda")]
            SongKv::Gpu(song) => song.kv_bytes(),
        }
    }

    /// Frames written so far.
    pub fn frames(&self) -> u64 {
        self.frame
    }

    /// Guidance scale; 1 is none.
    pub fn guidance(&self) -> f64 {
        self.guidance
    }
}

impl HeartMula {
    /// Reads the weights onto `device`.
    ///
    /// # Errors
    /// When tensors are missing or do not fit the config: all of them in one error.
    pub fn load(config: &HeartMulaConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        store.check(&expected_tensors(config))?;
        let (width, vocabulary) = (config.backbone.embed_dim, config.audio_vocab_size);
        let weights = Weights::load(config, store, device)?;
        Ok(Self {
            text_embeddings: store.row_table("text_embeddings.weight", config.text_vocab_size, width)?,
            audio_embeddings: store.row_table(
                "audio_embeddings.weight",
                vocabulary * config.audio_num_codebooks,
                width,
            )?,
            unconditional: store.row_table("unconditional_text_embedding.weight", 1, width)?.row(0)?,
            no_reference: store.tensor("muq_linear.bias", &[width], &Device::Cpu)?.to_vec1()?,
            kv_dtype: config.kv_dtype(weights.dtype()),
            weights,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// The sizes of the model.
    pub fn config(&self) -> &HeartMulaConfig {
        &self.config
    }

    /// Where its weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes of one weight, as its matrices are stored.
    pub fn bytes_per_weight(&self) -> u64 {
        self.weights.dtype().bytes() as u64
    }

    /// Dtype of the backbone's KV cache, by [`HeartMulaConfig::kv_dtype`]. That of the depth decoder has eight
    /// positions, and is always f32.
    pub fn kv_dtype(&self) -> WeightDtype {
        self.kv_dtype
    }

    /// Sets the dtype of the backbone's KV cache, whatever suits the size of the model.
    #[must_use]
    pub fn keeping_kv_as(self, dtype: WeightDtype) -> Self {
        Self { kv_dtype: dtype, ..self }
    }

    /// Prefill: reads the prompt. With `guidance` above 1 the batch has an unconditional row, too.
    ///
    /// # Errors
    /// When an id is outside the vocabulary, or prompt and `frames` frames together need more positions than the
    /// model has.
    pub fn start(&self, prompt: &PromptTokens, guidance: f64, frames: usize) -> Result<SongState> {
        let started = self.start_unless(prompt, guidance, frames, &|| false)?;
        started.ok_or_else(|| ModelError::shape("prefill", "an end", "an interruption"))
    }

    /// As [`Self::start`], but for a prefill that can be ended: `stopped` is asked before each layer of the backbone, on
    /// a GPU before the first one. `None` when it said so.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_unless(
        &self,
        prompt: &PromptTokens,
        guidance: f64,
        frames: usize,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Option<SongState>> {
        let guidance = check_guidance(guidance)?;
        let batch = if guidance > 1.0 { 2 } else { 1 };
        // The last frame is never fed back, so it needs no position.
        let positions = prompt_positions(prompt).saturating_add(frames.saturating_sub(1));
        let kv = match &self.weights {
            Weights::Tensors(weights) => {
                let mut song = TensorSong {
                    backbone: KvCache::kept_as(self.kv_dtype, &self.config.backbone, batch, positions, &self.device)?,
                    decoder: self.depth_cache(batch)?,
                    hidden: None,
                    last: None,
                };
                let hidden = self.read_prompt(weights, prompt, batch, &mut song.backbone, stopped)?;
                let Some(hidden) = hidden else { return Ok(None) };
                song.hidden = Some(hidden);
                SongKv::Tensors(Box::new(song))
            }
            #[cfg(feature = "cuda")]
            Weights::Gpu(model) => {
                let mut song = GpuSong::new(model, batch, positions, self.kv_dtype)?;
                if stopped() {
                    return Ok(None);
                }
                let half = self.kv_dtype != WeightDtype::F32;
                model.read_prompt(&mut song, (prompt, half), || self.prompt_rows(prompt, batch))?;
                SongKv::Gpu(Box::new(song))
            }
        };
        Ok(Some(SongState { kv, frame: 0, guidance }))
    }

    /// Prefill, unless the prompt is the last one that was read: its cached result is the same, bit for bit.
    ///
    /// # Shapes
    /// - result \[B, D\]
    fn read_prompt(
        &self,
        weights: &Tensors,
        prompt: &PromptTokens,
        batch: usize,
        cache: &mut KvCache,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Tensor>> {
        // A song that panicked in between left a whole prompt or none.
        let last = || weights.last_prompt.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = last().clone().filter(|prefix| prefix.serves(prompt, batch));
        if let Some(prefix) = kept {
            prefix.restore(cache, batch, self.config.backbone.embed_dim)?;
            return prefix.hidden(batch).map(Some);
        }
        let xs = self.embed_prompt(prompt, batch)?;
        let Some(prefix) = Prefix::compute(&weights.backbone, prompt, &xs, cache, stopped)? else {
            return Ok(None);
        };
        let hidden = prefix.hidden(batch)?;
        *last() = prefix.is_worth_keeping().then(|| Arc::new(prefix));
        Ok(Some(hidden))
    }

    /// Appends a frame that was written before: the song continues as if it had been written now, bit for bit, without
    /// the depth decoder's work.
    ///
    /// # Errors
    /// When there is no room for another frame, or it has another count of codes or a code that the model does not
    /// have.
    pub fn replay_frame(&self, state: &mut SongState, codes: &[u32]) -> Result<()> {
        let HeartMulaConfig { audio_num_codebooks: count, audio_vocab_size: vocabulary, .. } = self.config;
        if codes.len() != count || codes.iter().any(|code| *code as usize >= vocabulary) {
            return Err(ModelError::shape(
                "codes of a frame",
                format!("{count} below {vocabulary}"),
                format!("{codes:?}"),
            ));
        }
        let batch = state.batch();
        match (&self.weights, &mut state.kv) {
            (Weights::Tensors(weights), SongKv::Tensors(song)) => {
                if let Some(last) = song.last.take() {
                    weights.backbone.forward(&self.embed_frame(&last, batch)?, &mut song.backbone)?;
                }
                song.hidden = None;
                song.last = Some(codes.to_vec());
            }
            #[cfg(feature = "cuda")]
            (Weights::Gpu(model), SongKv::Gpu(song)) => model.replay(song, codes)?,
            #[cfg(feature = "cuda")]
            _ => return Err(elsewhere()),
        }
        state.frame += 1;
        Ok(())
    }
}

impl Weights {
    fn load(config: &HeartMulaConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() && !store.are_in_memory() {
            return Ok(Self::Gpu(Box::new(GpuModel::load(config, store, device)?)));
        }
        let (width, inner, vocabulary) = (config.backbone.embed_dim, config.decoder.embed_dim, config.audio_vocab_size);
        // Codes are drawn from logits, so these are f32 on every device.
        let mut heads = vec![Linear::load(store, "codebook0_head", [vocabulary, width], false, device)?.in_f32()?];
        // These heads are stored [in, out], the other way round than a linear layer's weight.
        let others = [config.audio_num_codebooks - 1, inner, vocabulary];
        for codebook in 0..others[0] {
            heads.push(Linear::load_transposed(store, "audio_head", others, codebook, device)?.in_f32()?);
        }
        Ok(Self::Tensors(Box::new(Tensors {
            backbone: Transformer::load(&config.backbone, store, "backbone", device)?,
            projection: Linear::load(store, "projection", [inner, width], false, device)?.without_tiles(),
            decoder: Transformer::load(&config.decoder, store, "decoder", device)?,
            heads: heads.into_iter().map(Linear::without_tiles).collect(),
            last_prompt: Mutex::new(None),
        })))
    }

    /// How matrices are stored.
    fn dtype(&self) -> WeightDtype {
        match self {
            Self::Tensors(weights) => weights.projection.dtype(),
            #[cfg(feature = "cuda")]
            Self::Gpu(model) => model.dtype(),
        }
    }

    /// The weights as tensors.
    ///
    /// # Errors
    /// When they are a GPU's.
    fn tensors(&self) -> Result<&Tensors> {
        match self {
            Self::Tensors(weights) => Ok(weights),
            #[cfg(feature = "cuda")]
            Self::Gpu(_) => Err(elsewhere()),
        }
    }
}

/// A song and a model on different devices, or an operation that is not available there.
#[cfg(feature = "cuda")]
fn elsewhere() -> ModelError {
    ModelError::shape("song", "one of this model, on its device", "one that lies elsewhere")
}
