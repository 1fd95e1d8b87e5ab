//! `carry-over`: what the target drew behind the last right frame, drafted again.
//!
//! Those draws were made under frames that turned out wrong, but with the noise of their places, and so they are right
//! more often than random drafts: Jacobi iteration over time. So, Kook, Jang and Park, "Speculative coupled decoding",
//! <https://arxiv.org/abs/2510.24211>. It costs nothing. The window is kept full with the last frame again.

use crate::{
    error::Result,
    speculation::{
        drafter::{Draft, DraftContext, FrameDrafter},
        round::RoundOutcome,
        target::Frame,
    },
};

/// Drafts what the round before drew.
#[derive(Debug, Default)]
pub struct CarryOver {
    first: u64,
    carried: Vec<Frame>,
}

impl FrameDrafter for CarryOver {
    fn name(&self) -> &'static str {
        "carry-over"
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        let skipped = usize::try_from(context.next().saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut drafts: Vec<Frame> = self.carried.iter().skip(skipped).take(count).cloned().collect();
        // A window that is not filled would have nothing to carry over.
        if let Some(last) = drafts.last().or(context.last()).cloned() {
            drafts.resize(count, last);
        }
        Ok(drafts.into_iter().map(Draft::from).collect())
    }

    fn observe(&mut self, outcome: &RoundOutcome) {
        self.first = outcome.first + outcome.frames.len() as u64;
        self.carried.clone_from(&outcome.carry);
    }
}
