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
    /// Its codes, frame after frame: those of the lead-in, its own, and where it is the last, those of the run-out.
    pub codes: Vec<u16>,
    /// Frames of lead-in before the first frame: computed, not played.
    pub lead_in: Frames,
    /// Leading frames that the previous segment has decoded: their latents are the in-context latents.
    pub known: Frames,
    /// Look-ahead: trailing frames that are not played, because the next segment computes them again.
    pub look_ahead: Frames,
    /// Trailing frames that are cross-faded with the next segment.
    pub fade_out: Frames,
    /// In the last segment: where the song ends. What lies beyond is filling.
    pub song_end: Option<SampleIndex>,
}
