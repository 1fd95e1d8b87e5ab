//! Latents of a segment, as a flow worker makes them.

use serde::{Deserialize, Serialize};

use crate::units::{FrameIndex, Frames, SampleIndex, SegmentIndex};

/// From a flow worker to the vocoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatentSegment {
    /// Its place among the segments.
    pub index: SegmentIndex,
    /// Latent frame after latent frame; in each, the left channel's numbers come before the right channel's.
    pub latents: Vec<f32>,
    /// The place of its first frame.
    pub first_frame: FrameIndex,
    /// So many frames of latents lie before its first frame, and are not played.
    pub lead_in: Frames,
    /// So many of its first frames were known: the segment before has played them.
    pub known: Frames,
    /// So many of its last frames are not played: the next segment computes them again.
    pub look_ahead: Frames,
    /// The next segment comes in over so many of its last frames.
    pub fade_out: Frames,
    /// In the last segment: where the song ends.
    pub song_end: Option<SampleIndex>,
}
