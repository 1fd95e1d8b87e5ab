//! Song as the bytes of a WAV, for an answer over HTTP.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use heartstream_actors::wav_sink::{SampleFormat, header};
use heartstream_messages::{Outcome, SongReport, StageError};

use super::{SongBlocks, SongControl};

/// A song as the bytes of a WAV whose header says that its length is not known: those that `heartstream render -o -`
/// writes. The header comes at once, before the first sound.
///
/// A [`Stream`] of pieces; a song that fails ends with its error. Dropping it cancels the song at once, also while the
/// language model still reads the prompt: a client that has left costs no further work.
///
/// ```
/// use heartstream::{Heartstream, SongRequest, wav::SampleFormat};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), heartstream::EngineError> {
/// # let engine = Heartstream::builder(heartstream_tools::synth::noise()).build().await?;
/// let song = engine.sing(SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in")).await?;
/// let bytes = song.into_wav(SampleFormat::S16); // axum: Body::from_stream(bytes)
/// drop(bytes); // the client leaves: the song is cancelled
/// # Ok(())
/// # }
/// ```
pub struct WavBytes {
    blocks: SongBlocks,
    format: SampleFormat,
    next: Next,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Header,
    Samples,
    Nothing,
}

impl WavBytes {
    pub(crate) fn new(blocks: SongBlocks, format: SampleFormat) -> Self {
        Self { blocks, format, next: Next::Header }
    }

    /// The control of the song.
    pub fn control(&self) -> &SongControl {
        self.blocks.control()
    }

    /// As [`SongBlocks::finished`].
    pub async fn finished(self) -> SongReport {
        self.blocks.finished().await
    }
}

impl Stream for WavBytes {
    type Item = Result<Vec<u8>, StageError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.next {
            Next::Header => {
                self.next = Next::Samples;
                Poll::Ready(Some(Ok(header::of_stream(self.format))))
            }
            Next::Samples => match ready!(Pin::new(&mut self.blocks).poll_next(context)) {
                Some(block) => {
                    let mut bytes = Vec::with_capacity(block.samples.len() * size_of::<f32>());
                    self.format.encode(&block, &self.blocks.noise(), &mut bytes);
                    Poll::Ready(Some(Ok(bytes)))
                }
                None => {
                    let failure = match ready!(self.blocks.poll_report(context)).map(|report| &report.outcome) {
                        Some(Outcome::Failed(error)) => Some(Err(error.clone())),
                        _ => None,
                    };
                    self.next = Next::Nothing;
                    Poll::Ready(failure)
                }
            },
            Next::Nothing => Poll::Ready(None),
        }
    }
}
