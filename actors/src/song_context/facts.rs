//! Facts of a song: what one stage finds out and another one decides by.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use heartstream_messages::units::{Frames, SampleIndex, Seconds};
use tokio::sync::watch;

/// Facts of a song that do not travel with its frames. One stage finds each of them, and any stage may ask for it.
#[derive(Debug, Default)]
pub struct SongFacts {
    first_window: OnceLock<Frames>,
    length: OnceLock<Frames>,
    song_end: OnceLock<SampleIndex>,
    frame_rate: watch::Sender<Option<FrameRate>>,
    reader_left: AtomicBool,
}

/// Clock of a song, which begins with its request.
#[derive(Debug, Clone, Copy)]
pub struct SongClock(Instant);

impl SongClock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the request.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// The same, in seconds.
    pub fn seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

/// Time that the frames of a song take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameRate {
    /// From the request to the first frame: the prefill.
    pub first: Seconds,
    /// For each frame behind it.
    pub each: Seconds,
}

impl SongFacts {
    /// The segmenter has cut a first window of `frames`.
    pub fn first_window_is(&self, frames: Frames) {
        // A song has one first window.
        let _ = self.first_window.set(frames);
    }

    /// Frames of the first window; `None` before it was cut.
    pub fn first_window(&self) -> Option<Frames> {
        self.first_window.get().copied()
    }

    /// The last frame is written: the song has `frames`.
    pub fn length_is(&self, frames: Frames) {
        // A song has one length.
        let _ = self.length.set(frames);
    }

    /// Frames of the song; `None` before the last one was written.
    pub fn length(&self) -> Option<Frames> {
        self.length.get().copied()
    }

    /// The segmenter has seen the last frame: the song has `end` samples of each channel.
    pub fn song_ends_at(&self, end: SampleIndex) {
        // A song has one end.
        let _ = self.song_end.set(end);
    }

    /// Where the song ends; `None` before its last frame was written.
    pub fn song_end(&self) -> Option<SampleIndex> {
        self.song_end.get().copied()
    }

    /// The reader of a stream has closed it before the song was over.
    pub fn reader_leaves(&self) {
        self.reader_left.store(true, Ordering::Release);
    }

    /// Whether the reader of a stream has left.
    pub fn reader_left(&self) -> bool {
        self.reader_left.load(Ordering::Acquire)
    }

    /// The language model has measured its frames, again.
    pub fn frames_take(&self, rate: FrameRate) {
        self.frame_rate.send_replace(Some(rate));
    }

    /// Time that frames take; `None` before the second one was written.
    pub fn frame_rate(&self) -> Option<FrameRate> {
        *self.frame_rate.borrow()
    }
}
