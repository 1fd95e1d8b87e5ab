//! Who writes the next frames of a song? Drafters, one round of verification, and the choice of how many to draft.

use std::{sync::Arc, time::Instant};

use candle_core::Tensor;

use super::{
    counters::Counters,
    drafter::{Chain, Chained, Draft, DraftContext, FrameDrafter},
    drafters::{CarryOver, NGram, StaleDepth},
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
    /// The song so far; kept only where somebody drafts.
    past: Vec<Frame>,
    buffers: VerifyBuffers,
    counters: Counters,
}

enum Mode {
    Plain,
    Fixed { frames: usize, work: DepthWork },
}

impl Speculator {
    /// A writer for the song of `sampler`, drafting as `speculation` says.
    ///
    /// # Errors
    /// When a drafter is asked for that was never trained for this checkpoint.
    pub fn new(speculation: &Speculation, sampler: KeyedSampler, model: &Arc<HeartMula>) -> Result<Self> {
        match speculation {
            Speculation::Off | Speculation::Auto => Ok(Self::with(Mode::Plain, Vec::new(), sampler)),
            Speculation::Fixed { drafters, frames } => {
                let refresh_tail = drafters.contains(&DrafterName::CarryOver);
                let drafters = drafters.iter().filter_map(|name| drafter(*name, model).transpose());
                let work = DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail };
                Ok(Self::drafting(drafters.collect::<Result<_>>()?, *frames, work, sampler))
            }
        }
    }

    /// A writer with drafters of one's own: each round drafts `frames` frames, and does the rest as `work` says.
    pub fn drafting(
        drafters: Vec<Box<dyn FrameDrafter>>,
        frames: usize,
        work: DepthWork,
        sampler: KeyedSampler,
    ) -> Self {
        Self::with(Mode::Fixed { frames, work }, drafters, sampler)
    }

    fn with(mode: Mode, drafters: Vec<Box<dyn FrameDrafter>>, sampler: KeyedSampler) -> Self {
        let (past, buffers, counters) = (Vec::new(), VerifyBuffers::default(), Counters::default());
        Self { sampler, mode, chain: Chain::new(drafters), past, buffers, counters }
    }

    /// What came of drafting so far; `None` where nobody drafts.
    pub fn counters(&self) -> Option<&Counters> {
        (!matches!(self.mode, Mode::Plain)).then_some(&self.counters)
    }

    /// Hears of a frame that was written before, in a song that is gone on with.
    pub fn replayed(&mut self, frame: &Frame) {
        if !matches!(self.mode, Mode::Plain) {
            self.past.push(frame.clone());
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
        let mut buffers = std::mem::take(&mut self.buffers);
        let mut target = SongTarget::new(model, state, &mut buffers);
        let (trail, guidance) = (target.trail().cloned(), target.guidance());
        let frames = self.round(&mut target, trail.as_ref(), guidance);
        self.buffers = buffers;
        frames
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
        let (frames, work) = match &self.mode {
            Mode::Plain => (0, DepthWork::PLAIN),
            Mode::Fixed { frames, work } => (*frames, *work),
        };
        let frames = frames.min(room - 1);
        let since = Instant::now();
        let context = DraftContext { past: &self.past, drafted: &[], trail, guidance, sampler: &self.sampler };
        // One more than is verified: it is the guess for the codes of the frame behind them.
        let Chained { drafts, by } = self.chain.draft(&context, frames + 1)?;
        let drafting = since.elapsed();
        let mut drafts: Vec<Frame> = drafts.into_iter().map(|Draft { codes, .. }| codes).collect();
        let guess = if drafts.len() > frames { drafts.pop() } else { None };
        let guess = guess.or_else(|| drafts.last().or(self.past.last()).cloned()).unwrap_or_default();
        let given = Drafts { first: self.past.len() as u64, frames: &drafts, guess: &guess };
        let outcome = run_round(target, &mut self.sampler, given, work)?;
        self.counters.chose(Some(frames));
        self.counters.add(&outcome, &by, drafting);
        tracing::trace!(
            first = outcome.first,
            drafted = outcome.drafted,
            accepted = outcome.accepted,
            passes = outcome.depth_passes,
            steps = outcome.depth_steps,
            "a round of draft and verify"
        );
        self.chain.observe(&outcome);
        let RoundOutcome { frames, .. } = outcome;
        self.past.extend_from_slice(&frames);
        Ok(frames)
    }
}

/// The drafter of a name; `None` for the one that drafts no frames.
fn drafter(name: DrafterName, model: &Arc<HeartMula>) -> Result<Option<Box<dyn FrameDrafter>>> {
    Ok(match name {
        DrafterName::DepthJacobi => None,
        DrafterName::CarryOver => Some(Box::new(CarryOver::default())),
        DrafterName::NGram => Some(Box::new(NGram::default())),
        DrafterName::DepthDecoder => Some(Box::new(StaleDepth::new(Arc::clone(model)))),
        DrafterName::Heads | DrafterName::HeadsViterbi | DrafterName::NextState => {
            return Err(ModelError::Option {
                option: "speculate",
                expected: "auto, off, or drafters that need no training".to_owned(),
                found: format!("{name}, and this checkpoint has no drafter.safetensors"),
            });
        }
    })
}
