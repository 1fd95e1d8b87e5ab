//! What does a flow worker make? The latents of a segment.

use serde::{Deserialize, Serialize};

use crate::units::{SampleIndex, SegmentIndex};

/// From a flow worker to the vocoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatentSegment {
    /// Its place among the segments.
    pub index: SegmentIndex,
    /// Latent frame after latent frame; in each, the left channel's numbers come before the right channel's.
    pub latents: Vec<f32>,
    /// In the last segment: where the song ends.
    pub song_end: Option<SampleIndex>,
}
