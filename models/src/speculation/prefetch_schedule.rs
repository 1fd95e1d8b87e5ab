//! Prefetching in a song's rounds: when the prefetcher is asked, and when its drafts are taken.

use std::time::{Duration, Instant};

use super::{
    drafter::{Draft, DraftContext},
    policy::Ewma,
    prefetch_cache::{Prefetch, PrefetchCounters, PrefetchRequest, SpeculationCache, likely_outcomes},
    round::RoundOutcome,
    target::Frame,
};

/// Outcomes of a round that are prepared for, at most.
const BUDGET: usize = 12;
/// More bundles than this are not taken at once: a prefetcher that floods its ring does not hold up the song.
const MOST_BUNDLES: usize = 4 * BUDGET;

/// A prefetcher at work for a song.
pub(super) struct Prefetching {
    worker: Box<dyn Prefetch>,
    cache: SpeculationCache,
    /// The round that was asked about last.
    round: u64,
    /// Frames of the song that the prefetcher has received.
    told: usize,
    /// How the round that was asked about ended: drafts accepted, and the frame behind them.
    ended: Option<(usize, Frame)>,
    /// Whether the drafts of the present round were prepared ones.
    hit: bool,
    /// At place i: how often i drafts were accepted.
    reached: Vec<Ewma>,
    waited: Duration,
}

impl Prefetching {
    pub(super) fn new(worker: Box<dyn Prefetch>) -> Self {
        Self {
            worker,
            cache: SpeculationCache::default(),
            round: 0,
            told: 0,
            ended: None,
            hit: false,
            reached: Vec::new(),
            waited: Duration::ZERO,
        }
    }

    pub(super) fn counters(&self) -> (&PrefetchCounters, Duration) {
        (self.cache.counters(), self.waited)
    }

    /// The drafts that were prepared for how the last round ended, if there are any.
    pub(super) fn take(&mut self) -> Vec<Draft> {
        self.hit = false;
        let Some((accepted, frame)) = self.ended.take() else { return Vec::new() };
        let since = Instant::now();
        for _ in 0..MOST_BUNDLES {
            let Some(bundle) = self.worker.next() else { break };
            self.cache.insert(bundle, self.round);
        }
        self.waited += since.elapsed();
        let found = self.cache.take(self.round, accepted, &frame);
        self.hit = found.is_some();
        found.map_or(Vec::new(), |(_, drafts)| drafts)
    }

    /// A round that takes no prepared drafts: those for the one before are of no use any more.
    pub(super) fn rest(&mut self) {
        (self.ended, self.hit) = (None, false);
    }

    /// Asks for drafts for the likely outcomes of the round that begins now; `drafts` are those that it verifies and
    /// the guess behind them.
    pub(super) fn ask(&mut self, context: &DraftContext<'_>, drafts: &[Draft], count: usize) {
        self.round += 1;
        // A count that never was the last one is rare, but one of a longer round than before is not known at all.
        let share = |place| self.reached.get(place).and_then(Ewma::get).unwrap_or(0.1);
        let reached: Vec<f64> = (0..drafts.len()).map(share).collect();
        let outcomes = likely_outcomes(drafts, &reached, BUDGET);
        let request = PrefetchRequest {
            round: self.round,
            past: context.past[self.told..].to_vec(),
            drafts: drafts.to_vec(),
            outcomes,
            count,
            trail: context.trail.cloned(),
            guidance: context.guidance,
        };
        self.told = context.past.len();
        self.worker.ask(request);
    }

    /// Receives the outcome of the round.
    pub(super) fn observe(&mut self, outcome: &RoundOutcome) {
        self.cache.accepted(self.hit, outcome.accepted);
        if self.reached.len() <= outcome.drafted {
            self.reached.resize(outcome.drafted + 1, Ewma::default());
        }
        for (place, share) in self.reached.iter_mut().enumerate().take(outcome.drafted + 1) {
            share.add(f64::from(u8::from(place == outcome.accepted)));
        }
        self.ended = outcome.frames.last().map(|frame| (outcome.frames.len() - 1, frame.clone()));
    }
}
