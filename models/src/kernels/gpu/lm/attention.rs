//! Attention of new positions to the paged KV cache of a song.

use std::sync::Arc;

use candle_core::{Result, bail};

use super::{Bf16Rows, Buffer, GpuStream, SongTable};
use crate::kernels::cpu::HeadDims;

/// Threads of a block, queries that a thread works on at once, and numbers behind a key: as in `attention.cuh`.
const ATTENDERS: usize = 256;
const ABREAST: usize = 4;
const KEY_GAP: usize = 8;
/// Bytes of memory that any block may have, less what the kernel holds beside.
const MEMORY: usize = 48 * 1024 - 64;
/// Positions that memory is taken for at once.
pub(crate) const PAGE: usize = 256;
/// Positions of a block at most, and times of queries that it has at most.
const MOST_SPAN: usize = 64;
const MOST_TIMES: usize = 1;

/// Sizes of a KV cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvCacheSizes {
    pub heads: HeadDims,
    pub layers: usize,
    /// Rows of the batch.
    pub batches: usize,
    /// The most positions.
    pub capacity: usize,
    /// In 16 bits, not in 32.
    pub half: bool,
}

impl KvCacheSizes {
    fn number(&self) -> usize {
        if self.half { 2 } else { 4 }
    }

    /// Bytes of shared memory for spans of `span` positions and `times` times of queries.
    fn shared(&self, span: usize, times: usize) -> usize {
        let HeadDims { heads, kv_heads, head_dim } = self.heads;
        let groups = (ATTENDERS / (head_dim / 2).max(1)).clamp(1, 8);
        let queries = times * (heads / kv_heads);
        span * (2 * head_dim + KEY_GAP) * self.number()
            + size_of::<f32>() * (groups * ABREAST * head_dim + queries * (head_dim + span + 2))
    }

    /// Positions of a block: as many as there is memory for, the same for every song of the model.
    fn span(&self) -> usize {
        let mut span = MOST_SPAN;
        while span > 1 && self.shared(span, 1) > MEMORY {
            span /= 2;
        }
        span
    }

    fn times(&self, span: usize, times: usize) -> usize {
        (1..=times.min(MOST_TIMES)).rev().find(|times| self.shared(span, *times) <= MEMORY).unwrap_or(1)
    }

    fn spans(&self) -> usize {
        self.capacity.div_ceil(self.span())
    }

    fn page_bytes(&self) -> usize {
        self.layers * self.batches * self.heads.kv_heads * 2 * self.page() * self.heads.head_dim * self.number()
    }

    /// Positions of a page.
    fn page(&self) -> usize {
        self.capacity.next_multiple_of(self.span()).min(PAGE)
    }
}

/// KV cache of a song in pages that are found through a table, and the angles that queries and keys are rotated by.
#[derive(Debug)]
pub(crate) struct PagedKvCache {
    sizes: KvCacheSizes,
    pages: Vec<Buffer<u8>>,
    table: Buffer<u64>,
    angles: Arc<[Buffer<f32>; 2]>,
}

impl PagedKvCache {
    /// Nothing yet. `angles` are cosines and sines \[positions, head width / 2\].
    ///
    /// # Errors
    /// When the angles are of fewer positions, or the GPU has no memory.
    pub fn new(gpu: &GpuStream, sizes: KvCacheSizes, angles: Arc<[Buffer<f32>; 2]>) -> Result<Self> {
        let HeadDims { heads, kv_heads, head_dim } = sizes.heads;
        if head_dim % 2 > 0 || heads % kv_heads > 0 || sizes.shared(sizes.span(), 1) > MEMORY {
            bail!(
                "heads of {head_dim} channels, {} for each of the keys', are more than a GPU's block holds",
                heads / kv_heads
            )
        }
        angles.iter().try_for_each(|angles| angles.address_of(0, sizes.capacity * head_dim / 2).map(drop))?;
        let table = Buffer::zeros(gpu, sizes.capacity.div_ceil(sizes.page()).max(1))?;
        Ok(Self { sizes, pages: Vec::new(), table, angles })
    }

