//! FLAC encoder: frames of 4096 samples, each of which a decoder can begin with.
//!
//! The layout is that of RFC 9639.

use flacenc::{
    bitsink::ByteSink,
    component::{BitRepr, StreamInfo},
    config, encode_fixed_size_frame,
    error::{Verified, Verify},
    source::{Context, Fill, FrameBuf},
};
use heartstream_actors::wav_sink::SampleFormat;
use heartstream_messages::{
    PcmBlock,
    units::{CHANNELS, SAMPLE_RATE},
};
use heartstream_models::signal::KeyedNoise;

use crate::{Encoder, FormatError, Metadata, vorbis_comments::vorbis_comments};

/// Samples of one channel in a frame: what the streamable subset of RFC 9639 (section 7) allows at 48 kHz, and a delay
/// of 85 ms.
const FRAME: usize = 4096;
/// Metadata blocks (RFC 9639, section 8.1).
const STREAM_INFO: u8 = 0;
const VORBIS_COMMENT: u8 = 4;
const LAST: u8 = 0x80;

pub(crate) struct FlacEncoder {
    format: SampleFormat,
    dither: KeyedNoise,
    comments: Vec<u8>,
    config: Verified<config::Encoder>,
    stream: StreamInfo,
    frame: FrameBuf,
    /// Counts what was encoded, and hashes it.
    encoded: Context,
    /// Samples that fill no frame yet, as bytes.
    waiting: Vec<u8>,
    frames: usize,
    finished: bool,
}

impl FlacEncoder {
    /// Integers of 16 or 24 bits.
    pub fn new(format: SampleFormat, metadata: &Metadata, seed: u64) -> Result<Self, FormatError> {
        let config = config::Encoder::default().into_verified().map_err(|(_, error)| failed(error))?;
        let bits = usize::from(format.bits());
        Ok(Self {
            format,
            dither: KeyedNoise::new(seed),
            comments: vorbis_comments(metadata),
            config,
            stream: StreamInfo::new(SAMPLE_RATE as usize, CHANNELS, bits).map_err(failed)?,
            frame: FrameBuf::with_size(CHANNELS, FRAME).map_err(failed)?,
            encoded: Context::new(bits, CHANNELS),
            waiting: Vec::new(),
            frames: 0,
            finished: false,
        })
    }

    /// One frame of the samples in `pcm`.
    fn encode_frame(&mut self, pcm: &[u8], bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        let sample_bytes = usize::from(self.format.bits() / 8);
        self.frame.fill_le_bytes(pcm, sample_bytes).map_err(failed)?;
        self.encoded.fill_le_bytes(pcm, sample_bytes).map_err(failed)?;
        let frame = encode_fixed_size_frame(&self.config, &self.frame, self.frames, &self.stream).map_err(failed)?;
        let mut sink = ByteSink::new();
        frame.write(&mut sink).map_err(failed)?;
        bytes.extend_from_slice(sink.as_slice());
        self.frames += 1;
        Ok(())
    }

    /// The head for a song of `samples` samples with this hash; zeroes where neither is known.
    fn head_with(&self, samples: u64, hash: [u8; 16]) -> Vec<u8> {
        let block = (FRAME as u16).to_be_bytes();
        // 20 bits of rate, 3 of channels less one, 5 of bits less one, 36 of the length.
        let rate = u64::from(SAMPLE_RATE) << 44;
        let shape = (CHANNELS as u64 - 1) << 41 | u64::from(self.format.bits() - 1) << 36;
        let numbers = (rate | shape | samples.min((1 << 36) - 1)).to_be_bytes();
        let info = [&block[..], &block, &[0; 6], &numbers, &hash].concat();
        [&b"fLaC"[..], &block_of(STREAM_INFO, &info), &block_of(VORBIS_COMMENT | LAST, &self.comments)].concat()
    }
}

impl Encoder for FlacEncoder {
    fn head(&self) -> Result<Vec<u8>, FormatError> {
        Ok(self.head_with(0, [0; 16]))
    }

    fn encode(&mut self, block: &PcmBlock, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        self.format.encode(block, &self.dither, &mut self.waiting);
        let waiting = std::mem::take(&mut self.waiting);
        let frames = waiting.chunks_exact(FRAME * self.format.bytes_per_sample_frame() as usize);
        self.waiting = frames.remainder().to_vec();
        for frame in frames {
            self.encode_frame(frame, bytes)?;
        }
        Ok(())
    }

    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        self.finished = true;
        let last = std::mem::take(&mut self.waiting);
        if last.is_empty() { Ok(()) } else { self.encode_frame(&last, bytes) }
    }

    fn head_of_file(&self) -> Result<Option<Vec<u8>>, FormatError> {
        // The hash of a part would be wrong for a reader of the growing file.
        let hash = if self.finished { self.encoded.md5_digest() } else { [0; 16] };
        Ok(Some(self.head_with(self.encoded.total_samples() as u64, hash)))
    }
}

/// A metadata block: its type, its length in 24 bits, its content.
fn block_of(kind: u8, content: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (content.len() as u32).to_be_bytes();
    [&[kind], &length[..], content].concat()
}

fn failed(error: impl std::fmt::Display) -> FormatError {
    FormatError::encoder("flac", error)
}
