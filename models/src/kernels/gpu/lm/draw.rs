//! Codes that are drawn where their logits are, and how those of one song come to the host one frame late.

use candle_core::{
    Result, bail,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaEvent, DeviceRepr, PinnedHostSlice, ValidAsZeroBits},
    },
};

use super::{Buffer, GpuStream, SongTable};

/// Threads of the kernel, and frames whose codes are kept; as in `draw.cuh`.
const DRAWERS: usize = 1024;
const RING: usize = 8;
/// Words of 32 bits of a [`SongPlace`], in the order of `SongMemory` in `common.cuh`; the fourth is not used.
pub(super) const WORDS: usize = 8;

/// Where a song is, as its kernels know it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SongPlace {
    /// The position of the next frame that is fed to the backbone.
    pub position: i32,
    /// 1 + the codebook of the first logit that was no number, 0 where there was none.
    pub failed: i32,
    /// The bits of that logit.
    pub bad: u32,
    /// The number of the frame that is written.
    pub frame: u64,
    /// The frame of that logit.
    pub failed_frame: u64,
}

impl SongPlace {
    /// A place where nothing has failed.
    pub fn new(position: usize, frame: u64) -> Self {
        Self { position: position as i32, frame, ..Self::default() }
    }

    pub(super) fn words(self) -> [i32; WORDS] {
        let halves = |number: u64| [number as i32, (number >> 32) as i32];
        let ([a, b], [c, d]) = (halves(self.frame), halves(self.failed_frame));
        [self.position, self.failed, self.bad as i32, 0, a, b, c, d]
    }

    pub(super) fn from_words(words: &[i32]) -> Self {
        let word = |place: usize| words.get(place).copied().unwrap_or_default();
        let both = |place: usize| u64::from(word(place) as u32) | u64::from(word(place + 1) as u32) << 32;
        Self { position: word(0), failed: word(1), bad: word(2) as u32, frame: both(4), failed_frame: both(6) }
    }
}

/// How the codes of a song are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DrawSettings {
    /// 0 for the largest logit.
    pub temperature: f32,
    /// How many of the largest logits are drawn from, at least 1.
    pub top_k: usize,
    /// The key of the song's noise.
    pub key: [u32; 2],
}

impl DrawSettings {
    /// As `DrawSettings` in `draw.cuh`, for a vocabulary.
    pub(super) fn words(self, vocabulary: usize) -> [u32; 4] {
        [self.temperature.to_bits(), self.top_k.min(vocabulary) as u32, self.key[0], self.key[1]]
    }
}

