//! Prefetcher: drafts for likely outcomes, made on a thread and cores of its own while the language model verifies.
//!
//! Two rings with one writer and one reader each lie between it and the language model's stage: requests out, bundles
//! back. The verifying side takes no lock and has a bounded wait. A bundle that comes too late is dropped on either
//! side. When the prefetcher dies the song goes on without it.

use std::{
    io,
    thread::{self, Thread},
    time::{Duration, Instant},
};

use heartstream_models::{
    heartmula::KeyedSampler,
    speculation::{Bundle, Chain, Chained, Draft, DraftContext, Frame, FrameDrafter, Prefetch, PrefetchRequest},
};
use rtrb::{Consumer, PopError, Producer, RingBuffer};

use crate::compute_site::{ComputePool, ComputeSite};

/// Requests that can wait: the prefetcher skips to the newest.
const REQUESTS: usize = 8;
/// Bundles that can wait; there are at most a dozen for a round.
const BUNDLES: usize = 64;
/// Poll interval of an empty ring, if the prefetcher is not woken.
const REST: Duration = Duration::from_millis(20);

/// The verifying side of a prefetcher. Dropping it ends the thread.
pub struct PrefetchRing {
    requests: Producer<PrefetchRequest>,
    bundles: Consumer<Bundle>,
    worker: Thread,
    max_wait: Duration,
    /// Bundles of the last request that have not come yet, and since when they have been waited for.
    open: usize,
    waiting_since: Option<Instant>,
    /// Frames of the song that a full ring could not take: they go with the next request.
    untold: Vec<Frame>,
}

/// Arguments of a prefetcher.
pub struct PrefetcherArgs {
    /// The drafters, asked in this order.
    pub drafters: Vec<Box<dyn FrameDrafter>>,
    /// Draws codes with the noise of the song.
    pub sampler: KeyedSampler,
    /// The cores it may use; with none, the operating system chooses.
    pub cores: Vec<usize>,
    /// How long a round may wait for drafts that are not there yet.
    pub max_wait: Duration,
}

impl PrefetchRing {
    /// Starts a prefetcher.
    ///
    /// # Errors
    /// When the operating system gives no more threads.
    pub fn start(args: PrefetcherArgs) -> io::Result<Self> {
        let PrefetcherArgs { drafters, sampler, cores, max_wait } = args;
        let (requests, requests_out) = RingBuffer::new(REQUESTS);
        let (bundles_in, bundles) = RingBuffer::new(BUNDLES);
        let worker = Worker {
            requests: requests_out,
            bundles: bundles_in,
            chain: Chain::new(drafters),
            past: Vec::new(),
            sampler,
            stashed: None,
        };
        let thread = thread::Builder::new().name("prefetcher".to_owned()).spawn(move || {
            // This thread is the first of those that a drafter's products run on.
            let site = ComputeSite { threads: cores.len().max(1), cores };
            let pool = ComputePool::around_this_thread(Some(&site), "prefetcher");
            match pool {
                Ok(pool) => pool.run(|| worker.run()),
                Err(error) => tracing::warn!("no drafts are prepared: {error}"),
            }
        })?;
        let worker = thread.thread().clone();
        Ok(Self { requests, bundles, worker, max_wait, open: 0, waiting_since: None, untold: Vec::new() })
    }
}

impl Prefetch for PrefetchRing {
    fn ask(&mut self, mut request: PrefetchRequest) {
        if self.requests.is_abandoned() {
            return; // it died, and with it the ring's reader
        }
        self.waiting_since = None;
        self.open = request.outcomes.len();
        if !self.untold.is_empty() {
            let told = std::mem::take(&mut request.past);
            request.past = std::mem::take(&mut self.untold);
            request.past.extend(told);
        }
        match self.requests.push(request) {
            Ok(()) => self.worker.unpark(),
            Err(rtrb::PushError::Full(request)) => {
                self.untold = request.past;
                self.open = 0;
            }
        }
    }

    fn next(&mut self) -> Option<Bundle> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        loop {
            if let Ok(bundle) = self.bundles.pop() {
                self.open = self.open.saturating_sub(1);
                return Some(bundle);
            }
            if self.open == 0 || self.bundles.is_abandoned() || since.elapsed() >= self.max_wait {
                return None;
            }
            thread::yield_now();
        }
    }
}

impl Drop for PrefetchRing {
    fn drop(&mut self) {
        self.worker.unpark(); // it sees the abandoned ring
    }
}

/// The drafting side.
struct Worker {
    requests: Consumer<PrefetchRequest>,
    bundles: Producer<Bundle>,
    chain: Chain,
    past: Vec<Frame>,
    sampler: KeyedSampler,
    /// A request that arrived while an older one was worked on.
    stashed: Option<PrefetchRequest>,
}

impl Worker {
    fn run(mut self) {
        while let Some(request) = self.next_request() {
            self.prepare(&request);
        }
    }

    /// The newest request; `None` when the verifying side is gone.
    fn next_request(&mut self) -> Option<PrefetchRequest> {
        loop {
            let mut newest = self.stashed.take();
            while let Ok(request) = self.requests.pop() {
                if let Some(older) = newest.replace(request) {
                    self.past.extend(older.past);
                }
            }
            if let Some(mut request) = newest {
                self.past.append(&mut request.past);
                return Some(request);
            }
            if self.requests.is_abandoned() || self.bundles.is_abandoned() {
                return None;
            }
            thread::park_timeout(REST);
        }
    }

