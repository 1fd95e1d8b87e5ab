//! Blocks of a song as a stream, and the report at its end.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use flume::Receiver;
use futures_core::Stream;
use heartstream_actors::{reader_queue::QueuedItem, song_context::SongContext};
use heartstream_messages::{Outcome, PcmBlock, SongReport};
use heartstream_models::signal::KeyedNoise;
use tokio::sync::oneshot;

use super::{SongControl, SongEnds};
use crate::wiring::Blocks;

/// The blocks of a song, as a [`Stream`]. A slow reader holds the whole song back; dropping them cancels it, unless its
/// end was waited for.
pub struct SongBlocks {
    control: SongControl,
    report: oneshot::Receiver<SongReport>,
    /// The conductor's report, once it came.
    reported: Option<Result<SongReport, oneshot::error::RecvError>>,
    /// Ends when the song has given back all its threads.
    all_threads_returned: Receiver<Infallible>,
    blocks: Option<Blocks>,
    /// The noise of the song, which dither is made of.
    noise: KeyedNoise,
    /// Set once the end was waited for.
    over: bool,
}

impl SongBlocks {
    pub(super) fn new(ends: SongEnds, context: SongContext, noise: KeyedNoise) -> Self {
        let SongEnds { conductor, report, all_threads_returned, blocks } = ends;
        let control = SongControl::new(conductor, context);
        Self { control, report, reported: None, all_threads_returned, blocks, noise, over: false }
    }

    /// The control of the song.
    pub fn control(&self) -> &SongControl {
        &self.control
    }

    /// Closed when the song has given back all its threads.
    pub(super) fn all_threads_returned(&self) -> Receiver<Infallible> {
        self.all_threads_returned.clone()
    }

    pub(super) fn noise(&self) -> KeyedNoise {
        self.noise
    }

    /// The next block; `None` at the end, or when no sink of the song is a subscriber.
    pub async fn next_block(&mut self) -> Option<Arc<PcmBlock>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Waits for the end of the song, after which nothing of it is left: its memory is free, and its threads wait for
    /// the next song. Unread blocks are dropped.
    pub async fn finished(mut self) -> SongReport {
        self.wait().await
    }

    /// As [`SongBlocks::finished`], and keeps the handle. Waiting is cancellation-safe.
    pub async fn wait(&mut self) -> SongReport {
        if let Some(blocks) = &mut self.blocks {
            // Reading on to the end is what keeps the sink, and so the song, going.
            while blocks.recv().await.is_some() {}
        }
        self.blocks = None;
        std::future::poll_fn(|context| self.poll_report(context).map(drop)).await;
        if let Some(Ok(_)) = self.reported {
            let _ = self.all_threads_returned.recv_async().await; // nothing is ever sent; the signal is the drop of the last sender
        }
        self.over = true;
        self.reported.take().and_then(Result::ok).unwrap_or_else(|| unreported(self.control.context()))
    }

    /// How the song ended; `None` when no report can come any more. For a song whose blocks have been read.
    pub(super) fn poll_report(&mut self, context: &mut Context<'_>) -> Poll<Option<&SongReport>> {
        if self.reported.is_none() {
            self.reported = Some(ready!(Pin::new(&mut self.report).poll(context)));
        }
        Poll::Ready(self.reported.as_ref().and_then(|reported| reported.as_ref().ok()))
    }
}

/// The report of a song that has none. A conductor always reports unless the runtime shuts down, which cancels its
/// songs.
pub(crate) fn unreported(song: &SongContext) -> SongReport {
    song.report(Outcome::Cancelled, Vec::new())
}

impl Stream for SongBlocks {
    type Item = Arc<PcmBlock>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<PcmBlock>>> {
        match &mut self.blocks {
            Some(blocks) => blocks.poll_recv(context).map(|block| block.map(QueuedItem::take)),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for SongBlocks {
    fn drop(&mut self) {
        if !self.over {
            self.control.cancel();
        }
    }
}
