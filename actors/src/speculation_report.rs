//! From what a model counts to what a report says.

use std::time::Duration;

use heartstream_messages::{DrafterReport, PrefetchReport, SpeculationReport, SpeculationTimes, units::Seconds};
use heartstream_models::speculation::{Counters, PrefetchCounters};

/// What drafting has come to.
pub(crate) fn speculation_report(
    counters: &Counters,
    prefetch: Option<(&PrefetchCounters, Duration)>,
) -> SpeculationReport {
    let (cache, waited) = prefetch.map_or_else(Default::default, |(cache, waited)| (cache_report(cache), waited));
    let share = |(of, right): &(u64, u64)| (*of > 0).then(|| *right as f64 / *of as f64);
    let seconds = |time: Duration| Seconds(time.as_secs_f64());
    let by_drafter = counters.by_drafter.iter().map(|(name, (drafted, accepted))| DrafterReport {
        drafter: (*name).to_owned(),
        draft_frames: *drafted,
        accepted_frames: *accepted,
    });
    SpeculationReport {
        plain_frames: counters.plain_rounds,
        spec_rounds: counters.rounds,
        spec_frames: counters.frames,
        spec_draft_frames: counters.draft_frames,
        spec_accepted_frames: counters.accepted_frames,
        spec_accepted_frames_by_pos: counters.accepted_by_pos.clone(),
        spec_match_by_codebook: counters.compared.iter().map(share).collect(),
        spec_first_reject_codebook: counters.first_reject.clone(),
        frames_per_verify: counters.frames_per_verify(),
        depth_passes_per_frame: counters.depth_passes_per_frame(),
        jacobi_guess_right: counters.guessed.iter().map(share).collect(),
        k_chosen: counters.k_chosen.map(|frames| frames as u64),
        policy_switches: counters.policy_switches,
        drafters: by_drafter.collect(),
        cache,
        time: SpeculationTimes {
            backbone: seconds(counters.times.backbone),
            depth_verify: seconds(counters.times.depth_verify),
            completion: seconds(counters.times.completion),
            draft: seconds(counters.draft),
            wait_draft: seconds(waited),
            sample: seconds(counters.times.sample),
        },
    }
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
    }
}
