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
    /// Frames of lead-in before the first frame: computed, not played.
    pub lead_in: Frames,
    /// Leading frames that the previous segment has played already.
    pub known: Frames,
    /// Look-ahead: trailing frames that are not played, because the next segment computes them again.
    pub look_ahead: Frames,
    /// Trailing frames that are cross-faded with the next segment.
    pub fade_out: Frames,
    /// In the last segment: where the song ends.
    pub song_end: Option<SampleIndex>,
}