/// Which songs' codes are drawn.
#[derive(Clone, Copy)]
pub(crate) enum Drawers<'a> {
    /// One song's, which goes on by so many positions behind its last code.
    One(&'a Drawn, DrawSettings, usize),
    /// Those of the first songs of a table, which go on by a position.
    Each(&'a SongTable, usize),
}

/// The place of a song on the GPU, and the codes of its last frames on their way to the host.
pub(crate) struct Drawn {
    /// A [`SongPlace`], then the ring of codes.
    memory: Buffer<i32>,
    codebooks: usize,
    host: [PinnedHostSlice<i32>; 2],
    /// When what was sent last to each of them is there.
    sent: [Option<CudaEvent>; 2],
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Drawn({})", self.codebooks)
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct DrawArgs {
    logits: u64,
    songs: u64,
    codes: u64,
    ring: u64,
    settings: u64,
    vocabulary: i32,
    codebook: i32,
    codebooks: i32,
    own: [u32; 4],
    advance: i32,
}

impl Drawn {
    /// Of a song of `codebooks` codebooks.
    ///
    /// # Errors
    /// When the GPU or the host has no memory.
    pub fn new(gpu: &GpuStream, codebooks: usize) -> Result<Self> {
        let words = WORDS + RING * codebooks;
        Ok(Self {
            memory: Buffer::zeros(gpu, words)?,
            codebooks,
            host: [pinned(gpu, words)?, pinned(gpu, words)?],
            sent: [None, None],
        })
    }

    /// The position that [`SongPlace`] has, for kernels that are told it.
    pub fn position(&self) -> &Buffer<i32> {
        &self.memory
    }

    /// Says where the song is.
    ///
    /// # Errors
    /// When the GPU does not take it.
    pub fn set_place(&mut self, gpu: &GpuStream, place: SongPlace) -> Result<()> {
        self.memory.write(gpu, 0, &place.words())
    }

    /// Asks for the place and the ring, to be read by [`Drawn::receive`] with the same frame.
    ///
    /// # Errors
    /// When the GPU does not take it.
    pub fn send(&mut self, gpu: &GpuStream, frame: u64) -> Result<()> {
        let place = frame as usize % 2;
        gpu.cuda().memcpy_dtoh(self.memory.numbers(), &mut self.host[place]).w()?;
        match &self.sent[place] {
            Some(event) => event.record(gpu.cuda()).w()?,
            None => self.sent[place] = Some(gpu.cuda().record_event(None).w()?),
        }
        Ok(())
    }

    /// Waits for the codes of `frame`, which were sent behind it.
    ///
    /// # Errors
    /// When the GPU failed.
    pub fn receive(&self, frame: u64) -> Result<(SongPlace, Vec<u32>)> {
        let Some(event) = &self.sent[frame as usize % 2] else { bail!("frame {frame} was not sent") };
        event.synchronize().w()?;
        let words = self.host[frame as usize % 2].as_slice().w()?;
        let (place, ring) = words.split_at(WORDS);
        let first = frame as usize % RING * self.codebooks;
        let Some(codes) = ring.get(first..first + self.codebooks) else { bail!("frame {frame} is not in the ring") };
        Ok((SongPlace::from_words(place), codes.iter().map(|code| *code as u32).collect()))
    }
}

impl GpuStream {
    /// Draws code `codebook` of each song from lists of `logits`, of one song list `codebook`, of several those from
    /// `codebook` times their count on. Behind the last one a song goes on by a frame.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn draw(
        &self,
        (logits, vocabulary): (&Buffer<f32>, usize),
        songs: Drawers<'_>,
        codes: &Buffer<i32>,
        (codebook, codebooks): (usize, usize),
    ) -> Result<()> {
        let count = if let Drawers::Each(_, count) = songs { count } else { 1 };
        let mut arguments = DrawArgs {
            logits: logits.address_of(codebook * count * vocabulary, count * vocabulary)?,
            songs: 0,
            codes: codes.address_of(0, count * codebooks)?,
            ring: 0,
            settings: 0,
            vocabulary: vocabulary as i32,
            codebook: codebook as i32,
            codebooks: codebooks as i32,
            own: [0; 4],
            advance: 1,
        };
        match songs {
            Drawers::One(drawn, settings, advance) => {
                if codebook >= drawn.codebooks || codebooks != drawn.codebooks || settings.top_k == 0 {
                    bail!("code {codebook} of {codebooks} out of {}", settings.top_k)
                }
                arguments.songs = drawn.memory.address_of(0, WORDS)?;
                arguments.ring = drawn.memory.address_of(WORDS, RING * codebooks)?;
                (arguments.own, arguments.advance) = (settings.words(vocabulary), advance as i32);
            }
            Drawers::Each(table, count) => {
                if codebook >= codebooks {
                    bail!("code {codebook} of {codebooks}")
                }
                (arguments.songs, arguments.settings) = (table.places(count)?, table.settings(count)?);
            }
        }
        // SAFETY: addresses were given out for as many numbers as the kernel takes from these sizes.
        unsafe { self.launch("draw", [count, 1, 1], DRAWERS, 0, arguments) }
    }
}

/// Zeros in memory of the host that the GPU writes to by itself.
///
/// # Errors
/// When the host has no memory for them.
pub(super) fn pinned<T: DeviceRepr + ValidAsZeroBits>(gpu: &GpuStream, count: usize) -> Result<PinnedHostSlice<T>> {
    // SAFETY: zeros are written at once, and all bits zero are a number of this type.
    let mut numbers = unsafe { gpu.cuda().context().alloc_pinned_with_flags::<T>(count, 0).w()? };
    let place = numbers.as_mut_ptr().w()?;
    // SAFETY: the memory has `count` numbers, and nothing else knows it yet.
    unsafe { std::ptr::write_bytes(place, 0, count) };
    Ok(numbers)
}
