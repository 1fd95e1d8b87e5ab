//! Lockstep of an engine: started for the first of the songs that overlap, ended by the last.

use std::sync::{Arc, Mutex, PoisonError};

use heartstream_actors::{
    compute_site::ComputeSite,
    lockstep::{Lockstep, LockstepArgs, LockstepHandle, WeakLockstep, lockstep},
    song_context::EngineContext,
    stage_threads::{StageRun, StageThreads},
};
use heartstream_messages::Stage;
use heartstream_models::heartmula::HeartMula;
use kameo::actor::Spawn;
use tokio::runtime::Handle;

use crate::error::EngineError;

/// The lockstep of all songs that are written with the same weights. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct SharedLockstep(Arc<Mutex<Option<WeakLockstep>>>);

impl SharedLockstep {
    /// A hold on the lockstep for a song: that of the songs that are being written, or that of a new one.
    ///
    /// # Errors
    /// When the system has no thread for a new one.
    pub fn join(
        &self,
        model: &Arc<HeartMula>,
        site: &ComputeSite,
        threads: &StageThreads,
        engine: &EngineContext,
    ) -> Result<LockstepHandle, EngineError> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner); // it is never half set
        if let Some(handle) = current.as_ref().and_then(WeakLockstep::upgrade) {
            return Ok(handle);
        }
        let lent = threads.lend([(Stage::LanguageModel, Some(site))]);
        let lent = lent.map_err(|error| EngineError::Threads(error.to_string()))?;
        let (runtime, prepared) = (Handle::current(), Lockstep::prepare());
        let actor = prepared.actor_ref().clone();
        let (model, engine) = (Arc::clone(model), engine.clone());
        let (give, inbox) = flume::bounded(1);
        let work: StageRun = Box::new(move |pool| {
            let Ok(inbox) = inbox.recv() else { return };
            // The finished actor is returned with all that it holds; it is dropped here.
            drop(runtime.block_on(prepared.run(LockstepArgs { model, engine, pool, inbox })));
        });
        let (handle, inbox) = lockstep(actor, lent.run([work]));
        let _ = give.send(inbox); // it has a place, and the thread waits for it
        *current = Some(handle.downgrade());
        Ok(handle)
    }
}
