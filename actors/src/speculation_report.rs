//! Speculation report from a model's counters.

use std::time::Duration;

use heartstream_messages::{DrafterReport, PrefetchReport, SpeculationReport, SpeculationTimes, units::Seconds};
use heartstream_models::{
    heartmula::{HeartMula, WeightReads},
    speculation::{Counters, PrefetchCounters},
};

/// The report of drafting.
pub(crate) fn speculation_report(
    counters: &Counters,
    prefetch: Option<(&PrefetchCounters, Duration)>,
    model: &HeartMula,
) -> SpeculationReport {
    let bytes = counters.weights_read(&WeightReads::new(model.config())) * model.bytes_per_weight() as f64;
    let (time, margins) = (counters.time().as_secs_f64(), &counters.margins);
    let (cache, waited) = prefetch.map_or_else(Default::default, |(cache, waited)| (cache_report(cache), waited));
    let share = |(of, right): &(u64, u64)| (*of > 0).then(|| *right as f64 / *of as f64);
    let seconds = |time: Duration| Seconds(time.as_secs_f64());
    let by_drafter = counters.by_drafter.iter().map(|(name, (drafted, accepted))| DrafterReport {
        drafter: (*name).to_owned(),
        draft_frames: *drafted,
        accepted_frames: *accepted,
    });
    let mut report = SpeculationReport::default();
    report.plain_frames = counters.plain_rounds;
    report.spec_rounds = counters.rounds;
    report.spec_frames = counters.frames;
    report.spec_draft_frames = counters.draft_frames;
    report.spec_accepted_frames = counters.accepted_frames;
    report.spec_accepted_frames_by_pos = counters.accepted_by_pos.clone();
    report.spec_match_by_codebook = counters.compared.iter().map(share).collect();
    report.spec_first_reject_codebook = counters.first_reject.clone();
    report.frames_per_verify = counters.frames_per_verify();
    report.depth_passes_per_frame = counters.depth_passes_per_frame();
    report.jacobi_guess_right = counters.guessed.iter().map(share).collect();
    report.k_chosen = counters.k_chosen.map(|frames| frames as u64);
    report.prefetch_chosen = counters.prefetch_chosen;
    report.policy_switches = counters.policy_switches;
    report.drafters = by_drafter.collect();
    report.cache = cache;
    report.time = SpeculationTimes {
        backbone: seconds(counters.times.backbone),
        depth_verify: seconds(counters.times.depth_verify),
        completion: seconds(counters.times.completion),
        draft: seconds(counters.draft),
        wait_draft: seconds(waited),
        sample: seconds(counters.times.sample),
        plain: seconds(counters.plain),
        host_sync: Seconds(0.0),
        codec: Seconds(0.0),
    };
    report.bytes_read_estimate = bytes as u64;
    report.effective_gb_per_s = (time > 0.0).then(|| bytes / time / 1e9);
    report.noised_gap_min = margins.least;
    report.noised_gap_mean = (margins.codes > 0).then(|| margins.sum / margins.codes as f64);
    report.tau_hits = margins.near_ties;
    report.burst_frames_most = counters.burst_most as u64;
    report
}

/// Traces the report of drafting, under the names of the record.
pub(crate) fn trace(report: &SpeculationReport) {
    let SpeculationReport { cache, time, .. } = report;
    tracing::info!(
        plain_frames = report.plain_frames,
        spec_rounds = report.spec_rounds,
        spec_frames = report.spec_frames,
        spec_draft_frames = report.spec_draft_frames,
        spec_accepted_frames = report.spec_accepted_frames,
        spec_accepted_frames_by_pos = ?report.spec_accepted_frames_by_pos,
        spec_match_by_codebook = ?report.spec_match_by_codebook,
        spec_first_reject_codebook = ?report.spec_first_reject_codebook,
        frames_per_verify = report.frames_per_verify,
        depth_passes_per_frame = report.depth_passes_per_frame,
        jacobi_guess_right = ?report.jacobi_guess_right,
        k_chosen = report.k_chosen,
        prefetch_chosen = report.prefetch_chosen,
        policy_switches = report.policy_switches,
        drafters = ?report.drafters,
        ?cache,
        ?time,
        "what drafting came to"
    );
    tracing::info!(
        bytes_read_estimate = report.bytes_read_estimate,
        effective_gb_per_s = report.effective_gb_per_s,
        noised_gap_min = report.noised_gap_min,
        noised_gap_mean = report.noised_gap_mean,
        tau_hits = report.tau_hits,
        burst_frames_most = report.burst_frames_most,
        "what was read for it, and how nearly codes were others"
    );
}

fn cache_report(counters: &PrefetchCounters) -> PrefetchReport {
    PrefetchReport {
        cache_built: counters.built,
        cache_exact: counters.exact,
        cache_near: counters.near,
        cache_miss: counters.miss,
        cache_stale: counters.stale,
        cache_unused: counters.unused,
        accepted_on_hit: counters.accepted_on_hit,
        accepted_on_miss: counters.accepted_on_miss,
        draft_busy_during_verify: Seconds(counters.busy_in_time.as_secs_f64()),
    }
}
