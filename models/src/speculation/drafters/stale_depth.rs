//! `depth-decoder`: the small decoder drafts the next frames from the backbone's last output, which is one frame old.
//!
//! The output knows nothing of the frame that was written from it, so its code 0 is right hardly ever; and a draft costs
//! as much as the depth decoder does in plain decoding. It is here because it was proposed, and to be measured.

use std::sync::Arc;

use candle_core::Tensor;

use crate::{
    error::Result,
    heartmula::HeartMula,
    speculation::{
        drafter::{Draft, DraftContext, FrameDrafter},
        target::Frame,
    },
};

/// Drafts with the depth decoder.
#[derive(Debug)]
pub struct StaleDepth {
    model: Arc<HeartMula>,
}

impl StaleDepth {
    /// With the depth decoder of `model`.
    pub fn new(model: Arc<HeartMula>) -> Self {
        Self { model }
    }

    fn frame(&self, trail: &Tensor, context: &DraftContext<'_>, place: u64) -> Result<Frame> {
        self.model.codes_after(trail, context.guidance, place, &mut context.sampler.clone())
    }
}

impl FrameDrafter for StaleDepth {
    fn name(&self) -> &'static str {
        "depth-decoder"
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        let Some(trail) = context.trail else { return Ok(Vec::new()) };
        let trail = &trail.narrow(1, trail.dim(1)? - 1, 1)?.squeeze(1)?;
        let first = context.next();
        (first..first + count as u64).map(|place| Ok(self.frame(trail, context, place)?.into())).collect()
    }
}
