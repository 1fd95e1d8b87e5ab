//! Drafters on another device than the song: the backbone's output is copied there.

use candle_core::Device;

use crate::{
    error::Result,
    speculation::{
        drafter::{Draft, DraftContext, FrameDrafter},
        round::RoundOutcome,
    },
};

/// A drafter whose weights are on `device`, wherever the song is written.
pub struct OnDevice {
    drafter: Box<dyn FrameDrafter>,
    device: Device,
}

impl OnDevice {
    /// `drafter`, which computes on `device`.
    pub fn new(drafter: Box<dyn FrameDrafter>, device: Device) -> Self {
        Self { drafter, device }
    }
}

impl FrameDrafter for OnDevice {
    fn name(&self) -> &'static str {
        self.drafter.name()
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        // Where it is there already, nothing is copied.
        let trail = context.trail.map(|trail| trail.to_device(&self.device)).transpose()?;
        self.drafter.draft(&DraftContext { trail: trail.as_ref(), ..*context }, count)
    }

    fn observe(&mut self, outcome: &RoundOutcome) {
        self.drafter.observe(outcome);
    }
}
