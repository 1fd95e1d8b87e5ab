//! What is heard? Samples: of a segment from the vocoder, then in small blocks from the stitcher.

use serde::{Deserialize, Serialize};

use crate::units::{CHANNELS, SampleIndex, SegmentIndex};

/// The sound of one segment; from the vocoder to the stitcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PcmSegment {
    /// Its place among the segments.
    pub index: SegmentIndex,
    /// Samples of the left channel.
    pub left: Vec<f32>,
    /// Samples of the right channel, as many.
    pub right: Vec<f32>,
    /// In the last segment: where the song ends.
    pub song_end: Option<SampleIndex>,
}

/// A piece of the finished song; from the stitcher to every sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PcmBlock {
    /// The place of its first sample. Blocks follow each other without a gap.
    pub start: SampleIndex,
    /// Left and right in turn; full scale is 1.
    pub samples: Vec<f32>,
}

impl PcmBlock {
    /// The place behind its last sample.
    pub fn end(&self) -> SampleIndex {
        SampleIndex(self.start.0 + (self.samples.len() / CHANNELS) as u64)
    }
}
