//! WAV encoder: the engine's samples and headers, with an INFO chunk before the samples.

use heartstream_actors::wav_sink::{SampleFormat, header};
use heartstream_messages::PcmBlock;
use heartstream_models::signal::KeyedNoise;

use crate::{Encoder, FormatError, Metadata};

pub(crate) struct WavEncoder {
    format: SampleFormat,
    dither: KeyedNoise,
    info: Vec<u8>,
    data_bytes: u64,
}

impl WavEncoder {
    pub fn new(format: SampleFormat, metadata: &Metadata, seed: u64) -> Self {
        Self { format, dither: KeyedNoise::new(seed), info: info_chunk(metadata), data_bytes: 0 }
    }
}

impl Encoder for WavEncoder {
    fn head(&self) -> Result<Vec<u8>, FormatError> {
        Ok(header::of_growing_file(self.format, &self.info))
    }

    fn encode(&mut self, block: &PcmBlock, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        let before = bytes.len();
        self.format.encode(block, &self.dither, bytes);
        self.data_bytes += (bytes.len() - before) as u64;
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }

    fn head_of_file(&self) -> Result<Option<Vec<u8>>, FormatError> {
        Ok(Some(header::of_file(self.format, &self.info, self.data_bytes, header::LARGEST_RIFF)))
    }
}

/// `LIST` of type `INFO`: a chunk for each entry, text that ends with a zero. "Multimedia Programming Interface and Data
/// Specifications 1.0" (IBM and Microsoft, 1991), chapter 2. Nothing where there is nothing to say.
pub fn info_chunk(metadata: &Metadata) -> Vec<u8> {
    let entries = [
        (b"INAM", metadata.title.clone()),
        (b"IGNR", metadata.tags.clone()),
        (b"ICMT", metadata.comment()),
        (b"ISFT", metadata.software.clone()),
    ];
    let mut content = b"INFO".to_vec();
    for (name, text) in entries.into_iter().filter(|(_, text)| !text.is_empty()) {
        let mut text = text.replace('\0', " ").into_bytes();
        // The zero, and one more where the length would be odd.
        text.resize(text.len() + 2 - text.len() % 2, 0);
        content.extend(header::chunk(name, &text));
    }
    if content.len() == 4 { Vec::new() } else { header::chunk(b"LIST", &content) }
}
