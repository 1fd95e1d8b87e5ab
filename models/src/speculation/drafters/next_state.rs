//! `next-state`: frames from outputs that a trained layer expects of the backbone, each behind the frame drafted last.

use std::sync::Arc;

use super::{lookahead::Lookahead, weights::DrafterWeights};
use crate::{
    error::Result,
    heartmula::HeartMula,
    speculation::drafter::{Draft, DraftContext, FrameDrafter},
};

/// Drafts with a layer that goes from one output of the backbone, and the frame drawn from it, to the next.
#[derive(Debug)]
pub struct NextState {
    lookahead: Lookahead,
}

impl NextState {
    /// With the layer of `weights`.
    pub fn new(model: Arc<HeartMula>, weights: Arc<DrafterWeights>) -> Self {
        Self { lookahead: Lookahead::new(model, weights) }
    }
}

impl FrameDrafter for NextState {
    fn name(&self) -> &'static str {
        "next-state"
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        let Some(mut hidden) = self.lookahead.behind_the_song(context)? else { return Ok(Vec::new()) };
        let mut sampler = context.sampler.clone();
        for draft in context.drafted {
            hidden = self.lookahead.behind(&hidden, &draft.codes)?;
        }
        let mut drafts: Vec<Draft> = Vec::with_capacity(count);
        for place in (context.next()..).take(count) {
            if let Some(draft) = drafts.last() {
                hidden = self.lookahead.behind(&hidden, &draft.codes)?;
            }
            drafts.push(self.lookahead.draft(&hidden, context.guidance, None, place, &mut sampler)?);
        }
        Ok(drafts)
    }
}
