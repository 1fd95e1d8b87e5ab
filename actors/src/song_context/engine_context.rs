//! State that the songs of one engine share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heartstream_messages::{Flow, Stage};

use crate::{core_turns::CoreTurns, prompt_cores::PromptCores, remote::workers::RemoteWorkers};

/// State that the songs of one engine share. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct EngineContext {
    /// Which stage computes first on shared cores, from which each song has turns of its own.
    pub turns: CoreTurns,
    /// Where prompts are read.
    pub prompt_cores: PromptCores,
    /// Measured rates of the codec.
    pub rates: CodecRates,
    /// Stages that compute on a GPU: their threads wait for it most of the time, and need not be kept awake.
    pub on_gpus: Arc<[Stage]>,
    /// Flow workers on other machines, if there are to be any.
    pub remote: Option<RemoteWorkers>,
}

/// Measured rates of the codec: the first song with a deadline measures them, later ones know them.
#[derive(Debug, Clone, Default)]
pub struct CodecRates(Arc<Mutex<Measured>>);

#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    /// For a frame in one step, without guidance and with it, which computes twice as much.
    flow_step: [Option<f64>; 2],
    sound: Option<f64>,
}

impl CodecRates {
    /// Seconds that flow matching, all steps of `options`, takes for a frame of a window; `None` before it was measured.
    pub fn flow(&self, options: Flow) -> Option<f64> {
        let step = self.measured().flow_step[usize::from(is_guided(options))];
        step.map(|seconds| seconds * options.steps as f64)
    }

    /// Seconds from the first latents to the first samples; `None` before they were measured.
    pub fn sound(&self) -> Option<f64> {
        self.measured().sound
    }

    /// A step of flow matching with the guidance of `options` takes `seconds` for a frame of a window.
    pub fn flow_step_measured(&self, options: Flow, seconds: f64) {
        self.measured().flow_step[usize::from(is_guided(options))] = Some(seconds);
    }

    /// The vocoder takes `seconds` to its first samples.
    pub fn sound_measured(&self, seconds: f64) {
        self.measured().sound = Some(seconds);
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_guided(options: Flow) -> bool {
    options.guidance > 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_one_song_measured_holds_for_other_steps_and_not_for_other_guidance() {
        let rates = CodecRates::default();
        let options = |steps, guidance| Flow { steps, guidance };
        assert_eq!(rates.flow(options(10, 1.25)), None);
        rates.flow_step_measured(options(10, 1.25), 0.5);
        assert_eq!(rates.flow(options(10, 1.25)), Some(5.0));
        assert_eq!(rates.flow(options(4, 2.0)), Some(2.0));
        assert_eq!(rates.flow(options(10, 1.0)), None, "half the work is another rate");
    }
}
