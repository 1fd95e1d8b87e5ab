//! MP3 encoder: MPEG-1 Layer III at a constant rate, behind an ID3v2.4 tag.

use heartstream_actors::wav_sink::SampleFormat;
use heartstream_messages::{
    PcmBlock,
    units::{CHANNELS, SAMPLE_RATE},
};
use heartstream_models::signal::KeyedNoise;
use mp3lame_encoder::{Bitrate, Builder, FlushNoGap, InterleavedPcm, Mode, max_required_buffer_size};

use crate::{Encoder, FormatError, Metadata};

pub(crate) struct Mp3Encoder {
    encoder: mp3lame_encoder::Encoder,
    dither: KeyedNoise,
    tag: Vec<u8>,
    pcm: Vec<u8>,
}

impl Mp3Encoder {
    /// 192 kbit/s, at which most music cannot be told from its original. With a constant rate a player knows the length
    /// of a file from its size, so no frame is written that would have to be corrected at the end.
    pub fn new(metadata: &Metadata, seed: u64) -> Result<Self, FormatError> {
        let builder = Builder::new().ok_or_else(|| failed("it has no memory"))?;
        let builder = builder.with_sample_rate(SAMPLE_RATE).map_err(failed)?;
        let builder = builder.with_num_channels(CHANNELS as u8).map_err(failed)?;
        let builder = builder.with_brate(Bitrate::Kbps192).map_err(failed)?;
        let builder = builder.with_mode(Mode::JointStereo).map_err(failed)?;
        let builder = builder.with_to_write_vbr_tag(false).map_err(failed)?;
        let encoder = builder.build().map_err(failed)?;
        Ok(Self { encoder, dither: KeyedNoise::new(seed), tag: id3(metadata), pcm: Vec::new() })
    }
}

impl Encoder for Mp3Encoder {
    fn head(&self) -> Result<Vec<u8>, FormatError> {
        Ok(self.tag.clone())
    }

    fn encode(&mut self, block: &PcmBlock, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        self.pcm.clear();
        SampleFormat::S16.encode(block, &self.dither, &mut self.pcm);
        let samples: Vec<i16> = self.pcm.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        bytes.reserve(max_required_buffer_size(samples.len() / CHANNELS));
        self.encoder.encode_to_vec(InterleavedPcm(&samples), bytes).map_err(failed)?;
        Ok(())
    }

    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        bytes.reserve(max_required_buffer_size(0));
        self.encoder.flush_to_vec::<FlushNoGap>(bytes).map_err(failed)?;
        Ok(())
    }

    fn head_of_file(&self) -> Result<Option<Vec<u8>>, FormatError> {
        Ok(None)
    }
}

/// An ID3v2.4 tag ("ID3 tag version 2.4.0: Main Structure" and "Native Frames", M. Nilsson, 2000), all text as UTF-8.
fn id3(metadata: &Metadata) -> Vec<u8> {
    const UTF_8: u8 = 3;
    let frame = |name: &[u8; 4], content: Vec<u8>| [&name[..], &synchsafe(content.len()), &[0, 0], &content].concat();
    let text = |text: &str| [&[UTF_8], text.replace('\0', " ").as_bytes()].concat();
    let named = |name: &str, value: &str| [&text(name)[..], &[0], value.replace('\0', " ").as_bytes()].concat();
    let lyrics = [&[UTF_8][..], b"eng\0", metadata.lyrics.replace('\0', " ").as_bytes()].concat();
    let frames = [
        frame(b"TIT2", text(&metadata.title)),
        frame(b"TCON", text(&metadata.tags)),
        frame(b"TSSE", text(&metadata.software)),
        frame(b"USLT", lyrics),
        frame(b"TXXX", named("SEED", &metadata.seed.to_string())),
        frame(b"TXXX", named("MODEL", &metadata.model)),
    ];
    let frames = frames.concat();
    [&b"ID3\x04\0\0"[..], &synchsafe(frames.len()), &frames].concat()
}

/// A size in four bytes of seven bits each. Metadata is shorter than 28 bits say.
fn synchsafe(size: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (size >> shift) as u8 & 0x7f)
}

fn failed(error: impl std::fmt::Display) -> FormatError {
    FormatError::Encoder { format: "mp3", reason: error.to_string().chars().take(200).collect() }
}
