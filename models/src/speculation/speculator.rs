//! Speculator, the writer of a song's next frames: drafters, rounds of verification, and the choice of how many to
//! draft.

use std::time::{Duration, Instant};

use candle_core::Tensor;

use super::{
    counters::Counters,
    depth_policy::DepthPolicy,
    drafter::{Chain, Draft, DraftContext, FrameDrafter},
    drafter_inputs::{DrafterInputs, exclusions, untrained},
    drafters::OnDevice,
    policy::{Choice, Policy},
    prefetch_cache::{Prefetch, PrefetchCounters},
    prefetch_schedule::Prefetching,
    round::{Completion, DepthWork, Drafts, RoundOutcome, run_round},
    setting::{DrafterName, Speculation},
    target::{Frame, FrameTarget},
};
use crate::{
    error::{ModelError, Result},
    heartmula::{HeartMula, KeyedSampler, SongState, SongTarget, VerifyBuffers},
};

/// Writes the frames of one song. They are those of [`HeartMula::next_frame`] with the same sampler, bit for bit.
pub struct Speculator {
    sampler: KeyedSampler,
    mode: Mode,
    chain: Chain,
    /// For each choice of drafters, those that it excludes; without choices all are asked.
    excluded: Vec<&'static [DrafterName]>,
    /// The song so far; kept only where frames are drafted.
    past: Vec<Frame>,
    buffers: VerifyBuffers,
    counters: Counters,
    prefetching: Option<Prefetching>,
}

enum Mode {
    Plain,
    /// The same in every round; with a policy, the depth decoder works in the way that costs less.
    Fixed {
        frames: usize,
        work: DepthWork,
        depth: Option<DepthPolicy>,
    },
    Auto(Learned),
}

/// Measurements of a song on this machine and model, for the next song to begin with.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    policy: Policy,
    depth: DepthPolicy,
    /// The guidance of the song that it was learned in.
    guidance: Option<f64>,
    refresh_tail: bool,
    exclusions: usize,
}

impl Learned {
    fn nothing(refresh_tail: bool, exclusions: usize) -> Self {
        let (policy, depth) = (Policy::new(&LADDER, refresh_tail, exclusions), DepthPolicy::default());
        Self { policy, depth, guidance: None, refresh_tail, exclusions }
    }

    /// Another guidance is another distribution of codes, and other times where it has other rows: all measurements are
    /// dropped.
    fn of_guidance(&mut self, guidance: f64, prefetch: bool) {
        if self.guidance.is_some_and(|known| known != guidance) {
            *self = Self::nothing(self.refresh_tail, self.exclusions);
            if prefetch {
                self.policy.allow_prefetch();
            }
        }
        self.guidance = Some(guidance);
    }
}

/// Frames that are drafted at once, of those that are tried.
const LADDER: [usize; 4] = [1, 2, 4, 8];

