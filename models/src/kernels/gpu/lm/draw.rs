//! Codes that are drawn where their logits are, and how they come to the host one frame late.

use candle_core::{
    Result, bail,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaEvent, DeviceRepr, PinnedHostSlice, ValidAsZeroBits},
    },
};

use super::{Buffer, GpuStream};

/// Threads of the kernel, and frames whose codes are kept; as in `draw.cuh`.
const DRAWERS: usize = 1024;
const RING: usize = 8;
/// Words of 32 bits of a [`SongPlace`], in the order of `SongMemory` there; the fourth is not used.
const WORDS: usize = 8;

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

    fn words(self) -> [i32; WORDS] {
        let halves = |number: u64| [number as i32, (number >> 32) as i32];
        let ([a, b], [c, d]) = (halves(self.frame), halves(self.failed_frame));
        [self.position, self.failed, self.bad as i32, 0, a, b, c, d]
    }

    fn from_words(words: &[i32]) -> Self {
        let word = |place: usize| words.get(place).copied().unwrap_or_default();
        let both = |place: usize| u64::from(word(place) as u32) | u64::from(word(place + 1) as u32) << 32;
        Self { position: word(0), failed: word(1), bad: word(2) as u32, frame: both(4), failed_frame: both(6) }
    }
}

/// The place of a song on the GPU, the codes of its frame, and those of its last frames on their way to the host.
pub(crate) struct Drawn {
    /// A [`SongPlace`], then the ring of codes.
    memory: Buffer<i32>,
    codes: Buffer<i32>,
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
    song: u64,
    codes: u64,
    ring: u64,
    vocabulary: i32,
    codebook: i32,
    codebooks: i32,
    top_k: i32,
    temperature: f32,
    key: [u32; 2],
    advance: i32,
}

impl Drawn {
    /// Room for the codes of `frames` frames that are looked at together.
    ///
    /// # Errors
    /// When the GPU or the host has no memory.
    pub fn new(gpu: &GpuStream, codebooks: usize, frames: usize) -> Result<Self> {
        fn pinned<T: DeviceRepr + ValidAsZeroBits>(gpu: &GpuStream, count: usize) -> Result<PinnedHostSlice<T>> {
            // SAFETY: zeros are written at once, and all bits zero are a number of this type.
            let mut numbers = unsafe { gpu.cuda().context().alloc_pinned_with_flags::<T>(count, 0).w()? };
            let place = numbers.as_mut_ptr().w()?;
            // SAFETY: the memory has `count` numbers, and nothing else knows it yet.
            unsafe { std::ptr::write_bytes(place, 0, count) };
            Ok(numbers)
        }
        let words = WORDS + RING * codebooks;
        Ok(Self {
            memory: Buffer::zeros(gpu, words)?,
            codes: Buffer::zeros(gpu, frames.max(1) * codebooks)?,
            codebooks,
            host: [pinned(gpu, words)?, pinned(gpu, words)?],
            sent: [None, None],
        })
    }

    /// The position that [`SongPlace`] has, for kernels that are told it.
    pub fn position(&self) -> &Buffer<i32> {
        &self.memory
    }

    /// The codes of the frames that are looked at.
    pub fn codes(&self) -> &Buffer<i32> {
        &self.codes
    }

    /// Says where the song is.
    ///
    /// # Errors
    /// When the GPU does not take it.
    pub fn set_place(&mut self, gpu: &GpuStream, place: SongPlace) -> Result<()> {
        self.memory.write(gpu, 0, &place.words())
    }

    /// Writes codes that were checked, frame after frame.
    ///
    /// # Errors
    /// If the buffers have no room for the drafts.
    pub fn set_codes(&mut self, gpu: &GpuStream, codes: &[i32]) -> Result<()> {
        self.codes.write(gpu, 0, codes)
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
    /// Draws code `codebook` from list `codebook` of `logits`. Behind the last one the song goes on by a frame and by
    /// `advance` positions. `key` is that of the song's noise.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn draw(
        &self,
        (logits, vocabulary): (&Buffer<f32>, usize),
        drawn: &Drawn,
        codebook: usize,
        (temperature, top_k, key): (f32, usize, [u32; 2]),
        advance: usize,
    ) -> Result<()> {
        if codebook >= drawn.codebooks || top_k == 0 {
            bail!("code {codebook} of {} out of {top_k}", drawn.codebooks)
        }
        let arguments = DrawArgs {
            logits: logits.address_of(codebook * vocabulary, vocabulary)?,
            song: drawn.memory.address_of(0, WORDS)?,
            codes: drawn.codes.address_of(0, drawn.codebooks)?,
            ring: drawn.memory.address_of(WORDS, RING * drawn.codebooks)?,
            vocabulary: vocabulary as i32,
            codebook: codebook as i32,
            codebooks: drawn.codebooks as i32,
            top_k: top_k.min(vocabulary) as i32,
            temperature,
            key,
            advance: advance as i32,
        };
        // SAFETY: addresses were given out for as many numbers as the kernel takes from these sizes.
        unsafe { self.launch("draw", [1, 1, 1], DRAWERS, 0, arguments) }
    }
}