    /// Takes memory for the first `positions` positions.
    ///
    /// # Errors
    /// When they are more than the capacity, or the GPU has no memory.
    pub fn reserve(&mut self, gpu: &GpuStream, positions: usize) -> Result<()> {
        if positions > self.sizes.capacity {
            bail!("{positions} positions where there is room for {}", self.sizes.capacity)
        }
        while self.pages.len() * self.sizes.page() < positions {
            let page = Buffer::zeros(gpu, self.sizes.page_bytes())?;
            self.table.write(gpu, self.pages.len(), &[page.address_of(0, page.len())?])?;
            self.pages.push(page);
        }
        Ok(())
    }

    /// Bytes that are taken at present.
    pub fn bytes(&self) -> usize {
        self.pages.iter().map(Buffer::bytes).sum()
    }

    /// A copy of the pages with the first `positions` positions.
    ///
    /// # Errors
    /// When the GPU has no memory.
    pub fn pages(&self, gpu: &GpuStream, positions: usize) -> Result<Vec<Buffer<u8>>> {
        self.pages.iter().take(positions.div_ceil(self.sizes.page())).map(|page| page.again(gpu)).collect()
    }

    /// Takes over pages of another song of the same sizes.
    ///
    /// # Errors
    /// When they are of other sizes.
    pub fn fill(&mut self, gpu: &GpuStream, pages: &[Buffer<u8>]) -> Result<()> {
        for (mine, page) in self.pages.iter_mut().zip(pages) {
            if mine.len() != page.len() {
                bail!("pages of {} bytes are none of {}", page.len(), mine.len())
            }
            mine.copy(gpu, 0, page, 0, page.len())?;
        }
        Ok(())
    }

    /// Whether keys and values are kept in 16 bits.
    pub fn is_half(&self) -> bool {
        self.sizes.half
    }

    /// The address of the table of pages.
    pub(super) fn table(&self) -> Result<u64> {
        self.table.address_of(0, self.table.len())
    }

    /// Positions that memory is taken for.
    pub fn reserved(&self) -> usize {
        self.pages.len() * self.sizes.page()
    }

    /// Positions of a page.
    pub fn page_positions(&self) -> usize {
        self.sizes.page()
    }
}

/// Where new positions begin.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// At this position.
    At(usize),
    /// Where a number on the GPU says; at the most there.
    Told(&'a Buffer<i32>),
    /// In the KV caches of several songs, where each of them is: within so many positions.
    OfEach(&'a SongTable, usize),
}

/// What an attention is of.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// Queries, keys and values of each row, before RoPE.
    pub joined: &'a Buffer<f32>,
    pub layer: usize,
    pub start: Start<'a>,
    /// Rows: `batch` for each position.
    pub rows: usize,
    /// Of several songs the rows of all.
    pub batch: usize,
    /// The first of the batch rows in the KV cache.
    pub first_batch: usize,
    /// Positions in the KV cache: as many as rows have, or more where one stands for all.
    pub appended: usize,
    pub out: &'a Bf16Rows,
}

/// What blocks tell each other.
#[derive(Debug)]
pub(crate) struct Scratch {
    found: Buffer<f32>,
    arrived: Buffer<u32>,
}