impl Speculator {
    /// A writer for the song of `sampler`, drafting as `speculation` says.
    ///
    /// # Errors
    /// When a drafter is asked for that was never trained for this checkpoint.
    pub fn new(
        speculation: &Speculation,
        sampler: KeyedSampler,
        inputs: &DrafterInputs<'_>,
        learned: Option<Learned>,
    ) -> Result<Self> {
        let (names, frames) = match speculation {
            Speculation::Off => return Ok(Self::with(Mode::Plain, Vec::new(), sampler)),
            Speculation::Auto => (inputs.usual(), None),
            Speculation::Fixed { drafters, frames } => (drafters.clone(), Some(*frames)),
        };
        let drafters = names.iter().filter_map(|name| inputs.drafter(*name).transpose()).collect::<Result<_>>()?;
        // Only the carry-over drafter uses the draws behind a wrong draft.
        let refresh_tail = names.contains(&DrafterName::CarryOver);
        let mode = match frames {
            Some(frames) => Mode::Fixed {
                frames,
                work: DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail },
                depth: Some(DepthPolicy::default()),
            },
            None => {
                let count = exclusions(&names).len();
                let learned =
                    learned.filter(|learned| learned.exclusions == count && learned.refresh_tail == refresh_tail);
                let mut learned = learned.unwrap_or_else(|| Learned::nothing(refresh_tail, count));
                learned.policy.new_song();
                Mode::Auto(learned)
            }
        };
        let excluded = exclusions(&names);
        Ok(Self { excluded, ..Self::with(mode, drafters, sampler) })
    }

    /// Measurements so far, for [`Speculator::new`] of the next song with the same model on the same cores.
    pub fn learned(&self) -> Option<Learned> {
        match &self.mode {
            Mode::Auto(learned) => Some(learned.clone()),
            Mode::Plain | Mode::Fixed { .. } => None,
        }
    }

    /// Says whether `speculation` can be done, where a drafter was or was not `trained` for the checkpoint.
    ///
    /// # Errors
    /// When a drafter is asked for that was never trained.
    pub fn check(speculation: &Speculation, trained: bool) -> Result<()> {
        match speculation {
            Speculation::Fixed { drafters, .. } if !trained => {
                drafters.iter().find(|name| name.is_trained()).map_or(Ok(()), |name| Err(untrained(*name)))
            }
            Speculation::Fixed { .. } | Speculation::Auto | Speculation::Off => Ok(()),
        }
    }

    /// Drafters that can prepare drafts beside a song that is drafted as `speculation` says. What is carried over is
    /// not among them: it is not known before the round is over. The model of `inputs` may be on another device than
    /// the song's, and without layers of a backbone ([`crate::ModelDirectory::load_drafting_lm`]).
    ///
    /// # Errors
    /// When a drafter is asked for that was never trained for this checkpoint.
    pub fn prefetchers(speculation: &Speculation, inputs: &DrafterInputs<'_>) -> Result<Vec<Box<dyn FrameDrafter>>> {
        let names = match speculation {
            Speculation::Off => Vec::new(),
            Speculation::Auto => inputs.usual(),
            Speculation::Fixed { drafters, .. } => drafters.clone(),
        };
        let names = names.into_iter().filter(|name| *name != DrafterName::CarryOver);
        let drafters = names.filter_map(|name| inputs.drafter(name).transpose());
        let device = inputs.model.device();
        drafters.map(|drafter| Ok(Box::new(OnDevice::new(drafter?, device.clone())) as Box<dyn FrameDrafter>)).collect()
    }

    /// A writer with the caller's drafters: each round drafts `frames` frames, and does the rest as `work` says.
    pub fn drafting(
        drafters: Vec<Box<dyn FrameDrafter>>,
        frames: usize,
        work: DepthWork,
        sampler: KeyedSampler,
    ) -> Self {
        Self::with(Mode::Fixed { frames, work, depth: None }, drafters, sampler)
    }

    /// A writer with the caller's drafters that does what pays, as [`Speculation::Auto`] does with the usual ones.
    pub fn adapting(drafters: Vec<Box<dyn FrameDrafter>>, sampler: KeyedSampler) -> Self {
        Self::with(Mode::Auto(Learned::nothing(false, 1)), drafters, sampler)
    }

    /// The same writer, whose depth decoder does its work in the way that costs less; the one given is the first tried.
    #[must_use]
    pub fn at_least_cost(mut self) -> Self {
        if let Mode::Fixed { depth, .. } = &mut self.mode {
            *depth = Some(DepthPolicy::default());
        }
        self
    }

    fn with(mode: Mode, drafters: Vec<Box<dyn FrameDrafter>>, sampler: KeyedSampler) -> Self {
        let (past, buffers, counters) = (Vec::new(), VerifyBuffers::default(), Counters::default());
        let (chain, excluded) = (Chain::new(drafters), Vec::new());
        Self { sampler, mode, chain, excluded, past, buffers, counters, prefetching: None }
    }

    /// The same writer, with a prefetcher that prepares drafts while it verifies: in every round; in auto mode, only
    /// where it pays. The song is the same.
    #[must_use]
    pub fn with_prefetch(mut self, worker: Box<dyn Prefetch>) -> Self {
        match &mut self.mode {
            Mode::Plain => return self,
            Mode::Fixed { .. } => (),
            Mode::Auto(learned) => learned.policy.allow_prefetch(),
        }
        self.prefetching = Some(Prefetching::new(worker));
        self
    }

    /// Frames a second that it writes when it is alone; `None` before that was measured, and where it does not choose.
    pub fn rate_alone(&self) -> Option<f64> {
        match &self.mode {
            Mode::Auto(learned) => learned.policy.settled_rate(),
            Mode::Plain | Mode::Fixed { .. } => None,
        }
    }

    /// Counters of prefetched drafts, and the time spent waiting for them; `None` without a prefetcher.
    pub fn prefetch_counters(&self) -> Option<(&PrefetchCounters, Duration)> {
        self.prefetching.as_ref().map(Prefetching::counters)
    }

    /// Counters of drafting so far; `None` for plain decoding.
    pub fn counters(&self) -> Option<&Counters> {
        (!matches!(self.mode, Mode::Plain)).then_some(&self.counters)
    }

    /// Adds a frame that was written before, in a song that is resumed.
    pub fn replayed(&mut self, frame: &Frame) {
        if !matches!(self.mode, Mode::Plain) {
            self.past.push(frame.clone());
        }
    }

    /// Takes note of the first frame of the song, which was written without drafts and took so long.
    pub fn began(&mut self, first: &Frame, took: Duration) {
        if !matches!(self.mode, Mode::Plain) {
            self.past.push(first.clone());
            self.counters.add_plain(took);
        }
    }

    /// Writes the next frames of the song, at least one.
    ///
    /// # Errors
    /// When there is no room for another frame, the model cannot compute, or a logit of the song is not a number.
    pub fn next_frames(&mut self, model: &HeartMula, state: &mut SongState) -> Result<Vec<Frame>> {
        if matches!(self.mode, Mode::Plain) {
            return Ok(vec![model.next_frame(state, &mut self.sampler)?]);
        }
        if self.choose(state.guidance()).frames.is_none() {
            return self.plain_frame(model, state);
        }
        let mut buffers = std::mem::take(&mut self.buffers);
        let mut target = SongTarget::new(model, state, &mut buffers);
        let (trail, guidance) = (target.trail().cloned(), target.guidance());
        let frames = self.round(&mut target, trail.as_ref(), guidance);
        self.buffers = buffers;
        frames
    }

    /// What draws the codes of the song.
    pub(super) fn sampler(&mut self) -> &mut KeyedSampler {
        &mut self.sampler
    }

    /// Takes note of a frame that was written in one pass with other songs. Its time says nothing of a pass for this
    /// song alone, so nothing is learned from it.
    pub(super) fn wrote_beside_others(&mut self, frame: &Frame, took: Duration) {
        if !matches!(self.mode, Mode::Plain) {
            self.buffers.forget();
            if let Some(prefetching) = &mut self.prefetching {
                prefetching.rest();
            }
            self.began(frame, took);
        }
    }

    /// Writes a frame where drafting does not pay for now, at no cost beyond that of plain decoding.
    fn plain_frame(&mut self, model: &HeartMula, state: &mut SongState) -> Result<Vec<Frame>> {
        let since = Instant::now();
        let codes = model.next_frame(state, &mut self.sampler)?;
        // The trail of the last drafted round is of a frame that is not the last one any more.
        self.buffers.forget();
        if let Some(prefetching) = &mut self.prefetching {
            prefetching.rest();
        }
        let first = self.past.len() as u64;
        let outcome = RoundOutcome { first, frames: vec![codes], ..RoundOutcome::default() };
        let took = since.elapsed();
        self.counters.add_plain(took);
        self.learn(&outcome, took);
        self.past.extend_from_slice(&outcome.frames);
        Ok(outcome.frames)
    }

    /// Writes the next frames of any target, at least one; `trail` is what drafters that ask for it are given.
    ///
    /// # Errors
    /// As [`Speculator::next_frames`].
    pub fn round(&mut self, target: &mut dyn FrameTarget, trail: Option<&Tensor>, guidance: f64) -> Result<Vec<Frame>> {
        let room = target.room();
        if room == 0 {
            return Err(ModelError::shape("positions of a song", "room for another frame", "none"));
        }
        let Choice { frames: chosen, work, exclusion, prefetch } = self.choose(guidance);
        let frames = chosen.unwrap_or(0).min(room - 1);
        let since = Instant::now();
        let context = DraftContext { past: &self.past, drafted: &[], trail, guidance, sampler: &self.sampler };
        // One more than is verified: it is the guess for the codes of the frame behind them.
        let count = if work.pass > 0 { frames + 1 } else { frames };
        let mut prefetching = match &mut self.prefetching {
            Some(prefetching) if !prefetch => {
                prefetching.rest();
                None
            }
            prefetching => prefetching.as_mut(),
        };
        let prepared = prefetching.as_mut().map(|prefetching| prefetching.take()).unwrap_or_default();
        let (codebooks, vocabulary) = (target.codebooks(), target.vocabulary());
        let is_frame = |Draft { codes, .. }: &Draft| {
            codes.len() == codebooks && codes.iter().all(|code| (*code as usize) < vocabulary)
        };
        let mut drafts: Vec<Draft> = prepared.into_iter().take_while(is_frame).take(count).collect();
        let mut by = vec!["prefetch"; drafts.len()];
        let excluded = self.excluded.get(exclusion).copied().unwrap_or_default();
        let asked = |name: &str| !excluded.iter().any(|drafter| drafter.name() == name);
        match self.chain.draft_with(&asked, &DraftContext { drafted: &drafts, ..context }, count - drafts.len()) {
            Ok(more) => {
                drafts.extend(more.drafts);
                by.extend(more.by);
            }
            // A drafter's failure is no error of the song.
            Err(error) => tracing::debug!("nothing is drafted: {error}"),
        }
        if let Some(prefetching) = &mut prefetching {
            prefetching.ask(&context, &drafts, frames + 1);
        }
        let drafting = since.elapsed();
        let mut drafts: Vec<Frame> = drafts.into_iter().map(|Draft { codes, .. }| codes).collect();
        let guess = if drafts.len() > frames { drafts.pop() } else { None };
        let guess = guess.or_else(|| drafts.last().or(self.past.last()).cloned()).unwrap_or_default();
        let given = Drafts { first: self.past.len() as u64, frames: &drafts, guess: &guess };
        let outcome = run_round(target, &mut self.sampler, given, work)?;
        let took = since.elapsed();
        match chosen {
            None => self.counters.add_plain(took),
            Some(_) => self.counters.add(&outcome, &by, drafting),
        }
        self.learn(&outcome, took);
        tracing::trace!(
            first = outcome.first,
            drafted = outcome.drafted,
            accepted = outcome.accepted,
            passes = outcome.depth_passes,
            steps = outcome.depth_steps,
            "a round of draft and verify"
        );
        self.chain.observe(&outcome);
        if let Some(prefetching) = self.prefetching.as_mut().filter(|_| prefetch) {
            prefetching.observe(&outcome);
        }
        let RoundOutcome { frames, .. } = outcome;
        self.past.extend_from_slice(&frames);
        Ok(frames)
    }

    /// The choice of the next round, in a song of this guidance. Before the round it stays the same.
    fn choose(&mut self, guidance: f64) -> Choice {
        let can_prefetch = self.prefetching.is_some();
        match &mut self.mode {
            Mode::Plain => Choice::PLAIN,
            Mode::Fixed { frames, work, depth } => {
                let work = depth.as_mut().map_or(*work, |policy| policy.choose(*work));
                Choice { frames: Some(*frames), work, exclusion: 0, prefetch: can_prefetch }
            }
            Mode::Auto(learned) => {
                learned.of_guidance(guidance, can_prefetch);
                let choice = learned.policy.choose();
                // Measurements with a prefetcher serve a song without one, too.
                let prefetch = choice.prefetch && can_prefetch;
                Choice { work: learned.depth.choose(choice.work), prefetch, ..choice }
            }
        }
    }

    fn learn(&mut self, outcome: &RoundOutcome, time: Duration) {
        let settled = match &mut self.mode {
            Mode::Plain => Choice::PLAIN,
            Mode::Fixed { frames, work, depth } => {
                if let Some(policy) = depth {
                    policy.observe(outcome);
                }
                Choice { frames: Some(*frames), work: *work, exclusion: 0, prefetch: self.prefetching.is_some() }
            }
            Mode::Auto(Learned { policy, depth, .. }) => {
                policy.observe(outcome, time.as_secs_f64());
                depth.observe(outcome);
                policy.settled()
            }
        };
        self.counters.chose(settled.frames, settled.exclusion, settled.prefetch);
    }
}
