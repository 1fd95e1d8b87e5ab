//! `heads` and `next-state`: frames from outputs that the backbone has not computed yet, as a trained drafter sees them
//! coming.
//!
//! Codes are chosen from left to right with the noise of their places, since that is how the target chooses them. As an
//! alternative, `heads-viterbi` chooses the codes 0 of all frames together, by the best sum of scores.

use std::sync::Arc;

use candle_core::Tensor;

use super::weights::DrafterWeights;
use crate::{
    error::Result,
    heartmula::{CodeSampler, HeartMula, KeyedSampler},
    speculation::{
        drafter::{Draft, DraftContext, FrameDrafter},
        target::Frame,
    },
};

/// Runners-up of code 0 that a draft names.
const RIVALS: usize = 4;
/// Candidates for code 0 of each frame among which the best path is looked for.
const CANDIDATES: usize = 12;

/// A model and the drafter that was trained for it.
#[derive(Debug, Clone)]
struct Trained {
    model: Arc<HeartMula>,
    weights: Arc<DrafterWeights>,
}

impl Trained {
    /// Logits of code 0 of a frame: of its output, and of code 0 before it.
    fn first_logits(&self, hidden: &Tensor, before: Option<u32>) -> Result<Vec<f32>> {
        let mut logits = self.model.head(0, hidden)?;
        if let Some(code) = before {
            let code = Tensor::from_vec(vec![code], 1, hidden.device())?;
            logits = (logits + self.weights.transitions(&code)?)?;
        }
        Ok(logits.squeeze(0)?.to_vec1()?)
    }

    /// A frame whose code 0 is known.
    fn frame(&self, hidden: &Tensor, first: u32, place: u64, sampler: &mut KeyedSampler) -> Result<Frame> {
        let codebooks = self.model.config().audio_num_codebooks;
        let mut codes = vec![first];
        let mut sum = self.model.code_embedding(0, first)?;
        for codebook in 1..codebooks {
            let logits = self.model.head(codebook, &self.weights.mixed(codebook, hidden, &sum)?)?;
            let code = sampler.sample(place, codebook, &logits.squeeze(0)?.to_vec1::<f32>()?)?;
            codes.push(code);
            if codebook + 1 < codebooks {
                sum = (sum + self.model.code_embedding(codebook, code)?)?;
            }
        }
        Ok(codes)
    }

    /// A frame drawn from left to right.
    fn draft(&self, hidden: &Tensor, before: Option<u32>, place: u64, sampler: &mut KeyedSampler) -> Result<Draft> {
        let ranked = sampler.ranked(place, 0, &self.first_logits(hidden, before)?, RIVALS + 1)?;
        let mut best = ranked.into_iter().map(|ranked| ranked.0);
        let first = best.next().unwrap_or_default();
        let codes = self.frame(hidden, first, place, sampler)?;
        Ok(Draft { codes, rivals: best.collect() })
    }
}

/// Drafts with a head for each frame ahead.
#[derive(Debug, Clone)]
pub struct Heads {
    trained: Trained,
    viterbi: bool,
}

impl Heads {
    /// With the heads of `weights`; `viterbi` chooses the codes 0 together.
    pub fn new(model: Arc<HeartMula>, weights: Arc<DrafterWeights>, viterbi: bool) -> Self {
        Self { trained: Trained { model, weights }, viterbi }
    }

