//! Ends of a lockstep that a song holds: how it joins and leaves, and how it learns of its end.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
};

use flume::{Receiver, Sender};
use heartstream_messages::{CodeFrame, PromptTokens};
use kameo::actor::ActorRef;

use super::Lockstep;
use crate::{channel::ToAll, song_context::SongContext, song_writer::SongWriter, stage::Failure};

/// Songs that can wait to be let in, at most, before joining waits.
pub(super) const JOINING: usize = 64;

/// A song that joins.
pub struct Joining {
    /// Writes its frames.
    pub writer: SongWriter,
    /// Its prompt.
    pub prompt: PromptTokens,
    /// Where its frames go.
    pub takers: ToAll<CodeFrame>,
    /// Its shared state.
    pub song: SongContext,
    /// Told how its frames ended.
    pub end: Sender<WritingEnd>,
    /// Dropped when the lockstep has let go of the song.
    pub alive: Sender<Infallible>,
}

/// How the frames of a song ended.
#[derive(Debug)]
pub enum WritingEnd {
    /// All are written, or nothing takes them any more.
    Over,
    /// The song cannot go on.
    Failed(Failure),
    /// A panic in the song's own work, with its message.
    Panicked(String),
}

/// What songs tell their lockstep.
pub(super) enum Command {
    Join(Box<Joining>),
    /// A song has left: look at all of them.
    Look,
}

/// A song's hold on the lockstep of its engine, which ends with the last of them.
#[derive(Clone)]
pub struct LockstepHandle(Arc<Hold>);

struct Hold {
    /// An actor ends when nothing refers to it.
    actor: ActorRef<Lockstep>,
    commands: Sender<Command>,
    /// Closed when the actor has ended and its thread is free again.
    ended: Receiver<Infallible>,
}

/// A hold on a lockstep that does not keep it alive.
#[derive(Clone)]
pub struct WeakLockstep(Weak<Hold>);

impl LockstepHandle {
    pub(super) fn new(actor: ActorRef<Lockstep>, commands: Sender<Command>, ended: Receiver<Infallible>) -> Self {
        Self(Arc::new(Hold { actor, commands, ended }))
    }

    /// Brings a song; waits while too many wait to be let in.
    ///
    /// # Errors
    /// When the actor has ended.
    pub(crate) fn join(&self, joining: Joining) -> Result<(), Failure> {
        let ended = |_| "the actor that writes the frames of all songs has ended".into();
        self.0.commands.send(Command::Join(Box::new(joining))).map_err(ended)
    }

    /// Takes out a song whose stage ends before its frames: its stop flag is set, for nothing will read them.
    pub(crate) fn leave(&self, song: &SongContext) {
        song.stop.set();
        let _ = self.0.commands.try_send(Command::Look); // with a full queue it looks anyway
    }

    /// Gives up the hold; the last one waits for the end of the actor.
    pub(crate) fn end(self) {
        if let Some(Hold { actor, commands, ended }) = Arc::into_inner(self.0) {
            drop((actor, commands));
            let _ = ended.recv(); // nothing is ever sent: the signal is the drop of the sender
        }
    }

    /// A hold that does not keep it alive.
    pub fn downgrade(&self) -> WeakLockstep {
        WeakLockstep(Arc::downgrade(&self.0))
    }
}

impl WeakLockstep {
    /// A hold for another song; `None` when the lockstep has ended or is about to.
    pub fn upgrade(&self) -> Option<LockstepHandle> {
        self.0.upgrade().map(LockstepHandle)
    }
}