    /// Drafts for one outcome after the other, the likeliest first, until a newer round is asked about.
    fn prepare(&mut self, request: &PrefetchRequest) {
        let PrefetchRequest { round, drafts, outcomes, count, trail, guidance, .. } = request;
        for outcome in outcomes {
            match self.requests.pop() {
                Ok(newer) => {
                    self.stashed = Some(newer);
                    return;
                }
                Err(PopError::Empty) => (),
            }
            let mut drafted: Vec<Draft> = drafts[..outcome.accepted].to_vec();
            drafted.push(outcome.frame.clone().into());
            let context = DraftContext {
                past: &self.past,
                drafted: &drafted,
                trail: trail.as_ref(),
                guidance: *guidance,
                sampler: &self.sampler,
            };
            let since = Instant::now();
            let bundle = match self.chain.draft(&context, *count) {
                Ok(Chained { drafts, .. }) => {
                    Bundle { round: *round, outcome: outcome.clone(), drafts, took: since.elapsed() }
                }
                Err(error) => {
                    tracing::debug!("no drafts for an outcome of round {round}: {error}");
                    continue;
                }
            };
            if self.bundles.push(bundle).is_err() {
                return; // the verifying side is gone
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use heartstream_models::{Result, heartmula::Sampling, signal::KeyedNoise, speculation::LikelyOutcome};

    use super::*;

    /// Drafts frames of the place they are for; panics, or waits for its release, when it is told to.
    struct Places {
        held: Arc<AtomicBool>,
        panics: bool,
    }

    impl FrameDrafter for Places {
        fn name(&self) -> &'static str {
            "places"
        }

        fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
            assert!(!self.panics, "planted");
            while self.held.load(Ordering::Acquire) {
                thread::yield_now();
            }
            let next = context.next() as u32;
            Ok((next..next + count as u32).map(|place| vec![place, context.past.len() as u32].into()).collect())
        }
    }

    fn ring(held: &Arc<AtomicBool>, panics: bool, max_wait: Duration) -> PrefetchRing {
        let options = Sampling { top_k: 5, ..Sampling::default() };
        let args = PrefetcherArgs {
            drafters: vec![Box::new(Places { held: Arc::clone(held), panics })],
            sampler: KeyedSampler::new(options, KeyedNoise::new(1)).expect("in range"),
            cores: Vec::new(),
            max_wait,
        };
        PrefetchRing::start(args).expect("a thread")
    }

    fn request(round: u64, past: usize, outcomes: usize) -> PrefetchRequest {
        let outcome = |accepted| LikelyOutcome { accepted, frame: vec![accepted as u32, 0] };
        PrefetchRequest {
            round,
            past: vec![vec![0, 0]; past],
            drafts: vec![Draft::from(vec![9, 9]); outcomes],
            outcomes: (0..outcomes).map(outcome).collect(),
            count: 2,
            trail: None,
            guidance: 1.0,
        }
    }

    #[test]
    fn every_outcome_gets_drafts_of_the_frames_behind_it() {
        let mut ring = ring(&Arc::default(), false, Duration::from_secs(60));
        for (round, past) in [(1, 3), (2, 5)] {
            ring.ask(request(round, past, 3));
            let known = if round == 1 { 3 } else { 8 };
            for accepted in 0..3 {
                let bundle = ring.next().expect("it is waited for");
                assert_eq!((bundle.round, bundle.outcome.accepted), (round, accepted));
                let places: Vec<Frame> = bundle.drafts.into_iter().map(|draft| draft.codes).collect();
                let first = (known + accepted + 1) as u32;
                assert_eq!(places, [[first, known as u32], [first + 1, known as u32]]);
            }
            assert!(ring.next().is_none(), "there are no more, and nothing is waited for");
        }
    }

    #[test]
    fn a_slow_prefetcher_is_not_waited_for_longer_than_allowed_and_is_told_everything_later() {
        let held = Arc::new(AtomicBool::new(true));
        let mut ring = ring(&held, false, Duration::ZERO);
        for round in 1..=20 {
            ring.ask(request(round, 1, 1));
            assert!(ring.next().is_none(), "nothing is there, and no wait is allowed");
        }
        held.store(false, Ordering::Release);
        // It has a place in its ring again; the frames that found none come with the next request.
        let last = loop {
            ring.max_wait = Duration::from_secs(60);
            ring.ask(request(99, 1, 1));
            match ring.next() {
                Some(bundle) if bundle.round == 99 => break bundle,
                _ => thread::yield_now(),
            }
        };
        assert!(last.drafts[0].codes[1] >= 21, "{last:?}");
    }

    #[test]
    fn a_prefetcher_that_panics_is_missed_and_not_waited_for() {
        let mut ring = ring(&Arc::default(), true, Duration::from_secs(60));
        for round in 1..100 {
            ring.ask(request(round, 1, 2));
            assert!(ring.next().is_none());
        }
    }
}
