//! Control of a song: pause, cancel, progress.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use heartstream_actors::song_context::SongContext;
use heartstream_messages::Progress;
use kameo::actor::ActorRef;
use tokio::sync::watch;

use crate::conductor::{Cancel, Conductor};

/// Tells the songs of a process apart: in logs, and in programs that keep several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SongId(pub(crate) u64);

impl fmt::Display for SongId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The control of a song, from any task or thread and as often as it is cloned. It does not keep the song alive: that is
/// for [`crate::SongBlocks`].
#[derive(Clone)]
pub struct SongControl {
    conductor: CurrentConductor,
    context: SongContext,
}

/// The current conductor of a song: one for all of it, or one for each half.
#[derive(Clone, Default)]
pub(crate) struct CurrentConductor(Arc<Mutex<Option<ActorRef<Conductor>>>>);

impl CurrentConductor {
    pub fn of(conductor: ActorRef<Conductor>) -> Self {
        let current = Self::default();
        current.set(conductor);
        current
    }

    /// Hands the song to `conductor`.
    pub fn set(&self, conductor: ActorRef<Conductor>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(conductor);
    }

    /// Cancels the current conductor. A sequential song that is between two has none; its second half checks the stop
    /// flag.
    pub fn cancel(&self) {
        let conductor = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Err(error)) = conductor.map(|conductor| conductor.tell(Cancel).try_send()) {
            tracing::debug!(%error, "the song had ended before it was cancelled");
        }
    }
}

impl SongControl {
    pub(super) fn new(conductor: CurrentConductor, context: SongContext) -> Self {
        Self { conductor, context }
    }

    pub(super) fn context(&self) -> &SongContext {
        &self.context
    }

    /// Tells this song from the others of the process.
    pub fn id(&self) -> SongId {
        SongId(self.context.id)
    }

    /// Watches the progress; changes with each frame, segment and block.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.context.meter.watch()
    }

    /// A snapshot of the progress.
    pub fn snapshot(&self) -> Progress {
        self.context.meter.progress()
    }

    /// Makes no sound until [`SongControl::resume`]: a speaker plays silence and full queues hold the song back; without
    /// a speaker the language model writes no further frame. The song itself does not depend on it.
    pub fn pause(&self) {
        self.context.pause.set(true);
        self.context.meter.publish();
    }

    /// Goes on after [`SongControl::pause`], with the next sample or the next frame.
    pub fn resume(&self) {
        self.context.pause.set(false);
        self.context.meter.publish();
    }

    /// Whether the song is paused.
    pub fn is_paused(&self) -> bool {
        self.context.pause.is_on()
    }

    /// Ends the song within one layer of the prefill, one frame of the language model and one block of flow matching (on a
    /// GPU: one step). What has been decoded is still written to a file.
    pub fn cancel(&self) {
        // Work under way sees the stop flag at once; the conductor ends the stages.
        self.context.stop.set();
        self.conductor.cancel();
    }
}
