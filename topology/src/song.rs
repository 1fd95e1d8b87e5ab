//! Handle of a running song: its blocks, its progress, its end.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    task::{Context, Poll},
};

use flume::{Receiver, r#async::RecvStream};
use futures_core::Stream;
use heartstream_actors::song_context::SongContext;
use heartstream_messages::{Outcome, PcmBlock, Progress, SongReport};
use kameo::actor::ActorRef;
use tokio::sync::{oneshot, watch};

use crate::{
    conductor::{Cancel, Conductor},
    wiring::Wired,
};

/// A song that is being made. Dropping it cancels the song, unless its end was waited for.
///
/// With a subscriber among its sinks it is a [`Stream`] of blocks; a slow reader holds the whole song back.
pub struct Song {
    conductor: CurrentConductor,
    report: oneshot::Receiver<SongReport>,
    /// The conductor's report, once it came.
    reported: Option<Result<SongReport, oneshot::error::RecvError>>,
    /// Ends when the song has given back all its threads.
    all_threads_returned: Receiver<Infallible>,
    blocks: Option<RecvStream<'static, Arc<PcmBlock>>>,
    context: SongContext,
    /// Set once the end was waited for.
    over: bool,
}

/// The ends of a song that its handle holds.
pub(crate) struct SongEnds {
    pub conductor: CurrentConductor,
    pub report: oneshot::Receiver<SongReport>,
    /// Ends when the song has given back all its threads.
    pub all_threads_returned: Receiver<Infallible>,
    pub blocks: Option<Receiver<Arc<PcmBlock>>>,
}

/// The current conductor of a song: one for all of it, or one for each half.
#[derive(Clone, Default)]
pub(crate) struct CurrentConductor(Arc<Mutex<Option<ActorRef<Conductor>>>>);

impl CurrentConductor {
    fn of(conductor: ActorRef<Conductor>) -> Self {
        let current = Self::default();
        current.set(conductor);
        current
    }

    /// Hands the song to `conductor`.
    pub fn set(&self, conductor: ActorRef<Conductor>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(conductor);
    }

    /// Ends the current stages. Those of a second half see the song's stop flag.
    pub fn cancel(&self) {
        let conductor = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Err(error)) = conductor.map(|conductor| conductor.tell(Cancel).try_send()) {
            tracing::debug!(%error, "the song had ended before it was cancelled");
        }
    }
}

impl Song {
    pub(crate) fn new(wired: Wired, context: SongContext) -> Self {
        let Wired { conductor, report, all_threads_returned, blocks } = wired;
        Self::of(SongEnds { conductor: CurrentConductor::of(conductor), report, all_threads_returned, blocks }, context)
    }

    pub(crate) fn of(ends: SongEnds, context: SongContext) -> Self {
        let SongEnds { conductor, report, all_threads_returned, blocks } = ends;
        let blocks = blocks.map(Receiver::into_stream);
        Self { conductor, report, reported: None, all_threads_returned, blocks, context, over: false }
    }

    /// The next block; `None` at the end, or when no sink of the song is a subscriber.
    pub async fn next_block(&mut self) -> Option<Arc<PcmBlock>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Watches the progress; changes with each frame, segment and block.
    ///
    /// ```no_run
    /// # async fn example(song: heartstream::Song) {
    /// let mut progress = song.progress();
    /// while progress.changed().await.is_ok() && !progress.borrow().ended {
    ///     println!("{} frames written", progress.borrow().frames_written.0);
    /// }
    /// # }
    /// ```
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.context.meter.watch()
    }

    /// A snapshot of the progress.
    pub fn snapshot(&self) -> Progress {
        self.context.meter.progress()
    }

    /// Makes no sound until [`Song::resume`]: a speaker plays silence and full queues hold the song back; without a
    /// speaker the language model writes no further frame. The song itself does not depend on it.
    pub fn pause(&self) {
        self.context.pause.set(true);
        self.context.meter.publish();
    }

    /// Goes on after [`Song::pause`], with the next sample or the next frame.
    pub fn resume(&self) {
        self.context.pause.set(false);
        self.context.meter.publish();
    }

    /// Whether the song is paused.
    pub fn is_paused(&self) -> bool {
        self.context.pause.is_on()
    }

    /// Ends the song within one frame of the language model and one step of flow matching. What has been decoded is
    /// still written to a file.
    pub fn cancel(&self) {
        // Work under way sees the stop flag at once; the conductor ends the stages.
        self.context.stop.set();
        self.conductor.cancel();
    }

    /// Waits for the end of the song, after which nothing of it is left: its memory is free, and its threads wait for
    /// the next song. Unread blocks are dropped.
    pub async fn finished(mut self) -> SongReport {
        self.wait().await
    }

    /// Waits for the end of the song, and keeps the handle.
    pub(crate) async fn wait(&mut self) -> SongReport {
        if let Some(mut blocks) = self.blocks.take() {
            // Reading on to the end is what keeps the sink, and so the song, going.
            while std::future::poll_fn(|context| Pin::new(&mut blocks).poll_next(context)).await.is_some() {}
        }
        // Waiting is cancellation-safe, but the report is sent once.
        if self.reported.is_none() {
            self.reported = Some((&mut self.report).await);
        }
        if let Some(Ok(_)) = self.reported {
            let _ = self.all_threads_returned.recv_async().await; // nothing is ever sent; the signal is the drop of the last sender
        }
        self.over = true;
        self.reported.take().and_then(Result::ok).unwrap_or_else(|| unreported(&self.context))
    }
}

/// The report of a song that has none. A conductor cannot vanish while the runtime lives; a runtime that shuts down
/// cancels its songs.
pub(crate) fn unreported(song: &SongContext) -> SongReport {
    let progress = song.meter.progress();
    SongReport {
        outcome: Outcome::Cancelled,
        frames: progress.frames_written,
        redraws: song.meter.redraws.load(Ordering::Relaxed),
        audio: progress.delivered.seconds(),
        wall: progress.elapsed,
        working: progress.working,
        first_audio: progress.first_audio,
        first_window: None,
        underrun_samples: progress.underrun_samples,
        xruns: progress.xruns,
        buffer_depth: song.meter.buffer_depth(),
        notes: Vec::new(),
        stages: Vec::new(),
        speculation: None,
    }
}

impl Stream for Song {
    type Item = Arc<PcmBlock>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<PcmBlock>>> {
        match &mut self.blocks {
            Some(blocks) => Pin::new(blocks).poll_next(context),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Song {
    fn drop(&mut self) {
        if !self.over {
            self.cancel();
        }
    }
}
