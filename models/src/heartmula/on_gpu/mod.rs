//! The language model on a GPU: its weights, and songs whose frames are written without a host round trip.
//!
//! [`GpuModel`] has the weights of [`super::HeartMula`], [`GpuSong`] the state of a song there. Each operation is one
//! of `HeartMula`'s or of `SongTarget`'s; all are made of the same passes (`passes`), whose rows do not depend on each
//! other, so a song is the same however its frames are verified.

mod frames;
mod layers;
mod passes;
mod prompt;
mod side_by_side;
mod state;
mod target;
mod verify;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Device;

pub(super) use self::{
    frames::Drawing,
    side_by_side::{GpuSongInPass, MOST_SONGS},
    state::{GpuSong, WINDOW},
    target::GpuTarget,
    verify::GpuWindow,
};
use self::{layers::Layers, prompt::CachedPrompt, side_by_side::SideBySide};
use super::{HeartMulaConfig, PromptTokens, Sampling, prompt_positions};
use crate::{
    error::Result,
    kernels::{
        cpu::WeightDtype,
        lm::{GpuStream, KvCacheSizes, Matrix, Table},
    },
    signal::KeyedNoise,
    weights::TensorStore,
};

/// Positions of the song that loads the kernels.
const WARMING: usize = 4;

/// The weights on a GPU; shared by all songs.
#[derive(Debug)]
pub(super) struct GpuModel {
    gpu: GpuStream,
    backbone: Layers,
    projection: Matrix,
    decoder: Layers,
    heads: Vec<Matrix>,
    table: Table,
    config: HeartMulaConfig,
    /// What drafters compute with, by the rows of their batch.
    drafting: Mutex<[Option<Box<GpuSong>>; 2]>,
    last_prompt: Mutex<Option<Arc<CachedPrompt>>>,
    /// What songs write frames in together, by the rows of each.
    side_by_side: Mutex<[Option<SideBySide>; 2]>,
}

impl GpuModel {
    /// Reads the weights onto `device`, a GPU.
    ///
    /// # Errors
    /// When the GPU is too old or has no memory, or a tensor is not there in its shape.
    pub fn load(config: &HeartMulaConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        let gpu = GpuStream::new(device.as_cuda_device()?)?;
        let (width, inner, vocabulary) = (config.backbone.embed_dim, config.decoder.embed_dim, config.audio_vocab_size);
        let matrix = |name: &str, shape: [usize; 2]| -> Result<Matrix> {
            Ok(Matrix::new(&gpu, &store.matrix(name, &shape, device)?, store.matrix_type(name), false)?)
        };
        let mut heads = vec![matrix("codebook0_head.weight", [vocabulary, width])?];
        // These heads are stored [in, out], the other way round than a linear layer's weight.
        let others = config.audio_num_codebooks - 1;
        let stored = store.matrix("audio_head", &[others, inner, vocabulary], device)?;
        for head in 0..others {
            heads.push(Matrix::new(&gpu, &stored.get(head)?.t()?, store.matrix_type("audio_head"), false)?);
        }
        drop(stored);
        let name = "audio_embeddings.weight";
        let shape = [config.audio_num_codebooks * vocabulary, width];
        let codes = store.numbers(name, &shape)?;
        let table = match store.matrix_type(name) {
            WeightDtype::Bf16 => Table::new(&gpu, shape, vocabulary, |rows| codes.read_as_bf16(0, rows))?,
            _ => Table::new(&gpu, shape, vocabulary, |rows| codes.read_in_parallel(0, rows))?,
        };
        let model = Self {
            backbone: Layers::load(&gpu, &config.backbone, store, "backbone", device)?,
            projection: matrix("projection.weight", [inner, width])?,
            decoder: Layers::load(&gpu, &config.decoder, store, "decoder", device)?,
            heads,
            table,
            config: config.clone(),
            drafting: Mutex::new([None, None]),
            last_prompt: Mutex::new(None),
            side_by_side: Mutex::new([None, None]),
            gpu,
        };
        // Songs have streams of their own.
        model.gpu.wait()?;
        model.warm_up()?;
        Ok(model)
    }

    /// Has the GPU load its kernels, before a song waits for them.
    fn warm_up(&self) -> Result<()> {
        let width = self.config.backbone.embed_dim;
        let mut song = GpuSong::new(self, 2, WARMING.min(self.config.backbone.max_seq_len), WeightDtype::F16)?;
        song.kv.reserve(&song.work.gpu, WARMING)?;
        self.compute_prompt(&mut song, 1, &vec![0.0; 2 * width])?;
        (song.length, song.has_output) = (1, true);
        let options = Sampling { top_k: 1, ..Sampling::default() };
        let drawing = Drawing { options, noise: KeyedNoise::new(0), guidance: 1.5 };
        for frame in 0..WARMING as u64 - 1 {
            self.next_frame(&mut song, frame, drawing, true)?;
        }
        Ok(())
    }

    /// How the weights are stored.
    pub fn dtype(&self) -> WeightDtype {
        match self.projection.planes() {
            1 => WeightDtype::Bf16,
            2 => WeightDtype::F16,
            _ => WeightDtype::F32,
        }
    }

    /// Sizes of the KV cache of a song.
    fn kv_sizes(&self, batches: usize, capacity: usize, half: bool) -> KvCacheSizes {
        KvCacheSizes { heads: self.backbone.heads(), layers: self.backbone.count(), batches, capacity, half }
    }

    /// Runs `work` with what drafters compute with for `batch` rows; one drafter at a time.
    fn drafting<T>(&self, batch: usize, work: impl FnOnce(&mut GpuSong) -> Result<T>) -> Result<T> {
        let mut songs = self.drafting.lock().unwrap_or_else(PoisonError::into_inner);
        let song = match &mut songs[batch - 1] {
            Some(song) => song,
            none => none.insert(Box::new(GpuSong::new(self, batch, 1, WeightDtype::F32)?)),
        };
        work(song)
    }
}
