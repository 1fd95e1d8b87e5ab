//! Lookahead of trained drafters: an estimate of the backbone's next outputs, and frames drawn from it.

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
const RUNNERS_UP: usize = 4;
/// Frames that are kept when the cache is full: the layer is fed with them again.
const KEPT: usize = MOST_POSITIONS / 2;
/// Frames of the song in the cache, at most; behind them is room for drafts of this and other drafters.
const MOST_REMEMBERED: usize = MOST_POSITIONS - 2 * (MOST_FRAMES + 1);

/// A model, the drafter that was trained for it, and its state for a song.
#[derive(Debug)]
pub(super) struct Lookahead {
    model: Arc<HeartMula>,
    weights: Arc<DrafterWeights>,
    memory: Option<LayerState>,
    depth: Option<(usize, KvCache)>,
}

/// State of the layer: the frames that it was fed with.
#[derive(Debug)]
struct LayerState {
    batch: usize,
    cache: KvCache,
    /// Its inputs, frame by frame \[B, 1, D\]; the last [`KEPT`] of them.
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
    /// A gap of frames that it was not asked about resets the state. Drafts with a short state are right less often,
    /// and cost the same.
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
                    None => LayerState::begin(&self.weights, &fed, context.past.len())?,
                }
            }
        };
        let next = memory.next.clone();
        self.memory = Some(memory);
        Ok(Some(next))
    }

    /// The output \[B, D\] that the backbone will have behind a frame that was drafted from its output `hidden` \[B,
    /// D\]: the first one behind the song, or the next one after those that this was asked about since.
    pub(super) fn behind(&mut self, hidden: &Tensor, frame: &Frame) -> Result<Tensor> {
        let frame = self.embedded(frame, hidden.dim(0)?)?;
        let fed = self.weights.fed(&hidden.unsqueeze(1)?, &frame)?;
        match &mut self.memory {
            Some(memory) => Ok(self.weights.next(&fed, &mut memory.cache)?.squeeze(1)?),
            None => Ok(hidden.clone()), // nothing is drafted before the song is known
        }
    }

    /// Logits of code 0 of the frame that the backbone will have the output `hidden` \[B, D\] for; `before` is code 0
    /// of the frame before it, where the output does not know that.
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
        let ranked = sampler.ranked(place, 0, &self.first_logits(hidden, guidance, before)?, RUNNERS_UP + 1)?;
        let mut best = ranked.into_iter().map(|ranked| ranked.0);
        let first = best.next().unwrap_or_default();
        let codes = self.frame(hidden, guidance, (place, first), sampler)?;
        Ok(Draft { codes, runners_up: best.collect() })
    }

    /// \[B, 1, D\]
    fn embedded(&self, frame: &Frame, batch: usize) -> Result<Tensor> {
        Ok(self.model.frame_embedding(frame)?.unsqueeze(0)?.repeat((batch, 1, 1))?)
    }
}

impl LayerState {
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{
        heartmula::Sampling, signal::KeyedNoise, speculation::drafters::DrafterSizes, test_checkpoints::tiny,
        weights::TensorStore,
    };

    const FRAMES: usize = 300;

    fn noise(key: u64, shape: &[usize]) -> Tensor {
        let mut numbers = vec![0f32; shape.iter().product()];
        KeyedNoise::new(key).fill_latent(0, &mut numbers);
        Tensor::from_vec(numbers, shape, &Device::Cpu).expect("a tensor")
    }

    /// A drafter of random weights, whose layer attends to its whole state, and a song.
    fn setting() -> (Lookahead, Vec<Frame>, Tensor) {
        let (_folder, directory) = tiny();
        let model = Arc::new(directory.load_lm(&Device::Cpu).expect("a model"));
        let expected = DrafterWeights::expected(&directory.lm, DrafterSizes::usual(&directory.lm, 2));
        let tensors = (0u64..).zip(expected).map(|(key, tensor)| {
            let scale = 1.0 / (tensor.shape.last().copied().unwrap_or(1) as f64).sqrt();
            (tensor.name, (noise(key, &tensor.shape) * scale).expect("a tensor"))
        });
        let weights = DrafterWeights::load(&directory.lm, &TensorStore::from_tensors(tensors), &Device::Cpu);
        let frames = (0..FRAMES as u32).map(|frame| (0..8).map(|codebook| (7 * frame + 3 * codebook) % 32).collect());
        let outputs = noise(99, &[2, FRAMES, directory.lm.backbone.embed_dim]);
        (Lookahead::new(model, Arc::new(weights.expect("a drafter"))), frames.collect(), outputs)
    }

    /// What is expected behind the first `written` frames, of which the last `last` are new.
    fn asked(
        lookahead: &mut Lookahead,
        frames: &[Frame],
        outputs: &Tensor,
        (written, last): (usize, usize),
    ) -> Vec<f32> {
        let options = Sampling { top_k: 5, ..Sampling::default() };
        let sampler = KeyedSampler::new(options, KeyedNoise::new(1)).expect("in range");
        let trail = outputs.narrow(1, written - last, last).expect("outputs");
        let (past, trail) = (&frames[..written], Some(&trail));
        let context = DraftContext { past, drafted: &[], trail, guidance: 1.5, sampler: &sampler };
        let next = lookahead.behind_the_song(&context).expect("an output").expect("it is known");
        next.flatten_all().and_then(|next| next.to_vec1()).expect("numbers")
    }

    /// Whether they are the same but for rounding: weights in memory are multiplied with many rows in another order
    /// than with few.
    fn close(found: &[f32], expected: &[f32]) -> bool {
        found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-3 * (1.0 + expected.abs()))
    }

    #[test]
    fn what_is_expected_does_not_depend_on_rounds_or_on_drafts_that_were_wrong() {
        let ((mut singly, frames, outputs), (mut in_rounds, ..)) = (setting(), setting());
        let mut written = 0;
        for round in 0..40 {
            let last = 1 + round % 4;
            for place in written + 1..=written + last {
                asked(&mut singly, &frames, &outputs, (place, 1));
            }
            written += last;
            let expected = asked(&mut singly, &frames, &outputs, (written, 1));
            let found = asked(&mut in_rounds, &frames, &outputs, (written, last));
            assert!(close(&found, &expected), "behind {written} frames");
            let wrong = noise(7, &[2, outputs.dim(2).expect("a width")]);
            in_rounds.behind(&wrong, &frames[0]).and_then(|next| in_rounds.behind(&next, &frames[1])).expect("drafts");
        }
        let other = asked(&mut setting().0, &frames, &outputs, (written, 1));
        assert!(!close(&asked(&mut singly, &frames, &outputs, (written, 1)), &other), "what was before is seen");
    }

    #[test]
    fn a_long_song_is_remembered_as_far_back_as_there_is_room() {
        let (mut lookahead, frames, outputs) = setting();
        let (mut positions, mut began_anew) = (0, 0);
        for written in 1..=FRAMES {
            let found = asked(&mut lookahead, &frames, &outputs, (written, 1));
            let memory = lookahead.memory.as_ref().expect("it remembers");
            assert!(memory.positions <= MOST_REMEMBERED && memory.fed.len() <= KEPT);
            if memory.positions < positions {
                let fresh = asked(&mut setting().0, &frames, &outputs, (written, KEPT));
                began_anew += 1;
                assert!(close(&found, &fresh), "the last {KEPT} of {written} frames");
            }
            positions = memory.positions;
        }
        assert_eq!(began_anew, 1, "it was full once");
    }
}
