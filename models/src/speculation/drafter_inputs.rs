//! Inputs that drafters are made of, and the default choice of drafters.

use std::sync::Arc;

use super::{
    drafter::FrameDrafter,
    drafters::{CarryOver, DRAFTER_FILE, DrafterWeights, Heads, NGram, NextState, StaleDepth},
    setting::DrafterName,
};
use crate::{
    error::{ModelError, Result},
    heartmula::HeartMula,
};

/// What drafters can be made of.
#[derive(Debug, Clone, Copy)]
pub struct DrafterInputs<'a> {
    /// The model of the song, or as much of it as drafters use.
    pub model: &'a Arc<HeartMula>,
    /// The drafter that was trained for it, if there is one.
    pub trained: Option<&'a Arc<DrafterWeights>>,
}

impl DrafterInputs<'_> {
    /// The drafters that are asked by default; the trained ones by turns.
    pub(super) fn usual(&self) -> Vec<DrafterName> {
        let trained = self.trained.map(|_| [DrafterName::NextState, DrafterName::Heads]);
        let trained = trained.into_iter().flatten();
        [DrafterName::NGram].into_iter().chain(trained).chain([DrafterName::CarryOver]).collect()
    }

    /// The drafter of a name; `None` for the one that drafts no frames.
    pub(super) fn drafter(&self, name: DrafterName) -> Result<Option<Box<dyn FrameDrafter>>> {
        let model = || Arc::clone(self.model);
        let trained = || self.trained.map(Arc::clone).ok_or_else(|| untrained(name));
        Ok(Some(match name {
            DrafterName::DepthJacobi => return Ok(None),
            DrafterName::CarryOver => Box::new(CarryOver::default()),
            DrafterName::NGram => Box::new(NGram::default()),
            DrafterName::DepthDecoder => Box::new(StaleDepth::new(model())),
            DrafterName::Heads => Box::new(Heads::new(model(), trained()?, false)),
            DrafterName::HeadsViterbi => Box::new(Heads::new(model(), trained()?, true)),
            DrafterName::NextState => Box::new(NextState::new(model(), trained()?)),
        }))
    }
}

/// The choices among `names`, each as the drafters that it excludes: one trained way of drafting at a time, or none.
pub(super) fn exclusions(names: &[DrafterName]) -> Vec<&'static [DrafterName]> {
    const ONE_OR_NONE: [&[DrafterName]; 3] =
        [&[DrafterName::Heads], &[DrafterName::NextState], &[DrafterName::Heads, DrafterName::NextState]];
    let both = [DrafterName::Heads, DrafterName::NextState].iter().all(|name| names.contains(name));
    if both { ONE_OR_NONE.to_vec() } else { vec![&[]] }
}

/// Drafter `name` was never trained for the checkpoint.
pub(super) fn untrained(name: DrafterName) -> ModelError {
    ModelError::Option {
        option: "speculate",
        expected: "auto, off, or drafters that need no training".to_owned(),
        found: format!("{name}, and this checkpoint has no {DRAFTER_FILE} (`heartstream distill` makes one)"),
    }
}
