//! Live song: one that waits or is written, with its state as a watch, and what can be said to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::body::Bytes;
use heartstream::SongRequest;
use heartstream_formats::{Format, FormatError, Metadata};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::{
    growing_file::{GrowingFile, Grown},
    library::SongFiles,
    library_id::LibraryId,
};

/// Where a song stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It waits for its turn.
    Queued,
    /// It is written.
    Writing,
    /// It is held; what was written stays.
    Paused,
    /// All of it is there.
    Finished,
    /// It was ended by a client.
    Cancelled,
    /// A stage failed.
    Failed,
    /// The server ended before the song did; it can be resumed.
    Interrupted,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Queued, Self::Writing, Self::Paused, Self::Finished, Self::Cancelled, Self::Failed, Self::Interrupted];

    /// Its name in answers and in the index.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Writing => "writing",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether nothing more will come.
    pub const fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Writing | Self::Paused)
    }
}

/// How far a song is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Status {
    pub state: State,
    /// Songs before it, in the queue.
    pub place: Option<usize>,
    /// Frames that the language model has written, of 80 ms each.
    pub frames: u64,
    /// Seconds of sound that can be heard.
    pub buffered: f64,
    /// Seconds from the order to the first sound.
    pub first_sound: Option<f64>,
    /// Why it failed.
    pub error: Option<String>,
    /// The other machine that writes it; none where it is this one.
    pub machine: Option<String>,
}

/// What its clients want of a song: the last word counts, so that any number of them takes no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wish {
    pub paused: bool,
    pub end: Option<End>,
}

/// Why a song should end before it is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A client wants no more of it.
    Cancelled,
    /// The server ends; the song can be resumed.
    Interrupted,
}

/// A song that waits or is written.
#[derive(Debug)]
pub(crate) struct LiveSong {
    pub id: LibraryId,
    pub request: SongRequest,
    pub format: Format,
    pub metadata: Metadata,
    pub client: String,
    pub files: SongFiles,
    /// There is a beginning to go on with.
    pub resumed: bool,
    pub ordered: Instant,
    pub status: watch::Sender<Status>,
    pub grown: watch::Sender<Grown>,
    pub wish: watch::Sender<Wish>,
    head: Bytes,
    while_listened: bool,
    listeners: AtomicUsize,
}

/// What a live song is made of.
pub(crate) struct NewSong {
    pub id: LibraryId,
    pub request: SongRequest,
    pub format: Format,
    pub client: String,
    pub files: SongFiles,
    pub resumed: bool,
    pub while_listened: bool,
}

impl LiveSong {
    /// A song that waits.
    ///
    /// # Errors
    /// When its format cannot be written.
    pub fn new(new: NewSong, fingerprint: &str) -> Result<Arc<Self>, FormatError> {
        let NewSong { id, request, format, client, files, resumed, while_listened } = new;
        let metadata = Metadata::new(&request.tags, &request.lyrics, request.seed, fingerprint);
        let head = format.encoder(&metadata, request.seed)?.head()?.into();
        let status = Status {
            state: State::Queued,
            place: None,
            frames: 0,
            buffered: 0.0,
            first_sound: None,
            error: None,
            machine: None,
        };
        let song = Self {
            id,
            request,
            format,
            metadata,
            client,
            files,
            resumed,
            ordered: Instant::now(),
            status: watch::Sender::new(status),
            grown: watch::Sender::new(Grown::default()),
            wish: watch::Sender::default(),
            head,
            while_listened,
            listeners: AtomicUsize::new(0),
        };
        Ok(Arc::new(song))
    }

    /// The recording, to be listened to.
    pub fn recording(&self) -> GrowingFile {
        GrowingFile { path: self.files.audio(self.format), head: self.head.clone(), grown: self.grown.subscribe() }
    }

    /// Changes the status and wakes those who watch it.
    pub fn set(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    /// Has the song end. The first reason counts.
    pub fn end(&self, end: End) {
        self.wish.send_modify(|wish| wish.end = wish.end.or(Some(end)));
    }
}

/// A listener of a song. A song that is made only while it is listened to ends when the last one leaves.
pub(crate) struct Listener(Arc<LiveSong>);

impl Listener {
    pub fn of(song: Arc<LiveSong>) -> Self {
        song.listeners.fetch_add(1, Ordering::AcqRel);
        Self(song)
    }

    /// What is listened to.
    pub fn song(&self) -> &LiveSong {
        &self.0
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let was_last = self.0.listeners.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && self.0.while_listened {
            self.0.end(End::Cancelled);
        }
    }
}
