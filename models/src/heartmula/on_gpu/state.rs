//! State of a song on a GPU: KV cache, last frame, buffers.

use super::{
    GpuModel,
    frames::{Ahead, Recorded},
    layers::Working,
};
use crate::{
    error::{ModelError, Result},
    kernels::{
        cpu::WeightDtype,
        lm::{Bf16Rows, Buffer, Drawn, GpuStream, KvCacheSizes, PagedKvCache, Scratch},
    },
    speculation::MOST_FRAMES,
};

/// Positions of a prompt that are read in one pass: as many rows as a block multiplies at once.
pub(super) const PROMPT_ROWS: usize = 32;
/// Frames that are verified together at most: the drafts, the frame behind them, and a first one that is there.
pub(super) const WINDOW: usize = MOST_FRAMES + 2;

/// The state of a song on a GPU, in a stream of its own.
#[derive(Debug)]
pub(in crate::heartmula) struct GpuSong {
    /// First, so that it ends before what it works in.
    pub(super) recorded: Option<Recorded>,
    pub(super) ahead: Ahead,
    pub(super) gpu: GpuStream,
    pub(super) backbone: Working,
    pub(super) decoder: Working,
    pub(super) kv: PagedKvCache,
    /// Keys and values of the depth decoder: those of every frame of a window.
    pub(super) depth: PagedKvCache,
    pub(super) scratch: Scratch,
    /// What the backbone made for the frames of a window, and for the next frame where nothing is verified.
    pub(super) hidden: Bf16Rows,
    /// Embeddings of codes, for the depth decoder.
    pub(super) entering: Bf16Rows,
    /// Rows of words, or of drafters.
    pub(super) given: Buffer<f32>,
    pub(super) ones: Buffer<f32>,
    pub(super) logits: Buffer<f32>,
    pub(super) drawn: Drawn,
    pub(super) batch: usize,
    /// Positions in the KV cache, and the most there can be.
    pub(super) length: usize,
    pub(super) capacity: usize,
    /// Whether the backbone's output for the next frame is there.
    pub(super) has_output: bool,
    /// The last frame, not yet fed to the backbone.
    pub(super) last: Option<Vec<u32>>,
}

impl GpuSong {
    /// A song of `batch` rows (1 or 2) and at most `capacity` positions.
    ///
    /// # Errors
    /// When the GPU has no memory, or the model has fewer positions.
    pub fn new(model: &GpuModel, batch: usize, capacity: usize, dtype: WeightDtype) -> Result<Self> {
        let config = &model.config;
        if capacity > config.backbone.max_seq_len {
            let expected = format!("at most {}", config.backbone.max_seq_len);
            return Err(ModelError::shape("positions of a KV cache", expected, capacity));
        }
        let gpu = model.gpu.beside()?;
        let (codebooks, width) = (config.audio_num_codebooks, config.backbone.embed_dim);
        let rows = (batch * WINDOW).max(PROMPT_ROWS);
        let depth_rows = batch * WINDOW * codebooks;
        let half = dtype != WeightDtype::F32;
        let backbone = KvCacheSizes {
            heads: model.backbone.heads(),
            layers: model.backbone.count(),
            batches: batch,
            capacity: capacity.max(1),
            half,
        };
        let depth = KvCacheSizes {
            heads: model.decoder.heads(),
            layers: model.decoder.count(),
            batches: batch * WINDOW,
            capacity: codebooks,
            half: false,
        };
        let mut depth_kv = PagedKvCache::new(&gpu, depth, model.decoder.angles())?;
        depth_kv.reserve(&gpu, codebooks)?;
        Ok(Self {
            recorded: None,
            ahead: Ahead::default(),
            backbone: model.backbone.working(&gpu, rows)?,
            decoder: model.decoder.working(&gpu, depth_rows)?,
            kv: PagedKvCache::new(&gpu, backbone, model.backbone.angles())?,
            depth: depth_kv,
            scratch: Scratch::new(&gpu, &[(backbone, rows), (depth, depth_rows)])?,
            hidden: Bf16Rows::new(&gpu, rows, width)?,
            entering: Bf16Rows::new(&gpu, depth_rows, width)?,
            given: Buffer::zeros(&gpu, rows * width)?,
            ones: Buffer::of(&gpu, &vec![1.0; width])?,
            logits: Buffer::zeros(&gpu, WINDOW * codebooks * config.audio_vocab_size)?,
            drawn: Drawn::new(&gpu, codebooks, WINDOW)?,
            batch,
            length: 0,
            capacity,
            has_output: false,
            last: None,
            gpu,
        })
    }

    /// Bytes of keys and values at present.
    pub fn kv_bytes(&self) -> usize {
        self.kv.bytes() + self.depth.bytes()
    }

    /// Positions there is still room for.
    pub fn room(&self) -> usize {
        self.capacity - self.length
    }

    /// Whether the backbone's output for the next frame is there.
    pub fn has_output(&self) -> bool {
        self.has_output
    }
}

impl Drop for GpuSong {
    fn drop(&mut self) {
        // Work on its stream reads weights that may be freed next. A GPU that failed has nothing left to do.
        self.gpu.wait().unwrap_or_default();
    }
}
