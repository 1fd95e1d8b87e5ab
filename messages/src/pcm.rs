//! PCM audio: in pieces of a segment from the vocoder, then as one song in blocks from the stitcher.

use serde::{Deserialize, Serialize};

use crate::units::{CHANNELS, SampleIndex};

/// A part of the sound of a segment; from the vocoder to the stitcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PcmPiece {
    /// Set in the first piece of a window.
    pub window: Option<PcmWindow>,
    /// Samples of the left channel.
    pub left: Vec<f32>,
    /// Samples of the right channel, as many.
    pub right: Vec<f32>,
    /// In the last segment: where the song ends.
    pub song_end: Option<SampleIndex>,
}

/// Unit of overlap-add: a segment, or, where the vocoder runs on through the seams, the whole song.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcmWindow {
    /// Its length in samples of one channel; `u64::MAX` for a song that just goes on.
    pub samples: u64,
    /// Trailing samples that are cross-faded with the next window.
    pub fade_out: u64,
}

/// A piece of the finished song; from the stitcher to every sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PcmBlock {
    /// The place of its first sample. Blocks follow each other without a gap.
    pub start: SampleIndex,
    /// Left and right, interleaved; full scale is 1.
    pub samples: Vec<f32>,
}

impl PcmBlock {
    /// The place behind its last sample.
    pub fn end(&self) -> SampleIndex {
        SampleIndex(self.start.0 + (self.samples.len() / CHANNELS) as u64)
    }
}
