//! Codes: frame by frame from the language model, then gathered into segments.

use serde::{Deserialize, Serialize};

use crate::units::{FrameIndex, Frames, SampleIndex, SegmentIndex};

/// 80 ms of music as codes; from the language model to the segmenter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeFrame {
    /// Its place in the song.
    pub index: FrameIndex,
    /// One code of each codebook.
    pub codes: Vec<u16>,
}

/// A window of frames that is decoded at once; from the segmenter to a flow worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeSegment {
    /// Its place among the segments.
    pub index: SegmentIndex,
    /// The place of its first frame.
    pub first_frame: FrameIndex,
    /// Its codes, frame after frame.
    pub codes: Vec<u16>,
    /// So many of its first frames have latents already: the end of the segment before.
    pub known: Frames,
    /// The next segment comes in over so many of its last frames.
    pub fade_out: Frames,
    /// In the last segment: where the song ends. What lies beyond is filling.
    pub song_end: Option<SampleIndex>,
}
