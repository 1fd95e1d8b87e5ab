//! Which outputs will the backbone have next? What a trained drafter remembers of a song, and how it draws a frame.

use std::{collections::VecDeque, sync::Arc};

use candle_core::Tensor;

use super::weights::{DrafterWeights, MOST_POSITIONS};
use crate::{
    error::Result,
    heartmula::{CodeSampler, HeartMula, KeyedSampler, KvCache},
    speculation::{
        drafter::{Draft, DraftContext},
        setting::MOST_FRAMES,
        target::Frame,
    },
};

/// Runners-up of code 0 that a draft names.
const RIVALS: usize = 4;
/// Frames that are remembered when no more would fit: the layer is fed with them again.
const KEPT: usize = MOST_POSITIONS / 2;
/// Frames of the song that are remembered at most; behind them is room for drafts.
const MOST_REMEMBERED: usize = MOST_POSITIONS - MOST_FRAMES - 1;

/// A model, the drafter that was trained for it, and what it remembers of a song.
#[derive(Debug)]
pub(super) struct Lookahead {
    model: Arc<HeartMula>,
    weights: Arc<DrafterWeights>,
    memory: Option<Memory>,
    depth: Option<(usize, KvCache)>,
}

/// The frames that the layer has seen.
#[derive(Debug)]
struct Memory {
    batch: usize,
    cache: KvCache,
    /// What it was fed with, frame by frame \[B, 1, D\]; the last [`KEPT`] of them.
    fed: VecDeque<Tensor>,
    /// Frames of the song up to the last of them.
    frames: usize,
    /// Positions of `cache` that are frames of the song; behind them are drafts.
    positions: usize,
    /// The output \[B, D\] that it expects behind them.
    next: Tensor,
}

impl Lookahead {
    pub(super) fn new(model: Arc<HeartMula>, weights: Arc<DrafterWeights>) -> Self {
        Self { model, weights, memory: None, depth: None }
    }

    pub(super) fn weights(&self) -> &DrafterWeights {
        &self.weights
    }

    /// The output \[B, D\] that the backbone will have behind the last frame of the song; `None` where it is not known
    /// what the last frames followed from.
    ///
    /// Frames that it was not asked about in between are missing in its memory, which begins anew then: what is drafted
    /// with little memory is less often right, and costs the same.
    pub(super) fn behind_the_song(&mut self, context: &DraftContext<'_>) -> Result<Option<Tensor>> {
        let Some(trail) = context.trail else { return Ok(None) };
        let (batch, count, _) = trail.dims3()?;
        let Some(first) = context.past.len().checked_sub(count) else { return Ok(None) };
        let known = self.memory.take().filter(|memory| memory.batch == batch);
        let memory = match known {
            Some(mut memory) if memory.frames == context.past.len() => {
                memory.cache.truncate(memory.positions);
                memory
            }
            known => {
                let frames = context.past[first..].iter().map(|frame| self.embedded(frame, batch));
                let fed = self.weights.fed(trail, &Tensor::cat(&frames.collect::<Result<Vec<_>>>()?, 1)?)?;
                match known.filter(|memory| memory.frames == first) {
                    Some(memory) => memory.with(&self.weights, &fed)?,
                    None => Memory::begin(&self.weights, &fed, context.past.len())?,
                }
            }
        };
        let next = memory.next.clone();
        self.memory = Some(memory);
        Ok(Some(next))
    }

    /// The output \[B, D\] that the backbone will have behind a frame that was drafted from its output `hidden` \[B, D\]:
    /// the first one behind the song, or the next one after those that this was asked about since.
    pub(super) fn behind(&mut self, hidden: &Tensor, frame: &Frame) -> Result<Tensor> {
        let frame = self.embedded(frame, hidden.dim(0)?)?;
        let fed = self.weights.fed(&hidden.unsqueeze(1)?, &frame)?;
        match &mut self.memory {
            Some(memory) => Ok(self.weights.next(&fed, &mut memory.cache)?.squeeze(1)?),
            None => Ok(hidden.clone()), // nothing is drafted before the song is known
        }
    }

