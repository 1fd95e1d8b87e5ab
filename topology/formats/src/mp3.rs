//! MP3 encoder: MPEG-1 Layer III at a constant rate, behind an ID3 tag and a frame that says how long the song is.

mod id3;
mod info_frame;

use heartstream_messages::{
    PcmBlock,
    units::{CHANNELS, SAMPLE_RATE},
};
use mp3lame_encoder::{Bitrate, Builder, FlushGap, InterleavedPcm, Mode, max_required_buffer_size};

use crate::{Encoder, FormatError, Metadata};
use id3::id3;
use info_frame::{FRAME_BYTES, Length, info_frame};

pub(crate) struct Mp3Encoder {
    encoder: mp3lame_encoder::Encoder,
    tag: Vec<u8>,
    /// Samples of one channel that the song has.
    samples: u64,
    /// Frames that were given out.
    frames: u64,
    /// The beginning of a frame: the library gives out what it has, be it a part of one.
    waiting: Vec<u8>,
    finished: bool,
}

impl Mp3Encoder {
    /// 192 kbit/s, at which most music cannot be told from its original. With a constant rate all frames are equally long.
    pub fn new(metadata: &Metadata) -> Result<Self, FormatError> {
        let builder = Builder::new().ok_or_else(|| failed("it has no memory"))?;
        let builder = builder.with_sample_rate(SAMPLE_RATE).map_err(failed)?;
        let builder = builder.with_num_channels(CHANNELS as u8).map_err(failed)?;
        let builder = builder.with_brate(Bitrate::Kbps192).map_err(failed)?;
        let builder = builder.with_mode(Mode::JointStereo).map_err(failed)?;
        // The library's own frame of this kind can only be written at the end.
        let builder = builder.with_to_write_vbr_tag(false).map_err(failed)?;
        let encoder = builder.build().map_err(failed)?;
        Ok(Self { encoder, tag: id3(metadata), samples: 0, frames: 0, waiting: Vec::new(), finished: false })
    }

    /// Gives out the frames that are whole.
    fn give(&mut self, bytes: &mut Vec<u8>) {
        let frames = self.waiting.len() / FRAME_BYTES;
        bytes.extend(self.waiting.drain(..frames * FRAME_BYTES));
        self.frames += frames as u64;
    }

    fn head_with(&self, length: Option<Length>) -> Vec<u8> {
        [&self.tag[..], &info_frame(length)].concat()
    }
}

impl Encoder for Mp3Encoder {
    fn head(&self) -> Result<Vec<u8>, FormatError> {
        Ok(self.head_with(None))
    }

    fn encode(&mut self, block: &PcmBlock, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        let samples = block.samples.len() / CHANNELS;
        self.waiting.reserve(max_required_buffer_size(samples));
        self.encoder.encode_to_vec(InterleavedPcm(&block.samples), &mut self.waiting).map_err(failed)?;
        self.samples += samples as u64;
        self.give(bytes);
        Ok(())
    }

    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        self.waiting.reserve(max_required_buffer_size(0));
        self.encoder.flush_to_vec::<FlushGap>(&mut self.waiting).map_err(failed)?;
        self.give(bytes);
        self.finished = true;
        Ok(())
    }

    /// The length of a file that still grows is that of its frames, of which readers count as many as there are.
    fn head_of_file(&self) -> Result<Option<Vec<u8>>, FormatError> {
        let length = Length { samples: self.samples, frames: self.frames };
        Ok(Some(self.head_with(self.finished.then_some(length))))
    }
}

fn failed(error: impl std::fmt::Display) -> FormatError {
    FormatError::encoder("mp3", error)
}
