//! Queue in front of an engine: how many songs are made at once, and which of those that wait begins first.
//!
//! - `line`: the songs that are made and those that wait
//! - `pace`: what a second of music took in the songs before, and the forecast that follows from it
//!
//! A song that is played has the deadline of its first sound; one that goes to a file is due when it would have been
//! played. The one that is due first begins first. So a listener goes ahead of files, and no file waits for ever.

mod line;
mod pace;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use flume::Receiver;
use heartstream_actors::song_context::SongContext;
use heartstream_messages::{FirstWindow, units::Seconds};
use tokio::sync::watch;

use line::Line;
pub use line::QueuePosition;

use crate::{
    engine::Heartstream,
    error::EngineError,
    request::CheckedRequest,
    sink::{Sink, Sinks},
    song::Song,
};

/// The queue of an engine's songs. Clones share it.
#[derive(Clone)]
pub(crate) struct SongQueue(Arc<Inner>);

struct Inner {
    line: Mutex<Line>,
    /// Changes with every change of the line.
    changes: watch::Sender<()>,
}

impl SongQueue {
    /// A queue for at most `most` songs at once.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Inner { line: Mutex::new(Line::new(most)), changes: watch::Sender::new(()) }))
    }

    /// Songs at once, at most.
    pub fn max_songs(&self) -> usize {
        self.0.line().most()
    }

    /// Puts a song at its place.
    pub fn join(&self, due: Duration, length: Seconds) -> QueuePlace {
        let changes = self.0.changes.subscribe();
        // A time that the clock does not reach is later than all others.
        let now = Instant::now();
        let due = now.checked_add(due).unwrap_or(now + Duration::from_secs(u64::from(u32::MAX)));
        let number = self.0.line().join(due, length);
        self.0.changes.send_replace(());
        QueuePlace { queue: Arc::clone(&self.0), number, changes }
    }
}

impl Inner {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A song's place in the queue, or among the songs that are made, until it is dropped.
pub(crate) struct QueuePlace {
    queue: Arc<Inner>,
    number: u64,
    changes: watch::Receiver<()>,
}

impl QueuePlace {
    fn place(&self) -> QueuePosition {
        self.queue.line().place(self.number)
    }

    async fn changed(&mut self) {
        let _ = self.changes.changed().await; // its sender is in the queue, which this refers to
    }

    async fn turn(&mut self) {
        while !self.queue.line().has_turn(self.number) {
            self.changed().await;
        }
    }

    /// Holds the place of a song that has begun until it has given back its threads, and measures it.
    pub fn hold(self, song: &SongContext, all_threads_returned: Receiver<Infallible>) {
        let (meter, stop) = (Arc::clone(&song.meter), song.stop.clone());
        let made = Arc::clone(&meter);
        self.queue.line().begun(self.number, Box::new(move || made.progress().delivered.seconds()));
        tokio::spawn(async move {
            let _ = all_threads_returned.recv_async().await; // nothing is ever sent: the signal is the drop of the sender
            let said = meter.progress();
            // How long a song takes that came to its end, and no other.
            if said.all_written && !stop.is_set() {
                let music = said.delivered.seconds();
                self.queue.line().measured(self.number, [said.elapsed.0, said.working.0, music.0]);
            }
        });
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.queue.line().leave(self.number);
        self.queue.changes.send_replace(());
    }
}

/// A song that waits for its turn in the queue of its engine ([`Heartstream::queue`]). Dropping it gives up its place.
///
/// ```
/// use heartstream::{Heartstream, Sink, SongRequest};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), heartstream::EngineError> {
/// # let checkpoint = heartstream_tools::synth::noise();
/// let engine = Heartstream::builder(checkpoint).max_songs(4).build().await?;
/// let mut waiting = engine.queue(SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in"), Sink::Subscriber)?;
/// while !waiting.place().turn {
///     println!("{} songs ahead, {:?} to wait", waiting.place().ahead, waiting.place().starts_in);
///     waiting.changed().await;
/// }
/// let song = waiting.begin().await?;
/// # drop(song);
/// # Ok(())
/// # }
/// ```
pub struct QueuedSong {
    engine: Heartstream,
    checked: CheckedRequest,
    sinks: Sinks,
    place: QueuePlace,
}

impl QueuedSong {
    pub(crate) fn new(engine: Heartstream, checked: CheckedRequest, sinks: Sinks) -> Self {
        let length = checked.request.max_frames.seconds();
        let due = if is_live(&checked, &sinks) {
            checked.request.first_window.deadline.unwrap_or(FirstWindow::USUAL_DEADLINE)
        } else {
            length
        };
        let place = engine.queue.join(Duration::try_from_secs_f64(due.0).unwrap_or(Duration::MAX), length);
        Self { engine, checked, sinks, place }
    }

    /// Where it stands, what is forecast of its start, and whether it could be played while it is made.
    pub fn place(&self) -> QueuePosition {
        self.place.place()
    }

    /// Waits until the queue has changed.
    pub async fn changed(&mut self) {
        self.place.changed().await;
    }

    /// Refuses a song that is played and would be made more slowly than it is: for a caller that would rather not begin
    /// it. [`QueuedSong::begin`] begins it, with a note.
    ///
    /// # Errors
    /// [`EngineError::TooSlow`], by the pace of the engine's songs before; not before one was finished.
    pub fn in_time(self) -> Result<Self, EngineError> {
        match self.too_slow() {
            None => Ok(self),
            Some(QueuePosition { songs, speed, .. }) => {
                Err(EngineError::TooSlow { songs, speed: speed.unwrap_or_default() })
            }
        }
    }

    /// The place of a song that is played and cannot keep real time.
    fn too_slow(&self) -> Option<QueuePosition> {
        let slow = |place: &QueuePosition| place.speed.is_some_and(|speed| speed < 1.0);
        Some(self.place()).filter(|place| is_live(&self.checked, &self.sinks) && slow(place))
    }

    /// Waits for its turn, and begins.
    ///
    /// # Errors
    /// When the system has no threads for it.
    pub async fn begin(mut self) -> Result<Song, EngineError> {
        self.place.turn().await;
        if let Some(QueuePosition { songs, speed: Some(speed), .. }) = self.too_slow() {
            let note = format!(
                "with {songs} at once this machine makes {speed:.2} s of music in a second: the song pauses while it plays"
            );
            tracing::warn!("{note}");
            self.checked.notes.push(note);
        }
        let Self { engine, checked, sinks, place } = self;
        engine.start(checked, sinks, place).await
    }
}

/// Whether a song is listened to while it is made: it is played, or has a deadline for its first sound.
fn is_live(checked: &CheckedRequest, sinks: &Sinks) -> bool {
    let speaker = sinks.audio.iter().any(|sink| matches!(sink, Sink::Speaker(_)));
    speaker || checked.request.first_window.deadline.is_some()
}
