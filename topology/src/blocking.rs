//! Engine for programs without a runtime of their own: plugin hosts, command lines, games.
//!
//! An [`Engine`] brings a tokio runtime with it, which ends with the last handle to the engine or to one of its songs.
//! Nothing here may be called from within another runtime's tasks.
//!
//! ```
//! use heartstream::{Heartstream, SongRequest, blocking::Engine};
//!
//! # fn main() -> Result<(), heartstream::EngineError> {
//! # let checkpoint = heartstream_tools::synth::noise();
//! # let mut request = SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in");
//! # request.max_frames = heartstream::units::Frames(16);
//! let engine = Engine::build(Heartstream::builder(checkpoint))?;
//! for block in engine.sing(request)? {
//!     println!("up to {}", block.end().seconds());
//! }
//! # Ok(())
//! # }
//! ```

use std::{
    io::{self, Read},
    sync::Arc,
};

use futures_core::Stream;
use heartstream_actors::wav_sink::SampleFormat;
use heartstream_messages::{PcmBlock, SongReport, SongRequest};
use heartstream_models::contained;
use tokio::runtime::Runtime;

use crate::{
    builder::Builder,
    engine::Heartstream,
    error::EngineError,
    sink::{Sink, Sinks},
    song::{self, SongBlocks, SongControl},
};

/// Threads of the runtime: it only carries messages; stages have threads of their own. Where the system has a thread for the
/// first of several alone, tokio does not come back from building them.
const WORKERS: usize = 1;

/// An engine with a runtime of its own. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    engine: Heartstream,
    runtime: Arc<Runtime>,
}

impl Engine {
    /// Loads the model, and returns when that is done.
    ///
    /// # Errors
    /// As [`Builder::build`]; and when the system has no threads for a runtime.
    pub fn build(builder: Builder) -> Result<Self, EngineError> {
        // It panics where the system has no thread for a worker.
        let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
        let runtime = contained(build).and_then(|runtime| runtime.map_err(|error| error.to_string()));
        let runtime = runtime.map_err(EngineError::Threads)?;
        Ok(Self { engine: runtime.block_on(builder.build())?, runtime: Arc::new(runtime) })
    }

    /// The engine itself, for what waits for nothing.
    pub fn engine(&self) -> &Heartstream {
        &self.engine
    }

    /// Sings to the handle of the song: take its blocks.
    ///
    /// # Errors
    /// As [`Heartstream::sing`].
    pub fn sing(&self, request: SongRequest) -> Result<Song, EngineError> {
        self.sing_to(request, Sink::Subscriber)
    }

    /// Sings to all of `sinks`.
    ///
    /// # Errors
    /// As [`Heartstream::sing_to`].
    pub fn sing_to(&self, request: SongRequest, sinks: impl Into<Sinks>) -> Result<Song, EngineError> {
        let (blocks, control) = self.runtime.block_on(self.engine.sing_to(request, sinks))?.split();
        Ok(Song { blocks, control, runtime: Arc::clone(&self.runtime) })
    }
}

/// A song that is being made, as an iterator of its blocks. Dropping it cancels the song, unless its end was waited for.
pub struct Song {
    blocks: SongBlocks,
    control: SongControl,
    runtime: Arc<Runtime>,
}

impl Song {
    /// Pause, cancel and progress, for any thread.
    pub fn control(&self) -> &SongControl {
        &self.control
    }

    /// Waits for the end of the song. Unread blocks are dropped.
    pub fn finished(self) -> SongReport {
        self.runtime.block_on(self.blocks.finished())
    }

    /// The song as the bytes of a WAV of unknown length.
    pub fn into_wav(self, format: SampleFormat) -> WavReader {
        let Self { blocks, runtime, .. } = self;
        WavReader { bytes: Box::pin(song::WavBytes::new(blocks, format)), rest: io::Cursor::default(), runtime }
    }
}

impl Iterator for Song {
    type Item = Arc<PcmBlock>;

    fn next(&mut self) -> Option<Arc<PcmBlock>> {
        self.runtime.block_on(self.blocks.next_block())
    }
}

/// A song as the bytes of a WAV. Dropping it cancels the song.
pub struct WavReader {
    bytes: std::pin::Pin<Box<song::WavBytes>>,
    /// What was made and not read yet.
    rest: io::Cursor<Vec<u8>>,
    runtime: Arc<Runtime>,
}

impl Read for WavReader {
    /// # Errors
    /// When the song failed; the source of the error is the song's [`crate::StageError`].
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.rest.read(to)?;
            if read > 0 || to.is_empty() {
                return Ok(read);
            }
            let bytes = &mut self.bytes;
            let next = self.runtime.block_on(std::future::poll_fn(|context| bytes.as_mut().poll_next(context)));
            match next {
                None => return Ok(0),
                Some(piece) => self.rest = io::Cursor::new(piece.map_err(io::Error::other)?),
            }
        }
    }
}
