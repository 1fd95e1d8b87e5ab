//! `heads`: frames from outputs that the backbone has not computed yet, one trained head for each frame ahead.
//!
//! Codes are chosen from left to right with the noise of their places, since that is how the target chooses them. As an
//! alternative, `heads-viterbi` chooses the codes 0 of all frames together, by the best sum of scores.

use std::sync::Arc;

use candle_core::Tensor;

use super::{lookahead::Lookahead, weights::DrafterWeights};
use crate::{
    error::Result,
    heartmula::{HeartMula, KeyedSampler},
    speculation::drafter::{Draft, DraftContext, FrameDrafter},
};

/// Candidates for code 0 of each frame among which the best path is looked for.
const CANDIDATES: usize = 12;

/// Drafts with a head for each frame ahead.
#[derive(Debug)]
pub struct Heads {
    lookahead: Lookahead,
    viterbi: bool,
}

impl Heads {
    /// With the heads of `weights`; `viterbi` chooses the codes 0 together.
    pub fn new(model: Arc<HeartMula>, weights: Arc<DrafterWeights>, viterbi: bool) -> Self {
        Self { lookahead: Lookahead::new(model, weights), viterbi }
    }

    /// For each frame the code 0 that lies on the path with the best sum of scores. The first of `outputs` knows the frame
    /// before it; the others do not.
    fn best_path(
        &self,
        outputs: &[Output],
        guidance: f64,
        mut before: Option<u32>,
        first: u64,
        sampler: &mut KeyedSampler,
    ) -> Result<Vec<u32>> {
        // For each frame its candidates: code, best sum up to it, and where that came from.
        let mut columns: Vec<Vec<(u32, f64, usize)>> = Vec::with_capacity(outputs.len());
        for (place, Output { hidden, .. }) in (first..).zip(outputs) {
            let logits = self.lookahead.first_logits(hidden, guidance, before.take())?;
            let candidates = sampler.ranked(place, 0, &logits, CANDIDATES)?;
            let column = match columns.last() {
                None => candidates.into_iter().map(|(code, score)| (code, score, 0)).collect(),
                Some(last) => {
                    let codes = last.iter().map(|candidate| candidate.0).collect::<Vec<u32>>();
                    let codes = Tensor::from_vec(codes, last.len(), hidden.device())?;
                    let links = self.lookahead.weights().transitions(&codes)?.to_vec2::<f32>()?;
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
        let Some(next) = self.lookahead.behind_the_song(context)? else { return Ok(Vec::new()) };
        let weights = self.lookahead.weights();
        let nearest = context.drafted.len() + 1;
        let furthest = (nearest + count).min(weights.reach() + 1);
        let outputs = (nearest..furthest)
            .map(|ahead| Ok(Output { hidden: weights.ahead(ahead, &next)?, knows_the_last: ahead == 1 }));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let (guidance, first, mut sampler) = (context.guidance, context.next(), context.sampler.clone());
        let mut before = context.last().and_then(|frame| frame.first()).copied();
        let path = match (self.viterbi, outputs.first()) {
            (true, Some(output)) => {
                let before = before.filter(|_| !output.knows_the_last);
                self.best_path(&outputs, guidance, before, first, &mut sampler)?
            }
            _ => Vec::new(),
        };
        let mut drafts: Vec<Draft> = Vec::with_capacity(outputs.len());
        for (place, Output { hidden, knows_the_last }) in (first..).zip(&outputs) {
            let draft = match path.get(drafts.len()) {
                Some(code) => self.lookahead.frame(hidden, guidance, (place, *code), &mut sampler)?.into(),
                None => {
                    let link = before.filter(|_| !knows_the_last);
                    self.lookahead.draft(hidden, guidance, link, place, &mut sampler)?
                }
            };
            before = draft.codes.first().copied();
            drafts.push(draft);
        }
        Ok(drafts)
    }
}

/// An output that a head expects.
struct Output {
    /// \[B, D\]
    hidden: Tensor,
    /// Whether the frame before is known to it: then a link to its code 0 would count that twice.
    knows_the_last: bool,
}
