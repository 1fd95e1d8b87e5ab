//! Prefetched drafts: requests, bundles, and the cache of those that a round can use.
//!
//! While the target verifies drafts, it is not known yet how many are right. But the likely outcomes are few, and
//! drafts for each can be made in parallel: Saguaro, <https://arxiv.org/abs/2603.03251>. An outcome is (drafts
//! accepted, frame that corrects the next one); that frame is known by its code 0, since all eight codes would hardly
//! ever be the same. Drafts made for a frame with other codes behind it are worse drafts, and as valid as any.

use std::{cmp::Ordering, time::Duration};

use candle_core::Tensor;

use super::{drafter::Draft, target::Frame};

/// A request to the prefetcher while a round is verified.
#[derive(Debug, Clone)]
pub struct PrefetchRequest {
    /// The number of the round.
    pub round: u64,
    /// Frames of the song that the prefetcher has not received yet.
    pub past: Vec<Frame>,
    /// The drafts that are being verified, and the guess for the frame behind them.
    pub drafts: Vec<Draft>,
    /// The outcomes to prepare for, the likeliest first.
    pub outcomes: Vec<LikelyOutcome>,
    /// Frames to draft for each.
    pub count: usize,
    /// Backbone output that the last frame followed from; see [`super::DraftContext::trail`].
    pub trail: Option<Tensor>,
    /// Guidance scale; 1 is none.
    pub guidance: f64,
}

/// An outcome of a round that may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LikelyOutcome {
    /// Number of drafts that are right.
    pub accepted: usize,
    /// The frame behind them.
    pub frame: Frame,
}

/// Drafts for one outcome of one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The round.
    pub round: u64,
    /// The outcome.
    pub outcome: LikelyOutcome,
    /// Drafts of the frames behind it.
    pub drafts: Vec<Draft>,
    /// How long they were computed.
    pub took: Duration,
}

/// A prefetcher of drafts on cores of its own. Neither of these may wait longer than it was allowed to.
pub trait Prefetch: Send {
    /// Asks for drafts; those of earlier rounds are not needed any more.
    fn ask(&mut self, request: PrefetchRequest);

    /// The next bundle that is there, or that comes before the wait is over which is allowed since the last round
    /// ended.
    fn next(&mut self) -> Option<Bundle>;
}

/// How a round found its drafts in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    /// Made for the very frame that was written.
    Exact,
    /// Made for a frame with the same code 0.
    Near,
}

/// Counters of prefetched drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefetchCounters {
    /// Rounds that asked the cache.
    pub lookups: u64,
    /// Bundles that were made.
    pub built: u64,
    /// Rounds that found drafts for the very frame.
    pub exact: u64,
    /// Rounds that found drafts for a frame with the same code 0.
    pub near: u64,
    /// Rounds that found none.
    pub miss: u64,
    /// Bundles that came too late.
    pub stale: u64,
    /// Bundles that were in time and of no use.
    pub unused: u64,
    /// Frames that were right in rounds with prepared drafts.
    pub accepted_on_hit: u64,
    /// Frames that were right in rounds without.
    pub accepted_on_miss: u64,
    /// How long those bundles were computed that came in time.
    pub busy_in_time: Duration,
}

/// Bundles of the present round.
#[derive(Debug, Default)]
pub struct SpeculationCache {
    bundles: Vec<Bundle>,
    counters: PrefetchCounters,
}

impl SpeculationCache {
    /// Counters of all bundles so far.
    pub fn counters(&self) -> &PrefetchCounters {
        &self.counters
    }

    /// Keeps a bundle, or drops it if it is of another round than `round`.
    pub fn insert(&mut self, bundle: Bundle, round: u64) {
        self.counters.built += 1;
        match bundle.round.cmp(&round) {
            Ordering::Equal => {
                self.counters.busy_in_time += bundle.took;
                self.bundles.push(bundle);
            }
            Ordering::Less | Ordering::Greater => self.counters.stale += 1,
        }
    }

    /// Takes the drafts for the outcome of `round`, and forgets all others.
    pub fn take(&mut self, round: u64, accepted: usize, frame: &Frame) -> Option<(Hit, Vec<Draft>)> {
        self.counters.lookups += 1;
        let bundles = std::mem::take(&mut self.bundles);
        let (fitting, others): (Vec<Bundle>, Vec<Bundle>) = bundles.into_iter().partition(|bundle| {
            let Bundle { outcome, .. } = bundle;
            bundle.round == round && outcome.accepted == accepted && outcome.frame.first() == frame.first()
        });
        self.counters.unused += others.len() as u64;
        let exact = fitting.iter().position(|bundle| bundle.outcome.frame == *frame);
        let found = fitting.len();
        let Some(bundle) = fitting.into_iter().nth(exact.unwrap_or(0)) else {
            self.counters.miss += 1;
            return None;
        };
        self.counters.unused += found as u64 - 1;
        let hit = if exact.is_some() { Hit::Exact } else { Hit::Near };
        match hit {
            Hit::Exact => self.counters.exact += 1,
            Hit::Near => self.counters.near += 1,
        }
        Some((hit, bundle.drafts))
    }

    /// Counts the frames of a round that were right, `hit` if its drafts were prepared ones.
    pub fn accepted(&mut self, hit: bool, frames: usize) {
        let counter = if hit { &mut self.counters.accepted_on_hit } else { &mut self.counters.accepted_on_miss };
        *counter += frames as u64;
    }
}

