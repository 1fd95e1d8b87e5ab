//! Several songs that write a frame together: where each of them is, where its keys and values lie, how its codes are drawn.

use candle_core::{
    Result, bail,
    cuda_backend::{WrapErr, cudarc::driver::PinnedHostSlice},
};

use super::{
    Buffer, GpuStream, PagedKvCache,
    draw::{DrawSettings, SongPlace, WORDS, pinned},
};

/// Words of 64 bits of a `SongCache` in `attention.cuh`, and of 32 bits of a `DrawSettings` in `draw.cuh`.
const CACHE_WORDS: usize = 2;
const SETTINGS_WORDS: usize = 4;

/// A song of a [`SongTable`].
#[derive(Clone, Copy)]
pub(crate) struct TableSong<'a> {
    pub place: SongPlace,
    pub kv: &'a PagedKvCache,
    pub settings: DrawSettings,
    pub guidance: f64,
}

/// Songs side by side, as kernels find them.
pub(crate) struct SongTable {
    places: Buffer<i32>,
    caches: Buffer<u64>,
    settings: Buffer<u32>,
    guidances: Buffer<f32>,
    /// Places and codes on their way to the host.
    host: [PinnedHostSlice<i32>; 2],
    codebooks: usize,
}

impl std::fmt::Debug for SongTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SongTable({})", self.guidances.len())
    }
}

impl SongTable {
    /// Room for `most` songs.
    ///
    /// # Errors
    /// When the GPU or the host has no memory.
    pub fn new(gpu: &GpuStream, most: usize, codebooks: usize) -> Result<Self> {
        Ok(Self {
            places: Buffer::zeros(gpu, most * WORDS)?,
            caches: Buffer::zeros(gpu, most * CACHE_WORDS)?,
            settings: Buffer::zeros(gpu, most * SETTINGS_WORDS)?,
            guidances: Buffer::zeros(gpu, most)?,
            host: [pinned(gpu, most * WORDS)?, pinned(gpu, most * codebooks)?],
            codebooks,
        })
    }

    /// Has these songs be the first ones. Their KV caches must stay as long as kernels are launched for them.
    ///
    /// # Errors
    /// When they are more than there is room for.
    pub fn set(&mut self, gpu: &GpuStream, songs: &[TableSong<'_>], vocabulary: usize) -> Result<()> {
        if songs.iter().any(|song| song.settings.top_k == 0) {
            bail!("a code is drawn out of one or more, not out of none")
        }
        let places: Vec<i32> = songs.iter().flat_map(|song| song.place.words()).collect();
        let mut caches = Vec::with_capacity(songs.len() * CACHE_WORDS);
        for song in songs {
            caches.extend([song.kv.table()?, song.kv.page_positions() as u64]);
        }
        let settings: Vec<u32> = songs.iter().flat_map(|song| song.settings.words(vocabulary)).collect();
        let guidances: Vec<f32> = songs.iter().map(|song| song.guidance as f32).collect();
        self.places.write(gpu, 0, &places)?;
        self.caches.write(gpu, 0, &caches)?;
        self.settings.write(gpu, 0, &settings)?;
        self.guidances.write(gpu, 0, &guidances)
    }

    /// Guidance of each song.
    pub fn guidances(&self) -> &Buffer<f32> {
        &self.guidances
    }

    /// Waits for what was launched before; places of the first `count` songs, and their codes from `codes`.
    ///
    /// # Errors
    /// When the GPU failed, or there are fewer songs.
    pub fn receive(
        &mut self,
        gpu: &GpuStream,
        codes: &Buffer<i32>,
        count: usize,
    ) -> Result<Vec<(SongPlace, Vec<u32>)>> {
        self.places(count)?;
        let [places, drawn] = &mut self.host;
        gpu.cuda().memcpy_dtoh(self.places.numbers(), places).w()?;
        codes.address_of(0, drawn.len())?;
        gpu.cuda().memcpy_dtoh(&codes.numbers().slice(..drawn.len()), drawn).w()?;
        gpu.wait()?;
        let (places, drawn) = (self.host[0].as_slice().w()?, self.host[1].as_slice().w()?);
        let songs = places.chunks_exact(WORDS).zip(drawn.chunks_exact(self.codebooks)).take(count);
        Ok(songs
            .map(|(place, codes)| (SongPlace::from_words(place), codes.iter().map(|code| *code as u32).collect()))
            .collect())
    }

    pub(super) fn places(&self, count: usize) -> Result<u64> {
        self.places.address_of(0, count * WORDS)
    }

    pub(super) fn caches(&self, count: usize) -> Result<u64> {
        self.caches.address_of(0, count * CACHE_WORDS)
    }

    pub(super) fn settings(&self, count: usize) -> Result<u64> {
        self.settings.address_of(0, count * SETTINGS_WORDS)
    }
}
