//! The cores of the prompt: all of the machine's, while no codec computes on them.
//!
//! A divided machine gives the language model half of its cores, and the other half to the codec, which has nothing to
//! do before the first frames. Reading a prompt is bound by multiplying, so twice the cores take half the time. It gives
//! way, between two layers, where the codec has work after all.

use std::{
    fmt,
    sync::{Arc, Mutex, TryLockError},
};

use heartstream_messages::Stage;

use crate::{
    awake::kept_awake,
    compute_site::{ComputeSite, start_pool},
    core_turns::CoreTurns,
};

/// The stages of the codec, which have the other cores.
pub const CODEC: [Stage; 2] = [Stage::FlowWorker, Stage::Vocoder];

/// Threads on all cores, which are started by the first prompt and end with the engine. Clones share them. By default a
/// prompt is read where the language model computes.
#[derive(Clone, Default)]
pub struct PromptCores(Option<Arc<Inner>>);

struct Inner {
    site: ComputeSite,
    /// Held while a prompt is read.
    pool: Mutex<Option<rayon::ThreadPool>>,
}

impl PromptCores {
    /// Threads of `site`.
    pub fn of(site: ComputeSite) -> Self {
        Self(Some(Arc::new(Inner { site, pool: Mutex::default() })))
    }

    /// Does `work` on all cores, and tells it so; on the threads that it is called on where there are no others, where
    /// a song's codec computes, or where another prompt is being read.
    pub fn run<R: Send>(&self, turns: &CoreTurns, work: impl FnOnce(bool) -> R + Send) -> R {
        let Some(inner) = self.0.as_ref().filter(|_| !turns.are_at_work_in_any_song(&CODEC)) else {
            return work(false);
        };
        let mut pool = match inner.pool.try_lock() {
            Ok(pool) => pool,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return work(false),
        };
        if pool.is_none() {
            *pool = start_pool(&inner.site, "prompt").ok();
        }
        match &*pool {
            Some(pool) => pool.install(|| kept_awake(&|| turns.are_at_work_in_any_song(&CODEC), || work(true))),
            None => work(false), // the operating system gives no threads
        }
    }
}

impl fmt::Debug for PromptCores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PromptCores").field(&self.0.as_ref().map(|inner| &inner.site)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The threads that a prompt is read with, and whether it was told that they are all.
    fn found(cores: &PromptCores, turns: &CoreTurns) -> (usize, bool) {
        let own = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        own.install(|| cores.run(turns, |all| (rayon::current_num_threads(), all)))
    }

    #[test]
    fn a_prompt_has_all_cores_but_where_a_codec_computes_or_another_prompt_is_read() {
        let cores = PromptCores::of(ComputeSite { threads: 5, cores: Vec::new() });
        let turns = CoreTurns::default();
        assert_eq!(found(&cores, &turns), (5, true));
        let at_work = turns.take(Stage::Vocoder);
        assert_eq!(found(&cores, &turns.of_a_song()), (2, false));
        drop(at_work);
        assert_eq!(cores.run(&turns, |_| found(&cores, &turns)), (2, false));
        assert_eq!(found(&cores, &turns), (5, true), "the same threads again");
        assert_eq!(found(&PromptCores::default(), &turns), (2, false));
    }
}