impl Scratch {
    /// Room for passes of at most `rows` rows over caches of `sizes`.
    ///
    /// # Errors
    /// When the GPU has no memory.
    pub fn new(gpu: &GpuStream, sizes: &[(KvCacheSizes, usize)]) -> Result<Self> {
        let found = |(sizes, rows): &(KvCacheSizes, usize)| {
            rows * sizes.spans() * sizes.heads.heads * (2 + sizes.heads.head_dim)
        };
        let arrived = |(sizes, rows): &(KvCacheSizes, usize)| rows * sizes.heads.kv_heads;
        let most = |count: &dyn Fn(&(KvCacheSizes, usize)) -> usize| sizes.iter().map(count).max().unwrap_or(0);
        Ok(Self { found: Buffer::zeros(gpu, most(&found))?, arrived: Buffer::zeros(gpu, most(&arrived))? })
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct AttentionArgs {
    joined: u64,
    pages: u64,
    cosines: u64,
    sines: u64,
    start: u64,
    caches: u64,
    songs: u64,
    out_parts: u64,
    found: u64,
    arrived: u64,
    offset: i32,
    rows: i32,
    batch: i32,
    first_batch: i32,
    batches: i32,
    layer: i32,
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    page: i32,
    parts_stride: i32,
    spans: i32,
    times: i32,
    appended: i32,
    tile: i32,
    span: i32,
    scale: f32,
}

impl GpuStream {
    /// Appends the keys and values of new positions to the KV cache, and attends with their queries to all up to each.
    ///
    /// What [`Start::Told`] and [`Start::OfEach`] say, with the rows, must be inside of what was reserved: the caller knows
    /// what it wrote there. Of `kv` several songs share the sizes alone, but for the positions.
    ///
    /// # Errors
    /// When shapes do not fit, or there is no room.
    pub fn attend(&self, kv: &PagedKvCache, scratch: &Scratch, of: Attention<'_>) -> Result<()> {
        let sizes = &kv.sizes;
        let HeadDims { heads, kv_heads, head_dim } = sizes.heads;
        let Attention { joined, layer, start, rows, batch, first_batch, appended, out } = of;
        let times = rows / batch.max(1);
        let reserved = kv.pages.len() * sizes.page();
        let (mut told, mut caches, mut songs, mut offset) = (0, 0, 0, 0);
        let (mut known, mut batches) = (reserved.min(sizes.capacity), sizes.batches);
        match start {
            Start::At(position) => offset = position,
            Start::Told(place) => told = place.address_of(0, 1)?,
            Start::OfEach(table, _) => {
                let count = batch / sizes.batches;
                (caches, songs) = (table.caches(count)?, table.places(count)?);
                (known, batches) = (sizes.capacity, count * sizes.batches);
            }
        }
        if times * batch != rows || rows == 0 || appended < times || offset + appended > known {
            bail!("{appended} positions behind {offset} where {known} of {} are reserved", sizes.capacity)
        }
        if layer >= sizes.layers || first_batch + batch > batches || out.width() != heads * head_dim {
            bail!("batch rows {first_batch} to {} of {batches} in layer {layer}", first_batch + batch)
        }
        let (span, spans) = (sizes.span(), sizes.spans());
        let tile = sizes.times(span, times);
        let tiles = times.div_ceil(tile);
        let arguments = AttentionArgs {
            joined: joined.address_of(0, rows * (heads + 2 * kv_heads) * head_dim)?,
            pages: kv.table.address_of(0, kv.table.len())?,
            cosines: kv.angles[0].address_of(0, sizes.capacity * head_dim / 2)?,
            sines: kv.angles[1].address_of(0, sizes.capacity * head_dim / 2)?,
            start: told,
            caches,
            songs,
            out_parts: out.rows(0, rows)?,
            found: scratch.found.address_of(0, rows * spans * heads * (2 + head_dim))?,
            arrived: scratch.arrived.address_of(0, batch * tiles * kv_heads)?,
            offset: offset as i32,
            rows: rows as i32,
            batch: batch as i32,
            first_batch: first_batch as i32,
            batches: sizes.batches as i32,
            layer: layer as i32,
            heads: heads as i32,
            kv_heads: kv_heads as i32,
            head_dim: head_dim as i32,
            page: sizes.page() as i32,
            parts_stride: out.stride() as i32,
            spans: spans as i32,
            times: times as i32,
            appended: appended as i32,
            tile: tile as i32,
            span: span as i32,
            scale: (1.0 / (head_dim as f64).sqrt()) as f32,
        };
        // A song of a known length needs no blocks for spans behind it.
        let used = match start {
            Start::At(position) => (position + appended).div_ceil(span),
            Start::Told(_) => spans,
            Start::OfEach(_, positions) => positions.div_ceil(span).min(spans),
        };
        let name = if sizes.half { "attention_f16" } else { "attention_f32" };
        // SAFETY: addresses were given out for as many numbers as the kernel takes from these sizes; pages are reserved
        // up to where it begins (checked above, or guaranteed by the caller) and it reads the table only up to there.
        unsafe { self.launch(name, [used, kv_heads, batch * tiles], ATTENDERS, sizes.shared(span, tile), arguments) }
    }
}
