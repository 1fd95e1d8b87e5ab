//! State of a song on a GPU: KV cache, last frame, and what its passes compute in.

use std::sync::atomic::{AtomicU64, Ordering};

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
pub(in crate::heartmula) const WINDOW: usize = MOST_FRAMES + 2;

/// Numbers of songs.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// What passes compute in, in a stream of its own.
#[derive(Debug)]
pub(super) struct Workspace {
    pub gpu: GpuStream,
    /// Rows of each frame: 2 with guidance, else 1.
    pub batch: usize,
    pub backbone: Working,
    pub decoder: Working,
    /// Keys and values of the depth decoder: those of every frame of a pass.
    pub depth: PagedKvCache,
    pub scratch: Scratch,
    /// What the backbone made for the frames of a pass.
    pub hidden: Bf16Rows,
    /// Embeddings of codes, for the depth decoder.
    pub entering: Bf16Rows,
    pub logits: Buffer<f32>,
    /// Codes of the frames of a pass.
    pub codes: Buffer<i32>,
}

/// The most that a workspace has room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassSizes {
    pub frames: usize,
    /// Rows of the backbone.
    pub rows: usize,
    /// Positions of the depth decoder in one pass.
    pub depth_positions: usize,
    /// The KV caches of the backbone.
    pub kv: KvCacheSizes,
}

impl PassSizes {
    /// Sizes of a KV cache of the depth decoder.
    fn depth(&self, model: &GpuModel) -> KvCacheSizes {
        KvCacheSizes {
            heads: model.decoder.heads(),
            layers: model.decoder.count(),
            batches: self.kv.batches * self.frames,
            capacity: model.config.audio_num_codebooks,
            half: false,
        }
    }

    fn depth_rows(&self) -> usize {
        self.kv.batches * self.frames * self.depth_positions
    }
}

impl Workspace {
    /// # Errors
    /// When the GPU has no memory.
    pub fn new(model: &GpuModel, sizes: PassSizes) -> Result<Self> {
        let gpu = model.gpu.beside()?;
        let (codebooks, width) = (model.config.audio_num_codebooks, model.config.backbone.embed_dim);
        let (rows, depth_rows) = (sizes.rows, sizes.depth_rows());
        let mut depth = PagedKvCache::new(&gpu, sizes.depth(model), model.decoder.angles())?;
        depth.reserve(&gpu, codebooks)?;
        Ok(Self {
            batch: sizes.kv.batches,
            backbone: model.backbone.working(&gpu, rows)?,
            decoder: model.decoder.working(&gpu, depth_rows)?,
            depth,
            scratch: Self::scratch(&gpu, model, sizes)?,
            hidden: Bf16Rows::new(&gpu, rows, width)?,
            entering: Bf16Rows::new(&gpu, depth_rows, width)?,
            logits: Buffer::zeros(&gpu, sizes.frames * codebooks * model.config.audio_vocab_size)?,
            codes: Buffer::zeros(&gpu, sizes.frames * codebooks)?,
            gpu,
        })
    }

    /// What the blocks of an attention tell each other.
    ///
    /// # Errors
    /// When the GPU has no memory.
    pub fn scratch(gpu: &GpuStream, model: &GpuModel, sizes: PassSizes) -> Result<Scratch> {
        Ok(Scratch::new(gpu, &[(sizes.kv, sizes.rows), (sizes.depth(model), sizes.depth_rows())])?)
    }

    /// Writes codes that were checked, frame after frame.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn set_codes(&mut self, codes: &[i32]) -> Result<()> {
        Ok(self.codes.write(&self.gpu, 0, codes)?)
    }
}

/// The state of a song on a GPU.
#[derive(Debug)]
pub(in crate::heartmula) struct GpuSong {
    /// First, so that it ends before what it works in.
    pub(super) recorded: Recorded,
    pub(super) ahead: Ahead,
    /// Of the frames of a window, and of the next frame where nothing is verified.
    pub(super) work: Workspace,
    pub(super) kv: PagedKvCache,
    /// Rows of words, or of drafters.
    pub(super) given: Buffer<f32>,
    pub(super) ones: Buffer<f32>,
    pub(super) drawn: Drawn,
    /// Tells it from all other songs.
    pub(super) number: u64,
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
        let rows = (batch * WINDOW).max(PROMPT_ROWS);
        let kv = model.kv_sizes(batch, capacity.max(1), dtype != WeightDtype::F32);
        let depth_positions = config.audio_num_codebooks;
        let work = Workspace::new(model, PassSizes { frames: WINDOW, rows, depth_positions, kv })?;
        let (gpu, width) = (&work.gpu, config.backbone.embed_dim);
        Ok(Self {
            recorded: Recorded::default(),
            ahead: Ahead::default(),
            kv: PagedKvCache::new(gpu, kv, model.backbone.angles())?,
            given: Buffer::zeros(gpu, rows * width)?,
            ones: Buffer::of(gpu, &vec![1.0; width])?,
            drawn: Drawn::new(gpu, config.audio_num_codebooks)?,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            length: 0,
            capacity,
            has_output: false,
            last: None,
            work,
        })
    }

    /// Bytes of keys and values at present.
    pub fn kv_bytes(&self) -> usize {
        self.kv.bytes() + self.work.depth.bytes()
    }

    /// Positions there is still room for.
    pub fn room(&self) -> usize {
        self.capacity - self.length
    }

    /// Rows of each of its frames.
    pub fn rows(&self) -> usize {
        self.work.batch
    }

    /// Whether its last frame is there, is to be fed, and has room.
    pub fn can_be_fed(&self) -> bool {
        self.last.is_some() && !self.has_output && self.room() > 0
    }

    /// Whether the backbone's output for the next frame is there.
    pub fn has_output(&self) -> bool {
        self.has_output
    }
}

impl Drop for GpuSong {
    fn drop(&mut self) {
        // Work on its stream reads weights that may be freed next. A GPU that failed has nothing left to do.
        self.work.gpu.wait().unwrap_or_default();
    }
}