    /// For each frame the code 0 that lies on the path with the best sum of scores.
    fn best_path(
        &self,
        outputs: &[Tensor],
        mut before: Option<u32>,
        first: u64,
        sampler: &mut KeyedSampler,
    ) -> Result<Vec<u32>> {
        // For each frame its candidates: code, best sum up to it, and where that came from.
        let mut columns: Vec<Vec<(u32, f64, usize)>> = Vec::with_capacity(outputs.len());
        for (place, hidden) in (first..).zip(outputs) {
            let logits = self.trained.first_logits(hidden, before.take())?;
            let candidates = sampler.ranked(place, 0, &logits, CANDIDATES)?;
            let column = match columns.last() {
                None => candidates.into_iter().map(|(code, score)| (code, score, 0)).collect(),
                Some(last) => {
                    let codes = last.iter().map(|candidate| candidate.0).collect::<Vec<u32>>();
                    let codes = Tensor::from_vec(codes, last.len(), hidden.device())?;
                    let links = self.trained.weights.transitions(&codes)?.to_vec2::<f32>()?;
                    let joined = |(code, score): (u32, f64)| {
                        let sums =
                            last.iter().zip(&links).map(|((_, sum, _), links)| sum + f64::from(links[code as usize]));
                        let best = sums.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0));
                        (code, score + best.1, best.0)
                    };
                    candidates.into_iter().map(joined).collect()
                }
            };
            columns.push(column);
        }
        let end = columns.last().into_iter().flatten().enumerate();
        let mut place = end.max_by(|a, b| a.1.1.total_cmp(&b.1.1)).map_or(0, |best| best.0);
        let mut path = Vec::with_capacity(columns.len());
        for column in columns.iter().rev() {
            let (code, _, from) = column[place];
            path.push(code);
            place = from;
        }
        path.reverse();
        Ok(path)
    }
}

impl FrameDrafter for Heads {
    fn name(&self) -> &'static str {
        if self.viterbi { "heads-viterbi" } else { "heads" }
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        let Trained { model, weights } = &self.trained;
        let (Some(trail), Some(last)) = (context.trail, context.past.last()) else { return Ok(Vec::new()) };
        let (hidden, frame) = (model.led(trail, context.guidance)?, model.frame_embedding(last)?);
        let nearest = context.drafted.len() + 1;
        let furthest = (nearest + count).min(weights.reach() + 1);
        let outputs = (nearest..furthest).map(|ahead| weights.ahead(ahead, &hidden, &frame));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let (first, mut sampler) = (context.next(), context.sampler.clone());
        let mut before = context.last().and_then(|frame| frame.first()).copied();
        if self.viterbi {
            let path = self.best_path(&outputs, before, first, &mut sampler)?;
            let frames = (first..).zip(&outputs).zip(path);
            let frames = frames.map(|((place, hidden), code)| self.trained.frame(hidden, code, place, &mut sampler));
            return frames.map(|frame| Ok(Draft::from(frame?))).collect();
        }
        let mut drafts = Vec::with_capacity(outputs.len());
        for (place, hidden) in (first..).zip(&outputs) {
            let draft = self.trained.draft(hidden, before, place, &mut sampler)?;
            before = draft.codes.first().copied();
            drafts.push(draft);
        }
        Ok(drafts)
    }
}

/// Drafts with a map from one output of the backbone to the next.
#[derive(Debug, Clone)]
pub struct NextState {
    trained: Trained,
}

impl NextState {
    /// With the map of `weights`.
    pub fn new(model: Arc<HeartMula>, weights: Arc<DrafterWeights>) -> Self {
        Self { trained: Trained { model, weights } }
    }
}

impl FrameDrafter for NextState {
    fn name(&self) -> &'static str {
        "next-state"
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        let Trained { model, weights } = &self.trained;
        let (Some(trail), Some(last)) = (context.trail, context.past.last()) else { return Ok(Vec::new()) };
        let mut hidden = model.led(trail, context.guidance)?;
        let mut sampler = context.sampler.clone();
        hidden = weights.next(&hidden, &model.frame_embedding(last)?)?;
        for draft in context.drafted {
            hidden = weights.next(&hidden, &model.frame_embedding(&draft.codes)?)?;
        }
        let mut drafts: Vec<Draft> = Vec::with_capacity(count);
        for place in (context.next()..).take(count) {
            if let Some(draft) = drafts.last() {
                hidden = weights.next(&hidden, &model.frame_embedding(&draft.codes)?)?;
            }
            // The map has seen the whole frame before; a link to its code 0 would count that twice.
            drafts.push(self.trained.draft(&hidden, None, place, &mut sampler)?);
        }
        Ok(drafts)
    }
}