/// How many outcomes to prepare for each count of accepted drafts, of `budget` altogether.
///
/// With a miss rate of F^-r for F prepared corrections, the most hits come of F in proportion to P^(1 / (1 + r)), where
/// P is how often a count of drafts is accepted (`reached`, measured); r is near 1. Shares are rounded down, with at
/// least one for each where the budget is large enough, and what is left goes to the largest remainders.
pub fn fan_out(reached: &[f64], budget: usize) -> Vec<usize> {
    const R: f64 = 1.0;
    let shares: Vec<f64> = reached.iter().map(|share| share.max(0.0).powf(1.0 / (1.0 + R))).collect();
    let total: f64 = shares.iter().sum();
    let least = usize::from(budget >= reached.len());
    if total <= 0.0 || !total.is_finite() {
        return reached.iter().enumerate().map(|(place, _)| usize::from(place < budget)).collect();
    }
    let open = budget - least * reached.len();
    let wanted: Vec<f64> = shares.iter().map(|share| share / total * open as f64).collect();
    let mut counts: Vec<usize> = wanted.iter().map(|wanted| least + *wanted as usize).collect();
    let mut order: Vec<usize> = (0..reached.len()).collect();
    order.sort_by(|a, b| wanted[*b].fract().total_cmp(&wanted[*a].fract()));
    let left = budget.saturating_sub(counts.iter().sum());
    order.into_iter().take(left).for_each(|place| counts[place] += 1);
    counts
}

/// The outcomes to prepare for: for each count of accepted drafts the frame that was drafted behind them, then the same
/// frame with the runners-up of its code 0. `drafts` has the guess behind the drafts as its last.
pub fn likely_outcomes(drafts: &[Draft], reached: &[f64], budget: usize) -> Vec<LikelyOutcome> {
    let mut outcomes = Vec::with_capacity(budget);
    for ((accepted, draft), count) in drafts.iter().enumerate().zip(fan_out(reached, budget)) {
        let Some(first) = draft.codes.first().copied() else { continue };
        for code in std::iter::once(first).chain(draft.runners_up.iter().copied()).take(count) {
            let mut frame = draft.codes.clone();
            frame[0] = code;
            outcomes.push(LikelyOutcome { accepted, frame });
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(round: u64, accepted: usize, frame: &[u32]) -> Bundle {
        let drafts = vec![Draft::from(frame.to_vec())];
        Bundle {
            round,
            outcome: LikelyOutcome { accepted, frame: frame.to_vec() },
            drafts,
            took: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_fan_out_follows_the_measured_shares_and_spends_the_whole_budget() {
        assert_eq!(fan_out(&[0.81, 0.09, 0.09, 0.01], 16).iter().sum::<usize>(), 16);
        let counts = fan_out(&[0.64, 0.16, 0.04, 0.16], 22);
        // 18 beyond the one that each has, as 0.8 : 0.4 : 0.2 : 0.4.
        assert_eq!(counts, [9, 5, 3, 5]);
        assert_eq!(fan_out(&[0.5, 0.5, 0.0], 2).iter().sum::<usize>(), 2);
        assert_eq!(fan_out(&[0.0, 0.0], 4), [1, 1], "nothing is known: one of each");
        assert!(fan_out(&[], 4).is_empty());
    }

    #[test]
    fn outcomes_are_the_drafted_frame_and_its_runners_up() {
        let draft =
            |codes: [u32; 2], runners_up: &[u32]| Draft { codes: codes.to_vec(), runners_up: runners_up.to_vec() };
        let drafts = [draft([1, 2], &[7, 8, 9]), draft([3, 4], &[])];
        let outcomes = likely_outcomes(&drafts, &[0.8, 0.2], 4);
        let shown: Vec<(usize, Frame)> = outcomes.into_iter().map(|o| (o.accepted, o.frame)).collect();
        assert_eq!(shown, [(0, vec![1, 2]), (0, vec![7, 2]), (1, vec![3, 4])]);
    }

    #[test]
    fn a_cache_serves_the_very_frame_before_a_near_one_and_never_another_round() {
        let mut cache = SpeculationCache::default();
        for (round, accepted, frame) in [(1, 0, [5, 5]), (2, 0, [5, 6]), (2, 0, [5, 7]), (2, 1, [5, 7]), (3, 0, [5, 7])]
        {
            cache.insert(bundle(round, accepted, &frame), 2);
        }
        let (hit, drafts) = cache.take(2, 0, &vec![5, 7]).expect("it was prepared");
        assert_eq!((hit, &drafts[0].codes), (Hit::Exact, &vec![5, 7]));
        assert!(cache.take(2, 0, &vec![5, 7]).is_none(), "no bundle is used twice");
        cache.insert(bundle(3, 0, &[5, 6]), 3);
        assert_eq!(cache.take(3, 0, &vec![5, 9]).map(|found| found.0), Some(Hit::Near));
        cache.insert(bundle(4, 0, &[5, 6]), 4);
        assert!(cache.take(4, 0, &vec![6, 6]).is_none());
        let PrefetchCounters { lookups, built, exact, near, miss, stale, unused, .. } = *cache.counters();
        assert_eq!(lookups, exact + near + miss);
        assert_eq!(built, exact + near + stale + unused);
        assert_eq!((exact, near, miss, stale, unused), (1, 1, 2, 2, 3));
        assert_eq!(cache.counters().busy_in_time, Duration::from_secs(built - stale), "a second for each in time");
    }
}
