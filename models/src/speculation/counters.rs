//! Counters of speculative decoding: sums over the rounds of a song.

use std::{collections::BTreeMap, time::Duration};

use super::{
    margin_stats::MarginStats,
    round::{RoundOutcome, RoundTimes},
};
use crate::heartmula::WeightReads;

/// Sums over the rounds of a song.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    /// Rounds of plain decoding, a frame each.
    pub plain_rounds: u64,
    /// Rounds of draft and verify.
    pub rounds: u64,
    /// Frames that they wrote.
    pub frames: u64,
    /// Frames that were drafted.
    pub draft_frames: u64,
    /// Drafts that were right.
    pub accepted_frames: u64,
    /// At place i: rounds whose draft number i was right, with all before it.
    pub accepted_by_pos: Vec<u64>,
    /// At place i: rounds that had a draft number i.
    pub drafted_by_pos: Vec<u64>,
    /// For each codebook: drafted codes that were compared under right codes before them, and how many were right.
    pub compared: Vec<(u64, u64)>,
    /// For each codebook: rounds whose first wrong draft was wrong there.
    pub first_reject: Vec<u64>,
    /// For each codebook: guesses in the frame that a round completed, and how many were right.
    pub guessed: Vec<(u64, u64)>,
    /// Passes of the depth decoder over several codes.
    pub depth_passes: u64,
    /// Its steps of one code, in rounds of draft and verify.
    pub depth_steps: u64,
    /// For each drafter: frames that it drafted, and how many were right.
    pub by_drafter: BTreeMap<&'static str, (u64, u64)>,
    /// Frames a round would draft at present; none while decoding is plain.
    pub k_chosen: Option<usize>,
    /// Which choice of drafters is asked at present.
    pub exclusion_chosen: usize,
    /// Whether drafts are prefetched at present.
    pub prefetch_chosen: bool,
    /// How often that changed.
    pub policy_switches: u64,
    /// Where the time of all rounds went.
    pub times: RoundTimes,
    /// Time spent drafting.
    pub draft: Duration,
    /// Time of rounds of plain decoding, all of it.
    pub plain: Duration,
    /// Margins of the drafted codes that were right.
    pub margins: MarginStats,
    /// The most frames that came at once.
    pub burst_most: usize,
}

impl Counters {
    /// Adds a round of draft and verify; `by` says who made each draft.
    pub fn add(&mut self, outcome: &RoundOutcome, by: &[&'static str], drafting: Duration) {
        self.rounds += 1;
        self.frames += outcome.frames.len() as u64;
        self.draft_frames += outcome.drafted as u64;
        self.accepted_frames += outcome.accepted as u64;
        grow(&mut self.accepted_by_pos, outcome.drafted);
        grow(&mut self.drafted_by_pos, outcome.drafted);
        self.accepted_by_pos[..outcome.accepted].iter_mut().for_each(|count| *count += 1);
        self.drafted_by_pos[..outcome.drafted].iter_mut().for_each(|count| *count += 1);
        sum(&mut self.compared, &outcome.compared);
        sum(&mut self.guessed, &outcome.guessed);
        grow(&mut self.first_reject, outcome.compared.len());
        if let Some(codebook) = outcome.first_reject {
            self.first_reject[codebook] += 1;
        }
        self.depth_passes += u64::from(outcome.depth_passes);
        self.depth_steps += u64::from(outcome.depth_steps);
        self.margins.join(&outcome.margins);
        self.burst_most = self.burst_most.max(outcome.frames.len());
        for (place, drafter) in by.iter().take(outcome.drafted).enumerate() {
            let count = self.by_drafter.entry(drafter).or_default();
            count.0 += 1;
            count.1 += u64::from(place < outcome.accepted);
        }
        self.spent(&outcome.times, drafting);
    }

    /// Adds a round of plain decoding that took so long.
    pub fn add_plain(&mut self, took: Duration) {
        self.plain_rounds += 1;
        self.plain += took;
        self.burst_most = self.burst_most.max(1);
    }

    /// Sets the choice of the next rounds: frames to draft (`None` decodes plainly), choice of drafters, prefetch.
    pub fn chose(&mut self, frames: Option<usize>, exclusion: usize, prefetch: bool) {
        let before = (self.k_chosen, self.exclusion_chosen, self.prefetch_chosen);
        if self.rounds + self.plain_rounds > 1 && before != (frames, exclusion, prefetch) {
            self.policy_switches += 1;
            tracing::debug!(
                k_chosen = frames,
                exclusion,
                prefetch_chosen = prefetch,
                "drafting goes on in another way"
            );
        }
        (self.k_chosen, self.exclusion_chosen, self.prefetch_chosen) = (frames, exclusion, prefetch);
    }

    fn spent(&mut self, times: &RoundTimes, drafting: Duration) {
        self.times.backbone += times.backbone;
        self.times.depth_verify += times.depth_verify;
        self.times.completion += times.completion;
        self.times.sample += times.sample;
        self.draft += drafting;
    }

    /// Weights that were read, by what a pass reads of each part.
    pub fn weights_read(&self, reads: &WeightReads) -> f64 {
        let plain = self.plain_rounds as f64 * reads.plain_frame();
        let steps = self.depth_steps as f64 * (reads.trunk + reads.head);
        plain + self.rounds as f64 * reads.backbone + steps + reads.passes(self.rounds as f64, self.depth_passes as f64)
    }

    /// Time of all rounds.
    pub fn time(&self) -> Duration {
        self.times.total() + self.draft + self.plain
    }

    /// Frames for each pass of the backbone; `None` before there was a round of draft and verify.
    pub fn frames_per_verify(&self) -> Option<f64> {
        (self.rounds > 0).then(|| self.frames as f64 / self.rounds as f64)
    }

    /// Passes of the depth decoder for each frame; plain decoding has one less than codebooks.
    pub fn depth_passes_per_frame(&self) -> Option<f64> {
        (self.frames > 0).then(|| (self.depth_passes + self.depth_steps) as f64 / self.frames as f64)
    }
}

fn grow(counts: &mut Vec<u64>, length: usize) {
    if counts.len() < length {
        counts.resize(length, 0);
    }
}

fn sum(sums: &mut Vec<(u64, u64)>, counts: &[(u32, u32)]) {
    if sums.len() < counts.len() {
        sums.resize(counts.len(), (0, 0));
    }
    for (sum, count) in sums.iter_mut().zip(counts) {
        sum.0 += u64::from(count.0);
        sum.1 += u64::from(count.1);
    }
}
