//! Faults planted by tests: panics and delays of stages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heartstream_messages::Stage;

/// Planted faults, for tests of their effect on a song.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Planted>>);

#[derive(Debug, Default)]
struct Planted {
    panics: Vec<PlantedPanic>,
    holds: Vec<Hold>,
}

/// One planted panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlantedPanic {
    /// The stage that panics.
    pub stage: Stage,
    /// While it works on its input number `item`, counted from 1. The language model's first is its prompt, those after
    /// it are its frames.
    pub item: u64,
    /// How often.
    pub times: u32,
}

/// A flow worker that is slow, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Before its input number `item`, counted from 1, …
    pub item: u64,
    /// … it waits until the others have decoded this number of segments.
    pub until_segments: u64,
}

impl Faults {
    /// Plants panics.
    pub fn new(faults: impl IntoIterator<Item = PlantedPanic>) -> Self {
        Self::default().with(|planted| planted.panics.extend(faults))
    }

    /// Plants slow moments.
    pub fn holding(holds: impl IntoIterator<Item = Hold>) -> Self {
        Self::default().with(|planted| planted.holds.extend(holds))
    }

    /// How many of them are still to come.
    pub fn left(&self) -> u32 {
        let planted = self.planted();
        planted.panics.iter().map(|fault| fault.times).sum::<u32>() + planted.holds.len() as u32
    }

    /// Panics if a fault was planted here.
    pub(crate) fn strike(&self, stage: Stage, item: u64) {
        let struck = {
            let mut planted = self.planted();
            let here = |fault: &&mut PlantedPanic| fault.stage == stage && fault.item == item && fault.times > 0;
            planted.panics.iter_mut().find(here).map(|fault| fault.times -= 1).is_some()
        };
        assert!(!struck, "planted in item {item} of the {stage}");
    }

    /// What a flow worker has to wait for before its input number `item`; only the first that asks has to.
    pub(crate) fn hold(&self, item: u64) -> Option<u64> {
        let mut planted = self.planted();
        let place = planted.holds.iter().position(|hold| hold.item == item)?;
        Some(planted.holds.remove(place).until_segments)
    }

    fn with(self, plant: impl FnOnce(&mut Planted)) -> Self {
        plant(&mut self.planted());
        self
    }

    fn planted(&self) -> MutexGuard<'_, Planted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
