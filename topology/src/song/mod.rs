//! Handle of a running song: its blocks, its control, its end.
//!
//! - `blocks`: the song as a stream, and its report
//! - `control`: pause, cancel and progress, from anywhere
//! - `wav`: the song as the bytes of a WAV

mod blocks;
mod control;
mod wav;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use flume::Receiver;
use futures_core::Stream;
use heartstream_actors::{song_context::SongContext, wav_sink::SampleFormat};
use heartstream_messages::{PcmBlock, Progress, SongReport};
use heartstream_models::signal::KeyedNoise;
use tokio::sync::{oneshot, watch};

pub use blocks::SongBlocks;
pub(crate) use blocks::unreported;
pub(crate) use control::CurrentConductor;
pub use control::{SongControl, SongId};
pub use wav::WavBytes;

use crate::wiring::{Blocks, Wired};

/// A song that is being made. Dropping it cancels the song, unless its end was waited for.
///
/// With a subscriber among its sinks it is a [`Stream`] of blocks; a slow reader holds the whole song back. Where one
/// task reads and another one pauses or cancels, [`Song::split`] makes two handles of it.
pub struct Song {
    blocks: SongBlocks,
}

/// The ends of a song that its handle holds.
pub(crate) struct SongEnds {
    pub conductor: CurrentConductor,
    pub report: oneshot::Receiver<SongReport>,
    /// Ends when the song has given back all its threads.
    pub all_threads_returned: Receiver<std::convert::Infallible>,
    pub blocks: Option<Blocks>,
}

impl Song {
    pub(crate) fn new(wired: Wired, context: SongContext, noise: KeyedNoise) -> Self {
        let Wired { conductor, report, all_threads_returned, blocks } = wired;
        Self::of(
            SongEnds { conductor: CurrentConductor::of(conductor), report, all_threads_returned, blocks },
            context,
            noise,
        )
    }

    /// Closed when the song has given back all its threads.
    pub(crate) fn all_threads_returned(&self) -> Receiver<std::convert::Infallible> {
        self.blocks.all_threads_returned()
    }

    pub(crate) fn of(ends: SongEnds, context: SongContext, noise: KeyedNoise) -> Self {
        Self { blocks: SongBlocks::new(ends, context, noise) }
    }

    /// The blocks and the control of the song, for two tasks. The song is cancelled when the blocks are dropped, as it
    /// was by dropping the song.
    ///
    /// ```
    /// # use heartstream::{Heartstream, Outcome, SongRequest};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), heartstream::EngineError> {
    /// # let engine = Heartstream::builder(heartstream_tools::synth::noise()).build().await?;
    /// # let song = engine.sing(SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in")).await?;
    /// let (mut blocks, control) = song.split();
    /// let canceller = tokio::spawn(async move { control.cancel() });
    /// while let Some(block) = blocks.next_block().await {
    ///     println!("up to {}", block.end().seconds());
    /// }
    /// assert_eq!(blocks.finished().await.outcome, Outcome::Cancelled);
    /// # drop(canceller);
    /// # Ok(())
    /// # }
    /// ```
    pub fn split(self) -> (SongBlocks, SongControl) {
        let control = self.blocks.control().clone();
        (self.blocks, control)
    }

    /// The song as the bytes of a WAV of unknown length, for an answer over HTTP. For a song whose sink is
    /// [`crate::Sink::Subscriber`].
    pub fn into_wav(self, format: SampleFormat) -> WavBytes {
        WavBytes::new(self.blocks, format)
    }

    /// Tells this song from the others of the process.
    pub fn id(&self) -> SongId {
        self.blocks.control().id()
    }

    /// The next block; `None` at the end, or when no sink of the song is a subscriber.
    pub async fn next_block(&mut self) -> Option<Arc<PcmBlock>> {
        self.blocks.next_block().await
    }

    /// As [`SongControl::progress`].
    ///
    /// ```
    /// # use heartstream::{Heartstream, Sink, SongRequest, wav::{SampleFormat, WavTarget}};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), heartstream::EngineError> {
    /// # let engine = Heartstream::builder(heartstream_tools::synth::noise()).build().await?;
    /// # let mut request = SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in");
    /// # request.max_frames = heartstream::units::Frames(16);
    /// # let sink = WavTarget::stream("nowhere", std::io::sink(), SampleFormat::S16);
    /// # let song = engine.sing_to(request, Sink::Wav(sink)).await?;
    /// let mut progress = song.progress();
    /// while progress.changed().await.is_ok() && !progress.borrow().ended {
    ///     println!("{} frames written", progress.borrow().frames_written.0);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.blocks.control().progress()
    }

    /// As [`SongControl::snapshot`].
    pub fn snapshot(&self) -> Progress {
        self.blocks.control().snapshot()
    }

    /// As [`SongControl::pause`].
    pub fn pause(&self) {
        self.blocks.control().pause();
    }

    /// As [`SongControl::resume`].
    pub fn resume(&self) {
        self.blocks.control().resume();
    }

    /// As [`SongControl::is_paused`].
    pub fn is_paused(&self) -> bool {
        self.blocks.control().is_paused()
    }

    /// As [`SongControl::cancel`].
    pub fn cancel(&self) {
        self.blocks.control().cancel();
    }

    /// As [`SongBlocks::finished`].
    pub async fn finished(self) -> SongReport {
        self.blocks.finished().await
    }

    /// As [`SongBlocks::wait`].
    pub async fn wait(&mut self) -> SongReport {
        self.blocks.wait().await
    }
}

impl Stream for Song {
    type Item = Arc<PcmBlock>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arc<PcmBlock>>> {
        Pin::new(&mut self.blocks).poll_next(context)
    }
}
