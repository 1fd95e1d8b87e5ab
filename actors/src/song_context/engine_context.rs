//! State that the songs of one engine share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heartstream_messages::Stage;

use crate::core_turns::CoreTurns;

/// State that the songs of one engine share. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct EngineContext {
    /// Which stage computes first on shared cores, from which each song has turns of its own.
    pub turns: CoreTurns,
    /// Measured rates of the codec.
    pub rates: CodecRates,
    /// Stages that compute on a GPU: their threads wait for it most of the time, and need not be kept awake.
    pub on_gpus: Arc<[Stage]>,
}

/// Measured rates of the codec: the first song with a deadline measures them, later ones know them.
#[derive(Debug, Clone, Default)]
pub struct CodecRates(Arc<Mutex<Measured>>);

#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    flow: Option<f64>,
    sound: Option<f64>,
}

impl CodecRates {
    /// Seconds that flow matching, all its steps, takes for a frame of a window; `None` before it was measured.
    pub fn flow(&self) -> Option<f64> {
        self.measured().flow
    }

    /// Seconds from the first latents to the first samples; `None` before they were measured.
    pub fn sound(&self) -> Option<f64> {
        self.measured().sound
    }

    /// Flow matching, all its steps, takes `seconds` for a frame of a window.
    pub fn flow_measured(&self, seconds: f64) {
        self.measured().flow = Some(seconds);
    }

    /// The vocoder takes `seconds` to its first samples.
    pub fn sound_measured(&self, seconds: f64) {
        self.measured().sound = Some(seconds);
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
