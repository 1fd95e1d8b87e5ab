//! Speculative decoding report: counts and acceptance rates of one song, under the names that they have in its record.

use serde::{Deserialize, Serialize};

use crate::units::Seconds;

/// What drafting the language model's frames came to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpeculationReport {
    /// Frames that were written plainly, one code after the other.
    pub plain_frames: u64,
    /// Rounds of draft and verify.
    pub spec_rounds: u64,
    /// Frames that they wrote.
    pub spec_frames: u64,
    /// Frames that were drafted.
    pub spec_draft_frames: u64,
    /// Drafts that were right as a whole.
    pub spec_accepted_frames: u64,
    /// At place i: rounds whose draft number i was right, with all before it.
    pub spec_accepted_frames_by_pos: Vec<u64>,
    /// For each codebook: the share of drafted codes that were right where those before them were; none without any.
    pub spec_match_by_codebook: Vec<Option<f64>>,
    /// For each codebook: rounds whose first wrong draft was wrong there.
    pub spec_first_reject_codebook: Vec<u64>,
    /// Frames for each pass of the backbone in rounds of draft and verify.
    pub frames_per_verify: Option<f64>,
    /// Passes of the depth decoder for each frame of such rounds.
    pub depth_passes_per_frame: Option<f64>,
    /// For each codebook: the share of guesses that were right in frames that the depth decoder completed.
    pub jacobi_guess_right: Vec<Option<f64>>,
    /// Frames that a round drafts at present; none while decoding is plain.
    pub k_chosen: Option<u64>,
    /// Whether drafts are prepared while rounds are verified at present.
    pub prefetch_chosen: bool,
    /// How often either changed.
    pub policy_switches: u64,
    /// What each drafter drafted.
    pub drafters: Vec<DrafterReport>,
    /// What was prepared while verification ran.
    pub cache: PrefetchReport,
    /// Where the time of the language model went.
    pub time: SpeculationTimes,
    /// Bytes of weights that were read, as far as passes are counted.
    pub bytes_read_estimate: u64,
    /// Effective read bandwidth: those bytes over the language model's time, GB/s.
    pub effective_gb_per_s: Option<f64>,
    /// The smallest margin of an accepted code: its noised score minus the runner-up's.
    pub noised_gap_min: Option<f64>,
    /// The mean margin.
    pub noised_gap_mean: Option<f64>,
    /// Near ties: accepted codes with a margin below 0.00001. Only another rounding of the logits could flip them, and
    /// on a processor the rounding is fixed.
    pub tau_hits: u64,
    /// The largest burst: most frames that one round wrote.
    pub burst_frames_most: u64,
}

/// What one drafter drafted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DrafterReport {
    /// Its name.
    pub drafter: String,
    /// Frames that it drafted.
    pub draft_frames: u64,
    /// Those that were right, with all before them.
    pub accepted_frames: u64,
}

/// Drafts that were prepared for likely outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct PrefetchReport {
    /// Bundles of drafts that were made.
    pub cache_built: u64,
    /// Rounds that found drafts for the very frame that was written.
    pub cache_exact: u64,
    /// Rounds that found drafts for a frame with the same first code.
    pub cache_near: u64,
    /// Rounds that found none.
    pub cache_miss: u64,
    /// Bundles that came too late and were dropped.
    pub cache_stale: u64,
    /// Bundles that were in time and of no use.
    pub cache_unused: u64,
    /// Frames that were right in rounds with prepared drafts.
    pub accepted_on_hit: u64,
    /// Frames that were right in the others.
    pub accepted_on_miss: u64,
    /// How long drafts were computed that were there in time: drafting that verification hid.
    pub draft_busy_during_verify: Seconds,
}

/// Where the time of the language model went, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SpeculationTimes {
    /// In the backbone.
    pub backbone: Seconds,
    /// In passes of the depth decoder over whole frames.
    pub depth_verify: Seconds,
    /// In completing frames.
    pub completion: Seconds,
    /// In drafting.
    pub draft: Seconds,
    /// In waiting for prepared drafts.
    pub wait_draft: Seconds,
    /// In drawing codes.
    pub sample: Seconds,
    /// In rounds of plain decoding, all of it.
    pub plain: Seconds,
    /// In copying logits from a GPU. Always 0, because it is not measured; it stands here for readers of old records.
    pub host_sync: Seconds,
    /// In the codec, beside the language model: flow matching and vocoder. Known at the song's end.
    pub codec: Seconds,
}
