//! Opus encoder: packets of 20 ms (RFC 6716) in pages of Ogg (RFC 7845).

use heartstream_messages::{
    PcmBlock,
    units::{CHANNELS, SAMPLE_RATE},
};
use heartstream_models::contained;
use ropus::{Application, Bitrate, Channels, Signal};

use crate::{
    Encoder, FormatError, Metadata,
    ogg::{OggStream, PagePlace},
    vorbis_comments::vorbis_comments,
};

/// Samples of one channel in a packet: 20 ms, which RFC 6716 (section 2.1.4) calls the best for most uses.
const PACKET: usize = 960;
/// Packets in a page: 120 ms, so that listeners wait for less than a block, and pages are 2 % of the bytes.
const PACKETS_IN_PAGE: usize = 6;
/// Bits a second, as a mean: the recommendation of the format's authors for stereo music that is stored
/// ("Opus Recommended Settings", Xiph.Org).
const BIT_RATE: u32 = 128_000;
/// The most effort, of 0 to 10: a song costs a hundredth of its length on one core.
const COMPLEXITY: u8 = 10;
/// Room for a packet: what the format's authors recommend for the buffer of `opus_encode`.
const MOST_PACKET: usize = 4000;

pub(crate) struct OpusEncoder {
    encoder: ropus::Encoder,
    head: Vec<u8>,
    ogg: OggStream,
    /// Samples of the beginning that a player leaves out, for the encoder makes them.
    pre_skip: u64,
    /// Samples that fill no packet yet.
    waiting: Vec<f32>,
    /// Packets that fill no page yet.
    page: Vec<Vec<u8>>,
    /// Samples of one channel that the song has.
    samples: u64,
    /// Samples of one channel in all packets.
    encoded: u64,
}

impl OpusEncoder {
    /// 128 kbit/s on average, more where the music needs more.
    pub fn new(metadata: &Metadata, seed: u64) -> Result<Self, FormatError> {
        let encoder = ropus::Encoder::builder(SAMPLE_RATE, Channels::Stereo, Application::Audio)
            .bitrate(Bitrate::Bits(BIT_RATE))
            .complexity(COMPLEXITY)
            .signal(Signal::Music)
            .vbr(true)
            .vbr_constraint(false)
            .build()
            .map_err(failed)?;
        let pre_skip = encoder.lookahead();
        // Any number does where a file has one stream.
        let mut ogg = OggStream::new(seed as u32);
        let mut head = Vec::new();
        ogg.write(&[identification(pre_skip as u16)], 0, PagePlace::First, &mut head);
        ogg.write(&[[&b"OpusTags"[..], &vorbis_comments(metadata)].concat()], 0, PagePlace::Between, &mut head);
        let (waiting, page) = (Vec::new(), Vec::new());
        Ok(Self { encoder, head, ogg, pre_skip: pre_skip.into(), waiting, page, samples: 0, encoded: 0 })
    }

    fn encode_packet(&mut self, samples: &[f32]) -> Result<(), FormatError> {
        let mut packet = vec![0; MOST_PACKET];
        let length = contained(|| self.encoder.encode_float(samples, &mut packet)).map_err(failed)?.map_err(failed)?;
        packet.truncate(length);
        self.page.push(packet);
        self.encoded += PACKET as u64;
        Ok(())
    }
}

impl Encoder for OpusEncoder {
    fn head(&self) -> Result<Vec<u8>, FormatError> {
        Ok(self.head.clone())
    }

    fn encode(&mut self, block: &PcmBlock, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        self.samples += (block.samples.len() / CHANNELS) as u64;
        self.waiting.extend(&block.samples);
        let waiting = std::mem::take(&mut self.waiting);
        let (packets, rest) = waiting.as_chunks::<{ PACKET * CHANNELS }>();
        for packet in packets {
            self.encode_packet(packet)?;
            if self.page.len() == PACKETS_IN_PAGE {
                self.ogg.write(&self.page, self.encoded, PagePlace::Between, bytes);
                self.page.clear();
            }
        }
        self.waiting = rest.to_vec();
        Ok(())
    }

    /// The samples that wait and those that the encoder looks ahead for are always a further packet or two, so the last
    /// page is never empty. Its position says how many samples of it are the song's (RFC 7845, section 4.4).
    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        let end = self.pre_skip + self.samples;
        let mut last = std::mem::take(&mut self.waiting);
        last.resize((end - self.encoded).div_ceil(PACKET as u64) as usize * PACKET * CHANNELS, 0.0);
        for packet in last.as_chunks::<{ PACKET * CHANNELS }>().0 {
            self.encode_packet(packet)?;
        }
        self.ogg.write(&self.page, end, PagePlace::Last, bytes);
        self.page.clear();
        Ok(())
    }

    fn head_of_file(&self) -> Result<Option<Vec<u8>>, FormatError> {
        Ok(None)
    }
}

/// The identification header (RFC 7845, section 5.1): version 1, two channels in the usual order, no gain.
fn identification(pre_skip: u16) -> Vec<u8> {
    const VERSION: u8 = 1;
    const USUAL_MAPPING: u8 = 0;
    let head = [&b"OpusHead"[..], &[VERSION, CHANNELS as u8], &pre_skip.to_le_bytes(), &SAMPLE_RATE.to_le_bytes()];
    [&head.concat()[..], &[0, 0], &[USUAL_MAPPING]].concat()
}

fn failed(error: impl std::fmt::Display) -> FormatError {
    FormatError::encoder("opus", error)
}