    /// Logits of code 0 of the frame that the backbone will have the output `hidden` \[B, D\] for; `before` is code 0 of
    /// the frame before it, where the output does not know that.
    pub(super) fn first_logits(&self, hidden: &Tensor, guidance: f64, before: Option<u32>) -> Result<Vec<f32>> {
        let mut logits = self.model.first_logits(hidden, guidance)?;
        if let Some(code) = before {
            let code = Tensor::from_vec(vec![code], 1, hidden.device())?;
            let links = self.weights.transitions(&code)?.squeeze(0)?.to_vec1::<f32>()?;
            logits.iter_mut().zip(links).for_each(|(logit, link)| *logit += link);
        }
        Ok(logits)
    }

    /// A frame whose code 0 is known.
    pub(super) fn frame(
        &mut self,
        hidden: &Tensor,
        guidance: f64,
        (place, first): (u64, u32),
        sampler: &mut dyn CodeSampler,
    ) -> Result<Frame> {
        let batch = hidden.dim(0)?;
        let depth = match &mut self.depth {
            Some((rows, depth)) if *rows == batch => depth,
            depth => &mut depth.insert((batch, self.model.depth_cache(batch)?)).1,
        };
        self.model.codes_behind(depth, hidden, guidance, (place, first), sampler)
    }

    /// A frame drawn from left to right.
    pub(super) fn draft(
        &mut self,
        hidden: &Tensor,
        guidance: f64,
        before: Option<u32>,
        place: u64,
        sampler: &mut KeyedSampler,
    ) -> Result<Draft> {
        let ranked = sampler.ranked(place, 0, &self.first_logits(hidden, guidance, before)?, RIVALS + 1)?;
        let mut best = ranked.into_iter().map(|ranked| ranked.0);
        let first = best.next().unwrap_or_default();
        let codes = self.frame(hidden, guidance, (place, first), sampler)?;
        Ok(Draft { codes, rivals: best.collect() })
    }

    /// \[B, 1, D\]
    fn embedded(&self, frame: &Frame, batch: usize) -> Result<Tensor> {
        Ok(self.model.frame_embedding(frame)?.unsqueeze(0)?.repeat((batch, 1, 1))?)
    }
}

impl Memory {
    /// With its first frames, `fed` \[B, T, D\]; they end with frame number `frames` of the song.
    fn begin(weights: &DrafterWeights, fed: &Tensor, frames: usize) -> Result<Self> {
        let (batch, count, _) = fed.dims3()?;
        let cache = weights.cache(batch, fed.device())?;
        let next = fed.narrow(1, 0, 1)?.squeeze(1)?; // until they have been seen
        let empty = Self { batch, cache, fed: VecDeque::new(), frames: frames - count, positions: 0, next };
        empty.with(weights, fed)
    }

    /// With more frames, `fed` \[B, T, D\].
    fn with(mut self, weights: &DrafterWeights, fed: &Tensor) -> Result<Self> {
        let count = fed.dim(1)?;
        for place in 0..count {
            self.fed.push_back(fed.narrow(1, place, 1)?);
        }
        let spare = self.fed.len().saturating_sub(KEPT);
        self.fed.drain(..spare);
        self.cache.truncate(self.positions);
        let seen = if self.positions + count <= MOST_REMEMBERED {
            weights.next(fed, &mut self.cache)?
        } else {
            self.cache.truncate(0);
            weights.next(&Tensor::cat(self.fed.make_contiguous(), 1)?, &mut self.cache)?
        };
        self.next = seen.narrow(1, seen.dim(1)? - 1, 1)?.squeeze(1)?;
        self.positions = self.cache.length();
        self.frames += count;
        Ok(self)
    }
}
